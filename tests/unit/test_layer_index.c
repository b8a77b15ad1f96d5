/* SPDX-License-Identifier: Apache-2.0 */
/* SOCI index manifests, and the two ways in which an image points to one. */
#include "image/layer_index.h"
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
#define SOCI_V1 "application/vnd.amazon.soci.index.v1+json"
#define SOCI_V2 "application/vnd.amazon.soci.index.v2+json"
#define OURS "application/vnd.locum.index.v1+json"
#define STREAM "application/octet-stream"
#define PREFETCH "application/vnd.amazon.soci.prefetch.v1+json"
#define IMAGE                                                                                      \
	"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"" D(           \
	    "99") "\",\"size\":7}"

static int parse(const char *s, struct lcm_layer_index **ret, struct lcm_err *err)
{
	return lcm_layer_index_parse(s, strlen(s), ret, err);
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
	lcm_auto(lcm_layer_index) x = NULL;
	const struct lcm_layer_toc *l;
	struct lcm_err err;
	(void)state;

	if (parse(json, &x, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(x->kind, LCM_INDEX_SOCI_V2);
	assert_int_equal(x->n_layers, 2);
	assert_true(lcm_digest_is_zero(&x->subject));
	l = lcm_layer_index_layer(x, &first);
	assert_non_null(l);
	assert_true(lcm_digest_equal(&l->toc, &ztoc));
	assert_true(l->size == 1000 && l->kind == LCM_INDEX_SOCI_V2);
	assert_null(lcm_layer_index_layer(x, &none));
}

static void version_1(void **state)
{
	static const char *const rows[] = {
		HEAD CONFIG("v1") ",\"layers\":[],\"subject\":" IMAGE "}",
		HEAD "\"artifactType\":\"" SOCI_V1 "\",\"config\":{\"mediaType\":"
		     "\"application/vnd.oci.empty.v1+json\"},\"layers\":[],\"subject\":" IMAGE "}",
	};
	struct lcm_digest image = digest(D("99"));
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_layer_index) x = NULL;

		assert_int_equal(parse(rows[i], &x, NULL), 0);
		assert_true(x->kind == LCM_INDEX_SOCI_V1 && x->n_layers == 0);
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
		  -EUCLEAN, "second table" },
		{ HEAD CONFIG("v2") ",\"artifactType\":7,\"layers\":[]}", -EUCLEAN,
		  "artifactType" },
	};
	struct lcm_layer_index *x = (void *)&rows;
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

		assert_int_equal(lcm_layer_index_find(rows[i].json, strlen(rows[i].json), &d, &err),
				 rows[i].r);
		assert_true(rows[i].r == 1 ? lcm_digest_equal(&d, &want) : d.b[0] == 7);
		assert_true(rows[i].r >= 0 || err.msg[0]);
	}
}

#define REF(type, nn)                                                                              \
	"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"artifactType\":\"" type   \
	"\",\"digest\":\"" D(nn) "\",\"size\":500}"

/* Ours first, SOCI's newer version before its older one; each kind in the order of the list. */
static void referrers(void **state)
{
	static const struct {
		const char *json;
		int r;
		const char *first, *last;
	} rows[] = {
		{ "{\"manifests\":[" REF("application/x",
					 "01") "," REF(SOCI_V1, "05") "," REF(SOCI_V1, "06") "]}",
		  2, D("05"), D("06") },
		{ "{\"manifests\":[" REF(SOCI_V1, "01") "," REF(SOCI_V2, "02") "," REF(OURS,
										       "03") "]}",
		  3, D("03"), D("01") },
		{ "{\"manifests\":[]}", 0, NULL, NULL },
		{ "{\"manifests\":[7]}", 0, NULL, NULL },
		{ "{}", 0, NULL, NULL },
		{ "{\"manifests\":[{\"artifactType\":7}]}", -EUCLEAN, NULL, NULL },
		{ "{\"manifests\":[{\"artifactType\":\"" SOCI_V1 "\"}]}", -EUCLEAN, NULL, NULL },
		{ "7", -EUCLEAN, NULL, NULL },
	};
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_digest d[LCM_REFERRERS_MAX], want;
		struct lcm_referrers list = { 0 };
		struct lcm_err err = { 0 };
		int r = lcm_layer_index_referrers(rows[i].json, strlen(rows[i].json), &list, &err);

		if (r == 0)
			r = (int)lcm_referrers_best(&list, d);

		assert_int_equal(r, rows[i].r);
		assert_true(r >= 0 || err.msg[0]);
		if (r <= 0)
			continue;
		want = digest(rows[i].first);
		assert_true(lcm_digest_equal(&d[0], &want));
		want = digest(rows[i].last);
		assert_true(lcm_digest_equal(&d[r - 1], &want));
	}
}

