/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - threads for work that blocks or burns: hash, write, rename.
 *
 * Layer: base. Jobs run in order of class, then of submission. Threads: any
 * may submit; a job reports back by lcm_loop_post_task().
 */
#ifndef LCM_POOL_H
#define LCM_POOL_H

#include "src/base/loop.h"

enum lcm_pool_class {
	LCM_POOL_DEMAND,     /* a container waits for it */
	LCM_POOL_BACKGROUND, /* nobody waits */
	LCM_POOL_SLOW, /* nobody waits and it may block for seconds (sync): never has the last free
			  thread */
	LCM_POOL_CLASS_MAX,
};

struct lcm_pool;

/** lcm_pool_new - @threads 1..64 threads named @name (at most 15 characters). */
LCM_MUST_USE int lcm_pool_new(unsigned int threads, const char *name, struct lcm_pool **ret);
/** lcm_pool_free - finishes every submitted job, then ends the threads. */
void lcm_pool_free(struct lcm_pool *p);
/** lcm_pool_submit - queue @t; @t is borrowed until its function returns. Cannot fail. */
void lcm_pool_submit(struct lcm_pool *p, enum lcm_pool_class cls, struct lcm_task *t);
/** lcm_pool_take_back - @t was submitted in @cls. Return: true: it had not begun, and is not queued
 * any more. */
bool lcm_pool_take_back(struct lcm_pool *p, enum lcm_pool_class cls, struct lcm_task *t);

LCM_DEFINE_AUTO(lcm_pool)

#endif
