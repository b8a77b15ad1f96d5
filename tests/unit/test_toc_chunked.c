/* SPDX-License-Identifier: Apache-2.0 */
#include <zstd.h>

#include "image/toc_chunked.h"
#include "image/toc_json.h"
#include "src/base/base64.h"
#include "tests/unit/toc_fixture.h"

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"

static void restart(struct fixture *f)
{
	lcm_toc_builder_free(f->b);
	lcm_toc_close(f->toc);
	f->toc = NULL;
	f->err = (struct lcm_err){ 0 };
	assert_int_equal(lcm_toc_builder_new(&f->b), 0);
}

static int parse(struct fixture *f, const char *json, size_t step, bool stargz)
{
	struct lcm_chunked_ref ref = { .off = BLOB_SIZE / 2, .digest_of_plain = stargz };

	return lcm_chunked_parse_json(&ref, json, strlen(json), step, BLOB_SIZE, f->b, &f->err);
}

/* ---- annotations ---- */

#define NEW "io.github.containers.zstd-chunked."
#define OLD "io.containers.zstd-chunked."
#define STARGZ "containerd.io/snapshot/stargz/toc.digest"

static const struct {
	const char *kv[6];
	int r;
	bool plain;
	const char *says;
} annotation_rows[] = {
	{ { "other", "x" }, 0, false, NULL },
	{ { STARGZ, D1 }, 0, false, NULL }, /* eStargz */
	{ { NEW "manifest-position", "100:50:70:1", NEW "manifest-checksum", D1 }, 1, false, NULL },
	{ { OLD "manifest-position", "100:50:70:1", OLD "manifest-checksum", D1 }, 1, false, NULL },
	{ { OLD "manifest-position", "100:50:70:1", STARGZ, D1 }, 1, true, NULL },
	{ { OLD "manifest-position", "100:50:70:1", OLD "manifest-checksum", D2, STARGZ, D1 },
	  1,
	  true,
	  NULL },
	{ { NEW "manifest-position", "100:50:70:1", NEW "manifest-checksum", D1, STARGZ, D2 },
	  1,
	  false,
	  NULL },
	{ { NEW "manifest-position", "950:50:70:1", NEW "manifest-checksum", D1 }, 1, false, NULL },
	{ { NEW "manifest-position", "951:50:70:1", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "within" },
	{ { NEW "manifest-position", "9223372036854775807:9223372036854775807:1:1",
	    NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  NEW "manifest-position" },
	{ { NEW "manifest-position", "1:50:157286401:1", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "over" },
	{ { NEW "manifest-position", "1:0:70:1", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "within" },
	{ { NEW "manifest-position", "1:50:70:2", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "type" },
	{ { NEW "manifest-position", "1:50:70", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "four" },
	{ { NEW "manifest-position", "1:50:70:1:", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "four" },
	{ { NEW "manifest-position", "1:50:-7:1", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "four" },
	{ { NEW "manifest-position", "1:50::1", NEW "manifest-checksum", D1 },
	  -EUCLEAN,
	  false,
	  "four" },
	{ { NEW "manifest-position", "", NEW "manifest-checksum", D1 }, -EUCLEAN, false, "four" },
	{ { NEW "manifest-position", "1:50:70:1", NEW "manifest-checksum", "md5:1" },
	  -EUCLEAN,
	  false,
	  NEW "manifest-checksum" },
	{ { NEW "manifest-position", "1:50:70:1" },
	  -EUCLEAN,
	  false,
	  NEW "manifest-checksum is missing" },
	{ { NEW "manifest-checksum", D1 }, -EUCLEAN, false, NEW "manifest-position is missing" },
	{ { OLD "manifest-position", "1:50:70:1", STARGZ, "x" }, -EUCLEAN, false, STARGZ },
};

static void annotations(void **state)
{

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(annotation_rows); i++) {
		struct lcm_annotation a[3];
		struct lcm_descriptor d = { .size = 1000, .annotations = a };
		struct lcm_chunked_ref ref = { .off = 77 };
		struct lcm_err err = { 0 };
		int r;

		for (; d.n_annotations < 3 && annotation_rows[i].kv[2 * d.n_annotations];
		     d.n_annotations++) {
			a[d.n_annotations].key =
			    (char *)(uintptr_t)annotation_rows[i].kv[2 * d.n_annotations];
			a[d.n_annotations].value =
			    (char *)(uintptr_t)annotation_rows[i].kv[2 * d.n_annotations + 1];
		}
		r = lcm_chunked_find(&d, &ref, &err);
		if (r != annotation_rows[i].r ||
		    (annotation_rows[i].says && !strstr(err.msg, annotation_rows[i].says)))
			fail_msg("row %zu: %d %s", i, r, err.msg);
		assert_int_equal(ref.off == 77, r != 1);
		if (r == 1) {
			assert_int_equal(ref.plain_len, 70);
			assert_int_equal(ref.digest.b[0], 0x11);
			assert_int_equal(ref.digest_of_plain, annotation_rows[i].plain);
		}
	}
}

/* ---- values ---- */

static void times(void **state)
{
	static const struct {
		const char *s;
		int64_t sec;
		uint32_t nsec;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2001-02-03T04:05:06.789Z", 981173106, 789000000 },
		{ "2001-02-03T04:05:06.000000001Z", 981173106, 1 },
		{ "2001-02-03T04:05:06.1234567899999Z", 981173106, 123456789 },
		{ "2001-02-03T04:05:06+05:30", 981173106 - 19800, 0 },
		{ "2001-02-03T04:05:06.5-00:01", 981173106 + 60, 500000000 },
		{ "1969-12-31T23:59:59.5Z", -1, 500000000 },
		{ "1950-03-01T01:02:03.5Z", -626050677, 500000000 },
		{ "0001-01-01T00:00:00Z", 0, 0 }, /* Go's zero time */
		{ "0001-01-01T00:00:01Z", -62135596799, 0 },
		{ "0000-01-01T00:00:00Z", -62167219200, 0 },
		{ "9999-12-31T23:59:59Z", 253402300799, 0 },
		{ "2000-02-29T00:00:00Z", 951782400, 0 },
		{ "2038-01-19T03:14:08Z", 2147483648, 0 },
	};
	static const char *const bad[] = {
		"",
		"2001-02-03",
		"2001-02-03T04:05:06",
		"2001-02-03 04:05:06Z",
		"2001-13-03T04:05:06Z",
		"2001-02-29T04:05:06Z",
		"1900-02-29T00:00:00Z",
		"2001-00-01T04:05:06Z",
		"2001-01-00T04:05:06Z",
		"2001-02-03T24:05:06Z",
		"2001-02-03T04:60:06Z",
		"2001-02-03T04:05:60Z",
		"2001-02-03T04:05:06.Z",
		"2001-02-03T04:05:06ZZ",
		"2001-02-03T04:05:06+5:30",
		"2001-02-03T04:05:06+24:00",
		"+001-02-03T04:05:06Z",
		"2001-02-03T04:05:06.",
		"2001-02-03T04:05:06.5",
		"12001-02-03T04:05:06Z",
	};
	int64_t sec = 7;
	uint32_t nsec = 7;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(bad); i++) {
		if (lcm_value_time(bad[i], strlen(bad[i]), &sec, &nsec))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(sec, 7);
		assert_int_equal(nsec, 7);
	}
	for (size_t i = 0; i < LCM_ARRAY_SIZE(good); i++) {
		assert_true(lcm_value_time(good[i].s, strlen(good[i].s), &sec, &nsec));
		if (sec != good[i].sec || nsec != good[i].nsec)
			fail_msg("'%s' gives %lld.%09u", good[i].s, (long long)sec, nsec);
	}
}

static void base64(void **state)
{
	static const struct {
		const char *s, *want;
		long r;
	} rows[] = {
		{ "", "", 0 },
		{ "Zg==", "f", 1 },
		{ "b2s=", "ok", 2 },
		{ "Zm9v", "foo", 3 },
		{ "+/+/", "\xfb\xff\xbf", 3 },
		{ "Zg", NULL, -EUCLEAN },
		{ "Zg=", NULL, -EUCLEAN },
		{ "Z===", NULL, -EUCLEAN },
		{ "====", NULL, -EUCLEAN },
		{ "Zh==", NULL, -EUCLEAN },
		{ "Zm\n=", NULL, -EUCLEAN },
		{ "Zg==Zg==", NULL, -EUCLEAN },
		{ "_-_-", NULL, -EUCLEAN },
	};
	uint8_t out[16];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		assert_int_equal(lcm_base64(rows[i].s, strlen(rows[i].s), out), rows[i].r);
		if (rows[i].r > 0)
			assert_memory_equal(out, rows[i].want, (size_t)rows[i].r);
	}
}

/* ---- documents ---- */

#define DOC(entries) "{\"version\":1,\"entries\":[" entries "]}"
#define FILE1(more) "{\"type\":\"reg\",\"name\":\"f\",\"size\":100" more "}"
#define RANGE ",\"offset\":10,\"endOffset\":60"
#define CHUNK(name, more) ",{\"type\":\"chunk\",\"name\":\"" name "\"" more "}"

static const struct {
	const char *json;
	int r;
	const char *says;
} document_rows[] = {
	{ DOC(""), 0, NULL },
	{ "{\"entries\":null,\"version\":1}", 0, NULL },
	{ " {\"x\":[{\"y\":[1,{},null]}],\"entries\":[],\"tarSplitDigest\":\"" D1
	  "\",\"version\":1} \n",
	  0, NULL },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"x\":{\"type\":\"reg\"},\"mode\":null,\"xattrs\":"
	      "null}"),
	  0, NULL },
	{ "", -EUCLEAN, "premature" },
	{ "{", -EUCLEAN, "premature" },
	{ "[]", -EUCLEAN, "object" },
	{ "1", -EUCLEAN, "object" },
	{ "null", -EUCLEAN, "object" },
	{ "{}", -EUCLEAN, "version" },
	{ "{\"version\":1}", -EUCLEAN, "entries" },
	{ "{\"entries\":[]}", -EUCLEAN, "version" },
	{ "{\"version\":2,\"entries\":[]}", -EUCLEAN, "version" },
	{ "{\"version\":\"1\",\"entries\":[]}", -EUCLEAN, "version" },
	{ "{\"version\":1,\"entries\":{}}", -EUCLEAN, "entries" },
	{ "{\"version\":1,\"version\":1,\"entries\":[]}", -EUCLEAN, "twice" },
	{ "{\"version\":1,\"entries\":[],\"entries\":[]}", -EUCLEAN, "twice" },
	{ DOC("") "x", -EUCLEAN, "byte" },
	{ DOC("") "{}", -EUCLEAN, "byte" },
	{ "{\"version\":1,\"entries\":[}", -EUCLEAN, "at byte 2" },
	{ DOC("1"), -EUCLEAN, "entries" },
	{ DOC("[]"), -EUCLEAN, "entries" },
	{ DOC("{}"), -EUCLEAN, "no name" },
	{ DOC("{\"type\":\"dir\"}"), -EUCLEAN, "no name" },
	{ DOC("{\"name\":\"d\"}"), -EUCLEAN, "no type" },
	{ DOC("{\"name\":\"d\",\"type\":\"socket\"}"), -EUCLEAN, "'d': unknown type" },
	{ DOC("{\"name\":\"d\",\"name\":\"d\",\"type\":\"dir\"}"), -EUCLEAN, "twice" },
	{ DOC("{\"name\":\"d\",\"type\":5}"), -EUCLEAN, "'d'" },
	{ DOC("{\"name\":5,\"type\":\"dir\"}"), -EUCLEAN, "number" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"mode\":\"7\"}"), -EUCLEAN, "string" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"mode\":[]}"), -EUCLEAN, "kind" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"mode\":true}"), -EUCLEAN, "kind" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"mode\":-1}"), -EUCLEAN, "number" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"mode\":1.5}"), -EUCLEAN, "number" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"mode\":1e3}"), -EUCLEAN, "number" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"uid\":4294967295}"), -EUCLEAN,
	  "'d': uid 4294967295 is over 32 bits" },
	{ DOC("{\"name\":\"c\",\"type\":\"char\",\"devMinor\":8589934592}"), -EUCLEAN,
	  "'c': devMinor 8589934592 is over 32 bits" },
	{ DOC("{\"name\":\"c\",\"type\":\"char\",\"devMajor\":4096}"), -EUCLEAN,
	  "'c': device number 4096:0 is out of range" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"uid\":4294967294}"), 0, NULL },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"size\":9223372036854775808}"), -EUCLEAN,
	  "number" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"size\":123456789012345678901234567890}"),
	  -EUCLEAN, "number" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"modtime\":\"yesterday\"}"), -EUCLEAN, "modtime" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":\"!\"}}"), -EUCLEAN,
	  "base64" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":1}}"), -EUCLEAN, "xattr" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":{}}}"), -EUCLEAN, "xattr" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":{\"user.a\":\"\",\"user.a\":\"\"}}"),
	  -EUCLEAN, "twice" },
	{ DOC("{\"name\":\"d\",\"type\":\"dir\",\"xattrs\":[]}"), -EUCLEAN, "kind" },
	{ DOC("{\"name\":\"a\\u0000b\",\"type\":\"dir\"}"), -EUCLEAN, "NUL" },
	{ DOC("{\"name\":\"a/../b\",\"type\":\"dir\"}"), -EUCLEAN, "'..'" },
	{ DOC("{\"name\":\"bad-\\ufffd\",\"type\":\"dir\"}"), -EILSEQ, "UTF-8" },
	{ DOC("{\"name\":\"l\",\"linkName\":\"bad-\xef\xbf\xbd\",\"type\":\"symlink\"}"), -EILSEQ,
	  "'l'" },
	{ DOC("{\"name\":\"\xef\xbf\xbc\xff\",\"type\":\"dir\"}"), 0, NULL },
	{ DOC("{\"name\":\"h\",\"linkName\":\"d\",\"type\":\"hardlink\"}"), 0, NULL },
};

