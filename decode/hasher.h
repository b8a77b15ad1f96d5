/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hasher.h - SHA-256 of a stream on a thread of its own.
 *
 * Layer: decode. One block is in flight at a time and is hashed where it lies: the
 * owner hands it over with lcm_hasher_add(), works on the same bytes (inflates them,
 * writes them to files), and calls lcm_hasher_wait() before it lets the block go.
 * Small blocks, and all blocks where there is one processor or no thread to be had,
 * are hashed on the spot. NULL stands for a hasher that does nothing and gives zero. Threads: one
 * owner; not shared.
 */
#ifndef LCM_HASHER_H
#define LCM_HASHER_H

#include "src/base/digest.h"

struct lcm_hasher;
/** lcm_hasher_new - the thread is started by the first block worth it. NULL: out of memory. */
struct lcm_hasher *lcm_hasher_new(void);
/** lcm_hasher_free - waits for the block in flight. */
void lcm_hasher_free(struct lcm_hasher *h);
LCM_DEFINE_AUTO(lcm_hasher)
/** lcm_hasher_add - the next bytes; borrowed until lcm_hasher_wait() or _final() returns. Waits for
 * the block before.
 */
void lcm_hasher_add(struct lcm_hasher *h, const void *p, size_t len);
/** lcm_hasher_wait - no block is in flight any more. */
void lcm_hasher_wait(struct lcm_hasher *h);
/** lcm_hasher_final - the digest of everything added; only lcm_hasher_free() may follow. */
void lcm_hasher_final(struct lcm_hasher *h, struct lcm_digest *ret);

#endif
