/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "registry/serve.h"
#include "tests/unit/serve_client.h"
#include "tests/unit/test.h"

/* A layout, a server and what its hook was told to do and saw. */
struct fixture {
	struct test_layout layout;
	struct lcm_serve *serve;
	struct lcm_serve_fault fault; /* for blobs; set while no request runs */
	_Atomic uint64_t requests, done, bytes;
	_Atomic unsigned int last_status;
	char blob[LCM_DIGEST_STR], manifest[LCM_DIGEST_STR];
};

static void on_request(void *arg, const struct lcm_serve_request *req, struct lcm_serve_fault *ret)
{
	struct fixture *f = arg;

	atomic_fetch_add(&f->requests, 1);
	if (req->kind == LCM_SERVE_BLOB)
		*ret = f->fault;
}

static void on_done(void *arg, const struct lcm_serve_request *req, uint64_t bytes)
{
	struct fixture *f = arg;

	atomic_fetch_add(&f->bytes, bytes);
	atomic_store(&f->last_status, req->status);
	atomic_fetch_add(&f->done, 1);
}

static void *make(bool hooked)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct lcm_serve_hook hook = { on_request, on_done, f };
	struct lcm_serve_config cfg = { .hook = hooked ? &hook : NULL };
	struct lcm_err err = { 0 };

	assert_non_null(f);
	test_layout_make(&f->layout);
	cfg.dir = f->layout.dir;
	assert_int_equal(lcm_serve_new(&cfg, &f->serve, &err), 0);
	(void)lcm_digest_str(&f->layout.blob, f->blob);
	(void)lcm_digest_str(&f->layout.manifest, f->manifest);
	return f;
}

static int plain(void **state)
{
	*state = make(false);
	return 0;
}

static int faulty(void **state)
{
	*state = make(true);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lcm_serve_free(f->serve);
	test_layout_remove(&f->layout);
	free(f);
	return 0;
}

/* GET or HEAD of a path in which %B and %M stand for the two digests. */
static void ask(struct fixture *f, const char *method, const char *path, const char *header,
		struct test_reply *ret)
{
	struct lcm_buf b = LCM_BUF(4096);
	struct test_get g = { .base = lcm_serve_url(f->serve), .method = method, .header = header };

	for (; *path; path++)
		if (*path == '%' && (path[1] == 'B' || path[1] == 'M'))
			assert_int_equal(
			    lcm_buf_printf(&b, "%s", *++path == 'B' ? f->blob : f->manifest), 0);
		else
			assert_int_equal(lcm_buf_add(&b, path, 1), 0);
	g.path = lcm_buf_str(&b);
	test_get(&g, ret);
	lcm_buf_fini(&b);
}

struct row {
	const char *method, *path, *header;
	long status;
	const char *line; /* header that must be there */
	const char *body; /* substring; NULL: empty */
};

