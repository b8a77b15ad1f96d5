/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/serve_route.h"

#include <string.h>
#include <strings.h>

static bool is_low(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
	return is_low(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

/* A separator between alphanumerics: one '.', one or two '_', any number of '-'. */
static size_t separator(const char *s, size_t len)
{
	size_t n = 1;

	if (s[0] == '.')
		return 1;
	if (s[0] == '_')
		return len > 1 && s[1] == '_' ? 2 : 1;
	if (s[0] != '-')
		return 0;
	while (n < len && s[n] == '-')
		n++;
	return n;
}

/* distribution-spec: "[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*" */
bool lcm_serve_repo_valid(const char *s, size_t len)
{
	size_t i = 0;

	if (len == 0 || len > LCM_SERVE_REPO_MAX)
		return false;
	for (;;) {
		size_t start = i, n;

		while (i < len && is_low(s[i]))
			i++;
		if (i == start)
			return false;
		if (i == len)
			return true;
		n = s[i] == '/' ? 1 : separator(s + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
}

bool lcm_serve_tag_valid(const char *s, size_t len)
{
	if (len == 0 || len > LCM_SERVE_TAG_MAX || !is_word(s[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_word(s[i]) && s[i] != '.' && s[i] != '-')
			return false;
	return true;
}

/* Splits "<name>/<word>/<last>" at its last two slashes. */
static int split(const char *s, size_t *ret_name, const char **ret_word, const char **ret_last)
{
	const char *last = strrchr(s, '/'), *word;

	if (!last || last == s)
		return -ENOENT;
	word = memrchr(s, '/', (size_t)(last - s));
	if (!word)
		return -ENOENT;
	*ret_name = (size_t)(word - s);
	*ret_word = word + 1;
	*ret_last = last + 1;
	return 0;
}

static int object_parse(enum lcm_serve_kind kind, const char *ref, struct lcm_serve_route *ret)
{
	size_t len = strlen(ref);

	ret->kind = kind;
	if (kind == LCM_SERVE_BLOB || strchr(ref, ':'))
		return lcm_digest_parse(ref, len, &ret->digest) < 0 ? -EBADMSG : 0;
	if (!lcm_serve_tag_valid(ref, len))
		return -EINVAL;
	memcpy(ret->tag, ref, len + 1);
	return 0;
}

int lcm_serve_route_parse(const char *path, struct lcm_serve_route *ret)
{
	struct lcm_serve_route out = { .kind = LCM_SERVE_PING };
	const char *word, *last;
	size_t name;
	int r;

	if (strncmp(path, "/v2", 3) != 0 || (path[3] != '\0' && path[3] != '/'))
		return -ENOENT;
	path += path[3] == '/' ? 4 : 3;
	if (*path == '\0') {
		*ret = out;
		return 0;
	}
	if (strcmp(path, "_catalog") == 0) {
		out.kind = LCM_SERVE_CATALOG;
		*ret = out;
		return 0;
	}
	r = split(path, &name, &word, &last);
	if (r < 0)
		return r;
	if (strncmp(word, "manifests/", 10) == 0)
		r = object_parse(LCM_SERVE_MANIFEST, last, &out);
	else if (strncmp(word, "blobs/", 6) == 0)
		r = object_parse(LCM_SERVE_BLOB, last, &out);
	else if (strcmp(word, "tags/list") == 0)
		out.kind = LCM_SERVE_TAGS;
	else
		r = -ENOENT;
	if (r == 0 && !lcm_serve_repo_valid(path, name))
		r = -EINVAL;
	if (r < 0)
		return r;
	memcpy(out.repo, path, name);
	*ret = out;
	return 0;
}

int lcm_serve_number(const char *s, size_t len, uint64_t *ret)
{
	uint64_t v = 0;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

/* A position too large for 64 bits is beyond any object. */
static int position(const char *s, size_t len, uint64_t *ret)
{
	int r = lcm_serve_number(s, len, ret);

	if (r == -ERANGE)
		*ret = UINT64_MAX;
	return r == -ERANGE ? 0 : r;
}

int lcm_serve_range_parse(const char *s, uint64_t size, uint64_t *ret_off, uint64_t *ret_len)
{
	uint64_t first = 0, last = UINT64_MAX;
	const char *dash;
	size_t len;

	/* RFC 9110 s. 14.1: "Range units ... are case-insensitive" */
	if (strncasecmp(s, "bytes=", 6) != 0)
		return -EINVAL;
	s += 6;
	len = strlen(s);
	dash = memchr(s, '-', len);
	if (!dash)
		return -EINVAL;
	if (dash == s) {
		/* RFC 9110 s. 14.1.2: "-N" is the last N bytes; longer than the object is all of
		 * it, 0 is unsatisfiable */
		if (position(s + 1, len - 1, &last) < 0)
			return -EINVAL;
		if (last == 0 || size == 0)
			return -ERANGE;
		*ret_off = last < size ? size - last : 0;
		*ret_len = LCM_MIN(last, size);
		return 0;
	}
	if (position(s, (size_t)(dash - s), &first) < 0)
		return -EINVAL;
	len -= (size_t)(dash - s) + 1;
	if (len && (position(dash + 1, len, &last) < 0 || last < first))
		return -EINVAL;
	if (first >= size)
		return -ERANGE;
	*ret_off = first;
	*ret_len = LCM_MIN(last, size - 1) - first + 1;
	return 0;
}
