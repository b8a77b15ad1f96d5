/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - what tables of contents the store has of an image's layers.
 *
 * Layer: daemon. Threads: loop; the files are read by the pool.
 */
#ifndef LCM_INDEX_H
#define LCM_INDEX_H

#include "src/daemon/api.h"

struct lcm_index_job;

/** lcm_index_show - answer @c with {"image", "layers": [{...}]} once the files have been read (and
 * checked, as before every use). Errors: no such image in the store. */
void lcm_index_show(struct lcm_api_call *c, const char *image);
/** lcm_index_forget - the call is over before its answer. NULL is allowed. */
void lcm_index_forget(struct lcm_index_job *j);

#endif
