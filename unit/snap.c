/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

struct unit_object unit_snap_object(const char *snap)
{
	struct unit_object n;

	(void)snprintf(n.s, sizeof(n.s), UNIT_SNAP "/%s", snap);
	return n;
}

/* The origin's blocks stay for the snapshot: whatever it writes anew the pool must still have. */
static int begin_snapshot(const struct unit_hold *h, const char *name, struct snap_row *s,
			  struct lcm_err *err)
{
	struct snap_row other;
	int r = unit_db_begin(h->u, err);

	if (r < 0)
		return r;
	*s = (struct snap_row){ .unit = h->row.v.seq,
				.reserved = h->pool.ops->thick ? h->row.v.size : 0,
				.v = { .size = h->row.v.size, .created_ns = lcm_realtime_ns() },
				.op = OP_CREATE };
	(void)snprintf(s->v.name, sizeof(s->v.name), "%s", name);
	r = unit_db_snap_get(h->u, h->row.v.seq, name, &other, err);
	if (r == 0)
		r = lcm_err_set(err, -EEXIST, "unit %s has a snapshot %s already", h->row.v.name,
				name);
	else if (r == -ENOENT)
		r = unit_pool_take(h->u, &h->pool, h->row.v.size, err);
	if (r == 0)
		r = unit_db_snap_add(h->u, s, err);
	return unit_db_end(h->u, r, err);
}

int lcm_unit_snapshot(struct lcm_units *u, const char *key, const char *snap, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct snap_row s;
	int r = unit_name_ok("snapshot", snap, err), live;

	if (r == 0)
		r = unit_hold(u, key, &h, err);
	if (r == 0)
		r = begin_snapshot(&h, snap, &s, err);
	if (r < 0)
		return r;
	live = unit_sync(&h, err);
	r = live < 0 ? live
		     : h.pool.ops->copy(h.dir, UNIT_DATA, h.dir, unit_snap_object(snap).s, true,
					live > 0, err);
	if (r == 0)
		return unit_db_snap_op(u, s.unit, s.v.name, "", err);
	if (h.pool.ops->remove(h.dir, unit_snap_object(snap).s, NULL) == 0)
		lcm_ignore(unit_db_snap_remove(u, s.unit, s.v.name, NULL));
	return r;
}

int unit_snap_get(const struct unit_hold *h, const char *snap, struct snap_row *ret,
		  struct lcm_err *err)
{
	int r = unit_db_snap_get(h->u, h->row.v.seq, snap, ret, err);

	return r == -ENOENT
		   ? lcm_err_set(err, r, "unit %s has no snapshot %.80s", h->row.v.name, snap)
		   : r;
}

int lcm_unit_snapshot_delete(struct lcm_units *u, const char *key, const char *snap,
			     struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct snap_row s;
	int r = unit_hold(u, key, &h, err);

	if (r == 0)
		r = unit_snap_get(&h, snap, &s, err);
	if (r == 0)
		r = unit_db_snap_op(u, s.unit, s.v.name, OP_DELETE, err);
	if (r == 0)
		r = h.pool.ops->remove(h.dir, unit_snap_object(s.v.name).s, err);
	return r < 0 ? r : unit_db_snap_remove(u, s.unit, s.v.name, err);
}

int lcm_unit_snapshot_each(struct lcm_units *u, const struct lcm_unit *v,
			   int (*fn)(void *arg, const struct lcm_unit_snap *s), void *arg)
{
	struct snap_row s = { .v.created_ns = 0 };
	int r;

	while ((r = unit_db_snap_next(u, v->seq, s.v.created_ns, s.v.name, &s, NULL)) > 0) {
		r = fn(arg, &s.v);
		if (r)
			return r;
	}
	return r;
}

static int begin_rollback(struct unit_hold *h, struct lcm_err *err)
{
	(void)snprintf(h->row.v.op, sizeof(h->row.v.op), OP_ROLLBACK);
	return unit_db_set(h->u, &h->row, err);
}

int lcm_unit_rollback(struct lcm_units *u, const char *key, const char *snap, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct snap_row s;
	int r = unit_hold(u, key, &h, err), e;

	if (r == 0)
		r = unit_snap_get(&h, snap, &s, err);
	if (r == 0)
		r = unit_idle(&h, "rolled back", err);
	if (r == 0)
		r = begin_rollback(&h, err);
	if (r < 0)
		return r;
	r = h.pool.ops->copy(h.dir, unit_snap_object(s.v.name).s, h.dir, UNIT_DATA_NEW, false,
			     false, err);
	if (r == 0)
		r = h.pool.ops->exchange(h.dir, UNIT_DATA, UNIT_DATA_NEW, err);
	if (r == 0)
		h.row.v.size = s.v.size;
	/* After an error of these the note stays, and the next verb tries again. */
	e = h.pool.ops->remove(h.dir, UNIT_DATA_NEW, r < 0 ? NULL : err);
	h.row.v.op[0] = '\0';
	if (e == 0)
		e = unit_db_set(u, &h.row, r < 0 ? NULL : err);
	return r < 0 ? r : e;
}
