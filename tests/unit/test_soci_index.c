/* SPDX-License-Identifier: Apache-2.0 */
/* SOCI index manifests, and the two ways in which an image points to one. */
#include "image/soci_index.h"
#include "tests/unit/test.h"

#define HEX62 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd"
#define D(nn) "sha256:" HEX62 nn
#define CONFIG(v)                                                                                  \
	"\"config\":{\"mediaType\":\"application/vnd.amazon.soci.index." v "+json\",\"digest\":\"" \
	"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2}"
#define HEAD "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
#define BLOB(type, ztoc, size, notes)                                                              \
	"{\"mediaType\":\"" type "\",\"digest\":\"" D(ztoc) "\",\"size\":" size                    \
							    ",\"annotations\":{" notes "}}"
#define OF(layer) "\"com.amazon.soci.image-layer-digest\":\"" D(layer) "\""
#define NO_X ",\"com.amazon.soci.disable-xattrs\":\"true\""
#define STREAM "application/octet-stream"
#define PREFETCH "application/vnd.amazon.soci.prefetch.v1+json"
#define IMAGE                                                                                      \
	"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"" D(           \
	    "99") "\",\"size\":7}"

static int parse(const char *s, struct lcm_soci_index **ret, struct lcm_err *err)
{
	return lcm_soci_index_parse(s, strlen(s), ret, err);
}

static struct lcm_digest digest(const char *s)
{
	struct lcm_digest d;

	assert_int_equal(lcm_digest_parse(s, strlen(s), &d), 0);
	return d;
}

static void version_2(void **state)
{
	static const char json[] =
	    HEAD CONFIG("v2") ",\"layers\":[" BLOB(STREAM, "01", "1000", OF("11")) "," BLOB(
		PREFETCH, "02", "90", OF("11")) "," BLOB(STREAM, "03", "3000", OF("13") NO_X) "]}";
	const struct lcm_digest first = digest(D("11")), none = digest(D("12"));
	const struct lcm_digest ztoc = digest(D("01"));
	lcm_auto(lcm_soci_index) x = NULL;
	const struct lcm_soci_layer *l;
	struct lcm_err err;
	(void)state;

	if (parse(json, &x, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(x->version, 2);
	assert_int_equal(x->n_layers, 2);
	assert_true(lcm_digest_is_zero(&x->subject));
	l = lcm_soci_index_layer(x, &first);
	assert_non_null(l);
	assert_true(lcm_digest_equal(&l->ztoc, &ztoc));
	assert_true(l->ztoc_size == 1000 && !l->no_xattrs);
	assert_true(x->layers[1].no_xattrs);
	assert_null(lcm_soci_index_layer(x, &none));
}

static void version_1(void **state)
{
	static const char *const rows[] = {
		HEAD CONFIG("v1") ",\"layers\":[],\"subject\":" IMAGE "}",
		HEAD "\"artifactType\":\"" LCM_SOCI_V1 "\",\"config\":{\"mediaType\":"
		     "\"application/vnd.oci.empty.v1+json\"},\"layers\":[],\"subject\":" IMAGE "}",
	};
	struct lcm_digest image = digest(D("99"));
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_soci_index) x = NULL;

		assert_int_equal(parse(rows[i], &x, NULL), 0);
		assert_true(x->version == 1 && x->n_layers == 0);
		assert_true(lcm_digest_equal(&x->subject, &image));
	}
}

