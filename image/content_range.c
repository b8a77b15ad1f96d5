/* SPDX-License-Identifier: Apache-2.0 */
#include "image/content_range.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

struct cursor {
	const char *s, *end;
};

static void skip_blanks(struct cursor *c)
{
	while (c->s < c->end && (*c->s == ' ' || *c->s == '\t'))
		c->s++;
}

static bool take_char(struct cursor *c, char ch)
{
	if (c->s == c->end || *c->s != ch)
		return false;
	c->s++;
	return true;
}

/* 1*DIGIT below UINT64_MAX. */
static bool take_number(struct cursor *c, uint64_t *ret)
{
	const char *start = c->s;
	uint64_t v = 0;

	for (; c->s < c->end && *c->s >= '0' && *c->s <= '9'; c->s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*c->s - '0'), &v))
			return false;
	if (c->s == start || v == UINT64_MAX)
		return false;
	*ret = v;
	return true;
}

int lcm_content_range_parse(const char *s, size_t len, struct lcm_content_range *ret)
{
	static const char unit[] = "bytes";
	const size_t unit_len = sizeof(unit) - 1;
	struct cursor c = { s, s + len };
	struct lcm_content_range cr = { 0 };

	skip_blanks(&c);
	if ((size_t)(c.end - c.s) <= unit_len || strncasecmp(c.s, unit, unit_len) != 0 ||
	    c.s[unit_len] != ' ')
		return -EINVAL;
	c.s += unit_len;
	skip_blanks(&c);
	if (!take_char(&c, '*')) {
		if (!take_number(&c, &cr.first) || !take_char(&c, '-') ||
		    !take_number(&c, &cr.last))
			return -EINVAL;
		cr.has_range = true;
	}
	if (!take_char(&c, '/'))
		return -EINVAL;
	if (!take_char(&c, '*')) {
		if (!take_number(&c, &cr.size))
			return -EINVAL;
		cr.has_size = true;
	}
	skip_blanks(&c);
	if (c.s != c.end || (!cr.has_range && !cr.has_size))
		return -EINVAL;
	if (cr.has_range && (cr.last < cr.first || (cr.has_size && cr.last >= cr.size)))
		return -EINVAL;
	*ret = cr;
	return 0;
}

static bool all_digits(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return len > 0;
}

/*
 * RFC 9110 s. 5.6.7: a recipient must accept IMF-fixdate, RFC 850 and asctime
 * forms; all begin with the day's name. curl_getdate() knows them, whatever the locale.
 */
static int parse_date(const char *s, size_t len, int64_t *ret)
{
	char text[64];
	time_t t;

	if (len >= sizeof(text) || len < 24 || memchr(s, '\0', len))
		return -EINVAL;
	if (!((s[0] >= 'A' && s[0] <= 'Z') && (s[1] >= 'a' && s[1] <= 'z')))
		return -EINVAL;
	memcpy(text, s, len);
	text[len] = '\0';
	t = curl_getdate(text, NULL);
	if (t == -1)
		return -EINVAL;
	*ret = t;
	return 0;
}

int lcm_retry_after_parse(const char *s, size_t len, int64_t now_s, uint32_t *ret_s)
{
	int64_t wait;
	int r;

	for (; len && (*s == ' ' || *s == '\t'); len--)
		s++;
	for (; len && (s[len - 1] == ' ' || s[len - 1] == '\t'); len--)
		;
	if (all_digits(s, len)) {
		struct cursor c = { s, s + len };
		uint64_t v;

		*ret_s = take_number(&c, &v) && v < LCM_RETRY_AFTER_MAX_S ? (uint32_t)v
									  : LCM_RETRY_AFTER_MAX_S;
		return 0;
	}
	r = parse_date(s, len, &wait);
	if (r < 0)
		return r;
	if (__builtin_sub_overflow(wait, now_s, &wait) || wait < 0)
		wait = 0;
	*ret_s = wait < (int64_t)LCM_RETRY_AFTER_MAX_S ? (uint32_t)wait : LCM_RETRY_AFTER_MAX_S;
	return 0;
}
