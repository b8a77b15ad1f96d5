/* SPDX-License-Identifier: Apache-2.0 */
/* toc_span.c - spans: their rules, which the reader and the builder share, and the cutting of
 * files. */
#include <string.h>

#include "image/toc_builder.h"

/* ---- rules ---- */

static bool start_fits(const struct lcm_toc_span *s, uint32_t compression)
{
	switch (s->start) {
	case LCM_TOC_START_PLAIN:
		return compression == LCM_COMP_NONE;
	case LCM_TOC_START_MEMBER:
	case LCM_TOC_START_DEFLATE:
		return compression == LCM_COMP_GZIP;
	case LCM_TOC_START_FRAME:
	case LCM_TOC_START_CONTINUES:
		return compression == LCM_COMP_ZSTD;
	default:
		return false;
	}
}

static const char *span_rule(const struct lcm_toc_span *s, const struct lcm_toc_span *prev,
			     uint32_t n_windows, const struct lcm_toc_id *id)
{
	bool deflate = s->start == LCM_TOC_START_DEFLATE;

	if (!start_fits(s, id->compression) || (!prev && s->start == LCM_TOC_START_CONTINUES))
		return "begins in a way that its layer's compression has not";
	if (s->blob_len < 1 || s->blob_len > LCM_TOC_SPAN_BLOB_MAX || s->blob_off > id->blob_size ||
	    s->blob_len > id->blob_size - s->blob_off)
		return "lies outside the blob or is too long";
	if (prev && s->blob_off + deflate < prev->blob_off + prev->blob_len)
		return "overlaps the one before in the blob";
	if (prev && s->blob_off <= prev->blob_off)
		return "does not follow the one before in the blob";
	if (s->plain_off != (prev ? prev->plain_off + prev->plain_len : 0) || s->plain_len < 1 ||
	    s->plain_len > INT64_MAX - s->plain_off)
		return "leaves a gap or overlaps in the tar";
	if (s->start == LCM_TOC_START_PLAIN && s->blob_len != s->plain_len)
		return "is plain, but of two lengths";
	if (s->reserved || (!deflate && (s->bits || s->window != LCM_TOC_NONE)) || s->bits > 7)
		return "has bits or a window where none belong";
	if (s->window != LCM_TOC_NONE && s->window >= n_windows)
		return "has a window that is not there";
	return NULL;
}

const char *lcm_toc_spans_rule(const struct lcm_toc_span *v, uint32_t n, uint32_t n_windows,
			       const struct lcm_toc_id *id, uint32_t *ret_span)
{
	for (uint32_t i = 0; i < n; i++) {
		const char *rule = span_rule(&v[i], i ? &v[i - 1] : NULL, n_windows, id);

		*ret_span = i;
		if (rule)
			return rule;
	}
	return NULL;
}

static uint64_t span_end(const struct lcm_toc_span *s)
{
	return s->blob_off + s->blob_len;
}

uint32_t lcm_toc_spans_last(const struct lcm_toc_span *v, uint32_t n, const struct lcm_toc_chunk *c)
{
	uint64_t end = c->blob_off + c->blob_len;
	uint32_t lo = c->span;

	/* The first at or after c->span that ends no earlier than the range does. */
	n -= lo;
	while (n) {
		if (span_end(&v[lo + n / 2]) < end) {
			lo += n / 2 + 1;
			n -= n / 2 + 1;
		} else {
			n /= 2;
		}
	}
	return lo;
}

