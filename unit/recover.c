/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - what a verb left that was killed.
 *
 * A unit being made or deleted goes; of a resize the object says how far it came, and it is
 * finished; a rollback has happened or not (the exchange is atomic), and its spare copy goes; a
 * snapshot that was not finished goes; of a move one of two places is the row's, and the other
 * goes.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "unit/unit_priv.h"

static int recover_resize(struct lcm_units *u, const struct unit_pool *p, struct unit_row *row,
			  int dir, struct lcm_err *err)
{
	lcm_autoclose int mnt = -EBADF;
	uint64_t size = 0;
	int r = p->ops->size(dir, UNIT_DATA, &size, err);

	if (r == 0 && unit_is_attached(u, &row->v))
		mnt = lcm_sys_openat(AT_FDCWD, lcm_unit_path(u, &row->v), O_RDONLY | O_DIRECTORY,
				     0);
	if (r == 0)
		r = p->ops->resize(dir, UNIT_DATA, mnt, size, err);
	if (r == -EBUSY && mnt >= 0)
		r = 0; /* of a kind that does not grow under its user: nothing was begun */
	if (r < 0)
		return r;
	unit_resized(p, row, size);
	return 0;
}

static int recover_rollback(const struct unit_pool *p, struct unit_row *row, int dir,
			    struct lcm_err *err)
{
	int r = p->ops->size(dir, UNIT_DATA, &row->v.size, err);

	return r < 0 ? r : p->ops->remove(dir, UNIT_DATA_NEW, err);
}

static int recover_unit(struct lcm_units *u, const struct unit_pool *p, struct unit_row *row,
			struct lcm_err *err)
{
	lcm_autoclose int dir = -EBADF;
	int r;

	if (strcmp(row->v.op, OP_CREATE) == 0 || strcmp(row->v.op, OP_DELETE) == 0) {
		r = unit_place_remove(p, row->v.id, err);
		if (r == 0)
			r = unit_db_remove(u, row->v.seq, err);
		return r < 0 ? r : 1;
	}
	if (strcmp(row->v.op, OP_MOVE) == 0)
		return unit_move_end(u, row, err);
	dir = unit_place_open(p, &row->v, err);
	if (dir < 0)
		return dir;
	if (strcmp(row->v.op, OP_RESIZE) == 0)
		r = recover_resize(u, p, row, dir, err);
	else if (strcmp(row->v.op, OP_ROLLBACK) == 0)
		r = recover_rollback(p, row, dir, err);
	else
		return lcm_err_set(err, -EUCLEAN, "unit %s: units.db knows no \"%s\"", row->v.id,
				   row->v.op);
	row->v.op[0] = '\0';
	return r < 0 ? r : unit_db_set(u, row, err);
}

static int recover_snaps(struct lcm_units *u, const struct unit_pool *p, const struct unit_row *row,
			 struct lcm_err *err)
{
	struct snap_row s = { .v.created_ns = 0 };
	int r;

	while ((r = unit_db_snap_next(u, row->v.seq, s.v.created_ns, s.v.name, &s, err)) > 0) {
		lcm_autoclose int dir = -EBADF;

		if (!s.op[0])
			continue;
		dir = unit_place_open(p, &row->v, err);
		if (dir < 0)
			return dir;
		r = p->ops->remove(dir, unit_snap_object(s.v.name).s, err);
		if (r == 0)
			r = unit_db_snap_remove(u, row->v.seq, s.v.name, err);
		if (r < 0)
			return r;
	}
	return r;
}

int unit_recover(struct lcm_units *u, const struct unit_pool *p, struct unit_row *row,
		 struct lcm_err *err)
{
	char op[sizeof(row->v.op)];
	int r = 0;

	(void)snprintf(op, sizeof(op), "%s", row->v.op);
	if (strcmp(op, OP_IMPORT) == 0)
		return 0; /* what has come may be gone on with */
	if (op[0])
		r = recover_unit(u, p, row, err);
	if (op[0])
		lcm_log(LCM_LOG_NOTICE, "unit %s: a %s was interrupted; %s", row->v.id, op,
			r < 0 ? lcm_err_text(err, r)
			: r   ? "undone"
			      : "finished");
	return r ? r : recover_snaps(u, p, row, err);
}
