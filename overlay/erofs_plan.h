/* SPDX-License-Identifier: Apache-2.0 */
/*
 * erofs_plan.h - from merged tree to EROFS image: first where everything goes, then the bytes.
 *
 * Layer: overlay; private to it. Image: block 0 with the superblock and the one
 * shared xattr, inodes in node order right behind it, then blocks of directories
 * and symlinks that are not inline. Positions ascend in node order, so that the
 * writer streams. Threads: one owner.
 */
#ifndef LCM_EROFS_PLAN_H
#define LCM_EROFS_PLAN_H

#include "overlay/erofs_format.h"
#include "overlay/merge.h"

/* trusted.overlay.metacopy="", shared by all files: right behind the superblock. */
#define EROFS_METACOPY_POS (EROFS_SUPER_OFFSET + (unsigned int)sizeof(struct erofs_super))
#define EROFS_METACOPY_NAME "overlay.metacopy"
#define EROFS_REDIRECT_NAME "overlay.redirect"
/* 4 bytes of head and 16 of name, then the next slot. */
#define EROFS_FIRST_SLOT ((EROFS_METACOPY_POS + 20 + EROFS_SLOT - 1) / EROFS_SLOT)

/* Where a node goes. */
struct lcm_erofs_place {
	uint32_t slot;       /* nid */
	uint32_t data_bytes; /* directories and symlinks: i_size */
	uint32_t block;      /* first block of its own, counted from the end of the inodes */
	uint16_t icount;     /* i_xattr_icount */
	uint8_t layout;      /* enum erofs_layout */
	uint8_t extended;    /* inode of 64 bytes */
};

struct lcm_erofs_plan {
	const struct lcm_merge *m;      /* borrowed */
	struct lcm_erofs_place *places; /* owned, one per node */
	int64_t build_time; /* mtime that most inodes have: those need no extended inode */
	uint32_t build_time_nsec;
	uint64_t end;         /* byte after the last inode */
	uint64_t meta_blocks; /* up to the blocks of directories */
	uint64_t blocks;      /* of the image */
	struct lcm_meta_stats stats;
};

/**
 * lcm_erofs_plan_init - decide the place of every node
 * Return: 0; -EUCLEAN, -ENAMETOOLONG, -EFBIG (text names path and layer); -ENOMEM.
 */
LCM_MUST_USE int lcm_erofs_plan_init(const struct lcm_merge *m, struct lcm_erofs_plan *p,
				     struct lcm_err *err);
void lcm_erofs_plan_fini(struct lcm_erofs_plan *p);
/** lcm_erofs_write - the image, from offset 0 of @fd. Return: 0 or -errno. */
LCM_MUST_USE int lcm_erofs_write(const struct lcm_erofs_plan *p, int fd, struct lcm_err *err);

static inline size_t lcm_erofs_xattr_bytes(uint16_t icount)
{
	return icount ? sizeof(struct erofs_xattr_head) + 4 * ((size_t)icount - 1) : 0;
}
static inline size_t lcm_erofs_inode_bytes(const struct lcm_erofs_place *pl)
{
	return pl->extended ? sizeof(struct erofs_inode_extended)
			    : sizeof(struct erofs_inode_compact);
}
/* Null chunks of a placeholder; the planner refuses what needs more than a few. */
static inline size_t lcm_erofs_chunks(uint64_t size)
{
	return (size_t)((size + (1ULL << EROFS_CHUNK_BITS_MAX) - 1) >> EROFS_CHUNK_BITS_MAX);
}

/* Why an entry's xattrs cannot be stored; 0 and *ret_icount otherwise. @redirect_len 0: no
 * placeholder. */
LCM_MUST_USE int lcm_erofs_xattr_plan(const struct lcm_merge *m, uint32_t node, size_t redirect_len,
				      uint16_t *ret_icount);
/* Fill lcm_erofs_xattr_bytes() zeroed bytes at @p. */
void lcm_erofs_xattr_put(const struct lcm_merge *m, uint32_t node, const char *redirect, size_t len,
			 uint8_t *p);

/* ---- directories: entries in order, "." and ".." among them ---- */

#define EROFS_DIRENTS_MAX (EROFS_BLOCK / (sizeof(struct erofs_dirent) + 1))

struct lcm_erofs_dir {
	const struct lcm_merge *m;
	uint32_t dir;      /* node */
	uint32_t next;     /* next child, 0 .. count */
	unsigned int dots; /* how many of "." and ".." are done */
};

struct lcm_erofs_dirent {
	const char *name;
	uint16_t name_len;
	uint32_t node;
};

/**
 * lcm_erofs_dir_block - take the entries that fit in the next block
 * @out:  EROFS_DIRENTS_MAX of them; NULL to only count
 * Return: entries taken, 0 at the end; *ret_bytes is what they need.
 */
size_t lcm_erofs_dir_block(struct lcm_erofs_dir *d, struct lcm_erofs_dirent *out,
			   uint32_t *ret_bytes);

#endif
