/* SPDX-License-Identifier: Apache-2.0 */
/* Several hosts of one registry: who is asked, who takes over, what is told to whom. */
#include <inttypes.h>

#include "registry/internal.h"
#include "tests/lib/regworld.h"

static bool h_404(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return bad_reply(c, "404 Not Found");
}

static bool h_403(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return bad_reply(c, "403 x");
}

static bool h_garbage(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c, "\x01\x02 this is no HTTP\r\n\r\n");
	return false;
}

static bool h_other_range(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c,
		   "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/%u\r\nContent-Length: 10\r\n\r\n"
		   "0123456789",
		   BLOB_SIZE);
	return true;
}

static bool h_closed(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_reset(c);
	return false;
}

static bool h_loop(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	bad_printf(c, "HTTP/1.1 307 x\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", req->target);
	return true;
}

static bool h_other_manifest(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	return true;
}

static bool h_dies(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	return blob_short(c, req, false);
}

/* ---- the order ---- */

static void test_mirror_first(void **state)
{
	struct lcm_fetch_result res;
	char ns[64];
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		world_init(&w, h_all, h_all, h_all, NULL);
		world_files(&w, "", "");
		if (i)
			assert_int_equal(fetch_manifest(&w, false, &res), 0);
		else
			assert_int_equal(fetch_blob(&w, 100, 1000, &res), 0);
		assert_int_equal(res.mirrored, i == 0);
		assert_counts(&w, 1, 0, 0);
		/* It is told which registry is meant. */
		(void)snprintf(ns, sizeof(ns), "?ns=127.0.0.1:%u", badserver_port(w.s[UP]));
		assert_non_null(strstr(last_of(&w, 0)->target, ns));
		world_fini(&w);
	}
}

static void test_no_file_no_mirror(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	assert_int_equal(fetch_blob(&w, 0, 1000, &res), 0);
	assert_false(res.mirrored);
	assert_counts(&w, 0, 0, 1);
	assert_null(strstr(last_of(&w, UP)->target, "ns="));
	world_fini(&w);
}

static void test_capabilities(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	world_files(&w, "capabilities = [\"pull\"]", "capabilities = [\"push\"]");
	assert_int_equal(fetch_manifest(&w, false, NULL), 0);
	assert_counts(&w, 0, 0, 1);
	assert_int_equal(fetch_manifest(&w, true, NULL), 0);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 2, 0, 1);
	world_fini(&w);
	world_init(&w, h_all, h_all, h_all, NULL);
	write_hosts(&w, "capabilities = [\"push\"]\n[host.\"http://127.0.0.1:1\"]\n"
			"capabilities = [\"pull\"]\n");
	assert_int_equal(fetch_manifest(&w, false, &res), -EINVAL);
	assert_non_null(strstr(res.err.msg, "resolve tags"));
	assert_counts(&w, 0, 0, 0);
	world_fini(&w);
}

static void test_paths(void **state)
{
	struct world w;
	char text[300];

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	(void)snprintf(text, sizeof(text),
		       "[host.\"http://127.0.0.1:%u/proxy/\"]\noverride_path = true\n",
		       badserver_port(w.s[0]));
	write_hosts(&w, text);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(strncmp(last_of(&w, 0)->target, "/proxy/r/x/blobs/sha256:", 24), 0);
	world_fini(&w);
	world_init(&w, h_all, h_all, h_all, NULL);
	(void)snprintf(text, sizeof(text), "[host.\"http://127.0.0.1:%u/proxy\"]\n",
		       badserver_port(w.s[0]));
	write_hosts(&w, text);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(strncmp(last_of(&w, 0)->target, "/proxy/v2/r/x/blobs/", 20), 0);
	world_fini(&w);
}

/* ---- a host that fails ---- */

/* Whatever the first does, the second goes on, at the byte where it stopped. */
static void test_fallback(void **state)
{
	static const struct {
		const char *name;
		bad_handler_fn fn;
		unsigned int asked;  /* requests to the first */
		uint64_t second_off; /* first byte that the second is asked for */
	} rows[] = {
		{ "404", h_404, 1, 100 },
		{ "500", h_500, 1, 100 },
		{ "403", h_403, 1, 100 },
		{ "garbage", h_garbage, 1, 100 },
		{ "another range", h_other_range, 1, 100 },
		{ "no ranges", h_no_ranges, 1, 2 * MIB },
		{ "reset", h_closed, 1, 100 },
		{ "redirect loop", h_loop, 6, 100 },
		{ "dies mid-body", h_dies, 1, 100 + MIB },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint64_t first = 0, last = 0, off = rows[i].fn == h_no_ranges ? 2 * MIB : 100;
		struct lcm_fetch_result res;
		struct world w;

		print_message("# %s\n", rows[i].name);
		world_init(&w, rows[i].fn, h_all, h_all, NULL);
		world_files(&w, "", "");
		assert_int_equal(fetch_blob(&w, off, 3 * MIB, &res), 0);
		assert_counts(&w, rows[i].asked, 1, 0);
		assert_true(bad_range(last_of(&w, 1), &first, &last));
		assert_true(first == rows[i].second_off);
		world_fini(&w);
	}
}

