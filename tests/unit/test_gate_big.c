/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate under a real overlay of this kernel: files that are served by range, and what is held
 * back or rejected by limits.
 */
#include "tests/unit/test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/gate_env.h"

#define BIG ((struct lcm_gate_big){ .data_bytes = 4 << 20, .exec_bytes = 8 << 20 })

static struct gate_env *big_env(uint64_t deadline_ns)
{
	struct gate_env *e =
	    env_new(env_threads, env_fetcher,
		    &(struct env_options){
			.n_files = 3, .n_big = ENV_BIG, .big = BIG, .deadline_ns = deadline_ns });

	env_overlay(e);
	return e;
}

static void sum_bound(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup)
{
	(void)entry;
	assert_int_equal(layer, 1);
	*(uint64_t *)arg += nlookup;
}

/* The whole life of a big file: ranges, then bound, then forgotten, then native. */
static void big_file_becomes_native(void **state)
{
	struct gate_env *e = big_env(0);
	uint32_t f = env_entry(e, 1, "sub/big0.bin"), ranges;
	lcm_autofree char *p = malloc(100000);
	uint64_t nlookup = 0, requests;
	int fd = open(env_path(e, "sub/big0.bin"), O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_non_null(p);
	assert_int_equal(e->wants, 0);
	assert_int_equal(env_stats(e).bound_inodes, 1);
	lcm_gate_bound_each(e->gate, sum_bound, &nlookup);
	assert_int_equal(nlookup, 1);
	assert_int_equal(lcm_sys_pread_full(fd, p, 100000, 3000000), 0);
	assert_true(env_check(e, 1, f, p, 3000000, 100000));
	ranges = e->ranges;
	assert_in_range(ranges, 1, 4);
	assert_true(env_stats(e).read_bytes < ENV_BIG_BYTES);
	assert_int_equal(lcm_sys_pread_full(fd, p, 100000, 3000000), 0);
	assert_int_equal(e->ranges, ranges);
	env_fetch(e, 1, f);
	lcm_gate_draining(e->gate);
	/* Open: bound, and its reads go on through the gate. */
	env_shrink(e);
	assert_int_equal(env_stats(e).bound_inodes, 1);
	assert_int_equal(lcm_sys_pread_full(fd, p, 123, ENV_BIG_BYTES - 123), 0);
	assert_true(env_check(e, 1, f, p, ENV_BIG_BYTES - 123, 123));
	assert_true(e->ranges > ranges);
	assert_int_equal(close(fd), 0);
	env_shrink(e);
	env_wait(e, bound_inodes, 0);
	env_until(e->unbounds == 1);
	requests = env_stats(e).requests;
	assert_int_equal(env_read_all(e, "sub/big0.bin", 1, f), 0);
	assert_int_equal(env_stats(e).requests, requests);
	assert_int_equal(env_stats(e).bound_inodes, 0);
	env_free(e);
}

static void mapped_file_stays_bound(void **state)
{
	struct gate_env *e = big_env(0);
	uint32_t f = env_entry(e, 1, "sub/big1.bin"), other = env_entry(e, 1, "sub/big2.bin");
	int fd = open(env_path(e, "sub/big1.bin"), O_RDONLY | O_CLOEXEC);
	char *map;

	(void)state;
	assert_true(fd >= 0);
	map = mmap(NULL, ENV_BIG_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(close(fd), 0);
	assert_true(env_check(e, 1, f, map + 1000000, 1000000, 5000));
	/* Local before the first lookup: never bound. */
	env_fetch(e, 1, other);
	assert_int_equal(env_read_all(e, "sub/big2.bin", 1, other), 0);
	env_fetch(e, 1, f);
	lcm_gate_draining(e->gate);
	env_shrink(e);
	assert_int_equal(env_stats(e).bound_inodes, 1);
	assert_int_equal(env_read_all(e, "sub/big1.bin", 1, f), 0);
	assert_true(env_check(e, 1, f, map, 0, ENV_BIG_BYTES));
	assert_int_equal(env_stats(e).bound_inodes, 1);
	assert_int_equal(munmap(map, ENV_BIG_BYTES), 0);
	env_shrink(e);
	env_wait(e, bound_inodes, 0);
	env_free(e);
}

/* Unused but cached when draining begins, in either order with the overlay's shrinking. */
static void cached_files_are_let_go(void **state)
{
	(void)state;
	for (int shrink_first = 0; shrink_first < 2; shrink_first++) {
		struct gate_env *e = big_env(0);
		int fd[ENV_BIG];
		char path[32];

		for (int i = 0; i < ENV_BIG; i++) {
			(void)snprintf(path, sizeof(path), "sub/big%d.bin", i);
			fd[i] = open(env_path(e, path), O_RDONLY | O_CLOEXEC);
			assert_true(fd[i] >= 0);
			assert_int_equal(env_read_all(e, path, 1, env_entry(e, 1, path)), 0);
			env_fetch(e, 1, env_entry(e, 1, path));
		}
		assert_int_equal(env_stats(e).bound_inodes, ENV_BIG);
		for (int i = 0; i < ENV_BIG; i++)
			assert_int_equal(close(fd[i]), 0);
		if (shrink_first)
			env_shrink(e);
		lcm_gate_draining(e->gate);
		if (!shrink_first)
			env_shrink(e);
		env_wait(e, bound_inodes, 0);
		env_until(e->unbounds == 1);
		env_free(e);
	}
}

static void on_signal(int sig)
{
	(void)sig;
}

static int read_big_in_child(const struct gate_env *e, const char *path, bool mapped)
{
	int fd = open(env_path(e, path), O_RDONLY | O_CLOEXEC);
	const volatile char *map;
	char c;

	if (fd < 0)
		return 1;
	if (!mapped)
		return pread(fd, &c, 1, 5 << 20) == 1 ? 0 : 2;
	map = mmap(NULL, ENV_BIG_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return 3;
	/* Read page by page: a fault waits for exactly one READ. */
	(void)madvise((void *)(uintptr_t)map, ENV_BIG_BYTES, MADV_RANDOM);
	c = map[5 << 20];
	return 0;
}

/* Stalled READs: killable at once, not disturbed by a handler (a fault would end in SIGBUS). */
static void stalled_reads(void **state)
{
	struct gate_env *e = big_env(0);
	struct sigaction sa = { .sa_handler = on_signal };
	int status;

	(void)state;
	for (int mapped = 0; mapped < 2; mapped++) {
		for (int with_kill = 1; with_kill >= 0; with_kill--) {
			char path[32];
			pid_t pid;

			(void)snprintf(path, sizeof(path), "sub/big%d.bin", mapped * 2 + with_kill);
			atomic_store(&e->stall, true);
			pid = fork();
			assert_true(pid >= 0);
			if (pid == 0) {
				(void)sigaction(SIGUSR1, &sa, NULL);
				_exit(read_big_in_child(e, path, mapped));
			}
			env_until(env_stats(e).waiters != 0);
			assert_int_equal(kill(pid, SIGUSR1), 0);
			(void)usleep(100000);
			assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
			if (with_kill) { /* what it reads is stalled still: it does not wait for
					    that */
				assert_int_equal(kill(pid, SIGKILL), 0);
				assert_int_equal(waitpid(pid, &status, 0), pid);
				assert_true(WIFSIGNALED(status));
			} else {
				env_resume(e);
				assert_int_equal(waitpid(pid, &status, 0), pid);
				assert_true(WIFEXITED(status));
				assert_int_equal(WEXITSTATUS(status), 0);
			}
			env_resume(e);
			env_wait(e, waiters, 0);
		}
	}
	env_free(e);
}

static void failed_range_is_eio(void **state)
{
	struct gate_env *e = big_env(1);
	struct env_job *j;
	char c[10];
	int fd;

	(void)state;
	atomic_store(&e->stall, true);
	fd = open(env_path(e, "sub/big0.bin"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(read(fd, c, sizeof(c)) < 0 ? errno : 0);
		while (waitpid(pid, &status, WNOHANG) == 0) {
			(void)usleep(1000);
			if (i == 0) {
				(void)lcm_gate_expire(e->gate, lcm_now_ns());
				continue;
			}
			(void)pthread_mutex_lock(&e->mu);
			for (j = e->aside; j; j = j->next) /* short, failed, unknown */
				lcm_gate_read_done(e->gate, j->token, fd, 0, 1, 0);
			(void)pthread_mutex_unlock(&e->mu);
		}
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), EIO);
	}
	assert_true(e->unwants >= 1);
	lcm_gate_read_done(e->gate, 12345678, -1, 0, 1, 0);
	env_resume(e);
	assert_int_equal(lcm_sys_pread_full(fd, c, sizeof(c), 0), 0);
	assert_true(env_check(e, 1, env_entry(e, 1, "sub/big0.bin"), c, 0, sizeof(c)));
	assert_int_equal(close(fd), 0);
	env_free(e);
}

static void policy(void **state)
{
	static const struct {
		const char *path;
		uint32_t mode;
		uint64_t size, chunk;
		bool big;
	} rows[] = {
		{ "small", 0644, 99, 10, false },         { "data", 0644, 100, 10, true },
		{ "one-chunk", 0644, 1000, 1000, false }, { "program", 0755, 199, 10, false },
		{ "program2", 0755, 200, 10, true },      { "libx.so", 0644, 199, 10, false },
		{ "libx.so.1.2", 0644, 199, 10, false },  { "liby.so.1", 0644, 200, 10, true },
		{ "x.sock", 0644, 150, 10, true },        { "so", 0644, 150, 10, true },
	};
	static const struct lcm_gate_big on = { 100, 200 }, off = { 0, 0 };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct lcm_toc_id id = { .blob.b[0] = 1,
					       .blob_size = 1 << 20,
					       .compression = LCM_COMP_ZSTD };
		struct lcm_toc_item_chunk chunks[128] = { 0 };
		struct lcm_toc_item item = { .path = rows[i].path,
					     .path_len = strlen(rows[i].path),
					     .type = LCM_TOC_REG,
					     .mode = rows[i].mode,
					     .size = rows[i].size,
					     .chunks = chunks,
					     .digest.b[0] = 1 };
		lcm_auto(lcm_toc_builder) b = NULL;
		lcm_auto(lcm_toc) toc = NULL;
		char *dir = test_mkdir();
		lcm_autoclose int dirfd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);

		for (uint64_t off_ = 0; off_ < rows[i].size; off_ += rows[i].chunk) {
			struct lcm_toc_item_chunk *c = &chunks[item.n_chunks++];

			c->blob_off = c->file_off = off_;
			c->blob_len = c->file_len = LCM_MIN(rows[i].chunk, rows[i].size - off_);
			c->digest.b[0] = 1;
		}
		assert_int_equal(lcm_toc_builder_new(&b), 0);
		assert_int_equal(lcm_toc_builder_add(b, &item, NULL), 0);
		assert_int_equal(lcm_toc_builder_finish(b, &id, dirfd, "toc", false, NULL), 0);
		assert_int_equal(lcm_toc_open(dirfd, "toc", &toc, NULL), 0);
		assert_int_equal(lcm_gate_is_big(&on, toc, lcm_toc_entry(toc, 1)), rows[i].big);
		assert_false(lcm_gate_is_big(&off, toc, lcm_toc_entry(toc, 1)));
		assert_false(lcm_gate_is_big(&on, toc, lcm_toc_entry(toc, 0)));
		test_rmdir(dir);
	}
}

