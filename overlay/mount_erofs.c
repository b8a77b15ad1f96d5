/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
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

int lcm_mount_erofs_loop(const char *path, struct lcm_err *err)
{
	lcm_autoclose int image = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0), loop = -EBADF;
	char dev[LCM_LOOPDEV], what[LCM_ERR_MSG_MAX / 2];

	(void)snprintf(what, sizeof(what), "erofs %s", path);
	if (image < 0)
		return lcm_err_set(err, image, "%s: %s", what, strerror(-image));
	loop = lcm_loopdev_attach(image, LO_FLAGS_READ_ONLY, what, dev, err);
	return loop < 0 ? loop : mount_source(dev, path, err);
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