static const struct row rows[] = {
	{ NULL, "/v2/", NULL, 200, "Docker-Distribution-API-Version: registry/2.0", "{}" },
	{ NULL, "/v2/_catalog", NULL, 200, "Content-Type: application/json",
	  "{\"repositories\":[\"" },
	{ NULL, "/v2/any/name/tags/list", NULL, 200, NULL,
	  "{\"name\":\"any/name\",\"tags\":[\"a\",\"v1\"]}" },
	{ NULL, "/v2/x/tags/list?n=1", NULL, 200,
	  "Link: </v2/x/tags/list?n=1&last=a>; rel=\"next\"", "[\"a\"]" },
	{ NULL, "/v2/x/tags/list?n=1&last=a", NULL, 200, NULL, "[\"v1\"]" },
	{ NULL, "/v2/x/tags/list?n=0", NULL, 200, NULL, "\"tags\":[]" },
	{ NULL, "/v2/x/tags/list?n=-1", NULL, 400, NULL, "PAGINATION_NUMBER_INVALID" },
	{ NULL, "/v2/x/manifests/v1", NULL, 200,
	  "Content-Type: application/vnd.oci.image.manifest.v1+json", "schemaVersion" },
	{ NULL, "/v2/x/manifests/%M", NULL, 200, "Content-Length: 43", "schemaVersion" },
	{ "HEAD", "/v2/x/manifests/v1", NULL, 200, "Content-Length: 43", NULL },
	{ NULL, "/v2/x/manifests/v2", NULL, 404, NULL, "MANIFEST_UNKNOWN" },
	{ NULL, "/v2/x/manifests/%B", NULL, 404, NULL, "MANIFEST_UNKNOWN" },
	{ "HEAD", "/v2/x/blobs/%B", NULL, 200, "Content-Length: 300000", NULL },
	{ "HEAD", "/v2/x/blobs/%B", "Range: bytes=0-1", 200, "Content-Length: 300000", NULL },
	{ NULL, "/v2/x/blobs/%B", "Range: bytes=300000-", 416, "Content-Range: bytes */300000",
	  "RANGE_INVALID" },
	{ NULL,
	  "/v2/x/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	  NULL, 404, NULL, "BLOB_UNKNOWN" },
	{ NULL, "/v2/x/blobs/sha256:0", NULL, 400, NULL, "DIGEST_INVALID" },
	{ NULL, "/v2/x/blobs/..%2f..%2findex.json", NULL, 404, NULL, "NOT_FOUND" },
	{ NULL, "/v2/x/blobs/../../index.json", NULL, 404, NULL, "NOT_FOUND" },
	{ NULL, "/v2/..%2f..%2fetc/manifests/passwd", NULL, 400, NULL, "NAME_INVALID" },
	{ NULL, "/v2/UPPER/tags/list", NULL, 400, NULL, "NAME_INVALID" },
	{ NULL, "/index.json", NULL, 404, NULL, "NOT_FOUND" },
	{ "POST", "/v2/x/blobs/uploads/", NULL, 405, "Allow: GET, HEAD", "UNSUPPORTED" },
	{ "DELETE", "/v2/x/manifests/v1", NULL, 405, "Allow: GET, HEAD", "UNSUPPORTED" },
};

static void answers(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct test_reply r;

		ask(f, rows[i].method, rows[i].path, rows[i].header, &r);
		assert_int_equal(r.curl, 0);
		assert_int_equal(r.status, rows[i].status);
		if (rows[i].line && !test_reply_has(&r, rows[i].line))
			fail_msg("row %zu: no %s in %s", i, rows[i].line, lcm_buf_str(&r.head));
		if (rows[i].body && !strstr(lcm_buf_str(&r.body), rows[i].body))
			fail_msg("row %zu: no %s in %s", i, rows[i].body, lcm_buf_str(&r.body));
		assert_int_equal(r.body.len == 0, rows[i].body == NULL);
		test_reply_fini(&r);
	}
}

/* Expects bytes [off, off + len) of the blob. */
static void expect_bytes(struct fixture *f, const char *header, long status, size_t off, size_t len)
{
	struct test_reply r;

	ask(f, NULL, "/v2/x/blobs/%B", header, &r);
	assert_int_equal(r.curl, 0);
	assert_int_equal(r.status, status);
	assert_int_equal(r.body.len, len);
	assert_memory_equal(r.body.data, f->layout.bytes + off, len);
	test_reply_fini(&r);
}

static void ranges(void **state)
{
	struct fixture *f = *state;
	struct test_reply r;

	expect_bytes(f, NULL, 200, 0, TEST_BLOB_SIZE);
	expect_bytes(f, "Range: bytes=0-0", 206, 0, 1);
	expect_bytes(f, "Range: bytes=70000-200000", 206, 70000, 130001);
	expect_bytes(f, "Range: bytes=-5", 206, TEST_BLOB_SIZE - 5, 5);
	expect_bytes(f, "Range: bytes=299999-400000", 206, 299999, 1);
	expect_bytes(f, "Range: bytes=0-1,5-6", 200, 0, TEST_BLOB_SIZE);
	ask(f, NULL, "/v2/x/blobs/%B", "Range: bytes=2-4", &r);
	assert_true(test_reply_has(&r, "Content-Range: bytes 2-4/300000"));
	assert_true(test_reply_has(&r, "Content-Length: 3"));
	assert_true(test_reply_has(&r, "Accept-Ranges: bytes"));
	assert_false(test_reply_has(&r, "Connection: close"));
	test_reply_fini(&r);
}

