/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream says that decoding can begin, it can: by lcm_unit_decode(), and by zlib. */
#include <zlib.h>
#include <zstd.h>

#include "decode/stream.h"
#include "decode/unit.h"
#include "src/base/buf.h"
#include "tests/unit/test.h"

#define PLAIN_LEN ((size_t)6 << 20)
#define EVERY ((uint64_t)200000)

static uint8_t *plain; /* words, noise and zeros by turns */
static unsigned int seed = 1;

static unsigned int random_below(unsigned int n)
{
	return (unsigned int)rand_r(&seed) % n;
}

static void fill_plain(void)
{
	static const char *const words[] = { "locum ", "tenens ", "lib",  "/usr/share/",
					     "\n",     "static ", "int ", "0x1f8b" };
	size_t at = 0;

	plain = calloc(1, PLAIN_LEN + 64);
	while (at < PLAIN_LEN) {
		size_t n = random_below(300000) + 1, end = LCM_MIN(at + n, PLAIN_LEN);
		unsigned int kind = random_below(4);

		for (; kind && at < end; at++) {
			const char *w = words[random_below(8)];

			if (kind == 1)
				plain[at] = (uint8_t)random_below(256);
			for (; kind > 1 && *w && at < end; w++)
				plain[at++] = (uint8_t)*w;
		}
		at = end;
	}
}

/* ---- makers ---- */

struct maker {
	const char *name;
	enum lcm_compression comp;
	int level, strategy;
	int flush;     /* between pieces */
	size_t piece;  /* mean length; 0: all at once */
	bool members;  /* each piece is a member or frame of its own */
	size_t places; /* how many must be found at least */
};

static void gzip_piece(struct lcm_buf *b, z_stream *z, const uint8_t *p, size_t len, int flush)
{
	static uint8_t out[1 << 16];
	int r;

	z->next_in = (uint8_t *)(uintptr_t)p;
	z->avail_in = (uInt)len;
	do {
		z->next_out = out;
		z->avail_out = sizeof(out);
		r = deflate(z, flush);
		assert_true(r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR);
		assert_int_equal(lcm_buf_add(b, out, sizeof(out) - z->avail_out), 0);
	} while (z->avail_out == 0);
}

static void make_gzip(const struct maker *m, struct lcm_buf *b)
{
	z_stream z = { 0 };

	assert_int_equal(deflateInit2(&z, m->level, Z_DEFLATED, 31, 8, m->strategy), Z_OK);
	for (size_t at = 0, n; at < PLAIN_LEN; at += n) {
		n = m->piece ? random_below((unsigned int)m->piece * 2) + 1 : PLAIN_LEN;
		n = LCM_MIN(n, PLAIN_LEN - at);
		gzip_piece(b, &z, plain + at, n,
			   m->members || at + n == PLAIN_LEN ? Z_FINISH : m->flush);
		if (m->members)
			assert_int_equal(deflateReset(&z), Z_OK);
	}
	(void)deflateEnd(&z);
}

static void zstd_piece(struct lcm_buf *b, ZSTD_CCtx *c, const uint8_t *p, size_t len,
		       ZSTD_EndDirective end)
{
	static uint8_t space[1 << 16];
	ZSTD_inBuffer in = { p, len, 0 };
	size_t left;

	do {
		ZSTD_outBuffer out = { space, sizeof(space), 0 };

		left = ZSTD_compressStream2(c, &out, &in, end);
		assert_false(ZSTD_isError(left));
		assert_int_equal(lcm_buf_add(b, space, out.pos), 0);
	} while (left && (end == ZSTD_e_end || in.pos < in.size));
}

static void make_zstd(const struct maker *m, struct lcm_buf *b)
{
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c' };
	ZSTD_CCtx *c = ZSTD_createCCtx();

	for (size_t at = 0, n; at < PLAIN_LEN; at += n) {
		n = m->piece ? random_below((unsigned int)m->piece * 2) + 1 : PLAIN_LEN;
		n = LCM_MIN(n, PLAIN_LEN - at);
		zstd_piece(b, c, plain + at, n, ZSTD_e_end);
		if (m->members)
			assert_int_equal(lcm_buf_add(b, skippable, sizeof(skippable)), 0);
	}
	ZSTD_freeCCtx(c);
}

/* ---- places ---- */

struct place {
	struct lcm_boundary b;
	uint8_t window[LCM_TOC_WINDOW];
};

