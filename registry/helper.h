/* SPDX-License-Identifier: Apache-2.0 */
/*
 * helper.h - ask a credential helper: a program of the system, named by an auth file.
 *
 * Layer: registry. docker-credential-NAME get, found in the absolute directories of $PATH, with our
 * environment, in a session of its own, no descriptor of ours; the registry's name on its input,
 * JSON on its output, which is wiped. Threads: loop.
 * Source: docker-credential-helpers "Development of credential helpers".
 */
#ifndef LCM_HELPER_H
#define LCM_HELPER_H

#include "image/authfile.h"
#include "src/base/loop.h"

struct lcm_helper; /* one that runs */

/** lcm_helper_fn - @r: 0 (@c is yours); -ENOENT (it has none); -EACCES, -ETIMEDOUT, -ENOMEM (text
 * names it, never a secret). The helper is over, and to be given to lcm_helper_free(). */
typedef void (*lcm_helper_fn)(void *arg, int r, struct lcm_credentials *c,
			      const struct lcm_err *err);

/**
 * lcm_helper_start - ask docker-credential-@name for the credentials of @host
 * @name: letters, digits, '.', '_', '-'
 * @host: as in struct lcm_reference; "docker.io" is asked for as "https://index.docker.io/v1/"
 * @timeout_ms: then it is killed
 *
 * @fn is called once, later, unless lcm_helper_free() came before.
 * Return: 0; -ENOENT (no such program in $PATH); -errno.
 */
LCM_MUST_USE int lcm_helper_start(struct lcm_loop *loop, const char *name, const char *host,
				  uint32_t timeout_ms, lcm_helper_fn fn, void *arg,
				  struct lcm_helper **ret, struct lcm_err *err) LCM_ON(loop);
/** lcm_helper_free - kill it, with all that it started in its session, if it still runs. NULL is
 * allowed. */
void lcm_helper_free(struct lcm_helper *h) LCM_ON(loop);

#endif
