/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.h - a host that fails is left alone for a while.
 *
 *            LCM_BREAKER_FAILS in a row            its pause is over
 *   CLOSED ------------------------------> OPEN --------------------> HALF_OPEN (one probe)
 *      ^ ^                                 | ^                          |   |
 *      | +---------------------------------+ +--------------------------+   |
 *      |   a transfer succeeded all the same        the probe failed        |
 *      +--------------------------------------------------------------------+
 *          the probe succeeded: one more failure opens it again
 *
 * Pauses double from one opening to the next, until a stretch of successes.
 *
 * Layer: registry. Pure. Threads: the owner's. Source: Nygard, "Release It!", "Circuit Breaker".
 */
#ifndef LCM_BREAKER_H
#define LCM_BREAKER_H

#include "src/base/base.h"

/* One connection that breaks breaks several transfers; a host that is ill fails more than that. */
#define LCM_BREAKER_FAILS 3U
#define LCM_BREAKER_PAUSE_MS 1000U
#define LCM_BREAKER_PAUSE_MAX_MS 60000U

enum lcm_breaker_state {
	LCM_BREAKER_CLOSED,
	LCM_BREAKER_OPEN,
	LCM_BREAKER_HALF_OPEN,
	LCM_BREAKER_STATE_MAX,
};

/* Zeroed at first: closed. */
struct lcm_breaker {
	enum lcm_breaker_state state;
	uint32_t fails;    /* in a row */
	uint32_t good;     /* successes since it closed, up to LCM_BREAKER_FAILS */
	uint32_t trips;    /* openings in a row: the pause doubles with each */
	uint64_t until_ns; /* lcm_now_ns() at which OPEN may be probed */
	uint64_t opened;   /* counted */
};

/** lcm_breaker_name - of a state, for people and metrics; a literal. */
const char *lcm_breaker_name(enum lcm_breaker_state s);
/** lcm_breaker_success - a transfer ended well. */
void lcm_breaker_success(struct lcm_breaker *b);
/** lcm_breaker_probed - the probe ended; @rnd: random bits, half of the pause is jitter. */
void lcm_breaker_probed(struct lcm_breaker *b, bool good, uint64_t now_ns, uint64_t rnd);
/** lcm_breaker_failure - a transfer failed, and the host is to blame. */
void lcm_breaker_failure(struct lcm_breaker *b, uint64_t now_ns, uint64_t rnd);
/** lcm_breaker_probe - Return: true once per pause, when it is over: send one probe now and tell
 * lcm_breaker_probed(). */
bool lcm_breaker_probe(struct lcm_breaker *b, uint64_t now_ns);

#endif
