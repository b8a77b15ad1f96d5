/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_index.h - index manifests: tables of contents that lie beside an image, and where they are.
 *
 * Layer: image. Pure. An index is an OCI image manifest whose "layers" are tables of contents of
 * the image's layers: SOCI's zTOCs, or TOC files of ours (locum-toc(5)). One of SOCI's version 2 is
 * named by an annotation of the image's manifest and bound to it so; the others name the image as
 * their subject and are found by the referrers of that: whoever may push there says what they are.
 * Source: awslabs/soci-snapshotter soci/soci_index.go, soci/prefetch.go, fs/fs.go; OCI Image Spec
 * v1.1 manifest.md, OCI Distribution Spec v1.1 "Listing Referrers". Threads: any.
 */
#ifndef LCM_LAYER_INDEX_H
#define LCM_LAYER_INDEX_H

#include "image/manifest.h"
#include "src/base/buf.h"

enum lcm_index_kind {
	LCM_INDEX_NONE,
	LCM_INDEX_SOCI_V1,
	LCM_INDEX_SOCI_V2,
	LCM_INDEX_TOC, /* TOC files, for layers that zTOCs have no words for */
	LCM_INDEX_KIND_MAX,
};

/** lcm_index_type - the artifactType of an index; NULL for LCM_INDEX_NONE. */
const char *lcm_index_type(enum lcm_index_kind kind);

struct lcm_layer_toc {
	enum lcm_index_kind kind;
	struct lcm_digest layer; /* of the image's layer */
	struct lcm_digest toc;   /* of the table */
	uint64_t size;           /* bytes, >= 1; over LCM_ZTOC_MAX nobody takes it */
};

struct lcm_layer_index {
	enum lcm_index_kind kind;
	struct lcm_digest subject;    /* the image's manifest; zero: none is named */
	struct lcm_layer_toc *layers; /* owned; small layers may be left out */
	size_t n_layers;
};

/**
 * lcm_layer_index_parse - parse an index manifest
 * Blobs that are no tables of contents (prefetch lists) are skipped.
 * Return: 0; -EUCLEAN (malformed, or two tables for one layer); -ENOTSUP (not an index; text names
 * its type); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_layer_index_parse(const void *p, size_t len, struct lcm_layer_index **ret,
				       struct lcm_err *err);
void lcm_layer_index_free(struct lcm_layer_index *x);
LCM_DEFINE_AUTO(lcm_layer_index)
/** lcm_layer_index_layer - the table of a layer, or NULL. */
const struct lcm_layer_toc *lcm_layer_index_layer(const struct lcm_layer_index *x,
						  const struct lcm_digest *layer);

/** lcm_layer_index_find - the index that an image's manifest @p names by annotation
 * com.amazon.soci.index-digest. Return: 1 (*ret), 0 there is none, -EUCLEAN, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_layer_index_find(const void *p, size_t len, struct lcm_digest *ret,
				      struct lcm_err *err);

#define LCM_REFERRERS_MAX 8U /* indexes of one image that are looked at */

/* The indexes that lists of referrers name. Zero: none yet. */
struct lcm_referrers {
	struct lcm_digest of[LCM_INDEX_KIND_MAX][LCM_REFERRERS_MAX];
	size_t n[LCM_INDEX_KIND_MAX];
};

/** lcm_layer_index_referrers - add the indexes in a list of referrers @p (an OCI index), or in a
 * page of it, to @r. Return: 0; -EUCLEAN; -EFBIG; -ENOMEM; after a failure @r may have some. */
LCM_MUST_USE int lcm_layer_index_referrers(const void *p, size_t len, struct lcm_referrers *r,
					   struct lcm_err *err);
/**
 * lcm_referrers_best - those of ours first, then SOCI's of version 2, then of version 1; nobody
 * says which of several counts
 * @ret: gets their digests, at most LCM_REFERRERS_MAX
 * Return: how many.
 */
size_t lcm_referrers_best(const struct lcm_referrers *r, struct lcm_digest ret[LCM_REFERRERS_MAX]);

/* ---- writing ---- */

/* What an index of ours is the index of. */
struct lcm_index_subject {
	const char *media_type; /* of the image's manifest; borrowed */
	struct lcm_digest digest;
	uint64_t size; /* bytes */
};

#define LCM_INDEX_CONFIG "{}" /* the config of every index: its content */

/**
 * lcm_layer_index_write - an index manifest, added to @out
 * @layers: media_types[i] is the media type of the layer that layers[i] is the table of
 * Return: 0, -EFBIG, -ENOMEM.
 */
LCM_MUST_USE int lcm_layer_index_write(enum lcm_index_kind kind, const struct lcm_layer_toc *layers,
				       const char *const *media_types, size_t n,
				       const struct lcm_index_subject *subject,
				       struct lcm_buf *out);
/**
 * lcm_referrers_add - a list of referrers with one index more, added to @out
 * @p: the list as it is, for registries that keep it as a tag; @len 0: there is none
 * Return: 1 (*out); 0 (it is in the list already); -EUCLEAN (@p is no list); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_referrers_add(const void *p, size_t len, enum lcm_index_kind kind,
				   const struct lcm_digest *index, uint64_t size,
				   struct lcm_buf *out, struct lcm_err *err);

#endif
