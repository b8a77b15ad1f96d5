/* SPDX-License-Identifier: Apache-2.0 */
#include "image/authfile.h"
#include "image/challenge.h"
#include "image/content_range.h"
#include "image/token.h"
#include "tests/unit/test.h"

static struct lcm_challenges cs; /* 20 KiB */

static int add(const char *s, struct lcm_err *err)
{
	return lcm_challenges_add(&cs, s, strlen(s), err);
}

static void reads_challenges(void **state)
{
	static const struct {
		const char *s;
		int n;
		enum lcm_auth_scheme scheme;
		const char *realm, *service, *scope;
	} rows[] = {
		{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x/y:pull,push\"",
		  1, LCM_AUTH_BEARER, "https://a/t", "s", "repository:x/y:pull,push" },
		{ "BEARER  Realm = \"r\" , SERVICE=tok", 1, LCM_AUTH_BEARER, "r", "tok", "" },
		{ "Basic realm=\"a \\\"q\\\\ b\"", 1, LCM_AUTH_BASIC, "a \"q\\ b", "", "" },
		{ "Basic", 1, LCM_AUTH_BASIC, "", "", "" },
		{ ", ,Basic realm=\"\" , ,", 1, LCM_AUTH_BASIC, "", "", "" },
		{ "Negotiate, NTLM abc==, Basic realm=r", 1, LCM_AUTH_BASIC, "r", "", "" },
		{ "Digest realm=\"d\", nonce=\"n\", Basic realm=\"b\"", 1, LCM_AUTH_BASIC, "b", "",
		  "" },
		{ "Basic realm=\"b\", Bearer realm=\"x\"", 2, LCM_AUTH_BASIC, "b", "", "" },
		{ "Bearer realm=\"r\",unknown=\"v\",service=s", 1, LCM_AUTH_BEARER, "r", "s", "" },
		{ "Digest realm=\"d\"", 0, LCM_AUTH_NONE, "", "", "" },
		{ "", 0, LCM_AUTH_NONE, "", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		cs = (struct lcm_challenges){ 0 };
		assert_int_equal(add(rows[i].s, NULL), rows[i].n);
		assert_int_equal(cs.n, rows[i].n);
		assert_int_equal(cs.c[0].scheme, rows[i].scheme);
		assert_string_equal(cs.c[0].realm, rows[i].realm);
		assert_string_equal(cs.c[0].service, rows[i].service);
		assert_string_equal(cs.c[0].scope, rows[i].scope);
	}
	assert_null(lcm_challenges_find(&cs, LCM_AUTH_BEARER));
	assert_int_equal(add("Basic, Bearer realm=z", NULL), 2);
	assert_int_equal(add("Basic", NULL), 1);
	assert_int_equal(cs.n, 3);
	assert_string_equal(lcm_challenges_find(&cs, LCM_AUTH_BEARER)->realm, "z");
}

static void refuses_challenges(void **state)
{
	static const struct {
		const char *s;
		int r;
		const char *why;
	} rows[] = {
		{ "Bearer realm=\"x", -EINVAL, "without end" },
		{ "Bearer realm=\"x\\", -EINVAL, "without end" },
		{ "Bearer realm=\"x\ny\"", -EINVAL, "control" },
		{ "Bearer realm=\"x\\\x7f\"", -EINVAL, "control" },
		{ "Bearer realm=a,realm=b", -EINVAL, "twice" },
		{ "Bearer realm=a service=b", -EINVAL, "no comma" },
		{ "Bearer realm=a,service=,scope=b", -EINVAL, "without a value" },
		{ "Bearer=x", -EINVAL, "no space" },
		{ "\"x\"", -EINVAL, "no scheme" },
		{ "Bearer realm=a, \"", -EINVAL, "neither" },
		{ "Basic,Basic,Basic,Basic,Basic", -EFBIG, "more than 4" },
		{ "Bearer error=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  -EFBIG, "error is over 63" },
	};
	static char large[LCM_CHALLENGE_LEN_MAX + 2];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_err err = { 0 };

		cs = (struct lcm_challenges){ 0 };
		assert_int_equal(add(rows[i].s, &err), rows[i].r);
		if (!strstr(err.msg, rows[i].why))
			fail_msg("row %zu: %s", i, err.msg);
		assert_int_equal(cs.n, 0);
	}
	memset(large, ',', sizeof(large) - 1);
	assert_int_equal(add(large, NULL), -EFBIG);
	assert_int_equal(add(large + 1, NULL), 0);
}

static void reads_content_range(void **state)
{
	static const struct {
		const char *s;
		int r;
		struct lcm_content_range cr;
	} rows[] = {
		{ "bytes 0-0/1", 0, { true, true, 0, 0, 1 } },
		{ " BYTES  5-9/10 ", 0, { true, true, 5, 9, 10 } },
		{ "bytes 5-9/*", 0, { true, false, 5, 9, 0 } },
		{ "bytes */10", 0, { false, true, 0, 0, 10 } },
		{ "bytes 0-18446744073709551613/18446744073709551614",
		  0,
		  { true, true, 0, UINT64_MAX - 2, UINT64_MAX - 1 } },
		{ "bytes */*", -EINVAL, { 0 } },
		{ "bytes 0-18446744073709551615/*", -EINVAL, { 0 } },
		{ "bytes 0-18446744073709551616/*", -EINVAL, { 0 } },
		{ "bytes 0-9/9", -EINVAL, { 0 } },
		{ "bytes 2-1/9", -EINVAL, { 0 } },
		{ "bytes -1/9", -EINVAL, { 0 } },
		{ "bytes 0-/9", -EINVAL, { 0 } },
		{ "bytes 0-1", -EINVAL, { 0 } },
		{ "bytes 0-1/", -EINVAL, { 0 } },
		{ "bytes 0-1/2x", -EINVAL, { 0 } },
		{ "bytes=0-1/2", -EINVAL, { 0 } },
		{ "bytes 0 - 1/2", -EINVAL, { 0 } },
		{ "items 0-1/2", -EINVAL, { 0 } },
		{ "bytes", -EINVAL, { 0 } },
		{ "", -EINVAL, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_content_range cr = { 0 };

		assert_int_equal(lcm_content_range_parse(rows[i].s, strlen(rows[i].s), &cr),
				 rows[i].r);
		assert_int_equal(cr.has_range, rows[i].cr.has_range);
		assert_int_equal(cr.has_size, rows[i].cr.has_size);
		assert_true(cr.first == rows[i].cr.first && cr.last == rows[i].cr.last &&
			    cr.size == rows[i].cr.size);
	}
}

static void reads_retry_after(void **state)
{
	const int64_t base = 784111777; /* RFC 9110 s. 5.6.7's example */
	static const struct {
		const char *s;
		int64_t ago; /* now is this long before the example */
		int r;
		uint32_t wait;
	} rows[] = {
		{ "0", 0, 0, 0 },
		{ " 120 ", 0, 0, 120 },
		{ "86400", 0, 0, 86400 },
		{ "99999999999999999999999", 0, 0, 86400 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 30, 0, 30 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", 30, 0, 30 },
		{ "Sun Nov  6 08:49:37 1994", 30, 0, 30 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", -30, 0, 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 100000, 0, 86400 },
		{ "-5", 0, -EINVAL, 7 },
		{ "1.5", 0, -EINVAL, 7 },
		{ "", 0, -EINVAL, 7 },
		{ "soon", 0, -EINVAL, 7 },
		{ "Sun, 99 Foo 1994 08:49:37 GMT", 0, -EINVAL, 7 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint32_t wait = 7;

		assert_int_equal(
		    lcm_retry_after_parse(rows[i].s, strlen(rows[i].s), base - rows[i].ago, &wait),
		    rows[i].r);
		assert_int_equal(wait, rows[i].wait);
	}
}

static void reads_tokens(void **state)
{
	static const struct {
		const char *s;
		int r;
		const char *value;
		uint32_t expires;
	} rows[] = {
		{ "{\"token\":\"abc\"}", 0, "abc", 60 },
		{ "{\"access_token\":\"abc\",\"expires_in\":300}", 0, "abc", 300 },
		{ "{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":61.9}", 0, "a", 61 },
		{ "{\"token\":\"\",\"access_token\":\"b\",\"expires_in\":-1}", 0, "b", 60 },
		{ "{\"token\":\"a\",\"expires_in\":1e300}", 0, "a", 86400 },
		{ "{\"token\":\"a\",\"expires_in\":\"9\"}", -EUCLEAN, "", 0 },
		{ "{\"token\":\"a b\"}", -EUCLEAN, "", 0 },
		{ "{\"token\":\"a\\r\\nX: y\"}", -EUCLEAN, "", 0 },
		{ "{\"token\":\"\xc3\xa9\"}", -EUCLEAN, "", 0 },
		{ "{\"token\":7}", -EUCLEAN, "", 0 },
		{ "{}", -EUCLEAN, "", 0 },
		{ "", -EUCLEAN, "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_token) t = NULL;

		assert_int_equal(lcm_token_parse(rows[i].s, strlen(rows[i].s), &t, NULL),
				 rows[i].r);
		assert_true(!t == (rows[i].r < 0));
		if (!t)
			continue;
		assert_string_equal(t->value, rows[i].value);
		assert_int_equal(t->expires_in_s, rows[i].expires);
	}
}

/* dTpw is "u:p", bjpx is "n:q", aGlkZGVu is "hidden" (no colon), dToKcA== has a newline */
static const char auth_text[] = "{\"auths\":{"
				"\"quay.io\":{\"auth\":\"dTpw\"},"
				"\"quay.io/ns\":{\"auth\":\"bjpx\"},"
				"\"https://index.docker.io/v1/\":{\"auth\":\"dTpw\"},"
				"\"https://legacy.example:5000/v2/x\":{\"auth\":\"dTpw\"},"
				"\"only.example/ns\":{\"auth\":\"dTpw\"},"
				"\"id.example\":{\"auth\":\"dTpw\",\"identitytoken\":\"tok\"},"
				"\"k8s.example\":{\"username\":\"n\",\"password\":\"q\"},"
				"\"padded.example\":{\"auth\":\"dTpwAAA=\"},"
				"\"colons.example\":{\"auth\":\"dTpwOnE=\"},"
				"\"empty.example\":{},"
				"\"b64.example\":{\"auth\":\"dT=w\"},"
				"\"short.example\":{\"auth\":\"dTp\"},"
				"\"pair.example\":{\"auth\":\"aGlkZGVu\"},"
				"\"ctl.example\":{\"auth\":\"dToKcA==\"},"
				"\"type.example\":{\"auth\":7}"
				"},\"credHelpers\":{\"ecr.example\":\"ecr-login\",\"https://"
				"index.docker.io/v1/\":\"hub\"},\"credsStore\":\"pass\","
				"\"HttpHeaders\":{}}";

static void looks_up_credentials(void **state)
{
	static const struct {
		const char *host, *repo;
		int r;
		const char *user, *password, *token;
	} rows[] = {
		{ "quay.io", "x", 0, "u", "p", "" },
		{ "quay.io", "", 0, "u", "p", "" },
		{ "quay.io", "ns", 0, "n", "q", "" },
		{ "quay.io", "ns/app/deep", 0, "n", "q", "" },
		{ "quay.io", "nsx/app", 0, "u", "p", "" },
		{ "docker.io", "library/busybox", 0, "u", "p", "" },
		{ "registry-1.docker.io", "x", 0, "u", "p", "" },
		{ "legacy.example:5000", "x", 0, "u", "p", "" },
		{ "legacy.example", "x", -ENOENT, "", "", "" },
		{ "only.example", "other", -ENOENT, "", "", "" },
		{ "only.example", "ns/a", 0, "u", "p", "" },
		{ "id.example", "x", 0, "", "", "tok" },
		{ "k8s.example", "x", 0, "n", "q", "" },
		{ "padded.example", "x", 0, "u", "p", "" },
		{ "colons.example", "x", 0, "u", "p:q", "" },
		{ "empty.example", "x", -ENOENT, "", "", "" },
		{ "none.example", "x", -ENOENT, "", "", "" },
		{ "b64.example", "x", -EUCLEAN, "", "", "" },
		{ "short.example", "x", -EUCLEAN, "", "", "" },
		{ "pair.example", "x", -EUCLEAN, "", "", "" },
		{ "ctl.example", "x", -EUCLEAN, "", "", "" },
		{ "type.example", "x", -EUCLEAN, "", "", "" },
	};
	lcm_auto(lcm_authfile) af = NULL;

	(void)state;
	assert_int_equal(lcm_authfile_parse(auth_text, strlen(auth_text), &af, NULL), 0);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_credentials) c = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_authfile_lookup(af, rows[i].host, rows[i].repo, &c, &err);

		if (r != rows[i].r)
			fail_msg("row %zu: %d %s", i, r, err.msg);
		assert_true(!c == (r < 0));
		assert_null(strstr(err.msg, "hidden"));
		assert_null(strstr(err.msg, "aGlkZGVu"));
		if (!c)
			continue;
		assert_string_equal(c->username, rows[i].user);
		assert_string_equal(c->password, rows[i].password);
		assert_string_equal(c->identity_token, rows[i].token);
	}
	assert_string_equal(lcm_authfile_helper(af, "ecr.example"), "ecr-login");
	assert_string_equal(lcm_authfile_helper(af, "docker.io"), "hub");
	assert_null(lcm_authfile_helper(af, "quay.io"));
	assert_string_equal(lcm_authfile_store(af), "pass");
}

static void refuses_auth_files(void **state)
{
	static const char *const rows[] = {
		"",
		"x",
		"{\"auths\":[]}",
		"{\"auths\":{\"h\":\"secret\"}}",
		"{\"credHelpers\":{\"h\":1}}",
		"{\"credsStore\":{}}",
		"{\"auths\":{\"h\":{\"auth\":\"secret\" ",
	};
	lcm_auto(lcm_authfile) af = NULL;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_authfile_parse(rows[i], strlen(rows[i]), &af, &err), -EUCLEAN);
		assert_null(af);
		assert_null(strstr(err.msg, "secret"));
	}
	assert_int_equal(lcm_authfile_parse("{}", 2, &af, NULL), 0);
	assert_null(lcm_authfile_helper(af, "quay.io"));
	assert_null(lcm_authfile_store(af));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_challenges),    cmocka_unit_test(refuses_challenges),
		cmocka_unit_test(reads_content_range), cmocka_unit_test(reads_retry_after),
		cmocka_unit_test(reads_tokens),        cmocka_unit_test(looks_up_credentials),
		cmocka_unit_test(refuses_auth_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
