/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_stream_new/read/blob_digest/boundaries and lcm_unit_decode. First byte: bits 0-1 the
 * compression, the rest how many bytes the source gives at a time. What the blocks' size
 * is must not change what comes out, and from every boundary a unit gives what follows there.
 */
#include <string.h>

#include "decode/stream.h"
#include "decode/unit.h"

#define MAX_PLAIN (1U << 20)
#define EVERY 100 /* plain bytes between boundaries */
#define PLACES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *p;
	size_t len, step;
	uint8_t *block;
};

static ssize_t bytes_read(void *arg, const void **ret)
{
	struct bytes *b = arg;
	size_t n = LCM_MIN(b->len, b->step);

	free(b->block);
	b->block = malloc(n ? n : 1);
	if (!b->block)
		abort();
	if (n)
		memcpy(b->block, b->p, n);
	b->p += n;
	b->len -= n;
	*ret = b->block;
	return (ssize_t)n;
}

/* Return: status; *plain: SHA-256 of what came out. */
static int read_all(enum lcm_compression comp, const uint8_t *data, size_t size, size_t step,
		    struct lcm_digest *plain, uint64_t *len)
{
	struct bytes b = { .p = data, .len = size, .step = step };
	lcm_auto(lcm_hash) h = lcm_hash_new();
	struct lcm_stream *s = NULL;
	struct lcm_digest blob, want;
	const void *p;
	uint64_t blob_len;
	ssize_t n;

	if (!h || lcm_stream_new(comp, bytes_read, &b, MAX_PLAIN, &s) < 0)
		abort();
	*len = 0;
	while ((n = lcm_stream_read(s, &p)) > 0) {
		lcm_hash_update(h, p, (size_t)n);
		*len += (uint64_t)n;
	}
	lcm_hash_final(h, plain);
	if (*len > MAX_PLAIN)
		abort();
	if (n < 0 && (lcm_stream_err(s)->code != n || !lcm_stream_err(s)->msg[0]))
		abort();
	if (n == 0) {
		lcm_stream_blob_digest(s, &blob, &blob_len);
		if (lcm_digest_of(data, size, &want) < 0 || blob_len != size ||
		    !lcm_digest_equal(&blob, &want))
			abort();
	}
	lcm_stream_free(s);
	free(b.block);
	return (int)n;
}

struct place {
	struct lcm_boundary b;
	uint8_t window[LCM_TOC_WINDOW];
};

struct places {
	struct place v[PLACES_MAX];
	size_t n;
};

static int place_add(void *arg, const struct lcm_boundary *b)
{
	struct places *p = arg;

	if (p->n && (b->blob_off <= p->v[p->n - 1].b.blob_off ||
		     b->plain_off <= p->v[p->n - 1].b.plain_off))
		abort();
	if (!p->n && (b->blob_off || b->plain_off))
		abort();
	if (p->n == PLACES_MAX)
		return 0;
	p->v[p->n].b = *b;
	if (b->window)
		memcpy(p->v[p->n].window, b->window, LCM_TOC_WINDOW);
	p->n++;
	return 0;
}

/* From @at on, all of it, with room for one byte more, which must not be touched. */
static void unit(enum lcm_compression comp, const uint8_t *data, size_t size,
		 const struct place *at, const uint8_t *plain, uint64_t len)
{
	struct lcm_unit u = {
		.comp = comp,
		.start = at->b.start,
		.bits = at->b.bits,
		.window = at->b.window ? at->window : NULL,
		.in = data + at->b.blob_off,
		.in_len = size - at->b.blob_off,
		.skip = (len - at->b.plain_off) / 3,
	};
	uint8_t *out;

	u.len = len - at->b.plain_off - u.skip;
	if (at->b.start == LCM_TOC_START_CONTINUES || !u.len)
		return;
	out = malloc(u.len + 1);
	if (!out)
		abort();
	out[u.len] = 0x5a;
	if (lcm_unit_decode(&u, out) != 0 || out[u.len] != 0x5a ||
	    memcmp(out, plain + at->b.plain_off + u.skip, u.len) != 0)
		abort();
	free(out);
}

static void units(enum lcm_compression comp, const uint8_t *data, size_t size,
		  const struct lcm_digest *want, uint64_t len)
{
	struct bytes b = { .p = data, .len = size, .step = SIZE_MAX / 2 };
	struct places *p = calloc(1, sizeof(*p));
	uint8_t *plain = malloc(len + 1);
	struct lcm_stream *s = NULL;
	struct lcm_digest is;
	const void *piece;
	uint64_t at = 0;
	ssize_t n;

	if (!p || !plain || lcm_stream_new(comp, bytes_read, &b, MAX_PLAIN, &s) < 0 ||
	    lcm_stream_boundaries(s, EVERY, place_add, p) < 0)
		abort();
	while ((n = lcm_stream_read(s, &piece)) > 0 && (uint64_t)n <= len - at) {
		memcpy(plain + at, piece, (size_t)n);
		at += (uint64_t)n;
	}
	if (n || at != len || lcm_digest_of(plain, len, &is) < 0 || !lcm_digest_equal(&is, want))
		abort();
	for (size_t i = 0; i < p->n; i++)
		unit(comp, data, size, &p->v[i], plain, len);
	lcm_stream_free(s);
	free(b.block);
	free(plain);
	free(p);
}

/* Anything at all as a unit. */
static void any_unit(enum lcm_compression comp, const uint8_t *data, size_t size)
{
	static uint8_t window[LCM_TOC_WINDOW], out[512];
	struct lcm_unit u = { .comp = comp, .in = data, .in_len = size, .skip = 3, .len = 512 };

	lcm_ignore(lcm_unit_decode(&u, out));
	if (comp != LCM_COMP_GZIP || !size)
		return;
	u.start = LCM_TOC_START_DEFLATE;
	u.window = window;
	u.bits = data[0] & 7;
	lcm_ignore(lcm_unit_decode(&u, out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_digest one, all;
	uint64_t len_one, len_all;
	enum lcm_compression comp;
	int a, b;

	if (size < 1 || (data[0] & 3) == 3)
		return 0;
	comp = (enum lcm_compression)(data[0] & 3);
	a = read_all(comp, data + 1, size - 1, (data[0] >> 2) + 1U, &one, &len_one);
	b = read_all(comp, data + 1, size - 1, SIZE_MAX / 2, &all, &len_all);
	if ((a == 0) != (b == 0) ||
	    (a == 0 && (len_one != len_all || !lcm_digest_equal(&one, &all))))
		abort();
	if (b == 0)
		units(comp, data + 1, size - 1, &all, len_all);
	any_unit(comp, data + 1, size - 1);
	return 0;
}
