/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - ask a program of the system for secrets, without waiting for it.
 *
 * Layer: registry. In a session of its own, no descriptor of ours; what is asked on its input, its
 * output in memory that is wiped, the first line of its standard error for an error text.
 * Threads: loop.
 */
#ifndef LCM_PROGRAM_H
#define LCM_PROGRAM_H

#include "src/base/err.h"
#include "src/base/loop.h"

#define LCM_PROGRAM_TIMEOUT_MS 30000U
#define LCM_PROGRAM_INPUT_MAX 4096U /* fits into any pipe */
#define LCM_PROGRAM_LINE 200        /* bytes of a line in an error text */

struct lcm_program; /* one that runs */

struct lcm_program_call {
	char *const *argv; /* NULL-terminated; argv[0]: its name, also in texts */
	char *const *envp; /* NULL: our environment */
	const char *dir;   /* where it is, absolute; NULL: the absolute directories of $PATH */
	const char *input; /* @len bytes, at most LCM_PROGRAM_INPUT_MAX */
	size_t len;
	uint32_t timeout_ms; /* then it is killed */
};

struct lcm_program_result {
	int status; /* as waitpid(2) has it */
	const char
	    *said; /* its output, @len bytes and a NUL; borrowed during the callback; secret */
	size_t len;
	char why[LCM_PROGRAM_LINE + 1]; /* the first line of its standard error, made plain */
};

/** lcm_program_fn - it has ended; to be given to lcm_program_free(). @r: 0; -EACCES (it says too
 * much), -ETIMEDOUT: no @res, and a text that names it, never a secret. */
typedef void (*lcm_program_fn)(void *arg, int r, const struct lcm_program_result *res,
			       const struct lcm_err *err);

/**
 * lcm_program_start - run it
 * @c: borrowed during the call
 *
 * @fn is called once, later, unless lcm_program_free() came before.
 * Return: 0; -ENOENT (no such program); -EFBIG (too long an input); -errno (text).
 */
LCM_MUST_USE int lcm_program_start(struct lcm_loop *loop, const struct lcm_program_call *c,
				   lcm_program_fn fn, void *arg, struct lcm_program **ret,
				   struct lcm_err *err) LCM_ON(loop);
/** lcm_program_free - kill it, with all that it started in its session, if it still runs. NULL is
 * allowed. */
void lcm_program_free(struct lcm_program *p) LCM_ON(loop);

/** lcm_program_line - of @len bytes the first line, and nothing that a terminal obeys. */
void lcm_program_line(const char *p, size_t len, char out[LCM_PROGRAM_LINE + 1]);
/** lcm_program_failed - the text for a program that ended with @status, not 0. Return: -EACCES. */
int lcm_program_failed(const char *name, int status, const char *why, struct lcm_err *err);

#endif
