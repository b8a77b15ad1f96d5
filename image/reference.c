/* SPDX-License-Identifier: Apache-2.0 */
#include "image/reference.h"

#include <stdio.h>
#include <string.h>

/*
 * Grammar, distribution/reference:
 *   domain          := host [':' port-number]
 *   host            := domain-component ['.' domain-component]* | '[' IPv6address ']'
 *   path-component  := alpha-numeric [separator alpha-numeric]*   (lower case)
 *   separator       := '.' | '_' | "__" | '-'*
 *   tag             := [\w][\w.-]{0,127}
 */

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_number(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
	return is_lower(c) || is_upper(c) || is_number(c);
}

static bool is_path(char c)
{
	return is_lower(c) || is_number(c);
}

/* Length of the separator at @s, 0 when there is none of the grammar's. */
static size_t separator_len(const char *s, size_t len)
{
	size_t n = 0;

	if (len >= 1 && s[0] == '.')
		return 1;
	if (len >= 2 && s[0] == '_' && s[1] == '_')
		return 2;
	if (len >= 1 && s[0] == '_')
		return 1;
	while (n < len && s[n] == '-')
		n++;
	return n;
}

static bool check_component(const char *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t n;

		if (!is_path(s[i]))
			return false;
		while (i < len && is_path(s[i]))
			i++;
		if (i == len)
			return true;
		n = separator_len(s + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return false;
}

static int check_repo(const char *s, size_t len, struct lcm_err *err)
{
	if (len == 0)
		return lcm_err_set(err, -EINVAL, "image name is missing");
	if (len >= sizeof(((struct lcm_reference *)0)->repo))
		return lcm_err_set(err, -EINVAL, "image name is %zu bytes, at most 255 are allowed",
				   len);
	for (size_t i = 0; i < len; i++)
		if (is_upper(s[i]))
			return lcm_err_set(err, -EINVAL, "image name \"%.*s\" must be lower case",
					   (int)len, s);
	for (size_t i = 0; i <= len;) {
		const char *slash = memchr(s + i, '/', len - i);
		size_t n = slash ? (size_t)(slash - (s + i)) : len - i;

		if (!check_component(s + i, n))
			return lcm_err_set(err, -EINVAL,
					   "image name \"%.*s\": \"%.*s\" is not letters and "
					   "digits joined by . _ __ or -",
					   (int)len, s, (int)n, s + i);
		i += n + 1;
	}
	return 0;
}

static bool check_domain(const char *s, size_t len)
{
	bool start = true;

	for (size_t i = 0; i < len; i++) {
		bool end = i + 1 == len || s[i + 1] == '.';

		if (s[i] == '.') {
			if (start)
				return false;
			start = true;
			continue;
		}
		if (!is_word(s[i]) && (s[i] != '-' || start || end))
			return false;
		start = false;
	}
	return !start;
}

static bool check_ipv6(const char *s, size_t len)
{
	if (len < 4 || s[0] != '[' || s[len - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < len; i++)
		if (s[i] != ':' && !is_number(s[i]) && !(s[i] >= 'a' && s[i] <= 'f') &&
		    !(s[i] >= 'A' && s[i] <= 'F'))
			return false;
	return true;
}

static bool check_port(const char *s, size_t len)
{
	uint32_t port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_number(s[i]))
			return false;
		port = port * 10 + (uint32_t)(s[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

static int check_host(const char *s, size_t len, struct lcm_err *err)
{
	const char *bracket = s[0] == '[' ? memchr(s, ']', len) : NULL;
	const char *from = bracket ? bracket : s;
	const char *colon = memchr(from, ':', len - (size_t)(from - s));
	size_t n = colon ? (size_t)(colon - s) : len;

	if (len >= sizeof(((struct lcm_reference *)0)->host))
		return lcm_err_set(err, -EINVAL,
				   "registry host is %zu bytes, at most 263 are allowed", len);
	if (s[0] == '[' ? !check_ipv6(s, n) : !check_domain(s, n))
		return lcm_err_set(err, -EINVAL,
				   "registry host \"%.*s\" is not a host name or address", (int)n,
				   s);
	if (colon && !check_port(colon + 1, len - n - 1))
		return lcm_err_set(err, -EINVAL,
				   "registry \"%.*s\": the port is not a number within 1 and 65535",
				   (int)len, s);
	return 0;
}

/* The first component is a host when it could not be a part of a name on Docker Hub. */
static bool looks_like_host(const char *s, size_t len)
{
	if (len == 9 && memcmp(s, "localhost", 9) == 0)
		return true;
	for (size_t i = 0; i < len; i++)
		if (s[i] == '.' || s[i] == ':' || is_upper(s[i]))
			return true;
	return false;
}

static int parse_digest(const char *s, struct lcm_reference *r, struct lcm_err *err)
{
	int n = lcm_digest_parse(s, strlen(s), &r->digest);

	if (n == -ENOTSUP)
		return lcm_err_set(err, -EINVAL, "digest \"%.40s\": only sha256 is supported", s);
	if (n < 0)
		return lcm_err_set(
		    err, -EINVAL,
		    "digest \"%.80s\" is not \"sha256:\" and 64 lower-case hex digits", s);
	r->has_digest = true;
	return 0;
}

static int parse_tag(const char *s, size_t len, struct lcm_reference *r, struct lcm_err *err)
{
	if (len == 0)
		return lcm_err_set(err, -EINVAL, "tag after \":\" is empty");
	if (len >= sizeof(r->tag))
		return lcm_err_set(err, -EINVAL, "tag is %zu bytes, at most 128 are allowed", len);
	for (size_t i = 0; i < len; i++)
		if (!is_word(s[i]) && s[i] != '_' && (i == 0 || (s[i] != '.' && s[i] != '-')))
			return lcm_err_set(err, -EINVAL,
					   "tag \"%.*s\" is not letters, digits, _ . and -",
					   (int)len, s);
	memcpy(r->tag, s, len);
	r->tag[len] = '\0';
	return 0;
}

/* "host/name" or "name", @len bytes, into r->host and r->repo. */
static int parse_name(const char *s, size_t len, struct lcm_reference *r, struct lcm_err *err)
{
	const char *slash = memchr(s, '/', len), *host = "docker.io";
	size_t host_len = strlen(host);
	bool library;
	int n;

	if (slash && looks_like_host(s, (size_t)(slash - s))) {
		host = s;
		host_len = (size_t)(slash - s);
		len -= host_len + 1;
		s = slash + 1;
	}
	n = check_host(host, host_len, err);
	if (n == 0)
		n = check_repo(s, len, err);
	if (n < 0)
		return n;
	snprintf(r->host, sizeof(r->host), "%.*s", (int)host_len, host);
	if (strcmp(r->host, "index.docker.io") == 0)
		snprintf(r->host, sizeof(r->host), "docker.io");
	library = strcmp(r->host, "docker.io") == 0 && !memchr(s, '/', len);
	if (library && len + strlen("library/") >= sizeof(r->repo))
		return lcm_err_set(err, -EINVAL,
				   "image name is %zu bytes, at most 247 are allowed here", len);
	snprintf(r->repo, sizeof(r->repo), "%s%.*s", library ? "library/" : "", (int)len, s);
	return 0;
}

/* "distribution/reference": a bare 64-digit hex string is an image id, never a name. */
static bool is_image_id(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int parse(const char *s, struct lcm_reference *r, struct lcm_err *err)
{
	const char *at = strchr(s, '@'), *slash, *colon = NULL;
	size_t len = at ? (size_t)(at - s) : strlen(s);
	int n;

	if (strstr(s, "://"))
		return lcm_err_set(err, -EINVAL, "leave out the scheme, write host/name:tag");
	if (is_image_id(s))
		return lcm_err_set(err, -EINVAL,
				   "that is an image id; write name@sha256:... for a digest");
	if (at) {
		n = parse_digest(at + 1, r, err);
		if (n < 0)
			return n;
	}
	slash = memrchr(s, '/', len);
	colon = memrchr(s, ':', len);
	if (colon && slash && colon < slash)
		colon = NULL;
	if (colon) {
		n = parse_tag(colon + 1, len - (size_t)(colon - s) - 1, r, err);
		if (n < 0)
			return n;
		len = (size_t)(colon - s);
	}
	if (!colon && !at)
		memcpy(r->tag, "latest", sizeof("latest"));
	return parse_name(s, len, r, err);
}

int lcm_reference_parse(const char *s, struct lcm_reference *ret, struct lcm_err *err)
{
	static const char scheme[] = "docker://";
	struct lcm_reference r = { 0 };
	const char *rest = s;
	int n;

	if (strncmp(s, scheme, sizeof(scheme) - 1) == 0)
		rest += sizeof(scheme) - 1;
	n = parse(rest, &r, err);
	if (n < 0)
		return lcm_err_prefix(err, n, "image reference \"%.128s\"", s);
	*ret = r;
	return 0;
}

const char *lcm_reference_str(const struct lcm_reference *r, char *out, size_t cap)
{
	char digest[LCM_DIGEST_STR] = "";

	if (r->has_digest)
		lcm_digest_str(&r->digest, digest);
	snprintf(out, cap, "%s/%s%s%s%s%s", r->host, r->repo, *r->tag ? ":" : "", r->tag,
		 *digest ? "@" : "", digest);
	return out;
}

const char *lcm_reference_endpoint(const struct lcm_reference *r)
{
	return strcmp(r->host, "docker.io") == 0 ? "registry-1.docker.io" : r->host;
}
