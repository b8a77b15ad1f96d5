/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/serve_layout.h"
#include "tests/unit/test.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void route_reads(void **state)
{
	static const struct {
		const char *path;
		enum lcm_serve_kind kind;
		const char *repo, *tag;
		bool digest;
	} rows[] = {
		{ "/v2", LCM_SERVE_PING, "", "", false },
		{ "/v2/", LCM_SERVE_PING, "", "", false },
		{ "/v2/_catalog", LCM_SERVE_CATALOG, "", "", false },
		{ "/v2/a/tags/list", LCM_SERVE_TAGS, "a", "", false },
		{ "/v2/a/b/c/tags/list", LCM_SERVE_TAGS, "a/b/c", "", false },
		{ "/v2/tags/list/tags/list", LCM_SERVE_TAGS, "tags/list", "", false },
		{ "/v2/a.b_c__d---e/manifests/V1.0-x_y", LCM_SERVE_MANIFEST, "a.b_c__d---e",
		  "V1.0-x_y", false },
		{ "/v2/a/manifests/sha256:" HEX, LCM_SERVE_MANIFEST, "a", "", true },
		{ "/v2/a/blobs/sha256:" HEX, LCM_SERVE_BLOB, "a", "", true },
		{ "/v2/blobs/blobs/sha256:" HEX, LCM_SERVE_BLOB, "blobs", "", true },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_serve_route r;

		assert_int_equal(lcm_serve_route_parse(rows[i].path, &r), 0);
		assert_int_equal(r.kind, rows[i].kind);
		assert_string_equal(r.repo, rows[i].repo);
		assert_string_equal(r.tag, rows[i].tag);
		assert_int_equal(!lcm_digest_is_zero(&r.digest), rows[i].digest);
	}
}

static void route_refuses(void **state)
{
	static const struct {
		const char *path;
		int r;
	} rows[] = {
		{ "", -ENOENT },
		{ "/", -ENOENT },
		{ "/v1/", -ENOENT },
		{ "/v2x/a/tags/list", -ENOENT },
		{ "/v2/a", -ENOENT },
		{ "/v2/a/b", -ENOENT },
		{ "/v2//tags/list", -EINVAL },
		{ "/v2/tags/list", -ENOENT },
		{ "/v2/a/tags/lists", -ENOENT },
		{ "/v2/a/blobs/uploads/", -ENOENT },
		{ "/v2/A/tags/list", -EINVAL },
		{ "/v2/a..b/tags/list", -EINVAL },
		{ "/v2/a___b/tags/list", -EINVAL },
		{ "/v2/-a/tags/list", -EINVAL },
		{ "/v2/a-/tags/list", -EINVAL },
		{ "/v2/a//b/tags/list", -EINVAL },
		{ "/v2/../etc/tags/list", -EINVAL },
		{ "/v2/a/manifests/", -EINVAL },
		{ "/v2/a/manifests/..", -EINVAL },
		{ "/v2/a/manifests/.x", -EINVAL },
		{ "/v2/a/manifests/sha256:zz", -EBADMSG },
		{ "/v2/a/manifests/../../x", -ENOENT },
		{ "/v2/a/blobs/" HEX, -EBADMSG },
		{ "/v2/a/blobs/sha512:" HEX HEX, -EBADMSG },
		{ "/v2/a/blobs/sha256:" HEX "0", -EBADMSG },
		{ "/v2/a/blobs/sha256:E" HEX, -EBADMSG },
		{ "/v2/a/blobs/../../index.json", -ENOENT },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_serve_route r = { .kind = _LCM_SERVE_KIND_MAX };

		assert_int_equal(lcm_serve_route_parse(rows[i].path, &r), rows[i].r);
		assert_int_equal(r.kind, _LCM_SERVE_KIND_MAX);
	}
}

static void names_have_a_maximum(void **state)
{
	char s[LCM_SERVE_REPO_MAX + 2];

	(void)state;
	memset(s, 'a', sizeof(s));
	assert_true(lcm_serve_repo_valid(s, LCM_SERVE_REPO_MAX));
	assert_false(lcm_serve_repo_valid(s, LCM_SERVE_REPO_MAX + 1));
	assert_false(lcm_serve_repo_valid(s, 0));
	assert_true(lcm_serve_tag_valid(s, LCM_SERVE_TAG_MAX));
	assert_false(lcm_serve_tag_valid(s, LCM_SERVE_TAG_MAX + 1));
	assert_false(lcm_serve_tag_valid(s, 0));
}

