/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle_source.h - how background learns that a processor has been given up.
 *
 * A source is a clock: processor time that nobody has used. The kernel's counters are one; a
 * virtual machine monitor that sees its processors halt would be another.
 *
 * Layer: daemon; uses base.
 */
#ifndef LCM_IDLE_SOURCE_H
#define LCM_IDLE_SOURCE_H

#include "src/base/base.h"

struct lcm_idle_source {
	const char *name;  /* for status */
	uint64_t grain_ns; /* it advances in steps of this */
	bool lags; /* what it says was so a while ago: a thread that then still has to wait for a
		      processor is not to believe it */
	/**
	 * read - processor time that nobody has used so far, of all processors together, in ns
	 * Does not wait. Return: 0; -errno: it cannot be known, *@ret_ns is untouched. Thread: one
	 * at a time.
	 */
	int (*read)(void *arg, uint64_t *ret_ns);
	void *arg; /* borrowed while the source is used */
};

/** lcm_idle_source_kernel - the idle time of all processors, as proc_stat(5) has it. Time that a
 * hypervisor took away is not idle. */
extern const struct lcm_idle_source lcm_idle_source_kernel;

/** lcm_idle_parse - idle and iowait of the first line of /proc/stat, in ns, @hz ticks a second.
 * Return: 0, -EUCLEAN. Source: proc_stat(5). */
LCM_MUST_USE int lcm_idle_parse(const char *text, long hz, uint64_t *ret_ns);

#endif
