/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull_ring.h - the blob on its way from the loop to the stream thread: bytes in a ring that
 * a function reads, and runs that are still on the disk.
 *
 * Layer: daemon. Threads: the loop puts, the stream's thread fills; everything is guarded by mu.
 */
#ifndef LCM_PULL_RING_H
#define LCM_PULL_RING_H

#include <pthread.h>

#include "store/blob.h"

struct lcm_pull_item;

struct lcm_pull_ring {
	uint8_t *bytes; /* borrowed; byte n of the blob lies at n % len */
	uint64_t len;
	int wake; /* owned; eventfd: there is something to fill with */
	pthread_mutex_t mu;
	struct lcm_pull_item *head, *tail; /* owned; what comes next, in order */
	uint64_t planned;                  /* end of the last item */
	uint64_t until;                    /* bytes that the ring has had in order */
	uint64_t done;                     /* that it need not hold any more */
	bool full;                         /* the loop has been refused, and waits for room */
	bool refill_posted;
	int stop; /* 0, or -errno for the stream's thread */
	struct lcm_err stop_err;
};

LCM_MUST_USE int lcm_pull_ring_init(struct lcm_pull_ring *r, uint8_t *bytes, uint64_t len);
void lcm_pull_ring_fini(struct lcm_pull_ring *r);

/** lcm_pull_ring_put - the next bytes, of the network. Return: 1; 0 (no room for all of them:
 * nothing was taken, and lcm_pull_ring_fill() asks for a refill when there is); -ENOMEM. */
LCM_MUST_USE int lcm_pull_ring_put(struct lcm_pull_ring *r, uint64_t off, const void *p,
				   size_t len);
/** lcm_pull_ring_disk - next comes a run that the blob file has. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_pull_ring_disk(struct lcm_pull_ring *r, uint64_t off, uint64_t len);
/** lcm_pull_ring_has_room - is a GET worth it? */
bool lcm_pull_ring_has_room(struct lcm_pull_ring *r);
/** lcm_pull_ring_wake - have the stream look at everything again. */
void lcm_pull_ring_wake(struct lcm_pull_ring *r);
/** lcm_pull_ring_refilled - the refill runs. Return: was somebody refused meanwhile? */
bool lcm_pull_ring_refilled(struct lcm_pull_ring *r);
bool lcm_pull_ring_refill_posted(struct lcm_pull_ring *r);
void lcm_pull_ring_stop(struct lcm_pull_ring *r, int status, const struct lcm_err *err);
/** lcm_pull_ring_stopped - 0, or the status of the stop. */
int lcm_pull_ring_stopped(struct lcm_pull_ring *r);
/** lcm_pull_ring_why - the text of the stop. Return: was there one? */
bool lcm_pull_ring_why(struct lcm_pull_ring *r, struct lcm_err *ret);

/** lcm_pull_ring_fill - as lcm_fn_stream_opt.fill. *ret_refill: post the loop's refill task. */
LCM_MUST_USE int lcm_pull_ring_fill(struct lcm_pull_ring *r, struct lcm_blob *blob, uint64_t done,
				    uint64_t *ret_until, bool *ret_refill);

#endif