static void range_table(void **state)
{
	static const struct {
		const char *s;
		uint64_t size;
		int r;
		uint64_t off, len;
	} rows[] = {
		{ "bytes=0-0", 10, 0, 0, 1 },
		{ "bytes=0-9", 10, 0, 0, 10 },
		{ "bytes=3-", 10, 0, 3, 7 },
		{ "bytes=9-9", 10, 0, 9, 1 },
		{ "bytes=5-1000", 10, 0, 5, 5 },
		{ "BYTES=5-6", 10, 0, 5, 2 },
		{ "bytes=-3", 10, 0, 7, 3 },
		{ "bytes=-30", 10, 0, 0, 10 },
		{ "bytes=5-99999999999999999999999", 10, 0, 5, 5 },
		{ "bytes=-99999999999999999999999", 10, 0, 0, 10 },
		{ "bytes=0-18446744073709551615", UINT64_MAX, 0, 0, UINT64_MAX },
		{ "bytes=10-", 10, -ERANGE, 0, 0 },
		{ "bytes=10-12", 10, -ERANGE, 0, 0 },
		{ "bytes=99999999999999999999999-", 10, -ERANGE, 0, 0 },
		{ "bytes=-0", 10, -ERANGE, 0, 0 },
		{ "bytes=0-", 0, -ERANGE, 0, 0 },
		{ "bytes=-1", 0, -ERANGE, 0, 0 },
		{ "bytes=5-4", 10, -EINVAL, 0, 0 },
		{ "bytes=0-1,3-4", 10, -EINVAL, 0, 0 },
		{ "bytes=", 10, -EINVAL, 0, 0 },
		{ "bytes=-", 10, -EINVAL, 0, 0 },
		{ "bytes=a-b", 10, -EINVAL, 0, 0 },
		{ "bytes=1", 10, -EINVAL, 0, 0 },
		{ "bytes=1-+2", 10, -EINVAL, 0, 0 },
		{ "bytes = 1-2", 10, -EINVAL, 0, 0 },
		{ "pages=1-2", 10, -EINVAL, 0, 0 },
		{ "", 10, -EINVAL, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint64_t off = 77, len = 78;

		assert_int_equal(lcm_serve_range_parse(rows[i].s, rows[i].size, &off, &len),
				 rows[i].r);
		assert_int_equal(off, rows[i].r ? 77 : rows[i].off);
		assert_int_equal(len, rows[i].r ? 78 : rows[i].len);
	}
}

static void type_table(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *type;
	} rows[] = {
		{ "{\"mediaType\":\"x/y\"}", 0, "x/y" },
		{ "{\"manifests\":[]}", 0, "application/vnd.oci.image.index.v1+json" },
		{ "{\"config\":{}}", 0, "application/vnd.oci.image.manifest.v1+json" },
		{ "{\"mediaType\":\"x/y\\r\\nA: b\",\"config\":{}}", 0,
		  "application/vnd.oci.image.manifest.v1+json" },
		{ "{\"mediaType\":\"x/y\\r\\nA: b\"}", -EUCLEAN, NULL },
		{ "{}", -EUCLEAN, NULL },
		{ "[]", -EUCLEAN, NULL },
		{ "\x1f\x8b", -EUCLEAN, NULL },
		{ "", -EUCLEAN, NULL },
	};
	static const struct lcm_digest d;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		char t[LCM_SERVE_TYPE_MAX + 1] = "-";

		assert_int_equal(
		    lcm_serve_layout_type(-EBADF, &d, rows[i].text, strlen(rows[i].text), t),
		    rows[i].r);
		assert_string_equal(t, rows[i].r ? "-" : rows[i].type);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(route_reads),          cmocka_unit_test(route_refuses),
		cmocka_unit_test(names_have_a_maximum), cmocka_unit_test(range_table),
		cmocka_unit_test(type_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
