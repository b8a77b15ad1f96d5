/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

/* ---- opening ---- */

int lcm_units_open(const char *root, const char *run_dir, struct lcm_units **ret,
		   struct lcm_err *err)
{
	lcm_auto(lcm_units) u = calloc(1, sizeof(*u));
	lcm_autoclose int dir = -EBADF;
	struct stat st;
	int r;

	if (!u)
		return -ENOMEM;
	u->lock = -EBADF;
	r = lcm_mkdir_p(root, 0700);
	if (r == 0)
		r = dir = lcm_sys_openat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
	if (r >= 0)
		r = lcm_sys_fstat(dir, &st);
	if (r == 0 && (st.st_uid != geteuid() || (st.st_mode & 022)))
		return lcm_err_set(err, -EPERM,
				   "%s belongs to somebody else, or others may write it", root);
	u->root = r < 0 ? NULL : realpath(root, NULL);
	u->run_dir = strdup(run_dir);
	if (r == 0 && (!u->root || !u->run_dir))
		r = -ENOMEM;
	if (r == 0)
		r = u->lock = lcm_sys_openat(dir, "units.lock", O_RDWR | O_CREAT, 0600);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", root, strerror(-r));
	r = unit_db_open(u, err);
	if (r == 0)
		*ret = lcm_steal(&u);
	return r;
}

void lcm_units_free(struct lcm_units *u)
{
	if (!u)
		return;
	unit_db_close(u);
	lcm_closep(&u->lock);
	free(u->root);
	free(u->run_dir);
	free(u);
}

/* ---- the lock ---- */

static int set_lock(const struct lcm_units *u, int64_t seq, short type, int cmd)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = seq, .l_len = 1 };
	int r;

	do
		r = (int)lcm_errno(fcntl(u->lock, cmd, &fl));
	while (r == -EINTR);
	return r == -EACCES ? -EAGAIN : r;
}

/* Of the open file (fcntl(2) "Open file description locks"): the kernel drops it with its holder.
 */
int unit_lock(struct lcm_units *u, int64_t seq, bool wait)
{
	return set_lock(u, seq, F_WRLCK, wait ? F_OFD_SETLKW : F_OFD_SETLK);
}

void unit_unlock(struct lcm_units *u, int64_t seq)
{
	lcm_ignore(set_lock(u, seq, F_UNLCK, F_OFD_SETLK));
}

void unit_release(struct unit_hold *h)
{
	lcm_closep(&h->dir);
	unit_pool_close(&h->pool);
	if (h->u)
		unit_unlock(h->u, h->row.v.seq);
	h->u = NULL;
}

static int no_such(const char *key, struct lcm_err *err)
{
	return lcm_err_set(err, -ENOENT, "no unit %s (locum unit list)", key);
}

/* The row under its lock: what was read before may be gone by now. */
int unit_lock_row(struct lcm_units *u, const char *key, bool wait, struct unit_hold *h,
		  struct lcm_err *err)
{
	int r = unit_db_get(u, key, &h->row, err);

	if (r == 0)
		r = unit_lock(u, h->row.v.seq, wait);
	if (r < 0)
		return r == -ENOENT ? no_such(key, err) : r;
	h->u = u;
	r = unit_db_by_seq(u, h->row.v.seq, &h->row, err);
	return r == -ENOENT ? no_such(key, err) : r;
}

static int hold(struct lcm_units *u, const char *key, bool wait, struct unit_hold *ret,
		struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	int r = unit_lock_row(u, key, wait, &h, err);

	if (r == 0)
		r = unit_pool_open(u, h.row.v.pool, &h.pool, err);
	if (r == 0)
		r = unit_recover(u, &h.pool, &h.row, err);
	if (r != 0)
		return r < 0 ? r : no_such(key, err);
	if (h.row.v.op[0])
		return lcm_err_set(
		    err, -EAGAIN,
		    "unit %s is not whole: its import was interrupted; go on with it "
		    "(locum unit import --resume %s) or delete it",
		    h.row.v.name, h.row.v.name);
	h.dir = unit_place_open(&h.pool, &h.row.v, err);
	if (h.dir < 0)
		return h.dir;
	*ret = h;
	h = (struct unit_hold)UNIT_HOLD_NONE;
	return 0;
}

int unit_hold(struct lcm_units *u, const char *key, struct unit_hold *ret, struct lcm_err *err)
{
	return hold(u, key, true, ret, err);
}

int unit_try_hold(struct lcm_units *u, const char *key, struct unit_hold *ret, struct lcm_err *err)
{
	return hold(u, key, false, ret, err);
}

/* ---- looking ---- */

