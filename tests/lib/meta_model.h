/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta_model.h - a slow and simple second opinion about META, for tests.
 *
 * The model applies layers bottom to top to a tree in memory, as unpacking them over each
 * other would; overlay/merge.c merges top to bottom. The image reader knows the EROFS
 * format by its own offsets and shares no code with the writer. All check functions
 * return NULL when all is well, else what is wrong.
 */
#ifndef LCM_TESTS_META_MODEL_H
#define LCM_TESTS_META_MODEL_H

#include "overlay/meta.h"

struct mm_node {
	const char *name; /* in the TOC */
	size_t name_len;
	struct mm_node *parent;
	struct mm_node **kids; /* in no order */
	size_t n_kids, cap;
	uint32_t layer,
	    entry; /* metadata; never a hardlink entry; layer LCM_TOC_NONE: default root */
	bool dir;
	bool bad; /* a link below to nothing */
	uint32_t nlink;
	struct mm_node *first; /* of the names of this inode */
	uint64_t id;           /* scratch of the checks: nid or st_ino, 0: not seen yet */
};

struct mm_model {
	const struct lcm_meta_layer *layers; /* borrowed */
	size_t n_layers;
	struct mm_node *root;
	bool overlay; /* scratch of mm_check_mount() */
	uint64_t inodes, regular, bytes_regular;
	bool bad; /* some node is: META must be refused */
};

void mm_build(struct mm_model *m, const struct lcm_meta_layer *layers,
	      size_t n); /* aborts when memory is out */
void mm_fini(struct mm_model *m);
const struct lcm_toc_entry *mm_entry(const struct mm_model *m, const struct mm_node *n);
struct mm_node *mm_child(const struct mm_node *dir, const char *name, size_t len);
/* The xattrs META must show: calls @fn for each but the overlay's own. */
const char *mm_each_xattr(const struct mm_model *m, const struct mm_node *n,
			  const char *(*fn)(void *arg, const struct lcm_xattr *x), void *arg);
size_t mm_redirect(const struct mm_model *m, const struct mm_node *n, char *out, size_t cap);

const char *mm_check_image(const struct mm_model *m, const uint8_t *image, size_t len);
/* The mounted tree at @dirfd: EROFS itself, or an overlay over it without content. */
const char *mm_check_mount(struct mm_model *m, int dirfd, bool overlay);

/* ---- layers out of bytes ---- */

#define MM_LAYERS_MAX 5

struct mm_layers {
	struct lcm_meta_layer l[MM_LAYERS_MAX];
	size_t n;
	/* A layer that could not be on top of the first refused_on ones, NULL: there was none. */
	struct lcm_toc *refused;
	size_t refused_on;
};

/* Build 0 to MM_LAYERS_MAX TOCs below @dirfd as @data says; any bytes will do. */
void mm_generate(const uint8_t *data, size_t size, int dirfd, struct mm_layers *ret);
void mm_layers_fini(struct mm_layers *l);

#endif
