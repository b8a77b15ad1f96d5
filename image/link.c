/* SPDX-License-Identifier: Apache-2.0 */
#include "image/link.h"

#include <string.h>
#include <strings.h>

struct field {
	const char *p, *end;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static void skip_blanks(struct field *f)
{
	while (f->p < f->end && blank(*f->p))
		f->p++;
}

static bool take(struct field *f, char c)
{
	skip_blanks(f);
	if (f->p == f->end || *f->p != c)
		return false;
	f->p++;
	return true;
}

static bool ends_token(char c)
{
	return blank(c) || c == ',' || c == ';' || c == '=' || c == '"';
}

static size_t take_token(struct field *f, const char **ret)
{
	skip_blanks(f);
	*ret = f->p;
	while (f->p < f->end && !ends_token(*f->p))
		f->p++;
	return (size_t)(f->p - *ret);
}

/* A backslash takes the next character along; what it quotes is no relation that is looked for. */
static bool take_quoted(struct field *f, const char **ret, size_t *ret_len)
{
	*ret = f->p;
	while (f->p < f->end && *f->p != '"')
		f->p += *f->p == '\\' && f->p + 1 < f->end ? 2 : 1;
	if (f->p == f->end)
		return false;
	*ret_len = (size_t)(f->p++ - *ret);
	return true;
}

/* Relations are a list with blanks between; names of them have no case. */
static bool has_next(const char *s, size_t len)
{
	struct field f = { s, s + len };
	const char *word;
	size_t n;

	while ((n = take_token(&f, &word)))
		if (n == 4 && strncasecmp(word, "next", n) == 0)
			return true;
	return false;
}

/* The first "rel" counts. Return: 1 (next), 0, -EINVAL. */
static int params(struct field *f)
{
	bool seen = false, next = false;

	while (take(f, ';')) {
		const char *name, *value = NULL;
		size_t n = take_token(f, &name), len = 0;

		if (n == 0)
			return -EINVAL;
		if (take(f, '=')) {
			if (!take(f, '"'))
				len = take_token(f, &value);
			else if (!take_quoted(f, &value, &len))
				return -EINVAL;
		}
		if (seen || n != 3 || strncasecmp(name, "rel", n) != 0)
			continue;
		seen = true;
		next = has_next(value ? value : "", len);
	}
	return next;
}

static int query_of(const char *target, size_t len, char ret[LCM_LINK_QUERY_MAX + 1])
{
	const char *q = memchr(target, '?', len), *end = target + len;

	if (!q || ++q == end)
		return -ENOENT;
	for (const char *p = q; p < end; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '#')
			return -EINVAL;
	if ((size_t)(end - q) > LCM_LINK_QUERY_MAX)
		return -EINVAL;
	memcpy(ret, q, (size_t)(end - q));
	ret[end - q] = '\0';
	return 0;
}

int lcm_link_next(const char *s, size_t len, char ret[LCM_LINK_QUERY_MAX + 1])
{
	struct field f = { s, s + len };

	do {
		const char *target, *end;
		int r;

		if (!take(&f, '<'))
			return -EINVAL;
		target = f.p;
		end = memchr(target, '>', (size_t)(f.end - target));
		if (!end)
			return -EINVAL;
		f.p = end + 1;
		r = params(&f);
		if (r)
			return r < 0 ? r : query_of(target, (size_t)(end - target), ret);
	} while (take(&f, ','));
	skip_blanks(&f);
	return f.p == f.end ? -ENOENT : -EINVAL;
}
