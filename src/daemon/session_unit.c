/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_unit.c - a mount whose upper and work lie in a storage unit.
 *
 * Attaching and detaching wait for the kernel and for other processes' locks: they are pool jobs. A
 * unit's user is its mount's id, in the units' database: so the next daemon knows whose it is.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/daemon/session_priv.h"
#include "unit/unit.h"

struct unit_job {
	struct lcm_task task;
	struct lcm_session *s; /* alive while s->job is this */
	bool remove;
};

static int open_units(const struct lcm_host *h, struct lcm_units **ret, struct lcm_err *err)
{
	return lcm_units_open(lcm_store_root(h->e->store), h->run_dir, ret, err);
}

int session_set_unit(struct lcm_session *s, const struct lcm_session_options *o,
		     struct lcm_err *err)
{
	if (!o->unit || !*o->unit)
		return 0;
	s->unit_new = strcmp(o->unit, "new") == 0;
	if (s->read_only || o->home)
		return lcm_err_set(err, -EINVAL, "a read-only mount writes into no unit");
	if (s->unit_new && !o->unit_size)
		return lcm_err_set(err, -EINVAL, "a new unit needs a size (--unit-size)");
	if (!s->unit_new)
		s->keep = true; /* what is in somebody's unit goes only by his word */
	s->unit_fresh = o->unit_fresh;
	s->unit_size = o->unit_size;
	s->unit_key = strdup(s->unit_new ? s->id : o->unit);
	s->unit_pool = o->unit_pool && *o->unit_pool ? strdup(o->unit_pool) : NULL;
	return s->unit_key && (s->unit_pool || !o->unit_pool || !*o->unit_pool) ? 0 : -ENOMEM;
}

/* A new unit is called as its mount; one of that name is there already when an earlier mount of
 * that id was kept. Return: 1 (made), 0 (it is there), -errno. */
static int have_unit(const struct lcm_session *s, struct lcm_units *u, struct lcm_err *err)
{
	const struct lcm_unit_options o = { .pool = s->unit_pool,
					    .name = s->unit_key,
					    .size = s->unit_size };
	struct lcm_unit v;
	int r;

	if (!s->unit_new || s->restoring)
		return 0;
	r = lcm_unit_create(u, &o, &v, err);
	return r == 0 ? 1 : r == -EEXIST && s->keep && !s->unit_fresh ? 0 : r;
}

void session_set_attached(struct lcm_session *s, const struct lcm_unit *unit)
{
	(void)snprintf(s->unit, sizeof(s->unit), "%s", unit->id);
	(void)snprintf(s->unit_name, sizeof(s->unit_name), "%s", unit->name);
}

int session_open_unit(struct lcm_session *s, struct lcm_unit *ret_unit, struct lcm_err *err)
{
	lcm_auto(lcm_units) u = NULL;
	struct lcm_unit v;
	int r = open_units(s->host, &u, err), made = 0;

	if (r == 0)
		r = made = have_unit(s, u, err);
	if (r >= 0)
		r = lcm_unit_attach(u, s->unit_key, s->id, &v, err);
	if (r < 0 && made > 0)
		lcm_ignore(lcm_unit_delete(u, s->unit_key, NULL));
	if (r < 0)
		return r;
	*ret_unit = v;
	r = lcm_sys_openat(AT_FDCWD, lcm_unit_path(u, &v), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", lcm_unit_path(u, &v), strerror(-r)) : r;
}

bool lcm_session_unit(const struct lcm_session *s, char out[4096])
{
	if (!s->unit[0])
		return false;
	(void)snprintf(out, 4096, "%s/u/%s", s->host->run_dir, s->unit);
	return true;
}

bool lcm_session_closing(const struct lcm_session *s)
{
	return s->closing;
}

/* ---- leaving ---- */

static int remove_upper(struct lcm_units *u, const char *id)
{
	struct lcm_unit v;
	lcm_autoclose int dir = -EBADF;
	int r = lcm_unit_get(u, id, &v, NULL);

	if (r < 0)
		return r;
	dir = lcm_sys_openat(AT_FDCWD, lcm_unit_path(u, &v), O_RDONLY | O_DIRECTORY, 0);
	r = dir < 0 ? dir : lcm_rmtree_at(dir, "upper");
	return r < 0 ? r : lcm_rmtree_at(dir, "work");
}

/* @delete: the unit was made for this mount, and goes with it. */
static void leave(struct lcm_units *u, const char *unit, const char *mount, bool remove,
		  bool delete)
{
	struct lcm_err err = { 0 };
	int r = remove && !delete ? remove_upper(u, unit) : 0;

	if (r == 0)
		r = lcm_unit_detach(u, unit, mount, &err);
	if (r == 0 && remove && delete)
		r = lcm_unit_delete(u, unit, &err);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "id=%s is unmounted, but its unit %s: %s", mount, unit,
			lcm_err_text(&err, r));
}

