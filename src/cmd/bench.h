/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what the parts of `locum bench` share.
 *
 *   supervisor (waits, cleans up) -- fork --> worker (own pid and mount namespace) -- spawn -->
 * daemons, containers, podman
 *
 * The worker is the first process of its pid namespace: whatever ends it, everything it started
 * ends with it, orphans included, and the mounts go with the mount namespace. Files are left to the
 * supervisor.
 *
 * Layer: cmd. Threads: one in each process.
 */
#ifndef LCM_BENCH_H
#define LCM_BENCH_H

#include <jansson.h>
#include <sys/types.h>

#include "src/base/err.h"
#include "src/cmd/bench_link.h"

#define BENCH_ROUNDS_MAX 100
#define BENCH_SERIES_MAX 64
#define BENCH_ARGS_MAX 64
#define BENCH_NOTES_MAX 8
#define BENCH_IMAGES_MAX 32
#define BENCH_WORDS_MAX 1024
#define BENCH_CPU_NS 1000000000.0

enum bench_unit {
	BENCH_MS,    /* values are given in ns */
	BENCH_US,    /* per operation; values are given in ns */
	BENCH_CPU_S, /* values are given in ns */
	BENCH_BYTES,
	BENCH_COUNT,
	BENCH_UNIT_MAX,
};

/* One figure, measured once a round. */
struct bench_series {
	const char *part, *name,
	    *base; /* @base: name of the series it is compared with, in @part; NULL: none */
	enum bench_unit unit;
	double v[BENCH_ROUNDS_MAX * 4];
	size_t n;
};

/* What locum is compared with. */
enum bench_other { OTHER_PODMAN, OTHER_CONTAINERD, OTHER_MAX };

struct bench_traffic;

/* An image, and what its container does. */
struct bench_item {
	const char *image;
	char *const *command; /* NULL: the image's */
};

/* What is said in words beside the figures. */
struct bench_note {
	const char *key; /* static */
	char text[200];
};

struct bench {
	struct bench_item items[BENCH_IMAGES_MAX];
	size_t n_items;
	char *file; /* owned; that items are from; NULL: none */
	char *file_words[BENCH_WORDS_MAX];
	size_t n_file_words;
	const char *image; /* of the item that is measured now, as the next */
	char *const *command;
	bool others[OTHER_MAX]; /* take part */
	struct bench_link link; /* all zero: none */
	const char *daemon_options[BENCH_ARGS_MAX + 1];
	size_t n_daemon_options;
	uint64_t rounds;
	bool start, fs, memory, pull, warm, json;
	char dir[256];                 /* ours alone; removed by the supervisor */
	char root[300], run[300];      /* of the daemon that runs now */
	pid_t daemon;                  /* locum's, or another's; 0: none */
	uint64_t child_peak;           /* bytes that one of the processes that ended had at most */
	uint32_t serial;               /* of the last state directory */
	uint32_t cgroup;               /* number in the cgroup's name */
	struct bench_traffic *traffic; /* NULL: this kernel does not let us count */
	struct bench_series series[BENCH_SERIES_MAX];
	size_t n_series;
	struct bench_note notes[BENCH_NOTES_MAX];
	size_t n_notes;
	json_t *reports; /* owned; of the items before, with @json */
};

/* ---- bench_report.c ---- */

/** bench_add - one value of the series (@part, @name), made at its first; strings are borrowed for
 * good. */
void bench_add(struct bench *b, const char *part, const char *name, const char *base,
	       enum bench_unit unit, double value);
/** bench_note - the text of @key; the last one stays. @key is borrowed for good. */
void bench_note(struct bench *b, const char *key, const char *fmt, ...) LCM_PRINTF(3, 4);
/** bench_median - of @n > 0 values; sorts @v. Pure. */
double bench_median(double *v, size_t n);
/** bench_ratio - median over the rounds of @s / @base, where both have the round. Return: 0,
 * -ENODATA. Pure. */
LCM_MUST_USE int bench_ratio(const struct bench_series *s, const struct bench_series *base,
			     double *ret);