static void test_mirror_is_down(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	write_hosts(&w, "[host.\"http://127.0.0.1:1\"]\n[host.\"https://no-such-host.invalid\"]\n");
	assert_int_equal(fetch_manifest(&w, false, NULL), 0);
	assert_int_equal(fetch_blob(&w, 0, BLOB_SIZE, NULL), 0);
	assert_counts(&w, 0, 0, 2);
	world_fini(&w);
}

static void test_manifest_that_lies(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_other_manifest, h_all, h_all, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_manifest(&w, true, NULL), 0);
	assert_counts(&w, 1, 0, 1);
	world_fini(&w);
}

/* What the registry itself refuses is final, and its mirrors' troubles are told beside it. */
static void test_last_word(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_500, h_all, h_404, &(struct lcm_registry_config){ .retries = 3 });
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, &res), -ENOENT);
	assert_counts(&w, 1, 0, 1);
	assert_non_null(strstr(res.err.msg, "(404)"));
	assert_non_null(strstr(res.err.msg, "before that 127.0.0.1"));
	world_fini(&w);
	/* Trouble that may pass is tried again, everywhere. */
	world_init(&w, h_404, h_all, h_500, &(struct lcm_registry_config){ .retries = 3 });
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, &res), -EHOSTUNREACH);
	assert_int_equal(badserver_count(w.s[UP]), 4);
	world_fini(&w);
}

/* Who has not got a blob, or not for us, or serves no ranges of it, is asked last for it, for a
 * while. */
static void test_absent_is_remembered(void **state)
{
	static const bad_handler_fn rows[] = { h_404, h_403, h_no_ranges };

	(void)state;
	for (size_t k = 0; k < LCM_ARRAY_SIZE(rows); k++) {
		struct world w;

		world_init(&w, rows[k], h_all, h_all, NULL);
		world_files(&w, "", NULL);
		for (unsigned int i = 1; i < 5; i++) {
			assert_int_equal(fetch_blob(&w, 2 * MIB + i, 10, NULL), 0);
			assert_counts(&w, 1, 0, i);
		}
		world_fini(&w);
	}
}

