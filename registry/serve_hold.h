/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_hold.h - suspended connections: one thread resumes them at their time or when released.
 *
 * Layer: registry, private to serve.c. Threads: any. Invariant: after lcm_holder_close() nothing is
 * suspended and nothing can be.
 */
#ifndef LCM_REGISTRY_SERVE_HOLD_H
#define LCM_REGISTRY_SERVE_HOLD_H

#include <microhttpd.h>
#include <pthread.h>

#include "src/base/base.h"

struct lcm_held {
	struct lcm_held *next;       /* owned by the holder while waiting */
	struct MHD_Connection *conn; /* borrowed */
	uint64_t until_ns;           /* CLOCK_MONOTONIC; UINT64_MAX: until released */
};

struct lcm_holder {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	struct lcm_held *list; /* under lock */
	bool on, closing;      /* under lock */
};

LCM_MUST_USE int lcm_holder_init(struct lcm_holder *h);
/** lcm_holder_close - resume all, end the thread. Before MHD_stop_daemon(). */
void lcm_holder_close(struct lcm_holder *h);
void lcm_holder_fini(struct lcm_holder *h);
void lcm_holder_set(struct lcm_holder *h, bool on);
unsigned int lcm_holder_count(struct lcm_holder *h);
/** lcm_holder_on - are answers held now? */
bool lcm_holder_on(struct lcm_holder *h);
/**
 * lcm_holder_wait - suspend @c from inside its handler or content reader
 * @until_ns: time to go on, or UINT64_MAX: while the holder is on
 * Return: true when it is suspended; false: go on at once.
 */
bool lcm_holder_wait(struct lcm_holder *h, struct lcm_held *w, struct MHD_Connection *c,
		     uint64_t until_ns);

#endif
