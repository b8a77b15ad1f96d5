/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_priv.h - what the files of the control API share: arguments, and the routes of api_mount.c
 * and api_store.c.
 *
 * Layer: daemon, private to api*.c. Threads: loop.
 */
#ifndef LCM_API_PRIV_H
#define LCM_API_PRIV_H

#include "src/daemon/api.h"

/** api_text - borrowed; "" when it is absent, or no text. */
const char *api_text(json_t *args, const char *key);
/** api_flag - true, or "1" in a query. */
bool api_flag(json_t *args, const char *key);
/** api_number - a JSON number or, in a query, text. Return: 0, also when it is absent (*ret is
 * untouched); -EINVAL. */
LCM_MUST_USE int api_number(json_t *args, const char *key, uint64_t *ret);

/** api_reply_status - answer with STATUS. @with: LCM_STATUS_* */
void api_reply_status(struct lcm_api_call *c, int http, struct lcm_session *s, unsigned int with);

void api_mounts_post(struct lcm_api_call *c, json_t *args);
void api_images(struct lcm_api_call *c, json_t *args);
void api_gc(struct lcm_api_call *c, json_t *args);
void api_verify(struct lcm_api_call *c, json_t *args);
void api_drop_cache(struct lcm_api_call *c, json_t *args);
void api_index(struct lcm_api_call *c, json_t *args);
void api_index_push(struct lcm_api_call *c, json_t *args);

#endif