static void validators(void **state)
{
	struct fixture *f = *state;
	struct test_reply r;
	char line[256];

	(void)snprintf(line, sizeof(line), "If-None-Match: \"%s\"", f->blob);
	ask(f, NULL, "/v2/x/blobs/%B", line, &r);
	assert_int_equal(r.status, 304);
	assert_int_equal(r.body.len, 0);
	(void)snprintf(line, sizeof(line), "ETag: \"%s\"", f->blob);
	assert_true(test_reply_has(&r, line));
	(void)snprintf(line, sizeof(line), "Docker-Content-Digest: %s", f->blob);
	assert_true(test_reply_has(&r, line));
	test_reply_fini(&r);
	(void)snprintf(line, sizeof(line), "If-None-Match: \"%s\"", f->manifest);
	expect_bytes(f, line, 200, 0, TEST_BLOB_SIZE);
	(void)snprintf(line, sizeof(line), "Range: bytes=1-2\r\nIf-Range: \"%s\"", f->blob);
	expect_bytes(f, line, 206, 1, 2);
	(void)snprintf(line, sizeof(line), "Range: bytes=1-2\r\nIf-Range: \"x\"");
	expect_bytes(f, line, 200, 0, TEST_BLOB_SIZE);
}

/* What is not a regular file below the layout does not exist. */
static void odd_blobs(void **state)
{
	struct fixture *f = *state;
	char path[512], target[512], hex[LCM_DIGEST_STR];
	struct test_reply r;

	test_layout_file(&f->layout, "secret", "secret");
	(void)snprintf(target, sizeof(target), "%s/secret", f->layout.dir);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", f->layout.dir,
		       lcm_digest_hex(&f->layout.blob, hex));
	assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, path, 0), 0);
	assert_int_equal(lcm_sys_symlinkat(target, AT_FDCWD, path), 0);
	ask(f, NULL, "/v2/x/blobs/%B", NULL, &r);
	assert_int_equal(r.status, 404);
	test_reply_fini(&r);
	assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, path, 0), 0);
	assert_int_equal(lcm_sys_mknodat(AT_FDCWD, path, S_IFIFO | 0644, 0), 0);
	ask(f, NULL, "/v2/x/blobs/%B", NULL, &r);
	assert_int_equal(r.status, 404);
	test_reply_fini(&r);
	test_layout_file(&f->layout, "index.json", "{");
	ask(f, NULL, "/v2/x/manifests/v1", NULL, &r);
	assert_int_equal(r.status, 404);
	test_reply_fini(&r);
}

/* A layout that was written without a tag. */
static void untagged(void **state)
{
	struct fixture *f = *state;
	struct test_reply r;
	char text[256];

	(void)snprintf(text, sizeof(text),
		       "{\"manifests\":[{\"digest\":\"%s\",\"mediaType\":\"t/listed\"}]}",
		       f->manifest);
	test_layout_file(&f->layout, "index.json", text);
	ask(f, NULL, "/v2/x/manifests/latest", NULL, &r);
	assert_int_equal(r.status, 200);
	assert_true(test_reply_has(&r, "Content-Type: t/listed"));
	test_reply_fini(&r);
	ask(f, NULL, "/v2/x/tags/list", NULL, &r);
	assert_non_null(strstr(lcm_buf_str(&r.body), "[\"latest\"]"));
	test_reply_fini(&r);
}

static void new_refuses(void **state)
{
	static const struct {
		const char *listen, *mark, *index;
		int r;
	} bad[] = {
		{ "0.0.0.0:0", "{\"imageLayoutVersion\":\"1.0.0\"}", "{\"manifests\":[]}", -EPERM },
		{ "[::]:0", "{\"imageLayoutVersion\":\"1.0.0\"}", "{\"manifests\":[]}", -EPERM },
		{ "127.0.0.1", "{\"imageLayoutVersion\":\"1.0.0\"}", "{\"manifests\":[]}",
		  -EINVAL },
		{ "127.0.0.1:65536", "{\"imageLayoutVersion\":\"1.0.0\"}", "{\"manifests\":[]}",
		  -EINVAL },
		{ "::1:0", "{\"imageLayoutVersion\":\"1.0.0\"}", "{\"manifests\":[]}", -EINVAL },
		{ "example.org:0", "{\"imageLayoutVersion\":\"1.0.0\"}", "{\"manifests\":[]}",
		  -EINVAL },
		{ NULL, "{\"imageLayoutVersion\":\"2.0.0\"}", "{\"manifests\":[]}", -EINVAL },
		{ NULL, "{}", "{\"manifests\":[]}", -EINVAL },
		{ NULL, "{\"imageLayoutVersion\":\"1.0.0\"}", "{}", -EINVAL },
	};
	struct test_layout l = { .dir = test_mkdir() };
	struct lcm_serve *s = (void *)&l;
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(
	    lcm_serve_new(&(struct lcm_serve_config){ .dir = "/nonexistent" }, &s, &err), -ENOENT);
	assert_int_equal(lcm_serve_new(&(struct lcm_serve_config){ .dir = l.dir }, &s, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "skopeo copy"));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(bad); i++) {
		test_layout_file(&l, "oci-layout", bad[i].mark);
		test_layout_file(&l, "index.json", bad[i].index);
		assert_int_equal(
		    lcm_serve_new(
			&(struct lcm_serve_config){ .dir = l.dir, .listen = bad[i].listen }, &s,
			&err),
		    bad[i].r);
		assert_ptr_equal(s, &l);
	}
	test_rmdir(l.dir);
}

