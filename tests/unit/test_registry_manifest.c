/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests from a server that misbehaves. */
#include "src/base/limits.h"
#include "tests/lib/regblob.h"
#include "tests/lib/regtest.h"

static bool h_404(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c, "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
	return true;
}

static const char manifest[] =
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}";

static bool h_manifest(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c,
		   "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
		   "Content-Length: %zu\r\n\r\n%s",
		   strlen(manifest), manifest);
	return true;
}

static bool h_manifest_huge(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	if (strstr(req->target, "declared")) {
		bad_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n",
			   LCM_MANIFEST_MAX + 1);
		return false;
	}
	bad_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", 2 * BLOB_SIZE);
	bad_send(c, blob, BLOB_SIZE);
	bad_send(c, blob, BLOB_SIZE);
	bad_printf(c, "\r\n0\r\n\r\n");
	return true;
}

static void test_manifest_by_tag(void **state)
{
	struct badserver *s = badserver_start(h_manifest, NULL);
	struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:v1");
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &ref };
	struct regfetch f = { 0 };
	struct lcm_digest d;
	struct regtest t;
	char v[512];

	(void)state;
	regtest_init(&t, NULL);
	assert_int_equal(regtest_fetch(&t, &f, &req), 0);
	assert_int_equal(lcm_digest_of(manifest, strlen(manifest), &d), 0);
	assert_true(lcm_digest_equal(&d, &f.res.digest));
	assert_string_equal(lcm_buf_str(&f.body), manifest);
	assert_string_equal(f.content_type, "application/vnd.oci.image.manifest.v1+json");
	assert_string_equal(badserver_request(s, 0)->target, "/v2/r/x/manifests/v1");
	assert_non_null(bad_field(badserver_request(s, 0), "Accept", v, sizeof(v)));
	assert_non_null(strstr(v, "application/vnd.oci.image.index.v1+json"));
	assert_non_null(strstr(v, "application/vnd.docker.distribution.manifest.list.v2+json"));
	regfetch_fini(&f);
	regtest_fini(&t);
	badserver_stop(s);
}

static void test_manifest_wrong_digest(void **state)
{
	struct badserver *s = badserver_start(h_manifest, NULL);
	struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:v1");
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST,
				     .ref = &ref,
				     .digest = blob_digest };
	char want[LCM_DIGEST_STR], got[LCM_DIGEST_STR];
	struct regfetch f = { 0 };
	struct lcm_digest d;
	struct regtest t;

	(void)state;
	regtest_init(&t, NULL);
	req.sink = (lcm_fetch_sink_fn)(void *)1; /* any: regtest puts its own */
	assert_int_equal(regtest_fetch(&t, &f, &req), -EBADMSG);
	assert_int_equal(f.sinks, 0);
	assert_int_equal(lcm_digest_of(manifest, strlen(manifest), &d), 0);
	assert_non_null(strstr(f.res.err.msg, lcm_digest_str(&d, got)));
	assert_non_null(strstr(f.res.err.msg, lcm_digest_str(&blob_digest, want)));
	regfetch_fini(&f);
	regtest_fini(&t);
	badserver_stop(s);
}

static void test_manifest_too_big(void **state)
{
	static const char *const refs[] = { "r/x:declared", "r/x:chunked" };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(refs); i++) {
		struct badserver *s = badserver_start(h_manifest_huge, NULL);
		struct lcm_reference ref = regtest_ref(badserver_port(s), refs[i]);
		struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &ref };
		struct regfetch f = { 0 };
		struct regtest t;

		regtest_init(&t, NULL);
		assert_int_equal(regtest_fetch(&t, &f, &req), -EFBIG);
		assert_non_null(strstr(f.res.err.msg, "4194304"));
		regfetch_fini(&f);
		regtest_fini(&t);
		badserver_stop(s);
	}
}

static void test_manifest_missing(void **state)
{
	struct badserver *s = badserver_start(h_404, NULL);
	struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:v1");
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &ref };
	struct regfetch f = { 0 };
	struct regtest t;
	char name[LCM_REFERENCE_STR_MAX];

	(void)state;
	regtest_init(&t, NULL);
	assert_int_equal(regtest_fetch(&t, &f, &req), -ENOENT);
	assert_non_null(strstr(f.res.err.msg, lcm_reference_str(&ref, name, sizeof(name))));
	regfetch_fini(&f);
	regtest_fini(&t);
	badserver_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manifest_by_tag),
		cmocka_unit_test(test_manifest_wrong_digest),
		cmocka_unit_test(test_manifest_too_big),
		cmocka_unit_test(test_manifest_missing),
	};

	return cmocka_run_group_tests(tests, blob_setup, NULL);
}
