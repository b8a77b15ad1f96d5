/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h - how much a LIF may use in a time, and what becomes of what it asks for beyond that.
 *
 * A limit is a resource, an interval and a threshold. What is used is counted in windows of the
 * interval; more than the threshold is over, as much as it is not. The request that crossed the
 * line completes; what comes after it is additional:
 *
 *   no limit over      admitted
 *   one over           held: they wait, and nobody fetches for them
 *   two or more over   rejected, with an error, and counted
 *
 * until readmission: when windows roll over, or a set time after the line was crossed, or once the
 * other LIFs have had so many requests. The latter two begin all windows anew.
 *
 * Layer: meter. Pure: the caller says what time it is. Threads: the caller's lock.
 */
#ifndef LCM_LIMIT_H
#define LCM_LIMIT_H

#include "meter/lif.h"

#define LCM_LIMITS_MAX 8U
#define LCM_LIMIT_INTERVAL_MIN 10000000ULL    /* ns */
#define LCM_LIMIT_INTERVAL_MAX 60000000000ULL /* ns */
#define LCM_LIMIT_INTERVAL 1000000000ULL      /* of those that say none */

enum lcm_resource {
	LCM_RES_REQUESTS,
	LCM_RES_FETCHED_BYTES,
	LCM_RES_DECODED_BYTES,
	LCM_RES_WRITTEN_BYTES,
	LCM_RES_DECODE_MS,
	LCM_RES_DISK_MS,
	LCM_RES_MAX,
};
/** lcm_resource_parse - "requests", "fetched_bytes", ... Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_resource_parse(const char *name, enum lcm_resource *ret);
const char *lcm_resource_name(enum lcm_resource r);

struct lcm_limit {
	enum lcm_resource resource;
	uint64_t interval_ns, threshold; /* threshold: in the resource's unit */
	uint64_t window, used; /* private: number of the window, what was used in it; ns for
				  times */
};

enum lcm_readmit {
	LCM_READMIT_ROLLOVER,
	LCM_READMIT_TIME,   /* @after: ns */
	LCM_READMIT_OTHERS, /* @after: requests of other LIFs */
};

enum lcm_admission {
	LCM_ADMITTED,
	LCM_HELD,
	LCM_REJECTED,
};

struct lcm_limits {
	struct lcm_limit v[LCM_LIMITS_MAX];
	uint32_t n;
	enum lcm_readmit readmit;
	uint64_t after;
	uint64_t over_since_ns, others_then; /* private: of the crossing; 0: not over */
	enum lcm_admission last;             /* private: the answer before */
	uint64_t times_held, times_rejected; /* how often it became so */
};

/** lcm_limits_check - are they such as can be kept? Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_limits_check(const struct lcm_limits *l);
/** lcm_limits_replace - other limits from now on. What was used in a window counts on in a limit of
 * the same resource and interval. */
void lcm_limits_replace(struct lcm_limits *l, const struct lcm_limits *by, uint64_t now_ns);
/** lcm_limits_charge - a request used @cost. */
void lcm_limits_charge(struct lcm_limits *l, const struct lcm_lif_cost *cost, uint64_t now_ns);
/** lcm_limits_admission - what becomes of additional requests now. @others: requests that all other
 * LIFs have had so far. @ret_again: when to ask again, CLOCK_MONOTONIC ns, or 0: at the next charge
 * of anybody. */
enum lcm_admission lcm_limits_admission(struct lcm_limits *l, uint64_t now_ns, uint64_t others,
					uint64_t *ret_again);

#endif
