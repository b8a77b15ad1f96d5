/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocked.h - which files held a container up, and for how long: the worst of one gate.
 *
 * Layer: fuse. A file that was pushed out of the list and waits again begins at zero, so with
 * more files than places the times of the last ones are lower bounds; those of files that waited
 * once, as nearly all do, are exact. Threads: the caller's lock (the gate's).
 */
#ifndef LCM_BLOCKED_H
#define LCM_BLOCKED_H

#include "fuse/gate.h"

struct lcm_blocked {
	struct lcm_gate_blocked worst[LCM_GATE_BLOCKED_MAX]; /* longest first */
	uint32_t n;
};

/** lcm_blocked_add - a file was waited for, @wait_ns long. Complexity: O(LCM_GATE_BLOCKED_MAX). */
void lcm_blocked_add(struct lcm_blocked *b, uint32_t layer, uint32_t entry, uint64_t wait_ns);

#endif
