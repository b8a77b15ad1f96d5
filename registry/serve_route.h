/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_route.h - what a request to a registry asks for: pure parsers of path, range and address.
 *
 * Layer: registry. No I/O; any thread. Everything parsed here comes from a stranger.
 * Source: OCI Distribution Spec v1.1 "Endpoints"; RFC 9110 s. 14.1.2 (byte ranges).
 */
#ifndef LCM_REGISTRY_SERVE_ROUTE_H
#define LCM_REGISTRY_SERVE_ROUTE_H

#include "src/base/digest.h"

#define LCM_SERVE_REPO_MAX 255 /* what registries accept, host not counted */
#define LCM_SERVE_TAG_MAX 128  /* distribution-spec: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127} */

enum lcm_serve_kind {
	LCM_SERVE_PING,     /* /v2/ */
	LCM_SERVE_CATALOG,  /* /v2/_catalog */
	LCM_SERVE_TAGS,     /* /v2/<name>/tags/list */
	LCM_SERVE_MANIFEST, /* /v2/<name>/manifests/<tag|digest> */
	LCM_SERVE_BLOB,     /* /v2/<name>/blobs/<digest> */
	LCM_SERVE_OTHER,    /* none of these */
	_LCM_SERVE_KIND_MAX,
};

/** struct lcm_serve_route - a parsed path
 * @kind:   which endpoint
 * @repo:   repository name, "" for PING and CATALOG
 * @tag:    MANIFEST by tag, else ""
 * @digest: BLOB, and MANIFEST by digest; else zero
 */
struct lcm_serve_route {
	enum lcm_serve_kind kind;
	char repo[LCM_SERVE_REPO_MAX + 1];
	char tag[LCM_SERVE_TAG_MAX + 1];
	struct lcm_digest digest;
};

/**
 * lcm_serve_route_parse - read the path of a request (without query, percent escapes already
 * undone)
 * @ret: untouched on failure
 *
 * Return: 0; -ENOENT (no such endpoint), -EINVAL (repository name or tag), -EBADMSG (digest is not
 * sha256 + 64 hex).
 */
LCM_MUST_USE int lcm_serve_route_parse(const char *path, struct lcm_serve_route *ret);

/** lcm_serve_repo_valid - the distribution-spec's grammar of <name>. */
bool lcm_serve_repo_valid(const char *s, size_t len);
/** lcm_serve_tag_valid - the distribution-spec's grammar of a tag. */
bool lcm_serve_tag_valid(const char *s, size_t len);

/**
 * lcm_serve_range_parse - read a Range header for an object of @size bytes
 * @ret_off, @ret_len: first byte and number of bytes (>= 1); untouched unless 0 is returned
 *
 * Return: 0; -ERANGE (unsatisfiable: answer 416); -EINVAL (malformed, other unit or several ranges:
 * RFC 9110 s. 14.2 lets a server ignore the header, answer 200 with the whole object).
 */
LCM_MUST_USE int lcm_serve_range_parse(const char *s, uint64_t size, uint64_t *ret_off,
				       uint64_t *ret_len);

/** lcm_serve_number - all of @s[0..@len) as decimal digits. Return: 0, -EINVAL, -ERANGE. */
LCM_MUST_USE int lcm_serve_number(const char *s, size_t len, uint64_t *ret);

#endif
