/* SPDX-License-Identifier: Apache-2.0 */
/* eStargz: footers byte by byte, and what may be wrong with the member behind them. */
#include <zlib.h>

#include "image/toc_estargz.h"
#include "tests/unit/toc_fixture.h"

#define KEY "containerd.io/snapshot/stargz/toc.digest"
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void annotations(void **state)
{
	static const struct {
		const char *key, *value;
		int r;
	} rows[] = {
		{ KEY, "sha256:" HEX64, 1 },
		{ "containerd.io/snapshot/stargz/other", "sha256:" HEX64, 0 },
		{ KEY, "sha256:12", -EUCLEAN },
		{ KEY, "", -EUCLEAN },
	};
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_annotation a = { (char *)(uintptr_t)rows[i].key,
					    (char *)(uintptr_t)rows[i].value };
		struct lcm_descriptor d = { .annotations = &a, .n_annotations = 1 };
		struct lcm_estargz_ref ref = { .off = 7 };
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_estargz_find(&d, &ref, &err), rows[i].r);
		if (rows[i].r < 1)
			assert_int_equal(ref.off, 7);
		if (rows[i].r < 0)
			assert_non_null(strstr(err.msg, KEY));
	}
}

#define GZ "\x1f\x8b\x08\x04\0\0\0\0\0\xff"
#define END "\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"
#define ROW(s) s, sizeof(s) - 1

static void footers(void **state)
{
	static const struct {
		const char *p;
		size_t len;
		uint64_t size, off, toc_len;
		int r;
	} rows[] = {
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "00000000000003e8STARGZ" END),
		  2000, 1000, 949, 0 },
		{ ROW("before" GZ "\x1a\0SG\x16\0"
		      "00000000000003e8STARGZ" END),
		  2000, 1000, 949, 0 },
		{ ROW(GZ "\x16\0"
			 "00000000000003e8STARGZ" END),
		  2000, 1000, 953, 0 },
		{ ROW(GZ "\x15\0SG\x11\0STARGZEXTERNALTOC" END), 2000, 1954, 0, 1 },
		{ ROW("before" GZ "\x15\0SG\x11\0STARGZEXTERNALTOC" END), 2000, 1954, 0, 1 },
		{ ROW(GZ "\x15\0SG\x11\0STARGZEXTERNALTOD" END), 2000, 0, 0, -ENODATA },
		{ ROW("before" GZ "\x11\0STARGZEXTERNALTOC" END), 2000, 0, 0, -ENODATA },
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "00000000000003E8STARGZ" END),
		  2000, 0, 0, -ENODATA },
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "00000000000003g8STARGZ" END),
		  2000, 0, 0, -ENODATA },
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "00000000000003e8STARGX" END),
		  2000, 0, 0, -ENODATA },
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "00000000000007d0STARGZ" END),
		  2000, 0, 0, -EUCLEAN },
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "ffffffffffffffffSTARGZ" END),
		  2000, 0, 0, -EUCLEAN },
		{ ROW(GZ "\x1a\0SG\x16\0"
			 "0000000000000000STARGZ" END),
		  1ULL << 40, 0, 0, -EUCLEAN },
		{ ROW("short"), 5, 0, 0, -ENODATA },
		{ ROW(""), 0, 0, 0, -ENODATA },
	};
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		/* On the heap, so that a sanitizer sees a read in front of it. */
		lcm_autofree uint8_t *p = malloc(rows[i].len + 1);
		struct lcm_estargz_ref ref = { 0 };

		memcpy(p, rows[i].p, rows[i].len);
		if (lcm_estargz_footer(p, rows[i].len, rows[i].size, &ref, NULL) != rows[i].r)
			fail_msg("row %zu", i);
		assert_true(ref.off == rows[i].off && ref.len == rows[i].toc_len);
	}
}

/* ---- the member ---- */

static const char json[] =
    "{\"version\":1,\"entries\":["
    "{\"name\":\".prefetch.landmark\",\"type\":\"reg\",\"size\":1,\"offset\":10,"
    "\"digest\":\"sha256:" HEX64 "\",\"chunkDigest\":\"sha256:" HEX64 "\"},"
    "{\"name\":\"a\",\"type\":\"reg\",\"size\":5,\"offset\":100,\"innerOffset\":512,"
    "\"digest\":\"sha256:" HEX64 "\",\"chunkDigest\":\"sha256:" HEX64 "\"},"
    "{\"name\":\"b\",\"type\":\"reg\",\"size\":5,\"offset\":300,"
    "\"digest\":\"sha256:" HEX64 "\",\"chunkDigest\":\"sha256:" HEX64 "\"}]}";

static void member(struct lcm_buf *out, const char *name, const char *size)
{
	static uint8_t space[8192];
	char tar[512 + sizeof(json)] = { 0 };
	z_stream z = { 0 };

	(void)snprintf(tar, 100, "%s", name);
	(void)snprintf(tar + 124, 12, "%s", size);
	tar[156] = '0';
	memcpy(tar + 512, json, sizeof(json));
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (uint8_t *)tar;
	z.avail_in = sizeof(tar);
	z.next_out = space;
	z.avail_out = sizeof(space);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(lcm_buf_add(out, space, sizeof(space) - z.avail_out), 0);
	(void)deflateEnd(&z);
}

static int parse(struct fixture *f, const struct lcm_buf *b, size_t len, bool right)
{
	struct lcm_estargz_ref ref = { .off = 500, .len = len };

	assert_int_equal(lcm_digest_of(json, sizeof(json) - 1, &ref.digest), 0);
	ref.digest.b[0] ^= !right;
	return lcm_estargz_parse(&ref, b->data, len, f->b, &f->err);
}

static void members(void **state)
{
	struct fixture *f = *state;
	struct lcm_buf good = LCM_BUF(8192), other = LCM_BUF(8192), large = LCM_BUF(8192);
	const struct lcm_toc_chunk *c;
	char size[16];

	(void)snprintf(size, sizeof(size), "%011zo", sizeof(json) - 1);
	member(&good, "stargz.index.json", size);
	member(&other, "something.else", size);
	member(&large, "stargz.index.json", "77777777777");
	assert_int_equal(parse(f, &good, good.len, false), -EBADMSG);
	assert_int_equal(parse(f, &good, good.len / 2, true), -EUCLEAN);
	assert_int_equal(parse(f, &other, other.len, true), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "does not begin with"));
	assert_int_equal(parse(f, &large, large.len, true), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "too large"));
	if (parse(f, &good, good.len, true) < 0)
		fail_msg("%s", f->err.msg);
	finish(f);
	assert_int_equal(lcm_toc_count(f->toc), 3); /* no landmark */
	c = lcm_toc_chunk(f->toc, at(f, "a")->first_chunk);
	assert_true(c->blob_off == 100 && c->blob_len == 200 && c->skip == 512);
	c = lcm_toc_chunk(f->toc, at(f, "b")->first_chunk);
	assert_true(c->blob_off == 300 && c->blob_len == 200 && c->skip == 0);
	lcm_buf_fini(&good);
	lcm_buf_fini(&other);
	lcm_buf_fini(&large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(annotations),
		cmocka_unit_test(footers),
		T(members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
