/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - decompress a layer as a stream: gzip (ISA-L), zstd, or plain.
 *
 * Layer: decode (uses base, image, store). Pull model: the consumer reads plain bytes, the
 * stream reads compressed bytes from its source, which may block. Both sides are hashed:
 * the compressed side gives the blob digest. Threads: one.
 * Source: RFC 1952 (multi-member), RFC 8878 (multi-frame, skippable frames).
 */
#ifndef LCM_STREAM_H
#define LCM_STREAM_H

#include "image/toc.h"

/** lcm_source_fn - next compressed bytes, borrowed until the next call. Return: bytes > 0 in *ret,
 * 0 at the end, -errno. */
typedef ssize_t (*lcm_source_fn)(void *arg, const void **ret);

struct lcm_stream;
/**
 * lcm_stream_new - @max_plain: plain bytes after which the stream fails with -EFBIG (bombs); 0:
 * lcm_stream_plain_max() of the compressed bytes so far
 * @comp is what the media type says; the magic bytes must agree (-EUCLEAN otherwise; text names
 * both).
 */
LCM_MUST_USE int lcm_stream_new(enum lcm_compression comp, lcm_source_fn fn, void *arg,
				uint64_t max_plain, struct lcm_stream **ret);
/** lcm_stream_plain_max - what @blob compressed bytes may unpack to. */
uint64_t lcm_stream_plain_max(uint64_t blob);
void lcm_stream_free(struct lcm_stream *s);
/** lcm_stream_no_digest - before the first read: somebody else hashes the blob. */
void lcm_stream_no_digest(struct lcm_stream *s);
LCM_DEFINE_AUTO(lcm_stream)
/** lcm_stream_read - next plain bytes, borrowed until the next call. Return: bytes > 0, 0 at the
 * end (trailing garbage after a gzip member: -EUCLEAN), -errno; text by lcm_stream_err(). */
LCM_MUST_USE ssize_t lcm_stream_read(struct lcm_stream *s, const void **ret);
/** lcm_stream_reads_into - may lcm_stream_read_into() be used? Not where plain bytes are the
 * source's own, nor with boundaries of gzip, whose windows must lie in front of what is read. */
bool lcm_stream_reads_into(const struct lcm_stream *s);
/** lcm_stream_read_into - as lcm_stream_read(), into @buf, at most @cap >= 1 bytes. */
LCM_MUST_USE ssize_t lcm_stream_read_into(struct lcm_stream *s, void *buf, size_t cap);
/** lcm_stream_blob_digest - SHA-256 and length of all compressed bytes; only after
 * lcm_stream_read() returned 0. */
void lcm_stream_blob_digest(struct lcm_stream *s, struct lcm_digest *ret, uint64_t *ret_len);
/** lcm_stream_is_plain - are the plain bytes the blob itself, so that its digest is theirs too? */
bool lcm_stream_is_plain(const struct lcm_stream *s);

/* A place at which decoding can begin: as in struct lcm_toc_span. */
struct lcm_boundary {
	uint64_t blob_off, plain_off; /* bytes */
	enum lcm_toc_start start;
	unsigned int bits;
	const uint8_t
	    *window; /* LCM_TOC_WINDOW bytes, borrowed during the call; NULL: none needed */
};
typedef int (*lcm_boundary_fn)(void *arg, const struct lcm_boundary *b);
/**
 * lcm_stream_boundaries - before the first read: tell @fn where the blob may be entered
 * @every: plain bytes, >= 1, from one place to the next, or more where there is none
 *
 * The first is at 0, 0. They ascend in both offsets. @fn is called during lcm_stream_read(), before
 * bytes behind the place are returned; a negative result is sticky, as an error of the source.
 */
LCM_MUST_USE int lcm_stream_boundaries(struct lcm_stream *s, uint64_t every, lcm_boundary_fn fn,
				       void *arg);

const struct lcm_err *lcm_stream_err(const struct lcm_stream *s);

#endif
