/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate under a real overlay of this kernel: what a container sees, and what
 * it costs in requests.
 */
#include "tests/unit/test.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "tests/unit/gate_env.h"

#define BIG ((struct lcm_gate_big){ .data_bytes = 4 << 20, .exec_bytes = 8 << 20 })
#define SECOND 1000000000ULL

static struct gate_env *small_env(int n_files)
{
	struct gate_env *e = env_new(env_threads, env_fetcher,
				     &(struct env_options){ .n_files = n_files });

	env_overlay(e);
	return e;
}

static void bad_arguments(void **state)
{
	struct lcm_gate_threads *t = (void *)1;
	struct lcm_gate *g = (void *)1;
	struct lcm_gate_config cfg = { .n_layers = LCM_LAYERS_MAX + 1 };
	struct lcm_err err;
	int fd = -7;

	(void)state;
	assert_int_equal(lcm_gate_threads_new(0, &t), -EINVAL);
	assert_int_equal(lcm_gate_threads_new(5, &t), -EINVAL);
	assert_ptr_equal(t, (void *)1);
	assert_int_equal(lcm_gate_open(&cfg, &g, &fd, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "500"));
	assert_ptr_equal(g, (void *)1);
	assert_int_equal(fd, -7);
	lcm_gate_close(NULL);
	lcm_gate_threads_free(NULL);
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

/* A gate that is opened and never mounted leaves nothing behind. */
static void opened_and_closed(void **state)
{
	struct lcm_gate_ops ops = { 0 };
	struct lcm_gate_config cfg = { .ops = &ops };
	struct lcm_gate *g = NULL;
	int fds = open_fds(), fd;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(lcm_gate_open(&cfg, &g, &fd, NULL), 0);
		lcm_gate_close(g);
	}
	assert_int_equal(open_fds(), fds);
}

#ifdef LCM_FAULTS
static void no_device(void **state)
{
	struct lcm_gate_ops ops = { 0 };
	struct lcm_gate_config cfg = { .ops = &ops };
	struct lcm_gate *g = (void *)1;
	struct lcm_err err;
	int fd = -7;

	(void)state;
	lcm_fault_arm(1, ENODEV);
	assert_int_equal(lcm_gate_open(&cfg, &g, &fd, &err), -ENODEV);
	lcm_fault_disarm();
	assert_non_null(strstr(err.msg, "/dev/fuse"));
	assert_non_null(strstr(err.msg, "modprobe"));
	assert_ptr_equal(g, (void *)1);
	assert_int_equal(fd, -7);
}
#endif

static void first_open_fetches(void **state)
{
	struct gate_env *e = small_env(20);
	uint32_t f = env_entry(e, 0, "d/f0003"), deep = env_entry(e, 0, ENV_DEEP);
	uint64_t requests;

	(void)state;
	assert_int_equal(env_read_all(e, "d/f0003", 0, f), 0);
	assert_int_equal(e->wants, 1);
	requests = env_stats(e).requests;
	assert_int_equal(env_stats(e).lookups, 6); /* l1, d, file; again under LOOKUP_REVAL */
	assert_int_equal(env_stats(e).lookups_files, 2);
	assert_int_equal(env_stats(e).answered_stale, 2);
	for (int i = 0; i < 100; i++)
		assert_int_equal(env_read_all(e, "d/f0003", 0, f), 0);
	assert_int_equal(env_stats(e).requests, requests);
	assert_int_equal(env_read_all(e, ENV_DEEP, 0, deep), 0);
	assert_int_equal(env_stats(e).bound_inodes, 0);
	assert_int_equal(e->wants, 2);
	env_free(e);
}

static void count_tree(const char *path, uint32_t *ret_n)
{
	DIR *d = opendir(path);
	struct dirent *de;

	assert_non_null(d);
	while ((de = readdir(d))) {
		char child[1024];
		struct stat st;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		(void)snprintf(child, sizeof(child), "%s/%s", path, de->d_name);
		assert_int_equal(lstat(child, &st), 0);
		++*ret_n;
		if (S_ISDIR(st.st_mode))
			count_tree(child, ret_n);
	}
	(void)closedir(d);
}

