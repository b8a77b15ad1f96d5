/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soci_index.h - SOCI index manifests, and where an image says that it has one.
 *
 * Layer: image. Pure. An index is an OCI image manifest whose "layers" are zTOCs. One of version 2
 * is named by an annotation of the image's manifest; one of version 1 names the image as its
 * subject and is found by the referrers of that.
 * Source: awslabs/soci-snapshotter soci/soci_index.go, soci/prefetch.go, fs/fs.go; OCI Image Spec
 * v1.1 manifest.md, OCI Distribution Spec v1.1 "Listing Referrers". Threads: any.
 */
#ifndef LCM_SOCI_INDEX_H
#define LCM_SOCI_INDEX_H

#include "image/manifest.h"

#define LCM_SOCI_V1 "application/vnd.amazon.soci.index.v1+json"
#define LCM_SOCI_V2 "application/vnd.amazon.soci.index.v2+json"

struct lcm_soci_layer {
	struct lcm_digest layer; /* of the image's layer */
	struct lcm_digest ztoc;
	uint64_t ztoc_size; /* bytes, >= 1; over LCM_ZTOC_MAX: lcm_ztoc_parse() will not take it */
	bool no_xattrs; /* its builder says that the layer has no xattrs and no opaque directory */
};

struct lcm_soci_index {
	unsigned int version;          /* 1 or 2 */
	struct lcm_digest subject;     /* the image's manifest; zero: none is named */
	struct lcm_soci_layer *layers; /* owned; SOCI leaves small layers out */
	size_t n_layers;
};

/**
 * lcm_soci_index_parse - parse an index manifest
 * Blobs that are no zTOCs (prefetch lists) are skipped.
 * Return: 0; -EUCLEAN (malformed, or two zTOCs for one layer); -ENOTSUP (not a SOCI index of
 * version 1 or 2; text names its type); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_soci_index_parse(const void *p, size_t len, struct lcm_soci_index **ret,
				      struct lcm_err *err);
void lcm_soci_index_free(struct lcm_soci_index *x);
LCM_DEFINE_AUTO(lcm_soci_index)
/** lcm_soci_index_layer - the zTOC of a layer, or NULL. */
const struct lcm_soci_layer *lcm_soci_index_layer(const struct lcm_soci_index *x,
						  const struct lcm_digest *layer);

/** lcm_soci_find - the index (version 2) that an image's manifest @p names by annotation
 * com.amazon.soci.index-digest. Return: 1 (*ret), 0 there is none, -EUCLEAN, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_soci_find(const void *p, size_t len, struct lcm_digest *ret,
			       struct lcm_err *err);
/** lcm_soci_referrer - the first index of version 1 in a list of referrers @p (an OCI index): its
 * digest and size in bytes. SOCI does not say which of several counts. Return: as lcm_soci_find().
 */
LCM_MUST_USE int lcm_soci_referrer(const void *p, size_t len, struct lcm_digest *ret,
				   uint64_t *ret_size, struct lcm_err *err);

#endif
