/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.h - the mounts locum makes, with the file-descriptor mount API.
 *
 * Layer: overlay. Nothing but the overlay itself is ever attached to a path where
 * the kernel allows it: META and GATE are detached mounts that the overlay clones.
 * Every feature is probed, never compared by version. Threads: any.
 * Source: fsopen(2), fsconfig(2), fsmount(2), move_mount(2);
 * Documentation/filesystems/overlayfs.rst.
 */
#ifndef LCM_MOUNT_H
#define LCM_MOUNT_H

#include "src/base/err.h"

/* What this kernel allows; found by trying, in a private mount namespace of a child process. */
struct lcm_mount_features {
	bool overlay;              /* overlayfs at all */
	bool data_only;            /* "::" data-only lower layers (6.5) */
	bool redirect_no_metacopy; /* redirects followed with metacopy=off (6.16) */
	bool erofs_file;           /* EROFS mounted from a regular file (6.12) */
	bool erofs_loop;           /* EROFS through a loop device */
	bool fuse;                 /* /dev/fuse opens and mounts */
	bool fuse_resend;          /* a daemon's pending requests can be had by the next (6.9) */
	bool layer_fds; /* overlay layers given as (detached) mount descriptors (6.15); without it
			   paths are used */
};
/** lcm_mount_probe - try everything below @dir (on the file system that will hold the state).
 * Forks; call before threads exist or from a helper. */
LCM_MUST_USE int lcm_mount_probe(const char *dir, struct lcm_mount_features *ret,
				 struct lcm_err *err);

/** lcm_mount_erofs - a detached read-only mount of the image at @path. @loop: through a loop
 * device, so that it counts for no level of stacking; else as a file, where the kernel can. Return:
 * mount fd or -errno. */
LCM_MUST_USE int lcm_mount_erofs(const char *path, bool loop, struct lcm_err *err);
/** lcm_mount_gate - a detached mount of the FUSE session behind @fuse_fd (allow_other, read-only).
 * Return: mount fd or -errno. */
LCM_MUST_USE int lcm_mount_gate(int fuse_fd, struct lcm_err *err);

/*
 * Layers are borrowed. They must belong to the caller's mount namespace (open them there) or be
 * detached; upper and work lie on the same mount. On kernels before 6.15 a detached layer is used
 * up by the call: only closing it is useful after.
 */
struct lcm_overlay_spec {
	const int *lowers; /* directory or mount descriptors, topmost first */
	size_t n_lowers;
	const int *data; /* data-only lowers, in order of search */
	size_t n_data;
	int upper, work;    /* directory descriptors; -1: read-only */
	bool metacopy;      /* mount with metacopy=on (kernels without redirect_no_metacopy) */
	const char *source; /* shown in mountinfo, e.g. "locum:<id>" */
};
/**
 * lcm_mount_overlay - a detached overlay mount
 *
 * The kernel asks every layer for its statfs, so a gate must be served (lcm_gate_start()) before
 * its overlay is mounted. index=off always, so that the upper mounts on any lowers; a read-only
 * overlay of one layer gets an empty second one. Return: mount fd or -errno (text carries the
 * kernel's own message from the fs context).
 */
LCM_MUST_USE int lcm_mount_overlay(const struct lcm_overlay_spec *spec, struct lcm_err *err);
/** lcm_mount_check_target - can a mount be put there? Return: 0; -ENOENT, -ENOTDIR, -EBUSY (a mount
 * point), -ENOTEMPTY: text says what to do. */
LCM_MUST_USE int lcm_mount_check_target(const char *path, struct lcm_err *err);
/** lcm_mount_attach - put a detached mount on directory @path. @path must exist and not be a mount
 * point. Return: 0, -EBUSY, -errno. */
LCM_MUST_USE int lcm_mount_attach(int mount_fd, const char *path, struct lcm_err *err);
/** lcm_mount_shrink - drop unused dentries of the file system mounted at @path (a reconfigure that
 * changes nothing), so that lower inodes nobody uses are let go. FUSE forgets such an inode only if
 * its entry was invalidated before (lcm_gate_draining()). Options and read-only state stay as they
 * are. Return: 0 or -errno. */
LCM_MUST_USE int lcm_mount_shrink(const char *path);
/** lcm_umount - unmount what is mounted at @path, MNT_DETACH when @lazy. Not mounted: -EINVAL. */
LCM_MUST_USE int lcm_umount(const char *path, bool lazy, struct lcm_err *err);
/** lcm_mounted_source - is an overlay with this source mounted at @path in our namespace? Return:
 * 1, 0, -errno. */
LCM_MUST_USE int lcm_mounted_source(const char *path, const char *source);

#endif
