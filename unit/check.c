/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - is every unit somebody's, and nobody's but his?
 *
 * Each row is held while its object is looked at, so that a check may run beside other verbs: what
 * it then says is wrong was wrong.
 */
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

struct checking {
	struct lcm_units *u;
	bool deep;
	void (*fn)(void *arg, const char *what);
	void *arg;
	int found;
};

static LCM_PRINTF(2, 3) void say(struct checking *c, const char *fmt, ...)
{
	char text[LCM_ERR_MSG_MAX + 128];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->found++;
	if (c->fn)
		c->fn(c->arg, text);
}

/* ---- one unit ---- */

static void check_size(struct checking *c, const struct unit_hold *h, const char *object,
		       uint64_t want)
{
	struct lcm_err err = { 0 };
	uint64_t size = 0;
	int r = h->pool.ops->size(h->dir, object, &size, &err);

	if (r < 0)
		say(c, "unit %s: %s: %s", h->row.v.name, object, lcm_err_text(&err, r));
	else if (size != want)
		say(c, "unit %s: %s has %llu bytes, %llu are known", h->row.v.name, object,
		    (unsigned long long)size, (unsigned long long)want);
}

static void check_mark(struct checking *c, const struct unit_hold *h)
{
	const struct lcm_unit *v = &h->row.v;
	struct lcm_err err = { 0 };
	lcm_autoclose int mnt = -EBADF;
	int r;

	if (unit_is_attached(c->u, v))
		mnt = lcm_sys_openat(AT_FDCWD, lcm_unit_path(c->u, v), O_RDONLY | O_DIRECTORY, 0);
	else if (c->deep && h->pool.ops->busy(h->dir, UNIT_DATA) == 0)
		mnt = h->pool.ops->mount(h->dir, UNIT_DATA, &err);
	else
		return;
	r = mnt < 0 ? mnt : unit_place_marked(mnt, v, &err);
	if (r < 0)
		say(c, "unit %s: %s", v->name, lcm_err_text(&err, r));
}

struct snap_check {
	struct checking *c;
	const struct unit_hold *h;
};

static int check_snap_file(void *arg, int dir, const char *name)
{
	const struct snap_check *s = arg;
	struct snap_row row;

	(void)dir;
	if (unit_db_snap_get(s->c->u, s->h->row.v.seq, name, &row, NULL) == -ENOENT)
		say(s->c, "unit %s: a snapshot %s that nobody made", s->h->row.v.name, name);
	return 0;
}

static int check_snaps(struct checking *c, const struct unit_hold *h, struct lcm_err *err)
{
	struct snap_check s = { c, h };
	struct snap_row row = { .v.created_ns = 0 };
	lcm_autoclose int dir = lcm_sys_openat(h->dir, UNIT_SNAP,
					       O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r;

	while ((r = unit_db_snap_next(c->u, h->row.v.seq, row.v.created_ns, row.v.name, &row,
				      err)) > 0) {
		check_size(c, h, unit_snap_object(row.v.name).s, row.v.size);
	}
	if (r == 0)
		r = dir < 0 ? dir : lcm_dir_each(dir, check_snap_file, &s);
	return r;
}

static int check_object(void *arg, int dir, const char *name)
{
	static const char *const known[] = { UNIT_DATA, UNIT_SNAP, UNIT_JSON };
	const struct snap_check *s = arg;

	(void)dir;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(known); i++)
		if (strcmp(name, known[i]) == 0)
			return 0;
	say(s->c, "unit %s: %s does not belong there", s->h->row.v.name, name);
	return 0;
}

/* Return: 0; -errno of the database. A unit that went meanwhile is nothing to tell. */
static int check_unit(struct checking *c, const struct lcm_unit *v, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct snap_check s = { c, &h };
	struct unit_row row;
	struct lcm_err why = { 0 };
	int r = unit_hold(c->u, v->id, &h, &why);

	if (r == -EAGAIN)
		return 0; /* an import that was interrupted */
	if (r < 0) {
		if (unit_db_by_seq(c->u, v->seq, &row, NULL) == 0)
			say(c, "unit %s: %s", v->name, lcm_err_text(&why, r));
		return 0;
	}
	check_size(c, &h, UNIT_DATA, h.row.v.size);
	check_mark(c, &h);
	r = lcm_dir_each(h.dir, check_object, &s);
	return r < 0 ? r : check_snaps(c, &h, err);
}

/* ---- one pool ---- */

struct pool_check {
	struct checking *c;
	const struct unit_pool *p;
};

