/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fn_spans.h - spans of the blob while it passes: those of a TOC are verified before the
 * function sees them, those of an index are made from the boundaries that it reports.
 *
 * Layer: decode, private to tar_remote.c. Positions are bytes of the blob; byte n lies in the ring
 * at n % ring. Threads: one owner.
 */
#ifndef LCM_FN_SPANS_H
#define LCM_FN_SPANS_H

#include "decode/fn_wire.h"

struct lcm_fn_spans {
	const uint8_t *ring; /* borrowed */
	uint64_t ring_len;
	struct lcm_hash *hash; /* owned */
	/* verifying */
	const struct lcm_toc *toc; /* borrowed; NULL: nothing to verify */
	uint32_t next;             /* span being hashed */
	uint64_t at;               /* its next byte */
	uint64_t verified;         /* end of the last one that was good */
	/* making */
	struct lcm_toc_builder *index; /* borrowed; NULL: none, or given up */
	bool open;
	struct lcm_toc_item_span span; /* the one being made */
	uint64_t made;                 /* bytes of the blob that are in its hash */
	uint8_t window[LCM_TOC_WINDOW];
};

LCM_MUST_USE int lcm_fn_spans_init(struct lcm_fn_spans *s, const uint8_t *ring, uint64_t ring_len,
				   const struct lcm_toc *toc, struct lcm_toc_builder *index);
void lcm_fn_spans_fini(struct lcm_fn_spans *s);

/** lcm_fn_spans_verify - the ring has bytes up to @end. Return: 0; -EBADMSG (text names the span).
 */
LCM_MUST_USE int lcm_fn_spans_verify(struct lcm_fn_spans *s, uint64_t end, struct lcm_err *err);
/** lcm_fn_spans_shown - of @end bytes, how many the function may see. */
uint64_t lcm_fn_spans_shown(const struct lcm_fn_spans *s, uint64_t end);

/** lcm_fn_spans_boundary - a new span begins. @end: bytes that the ring has had; @plain: plain
 * bytes made so far. Return: 0; -EPROTO (no boundary can be so); -errno. */
LCM_MUST_USE int lcm_fn_spans_boundary(struct lcm_fn_spans *s, const struct fn_boundary *b,
				       uint64_t end);
/** lcm_fn_spans_pass - no boundary comes before @tail any more: the ring may forget it. */
void lcm_fn_spans_pass(struct lcm_fn_spans *s, uint64_t tail);
/** lcm_fn_spans_end - the layer's @blob bytes gave @plain. Return: as lcm_fn_spans_boundary(). */
LCM_MUST_USE int lcm_fn_spans_end(struct lcm_fn_spans *s, uint64_t blob, uint64_t plain);

#endif
