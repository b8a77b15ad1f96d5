/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "overlay/mount_sys.h"
#include "src/base/log.h"
#include "src/base/sys.h"

static int mount_source(const char *source, const char *what, struct lcm_err *err)
{
	struct lcm_fs fs = lcm_fs_new("erofs");
	char head[LCM_ERR_MSG_MAX / 2];

	lcm_fs_string(&fs, "source", source);
	lcm_fs_flag(&fs, "ro");
	(void)snprintf(head, sizeof(head), "erofs %s", what);
	return lcm_fs_finish(&fs, MOUNT_ATTR_RDONLY, head, err);
}

int lcm_mount_erofs_file(const char *path, struct lcm_err *err)
{
	return mount_source(path, path, err);
}

static int sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r = lcm_fault_check();

	return r < 0 ? r : (int)lcm_errno(ioctl(fd, request, arg));
}

/* loop(4): LOOP_CONFIGURE on the number that LOOP_CTL_GET_FREE names; somebody else may be faster
 * (EBUSY). */
static int loop_attach(int ctl, int image, char *dev, size_t cap)
{
	struct loop_config cfg = {
		.fd = (uint32_t)image,
		.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};

	for (int i = 0; i < 16; i++) {
		lcm_autoclose int fd = -EBADF;
		int n = sys_ioctl(ctl, LOOP_CTL_GET_FREE, NULL), r;

		if (n < 0)
			return n;
		(void)snprintf(dev, cap, "/dev/loop%d", n);
		fd = lcm_sys_openat(AT_FDCWD, dev, O_RDONLY, 0);
		if (fd < 0)
			return fd;
		r = sys_ioctl(fd, LOOP_CONFIGURE, &cfg);
		if (r == 0)
			return lcm_steal_fd(&fd);
		if (r != -EBUSY)
			return r;
	}
	return -EBUSY;
}

int lcm_mount_erofs_loop(const char *path, struct lcm_err *err)
{
	lcm_autoclose int ctl = lcm_sys_openat(AT_FDCWD, "/dev/loop-control", O_RDWR, 0);
	lcm_autoclose int image = -EBADF, loop = -EBADF;
	char dev[32];

	if (ctl < 0)
		return lcm_err_set(err, ctl, "erofs %s: /dev/loop-control: %s (modprobe loop)",
				   path, strerror(-ctl));
	image = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	if (image < 0)
		return lcm_err_set(err, image, "erofs %s: %s", path, strerror(-image));
	loop = loop_attach(ctl, image, dev, sizeof(dev));
	if (loop < 0)
		return lcm_err_set(err, loop, "erofs %s: no loop device: %s", path,
				   strerror(-loop));
	/* LO_FLAGS_AUTOCLEAR: the device goes with its last user, which is the mount once @loop is
	 * closed. */
	return mount_source(dev, path, err);
}

int lcm_mount_erofs(const char *path, bool loop, struct lcm_err *err)
{
	int r = loop ? -ENOTBLK : lcm_mount_erofs_file(path, err);

	/* Before 6.12 EROFS wants a block device and says ENOTBLK. */
	if (r != -ENOTBLK)
		return r;
	if (!loop)
		lcm_debug("erofs: path=%s is not mounted as a file (ENOTBLK), trying a loop device",
			  path);
	return lcm_mount_erofs_loop(path, err);
}
