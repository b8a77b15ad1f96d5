/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "src/base/fsmount.h"
#include "unit/backend.h"
#include "unit/object.h"
#include "unit/subvol_impl.h"

#define SUBVOL_INO 256 /* BTRFS_FIRST_FREE_OBJECTID: the root of every subvolume */

struct subvol {
	int fd; /* owned: its root */
	uint64_t id;
	bool read_only;
	struct lcm_qgroup q;
};

static void subvol_close(struct subvol *s)
{
	lcm_closep(&s->fd);
}

static bool is_btrfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC;
}

/* -EUCLEAN: it is no subvolume with a limit. */
static int subvol_see(struct subvol *s)
{
	lcm_autofree struct btrfs_ioctl_get_subvol_info_args *info = calloc(1, sizeof(*info));
	struct stat st;
	int r = info ? lcm_sys_fstat(s->fd, &st) : -ENOMEM;

	if (r < 0)
		return r;
	if (!is_btrfs(s->fd) || st.st_ino != SUBVOL_INO)
		return -EUCLEAN;
	r = lcm_sys_ioctl(s->fd, BTRFS_IOC_GET_SUBVOL_INFO, info);
	if (r < 0)
		return r;
	s->id = info->treeid;
	s->read_only = info->flags & 1; /* BTRFS_ROOT_SUBVOL_RDONLY of btrfs_tree.h */
	r = lcm_qgroup_read(s->fd, s->id, &s->q);
	return r == -ENOENT || (r == 0 && !s->q.limit) ? -EUCLEAN : r;
}

static int subvol_open(int dir, const char *name, struct subvol *ret, struct lcm_err *err)
{
	LCM_CLEANUP(subvol_close) struct subvol s = { .fd = -EBADF };
	char path[LCM_OBJECT_PATH];
	int r = lcm_sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	s.fd = r;
	if (r >= 0)
		r = subvol_see(&s);
	if (r == -EUCLEAN || r == -ENOTDIR || r == -ELOOP)
		return lcm_err_set(err, -EUCLEAN,
				   "%s is no subvolume of btrfs with a limit (btrfs qgroup show)",
				   lcm_object_path(dir, name, path));
	if (r < 0)
		return lcm_object_fail(dir, name, r, "open", err);
	*ret = s;
	s.fd = -EBADF;
	return 0;
}

/* The ioctls take no path. Return: a descriptor of @name's directory; *ret_last is its last
 * component. */
static int open_parent(int dir, const char *name, const char **ret_last)
{
	const char *slash = strrchr(name, '/');
	char parent[PATH_MAX];

	*ret_last = slash ? slash + 1 : name;
	if (!slash)
		return lcm_sys_openat(dir, ".", O_RDONLY | O_DIRECTORY, 0);
	if (snprintf(parent, sizeof(parent), "%.*s", (int)(slash - name), name) >=
	    (int)sizeof(parent))
		return -ENAMETOOLONG;
	return lcm_sys_openat(dir, parent, O_RDONLY | O_DIRECTORY, 0);
}

int lcm_subvol_destroy(int dir, const char *name)
{
	struct btrfs_ioctl_vol_args args = { 0 };
	const char *last;
	lcm_autoclose int parent = open_parent(dir, name, &last);
	int r = parent;

	if (r >= 0 && snprintf(args.name, sizeof(args.name), "%s", last) >= (int)sizeof(args.name))
		r = -ENAMETOOLONG;
	if (r >= 0)
		r = lcm_sys_ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &args);
	/* After an fsync(2) alone the room would come back half a minute later. */
	return r < 0 ? r : lcm_btrfs_commit(parent);
}