static void documents(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(document_rows); i++)
		for (size_t step = 1; step < 10000; step *= 10) {
			int r;

			restart(f);
			r = parse(f, document_rows[i].json, step, false);
			if (r != document_rows[i].r ||
			    (document_rows[i].says && !strstr(f->err.msg, document_rows[i].says)))
				fail_msg("row %zu, step %zu: %d %s", i, step, r, f->err.msg);
		}
}

static const struct {
	const char *json;
	int r;
	const char *says;
} chunk_rows[] = {
	{ DOC(FILE1(RANGE ",\"digest\":\"" D1 "\"")), 0, NULL },
	{ DOC(FILE1(RANGE ",\"chunkDigest\":\"" D1 "\"")), 0, NULL },
	{ DOC(FILE1(RANGE)), -EUCLEAN, "digest" },
	{ DOC(FILE1(RANGE ",\"digest\":\"\"")), -EUCLEAN, "digest" },
	{ DOC(FILE1(RANGE ",\"digest\":\"md5:aa\"")), -EUCLEAN, "sha256" },
	{ DOC(FILE1(",\"offset\":10,\"digest\":\"" D1 "\"")), -EUCLEAN, "endOffset" },
	{ DOC(FILE1(",\"digest\":\"" D1 "\"")), -EUCLEAN, "endOffset" },
	{ DOC(FILE1(",\"offset\":60,\"endOffset\":60,\"digest\":\"" D1 "\"")), -EUCLEAN,
	  "bad offset" },
	{ DOC(FILE1(",\"offset\":60,\"endOffset\":10,\"digest\":\"" D1 "\"")), -EUCLEAN,
	  "bad offset" },
	{ DOC(FILE1(",\"offset\":60,\"endOffset\":499993,\"digest\":\"" D1 "\"")), -EUCLEAN,
	  "bad offset" },
	{ DOC(FILE1(",\"offset\":60,\"endOffset\":499992,\"digest\":\"" D1 "\"")), 0, NULL },
	{ DOC(FILE1(RANGE ",\"chunkSize\":99,\"digest\":\"" D1 "\"")), -EUCLEAN, "end before" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":101,\"digest\":\"" D1 "\"")), -EUCLEAN, "pass the end" },
	{ DOC(FILE1(RANGE ",\"chunkType\":\"ones\",\"digest\":\"" D1 "\"")), -EUCLEAN,
	  "chunkType" },
	/* two chunks */
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  0, NULL },
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkType\":\"zeros\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  0, NULL },
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":40")),
	  -EUCLEAN, "digest" },
	{ DOC(FILE1(RANGE ",\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "chunkSize" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":41,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "overlap" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":39,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "gap" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":30,\"chunkOffset\":100,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "behind" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":10,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "endOffset" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("f", ",\"offset\":61,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "offset" },
	{ DOC(FILE1(RANGE ",\"chunkSize\":40,\"chunkDigest\":\"" D1 "\"")
		  CHUNK("g", ",\"offset\":30,\"chunkOffset\":40,\"chunkDigest\":\"" D2 "\"")),
	  -EUCLEAN, "follow" },
	{ DOC("{\"type\":\"dir\",\"name\":\"f\"}" CHUNK("f", ",\"offset\":30")), -EUCLEAN,
	  "follow" },
	{ DOC("{\"type\":\"reg\",\"name\":\"f\"}" CHUNK("f", ",\"offset\":30")), -EUCLEAN,
	  "empty file" },
	{ DOC("{\"type\":\"reg\",\"name\":\"f\"}"), 0, NULL },
};

static void chunk_rules(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(chunk_rows); i++) {
		int r;

		restart(f);
		r = parse(f, chunk_rows[i].json, 5, false);
		if (r != chunk_rows[i].r ||
		    (chunk_rows[i].says && !strstr(f->err.msg, chunk_rows[i].says)))
			fail_msg("row %zu: %d %s", i, r, f->err.msg);
		if (r == 0)
			finish(f);
	}
}

static void depth_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct lcm_buf s = LCM_BUF(4096);

	for (int depth = 60; depth <= 100; depth += 40) {
		s.len = 0;
		assert_int_equal(lcm_buf_printf(&s, "{\"version\":1,\"entries\":[],\"x\":"), 0);
		for (int i = 0; i < depth; i++)
			assert_int_equal(lcm_buf_add(&s, "[", 1), 0);
		for (int i = 0; i < depth; i++)
			assert_int_equal(lcm_buf_add(&s, "]", 1), 0);
		assert_int_equal(lcm_buf_add(&s, "}", 1), 0);
		assert_int_equal(parse(f, s.data, 100, false), depth == 60 ? 0 : -EUCLEAN);
	}
	assert_non_null(strstr(f->err.msg, "deeper"));
	lcm_buf_fini(&s);
}

static void long_strings(void **state)
{
	struct fixture *f = *state;
	struct lcm_buf s = LCM_BUF(8U << 20);

	assert_int_equal(lcm_buf_reserve(&s, 4U << 20), 0);
	assert_int_equal(
	    lcm_buf_printf(&s, "{\"version\":1,\"entries\":[{\"type\":\"dir\",\"name\":\""), 0);
	memset(s.data + s.len, 'n', 70000);
	s.len += 70000;
	assert_int_equal(lcm_buf_printf(&s, "\"}]}"), 0);
	assert_int_equal(parse(f, s.data, 4096, false), -EFBIG);
	assert_non_null(strstr(f->err.msg, "longer than 4000"));
	s.len = 0;
	restart(f);
	assert_int_equal(lcm_buf_printf(&s, "{\"x\":\""), 0);
	memset(s.data + s.len, 'n', 3U << 20);
	s.len += 3U << 20;
	assert_int_equal(lcm_buf_printf(&s, "\"}"), 0);
	assert_int_equal(parse(f, s.data, 65536, false), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "1 MiB"));
	lcm_buf_fini(&s);
}

