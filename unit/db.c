/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "store/db.h"
#include "unit/unit_priv.h"

/* ---- statements ---- */

int unit_db_fail(const struct lcm_units *u, struct lcm_err *err)
{
	int r = u->db ? lcm_sqlite_errno(u->db) : -ENOMEM;

	if (r == -EUCLEAN)
		return lcm_err_set(err, r,
				   "%s/units.db is damaged (%s); nothing was changed. Move it "
				   "away and take each pool again: locum unit pool add NAME DIR "
				   "--adopt",
				   u->root, sqlite3_errmsg(u->db));
	return lcm_err_set(err, r, "%s/units.db: %s", u->root,
			   u->db ? sqlite3_errmsg(u->db) : strerror(-r));
}

static sqlite3_stmt *stmt(struct lcm_units *u, enum unit_stmt which)
{
	(void)sqlite3_reset(u->stmts[which]);
	(void)sqlite3_clear_bindings(u->stmts[which]);
	return u->stmts[which];
}

/* Return: 1 (a row), 0 (no more), -errno. */
static int step(struct lcm_units *u, sqlite3_stmt *q, struct lcm_err *err)
{
	int rc = sqlite3_step(q);

	return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : unit_db_fail(u, err);
}

static int run(struct lcm_units *u, sqlite3_stmt *q, struct lcm_err *err)
{
	int r = step(u, q, err);

	lcm_stmt_done(&q);
	return LCM_MIN(r, 0);
}

static int exec(struct lcm_units *u, const char *sql, struct lcm_err *err)
{
	return sqlite3_exec(u->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : unit_db_fail(u, err);
}

int unit_db_begin(struct lcm_units *u, struct lcm_err *err)
{
	return exec(u, "BEGIN IMMEDIATE", err);
}

int unit_db_end(struct lcm_units *u, int r, struct lcm_err *err)
{
	if (r == 0)
		r = exec(u, "COMMIT", err);
	if (r < 0 && !sqlite3_get_autocommit(u->db))
		lcm_ignore(exec(u, "ROLLBACK", NULL));
	return r;
}

/* Text of a row that somebody may have damaged. */
static int column_text(sqlite3_stmt *q, int at, char *ret, size_t cap)
{
	const char *s = (const char *)sqlite3_column_text(q, at);
	size_t n = s ? (size_t)sqlite3_column_bytes(q, at) : 0;

	if (!s || n >= cap || strlen(s) != n)
		return -EUCLEAN;
	memcpy(ret, s, n + 1);
	return 0;
}

static int damaged(const struct lcm_units *u, const char *what, struct lcm_err *err)
{
	return lcm_err_set(err, -EUCLEAN, "%s/units.db: a row of %s is damaged", u->root, what);
}

/* ---- pools ---- */

static int read_pool(const struct lcm_units *u, sqlite3_stmt *q, struct lcm_pool *ret,
		     struct lcm_err *err)
{
	struct lcm_pool p = { .thin = sqlite3_column_int(q, 5) != 0 };
	uint64_t backend = 0;

	if (column_text(q, 0, p.name, sizeof(p.name)) < 0 ||
	    column_text(q, 1, p.id, sizeof(p.id)) < 0 ||
	    column_text(q, 2, p.path, sizeof(p.path)) < 0 || lcm_column_u64(q, 3, &backend) < 0 ||
	    backend >= LCM_UNIT_BACKEND_MAX || lcm_column_u64(q, 4, &p.floor) < 0)
		return damaged(u, "pools", err);
	p.backend = (enum lcm_unit_backend)backend;
	*ret = p;
	return 0;
}

int unit_db_pool_add(struct lcm_units *u, const struct lcm_pool *p, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_POOL_ADD);
	int r;

	lcm_bind_text(q, 1, p->name);
	lcm_bind_text(q, 2, p->id);
	lcm_bind_text(q, 3, p->path);
	lcm_bind_u64(q, 4, p->backend);
	lcm_bind_u64(q, 5, p->floor);
	lcm_bind_u64(q, 6, p->thin);
	r = run(u, q, err);
	return r == -EEXIST ? lcm_err_set(err, r, "a pool %s, or one at %s, is there already",
					  p->name, p->path)
			    : r;
}

static int one_pool(struct lcm_units *u, enum unit_stmt which, const char *name,
		    struct lcm_pool *ret, struct lcm_err *err)
{
	lcm_autostmt sqlite3_stmt *q = stmt(u, which);
	int r;