int lcm_subvol_make(int dir, const char *name, int from, bool read_only, uint64_t size)
{
	struct btrfs_qgroup_inherit limit = {
		.flags = BTRFS_QGROUP_INHERIT_SET_LIMITS,
		.lim = { .flags = BTRFS_QGROUP_LIMIT_MAX_RFER, .max_rfer = size },
	};
	struct btrfs_ioctl_vol_args_v2 args = {
		.fd = from,
		.flags = BTRFS_SUBVOL_QGROUP_INHERIT | (read_only ? BTRFS_SUBVOL_RDONLY : 0),
		.size = sizeof(limit),
		.qgroup_inherit = &limit,
	};
	const char *last;
	lcm_autoclose int parent = open_parent(dir, name, &last), root = -EBADF;
	int r = parent;

	if (r >= 0 && snprintf(args.name, sizeof(args.name), "%s", last) >= (int)sizeof(args.name))
		r = -ENAMETOOLONG;
	if (r >= 0)
		r = lcm_sys_ioctl(parent,
				  from < 0 ? BTRFS_IOC_SUBVOL_CREATE_V2 : BTRFS_IOC_SNAP_CREATE_V2,
				  &args);
	if (r < 0)
		return r;
	/* Set-user-ID programs in it are not for those who see the pool. */
	if (from < 0)
		r = root = lcm_sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r >= 0 && from < 0)
		r = lcm_sys_fchmod(root, 0700);
	if (r >= 0 && from < 0)
		r = lcm_sys_fsync(root);
	if (r >= 0) /* which, where a subvolume was made, commits all that was done to it */
		r = lcm_sys_fsync(parent);
	if (r < 0)
		lcm_ignore(lcm_subvol_destroy(dir, name));
	return r;
}

int lcm_subvol_limit(int dir, const char *name, uint64_t size)
{
	lcm_autofree struct btrfs_ioctl_get_subvol_info_args *info = calloc(1, sizeof(*info));
	lcm_autoclose int root = lcm_sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r = !info ? -ENOMEM : LCM_MIN(root, 0);

	if (r == 0)
		r = lcm_sys_ioctl(root, BTRFS_IOC_GET_SUBVOL_INFO, info);
	return r < 0 ? r : lcm_qgroup_limit(root, info->treeid, size);
}

static int subvol_probe(int pool, const char *path, struct lcm_err *err)
{
	if (!is_btrfs(pool))
		return lcm_err_set(err, -ENOTSUP, "%s: its file system is not btrfs", path);
	return lcm_quota_ready(pool, path, err);
}

static int check_size(int dir, const char *name, uint64_t size, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH];

	if (size && size % LCM_UNIT_BLOCK == 0)
		return 0;
	return lcm_err_set(err, -EINVAL, "%s: its size must be a multiple of %d bytes",
			   lcm_object_path(dir, name, path), LCM_UNIT_BLOCK);
}

static int subvol_create(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH];
	int r = check_size(dir, name, size, err);

	(void)thin; /* they always are */
	if (r == 0)
		r = lcm_quota_ready(dir, lcm_object_path(dir, name, path), err);
	if (r < 0)
		return r;
	r = lcm_subvol_make(dir, name, -EBADF, false, size);
	return r < 0 ? lcm_object_fail(dir, name, r, "create", err) : 0;
}

static int subvol_copy(int from_dir, const char *from, int to_dir, const char *to, bool read_only,
		       bool live, struct lcm_err *err)
{
	LCM_CLEANUP(subvol_close) struct subvol s = { .fd = -EBADF };
	char path[LCM_OBJECT_PATH];
	int r = subvol_open(from_dir, from, &s, err);

	(void)live; /* a snapshot is one instant */
	if (r == 0)
		r = lcm_quota_ready(to_dir, lcm_object_path(to_dir, to, path), err);
	if (r < 0)
		return r;
	r = lcm_subvol_make(to_dir, to, s.fd, read_only, s.q.limit);
	return r < 0 ? lcm_object_fail(to_dir, to, r, "copy", err) : 0;
}