int lcm_unit_get(struct lcm_units *u, const char *key, struct lcm_unit *ret, struct lcm_err *err)
{
	struct unit_row row;
	int r = unit_db_get(u, key, &row, err);

	if (r < 0)
		return r == -ENOENT ? no_such(key, err) : r;
	row.v.attached = unit_is_attached(u, &row.v);
	*ret = row.v;
	return 0;
}

int lcm_unit_each(struct lcm_units *u, int (*fn)(void *arg, const struct lcm_unit *v), void *arg)
{
	struct unit_row row = { .v.seq = 0 };
	int r;

	while ((r = unit_db_after(u, row.v.seq, &row, NULL)) > 0) {
		row.v.attached = unit_is_attached(u, &row.v);
		r = fn(arg, &row.v);
		if (r)
			return r;
	}
	return r;
}

int lcm_unit_used(struct lcm_units *u, const struct lcm_unit *v, uint64_t *ret, struct lcm_err *err)
{
	autopool struct unit_pool p = UNIT_POOL_NONE;
	lcm_autoclose int dir = -EBADF;
	uint64_t promised;
	int r = unit_pool_open(u, v->pool, &p, err);

	if (r == 0)
		r = dir = unit_place_open(&p, v, err);
	return r < 0 ? r : p.ops->usage(dir, UNIT_DATA, 0, ret, &promised, err);
}

/* ---- making ---- */

/* Names and ids of a new unit; nobody else may answer to them. */
static int name_unit(struct lcm_units *u, const struct lcm_unit_options *o, struct lcm_unit *v,
		     struct lcm_err *err)
{
	struct unit_row other;
	int r = unit_uuid_new(v->id);

	if (r == 0 && o->owner)
		(void)snprintf(v->owner, sizeof(v->owner), "%s", o->owner);
	else if (r == 0)
		r = unit_uuid_new(v->owner);
	if (r < 0)
		return r;
	if (!unit_uuid_ok(v->owner) || (o->owner && strlen(o->owner) != LCM_UUID - 1))
		return lcm_err_set(err, -EINVAL, "owner \"%.80s\" is no UUID in lower case",
				   o->owner);
	r = o->name ? unit_name_ok("unit", o->name, err) : 0;
	if (r < 0)
		return r;
	if (o->name && unit_uuid_ok(o->name))
		return lcm_err_set(err, -EINVAL, "unit name %s looks like an id", o->name);
	(void)snprintf(v->name, sizeof(v->name), "%s", o->name ? o->name : v->id);
	r = unit_db_get(u, v->owner, &other, err);
	if (r == 0)
		return lcm_err_set(err, -EEXIST, "owner %s has a unit already: %s", v->owner,
				   other.v.name);
	r = r == -ENOENT ? unit_db_get(u, v->name, &other, err) : r;
	if (r == 0)
		return lcm_err_set(err, -EEXIST, "there is a unit %s already", v->name);
	return r == -ENOENT ? 0 : r;
}

uint64_t unit_round(uint64_t size)
{
	return (size + LCM_UNIT_BLOCK - 1) / LCM_UNIT_BLOCK * LCM_UNIT_BLOCK;
}

int unit_size_ok(uint64_t size, struct lcm_err *err)
{
	if (size < LCM_UNIT_SIZE_MIN || size > LCM_UNIT_SIZE_MAX)
		return lcm_err_set(err, -EINVAL, "size %llu: %llu to %llu bytes are possible",
				   (unsigned long long)size, LCM_UNIT_SIZE_MIN, LCM_UNIT_SIZE_MAX);
	return 0;
}

int unit_begin(struct lcm_units *u, const struct unit_pool *p, const struct lcm_unit_options *o,
	       const char *op, struct unit_row *row, struct lcm_err *err)
{
	int r = unit_db_begin(u, err);

	if (r < 0)
		return r;
	r = name_unit(u, o, &row->v, err);
	if (r == 0)
		r = unit_size_ok(o->size, err);
	row->v.size = unit_round(o->size);
	if (r == 0)
		r = unit_pool_take(u, p, row->v.size, err);
	row->reserved = row->v.size;
	row->v.created_ns = lcm_realtime_ns();
	(void)snprintf(row->v.op, sizeof(row->v.op), "%s", op);
	(void)snprintf(row->v.pool, sizeof(row->v.pool), "%s", p->row.name);
	if (r == 0)
		r = unit_db_add(u, row, err);
	if (r == 0)
		r = unit_lock(u, row->v.seq, true);
	return unit_db_end(u, r, err);
}

