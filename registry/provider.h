/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.h - run the kubelet's credential providers and keep what they say as long as they allow.
 *
 * Layer: registry. As helpers (helper.h) in all but what they are asked and how they are found.
 * What they said is secret, in memory only, and wiped. Threads: loop.
 * Source: image/provider.h.
 */
#ifndef LCM_REGISTRY_PROVIDER_H
#define LCM_REGISTRY_PROVIDER_H

#include "image/provider.h"
#include "src/base/loop.h"

struct lcm_providers;

/**
 * lcm_providers_load - read the configuration
 * @config: a file, YAML or JSON
 * @bin_dir: absolute; where the providers' programs are
 * Return: 0; -errno, -EUCLEAN, -EINVAL (text names the file, or the program that is not there).
 */
LCM_MUST_USE int lcm_providers_load(const char *config, const char *bin_dir,
				    struct lcm_providers **ret, struct lcm_err *err);
void lcm_providers_free(struct lcm_providers *p);

/**
 * lcm_providers_next - credentials for @image ("host/repository") from provider *@at on
 * @p:    NULL: there are none
 * @at:   then the one after the one that was told of; 0 is the first
 * @anew: what was kept of the one told of is not good any more
 * @ret_until_ns: CLOCK_MONOTONIC; until when they may be used; 0: not said
 * Return: 0 (@ret is set, from what was kept); 1 (provider *@at - 1 is to be asked); -ENOENT (no
 * more); -ENOMEM.
 */
LCM_MUST_USE int lcm_providers_next(struct lcm_providers *p, const char *image, bool anew,
				    unsigned int *at, struct lcm_credentials **ret,
				    uint64_t *ret_until_ns) LCM_ON(loop);

struct lcm_provider_call; /* one that runs */

/** lcm_provider_fn - @r: 0 (@c is yours, until @until_ns as above); -ENOENT (it has none for the
 * image); -EACCES, -ETIMEDOUT, -ENOMEM (text names it, never a secret). The call is over, and to be
 * given to lcm_provider_call_free(). */
typedef void (*lcm_provider_fn)(void *arg, int r, struct lcm_credentials *c, uint64_t until_ns,
				const struct lcm_err *err);

/** lcm_provider_ask - run provider @which for @image. @fn is called once, later, unless
 * lcm_provider_call_free() came before. Return: 0; -errno (text). */
LCM_MUST_USE int lcm_provider_ask(struct lcm_loop *loop, struct lcm_providers *p,
				  unsigned int which, const char *image, lcm_provider_fn fn,
				  void *arg, struct lcm_provider_call **ret, struct lcm_err *err)
    LCM_ON(loop);
void lcm_provider_call_free(struct lcm_provider_call *c) LCM_ON(loop);

#endif
