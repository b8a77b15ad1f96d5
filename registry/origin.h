/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.h - scheme, host and port of a URL, and what may go to whom.
 *
 * Layer: registry. Pure. Source: RFC 6454 s. 4 (origin); RFC 6761 s. 6.3 (localhost);
 * distribution-spec: "the client MUST NOT forward the Authorization header to another host".
 */
#ifndef LCM_ORIGIN_H
#define LCM_ORIGIN_H

#include "src/base/base.h"
#include "src/base/err.h"

#define LCM_URL_MAX 8192 /* signed URLs of clouds are 1 to 4 KiB */

struct lcm_origin {
	bool tls;
	char host[256]; /* lower case, IPv6 with brackets */
	uint16_t port;
};

/** lcm_origin_parse - from a URL. Return: 0; -EINVAL (not http or https, no host, user info in it);
 * -ENOMEM. */
LCM_MUST_USE int lcm_origin_parse(const char *url, struct lcm_origin *ret);
bool lcm_origin_equal(const struct lcm_origin *a, const struct lcm_origin *b);
/** lcm_origin_str - "host:port"; returns @out. */
const char *lcm_origin_str(const struct lcm_origin *o, char *out, size_t cap);
#define LCM_ORIGIN_STR_MAX 272
/** lcm_origin_is_loopback - localhost, *.localhost, 127.0.0.0/8, [::1]. */
bool lcm_origin_is_loopback(const struct lcm_origin *o);
/** lcm_origin_listed - @o is in the NULL-terminated list of "host" (any port) or "host:port". */
bool lcm_origin_listed(const struct lcm_origin *o, const char *const *hosts);
/**
 * lcm_origin_redirect - the URL that a Location leads to
 * @base:     URL that was asked
 * @location: field value, absolute or relative
 * @hosts:    may be plain http besides loopback (lcm_origin_listed())
 * @ret:      owned by the caller
 *
 * Return: 0; -EPROTO (not a URL, other scheme, https to http, plain http to a host that may not;
 * text says which); -ENOMEM.
 */
LCM_MUST_USE int lcm_origin_redirect(const char *base, const char *location,
				     const char *const *hosts, char **ret, struct lcm_err *err);
/** lcm_origin_check_plain - Return: 0; -EPROTO when @o is plain http and may not be; the text names
 * the option. */
LCM_MUST_USE int lcm_origin_check_plain(const struct lcm_origin *o, const char *const *hosts,
					struct lcm_err *err);

#endif
