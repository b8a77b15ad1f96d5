/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_layout.h - read an OCI image layout directory.
 *
 * Layer: registry. Threads: any; nothing is cached, so a layout may gain tags while it is served.
 * Invariant: only "oci-layout", "index.json" and "blobs/sha256/<64 hex>" below the directory are
 * ever opened, without following symbolic links. Source: OCI Image Spec v1.1 image-layout.md,
 * annotations.md (org.opencontainers.image.ref.name).
 */
#ifndef LCM_REGISTRY_SERVE_LAYOUT_H
#define LCM_REGISTRY_SERVE_LAYOUT_H

#include "registry/serve_route.h"

#define LCM_SERVE_TYPE_MAX 127 /* RFC 6838: type and subtype have 127 characters at most */

/** lcm_serve_layout_open - open and check a layout directory. Return: descriptor; -ENOTDIR, -EINVAL
 * (not a layout), -errno. */
LCM_MUST_USE int lcm_serve_layout_open(const char *dir, struct lcm_err *err);

/**
 * lcm_serve_layout_blob - open one blob for reading
 * @ret_size: its length in bytes
 *
 * Return: descriptor (caller's); -ENOENT when missing or not a regular file, -errno.
 */
LCM_MUST_USE int lcm_serve_layout_blob(int dirfd, const struct lcm_digest *d, uint64_t *ret_size);

/**
 * lcm_serve_layout_tag - which manifest a tag names
 *
 * A layout with exactly one manifest, which has no name, serves it as "latest".
 * Return: 0; -ENOENT (no such tag), -EUCLEAN (index.json is malformed), -errno.
 */
LCM_MUST_USE int lcm_serve_layout_tag(int dirfd, const char *tag, struct lcm_digest *ret);

/** lcm_serve_layout_tags - all valid tags in byte order as a JSON array; json_decref(3) it. Return:
 * 0, -EUCLEAN, -errno. */
struct json_t;
LCM_MUST_USE int lcm_serve_layout_tags(int dirfd, struct json_t **ret);

/**
 * lcm_serve_layout_type - the media type of a manifest, for Content-Type
 * @text, @len: the manifest's bytes
 *
 * Its own "mediaType", else what index.json says, else what its fields tell.
 * Return: 0; -EUCLEAN when it is no manifest at all, -ENOMEM.
 */
LCM_MUST_USE int lcm_serve_layout_type(int dirfd, const struct lcm_digest *d, const char *text,
				       size_t len, char ret[LCM_SERVE_TYPE_MAX + 1]);

#endif
