/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.h - image references as container tools write them.
 *
 * Layer: image. Pure. Source: distribution/reference grammar;
 * "name" -> docker.io/library/name:latest.
 */
#ifndef LCM_REFERENCE_H
#define LCM_REFERENCE_H

#include "src/base/digest.h"

struct lcm_reference {
	char host[264]; /* "docker.io", "localhost:5000", "[::1]:5000" */
	char repo[256]; /* "library/busybox" */
	char tag[129];  /* "" when only a digest was given */
	bool has_digest;
	struct lcm_digest digest;
};

/** lcm_reference_parse - "[docker://]host[:port]/name[:tag][@digest]". Return: 0; -EINVAL (text
 * says which part and why). */
LCM_MUST_USE int lcm_reference_parse(const char *s, struct lcm_reference *ret, struct lcm_err *err);
/** lcm_reference_str - canonical text, "docker.io/library/busybox:latest"; returns @out. */
const char *lcm_reference_str(const struct lcm_reference *r, char *out, size_t cap);
/** lcm_reference_endpoint - "host[:port]" to connect to; docker.io is registry-1.docker.io.
 * Borrowed from @r, or static. */
const char *lcm_reference_endpoint(const struct lcm_reference *r);
#define LCM_REFERENCE_STR_MAX 768

#endif
