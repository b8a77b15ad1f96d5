/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/fn_spans.h"

#include <string.h>

int lcm_fn_spans_init(struct lcm_fn_spans *s, const uint8_t *ring, uint64_t ring_len,
		      const struct lcm_toc *toc, struct lcm_toc_builder *index)
{
	*s = (struct lcm_fn_spans){ .ring = ring, .ring_len = ring_len, .index = index };
	if (toc && lcm_toc_span_count(toc)) {
		s->toc = toc;
		s->at = lcm_toc_span(toc, 0)->blob_off;
	}
	if (!s->toc && !index)
		return 0;
	s->hash = lcm_hash_new();
	return s->hash ? 0 : -ENOMEM;
}

void lcm_fn_spans_fini(struct lcm_fn_spans *s)
{
	lcm_hash_free(s->hash);
	s->hash = NULL;
}

static void hash_range(struct lcm_fn_spans *s, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t at = from % s->ring_len, n = LCM_MIN(to - from, s->ring_len - at);

		lcm_hash_update(s->hash, s->ring + at, (size_t)n);
		from += n;
	}
}

static void hash_close(struct lcm_fn_spans *s, struct lcm_digest *ret)
{
	lcm_hash_final(s->hash, ret);
	lcm_hash_reset(s->hash);
}

/* ---- verifying ---- */

static int span_close(struct lcm_fn_spans *s, struct lcm_err *err)
{
	const struct lcm_toc_span *p = lcm_toc_span(s->toc, s->next);
	struct lcm_digest is;

	hash_close(s, &is);
	if (!lcm_digest_is_zero(&p->digest) && !lcm_digest_equal(&p->digest, &is))
		return lcm_err_set(
		    err, -EBADMSG,
		    "bytes %llu to %llu of the blob are not those that the index has "
		    "the digest of",
		    (unsigned long long)p->blob_off,
		    (unsigned long long)(p->blob_off + p->blob_len));
	s->verified = p->blob_off + p->blob_len;
	if (++s->next < lcm_toc_span_count(s->toc))
		s->at = lcm_toc_span(s->toc, s->next)->blob_off;
	return 0;
}

int lcm_fn_spans_verify(struct lcm_fn_spans *s, uint64_t end, struct lcm_err *err)
{
	while (s->toc && s->next < lcm_toc_span_count(s->toc) && s->at < end) {
		const struct lcm_toc_span *p = lcm_toc_span(s->toc, s->next);
		uint64_t stop = LCM_MIN(end, p->blob_off + p->blob_len);
		int r;

		hash_range(s, s->at, stop);
		s->at = stop;
		if (stop < p->blob_off + p->blob_len)
			return 0;
		r = span_close(s, err);
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t lcm_fn_spans_shown(const struct lcm_fn_spans *s, uint64_t end)
{
	const struct lcm_toc_span *p;

	if (!s->toc || s->next >= lcm_toc_span_count(s->toc))
		return end;
	p = lcm_toc_span(s->toc, s->next);
	if (lcm_digest_is_zero(&p->digest))
		return end;
	return LCM_MIN(end, LCM_MAX(p->blob_off, s->verified));
}

/* ---- making ---- */

static int span_add(struct lcm_fn_spans *s, uint64_t blob_end, uint64_t plain_end)
{
	int r;

	s->span.blob_len = blob_end - s->span.blob_off;
	s->span.plain_len = plain_end - s->span.plain_off;
	hash_range(s, s->made, blob_end);
	hash_close(s, &s->span.digest);
	r = lcm_toc_builder_span(s->index, &s->span, NULL);
	/* A layer that cannot be entered often enough has no index, and is none the worse for it.
	 */
	if (r == -EUCLEAN || r == -EFBIG) {
		s->index = NULL;
		return 0;
	}
	return r;
}

int lcm_fn_spans_boundary(struct lcm_fn_spans *s, const struct fn_boundary *b, uint64_t end)
{
	uint64_t blob_end = b->blob_off + (b->bits ? 1 : 0);
	int r = 0;

	if (blob_end > end || b->bits > 7 || b->start < LCM_TOC_START_PLAIN ||
	    b->start >= LCM_TOC_START_MAX)
		return -EPROTO;
	if (s->open ? b->blob_off <= s->span.blob_off || b->plain_off <= s->span.plain_off ||
			  blob_end < s->made
		    : b->blob_off || b->plain_off)
		return -EPROTO;
	if (!s->index)
		return 0;
	if (s->open)
		r = span_add(s, blob_end, b->plain_off);
	if (r < 0)
		return r;
	s->open = true;
	s->made = b->blob_off;
	s->span = (struct lcm_toc_item_span){
		.blob_off = b->blob_off,
		.plain_off = b->plain_off,
		.start = (enum lcm_toc_start)b->start,
		.bits = b->bits,
	};
	if (b->has_window) {
		memcpy(s->window, b + 1, sizeof(s->window));
		s->span.window = s->window;
	}
	return 0;
}

void lcm_fn_spans_pass(struct lcm_fn_spans *s, uint64_t tail)
{
	if (!s->index || !s->open || tail <= s->made)
		return;
	hash_range(s, s->made, tail);
	s->made = tail;
}

int lcm_fn_spans_end(struct lcm_fn_spans *s, uint64_t blob, uint64_t plain)
{
	if (!s->index || !s->open)
		return 0;
	if (blob < s->span.blob_off || plain < s->span.plain_off || blob < s->made)
		return -EPROTO;
	if (plain == s->span.plain_off) /* what is left of the blob gives nothing */
		return 0;
	if (blob == s->span.blob_off)
		return -EPROTO;
	return span_add(s, blob, plain);
}
