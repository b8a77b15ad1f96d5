/* SPDX-License-Identifier: Apache-2.0 */
/* The client's pure rules: heads, retries, origins, kept locations, states. */
#include "registry/internal.h"
#include "registry/retry.h"
#include "tests/unit/test.h"

static void test_check_blob(void **state)
{
	static const struct {
		struct lcm_head h;
		struct lcm_want w;
		int r;
		struct lcm_plan p;
	} rows[] = {
		{ { 206, "bytes 5-9/100", NULL, 5 },
		  { 100, 5, 5, true, false },
		  0,
		  { 0, 5, true } },
		{ { 206, "bytes 5-9/*", NULL, -1 }, { 100, 5, 5, true, false }, 0, { 0, 5, true } },
		{ { 206, "bytes 5-9/100", NULL, 6 }, { 100, 5, 5, true, false }, -EPROTO, { 0 } },
		{ { 206, "bytes 5-9/101", NULL, 5 }, { 100, 5, 5, true, false }, -EPROTO, { 0 } },
		{ { 206, "bytes 5-8/100", NULL, 4 }, { 100, 5, 5, true, false }, -EPROTO, { 0 } },
		{ { 206, "bytes 5-10/100", NULL, 6 }, { 100, 5, 5, true, false }, -EPROTO, { 0 } },
		{ { 206, "bytes */100", NULL, 5 }, { 100, 5, 5, true, false }, -EPROTO, { 0 } },
		{ { 206, "items 5-9/100", NULL, 5 }, { 100, 5, 5, true, false }, -EPROTO, { 0 } },
		{ { 206, NULL, "multipart/byteranges", 5 },
		  { 100, 5, 5, true, false },
		  -EPROTO,
		  { 0 } },
		{ { 206, "bytes 0-99/100", NULL, 100 },
		  { 100, 0, 100, false, true },
		  -EPROTO,
		  { 0 } },
		{ { 200, NULL, NULL, 100 }, { 100, 0, 100, false, true }, 0, { 0, 100, true } },
		{ { 200, NULL, NULL, -1 }, { 100, 0, 100, false, true }, 0, { 0, 100, true } },
		{ { 200, NULL, NULL, 99 }, { 100, 0, 100, false, true }, -EPROTO, { 0 } },
		{ { 200, NULL, NULL, 100 }, { 100, 20, 30, true, false }, 0, { 20, 30, false } },
		{ { 200, NULL, NULL, 100 }, { 100, 70, 30, true, false }, 0, { 70, 30, true } },
		{ { 200, NULL, NULL, -1 },
		  { 1 << 22, LCM_SKIP_MAX, 1, true, false },
		  0,
		  { LCM_SKIP_MAX, 1, false } },
		{ { 200, NULL, NULL, -1 },
		  { 1 << 22, LCM_SKIP_MAX + 1, 1, true, false },
		  -ESPIPE,
		  { 0 } },
		{ { 200, NULL, NULL, -1 },
		  { 1 << 22, (1 << 22) - 1, 1, true, true },
		  0,
		  { (1 << 22) - 1, 1, true } },
		{ { 203, NULL, NULL, 100 }, { 100, 0, 100, false, true }, -EPROTO, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_plan p = { 77, 77, false };
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_check_blob(&rows[i].h, &rows[i].w, &p, &err), rows[i].r);
		if (rows[i].r) {
			assert_int_equal(p.skip, 77);
			assert_true(err.msg[0]);
			continue;
		}
		assert_int_equal(p.skip, rows[i].p.skip);
		assert_int_equal(p.take, rows[i].p.take);
		assert_int_equal(p.exact, rows[i].p.exact);
	}
}

