/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_impl.h - what the files of the image backend share.
 *
 * An image is a regular file with a whole file system, xfs or ext4. Mode 0600, or 0400: a read-only
 * copy, which is only ever copied. The attribute LCM_IMAGE_THICK says that all of its bytes were
 * taken from the pool when it was made, and are again whenever it is mounted: mkfs discards
 * nothing; what a FITRIM gives back stays promised to it (ops.usage()). The device's discards are
 * not turned off, as that outlives its use: the next user of the device, whoever that is, could
 * have none. On btrfs the file is not copied on write (and has no checksums of btrfs), as a second
 * write to the same place would need room otherwise.
 *
 * The file is locked (lcm_sys_lock()) through whoever may change it: the loop device it is behind,
 * and the programs that make, check and resize file systems, which outlive us when we are killed.
 *
 * Layer: unit, private to this folder. Threads: any.
 */
#ifndef LCM_UNIT_IMAGE_IMPL_H
#define LCM_UNIT_IMAGE_IMPL_H

#include "src/base/err.h"
#include "src/base/sys.h"
#include "unit/backend.h"

#define LCM_IMAGE_THICK "trusted.locum.thick"
/* After the last umount udev may still look at the loop device, and so keep it and its lock. */
#define LCM_IMAGE_LOCK_MS 1000
#define LCM_IMAGE_BUSY_MS 100
/* An ext4 of some terabytes is checked. */
#define LCM_IMAGE_TOOL_MS 30000

enum lcm_image_fs {
	LCM_IMAGE_XFS,
	LCM_IMAGE_EXT4,
};

/* An open image. */
struct lcm_image {
	int dir;          /* borrowed, with name: for texts */
	const char *name; /* borrowed */
	int fd;           /* owned */
	struct stat st;   /* as it was opened */
	enum lcm_image_fs fs;
	uint64_t fs_bytes; /* what its superblock says; behind a loop device it may be older */
	bool thick;
	bool read_only;
};

/**
 * lcm_image_open - open it and see what it is
 * @flags: O_RDONLY or O_RDWR
 * Return: 0; -EUCLEAN (no regular file with xfs or ext4); -errno.
 */
LCM_MUST_USE int lcm_image_open(int dir, const char *name, int flags, struct lcm_image *ret,
				struct lcm_err *err);
void lcm_image_close(struct lcm_image *i); /* also one of zeroes and fd -EBADF */
/** lcm_image_fail - lcm_object_fail() of an open one. */
int lcm_image_fail(const struct lcm_image *i, int r, const char *doing, struct lcm_err *err);
/** lcm_image_lock - that of the whole file, F_RDLCK or F_WRLCK, until it is closed. Without a loop
 * device it is e2fsck or resize2fs of a verb that was killed which has it: they end by themselves,
 * and to kill them, too, would risk the file system. Return: 0; -EAGAIN (a loop device has it);
 * -errno. */
LCM_MUST_USE int lcm_image_lock(const struct lcm_image *i, short type);
/** lcm_image_mount - a detached mount through a loop device; that of ops.mount(). */
LCM_MUST_USE int lcm_image_mount(struct lcm_image *i, struct lcm_err *err);

/* ops */
int lcm_image_create(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err);
int lcm_image_copy(int from_dir, const char *from, int to_dir, const char *to, bool read_only,
		   bool live, struct lcm_err *err);
int lcm_image_resize(int dir, const char *name, int mnt, uint64_t size, struct lcm_err *err);
int lcm_image_send(int dir, const char *name, lcm_unit_send_fn fn, void *arg, struct lcm_err *err);
int lcm_image_receive(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err);
int lcm_image_received(int dir, const char *name, int fd, uint64_t size, struct lcm_err *err);

/** lcm_image_each_data - @fn gets its bytes in order, 1 to LCM_FRAME_PLAIN_MAX at a time, without
 * the holes; other than 0 from it stops and is returned. */
LCM_MUST_USE int lcm_image_each_data(const struct lcm_image *i, lcm_unit_send_fn fn, void *arg);
/** lcm_image_take - take what a file of @size bytes does not yet have of the pool. Return: 0,
 * -errno. */
LCM_MUST_USE int lcm_image_take(int fd, uint64_t size);
/** lcm_image_took - what it has taken is seen to be gone from the pool. */
LCM_MUST_USE int lcm_image_took(int fd);
/** lcm_image_make_thick - take all bytes of a file from the pool; it has the size then. */
LCM_MUST_USE int lcm_image_make_thick(int fd, uint64_t size);

/**
 * lcm_xfs_size - what the mounted xfs says of its size
 * @root: its root directory, opened to be read
 */
LCM_MUST_USE int lcm_xfs_size(int root, uint64_t *ret_bytes);
/** lcm_xfs_grow - XFS_IOC_FSGROWFSDATA to @bytes, unless it has them. Return: 0, -errno. */
LCM_MUST_USE int lcm_xfs_grow(int root, uint64_t bytes);

#endif
