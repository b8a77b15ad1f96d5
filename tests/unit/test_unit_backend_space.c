/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every kind of storage unit takes of its pool and gives back, what it refuses, and what a
 * fault at any call leaves. Run as test_unit_backend.c is.
 */
#include <linux/fs.h>

#include "tests/unit/unit_pool.h"

#define MIB (1ULL << 20)

static void usage_adds_up(void **state)
{
	const struct pool *p = *state;
	uint64_t before = pool_free(p), with, used = 0, promised = 0;
	struct lcm_err err = { 0 };

	pool_create(p, "data");
	assert_int_equal(p->row->ops->usage(p->fd, "data", 0, &used, &promised, &err), 0);
	assert_int_equal(promised, 0);
	with = pool_free(p);
	if (p->row->ops->thick) {
		assert_in_range(used, p->row->size, p->row->size + MIB);
		assert_true(before - with >= p->row->size);
	}
	assert_int_equal(p->row->ops->usage(p->fd, "data", p->row->size, &used, &promised, &err),
			 0);
	assert_in_range(promised, p->row->size - MIB, p->row->size);
	pool_attach(p, "data", "m");
	assert_int_equal(pool_fill(p, "m/a", 32 * MIB), 32 * MIB);
	pool_detach(p, "m");
	(void)pool_free(p); /* syncs */
	assert_int_equal(p->row->ops->usage(p->fd, "data", p->row->size, &used, &promised, &err),
			 0);
	if (p->row->ops->thick)
		assert_int_equal(promised, p->row->size);
	else
		assert_in_range(promised, p->row->size - 34 * MIB, p->row->size - 32 * MIB);
	assert_true(used >= 32 * MIB);
	pool_remove(p, "data");
	pool_remove(p, "data"); /* missing is success */
	assert_int_equal(p->row->ops->usage(p->fd, "data", 0, &used, &promised, &err), -ENOENT);
	assert_true(pool_free_is(p, before, 4 * MIB));
}

static uint64_t blocks_of(const struct pool *p, const char *name)
{
	struct stat st;

	assert_int_equal(lcm_sys_syncfs(p->fd), 0);
	assert_int_equal(lcm_sys_fstatat(p->fd, name, &st, 0), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Return: what FITRIM says. */
static int trim(const struct pool *p)
{
	lcm_autoclose int root = lcm_sys_openat(p->top, "m", O_RDONLY | O_DIRECTORY, 0);
	struct fstrim_range all = { .len = UINT64_MAX };

	assert_true(root >= 0);
	return lcm_sys_ioctl(root, FITRIM, &all);
}

/* Return: false: it gets a loop device whose discards somebody has turned off, which is for good.
 */
static bool fill_and_trim(const struct pool *p)
{
	int r;

	pool_attach(p, "data", "m");
	(void)pool_fill(p, "m/big", 32 * MIB);
	assert_int_equal(lcm_sys_unlinkat(p->top, "m/big", 0), 0);
	pool_put(p, "m/a", "hello");
	r = trim(p);
	pool_detach(p, "m");
	if (r == -EOPNOTSUPP) {
		print_message("not trimmed: the loop device it got has its discards turned off\n");
		return false;
	}
	assert_int_equal(r, 0);
	return true;
}

/* What was trimmed stays promised to it, and is taken back when it is mounted again. */
static void thick_stays_thick(void **state)
{
	const struct pool *p = *state;
	uint64_t used, promised;
	struct lcm_err err = { 0 };

	if (!p->row->ops->thick)
		return;
	pool_create(p, "data");
	assert_true(blocks_of(p, "data") >= p->row->size);
	if (fill_and_trim(p))
		assert_true(blocks_of(p, "data") < p->row->size);
	assert_int_equal(p->row->ops->usage(p->fd, "data", 0, &used, &promised, &err), 0);
	assert_int_equal(used + promised, p->row->size);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	pool_detach(p, "m");
	assert_true(blocks_of(p, "data") >= p->row->size);
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->grown, &err), 0);
	assert_true(blocks_of(p, "data") >= p->row->grown);
	(void)fill_and_trim(p);
	pool_copy(p, "data", "copy");
	assert_true(blocks_of(p, "copy") >= p->row->grown);
	if (p->row->shrink) {
		assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->size, &err), 0);
		pool_attach(p, "data", "m");
		pool_detach(p, "m");
		assert_true(blocks_of(p, "data") >= p->row->size);
	}
}

