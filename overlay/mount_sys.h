/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_sys.h - what mount.c, mount_path.c, mount_erofs.c and mount_probe.c share.
 *
 * Layer: overlay, private to this folder. Threads: any.
 */
#ifndef LCM_MOUNT_SYS_H
#define LCM_MOUNT_SYS_H

#include "overlay/mount.h"
#include "overlay/mountinfo.h"
#include "src/base/fsmount.h"

/* How layers are handed to overlayfs. */
enum lcm_mount_how {
	LCM_MOUNT_ANY,     /* as descriptors; when the kernel refuses that, by path */
	LCM_MOUNT_BY_FD,   /* fsconfig FSCONFIG_SET_FD */
	LCM_MOUNT_BY_PATH, /* mount(2) in a private scratch mount */
};
/** lcm_mount_overlay_how - lcm_mount_overlay() in one way only; for probes and tests. */
LCM_MUST_USE int lcm_mount_overlay_how(const struct lcm_overlay_spec *spec, enum lcm_mount_how how,
				       struct lcm_err *err);
/** lcm_mount_overlay_by_path - LCM_MOUNT_BY_PATH (mount_path.c); detached layers are used up: only
 * closing them is useful after. */
LCM_MUST_USE int lcm_mount_overlay_by_path(const struct lcm_overlay_spec *spec,
					   struct lcm_err *err);
/** lcm_mount_erofs_file - lcm_mount_erofs() without the loop device. */
LCM_MUST_USE int lcm_mount_erofs_file(const char *path, struct lcm_err *err);
/** lcm_mount_erofs_loop - lcm_mount_erofs() through a loop device that frees itself with the mount.
 */
LCM_MUST_USE int lcm_mount_erofs_loop(const char *path, struct lcm_err *err);
/** lcm_mount_tmpfs - a detached, empty tmpfs. Return: mount fd or -errno. */
LCM_MUST_USE int lcm_mount_tmpfs(struct lcm_err *err);

#endif
