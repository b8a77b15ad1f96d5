/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - run a program of the system to its end.
 *
 * Layer: base. No shell: programs are found in /usr/sbin, /usr/bin, /sbin and /bin only, have a
 * minimal environment (LC_ALL=C and that PATH), no input, a session of their own and no descriptor
 * of ours. What they print is read and only its last line kept. Not on the loop: it waits.
 * Threads: any. Source: posix_spawn(3).
 */
#ifndef LCM_RUN_H
#define LCM_RUN_H

#include "src/base/err.h"

#define LCM_RUN_FILE "/proc/self/fd/3" /* the name of lcm_run.file for the program */

struct lcm_run {
	const char *const *argv; /* argv[0]: a name without '/'; ends with NULL */
	const char *what;        /* first words of the error text */
	const char *package;     /* the Debian package it is in; NULL: not said */
	int file; /* borrowed; the program's descriptor 3, a lcm_sys_lock() on it included, so that
		     the lock is held as long as the program runs, also when we die; -EBADF: none */
	int also_ok; /* an exit status beside 0 that is success */
};

/**
 * lcm_run_with - run it and wait for its end
 * Return: 0; -ENOENT (no such program: the text names it and its package); -EIO (it failed: the
 * text has the last line of what it printed, or the signal that killed it); -errno.
 */
LCM_MUST_USE int lcm_run_with(const struct lcm_run *run, struct lcm_err *err);
/** lcm_run - lcm_run_with() of @argv and @what alone. */
LCM_MUST_USE int lcm_run(const char *const argv[], const char *what, struct lcm_err *err);

#endif
