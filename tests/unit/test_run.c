/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/wait.h>

#include "src/base/run.h"
#include "tests/unit/test.h"

#define RUN(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void run_says_how_it_ended(void **state)
{
	static const struct {
		const char *script, *want; /* NULL: success */
		int also_ok;
	} rows[] = {
		{ "exit 0", NULL, 0 },
		{ "echo fine; exit 0", NULL, 0 },
		{ "exit 1", NULL, 1 },
		{ "exit 3", "w: sh failed with status 3", 1 },
		{ "echo one; echo two >&2; exit 1", "w: sh: two", 0 },
		{ "printf 'one\\ntwo'; exit 1", "w: sh: two", 0 },
		{ "printf 'two\\n\\n \\n'; exit 1", "w: sh: two", 0 },
		{ "kill -9 $$", "w: sh was killed by signal 9", 0 },
		/* More than a pipe holds, more than is kept. */
		{ "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i + 1)); done; exit 1",
		  "w: sh: line 19999", 0 },
		/* No input, no environment but ours, no descriptor of ours. */
		{ "cat; [ \"$LC_ALL\" = C ] && [ -z \"$HOME\" ]", NULL, 0 },
		{ "[ ! -e /proc/self/fd/4 ] && [ ! -e /proc/self/fd/3 ]", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_run run = { .argv = RUN("sh", "-c", rows[i].script),
				       .what = "w",
				       .file = -EBADF,
				       .also_ok = rows[i].also_ok };
		struct lcm_err err = { 0 };
		int r = lcm_run_with(&run, &err);

		assert_int_equal(r, rows[i].want ? -EIO : 0);
		if (rows[i].want)
			assert_string_equal(err.msg, rows[i].want);
		assert_int_equal(lcm_run_with(&run, NULL), r);
	}
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void run_names_what_is_missing(void **state)
{
	struct lcm_run run = { .argv = RUN("mkfs.nothing"),
			       .what = "/pool",
			       .package = "nothing-progs",
			       .file = -EBADF };
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(lcm_run_with(&run, &err), -ENOENT);
	assert_string_equal(err.msg, "/pool: mkfs.nothing is not installed (Debian: apt install "
				     "nothing-progs)");
	assert_int_equal(lcm_run(run.argv, "x", &err), -ENOENT);
	assert_string_equal(err.msg, "x: mkfs.nothing is not installed");
	/* PATH is not asked. */
	assert_int_equal(setenv("PATH", "/nonexistent", 1), 0);
	assert_int_equal(lcm_run(RUN("true"), "x", &err), 0);
}

/* The lock is the program's, too, and ends with it. */
static void run_keeps_the_lock(void **state)
{
	char *dir = test_mkdir();
	lcm_autoclose int d = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0), other = -1;
	int fd = lcm_sys_openat(d, "f", O_RDWR | O_CREAT, 0600);
	struct lcm_run run = { .argv = RUN("sh", "-c", "sleep 2 </dev/null >/dev/null 2>&1 &"),
			       .what = "x",
			       .file = fd };

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_lock(fd, F_WRLCK, 0), 0);
	assert_int_equal(lcm_run_with(&run, NULL), 0);
	(void)close(fd);
	other = lcm_sys_openat(d, "f", O_RDWR, 0);
	assert_int_equal(lcm_sys_lock(other, F_WRLCK, 0), -EAGAIN);
	assert_int_equal(lcm_sys_lock(other, F_WRLCK, 10000), 0);
	run.argv = RUN("sh", "-c", "echo hello >" LCM_RUN_FILE);
	run.file = other;
	assert_int_equal(lcm_run_with(&run, NULL), 0);
	{
		char got[5];

		assert_int_equal(lcm_sys_pread_full(other, got, 5, 0), 0);
		assert_memory_equal(got, "hello", 5);
	}
	test_rmdir(dir);
}

/* From a process that has closed its standard descriptors. */
static void run_without_standard_descriptors(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct lcm_err err = { 0 };
		int r;

		for (int i = 0; i < 4; i++)
			(void)close(i);
		r = lcm_run(RUN("sh", "-c", "read x; echo to stderr >&2; exit 1"), "x", &err);
		_exit(r == -EIO && strstr(err.msg, "to stderr") ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#ifdef LCM_FAULTS
static int count_fd(void *arg, int dirfd, const char *name)
{
	(void)dirfd;
	(void)name;
	++*(int *)arg;
	return 0;
}

static int open_fds(void)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, "/proc/self/fd", O_RDONLY, 0);
	int n = 0;

	assert_int_equal(lcm_dir_each(fd, count_fd, &n), 0);
	return n;
}

static void run_errors(void **state)
{
	int fds = open_fds();

	(void)state;
	for (long n = 1; n < 50; n++) {
		struct lcm_err err = { 0 };
		long calls;
		int r;

		lcm_fault_arm(n, EIO);
		r = lcm_run(RUN("echo", "hello"), "x", &err);
		calls = lcm_fault_count();
		lcm_fault_disarm();
		assert_int_equal(r, calls < n ? 0 : -EIO);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		assert_int_equal(open_fds(), fds);
		if (calls < n)
			return;
	}
	fail();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_says_how_it_ended),
		cmocka_unit_test(run_names_what_is_missing),
		cmocka_unit_test(run_keeps_the_lock),
		cmocka_unit_test(run_without_standard_descriptors),
#ifdef LCM_FAULTS
		cmocka_unit_test(run_errors),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
