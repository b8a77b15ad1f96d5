/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>

#include "src/base/fsmount.h"
#include "src/base/run.h"
#include "unit/backend.h"
#include "unit/image_impl.h"
#include "unit/object.h"

#define HEAD_BYTES 2048 /* both superblocks */
#define PROBE_BYTES (1ULL << 20)

/* Fields of the superblocks. Source: Documentation/filesystems/ext4/super.rst, xfs_format.h. */
#define XFS_MAGIC "XFSB"
#define XFS_BLOCKSIZE 4
#define XFS_DBLOCKS 8
#define EXT4_SUPER 1024
#define EXT4_BLOCKS_LO (EXT4_SUPER + 0x4)
#define EXT4_LOG_BLOCK (EXT4_SUPER + 0x18)
#define EXT4_MAGIC (EXT4_SUPER + 0x38)
#define EXT4_INCOMPAT (EXT4_SUPER + 0x60)
#define EXT4_INCOMPAT_64BIT 0x80U
#define EXT4_BLOCKS_HI (EXT4_SUPER + 0x150)

static uint32_t le32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint32_t be32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t be64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static int super_xfs(const unsigned char *head, uint64_t *ret)
{
	return __builtin_mul_overflow(be64(head + XFS_DBLOCKS),
				      (uint64_t)be32(head + XFS_BLOCKSIZE), ret)
		   ? -EUCLEAN
		   : 0;
}

static int super_ext4(const unsigned char *head, uint64_t *ret)
{
	uint64_t blocks = le32(head + EXT4_BLOCKS_LO);
	uint32_t log = le32(head + EXT4_LOG_BLOCK);

	if (log > 6) /* 64 KiB, the largest there is */
		return -EUCLEAN;
	if (le32(head + EXT4_INCOMPAT) & EXT4_INCOMPAT_64BIT)
		blocks |= (uint64_t)le32(head + EXT4_BLOCKS_HI) << 32;
	return __builtin_mul_overflow(blocks, 1024ULL << log, ret) ? -EUCLEAN : 0;
}

static int image_read_super(struct lcm_image *i)
{
	unsigned char head[HEAD_BYTES];
	int r = lcm_sys_pread_full(i->fd, head, sizeof(head), 0);

	if (r < 0)
		return r == -EIO && i->st.st_size < HEAD_BYTES ? -EUCLEAN : r;
	if (memcmp(head, XFS_MAGIC, 4) == 0) {
		i->fs = LCM_IMAGE_XFS;
		return super_xfs(head, &i->fs_bytes);
	}
	i->fs = LCM_IMAGE_EXT4;
	if ((le32(head + EXT4_MAGIC) & 0xffff) != EXT4_SUPER_MAGIC)
		return -EUCLEAN;
	return super_ext4(head, &i->fs_bytes);
}

void lcm_image_close(struct lcm_image *i)
{
	lcm_closep(&i->fd);
}

int lcm_image_fail(const struct lcm_image *i, int r, const char *doing, struct lcm_err *err)
{
	return lcm_object_fail(i->dir, i->name, r, doing, err);
}

int lcm_image_open(int dir, const char *name, int flags, struct lcm_image *ret, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .dir = dir, .name = name };
	char yes, path[LCM_OBJECT_PATH];
	ssize_t n;
	int r;

	/* Not to wait for a FIFO that somebody put there. */
	r = i.fd = lcm_sys_openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK, 0);
	if (r >= 0)
		r = lcm_sys_fstat(i.fd, &i.st);
	if (r == 0)
		r = S_ISREG(i.st.st_mode) ? image_read_super(&i) : -EUCLEAN;
	if (r == -EUCLEAN || r == -ELOOP || r == -EISDIR)
		return lcm_err_set(err, -EUCLEAN, "%s is no file with xfs or ext4",
				   lcm_object_path(dir, name, path));
	if (r < 0)
		return lcm_object_fail(dir, name, r, "open", err);
	n = lcm_sys_fgetxattr(i.fd, LCM_IMAGE_THICK, &yes, sizeof(yes));
	if (n < 0 && n != -ENODATA && n != -EOPNOTSUPP)
		return lcm_object_fail(dir, name, (int)n, LCM_IMAGE_THICK, err);
	i.thick = n > 0;
	i.read_only = !(i.st.st_mode & S_IWUSR);
	*ret = i;
	i.fd = -EBADF;
	return 0;
}

static int image_mount_fs(const char *dev, const char *path, enum lcm_image_fs type,
			  struct lcm_err *err)
{
	struct lcm_fs fs = lcm_fs_new(type == LCM_IMAGE_XFS ? "xfs" : "ext4");

	lcm_fs_string(&fs, "source", dev);
	if (type == LCM_IMAGE_XFS)
		lcm_fs_flag(&fs, "nouuid"); /* a clone has its origin's */
	else
		lcm_fs_string(&fs, "errors", "remount-ro");
	return lcm_fs_finish(
	    &fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME,
	    path, err);
}

int lcm_image_lock(const struct lcm_image *i, short type)
{
	int r = lcm_sys_lock(i->fd, type, LCM_IMAGE_LOCK_MS);

	if (r != -EAGAIN || lcm_loopdev_find(i->fd) != 0)
		return r;
	return lcm_sys_lock(i->fd, type, LCM_IMAGE_TOOL_MS);
}