static void port_in_use(void **state)
{
	struct fixture *f = *state;
	struct lcm_serve_config cfg = { .dir = f->layout.dir, .listen = lcm_serve_host(f->serve) };
	struct lcm_serve *s = NULL;
	struct lcm_err err = { 0 };

	assert_int_equal(lcm_serve_new(&cfg, &s, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, cfg.listen));
	cfg.listen = "[::1]:0";
	assert_int_equal(lcm_serve_new(&cfg, &s, &err), 0);
	assert_memory_equal(lcm_serve_host(s), "[::1]:", 6);
	lcm_serve_free(s);
}

static void wait_done(struct fixture *f, uint64_t n)
{
	for (int i = 0; i < 5000 && atomic_load(&f->done) < n; i++)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&f->done), n);
}

static void flips(void **state)
{
	struct fixture *f = *state;

	f->fault = (struct lcm_serve_fault){ .flip = true, .flip_off = 100000 };
	f->layout.bytes[100000] = (char)~f->layout.bytes[100000];
	expect_bytes(f, NULL, 200, 0, TEST_BLOB_SIZE);
	expect_bytes(f, "Range: bytes=100000-100000", 206, 100000, 1);
	expect_bytes(f, "Range: bytes=100001-200000", 206, 100001, 100000);
	wait_done(f, 3);
	assert_int_equal(atomic_load(&f->bytes), TEST_BLOB_SIZE + 1 + 100000);
	assert_int_equal(atomic_load(&f->requests), 3);
}

static void truncates(void **state)
{
	struct fixture *f = *state;
	struct test_reply r;

	f->fault = (struct lcm_serve_fault){ .truncate = true, .truncate_at = 150001 };
	ask(f, NULL, "/v2/x/blobs/%B", "Range: bytes=1-", &r);
	assert_int_equal(r.curl, 18); /* CURLE_PARTIAL_FILE */
	assert_true(test_reply_has(&r, "Content-Length: 299999"));
	assert_int_equal(r.body.len, 150000);
	assert_memory_equal(r.body.data, f->layout.bytes + 1, 150000);
	test_reply_fini(&r);
	wait_done(f, 1);
	assert_int_equal(atomic_load(&f->bytes), 150000);
}

static void changes_status(void **state)
{
	struct fixture *f = *state;
	struct test_reply r;

	f->fault = (struct lcm_serve_fault){ .status = 429, .header = { { "Retry-After", "7" } } };
	ask(f, NULL, "/v2/x/blobs/%B", "Range: bytes=1-", &r);
	assert_int_equal(r.status, 429);
	assert_true(test_reply_has(&r, "Retry-After: 7"));
	assert_false(test_reply_has(&r, "Content-Range: bytes */300000"));
	assert_non_null(strstr(lcm_buf_str(&r.body), "TOOMANYREQUESTS"));
	test_reply_fini(&r);
	wait_done(f, 1);
	assert_int_equal(atomic_load(&f->last_status), 429);
	assert_int_equal(atomic_load(&f->bytes), 0);
}

static void ignores_range(void **state)
{
	struct fixture *f = *state;

	f->fault = (struct lcm_serve_fault){ .ignore_range = true };
	expect_bytes(f, "Range: bytes=5-6", 200, 0, TEST_BLOB_SIZE);
}

static void delays(void **state)
{
	struct fixture *f = *state;
	uint64_t start = lcm_now_ns();

	f->fault = (struct lcm_serve_fault){ .delay_ms = 150 };
	expect_bytes(f, NULL, 200, 0, TEST_BLOB_SIZE);
	assert_true(lcm_now_ns() - start >= 150000000);
	assert_int_equal(lcm_serve_held(f->serve), 0);
}

/* A client on a thread of its own. */
struct client {
	struct fixture *f;
	struct test_reply r;
	pthread_t thread;
};

static void *client_main(void *arg)
{
	struct client *c = arg;

	ask(c->f, NULL, "/v2/x/blobs/%B", "Range: bytes=1000-", &c->r);
	return NULL;
}

