/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "src/base/fsmount.h"
#include "src/base/sys.h"
#include "unit/unit_priv.h"

const char *lcm_unit_path(struct lcm_units *u, const struct lcm_unit *v)
{
	(void)snprintf(u->path, sizeof(u->path), "%s/u/%s", u->run_dir, v->id);
	return u->path;
}

bool unit_is_attached(struct lcm_units *u, const struct lcm_unit *v)
{
	return lcm_sys_is_mount_root(lcm_unit_path(u, v)) > 0;
}

static int not_had(const struct lcm_unit *v, const char *but, const char *to_do,
		   struct lcm_err *err)
{
	return v->user[0] && strcmp(v->user, but) != 0
		   ? lcm_err_set(err, -EBUSY,
				 "unit %s cannot be %s: mount %s has it (locum umount %s)", v->name,
				 to_do, v->user, v->user)
		   : 0;
}

static int not_busy(const struct unit_hold *h, const char *to_do, struct lcm_err *err)
{
	int r = h->pool.ops->busy(h->dir, UNIT_DATA);

	return r > 0 ? lcm_err_set(err, -EBUSY,
				   "unit %s cannot be %s: it is mounted in a mount namespace that "
				   "is not ours",
				   h->row.v.name, to_do)
		     : r;
}

int unit_idle(const struct unit_hold *h, const char *to_do, struct lcm_err *err)
{
	const struct lcm_unit *v = &h->row.v;
	int r = not_had(v, "", to_do, err);

	if (r == 0 && unit_is_attached(h->u, v))
		return lcm_err_set(err, -EBUSY,
				   "unit %s cannot be %s: it is attached (locum unit detach %s)",
				   v->name, to_do, v->name);
	return r < 0 ? r : not_busy(h, to_do, err);
}

int unit_sync(const struct unit_hold *h, struct lcm_err *err)
{
	const char *path = lcm_unit_path(h->u, &h->row.v);
	lcm_autoclose int fd = -EBADF;
	int r = h->pool.ops->busy(h->dir, UNIT_DATA);

	if (r <= 0)
		return r;
	if (!unit_is_attached(h->u, &h->row.v))
		return 1; /* where we cannot sync it; a copy is as after a power cut all the same */
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	r = fd < 0 ? fd : lcm_sys_syncfs(fd);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", path, strerror(-r)) : 1;
}

static int put(const struct unit_hold *h, struct lcm_err *err)
{
	const char *path = lcm_unit_path(h->u, &h->row.v);
	lcm_autoclose int mnt = -EBADF, dir = -EBADF;
	int r = lcm_mkdir_p(path, 0700);

	if (r == 0)
		r = dir = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	mnt = h->pool.ops->mount(h->dir, UNIT_DATA, err);
	if (mnt < 0)
		return mnt;
	r = unit_place_marked(mnt, &h->row.v, err);
	if (r < 0)
		return r;
	r = lcm_sys_move_mount(mnt, dir);
	return r < 0 ? lcm_err_set(err, r, "%s: cannot be mounted on: %s", path, strerror(-r)) : 0;
}

static int attach(struct unit_hold *h, const char *who, struct lcm_err *err)
{
	struct lcm_units *u = h->u;
	const struct lcm_unit *v = &h->row.v;
	int r = not_busy(h, "attached", err);

	if (r == 0 && strcmp(v->user, who) != 0)
		r = unit_db_set_user(u, v->seq, who, err);
	if (r == 0)
		r = put(h, err);
	if (r == 0)
		return 0;
	if (strcmp(v->user, who) != 0)
		lcm_ignore(unit_db_set_user(u, v->seq, v->user, NULL));
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, lcm_unit_path(u, v), AT_REMOVEDIR));
	return r;
}