static void test_retry(void **state)
{
	static const long again[] = { 408, 425, 429, 500, 502, 503, 504, 599 };
	static const long final[] = { 200, 304, 400, 401, 404, 416, 501, 505, 600 };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(again); i++)
		assert_true(lcm_retry_status(again[i]));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(final); i++)
		assert_false(lcm_retry_status(final[i]));
	assert_int_equal(lcm_retry_delay_ms(1, 200, 0, -1), 100);
	assert_int_equal(lcm_retry_delay_ms(1, 200, 100, -1), 200);
	assert_int_equal(lcm_retry_delay_ms(3, 200, 400, -1), 800);
	for (uint32_t n = 0; n < 70; n++)
		for (uint64_t rnd = 0; rnd < 100; rnd++) {
			uint64_t ms = lcm_retry_delay_ms(n, UINT32_MAX, rnd * 7919, -1);

			assert_true(ms >= LCM_BACKOFF_MAX_MS / 2 && ms <= LCM_BACKOFF_MAX_MS);
		}
	assert_int_equal(lcm_retry_delay_ms(1, 200, 0, 3), 3000);
	assert_int_equal(lcm_retry_delay_ms(1, 200, 0, 86400), LCM_RETRY_AFTER_CAP_MS);
	assert_true(lcm_retry_delay_ms(1, 200, 12345, 86400) <= LCM_RETRY_AFTER_CAP_MS * 9 / 8);
	assert_int_equal(lcm_retry_transport(CURLE_RECV_ERROR), LCM_TRANSPORT_RETRY);
	assert_int_equal(lcm_retry_transport(CURLE_COULDNT_RESOLVE_HOST), LCM_TRANSPORT_UNLIKELY);
	assert_int_equal(lcm_retry_transport(CURLE_SSL_CONNECT_ERROR), LCM_TRANSPORT_UNLIKELY);
	assert_int_equal(lcm_retry_transport(CURLE_PEER_FAILED_VERIFICATION), LCM_TRANSPORT_FATAL);
}

static void test_retry_code(void **state)
{
	static const struct {
		CURLcode code;
		long os_errno;
		int r;
		const char *text;
	} rows[] = {
		{ CURLE_COULDNT_CONNECT, ECONNREFUSED, -ECONNREFUSED, "h:1 refused" },
		{ CURLE_COULDNT_CONNECT, ENETUNREACH, -EHOSTUNREACH, "cannot connect to h:1" },
		{ CURLE_COULDNT_RESOLVE_HOST, 0, -EHOSTUNREACH, "h:1" },
		{ CURLE_OPERATION_TIMEDOUT, 0, -ETIMEDOUT, "h:1" },
		{ CURLE_PEER_FAILED_VERIFICATION, 0, -EPROTO, "ca_file" },
		{ CURLE_SSL_CERTPROBLEM, 0, -EPROTO, "client certificate" },
		{ CURLE_SSL_CONNECT_ERROR, 0, -EHOSTUNREACH, "insecure_hosts" },
		{ CURLE_OUT_OF_MEMORY, 0, -ENOMEM, "memory" },
		{ CURLE_RECV_ERROR, 0, -EHOSTUNREACH, "h:1" },
		{ CURLE_UNSUPPORTED_PROTOCOL, 0, -EPROTO, "h:1" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_retry_code(rows[i].code, "h:1", "", rows[i].os_errno, &err),
				 rows[i].r);
		assert_int_equal(err.code, rows[i].r);
		assert_non_null(strstr(err.msg, rows[i].text));
	}
}

