/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - one epoll loop: descriptors, timers, and a mailbox for other threads.
 *
 * Layer: base. Threads: all calls on the loop thread, except lcm_loop_post_task()
 * and lcm_loop_stop(). Invariant: callbacks run one after another, never
 * inside a call that registered them.
 */
#ifndef LCM_LOOP_H
#define LCM_LOOP_H

#include <sys/epoll.h>

#include "src/base/base.h"

struct lcm_loop;
struct lcm_loop_fd; /* a watched descriptor */
struct lcm_timer;

typedef void (*lcm_fd_fn)(void *arg, uint32_t events);
typedef void (*lcm_task_fn)(void *arg);

LCM_MUST_USE int lcm_loop_new(struct lcm_loop **ret);
/** lcm_loop_free - runs what is still in the mailbox first. No thread may post any more. */
void lcm_loop_free(struct lcm_loop *l);
/** lcm_loop_run - until lcm_loop_stop(). Return: 0, -errno of epoll. */
LCM_MUST_USE int lcm_loop_run(struct lcm_loop *l);
/** lcm_loop_drain - run what is in the mailbox, and what that posts, without waiting. */
void lcm_loop_drain(struct lcm_loop *l) LCM_ON(loop);
/** lcm_loop_stop - leave lcm_loop_run() after the current callbacks. Thread: any. */
void lcm_loop_stop(struct lcm_loop *l);

/** lcm_loop_add_fd - call @fn when @events (EPOLLIN...) are ready, level-triggered. @fd is
 * borrowed. */
LCM_MUST_USE int lcm_loop_add_fd(struct lcm_loop *l, int fd, uint32_t events, lcm_fd_fn fn,
				 void *arg, struct lcm_loop_fd **ret) LCM_ON(loop);
LCM_MUST_USE int lcm_loop_mod_fd(struct lcm_loop_fd *w, uint32_t events) LCM_ON(loop);
/** lcm_loop_del_fd - stop watching; @fn is not called again, even for events already read. NULL is
 * allowed. */
void lcm_loop_del_fd(struct lcm_loop_fd *w) LCM_ON(loop);

/** lcm_timer_new - a timer that is not armed. */
LCM_MUST_USE int lcm_timer_new(struct lcm_loop *l, lcm_task_fn fn, void *arg,
			       struct lcm_timer **ret) LCM_ON(loop);
/** lcm_timer_set - fire once @ns nanoseconds from now (0: at the next turn); replaces an earlier
 * setting. */
void lcm_timer_set(struct lcm_timer *t, uint64_t ns) LCM_ON(loop);
void lcm_timer_clear(struct lcm_timer *t) LCM_ON(loop);
bool lcm_timer_armed(const struct lcm_timer *t) LCM_ON(loop);
void lcm_timer_free(struct lcm_timer *t) LCM_ON(loop);

/*
 * A task embedded in its owner: posting cannot fail, which is what a
 * completion needs. A task that is already queued must not be posted again.
 */
struct lcm_task {
	struct lcm_task *next; /* owned by the mailbox while queued */
	lcm_task_fn fn;
	void *arg;
};
/** lcm_loop_post_task - run @t's function on the loop thread, in order of posting per thread;
 * cannot fail. @t is borrowed until its function runs. Thread: any. */
void lcm_loop_post_task(struct lcm_loop *l, struct lcm_task *t);

LCM_DEFINE_AUTO(lcm_loop)

#endif
