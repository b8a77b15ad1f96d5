/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the control API's client side; starts a daemon when there is none.
 *
 * Layer: cmd. Threads: one.
 */
#ifndef LCM_CLIENT_H
#define LCM_CLIENT_H

#include <jansson.h>

#include "src/base/buf.h"
#include "src/base/err.h"

/**
 * client_call - one request
 * @body: taken (also on failure); NULL: none
 * @ret:  a new reference; may be NULL
 * @start: start a daemon of the same state directory when none answers
 * Return: 0; the daemon's code with its text; -ECONNREFUSED (no daemon); -EPERM (not root); -EIO.
 */
LCM_MUST_USE int client_call(const char *method, const char *path, json_t *body, bool start,
			     json_t **ret, struct lcm_err *err);
/** client_bytes - GET an answer that is no JSON, appended to @out; otherwise as client_call() */
LCM_MUST_USE int client_bytes(const char *path, struct lcm_buf *out, struct lcm_err *err);
/** client_path - "/v1/mounts/NAME" + @suffix, escaped; free(3) it. NULL: out of memory. */
char *client_path(const char *name, const char *suffix);
/** client_path_query - @path + "?KEY=VALUE", escaped; free(3) it. NULL: out of memory. */
char *client_path_query(const char *path, const char *key, const char *value);

/** client_name - an id as it is; a path (has '/' or is "."), made absolute into @real (PATH_MAX).
 */
const char *client_name(const char *arg, char *real);

/** client_get_mounts - what is told of the mount @name (as client_name() takes it), or, with NULL,
 * of all, for which a daemon is started. @query: "" or "?KEY=VALUE" */
LCM_MUST_USE int client_get_mounts(const char *name, const char *query, json_t **ret,
				   struct lcm_err *err);

/** client_number - a member of an answer; 0 when it is missing or no number. */
double client_number(const json_t *o, const char *key);
/** client_integer - the same, whole. */
long long client_integer(const json_t *o, const char *key);
/** client_text - the same, a text; "" when there is none. */
const char *client_text(const json_t *o, const char *key);
/** client_plain - cmd_plain() of every text in @v; before any of it is printed, but as JSON. */
void client_plain(json_t *v);
/** client_print_json - as every verb's --json has it. */
void client_print_json(const json_t *j);

/** client_list - a verb without arguments that shows what the daemon lists as /v1/VERB: each by
 * @print, or with --json all. Return: an exit status. */
int client_list(int argc, char **argv, const char *usage, const char *verb,
		void (*print)(const json_t *item));

/**
 * client_session - POST /v1/mounts with @body and follow it until ready (or, for pulls, native),
 * with progress on a terminal
 * @wait_for: "ready" or "native"
 * @ret: its last status; also when the session failed (-errno, text from the daemon; the session is
 * deleted then)
 */
LCM_MUST_USE int client_session(json_t *body, const char *wait_for, json_t **ret,
				struct lcm_err *err);
/** client_pull - have the whole of @image here, with progress. @platform, @index: "" for the
 * default. @ret: its last status; may be NULL */
LCM_MUST_USE int client_pull(const char *image, const char *platform, const char *index,
			     json_t **ret, struct lcm_err *err);
/** client_follow - wait for a phase of an existing session, with progress. @patient: it is only
 * looked at; what it still needs stays background. @timeout_ms 0: none.
 * Return: 0, -ETIMEDOUT, its error. */
LCM_MUST_USE int client_follow(const char *name, const char *wait_for, bool patient,
			       uint64_t timeout_ms, json_t **ret, struct lcm_err *err);

#endif