	lcm_bind_text(q, 1, name);
	r = step(u, q, err);
	if (r <= 0)
		return r;
	r = read_pool(u, q, ret, err);
	return r < 0 ? r : 1;
}

int unit_db_pool_get(struct lcm_units *u, const char *name, struct lcm_pool *ret,
		     struct lcm_err *err)
{
	return one_pool(u, UNIT_STMT_POOL_GET, name, ret, err);
}

int unit_db_pool_after(struct lcm_units *u, const char *name, struct lcm_pool *ret,
		       struct lcm_err *err)
{
	return one_pool(u, UNIT_STMT_POOL_AFTER, name, ret, err);
}

int unit_db_pool_remove(struct lcm_units *u, const char *name, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_POOL_REMOVE);
	int r;

	lcm_bind_text(q, 1, name);
	r = run(u, q, err);
	if (r == -ENOENT) /* a unit refers to it */
		return lcm_err_set(err, -ENOTEMPTY, "pool %s has units; delete them first", name);
	if (r == 0 && sqlite3_changes(u->db) == 0)
		return lcm_err_set(err, -ENOENT, "no pool %s (locum unit pool list)", name);
	return r;
}

int unit_db_promised(struct lcm_units *u, const char *pool, uint64_t *ret_units, uint64_t *ret,
		     struct lcm_err *err)
{
	lcm_autostmt sqlite3_stmt *q = stmt(u, UNIT_STMT_PROMISED);
	int r;

	lcm_bind_text(q, 1, pool);
	r = step(u, q, err);
	if (r <= 0)
		return r;
	if (lcm_column_u64(q, 0, ret_units) < 0 || lcm_column_u64(q, 1, ret) < 0)
		return damaged(u, "units", err);
	return 0;
}

/* ---- units ---- */

static int read_unit(const struct lcm_units *u, sqlite3_stmt *q, struct unit_row *ret,
		     struct lcm_err *err)
{
	struct unit_row row = { .v.seq = sqlite3_column_int64(q, 0) };
	struct lcm_unit *v = &row.v;

	if (column_text(q, 1, v->id, sizeof(v->id)) < 0 || !unit_uuid_ok(v->id) ||
	    column_text(q, 2, v->owner, sizeof(v->owner)) < 0 || !unit_uuid_ok(v->owner) ||
	    column_text(q, 3, v->name, sizeof(v->name)) < 0 ||
	    column_text(q, 4, v->pool, sizeof(v->pool)) < 0 || lcm_column_u64(q, 5, &v->size) < 0 ||
	    lcm_column_u64(q, 6, &row.reserved) < 0 || lcm_column_u64(q, 7, &v->created_ns) < 0 ||
	    column_text(q, 8, v->op, sizeof(v->op)) < 0 ||
	    lcm_column_u64(q, 9, &row.op_bytes) < 0 ||
	    column_text(q, 10, v->user, sizeof(v->user)) < 0)
		return damaged(u, "units", err);
	*ret = row;
	return 0;
}

int unit_db_add(struct lcm_units *u, struct unit_row *row, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_ADD);
	int r;

	lcm_bind_text(q, 1, row->v.id);
	lcm_bind_text(q, 2, row->v.owner);
	lcm_bind_text(q, 3, row->v.name);
	lcm_bind_text(q, 4, row->v.pool);
	lcm_bind_u64(q, 5, row->v.size);
	lcm_bind_u64(q, 6, row->reserved);
	lcm_bind_u64(q, 7, row->v.created_ns);
	lcm_bind_text(q, 8, row->v.op);
	r = run(u, q, err);
	if (r == 0)
		row->v.seq = sqlite3_last_insert_rowid(u->db);
	return r;
}

static int one_unit(struct lcm_units *u, sqlite3_stmt *q, struct unit_row *ret, struct lcm_err *err)
{
	int r = step(u, q, err);

	if (r > 0)
		r = read_unit(u, q, ret, err) < 0 ? -EUCLEAN : 1;
	lcm_stmt_done(&q);
	return r;
}

int unit_db_get(struct lcm_units *u, const char *key, struct unit_row *ret, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_GET);
	int r;

	lcm_bind_text(q, 1, key);
	r = one_unit(u, q, ret, err);
	return r > 0 ? 0 : r < 0 ? r : -ENOENT;
}

int unit_db_by_seq(struct lcm_units *u, int64_t seq, struct unit_row *ret, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_BY_SEQ);
	int r;

	(void)sqlite3_bind_int64(q, 1, seq);
	r = one_unit(u, q, ret, err);
	return r > 0 ? 0 : r < 0 ? r : -ENOENT;
}