static int check_pool_name(void *arg, int dir, const char *name)
{
	const struct pool_check *k = arg;
	struct unit_row row;
	struct stat st;
	int r;

	if (strcmp(name, POOL_JSON) == 0 || strcmp(name, POOL_TMP) == 0 ||
	    strcmp(name, POOL_TRASH) == 0 || strcmp(name, "lost+found") == 0)
		return 0;
	r = unit_uuid_ok(name) ? unit_db_get(k->c->u, name, &row, NULL) : -ENOENT;
	/* A row goes after its directory. */
	if (r == -ENOENT && lcm_sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT)
		return 0;
	if (r == -ENOENT)
		say(k->c, "pool %s: %s/%s is no unit of this host", k->p->row.name, k->p->row.path,
		    name);
	else if (r == 0 && strcmp(row.v.op, OP_MOVE) != 0 &&
		 (strcmp(row.v.id, name) != 0 || strcmp(row.v.pool, k->p->row.name) != 0))
		say(k->c, "pool %s: %s is there, too, but it is in pool %s", k->p->row.name, name,
		    row.v.pool);
	return r == -ENOENT ? 0 : r;
}

/* What is being made or removed has a row; without one it is what a crash left (gc takes it). */
static int check_pool(void *arg, const struct lcm_pool *row)
{
	struct checking *c = arg;
	autopool struct unit_pool p = UNIT_POOL_NONE;
	struct pool_check k = { c, &p };
	struct lcm_pool_space space;
	struct lcm_err err = { 0 };
	int r = unit_pool_open(c->u, row->name, &p, &err);

	if (r == 0)
		r = lcm_dir_each(p.fd, check_pool_name, &k);
	if (r == 0)
		r = lcm_pool_space(c->u, row, &space, &err);
	if (r < 0)
		say(c, "%s", lcm_err_text(&err, r));
	else if (space.free < row->floor)
		say(c, "pool %s: %llu bytes are free, its floor is %llu", row->name,
		    (unsigned long long)space.free, (unsigned long long)row->floor);
	else if (!row->thin && space.free < space.promised)
		say(c, "pool %s: %llu bytes are free, %llu are promised", row->name,
		    (unsigned long long)space.free, (unsigned long long)space.promised);
	return 0;
}

int lcm_unit_check(struct lcm_units *u, bool deep, void (*fn)(void *arg, const char *what),
		   void *arg, struct lcm_err *err)
{
	struct checking c = { .u = u, .deep = deep, .fn = fn, .arg = arg };
	struct unit_row row = { .v.seq = 0 };
	int r;

	while ((r = unit_db_after(u, row.v.seq, &row, err)) > 0) {
		r = check_unit(&c, &row.v, err);
		if (r < 0)
			return r;
	}
	if (r == 0)
		r = lcm_pool_each(u, check_pool, &c);
	return r < 0 ? r : c.found;
}

/* ---- putting right ---- */

struct sweep {
	struct lcm_units *u;
	const struct unit_pool *p;
	void (*fn)(void *arg, const char *what);
	void *arg;
	const char *where;
};

/* Nobody's: its maker, or who removed it, was killed, and the row is gone. */
static int sweep_name(void *arg, int dir, const char *name)
{
	const struct sweep *s = arg;
	struct unit_row row;
	char path[LCM_UNIT_PATH + 80];
	int r;

	(void)dir;
	if (!unit_uuid_ok(name))
		return 0;
	r = unit_db_get(s->u, name, &row, NULL);
	if (r != -ENOENT)
		return r;
	(void)snprintf(path, sizeof(path), "%s/%s/%s", s->p->row.path, s->where, name);
	r = unit_place_remove(s->p, name, NULL);
	if (r == 0 && s->fn)
		s->fn(s->arg, path);
	return r;
}

static int sweep_pool(void *arg, const struct lcm_pool *row)
{
	struct sweep *s = arg;
	autopool struct unit_pool p = UNIT_POOL_NONE;
	struct fstrim_range all = { .len = UINT64_MAX };
	int r = unit_pool_open(s->u, row->name, &p, NULL);

	if (r < 0)
		return 0; /* its disk is not here; check says so */
	s->p = &p;
	s->where = POOL_TMP;
	r = lcm_dir_each(p.tmp, sweep_name, s);
	s->where = POOL_TRASH;
	if (r == 0)
		r = lcm_dir_each(p.trash, sweep_name, s);
	/* What was removed is free once the journal says so; a device that cannot discard: nothing
	 * to tell it. */
	if (r == 0)
		r = lcm_sys_syncfs(p.fd);
	lcm_ignore(lcm_sys_ioctl(p.fd, FITRIM, &all));
	return r;
}

int lcm_unit_gc(struct lcm_units *u, void (*fn)(void *arg, const char *what), void *arg,
		struct lcm_err *err)
{
	struct sweep s = { .u = u, .fn = fn, .arg = arg };
	struct unit_row row = { .v.seq = 0 };
	int r;

	while ((r = unit_db_after(u, row.v.seq, &row, err)) > 0) {
		autohold struct unit_hold h = UNIT_HOLD_NONE;

		lcm_ignore(unit_try_hold(u, row.v.id, &h, NULL)); /* recovers it */
	}
	return r < 0 ? r : lcm_pool_each(u, sweep_pool, &s);
}
