/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/fsmount.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "src/base/sys.h"

/* Runs a call as a fault point. None of these is restarted after a signal: callers see -EINTR. */
#define CALL(call)                                                                                 \
	({                                                                                         \
		long call_r = lcm_fault_check();                                                   \
		call_r == 0 ? lcm_errno(call) : call_r;                                            \
	})

int lcm_sys_fsopen(const char *type)
{
	return (int)CALL(fsopen(type, FSOPEN_CLOEXEC));
}

int lcm_sys_fspick(const char *path)
{
	return (int)CALL(fspick(AT_FDCWD, path, FSPICK_CLOEXEC | FSPICK_NO_AUTOMOUNT));
}

int lcm_sys_fsconfig(int fs, unsigned int cmd, const char *key, const void *value, int aux)
{
	return (int)CALL(fsconfig(fs, cmd, key, value, aux));
}

int lcm_sys_fsmount(int fs, unsigned int attrs)
{
	return (int)CALL(fsmount(fs, FSMOUNT_CLOEXEC, attrs));
}

int lcm_sys_open_clone(int dirfd, const char *path, unsigned int flags)
{
	return (int)CALL(open_tree(dirfd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags));
}

int lcm_sys_move_mount(int from, int to)
{
	return (int)CALL(
	    move_mount(from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

int lcm_sys_mount_private(int mount_fd)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };

	return (int)CALL(mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
}

int lcm_sys_mount_attrs(int mount_fd, uint64_t attrs, uint64_t clear)
{
	struct mount_attr attr = { .attr_set = attrs, .attr_clr = clear };

	return (int)CALL(mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
}

int lcm_sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
		  const char *data)
{
	return (int)CALL(mount(source, target, type, flags, data));
}

int lcm_sys_umount2(const char *target, int flags)
{
	return (int)CALL(umount2(target, flags));
}

int lcm_sys_statx(int fd, struct statx *ret)
{
	return (int)CALL(
	    statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID, ret));
}

int lcm_sys_is_mount_root(const char *path)
{
	struct statx st;
	int r = (int)CALL(
	    statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st));

	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

struct lcm_fs lcm_fs_new(const char *type)
{
	int fd = lcm_sys_fsopen(type);

	return (struct lcm_fs){ .fd = fd, .r = LCM_MIN(fd, 0) };
}

void lcm_fs_set(struct lcm_fs *fs, unsigned int cmd, const char *key, const char *value, int aux)
{
	if (fs->r < 0)
		return;
	fs->r = lcm_sys_fsconfig(fs->fd, cmd, key, value, aux);
	if (fs->r < 0)
		fs->key = key;
}

void lcm_fs_string(struct lcm_fs *fs, const char *key, const char *value)
{
	lcm_fs_set(fs, FSCONFIG_SET_STRING, key, value, 0);
}

void lcm_fs_flag(struct lcm_fs *fs, const char *key)
{
	lcm_fs_set(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
}

/* fsopen(2): each read(2) of the context gives one message, "e text" for an error, ENODATA after
 * the last. */
static void fs_messages(int fd, char *out, size_t cap)
{
	size_t at = 0;

	out[0] = '\0';
	for (int i = 0; i < 8 && at + 3 < cap; i++) {
		char line[256];
		ssize_t n = lcm_sys_read(fd, line, sizeof(line) - 1);

		if (n <= 0)
			break;
		while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\0'))
			n--;
		line[n] = '\0';
		if (n < 3)
			continue;
		at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? "; " : "", line + 2);
	}
}

static int fs_fail(const struct lcm_fs *fs, const char *what, struct lcm_err *err)
{
	char said[LCM_ERR_MSG_MAX / 2] = "";

	if (!err)
		return fs->r;
	if (fs->fd >= 0)
		fs_messages(fs->fd, said, sizeof(said));
	if (fs->fd == -ENODEV)
		return lcm_err_set(err, fs->r,
				   "%s: this kernel has no such file system (try modprobe)", what);
	if (fs->r == -EPERM)
		return lcm_err_set(err, fs->r,
				   "%s: not permitted; run as root with CAP_SYS_ADMIN%s%s", what,
				   said[0] ? ": " : "", said);
	return lcm_err_set(err, fs->r, "%s%s%s: %s (%s)", what, fs->key ? ", option " : "",
			   fs->key ? fs->key : "", strerror(-fs->r),
			   said[0] ? said : "the kernel gave no reason; see dmesg");
}

/* Creates the file system and a detached mount of it. */
int lcm_fs_finish(struct lcm_fs *fs, unsigned int attrs, const char *what, struct lcm_err *err)
{
	lcm_fs_set(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (fs->r == 0)
		fs->r = lcm_sys_fsmount(fs->fd, attrs);
	if (fs->r < 0)
		lcm_ignore(fs_fail(fs, what, err));
	lcm_closep(&fs->fd);
	return fs->r;
}
