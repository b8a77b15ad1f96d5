/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/origin.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

static void url_freep(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void part_freep(char **s)
{
	curl_free(*s);
}

#define auto_url LCM_CLEANUP(url_freep) CURLU *
#define auto_part LCM_CLEANUP(part_freep) char *

/* libcurl gives the port as 1 to 5 digits, 0..65535. */
static uint16_t port_number(const char *s)
{
	unsigned int n = 0;

	for (; *s; s++)
		n = n * 10 + (unsigned int)(*s - '0');
	return (uint16_t)n;
}

static int origin_of(CURLU *u, struct lcm_origin *ret)
{
	struct lcm_origin o = { 0 };
	auto_part scheme = NULL;
	auto_part host = NULL;
	auto_part port = NULL;
	auto_part user = NULL;

	if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
		return -EINVAL;
	if (curl_url_get(u, CURLUPART_USER, &user, 0) != CURLUE_NO_USER)
		return -EINVAL;
	if (strcasecmp(scheme, "https") && strcasecmp(scheme, "http"))
		return -EINVAL;
	if (!host[0] || strlen(host) >= sizeof(o.host))
		return -EINVAL;
	o.tls = strcasecmp(scheme, "https") == 0;
	for (size_t i = 0; host[i]; i++)
		o.host[i] = (char)tolower((unsigned char)host[i]);
	o.port = port_number(port);
	*ret = o;
	return 0;
}

int lcm_origin_parse(const char *url, struct lcm_origin *ret)
{
	auto_url u = curl_url();

	if (!u)
		return -ENOMEM;
	if (strlen(url) > LCM_URL_MAX || curl_url_set(u, CURLUPART_URL, url, 0))
		return -EINVAL;
	return origin_of(u, ret);
}

bool lcm_origin_equal(const struct lcm_origin *a, const struct lcm_origin *b)
{
	return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

const char *lcm_origin_str(const struct lcm_origin *o, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s:%u", o->host, o->port);
	return out;
}

bool lcm_origin_is_loopback(const struct lcm_origin *o)
{
	size_t len = strlen(o->host);
	struct in_addr a;

	if (strcmp(o->host, "localhost") == 0 || strcmp(o->host, "[::1]") == 0)
		return true;
	if (len > 10 && strcmp(o->host + len - 10, ".localhost") == 0)
		return true;
	return inet_pton(AF_INET, o->host, &a) == 1 && (ntohl(a.s_addr) >> 24) == 127;
}

bool lcm_origin_listed(const struct lcm_origin *o, const char *const *hosts)
{
	char full[LCM_ORIGIN_STR_MAX];

	for (; hosts && *hosts; hosts++)
		if (strcasecmp(*hosts, o->host) == 0 ||
		    strcasecmp(*hosts, lcm_origin_str(o, full, sizeof(full))) == 0)
			return true;
	return false;
}

int lcm_origin_check_plain(const struct lcm_origin *o, const char *const *hosts,
			   struct lcm_err *err)
{
	if (o->tls || lcm_origin_is_loopback(o) || lcm_origin_listed(o, hosts))
		return 0;
	return lcm_err_set(
	    err, -EPROTO,
	    "plain http to %s:%u is refused; list it in insecure_hosts if that is wanted", o->host,
	    o->port);
}

int lcm_origin_redirect(const char *base, const char *location, const char *const *hosts,
			char **ret, struct lcm_err *err)
{
	struct lcm_origin from, to;
	auto_url u = curl_url();
	auto_part url = NULL;
	int r;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, base, 0) || origin_of(u, &from) < 0)
		return lcm_err_set(err, -EPROTO, "redirected from what is not a URL");
	if (strlen(location) > LCM_URL_MAX || curl_url_set(u, CURLUPART_URL, location, 0) ||
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) || origin_of(u, &to) < 0)
		return lcm_err_set(
		    err, -EPROTO,
		    "redirected to what is not an http or https URL without user info");
	if (from.tls && !to.tls)
		return lcm_err_set(err, -EPROTO,
				   "redirected from https to plain http (%s:%u), which is refused",
				   to.host, to.port);
	r = lcm_origin_equal(&from, &to) ? 0 : lcm_origin_check_plain(&to, hosts, err);
	if (r < 0)
		return r;
	if (curl_url_get(u, CURLUPART_URL, &url, 0))
		return -ENOMEM;
	*ret = strdup(url);
	return *ret ? 0 : -ENOMEM;
}
