/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - one HTTP exchange: a request, a head, a body, an end.
 *
 * Layer: registry. Threads: loop. Redirects, authentication and retries are
 * the caller's; what is here is what every exchange needs: TLS and proxy
 * settings, stall detection, bounded heads, pausing, wiped request fields.
 */
#ifndef LCM_HTTP_H
#define LCM_HTTP_H

#include "registry/hosts.h"
#include "registry/multi.h"
#include "src/base/err.h"

/* Bytes of status line and fields taken; servers' own limits are 8 to 16 KiB. */
#define LCM_HTTP_HEAD_MAX (64U << 10)
/* Bytes of an error's body read to keep the connection. */
#define LCM_HTTP_DRAIN_MAX (64U << 10)

/* What all exchanges of a registry client share. Borrowed by every lcm_http. */
struct lcm_http_env {
	struct lcm_loop *loop;
	struct lcm_multi *multi;
	const char *ca_file, *proxy; /* NULL: libcurl's default */
	uint32_t connect_timeout_ms, stall_timeout_ms;
	uint64_t requests; /* counted */
};

/* What brings so few bytes in so many stall timeouts is stalled, too: 4 KiB in two minutes. */
#define LCM_HTTP_SLOW_BYTES 4096U
#define LCM_HTTP_SLOW_STALLS 8U

struct lcm_http_ops {
	/* A piece of the body. Return: 0 taken; 1 pause, the same piece comes again; < 0 stop the
	 * exchange. */
	int (*body)(void *arg, const void *p, size_t len);
	/* The end, exactly once per start unless stopped; @code as libcurl says, CURLE_WRITE_ERROR
	 * after body() < 0. */
	void (*done)(void *arg, CURLcode code);
};

struct lcm_http_req {
	const char *url;
	const char *const *fields; /* NULL-terminated "Name: value"; copied, the copies are wiped */
	const char *form;          /* POST this form; NULL: GET; copied, the copy is wiped */
	const char *method;        /* HEAD, POST or PUT; NULL: as form says; a literal */
	const void *body;          /* with POST and PUT; borrowed until the end */
	size_t body_len;           /* bytes */
	enum lcm_multi_pool pool;
	uint32_t buffer;           /* bytes, receive buffer */
	bool direct;               /* loopback: never by a proxy */
	bool fresh;                /* not on a connection that exists already */
	const struct lcm_tls *tls; /* borrowed during the call; NULL: as env says */
};

struct lcm_http {
	struct lcm_http_env *env;       /* borrowed */
	const struct lcm_http_ops *ops; /* borrowed */
	void *arg;
	CURL *easy; /* owned */
	struct lcm_multi_job job;
	struct lcm_timer *stall;   /* owned */
	struct curl_slist *fields; /* owned */
	char *form;                /* owned */
	const uint8_t *body;       /* borrowed; what is left to send */
	size_t body_at, body_len;
	enum lcm_multi_pool pool;
	uint64_t start_ns, last_ns; /* of the exchange, of the last byte */
	uint64_t window_ns;         /* since when the next is counted; 0: not yet */
	size_t window_bytes;
	size_t head_bytes;
	bool running, connected, paused;
	bool head_done;             /* a final status and its fields are here */
	bool head_too_big, stalled; /* why it ended */
	char error[CURL_ERROR_SIZE];
};

LCM_MUST_USE int lcm_http_init(struct lcm_http *h, struct lcm_http_env *env,
			       const struct lcm_http_ops *ops, void *arg);
/** lcm_http_fini - stops what is running; a zeroed @h is allowed. */
void lcm_http_fini(struct lcm_http *h);
/** lcm_http_start - begin; nothing may be running. Not from a libcurl callback. Return: 0, -ENOMEM.
 */
LCM_MUST_USE int lcm_http_start(struct lcm_http *h, const struct lcm_http_req *req) LCM_ON(loop);
/** lcm_http_stop - end without done(). Not from a libcurl callback. */
void lcm_http_stop(struct lcm_http *h) LCM_ON(loop);
/** lcm_http_resume - after body() said pause. Not from a libcurl callback; may call body() and
 * done(). */
void lcm_http_resume(struct lcm_http *h) LCM_ON(loop);

/* Of the last reply; valid from the first body() until the next start. */
long lcm_http_status(const struct lcm_http *h);
int64_t lcm_http_length(const struct lcm_http *h); /* Content-Length, -1: not given */
/** lcm_http_field - the @i-th field of that name, NULL: none; borrowed. */
const char *lcm_http_field(const struct lcm_http *h, const char *name, size_t i);
/**
 * lcm_http_error - errno and text of an exchange that ended with @code
 * @peer: "host:port"
 * Return: as lcm_retry_code(); -EPROTO for a head that is too big.
 */
int lcm_http_error(const struct lcm_http *h, CURLcode code, const char *peer, struct lcm_err *err);

#endif
