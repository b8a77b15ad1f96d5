/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - who waits for what: blocking queues of one gate.
 *
 * Layer: fuse. A waiter stands for one FUSE request that was read and not yet
 * answered. It is in the queue or it is not, and whoever takes it out (always by
 * one lcm_queue_take*() call under the caller's lock) owns it alone: that one
 * answers the request, without the lock, and frees the waiter. A second taker
 * finds nothing. So no request is answered twice and none is forgotten, however
 * completion, interrupt, deadline and close race.
 *
 * LOOKUPs of one missing file form that file's blocking queue; READs stand alone.
 * What the fetch side was told about a file ("want", "unwant") must arrive in
 * order although it is told without a lock: lcm_queue_tell().
 *
 *       add_file                         tell() -> WANT
 *   none --------> {waiters, not told} ----------------> {waiters, told}
 *    ^                 | last one taken                    |  |  last one taken
 *    |<----------------'         take_file() (done)        |  v
 *    |<----------------------------------------------------'  {empty, told}
 *    |<---------------------------------------------------------'  tell() -> UNWANT
 *
 * Does no I/O beyond reading the clock and knows nothing of FUSE. Threads: the caller's lock (the
 * gate's).
 */
#ifndef LCM_QUEUE_H
#define LCM_QUEUE_H

#include "fuse/blocked.h"
#include "fuse/map.h"

struct lcm_wait_file; /* one file's blocking queue; private */

#define LCM_NOT_HELD UINT64_MAX

struct lcm_waiter {
	struct lcm_map_node
	    id;         /* key: the kernel's id of the request, never 0, unique while it waits */
	void *req;      /* what to answer: fuse_req_t; owned with the waiter */
	uint64_t since; /* when it was put in, CLOCK_MONOTONIC ns; set by lcm_queue_add() */
	uint64_t
	    off; /* READ that is held, of which nobody was told: from where; else LCM_NOT_HELD */
	uint64_t signalled;    /* when a signal came that is not known to be fatal, ns; 0: none */
	uint32_t layer, entry; /* the file */
	uint32_t pid; /* thread that waits, as the kernel reports it; 0: not visible from here */
	uint32_t len; /* READ: bytes asked for, >= 1; LOOKUP: 0 */
	struct lcm_wait_file *file;         /* private; NULL for READs */
	struct lcm_waiter *next, *prev;     /* of one file; next chains what take calls return */
	struct lcm_waiter *later, *earlier; /* in order of arrival */
	struct lcm_waiter *signalled_next, *signalled_prev; /* of those with signalled != 0 */
};
_Static_assert(sizeof(struct lcm_waiter) <= 128, "a thousand waiters are a few hundred kilobytes");

struct lcm_queue {
	struct lcm_map ids;              /* of lcm_waiter.id */
	struct lcm_map files;            /* of lcm_wait_file, by layer and entry */
	struct lcm_waiter *first, *last; /* all, in order of arrival */
	uint64_t deadline_ns; /* each may wait so long; 0: for ever. The caller's to set */
	struct lcm_waiter *signalled_first, *signalled_last;
	uint32_t n_signalled;       /* waiters with signalled != 0 */
	uint32_t peak;              /* most waiters there ever were */
	struct lcm_blocked blocked; /* of those that were taken out */
	uint64_t busy_since; /* when the first of those that wait now came; stale while none does */
	uint64_t busy_ns;    /* in which somebody waited, until the queue last was empty */
};

enum lcm_queue_tell {
	LCM_TELL_NOTHING,
	LCM_TELL_WANT,
	LCM_TELL_UNWANT,
};

LCM_MUST_USE int lcm_queue_init(struct lcm_queue *q);
/** lcm_queue_fini - the queue must be empty of waiters. A zeroed queue is allowed. */
void lcm_queue_fini(struct lcm_queue *q);
static inline uint32_t lcm_queue_count(const struct lcm_queue *q)
{
	return (uint32_t)q->ids.n;
}

/**
 * lcm_queue_add - put @w in
 * @w: id.key, req, off, layer, entry, pid and len are set, the rest zero; taken on success
 * Return: 0; -EEXIST (a request of this id waits already); -ENOMEM.
 * Complexity: O(1).
 */
LCM_MUST_USE int lcm_queue_add(struct lcm_queue *q, struct lcm_waiter *w);

/** lcm_queue_find - the waiter of a request, still owned by the queue, or NULL. */
struct lcm_waiter *lcm_queue_find(const struct lcm_queue *q, uint64_t id);
/** lcm_queue_signal - note that a signal reached the waiter @w at @now_ns (not 0); the first time
 * counts. */
void lcm_queue_signal(struct lcm_queue *q, struct lcm_waiter *w, uint64_t now_ns);

/** lcm_queue_each - every waiter; @fn must not change the queue. */
void lcm_queue_each(const struct lcm_queue *q, void (*fn)(void *arg, struct lcm_waiter *w),
		    void *arg);

/** lcm_queue_take - take the waiter of one request out. Return: it, or NULL when it is not there
 * (any more). */
struct lcm_waiter *lcm_queue_take(struct lcm_queue *q, uint64_t id);
/** lcm_queue_take_file - the fetch side is done with a file: all its waiters, chained by next,
 * oldest first. It has been told nothing from here on. */
struct lcm_waiter *lcm_queue_take_file(struct lcm_queue *q, uint32_t layer, uint32_t entry);
/** lcm_queue_take_expired - those whose deadline is at most @now_ns, chained by next. */
struct lcm_waiter *lcm_queue_take_expired(struct lcm_queue *q, uint64_t now_ns);
/** lcm_queue_take_all - everyone, chained by next. */
struct lcm_waiter *lcm_queue_take_all(struct lcm_queue *q);
/** lcm_queue_signalled - the signalled waiter that was not returned for longest, still owned by the
 * queue, or NULL. */
struct lcm_waiter *lcm_queue_signalled(struct lcm_queue *q);
/** lcm_queue_next_deadline - the soonest, 0: none. */
uint64_t lcm_queue_next_deadline(const struct lcm_queue *q);
/** lcm_queue_oldest - since when the one waits that has waited longest; 0: nobody waits. */
uint64_t lcm_queue_oldest(const struct lcm_queue *q);

/**
 * lcm_queue_tell - what the fetch side has to be told about a file now
 * @again: false at first; true when the caller has just told what the last call for this file
 *returned
 * @hold: nothing is wanted now; whoever ends the hold tells again
 *
 * One thread at a time tells about one file. Usage, after every change of a file's queue:
 *	for (again = false; (t = locked(lcm_queue_tell(q, layer, entry, again))) !=
 *LCM_TELL_NOTHING; again = true) tell the fetch side t, without the lock; Another thread that comes
 *meanwhile gets LCM_TELL_NOTHING; the first one then sees its change.
 */
enum lcm_queue_tell lcm_queue_tell(struct lcm_queue *q, uint32_t layer, uint32_t entry, bool again,
				   bool hold);

#endif