static void test_blame(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	world_files(&w, "", NULL);
	assert_false(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_int_equal(fetch_blob(&w, 0, 10, &res), 0);
	assert_true(res.mirrored);
	/* The bytes were wrong, somebody found out. */
	assert_true(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_false(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_int_equal(fetch_blob(&w, 0, 10, &res), 0);
	assert_false(res.mirrored);
	/* It is the registry's own then. */
	assert_false(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_int_equal(fetch_manifest(&w, true, NULL), 0);
	assert_counts(&w, 2, 0, 1);
	world_fini(&w);
}

/* ---- the file ---- */

static void test_damaged_file(void **state)
{
	struct lcm_fetch_result res;
	struct lcm_reference other;
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	write_hosts(&w, "server = 5\n");
	assert_int_equal(fetch_blob(&w, 0, 10, &res), -EINVAL);
	assert_non_null(strstr(res.err.msg, "hosts.toml: line 1: server"));
	assert_non_null(strstr(look(&w).error, "hosts.toml: line 1"));
	assert_counts(&w, 0, 0, 0);
	/* Others are none of its business. */
	other = w.ref;
	w.ref = regtest_ref(badserver_port(w.s[0]), "r/x:latest");
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	w.ref = other;
	/* Mended, it is read within a second or so. */
	world_files(&w, NULL, "");
	while (fetch_blob(&w, 0, 10, &res) != 0)
		assert_int_equal(res.status, -EINVAL);
	assert_counts(&w, 1, 1, 0);
	assert_string_equal(look(&w).error, "");
	/* Damaged again, what was read before goes on, and that is told. */
	write_hosts(&w, "[host");
	while (!look(&w).error[0])
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_non_null(strstr(look(&w).error, "hosts.toml: line 1"));
	assert_int_equal(badserver_count(w.s[UP]), 0);
	world_fini(&w);
}

static void test_changed_file(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_all, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	world_files(&w, NULL, "");
	while (badserver_count(w.s[1]) == 0)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(badserver_count(w.s[UP]), 0);
	world_fini(&w);
}

/* ---- secrets ---- */

static bool h_basic(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	char auth[200];

	if (!bad_field(req, "Authorization", auth, sizeof(auth)))
		return bad_reply(c, "401 x\r\nWWW-Authenticate: Basic realm=\"x\"");
	return h_all(c, req, arg);
}

static bool h_refuses_all(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return bad_reply(c, "401 x\r\nWWW-Authenticate: Basic realm=\"x\"");
}

static bool h_redirects(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	const struct world *w = arg;

	(void)req;
	bad_printf(c,
		   "HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:%u/elsewhere\r\n"
		   "Content-Length: 0\r\n\r\n",
		   badserver_port(w->s[1]));
	return true;
}

/* Each gets its own and nothing else, also when one refuses and the next is asked. */
static void test_secrets_stay(void **state)
{
	char text[700], path[400], got[300];
	const char *files[] = { path, NULL };
	struct world w;

	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/locum-hosts-auth.%d", (int)getpid());
	world_init(&w, h_refuses_all, h_basic, h_basic,
		   &(struct lcm_registry_config){ .auth_files = files });
	/* mirror:one is not let in, mirror:two and up:three are. */
	(void)snprintf(text, sizeof(text),
		       "{\"auths\":{\"127.0.0.1:%u\":{\"auth\":\"bWlycm9yOm9uZQ==\"},"
		       "\"127.0.0.1:%u\":{\"auth\":\"bWlycm9yOnR3bw==\"},"
		       "\"127.0.0.1:%u\":{\"auth\":\"dXA6dGhyZWU=\"}}}",
		       badserver_port(w.s[0]), badserver_port(w.s[1]), badserver_port(w.s[UP]));
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
	world_files(&w, "header = {x-secret = \"first\"}", "header = {x-secret = \"second\"}");
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 2, 2, 0);
	assert_string_equal(bad_field(last_of(&w, 0), "Authorization", got, sizeof(got)),
			    "Basic bWlycm9yOm9uZQ==");
	assert_string_equal(bad_field(last_of(&w, 0), "x-secret", got, sizeof(got)), "first");
	assert_string_equal(bad_field(last_of(&w, 1), "Authorization", got, sizeof(got)),
			    "Basic bWlycm9yOnR3bw==");
	assert_string_equal(bad_field(last_of(&w, 1), "x-secret", got, sizeof(got)), "second");
	world_files(&w, NULL, NULL);
	while (badserver_count(w.s[UP]) < 2)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_string_equal(bad_field(last_of(&w, UP), "Authorization", got, sizeof(got)),
			    "Basic dXA6dGhyZWU=");
	assert_null(bad_field(last_of(&w, UP), "x-secret", got, sizeof(got)));
	world_fini(&w);
	assert_int_equal(unlink(path), 0);
}

static void test_secrets_stay_on_redirects(void **state)
{
	char got[300];
	struct world w;

	(void)state;
	world_init(&w, h_redirects, h_all, h_all, NULL);
	world_files(&w, "header = {x-secret = \"first\", authorization = \"Bearer x\"}", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 1, 1, 0);
	assert_string_equal(bad_field(last_of(&w, 0), "x-secret", got, sizeof(got)), "first");
	assert_string_equal(bad_field(last_of(&w, 0), "authorization", got, sizeof(got)),
			    "Bearer x");
	assert_null(bad_field(last_of(&w, 1), "x-secret", got, sizeof(got)));
	assert_null(bad_field(last_of(&w, 1), "authorization", got, sizeof(got)));
	world_fini(&w);
}

/* Two registries may have the same mirror, and one of them skips checking it. */
static void test_auth_is_the_registrys(void **state)
{
	struct lcm_host *one, *two;
	struct lcm_reference other;
	struct lcm_auth *auth;
	struct world w;

	(void)state;
	world_init(&w, h_all, h_404, h_404, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	other = w.ref;
	(void)snprintf(other.host, sizeof(other.host), "other.test:1");
	assert_int_equal(lcm_host_get(w.t.reg, &w.ref, &one), 0);
	assert_int_equal(lcm_host_get(w.t.reg, &other, &two), 0);
	auth = lcm_auth_at(w.t.reg, one, one->list.e[0], "r", false);
	assert_non_null(auth);
	assert_ptr_equal(lcm_auth_at(w.t.reg, one, one->list.e[0], "r", false), auth);
	assert_ptr_not_equal(lcm_auth_at(w.t.reg, two, one->list.e[0], "r", false), auth);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mirror_first),
		cmocka_unit_test(test_no_file_no_mirror),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_mirror_is_down),
		cmocka_unit_test(test_manifest_that_lies),
		cmocka_unit_test(test_last_word),
		cmocka_unit_test(test_absent_is_remembered),
		cmocka_unit_test(test_blame),
		cmocka_unit_test(test_damaged_file),
		cmocka_unit_test(test_changed_file),
		cmocka_unit_test(test_secrets_stay),
		cmocka_unit_test(test_secrets_stay_on_redirects),
		cmocka_unit_test(test_auth_is_the_registrys),
	};

	return cmocka_run_group_tests(tests, blob_setup, NULL);
}
