/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_answer.h - what serve.c (life cycle) and serve_answer.c (requests) share.
 *
 * Layer: registry, private. Threads: the server's own; a request belongs to the thread of its
 * connection.
 */
#ifndef LCM_REGISTRY_SERVE_ANSWER_H
#define LCM_REGISTRY_SERVE_ANSWER_H

#include <stdatomic.h>

#include "registry/serve.h"
#include "registry/serve_hold.h"

struct lcm_serve {
	struct MHD_Daemon *mhd; /* owned */
	int dir;                /* owned: the layout */
	bool hooked;            /* hook and holder are set */
	bool holder_live;       /* the holder's thread runs */
	struct lcm_serve_hook hook;
	struct lcm_holder holder;
	_Atomic uint64_t ids;              /* requests so far */
	char repo[LCM_SERVE_REPO_MAX + 1]; /* name in the catalog */
	char url[96];                      /* "http://" + host */
	const char *host;                  /* into url */
};

/** lcm_serve_answer - MHD_AccessHandlerCallback; cls: struct lcm_serve */
enum MHD_Result lcm_serve_answer(void *cls, struct MHD_Connection *c, const char *url,
				 const char *method, const char *version, const char *upload,
				 size_t *upload_len, void **con_cls);
/** lcm_serve_answered - MHD_RequestCompletedCallback; cls: struct lcm_serve */
void lcm_serve_answered(void *cls, struct MHD_Connection *c, void **con_cls,
			enum MHD_RequestTerminationCode code);

#endif
