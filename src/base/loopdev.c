/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>

#include "src/base/fsmount.h"
#include "src/base/sys.h"

#define TRIES 32     /* for a device: somebody else may be faster */
#define TRIES_USED 4 /* of these, for one that was used before */

static int loop_ioctl(int fd, unsigned long request, long arg)
{
	return lcm_sys_ioctl(fd, request, (void *)arg);
}

/*
 * queue/discard_max_bytes of a loop device outlives its use, and once it is 0 the kernel takes no
 * other value (6.18: granularity is 0 then, and everything else is no multiple of it). So those
 * that had their discards turned off are used for that only, and made for it: LOOP_CTL_GET_FREE
 * gives them to others only when there is no other.
 */
static int loop_set_discard(const char *dev, bool on)
{
	lcm_autofree char *now = NULL, *most = NULL;
	lcm_autoclose int dir = -EBADF, fd = -EBADF;
	char path[PATH_MAX];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/sys/block/%s/queue", dev + strlen("/dev/"));
	r = dir = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (r >= 0)
		r = lcm_read_file_at(dir, "discard_max_bytes", 64, &now, &len);
	if (r == 0 && on)
		r = lcm_read_file_at(dir, "discard_max_hw_bytes", 64, &most, &len);
	if (r < 0)
		return r;
	if (on) /* as it is, or the file can have no holes */
		return strcmp(now, "0\n") == 0 && strcmp(most, "0\n") != 0 ? -EAGAIN : 0;
	if (strcmp(now, "0\n") == 0)
		return 0;
	fd = lcm_sys_openat(dir, "discard_max_bytes", O_WRONLY, 0);
	return fd < 0 ? fd : lcm_sys_write_full(fd, "0", 1);
}

struct loop_free {
	bool discard; /* wanted */
	int n;        /* its number */
};

static bool reads_zero(int dirfd, const char *name, const char *file)
{
	lcm_autofree char *text = NULL;
	char path[PATH_MAX];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/queue/%s", name, file);
	return lcm_read_file_at(dirfd, path, 64, &text, &len) == 0 && strcmp(text, "0\n") == 0;
}

/* lcm_dir_each_fn on /sys/block: 1 when it is a free device of the wanted kind. */
static int loop_find_free(void *arg, int dirfd, const char *name)
{
	struct loop_free *f = arg;
	char path[PATH_MAX];
	struct stat st;
	bool off;
	int n;

	if (sscanf(name, "loop%d", &n) != 1)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/loop/backing_file", name);
	if (lcm_sys_fstatat(dirfd, path, &st, 0) != -ENOENT)
		return 0;
	/* Where the hardware value is 0, too, it is that of the last file. */
	off = reads_zero(dirfd, name, "discard_max_bytes") &&
	      !reads_zero(dirfd, name, "discard_max_hw_bytes");
	if (off == f->discard)
		return 0;
	f->n = n;
	return 1;
}

/* Return: the number of a device to try, -errno. */
static int loop_pick(int ctl, enum lcm_loopdev_discard discard, int tries)
{
	struct loop_free f = { .discard = discard == LCM_LOOPDEV_DISCARD_ON };
	lcm_autoclose int dir = -EBADF;
	int r;

	if (discard == LCM_LOOPDEV_DISCARD_ANY)
		return loop_ioctl(ctl, LOOP_CTL_GET_FREE, 0);
	if (tries >= TRIES_USED)
		return loop_ioctl(ctl, LOOP_CTL_ADD, -1);
	dir = lcm_sys_openat(AT_FDCWD, "/sys/block", O_RDONLY | O_DIRECTORY, 0);
	r = dir < 0 ? dir : lcm_dir_each(dir, loop_find_free, &f);
	if (r != 0)
		return r < 0 ? r : f.n;
	return loop_ioctl(ctl, LOOP_CTL_ADD, -1);
}

