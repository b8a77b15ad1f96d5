/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc_estargz.h - eStargz tables of contents into a TOC builder.
 *
 * Layer: image. Pure: no I/O. A gzip layer whose descriptor has the annotation
 * containerd.io/snapshot/stargz/toc.digest ends in a footer that says where the TOC begins: a
 * gzip member with a tar of one file, stargz.index.json, whose SHA-256 is the annotation's. Or the
 * footer says that the member is a layer of another image, its name that of this one and
 * "-esgztoc". Source: containerd/stargz-snapshotter docs/estargz.md, estargz/gzip.go,
 * estargz/types.go.
 */
#ifndef LCM_TOC_ESTARGZ_H
#define LCM_TOC_ESTARGZ_H

#include "image/manifest.h"
#include "image/toc.h"

#define LCM_ESTARGZ_FOOTER 51 /* bytes; the one of stargz before it has 47 */

struct lcm_estargz_ref {
	uint64_t off, len;        /* the TOC in the blob; known from the footer */
	struct lcm_digest digest; /* of the plain JSON */
};

/** lcm_estargz_find - the annotation of a layer descriptor. Return: 1 (ret->digest), 0 there is
 * none, -EUCLEAN. */
LCM_MUST_USE int lcm_estargz_find(const struct lcm_descriptor *layer, struct lcm_estargz_ref *ret,
				  struct lcm_err *err);
/**
 * lcm_estargz_footer - where the TOC is
 * @tail: the last @len bytes of the blob
 * Return: 0 (ret->off and len); 1: the TOC is in another image (ret->off: the end of the data,
 * ret->len: 0); -ENODATA: no footer: the layer can be pulled whole; -EUCLEAN (points outside of the
 * blob).
 */
LCM_MUST_USE int lcm_estargz_footer(const uint8_t *tail, size_t len, uint64_t blob_size,
				    struct lcm_estargz_ref *ret, struct lcm_err *err);
#define LCM_ESTARGZ_TOC_SUFFIX "-esgztoc" /* behind the tag */
/** lcm_estargz_external - the layer of a TOC image that has the TOC of @layer, borrowed from
 * @manifest; NULL: none. */
const struct lcm_descriptor *lcm_estargz_external(const struct lcm_manifest *manifest,
						  const struct lcm_digest *layer);
/**
 * lcm_estargz_parse - inflate, verify and parse ref->len bytes @toc into @b
 *
 * The digest is checked before anything of the JSON is parsed. Return and memory: as
 * lcm_chunked_parse().
 */
LCM_MUST_USE int lcm_estargz_parse(const struct lcm_estargz_ref *ref, const void *toc, size_t len,
				   struct lcm_toc_builder *b, struct lcm_err *err);

#endif
