/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle_group.h - a cgroup at the top of the hierarchy for what runs only when nobody else does.
 *
 * A scheduling class ranks a thread among those of its own cgroup; which cgroup runs is decided
 * before. So the threads of background need cpu.idle=1 beside the groups of all containers, right
 * below the root. The v1 controller takes single threads, that of v2 whole processes: there the
 * isolated functions go into the group, and the daemon's own threads stay where they are, with the
 * idle class alone.
 *
 * Layer: daemon. Threads: any. Source: Documentation/admin-guide/cgroup-v2.rst, sched(7).
 */
#ifndef LCM_IDLE_GROUP_H
#define LCM_IDLE_GROUP_H

#include <sys/types.h>

#include "src/base/err.h"

struct lcm_idle_group;

/**
 * lcm_idle_group_open - find a cpu controller that knows cpu.idle, and make a group in it
 * @sys:  where cgroups are mounted: "/sys/fs/cgroup"
 * @proc: the caller's own: "/proc/self/cgroup", for the way back
 *
 * Groups that daemons before have left empty are removed.
 * Return: 0; -ENOTSUP (text: what is missing); -errno (text).
 */
LCM_MUST_USE int lcm_idle_group_open(const char *sys, const char *proc, struct lcm_idle_group **ret,
				     struct lcm_err *err);
/** lcm_idle_group_close - remove it. Whoever is still inside goes back first. NULL is allowed. */
void lcm_idle_group_close(struct lcm_idle_group *g);
/** lcm_idle_group_path - of its directory; borrowed. */
const char *lcm_idle_group_path(const struct lcm_idle_group *g);
/** lcm_idle_group_threads - does it take single threads? */
bool lcm_idle_group_threads(const struct lcm_idle_group *g);
/** lcm_idle_group_enter - @id: a thread (only where it takes those), or a process of one thread.
 * May wait for the kernel's other moves. Return: 0, -errno. */
LCM_MUST_USE int lcm_idle_group_enter(struct lcm_idle_group *g, pid_t id);
/** lcm_idle_group_leave - back to where the daemon is. Return: 0, -errno. */
LCM_MUST_USE int lcm_idle_group_leave(struct lcm_idle_group *g, pid_t id);
/** lcm_idle_group_lift - the group is as any other from now on, until as many calls with false as
 * with true have come. Does not wait. */
void lcm_idle_group_lift(struct lcm_idle_group *g, bool up);

#endif
