/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_options.h - what `locum bench` is asked for.
 *
 * Layer: cmd. Threads: one.
 */
#ifndef LCM_BENCH_OPTIONS_H
#define LCM_BENCH_OPTIONS_H

#include "src/cmd/bench.h"

#define BENCH_FILE_MAX (64U << 10)

/**
 * bench_options - from the command line
 * @ret_dir: where state goes; borrowed
 * Return: 0; else the status to end with; -1: go on (b is filled).
 */
int bench_options(int argc, char **argv, struct bench *b, const char **ret_dir);
/** bench_file - items from the text of a file: a line "IMAGE [WORD...]" each, words between blanks,
 * nothing quoted; "#" begins a comment. @text: the items' words are in it from then on. Return: 0;
 * -E2BIG, -EINVAL (text names the line), -ENOMEM. */
LCM_MUST_USE int bench_file(struct bench *b, char *text, struct lcm_err *err);

#endif
