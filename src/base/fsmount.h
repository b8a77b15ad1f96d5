/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsmount.h - the mount system calls, returning -errno; loop devices.
 *
 * Layer: base. Every call is a fault point (src/base/sys.h). Threads: any.
 * Source: fsopen(2), fsconfig(2), fsmount(2), fspick(2), move_mount(2), open_tree(2),
 * mount_setattr(2), Linux uapi/linux/mount.h; loop(4).
 */
#ifndef LCM_FSMOUNT_H
#define LCM_FSMOUNT_H

#include <sys/stat.h>

#include "src/base/err.h"

/** lcm_sys_fsopen - a new file system context, close-on-exec. Return: fd or -errno (-ENODEV:
 * unknown type). */
LCM_MUST_USE int lcm_sys_fsopen(const char *type);
/** lcm_sys_fspick - a context to reconfigure the file system mounted at @path, close-on-exec.
 * Return: fd or -errno. */
LCM_MUST_USE int lcm_sys_fspick(const char *path);
LCM_MUST_USE int lcm_sys_fsconfig(int fs, unsigned int cmd, const char *key, const void *value,
				  int aux);
/** lcm_sys_fsmount - a detached mount with @attrs (MOUNT_ATTR_*), close-on-exec. Return: fd or
 * -errno.
 */
LCM_MUST_USE int lcm_sys_fsmount(int fs, unsigned int attrs);
/** lcm_sys_open_clone - open_tree(2): a detached clone of one mount (not of what is mounted below
 * it). Return: fd or -errno. */
LCM_MUST_USE int lcm_sys_open_clone(int dirfd, const char *path, unsigned int flags);
/** lcm_sys_move_mount - both descriptors with empty paths: the mount of @from goes onto the
 * directory
 * @to. */
LCM_MUST_USE int lcm_sys_move_mount(int from, int to);
LCM_MUST_USE int lcm_sys_mount_private(int mount_fd);
/** lcm_sys_mount_attrs - add @attrs (MOUNT_ATTR_*) to a mount, @clear goes. Source:
 * mount_setattr(2).
 */
LCM_MUST_USE int lcm_sys_mount_attrs(int mount_fd, uint64_t attrs, uint64_t clear);
LCM_MUST_USE int lcm_sys_mount(const char *source, const char *target, const char *type,
			       unsigned long flags, const char *data);
LCM_MUST_USE int lcm_sys_umount2(const char *target, int flags);

/** lcm_sys_is_mount_root - is something mounted at @path, as far as our mount namespace knows? A
 * link is not followed. Return: 1, 0 (also when it is missing), -errno. Source: statx(2)
 * STATX_ATTR_MOUNT_ROOT. */
LCM_MUST_USE int lcm_sys_is_mount_root(const char *path);
/** lcm_sys_statx - type, mount id and attributes of an open descriptor. */
LCM_MUST_USE int lcm_sys_statx(int fd, struct statx *ret);

/* A file system context being configured: the first failure stays, later steps do nothing. */
struct lcm_fs {
	int fd;          /* owned; -errno when it could not be opened */
	int r;           /* first failure, 0 */
	const char *key; /* the parameter that failed; NULL: the file system as a whole */
};
struct lcm_fs lcm_fs_new(const char *type);
void lcm_fs_set(struct lcm_fs *fs, unsigned int cmd, const char *key, const char *value, int aux);
void lcm_fs_string(struct lcm_fs *fs, const char *key, const char *value);
void lcm_fs_flag(struct lcm_fs *fs, const char *key);
/**
 * lcm_fs_finish - create the file system, close the context
 * @what: first words of the error text, which carries the kernel's own messages
 * Return: a detached mount with @attrs (MOUNT_ATTR_*), or the first failure.
 */
LCM_MUST_USE int lcm_fs_finish(struct lcm_fs *fs, unsigned int attrs, const char *what,
			       struct lcm_err *err);

#define LCM_LOOPDEV 32 /* "/dev/loop" and a number */
/**
 * lcm_loopdev_attach - put the file @image (borrowed) behind a free loop device
 * @flags: LO_FLAGS_READ_ONLY, LO_FLAGS_DIRECT_IO (without effect where the file system has none);
 * LO_FLAGS_AUTOCLEAR is always set: the device goes with its last user, which is the mount once the
 * returned descriptor is closed
 * @ret_dev: its path
 * Return: a descriptor of the device, open to be read; -errno (text names @what).
 */
LCM_MUST_USE int lcm_loopdev_attach(int image, uint32_t flags, const char *what,
				    char ret_dev[LCM_LOOPDEV], struct lcm_err *err);
/**
 * lcm_loopdev_find - is the file behind a loop device, whoever made it?
 * @file: borrowed
 * Looks at devices whose file ends with the same two names only: an open device is not freed when
 * its mount goes, and that of others is not to be kept. So it misses files that were bind-mounted
 * with another name.
 * Return: 1, 0, -errno.
 */
LCM_MUST_USE int lcm_loopdev_find(int file);
/**
 * lcm_loopdev_open - the loop device @dev, the st_dev of what is mounted from it
 * @file: of fstat(2): the file that must be behind it
 * Return: a descriptor, open to be read; -EXDEV (it is no loop device, or of another file); -errno.
 */
LCM_MUST_USE int lcm_loopdev_open(dev_t dev, const struct stat *file);
/** lcm_loopdev_resize - take over the size that the file behind @fd has now. */
LCM_MUST_USE int lcm_loopdev_resize(int fd);

#endif
