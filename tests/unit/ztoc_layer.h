/* SPDX-License-Identifier: Apache-2.0 */
/* ztoc_layer.h - layers, with the checkpoints and digests that SOCI makes of them. */
#ifndef LCM_ZTOC_LAYER_H
#define LCM_ZTOC_LAYER_H

#include <zlib.h>

#include "image/toc.h"
#include "tests/unit/ztoc_fixture.h"

#define ZSPAN 200000
#define RECORD (17 + LCM_TOC_WINDOW)
#define ZPOINTS_MAX 64

struct zlayer {
	struct lcm_buf blob, points;
	char digests[ZPOINTS_MAX][LCM_DIGEST_STR];
	size_t n;
};

static inline void zmember(struct lcm_buf *blob, const uint8_t *p, size_t len, const char *name)
{
	static uint8_t out[1 << 16];
	gz_header head = { .name = (uint8_t *)(uintptr_t)name, .os = 255 };
	z_stream z = { .next_in = (uint8_t *)(uintptr_t)p, .avail_in = (uInt)len };
	int r;

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	if (name)
		assert_int_equal(deflateSetHeader(&z, &head), Z_OK);
	do {
		z.next_out = out;
		z.avail_out = sizeof(out);
		r = deflate(&z, Z_FINISH);
		zput(blob, out, sizeof(out) - z.avail_out);
	} while (r == Z_OK);
	assert_int_equal(r, Z_STREAM_END);
	(void)deflateEnd(&z);
}

struct zmark {
	int64_t in, out;
	uint8_t bits;
};

/* As SOCI finds them: at the first block, and at the first after each ZSPAN plain bytes. */
static inline size_t zmarks(const struct lcm_buf *blob, size_t plain_len, struct zmark *v)
{
	lcm_autofree uint8_t *out = malloc(plain_len + 1);
	z_stream z = { 0 };
	int64_t last = 0;
	size_t n = 0;
	int r = Z_OK;

	assert_int_equal(inflateInit2(&z, 47), Z_OK);
	z.next_in = (uint8_t *)blob->data;
	z.avail_in = (uInt)blob->len;
	z.next_out = out;
	z.avail_out = (uInt)plain_len + 1;
	while (r != Z_STREAM_END || z.avail_in) {
		int64_t at;

		if (r == Z_STREAM_END)
			assert_int_equal(inflateReset2(&z, 47), Z_OK);
		r = inflate(&z, Z_BLOCK);
		assert_true(r == Z_OK || r == Z_STREAM_END);
		at = z.next_out - out;
		if (r == Z_OK && z.data_type & 128 && !(z.data_type & 64) &&
		    (at == 0 || at - last > ZSPAN)) {
			assert_true(n < ZPOINTS_MAX);
			v[n++] = (struct zmark){ (int64_t)blob->len - z.avail_in, at,
						 (uint8_t)(z.data_type & 7) };
			last = at;
		}
	}
	(void)inflateEnd(&z);
	return n;
}

static inline void zdigest(struct zlayer *l, size_t from, size_t to)
{
	struct lcm_digest d;

	assert_int_equal(lcm_digest_of(l->blob.data + from, to - from, &d), 0);
	(void)lcm_digest_str(&d, l->digests[l->n++]);
}

/* @version: of the checkpoints. */
static inline void zlayer_gzip(struct zlayer *l, const uint8_t *plain, size_t plain_len,
			       unsigned int version)
{
	struct zmark v[ZPOINTS_MAX];
	size_t n = zmarks(&l->blob, plain_len, v);
	uint32_t count = (uint32_t)n;
	int64_t span = ZSPAN;

	l->n = l->points.len = 0;
	zput(&l->points, &count, 4);
	zput(&l->points, &span, 8);
	for (size_t i = 0; i < n; i++) {
		uint8_t window[LCM_TOC_WINDOW] = { 0 };
		size_t had = LCM_MIN((size_t)v[i].out, sizeof(window));

		zdigest(l, (size_t)v[i].in - (v[i].bits > 0),
			i + 1 < n ? (size_t)v[i + 1].in : l->blob.len);
		if (i == 0 && version == 1)
			continue;
		memcpy(window + sizeof(window) - had, plain + v[i].out - had, had);
		zput(&l->points, &v[i].in, 8);
		zput(&l->points, &v[i].out, 8);
		zput(&l->points, &v[i].bits, 1);
		zput(&l->points, window, sizeof(window));
	}
}

static inline void zlayer_plain(struct zlayer *l, const uint8_t *plain, size_t plain_len)
{
	l->n = l->blob.len = 0;
	zput(&l->blob, plain, plain_len);
	for (size_t at = 0; at < plain_len; at += ZSPAN)
		zdigest(l, at, LCM_MIN(at + ZSPAN, plain_len));
	zplain_points(&l->points, 2, ZSPAN, (int64_t)plain_len);
}

#endif