static void metadata_costs_nothing(void **state)
{
	struct gate_env *e = env_new(env_threads, env_fetcher,
				     &(struct env_options){ .n_files = ENV_FILES, .big = BIG });
	uint64_t before;
	uint32_t n = 0;
	struct stat st;
	char path[64];

	(void)state;
	env_overlay(e);
	before = env_stats(e).requests;
	count_tree(env_path(e, ""), &n);
	assert_true(n > ENV_FILES);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(path, sizeof(path), "d/missing%d", i);
		assert_int_equal(access(env_path(e, path), R_OK), -1);
		(void)snprintf(path, sizeof(path), "d/f%04d", i);
		assert_int_equal(stat(env_path(e, path), &st), 0);
		assert_int_equal(st.st_size, 100 + i);
	}
	assert_int_equal(env_stats(e).requests, before);
	assert_int_equal(e->wants, 0);
	env_free(e);
}

/* ---- many at once ---- */

struct opener {
	struct gate_env *e;
	pthread_t thread;
	uint32_t entry;
	char path[32];
	int result;
};

static void *open_one(void *arg)
{
	struct opener *o = arg;

	o->result = env_read_all(o->e, o->path, 0, o->entry);
	return NULL;
}

static void start_openers(struct gate_env *e, struct opener *o, int n, int n_files)
{
	pthread_attr_t attr;

	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, 128 << 10), 0);
	for (int i = 0; i < n; i++) {
		o[i].e = e;
		(void)snprintf(o[i].path, sizeof(o[i].path), "d/f%04d", i % n_files);
		o[i].entry = env_entry(e, 0, o[i].path);
		assert_int_equal(pthread_create(&o[i].thread, &attr, open_one, &o[i]), 0);
	}
	(void)pthread_attr_destroy(&attr);
}

static void join_openers(struct opener *o, int n, int want)
{
	for (int i = 0; i < n; i++) {
		(void)pthread_join(o[i].thread, NULL);
		assert_int_equal(o[i].result, want);
	}
}

static void one_file_many_threads(void **state)
{
	struct opener *o = calloc(200, sizeof(*o));
	struct gate_env *e = small_env(5);

	(void)state;
	assert_non_null(o);
	atomic_store(&e->stall, true);
	start_openers(e, o, 200, 1);
	env_wait(
	    e, waiters,
	    1); /* the others wait in the VFS for this one's dentry, in the overlay's inode lock */
	env_resume(e);
	join_openers(o, 200, 0);
	assert_int_equal(e->wants, 1);
	assert_int_equal(env_stats(e).waiters, 0);
	env_free(e);
	free(o);
}

static void thousand_files(void **state)
{
	struct opener *o = calloc(1000, sizeof(*o));
	struct gate_env *e = small_env(1000);

	(void)state;
	assert_non_null(o);
	atomic_store(&e->stall, true);
	start_openers(e, o, 1000, 1000);
	env_wait(e, waiters, 1000);
	env_until(e->wants == 1000);
	env_resume(e);
	join_openers(o, 1000, 0);
	assert_int_equal(env_stats(e).waiters_peak, 1000);
	assert_int_equal(env_stats(e).waiters, 0);
	env_free(e);
	free(o);
}

/* Fetches that end while others arrive: nobody sleeps for ever, nobody reads wrong bytes. */
static void no_wake_up_is_lost(void **state)
{
	struct opener *o = calloc(64, sizeof(*o));

	(void)state;
	assert_non_null(o);
	for (int round = 0; round < 10; round++) {
		struct gate_env *e = small_env(16);

		start_openers(e, o, 64, 16);
		join_openers(o, 64, 0);
		assert_int_equal(env_stats(e).waiters, 0);
		env_free(e);
	}
	free(o);
}

static void fifty_gates(void **state)
{
	struct opener *o = calloc(200, sizeof(*o));
	struct gate_env *e[50];

	(void)state;
	assert_non_null(o);
	for (int i = 0; i < 50; i++)
		e[i] = small_env(4);
	for (int i = 0; i < 50; i++)
		start_openers(e[i], o + (ptrdiff_t)i * 4, 4, 4);
	join_openers(o, 200, 0);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(e[i]->wants, 4);
		env_free(e[i]);
	}
	free(o);
}

/* ---- failures ---- */

