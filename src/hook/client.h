/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - one request to the daemon, without a library.
 *
 * A runtime waits for its hooks: starting a program that is linked with libcurl and what that
 * brings costs more than all that the hook does. HTTP/1.0 on a unix socket needs no more than this.
 *
 * Layer: hook. Threads: one. Source: RFC 9112; doc/control-api.md.
 */
#ifndef LCM_HOOK_CLIENT_H
#define LCM_HOOK_CLIENT_H

#include <jansson.h>

#include "src/base/err.h"

struct lcm_hook_client {
	const char *run_dir;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
};

/**
 * lcm_hook_call - ask the daemon
 * @path: as on the wire, escaped
 * @body: taken, also on failure; NULL: none
 * @ret: a new reference; may be NULL
 * Return: 0; the daemon's code with its text; -ECONNREFUSED (no daemon; the text has connect(2)'s
 * own reason); -ETIMEDOUT; -EPROTO.
 */
LCM_MUST_USE int lcm_hook_call(const struct lcm_hook_client *c, const char *method,
			       const char *path, json_t *body, json_t **ret, struct lcm_err *err);

#endif
