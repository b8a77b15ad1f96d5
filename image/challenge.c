/* SPDX-License-Identifier: Apache-2.0 */
#include "image/challenge.h"

#include <string.h>
#include <strings.h>

/*
 * RFC 9110 s. 11.6.1:
 *   WWW-Authenticate = #challenge
 *   challenge  = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
 *   auth-param = token BWS "=" BWS ( token / quoted-string )
 * "a challenge [...] can itself contain a comma-separated list of
 * authentication parameters": a token that no "=" follows begins the next one.
 */

/* RFC 9110 s. 5.6.2 */
static bool is_tchar(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* RFC 9110 s. 11.2: token68 without the trailing "=" */
static bool is_token68(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~+/", c));
}

struct cursor {
	const char *s;
	size_t pos, len;
	struct lcm_err *err;
};

static int peek(const struct cursor *c)
{
	return c->pos < c->len ? (unsigned char)c->s[c->pos] : -1;
}

static void skip_blanks(struct cursor *c)
{
	while (peek(c) == ' ' || peek(c) == '\t')
		c->pos++;
}

/* RFC 9110 s. 5.6.1.2: a recipient must take empty list elements. */
static void skip_commas(struct cursor *c)
{
	skip_blanks(c);
	while (peek(c) == ',') {
		c->pos++;
		skip_blanks(c);
	}
}

static size_t take_token(struct cursor *c, const char **ret)
{
	size_t start = c->pos;

	while (c->pos < c->len && is_tchar(c->s[c->pos]))
		c->pos++;
	*ret = c->s + start;
	return c->pos - start;
}

static int bad(struct cursor *c, const char *what)
{
	return lcm_err_set(c->err, -EINVAL, "WWW-Authenticate: %s at byte %zu", what, c->pos);
}

/* A fixed field that a value goes to; out NULL: read and dropped. */
struct field {
	const char *name;
	char *out;
	size_t cap, used;
};

static int put(struct cursor *c, struct field *f, char ch)
{
	if (!f->out)
		return 0;
	if (f->used + 1 >= f->cap)
		return lcm_err_set(c->err, -EFBIG, "WWW-Authenticate: %s is over %zu bytes",
				   f->name, f->cap - 1);
	f->out[f->used++] = ch;
	f->out[f->used] = '\0';
	return 0;
}

/* RFC 9110 s. 5.6.4; the cursor is behind the opening quote. */
static int take_quoted(struct cursor *c, struct field *f)
{
	for (;;) {
		int ch = peek(c), r;

		if (ch == '"') {
			c->pos++;
			return 0;
		}
		if (ch == '\\') {
			c->pos++;
			ch = peek(c);
		}
		if (ch < 0)
			return bad(c, "quoted string without end");
		if (ch < 0x20 || ch == 0x7f)
			return bad(c, "control character");
		r = put(c, f, (char)ch);
		if (r < 0)
			return r;
		c->pos++;
	}
}

static int take_value(struct cursor *c, struct field *f)
{
	const char *token;
	size_t n;
	int r = 0;

	skip_blanks(c);
	if (peek(c) == '"') {
		c->pos++;
		return take_quoted(c, f);
	}
	n = take_token(c, &token);
	if (n == 0)
		return bad(c, "parameter without a value");
	for (size_t i = 0; i < n && r == 0; i++)
		r = put(c, f, token[i]);
	return r;
}

/* The field of @ch that parameter @name goes to. */
static struct field field_of(struct lcm_challenge *ch, const char *name, size_t len)
{
	struct field fields[] = {
		{ "realm", ch->realm, sizeof(ch->realm), 0 },
		{ "service", ch->service, sizeof(ch->service), 0 },
		{ "scope", ch->scope, sizeof(ch->scope), 0 },
		{ "error", ch->error, sizeof(ch->error), 0 },
	};

	for (size_t i = 0; i < LCM_ARRAY_SIZE(fields); i++)
		if (len == strlen(fields[i].name) && strncasecmp(name, fields[i].name, len) == 0)
			return fields[i];
	return (struct field){ 0 };
}

/* At "=" after the token @name. */
static int take_param(struct cursor *c, struct lcm_challenge *ch, const char *name, size_t len,
		      unsigned int *seen)
{
	struct field f = field_of(ch, name, len);

	c->pos++;
	if (f.out) {
		unsigned int bit = f.out == ch->realm     ? 1U
				   : f.out == ch->service ? 2U
				   : f.out == ch->scope   ? 4U
							  : 8U;

		if (*seen & bit)
			return bad(c, "parameter given twice");
		*seen |= bit;
	}
	return take_value(c, &f);
}

static int end_of_element(struct cursor *c)
{
	skip_blanks(c);
	if (peek(c) >= 0 && peek(c) != ',')
		return bad(c, "no comma between parameters");
	skip_commas(c);
	return 0;
}

/* Parameters up to the next scheme or the end; the cursor is behind "scheme SP". */
static int take_params(struct cursor *c, struct lcm_challenge *ch)
{
	unsigned int seen = 0;

	skip_commas(c);
	while (peek(c) >= 0) {
		size_t start = c->pos, n;
		const char *name;
		int r;

		n = take_token(c, &name);
		if (n == 0)
			return bad(c, "neither a scheme nor a parameter");
		skip_blanks(c);
		if (peek(c) != '=') {
			c->pos = start;
			return 0;
		}
		r = take_param(c, ch, name, n, &seen);
		if (r == 0)
			r = end_of_element(c);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "Negotiate YII=": data, not parameters. The rest of the element must be of that form. */
static bool skip_token68(struct cursor *c)
{
	size_t i = c->pos;

	while (i < c->len && is_token68(c->s[i]))
		i++;
	if (i == c->pos)
		return false;
	while (i < c->len && c->s[i] == '=')
		i++;
	while (i < c->len && (c->s[i] == ' ' || c->s[i] == '\t'))
		i++;
	if (i < c->len && c->s[i] != ',')
		return false;
	c->pos = i;
	return true;
}

static enum lcm_auth_scheme scheme_of(const char *s, size_t len)
{
	if (len == 5 && strncasecmp(s, "Basic", 5) == 0)
		return LCM_AUTH_BASIC;
	if (len == 6 && strncasecmp(s, "Bearer", 6) == 0)
		return LCM_AUTH_BEARER;
	return LCM_AUTH_NONE;
}

/* One challenge into @ch, whose scheme is LCM_AUTH_NONE when it is of no use. */
static int take_challenge(struct cursor *c, struct lcm_challenge *ch)
{
	const char *scheme;
	size_t n = take_token(c, &scheme);
	int blank = peek(c);

	if (n == 0)
		return bad(c, "no scheme");
	if (blank >= 0 && blank != ' ' && blank != '\t' && blank != ',')
		return bad(c, "no space after the scheme");
	ch->scheme = scheme_of(scheme, n);
	skip_blanks(c);
	if (peek(c) != ',' && skip_token68(c)) {
		skip_commas(c);
		return 0;
	}
	return take_params(c, ch);
}

int lcm_challenges_add(struct lcm_challenges *cs, const char *s, size_t len, struct lcm_err *err)
{
	struct cursor c = { .s = s, .len = len, .err = err };
	size_t n = cs->n;

	if (len > LCM_CHALLENGE_LEN_MAX)
		return lcm_err_set(err, -EFBIG, "WWW-Authenticate: %zu bytes, at most %d are taken",
				   len, LCM_CHALLENGE_LEN_MAX);
	skip_commas(&c);
	while (peek(&c) >= 0) {
		struct lcm_challenge ch = { 0 };
		int r = take_challenge(&c, &ch);

		if (r < 0)
			return r;
		if (ch.scheme == LCM_AUTH_NONE)
			continue;
		if (n == LCM_CHALLENGES_MAX)
			return lcm_err_set(err, -EFBIG, "WWW-Authenticate: more than %d challenges",
					   LCM_CHALLENGES_MAX);
		cs->c[n++] = ch;
	}
	len = n - cs->n;
	cs->n = n;
	return (int)len;
}

const struct lcm_challenge *lcm_challenges_find(const struct lcm_challenges *cs,
						enum lcm_auth_scheme scheme)
{
	for (size_t i = 0; i < cs->n; i++)
		if (cs->c[i].scheme == scheme)
			return &cs->c[i];
	return NULL;
}
