/* SPDX-License-Identifier: Apache-2.0 */
/* Credential helpers: what they say, how they fail, and that none is left behind. */
#include "registry/helper.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/creds.h"
#include "src/base/buf.h"
#include "tests/unit/dir_fixture.h"

struct asked {
	struct lcm_loop *loop;
	struct lcm_helper *h;
	int r, calls;
	struct lcm_credentials *c;
	struct lcm_err err;
};

static void on_answer(void *arg, int r, struct lcm_credentials *c, const struct lcm_err *err)
{
	struct asked *a = arg;

	a->r = r;
	a->c = c;
	a->calls++;
	if (r < 0)
		a->err = *err;
	lcm_helper_free(lcm_steal(&a->h));
	lcm_loop_stop(a->loop);
}

static void script(const char *name, const char *text)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/docker-credential-%s", dir, name);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0755), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static int start(struct asked *a, const char *host, uint32_t timeout_ms)
{
	*a = (struct asked){ .r = 1 };
	assert_int_equal(lcm_loop_new(&a->loop), 0);
	return lcm_helper_start(a->loop, "t", host, timeout_ms, on_answer, a, &a->h, &a->err);
}

static void finish(struct asked *a)
{
	lcm_credentials_free(a->c);
	lcm_loop_free(a->loop);
}

#define GOOD "printf '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"s3cret\"}'\n"

static const struct row {
	const char *script, *host;
	int r;
	const char *user, *password, *identity;
	const char *text; /* in the error */
} rows[] = {
	{ GOOD, "quay.io", 0, "me", "s3cret", "", NULL },
	{ "[ \"$1\" = get ] || exit 3\n" GOOD, "quay.io", 0, "me", "s3cret", "", NULL },
	/* It is told which registry, and nothing else. */
	{ "printf '{\"Username\":\"%s\",\"Secret\":\"x\"}' \"$(base64 -w0)\"\n", "quay.io:5000", 0,
	  "cXVheS5pbzo1MDAw", "x", "", NULL },
	{ "printf '{\"Username\":\"%s\",\"Secret\":\"x\"}' \"$(base64 -w0)\"\n", "docker.io", 0,
	  "aHR0cHM6Ly9pbmRleC5kb2NrZXIuaW8vdjEv", "x", "", NULL },
	{ "printf '{\"Username\":\"<token>\",\"Secret\":\"id\"}'\n", "quay.io", 0, "", "", "id",
	  NULL },
	/* Who starts something that keeps the output open is not waited for longer than it lives.
	 */
	{ GOOD "sleep 100 &\n", "quay.io", 0, "me", "s3cret", "", NULL },
	{ "exec 0<&-\n" GOOD, "quay.io", 0, "me", "s3cret", "", NULL },
	{ "echo credentials not found in native keychain; exit 1\n", "quay.io", -ENOENT, NULL, NULL,
	  NULL, "has none" },
	{ "printf '{\"Username\":\"me\",\"Secret\":\"\"}'\n", "quay.io", -ENOENT, NULL, NULL, NULL,
	  "no secret" },
	{ "printf 'no\\033[2Jregion\\nmore'; exit 4\n", "quay.io", -EACCES, NULL, NULL, NULL,
	  "docker-credential-t: no?[2Jregion (status 4)" },
	{ "exit 5\n", "quay.io", -EACCES, NULL, NULL, NULL, "it failed (status 5)" },
	{ "kill -9 $$\n", "quay.io", -EACCES, NULL, NULL, NULL, "signal 9" },
	{ "echo s3cret\n", "quay.io", -EACCES, NULL, NULL, NULL, "docker-credential-t: " },
	{ "printf '{\"Username\":\"a:b\",\"Secret\":\"s3cret\"}'\n", "quay.io", -EACCES, NULL, NULL,
	  NULL, "colon" },
	{ "printf '{\"Username\":1,\"Secret\":\"s3cret\"}'\n", "quay.io", -EACCES, NULL, NULL, NULL,
	  "Username" },
	{ "exec yes\n", "quay.io", -EACCES, NULL, NULL, NULL, "says too much" },
	{ "sleep 100; " GOOD, "quay.io", -ETIMEDOUT, NULL, NULL, NULL, "does not answer" },
	{ "exec >&-; sleep 100\n", "quay.io", -ETIMEDOUT, NULL, NULL, NULL, "does not answer" },
};

static void answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct lcm_buf text = LCM_BUF(4096);
		struct asked a;

		assert_int_equal(lcm_buf_printf(&text, "#!/bin/sh\n%s", row->script), 0);
		script("t", lcm_buf_str(&text));
		lcm_buf_fini(&text);
		assert_int_equal(start(&a, row->host, row->r == -ETIMEDOUT ? 300 : 20000), 0);
		assert_int_equal(lcm_loop_run(a.loop), 0);
		if (a.r != row->r || a.calls != 1)
			fail_msg("row %zu: %d %s", i, a.r, a.err.msg);
		assert_int_equal(a.c != NULL, row->r == 0);
		if (a.c) {
			assert_string_equal(a.c->username, row->user);
			assert_string_equal(a.c->password, row->password);
			assert_string_equal(a.c->identity_token, row->identity);
		} else if (!strstr(a.err.msg, row->text) || strstr(a.err.msg, "s3cret")) {
			fail_msg("row %zu: %s", i, a.err.msg);
		}
		finish(&a);
	}
}

static void not_there(void **state)
{
	char path[300];
	struct asked a;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/docker-credential-t", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(start(&a, "quay.io", 1000), -ENOENT);
	assert_string_equal(a.err.msg, "docker-credential-t: it is not installed");
	finish(&a);
	/* Relative directories are not looked into. */
	assert_int_equal(setenv("PATH", "relative::.", 1), 0);
	script("t", "#!/bin/sh\n" GOOD);
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(start(&a, "quay.io", 1000), -ENOENT);
	finish(&a);
	assert_int_equal(chdir("/"), 0);
}

/* Who asked does not want to know any more: it goes, with what it started. */
static void given_up(void **state)
{
	char path[300];
	lcm_autofree char *pid = NULL;
	struct pollfd p = { .events = POLLIN };
	size_t len;
	struct asked a;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/pid", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	script("t", "#!/bin/sh\nsleep 100 &\necho $! >\"${0%/*}/pid\"\nwait\n");
	assert_int_equal(start(&a, "quay.io", 20000), 0);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, 64, &pid, &len), 0);
	p.fd = (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid, NULL, 10), 0);
	assert_true(p.fd >= 0);
	lcm_helper_free(a.h);
	assert_int_equal(poll(&p, 1, 20000), 1);
	(void)close(p.fd);
	assert_int_equal(a.calls, 0);
	finish(&a);
}

static int setup(void **state)
{
	static char path[4096];

	(void)state;
	dir = test_mkdir();
	(void)snprintf(path, sizeof(path), "/nowhere:%s:/usr/bin:/bin", dir);
	return setenv("PATH", path, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers, setup, NULL),
		cmocka_unit_test(given_up),
		cmocka_unit_test_setup_teardown(not_there, NULL, dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
