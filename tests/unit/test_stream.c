/* SPDX-License-Identifier: Apache-2.0 */
#include <zlib.h>
#include <zstd.h>

#include "decode/stream.h"
#include "src/base/buf.h"
#include "tests/unit/test.h"

#define PLAIN_LEN ((size_t)300001)

static uint8_t plain[PLAIN_LEN];

/* A source that gives @step bytes at a time, each block in memory of its own, so that overreads are
 * seen. */
struct test_source {
	const uint8_t *p;
	size_t len, step, fail_at; /* fail_at: byte at which -EIO comes; 0: never */
	size_t pos;
	uint8_t *block;
};

static ssize_t test_source_read(void *arg, const void **ret)
{
	struct test_source *s = arg;
	size_t n = LCM_MIN(s->step, s->len - s->pos);

	free(s->block);
	s->block = NULL;
	if (s->fail_at && s->pos >= s->fail_at)
		return -EIO;
	if (n == 0)
		return 0;
	s->block = malloc(n);
	assert_non_null(s->block);
	memcpy(s->block, s->p + s->pos, n);
	s->pos += n;
	*ret = s->block;
	return (ssize_t)n;
}

static void fill_plain(void)
{
	uint32_t x = 1;

	for (size_t i = 0; i < PLAIN_LEN; i++) {
		x = x * 1664525 + 1013904223;
		plain[i] = (i / 5000) % 3 ? (uint8_t)(x >> 28) : (uint8_t)(x >> 24);
	}
}

/* One gzip member with every optional header field. */
static void add_gzip(struct lcm_buf *b, const void *p, size_t len)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)len };
	static const char name[] = "a name", comment[] = "a comment";
	static uint8_t extra[] = { 'S', 'G', 3, 0, 1, 2, 3 };
	gz_header head = { .extra = extra,
			   .extra_len = sizeof(extra),
			   .name = (Bytef *)(uintptr_t)name,
			   .comment = (Bytef *)(uintptr_t)comment,
			   .hcrc = 1 };
	size_t room = compressBound((uLong)len) + 64;

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, 0), Z_OK);
	assert_int_equal(deflateSetHeader(&z, &head), Z_OK);
	assert_int_equal(lcm_buf_reserve(b, room), 0);
	z.next_out = (Bytef *)b->data + b->len;
	z.avail_out = (uInt)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	b->len += room - z.avail_out;
	deflateEnd(&z);
}

static void add_zstd(struct lcm_buf *b, const void *p, size_t len, int window_log)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(len), n;
	ZSTD_outBuffer out;
	ZSTD_inBuffer in = { p, len, 0 };

	assert_non_null(c);
	if (window_log)
		assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log)));
	assert_int_equal(lcm_buf_reserve(b, room), 0);
	out = (ZSTD_outBuffer){ b->data + b->len, room, 0 };
	do
		n = ZSTD_compressStream2(
		    c, &out, &in, window_log && in.pos < in.size ? ZSTD_e_flush : ZSTD_e_end);
	while (!ZSTD_isError(n) && (n || in.pos < in.size));
	if (window_log)
		n = ZSTD_compressStream2(c, &out, &in, ZSTD_e_end);
	assert_false(ZSTD_isError(n));
	b->len += out.pos;
	ZSTD_freeCCtx(c);
}

