/* SPDX-License-Identifier: Apache-2.0 */
/* container_priv.h - the inside of a tie, for container*.c only. */
#ifndef LCM_CONTAINER_PRIV_H
#define LCM_CONTAINER_PRIV_H

#include "src/daemon/carry.h"
#include "src/daemon/container.h"

struct lcm_container {
	struct lcm_container *next;
	struct lcm_session *s; /* borrowed */
	char id[LCM_CONTAINER_ID_MAX + 1];
	pid_t pid;
	int pidfd;                /* owned; -EBADF: none */
	struct lcm_loop_fd *ends; /* owned; pidfd */
	uint64_t birth;           /* of the process, clock ticks since boot: pids are used again */
	char *cgroup;             /* owned; NULL: not known */
	char *bundle;             /* owned; NULL: not known */
	uint64_t started_ns;      /* CLOCK_MONOTONIC; 0: not yet */
	bool owns;
	struct lcm_carry carry;     /* what is set on its cgroup */
	char *no_carry;             /* owned; why nothing can be; NULL: it can */
	bool carrying, carry_again; /* a job is at it; and it is to look again */
};

/** container_find - by id; NULL: there is none. */
struct lcm_container *container_find(const struct lcm_host *h, const char *id);
/** container_birth - of a process, in clock ticks since boot; 0: it is gone. Thread: any. */
uint64_t container_birth(pid_t pid);
/** container_write - its file, for the next daemon. Return: 0, -errno (text). */
LCM_MUST_USE int container_write(const struct lcm_host *h, const struct lcm_container *c,
				 struct lcm_err *err);
/** container_uncarry - it goes: what is set on its cgroup is put back. */
void container_uncarry(struct lcm_host *h, struct lcm_container *c);

#endif