/* Return: a descriptor, -EBUSY (somebody else was faster), -EAGAIN (has no discards), -errno. */
static int loop_configure(int n, const struct loop_config *cfg, enum lcm_loopdev_discard discard,
			  char dev[LCM_LOOPDEV])
{
	lcm_autoclose int fd = -EBADF;
	int r;

	(void)snprintf(dev, LCM_LOOPDEV, "/dev/loop%d", n);
	fd = lcm_sys_openat(AT_FDCWD, dev,
			    cfg->info.lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR, 0);
	r = fd < 0 ? fd : lcm_sys_ioctl(fd, LOOP_CONFIGURE, (void *)(uintptr_t)cfg);
	if (r == 0 && discard != LCM_LOOPDEV_DISCARD_ANY)
		r = loop_set_discard(dev, discard == LCM_LOOPDEV_DISCARD_ON);
	/* Kernels without CONFIG_BLK_DEV_WRITE_MOUNTED mount no device that is open for writing. */
	return r < 0 ? r : lcm_sys_openat(AT_FDCWD, dev, O_RDONLY, 0);
}

int lcm_loopdev_attach_discard(int image, uint32_t flags, enum lcm_loopdev_discard discard,
			       const char *what, char ret_dev[LCM_LOOPDEV], struct lcm_err *err)
{
	lcm_autoclose int ctl = lcm_sys_openat(AT_FDCWD, "/dev/loop-control", O_RDWR, 0);
	const struct loop_config cfg = { .fd = (uint32_t)image,
					 .info.lo_flags = flags | LO_FLAGS_AUTOCLEAR };
	int r = -EBUSY;

	if (ctl < 0)
		return lcm_err_set(err, ctl, "%s: /dev/loop-control: %s (modprobe loop)", what,
				   strerror(-ctl));
	for (int i = 0; i < TRIES && (r == -EBUSY || r == -EAGAIN); i++) {
		r = loop_pick(ctl, discard, i);
		if (r >= 0)
			r = loop_configure(r, &cfg, discard, ret_dev);
	}
	return r < 0 ? lcm_err_set(err, r, "%s: no loop device: %s", what, strerror(-r)) : r;
}

int lcm_loopdev_attach(int image, uint32_t flags, const char *what, char ret_dev[LCM_LOOPDEV],
		       struct lcm_err *err)
{
	return lcm_loopdev_attach_discard(image, flags, LCM_LOOPDEV_DISCARD_ANY, what, ret_dev,
					  err);
}

struct loop_find {
	const struct stat *st; /* borrowed */
	int fd;                /* owned by who asked */
};

/* lcm_dir_each_fn on /sys/block: 1 when this is it. */
static int loop_find_one(void *arg, int dirfd, const char *name)
{
	struct loop_find *f = arg;
	lcm_autoclose int fd = -EBADF;
	struct loop_info64 info;
	char path[PATH_MAX];
	struct stat st;
	int r;

	if (strncmp(name, "loop", 4) != 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/loop/backing_file", name);
	r = lcm_sys_fstatat(dirfd, path, &st, 0);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	r = fd < 0 ? fd : lcm_sys_ioctl(fd, LOOP_GET_STATUS64, &info);
	if (r < 0) /* ENXIO: it went since */
		return r == -ENXIO ? 0 : r;
	if (info.lo_device != f->st->st_dev || info.lo_inode != f->st->st_ino)
		return 0;
	f->fd = lcm_steal_fd(&fd);
	return 1;
}

int lcm_loopdev_find(const struct stat *st)
{
	struct loop_find f = { .st = st, .fd = -EBADF };
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, "/sys/block", O_RDONLY | O_DIRECTORY, 0);
	int r = dir < 0 ? dir : lcm_dir_each(dir, loop_find_one, &f);

	return r == 1 ? f.fd : r == 0 ? -ENOENT : r;
}

int lcm_loopdev_resize(int fd)
{
	return loop_ioctl(fd, LOOP_SET_CAPACITY, 0);
}
