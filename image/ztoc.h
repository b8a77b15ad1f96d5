/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ztoc.h - SOCI's zTOCs into a TOC builder.
 *
 * Layer: image. Pure: no I/O. A zTOC lies beside a layer that nobody has converted: it lists the
 * files of the tar by their offsets in it, and the places of the blob at which decoding can begin,
 * with a digest of the compressed bytes up to the next. Nothing in the layer vouches for the list:
 * what it says is to be compared with the tar once all of that is there.
 * Source: awslabs/soci-snapshotter ztoc/fbs/ztoc.fbs, ztoc/ztoc_marshaler.go, ztoc/toc_builder.go,
 * ztoc/zinfo_builder.go, ztoc/compression/gzip_zinfo.c, ztoc/compression/tar_zinfo.go.
 */
#ifndef LCM_ZTOC_H
#define LCM_ZTOC_H

#include "image/toc.h"

/**
 * lcm_ztoc_parse - the spans and files of a zTOC
 * @p: its bytes, whose digest the caller has checked; borrowed during the call
 * @id: blob_size and compression are the layer's, and must be what the zTOC says; the rest is not
 *      looked at
 * @b: an empty builder; gets the spans, and an entry for each file, whose chunk is one of the tar
 *
 * Spans out of which nothing comes are left out; so are those behind the last byte of the tar that
 * SOCI counted. A file that the tar has as a sparse one gets no chunk: it comes with the pull.
 * Return: 0; -EUCLEAN (damaged, or of another layer; the text names the place); -ENOTSUP (version,
 * or a compression that SOCI has no spans for); -EFBIG (limits.h); -ENOMEM. After a failure @b is
 * only to be freed.
 */
LCM_MUST_USE int lcm_ztoc_parse(const void *p, size_t len, const struct lcm_toc_id *id,
				struct lcm_toc_builder *b, struct lcm_err *err);

#endif