/* Stargz: no endOffset; a range ends where the next one begins, wherever in the document that is.
 */
static void stargz_dialect(void **state)
{
	static const char json[] = DOC(
	    "{\"type\":\"reg\",\"name\":\"z\",\"size\":5,\"offset\":900,\"digest\":\"" D1
	    "\",\"chunkDigest\":\"" D1 "\"},"
	    "{\"type\":\"reg\",\"name\":\"a\",\"size\":30,\"offset\":100,\"digest\":\"" D1
	    "\",\"chunkSize\":10,"
	    "\"chunkDigest\":\"" D1 "\"}" CHUNK(
		"a",
		",\"offset\":200,\"chunkOffset\":10,\"chunkSize\":10,\"chunkDigest\":\"" D2 "\"")
		CHUNK("a", ",\"offset\":300,\"chunkOffset\":20,\"chunkDigest\":\"" D2
			   "\"") ",{\"type\":\"reg\",\"name\":\"shared1\",\"size\":5,\"offset\":"
				 "400,\"digest\":\"" D1 "\",\"chunkDigest\":\"" D1 "\"},"
				 "{\"type\":\"reg\",\"name\":\"shared2\",\"size\":5,\"offset\":400,"
				 "\"innerOffset\":512,"
				 "\"digest\":\"" D1 "\",\"chunkDigest\":\"" D1 "\"}");
	struct fixture *f = *state;
	const struct lcm_toc_chunk *c;

	if (parse(f, json, 3, true) < 0)
		fail_msg("%s", f->err.msg);
	finish(f);
	assert_int_equal(at(f, "a")->n_chunks, 3);
	c = lcm_toc_chunk(f->toc, at(f, "a")->first_chunk);
	assert_int_equal(c[0].blob_len, 100);
	assert_int_equal(c[1].blob_off, 200);
	assert_int_equal(c[2].blob_len, 100);
	assert_int_equal(c[2].file_len, 10);
	assert_int_equal(lcm_toc_chunk(f->toc, at(f, "z")->first_chunk)->blob_len,
			 BLOB_SIZE / 2 - 8 - 900);
	assert_int_equal(lcm_toc_chunk(f->toc, at(f, "shared1")->first_chunk)->blob_len, 500);
	c = lcm_toc_chunk(f->toc, at(f, "shared2")->first_chunk);
	assert_true(c->blob_off == 400 && c->skip == 512 && c->file_len == 5);
	assert_int_equal(parse(f, json, 3, false), -EUCLEAN);
}