struct reading {
	const struct lcm_buf *b;
	size_t at, step;
	uint64_t returned; /* plain bytes */
	struct place *v;
	size_t n;
};

static ssize_t source(void *arg, const void **ret)
{
	struct reading *r = arg;
	size_t n = random_below((unsigned int)r->step) + 1;

	n = LCM_MIN(n, r->b->len - r->at);

	*ret = r->b->data + r->at;
	r->at += n;
	return (ssize_t)n;
}

static int place_add(void *arg, const struct lcm_boundary *b)
{
	struct reading *r = arg;
	struct place *p = &r->v[r->n];

	assert_true(r->n < 10000);
	assert_true(b->plain_off >= r->returned);
	if (r->n) {
		assert_true(b->blob_off > p[-1].b.blob_off);
		assert_true(b->plain_off >= p[-1].b.plain_off + EVERY);
	}
	p->b = *b;
	if (b->window)
		memcpy(p->window, b->window, LCM_TOC_WINDOW);
	r->n++;
	return 0;
}

static void read_places(const struct maker *m, struct reading *r)
{
	struct lcm_stream *s = NULL;
	const void *p;
	ssize_t n;

	assert_int_equal(lcm_stream_new(m->comp, source, r, 0, &s), 0);
	assert_int_equal(lcm_stream_boundaries(s, EVERY, place_add, r), 0);
	while ((n = lcm_stream_read(s, &p)) > 0) {
		assert_memory_equal(p, plain + r->returned, (size_t)n);
		r->returned += (uint64_t)n;
	}
	if (n < 0)
		fail_msg("%s: %s", m->name, lcm_stream_err(s)->msg);
	assert_int_equal(r->returned, PLAIN_LEN);
	lcm_stream_free(s);
}

static void check_unit(const struct maker *m, const struct lcm_buf *b, const struct place *p)
{
	uint64_t left = PLAIN_LEN - p->b.plain_off;
	struct lcm_unit u = {
		.comp = m->comp,
		.start = p->b.start,
		.bits = p->b.bits,
		.window = p->b.window ? p->window : NULL,
		.in = b->data + p->b.blob_off,
		.in_len = b->len - p->b.blob_off,
	};
	lcm_autofree uint8_t *out = NULL;

	if (!left) /* a frame without data at the end */
		return;
	u.skip = random_below((unsigned int)left);
	u.len = 1 + random_below((unsigned int)LCM_MIN(left - u.skip, (uint64_t)700000));
	out = malloc(u.len + 1);
	out[u.len] = 0x77;
	if (lcm_unit_decode(&u, out) != 0)
		fail_msg("%s: from %llu (%llu plain), skip %llu", m->name,
			 (unsigned long long)p->b.blob_off, (unsigned long long)p->b.plain_off,
			 (unsigned long long)u.skip);
	assert_memory_equal(out, plain + p->b.plain_off + u.skip, u.len);
	assert_int_equal(out[u.len], 0x77);
}

/* Independently of ISA-L: the bit is right when zlib can begin there. */
static void check_zlib(const struct lcm_buf *b, const struct place *p)
{
	const uint8_t *in = (const uint8_t *)b->data + p->b.blob_off;
	lcm_autofree uint8_t *out = malloc(50000);
	uint64_t want = LCM_MIN(PLAIN_LEN - p->b.plain_off, (uint64_t)50000);
	z_stream z = { 0 };
	int r;

	if (p->b.start != LCM_TOC_START_DEFLATE)
		return;
	assert_memory_equal(p->window + LCM_TOC_WINDOW - 1000, plain + p->b.plain_off - 1000, 1000);
	assert_int_equal(inflateInit2(&z, -15), Z_OK);
	if (p->b.bits)
		assert_int_equal(inflatePrime(&z, (int)p->b.bits, *in++ >> (8 - p->b.bits)), Z_OK);
	assert_int_equal(inflateSetDictionary(&z, p->window, LCM_TOC_WINDOW), Z_OK);
	z.next_in = (uint8_t *)(uintptr_t)in;
	z.avail_in = (uInt)(b->len - (size_t)(in - (const uint8_t *)b->data));
	z.next_out = out;
	z.avail_out = (uInt)want;
	r = inflate(&z, Z_SYNC_FLUSH);
	assert_true(r == Z_OK || r == Z_STREAM_END);
	assert_memory_equal(out, plain + p->b.plain_off, want - z.avail_out);
	assert_true(r == Z_STREAM_END || z.avail_out == 0);
	(void)inflateEnd(&z);
}

