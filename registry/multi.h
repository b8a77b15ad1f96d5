/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multi.h - libcurl's multi interface driven by an lcm_loop.
 *
 * Layer: registry. Threads: loop. There are two pools of connections and no
 * transfer ever changes its pool, so a demand range cannot wait behind a
 * background body: stream weights are a hint that few servers follow, and
 * bytes already in the pipe have no weight at all. Within the demand pool
 * HTTP/2 streams share connections; a background transfer has its own, and
 * speaks HTTP/1.1 on it: its sink pauses often, and libcurl before 8.1 holds up
 * a whole HTTP/2 connection while one of its streams is paused.
 * Source: libcurl-multi(3), "curl_multi_socket_action".
 */
#ifndef LCM_MULTI_H
#define LCM_MULTI_H

#include <curl/curl.h>

#include "src/base/loop.h"

enum lcm_multi_pool {
	LCM_MULTI_DEMAND,
	LCM_MULTI_BACKGROUND,
	LCM_MULTI_POOL_MAX,
};

struct lcm_multi;

/* Set as CURLOPT_PRIVATE of every handle that is added. */
struct lcm_multi_job {
	void (*done)(
	    void *arg,
	    CURLcode code); /* the handle was removed already; not inside a call into libcurl */
	void *arg;
};

/**
 * lcm_multi_new - two multi handles, one name cache and TLS session cache
 * @connections: idle connections kept in the background pool
 * Return: 0, -ENOMEM.
 */
LCM_MUST_USE int lcm_multi_new(struct lcm_loop *loop, uint32_t connections, struct lcm_multi **ret);
/** lcm_multi_free - every handle must have been removed. */
void lcm_multi_free(struct lcm_multi *m);
LCM_DEFINE_AUTO(lcm_multi)

/** lcm_multi_share - for CURLOPT_SHARE. */
CURLSH *lcm_multi_share(struct lcm_multi *m);
/** lcm_multi_add - begin @easy; not from inside a libcurl callback. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_multi_add(struct lcm_multi *m, enum lcm_multi_pool pool, CURL *easy)
    LCM_ON(loop);
/** lcm_multi_remove - forget @easy without its done call; not from inside a libcurl callback. */
void lcm_multi_remove(struct lcm_multi *m, enum lcm_multi_pool pool, CURL *easy) LCM_ON(loop);
/** lcm_multi_kick - look for handles that ended by other means than a socket (after
 * curl_easy_pause()). */
void lcm_multi_kick(struct lcm_multi *m, enum lcm_multi_pool pool) LCM_ON(loop);

#endif
