/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ztoc_write.h - SOCI's zTOCs out of what a layer's tar and its stream are.
 *
 * Layer: image. Pure: no I/O. A reader of SOCI's finds the headers of an entry behind the data of
 * the one before, and compares them with what the zTOC says of it: so all entries of the tar are
 * given, in their order, also those that others replace or that mean whiteouts, under the names
 * that the tar has.
 * Source: as ztoc.h; fs/reader/reader.go Verify() for what is compared. Threads: one owner.
 */
#ifndef LCM_ZTOC_WRITE_H
#define LCM_ZTOC_WRITE_H

#include "image/toc.h"
#include "src/base/buf.h"

struct lcm_ztoc_writer;

/** lcm_ztoc_writer_new - for a layer of gzip. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_ztoc_writer_new(struct lcm_ztoc_writer **ret);
void lcm_ztoc_writer_free(struct lcm_ztoc_writer *w);
LCM_DEFINE_AUTO(lcm_ztoc_writer)

/**
 * lcm_ztoc_writer_file - the next entry of the tar
 * @it: path in normal form; chunks and digest are not looked at; all borrowed during the call
 * @prefix: what the path has before that in the tar
 * @off: where its data begin in the tar, or would
 *
 * Return: 0; -ENOTSUP (SOCI has no words for it: a time outside of years 0 to 9999); -EUCLEAN (its
 * headers overlap the data of the entry before); -EFBIG (LCM_ZTOC_MAX); -ENOMEM.
 */
LCM_MUST_USE int lcm_ztoc_writer_file(struct lcm_ztoc_writer *w, const struct lcm_toc_item *it,
				      const char *prefix, uint64_t off, struct lcm_err *err);

/* Where inflating can begin: behind the byte whose high @bits are the block's, if there are any. */
struct lcm_ztoc_point {
	uint64_t in, out;      /* bytes of the blob and of the tar before it */
	unsigned int bits;     /* 0 .. 7 */
	const uint8_t *window; /* LCM_TOC_WINDOW bytes, borrowed; NULL: nothing is referred to */
	struct lcm_digest
	    digest; /* of the blob from here (from the shared byte) to the next point */
};
/** lcm_ztoc_writer_point - the next one; they ascend. Return: 0, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_ztoc_writer_point(struct lcm_ztoc_writer *w, const struct lcm_ztoc_point *p);
/**
 * lcm_ztoc_writer_finish - the zTOC's bytes, added to @out
 * @blob, @plain: sizes of blob and tar; @span: nominal bytes between points
 * Return: 0; -EFBIG; -ENOMEM. The writer is only to be freed then.
 */
LCM_MUST_USE int lcm_ztoc_writer_finish(struct lcm_ztoc_writer *w, uint64_t blob, uint64_t plain,
					uint64_t span, struct lcm_buf *out);

#endif
