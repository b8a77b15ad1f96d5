/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_push.h - publish tables of contents beside an image, in its repository.
 *
 * Layer: daemon. Threads: loop; layers are read by the pool. For a gzip layer it is a zTOC in a
 * SOCI index of version 2, for any other layer (and for what zTOCs have no words for) the TOC file
 * in an index of our own type. Both name the image's manifest as their subject. A gzip layer is
 * fetched once more for it: SOCI's digests are of compressed bytes, which nobody keeps.
 */
#ifndef LCM_INDEX_PUSH_H
#define LCM_INDEX_PUSH_H

#include "src/daemon/api.h"

struct lcm_index_push;

/** lcm_index_push - answer @c with {"image", "indexes": [{...}], "skipped"} once all is there.
 * Errors: no such image in the store; a layer without a table; what the registry says. */
void lcm_index_push(struct lcm_api_call *c, const char *image);
/** lcm_index_push_forget - the call is over before its answer: stop at the next step. NULL is
 * allowed. */
void lcm_index_push_forget(struct lcm_index_push *j);

#endif