static void failure_is_eio_and_not_kept(void **state)
{
	struct gate_env *e = small_env(5);
	uint32_t f = env_entry(e, 0, "d/f0001");

	(void)state;
	atomic_store(&e->fail, -EACCES);
	assert_int_equal(env_read_all(e, "d/f0001", 0, f), -EIO);
	assert_int_equal(env_read_all(e, "d/f0001", 0, f), -EIO);
	assert_int_equal(e->wants, 2);
	atomic_store(&e->fail, 0);
	assert_int_equal(env_read_all(e, "d/f0001", 0, f), 0);
	env_free(e);
}

static void deadline_is_eio(void **state)
{
	struct gate_env *e =
	    env_new(env_threads, env_fetcher,
		    &(struct env_options){ .n_files = 5, .deadline_ns = 20000000 });
	struct opener o[2] = { 0 };
	uint64_t next;

	(void)state;
	env_overlay(e);
	assert_int_equal(lcm_gate_expire(e->gate, lcm_now_ns()), 0);
	atomic_store(&e->stall, true);
	start_openers(e, o, 1, 1);
	env_wait(e, waiters, 1);
	env_until(e->wants == 1);
	next = lcm_gate_expire(e->gate, 1);
	assert_true(next > lcm_now_ns() - SECOND && next < lcm_now_ns() + SECOND);
	assert_int_equal(env_stats(e).waiters, 1);
	assert_int_equal(lcm_gate_expire(e->gate, next), 0);
	join_openers(o, 1, -EIO);
	assert_int_equal(e->unwants, 1);
	env_resume(e); /* the fetch ends after all */
	start_openers(e, o, 1, 1);
	join_openers(o, 1, 0);
	env_free(e);
}

/* Those that wait already obey the new one, counted from when they came. */
static void deadline_changes_under_waiters(void **state)
{
	struct gate_env *e = env_new(env_threads, env_fetcher,
				     &(struct env_options){ .n_files = 5 });
	struct opener o[2] = { 0 };
	uint64_t since;

	(void)state;
	env_overlay(e);
	assert_int_equal(lcm_gate_oldest(e->gate), 0);
	atomic_store(&e->stall, true);
	start_openers(e, o, 1, 1);
	env_wait(e, waiters, 1);
	since = lcm_gate_oldest(e->gate);
	assert_true(since && since <= lcm_now_ns());
	assert_int_equal(lcm_gate_expire(e->gate, UINT64_MAX), 0);
	lcm_gate_set_deadline(e->gate, 10 * SECOND);
	assert_int_equal(lcm_gate_expire(e->gate, since), since + 10 * SECOND);
	lcm_gate_set_deadline(e->gate, 0);
	assert_int_equal(lcm_gate_expire(e->gate, UINT64_MAX), 0);
	assert_int_equal(env_stats(e).waiters, 1);
	lcm_gate_set_deadline(e->gate, 1);
	assert_int_equal(lcm_gate_expire(e->gate, since + 1), 0);
	join_openers(o, 1, -EIO);
	assert_int_equal(lcm_gate_oldest(e->gate), 0);
	env_resume(e);
	env_free(e);
}

static void close_answers_waiters(void **state)
{
	struct opener *o = calloc(30, sizeof(*o));
	struct gate_env *e = small_env(30);

	(void)state;
	assert_non_null(o);
	atomic_store(&e->stall, true);
	start_openers(e, o, 30, 30);
	env_wait(e, waiters, 30);
	lcm_gate_close(e->gate);
	e->gate = NULL;
	join_openers(o, 30, -ENOTCONN);
	/* What is in REAL is still there, without any gate. */
	env_fetch(e, 0, env_entry(e, 0, "d/f0007"));
	assert_int_equal(env_read_all(e, "d/f0007", 0, env_entry(e, 0, "d/f0007")), 0);
	assert_int_equal(env_read_all(e, "d/f0008", 0, env_entry(e, 0, "d/f0008")), -ENOTCONN);
	env_free(e);
	free(o);
}

static void gone_when_unmounted(void **state)
{
	struct gate_env *e = small_env(5);

	(void)state;
	assert_int_equal(env_read_all(e, "d/f0000", 0, env_entry(e, 0, "d/f0000")), 0);
	assert_int_equal(e->gones, 0);
	env_umount(e);
	env_until(e->gones);
	(void)usleep(50000);
	assert_int_equal(e->gones, 1);
	env_free(e);
}

