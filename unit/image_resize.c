/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Larger and smaller images. The file is made larger first and smaller last, so that it is never
 * smaller than the file system in it; whatever was interrupted in between is done by the same call
 * again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/fsmount.h"
#include "src/base/run.h"
#include "unit/image_impl.h"
#include "unit/object.h"

static int take_room(const struct lcm_image *i, uint64_t size)
{
	if (i->thick)
		return lcm_image_take(i->fd, size);
	return lcm_sys_ftruncate(i->fd, LCM_MAX(size, (uint64_t)i->st.st_size));
}

/* After a failure: give back what was taken, unless the file system, of @fs_bytes now, has it. */
static void give_back(const struct lcm_image *i, uint64_t fs_bytes)
{
	if (fs_bytes <= (uint64_t)i->st.st_size)
		lcm_ignore(lcm_sys_ftruncate(i->fd, (uint64_t)i->st.st_size));
}

static int resize_fail(const struct lcm_image *i, int r, uint64_t size, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH];

	return lcm_err_set(err, r, "%s: %" PRIu64 " bytes instead of %" PRIu64 ": %s",
			   lcm_object_path(i->dir, i->name, path), size, (uint64_t)i->st.st_size,
			   strerror(-r));
}

/* ---- xfs: mounted ---- */

/* @ret_fs_bytes: what the file system has in the end, also after a failure. */
static int xfs_grow_steps(const struct lcm_image *i, int root, int loop, uint64_t size,
			  uint64_t *ret_fs_bytes)
{
	int r = lcm_xfs_size(root, ret_fs_bytes);

	if (r < 0)
		return r;
	r = take_room(i, size);
	if (r == 0)
		r = lcm_loopdev_resize(loop);
	if (r == 0)
		r = lcm_xfs_grow(root, size);
	if (r < 0 && lcm_xfs_size(root, ret_fs_bytes) < 0)
		*ret_fs_bytes = UINT64_MAX;
	return r;
}

static int xfs_grow_mounted(const struct lcm_image *i, int mnt, uint64_t size)
{
	lcm_autoclose int root = lcm_sys_openat(mnt, ".", O_RDONLY | O_DIRECTORY, 0), loop = -EBADF;
	uint64_t fs_bytes = UINT64_MAX;
	struct stat st;
	int r = root < 0 ? root : lcm_sys_fstat(root, &st);

	if (r == 0)
		r = loop = lcm_loopdev_open(st.st_dev, &i->st);
	if (r < 0)
		return r;
	r = xfs_grow_steps(i, root, loop, size, &fs_bytes);
	if (r < 0) {
		give_back(i, fs_bytes);
		lcm_ignore(lcm_loopdev_resize(loop));
	}
	return r;
}

static int xfs_resize(struct lcm_image *i, int mnt, uint64_t size, struct lcm_err *err)
{
	lcm_autoclose int own = -EBADF;
	char path[LCM_OBJECT_PATH];
	int r;

	if (size < (uint64_t)i->st.st_size)
		return lcm_err_set(
		    err, -ENOTSUP,
		    "%s holds xfs, which cannot be made smaller; make a smaller unit "
		    "and copy the files",
		    lcm_object_path(i->dir, i->name, path));
	/* Where nobody sees it. */
	if (mnt < 0) {
		mnt = own = lcm_image_mount(i, err);
		if (own < 0)
			return own;
	}
	r = xfs_grow_mounted(i, mnt, size);
	if (r == 0)
		r = lcm_sys_fsync(i->fd);
	if (r == 0)
		r = lcm_image_took(i->fd);
	return r < 0 ? resize_fail(i, r, size, err) : 0;
}

/* ---- ext4: not mounted ---- */