static void on_left(void *arg)
{
	struct unit_job *j = arg;
	struct lcm_session *s = j->s;

	free(j);
	s->unit[0] = '\0';
	(void)session_job_back(s);
}

static void leave_job(void *arg)
{
	struct unit_job *j = arg;
	struct lcm_session *s = j->s;
	lcm_auto(lcm_units) u = NULL;
	struct lcm_err err = { 0 };
	int r = open_units(s->host, &u, &err);

	if (r == 0)
		leave(u, s->unit, s->id, j->remove, s->unit_new);
	else
		lcm_log(LCM_LOG_WARNING, "id=%s keeps unit %s attached: %s", s->id, s->unit,
			lcm_err_text(&err, r));
	j->task.fn = on_left;
	lcm_loop_post_task(s->host->e->loop, &j->task);
}

bool session_leave_unit(struct lcm_session *s, bool remove)
{
	struct unit_job *j = s->unit[0] ? calloc(1, sizeof(*j)) : NULL;

	if (!j) /* without memory it stays attached; the next daemon detaches it */
		return false;
	*j = (struct unit_job){ .task = { .fn = leave_job, .arg = j }, .s = s, .remove = remove };
	s->job = j;
	s->closing = true;
	lcm_pool_submit(s->host->e->pool, LCM_POOL_DEMAND, &j->task);
	return true;
}

/* ---- an earlier daemon's ---- */

struct unit_recovery {
	struct lcm_host *h;
	struct lcm_units *u;
};

/* What its mount's row says when that is not mounted any more: a new unit goes with it. */
static bool goes(const struct lcm_host *h, const struct lcm_unit *v)
{
	struct lcm_mount_row row;
	bool keep = true;

	if (lcm_store_mount_get(h->e->store, v->user, &row) == 0) {
		keep = row.keep_upper;
		lcm_mount_row_fini(&row);
	}
	return !keep && strcmp(v->name, v->user) == 0;
}

/* Its name may be another one since. Without memory the name has to do. */
static void set_key(struct lcm_session *s, const char *id)
{
	char *key = strdup(id);

	if (!key)
		return;
	free(s->unit_key);
	s->unit_key = key;
}

static int recover_unit(void *arg, const struct lcm_unit *v)
{
	const struct unit_recovery *rec = arg;
	struct lcm_session *s = v->user[0] ? lcm_session_find(rec->h, v->user) : NULL;
	bool gone;

	if (!v->user[0])
		return 0;
	if (s) {
		session_set_attached(s, v);
		if (s->restoring)
			set_key(s, v->id);
		s->unit_new = strcmp(v->name, v->user) == 0 && !s->keep;
		return 0;
	}
	gone = goes(rec->h, v);
	leave(rec->u, v->id, v->user, gone, gone);
	return 0;
}

void session_recover_units(struct lcm_host *h)
{
	struct unit_recovery rec = { .h = h };
	struct lcm_err err = { 0 };
	struct stat st;
	int r;

	if (lcm_sys_fstatat(lcm_store_root_fd(h->e->store), "units.db", &st, 0) == -ENOENT)
		return; /* nobody has ever had one here */
	/* What was interrupted is put right by the next verb on it, and does not keep us now. */
	r = open_units(h, &rec.u, &err);
	if (r == 0)
		r = lcm_unit_each(rec.u, recover_unit, &rec);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "units: %s", lcm_err_text(&err, r));
	lcm_units_free(rec.u);
}