/* ---- signals ---- */

static void on_signal(int sig)
{
	(void)sig;
}

/* A child that opens a file and exits with errno (0: it could). */
static pid_t fork_opener(const struct gate_env *e, const char *path)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE,
				&(struct rlimit){ 0 }); /* writing one would be timed */
		for (int sig = 1; sig < 32; sig++)      /* cmocka and the watchdog catch some */
			(void)signal(sig, SIG_DFL);
		(void)sigaction(SIGUSR1, &sa, NULL);
		_exit(open(env_path(e, path), O_RDONLY) < 0 ? errno : 0);
	}
	return pid;
}

/* Milliseconds until the child ended after @sig. */
static uint64_t kill_ms(pid_t pid, int sig, int *ret_status)
{
	uint64_t start = lcm_now_ns();

	assert_int_equal(kill(pid, sig), 0);
	assert_int_equal(waitpid(pid, ret_status, 0), pid);
	return (lcm_now_ns() - start) / 1000000;
}

static void fatal_signals_kill_at_once(void **state)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGINT, SIGQUIT, SIGSEGV };
	struct gate_env *e = small_env(5);
	int status;

	(void)state;
	atomic_store(&e->stall, true);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(signals); i++) {
		pid_t pid = fork_opener(e, "d/f0000");

		env_wait(e, waiters, 1);
		env_until(e->wants == i + 1);
		assert_true(kill_ms(pid, signals[i], &status) < 20000);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
		env_wait(e, waiters, 0);
		env_until(e->unwants == i + 1);
	}
	env_free(e);
}

/* A signal with a handler does not end an open early, and does not make the waiter unkillable. */
static void caught_signals_wait(void **state)
{
	struct gate_env *e = small_env(5);
	uint64_t start;
	pid_t pid;
	int status;

	(void)state;
	atomic_store(&e->stall, true);
	pid = fork_opener(e, "d/f0000");
	env_wait(e, waiters, 1);
	assert_int_equal(kill(pid, SIGUSR1), 0);
	env_wait(e, interrupts, 1);
	(void)usleep(200000);
	assert_int_equal(env_stats(e).waiters, 1);
	assert_true(kill_ms(pid, SIGKILL, &status) < 20000);
	env_wait(e, waiters, 0);

	pid = fork_opener(e, "d/f0000");
	env_wait(e, waiters, 1);
	assert_int_equal(kill(pid, SIGUSR1), 0);
	env_wait(e, interrupts, 2);
	env_resume(e);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	atomic_store(&e->stall, true);
	pid = fork_opener(e, "d/f0002");
	env_wait(e, waiters, 1);
	start = lcm_now_ns();
	assert_int_equal(kill(pid, SIGUSR1), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EINTR);
	assert_in_range(lcm_now_ns() - start, 2 * SECOND, 30 * SECOND);
	env_free(e);
}

/* Many children wait; half are killed while the fetch completes: every one ends, the gate is empty.
 */
static void kill_races_done(void **state)
{
	/* One opener per file: overlayfs lets a second one wait for the first where any signal ends
	 * the open. */
	struct gate_env *e = small_env(40);
	int status, killed = 0;
	pid_t pid[40];
	char path[32];

	(void)state;
	atomic_store(&e->stall, true);
	for (int i = 0; i < 40; i++) {
		(void)snprintf(path, sizeof(path), "d/f%04d", i);
		pid[i] = fork_opener(e, path);
	}
	env_wait(e, waiters, 40);
	for (int i = 0; i < 40; i++) {
		if (i == 10)
			env_resume(e);
		if (i % 2)
			(void)kill(pid[i], i % 4 == 1 ? SIGKILL : SIGUSR1);
	}
	for (int i = 0; i < 40; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		killed += WIFSIGNALED(status);
	}
	assert_true(killed >= 1);
	env_wait(e, waiters, 0);
	env_free(e);
}

/* ---- the gate itself ---- */

