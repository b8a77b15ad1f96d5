/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc_builder.h - the builder's memory; shared by toc_build.c, toc_node.c, toc_xattr.c and
 * toc_write.c.
 *
 * Layer: image. Entries live in one array in order of addition, their children in
 * linked lists, and one hash of (directory, name) finds them. Nothing is ever
 * removed: what is replaced stays in the array, DEAD, so that hardlinks made to
 * it before keep their content, as in a real tree.
 */
#ifndef LCM_TOC_BUILDER_H
#define LCM_TOC_BUILDER_H

#include "image/toc_format.h"
#include "src/base/buf.h"

#define NODE_DEAD (1U << 6)     /* replaced by a later entry */
#define NODE_UNSORTED (1U << 7) /* directory: its children did not come in order */

struct toc_node {
	/*
	 * As in the file, except: parent, link of a hardlink: nodes; flags: with
	 * NODE_*; directories: first_child, n_children are the first and the last
	 * node of the list; a hardlink's link is LCM_TOC_NONE until it is found.
	 */
	struct lcm_toc_entry e;
	uint32_t next; /* next child of the same directory, LCM_TOC_NONE at the end */
};

struct toc_slot {
	uint32_t hash, node; /* node 0, the root, means a free slot */
};

/* A hardlink that came before its target. */
struct toc_pending {
	uint32_t node;
	uint32_t link, link_len; /* in strings */
};

struct lcm_toc_builder {
	struct toc_node *nodes; /* owned; [0] is the root */
	size_t n_nodes, cap_nodes;
	struct lcm_toc_chunk *chunks; /* owned */
	size_t n_chunks, cap_chunks;
	struct lcm_toc_span *spans; /* owned */
	size_t n_spans, cap_spans;
	struct lcm_buf windows;      /* LCM_TOC_WINDOW bytes each */
	bool of_tar;                 /* some chunk has LCM_TOC_CHUNK_TAR */
	struct toc_pending *pending; /* owned */
	size_t n_pending, cap_pending;
	struct toc_slot *slots; /* owned; open addressing, a power of two */
	size_t n_slots, used_slots;
	uint64_t seed; /* of the hash: names come from outside */
	struct lcm_buf strings, xattrs;
	uint32_t last_xattrs; /* the last block, LCM_TOC_NONE: none */
	bool replaced;        /* some node is DEAD */
	uint32_t dir;         /* the directory that `dir_path` names, LCM_TOC_NONE: none */
	size_t dir_len;
	char dir_path[LCM_PATH_MAX];
};

/* Bytes of a path or of one component of it; borrowed. */
struct toc_name {
	const char *s;
	size_t len;
};

static inline const char *toc_node_name(const struct lcm_toc_builder *b, const struct toc_node *n)
{
	return b->strings.data + n->e.name;
}

/** lcm_toc_string_add - store @len bytes and a NUL; *ret: where. Return: 0, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_toc_string_add(struct lcm_toc_builder *b, const char *s, size_t len,
				    uint32_t *ret);
/** lcm_toc_slots_grow - room for one more node in the hash. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_toc_slots_grow(struct lcm_toc_builder *b);
/**
 * lcm_toc_node_add - a node with the fields of @e, in the place of @old when that is not
 * LCM_TOC_NONE
 * @hash: lcm_toc_hash() of (@parent, @n)
 * Return: 0, -EFBIG, -ENOMEM; nothing changed on failure.
 */
LCM_MUST_USE int lcm_toc_node_add(struct lcm_toc_builder *b, uint32_t parent, struct toc_name n,
				  uint32_t hash, const struct lcm_toc_entry *e, uint32_t old,
				  uint32_t *ret);
uint32_t lcm_toc_hash(const struct lcm_toc_builder *b, uint32_t parent, struct toc_name n);
/** lcm_toc_node_child - node of @n in directory @parent, LCM_TOC_NONE when there is none. */
uint32_t lcm_toc_node_child(const struct lcm_toc_builder *b, uint32_t parent, struct toc_name n,
			    uint32_t hash);
/** lcm_toc_node_find - node of a path as listed, LCM_TOC_NONE when there is none. */
uint32_t lcm_toc_node_find(const struct lcm_toc_builder *b, const char *path, size_t len);
/** lcm_toc_path_next - take the next component off @path, "." folded; length 0 at the end. */
struct toc_name lcm_toc_path_next(struct toc_name *path);
/** lcm_toc_path_trim - without what the contract of struct lcm_toc_item strips at both ends. */
struct toc_name lcm_toc_path_trim(const char *s, size_t len);
/** lcm_toc_path_text - path of @i for a text, its tail when it is long. @order: file index -> node,
 * once parents are file indexes; NULL: they are nodes. */
const char *lcm_toc_path_text(const struct lcm_toc_builder *b, const uint32_t *order, uint32_t i,
			      char out[LCM_ERR_MSG_MAX / 2]);
/** lcm_toc_links_resolve - find the targets that were not there when their hardlinks came; what
 * this layer does not have becomes LCM_TOC_LINK_BELOW. Parents are still nodes. Return: 0,
 * -EUCLEAN, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_toc_links_resolve(struct lcm_toc_builder *b, struct lcm_err *err);
/** lcm_toc_spans_cut - turn the chunks of the tar into chunks in spans. Return: 0, -EUCLEAN
 * (*ret_node has the chunk that broke *rule), -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_toc_spans_cut(struct lcm_toc_builder *b, uint32_t *ret_node,
				   const char **rule);
/** lcm_toc_xattrs_add - store @item's xattrs; *ret: their block. Return: 0, -EUCLEAN (*rule says
 * why), -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_toc_xattrs_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
				    uint32_t *ret, const char **rule);

#endif
