/* SPDX-License-Identifier: Apache-2.0 */
/* Who may look at the page, and where it can be. */
#include "tests/unit/test.h"

#include <string.h>
#include <sys/stat.h>

#include "src/base/sys.h"
#include "src/daemon/web.h"

#define TOKEN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

struct row {
	bool tcp;
	struct lcm_web_request rq;
	int status;
};

#define RQ(...)                                                                                    \
	{                                                                                          \
		.method = "GET", .url = "/v1/mounts", __VA_ARGS__                                  \
	}
#define GOOD .authorization = "Bearer " TOKEN

static const struct row rows[] = {
	/* the control socket: whoever may connect may do everything, but no browser of another site
	 */
	{ false, RQ(.host = "locum"), 0 },
	{ false, RQ(.host = "localhost:80"), 0 },
	{ false, RQ(.host = "127.0.0.1:8080"), 0 },
	{ false, RQ(.host = "[::1]"), 0 },
	{ false, RQ(.host = NULL), 403 },
	{ false, RQ(.host = ""), 403 },
	{ false, RQ(.host = "evil.example"), 403 },
	{ false, RQ(.host = "locum.evil.example"), 403 },
	{ false, RQ(.host = "locum:80.evil.example"), 403 },
	{ false, RQ(.host = "127.0.0.1.evil.example"), 403 },
	{ false, RQ(.host = "localhost", .origin = "http://localhost"), 0 },
	{ false, RQ(.host = "localhost", .origin = "http://evil.example"), 403 },
	{ false, RQ(.host = "localhost", .origin = "null"), 403 },
	{ false, RQ(.host = "localhost:1", .origin = "http://localhost:2"), 403 },
	{ false, RQ(.host = "localhost", .fetch_site = "cross-site"), 403 },
	{ false, RQ(.host = "localhost", .fetch_site = "same-site"), 403 },
	{ false, RQ(.host = "localhost", .fetch_site = "same-origin"), 0 },
	{ false, { .method = "DELETE", .url = "/v1/mounts/x", .host = "locum" }, 0 },
	{ false,
	  { .method = "POST", .url = "/v1/mounts", .host = "localhost", .origin = "http://x" },
	  403 },
	/* the TCP door */
	{ true, RQ(.host = "127.0.0.1:9"), 401 },
	{ true, RQ(.host = "127.0.0.1:9", GOOD), 0 },
	{ true, RQ(.host = "127.0.0.1:9", .authorization = "bearer " TOKEN), 0 },
	{ true, RQ(.host = "127.0.0.1:9", .authorization = "Basic " TOKEN), 401 },
	{ true, RQ(.host = "127.0.0.1:9", .authorization = "Bearer " TOKEN "0"), 401 },
	{ true, RQ(.host = "127.0.0.1:9", .authorization = "Bearer 0"), 401 },
	{ true, RQ(.host = "127.0.0.1:9", .authorization = ""), 401 },
	{ true, RQ(.host = "locum", GOOD), 403 },
	{ true, RQ(.host = "evil.example:9", GOOD), 403 },
	{ true, RQ(.host = "127.0.0.1:9", .origin = "http://evil.example", GOOD), 403 },
	{ true, RQ(.host = "127.0.0.1:9", .fetch_site = "cross-site", GOOD), 403 },
	{ true, { .method = "GET", .url = "/", .host = "127.0.0.1:9" }, 0 },
	{ true,
	  { .method = "GET", .url = "/", .host = "127.0.0.1:9", .fetch_site = "cross-site" },
	  0 },
	{ true, { .method = "GET", .url = "/", .host = "evil.example" }, 403 },
	{ true, { .method = "GET", .url = "/app.js", .host = "[::1]:9" }, 0 },
	{ true, { .method = "GET", .url = "/../etc/passwd", .host = "[::1]:9" }, 401 },
	{ true, { .method = "GET", .url = "/metrics", .host = "[::1]:9", GOOD }, 0 },
	{ true, { .method = "POST", .url = "/v1/mounts", .host = "[::1]:9", GOOD }, 405 },
	{ true, { .method = "DELETE", .url = "/v1/mounts/x", .host = "[::1]:9", GOOD }, 405 },
	{ true, { .method = "OPTIONS", .url = "/v1/mounts", .host = "[::1]:9" }, 405 },
};

static void only_the_right_ones_look(void **state)
{
	const struct lcm_web w = { .token = TOKEN };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const char *why;
		int got = lcm_web_check(rows[i].tcp ? &w : NULL, &rows[i].rq, &why);

		if (got != rows[i].status)
			fail_msg("row %zu: %d, not %d", i, got, rows[i].status);
	}
}

static void only_loopback_is_listened_on(void **state)
{
	static const char *const bad[] = {
		"",          "x",          "0.0.0.0:80",  "10.0.0.1:80", "[::]:80",      ":80",
		"127.0.0.1", "127.0.0.1:", "localhost:1", "65536",       "127.0.0.1:-1", "80x",
		"[::1]80",   "1.2.3:127",  "127.0.0.2:0"
	};
	lcm_autofree char *dir = strdup("/tmp/locum-web-XXXXXX");
	struct lcm_web w;
	int fd = -1;

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(bad); i++) {
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_web_listen(bad[i], dir, &w, &fd, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "[::1]:PORT"));
	}
	assert_int_equal(lcm_web_listen("[::1]:0", dir, &w, &fd, NULL), 0);
	assert_int_equal(strncmp(w.url, "http://[::1]:", 13), 0);
	(void)close(fd);
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, dir), 0);
}

/* It is kept from daemon to daemon, for its owner only; what is none is replaced. */
static void the_token_stays(void **state)
{
	lcm_autofree char *dir = strdup("/tmp/locum-web-XXXXXX"), *text = NULL;
	struct lcm_web a, b, taken;
	int fd = -1, again = -1, third = -1;
	struct lcm_err err = { 0 };
	char path[64];
	struct stat st;
	size_t len;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/web.token", dir);
	assert_int_equal(lcm_web_listen("0", dir, &a, &fd, NULL), 0);
	assert_int_equal(strlen(a.token), LCM_WEB_TOKEN_LEN);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, 100, &text, &len), 0);
	assert_string_equal(text, a.token);
	assert_int_equal(lcm_web_listen("127.0.0.1:0", dir, &b, &again, NULL), 0);
	assert_string_equal(a.token, b.token);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, "short", 5, 0600), 0);
	(void)close(again);
	assert_int_equal(lcm_web_listen("0", dir, &b, &again, NULL), 0);
	assert_int_equal(strlen(b.token), LCM_WEB_TOKEN_LEN);
	assert_int_not_equal(strcmp(a.token, b.token), 0);
	a.url[strlen(a.url) - 1] = '\0';
	assert_int_equal(lcm_web_listen(a.url + strlen("http://"), dir, &taken, &third, &err),
			 -EADDRINUSE);
	assert_non_null(strstr(err.msg, a.url + strlen("http://")));
	(void)close(fd);
	(void)close(again);
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_right_ones_look),
		cmocka_unit_test(only_loopback_is_listened_on),
		cmocka_unit_test(the_token_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
