/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fn_host.h - the daemon's half of a function; shared by fn_pool.c, fn_call.c, fn_json.c, fn_toc.c
 * and tar_remote.c.
 *
 * Layer: decode, private to it.
 */
#ifndef LCM_FN_HOST_H
#define LCM_FN_HOST_H

#include "decode/fn.h"
#include "decode/fn_wire.h"

struct lcm_fn_mem {
	struct fn_in *in; /* mapped; writable here alone */
	struct fn_out *out;
	uint64_t in_size, out_size; /* of the mappings */
	int in_fd, out_fd;          /* owned */
};

struct lcm_fn {
	struct lcm_fn *next; /* in one of the pool's lists */
	pid_t pid;
	int sock;          /* owned */
	unsigned int slot; /* of the pool: its uid */
	uint64_t tenant;   /* 0: none yet */
	uint64_t hang_ns;
	struct lcm_fn_mem *mem; /* borrowed; bound */
	uint32_t kicked;        /* the last value of out->waits that was answered */
	bool busy;              /* a request has no answer yet */
	bool broken;            /* it may only be killed */
	bool ended;             /* its tenant has gone; the pool's */
	bool retired;           /* it is to go with its job; who has it alone */
};

/** lcm_fn_broke - note why it cannot be used any more. Return: -ENOTRECOVERABLE. */
int lcm_fn_broke(struct lcm_fn *fn, struct lcm_err *err, const char *what);
/**
 * lcm_fn_blameless - @r of a function that has not seen a byte of the job yet
 * Return: -EAGAIN for -ENOTRECOVERABLE, in *@err (may be NULL) as well; else @r.
 */
int lcm_fn_blameless(int r, struct lcm_err *err);
/** lcm_fn_gone - Return: whether the process of an idle function has ended. */
bool lcm_fn_gone(struct lcm_fn *fn);
/** lcm_fn_send - a request, with the descriptors of @m when it is not NULL. */
LCM_MUST_USE int lcm_fn_send(struct lcm_fn *fn, const struct fn_request *q,
			     const struct lcm_fn_mem *m, struct lcm_err *err);
/** lcm_fn_reply - wait for the answer to the request. Return: 0; -ENOTRECOVERABLE. */
LCM_MUST_USE int lcm_fn_reply(struct lcm_fn *fn, struct fn_reply *ret, struct lcm_err *err);
/**
 * lcm_fn_receive - what the socket has: wake-ups are eaten
 * Return: 1 (*ret is the answer), 0 (nothing more), -ENOTRECOVERABLE.
 */
LCM_MUST_USE int lcm_fn_receive(struct lcm_fn *fn, struct fn_reply *ret, struct lcm_err *err);
/**
 * lcm_fn_call - a request of one answer, and that answer
 * @ret: has the status 0. Return: 0; what the answer says; -ENOTRECOVERABLE.
 */
LCM_MUST_USE int lcm_fn_call(struct lcm_fn *fn, const struct fn_request *q,
			     const struct lcm_fn_mem *m, struct fn_reply *ret, struct lcm_err *err);
/** lcm_fn_status - the status of an answer as an error of ours: nothing a decoder cannot mean. */
LCM_MUST_USE int lcm_fn_status(const struct fn_reply *r, struct lcm_err *err);
/** lcm_fn_kick - wake the function if it sleeps. */
void lcm_fn_kick(struct lcm_fn *fn);
/** lcm_fn_spawn - start a process and wait until it says that it is confined. */
LCM_MUST_USE int lcm_fn_spawn(const char *path, uint32_t uid, struct lcm_fn *fn,
			      struct lcm_err *err);

#endif
