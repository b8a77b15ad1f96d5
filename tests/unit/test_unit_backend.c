/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every kind of storage unit must be able to do: one table of tests, run for every kind on
 * every file system for pools. Needs root; without it the test is skipped (LCM_TESTS_MUST_RUN=1
 * makes that a failure, and the lack of a mkfs). What units take of their pool, and faults, are in
 * test_unit_backend_space.c.
 */
#include <linux/btrfs.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "src/base/fsmount.h"
#include "tests/unit/unit_pool.h"
#include "unit/image_impl.h"

#define MIB (1ULL << 20)

static int open_mnt(const struct pool *p, const char *at)
{
	int fd = lcm_sys_openat(p->top, at, O_PATH | O_DIRECTORY, 0);

	assert_true(fd >= 0);
	return fd;
}

static void works_here(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };

	if (p->row->ops->probe(p->fd, p->dir, &err) < 0)
		fail_msg("%s", err.msg);
}

static void keeps_what_was_written(void **state)
{
	const struct pool *p = *state;
	const unsigned long flags = ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME;
	struct statvfs v;
	lcm_autoclose int mnt = -EBADF;

	pool_create(p, "data");
	assert_int_equal(pool_size(p, "data"), p->row->size);
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 0);
	pool_attach(p, "data", "m");
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 1);
	mnt = open_mnt(p, "m");
	assert_int_equal(fstatvfs(mnt, &v), 0);
	assert_int_equal(v.f_flag & (flags | ST_RDONLY), flags);
	lcm_closep(&mnt);
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 0);
	pool_text(p, "m/a", NULL);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	pool_detach(p, "m");
}

static void never_replaces(void **state)
{
	const struct pool *p = *state;
	const struct lcm_unit_ops *ops = p->row->ops;
	struct lcm_err err = { 0 };

	pool_create(p, "data");
	pool_create(p, "other");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	assert_int_equal(ops->create(p->fd, "data", p->row->size, false, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "/p/data"));
	assert_int_equal(ops->copy(p->fd, "other", p->fd, "data", false, false, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "/p/data"));
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	pool_detach(p, "m");
	assert_int_equal(ops->create(p->fd, "odd", p->row->size + 1, false, &err), -EINVAL);
	assert_int_equal(ops->create(p->fd, "odd", 0, false, &err), -EINVAL);
	assert_int_equal(ops->remove(p->fd, "odd", &err), 0);
}

static void is_full_alone(void **state)
{
	const struct pool *p = *state;
	uint64_t got;

	pool_create(p, "data");
	pool_create(p, "other");
	pool_attach(p, "data", "m");
	pool_attach(p, "other", "n");
	got = pool_fill(p, "m/big", UINT64_MAX);
	print_message("%s: %llu of %llu MiB are for files\n", p->row->name,
		      (unsigned long long)(got / MIB), (unsigned long long)(p->row->size / MIB));
	assert_in_range(got, p->row->size * 7 / 10, p->row->size);
	assert_int_equal(pool_fill(p, "n/big", 16 * MIB), 16 * MIB);
	/* Out of it again without help. */
	assert_int_equal(lcm_sys_unlinkat(p->top, "m/big", 0), 0);
	pool_put(p, "m/a", "hello");
	assert_int_equal(lcm_sys_syncfs(p->top), 0);
	assert_in_range(pool_fill(p, "m/big", UINT64_MAX), got - MIB, got + MIB);
	pool_detach(p, "n");
	pool_detach(p, "m");
}

static void copy_is_independent(void **state)
{
	const struct pool *p = *state;

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	pool_copy(p, "data", "copy");
	assert_int_equal(pool_size(p, "copy"), p->row->size);
	/* Both at once: they may have the same UUID. */
	pool_attach(p, "data", "m");
	pool_attach(p, "copy", "n");
	pool_text(p, "n/a", "hello");
	pool_put(p, "n/a", "of the copy");
	pool_put(p, "m/b", "of the origin");
	pool_text(p, "m/a", "hello");
	pool_text(p, "n/b", NULL);
	pool_detach(p, "n");
	pool_detach(p, "m");
	pool_remove(p, "data");
	pool_attach(p, "copy", "n");
	pool_text(p, "n/a", "of the copy");
	assert_in_range(pool_fill(p, "n/big", UINT64_MAX), p->row->size * 7 / 10, p->row->size);
	pool_detach(p, "n");
}

