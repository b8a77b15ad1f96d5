/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "src/base/fsmount.h"
#include "src/base/sys.h"

#define TRIES 32 /* for a device: somebody else may be faster */

static int loop_ioctl(int fd, unsigned long request, long arg)
{
	return lcm_sys_ioctl(fd, request, (void *)arg);
}

/* Return: a descriptor, -EBUSY (somebody else was faster), -errno. */
static int loop_configure(int n, const struct loop_config *cfg, char dev[LCM_LOOPDEV])
{
	lcm_autoclose int fd = -EBADF;
	int r;

	(void)snprintf(dev, LCM_LOOPDEV, "/dev/loop%d", n);
	fd = lcm_sys_openat(AT_FDCWD, dev,
			    cfg->info.lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR, 0);
	r = fd < 0 ? fd : lcm_sys_ioctl(fd, LOOP_CONFIGURE, (void *)(uintptr_t)cfg);
	/* Kernels without CONFIG_BLK_DEV_WRITE_MOUNTED mount no device that is open for writing. */
	return r < 0 ? r : lcm_sys_openat(AT_FDCWD, dev, O_RDONLY, 0);
}

int lcm_loopdev_attach(int image, uint32_t flags, const char *what, char ret_dev[LCM_LOOPDEV],
		       struct lcm_err *err)
{
	lcm_autoclose int ctl = lcm_sys_openat(AT_FDCWD, "/dev/loop-control", O_RDWR, 0);
	const struct loop_config cfg = { .fd = (uint32_t)image,
					 .info.lo_flags = flags | LO_FLAGS_AUTOCLEAR };
	int r = -EBUSY;

	if (ctl < 0)
		return lcm_err_set(err, ctl, "%s: /dev/loop-control: %s (modprobe loop)", what,
				   strerror(-ctl));
	for (int i = 0; i < TRIES && r == -EBUSY; i++) {
		r = loop_ioctl(ctl, LOOP_CTL_GET_FREE, 0);
		if (r >= 0)
			r = loop_configure(r, &cfg, ret_dev);
	}
	return r < 0 ? lcm_err_set(err, r, "%s: no loop device: %s", what, strerror(-r)) : r;
}

/* Return: 1 when the file @st is behind it, 0, -ENXIO (nothing is), -errno. */
static int loop_has(int fd, const struct stat *st)
{
	struct loop_info64 info;
	int r = lcm_sys_ioctl(fd, LOOP_GET_STATUS64, &info);

	return r < 0 ? r : info.lo_device == st->st_dev && info.lo_inode == st->st_ino;
}

struct loop_find {
	struct stat st;
	const char *tail; /* borrowed: the last two names of its path */
};

static bool ends_with(const char *s, const char *tail)
{
	size_t len = strlen(s), n = strlen(tail);

	return len >= n && strcmp(s + len - n, tail) == 0;
}

/* lcm_dir_each_fn on /sys/block: 1 when this is it. */
static int loop_find_one(void *arg, int dirfd, const char *name)
{
	const struct loop_find *f = arg;
	lcm_autofree char *file = NULL;
	lcm_autoclose int fd = -EBADF;
	char path[PATH_MAX];
	size_t len;
	int r;

	if (strncmp(name, "loop", 4) != 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/loop/backing_file", name);
	r = lcm_read_file_at(dirfd, path, PATH_MAX, &file, &len);
	if (r < 0) /* it has none, or went since */
		return r == -ENOENT || r == -ENODEV || r == -ENXIO ? 0 : r;
	if (len && file[len - 1] == '\n')
		file[len - 1] = '\0';
	if (!ends_with(file, f->tail))
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	r = fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	if (r >= 0)
		r = loop_has(fd, &f->st);
	return r == -ENXIO ? 0 : r;
}

int lcm_loopdev_find(int file)
{
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, "/sys/block", O_RDONLY | O_DIRECTORY, 0);
	char path[PATH_MAX], *slash;
	struct loop_find f = { .tail = path };
	int r = dir < 0 ? dir : lcm_sys_fstat(file, &f.st);

	if (r == 0)
		r = lcm_sys_fd_path(file, path, sizeof(path));
	if (r < 0)
		return r;
	slash = strrchr(path, '/');
	while (slash && slash > path && *--slash != '/')
		;
	if (slash)
		f.tail = slash;
	return lcm_dir_each(dir, loop_find_one, &f);
}

int lcm_loopdev_open(dev_t dev, const struct stat *file)
{
	char path[64], name[LCM_LOOPDEV] = "/dev/";
	lcm_autofree char *text = NULL;
	lcm_autoclose int fd = -EBADF;
	const char *said;
	size_t len;
	int r;

	/* Its number is the minor one only where no partitions were wanted. */
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", major(dev), minor(dev));
	r = lcm_read_file_at(AT_FDCWD, path, 4096, &text, &len);
	if (r < 0)
		return r == -ENOENT ? -EXDEV : r;
	said = strstr(text, "DEVNAME=loop");
	if (!said || sscanf(said, "DEVNAME=%20[a-z0-9]", name + strlen("/dev/")) != 1)
		return -EXDEV;
	r = fd = lcm_sys_openat(AT_FDCWD, name, O_RDONLY, 0);
	if (r >= 0)
		r = loop_has(fd, file);
	if (r <= 0)
		return r == 0 || r == -ENXIO ? -EXDEV : r;
	return lcm_steal_fd(&fd);
}

int lcm_loopdev_resize(int fd)
{
	return loop_ioctl(fd, LOOP_SET_CAPACITY, 0);
}
