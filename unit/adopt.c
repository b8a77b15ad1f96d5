/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - a pool that is here, and that the database does not know.
 *
 * Whose a unit is stands beside it (unit.json) and in it (.locum-unit). What its blocks share with
 * copies is not known any more: all of its bytes count as promised.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

struct adoption {
	struct lcm_units *u;
	struct unit_pool pool;
	void (*fn)(void *arg, const char *what);
	void *arg;
	int taken;
};

static int read_pool(int fd, const struct lcm_pool_options *o, struct lcm_pool *p,
		     struct lcm_err *err)
{
	lcm_autojson json_t *doc = NULL;
	char backend[16];
	int r = unit_json_read(fd, POOL_JSON, &doc);

	if (r == -ENOENT)
		return lcm_err_set(err, r, "%s holds no pool", p->path);
	if (r < 0 || unit_json_text(doc, "pool", p->id, sizeof(p->id)) < 0 ||
	    !unit_uuid_ok(p->id) || unit_json_text(doc, "backend", backend, sizeof(backend)) < 0 ||
	    lcm_unit_backend_parse(backend, &p->backend) < 0)
		return lcm_err_set(err, -EUCLEAN, "%s/" POOL_JSON " is damaged", p->path);
	(void)snprintf(p->name, sizeof(p->name), "%s", o->name);
	return 0;
}

/* ---- one unit ---- */

static bool unit_name_fits(const struct lcm_unit *v)
{
	return strcmp(v->name, v->id) == 0 ||
	       (!unit_uuid_ok(v->name) && unit_name_ok("unit", v->name, NULL) == 0);
}

static int read_unit(int dir, const char *id, struct lcm_unit *v)
{
	lcm_autojson json_t *doc = NULL;
	json_int_t created;
	int r = unit_json_read(dir, UNIT_JSON, &doc);

	if (r < 0)
		return r;
	(void)snprintf(v->id, sizeof(v->id), "%s", id);
	created = json_integer_value(lcm_json_member(doc, "created_s"));
	if (!unit_json_is(doc, "unit", id) ||
	    unit_json_text(doc, "owner", v->owner, sizeof(v->owner)) < 0 ||
	    !unit_uuid_ok(v->owner) || unit_json_text(doc, "name", v->name, sizeof(v->name)) < 0 ||
	    !unit_name_fits(v) || created < 0 || created > INT64_MAX / 1000000000)
		return -EUCLEAN;
	v->created_ns = (uint64_t)created * 1000000000;
	return 0;
}

struct snaps {
	const struct adoption *a;
	int64_t unit;
	int dir; /* of the unit */
	struct lcm_err *err;
};

static int take_snap(void *arg, int dir, const char *name)
{
	const struct snaps *s = arg;
	struct snap_row row = { .unit = s->unit };
	struct stat st;
	int r = unit_name_ok("snapshot", name, s->err);

	if (r == 0)
		r = lcm_sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r;
	(void)snprintf(row.v.name, sizeof(row.v.name), "%.64s", name);
	row.v.created_ns = (uint64_t)LCM_MAX(st.st_ctim.tv_sec, 0) * 1000000000 +
			   (uint64_t)st.st_ctim.tv_nsec;
	r = s->a->pool.ops->size(s->dir, unit_snap_object(row.v.name).s, &row.v.size, s->err);
	row.reserved = s->a->pool.ops->thick ? row.v.size : 0;
	return r < 0 ? r : unit_db_snap_add(s->a->u, &row, s->err);
}

static int add_rows(struct adoption *a, int dir, struct unit_row *row, struct lcm_err *err)
{
	lcm_autoclose int list = lcm_sys_openat(dir, UNIT_SNAP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
						0);
	struct snaps s = { .a = a, .dir = dir, .err = err };
	int r = list < 0 ? list : unit_db_add(a->u, row, err);

	if (r < 0)
		return r;
	s.unit = row->v.seq;
	return lcm_dir_each(list, take_snap, &s);
}

static int take_unit(struct adoption *a, const char *id, struct lcm_err *err)
{
	lcm_autoclose int dir = lcm_sys_openat(a->pool.fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
					       0);
	struct unit_row row = { .v.seq = 0 }, other;
	int r = dir < 0 ? dir : read_unit(dir, id, &row.v);

	if (r == 0)
		r = a->pool.ops->size(dir, UNIT_DATA, &row.v.size, err);
	if (r < 0)
		return r;
	if (unit_db_get(a->u, row.v.owner, &other, NULL) == 0)
		return lcm_err_set(err, -EEXIST, "its owner %s has a unit here: %s", row.v.owner,
				   other.v.name);
	if (unit_db_get(a->u, row.v.name, &other, NULL) == 0)
		(void)snprintf(row.v.name, sizeof(row.v.name), "%s", row.v.id);
	row.reserved = row.v.size;
	(void)snprintf(row.v.pool, sizeof(row.v.pool), "%s", a->pool.row.name);
	r = unit_db_begin(a->u, err);
	return r < 0 ? r : unit_db_end(a->u, add_rows(a, dir, &row, err), err);
}

static int on_name(void *arg, int dir, const char *name)
{
	struct adoption *a = arg;
	struct lcm_err err = { 0 };
	char text[LCM_ERR_MSG_MAX + 80];
	int r;

	(void)dir;
	if (!unit_uuid_ok(name))
		return 0;
	r = take_unit(a, name, &err);
	if (r == 0) {
		a->taken++;
		return 0;
	}
	(void)snprintf(text, sizeof(text), "unit %s is not taken: %s", name, lcm_err_text(&err, r));
	if (a->fn)
		a->fn(a->arg, text);
	return 0;
}

int lcm_pool_adopt(struct lcm_units *u, const struct lcm_pool_options *o,
		   void (*fn)(void *arg, const char *what), void *arg, struct lcm_pool *ret,
		   struct lcm_err *err)
{
	struct lcm_pool p = { .floor = o->floor, .thin = o->thin };
	struct adoption a = { .u = u, .pool = UNIT_POOL_NONE, .fn = fn, .arg = arg };
	lcm_autoclose int fd = -EBADF;
	int r = unit_name_ok("pool", o->name, err);

	if (r == 0)
		r = fd = unit_pool_dir(o->path, &p, err);
	if (r >= 0)
		r = read_pool(fd, o, &p, err);
	if (r == 0)
		r = unit_pool_open_row(&p, &a.pool, err);
	if (r == 0)
		r = a.pool.ops->probe(fd, p.path, err);
	if (r == 0)
		r = unit_db_pool_add(u, &p, err);
	if (r == 0)
		r = lcm_dir_each(a.pool.fd, on_name, &a);
	unit_pool_close(&a.pool);
	if (r < 0)
		return r;
	*ret = p;
	return a.taken;
}
