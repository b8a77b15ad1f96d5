/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge.h - the tree that overlayfs would show of a stack of layers.
 *
 * Layer: overlay. Nodes are inodes in breadth-first order: node 0 is the root, the
 * children of a directory that no earlier name made are consecutive, and walking
 * names[] from the start meets nodes 1, 2, 3... in order. Nothing is copied from the
 * TOCs; they must outlive the merge. Threads: built by one, then immutable.
 * Source: OCI Image Spec v1.1 layer.md; Documentation/filesystems/overlayfs.rst.
 */
#ifndef LCM_MERGE_H
#define LCM_MERGE_H

#include "overlay/meta.h"

struct lcm_merge_node {
	uint32_t layer;  /* whose entry gives the metadata; LCM_TOC_NONE: no layer (root of an empty
			    stack) */
	uint32_t entry;  /* never a hardlink or link below, never one that hides */
	uint32_t nlink;  /* visible names; directories: 2 + subdirectories */
	uint32_t parent; /* directories: node above; the root's is 0 */
	uint32_t first,
	    count; /* directories: children are names[first] .. names[first + count - 1] */
};

struct lcm_merge_name {
	uint32_t layer, entry; /* where the name's bytes are; the node's may be in a lower layer */
	uint32_t node;
};

struct lcm_merge {
	const struct lcm_meta_layer *layers; /* borrowed */
	size_t n_layers;
	struct lcm_merge_node *nodes; /* owned */
	struct lcm_merge_name *names; /* owned */
	uint32_t n_nodes, n_names;
	bool raw; /* of one layer, with what hides in it */
};

/**
 * lcm_merge_init - merge @n layers, bottom first
 * @m:   filled in; lcm_merge_fini() it on success; untouched on failure
 *
 * A character device 0:0 hides as a whiteout does, because overlayfs takes it for one. A link below
 * is another name of what the layers below its own show at its path, as link(2) would have made it.
 * Return: 0; -EINVAL (a layer name that is no file name, too many layers); -EUCLEAN (a link below
 * to nothing; the text names both); -EFBIG (LCM_META_ENTRIES_MAX, LCM_BELOW_STEPS_MAX); -ENOMEM.
 * Complexity: O(entries * log layers), and per link below O(names of its path * layers * log
 * entries of a directory).
 */
LCM_MUST_USE int lcm_merge_init(const struct lcm_meta_layer *layers, size_t n, struct lcm_merge *m,
				struct lcm_err *err);
/**
 * lcm_merge_layer_init - one layer as it is, to be a lower of an overlay that is mounted on ours
 *
 * What hides names is a node, too: an empty file that lcm_merge_marks() marks.
 * Return: as lcm_merge_init(); -EUCLEAN also for a layer whose root is opaque, or with links below.
 */
LCM_MUST_USE int lcm_merge_layer_init(const struct lcm_meta_layer *layer, struct lcm_merge *m,
				      struct lcm_err *err);
void lcm_merge_fini(struct lcm_merge *m);

/* An xattr of overlayfs, escaped once: our overlay shows it to the next one without the escape. */
struct lcm_merge_mark {
	const char *name, *value; /* name without "trusted." */
};
/** lcm_merge_marks - what a node of lcm_merge_layer_init() must say to the next overlay; the last
 * has no name. */
const struct lcm_merge_mark *lcm_merge_marks(const struct lcm_merge *m, uint32_t node);

/** lcm_merge_entry - metadata of a node. */
const struct lcm_toc_entry *lcm_merge_entry(const struct lcm_merge *m, uint32_t node);
/** lcm_merge_name - bytes of a name; *ret_len is 1..255. */
const char *lcm_merge_name(const struct lcm_merge *m, const struct lcm_merge_name *name,
			   size_t *ret_len);

/*
 * What makes overlayfs stop looking. "Whiteout is created as a character device with
 * 0/0 device number": a layer that ships such a device ships a whiteout.
 */
static inline bool lcm_merge_hides(const struct lcm_toc_entry *e)
{
	return e->type == LCM_TOC_WHITEOUT ||
	       (e->type == LCM_TOC_CHAR && e->rdev_major == 0 && e->rdev_minor == 0);
}

/* Regular files of size 0 need no data and no placeholder. */
static inline bool lcm_merge_needs_data(const struct lcm_toc_entry *e)
{
	return e->type == LCM_TOC_REG && e->size > 0;
}

/**
 * typedef lcm_merge_fn - called once per node
 * @redirect: "/<layer>/<path>" of files that need data, borrowed, not NUL-terminated; NULL for
 * others Return: 0, or anything else to stop.
 */
typedef int (*lcm_merge_fn)(void *arg, uint32_t node, const char *redirect, size_t len);

/**
 * lcm_merge_walk - call @fn for every node in ascending order
 * Return: 0; what @fn returned; -ENAMETOOLONG (a redirect of PATH_MAX or more bytes, which
 * overlayfs could not follow).
 */
LCM_MUST_USE int lcm_merge_walk(const struct lcm_merge *m, lcm_merge_fn fn, void *arg,
				struct lcm_err *err);

/** lcm_merge_err - record @what about an entry, naming layer and path. Return: @code. */
int lcm_merge_err(const struct lcm_merge *m, uint32_t layer, uint32_t entry, struct lcm_err *err,
		  int code, const char *what);

#endif