static void copy_of_one_in_use(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };
	int r;

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	assert_int_equal(lcm_sys_syncfs(p->top), 0);
	r = p->row->ops->copy(p->fd, "data", p->fd, "copy", false, true, &err);
	assert_int_equal(r, p->row->live ? 0 : -EBUSY);
	if (p->row->live) {
		pool_put(p, "m/a", "later");
		assert_int_equal(p->row->ops->resize(p->fd, "copy", -EBADF, p->row->grown, &err),
				 0);
		pool_attach(p, "copy", "n");
		pool_text(p, "n/a", "hello");
		pool_put(p, "n/b", "b");
		pool_detach(p, "n");
	} else {
		struct stat st;

		assert_non_null(strstr(err.msg, "/p/data is in use"));
		assert_int_equal(lcm_sys_fstatat(p->fd, "copy", &st, 0), -ENOENT);
	}
	pool_text(p, "m/b", NULL);
	pool_detach(p, "m");
}

static void read_only_copy(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };
	uint64_t used, promised;

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	assert_int_equal(p->row->ops->copy(p->fd, "data", p->fd, "snap", true, false, &err), 0);
	assert_int_equal(pool_size(p, "snap"), p->row->size);
	assert_int_equal(p->row->ops->mount(p->fd, "snap", &err), -EROFS);
	assert_non_null(strstr(err.msg, "/p/snap"));
	assert_int_equal(p->row->ops->resize(p->fd, "snap", -EBADF, p->row->grown, &err), -EROFS);
	/* It takes no more than it has. */
	assert_int_equal(p->row->ops->usage(p->fd, "snap", 0, &used, &promised, &err), 0);
	assert_true(used <= p->row->size + MIB);
	assert_int_equal(promised, 0);
	/* Back from it, and once more into a read-only one. */
	pool_copy(p, "snap", "back");
	pool_attach(p, "back", "m");
	pool_text(p, "m/a", "hello");
	pool_put(p, "m/a", "changed");
	pool_detach(p, "m");
	assert_int_equal(p->row->ops->copy(p->fd, "snap", p->fd, "snap2", true, false, &err), 0);
	pool_remove(p, "snap");
	pool_copy(p, "snap2", "third");
	pool_attach(p, "third", "m");
	pool_text(p, "m/a", "hello");
	assert_in_range(pool_fill(p, "m/big", UINT64_MAX), p->row->size * 7 / 10, p->row->size);
	pool_detach(p, "m");
	pool_remove(p, "snap2");
}

static void exchange_two(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "first");
	pool_detach(p, "m");
	pool_copy(p, "data", "with");
	pool_attach(p, "with", "m");
	pool_put(p, "m/a", "second");
	pool_detach(p, "m");
	assert_int_equal(p->row->ops->exchange(p->fd, "data", "with", &err), 0);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "second");
	pool_detach(p, "m");
	pool_attach(p, "with", "m");
	pool_text(p, "m/a", "first");
	pool_detach(p, "m");
	assert_int_equal(p->row->ops->exchange(p->fd, "data", "missing", &err), -ENOENT);
	pool_remove(p, "with");
	pool_remove(p, "data");
}

static void assert_room(const struct pool *p, uint64_t size)
{
	assert_in_range(pool_fill(p, "m/big", UINT64_MAX), size * 7 / 10, size);
}

static void grows_detached(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	for (int i = 0; i < 2; i++) { /* once more does nothing */
		if (p->row->ops->resize(p->fd, "data", -EBADF, p->row->grown, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(pool_size(p, "data"), p->row->grown);
	}
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->grown + 1, &err),
			 -EINVAL);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	assert_room(p, p->row->grown);
	pool_detach(p, "m");
}

static void grows_in_use(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };
	lcm_autoclose int mnt = -EBADF;

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	mnt = open_mnt(p, "m");
	for (int i = 0; i < 2; i++)
		assert_int_equal(p->row->ops->resize(p->fd, "data", mnt, p->row->grown, &err),
				 p->row->grow_live ? 0 : -EBUSY);
	if (p->row->grow_live)
		assert_room(p, p->row->grown);
	else
		assert_non_null(strstr(err.msg, "/p/data holds ext4"));
	assert_int_equal(pool_size(p, "data"), p->row->grow_live ? p->row->grown : p->row->size);
	lcm_closep(&mnt);
	pool_text(p, "m/a", "hello");
	pool_detach(p, "m");
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	pool_detach(p, "m");
}

