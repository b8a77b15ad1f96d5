/* SPDX-License-Identifier: Apache-2.0 */
#include "image/user.h"

#include <string.h>

/* passwd(5): name:password:uid:gid:gecos:home:shell; group(5): name:password:gid:member,member */

struct text {
	const char *s;
	size_t len;
};

#define FIELDS_MAX 7

struct line {
	struct text field[FIELDS_MAX];
	size_t n; /* fields found, at most FIELDS_MAX; the last one takes the rest */
};

static bool same(struct text a, struct text b)
{
	return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

/* The part of *rest before @sep or its end; false when *rest is used up. */
static bool cut(struct text *rest, char sep, struct text *ret)
{
	const char *p;

	if (!rest->s)
		return false;
	p = memchr(rest->s, sep, rest->len);
	*ret = (struct text){ rest->s, p ? (size_t)(p - rest->s) : rest->len };
	if (p)
		*rest = (struct text){ p + 1, rest->len - ret->len - 1 };
	else
		*rest = (struct text){ 0 };
	return true;
}

static bool next_line(struct text *file, struct line *ret)
{
	struct text rest, field;

	do {
		if (!cut(file, '\n', &rest))
			return false;
	} while (rest.len == 0 || rest.s[0] == '#');
	ret->n = 0;
	while (ret->n < FIELDS_MAX && cut(&rest, ':', &field))
		ret->field[ret->n++] = field;
	return true;
}

enum number { NUMBER_NO, NUMBER_OK, NUMBER_RANGE };

static enum number number_of(struct text t, uint32_t *ret)
{
	uint32_t v = 0;
	bool over = false;

	for (size_t i = 0; i < t.len; i++) {
		if (t.s[i] < '0' || t.s[i] > '9')
			return NUMBER_NO;
		over |= __builtin_mul_overflow(v, 10U, &v) ||
			__builtin_add_overflow(v, (uint32_t)(t.s[i] - '0'), &v) ||
			v > LCM_USER_ID_MAX;
	}
	if (t.len == 0)
		return NUMBER_NO;
	if (over)
		return NUMBER_RANGE;
	*ret = v;
	return NUMBER_OK;
}

/* The first passwd line whose name is @want, or whose uid is when @want is a number. */
static bool find_passwd(struct text file, struct text want, enum number kind, uint32_t number,
			struct line *ret)
{
	uint32_t uid, gid;

	while (next_line(&file, ret)) {
		if (ret->n < 4 || ret->field[0].len == 0 ||
		    number_of(ret->field[2], &uid) != NUMBER_OK ||
		    number_of(ret->field[3], &gid) != NUMBER_OK)
			continue;
		if (same(ret->field[0], want) || (kind == NUMBER_OK && uid == number))
			return true;
	}
	return false;
}

static int set_home(const struct line *line, struct lcm_user *u)
{
	bool has = line && line->n >= 6 && line->field[5].len > 0 && line->field[5].s[0] == '/';

	u->home = has ? strndup(line->field[5].s, line->field[5].len) : strdup("/");
	return u->home ? 0 : -ENOMEM;
}

/* The user part; *ret_name is the passwd name, {0} when there is no entry. */
static int resolve_user(struct text want, struct text passwd, struct lcm_user *u,
			struct text *ret_name, struct lcm_err *err)
{
	struct line line;
	uint32_t number = 0;
	enum number kind = number_of(want, &number);

	if (find_passwd(passwd, want, kind, number, &line)) {
		lcm_ignore(number_of(line.field[2], &u->uid) + number_of(line.field[3], &u->gid));
		*ret_name = line.field[0];
		return set_home(&line, u);
	}
	if (kind == NUMBER_RANGE)
		return lcm_err_set(err, -EINVAL, "user %.*s: ids go from 0 to %u", (int)want.len,
				   want.s, LCM_USER_ID_MAX);
	if (kind == NUMBER_NO)
		return lcm_err_set(
		    err, -ENOENT, "user \"%.*s\" is not in the image's /etc/passwd%s",
		    (int)want.len, want.s, passwd.s ? "" : ", there is no such file");
	u->uid = number;
	return set_home(NULL, u);
}

static int resolve_group(struct text want, struct text group, struct lcm_user *u,
			 struct lcm_err *err)
{
	struct line line;
	uint32_t number = 0, gid;
	enum number kind = number_of(want, &number);
	struct text rest = group;

	while (next_line(&rest, &line)) {
		if (line.n < 3 || number_of(line.field[2], &gid) != NUMBER_OK)
			continue;
		if (!same(line.field[0], want) && !(kind == NUMBER_OK && gid == number))
			continue;
		u->gid = gid;
		return 0;
	}
	if (kind == NUMBER_RANGE)
		return lcm_err_set(err, -EINVAL, "group %.*s: ids go from 0 to %u", (int)want.len,
				   want.s, LCM_USER_ID_MAX);
	if (kind == NUMBER_NO)
		return lcm_err_set(err, -ENOENT,
				   "group \"%.*s\" is not in the image's /etc/group%s",
				   (int)want.len, want.s, group.s ? "" : ", there is no such file");
	u->gid = number;
	return 0;
}

static bool is_member(struct text list, struct text name)
{
	struct text member;

	while (cut(&list, ',', &member))
		if (same(member, name))
			return true;
	return false;
}

static int add_gid(struct lcm_user *u, uint32_t gid, struct lcm_err *err)
{
	uint32_t *p;

	for (size_t i = 0; i < u->n_gids; i++)
		if (u->gids[i] == gid)
			return 0;
	if (u->n_gids == LCM_USER_GROUPS_MAX)
		return lcm_err_set(err, -EFBIG,
				   "the user is in more than %d groups of the image's /etc/group",
				   LCM_USER_GROUPS_MAX);
	p = reallocarray(u->gids, u->n_gids + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	u->gids = p;
	u->gids[u->n_gids++] = gid;
	return 0;
}

static int add_memberships(struct text name, struct text group, struct lcm_user *u,
			   struct lcm_err *err)
{
	struct line line;
	uint32_t gid;
	int r = 0;

	while (r == 0 && next_line(&group, &line))
		if (line.n >= 4 && number_of(line.field[2], &gid) == NUMBER_OK &&
		    is_member(line.field[3], name))
			r = add_gid(u, gid, err);
	return r;
}

static int check_sizes(size_t passwd_len, size_t group_len, struct lcm_err *err)
{
	if (passwd_len > LCM_USER_FILE_MAX || group_len > LCM_USER_FILE_MAX)
		return lcm_err_set(err, -EFBIG, "the image's /etc/%s is over %u bytes",
				   passwd_len > LCM_USER_FILE_MAX ? "passwd" : "group",
				   LCM_USER_FILE_MAX);
	return 0;
}

int lcm_user_resolve(const char *spec, const void *passwd, size_t passwd_len, const void *group,
		     size_t group_len, struct lcm_user **ret, struct lcm_err *err)
{
	lcm_auto(lcm_user) u = calloc(1, sizeof(*u));
	const struct text users = { passwd, passwd_len }, groups = { group, group_len };
	struct text rest = { spec, strlen(spec) }, user = { 0 }, named = { 0 }, name = { 0 };
	int r;

	if (!u)
		return -ENOMEM;
	r = check_sizes(passwd_len, group_len, err);
	if (r < 0)
		return r;
	lcm_ignore(cut(&rest, ':', &user));
	if (rest.s)
		named = rest;
	if (user.len == 0)
		user = (struct text){ "0", 1 };
	r = resolve_user(user, users, u, &name, err);
	if (r == 0 && named.len)
		r = resolve_group(named, groups, u, err);
	else if (r == 0 && name.s)
		r = add_memberships(name, groups, u, err);
	if (r < 0)
		return r;
	*ret = lcm_steal(&u);
	return 0;
}

void lcm_user_free(struct lcm_user *u)
{
	if (!u)
		return;
	free(u->gids);
	free(u->home);
	free(u);
}