const char *lcm_toc_range_rule(const struct lcm_toc_span *v, uint32_t n,
			       const struct lcm_toc_chunk *c, bool needs_digests)
{
	const struct lcm_toc_span *first;
	uint64_t plain_end;
	uint32_t last;

	if (c->span >= n)
		return "a chunk is in a span that is not there";
	first = &v[c->span];
	last = lcm_toc_spans_last(v, n, c);
	if (c->skip > INT64_MAX || c->blob_off != first->blob_off ||
	    first->start == LCM_TOC_START_CONTINUES || last >= n ||
	    span_end(&v[last]) != c->blob_off + c->blob_len)
		return "a chunk does not cover whole spans";
	if (last - c->span >= LCM_TOC_UNIT_SPANS_MAX ||
	    c->skip + c->file_len > LCM_TOC_UNIT_PLAIN_MAX)
		return "a chunk needs too much to be decoded";
	plain_end = v[last].plain_off + v[last].plain_len - first->plain_off;
	if (c->skip > plain_end || c->file_len > plain_end - c->skip)
		return "a chunk passes the end of its spans";
	for (uint32_t i = c->span; i <= last; i++) {
		if (i > c->span && v[i].start != LCM_TOC_START_CONTINUES)
			return "a chunk has more spans than it needs";
		if (needs_digests && lcm_digest_is_zero(&v[i].digest))
			return "a chunk has no digest";
	}
	return NULL;
}

/* ---- building ---- */

static int bad_span(struct lcm_err *err, size_t i, int code, const char *rule)
{
	return lcm_err_set(err, code, "span %zu: %s", i, rule);
}

/* Rules that need the layer's identity are checked at the end, by lcm_toc_spans_rule(). */
static const char *item_span_rule(const struct lcm_toc_builder *b,
				  const struct lcm_toc_item_span *s)
{
	const struct lcm_toc_span *prev = b->n_spans ? &b->spans[b->n_spans - 1] : NULL;

	if (s->start < LCM_TOC_START_PLAIN || s->start >= LCM_TOC_START_MAX || s->bits > 7)
		return "unknown start";
	if (s->blob_off > INT64_MAX || s->blob_len > LCM_TOC_SPAN_BLOB_MAX)
		return "lies outside the blob or is too long";
	if (s->plain_off != (prev ? prev->plain_off + prev->plain_len : 0) || s->plain_len < 1 ||
	    s->plain_off > INT64_MAX || s->plain_len > INT64_MAX - s->plain_off)
		return "leaves a gap or overlaps in the tar";
	return NULL;
}

int lcm_toc_builder_span(struct lcm_toc_builder *b, const struct lcm_toc_item_span *s,
			 struct lcm_err *err)
{
	const char *rule = item_span_rule(b, s);
	uint32_t window = LCM_TOC_NONE;
	int r;

	if (rule)
		return bad_span(err, b->n_spans, -EUCLEAN, rule);
	r = lcm_toc_grow(&b->spans, &b->cap_spans, b->n_spans, 1, sizeof(*b->spans),
			 LCM_TOC_SPANS_MAX);
	if (r == 0 && s->window) {
		window = (uint32_t)(b->windows.len / LCM_TOC_WINDOW);
		r = lcm_buf_add(&b->windows, s->window, LCM_TOC_WINDOW);
	}
	if (r == -EFBIG)
		return bad_span(err, b->n_spans, r, "too many of them");
	if (r < 0)
		return r;
	b->spans[b->n_spans++] = (struct lcm_toc_span){
		.blob_off = s->blob_off,
		.blob_len = s->blob_len,
		.plain_off = s->plain_off,
		.plain_len = s->plain_len,
		.window = window,
		.start = (uint8_t)s->start,
		.bits = (uint8_t)s->bits,
		.digest = s->digest,
	};
	return 0;
}

/* Index of the span that has byte @off of the tar; n when none has. */
static uint32_t span_at(const struct lcm_toc_builder *b, uint64_t off)
{
	uint32_t lo = 0, n = (uint32_t)b->n_spans;

	while (n) {
		const struct lcm_toc_span *s = &b->spans[lo + n / 2];

		if (s->plain_off + s->plain_len <= off) {
			lo += n / 2 + 1;
			n -= n / 2 + 1;
		} else {
			n /= 2;
		}
	}
	return lo;
}

/* The part of @c (of the tar, from its byte @at on) that span @i has. */
static struct lcm_toc_chunk piece_of(const struct lcm_toc_builder *b, const struct lcm_toc_chunk *c,
				     uint64_t at, uint32_t i)
{
	const struct lcm_toc_span *s = &b->spans[i], *first = s;
	uint64_t off = c->blob_off + at;
	struct lcm_toc_chunk k = *c;

	while (first->start == LCM_TOC_START_CONTINUES && first > b->spans)
		first--;
	k.flags &= ~LCM_TOC_CHUNK_TAR;
	k.span = (uint32_t)(first - b->spans);
	k.blob_off = first->blob_off;
	k.blob_len = span_end(s) - first->blob_off;
	k.file_off += at;
	k.file_len = LCM_MIN(c->file_len - at, s->plain_off + s->plain_len - off);
	k.skip = off - first->plain_off;
	return k;
}