static void thin_stays_thin(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };
	uint64_t used, promised;

	if (!p->row->ops->thick)
		return;
	assert_int_equal(p->row->ops->create(p->fd, "data", p->row->size, true, &err), 0);
	assert_in_range(blocks_of(p, "data"), 0, p->row->size / 3);
	assert_int_equal(p->row->ops->usage(p->fd, "data", 0, &used, &promised, &err), 0);
	assert_int_equal(used + promised, p->row->size);
	if (!fill_and_trim(p))
		return;
	assert_in_range(blocks_of(p, "data"), 0, p->row->size / 3);
	pool_copy(p, "data", "copy");
	assert_in_range(blocks_of(p, "copy"), 0, p->row->size / 3);
	assert_int_equal(p->row->ops->resize(p->fd, "copy", -EBADF, p->row->grown, &err), 0);
	assert_in_range(blocks_of(p, "copy"), 0, p->row->grown / 3);
}

/* The kernel's own promise, and all that mkfs and copies rely on. */
static void old_data_is_gone(void **state)
{
	const struct pool *p = *state;
	lcm_autofree char *buf = malloc(MIB);
	lcm_autoclose int fd = -EBADF;
	ssize_t n;

	assert_non_null(buf);
	pool_create(p, "data");
	pool_attach(p, "data", "m");
	(void)pool_fill(p, "m/big", UINT64_MAX);
	pool_detach(p, "m");
	pool_remove(p, "data");
	(void)pool_free(p);
	pool_create(p, "data");
	if (pool_is_image(p)) {
		fd = lcm_sys_openat(p->fd, "data", O_RDONLY, 0);
		while ((n = lcm_sys_read(fd, buf, MIB)) > 0)
			assert_null(memmem(buf, (size_t)n, "locum old secret", 16));
		assert_int_equal(n, 0);
	}
	pool_attach(p, "data", "m");
	pool_text(p, "m/big", NULL);
	pool_detach(p, "m");
}

static void refuses_what_is_no_object(void **state)
{
	const struct pool *p = *state;
	const struct lcm_unit_ops *ops = p->row->ops;
	struct lcm_err err = { 0 };
	uint64_t size = 7;

	pool_put(p, "p/junk", "junk");
	assert_int_equal(lcm_sys_mkdirat(p->fd, "dir", 0700), 0);
	assert_int_equal(lcm_sys_symlinkat("junk", p->fd, "link"), 0);
	assert_int_equal(lcm_sys_mknodat(p->fd, "fifo", S_IFIFO | 0600, 0), 0);
	for (const char *const *name = (const char *const[]){ "junk", "dir", "link", "fifo", NULL };
	     *name; name++) {
		assert_int_equal(ops->size(p->fd, *name, &size, &err), -EUCLEAN);
		assert_non_null(strstr(err.msg, *name));
		assert_int_equal(ops->mount(p->fd, *name, &err), -EUCLEAN);
		assert_int_equal(ops->copy(p->fd, *name, p->fd, "c", false, false, &err), -EUCLEAN);
		assert_int_equal(ops->resize(p->fd, *name, -EBADF, p->row->size, &err), -EUCLEAN);
	}
	assert_int_equal(ops->size(p->fd, "missing", &size, &err), -ENOENT);
	assert_int_equal(ops->mount(p->fd, "missing", &err), -ENOENT);
	assert_int_equal(ops->busy(p->fd, "missing"), -ENOENT);
	assert_int_equal(size, 7);
}

static void too_large_for_the_pool(void **state)
{
	const struct pool *p = *state;
	const struct lcm_unit_ops *ops = p->row->ops;
	uint64_t before;
	struct lcm_err err = { 0 };
	struct stat st;

	if (!ops->thick)
		return;
	pool_create(p, "data");
	before = pool_free(p);
	assert_int_equal(ops->create(p->fd, "big", 4096 * MIB, false, &err), -ENOSPC);
	assert_int_equal(lcm_sys_fstatat(p->fd, "big", &st, 0), -ENOENT);
	assert_int_equal(ops->resize(p->fd, "data", -EBADF, 4096 * MIB, &err), -ENOSPC);
	assert_int_equal(pool_size(p, "data"), p->row->size);
	assert_true(pool_free_is(p, before, 4 * MIB));
}

#ifdef LCM_FAULTS

#define FAULTS_MAX 2000 /* more with every loop device of the machine */

/* One operation with a fault at every call; @undo brings back the state before. */
struct sweep {
	int (*op)(const struct pool *p, struct lcm_err *err);
	void (*failed)(const struct pool *p);
	void (*undo)(const struct pool *p);
};

static void sweep(const struct pool *p, const struct sweep *s, int error)
{
	/* Each commit of btrfs takes its time: every fourth call there, others with each error. */
	long step = pool_is_image(p) && strcmp(p->row->fs, "btrfs") == 0 ? 4 : 1;
	int fds = pool_open_fds(), loops = pool_loops(p);
	long n, calls, failures = 0;

	for (n = error == EIO ? 1 : 1 + step / 2; n < FAULTS_MAX; n += step) {
		struct lcm_err err = { 0 };
		int r;

		lcm_fault_arm(n, error);
		r = s->op(p, &err);
		calls = lcm_fault_count();
		lcm_fault_disarm();
		assert_int_equal(pool_open_fds(), fds);
		assert_int_equal(pool_loops(p), loops);
		if (r < 0) {
			assert_true(err.msg[0] != '\0');
			failures++;
			s->failed(p);
			r = s->op(p, &err);
			if (r < 0)
				fail_msg("after the fault at %ld: %s", n, err.msg);
		}
		s->undo(p);
		if (calls < n)
			break;
	}
	assert_in_range(n, 5, FAULTS_MAX - 1);
	assert_in_range(failures, step == 1 ? 5 : 2, n);
}

