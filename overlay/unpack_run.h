/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack_run.h - one run of lcm_unpack(), and what its two modes share.
 *
 * Layer: overlay, private to it. Threads: one.
 */
#ifndef LCM_UNPACK_RUN_H
#define LCM_UNPACK_RUN_H

#include "decode/tar.h"
#include "overlay/layer_dir.h"

struct lcm_unpack_run {
	struct lcm_layer_dir *d;          /* borrowed */
	struct lcm_tar *tar;              /* borrowed */
	const struct lcm_toc *toc;        /* borrowed; NULL: plain */
	const struct lcm_unpack_ops *ops; /* borrowed; never NULL */
	struct lcm_unpack_result result;
	uint64_t unchecked; /* bytes since the last checkpoint */
	int parent;         /* owned; O_PATH of the directory @parent_path, -EBADF: none */
	size_t parent_len;
	char parent_path[LCM_PATH_MAX];
	struct lcm_err *err;               /* borrowed; may be NULL */
	struct lcm_toc_builder *index;     /* borrowed; NULL: none, or it gave up */
	struct lcm_toc_item_chunk *chunks; /* owned; of the file being read, for the index */
	size_t n_chunks, cap_chunks;
};

/* What an entry's name says beyond its type (OCI layer.md "Whiteouts"). */
enum lcm_unpack_name {
	LCM_UNPACK_ORDINARY,
	LCM_UNPACK_WHITEOUT, /* ".wh.NAME" */
	LCM_UNPACK_OPAQUE,   /* ".wh..wh..opq" */
	LCM_UNPACK_DROPPED,  /* aufs' own bookkeeping, ".wh..wh.*" */
	LCM_UNPACK_NAME_MAX,
};
enum lcm_unpack_name lcm_unpack_name_of(const char *name, size_t len);
#define LCM_UNPACK_WHITEOUT_LEN 4 /* ".wh." */

/** lcm_unpack_is_stargz - has eStargz put this entry into the tar for its own use? */
bool lcm_unpack_is_stargz(const struct lcm_tar_entry *e);
/** lcm_unpack_below - does a directory of @path (@len bytes) have one of those names? As
 * lcm_unpack_name_of(). */
enum lcm_unpack_name lcm_unpack_below(const char *path, size_t len);

/** lcm_unpack_parent_cached - the descriptor kept for directory @path, or -ENOENT. */
int lcm_unpack_parent_cached(const struct lcm_unpack_run *u, const char *path, size_t len);
/** lcm_unpack_parent_keep - remember @fd (ownership passes) for @path; returns @fd. */
int lcm_unpack_parent_keep(struct lcm_unpack_run *u, const char *path, size_t len, int fd);

/** lcm_unpack_checkpoint - count @bytes and ask the caller now and then. Return: 0 or what ends the
 * run. */
LCM_MUST_USE int lcm_unpack_checkpoint(struct lcm_unpack_run *u, uint64_t bytes);
/** lcm_unpack_node - make a symlink, device or FIFO with all its attributes. Return: 0, -EEXIST (no
 * text), -errno. */
LCM_MUST_USE int lcm_unpack_node(struct lcm_unpack_run *u, int dirfd, const char *name,
				 const struct lcm_tar_entry *e);
/** lcm_unpack_data - a regular file's data into @fd (-1: nowhere), each piece and hole also to
 * @fn(@arg) when not NULL.
 */
LCM_MUST_USE int lcm_unpack_data(struct lcm_unpack_run *u, const struct lcm_tar_entry *e, int fd,
				 int (*fn)(void *arg, const void *p, uint64_t len), void *arg);
/** lcm_unpack_index - note an entry, after its data was read, in the index when there is one.
 * Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_unpack_index(struct lcm_unpack_run *u, const struct lcm_tar_entry *e);
/** lcm_unpack_attr - the attributes of a tar entry; xattrs borrowed from it. */
struct lcm_layer_attr lcm_unpack_attr(const struct lcm_tar_entry *e);
/** lcm_unpack_link - another name for @target. Return: 0, -EEXIST, -ENOENT (no text for both),
 * -errno. */
LCM_MUST_USE int lcm_unpack_link(struct lcm_unpack_run *u, const char *target, int dirfd,
				 const char *name, const char *path);

/* The two modes: all entries of the tar, then what must wait for its end. */
LCM_MUST_USE int lcm_unpack_plain(struct lcm_unpack_run *u);
LCM_MUST_USE int lcm_unpack_with_toc(struct lcm_unpack_run *u);

#endif
