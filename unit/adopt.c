/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - a pool that is here, and that the database does not know.
 *
 * Whose a unit is stands beside it (unit.json) and in it (.locum-unit). What its blocks share with
 * copies is not known any more: all of its bytes count as promised.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

#define JSON_MAX 4096

struct adoption {
	struct lcm_units *u;
	struct unit_pool pool;
	void (*fn)(void *arg, const char *what);
	void *arg;
	int taken;
};

static bool take_text(json_t *doc, const char *key, char *out, size_t cap)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s && (size_t)snprintf(out, cap, "%s", s) < cap;
}

/* Return: the document, a new reference; NULL and *@ret_error. */
static json_t *read_json(int dir, const char *name, int *ret_error)
{
	lcm_autofree char *text = NULL;
	size_t len;
	json_t *doc;

	*ret_error = lcm_read_file_at(dir, name, JSON_MAX, &text, &len);
	if (*ret_error < 0)
		return NULL;
	doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(doc)) {
		json_decref(doc);
		*ret_error = -EUCLEAN;
		return NULL;
	}
	return doc;
}

static int read_pool(int fd, const struct lcm_pool_options *o, struct lcm_pool *p,
		     struct lcm_err *err)
{
	char backend[16] = "";
	int r;
	json_t *doc = read_json(fd, POOL_JSON, &r);

	if (r == -ENOENT)
		return lcm_err_set(err, r, "%s holds no pool", p->path);
	if (!doc || !take_text(doc, "pool", p->id, sizeof(p->id)) || !unit_uuid_ok(p->id) ||
	    !take_text(doc, "name", p->name, sizeof(p->name)) ||
	    !take_text(doc, "backend", backend, sizeof(backend)) ||
	    lcm_unit_backend_parse(backend, &p->backend) < 0)
		r = lcm_err_set(err, -EUCLEAN, "%s/" POOL_JSON " is damaged", p->path);
	json_decref(doc);
	if (r == 0 && o->name)
		(void)snprintf(p->name, sizeof(p->name), "%s", o->name);
	return r < 0 ? r : unit_name_ok("pool", p->name, err);
}

/* ---- one unit ---- */

static int read_unit(int dir, const char *id, struct lcm_unit *v)
{
	json_int_t created;
	int r;
	json_t *doc = read_json(dir, UNIT_JSON, &r);

	if (!doc)
		return r;
	created = json_integer_value(json_object_get(doc, "created_s"));
	if (!take_text(doc, "unit", v->id, sizeof(v->id)) || strcmp(v->id, id) != 0 ||
	    !take_text(doc, "owner", v->owner, sizeof(v->owner)) || !unit_uuid_ok(v->owner) ||
	    !take_text(doc, "name", v->name, sizeof(v->name)) ||
	    (strcmp(v->name, v->id) != 0 &&
	     (unit_uuid_ok(v->name) || unit_name_ok("unit", v->name, NULL) < 0)) ||
	    created < 0 || created > INT64_MAX / 1000000000)
		r = -EUCLEAN;
	v->created_ns = r < 0 ? 0 : (uint64_t)created * 1000000000;
	json_decref(doc);
	return r;
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
	char object[sizeof(UNIT_SNAP) + 256];
	struct stat st;
	int r = unit_name_ok("snapshot", name, s->err);

	if (r == 0)
		r = lcm_sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r;
	(void)snprintf(object, sizeof(object), UNIT_SNAP "/%s", name);
	(void)snprintf(row.v.name, sizeof(row.v.name), "%.64s", name);
	row.v.created_ns = (uint64_t)LCM_MAX(st.st_ctim.tv_sec, 0) * 1000000000 +
			   (uint64_t)st.st_ctim.tv_nsec;
	r = s->a->pool.ops->size(s->dir, object, &row.v.size, s->err);
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
	lcm_autoclose int fd = unit_pool_dir(o->path, &p, err);
	int r = fd < 0 ? fd : read_pool(fd, o, &p, err);

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