static int op_create(const struct pool *p, struct lcm_err *err)
{
	return p->row->ops->create(p->fd, "new", p->row->size, !p->row->ops->thick, err);
}

static int op_copy(const struct pool *p, struct lcm_err *err)
{
	return p->row->ops->copy(p->fd, "data", p->fd, "new", false, false, err);
}

static int op_snap(const struct pool *p, struct lcm_err *err)
{
	return p->row->ops->copy(p->fd, "data", p->fd, "new", true, p->row->live, err);
}

static void no_new(const struct pool *p)
{
	struct stat st;

	assert_int_equal(lcm_sys_fstatat(p->fd, "new", &st, 0), -ENOENT);
}

static void remove_new(const struct pool *p)
{
	assert_int_equal(pool_size(p, "new"), p->row->size);
	pool_remove(p, "new");
}

static int op_grow(const struct pool *p, struct lcm_err *err)
{
	return p->row->ops->resize(p->fd, "new", -EBADF, p->row->grown, err);
}

static int op_grow_live(const struct pool *p, struct lcm_err *err)
{
	lcm_autoclose int mnt = lcm_sys_openat(p->top, "m", O_PATH | O_DIRECTORY, 0);

	if (mnt < 0)
		return lcm_err_set(err, mnt, "not of the backend");
	return p->row->ops->resize(p->fd, "new", mnt, p->row->grown, err);
}

static int op_shrink(const struct pool *p, struct lcm_err *err)
{
	return p->row->ops->resize(p->fd, "new", -EBADF, p->row->size / 2, err);
}

/* It was resized or it was not. */
static void resized_or_not(const struct pool *p)
{
	uint64_t size = pool_size(p, "new");

	assert_true(size == p->row->size || size == p->row->grown || size == p->row->size / 2);
}

static void again(const struct pool *p)
{
	assert_int_not_equal(pool_size(p, "new"), p->row->size);
	pool_attach(p, "new", "n");
	pool_text(p, "n/a", "hello");
	pool_detach(p, "n");
	pool_remove(p, "new");
	pool_copy(p, "data", "new");
}

static void again_live(const struct pool *p)
{
	pool_text(p, "m/a", "hello");
	pool_detach(p, "m");
	again(p);
	pool_attach(p, "new", "m");
}

static const struct sweep sweeps[] = {
	{ op_create, no_new, remove_new },    { op_copy, no_new, remove_new },
	{ op_snap, no_new, remove_new },      { op_grow, resized_or_not, again },
	{ op_shrink, resized_or_not, again }, { op_grow_live, resized_or_not, again_live },
};

static void errors_leave_nothing(void **state)
{
	static const int errors[] = { EIO, ENOSPC };
	const struct pool *p = *state;

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	for (size_t e = 0; e < LCM_ARRAY_SIZE(errors); e++)
		for (size_t i = 0; i < LCM_ARRAY_SIZE(sweeps); i++) {
			const struct sweep *s = &sweeps[i];

			if ((s->op == op_shrink && !p->row->shrink) ||
			    (s->op == op_grow_live && !p->row->grow_live))
				continue;
			/* Images are resized the same way everywhere, and each commit of btrfs
			 * takes its time. */
			if (pool_is_image(p) && strcmp(p->row->fs, "btrfs") == 0 &&
			    s->undo != remove_new)
				continue;
			if (s->undo == again || s->undo == again_live)
				pool_copy(p, "data", "new");
			if (s->undo == again_live)
				pool_attach(p, "new", "m");
			sweep(p, s, errors[e]);
			if (s->undo == again_live)
				pool_detach(p, "m");
			pool_remove(p, "new");
		}
}
#endif

static const struct CMUnitTest table[] = {
	cmocka_unit_test(usage_adds_up),
	cmocka_unit_test(thick_stays_thick),
	cmocka_unit_test(thin_stays_thin),
	cmocka_unit_test(old_data_is_gone),
	cmocka_unit_test(refuses_what_is_no_object),
	cmocka_unit_test(too_large_for_the_pool),
#ifdef LCM_FAULTS
	cmocka_unit_test(errors_leave_nothing),
#endif
};

int main(int argc, char **argv)
{
	return pool_run("test_unit_backend_space", table, LCM_ARRAY_SIZE(table), argc, argv);
}
