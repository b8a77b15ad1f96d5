/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/digest.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/number.h"
#include "src/base/pool.h"
#include "tests/unit/test.h"

static void digest_round_trip(void **state)
{
	static const char text[] =
	    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	struct lcm_digest d, e;
	char out[LCM_DIGEST_STR];

	(void)state;
	assert_int_equal(lcm_digest_parse(text, strlen(text), &d), 0);
	assert_int_equal(lcm_digest_of("", 0, &e), 0);
	assert_true(lcm_digest_equal(&d, &e));
	assert_string_equal(lcm_digest_str(&d, out), text);
}

static void digest_refuses(void **state)
{
	static const struct {
		const char *s;
		int r;
	} rows[] = {
		{ "", -EINVAL },
		{ "sha256:", -EINVAL },
		{ "sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  -EINVAL },
		{ "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
		  -EINVAL },
		{ "sha512:00", -ENOTSUP },
	};
	struct lcm_digest d = { .b = { 7 } };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		assert_int_equal(lcm_digest_parse(rows[i].s, strlen(rows[i].s), &d), rows[i].r);
		assert_int_equal(d.b[0], 7);
	}
}

static void random_hex_differs(void **state)
{
	char a[65], b[65] = "untouched";

	(void)state;
	assert_int_equal(lcm_random_hex(b, 66), -EINVAL);
	assert_string_equal(b, "untouched");
	assert_int_equal(lcm_random_hex(a, 64), 0);
	assert_int_equal(lcm_random_hex(b, 64), 0);
	assert_int_equal(strlen(a), 64);
	assert_int_equal(strspn(a, "0123456789abcdef"), 64);
	assert_string_not_equal(a, b);
}

struct seen {
	int calls, stop_at;
	char names[64];
};

static int see(void *arg, int dirfd, const char *name)
{
	struct seen *s = arg;
	struct stat st;

	assert_int_equal(lcm_sys_fstatat(dirfd, name, &st, 0), 0);
	(void)strncat(s->names, name, 8);
	return ++s->calls == s->stop_at ? -EXFULL : 0;
}

static void dir_each_names_all(void **state)
{
	char dir[] = "/tmp/locum-each-XXXXXX";
	struct seen s = { 0 };
	lcm_autoclose int fd = -EBADF;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	assert_int_equal(lcm_dir_each(fd, see, &s), 0);
	assert_int_equal(s.calls, 0);
	assert_int_equal(lcm_write_file_at(fd, ".a", "", 0, 0600), 0);
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(lcm_dir_each(fd, see, &s), 0);
	assert_string_equal(s.names, ".a.a");
	assert_int_equal(lcm_write_file_at(fd, "b", "", 0, 0600), 0);
	s = (struct seen){ .stop_at = 1 };
	assert_int_equal(lcm_dir_each(fd, see, &s), -EXFULL);
	assert_int_equal(s.calls, 1);
	assert_int_equal(lcm_dir_each(-EBADF, see, &s), -EBADF);
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, dir), 0);
}

static void buf_has_a_maximum(void **state)
{
	struct lcm_buf b = LCM_BUF(10);

	(void)state;
	assert_int_equal(lcm_buf_add(&b, "12345", 5), 0);
	assert_int_equal(lcm_buf_printf(&b, "%d", 67890), 0);
	assert_int_equal(lcm_buf_add(&b, "x", 1), -EFBIG);
	assert_string_equal(lcm_buf_str(&b), "1234567890");
	lcm_buf_fini(&b);
}

static void err_text_is_clean(void **state)
{
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(lcm_err_set(&err, -EIO, "a\nb"), -EIO);
	assert_int_equal(lcm_err_prefix(&err, -EIO, "%s", "x"), -EIO);
	assert_string_equal(err.msg, "x: a?b");
	lcm_err_set(&err, -EIO, "%0400d.", 7);
	lcm_err_prefix(&err, -EIO, "layer %d", 1);
	assert_int_equal(strlen(err.msg), 410); /* nothing is lost while there is room */
	lcm_err_prefix(&err, -EIO, "%0200d", 1);
	assert_int_equal(strlen(err.msg), LCM_ERR_MSG_MAX - 1);
	assert_string_equal(lcm_err_text(NULL, -ENOENT), "No such file or directory");
}

static void log_redacts(void **state)
{
	char out[128];

	(void)state;
	assert_string_equal(lcm_log_redact("https://u:p@h/x?sig=1#f", out, sizeof(out)),
			    "https://h/x");
	assert_string_equal(lcm_log_redact("http://h/a@b", out, sizeof(out)), "http://h/a@b");
}

struct loop_test {
	struct lcm_loop *loop;
	struct lcm_pool *pool;
	struct lcm_task job, done;
	int order[4], n;
};

static void on_done(void *arg)
{
	struct loop_test *t = arg;

	t->order[t->n++] = 2;
	lcm_loop_stop(t->loop);
}

static void on_job(void *arg)
{
	struct loop_test *t = arg;

	lcm_loop_post_task(t->loop, &t->done);
}

static void on_timer(void *arg)
{
	struct loop_test *t = arg;

	t->order[t->n++] = 1;
	lcm_pool_submit(t->pool, LCM_POOL_DEMAND, &t->job);
}