/* ---- limits ---- */

struct reader {
	pthread_t thread;
	int fd, status;
	off_t off;
};

static void *read_one(void *arg)
{
	struct reader *r = arg;
	char c;

	r->status = pread(r->fd, &c, 1, r->off) == 1 ? 0 : errno;
	return NULL;
}

static void start_reader(struct reader *r, const struct gate_env *e, const char *path, off_t off)
{
	r->off = off;
	r->fd = open(env_path(e, path), O_RDONLY | O_CLOEXEC);
	assert_true(r->fd >= 0);
	assert_int_equal(posix_fadvise(r->fd, 0, 0, POSIX_FADV_RANDOM), 0);
	assert_int_equal(pthread_create(&r->thread, NULL, read_one, r), 0);
}

static int join_reader(struct reader *r)
{
	assert_int_equal(pthread_join(r->thread, NULL), 0);
	assert_int_equal(close(r->fd), 0);
	return r->status;
}

/* What is missing waits, what is here is read, also by those who have it open from before. */
static void held_is_only_what_is_missing(void **state)
{
	struct gate_env *e = big_env(0);
	struct reader missing = { 0 }, local = { 0 };

	(void)state;
	start_reader(&local, e, "sub/big0.bin", 0);
	assert_int_equal(pthread_join(local.thread, NULL), 0);
	lcm_gate_regulate(e->gate, LCM_GATE_HOLD, 0);
	env_fetch(e, 1, env_entry(e, 1, "sub/big0.bin"));
	local.off = 5 << 20;
	assert_null(read_one(&local));
	assert_int_equal(local.status, 0);
	assert_int_equal(e->ranges, 2);
	start_reader(&missing, e, "sub/big1.bin", 0);
	env_wait(e, waiters, 1);
	assert_int_equal(e->ranges, 2);
	lcm_gate_regulate(e->gate, LCM_GATE_OPEN, 0);
	assert_int_equal(join_reader(&missing), 0);
	assert_int_equal(e->ranges, 3);
	assert_int_equal(close(local.fd), 0);
	env_free(e);
}

