/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_pool.h - a pool on a file system of its own, for tests of storage units.
 *
 * Needs root and a mount namespace of the test's own.
 */
#ifndef LCM_TEST_UNIT_POOL_H
#define LCM_TEST_UNIT_POOL_H

#include "tests/unit/test.h"
#include "unit/backend.h"

struct pool_row {
	const char *name; /* backend/unit's file system/pool's file system */
	const struct lcm_unit_ops *ops;
	const char *fs;       /* of the pool */
	uint64_t size, grown; /* of a unit */
	bool live;            /* can be copied while in use */
	bool grow_live;       /* can grow while in use */
	bool shrink;
};

struct pool {
	const struct pool_row *row;
	char *dir;   /* .../p: the pool, .../m: where units are mounted */
	int fd, top; /* the pool; dir */
	int fds;     /* open descriptors without any */
};

/** pool_may_run - go into a mount namespace of our own; false: why not was said. */
bool pool_may_run(const char *test);
/** pool_setup - cmocka: *state is the row before, the pool after. */
int pool_setup(void **state);
/** pool_teardown - also looks for descriptors, loop devices and mounts that were left. */
int pool_teardown(void **state);
/** pool_has_mkfs - is there a mkfs for this row? */
bool pool_has_mkfs(const struct pool_row *row);
/** pool_run - a main() which runs each of @table's @n tests for every kind of unit on every file
 * system for pools, with pool_setup() and pool_teardown(). @test: the program; argv[1]: which tests
 * (a pattern). Return: an exit status. */
int pool_run(const char *test, const struct CMUnitTest *table, size_t n, int argc, char **argv);
bool pool_is_image(const struct pool *p);

/** pool_attach - mount @name at @at ("m", "n") below dir; pool_detach() undoes it. */
void pool_attach(const struct pool *p, const char *name, const char *at);
void pool_detach(const struct pool *p, const char *at);
/** pool_create - thick if the kind is; pool_copy: detached and writable; both must succeed. */
void pool_create(const struct pool *p, const char *name);
void pool_copy(const struct pool *p, const char *from, const char *to);
void pool_remove(const struct pool *p, const char *name);
/** pool_size - of the unit @name, which must be there. */
uint64_t pool_size(const struct pool *p, const char *name);

/** pool_put - a small file at "m/x" below dir, durable. pool_text: must be there and have that
 * text; NULL: must not be there. */
void pool_put(const struct pool *p, const char *path, const char *text);
void pool_text(const struct pool *p, const char *path, const char *text);
/** pool_fill - append to a file until there is no room. Return: bytes written. */
uint64_t pool_fill(const struct pool *p, const char *path, uint64_t max);
/** pool_free - bytes free in the pool, synced. pool_free_is: as many as @want soon. */
uint64_t pool_free(const struct pool *p);
bool pool_free_is(const struct pool *p, uint64_t want, uint64_t within);
/** pool_loops - loop devices behind files of this pool. */
int pool_loops(const struct pool *p);
int pool_open_fds(void);

#endif
