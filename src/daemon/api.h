/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - what the control API can be asked, without HTTP.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_API_H
#define LCM_API_H

#include "src/base/buf.h"
#include "src/daemon/session.h"

struct lcm_api_call {
	struct lcm_host *host;       /* borrowed */
	int status;                  /* HTTP status; 0: not answered yet */
	json_t *reply;               /* owned */
	struct lcm_buf text;         /* instead of @reply when it has a @type */
	const char *type;            /* of @text; NULL: the answer is @reply, as JSON */
	void (*answered)(void *arg); /* status was set after lcm_api_start() had returned */
	void *arg;
	/* a wait for a session */
	struct lcm_session *s; /* borrowed while watched; NULL: any change is waited for */
	struct lcm_session_watch watch;
	struct lcm_timer *timeout; /* owned */
	enum lcm_phase want;
	bool waiting;
	struct lcm_index_job *index;       /* borrowed while its answer is awaited */
	struct lcm_index_push *push;       /* the same */
	struct lcm_snapshot_job *snapshot; /* the same */
	struct lcm_verify_job *verify;     /* the same */
	struct lcm_content_job *content;   /* the same */
};

/** lcm_api_start - answer, or begin to wait. @args: query and body as one object, borrowed. */
void lcm_api_start(struct lcm_api_call *c, const char *method, const char *url, json_t *args);
void lcm_api_error(struct lcm_api_call *c, int http, int code, const char *fmt, ...)
    LCM_PRINTF(4, 5);
/** lcm_api_fail - the answer for @code; @err: why, may be NULL. */
void lcm_api_fail(struct lcm_api_call *c, int code, const struct lcm_err *err);
/** lcm_api_end - the call is over, answered or not. */
void lcm_api_end(struct lcm_api_call *c);
/** lcm_api_shutdown - the daemon ends: free every session and answer every waiting call (404 for a
 * wait on a session). */
void lcm_api_shutdown(struct lcm_host *h);

#endif