int unit_end(struct lcm_units *u, const struct unit_pool *p, struct unit_row *row, bool copy,
	     struct lcm_err *err)
{
	row->reserved = p->ops->thick && !p->row.thin && !copy ? 0 : row->v.size;
	row->v.op[0] = '\0';
	return unit_db_set(u, row, err);
}

struct origin {
	int dir;
	const char *object;
	uint64_t size;
	bool live;
};

/* @from NULL: empty. */
static int build(const struct unit_pool *p, const struct lcm_unit *v, const struct origin *from,
		 struct lcm_err *err)
{
	lcm_autoclose int dir = unit_place_begin(p, v, err);
	int r = LCM_MIN(dir, 0);

	if (r == 0)
		r = from ? p->ops->copy(from->dir, from->object, dir, UNIT_DATA, false, from->live,
					err)
			 : p->ops->create(dir, UNIT_DATA, v->size, p->row.thin, err);
	if (r == 0 && from && from->size < v->size)
		r = p->ops->resize(dir, UNIT_DATA, -EBADF, v->size, err);
	if (r == 0)
		r = unit_place_mark(p, dir, v, err);
	if (r == 0)
		r = lcm_sys_fsync(dir);
	return r < 0 ? r : unit_place_end(p, v->id, err);
}

static int make(struct lcm_units *u, const struct unit_pool *p, const struct lcm_unit_options *o,
		const struct origin *from, struct lcm_unit *ret, struct lcm_err *err)
{
	struct unit_row row = { .v.seq = 0 };
	int r = unit_begin(u, p, o, OP_CREATE, &row, err);

	if (r < 0)
		return r;
	r = build(p, &row.v, from, err);
	if (r == 0)
		r = unit_end(u, p, &row, from != NULL, err);
	if (r < 0) {
		lcm_ignore(unit_place_remove(p, row.v.id, NULL));
		lcm_ignore(unit_db_remove(u, row.v.seq, NULL));
	} else {
		*ret = row.v;
	}
	unit_unlock(u, row.v.seq);
	return r;
}

int lcm_unit_create(struct lcm_units *u, const struct lcm_unit_options *o, struct lcm_unit *ret,
		    struct lcm_err *err)
{
	autopool struct unit_pool p = UNIT_POOL_NONE;
	int r = unit_pool_open(u, o->pool, &p, err);

	return r < 0 ? r : make(u, &p, o, NULL, ret, err);
}

int lcm_unit_clone(struct lcm_units *u, const char *key, const char *snap,
		   const struct lcm_unit_options *o, struct lcm_unit *ret, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct lcm_unit_options opt = *o;
	struct origin from = { .object = UNIT_DATA };
	struct unit_object object;
	struct snap_row s;
	int r = unit_hold(u, key, &h, err);

	if (r < 0)
		return r;
	from.dir = h.dir;
	from.size = h.row.v.size;
	if (snap) {
		r = unit_snap_get(&h, snap, &s, err);
		if (r < 0)
			return r;
		object = unit_snap_object(s.v.name);
		from.object = object.s;
		from.size = s.v.size;
	} else {
		r = unit_sync(&h, err);
		if (r < 0)
			return r;
		from.live = r > 0;
	}
	opt.size = opt.size ? opt.size : from.size;
	if (opt.size < from.size)
		return lcm_err_set(err, -EINVAL, "a clone cannot be smaller than its origin");
	return make(u, &h.pool, &opt, &from, ret, err);
}

/* One whose import was interrupted. */
static int delete_half(struct lcm_units *u, const char *key, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	int r = unit_lock_row(u, key, true, &h, err);

	if (r == 0)
		r = unit_pool_open(u, h.row.v.pool, &h.pool, err);
	if (r == 0 && strcmp(h.row.v.op, OP_IMPORT) != 0)
		return lcm_err_set(err, -EAGAIN, "unit %s has just changed; try again", key);
	if (r == 0)
		r = unit_place_remove(&h.pool, h.row.v.id, err);
	return r < 0 ? r : unit_db_remove(u, h.row.v.seq, err);
}

int lcm_unit_delete(struct lcm_units *u, const char *key, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	int r = unit_hold(u, key, &h, err);

	if (r == -EAGAIN)
		return delete_half(u, key, err);
	if (r == 0)
		r = unit_idle(&h, "deleted", err);
	if (r < 0)
		return r;
	(void)snprintf(h.row.v.op, sizeof(h.row.v.op), OP_DELETE);
	r = unit_db_set(u, &h.row, err);
	if (r == 0)
		r = unit_place_remove(&h.pool, h.row.v.id, err);
	return r < 0 ? r : unit_db_remove(u, h.row.v.seq, err);
}
