/* SPDX-License-Identifier: Apache-2.0 */
/*
 * challenge.h - WWW-Authenticate challenges of registries.
 *
 * Layer: image. Pure parser of hostile bytes; no allocation, results are plain
 * values. Sources: RFC 9110 s. 11.6.1 (challenge lists, auth-param), 5.6.4
 * (quoted-string), RFC 6750 s. 3 (Bearer), distribution "Token Authentication".
 */
#ifndef LCM_CHALLENGE_H
#define LCM_CHALLENGE_H

#include "src/base/base.h"
#include "src/base/err.h"

enum lcm_auth_scheme {
	LCM_AUTH_NONE,
	LCM_AUTH_BASIC,
	LCM_AUTH_BEARER,
};

/* Longest header value taken; servers and proxies stop at 8 KiB. */
#define LCM_CHALLENGE_LEN_MAX 8192
/* Basic and Bearer, from a registry and from a proxy in front of it. */
#define LCM_CHALLENGES_MAX 4

/* One challenge; parameters that were not sent are "", others than these are skipped. */
struct lcm_challenge {
	enum lcm_auth_scheme scheme;
	char realm[2048]; /* Bearer: the URL of the token service, not yet checked */
	char service[512];
	char scope[2048];
	char error[64]; /* Bearer: "invalid_token", "insufficient_scope", ... */
};

/* What one reply asked for, in its order. Start with = { 0 }. */
struct lcm_challenges {
	size_t n;
	struct lcm_challenge c[LCM_CHALLENGES_MAX];
};

/**
 * lcm_challenges_add - parse one WWW-Authenticate field value and append its challenges
 * @cs:  call once for every WWW-Authenticate line of a reply; 20 KiB, rather not on a small stack
 * @s:   field value without name and CRLF; need not be NUL-terminated
 *
 * Schemes other than Basic and Bearer are skipped. Values have no control characters.
 * Return: number of challenges appended, 0 and up; -EINVAL (not the grammar, parameter given twice,
 * control character; text names it); -EFBIG (a maximum above; text names it). @cs is untouched on
 * failure. Thread: any.
 */
LCM_MUST_USE int lcm_challenges_add(struct lcm_challenges *cs, const char *s, size_t len,
				    struct lcm_err *err);

/** lcm_challenges_find - the first challenge of @scheme, or NULL. */
const struct lcm_challenge *lcm_challenges_find(const struct lcm_challenges *cs,
						enum lcm_auth_scheme scheme);

#endif
