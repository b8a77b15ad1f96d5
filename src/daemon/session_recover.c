/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_recover.c - mounts that an earlier daemon left, mounts that went with a reboot, and
 * mounts that somebody took away.
 *
 * A row whose mount is there is adopted. One whose mount went with another boot, and is to be
 * mounted again, is restored; if it cannot be it is FAILED, and the row stays, with what was
 * written. Any other goes, with what is not kept.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/keep.h"
#include "src/daemon/session_priv.h"

struct recovery {
	struct lcm_host *h;
	struct lcm_kept *kept; /* borrowed, n; those without descriptors are taken */
	size_t n;
};

/* Only run_dir/m/ID is made, and so removed, by the daemon; /run/locum-mine is somebody's. */
static bool is_own_target(const struct lcm_host *h, const struct lcm_mount_row *row)
{
	size_t n = strlen(h->run_dir);

	return strncmp(row->target, h->run_dir, n) == 0 &&
	       strncmp(row->target + n, "/m/", 3) == 0 && strcmp(row->target + n + 3, row->id) == 0;
}

/* The gate of a mount, if somebody has kept it. */
static void take_kept(struct lcm_session *s, const struct recovery *rec)
{
	for (size_t i = 0; i < rec->n; i++) {
		struct lcm_kept *k = &rec->kept[i];

		if (strcmp(k->name, s->id) != 0 || k->fuse < 0 || k->record < 0)
			continue;
		s->kept = true;
		s->kept_in = lcm_keep_generation(s->host->keep);
		s->kept_fuse = lcm_steal_fd(&k->fuse);
		s->kept_record = lcm_steal_fd(&k->record);
	}
}

/* A session as the row has it, without layers. */
static int from_row(struct lcm_host *h, const struct lcm_mount_row *row, struct lcm_session **ret,
		    struct lcm_err *err)
{
	struct lcm_session *s;
	int r = session_alloc(h, &s);

	if (r < 0)
		return r;
	s->adopted = true;
	s->read_only = row->read_only;
	s->keep = row->keep_upper;
	s->offline = row->offline;
	s->remount = row->remount;
	s->deadline_ns = row->deadline_ns;
	s->freeze = row->freeze;
	s->big = (struct lcm_gate_big){ row->big_data_bytes, row->big_exec_bytes };
	s->own_target = is_own_target(h, row);
	(void)snprintf(s->id, sizeof(s->id), "%s", row->id);
	s->target = strdup(row->target);
	s->image_ref = strdup(row->image);
	s->unit_key = *row->unit ? strdup(row->unit) : NULL;
	r = s->target && s->image_ref && (s->unit_key || !*row->unit)
		? lcm_reference_parse(row->image, &s->ref, err)
		: -ENOMEM;
	if (r < 0) {
		session_destroy(s);
		return r;
	}
	session_meter_load(s);
	*ret = s;
	return 0;
}

/* In place of one that the disk has lost, the one that was fetched again; never itself. */
static int sound_layer(const struct lcm_session *s, int64_t *id, struct lcm_err *err)
{
	struct lcm_store *st = s->host->e->store;
	struct lcm_layer_row row, other;

	if (lcm_store_layer_get(st, *id, &row) < 0 || !row.damaged)
		return 0;
	if (lcm_store_layer_find(st, &row.key, &other) < 0)
		return lcm_err_set(err, -ENODATA,
				   "layer %lld is damaged (locum pull %s fetches it again)",
				   (long long)*id, s->image_ref);
	*id = other.id;
	return 0;
}

/* The layers of the row, whatever its reference means now: the upper goes with these. */
static int take_layers(struct lcm_session *s, const struct lcm_mount_row *row, struct lcm_err *err)
{
	int r = session_make_slots(s, (uint32_t)row->n_layers);

	for (uint32_t i = 0; r == 0 && i < s->n_slots; i++) {
		int64_t id = row->layers[i];
		struct lcm_layer *l;

		r = s->restoring ? sound_layer(s, &id, err) : 0;
		if (r == 0)
			r = lcm_layer_adopt(s->host->e, &s->ref, id, &l, err);
		if (r == 0)
			session_fill_slot(s, i, l);
	}
	return r;
}

static void drop_layers(struct lcm_session *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		lcm_layer_put(s->slots[i].layer);
	s->n_slots = 0;
}