static void test_origin(void **state)
{
	static const struct {
		const char *url;
		int r;
		bool tls;
		const char *str;
		bool loopback;
	} rows[] = {
		{ "https://Registry-1.Docker.io/v2/", 0, true, "registry-1.docker.io:443", false },
		{ "http://localhost:5000/v2/", 0, false, "localhost:5000", true },
		{ "http://a.localhost/", 0, false, "a.localhost:80", true },
		{ "http://notlocalhost/", 0, false, "notlocalhost:80", false },
		{ "http://localhost.example.com/", 0, false, "localhost.example.com:80", false },
		{ "http://127.1.2.3:80/", 0, false, "127.1.2.3:80", true },
		{ "http://128.0.0.1/", 0, false, "128.0.0.1:80", false },
		{ "http://127.0.0.1.example.com/", 0, false, "127.0.0.1.example.com:80", false },
		{ "http://[::1]:5000/", 0, false, "[::1]:5000", true },
		{ "http://[::2]/", 0, false, "[::2]:80", false },
		{ "ftp://host/", -EINVAL, false, NULL, false },
		{ "file:///etc/passwd", -EINVAL, false, NULL, false },
		{ "https://user:pw@host/", -EINVAL, false, NULL, false },
		{ "https://host:99999/", -EINVAL, false, NULL, false },
		{ "https://", -EINVAL, false, NULL, false },
		{ "", -EINVAL, false, NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_origin o = { .port = 7 };
		char s[LCM_ORIGIN_STR_MAX];

		assert_int_equal(lcm_origin_parse(rows[i].url, &o), rows[i].r);
		if (rows[i].r) {
			assert_int_equal(o.port, 7);
			continue;
		}
		assert_string_equal(lcm_origin_str(&o, s, sizeof(s)), rows[i].str);
		assert_int_equal(o.tls, rows[i].tls);
		assert_int_equal(lcm_origin_is_loopback(&o), rows[i].loopback);
	}
}

static void test_redirect(void **state)
{
	static const char *const listed[] = { "plain.lan", "port.lan:8080", NULL };
	static const struct {
		const char *base, *location, *url, *text;
	} rows[] = {
		{ "https://r/v2/x", "/y?z=1", "https://r/y?z=1", NULL },
		{ "https://r/v2/x", "https://cdn/a#frag", "https://cdn/a", NULL },
		{ "https://r/v2/x", "//cdn/a", "https://cdn/a", NULL },
		{ "http://localhost/v2/x", "https://cdn/a", "https://cdn/a", NULL },
		{ "http://localhost/v2/x", "http://plain.lan:99/a", "http://plain.lan:99/a", NULL },
		{ "http://localhost/v2/x", "http://port.lan:8080/a", "http://port.lan:8080/a",
		  NULL },
		{ "http://localhost/v2/x", "http://port.lan:8081/a", NULL, "insecure_hosts" },
		{ "https://r/v2/x", "http://r/v2/x", NULL, "https to plain http" },
		{ "https://r/v2/x", "http://localhost/v2/x", NULL, "https to plain http" },
		{ "https://r/v2/x", "http://plain.lan/a", NULL, "https to plain http" },
		{ "https://r/v2/x", "gopher://r/", NULL, "not an http" },
		{ "https://r/v2/x", "https://u:p@r/", NULL, "not an http" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_autofree char *url = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_origin_redirect(rows[i].base, rows[i].location, listed, &url, &err);

		assert_int_equal(r, rows[i].url ? 0 : -EPROTO);
		if (rows[i].url) {
			assert_string_equal(url, rows[i].url);
		} else {
			assert_null(url);
			assert_non_null(strstr(err.msg, rows[i].text));
		}
	}
}

static void test_locations(void **state)
{
	struct lcm_locations *l = calloc(1, sizeof(*l));
	struct lcm_digest a = { { 1 } }, b = { { 2 } };

	(void)state;
	assert_non_null(l);
	assert_null(lcm_location_get(l, "r", &a, 0));
	lcm_location_put(l, "r", &a, "u1", 0);
	assert_string_equal(lcm_location_get(l, "r", &a, 1), "u1");
	assert_null(lcm_location_get(l, "other", &a, 1));
	assert_null(lcm_location_get(l, "r", &b, 1));
	lcm_location_put(l, "r", &a, "u2", 1);
	assert_string_equal(lcm_location_get(l, "r", &a, LCM_LOCATION_TTL_NS), "u2");
	assert_null(lcm_location_get(l, "r", &a, LCM_LOCATION_TTL_NS + 1));
	lcm_location_put(l, "r", &a, "u3", 0);
	lcm_location_drop(l, "r", &a);
	assert_null(lcm_location_get(l, "r", &a, 0));
	/* The one unused for longest makes room. */
	for (uint8_t i = 0; i < LCM_LOCATIONS_MAX; i++)
		lcm_location_put(l, "r", &(struct lcm_digest){ { i } }, "u", 10 + i);
	assert_non_null(lcm_location_get(l, "r", &(struct lcm_digest){ { 0 } }, 100));
	lcm_location_put(l, "new", &a, "n", 101);
	assert_non_null(lcm_location_get(l, "r", &(struct lcm_digest){ { 0 } }, 102));
	assert_null(lcm_location_get(l, "r", &(struct lcm_digest){ { 1 } }, 102));
	assert_string_equal(lcm_location_get(l, "new", &a, 102), "n");
	lcm_locations_fini(l);
	free(l);
}

/* Every edge there is, and no other. */
static void test_states(void **state)
{
	static const char *const edges[LCM_FETCH_STATE_MAX] = {
		/*                        N A S B W R D F */
		[LCM_FETCH_NEW] = "01100001",        [LCM_FETCH_AUTH] = "01101001",
		[LCM_FETCH_SEND] = "01111001",       [LCM_FETCH_BODY] = "01101111",
		[LCM_FETCH_RETRY_WAIT] = "01100001", [LCM_FETCH_READ] = "00000011",
		[LCM_FETCH_DONE] = "00000000",       [LCM_FETCH_FAILED] = "00000000",
	};

	(void)state;
	for (int from = 0; from < LCM_FETCH_STATE_MAX; from++)
		for (int to = 0; to < LCM_FETCH_STATE_MAX; to++)
			assert_int_equal(lcm_fetch_edge(from, to), edges[from][to] == '1');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_blob), cmocka_unit_test(test_retry),
		cmocka_unit_test(test_retry_code), cmocka_unit_test(test_origin),
		cmocka_unit_test(test_redirect),   cmocka_unit_test(test_locations),
		cmocka_unit_test(test_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