/* ---- whole: digest, zstd, a real one ---- */

static char *read_data(const char *name, size_t *len)
{
	const char *src = getenv("srcdir");
	char path[4096], *p;

	(void)snprintf(path, sizeof(path), "%s/tests/unit/data/%s", src ? src : ".", name);
	if (lcm_read_file_at(AT_FDCWD, path, 1U << 20, &p, len) < 0)
		fail_msg("cannot read %s", path);
	return p;
}

/* What the annotations of the layer say; its blob is 302,447 bytes. */
static struct lcm_chunked_ref real_ref(const void *toc, size_t len)
{
	struct lcm_chunked_ref ref = { .off = 301442, .len = 957, .plain_len = 4056 };

	assert_int_equal(
	    lcm_digest_parse(
		"sha256:4888cb3424bfe2376d0bd6aebd435654a85cf4e98eeb497ca80fa0f09d0cc5dc", 71,
		&ref.digest),
	    0);
	assert_int_equal(len, ref.len);
	assert_non_null(toc);
	return ref;
}

/* Made by Debian 12's skopeo 1.9.3 from a GNU tar of a small tree. */
static void a_real_layer(void **state)
{
	struct fixture *f = *state;
	size_t len;
	lcm_autofree char *toc = read_data("toc-skopeo-1.9.3.zst", &len);
	struct lcm_chunked_ref ref = real_ref(toc, len);
	const struct lcm_toc_entry *big;
	struct lcm_xattr x;
	uint32_t pos = 0;

	if (lcm_chunked_parse(&ref, toc, len, 302447, f->b, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	finish(f);
	assert_int_equal(lcm_toc_count(f->toc), 13);
	assert_int_equal(at(f, "gone")->type, LCM_TOC_WHITEOUT);
	assert_int_equal(at(f, "etc")->flags, LCM_TOC_OPAQUE);
	assert_int_equal(at(f, "etc")->mtime_nsec, 789000000);
	assert_true(at(f, "etc/empty")->mtime == -626050677);
	assert_int_equal(at(f, "etc/hello")->gid, 34);
	assert_int_equal(at(f, "dev/null")->rdev_minor, 3);
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "usr/bin/link")->link), at(f, "etc/hello"));
	assert_string_equal(lcm_toc_link(f->toc, at(f, "usr/bin/sym")), "../etc/hello");
	big = at(f, "usr/bin/big");
	assert_int_equal(big->mode, 04755);
	assert_int_equal(big->n_chunks, 7);
	assert_int_equal(lcm_toc_chunk(f->toc, big->first_chunk)->flags, LCM_TOC_CHUNK_ZEROS);
	assert_int_equal(lcm_toc_chunk(f->toc, big->first_chunk + 6)->blob_len, 301137 - 291193);
	assert_true(lcm_toc_xattr_next(f->toc, big, &pos, &x));
	assert_string_equal(x.name, "security.capability");
	assert_int_equal(x.value_len, 20);
	assert_true(lcm_toc_file_bytes(f->toc) == 2300003 + 6);
}

