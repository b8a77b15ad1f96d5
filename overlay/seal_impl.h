/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal_impl.h - a seal's file, and what its writer and its checker share.
 *
 * Layer: overlay, private to it. Threads: one.
 *
 * The file, little endian: a header; then for each directory, breadth first, a uint32_t with the
 * number of names in it, and for each of these a record and the name. The first group is of one
 * record without a name: the root's.
 */
#ifndef LCM_SEAL_IMPL_H
#define LCM_SEAL_IMPL_H

#include <sys/stat.h>

#include "overlay/seal.h"
#include "src/base/buf.h"

#define SEAL_MAGIC "LCMSEAL1"
#define SEAL_BLOCK ((size_t)1 << 20)

struct seal_header {
	char magic[8];
	uint64_t len;      /* bytes behind the header */
	uint64_t checksum; /* CRC-64 of those, then of this header with 0 here */
};

struct seal_record {
	uint64_t data; /* CRC-64 of a file's blocks, of a symlink's target; else 0 */
	uint64_t attr; /* CRC-64 of owner, times, device, xattrs */
	uint64_t size; /* of files */
	uint32_t mode; /* st_mode */
	uint32_t name_len;
};
_Static_assert(sizeof(struct seal_record) == 32, "on-disk layout");

/* One look at a tree. */
struct seal_walk {
	const struct lcm_seal_ops *ops; /* borrowed; never NULL */
	struct lcm_seal_result result;
	bool direct;       /* past the page cache, where that can be */
	uint8_t *block;    /* owned; SEAL_BLOCK, aligned to a page */
	char *list;        /* owned; names of xattrs */
	uint8_t *value;    /* owned; of an xattr */
	struct lcm_buf to; /* paths of directories to come, each with its NUL */
	size_t next;       /* where in @to the next one begins */
};

LCM_MUST_USE int seal_walk_init(struct seal_walk *w, const struct lcm_seal_ops *ops, bool direct);
void seal_walk_fini(struct seal_walk *w);
LCM_MUST_USE int seal_checkpoint(struct seal_walk *w);

/** seal_crc - go on with CRC-64 (ECMA-182, reflected). */
uint64_t seal_crc(uint64_t crc, const void *p, size_t len);
/** seal_header_crc - @crc of what follows, completed by the header. */
uint64_t seal_header_crc(uint64_t crc, const struct seal_header *h);
/** seal_take - the record of @name in @dirfd ("" is @dirfd itself), without name_len. Return: 0,
 * -errno. */
LCM_MUST_USE int seal_take(struct seal_walk *w, int dirfd, const char *name,
			   struct seal_record *ret);

struct seal_names {
	char **v; /* owned, sorted */
	size_t n, cap;
};
LCM_MUST_USE int seal_names_get(int dirfd, struct seal_names *ret);
void seal_names_fini(struct seal_names *n);

/** seal_dir - open the directory @path below @root. Return: fd, -errno. */
LCM_MUST_USE int seal_dir(int root, const char *path);
/** seal_join - "@dir/@name", or @name in the root. Return: 0, -ENAMETOOLONG. */
LCM_MUST_USE int seal_join(const char *dir, const char *name, char *out, size_t cap);

#endif