static void list(struct lcm_session *s)
{
	s->next = s->host->sessions;
	s->host->sessions = s;
}

static int adopt(const struct recovery *rec, const struct lcm_mount_row *row, struct lcm_err *err)
{
	struct lcm_session *s;
	int r = from_row(rec->h, row, &s, err);

	if (r < 0)
		return r;
	r = take_layers(s, row, err);
	if (r < 0) {
		session_destroy(s);
		return r;
	}
	list(s);
	s->phase = LCM_LAZY;
	s->t_mounted = s->t_request;
	if (row->rebooted) /* mounted again by a daemon that could not note it any more */
		lcm_ignore(session_put_row(s, NULL));
	take_kept(s, rec);
	session_watch_and_prepare(s);
	session_pull_layers(s, false);
	return 0;
}

/* ---- after a reboot ---- */

static int restorable(struct lcm_session *s, const struct lcm_mount_row *row, struct lcm_err *err)
{
	int r = s->own_target ? lcm_mkdir_p(s->target, 0700) : 0;

	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", s->target, strerror(-r));
	r = session_check_target(s->host, s->target, err);
	if (r == 0)
		r = take_layers(s, row, err);
	return r < 0 ? r : session_all_known(s, err);
}

/* It is mounted once it is known which units there are. One that cannot be is nobody else's
 * trouble: it says why, and waits for a daemon that can. */
static void restore(struct lcm_host *h, const struct lcm_mount_row *row)
{
	struct lcm_err err = { 0 };
	struct lcm_session *s;
	int r = from_row(h, row, &s, &err);

	if (r < 0) {
		lcm_log(LCM_LOG_ERR, "id=%s cannot be mounted again: %s", row->id,
			lcm_err_text(&err, r));
		return;
	}
	s->restoring = s->back = true;
	r = restorable(s, row, &err);
	list(s);
	if (r == 0)
		return;
	drop_layers(s);
	session_fail(s, r, &err);
}

static void restore_all(struct lcm_host *h)
{
	for (struct lcm_session *s = h->sessions; s; s = s->next)
		if (s->restoring && s->phase == LCM_PREPARING)
			session_watch_and_prepare(s);
}

/* Are these the options it was mounted with? Those that decide what is seen there. */
static bool same_mount(const struct lcm_session *s, const struct lcm_session_options *o)
{
	char ref[LCM_REFERENCE_STR_MAX];
	struct lcm_reference r;

	return lcm_reference_parse(o->image, &r, NULL) == 0 &&
	       strcmp(lcm_reference_str(&r, ref, sizeof(ref)), s->image_ref) == 0 &&
	       (*o->target ? strcmp(o->target, s->target) == 0 : s->own_target && *o->id) &&
	       (!*o->id || strcmp(o->id, s->id) == 0) && o->read_only == s->read_only &&
	       o->offline == s->offline && (*o->unit != 0) == (s->unit_key != NULL);
}

struct lcm_session *lcm_session_claim(struct lcm_host *h, const struct lcm_session_options *o)
{
	struct lcm_session *s = h->sessions;

	if (!o->remount || o->pull || o->policy == LCM_IMAGE_ALWAYS || *o->platform)
		return NULL;
	while (s && !(s->back && !s->closing && same_mount(s, o)))
		s = s->next;
	if (!s)
		return NULL;
	s->back = false;
	if (s->phase != LCM_FAILED)
		return s;
	/* What was written is there again for whoever has its id. */
	lcm_ignore(lcm_session_close(s, false, 0, NULL));
	return NULL;
}

