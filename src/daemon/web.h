/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.h - the page that shows all mounts, and who may look at it.
 *
 * The page is files of src/web/, in the program. It is served on the control socket and, when
 * configured, on a loopback address. There everything but the page itself wants a token, and
 * nothing can be changed. On both, a request must name a loopback host, so that a page of another
 * site cannot reach them by a name of its own (DNS rebinding), and one that a browser marks as made
 * by another site is refused (CSRF; there are no cookies either).
 *
 * Layer: daemon. Threads: loop. Source: RFC 6750 (Bearer); Fetch standard (Origin); W3C Fetch
 * Metadata (Sec-Fetch-Site).
 */
#ifndef LCM_WEB_H
#define LCM_WEB_H

#include "src/base/err.h"

#define LCM_WEB_TOKEN_LEN 64 /* hex digits: 256 bits */

struct lcm_web {
	char token[LCM_WEB_TOKEN_LEN + 1];
	char url[64]; /* "http://127.0.0.1:9723/" */
};

/**
 * lcm_web_listen - a listening TCP socket, and the token in RUN/web.token (0600)
 * @where: "PORT", "127.0.0.1:PORT" or "[::1]:PORT"; port 0: any that is free
 * A token that an earlier daemon left there is kept. Return: 0; -EINVAL (not a loopback address);
 * -EADDRINUSE; -errno; the text names the thing.
 */
LCM_MUST_USE int lcm_web_listen(const char *where, const char *run_dir, struct lcm_web *ret,
				int *ret_fd, struct lcm_err *err);

struct lcm_web_request {
	const char *method, *url;
	const char *host, *origin, *fetch_site, *authorization; /* headers; NULL: absent */
};

/**
 * lcm_web_check - may this request be answered?
 * @w: the TCP door's; NULL: it came by the control socket
 * Return: 0, or the HTTP status of the refusal: 401, 403, 405; *@ret_why says why (static).
 */
LCM_MUST_USE int lcm_web_check(const struct lcm_web *w, const struct lcm_web_request *rq,
			       const char **ret_why);

struct lcm_web_file {
	const char *url, *type;
	const void *data;
	size_t len;
};
/** lcm_web_file - a file of the page; NULL: @url is none. */
const struct lcm_web_file *lcm_web_file(const char *url);

/* What browsers are told with every answer: nothing from elsewhere, nothing inline, nowhere framed.
 */
struct lcm_web_header {
	const char *name, *value;
};
extern const struct lcm_web_header lcm_web_headers[]; /* ends with name NULL */

#endif