static void make(enum lcm_compression comp, struct lcm_buf *b)
{
	static const uint8_t skippable[] = { 0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z' };
	size_t half = 130000;

	switch (comp) {
	case LCM_COMP_GZIP:
		add_gzip(b, plain, half);
		add_gzip(b, "", 0);
		add_gzip(b, plain + half, 1);
		add_gzip(b, plain + half + 1, PLAIN_LEN - half - 1);
		break;
	case LCM_COMP_ZSTD:
		assert_int_equal(lcm_buf_add(b, skippable, sizeof(skippable)), 0);
		add_zstd(b, plain, half, 0);
		assert_int_equal(lcm_buf_add(b, skippable, sizeof(skippable)), 0);
		add_zstd(b, plain + half, PLAIN_LEN - half, 0);
		assert_int_equal(lcm_buf_add(b, skippable, sizeof(skippable)), 0);
		break;
	default:
		assert_int_equal(lcm_buf_add(b, plain, PLAIN_LEN), 0);
	}
}

/* Reads all; @out has room for PLAIN_LEN. Return: bytes, or the error. */
static ssize_t read_all(struct lcm_stream *s, uint8_t *out)
{
	size_t len = 0;

	for (;;) {
		const void *p = NULL;
		ssize_t n = lcm_stream_read(s, &p);

		if (n <= 0)
			return n < 0 ? n : (ssize_t)len;
		assert_non_null(p);
		assert_true((size_t)n <= PLAIN_LEN - len);
		memcpy(out + len, p, (size_t)n);
		len += (size_t)n;
	}
}

static void streams_round_trip(void **state)
{
	static const size_t steps[] = { 1, 2, 3, 7, 500, 4096, 65536, SIZE_MAX };
	lcm_autofree uint8_t *out = malloc(PLAIN_LEN);

	(void)state;
	for (int comp = LCM_COMP_NONE; comp <= LCM_COMP_ZSTD; comp++) {
		struct lcm_buf b = LCM_BUF(4 << 20);
		struct lcm_digest want, is;

		make((enum lcm_compression)comp, &b);
		assert_int_equal(lcm_digest_of(b.data, b.len, &want), 0);
		for (size_t i = 0; i < LCM_ARRAY_SIZE(steps); i++) {
			struct test_source src = { .p = (uint8_t *)b.data,
						   .len = b.len,
						   .step = steps[i] };
			struct lcm_stream *s = NULL;
			uint64_t len = 0;

			assert_int_equal(lcm_stream_new((enum lcm_compression)comp,
							test_source_read, &src, 0, &s),
					 0);
			assert_int_equal(read_all(s, out), PLAIN_LEN);
			assert_memory_equal(out, plain, PLAIN_LEN);
			lcm_stream_blob_digest(s, &is, &len);
			assert_int_equal(len, b.len);
			assert_true(lcm_digest_equal(&is, &want));
			lcm_stream_free(s);
			free(src.block);
		}
		lcm_buf_fini(&b);
	}
}

static ssize_t try_bytes(enum lcm_compression comp, const void *p, size_t len, size_t step,
			 uint64_t max, char *text)
{
	lcm_autofree uint8_t *out = malloc(PLAIN_LEN);
	struct test_source src = { .p = p, .len = len, .step = step };
	struct lcm_stream *s = NULL;
	ssize_t n;

	assert_int_equal(lcm_stream_new(comp, test_source_read, &src, max, &s), 0);
	n = read_all(s, out);
	if (n < 0) {
		const void *unused = NULL;

		assert_int_equal(lcm_stream_err(s)->code, n);
		(void)snprintf(text, LCM_ERR_MSG_MAX, "%s", lcm_stream_err(s)->msg);
		assert_int_equal(lcm_stream_read(s, &unused), n);
		assert_null(unused);
	}
	lcm_stream_free(s);
	free(src.block);
	return n;
}

static void streams_refuse(void **state)
{
	char text[LCM_ERR_MSG_MAX];

	(void)state;
	for (int comp = LCM_COMP_GZIP; comp <= LCM_COMP_ZSTD; comp++) {
		enum lcm_compression c = (enum lcm_compression)comp,
				     other = c == LCM_COMP_GZIP ? LCM_COMP_ZSTD : LCM_COMP_GZIP;
		struct lcm_buf b = LCM_BUF(4 << 20);
		size_t whole;

		make(c, &b);
		whole = b.len;
		for (size_t step = 1; step <= 5000; step += 4999) {
			assert_int_equal(try_bytes(c, b.data, whole, step, PLAIN_LEN - 1, text),
					 -EFBIG);
			assert_int_equal(try_bytes(c, b.data, whole, step, PLAIN_LEN, text),
					 PLAIN_LEN);
			assert_int_equal(try_bytes(other, b.data, whole, step, 0, text), -EUCLEAN);
			assert_int_equal(try_bytes(c, b.data, whole - (c == LCM_COMP_ZSTD ? 12 : 1),
						   step, 0, text),
					 -EUCLEAN);
			assert_non_null(strstr(text, "middle"));
		}
		assert_int_equal(try_bytes(LCM_COMP_NONE, b.data, whole, 100, 0, text), -EUCLEAN);
		assert_int_equal(try_bytes(LCM_COMP_NONE, b.data, whole, 1, 0, text), -EUCLEAN);
		assert_non_null(strstr(text, "said to be plain tar"));
		assert_int_equal(lcm_buf_add(&b, "garbage", 7), 0);
		assert_int_equal(try_bytes(c, b.data, b.len, 4096, 0, text), -EUCLEAN);
		if (!strstr(text, "garbage after the last"))
			fail_msg("%s", text);
		assert_int_equal(try_bytes(c, "", 0, 1, 0, text), -EUCLEAN);
		lcm_buf_fini(&b);
	}
}

/* Each bit of a gzip member's trailer counts: CRC-32 and length. */
static void gzip_trailer_is_checked(void **state)
{
	struct lcm_buf b = LCM_BUF(4 << 20);
	char text[LCM_ERR_MSG_MAX];

	(void)state;
	add_gzip(&b, plain, 70000);
	for (size_t bit = 0; bit < 64; bit++) {
		char *p = b.data + b.len - 8 + bit / 8;

		*p = (char)(*p ^ (1 << bit % 8));
		assert_int_equal(try_bytes(LCM_COMP_GZIP, b.data, b.len, 1000, 0, text), -EUCLEAN);
		*p = (char)(*p ^ (1 << bit % 8));
	}
	assert_int_equal(try_bytes(LCM_COMP_GZIP, b.data, b.len, 1000, 0, text), 70000);
	lcm_buf_fini(&b);
}

static void zstd_window_is_limited(void **state)
{
	struct lcm_buf b = LCM_BUF(4 << 20);
	char text[LCM_ERR_MSG_MAX];

	(void)state;
	add_zstd(&b, plain, 100, LCM_ZSTD_WINDOW_LOG_MAX);
	assert_int_equal(try_bytes(LCM_COMP_ZSTD, b.data, b.len, 4096, 0, text), 100);
	b.len = 0;
	add_zstd(&b, plain, 100, LCM_ZSTD_WINDOW_LOG_MAX + 1);
	assert_int_equal(try_bytes(LCM_COMP_ZSTD, b.data, b.len, 4096, 0, text), -EUCLEAN);
	lcm_buf_fini(&b);
}

static void source_errors_pass(void **state)
{
	struct test_source src = { .p = plain, .len = PLAIN_LEN, .step = 1000, .fail_at = 5000 };
	lcm_autofree uint8_t *out = malloc(PLAIN_LEN);
	struct lcm_stream *s = (struct lcm_stream *)&src, *keep = s;

	(void)state;
	assert_int_equal(lcm_stream_new((enum lcm_compression)9, test_source_read, &src, 0, &s),
			 -EINVAL);
	assert_ptr_equal(s, keep);
	assert_int_equal(lcm_stream_new(LCM_COMP_NONE, test_source_read, &src, 0, &s), 0);
	assert_int_equal(read_all(s, out), -EIO);
	assert_int_equal(lcm_stream_err(s)->code, -EIO);
	lcm_stream_free(s);
	free(src.block);
	lcm_stream_free(NULL);
}

static void tar_may_begin_like_gzip(void **state)
{
	uint8_t block[512] = { 0x1f, 0x8b, 0x08, 0x00 };
	char text[LCM_ERR_MSG_MAX];

	(void)state;
	assert_int_equal(try_bytes(LCM_COMP_NONE, block, sizeof(block), 512, 0, text), -EUCLEAN);
	memcpy(block + 257, "ustar", 5);
	assert_int_equal(try_bytes(LCM_COMP_NONE, block, sizeof(block), 512, 0, text), 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_round_trip),
		cmocka_unit_test(streams_refuse),
		cmocka_unit_test(gzip_trailer_is_checked),
		cmocka_unit_test(zstd_window_is_limited),
		cmocka_unit_test(source_errors_pass),
		cmocka_unit_test(tar_may_begin_like_gzip),
	};

	fill_plain();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
