/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - is what the store has of a layer still what was proven?
 *
 * Layer: daemon. Threads: loop; the tree is read by the idle pool, with what processor and disk
 * have left; who asks at once waits for who asked before.
 */
#ifndef LCM_VERIFY_H
#define LCM_VERIFY_H

#include "src/daemon/api.h"

struct lcm_verify_job;

/**
 * lcm_verify_next - answer @c with the next layer and what is wrong with it
 * @image:  of this image; "": of all
 * @after:  the layer that was answered before; 0: begin
 * @repair: a damaged layer is dropped, or kept from new mounts while some mount has it
 * @now:    on processor time like any other's
 *
 * One layer for each call: who asks sees how it goes, and may stop.
 */
void lcm_verify_next(struct lcm_api_call *c, const char *image, int64_t after, bool repair,
		     bool now);
/** lcm_verify_forget - the call is over before its answer: the tree is not read on. NULL is
 * allowed. */
void lcm_verify_forget(struct lcm_verify_job *j);

#endif
