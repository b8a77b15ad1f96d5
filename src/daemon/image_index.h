/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_index.h - tables of contents beside an image: looking for them.
 *
 * Layer: daemon. Threads: loop. Without them the image is right, too, if not lazy: what is not
 * found, or is not what it should be, is logged and done without, unless it was asked for by its
 * digest.
 */
#ifndef LCM_IMAGE_INDEX_H
#define LCM_IMAGE_INDEX_H

#include "image/layer_index.h"
#include "src/daemon/engine.h"

/** lcm_index_where_parse - "" (default), manifest, referrers, none or sha256:HEX. Return: 0,
 * -EINVAL. */
LCM_MUST_USE int lcm_index_where_parse(const char *s, struct lcm_index_where *ret);

struct lcm_index_search;

/* @status: 0, or why an index that was asked for by its digest cannot be used. */
typedef void (*lcm_index_search_fn)(void *arg, int status, const struct lcm_err *err);

/**
 * lcm_index_search - look for indexes of an image
 * @manifest: its text, as it was read; borrowed during the call
 * @digest: of the manifest as served
 * @done: exactly once unless freed before, not from inside this call
 * Return: 1 (it has begun, @ret); 0 (there is nowhere to look); -ENOMEM.
 */
LCM_MUST_USE int lcm_index_search(struct lcm_engine *e, const struct lcm_reference *ref,
				  const char *manifest, const struct lcm_digest *digest,
				  const struct lcm_index_where *where, lcm_index_search_fn done,
				  void *arg, struct lcm_index_search **ret);
/** lcm_index_search_free - forget what was found; ends a search under way. */
void lcm_index_search_free(struct lcm_index_search *s);
/** lcm_index_search_layer - the table for a layer, borrowed; NULL: none. */
const struct lcm_layer_toc *lcm_index_search_layer(const struct lcm_index_search *s,
						   const struct lcm_digest *layer);

#endif