static void rejected_is_only_what_is_missing(void **state)
{
	struct gate_env *e = big_env(0);
	struct reader missing = { 0 }, local = { 0 };

	(void)state;
	env_fetch(e, 0, env_entry(e, 0, "d/f0000"));
	start_reader(&local, e, "sub/big0.bin", 0);
	assert_int_equal(pthread_join(local.thread, NULL), 0);
	env_fetch(e, 1, env_entry(e, 1, "sub/big0.bin"));
	lcm_gate_regulate(e->gate, LCM_GATE_REJECT, EAGAIN);
	local.off = 5 << 20;
	assert_null(read_one(&local));
	assert_int_equal(local.status, 0);
	start_reader(&missing, e, "sub/big1.bin", 0);
	assert_int_equal(join_reader(&missing), EAGAIN);
	assert_int_equal(env_read_all(e, "d/f0000", 0, env_entry(e, 0, "d/f0000")), 0);
	assert_int_equal(open(env_path(e, "d/f0001"), O_RDONLY | O_CLOEXEC), -1);
	assert_int_equal(e->wants, 0);
	assert_true(env_stats(e).rejected >= 2);
	lcm_gate_regulate(e->gate, LCM_GATE_OPEN, 0);
	assert_int_equal(env_read_all(e, "d/f0001", 0, env_entry(e, 0, "d/f0001")), 0);
	assert_int_equal(close(local.fd), 0);
	env_free(e);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy),
		cmocka_unit_test(big_file_becomes_native),
		cmocka_unit_test(mapped_file_stays_bound),
		cmocka_unit_test(cached_files_are_let_go),
		cmocka_unit_test(stalled_reads),
		cmocka_unit_test(failed_range_is_eio),
		cmocka_unit_test(held_is_only_what_is_missing),
		cmocka_unit_test(rejected_is_only_what_is_missing),
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
