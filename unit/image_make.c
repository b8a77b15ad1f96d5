/* SPDX-License-Identifier: Apache-2.0 */
/* New images: by mkfs, and as copies. */
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "src/base/fsmount.h"
#include "src/base/run.h"
#include "unit/image_impl.h"
#include "unit/object.h"

#define XFS_SIZE_MIN (300ULL << 20) /* mkfs.xfs refuses less */
#define TAKE_BYTES (16ULL << 20)

/* A new file that goes again unless it is finished. */
struct new_image {
	int dir;          /* borrowed, with name */
	const char *name; /* borrowed */
	int fd;           /* owned */
	bool keep;
};

static void new_image_end(struct new_image *n)
{
	if (n->fd >= 0 && !n->keep)
		lcm_ignore(lcm_sys_unlinkat(n->dir, n->name, 0));
	lcm_closep(&n->fd);
}

static int new_image_finish(struct new_image *n)
{
	int r = lcm_sys_fsync(n->fd);

	if (r == 0)
		r = lcm_fsync_parent_at(n->dir, n->name);
	n->keep = r == 0;
	return r;
}

/* Whether btrfs overwrites in place; only while the file is empty. Elsewhere there is no such flag.
 */
static int set_nocow(int fd, unsigned int nocow)
{
	unsigned int flags = 0, want;
	int r = lcm_sys_ioctl(fd, FS_IOC_GETFLAGS, &flags);

	want = (flags & ~(unsigned int)FS_NOCOW_FL) | nocow;
	if (r == -ENOTTY || r == -EOPNOTSUPP || want == flags)
		return 0;
	return r < 0 ? r : lcm_sys_ioctl(fd, FS_IOC_SETFLAGS, &want);
}

/* File systems clone only between files of which both or none have it. */
static int same_nocow(int from, int to)
{
	unsigned int flags = 0;
	int r = lcm_sys_ioctl(from, FS_IOC_GETFLAGS, &flags);

	if (r == -ENOTTY || r == -EOPNOTSUPP)
		return 0;
	return r < 0 ? r : set_nocow(to, flags & FS_NOCOW_FL);
}

/* xfs reserves up to 8 GiB of a range before it sees that the file has that already: so a file for
 * which there is room can fail. In small pieces it needs little more than what is missing. */
int lcm_image_take(int fd, uint64_t size)
{
	int r = lcm_sys_fallocate(fd, 0, 0, size);

	if (r != -ENOSPC)
		return r;
	r = 0;
	for (uint64_t off = 0; r == 0 && off < size; off += TAKE_BYTES)
		r = lcm_sys_fallocate(fd, 0, off, LCM_MIN(size - off, TAKE_BYTES));
	return r;
}

/* btrfs counts what was allocated as free until the transaction's end, and the pool's floor would
 * be given away. */
int lcm_image_took(int fd)
{
	struct statfs fs;
	int r = (int)lcm_errno(fstatfs(fd, &fs));

	return r < 0 || fs.f_type != BTRFS_SUPER_MAGIC ? r : lcm_btrfs_commit(fd);
}

int lcm_image_make_thick(int fd, uint64_t size)
{
	struct statfs fs;
	int r = (int)lcm_errno(fstatfs(fd, &fs));

	if (r == 0 && fs.f_type == BTRFS_SUPER_MAGIC)
		r = set_nocow(fd, FS_NOCOW_FL);
	if (r == 0)
		r = lcm_sys_fsetxattr(fd, LCM_IMAGE_THICK, "1", 1);
	return r < 0 ? r : lcm_image_take(fd, size);
}

/*
 * Sectors and blocks of 4096, so that it can be mounted on a disk of such sectors, too. Nothing is
 * discarded; what was allocated reads as zeros, so that ext4 need not zero its tables.
 */
static int mkfs(enum lcm_image_fs type, int fd, const char *what, struct lcm_err *err)
{
	static const char *const xfs[] = { "mkfs.xfs",  "-q",         "-K", "-s",
					   "size=4096", LCM_RUN_FILE, NULL };
	static const char *const ext4[] = {
		"mkfs.ext4",  "-q",   "-F",
		"-b",         "4096", "-m",
		"0",          "-E",   "nodiscard,assume_storage_prezeroed=1",
		LCM_RUN_FILE, NULL,
	};
	const struct lcm_run run = { .argv = type == LCM_IMAGE_XFS ? xfs : ext4,
				     .what = what,
				     .package = type == LCM_IMAGE_XFS ? "xfsprogs" : "e2fsprogs",
				     .file = fd };

	return lcm_run_with(&run, err);
}

static bool kernel_has_xfs(void)
{
	lcm_autoclose int fs = lcm_sys_fsopen("xfs");

	return fs >= 0;
}