static void what_the_gate_shows(void **state)
{
	static const struct {
		const char *path;
		int type; /* of what is there; 0: ENOENT */
	} rows[] = {
		{ "l1", S_IFDIR },
		{ "l2", S_IFDIR },
		{ "l3", 0 },
		{ "l1/d", S_IFDIR },
		{ "l1/a/b", S_IFDIR },
		{ "l1/link", 0 },
		{ "l1/pipe", 0 },
		{ "l1/nothing", 0 },
		{ "l1/d/none", 0 },
		{ "l2/sub", S_IFDIR },
		{ "l2/sub/big0.bin", S_IFREG },
	};
	struct gate_env *e = env_new(env_threads, env_fetcher,
				     &(struct env_options){ .n_files = 3, .n_big = 1, .big = BIG });
	uint64_t requests = 0;
	struct statvfs vfs;
	char path[512];
	struct stat st;

	(void)state;
	/* All of it, what is not there too, stays in the kernel's cache (unless somebody on this
	 * host drops caches just now). */
	for (int round = 0; round < 4 && (round < 2 || env_stats(e).requests != requests);
	     round++) {
		requests = env_stats(e).requests;
		for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
			(void)snprintf(path, sizeof(path), "%s/gate/%s", e->dir, rows[i].path);
			assert_int_equal(lstat(path, &st), rows[i].type ? 0 : -1);
			if (rows[i].type)
				assert_int_equal(st.st_mode & S_IFMT, rows[i].type);
		}
	}
	assert_int_equal(env_stats(e).requests, requests);
	assert_int_equal(st.st_size, ENV_BIG_BYTES);
	assert_int_equal(st.st_mtime, 1700000000);
	(void)snprintf(path, sizeof(path), "%s/gate", e->dir);
	assert_int_equal(statvfs(path, &vfs), 0);
	assert_int_equal(vfs.f_namemax, 255);
	(void)snprintf(path, sizeof(path), "%s/gate/l1/hard", e->dir);
	assert_int_equal(lstat(path, &st), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(atomic_load(&e->local[0][env_entry(e, 0, "d/f0000")]), 1);
	(void)snprintf(path, sizeof(path), "%s/gate/l2/sub/big0.bin", e->dir);
	assert_int_equal(open(path, O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	env_free(e);
}

static void the_gate_lists_names(void **state)
{
	struct gate_env *e = env_new(env_threads, env_fetcher,
				     &(struct env_options){ .n_files = 700, .n_big = 1 });
	uint32_t n = 0, files = 0;
	struct dirent *de;
	char path[512];
	DIR *d;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/gate/l1/d", e->dir);
	d = opendir(path);
	assert_non_null(d);
	while ((de = readdir(d)))
		files += de->d_type == DT_REG && strncmp(de->d_name, "f0", 2) == 0;
	(void)closedir(d);
	assert_int_equal(files, 700);
	(void)snprintf(path, sizeof(path), "%s/gate", e->dir);
	d = opendir(path);
	assert_non_null(d);
	while ((de = readdir(d)))
		n += de->d_type == DT_DIR;
	(void)closedir(d);
	assert_int_equal(n, 4); /* . .. l1 l2 */
	env_free(e);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_arguments),
		cmocka_unit_test(opened_and_closed),
#ifdef LCM_FAULTS
		cmocka_unit_test(no_device),
#endif
		cmocka_unit_test(first_open_fetches),
		cmocka_unit_test(metadata_costs_nothing),
		cmocka_unit_test(one_file_many_threads),
		cmocka_unit_test(thousand_files),
		cmocka_unit_test(no_wake_up_is_lost),
		cmocka_unit_test(fifty_gates),
		cmocka_unit_test(failure_is_eio_and_not_kept),
		cmocka_unit_test(deadline_is_eio),
		cmocka_unit_test(deadline_changes_under_waiters),
		cmocka_unit_test(close_answers_waiters),
		cmocka_unit_test(gone_when_unmounted),
		cmocka_unit_test(fatal_signals_kill_at_once),
		cmocka_unit_test(caught_signals_wait),
		cmocka_unit_test(kill_races_done),
		cmocka_unit_test(what_the_gate_shows),
		cmocka_unit_test(the_gate_lists_names),
	};
	int failed;

	if (env_namespace() != 0)
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	env_watchdog(240); /* a lost wake-up shall end the test */
	failed = cmocka_run_group_tests(tests, env_setup, env_teardown);
	if (failed) /* threads of a failed test may still wait */
		env_exit(1);
	return 0;
}
