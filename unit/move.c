/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - a unit into another pool.
 *
 * All is copied, then its row names the other pool, then the place that it has left goes. Of a unit
 * with the note "move" whatever lies in another pool than its row says is a copy that was not
 * finished, or the place that it has left.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

struct move {
	const struct unit_hold *h; /* where it is */
	const struct unit_pool *to;
	int dir; /* .tmp/ID of @to */
	struct lcm_err *err;
};

static int copy_one(const struct move *m, const char *object, bool read_only)
{
	int r = m->to->ops->copy(m->h->dir, object, m->dir, object, read_only, false, m->err);

	return r == -EXDEV
		   ? lcm_err_set(
			 m->err, -ENOTSUP,
			 "pools %s and %s are on different file systems, between which their "
			 "kind of unit is not moved; export a snapshot and import it",
			 m->h->pool.row.name, m->to->row.name)
		   : r;
}

static int copy_all(const struct move *m)
{
	struct snap_row s = { .v.created_ns = 0 };
	int r = copy_one(m, UNIT_DATA, false), more;

	while (r == 0 && (more = unit_db_snap_next(m->h->u, m->h->row.v.seq, s.v.created_ns,
						   s.v.name, &s, m->err)) != 0) {
		r = more < 0 ? more : copy_one(m, unit_snap_object(s.v.name).s, true);
	}
	return r;
}

static int build(struct unit_hold *h, const struct unit_pool *to, struct lcm_err *err)
{
	lcm_autoclose int dir = unit_place_begin(to, &h->row.v, err);
	struct move m = { .h = h, .to = to, .dir = dir, .err = err };
	int r = dir < 0 ? dir : copy_all(&m);

	if (r == 0)
		r = lcm_sys_fsync(dir);
	return r < 0 ? r : unit_place_end(to, h->row.v.id, err);
}

/* Its bytes and those of its snapshots, which may come to be copies in full there. */
static int begin(struct unit_hold *h, const struct unit_pool *to, struct lcm_err *err)
{
	struct snap_row s = { .v.created_ns = 0 };
	uint64_t bytes = h->row.v.size;
	int r = unit_db_begin(h->u, err), more;

	if (r < 0)
		return r;
	while ((more = unit_db_snap_next(h->u, h->row.v.seq, s.v.created_ns, s.v.name, &s, err)) >
	       0)
		bytes += s.v.size;
	(void)snprintf(h->row.v.op, sizeof(h->row.v.op), OP_MOVE);
	r = more < 0 ? more : unit_pool_take(h->u, to, bytes, err);
	if (r == 0)
		r = unit_db_set(h->u, &h->row, err);
	return unit_db_end(h->u, r, err);
}

static int elsewhere_on(void *arg, const struct lcm_pool *row)
{
	const struct move *m = arg;
	autopool struct unit_pool p = UNIT_POOL_NONE;
	int r;

	if (strcmp(row->name, m->h->row.v.pool) == 0)
		return 0;
	r = unit_pool_open_row(row, &p, m->err);
	return r < 0 ? r : unit_place_remove(&p, m->h->row.v.id, m->err);
}

int unit_move_end(struct lcm_units *u, struct unit_row *row, struct lcm_err *err)
{
	struct unit_hold h = { .u = u, .row = *row };
	struct move m = { .h = &h, .err = err };
	int r = lcm_pool_each(u, elsewhere_on, &m);

	if (r < 0)
		return r;
	row->v.op[0] = '\0';
	return unit_db_set(u, row, err);
}

int lcm_unit_move(struct lcm_units *u, const char *key, const char *pool, struct lcm_err *err)
{
	autopool struct unit_pool to = UNIT_POOL_NONE;
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	int r = unit_hold(u, key, &h, err);

	if (r == 0)
		r = unit_pool_open(u, pool, &to, err);
	if (r == 0)
		r = unit_idle(&h, "moved", err);
	if (r < 0)
		return r;
	if (strcmp(to.row.name, h.row.v.pool) == 0)
		return 0;
	if (to.row.backend != h.pool.row.backend)
		return lcm_err_set(err, -ENOTSUP, "pool %s has units of kind %s, %s is of kind %s",
				   to.row.name, lcm_unit_backend_name(to.row.backend), h.row.v.name,
				   lcm_unit_backend_name(h.pool.row.backend));
	r = begin(&h, &to, err);
	if (r < 0)
		return r;
	r = build(&h, &to, err);
	if (r == 0)
		r = unit_db_set_pool(u, h.row.v.seq, to.row.name, err);
	if (r == 0)
		(void)snprintf(h.row.v.pool, sizeof(h.row.v.pool), "%s", to.row.name);
	/* After an error of this the note stays, and the next verb tries again. */
	if (unit_move_end(u, &h.row, r < 0 ? NULL : err) < 0 && r == 0)
		r = -EAGAIN;
	return r;
}
