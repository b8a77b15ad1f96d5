/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_below.h - what a hardlink entry stands for, in its own layer or in those below.
 *
 * Layer: overlay, private to it. Threads: one owner.
 */
#ifndef LCM_MERGE_BELOW_H
#define LCM_MERGE_BELOW_H

#include "overlay/merge.h"

struct lcm_merge_source {
	uint32_t layer, entry;
};

/* Directories looked into for all links below of one merge: seconds, whatever the layers say. */
#define LCM_BELOW_STEPS_MAX (1U << 26)

struct lcm_below {
	struct lcm_merge_source *dirs; /* [n_layers]; scratch */
	uint32_t steps;
};

/**
 * lcm_below_follow - from a name to the entry that has its metadata and data
 * @at: in: any entry; out: no hardlink and no link below
 * Return: 0; -EUCLEAN (a link below to nothing, to a directory, or to what is hidden; the text
 * names both); -EFBIG (LCM_BELOW_STEPS_MAX).
 */
LCM_MUST_USE int lcm_below_follow(struct lcm_below *b, const struct lcm_merge *m,
				  struct lcm_merge_source *at, struct lcm_err *err);

#endif
