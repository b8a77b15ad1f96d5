/* SPDX-License-Identifier: Apache-2.0 */
/*
 * background.h - work that nobody waits for, on processor time that has been given up.
 *
 *           begin                        a processor is free
 *  (any) ---------> [registered] CLOSED --------------------> OPEN: all run, idle class,
 *                                  ^  |                             |   in the idle cgroup
 *                                  |  | share not had for so long   | none has been free
 *                                  |  `--> one at a time gets its   | for a window
 *                                  |       share, as any other      |
 *                                  `--------------------------------'
 *
 * A task is one thread, and at most one isolated function that works for it. It asks at points,
 * after each slice; between two of them lies its smallest step. While CLOSED one thread of all
 * looks whether a processor is free, the others sleep, the functions are stopped; with no task
 * there is no thread at all. Nothing here is waited for by anybody: who comes to wait says so
 * (lcm_background_hurry()), and from then on the task is as any other.
 *
 * The class and the cgroup (idle_group.h) act within microseconds; the gate keeps background from
 * what they leave it of processors that others want: its share by weight, and caches.
 *
 * Layer: daemon. Threads: named at each function.
 */
#ifndef LCM_BACKGROUND_H
#define LCM_BACKGROUND_H

#include <jansson.h>
#include <stdatomic.h>
#include <time.h>

#include "decode/fn.h"
#include "src/daemon/idle_group.h"
#include "src/daemon/idle_source.h"

enum lcm_background_how {
	LCM_BACKGROUND_GATED, /* idle class, cgroup and gate */
	LCM_BACKGROUND_CLASS, /* no gate */
	LCM_BACKGROUND_ANY,   /* as all other work */
};
/** lcm_background_parse - "gated", "class", "no". Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_background_parse(const char *text, enum lcm_background_how *ret);

struct lcm_background_config {
	enum lcm_background_how how;
	uint64_t slice_ns;      /* between two points at which it looks whether it may go on */
	uint64_t wait_ns;       /* with less than its share for so long, it gets that */
	uint32_t share_percent; /* of one processor; 0: never */
};
/** lcm_background_defaults - what the man page documents. */
void lcm_background_defaults(struct lcm_background_config *cfg);

struct lcm_background;

/* Embedded in its owner; lcm_background_init() before use. */
struct lcm_background_task {
	struct lcm_background_task *next; /* what follows: the module's */
	struct lcm_background *b;
	int wake;          /* owned; eventfd */
	_Atomic pid_t tid; /* while it has the idle class; 0: it has not */
	_Atomic bool hurried, cancelled, lifted, ended;
	struct lcm_fn *fn; /* borrowed between begin and end; NULL: none */
	clockid_t clock, fn_clock;
	bool active, has_fn_clock, in_group, plain, raised, waiting, has_turn;
	bool stopped, held;         /* its function is; has been since the last point */
	uint64_t begun_ns, seen_ns; /* processor time */
	uint64_t slice_end_ns;
};

/**
 * lcm_background_new - probe what this host has for it
 * @source: borrowed; NULL: lcm_idle_source_kernel
 * Return: 0, -ENOMEM. What is missing is no error: lcm_background_json() names it.
 */
LCM_MUST_USE int lcm_background_new(const struct lcm_background_config *cfg,
				    const struct lcm_idle_source *source,
				    struct lcm_background **ret);
/** lcm_background_stop - the daemon ends and waits for all of it: points return at once, threads
 * are as any other, none becomes background any more. Thread: loop. */
void lcm_background_stop(struct lcm_background *b);
/** lcm_background_free - no task may be registered. NULL is allowed. */
void lcm_background_free(struct lcm_background *b);

/** lcm_background_init - @t belongs to @b. Return: 0, -errno of eventfd(2). */
LCM_MUST_USE int lcm_background_init(struct lcm_background_task *t, struct lcm_background *b);
void lcm_background_fini(struct lcm_background_task *t);

/** lcm_background_begin - the calling thread becomes background. @fn: works for it; NULL: none.
 * Both are as before after lcm_background_end(), but @fn is fit only to be put away. */
void lcm_background_begin(struct lcm_background_task *t, struct lcm_fn *fn);
/**
 * lcm_background_point - may it go on? Waits until it may. Thread: the task's, between begin and
 * end.
 * Return: true: its function was stopped since the last point, or the thread has waited.
 */
bool lcm_background_point(struct lcm_background_task *t);
void lcm_background_end(struct lcm_background_task *t);

/** lcm_background_hurry - somebody waits for it from now on. Does not wait. Thread: loop. */
void lcm_background_hurry(struct lcm_background_task *t);
/** lcm_background_cancel - its points do not wait any more. Does not wait. Thread: any. */
void lcm_background_cancel(struct lcm_background_task *t);

/** lcm_background_json - how it is done on this host, what is missing, and how it stands now: a new
 * object. Thread: any; takes no lock that background holds. */
json_t *lcm_background_json(const struct lcm_background *b);
/** lcm_background_config - as it was made with. */
void lcm_background_config(const struct lcm_background *b, struct lcm_background_config *ret);
/** lcm_background_ns - processor time that it has had, as of the last look. Thread: any. */
uint64_t lcm_background_ns(const struct lcm_background *b);
/** lcm_background_state - "none", "running", "waiting" (for a processor), "share" (its minimum). */
const char *lcm_background_state(const struct lcm_background *b);

#endif