static void loop_timer_pool_mailbox(void **state)
{
	struct loop_test t = { 0 };
	struct lcm_timer *a, *b;

	(void)state;
	assert_int_equal(lcm_loop_new(&t.loop), 0);
	assert_int_equal(lcm_pool_new(2, "test", &t.pool), 0);
	t.job = (struct lcm_task){ .fn = on_job, .arg = &t };
	t.done = (struct lcm_task){ .fn = on_done, .arg = &t };
	assert_int_equal(lcm_timer_new(t.loop, on_timer, &t, &a), 0);
	assert_int_equal(lcm_timer_new(t.loop, on_done, &t, &b), 0);
	lcm_timer_set(b, 3600000000000ULL);
	lcm_timer_set(a, 1000000);
	assert_int_equal(lcm_loop_run(t.loop), 0);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.order[0], 1);
	assert_int_equal(t.order[1], 2);
	assert_true(lcm_timer_armed(b));
	assert_false(lcm_timer_armed(a));
	lcm_timer_free(a);
	lcm_timer_free(b);
	lcm_pool_free(t.pool);
	lcm_loop_free(t.loop);
}

static void files_are_atomic(void **state)
{
	char *dir = test_mkdir();
	lcm_autofree char *text = NULL;
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	size_t len = 0;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(lcm_write_file_at(fd, "f", "one", 3, 0600), 0);
	assert_int_equal(lcm_write_file_at(fd, "f", "second", 6, 0600), 0);
	assert_int_equal(lcm_read_file_at(fd, "f", 5, &text, &len), -EFBIG);
	assert_int_equal(lcm_read_file_at(fd, "f", 6, &text, &len), 0);
	assert_string_equal(text, "second");
	assert_int_equal(lcm_sys_mkdirat(fd, "d", 0700), 0);
	assert_int_equal(lcm_sys_symlinkat("/etc", fd, "d/link"), 0);
	assert_int_equal(lcm_sys_open_beneath(fd, "d/link/passwd", O_RDONLY, 0), -ELOOP);
	assert_int_equal(lcm_sys_open_beneath(fd, "../x", O_RDONLY, 0), -EXDEV);
	test_rmdir(dir);
}

struct renamer {
	int dir;
	atomic_bool stop;
	int r;
};

static void *rename_often(void *arg)
{
	struct renamer *n = arg;

	while (n->r == 0 && !atomic_load(&n->stop)) {
		n->r = lcm_sys_renameat(n->dir, "one", n->dir, "other");
		if (n->r == 0)
			n->r = lcm_sys_renameat(n->dir, "other", n->dir, "one");
	}
	return NULL;
}

#define DOTS "d/../d/../d/../d/../d/../d/../f"

/* What the kernel says to who does not try again. */
static bool is_interrupted(int dir)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH };
	lcm_autoclose int fd = (int)lcm_errno(syscall(SYS_openat2, dir, DOTS, &how, sizeof(how)));

	return fd == -EAGAIN;
}

static void opens_while_others_rename(void **state)
{
	enum { WANTED = 1000, TRIES = 1000000 };
	char *path = test_mkdir();
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	struct renamer n = { .dir = dir };
	pthread_t thread;
	int seen = 0, r = 0;

	(void)state;
	assert_int_equal(lcm_sys_mkdirat(dir, "d", 0700), 0);
	assert_int_equal(lcm_write_file_at(dir, "f", "", 0, 0600), 0);
	assert_int_equal(lcm_write_file_at(dir, "one", "", 0, 0600), 0);
	assert_int_equal(pthread_create(&thread, NULL, rename_often, &n), 0);
	for (int i = 0; i < TRIES && seen < WANTED && r >= 0; i++) {
		lcm_autoclose int fd = lcm_sys_open_beneath(dir, DOTS, O_RDONLY, 0);
		lcm_autoclose int in_root = lcm_sys_open_in_root(dir, DOTS, O_RDONLY);

		r = LCM_MIN(fd, in_root);
		seen += is_interrupted(dir);
	}
	atomic_store(&n.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(n.r, 0);
	assert_true(r >= 0);
	print_message("%d lookups met a rename\n", seen);
	assert_true(seen > 0);
	test_rmdir(path);
}

static void numbers(void **state)
{
	static const struct {
		const char *text;
		bool suffixes;
		int r;
		uint64_t n;
	} rows[] = {
		{ "0", false, 0, 0 },
		{ "123", false, 0, 123 },
		{ "8K", true, 0, 8192 },
		{ "3M", true, 0, 3U << 20 },
		{ "2G", true, 0, 2ULL << 30 },
		{ "17179869183G", true, 0, 17179869183ULL << 30 },
		{ "17179869184G", true, -EINVAL, 0 },
		{ "8K", false, -EINVAL, 0 },
		{ "8T", true, -EINVAL, 0 },
		{ "8Kx", true, -EINVAL, 0 },
		{ "8 K", true, -EINVAL, 0 },
		{ "", true, -EINVAL, 0 },
		{ "-1", true, -EINVAL, 0 },
		{ "+1", true, -EINVAL, 0 },
		{ " 1", true, -EINVAL, 0 },
		{ "K", true, -EINVAL, 0 },
		{ "9999999999999999999", true, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint64_t n = 7;
		int r = lcm_number_parse(rows[i].text, rows[i].suffixes, &n);

		if (r != rows[i].r || n != (r < 0 ? 7 : rows[i].n))
			fail_msg("%s: %d %llu", rows[i].text, r, (unsigned long long)n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digest_round_trip),
		cmocka_unit_test(digest_refuses),
		cmocka_unit_test(random_hex_differs),
		cmocka_unit_test(dir_each_names_all),
		cmocka_unit_test(buf_has_a_maximum),
		cmocka_unit_test(err_text_is_clean),
		cmocka_unit_test(log_redacts),
		cmocka_unit_test(loop_timer_pool_mailbox),
		cmocka_unit_test(files_are_atomic),
		cmocka_unit_test(opens_while_others_rename),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
