/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.h - a sparse file of one compressed layer and the map of its present ranges.
 *
 * Layer: store. Invariant: a range is in the map only after its bytes are in the
 * file; the map is saved after fdatasync of the data, so after a power cut
 * the map never claims what the file has not. Bytes here are as the registry sent them: unverified.
 * Threads: lcm_blob_write() and lcm_blob_read() may run on any thread (disjoint ranges); the map is
 * guarded inside.
 */
#ifndef LCM_BLOB_H
#define LCM_BLOB_H

#include "src/base/err.h"

struct lcm_blob;

/** lcm_blob_open - open or create blob @id of @size bytes below @dirfd; a damaged or foreign map
 * counts as empty. */
LCM_MUST_USE int lcm_blob_open(int dirfd, int64_t id, uint64_t size, struct lcm_blob **ret,
			       struct lcm_err *err);
/** lcm_blob_close - saves the map; the memory is gone after it. */
void lcm_blob_close(struct lcm_blob *b);
/** lcm_blob_write - write bytes, then mark them present. off + len <= size. Return: 0, -EINVAL,
 * -ENOSPC, -errno. Thread: any. */
LCM_MUST_USE int lcm_blob_write(struct lcm_blob *b, uint64_t off, const void *p, size_t len);
/** lcm_blob_read - exactly @len present bytes. Return: 0, -ENODATA when part is missing, -errno.
 * Thread: any. */
LCM_MUST_USE int lcm_blob_read(struct lcm_blob *b, uint64_t off, void *p, size_t len);
/** lcm_blob_has - is the whole range present? Thread: any. */
bool lcm_blob_has(struct lcm_blob *b, uint64_t off, uint64_t len);
/** lcm_blob_next - the run of equal state from @off: *ret_len bytes are all present (returns true)
 * or all missing (false).
 *  @off < size. Thread: any. */
bool lcm_blob_next(struct lcm_blob *b, uint64_t off, uint64_t *ret_len);
/** lcm_blob_forget - drop a range that failed verification, so that it is fetched anew. Thread:
 * any. */
void lcm_blob_forget(struct lcm_blob *b, uint64_t off, uint64_t len);
uint64_t lcm_blob_present(struct lcm_blob *b); /* bytes */
LCM_MUST_USE int lcm_blob_sync(struct lcm_blob *b);

#endif
