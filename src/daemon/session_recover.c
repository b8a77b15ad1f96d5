/* SPDX-License-Identifier: Apache-2.0 */
/* session_recover.c - mounts that an earlier daemon left, and mounts that somebody took away. */
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

static int adopt(const struct recovery *rec, const struct lcm_mount_row *row, struct lcm_err *err)
{
	struct lcm_host *h = rec->h;
	struct lcm_session *s;
	int r = session_alloc(h, &s);

	if (r < 0)
		return r;
	s->adopted = true;
	s->read_only = row->read_only;
	s->keep = row->keep_upper;
	s->own_target = is_own_target(h, row);
	(void)snprintf(s->id, sizeof(s->id), "%s", row->id);
	s->target = strdup(row->target);
	s->image_ref = strdup(row->image);
	r = s->target && s->image_ref ? lcm_reference_parse(row->image, &s->ref, err) : -ENOMEM;
	if (r == 0)
		r = session_make_slots(s, (uint32_t)row->n_layers);
	for (uint32_t i = 0; r == 0 && i < s->n_slots; i++) {
		struct lcm_layer *l;

		r = lcm_layer_adopt(h->e, &s->ref, row->layers[i], &l, err);
		if (r == 0)
			session_fill_slot(s, i, l);
	}
	if (r < 0) {
		session_destroy(s);
		return r;
	}
	s->next = h->sessions;
	h->sessions = s;
	s->phase = LCM_LAZY;
	s->t_mounted = s->t_request;
	take_kept(s, rec);
	session_watch_and_prepare(s);
	session_pull_layers(s, false);
	return 0;
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

	if (lcm_session_find(st->h, row->id) || st->n == LCM_ARRAY_SIZE(st->ids))
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
