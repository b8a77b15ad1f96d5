/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bound.h - exact lookup counts of the regular files the kernel holds by node id.
 *
 * Layer: fuse. A positive answer to LOOKUP adds one, FORGET takes away; at zero
 * the kernel has nothing of the file any more ("bound" ended). Directories are
 * not counted: their node ids are good for ever. Threads: the caller's lock.
 * Source: Linux fs/fuse/dir.c, "nlookup"; libfuse fuse_lowlevel.h, forget().
 */
#ifndef LCM_BOUND_H
#define LCM_BOUND_H

#include "fuse/map.h"

struct bound_file; /* private */

struct lcm_bound {
	struct lcm_map files; /* of struct bound_file, private; key: layer << 32 | entry */
	struct bound_file *first, *last; /* those not visited in this round come first */
	uint64_t round;                  /* of lcm_bound_visit() */
};

LCM_MUST_USE int lcm_bound_init(struct lcm_bound *b);
void lcm_bound_fini(struct lcm_bound *b); /* a zeroed object is allowed */
static inline uint32_t lcm_bound_count(const struct lcm_bound *b)
{
	return (uint32_t)b->files.n;
}
/** lcm_bound_add - one more lookup. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_bound_add(struct lcm_bound *b, uint32_t layer, uint32_t entry);
/** lcm_bound_sub - @n lookups are forgotten; more than there are count as all. Return: true when
 * the last bound file went. */
bool lcm_bound_sub(struct lcm_bound *b, uint32_t layer, uint32_t entry, uint64_t n);
/** lcm_bound_hold - the kernel holds it, with how many lookups is not known: the next forget, of
 * however many, ends it. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_bound_hold(struct lcm_bound *b, uint32_t layer, uint32_t entry);
/** lcm_bound_unhold - the kernel does not hold it: what is not known of it is nothing. Return: true
 * when the last bound file went. */
bool lcm_bound_unhold(struct lcm_bound *b, uint32_t layer, uint32_t entry);
/** lcm_bound_nlookup - 0: not bound. */
uint64_t lcm_bound_nlookup(const struct lcm_bound *b, uint32_t layer, uint32_t entry);
/** lcm_bound_round - begin a new round of visits. */
void lcm_bound_round(struct lcm_bound *b);
/** lcm_bound_visit - a bound file not yet visited in this round; files may come and go in between.
 * Return: false when none is left. Complexity: O(1). */
bool lcm_bound_visit(struct lcm_bound *b, uint32_t *ret_layer, uint32_t *ret_entry);
/** lcm_bound_each - every bound file; @fn must not change @b. */
void lcm_bound_each(const struct lcm_bound *b,
		    void (*fn)(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup),
		    void *arg);

#endif