int lcm_unit_attach(struct lcm_units *u, const char *key, const char *user, struct lcm_unit *ret,
		    struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct lcm_unit *v = &h.row.v;
	const char *who = user ? user : "";
	int r = unit_hold(u, key, &h, err);

	if (r == 0)
		r = not_had(v, who, "attached", err);
	if (r == 0 && !unit_is_attached(u, v))
		r = attach(&h, who, err);
	else if (r == 0 && strcmp(v->user, who) != 0)
		r = lcm_err_set(err, -EBUSY, "unit %s is attached already (locum unit detach %s)",
				v->name, v->name);
	if (r < 0)
		return r;
	(void)snprintf(v->user, sizeof(v->user), "%s", who);
	v->attached = true;
	*ret = *v;
	return 0;
}

int lcm_unit_detach(struct lcm_units *u, const char *key, const char *user, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	const struct lcm_unit *v = &h.row.v;
	const char *path;
	int r = unit_hold(u, key, &h, err);

	if (r < 0)
		return r;
	if (strcmp(v->user, user ? user : "") != 0)
		return lcm_err_set(err, -EBUSY, "unit %s: mount %s has it (locum umount %s)",
				   v->name, v->user, v->user);
	path = lcm_unit_path(u, v);
	r = unit_is_attached(u, v) ? lcm_sys_umount2(path, UMOUNT_NOFOLLOW) : 0;
	if (r == -EBUSY)
		return lcm_err_set(err, r,
				   "unit %s: %s is in use; end what runs in it (fuser -vm "
				   "%s)",
				   v->name, path, path);
	if (r < 0)
		return lcm_err_set(err, r, "%s: cannot be unmounted: %s", path, strerror(-r));
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
	return v->user[0] ? unit_db_set_user(u, v->seq, "", err) : 0;
}

/* ---- size ---- */

void unit_resized(const struct unit_pool *p, struct unit_row *row, uint64_t size)
{
	row->v.size = size;
	if (!p->ops->thick || p->row.thin)
		row->reserved = size;
	else
		row->reserved -= LCM_MIN(row->reserved, row->op_bytes);
	row->op_bytes = 0;
}

static int begin_resize(struct unit_hold *h, uint64_t size, struct lcm_err *err)
{
	struct unit_row *row = &h->row;
	int r = unit_db_begin(h->u, err);

	if (r < 0)
		return r;
	row->op_bytes = size > row->v.size ? size - row->v.size : 0;
	row->reserved += row->op_bytes;
	(void)snprintf(row->v.op, sizeof(row->v.op), OP_RESIZE);
	if (row->op_bytes)
		r = unit_pool_take(h->u, &h->pool, row->op_bytes, err);
	if (r == 0)
		r = unit_db_set(h->u, row, err);
	return unit_db_end(h->u, r, err);
}

static int resize(struct unit_hold *h, int mnt, uint64_t size, struct lcm_err *err)
{
	int r = begin_resize(h, size, err), e;

	if (r < 0)
		return r;
	r = h->pool.ops->resize(h->dir, UNIT_DATA, mnt, size, err);
	e = h->pool.ops->size(h->dir, UNIT_DATA, &size, NULL);
	if (e == 0) {
		unit_resized(&h->pool, &h->row, size);
		h->row.v.op[0] = '\0';
		e = unit_db_set(h->u, &h->row, r < 0 ? NULL : err);
	}
	return r < 0 ? r : e; /* after an error the note stays, and the next verb looks again */
}

int lcm_unit_resize(struct lcm_units *u, const char *key, uint64_t size, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	lcm_autoclose int mnt = -EBADF;
	int r = unit_hold(u, key, &h, err);

	if (r == 0)
		r = unit_size_ok(size, err);
	if (r < 0)
		return r;
	if (unit_is_attached(u, &h.row.v)) {
		mnt = lcm_sys_openat(AT_FDCWD, lcm_unit_path(u, &h.row.v), O_RDONLY | O_DIRECTORY,
				     0);
		r = LCM_MIN(mnt, 0);
	} else {
		r = unit_idle(&h, "resized", err);
	}
	return r < 0 ? r : resize(&h, mnt, unit_round(size), err);
}