int unit_db_after(struct lcm_units *u, int64_t seq, struct unit_row *ret, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_AFTER);

	(void)sqlite3_bind_int64(q, 1, seq);
	return one_unit(u, q, ret, err);
}

int unit_db_set(struct lcm_units *u, const struct unit_row *row, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_SET);

	(void)sqlite3_bind_int64(q, 1, row->v.seq);
	lcm_bind_u64(q, 2, row->v.size);
	lcm_bind_u64(q, 3, row->reserved);
	lcm_bind_text(q, 4, row->v.op);
	lcm_bind_u64(q, 5, row->op_bytes);
	return run(u, q, err);
}

static int set_text(struct lcm_units *u, enum unit_stmt which, int64_t seq, const char *text,
		    struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, which);

	(void)sqlite3_bind_int64(q, 1, seq);
	lcm_bind_text(q, 2, text);
	return run(u, q, err);
}

int unit_db_set_user(struct lcm_units *u, int64_t seq, const char *user, struct lcm_err *err)
{
	return set_text(u, UNIT_STMT_USER, seq, user, err);
}

int unit_db_set_pool(struct lcm_units *u, int64_t seq, const char *pool, struct lcm_err *err)
{
	return set_text(u, UNIT_STMT_POOL, seq, pool, err);
}

int unit_db_remove(struct lcm_units *u, int64_t seq, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_REMOVE);

	(void)sqlite3_bind_int64(q, 1, seq);
	return run(u, q, err);
}

/* ---- snapshots ---- */

int unit_db_snap_add(struct lcm_units *u, const struct snap_row *s, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_SNAP_ADD);

	(void)sqlite3_bind_int64(q, 1, s->unit);
	lcm_bind_text(q, 2, s->v.name);
	lcm_bind_u64(q, 3, s->v.size);
	lcm_bind_u64(q, 4, s->reserved);
	lcm_bind_u64(q, 5, s->v.created_ns);
	lcm_bind_text(q, 6, s->op);
	return run(u, q, err);
}

/* @q: with its parameters; to be reset. Return: 1, 0, -errno. */
static int one_snap(struct lcm_units *u, sqlite3_stmt *q, int64_t unit, struct snap_row *ret,
		    struct lcm_err *err)
{
	struct snap_row s = { .unit = unit };
	int r = step(u, q, err);

	if (r > 0 &&
	    (column_text(q, 0, s.v.name, sizeof(s.v.name)) < 0 ||
	     lcm_column_u64(q, 1, &s.v.size) < 0 || lcm_column_u64(q, 2, &s.reserved) < 0 ||
	     lcm_column_u64(q, 3, &s.v.created_ns) < 0 ||
	     column_text(q, 4, s.op, sizeof(s.op)) < 0))
		r = damaged(u, "snaps", err);
	lcm_stmt_done(&q);
	if (r > 0)
		*ret = s;
	return r;
}

int unit_db_snap_get(struct lcm_units *u, int64_t unit, const char *name, struct snap_row *ret,
		     struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_SNAP_GET);
	int r;

	(void)sqlite3_bind_int64(q, 1, unit);
	lcm_bind_text(q, 2, name);
	r = one_snap(u, q, unit, ret, err);
	return r > 0 ? 0 : r < 0 ? r : -ENOENT;
}

int unit_db_snap_next(struct lcm_units *u, int64_t unit, uint64_t created, const char *name,
		      struct snap_row *ret, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_SNAP_NEXT);

	(void)sqlite3_bind_int64(q, 1, unit);
	lcm_bind_u64(q, 2, created);
	lcm_bind_text(q, 3, name);
	return one_snap(u, q, unit, ret, err);
}

int unit_db_snap_op(struct lcm_units *u, int64_t unit, const char *name, const char *op,
		    struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_SNAP_SET);

	(void)sqlite3_bind_int64(q, 1, unit);
	lcm_bind_text(q, 2, name);
	lcm_bind_text(q, 3, op);
	return run(u, q, err);
}

int unit_db_snap_remove(struct lcm_units *u, int64_t unit, const char *name, struct lcm_err *err)
{
	sqlite3_stmt *q = stmt(u, UNIT_STMT_SNAP_REMOVE);

	(void)sqlite3_bind_int64(q, 1, unit);
	lcm_bind_text(q, 2, name);
	return run(u, q, err);
}
