/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle.h - the config.json of an OCI runtime bundle for an image; ids of containers.
 *
 * Layer: image. Pure: text out, nothing is written. Sources: OCI Runtime Spec
 * v1.0.2 (config.md, config-linux.md), OCI Image Spec v1.1 conversion.md;
 * defaults are podman's (capabilities, masked and read-only paths, mounts).
 * Runs with crun >= 1.8 and runc >= 1.1.
 */
#ifndef LCM_BUNDLE_H
#define LCM_BUNDLE_H

#include "image/manifest.h"
#include "src/base/buf.h"

/* config.json is a few KiB; arguments and environment are the rest. */
#define LCM_BUNDLE_MAX (4U << 20)

/* A bind mount. */
struct lcm_bundle_bind {
	const char *source, *dest; /* absolute; dest inside the container */
	bool readonly;
};

/* Everything is borrowed during the call. Start with = { 0 } and set rootfs. */
struct lcm_bundle_opts {
	const char *rootfs;            /* absolute path of the mounted root */
	const char *hostname;          /* NULL: "locum" */
	const char *const *entrypoint; /* NULL: the image's; else NULL-terminated, and the image's
					  Cmd is dropped */
	const char *const *args; /* NULL: the image's Cmd; else NULL-terminated, instead of Cmd */
	const char *const
	    *env;         /* NULL-terminated "KEY=VALUE", replace those of the image; NULL: none */
	const char *cwd;  /* NULL: the image's WorkingDir, else "/" */
	const char *home; /* HOME unless image or env set it; NULL: not set */
	const char *cgroup_path; /* NULL: left to the runtime */
	uint32_t uid, gid;
	const uint32_t *gids; /* supplementary; may be NULL */
	size_t n_gids;
	const struct lcm_bundle_bind *binds; /* may be NULL */
	size_t n_binds;
	uint16_t rows, cols; /* size of the terminal, 0: not set */
	bool terminal;       /* a pseudo terminal; sets TERM=xterm unless set */
	bool readonly;       /* read-only root */
	bool host_network;   /* stay in the caller's network namespace */
};

/**
 * lcm_bundle_config - write config.json
 * @out: appended to; give it LCM_BUNDLE_MAX
 *
 * Return: 0; -EINVAL (no command in image and options, path not absolute, "KEY=VALUE" without "=",
 * not UTF-8; text names it); -EFBIG; -ENOMEM. Thread: any.
 */
LCM_MUST_USE int lcm_bundle_config(const struct lcm_image_config *c,
				   const struct lcm_bundle_opts *o, struct lcm_buf *out,
				   struct lcm_err *err);

/**
 * lcm_container_id_ok - 1 to LCM_CONTAINER_ID_MAX letters, digits and _+-., the first no dot
 *
 * What crun and runc take for an id, which is a name of files, too. Pure. Thread: any.
 */
bool lcm_container_id_ok(const char *id);

#endif
