/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc_chunked.h - zstd:chunked tables of contents into a TOC builder.
 *
 * Layer: image. Pure: no I/O. Sources: containers/storage pkg/chunked
 * (internal/minimal/compression.go, compressor/compressor.go); the older dialect
 * with the io.containers.zstd-chunked.* annotations (storage 1.40 in Debian 12's
 * skopeo); containerd/stargz-snapshotter estargz/types.go, zstdchunked.go, which
 * uses the same annotations and adds containerd.io/snapshot/stargz/toc.digest.
 */
#ifndef LCM_TOC_CHUNKED_H
#define LCM_TOC_CHUNKED_H

#include "image/manifest.h"
#include "image/toc.h"

/* Where a layer's TOC is, as the descriptor's annotations say. */
struct lcm_chunked_ref {
	uint64_t off, len, plain_len; /* bytes in the blob; len and plain_len <= LCM_TOC_JSON_MAX */
	struct lcm_digest digest;     /* what binds it to the manifest */
	bool digest_of_plain;         /* stargz's dialect: digest is over the uncompressed JSON */
};

/**
 * lcm_chunked_find - read the annotations of a layer descriptor, either dialect
 * Return: 1 found; 0 no such annotations; -EUCLEAN (present but malformed or out of the blob; text
 * names the annotation).
 */
LCM_MUST_USE int lcm_chunked_find(const struct lcm_descriptor *layer, struct lcm_chunked_ref *ret,
				  struct lcm_err *err);

/**
 * lcm_chunked_parse - decompress, verify and parse a TOC into @b
 * @ref:  from lcm_chunked_find()
 * @toc:  ref->len bytes, unverified
 *
 * The digest is checked before anything is parsed. JSON is parsed as a stream: memory is zstd's
 * window, one entry and, in stargz's dialect, 8 bytes a chunk. A chunk's blob range may hold more
 * than the chunk in stargz's dialect (the next file's tar header): whoever inflates it stops after
 * file_len bytes. On failure @b has some of the entries and may only be freed. Return: 0; -EBADMSG
 * (digest); -EUCLEAN (format; text names entry or offset); -EFBIG; -ENOMEM; -EILSEQ (the layer has
 * a name that is not UTF-8, which its writer replaced by U+FFFD: this TOC cannot be used, the layer
 * itself is good and must be pulled whole). Thread: any. Complexity: O(@len + JSON).
 */
LCM_MUST_USE int lcm_chunked_parse(const struct lcm_chunked_ref *ref, const void *toc, size_t len,
				   uint64_t blob_size, struct lcm_toc_builder *b,
				   struct lcm_err *err);

/**
 * lcm_chunked_parse_json - the last step of lcm_chunked_parse() alone: plain JSON, no digest
 * (tests, fuzzing)
 * @ref:  off and digest_of_plain count
 * @step: bytes given to the parser at a time, >= 1
 * Return: as lcm_chunked_parse(), without -EBADMSG.
 */
LCM_MUST_USE int lcm_chunked_parse_json(const struct lcm_chunked_ref *ref, const void *json,
					size_t len, size_t step, uint64_t blob_size,
					struct lcm_toc_builder *b, struct lcm_err *err);

#endif
