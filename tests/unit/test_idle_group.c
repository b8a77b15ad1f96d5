/* SPDX-License-Identifier: Apache-2.0 */
/* The idle cgroup: the one of this host where there is one, and the reasons where there is none. */
#include <sys/syscall.h>

#include "src/daemon/idle_group.h"
#include "tests/unit/test.h"

static void put(const char *dir, const char *name, const char *text)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

static void reasons(void **state)
{
	static const struct {
		const char *dir, *file, *why;
	} rows[] = {
		{ "", "other", "no cpu controller of cgroups below " },
		{ "cpu", "tasks", " has no cpu.idle (Linux 5.15)" },
		{ "cpu,cpuacct", "tasks", " has no cpu.idle (Linux 5.15)" },
		{ "", "cgroup.controllers", "not in cgroup.subtree_control" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		char *dir = test_mkdir(), sub[300], proc[300];
		struct lcm_idle_group *g = NULL;
		struct lcm_err err = { 0 };

		(void)snprintf(sub, sizeof(sub), "%s/%s", dir, rows[i].dir);
		(void)snprintf(proc, sizeof(proc), "%s/self", dir);
		lcm_ignore(lcm_sys_mkdirat(AT_FDCWD, sub, 0755));
		put(sub, rows[i].file, "");
		put(dir, "self", "0::/a\n");
		assert_int_equal(lcm_idle_group_open(dir, proc, &g, &err), -ENOTSUP);
		assert_non_null(strstr(err.msg, rows[i].why));
		assert_null(g);
		test_rmdir(dir);
	}
}

static void file(const char *dir, const char *name, char out[4096])
{
	char path[4096];
	lcm_autofree char *text = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, 4095, &text, &len), 0);
	memcpy(out, text, len + 1);
}

static void this_hosts(void **state)
{
	char before[4096], in[4096], after[4096], idle[4096], path[512];
	struct lcm_idle_group *g, *again;
	struct lcm_err err = { 0 };
	pid_t tid = (pid_t)syscall(SYS_gettid);
	int r = lcm_idle_group_open("/sys/fs/cgroup", "/proc/self/cgroup", &g, &err);

	(void)state;
	if (r < 0) {
		assert_true(err.msg[0]);
		print_message("no idle cgroup here: %s\n", err.msg);
		return;
	}
	(void)snprintf(path, sizeof(path), "%s", lcm_idle_group_path(g));
	file(path, "cpu.idle", idle);
	assert_string_equal(idle, "1\n");
	file("/proc/thread-self", "cgroup", before);
	if (lcm_idle_group_threads(g)) {
		assert_int_equal(lcm_idle_group_enter(g, tid), 0);
		file("/proc/thread-self", "cgroup", in);
		assert_non_null(strstr(in, strrchr(path, '/')));
		lcm_idle_group_lift(g, true);
		lcm_idle_group_lift(g, true);
		lcm_idle_group_lift(g, false);
		file(path, "cpu.idle", idle);
		assert_string_equal(idle, "0\n");
		lcm_idle_group_lift(g, false);
		file(path, "cpu.idle", idle);
		assert_string_equal(idle, "1\n");
		assert_int_equal(lcm_idle_group_leave(g, tid), 0);
		file("/proc/thread-self", "cgroup", after);
		assert_string_equal(after, before);
		/* Cleared away by somebody: it is made again. */
		assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR), 0);
		assert_int_equal(lcm_idle_group_enter(g, tid), 0);
		file(path, "cpu.idle", idle);
		assert_string_equal(idle, "1\n");
		/* One with somebody inside is not removed by the next daemon. */
		assert_int_equal(
		    lcm_idle_group_open("/sys/fs/cgroup", "/proc/self/cgroup", &again, &err), 0);
		file("/proc/thread-self", "cgroup", in);
		assert_non_null(strstr(in, strrchr(path, '/')));
		assert_int_equal(lcm_idle_group_leave(g, tid), 0);
		lcm_idle_group_close(again);
	}
	lcm_idle_group_close(g);
	assert_int_equal(lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reasons),
		cmocka_unit_test(this_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
