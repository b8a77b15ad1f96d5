/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/mountinfo.h"

#include <string.h>

/* What is left of one line; @more: another field follows, be it empty. */
struct cursor {
	const char *at, *end;
	bool more;
};

static bool field_next(struct cursor *c, struct lcm_mountinfo_field *ret)
{
	const char *space;

	if (!c->more)
		return false;
	space = memchr(c->at, ' ', (size_t)(c->end - c->at));
	c->more = space != NULL;
	if (!space)
		space = c->end;
	*ret = (struct lcm_mountinfo_field){ .p = c->at, .len = (size_t)(space - c->at) };
	c->at = c->more ? space + 1 : c->end;
	return true;
}

static bool field_number(struct cursor *c, uint64_t *ret)
{
	struct lcm_mountinfo_field f;
	uint64_t v = 0;

	if (!field_next(c, &f) || f.len == 0)
		return false;
	for (size_t i = 0; i < f.len; i++) {
		if (f.p[i] < '0' || f.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(f.p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}

/*
 * proc(5): "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue":
 * id, parent, major:minor, root, mount point, options, zero or more optional fields, "-",
 * type, source, super options.
 */
static bool line_parse(struct cursor *c, struct lcm_mountinfo *ret)
{
	struct lcm_mountinfo_field skip;

	if (!field_number(c, &ret->id) || !field_number(c, &ret->parent) ||
	    !field_next(c, &ret->dev))
		return false;
	if (!field_next(c, &ret->root) || !field_next(c, &ret->mount_point) ||
	    !field_next(c, &skip))
		return false;
	do {
		if (!field_next(c, &skip))
			return false;
	} while (!(skip.len == 1 && skip.p[0] == '-'));
	if (!field_next(c, &ret->type) || !field_next(c, &ret->source))
		return false;
	if (!field_next(c, &ret->super_options))
		ret->super_options = (struct lcm_mountinfo_field){ .p = c->end, .len = 0 };
	return ret->mount_point.len > 0 && ret->type.len > 0;
}

int lcm_mountinfo_next(const char **at, const char *end, struct lcm_mountinfo *ret)
{
	struct lcm_mountinfo m = { 0 };
	struct cursor c;

	if (*at >= end)
		return 0;
	c.at = *at;
	c.end = memchr(*at, '\n', (size_t)(end - *at));
	*at = c.end ? c.end + 1 : end;
	if (!c.end)
		c.end = end;
	c.more = true;
	if (!line_parse(&c, &m))
		return -EUCLEAN;
	*ret = m;
	return 1;
}

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* One character of a field at @i, escapes decoded; the return value is how many bytes it took. */
static size_t unescape(const struct lcm_mountinfo_field *f, size_t i, unsigned char *ret)
{
	const char *p = f->p + i;

	*ret = (unsigned char)p[0];
	if (p[0] != '\\' || f->len - i < 4 || p[1] < '0' || p[1] > '3' || !octal(p[2]) ||
	    !octal(p[3]))
		return 1;
	*ret = (unsigned char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
	return 4;
}

bool lcm_mountinfo_is(const struct lcm_mountinfo_field *f, const char *plain)
{
	size_t i = 0;

	while (i < f->len) {
		unsigned char ch;

		i += unescape(f, i, &ch);
		if (*plain == '\0' || ch != (unsigned char)*plain++)
			return false;
	}
	return *plain == '\0';
}

int lcm_mountinfo_copy(const struct lcm_mountinfo_field *f, char *out, size_t cap)
{
	size_t i = 0, n = 0;

	while (i < f->len) {
		unsigned char ch;

		i += unescape(f, i, &ch);
		if (n + 1 >= cap)
			return -ENAMETOOLONG;
		out[n++] = (char)ch;
	}
	out[n] = '\0';
	return 0;
}

int lcm_mountinfo_below(const struct lcm_mountinfo_field *f, const char *dir, char *out, size_t cap)
{
	size_t n = strlen(dir);
	int r = lcm_mountinfo_copy(f, out, cap);

	if (r < 0)
		return r;
	n -= n && dir[n - 1] == '/';
	if (strncmp(out, dir, n) != 0 || (out[n] && out[n] != '/'))
		return -EXDEV;
	n += out[n] == '/';
	memmove(out, out + n, strlen(out + n) + 1);
	return 0;
}