static void refused(void **state)
{
	static const struct {
		const char *json;
		int r;
		const char *says;
	} rows[] = {
		{ "", -EUCLEAN, "empty" },
		{ "{}", -ENOTSUP, "without any type" },
		{ HEAD CONFIG("v3") ",\"layers\":[]}", -ENOTSUP, "index.v3+json" },
		{ HEAD CONFIG("v2") "}", -EUCLEAN, "layers" },
		{ HEAD CONFIG("v2") ",\"layers\":{}}", -EUCLEAN, "layers" },
		{ HEAD CONFIG("v2") ",\"layers\":[7]}", -EUCLEAN, "layers[0]" },
		{ HEAD CONFIG("v1") ",\"layers\":[],\"subject\":7}", -EUCLEAN, "subject" },
		{ HEAD CONFIG("v2") ",\"layers\":[" BLOB(STREAM, "01", "1", "") "]}", -EUCLEAN,
		  "image-layer-digest" },
		{ HEAD CONFIG("v2") ",\"layers\":[" BLOB(
		      STREAM, "01", "1", "\"com.amazon.soci.image-layer-digest\":\"x\"") "]}",
		  -EUCLEAN, "image-layer-digest" },
		{ HEAD CONFIG("v2") ",\"layers\":[" BLOB(STREAM, "01", "0", OF("11")) "]}",
		  -EUCLEAN, "no bytes" },
		{ HEAD CONFIG("v2") ",\"layers\":[" BLOB(STREAM, "01", "1", OF("11")) "," BLOB(
		      STREAM, "02", "1", OF("11")) "]}",
		  -EUCLEAN, "second zTOC" },
		{ HEAD CONFIG("v2") ",\"artifactType\":7,\"layers\":[]}", -EUCLEAN,
		  "artifactType" },
	};
	struct lcm_soci_index *x = (void *)&rows;
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_err err = { 0 };

		if (parse(rows[i].json, &x, &err) != rows[i].r || !strstr(err.msg, rows[i].says))
			fail_msg("row %zu: %s", i, err.msg);
		assert_ptr_equal(x, &rows);
	}
}

static void found(void **state)
{
#define KEY "\"com.amazon.soci.index-digest\":"
	static const struct {
		const char *json;
		int r;
	} rows[] = {
		{ "{\"annotations\":{" KEY "\"" D("05") "\"}}", 1 },
		{ "{\"annotations\":{\"other\":\"" D("05") "\"}}", 0 },
		{ "{\"annotations\":null}", 0 },
		{ "{}", 0 },
		{ "{\"annotations\":{" KEY "\"" HEX62 "\"}}", -EUCLEAN },
		{ "{\"annotations\":{" KEY "5}}", -EUCLEAN },
		{ "[", -EUCLEAN },
	};
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_digest d = { { 7 } }, want = digest(D("05"));
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_soci_find(rows[i].json, strlen(rows[i].json), &d, &err),
				 rows[i].r);
		assert_true(rows[i].r == 1 ? lcm_digest_equal(&d, &want) : d.b[0] == 7);
		assert_true(rows[i].r >= 0 || err.msg[0]);
	}
}

#define REF(type, nn)                                                                              \
	"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"artifactType\":\"" type   \
	"\",\"digest\":\"" D(nn) "\",\"size\":500}"

static void referrers(void **state)
{
	static const struct {
		const char *json;
		int r;
	} rows[] = {
		{ "{\"manifests\":[" REF("application/x", "01") "," REF(LCM_SOCI_V1, "05") "," REF(
		      LCM_SOCI_V1, "06") "]}",
		  1 },
		{ "{\"manifests\":[" REF("application/x", "01") "," REF(LCM_SOCI_V2, "05") "]}",
		  0 },
		{ "{\"manifests\":[]}", 0 },
		{ "{\"manifests\":[7]}", 0 },
		{ "{}", 0 },
		{ "{\"manifests\":[{\"artifactType\":7}]}", -EUCLEAN },
		{ "{\"manifests\":[{\"artifactType\":\"" LCM_SOCI_V1 "\"}]}", -EUCLEAN },
		{ "7", -EUCLEAN },
	};
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_digest d = { { 7 } }, want = digest(D("05"));
		struct lcm_err err = { 0 };
		uint64_t size = 7;

		assert_int_equal(
		    lcm_soci_referrer(rows[i].json, strlen(rows[i].json), &d, &size, &err),
		    rows[i].r);
		assert_true(rows[i].r == 1 ? lcm_digest_equal(&d, &want) && size == 500
					   : d.b[0] == 7 && size == 7);
		assert_true(rows[i].r >= 0 || err.msg[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_2), cmocka_unit_test(version_1), cmocka_unit_test(refused),
		cmocka_unit_test(found),     cmocka_unit_test(referrers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