int session_put_row(struct lcm_session *s, struct lcm_err *err)
{
	struct lcm_mount_row row = { .image = s->image_ref,
				     .target = s->target,
				     .read_only = s->read_only,
				     .keep_upper = s->keep,
				     .remount = s->remount,
				     .offline = s->offline,
				     .unit = s->unit_key,
				     .deadline_ns = s->deadline_ns,
				     .freeze = s->freeze,
				     .big_data_bytes = s->big.data_bytes,
				     .big_exec_bytes = s->big.exec_bytes,
				     .n_layers = s->n_slots };
	lcm_autofree int64_t *ids = calloc(s->n_slots + 1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	(void)snprintf(row.id, sizeof(row.id), "%s", s->id);
	for (uint32_t i = 0; i < s->n_slots; i++)
		ids[i] = s->slots[i].layer->row.id;
	row.layers = ids;
	return lcm_store_mount_put(s->host->e->store, &row, err);
}

bool lcm_session_restoring(const struct lcm_host *h)
{
	const struct lcm_session *s = h->sessions;

	while (s && !(s->restoring && s->phase == LCM_PREPARING))
		s = s->next;
	return s != NULL;
}

void session_restored(struct lcm_session *s)
{
	struct lcm_err err = { 0 };
	int r;

	if (!s->restoring)
		return;
	s->restoring = false;
	r = session_put_row(s, &err);
	lcm_log(r < 0 ? LCM_LOG_WARNING : LCM_LOG_INFO, "id=%s is mounted again%s%s", s->id,
		r < 0 ? ", and not recorded: " : "", r < 0 ? lcm_err_text(&err, r) : "");
}

static int collect_row(void *arg, const struct lcm_mount_row *row)
{
	const struct recovery *rec = arg;
	struct lcm_err err = { 0 };
	char source[80];
	int r;

	(void)snprintf(source, sizeof(source), "locum:%s", row->id);
	r = lcm_mounted_source(row->target, source);
	if (r > 0)
		r = adopt(rec, row, &err);
	else if (row->rebooted)
		restore(rec->h, row);
	else
		r = -ENOENT;
	if (r < 0 && r != -ENOENT)
		lcm_log(LCM_LOG_ERR, "id=%s is mounted but cannot be continued: %s", row->id,
			lcm_err_text(&err, r));
	return 0;
}

struct stale {
	struct lcm_host *h;
	char ids[256][LCM_ID_MAX + 1];
	size_t n;
};

static int collect_stale(void *arg, const struct lcm_mount_row *row)
{
	struct stale *st = arg;
	char source[80];

	if (row->rebooted || lcm_session_find(st->h, row->id) || st->n == LCM_ARRAY_SIZE(st->ids))
		return 0;
	/* Mounted but not continued: what the container has written stays until a start finds it
	 * unmounted. */
	(void)snprintf(source, sizeof(source), "locum:%s", row->id);
	if (lcm_mounted_source(row->target, source) != 0)
		return 0;
	(void)snprintf(st->ids[st->n++], sizeof(st->ids[0]), "%s", row->id);
	return 0;
}

/* Mount points made for sessions that ended with the daemon; one that is mounted is busy. */
static void remove_own_targets(struct lcm_host *h)
{
	char path[4096];
	struct dirent *e;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/m", h->run_dir);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && !lcm_session_find(h, e->d_name))
			lcm_ignore(lcm_sys_unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR));
	if (d)
		(void)closedir(d);
}

/* Of mounts that are gone or cannot be continued: who waits there gets an error now. */
static void let_go(struct lcm_host *h, struct lcm_kept *kept, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (kept[i].fuse >= 0)
			lcm_keep_del(h->keep, kept[i].name);
		lcm_closep(&kept[i].fuse);
		lcm_closep(&kept[i].record);
	}
}

void lcm_session_recover(struct lcm_host *h, struct lcm_kept *kept, size_t n)
{
	struct recovery rec = { h, kept, n };
	struct stale *st = calloc(1, sizeof(*st));

	lcm_ignore(lcm_store_mount_each(h->e->store, collect_row, &rec));
	let_go(h, kept, n);
	session_recover_units(h);
	restore_all(h);
	if (!st)
		return;
	do {
		st->h = h;
		st->n = 0;
		lcm_ignore(lcm_store_mount_each(h->e->store, collect_stale, st));
		for (size_t i = 0; i < st->n; i++)
			lcm_ignore(lcm_store_mount_remove(h->e->store, st->ids[i]));
	} while (st->n == LCM_ARRAY_SIZE(st->ids));
	free(st);
	remove_own_targets(h);
	lcm_engine_sweep(h->e);
}

void lcm_session_check_mounts(struct lcm_host *h)
{
	struct lcm_session *next;

	for (struct lcm_session *s = h->sessions; s; s = next) {
		char source[80];

		next = s->next;
		if (!s->target || s->job || !s->t_mounted ||
		    lcm_mounted_source(s->target, session_source(s, source)) != 0)
			continue;
		lcm_log(LCM_LOG_INFO, "id=%s was unmounted", s->id);
		session_unmounted(s);
	}
}
