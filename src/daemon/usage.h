/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - what is on the disk, for whom, and what goes when there is too much of it.
 *
 * Counted are the unpacked bytes of layers that are whole, and of others the blocks of their
 * blob and the files that have been placed. A layer goes when nothing uses it: no mount, no pull,
 * no container that was kept (containers/ID/layers names what its upper is written on). Whole
 * layers first and partial ones among them by last use, the oldest first; their tables of contents
 * stay, so that the next mount is lazy.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_USAGE_H
#define LCM_USAGE_H

#include "src/daemon/session.h"

struct lcm_usage_layer {
	int64_t id;
	uint64_t bytes, last_used_ns;
	uint32_t images; /* how many have it */
	bool used, chosen;
};

struct lcm_usage {
	struct lcm_usage_layer *layers; /* owned, n, by id */
	size_t n;
	uint64_t bytes; /* of all */
};

void lcm_usage_fini(struct lcm_usage *u);
/** lcm_usage_choose - mark the layers to drop so that at most @target bytes stay, as far as what is
 * not in use goes. Return: the bytes that would stay. Pure. */
uint64_t lcm_usage_choose(struct lcm_usage *u, uint64_t target);
/** lcm_usage_images - the images in the store as JSON, with their bytes; the caller's. Return: 0,
 * -ENOMEM, -errno of the store. */
LCM_MUST_USE int lcm_usage_images(struct lcm_host *h, json_t **ret);

struct lcm_gc_result {
	uint64_t before, after, used; /* bytes */
	uint64_t layers, layers_used;
};
/** lcm_gc_run - when there are more than @high bytes, drop unused layers until at most @low are
 * left.
 * @dry: only say what would go. *@ret says what went, also on failure. Return: 0, -errno (text). */
LCM_MUST_USE int lcm_gc_run(struct lcm_host *h, uint64_t high, uint64_t low, bool dry,
			    struct lcm_gc_result *ret, struct lcm_err *err);

struct lcm_gc;
/** lcm_gc_start - from now on drop what nobody uses down to @low when there are more than @high
 * bytes. Looks after every change of a mount, and once a minute. */
LCM_MUST_USE int lcm_gc_start(struct lcm_host *h, uint64_t high, uint64_t low, struct lcm_gc **ret);
void lcm_gc_stop(struct lcm_gc *g); /* NULL is allowed */

#endif
