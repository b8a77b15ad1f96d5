/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content.h - layers' blobs as the registry has them, for who wants the very bytes.
 *
 * The store keeps layers unpacked. What demand left in the blob file comes from there, the rest
 * from the registry of an image that lists the blob. Layer: daemon. Threads: loop.
 */
#ifndef LCM_CONTENT_H
#define LCM_CONTENT_H

#include "src/daemon/api.h"

/* Bytes of one answer; they are in memory meanwhile. */
#define LCM_CONTENT_PART_MAX (4U << 20)

/**
 * lcm_content_call - answer GET /v1/blobs/@digest: without "length" what is known of it, else bytes
 *
 * The bytes are not verified: who has all of them compares their digest.
 */
void lcm_content_call(struct lcm_api_call *c, const char *digest, json_t *args);
/** lcm_content_forget - nobody waits for the answer any more. NULL is allowed. */
void lcm_content_forget(struct lcm_content_job *j);

#endif