static void digest_comes_first(void **state)
{
	struct fixture *f = *state;
	size_t len;
	lcm_autofree char *toc = read_data("toc-skopeo-1.9.3.zst", &len);
	struct lcm_chunked_ref ref = real_ref(toc, len);

	toc[500] ^= 1;
	assert_int_equal(lcm_chunked_parse(&ref, toc, len, 302447, f->b, &f->err), -EBADMSG);
	toc[500] ^= 1;
	assert_int_equal(lcm_chunked_parse(&ref, toc, len - 1, 302447, f->b, &f->err), -EUCLEAN);
	ref.plain_len--;
	assert_int_equal(lcm_chunked_parse(&ref, toc, len, 302447, f->b, &f->err), -EUCLEAN);
	ref.plain_len += 2;
	restart(f);
	assert_int_equal(lcm_chunked_parse(&ref, toc, len, 302447, f->b, &f->err), -EUCLEAN);
	ref.plain_len--;
	ref.digest_of_plain = true;
	restart(f);
	assert_int_equal(lcm_chunked_parse(&ref, toc, len, 302447, f->b, &f->err), -EBADMSG);
}

static int parse_zstd(struct fixture *f, const void *zst, size_t len, const char *json, bool plain)
{
	struct lcm_chunked_ref ref = { .off = BLOB_SIZE / 2,
				       .len = len,
				       .plain_len = strlen(json),
				       .digest_of_plain = plain };
	const void *what = plain ? (const void *)json : zst;

	assert_int_equal(lcm_digest_of(what, plain ? strlen(json) : len, &ref.digest), 0);
	restart(f);
	return lcm_chunked_parse(&ref, zst, len, BLOB_SIZE, f->b, &f->err);
}