static int create_fs(int fd, uint64_t size, const char *what, struct lcm_err *err)
{
	int r;

	if (size >= XFS_SIZE_MIN && kernel_has_xfs()) {
		r = mkfs(LCM_IMAGE_XFS, fd, what, err);
		if (r != -ENOENT)
			return r;
	}
	return mkfs(LCM_IMAGE_EXT4, fd, what, err);
}

int lcm_image_create(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err)
{
	LCM_CLEANUP(new_image_end) struct new_image n = { .dir = dir, .name = name, .fd = -EBADF };
	char path[LCM_OBJECT_PATH];
	int r;

	(void)lcm_object_path(dir, name, path);
	if (size == 0 || size % LCM_UNIT_BLOCK)
		return lcm_err_set(err, -EINVAL, "%s: its size must be a multiple of %d bytes",
				   path, LCM_UNIT_BLOCK);
	r = n.fd = lcm_sys_openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (r >= 0)
		r = lcm_sys_lock(n.fd, F_WRLCK, 0);
	if (r == 0)
		r = thin ? lcm_sys_ftruncate(n.fd, size) : lcm_image_make_thick(n.fd, size);
	if (r < 0)
		return lcm_err_set(err, r, "%s: making a file of %llu bytes: %s", path,
				   (unsigned long long)size, strerror(-r));
	r = create_fs(n.fd, size, path, err);
	if (r < 0)
		return r;
	/* Whatever mkfs thought could be a hole. */
	if (!thin)
		r = lcm_image_take(n.fd, size);
	if (r == 0 && !thin)
		r = lcm_image_took(n.fd);
	if (r == 0)
		r = new_image_finish(&n);
	return r < 0 ? lcm_object_fail(dir, name, r, "create", err) : 0;
}

static int copy_bytes(void *arg, uint64_t off, const void *p, size_t len)
{
	return lcm_sys_pwrite_full(*(const int *)arg, p, len, off);
}

/* By reference, where the file system can. */
static int copy_fill(const struct lcm_image *from, int to, bool thick, bool live)
{
	uint64_t size = (uint64_t)from->st.st_size;
	int r = lcm_sys_ioctl(to, FICLONE, (void *)(intptr_t)from->fd);

	if (r == -EOPNOTSUPP || r == -ENOTTY || r == -EXDEV || r == -EINVAL) {
		if (live)
			return -EBUSY;
		r = thick ? lcm_image_take(to, size) : lcm_sys_ftruncate(to, size);
		if (r == 0)
			r = lcm_image_each_data(from, copy_bytes, &to);
	}
	/* A clone has holes where its origin was allocated and not yet written. */
	return r < 0 || !thick ? r : lcm_image_take(to, size);
}

static int copy_to(const struct lcm_image *from, struct new_image *n, bool read_only, bool live)
{
	int r = same_nocow(from->fd, n->fd);

	if (r == 0)
		r = copy_fill(from, n->fd, from->thick && !read_only, live);
	/* A read-only one takes no more than it has, but copies of it are thick again. */
	if (r == 0 && from->thick)
		r = lcm_sys_fsetxattr(n->fd, LCM_IMAGE_THICK, "1", 1);
	if (r == 0 && read_only)
		r = lcm_sys_fchmod(n->fd, 0400);
	if (r == 0 && from->thick && !read_only)
		r = lcm_image_took(n->fd);
	return r < 0 ? r : new_image_finish(n);
}

int lcm_image_copy(int from_dir, const char *from, int to_dir, const char *to, bool read_only,
		   bool live, struct lcm_err *err)
{
	LCM_CLEANUP(new_image_end) struct new_image n = { .dir = to_dir, .name = to, .fd = -EBADF };
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .fd = -EBADF };
	char path[LCM_OBJECT_PATH];
	int r = lcm_image_open(from_dir, from, O_RDONLY, &i, err);

	if (r < 0)
		return r;
	/* A program that resizes it may have outlived who started it. */
	r = live ? 0 : lcm_image_lock(&i, F_RDLCK);
	if (r == -EAGAIN)
		return lcm_err_set(err, -EBUSY,
				   "%s is mounted, or is being resized; stop what uses it",
				   lcm_object_path(from_dir, from, path));
	if (r < 0)
		return lcm_image_fail(&i, r, "lock", err);
	n.fd = lcm_sys_openat(to_dir, to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	r = n.fd < 0 ? n.fd : copy_to(&i, &n, read_only, live);
	if (r == -EBUSY)
		return lcm_err_set(err, r,
				   "%s is in use, and the file system of this pool cannot copy a "
				   "file in one instant; stop what uses it, or have the pool on "
				   "xfs or btrfs",
				   lcm_object_path(from_dir, from, path));
	return r < 0 ? lcm_object_fail(to_dir, to, r, "copy", err) : 0;
}
