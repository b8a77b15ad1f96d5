/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit.h - decode a piece out of the middle of a layer, memory to memory.
 *
 * Layer: decode. Threads: any (decompressors are kept per thread).
 * Source: RFC 1951, RFC 1952, RFC 8878; SOCI's checkpoints (ztoc/compression/gzip_zinfo.c).
 */
#ifndef LCM_UNIT_H
#define LCM_UNIT_H

#include "image/toc.h"

struct lcm_unit {
	enum lcm_compression comp;
	enum lcm_toc_start start; /* 0: as the compression begins: member, frame, or plain */
	unsigned int bits;        /* DEFLATE: as in struct lcm_toc_span */
	const uint8_t *window; /* DEFLATE: LCM_TOC_WINDOW bytes, borrowed; NULL: nothing before */
	const void *in;        /* borrowed; may hold more than is needed */
	size_t in_len;
	uint64_t skip; /* plain bytes to drop first */
	uint64_t len;  /* plain bytes to make, >= 1 */
};

/**
 * lcm_unit_decode - drop skip plain bytes, put the next len to @out, stop
 *
 * What comes out is not verified: the caller has a digest of it, or has verified what went in.
 * Return: 0; -EUCLEAN (damaged); -EBADMSG (ends before); -ENOMEM.
 */
LCM_MUST_USE int lcm_unit_decode(const struct lcm_unit *u, void *out);

#endif
