/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - an OCI layout directory as a read-only registry over HTTP, with a hook for faults.
 *
 * Layer: registry. Threads: lcm_serve_* from any thread; the hook is called on the server's own
 * threads, several at once. Bodies go from the file to the socket by sendfile(2); with a hook they
 * are read and written, so that they can be altered and counted. Invariant: every held or delayed
 * request is let go by lcm_serve_free(). Source: OCI Distribution Spec v1.1 "Pulling", "Content
 * Discovery"; RFC 9110 s. 13, 14.
 */
#ifndef LCM_REGISTRY_SERVE_H
#define LCM_REGISTRY_SERVE_H

#include "registry/serve_route.h"

#define LCM_SERVE_FAULT_HEADERS 4

/** struct lcm_serve_request - what is about to be answered; borrowed by the hook
 * @id:      number of the request, from 1
 * @method:  "GET", "HEAD", ... as sent
 * @path:    without query
 * @kind:    LCM_SERVE_OTHER for a path that is refused
 * @digest:  of the blob or manifest; zero when there is none
 * @status:  of the answer; in @done the one really sent, 0 when the client went before it was sent
 * @size:    bytes of the whole object
 * @off:     first byte of the object in the answer
 * @len:     bytes of the object in the answer; 0 for HEAD and for errors
 */
struct lcm_serve_request {
	uint64_t id;
	const char *method, *path;
	enum lcm_serve_kind kind;
	struct lcm_digest digest;
	unsigned int status;
	uint64_t size, off, len;
};

/** struct lcm_serve_fault - how to misbehave; all zero: not at all
 * @delay_ms:     wait before the status line
 * @hold_below:   bytes of the object before this offset are held while lcm_serve_hold() is on (and
 * with them the status line, when the answer begins there); UINT64_MAX: all
 * @status:       answer this status with an error body instead; 0: no change
 * @header:       sent in addition, e.g. Retry-After, Location, WWW-Authenticate; NULL name: unused;
 * must live until @done
 * @ignore_range: answer 200 with the whole object to a range request
 * @flip:         the byte of the object at @flip_off is sent inverted
 * @truncate:     the connection is closed before the byte of the object at @truncate_at; the length
 * promises all
 */
struct lcm_serve_fault {
	uint32_t delay_ms;
	uint64_t hold_below;
	unsigned int status;
	struct {
		const char *name, *value;
	} header[LCM_SERVE_FAULT_HEADERS];
	bool ignore_range, flip, truncate;
	uint64_t flip_off, truncate_at;
};

/** struct lcm_serve_hook - called for each request; copied by lcm_serve_new()
 * @request: before anything is sent; fills @ret (zeroed). May be NULL.
 * @done:    once per request, after its last byte or its end; @bytes of the object were handed to
 * the socket. May be NULL.
 * @arg:     passed to both
 */
struct lcm_serve_hook {
	void (*request)(void *arg, const struct lcm_serve_request *req,
			struct lcm_serve_fault *ret);
	void (*done)(void *arg, const struct lcm_serve_request *req, uint64_t bytes);
	void *arg;
};

/* Strings are borrowed during lcm_serve_new() only. */
struct lcm_serve_config {
	const char *dir;    /* OCI layout */
	const char *listen; /* "ADDR:PORT", "[ADDR]:PORT"; numeric or localhost; NULL: 127.0.0.1:0,
			       port 0: a free one */
	bool public;        /* allow an address that is not loopback */
	const struct lcm_serve_hook *hook; /* NULL: none */
};

struct lcm_serve;

/**
 * lcm_serve_new - open the layout, bind, and serve until lcm_serve_free()
 *
 * Return: 0; -ENOTDIR, -ENOENT, -EINVAL (not a layout, bad address), -EPERM (address is not
 * loopback and not public), -EADDRINUSE, -ENOMEM, -errno. @ret untouched on failure. SIGPIPE should
 * be ignored by the program.
 */
LCM_MUST_USE int lcm_serve_new(const struct lcm_serve_config *cfg, struct lcm_serve **ret,
			       struct lcm_err *err);
/** lcm_serve_free - stop: lets held requests go, closes connections, ends the threads. NULL is
 * allowed. */
void lcm_serve_free(struct lcm_serve *s);
LCM_DEFINE_AUTO(lcm_serve)

/** lcm_serve_url - "http://ADDR:PORT"; borrowed. */
const char *lcm_serve_url(const struct lcm_serve *s);
/** lcm_serve_host - "ADDR:PORT", as it stands in a reference; borrowed. */
const char *lcm_serve_host(const struct lcm_serve *s);
/** lcm_serve_hold - while on, answers with @hold_below wait; off releases them. Needs a hook. May
 * be called by the hook. */
void lcm_serve_hold(struct lcm_serve *s, bool on);
/** lcm_serve_held - requests that wait now because of lcm_serve_hold(), for tests. */
unsigned int lcm_serve_held(struct lcm_serve *s);

#endif
