/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit_pool.h"

#include <linux/btrfs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "src/base/fsmount.h"
#include "src/base/run.h"

#define POOL_BYTES (2ULL << 30) /* sparse */
#define CHUNK (1U << 20)
#define MIB (1ULL << 20)
#define TEST_NAME 96

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

static int mkfs(const char *fs, const char *const *more, int file, struct lcm_err *err)
{
	char name[16];
	const char *argv[8] = { name };
	size_t n = 1;

	(void)snprintf(name, sizeof(name), "mkfs.%s", fs);
	for (; more && *more; more++)
		argv[n++] = *more;
	return lcm_run_with(&(struct lcm_run){ .argv = argv, .what = fs, .file = file }, err);
}

bool pool_has_mkfs(const struct pool_row *row)
{
	static const char *const version[] = { "-V", NULL };

	return mkfs(row->fs, version, -EBADF, NULL) != -ENOENT &&
	       (!strstr(row->name, "xfs") || mkfs("xfs", version, -EBADF, NULL) != -ENOENT);
}

bool pool_may_run(const char *test)
{
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return true;
	(void)fprintf(stderr, "%s: needs root and mount namespaces\n", test);
	return false;
}

bool pool_is_image(const struct pool *p)
{
	return p->row->ops == &lcm_unit_image_ops;
}

static int count_fd(void *arg, int dirfd, const char *name)
{
	(void)dirfd;
	(void)name;
	++*(int *)arg;
	return 0;
}

int pool_open_fds(void)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, "/proc/self/fd", O_RDONLY, 0);
	int n = 0;

	assert_int_equal(lcm_dir_each(fd, count_fd, &n), 0);
	return n;
}

