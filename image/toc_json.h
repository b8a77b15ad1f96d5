/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc_json.h - the JSON of zstd:chunked and eStargz TOCs, as a stream, into a TOC builder.
 *
 * Layer: image; private to toc_chunked.c and toc_estargz.c. One struct lcm_toc_json reads one
 * document. Threads: one owner.
 */
#ifndef LCM_TOC_JSON_H
#define LCM_TOC_JSON_H

#include "image/toc.h"

/* Where data ends when the TOC does not say so (stargz's dialect): sorted begins of all chunks. */
struct lcm_toc_offsets {
	uint64_t *v; /* owned */
	size_t n, cap;
};

struct lcm_toc_json_opt {
	struct lcm_toc_builder *b;       /* borrowed; NULL: only collect offsets */
	struct lcm_toc_offsets *offsets; /* borrowed; NULL: every file must have an endOffset */
	uint64_t data_end;               /* no chunk goes beyond; bytes in the blob */
	bool stargz;                     /* its landmarks are not files of the image */
};

struct lcm_toc_json;
LCM_MUST_USE int lcm_toc_json_new(const struct lcm_toc_json_opt *opt, struct lcm_toc_json **ret);
void lcm_toc_json_free(struct lcm_toc_json *j);
LCM_DEFINE_AUTO(lcm_toc_json)
/** lcm_toc_json_feed - the next @len bytes. Return: as lcm_chunked_parse(); after a failure only
 * free. */
LCM_MUST_USE int lcm_toc_json_feed(struct lcm_toc_json *j, const void *p, size_t len,
				   struct lcm_err *err);
/** lcm_toc_json_finish - no more bytes come. Return: as lcm_toc_json_feed(). */
LCM_MUST_USE int lcm_toc_json_finish(struct lcm_toc_json *j, struct lcm_err *err);

/* Where plain JSON comes from, as often as it is asked for. */
typedef int (*lcm_toc_plain_fn)(void *arg, const void *p, size_t len, struct lcm_err *err);
struct lcm_toc_json_source {
	int (*each)(const struct lcm_toc_json_source *s, lcm_toc_plain_fn fn, void *arg,
		    struct lcm_err *err);
};
/** lcm_toc_json_digest - SHA-256 of the JSON, compared with @want. Return: 0, -EBADMSG, as each().
 */
LCM_MUST_USE int lcm_toc_json_digest(const struct lcm_toc_json_source *s,
				     const struct lcm_digest *want, struct lcm_err *err);
/** lcm_toc_json_build - parse it into @b. @stargz: that dialect, in which chunks have no end. */
LCM_MUST_USE int lcm_toc_json_build(const struct lcm_toc_json_source *s, bool stargz,
				    uint64_t data_end, struct lcm_toc_builder *b,
				    struct lcm_err *err);
void lcm_toc_offsets_sort(struct lcm_toc_offsets *o);
/** lcm_toc_offsets_next - the smallest one above @off, or @end. Complexity: O(log n). */
uint64_t lcm_toc_offsets_next(const struct lcm_toc_offsets *o, uint64_t off, uint64_t end);

/* ---- values, in toc_value.c ---- */

/** lcm_value_u63 - decimal 0 .. 2^63-1. Return: false when it is anything else. */
bool lcm_value_u63(const char *s, size_t len, uint64_t *ret);
/**
 * lcm_value_time - RFC 3339 with up to any number of fraction digits (9 count), years 0000 to 9999
 *
 * Go's zero time, 0001-01-01T00:00:00Z, stands for "no time" and gives 0, as Go's tar writer makes
 * of it.
 */
bool lcm_value_time(const char *s, size_t len, int64_t *ret, uint32_t *ret_nsec);

#endif
