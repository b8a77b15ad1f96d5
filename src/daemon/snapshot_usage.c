/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_usage.c - what a snapshot takes on the disk, counted on a pool thread. */
#include <fts.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/log.h"
#include "src/daemon/snapshot_priv.h"

static int by_inode(const void *pa, const void *pb)
{
	const ino_t *a = pa, *b = pb;

	return *a < *b ? -1 : *a > *b;
}

/* The first name of an inode that has several counts. Return: 1, 0, -ENOMEM. */
static int first_name(void **seen, ino_t ino)
{
	ino_t *key = malloc(sizeof(*key)), **node;

	if (!key)
		return -ENOMEM;
	*key = ino;
	node = tsearch(key, seen, by_inode);
	if (!node || *node != key)
		free(key);
	return node ? *node == key : -ENOMEM;
}

static int count(struct lcm_snapshot_job *j, const FTSENT *e, void **seen)
{
	int r = 1;

	switch (e->fts_info) {
	case FTS_DP: /* the second time */
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return -e->fts_errno;
	default:
		break;
	}
	if (e->fts_statp->st_nlink > 1 && e->fts_info != FTS_D)
		r = first_name(seen, e->fts_statp->st_ino);
	if (r > 0) {
		j->inodes++;
		j->size += (uint64_t)e->fts_statp->st_blocks * 512;
	}
	return LCM_MIN(r, 0);
}

/* What disappears while it is looked at (a container works in it) does not count. */
static int count_tree(struct lcm_snapshot_job *j)
{
	char *const paths[] = { j->dir, NULL };
	void *seen = NULL;
	FTSENT *e;
	FTS *fts;
	int r = 0;

	fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	if (!fts)
		return (int)lcm_errno(-1);
	while (r == 0 && (e = fts_read(fts))) {
		r = count(j, e, &seen);
		if (r == -ENOENT)
			r = 0;
	}
	(void)fts_close(fts);
	tdestroy(seen, free);
	return r;
}

static void on_counted(void *arg)
{
	struct lcm_snapshot_job *j = arg;

	if (!j->call) {
		snapshot_job_free(j);
		return;
	}
	if (j->status == 0 && j->final)
		lcm_ignore(
		    lcm_store_snapshot_measured(j->host->e->store, j->row.id, j->size, j->inodes));
	if (j->status < 0)
		snapshot_fail(j, j->status, NULL);
	else
		snapshot_answer(j, 200,
				json_pack("{s:I s:I}", "size", (json_int_t)j->size, "inodes",
					  (json_int_t)j->inodes));
}

static void count_job(void *arg)
{
	struct lcm_snapshot_job *j = arg;
	struct lcm_store *s = j->host->e->store;
	struct stat st;

	j->status = count_tree(j);
	if (j->status == 0 && *j->blob &&
	    lcm_sys_fstatat(lcm_store_root_fd(s), j->blob, &st, 0) == 0)
		j->size += (uint64_t)st.st_blocks * 512;
	j->task.fn = on_counted;
	lcm_loop_post_task(j->host->e->loop, &j->task);
}

/* A remote layer takes what is unpacked of it and, until it is whole, what is here of its blob. */
static int find_layer(struct lcm_snapshot_job *j)
{
	struct lcm_store *s = j->host->e->store;
	struct lcm_image_row image = { 0 };
	lcm_auto(lcm_manifest) m = NULL;
	lcm_auto(lcm_image_config) cfg = NULL;
	struct lcm_layer_row row;
	int r = lcm_store_image_get(s, j->row.image, &image);

	if (r == 0)
		r = lcm_manifest_parse(image.manifest_text, strlen(image.manifest_text), NULL, &m,
				       NULL);
	if (r == 0)
		r = lcm_image_config_parse(image.config_text, strlen(image.config_text), &cfg,
					   NULL);
	lcm_image_row_fini(&image);
	if (r == 0 &&
	    (j->row.depth < 1 || j->row.depth > m->n_layers || cfg->n_diffids != m->n_layers))
		r = -EUCLEAN;
	if (r == 0)
		r = lcm_layer_row_of(s, &m->layers[j->row.depth - 1],
				     &cfg->diffids[j->row.depth - 1], &row, NULL);
	if (r < 0)
		return r;
	if (asprintf(&j->dir, "%s/real/%lld", lcm_store_root(s), (long long)row.id) < 0)
		return -ENOMEM;
	if (row.state == LCM_LAYER_PARTIAL)
		(void)snprintf(j->blob, sizeof(j->blob), "blobs/%lld", (long long)row.id);
	/* drop-cache may take it away again: it is never final. */
	return 0;
}

/* What it has written: in its own directory, or in a unit as long as that is attached. */
static int find_upper(struct lcm_snapshot_job *j, struct lcm_err *err)
{
	const struct lcm_snapshot_row *row = &j->row;
	lcm_autojson json_t *labels = json_loads(row->labels, 0, NULL);
	char id[LCM_ID_MAX + 1], top[4096];
	struct snapshot_unit u = { 0 };
	struct lcm_session *s;
	int r;

	if (row->kind == LCM_SNAPSHOT_ACTIVE)
		lcm_ignore(snapshot_unit_get(labels, &u, NULL));
	snapshot_session_id(row->id, id);
	s = u.key ? lcm_session_find(j->host, id) : NULL;
	(void)snprintf(top, sizeof(top), "%s/snapshots/%lld", lcm_store_root(j->host->e->store),
		       (long long)row->id);
	if (u.key && (!s || !lcm_session_unit(s, top)))
		return lcm_err_set(err, -EBUSY,
				   "snapshot %.200s: its unit %.80s is not attached; start its "
				   "container to look into it",
				   row->name, u.key);
	r = asprintf(&j->dir, "%s/upper", top);
	return r < 0 ? -ENOMEM : 0;
}

void snapshot_usage(struct lcm_snapshot_job *j)
{
	struct lcm_snapshot_row *row = &j->row;
	struct lcm_err err = { 0 };
	int r = 0;

	if (row->measured) {
		snapshot_answer(j, 200,
				json_pack("{s:I s:I}", "size", (json_int_t)row->size, "inodes",
					  (json_int_t)row->inodes));
		return;
	}
	if (*row->image) {
		r = find_layer(j);
	} else {
		r = find_upper(j, &err);
		j->final = row->kind == LCM_SNAPSHOT_COMMITTED;
	}
	if (r == -ENOENT) { /* nothing of it is here */
		snapshot_answer(j, 200, json_pack("{s:i s:i}", "size", 0, "inodes", 0));
		return;
	}
	if (r < 0) {
		snapshot_fail(j, r, &err);
		return;
	}
	j->task = (struct lcm_task){ .fn = count_job, .arg = j };
	lcm_pool_submit(j->host->e->pool, LCM_POOL_BACKGROUND, &j->task);
}