static int ext4_tools(const struct lcm_image *i, uint64_t size, struct lcm_err *err)
{
	char kib[32], path[LCM_OBJECT_PATH];
	const char *const check[] = { "e2fsck", "-f", "-p", LCM_RUN_FILE, NULL };
	const char *const resize[] = { "resize2fs", LCM_RUN_FILE, kib, NULL };
	struct lcm_run run = { .argv = check,
			       .what = lcm_object_path(i->dir, i->name, path),
			       .package = "e2fsprogs",
			       .file = i->fd,
			       .also_ok = 1 /* it repaired something */ };
	struct lcm_err said = { 0 };
	int r = lcm_run_with(&run, err);

	if (r < 0)
		return r;
	(void)snprintf(kib, sizeof(kib), "%" PRIu64 "K", size / 1024);
	run.argv = resize;
	run.also_ok = 0;
	r = lcm_run_with(&run, &said);
	if (r == -EIO && strstr(said.msg, "smaller than minimum"))
		return lcm_err_set(err, -ENOSPC,
				   "%s: what is in it does not fit into %" PRIu64
				   " bytes; delete some of it first",
				   path, size);
	return r < 0 ? lcm_err_set(err, r, "%s", said.msg) : 0;
}

static int ext4_shrink(const struct lcm_image *i, uint64_t size, struct lcm_err *err)
{
	int r = ext4_tools(i, size, err);

	if (r < 0)
		return r;
	/* What it holds now is on the disk before the rest of the file goes. */
	r = lcm_sys_fsync(i->fd);
	if (r == 0)
		r = lcm_sys_ftruncate(i->fd, size);
	if (r == 0)
		r = take_room(&(struct lcm_image){ .fd = i->fd, .thick = i->thick }, size);
	if (r == 0)
		r = lcm_sys_fsync(i->fd);
	return r < 0 ? resize_fail(i, r, size, err) : 0;
}

static uint64_t fs_bytes_now(const struct lcm_image *i)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image now = { .fd = -EBADF };

	return lcm_image_open(i->dir, i->name, O_RDONLY, &now, NULL) < 0 ? UINT64_MAX
									 : now.fs_bytes;
}

static int ext4_grow(const struct lcm_image *i, uint64_t size, struct lcm_err *err)
{
	int r = take_room(i, size);

	if (r < 0) {
		give_back(i, 0);
		return resize_fail(i, r, size, err);
	}
	r = ext4_tools(i, size, err);
	if (r < 0) {
		give_back(i, fs_bytes_now(i));
		return r;
	}
	r = take_room(i, size);
	if (r == 0)
		r = lcm_sys_fsync(i->fd);
	if (r == 0)
		r = lcm_image_took(i->fd);
	return r < 0 ? resize_fail(i, r, size, err) : 0;
}

static int ext4_resize(struct lcm_image *i, int mnt, uint64_t size, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH];
	int r = mnt >= 0 ? -EAGAIN : lcm_image_lock(i, F_WRLCK);

	if (r == -EAGAIN)
		return lcm_err_set(
		    err, -EBUSY,
		    "%s holds ext4, which is resized only while nobody uses it; stop "
		    "what does",
		    lcm_object_path(i->dir, i->name, path));
	if (r < 0)
		return lcm_image_fail(i, r, "lock", err);
	return size < (uint64_t)i->st.st_size ? ext4_shrink(i, size, err) : ext4_grow(i, size, err);
}

int lcm_image_resize(int dir, const char *name, int mnt, uint64_t size, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .fd = -EBADF };
	char path[LCM_OBJECT_PATH];
	int r = lcm_image_open(dir, name, O_RDWR, &i, err);

	if (r < 0)
		return r;
	(void)lcm_object_path(dir, name, path);
	if (size == 0 || size % LCM_UNIT_BLOCK)
		return lcm_err_set(err, -EINVAL, "%s: its size must be a multiple of %d bytes",
				   path, LCM_UNIT_BLOCK);
	if (i.read_only)
		return lcm_err_set(err, -EROFS, "%s is a read-only copy", path);
	return i.fs == LCM_IMAGE_XFS ? xfs_resize(&i, mnt, size, err)
				     : ext4_resize(&i, mnt, size, err);
}
