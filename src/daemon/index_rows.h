/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_rows.h - an image of the store, layer by layer; shared by index.c and index_push.c.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_INDEX_ROWS_H
#define LCM_INDEX_ROWS_H

#include "src/daemon/api.h"

struct lcm_index_rows {
	char *image; /* owned; its reference in full */
	struct lcm_reference ref;
	struct lcm_digest digest;      /* of its manifest */
	struct lcm_manifest *manifest; /* owned */
	char media_type[256];          /* of the manifest */
	size_t manifest_len;           /* bytes */
	struct lcm_layer_row
	    *rows; /* owned, bottom first; id 0: the store does not have the layer */
	size_t n;
};

/** lcm_index_rows_get - Return: 0; -EINVAL (reference); -ENOENT (no such image); -EUCLEAN; -errno.
 * After a failure, too, it is to be given to lcm_index_rows_fini(). */
LCM_MUST_USE int lcm_index_rows_get(struct lcm_store *s, const char *image,
				    struct lcm_index_rows *ret, struct lcm_err *err);
void lcm_index_rows_fini(struct lcm_index_rows *r);
/** lcm_index_rows_error - answer with why lcm_index_rows_get() failed. */
void lcm_index_rows_error(struct lcm_api_call *c, int r, const struct lcm_err *err);

#endif
