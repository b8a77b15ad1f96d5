/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - what to send as Authorization: one entry per registry and repository.
 *
 * Layer: registry. Threads: loop. A pull needs one scope, "repository:<repo>:pull", a push
 * "repository:<repo>:pull,push", so an entry is a token cache per host and scope. At most one token
 * request per entry is in flight, however many wait. Secrets are wiped and never logged. Source:
 * distribution "Token Authentication Specification", "OAuth2 Token Authentication"; RFC 7617
 * (Basic).
 */
#ifndef LCM_AUTH_H
#define LCM_AUTH_H

#include <sys/queue.h>

#include "decode/doc.h"
#include "registry/http.h"
#include "registry/provider.h"

struct lcm_auth_env {
	struct lcm_http_env *http;         /* borrowed */
	const struct lcm_docs *docs;       /* borrowed; who reads token services' replies */
	char *const *files;                /* borrowed; from lcm_creds_files() */
	struct lcm_providers *providers;   /* borrowed; NULL: none */
	const char *const *insecure_hosts; /* borrowed */
	uint32_t retries, backoff_ms;
	uint32_t renew_ms; /* credentials older than this may be worth renewing after a 403 */
	uint64_t tokens, retried; /* counted */
};

/* Somebody waiting for a token; embedded in its owner, zeroed at first. */
struct lcm_auth_wait {
	TAILQ_ENTRY(lcm_auth_wait) link;
	bool queued;
	/* @r: 0, or -errno with a text; not from inside the call that queued it. */
	void (*fn)(void *arg, int r, const struct lcm_err *err);
	void *arg;
};

struct lcm_auth;

/** lcm_auth_new - @host as in the reference, @repo; copied. Return: NULL on out of memory. */
struct lcm_auth *lcm_auth_new(struct lcm_auth_env *env, const char *host, const char *repo,
			      bool push);
/** lcm_auth_free - nobody may wait any more. */
void lcm_auth_free(struct lcm_auth *a);
LCM_DEFINE_AUTO(lcm_auth)

/**
 * lcm_auth_set_place - what the registry's file says of the host that this is for
 * @conf:   referenced
 * @entry:  in it: its CAs are trusted for the token service, too; the rest only if that is at
 * @origin
 * @origin: of the host
 */
void lcm_auth_set_place(struct lcm_auth *a, struct lcm_hosts *conf,
			const struct lcm_hosts_entry *entry, const struct lcm_origin *origin)
    LCM_ON(loop);

bool lcm_auth_is(const struct lcm_auth *a, const char *host, const char *repo, bool push);

/** lcm_auth_ready - Return: 0 send now with lcm_auth_field(); 1 @w was queued for a new token;
 * -ENOMEM. */
LCM_MUST_USE int lcm_auth_ready(struct lcm_auth *a, struct lcm_auth_wait *w) LCM_ON(loop);
/** lcm_auth_field - "Authorization: ..." or NULL; borrowed until the loop's next turn. */
const char *lcm_auth_field(const struct lcm_auth *a);
/** lcm_auth_generation - counts the credentials there have been; names those a request was sent
 * with. */
uint64_t lcm_auth_generation(const struct lcm_auth *a);
/**
 * lcm_auth_challenged - a request was answered with 401
 * @generation: of the credentials it was sent with
 * @reply:      its head
 *
 * Return: 0 send again; 1 @w was queued; -EACCES (text names host, reason and the auth files looked
 * at); -EPROTO; -ENOMEM.
 */
LCM_MUST_USE int lcm_auth_challenged(struct lcm_auth *a, uint64_t generation,
				     const struct lcm_http *reply, struct lcm_auth_wait *w,
				     struct lcm_err *err) LCM_ON(loop);
/**
 * lcm_auth_renew - a request with these credentials was answered with 403: as some registries have
 * it when they have expired
 *
 * Return: 0 send again; 1 @w was queued; -EACCES (no text: there are no newer ones).
 */
LCM_MUST_USE int lcm_auth_renew(struct lcm_auth *a, uint64_t generation, struct lcm_auth_wait *w)
    LCM_ON(loop);
/** lcm_auth_refused - the text for a request refused for good; Return: -EACCES. */
int lcm_auth_refused(struct lcm_auth *a, long status, struct lcm_err *err);
void lcm_auth_unwait(struct lcm_auth *a, struct lcm_auth_wait *w) LCM_ON(loop);

#endif