static int open_at(int dir, const char *path, int flags)
{
	int fd = lcm_sys_openat(dir, path, flags, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void attach_fd(const struct pool *p, int mnt, const char *at)
{
	lcm_autoclose int own = mnt, to = open_at(p->top, at, O_PATH | O_DIRECTORY);

	assert_int_equal(lcm_sys_move_mount(own, to), 0);
}

static void mount_pool(struct pool *p)
{
	static const char *const file[] = { "-q", LCM_RUN_FILE, NULL };
	lcm_autoclose int img = open_at(p->top, "img", O_RDWR | O_CREAT), loop = -EBADF;
	struct lcm_fs fs;
	struct lcm_err err = { 0 };
	char dev[LCM_LOOPDEV];
	int mnt;

	assert_int_equal(lcm_sys_ftruncate(img, POOL_BYTES), 0);
	if (mkfs(p->row->fs, file, img, &err) < 0)
		fail_msg("%s", err.msg);
	loop = lcm_loopdev_attach(img, 0, "img", dev, &err);
	assert_true(loop >= 0);
	fs = lcm_fs_new(p->row->fs);
	lcm_fs_string(&fs, "source", dev);
	mnt = lcm_fs_finish(&fs, 0, "pool", &err);
	if (mnt < 0)
		fail_msg("%s", err.msg);
	attach_fd(p, mnt, "p");
}

/* In memory, where there is plenty: thousands of syncs cost nothing then. */
static char *make_dir(void)
{
	char *p = strdup("/dev/shm/locum-test.XXXXXX");
	struct statvfs v;

	assert_non_null(p);
	if (statvfs("/dev/shm", &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize > 2 * POOL_BYTES &&
	    mkdtemp(p))
		return p;
	free(p);
	return test_mkdir();
}

int pool_setup(void **state)
{
	struct pool *p = calloc(1, sizeof(*p));
	int fds = pool_open_fds();

	assert_non_null(p);
	p->fds = fds;
	p->row = *state;
	p->dir = make_dir();
	p->top = open_at(AT_FDCWD, p->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(lcm_sys_mkdirat(p->top, "p", 0700), 0);
	assert_int_equal(lcm_sys_mkdirat(p->top, "m", 0700), 0);
	assert_int_equal(lcm_sys_mkdirat(p->top, "n", 0700), 0);
	mount_pool(p);
	p->fd = open_at(p->top, "p", O_RDONLY | O_DIRECTORY);
	*state = p;
	return 0;
}

int pool_teardown(void **state)
{
	struct pool *p = *state;
	int loops = pool_loops(p), r = 0;
	char path[64];

	for (const char *at = "mnp"; *at; at++) {
		(void)snprintf(path, sizeof(path), "%s/%c", p->dir, *at);
		if (*at == 'p')
			lcm_closep(&p->fd);
		if (*at != 'p' && lcm_sys_umount2(path, MNT_DETACH) == 0)
			r = -EBUSY; /* left mounted: its test failed */
		else if (*at == 'p' && lcm_sys_umount2(path, 0) < 0)
			r = lcm_sys_umount2(path, MNT_DETACH) < 0 ? -EINVAL : -EBUSY;
	}
	(void)close(p->top);
	if (r == 0)
		assert_int_equal(loops, 0);
	if (r == 0)
		assert_int_equal(pool_open_fds(), p->fds);
	test_rmdir(p->dir);
	free(p);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	return r;
}

/* Adds the table for one row; @names: room for the names of its tests. */
static void add_row(struct CMUnitTest *tests, char (*names)[TEST_NAME],
		    const struct CMUnitTest *table, size_t n, const struct pool_row *row)
{
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s: %s", row->name, table[i].name);
		tests[i] = table[i];
		tests[i].name = names[i];
		tests[i].setup_func = pool_setup;
		tests[i].teardown_func = pool_teardown;
		tests[i].initial_state = (void *)(uintptr_t)row;
	}
}

int pool_run(const char *test, const struct CMUnitTest *table, size_t n, int argc, char **argv)
{
	lcm_autofree struct CMUnitTest *tests = calloc(LCM_ARRAY_SIZE(rows) * n, sizeof(*tests));
	lcm_autofree char(*names)[TEST_NAME] = calloc(LCM_ARRAY_SIZE(rows) * n, sizeof(*names));
	bool must = getenv("LCM_TESTS_MUST_RUN");
	size_t k = 0;

	if (!tests || !names)
		return 1;
	if (!pool_may_run(test))
		return must ? 1 : 77;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		if (pool_has_mkfs(&rows[i])) {
			add_row(tests + k, names + k, table, n, &rows[i]);
			k += n;
		} else if (must) {
			return fprintf(stderr, "no mkfs for %s\n", rows[i].name), 1;
		} else {
			print_message("skipped, there is no mkfs: %s\n", rows[i].name);
		}
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return k ? _cmocka_run_group_tests("units", tests, k, NULL, NULL) : 77;
}

static const char *below(const struct pool *p, const char *at, char out[64])
{
	(void)snprintf(out, 64, "%s/%s", p->dir, at);
	return out;
}

void pool_attach(const struct pool *p, const char *name, const char *at)
{
	struct lcm_err err = { 0 };
	int mnt = p->row->ops->mount(p->fd, name, &err);

	if (mnt < 0)
		fail_msg("%s", err.msg);
	attach_fd(p, mnt, at);
}

void pool_detach(const struct pool *p, const char *at)
{
	char path[64];

	assert_int_equal(lcm_sys_umount2(below(p, at, path), 0), 0);
}

void pool_create(const struct pool *p, const char *name)
{
	struct lcm_err err = { 0 };

	if (p->row->ops->create(p->fd, name, p->row->size, !p->row->ops->thick, &err) < 0)
		fail_msg("%s", err.msg);
}

void pool_copy(const struct pool *p, const char *from, const char *to)
{
	struct lcm_err err = { 0 };

	if (p->row->ops->copy(p->fd, from, p->fd, to, false, false, &err) < 0)
		fail_msg("%s", err.msg);
}

void pool_remove(const struct pool *p, const char *name)
{
	struct lcm_err err = { 0 };

	if (p->row->ops->remove(p->fd, name, &err) < 0)
		fail_msg("%s", err.msg);
}

uint64_t pool_size(const struct pool *p, const char *name)
{
	struct lcm_err err = { 0 };
	uint64_t size = 0;

	if (p->row->ops->size(p->fd, name, &size, &err) < 0)
		fail_msg("%s", err.msg);
	return size;
}

void pool_put(const struct pool *p, const char *path, const char *text)
{
	assert_int_equal(lcm_write_file_at(p->top, path, text, strlen(text), 0600), 0);
}

void pool_text(const struct pool *p, const char *path, const char *text)
{
	lcm_autofree char *got = NULL;
	size_t len;
	int r = lcm_read_file_at(p->top, path, CHUNK, &got, &len);

	assert_int_equal(r, text ? 0 : -ENOENT);
	if (text)
		assert_string_equal(got, text);
}

uint64_t pool_fill(const struct pool *p, const char *path, uint64_t max)
{
	lcm_autoclose int fd = open_at(p->top, path, O_WRONLY | O_CREAT | O_APPEND);
	lcm_autofree char *buf = malloc(CHUNK);
	struct stat st;
	int r = 0;

	assert_non_null(buf);
	for (size_t i = 0; i < CHUNK; i += 16)
		memcpy(buf + i, "locum old secret", 16);
	for (uint64_t at = 0; r == 0 && at < max; at += CHUNK)
		r = lcm_sys_write_full(fd, buf, LCM_MIN(max - at, (uint64_t)CHUNK));
	if (r == 0)
		r = lcm_sys_fsync(fd);
	if (r < 0 && r != -ENOSPC && r != -EDQUOT)
		fail_msg("%s", strerror(-r));
	assert_int_equal(lcm_sys_fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

bool pool_free_is(const struct pool *p, uint64_t want, uint64_t within)
{
	uint64_t now;

	/* Blocks of files that are no more are freed in the background. */
	for (int i = 0; i < 500; i++) {
		now = pool_free(p);
		if (now + within >= want && now <= want + within)
			return true;
		(void)usleep(10000);
	}
	print_message("%llu bytes are free, not %llu\n", (unsigned long long)now,
		      (unsigned long long)want);
	return false;
}

uint64_t pool_free(const struct pool *p)
{
	struct statvfs v;

	lcm_ignore(lcm_sys_ioctl(p->fd, BTRFS_IOC_WAIT_SYNC, NULL)); /* all deleted subvolumes */
	assert_int_equal(lcm_sys_syncfs(p->fd), 0);
	assert_int_equal(fstatvfs(p->fd, &v), 0);
	return (uint64_t)v.f_bfree * v.f_frsize;
}

struct loops {
	const char *dir;
	int n;
};

static int count_loop(void *arg, int dirfd, const char *name)
{
	struct loops *l = arg;
	lcm_autofree char *file = NULL;
	char path[512];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/loop/backing_file", name);
	if (strncmp(name, "loop", 4) == 0 &&
	    lcm_read_file_at(dirfd, path, 4096, &file, &len) == 0 && strstr(file, l->dir) &&
	    !strstr(file, "/img"))
		l->n++;
	return 0;
}

int pool_loops(const struct pool *p)
{
	lcm_autoclose int fd = open_at(AT_FDCWD, "/sys/block", O_RDONLY);
	struct loops l = { .dir = p->dir };

	assert_int_equal(lcm_dir_each(fd, count_loop, &l), 0);
	return l.n;
}