static const struct maker makers[] = {
	{ "gzip -1", LCM_COMP_GZIP, 1, Z_DEFAULT_STRATEGY, 0, 0, false, 10 },
	{ "gzip -6", LCM_COMP_GZIP, 6, Z_DEFAULT_STRATEGY, 0, 0, false, 10 },
	{ "gzip -9", LCM_COMP_GZIP, 9, Z_DEFAULT_STRATEGY, 0, 0, false, 10 },
	{ "stored", LCM_COMP_GZIP, 0, Z_DEFAULT_STRATEGY, 0, 0, false, 20 },
	{ "huffman", LCM_COMP_GZIP, 6, Z_HUFFMAN_ONLY, 0, 0, false, 10 },
	{ "fixed", LCM_COMP_GZIP, 6, Z_FIXED, Z_SYNC_FLUSH, 100000, false, 1 },
	{ "sync flush", LCM_COMP_GZIP, 6, Z_DEFAULT_STRATEGY, Z_SYNC_FLUSH, 50000, false, 10 },
	{ "full flush", LCM_COMP_GZIP, 6, Z_DEFAULT_STRATEGY, Z_FULL_FLUSH, 500, false, 5 },
	{ "members", LCM_COMP_GZIP, 6, Z_DEFAULT_STRATEGY, 0, 300000, true, 15 },
	{ "tiny members", LCM_COMP_GZIP, 1, Z_DEFAULT_STRATEGY, 0, 3000, true, 25 },
	{ "one frame", LCM_COMP_ZSTD, 0, 0, 0, 0, false, 5 },
	{ "frames", LCM_COMP_ZSTD, 0, 0, 0, 300000, true, 10 },
	{ "tiny frames", LCM_COMP_ZSTD, 0, 0, 0, 5000, true, 25 },
	{ "plain", LCM_COMP_NONE, 0, 0, 0, 0, false, 30 },
};

static void make(const struct maker *m, struct lcm_buf *b)
{
	if (m->comp == LCM_COMP_GZIP)
		make_gzip(m, b);
	else if (m->comp == LCM_COMP_ZSTD)
		make_zstd(m, b);
	else
		assert_int_equal(lcm_buf_add(b, plain, PLAIN_LEN), 0);
}

static void every_place_can_be_entered(void **state)
{
	static const size_t steps[] = { 50, 10000, 3000000 };
	(void)state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(makers); i++) {
		struct lcm_buf b = LCM_BUF(PLAIN_LEN * 2);

		make(&makers[i], &b);
		for (size_t k = 0; k < LCM_ARRAY_SIZE(steps); k++) {
			struct reading r = { .b = &b,
					     .step = steps[k],
					     .v = calloc(10000, sizeof(*r.v)) };

			read_places(&makers[i], &r);
			if (r.n < makers[i].places)
				fail_msg("%s: only %zu places", makers[i].name, r.n);
			assert_true(r.v[0].b.blob_off == 0 && r.v[0].b.plain_off == 0);
			for (size_t p = 0; p < r.n; p++) {
				if (r.v[p].b.start == LCM_TOC_START_CONTINUES)
					continue;
				check_unit(&makers[i], &b, &r.v[p]);
				check_zlib(&b, &r.v[p]);
			}
			free(r.v);
		}
		lcm_buf_fini(&b);
	}
}

static void damaged_units(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(makers); i++) {
		struct lcm_buf b = LCM_BUF(PLAIN_LEN * 2);
		struct lcm_unit u = { .comp = makers[i].comp, .len = PLAIN_LEN };
		lcm_autofree uint8_t *out = malloc(PLAIN_LEN);

		make(&makers[i], &b);
		u.in = b.data;
		u.in_len = b.len;
		assert_int_equal(lcm_unit_decode(&u, out), 0);
		assert_memory_equal(out, plain, PLAIN_LEN);
		u.skip = 1; /* one byte more than there is */
		assert_true(lcm_unit_decode(&u, out) < 0);
		u.skip = 0;
		u.in_len /= 2;
		assert_true(lcm_unit_decode(&u, out) < 0);
		u.in_len = 0;
		assert_true(lcm_unit_decode(&u, out) < 0);
		u.in = "not compressed at all, or not enough";
		u.in_len = 36;
		assert_true(lcm_unit_decode(&u, out) < 0);
		lcm_buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_place_can_be_entered),
		cmocka_unit_test(damaged_units),
	};
	int r;

	fill_plain();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	free(plain);
	return r;
}