/* Runs @fn in a process and a mount namespace of its own. */
static pid_t elsewhere(void (*fn)(const struct pool *p), const struct pool *p, int *ret_go_on)
{
	int ready[2], go_on[2];
	char c = 0;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go_on, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(go_on[1]);
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(1);
		fn(p);
		if (write(ready[1], "r", 1) != 1 || read(go_on[0], &c, 1) != 0)
			_exit(1);
		_exit(0);
	}
	(void)close(ready[1]);
	(void)close(go_on[0]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	*ret_go_on = go_on[1];
	return pid;
}

/* Descriptors are of the namespace they were opened in. */
static void attach_there(const struct pool *p)
{
	int top = lcm_sys_openat(AT_FDCWD, p->dir, O_RDONLY | O_DIRECTORY, 0);
	int fd = lcm_sys_openat(top, "p", O_RDONLY | O_DIRECTORY, 0);
	int to = lcm_sys_openat(top, "m", O_PATH | O_DIRECTORY, 0);
	int mnt = p->row->ops->mount(fd, "data", NULL);

	if (to < 0 || mnt < 0 || lcm_sys_move_mount(mnt, to) < 0)
		_exit(1);
	(void)close(mnt);
}

static void busy_in_any_namespace(void **state)
{
	const struct pool *p = *state;
	int go_on, status = -1;
	pid_t pid;

	pool_create(p, "data");
	pool_create(p, "data2"); /* whose name begins like the other's */
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 0);
	pid = elsewhere(attach_there, p, &go_on);
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 1);
	assert_int_equal(p->row->ops->busy(p->fd, "data2"), 0);
	assert_int_equal(p->row->ops->exchange(p->fd, "data", "data2", NULL), 0);
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 0);
	assert_int_equal(p->row->ops->busy(p->fd, "data2"), 1);
	(void)close(go_on);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(p->row->ops->busy(p->fd, "data2"), 0);
}

/* As when who started resize2fs was killed: a child that has the lock for a moment more. */
static pid_t orphan_with_lock(const struct pool *p)
{
	lcm_autoclose int fd = lcm_sys_openat(p->fd, "data", O_RDWR, 0);
	pid_t pid;

	assert_int_equal(lcm_sys_lock(fd, F_WRLCK, 0), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Longer than is waited for a loop device. */
		(void)poll(NULL, 0, LCM_IMAGE_LOCK_MS + 200);
		_exit(0);
	}
	return pid;
}

static void waits_for_an_orphan(void **state)
{
	const struct pool *p = *state;
	const struct lcm_unit_ops *ops = p->row->ops;
	struct lcm_err err = { 0 };
	pid_t pid;
	int r;

	if (!pool_is_image(p))
		return;
	pool_create(p, "data");
	pid = orphan_with_lock(p);
	r = ops->resize(p->fd, "data", -EBADF, p->row->grown, &err);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(r, 0);
	assert_int_equal(pool_size(p, "data"), p->row->grown);
}

static void other_backends_refuse(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };
	int r;

	r = lcm_unit_dir_ops.probe(p->fd, "/the/pool", &err);
	assert_int_equal(r, -ENOTSUP);
	assert_non_null(strstr(err.msg, "/the/pool: "));
	assert_int_equal(lcm_unit_image_ops.probe(p->fd, "/the/pool", &err), 0);
	r = lcm_unit_subvol_ops.probe(p->fd, "/the/pool", &err);
	if (strcmp(p->row->fs, "btrfs") == 0) {
		assert_int_equal(r, 0);
		return;
	}
	assert_int_equal(r, -ENOTSUP);
	assert_string_equal(err.msg, "/the/pool: its file system is not btrfs");
}

/* A loop device that somebody else made. */
static void sees_others_loop_devices(void **state)
{
	const struct pool *p = *state;
	lcm_autoclose int fd = -EBADF, loop = -EBADF;
	char dev[LCM_LOOPDEV];

	if (!pool_is_image(p))
		return;
	pool_create(p, "data");
	fd = lcm_sys_openat(p->fd, "data", O_RDWR, 0);
	loop = lcm_loopdev_attach(fd, 0, "data", dev, NULL);
	assert_true(loop >= 0);
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 1);
	lcm_closep(&loop);
	assert_int_equal(p->row->ops->busy(p->fd, "data"), 0);
}

static void simple_quotas_will_not_do(void **state)
{
	const struct pool *p = *state;
	struct btrfs_ioctl_quota_ctl_args simple = { .cmd = 4 };
	struct lcm_err err = { 0 };
	int r;

	if (pool_is_image(p))
		return;
	r = lcm_sys_ioctl(p->fd, BTRFS_IOC_QUOTA_CTL, &simple);
	if (r == -EINVAL) /* before 6.7 */
		return;
	assert_int_equal(r, 0);
	assert_int_equal(p->row->ops->probe(p->fd, "/the/pool", &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "simple quotas"));
	simple.cmd = BTRFS_QUOTA_CTL_DISABLE;
	assert_int_equal(lcm_sys_ioctl(p->fd, BTRFS_IOC_QUOTA_CTL, &simple), 0);
	pool_create(p, "data"); /* enables them again */
	assert_int_equal(pool_size(p, "data"), p->row->size);
}

