/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h - replies of token services.
 *
 * Layer: image. Pure parser of hostile bytes. Sources: distribution "Token
 * Authentication Specification" and "OAuth2 Token Authentication".
 */
#ifndef LCM_TOKEN_H
#define LCM_TOKEN_H

#include "src/base/base.h"
#include "src/base/err.h"
#include "src/base/limits.h"

/* Longest token taken: it goes into one header line; clouds' tokens are 1 to 5 KiB. */
#define LCM_TOKEN_LEN_MAX (32U << 10)
/* "If omitted, this defaults to 60 seconds", and nothing shorter is believed. */
#define LCM_TOKEN_EXPIRES_MIN_S 60U
/* Tokens are asked for again at least once a day. */
#define LCM_TOKEN_EXPIRES_MAX_S 86400U

struct lcm_token {
	char *value;           /* owned; visible ASCII only, 1 .. LCM_TOKEN_LEN_MAX bytes */
	uint32_t expires_in_s; /* seconds from the reply, between the two bounds above */
};

/**
 * lcm_token_parse - parse a token service's reply body
 *
 * "token" wins over "access_token"; when both are there and differ, the specification leaves the
 * choice to us. Return: 0; -EUCLEAN (not JSON, no token, a byte that no header may hold; text never
 * quotes the token); -EFBIG; -ENOMEM. Thread: any.
 */
LCM_MUST_USE int lcm_token_parse(const void *p, size_t len, struct lcm_token **ret,
				 struct lcm_err *err);
/** lcm_token_free - wipes the token. */
void lcm_token_free(struct lcm_token *t);
LCM_DEFINE_AUTO(lcm_token)

#endif
