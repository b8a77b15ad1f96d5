/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.h - a set of byte ranges, and the file format that keeps it.
 *
 * Layer: store. Pure: no I/O. Invariants: ranges are sorted, not empty, do not
 * overlap and do not touch; total is their sum. Threads: one owner.
 */
#ifndef LCM_RANGES_H
#define LCM_RANGES_H

#include "src/base/buf.h"

/* A map file of so many ranges has 16 MiB; a blob in 4 KiB pieces with gaps would have 8 GiB to get
 * there. */
#define LCM_RANGES_MAX (1U << 20)

struct lcm_range {
	uint64_t off, end; /* bytes; off < end */
};

struct lcm_ranges {
	struct lcm_range *v; /* owned */
	size_t n, cap;
	uint64_t total; /* bytes in the set */
};

void lcm_ranges_fini(struct lcm_ranges *rs);
/** lcm_ranges_add - put [off, off + len) in. Return: 0; -EINVAL (off + len overflows); -EFBIG
 * (LCM_RANGES_MAX); -ENOMEM. Complexity: O(log n) and one memmove. */
LCM_MUST_USE int lcm_ranges_add(struct lcm_ranges *rs, uint64_t off, uint64_t len);
/** lcm_ranges_remove - take [off, off + len) out; when memory for a split is short, all after @off
 * in that range goes too. */
void lcm_ranges_remove(struct lcm_ranges *rs, uint64_t off, uint64_t len);
/** lcm_ranges_has - is all of [off, off + len) in? A range of no bytes is. Complexity: O(log n). */
bool lcm_ranges_has(const struct lcm_ranges *rs, uint64_t off, uint64_t len);
/** lcm_ranges_next - the run of equal state from @off, at most to @size (@off < @size). Return: is
 * it in? Complexity: O(log n). */
bool lcm_ranges_next(const struct lcm_ranges *rs, uint64_t off, uint64_t size, uint64_t *ret_len);

/*
 * Map file, all numbers little endian:
 *   0 "LCMRANGE"   8 u32 version (1)   12 u32 0   16 u64 id   24 u64 size   32 u64 count
 *   40 count * { u64 off, u64 len }, ascending, with gaps
 *   then SHA-256 of everything before it (32 bytes)
 */
#define LCM_RANGES_FILE_MAX (40 + 16ULL * LCM_RANGES_MAX + 32)

/** lcm_ranges_encode - append the map file of blob @id of @size bytes to @ret. Return: 0, -EFBIG,
 * -ENOMEM. */
LCM_MUST_USE int lcm_ranges_encode(const struct lcm_ranges *rs, uint64_t id, uint64_t size,
				   struct lcm_buf *ret);
/** lcm_ranges_decode - the ranges of a map file for just this id and size. Return: 0; -EUCLEAN
 * (damaged, foreign, newer); -ENOMEM. */
LCM_MUST_USE int lcm_ranges_decode(const void *p, size_t len, uint64_t id, uint64_t size,
				   struct lcm_ranges *ret);

#endif
