/* SPDX-License-Identifier: Apache-2.0 */
#include "image/reference.h"
#include "tests/unit/test.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define A128                                                                                       \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void accepts(void **state)
{
	static const struct {
		const char *s, *canonical;
	} rows[] = {
		{ "busybox", "docker.io/library/busybox:latest" },
		{ "docker://busybox:1", "docker.io/library/busybox:1" },
		{ "docker.io/busybox", "docker.io/library/busybox:latest" },
		{ "index.docker.io/busybox", "docker.io/library/busybox:latest" },
		{ "user/app", "docker.io/user/app:latest" },
		{ "localhost/app", "localhost/app:latest" },
		{ "localhost:5000/a/b__c/d---e.f_g:T_.-1",
		  "localhost:5000/a/b__c/d---e.f_g:T_.-1" },
		{ "[::1]:5000/app", "[::1]:5000/app:latest" },
		{ "[2001:db8::1]/app", "[2001:db8::1]/app:latest" },
		{ "Upper/app", "Upper/app:latest" },
		{ "quay.io/x@sha256:" HEX, "quay.io/x@sha256:" HEX },
		{ "quay.io/x:t@sha256:" HEX, "quay.io/x:t@sha256:" HEX },
		{ "h.example:65535/x", "h.example:65535/x:latest" },
		{ "oci:5000", "docker.io/library/oci:5000" },
		{ "x:" A128, "docker.io/library/x:" A128 },
	};
	char out[LCM_REFERENCE_STR_MAX];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_reference r, again;
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_reference_parse(rows[i].s, &r, &err), 0);
		assert_string_equal(lcm_reference_str(&r, out, sizeof(out)), rows[i].canonical);
		assert_int_equal(lcm_reference_parse(out, &again, &err), 0);
		assert_string_equal(again.host, r.host);
		assert_string_equal(again.repo, r.repo);
		assert_string_equal(again.tag, r.tag);
	}
}

static void refuses(void **state)
{
	static const struct {
		const char *s, *why;
	} rows[] = {
		{ "", "name is missing" },
		{ "docker://", "name is missing" },
		{ "https://h/x", "leave out the scheme" },
		{ "docker://docker://x", "leave out the scheme" },
		{ HEX, "image id" },
		{ "Busybox", "lower case" },
		{ "a/B", "lower case" },
		{ "/a", "not letters" },
		{ "h.io//a", "not letters" },
		{ "h.io/a/", "not letters" },
		{ "a..b", "not letters" },
		{ "a___b", "not letters" },
		{ "a-", "not letters" },
		{ "-a", "not letters" },
		{ "a b", "not letters" },
		{ "x:", "tag after" },
		{ "x:.a", "tag \".a\"" },
		{ "x:a/b", "port" },
		{ "x:" A128 "a", "129 bytes" },
		{ "x@sha256:abc", "64 lower-case" },
		{ "x@sha512:" HEX HEX, "only sha256" },
		{ "x@", "64 lower-case" },
		{ "h:0/x", "port" },
		{ "h:65536/x", "port" },
		{ "h:/x", "port" },
		{ "h:12a/x", "port" },
		{ "-h.io/x", "registry host" },
		{ "h..io/x", "registry host" },
		{ "h.io./x", "registry host" },
		{ "[::1/x", "registry host" },
		{ "[::g]/x", "registry host" },
		{ "[::1]5000/x", "registry host" },
		{ "h.io/" A128 A128, "256 bytes" },
		{ A128 A128 "aaaaaaaa.io/x", "267 bytes" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_reference r = { .tag = "kept" };
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_reference_parse(rows[i].s, &r, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].why))
			fail_msg("%s: %s", rows[i].s, err.msg);
		assert_string_equal(r.tag, "kept");
	}
}

static void endpoint(void **state)
{
	struct lcm_reference r;

	(void)state;
	assert_int_equal(lcm_reference_parse("busybox", &r, NULL), 0);
	assert_string_equal(lcm_reference_endpoint(&r), "registry-1.docker.io");
	assert_int_equal(lcm_reference_parse("localhost:5000/busybox", &r, NULL), 0);
	assert_string_equal(lcm_reference_endpoint(&r), "localhost:5000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