static void zstd_frames(void **state)
{
	static const char json[] = DOC("{\"type\":\"dir\",\"name\":\"d\"}");
	struct fixture *f = *state;
	char zst[1024];
	size_t n = ZSTD_compress(zst, sizeof(zst), json, strlen(json), 3), two;

	assert_int_equal(parse_zstd(f, zst, n, json, false), 0);
	assert_int_equal(parse_zstd(f, zst, n, json, true), 0);
	assert_int_equal(parse_zstd(f, zst, n - 1, json, false), -EUCLEAN); /* cut short */
	assert_int_equal(parse_zstd(f, "not zstd", 8, json, false), -EUCLEAN);
	zst[n] = 'x';
	assert_int_equal(parse_zstd(f, zst, n + 1, json, false),
			 -EUCLEAN); /* something behind it */
	/* two frames are one stream */
	n = ZSTD_compress(zst, sizeof(zst), json, 10, 3);
	two = ZSTD_compress(zst + n, sizeof(zst) - n, json + 10, strlen(json) - 10, 3);
	assert_int_equal(parse_zstd(f, zst, n + two, json, false), 0);
	assert_int_equal(parse_zstd(f, zst, n, json, false), -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(annotations),
		cmocka_unit_test(times),
		cmocka_unit_test(base64),
		T(documents),
		T(chunk_rules),
		T(depth_is_bounded),
		T(long_strings),
		T(stargz_dialect),
		T(a_real_layer),
		T(digest_comes_first),
		T(zstd_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
