/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every kind of storage unit must be able to do: one table of tests, run for every kind on
 * every file system for pools. Needs root; without it the test is skipped (LCM_TESTS_MUST_RUN=1
 * makes that a failure, and the lack of a mkfs).
 */
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "src/base/fsmount.h"
#include "tests/unit/unit_pool.h"
#include "unit/image_impl.h"

#define MIB (1ULL << 20)

static const struct pool_row rows[] = {
	{ "subvol on btrfs", &lcm_unit_subvol_ops, "btrfs", 64 * MIB, 128 * MIB, true, true, true },
	{ "image ext4 on ext4", &lcm_unit_image_ops, "ext4", 64 * MIB, 128 * MIB, false, false,
	  true },
	{ "image xfs on ext4", &lcm_unit_image_ops, "ext4", 300 * MIB, 400 * MIB, false, true,
	  false },
	{ "image ext4 on xfs", &lcm_unit_image_ops, "xfs", 64 * MIB, 128 * MIB, true, false, true },
	{ "image xfs on xfs", &lcm_unit_image_ops, "xfs", 300 * MIB, 400 * MIB, true, true, false },
	{ "image ext4 on btrfs", &lcm_unit_image_ops, "btrfs", 64 * MIB, 128 * MIB, true, false,
	  true },
	{ "image xfs on btrfs", &lcm_unit_image_ops, "btrfs", 300 * MIB, 400 * MIB, true, true,
	  false },
};

static bool is_image(const struct pool *p)
{
	return p->row->ops == &lcm_unit_image_ops;
}

static uint64_t size_of(const struct pool *p, const char *name)
{
	struct lcm_err err = { 0 };
	uint64_t size = 0;

	if (p->row->ops->size(p->fd, name, &size, &err) < 0)
		fail_msg("%s", err.msg);
	return size;
}

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
	assert_int_equal(size_of(p, "data"), p->row->size);
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
	assert_int_equal(size_of(p, "copy"), p->row->size);
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
	assert_int_equal(size_of(p, "snap"), p->row->size);
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
		assert_int_equal(size_of(p, "data"), p->row->grown);
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
	assert_int_equal(size_of(p, "data"), p->row->grow_live ? p->row->grown : p->row->size);
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

	if (!is_image(p))
		return;
	pool_create(p, "data");
	pid = orphan_with_lock(p);
	r = ops->resize(p->fd, "data", -EBADF, p->row->grown, &err);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(r, 0);
	assert_int_equal(size_of(p, "data"), p->row->grown);
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

	if (!is_image(p))
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

	if (is_image(p))
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
	assert_int_equal(size_of(p, "data"), p->row->size);
}

/* As it does not know where it is mounted. */
static void resizes_none_mounted_elsewhere(void **state)
{
	const struct pool *p = *state;
	struct lcm_err err = { 0 };

	if (!is_image(p))
		return;
	pool_create(p, "data");
	pool_attach(p, "data", "m");
	assert_int_equal(p->row->ops->mount(p->fd, "data", &err), -EBUSY);
	assert_non_null(strstr(err.msg, "/p/data is mounted already"));
	assert_int_equal(p->row->ops->resize(p->fd, "data", -EBADF, p->row->grown, &err), -EBUSY);
	assert_int_equal(size_of(p, "data"), p->row->size);
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
		assert_int_equal(size_of(p, "data"), p->row->size);
		return;
	}
	assert_int_equal(size_of(p, "data"), half);
	pool_attach(p, "data", "m");
	pool_text(p, "m/a", "hello");
	assert_room(p, half);
	pool_detach(p, "m");
	r = p->row->ops->resize(p->fd, "data", -EBADF, half / 2, &err);
	assert_int_equal(r, -ENOSPC);
	assert_non_null(strstr(err.msg, "/p/data"));
	assert_non_null(strstr(err.msg, "delete some"));
	assert_int_equal(size_of(p, "data"), half);
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

	if (!is_image(p))
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
	assert_int_equal(size_of(p, "data"), p->row->size / 2);
	pool_attach(p, "data", "m");
	assert_room(p, p->row->size / 2);
	pool_detach(p, "m");
}

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
	if (is_image(p)) {
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
	assert_int_equal(size_of(p, "data"), p->row->size);
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
	long step = is_image(p) && strcmp(p->row->fs, "btrfs") == 0 ? 4 : 1;
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
	assert_int_equal(size_of(p, "new"), p->row->size);
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
	uint64_t size = size_of(p, "new");

	assert_true(size == p->row->size || size == p->row->grown || size == p->row->size / 2);
}

static void again(const struct pool *p)
{
	assert_int_not_equal(size_of(p, "new"), p->row->size);
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
			if (is_image(p) && strcmp(p->row->fs, "btrfs") == 0 &&
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

/* Adds the table for one row; @names: room for the names of its tests. */
static size_t add_row(struct CMUnitTest *tests, char names[][96], const struct pool_row *row)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(table); i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s: %s", row->name, table[i].name);
		tests[i] = table[i];
		tests[i].name = names[i];
		tests[i].setup_func = pool_setup;
		tests[i].teardown_func = pool_teardown;
		tests[i].initial_state = (void *)(uintptr_t)row;
	}
	return LCM_ARRAY_SIZE(table);
}

int main(int argc, char **argv)
{
	enum { MAX = LCM_ARRAY_SIZE(rows) * LCM_ARRAY_SIZE(table) };
	static struct CMUnitTest tests[MAX];
	static char names[MAX][96];
	bool must = getenv("LCM_TESTS_MUST_RUN");
	size_t n = 0;

	if (!pool_may_run("test_unit_backend"))
		return must ? 1 : 77;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		if (pool_has_mkfs(&rows[i]))
			n += add_row(tests + n, names + n, &rows[i]);
		else if (must)
			return fprintf(stderr, "no mkfs for %s\n", rows[i].name), 1;
		else
			print_message("skipped, there is no mkfs: %s\n", rows[i].name);
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return n ? _cmocka_run_group_tests("units", tests, n, NULL, NULL) : 77;
}