/* What is written is read, and says whose index it is. */
static void written(void **state)
{
	const struct lcm_layer_toc layers[] = {
		{ LCM_INDEX_TOC, digest(D("11")), digest(D("01")), 1000 },
		{ LCM_INDEX_TOC, digest(D("12")), digest(D("02")), 1 },
	};
	static const char *const types[] = { "a/b+zstd", "a/b" };
	const struct lcm_index_subject subject = { "a/m", digest(D("99")), 700 };
	(void)state;

	for (int kind = LCM_INDEX_SOCI_V2; kind < LCM_INDEX_KIND_MAX; kind++) {
		lcm_autobuf struct lcm_buf b = LCM_BUF(4096);
		lcm_auto(lcm_layer_index) x = NULL;
		struct lcm_layer_toc v[2] = { layers[0], layers[1] };
		struct lcm_err err;

		v[0].kind = v[1].kind = (enum lcm_index_kind)kind;
		assert_int_equal(lcm_layer_index_write(v[0].kind, v, types, 2, &subject, &b), 0);
		if (parse(lcm_buf_str(&b), &x, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(x->kind, kind);
		assert_int_equal(x->n_layers, 2);
		for (size_t i = 0; i < 2; i++)
			assert_true(lcm_digest_equal(&x->layers[i].layer, &v[i].layer) &&
				    lcm_digest_equal(&x->layers[i].toc, &v[i].toc) &&
				    x->layers[i].size == v[i].size);
		assert_true(lcm_digest_equal(&x->subject, &subject.digest));
		assert_non_null(strstr(b.data, "\"a/b+zstd\""));
	}
}

static void listed_once(void **state)
{
	const struct lcm_digest a = digest(D("01")), b = digest(D("02"));
	lcm_autobuf struct lcm_buf one = LCM_BUF(4096), two = LCM_BUF(4096), none = LCM_BUF(4096);
	struct lcm_digest found[LCM_REFERRERS_MAX];
	struct lcm_referrers list = { 0 };
	struct lcm_err err = { 0 };
	(void)state;

	assert_int_equal(lcm_referrers_add(NULL, 0, LCM_INDEX_SOCI_V2, &a, 5, &one, &err), 1);
	assert_int_equal(lcm_referrers_add(one.data, one.len, LCM_INDEX_TOC, &b, 6, &two, &err), 1);
	assert_int_equal(lcm_referrers_add(two.data, two.len, LCM_INDEX_TOC, &b, 6, &none, &err),
			 0);
	assert_int_equal(none.len, 0);
	/* A second page of the same kinds. */
	assert_int_equal(lcm_layer_index_referrers(one.data, one.len, &list, &err), 0);
	assert_int_equal(lcm_referrers_best(&list, found), 1);
	list = (struct lcm_referrers){ 0 };
	assert_int_equal(lcm_layer_index_referrers(two.data, two.len, &list, &err), 0);
	assert_int_equal(lcm_layer_index_referrers(one.data, one.len, &list, &err), 0);
	assert_int_equal(lcm_referrers_best(&list, found), 3);
	assert_true(lcm_digest_equal(&found[0], &b) && lcm_digest_equal(&found[1], &a));
	assert_int_equal(lcm_referrers_add("{}", 2, LCM_INDEX_TOC, &b, 6, &none, &err), -EUCLEAN);
	assert_int_equal(lcm_referrers_add("[", 1, LCM_INDEX_TOC, &b, 6, &none, &err), -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_2),   cmocka_unit_test(version_1),
		cmocka_unit_test(refused),     cmocka_unit_test(found),
		cmocka_unit_test(referrers),   cmocka_unit_test(written),
		cmocka_unit_test(listed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