static void client_start(struct client *c, struct fixture *f)
{
	c->f = f;
	assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
}

static void wait_held(struct fixture *f, unsigned int n)
{
	for (int i = 0; i < 5000 && lcm_serve_held(f->serve) != n; i++)
		(void)usleep(1000);
	assert_int_equal(lcm_serve_held(f->serve), n);
}

#define CLIENTS 8

static void holds_and_releases(void **state)
{
	struct fixture *f = *state;
	struct client c[CLIENTS];

	f->fault = (struct lcm_serve_fault){ .hold_below = UINT64_MAX };
	lcm_serve_hold(f->serve, true);
	for (size_t i = 0; i < CLIENTS; i++)
		client_start(&c[i], f);
	wait_held(f, CLIENTS);
	assert_int_equal(atomic_load(&f->done), 0);
	lcm_serve_hold(f->serve, false);
	for (size_t i = 0; i < CLIENTS; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_int_equal(c[i].r.status, 206);
		assert_int_equal(c[i].r.body.len, TEST_BLOB_SIZE - 1000);
		assert_memory_equal(c[i].r.body.data, f->layout.bytes + 1000,
				    TEST_BLOB_SIZE - 1000);
		test_reply_fini(&c[i].r);
	}
}

/* Bytes from hold_below on are not held: neither a range beyond it nor other requests. */
static void holds_only_below(void **state)
{
	struct fixture *f = *state;
	struct client c;

	f->fault = (struct lcm_serve_fault){ .hold_below = 2000 };
	lcm_serve_hold(f->serve, true);
	client_start(&c, f);
	wait_held(f, 1);
	expect_bytes(f, "Range: bytes=2000-", 206, 2000, TEST_BLOB_SIZE - 2000);
	lcm_serve_hold(f->serve, false);
	assert_int_equal(pthread_join(c.thread, NULL), 0);
	assert_int_equal(c.r.body.len, TEST_BLOB_SIZE - 1000);
	test_reply_fini(&c.r);
}

/* Turned on while bodies are on their way, then off: nothing is lost or doubled. */
static void holds_in_the_body(void **state)
{
	struct fixture *f = *state;
	struct client c[CLIENTS];

	f->fault = (struct lcm_serve_fault){ .hold_below = UINT64_MAX };
	for (size_t i = 0; i < CLIENTS; i++)
		client_start(&c[i], f);
	for (int i = 0; i < 200; i++) {
		lcm_serve_hold(f->serve, i % 2 == 0);
		(void)usleep(200);
	}
	lcm_serve_hold(f->serve, false);
	for (size_t i = 0; i < CLIENTS; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_int_equal(c[i].r.body.len, TEST_BLOB_SIZE - 1000);
		assert_memory_equal(c[i].r.body.data, f->layout.bytes + 1000,
				    TEST_BLOB_SIZE - 1000);
		test_reply_fini(&c[i].r);
	}
}

/* teardown() must come back with requests held and delayed. */
static void stops_while_holding(void **state)
{
	struct fixture *f = *state;
	struct client c[2];

	f->fault = (struct lcm_serve_fault){ .hold_below = UINT64_MAX };
	lcm_serve_hold(f->serve, true);
	client_start(&c[0], f);
	wait_held(f, 1);
	f->fault = (struct lcm_serve_fault){ .delay_ms = 3600000 };
	client_start(&c[1], f);
	while (atomic_load(&f->requests) < 2)
		(void)usleep(1000);
	lcm_serve_free(f->serve);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		test_reply_fini(&c[i].r);
	}
	f->serve = NULL;
	assert_int_equal(atomic_load(&f->done), 2);
}

#define PLAIN(fn) cmocka_unit_test_setup_teardown(fn, plain, teardown)
#define FAULTY(fn) cmocka_unit_test_setup_teardown(fn, faulty, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PLAIN(answers),
		FAULTY(answers),
		PLAIN(ranges),
		FAULTY(ranges),
		PLAIN(validators),
		PLAIN(odd_blobs),
		PLAIN(untagged),
		cmocka_unit_test(new_refuses),
		PLAIN(port_in_use),
		FAULTY(flips),
		FAULTY(truncates),
		FAULTY(changes_status),
		FAULTY(ignores_range),
		FAULTY(delays),
		FAULTY(holds_and_releases),
		FAULTY(holds_only_below),
		FAULTY(holds_in_the_body),
		FAULTY(stops_while_holding),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