static int subvol_resize(int dir, const char *name, int mnt, uint64_t size, struct lcm_err *err)
{
	LCM_CLEANUP(subvol_close) struct subvol s = { .fd = -EBADF };
	char path[LCM_OBJECT_PATH];
	int r = subvol_open(dir, name, &s, err);

	(void)mnt;
	(void)lcm_object_path(dir, name, path);
	if (r == 0)
		r = check_size(dir, name, size, err);
	if (r < 0)
		return r;
	if (s.read_only)
		return lcm_err_set(err, -EROFS, "%s is a read-only copy", path);
	r = lcm_quota_ready(s.fd, path, err);
	if (r < 0)
		return r;
	/* What was written before is counted with the next commit. */
	r = lcm_sys_syncfs(s.fd);
	if (r == 0)
		r = lcm_qgroup_read(s.fd, s.id, &s.q);
	if (r == 0 && s.q.referenced > size)
		return lcm_err_set(err, -ENOSPC,
				   "%s: the %" PRIu64 " bytes in it do not fit into %" PRIu64
				   "; delete some of them first",
				   path, s.q.referenced, size);
	if (r == 0)
		r = lcm_qgroup_limit(s.fd, s.id, size);
	return r < 0 ? lcm_object_fail(dir, name, r, "resize", err) : 0;
}

static int subvol_mount(int dir, const char *name, struct lcm_err *err)
{
	LCM_CLEANUP(subvol_close) struct subvol s = { .fd = -EBADF };
	lcm_autoclose int mnt = -EBADF;
	char path[LCM_OBJECT_PATH];
	int r = subvol_open(dir, name, &s, err);

	if (r < 0)
		return r;
	(void)lcm_object_path(dir, name, path);
	if (s.read_only)
		return lcm_err_set(err, -EROFS,
				   "%s is a read-only copy; make a copy of it that can be written",
				   path);
	r = lcm_quota_ready(s.fd, path, err);
	if (r < 0)
		return r;
	r = mnt = lcm_sys_open_clone(s.fd, "", AT_EMPTY_PATH);
	if (r >= 0)
		r = lcm_sys_mount_private(mnt);
	if (r == 0)
		r = lcm_sys_mount_attrs(mnt,
					MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
					    MOUNT_ATTR_NOATIME,
					MOUNT_ATTR__ATIME);
	return r < 0 ? lcm_object_fail(dir, name, r, "mount", err) : lcm_steal_fd(&mnt);
}

static int subvol_size(int dir, const char *name, uint64_t *ret, struct lcm_err *err)
{
	LCM_CLEANUP(subvol_close) struct subvol s = { .fd = -EBADF };
	int r = subvol_open(dir, name, &s, err);

	if (r == 0)
		*ret = s.q.limit;
	return r;
}

static int subvol_usage(int dir, const char *name, uint64_t reserved, uint64_t *ret_used,
			uint64_t *ret_promised, struct lcm_err *err)
{
	LCM_CLEANUP(subvol_close) struct subvol s = { .fd = -EBADF };
	int r = subvol_open(dir, name, &s, err);

	if (r < 0)
		return r;
	*ret_used = s.q.referenced;
	*ret_promised = reserved - LCM_MIN(s.q.exclusive, reserved);
	return 0;
}

static int subvol_remove(int dir, const char *name, struct lcm_err *err)
{
	struct stat st;
	int r = lcm_subvol_unreceive(dir, name);

	if (r == 0)
		r = lcm_sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		/* Or the kernel does not count it and no other; it goes all the same. */
		lcm_ignore(lcm_quota_ready(dir, name, NULL));
		r = lcm_subvol_destroy(dir, name);
	}
	return r < 0 ? lcm_object_fail(dir, name, r, "remove", err) : 0;
}

const struct lcm_unit_ops lcm_unit_subvol_ops = {
	.probe = subvol_probe,
	.create = subvol_create,
	.copy = subvol_copy,
	.exchange = lcm_object_exchange,
	.resize = subvol_resize,
	.mount = subvol_mount,
	.busy = lcm_subvol_busy,
	.size = subvol_size,
	.usage = subvol_usage,
	.send = lcm_subvol_send,
	.receive = lcm_subvol_receive,
	.received = lcm_subvol_received,
	.remove = subvol_remove,
};