/** bench_print - every series as a table; with b->json it is kept for bench_print_end(). The next
 * item begins with none. Return: 0, -EIO, -ENOMEM. */
LCM_MUST_USE int bench_print(struct bench *b);
/** bench_print_end - with b->json: the object of the one item, or an array of all. */
LCM_MUST_USE int bench_print_end(struct bench *b);
/** bench_say - what is being done now, on stderr when that is a terminal. */
void bench_say(const struct bench *b, const char *fmt, ...) LCM_PRINTF(2, 3);

/* ---- bench_proc.c ---- */

/** bench_spawn - start a program, its stderr in the log. @ret_out: read end of its stdout, or NULL:
 * nowhere. */
LCM_MUST_USE int bench_spawn(struct bench *b, const char *const argv[], int *ret_out, pid_t *ret,
			     struct lcm_err *err);
/** bench_wait - its end. Return: 0; -EIO when its status is not 0, with the last line it logged. */
LCM_MUST_USE int bench_wait(struct bench *b, pid_t pid, const char *what, struct lcm_err *err);
/** bench_run - bench_spawn() and bench_wait(). */
LCM_MUST_USE int bench_run(struct bench *b, const char *const argv[], struct lcm_err *err);
/**
 * bench_run_output - run to the end and note when the first byte of stdout came
 * @first: called then; may be NULL
 * Return: 0; -ENODATA when it ended well without a byte; as bench_wait().
 */
LCM_MUST_USE int bench_run_output(struct bench *b, const char *const argv[],
				  void (*first)(void *arg), void *arg, uint64_t *ret_ns,
				  struct lcm_err *err);
/** bench_reap - collect orphans that ended meanwhile, so that their CPU time counts. */
void bench_reap(void);
/** bench_cpu - user + system ns of the daemon so far, and of all children that ended. */
uint64_t bench_cpu(const struct bench *b);
/** bench_peak - bytes that the daemon has had at most; without one, that one process that ended had
 * since b->child_peak was 0. */
uint64_t bench_peak(const struct bench *b);
/** bench_cold - nothing in the page cache, no dirty pages, no cached inodes. Nothing when --warm.
 */
void bench_cold(const struct bench *b);

/** bench_daemon_start - a daemon with state directories of its own; a fresh one when @fresh. */
LCM_MUST_USE int bench_daemon_start(struct bench *b, bool background, bool fresh,
				    struct lcm_err *err);
/** bench_daemon_end - with SIGTERM, at last SIGKILL. */
void bench_daemon_end(struct bench *b);
/** bench_daemon_stop - end it; @remove its state. */
void bench_daemon_stop(struct bench *b, bool remove);
/** bench_self - argv for another `locum` on the daemon's directories: the verb goes to the returned
 * index. */
size_t bench_self(const struct bench *b, const char *argv[static 8]);
/** bench_self_pull - the whole argv of `locum pull` of the image. */
void bench_self_pull(const struct bench *b, const char *argv[static 8]);

/* ---- bench_traffic.c ---- */

/** bench_traffic_new - count what is received by this process and all it starts from now on, in
 * cgroup locum-bench.@id. NULL: this kernel has no cgroup2 or bpf(2) for us. */
struct bench_traffic *bench_traffic_new(const char *dir, uint32_t id);
/** bench_traffic_bytes - so far, with IP headers. */
uint64_t bench_traffic_bytes(const struct bench_traffic *t);
/** bench_traffic_remove - remove that cgroup, once it is empty. */
void bench_traffic_remove(const char *dir, uint32_t id);

/* ---- the parts ---- */

LCM_MUST_USE int bench_start(struct bench *b, struct lcm_err *err);
LCM_MUST_USE int bench_fs(struct bench *b, struct lcm_err *err);
LCM_MUST_USE int bench_memory(struct bench *b, struct lcm_err *err);
LCM_MUST_USE int bench_pull(struct bench *b, struct lcm_err *err);

#endif