struct cut {
	struct lcm_toc_chunk *v; /* owned until it becomes the builder's */
	size_t n, cap;
};

static int cut_chunk(const struct lcm_toc_builder *b, const struct lcm_toc_chunk *c,
		     struct cut *cut, const char **rule)
{
	uint32_t i = span_at(b, c->blob_off);
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && at < c->file_len) {
		if (c->flags & LCM_TOC_CHUNK_TAR && i >= b->n_spans) {
			*rule = "its data is in no span";
			return -EUCLEAN;
		}
		r = lcm_toc_grow(&cut->v, &cut->cap, cut->n, 1, sizeof(*cut->v),
				 LCM_TOC_CHUNKS_MAX);
		if (r < 0)
			return r;
		cut->v[cut->n] = c->flags & LCM_TOC_CHUNK_TAR ? piece_of(b, c, at, i++) : *c;
		at += cut->v[cut->n++].file_len;
	}
	return r;
}

/* More would have to be decoded than demand ever does: the file comes with the pull. */
static bool is_too_far(const struct lcm_toc_builder *b, const struct lcm_toc_chunk *c)
{
	uint64_t max = LCM_TOC_UNIT_PLAIN_MAX;
	uint32_t more;

	if (c->span == LCM_TOC_NONE)
		return false;
	more = lcm_toc_spans_last(b->spans, (uint32_t)b->n_spans, c) - c->span;
	if (more)
		max = LCM_TOC_CHAIN_PLAIN_MAX;
	return more >= LCM_TOC_UNIT_SPANS_MAX || c->skip > max || c->file_len > max - c->skip;
}

static const char *cut_rule(const struct lcm_toc_builder *b, const struct toc_node *n,
			    const struct cut *cut, size_t first)
{
	bool whole = cut->n - first == 1 && !lcm_digest_is_zero(&n->e.digest);

	for (size_t i = first; i < cut->n; i++) {
		const struct lcm_toc_chunk *c = &cut->v[i];
		const char *rule = c->span == LCM_TOC_NONE
				       ? NULL
				       : lcm_toc_range_rule(b->spans, (uint32_t)b->n_spans, c,
							    lcm_digest_is_zero(&c->digest) &&
								!whole);

		if (rule)
			return rule;
	}
	return NULL;
}

static int cut_file(const struct lcm_toc_builder *b, struct toc_node *n, struct cut *cut,
		    const char **rule)
{
	size_t first = cut->n;
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < n->e.n_chunks; k++)
		r = cut_chunk(b, &b->chunks[n->e.first_chunk + k], cut, rule);
	for (size_t i = first; r == 0 && i < cut->n; i++)
		if (is_too_far(b, &cut->v[i]))
			cut->n = first;
	if (r < 0)
		return r;
	n->e.first_chunk = (uint32_t)first;
	n->e.n_chunks = (uint32_t)(cut->n - first);
	*rule = cut_rule(b, n, cut, first);
	return *rule ? -EUCLEAN : 0;
}

int lcm_toc_spans_cut(struct lcm_toc_builder *b, uint32_t *ret_node, const char **rule)
{
	struct cut cut = { 0 };
	int r = 0;

	for (uint32_t i = 0; r == 0 && b->of_tar && i < b->n_nodes; i++) {
		*ret_node = i;
		if (b->nodes[i].e.type == LCM_TOC_REG)
			r = cut_file(b, &b->nodes[i], &cut, rule);
	}
	if (r < 0 || !b->of_tar) {
		free(cut.v);
		return r;
	}
	free(b->chunks);
	b->chunks = cut.v;
	b->n_chunks = cut.n;
	b->cap_chunks = cut.cap;
	return 0;
}
