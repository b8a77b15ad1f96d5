/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_others.h - the same image by podman and by containerd, each with an empty state of its own.
 *
 * What is wrong with them is said in a note and is not the end: they are compared with, not needed.
 *
 * Layer: cmd. Threads: one.
 */
#ifndef LCM_BENCH_OTHERS_H
#define LCM_BENCH_OTHERS_H

#include "src/cmd/bench.h"

/** bench_other_name - "podman", "containerd". */
const char *bench_other_name(enum bench_other o);
/** bench_others_choose - @list: names with commas between them, "none", or NULL: all. What is not
 * installed is left out. Return: 0; -EINVAL. */
LCM_MUST_USE int bench_others_choose(struct bench *b, const char *list);

/** bench_other_open - an empty state; containerd runs when it returns. bench_other_close() ends and
 * removes it, also after an error. */
LCM_MUST_USE int bench_other_open(struct bench *b, enum bench_other o, struct lcm_err *err);
/** bench_other_pull - the image, unpacked. Return: 0; -errno with the program's last words. */
LCM_MUST_USE int bench_other_pull(struct bench *b, enum bench_other o, struct lcm_err *err);
/** bench_other_run - a container of the image that was pulled; as bench_run_output(). */
LCM_MUST_USE int bench_other_run(struct bench *b, enum bench_other o, void (*first)(void *arg),
				 void *arg, uint64_t *ret_ns, struct lcm_err *err);
void bench_other_close(struct bench *b, enum bench_other o);
/** bench_other_leave_out - it failed: it takes part no more, so that the rounds of all series stay
 * the same. */
void bench_other_leave_out(struct bench *b, enum bench_other o, int r, const struct lcm_err *why);

#endif