/* As it does not know where it is mounted. */
static void resizes_none_mounted_elsewhere(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };

	if (!pool_is_image(p))
		return;
	pool_create(p, "data");
	pool_attach(p, "data", "m");
	assert_int_equal(p->row->ops->mount(p->fd, "data", &err), -EBUSY);
	assert_non_null(strstr(err.msg, "/p/data is mounted already"));
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->grown, &err), -EBUSY);
	assert_int_equal(pool_size(p, "data"), p->row->size);
	pool_detach(p, "m");
}

static void shrinks_or_says_why(void **state)
{
	const struct pool *p = *state;
	const uint64_t half = p->row->size / 2;
	struct lcm_err err = { 0 };
	int r;

	pool_create(p, "data");
	pool_attach(p, "data", "m");
	pool_put(p, "m/a", "hello");
	pool_detach(p, "m");
	r = p->row->ops->resize(p->fd, "data", -EBADF, half, &err);
	assert_int_equal(r, p->row->shrink ? 0 : -ENOTSUP);
	if (!p->row->shrink) {
		assert_non_null(strstr(err.msg, "cannot be made smaller"));
		assert_int_equal(pool_size(p, "data"), p->row->size);
		return;
	}
	assert_int_equal(pool_size(p, "data"), half);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	assert_room(p, half);
	pool_detach(p, "m");
	r = p->row->ops->resize(p->fd, "data", -EBADF, half / 2, &err);
	assert_int_equal(r, -ENOSPC);
	assert_non_null(strstr(err.msg, "/p/data"));
	assert_non_null(strstr(err.msg, "delete some"));
	assert_int_equal(pool_size(p, "data"), half);
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->size, &err), 0);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	assert_room(p, p->row->size);
	pool_detach(p, "m");
}

/* Does not know of a file system that is larger or smaller than its file. */
static void resize_goes_on(void **state)
{
	const struct pool *p = *state;
	lcm_autoclose int fd = -EBADF;
	struct lcm_err err = { 0 };

	if (!pool_is_image(p))
		return;
	pool_create(p, "data");
	fd = lcm_sys_openat(p->fd, "data", O_RDWR, 0);
	assert_int_equal(lcm_sys_ftruncate(fd, p->row->grown), 0);
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->grown, &err), 0);
	pool_attach(p, "data", "m");
	assert_room(p, p->row->grown);
	pool_detach(p, "m");
	pool_remove(p, "data");
	if (!p->row->shrink)
		return;
	lcm_closep(&fd);
	pool_create(p, "data");
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->size / 2, &err), 0);
	fd = lcm_sys_openat(p->fd, "data", O_RDWR, 0);
	assert_int_equal(lcm_sys_ftruncate(fd, p->row->size), 0);
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->size / 2, &err), 0);
	assert_int_equal(pool_size(p, "data"), p->row->size / 2);
	pool_attach(p, "data", "m");
	assert_room(p, p->row->size / 2);
	pool_detach(p, "m");
}

static const struct CMUnitTest table[] = {
	cmocka_unit_test(works_here),
	cmocka_unit_test(keeps_what_was_written),
	cmocka_unit_test(never_replaces),
	cmocka_unit_test(is_full_alone),
	cmocka_unit_test(copy_is_independent),
	cmocka_unit_test(copy_of_one_in_use),
	cmocka_unit_test(read_only_copy),
	cmocka_unit_test(exchange_two),
	cmocka_unit_test(grows_detached),
	cmocka_unit_test(grows_in_use),
	cmocka_unit_test(resizes_none_mounted_elsewhere),
	cmocka_unit_test(busy_in_any_namespace),
	cmocka_unit_test(waits_for_an_orphan),
	cmocka_unit_test(other_backends_refuse),
	cmocka_unit_test(sees_others_loop_devices),
	cmocka_unit_test(simple_quotas_will_not_do),
	cmocka_unit_test(shrinks_or_says_why),
	cmocka_unit_test(resize_goes_on),
};

int main(int argc, char **argv)
{
	return pool_run("test_unit_backend", table, LCM_ARRAY_SIZE(table), argc, argv);
}
