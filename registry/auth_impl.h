/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_impl.h - shared by auth.c (credentials, who waits) and auth_token.c (token services).
 *
 * Layer: registry, private to it. Threads: loop.
 */
#ifndef LCM_AUTH_IMPL_H
#define LCM_AUTH_IMPL_H

#include "image/challenge.h"
#include "image/token.h"
#include "registry/auth.h"
#include "registry/creds.h"
#include "registry/helper.h"
#include "registry/provider.h"

#define SECOND 1000000000ULL
#define FIELD_MAX (LCM_TOKEN_LEN_MAX + 64)

TAILQ_HEAD(wait_list, lcm_auth_wait);

struct lcm_auth {
	struct lcm_auth_env *env; /* borrowed */
	char *host, *repo;        /* owned */
	bool push;
	struct lcm_challenge *bearer; /* owned; how to get a token; NULL: not known */
	char *field;                  /* owned secret; NULL: send without */
	bool basic;                   /* field has user name and password */
	bool by_helper;               /* and a helper or provider gave them */
	uint64_t made_ns;             /* when field was made */
	uint64_t expires_ns;          /* of the token, or of what a provider gave; 0: not known */
	uint64_t generation;
	bool pending;           /* a token request is under way, or credentials are looked for */
	bool want_basic;        /* these, and no token */
	uint32_t tries;         /* of the token request */
	struct lcm_hosts *conf; /* referenced; NULL: none is known */
	const struct lcm_hosts_entry *entry; /* in conf */
	struct lcm_origin origin;            /* of the host */
	/* what it goes with */
	lcm_creds_place place;          /* to look for them next */
	unsigned int provider;          /* after all files, this one */
	bool anew;                      /* and what providers said before is not good any more */
	bool from_kept;                 /* it is what one said before */
	uint64_t creds_until_ns;        /* 0: not known */
	struct lcm_credentials *creds;  /* owned secret; NULL: none */
	struct lcm_helper *helper;      /* owned; it is asked now */
	struct lcm_provider_call *call; /* owned; the same */
	struct lcm_buf helpers_said;    /* why there is nothing of helpers, for an error text */
	struct lcm_http http;
	struct lcm_timer *again; /* owned; the pause before another try */
	struct lcm_buf body;     /* secret; the token service's reply */
	struct lcm_doc *reply;   /* it is being read; NULL: it is not */
	struct wait_list waiting;
};

/* auth.c */
void lcm_auth_wipe(char **s);
void lcm_auth_wipe_buf(struct lcm_buf *b);
/** lcm_auth_set_field - from now on this is sent; @field: owned by @a then. */
void lcm_auth_set_field(struct lcm_auth *a, char *field, bool basic);
/** lcm_auth_basic_field - "Authorization: Basic ..."; owned by the caller, who wipes it. Return: 0,
 * -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_auth_basic_field(const struct lcm_credentials *c, char **ret);
/** lcm_auth_end - what was under way has ended with @r: tell all who wait. */
void lcm_auth_end(struct lcm_auth *a, int r, const struct lcm_err *err);

/* auth_token.c */
/** lcm_auth_token_request - ask the token service with a->creds; ends with lcm_auth_end(). Return:
 * 0, or -errno: nothing is under way. */
LCM_MUST_USE int lcm_auth_token_request(struct lcm_auth *a, struct lcm_err *err);
/* Of a->http. */
extern const struct lcm_http_ops lcm_auth_http_ops;

#endif