int lcm_image_mount(struct lcm_image *i, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH], dev[LCM_LOOPDEV];
	lcm_autoclose int loop = -EBADF;
	int r;

	(void)lcm_object_path(i->dir, i->name, path);
	if (i->read_only)
		return lcm_err_set(err, -EROFS,
				   "%s is a read-only copy; make a copy of it that can be written",
				   path);
	/* The loop device keeps the file open and so the lock. */
	r = lcm_image_lock(i, F_WRLCK);
	if (r == -EAGAIN)
		return lcm_err_set(err, -EBUSY,
				   "%s is mounted already, or is being resized; see losetup -j",
				   path);
	if (r < 0)
		return lcm_image_fail(i, r, "lock", err);
	/* Holes that a FITRIM has made since; until then they were promised to it. */
	if (i->thick)
		r = lcm_image_take(i->fd, (uint64_t)i->st.st_size);
	if (r < 0)
		return lcm_image_fail(i, r, "take back what was trimmed", err);
	loop = lcm_loopdev_attach(i->fd, LO_FLAGS_DIRECT_IO, path, dev, err);
	if (loop < 0)
		return loop;
	return image_mount_fs(dev, path, i->fs, err);
}

static int image_mount(int dir, const char *name, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .fd = -EBADF };
	int r = lcm_image_open(dir, name, O_RDWR, &i, err);

	return r < 0 ? r : lcm_image_mount(&i, err);
}

static int image_busy(int dir, const char *name)
{
	lcm_autoclose int fd = lcm_sys_openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	int r = fd < 0 ? fd : lcm_sys_lock(fd, F_RDLCK, LCM_IMAGE_BUSY_MS);

	if (r == 0)
		r = lcm_sys_lock(fd, F_UNLCK, 0);
	if (r < 0) /* -EAGAIN: our own loop devices have the lock */
		return r == -EAGAIN ? 1 : r;
	return lcm_loopdev_find(fd);
}

static int image_size(int dir, const char *name, uint64_t *ret, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .fd = -EBADF };
	int r = lcm_image_open(dir, name, O_RDONLY, &i, err);

	if (r == 0)
		*ret = (uint64_t)i.st.st_size;
	return r;
}

static int image_usage(int dir, const char *name, uint64_t reserved, uint64_t *ret_used,
		       uint64_t *ret_promised, struct lcm_err *err)
{
	struct stat st;
	uint64_t size, used, holes = 0;
	int r = lcm_sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);

	if (r < 0)
		return lcm_object_fail(dir, name, r, "usage", err);
	size = (uint64_t)st.st_size;
	used = (uint64_t)st.st_blocks * 512;
	/* A thick one has no holes but those that a crash or ext4's own zeroing left. */
	if (st.st_mode & S_IWUSR)
		holes = size - LCM_MIN(used, size);
	*ret_used = used;
	*ret_promised = LCM_MIN(size, LCM_MIN(reserved, size) + holes);
	return 0;
}

/* Truncated first: xfs frees what was unlinked some time later, and a FITRIM would not find it. */
static int image_remove(int dir, const char *name, struct lcm_err *err)
{
	lcm_autoclose int fd = lcm_sys_openat(dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	int r;

	if (fd >= 0)
		lcm_ignore(lcm_sys_ftruncate(fd, 0));
	r = lcm_sys_unlinkat(dir, name, 0);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = lcm_fsync_parent_at(dir, name);
	return r < 0 ? lcm_object_fail(dir, name, r, "remove", err) : 0;
}

/* What thick files need of the file system. */
static int probe_file(int pool, const char *path, struct lcm_err *err)
{
	lcm_autoclose int fd = lcm_sys_openat(pool, ".", O_TMPFILE | O_RDWR, 0600);
	int r;

	if (fd < 0)
		return lcm_err_set(err, fd == -EOPNOTSUPP || fd == -EISDIR ? -ENOTSUP : fd,
				   "%s: no files without name there (O_TMPFILE): %s", path,
				   strerror(-fd));
	r = lcm_sys_fallocate(fd, 0, 0, PROBE_BYTES);
	if (r < 0)
		return lcm_err_set(err, r,
				   "%s: its file system cannot take room for a file in advance "
				   "(fallocate): %s; use xfs, ext4 or btrfs",
				   path, strerror(-r));
	r = lcm_sys_fsetxattr(fd, LCM_IMAGE_THICK, "1", 1);
	if (r < 0)
		return lcm_err_set(err, r,
				   "%s: no trusted extended attributes there: %s; use xfs, ext4 "
				   "or btrfs",
				   path, strerror(-r));
	return 0;
}

static int image_probe(int pool, const char *path, struct lcm_err *err)
{
	const char *const argv[] = { "mkfs.ext4", "-V", NULL };
	struct lcm_run run = { .argv = argv, .what = path, .package = "e2fsprogs", .file = -EBADF };
	lcm_autoclose int ctl = -EBADF;
	int r = probe_file(pool, path, err);

	if (r < 0)
		return r;
	ctl = lcm_sys_openat(AT_FDCWD, "/dev/loop-control", O_RDWR, 0);
	if (ctl < 0)
		return lcm_err_set(err, ctl == -ENOENT ? -ENOTSUP : ctl,
				   "%s: /dev/loop-control: %s (modprobe loop)", path,
				   strerror(-ctl));
	r = lcm_run_with(&run, err);
	return r == -ENOENT ? -ENOTSUP : r;
}

const struct lcm_unit_ops lcm_unit_image_ops = {
	.probe = image_probe,
	.create = lcm_image_create,
	.copy = lcm_image_copy,
	.exchange = lcm_object_exchange,
	.resize = lcm_image_resize,
	.mount = image_mount,
	.busy = image_busy,
	.size = image_size,
	.usage = image_usage,
	.send = lcm_image_send,
	.receive = lcm_image_receive,
	.received = lcm_image_received,
	.remove = image_remove,
	.thick = true,
};
