/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc_format.h - the TOC file as it lies on disk; private to toc*.c.
 *
 * Layer: image. One file: header, entries, chunks, spans, xattr blocks, strings,
 * with nothing between them, zeros to the next multiple of 4096, windows. Beyond what toc.h
 * promises, a file is canonical, so that one pass with no memory of its own can check it:
 * - directories are numbered breadth first: the children of entry i begin where
 *   the children of the directory before i end, the first of all at 1;
 * - chunks are in the order of their entries, each in exactly one file;
 * - names and link targets, taken together, are no longer than the strings;
 * - string 0 is "", the root's name.
 */
#ifndef LCM_TOC_FORMAT_H
#define LCM_TOC_FORMAT_H

#include <isa-l/crc64.h>

#include "image/toc.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "TOC files are read in place and are little endian");

#define LCM_TOC_MAGIC "LCM-TOC\n"
/* Linux: PATH_MAX counts the NUL. */
#define LCM_TOC_LINK_MAX 4095
/* Linux dev_t inside the kernel: 12 bits of major, 20 of minor. */
#define LCM_TOC_MAJOR_MAX 0xfffU
#define LCM_TOC_MINOR_MAX 0xfffffU

struct toc_header {
	char magic[8];
	uint32_t version;  /* LCM_TOC_VERSION */
	uint32_t reserved; /* 0 */
	uint64_t checksum; /* CRC-64 of the sections, then of this header with 0 here */
	uint64_t file_len; /* bytes, header included */
	struct lcm_toc_id id;
	uint32_t n_entries, n_chunks;
	uint32_t n_spans, n_windows;
	uint64_t xattrs_len, strings_len; /* bytes */
};
_Static_assert(sizeof(struct toc_header) == LCM_TOC_HEADER_LEN, "on-disk layout");

/* Windows begin on a page: whoever sends them on can do so by reference. */
#define TOC_WINDOWS_ALIGN 4096U

/* Bytes before the zeros before the windows. */
static inline uint64_t toc_body_len(const struct toc_header *h)
{
	return sizeof(*h) + (uint64_t)h->n_entries * sizeof(struct lcm_toc_entry) +
	       (uint64_t)h->n_chunks * sizeof(struct lcm_toc_chunk) +
	       (uint64_t)h->n_spans * sizeof(struct lcm_toc_span) + h->xattrs_len + h->strings_len;
}

static inline uint64_t toc_windows_off(const struct toc_header *h)
{
	return (toc_body_len(h) + TOC_WINDOWS_ALIGN - 1) & ~(uint64_t)(TOC_WINDOWS_ALIGN - 1);
}

static inline uint64_t toc_file_len(const struct toc_header *h)
{
	return h->n_windows ? toc_windows_off(h) + (uint64_t)h->n_windows * LCM_TOC_WINDOW
			    : toc_body_len(h);
}

/* Xattrs of one or more entries: a block, then n records, each padded to 4 bytes. */
struct toc_xattr_block {
	uint32_t len; /* bytes, this header included; multiple of 4 */
	uint32_t n;   /* records, >= 1, names strictly ascending */
};

struct toc_xattr {
	uint16_t name_len;
	uint16_t reserved; /* 0 */
	uint32_t value_len;
	char name[]; /* NUL-terminated, then the value, then zeros to the next multiple of 4 */
};

/* Bytes of a record with its padding; both lengths are within limits.h. */
static inline size_t toc_xattr_size(size_t name_len, size_t value_len)
{
	return (sizeof(struct toc_xattr) + name_len + 1 + value_len + 3) & ~(size_t)3;
}

/* An interrupted write, not an attacker, is what this is for: everything else is checked. */
static inline uint64_t toc_checksum(uint64_t crc, const void *p, uint64_t len)
{
	return crc64_ecma_refl(crc, p, len);
}

/* Order of siblings. */
static inline int toc_name_cmp(const char *a, size_t alen, const char *b, size_t blen)
{
	int r = __builtin_memcmp(a, b, LCM_MIN(alen, blen));

	return r ? r : (alen > blen) - (alen < blen);
}

/** lcm_toc_spans_rule - NULL, or the rule that span *ret_span breaks; @id: whose they are. */
const char *lcm_toc_spans_rule(const struct lcm_toc_span *v, uint32_t n, uint32_t n_windows,
			       const struct lcm_toc_id *id, uint32_t *ret_span);
/** lcm_toc_range_rule - NULL, or what is wrong with a chunk's range that begins at a span.
 * Complexity: O(spans of the chunk + log n). */
const char *lcm_toc_range_rule(const struct lcm_toc_span *v, uint32_t n,
			       const struct lcm_toc_chunk *c, bool needs_digests);
/** lcm_toc_spans_last - index of the last span of the range of @c. */
uint32_t lcm_toc_spans_last(const struct lcm_toc_span *v, uint32_t n,
			    const struct lcm_toc_chunk *c);

/** lcm_toc_grow - room for @more elements of @size bytes in *pp; at most @max. Return: 0, -EFBIG,
 * -ENOMEM. */
LCM_MUST_USE int lcm_toc_grow(void *pp, size_t *cap, size_t n, size_t more, size_t size,
			      size_t max);

#endif
