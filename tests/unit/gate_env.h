/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate_env.h - a gate under a real overlay, with a small image and a fetch side
 * that does what it is told: at once, late, never, or with an error.
 *
 * META is a directory of placeholders, REAL fills up, both on a tmpfs in a private
 * mount namespace. Used by tests/unit/test_gate.c and bench/gate.c.
 */
#ifndef LCM_TEST_GATE_ENV_H
#define LCM_TEST_GATE_ENV_H

#include <pthread.h>
#include <stdatomic.h>

#include "fuse/gate.h"

#define ENV_FILES 2000 /* small files d/f0000 ... in layer l1 */
#define ENV_BIG 4      /* big0.bin .. big3.bin, of ENV_BIG_BYTES each, in layer l2 below sub/ */
#define ENV_BIG_BYTES ((6ULL << 20) + 123)
#define ENV_BIG_CHUNK (1ULL << 20)
#define ENV_DEEP "a/b/c/d/file" /* in l1, at the container's root */

struct env_job {
	struct env_job *next;
	struct gate_env *env;       /* NULL: stop */
	uint32_t layer, entry, len; /* len 0: the whole file */
	uint64_t off, token;
};

/* The fetch side: one thread that serves the jobs of any number of gates, in order. */
struct env_worker {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	struct env_job *first, *last;
	bool busy; /* with a job that was taken out */
	pthread_t thread;
};

struct gate_env {
	char *dir; /* tmpfs: meta, real, gate, m (overlay), src (contents) */
	struct lcm_toc *toc[2];
	struct lcm_gate *gate;
	struct env_worker *worker; /* borrowed */
	struct lcm_gate_ops ops;
	_Atomic unsigned char *local[2]; /* per entry: it is in REAL */
	_Atomic bool stall;              /* jobs are put aside until env_resume() */
	_Atomic int fail;                /* answer whole-file jobs with this status when < 0 */
	pthread_mutex_t mu;              /* guards aside */
	pthread_cond_t wanted;           /* wants has become more */
	struct env_job *aside;
	_Atomic uint32_t wants, unwants, ranges, unbounds, gones;
	bool prepared;
	int real;            /* directory descriptor of REAL, owned */
	const char *mounted; /* "gate" or "m" below dir; NULL: nothing */
};

/** env_namespace - a private mount namespace for the process. Return: 0; 77 when this host cannot
 * run gate tests. */
int env_namespace(void);

/**
 * env_watchdog - after @seconds, or SIGTERM, end the process with status 1
 *
 * Threads of this process that wait for its own gate keep its descriptors open, so
 * plain death would leave them waiting for ever: /dev/fuse is closed first.
 */
void env_watchdog(unsigned int seconds);
/** env_exit - exit with @status in the same way. */
_Noreturn void env_exit(int status);

struct env_worker *env_worker_new(void);
void env_worker_free(struct env_worker *w); /* after every env it serves */

struct env_options {
	struct lcm_gate_big big;
	uint64_t deadline_ns;
	int n_files, n_big; /* at most ENV_FILES, ENV_BIG */
	bool prepared;      /* layer l1's files lie ready: to fetch one is a rename */
};
/** env_new - image, directories, gate; mounted and served by @t. */
struct gate_env *env_new(struct lcm_gate_threads *t, struct env_worker *w,
			 const struct env_options *o);
/** env_overlay - mount META::REAL::GATE at <dir>/m and detach the visible gate mount. */
void env_overlay(struct gate_env *e);
/** env_umount - the overlay, or the gate when there is none yet, goes. */
void env_umount(struct gate_env *e);
/** env_quiesce - wait until the fetch side has nothing to do. */
void env_quiesce(struct env_worker *w);
void env_free(struct gate_env *e);

/** env_resume - no stall any more: everything put aside is fetched. */
void env_resume(struct gate_env *e);
/** env_entry - entry index of a path in a layer. */
uint32_t env_entry(const struct gate_env *e, uint32_t layer, const char *path);
/** env_fetch - put a file into REAL now, in the calling thread, without telling the gate. */
void env_fetch(struct gate_env *e, uint32_t layer, uint32_t entry);
/** env_path - path below the container's root; in a buffer of the calling thread. */
const char *env_path(const struct gate_env *e, const char *path);
/** env_check - is @fd's content, read from @off for @len bytes, what entry @entry has? */
bool env_check(const struct gate_env *e, uint32_t layer, uint32_t entry, const void *p,
	       uint64_t off, size_t len);
/** env_read_all - open, read and compare the whole file. Return: 0, -errno, -EBADMSG for wrong
 * bytes. */
int env_read_all(const struct gate_env *e, const char *path, uint32_t layer, uint32_t entry);
/** env_shrink - drop what the overlay caches and nobody uses. */
void env_shrink(struct gate_env *e);
struct lcm_gate_stats env_stats(struct gate_env *e);
/** env_await_wants - until the gate has told the fetch side of @n files. */
void env_await_wants(struct gate_env *e, uint32_t n);
/** env_until - until a condition holds; fails the test after 10 s. */
#define env_until(condition)                                                                       \
	do {                                                                                       \
		uint64_t end_ = lcm_now_ns() + 10000000000ULL;                                     \
		while (!(condition)) {                                                             \
			assert_true(lcm_now_ns() < end_);                                          \
			(void)usleep(500);                                                         \
		}                                                                                  \
	} while (0)
/** env_wait - until a field of lcm_gate_stats has a value. */
#define env_wait(e, field, want) env_until(env_stats(e).field == (want))

/* For cmocka: threads and a fetch side that all tests of a program share. */
extern struct lcm_gate_threads *env_threads;
extern struct env_worker *env_fetcher;
int env_setup(void **state);
int env_teardown(void **state);

#endif
