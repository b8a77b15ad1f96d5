/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/layer.h"

#include <stdio.h>
#include <string.h>

#include "src/base/log.h"

static const struct {
	enum lcm_media media;
	enum lcm_compression comp;
} media_comp[] = {
	{ LCM_MEDIA_LAYER_TAR, LCM_COMP_NONE },
	{ LCM_MEDIA_LAYER_GZIP, LCM_COMP_GZIP },
	{ LCM_MEDIA_LAYER_ZSTD, LCM_COMP_ZSTD },
};

struct done_post {
	struct lcm_task task;
	struct lcm_layer *layer;
	uint32_t entry;
};

static void on_pull_retry(void *arg);

/* ---- life ---- */

/* On a full disk the database cannot even note that the layer goes: first what fills the disk, then
 * the note. */
static void drop_from_store(struct lcm_layer *l)
{
	struct lcm_store *s = l->e->store;
	bool keep_toc = l->doomed && !l->doomed_toc;
	int r = lcm_store_layer_drop(s, l->row.id, keep_toc, NULL);

	if (r == -ENOSPC && l->row.state == LCM_LAYER_PARTIAL &&
	    lcm_rmtree_at(lcm_store_real_fd(s), l->name) == 0)
		r = lcm_store_layer_drop(s, l->row.id, keep_toc, NULL);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "layer=%s stays in the store: %s", l->name, strerror(-r));
}

static void layer_free(struct lcm_layer *l)
{
	for (struct lcm_layer **p = &l->e->layers; *p; p = &(*p)->next) {
		if (*p != l)
			continue;
		*p = l->next;
		break;
	}
	lcm_bigfile_free_all(l);
	lcm_fn_tenant_end(l->e->fns, (uint64_t)l->row.id);
	lcm_timer_free(l->retry);
	lcm_layer_dir_close(l->dir);
	lcm_blob_close(l->blob);
	lcm_toc_close(l->toc);
	free((void *)l->entries);
	free(l->data);
	if ((l->phase == LCM_LAYER_FAILED || l->doomed || l->row.damaged) && !l->e->closing) {
		drop_from_store(l);
		lcm_engine_sweep(l->e);
	}
	free(l);
}

static int layer_new(struct lcm_engine *e, const struct lcm_layer_row *row, struct lcm_layer **ret)
{
	struct lcm_layer *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->e = e;
	l->refs = 1;
	l->row = *row;
	l->queue_tail = &l->queue;
	(void)snprintf(l->name, sizeof(l->name), "%lld", (long long)row->id);
	r = lcm_timer_new(e->loop, on_pull_retry, l, &l->retry);
	if (r < 0) {
		free(l);
		return r;
	}
	l->next = e->layers;
	e->layers = l;
	*ret = l;
	return 0;
}

struct lcm_layer *lcm_layer_find(const struct lcm_engine *e, int64_t id)
{
	struct lcm_layer *l = e->layers;

	while (l && l->row.id != id)
		l = l->next;
	return l;
}

/* The object of this row, with one more reference, when there is one: 1, 0, or why it cannot be
 * used. */
static int share(struct lcm_engine *e, int64_t id, struct lcm_layer **ret, struct lcm_err *err)
{
	struct lcm_layer *l = lcm_layer_find(e, id);

	if (!l)
		return 0;
	if (l->phase == LCM_LAYER_FAILED)
		return lcm_err_set(err, l->error.code,
				   "%s (unmount what still uses it, then try again)", l->error.msg);
	l->refs++;
	l->doomed = false;
	*ret = l;
	return 1;
}

/* A TOC kept by drop-cache makes the layer lazy again without asking the registry for it. */
static void reuse_toc(struct lcm_engine *e, struct lcm_layer_row *row)
{
	int fd = lcm_store_toc_fd(e->store);
	char old[24], new[24];
	int64_t kept;

	if (lcm_store_toc_find(e->store, &row->key, &kept) < 0)
		return;
	(void)snprintf(old, sizeof(old), "%lld", (long long)kept);
	(void)snprintf(new, sizeof(new), "%lld", (long long)row->id);
	if (lcm_sys_linkat(fd, old, fd, new, 0) == 0 &&
	    lcm_store_layer_set_toc(e->store, row->id) == 0)
		row->has_toc = true;
	lcm_ignore(lcm_store_toc_drop(e->store, kept));
}

static int find_or_add_row(struct lcm_engine *e, const struct lcm_layer_key *key, uint64_t size,
			   struct lcm_layer_row *row, struct lcm_err *err)
{
	int r = lcm_store_layer_find(e->store, key, row);

	if (r == -ENOENT) {
		r = lcm_store_layer_add(e->store, key, size, row, err);
		if (r == 0)
			reuse_toc(e, row);
		return r;
	}
	if (r < 0)
		return lcm_err_set(err, r, "state database: %s", strerror(-r));
	return 0;
}

static int compression_of(const struct lcm_descriptor *desc, enum lcm_compression *ret,
			  struct lcm_err *err)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(media_comp); i++) {
		if (media_comp[i].media != desc->media)
			continue;
		*ret = media_comp[i].comp;
		return 0;
	}
	return lcm_err_set(
	    err, -ENOTSUP,
	    "layer media type \"%s\" is not supported (tar, tar+gzip and tar+zstd are)",
	    desc->media_type ? desc->media_type : "");
}

/* The table of contents that the descriptor offers, and the digest that binds it. */
static int lazy_of(const struct lcm_descriptor *desc, struct lcm_layer *l,
		   struct lcm_digest *ret_source, struct lcm_err *err)
{
	int r = 0;

	if (l->comp == LCM_COMP_ZSTD) {
		r = lcm_chunked_find(desc, &l->chunked, err);
		l->lazy = r > 0 ? LCM_FN_TOC_CHUNKED : 0;
		*ret_source = l->chunked.digest;
	} else if (l->comp == LCM_COMP_GZIP) {
		r = lcm_estargz_find(desc, &l->estargz, err);
		l->lazy = r > 0 ? LCM_FN_TOC_ESTARGZ : 0;
		*ret_source = l->estargz.digest;
	}
	return LCM_MIN(r, 0);
}

int lcm_layer_get(struct lcm_engine *e, const struct lcm_reference *ref,
		  const struct lcm_descriptor *desc, const struct lcm_digest *diffid,
		  const struct lcm_layer_toc *beside, struct lcm_layer **ret, struct lcm_err *err)
{
	struct lcm_layer_key key = { .diffid = *diffid, .blob = desc->digest };
	struct lcm_layer found = { 0 };
	struct lcm_layer_row row;
	struct lcm_layer *l;
	int r;

	r = compression_of(desc, &found.comp, err);
	if (r == 0)
		r = lazy_of(desc, &found, &key.source, err);
	if (r < 0)
		return r;
	if (desc->data)
		found.lazy = 0; /* the whole layer is here already */
	else if (!found.lazy && beside && beside->size <= LCM_ZTOC_MAX) {
		found.lazy = beside->kind == LCM_INDEX_TOC ? LCM_FN_TOC_FILE : LCM_FN_TOC_ZTOC;
		found.beside = *beside;
		key.source = beside->toc;
	}
	r = find_or_add_row(e, &key, desc->size, &row, err);
	if (r < 0)
		return r;
	r = share(e, row.id, ret, err);
	if (r)
		return LCM_MIN(r, 0);
	if (desc->data) {
		found.data = malloc(desc->size);
		if (!found.data)
			return -ENOMEM;
		memcpy(found.data, desc->data, desc->size);
	}
	r = layer_new(e, &row, &l);
	if (r < 0) {
		free(found.data);
		return r;
	}
	l->ref = *ref;
	l->data = found.data;
	l->comp = found.comp;
	l->lazy = found.lazy;
	l->chunked = found.chunked;
	l->estargz = found.estargz;
	l->beside = found.beside;
	*ret = l;
	return 0;
}

int lcm_layer_row_of(struct lcm_store *s, const struct lcm_descriptor *desc,
		     const struct lcm_digest *diffid, struct lcm_layer_row *ret,
		     struct lcm_err *err)
{
	struct lcm_layer_key key = { .diffid = *diffid, .blob = desc->digest };
	struct lcm_layer found = { 0 };
	int r = compression_of(desc, &found.comp, err);

	if (r == 0)
		r = lazy_of(desc, &found, &key.source, err);
	return r < 0 ? r : lcm_store_layer_find(s, &key, ret);
}

int lcm_layer_adopt(struct lcm_engine *e, const struct lcm_reference *ref, int64_t id,
		    struct lcm_layer **ret, struct lcm_err *err)
{
	char text[LCM_REFERENCE_STR_MAX];
	struct lcm_layer_row row;
	struct lcm_layer *l;
	int r = lcm_store_layer_get(e->store, id, &row);

	if (r < 0)
		return lcm_err_set(err, r, "layer %lld is not in the store", (long long)id);
	r = share(e, id, ret, err);
	if (r)
		return LCM_MIN(r, 0);
	if (row.state == LCM_LAYER_PARTIAL && !row.has_toc)
		return lcm_err_set(err, -ENODATA,
				   "layer %lld is not whole and has no table of contents here "
				   "(locum pull %s fetches it)",
				   (long long)id, lcm_reference_str(ref, text, sizeof(text)));
	r = layer_new(e, &row, &l);
	if (r < 0)
		return r;
	l->ref = *ref;
	*ret = l;
	return 0;
}

void lcm_layer_put(struct lcm_layer *l)
{
	if (!l || --l->refs > 0)
		return;
	lcm_demand_cancel_all(l, -ESHUTDOWN);
	layer_free(l);
}

void lcm_layer_doom(struct lcm_layer *l, bool toc)
{
	l->doomed = true;
	l->doomed_toc = toc;
	lcm_layer_prepare_cancel(l);
	lcm_pull_cancel(l);
	lcm_demand_cancel_all(l, -ECANCELED);
}

/* ---- watching ---- */

void lcm_layer_watch(struct lcm_layer *l, struct lcm_layer_watch *w)
{
	w->next = l->watches;
	l->watches = w;
	l->doomed = false;
}

void lcm_layer_unwatch(struct lcm_layer *l, struct lcm_layer_watch *w)
{
	for (struct lcm_layer_watch **p = &l->watches; *p; p = &(*p)->next) {
		if (*p != w)
			continue;
		*p = w->next;
		break;
	}
	lcm_bigfile_unread_all(l, w);
}

void lcm_layer_changed(struct lcm_layer *l)
{
	struct lcm_layer_watch *next;

	for (struct lcm_layer_watch *w = l->watches; w; w = next) {
		next = w->next;
		w->changed(w->arg, l);
	}
}

void lcm_layer_file_done(struct lcm_layer *l, uint32_t entry, int status)
{
	atomic_fetch_and(&l->entries[entry], (uint8_t)~LCM_ENTRY_WANTED);
	for (struct lcm_layer_watch *w = l->watches; w; w = w->next)
		if (w->file_done)
			w->file_done(w->arg, l, entry, status);
}

uint8_t lcm_layer_mark_local(struct lcm_layer *l, uint32_t entry)
{
	uint8_t before = atomic_fetch_or(&l->entries[entry], LCM_ENTRY_LOCAL);

	if (!(before & LCM_ENTRY_LOCAL) && lcm_toc_entry(l->toc, entry)->size) {
		atomic_fetch_add(&l->files_local, 1);
		atomic_fetch_add(&l->bytes_local, lcm_toc_entry(l->toc, entry)->size);
	}
	return before;
}

static void on_posted_done(void *arg)
{
	struct done_post *d = arg;
	struct lcm_layer *l = d->layer;

	lcm_layer_file_done(l, d->entry, 0);
	lcm_bigfile_local(l, d->entry);
	free(d);
}

void lcm_layer_post_done(struct lcm_layer *l, uint32_t entry)
{
	struct done_post *d = calloc(1, sizeof(*d));

	/* Without memory the waiters are answered when the pull ends, or by their deadline. */
	if (!d)
		return;
	*d = (struct done_post){ .task = { .fn = on_posted_done, .arg = d },
				 .layer = l,
				 .entry = entry };
	lcm_loop_post_task(l->e->loop, &d->task);
}

#define PAYERS_MAX 256 /* of more the first pay */

void lcm_layer_charge(struct lcm_layer *l, uint64_t bytes)
{
	const struct lcm_lif_cost cost = { .requests = 1, .fetched_bytes = bytes };
	struct lcm_lif *who[PAYERS_MAX];
	size_t n = 0;

	for (const struct lcm_layer_watch *w = l->watches; w && n < PAYERS_MAX; w = w->next)
		if (w->lif)
			who[n++] = w->lif;
	lcm_lif_charge_background(&l->e->lifs, who, n, &cost);
}

void lcm_layer_note(struct lcm_layer *l, const struct lcm_err *why)
{
	if (l->error.code == -EBADMSG && why->code != -EBADMSG)
		return;
	l->error = *why;
	lcm_log(LCM_LOG_WARNING, "layer=%s %s", l->name, why->msg);
	lcm_layer_changed(l);
}

void lcm_layer_condemn(struct lcm_layer *l, const struct lcm_err *why)
{
	l->error = *why;
	l->phase = LCM_LAYER_FAILED;
	lcm_log(LCM_LOG_ERR, "layer=%s failed: %s", l->name, why->msg);
	l->refs++;
	lcm_demand_cancel_all(l, -EIO);
	for (uint32_t i = 0; l->toc && i < lcm_toc_count(l->toc); i++)
		if (atomic_load(&l->entries[i]) & LCM_ENTRY_WANTED)
			lcm_layer_file_done(l, i, -EIO);
	lcm_bigfile_fail_all(l, -EIO);
	lcm_layer_changed(l);
	lcm_layer_put(l);
}

bool lcm_wrong_bytes(int status)
{
	return status == -EBADMSG || status == -EUCLEAN || status == -EFBIG ||
	       status == -ENAMETOOLONG || status == -ENOTRECOVERABLE;
}

bool lcm_layer_elsewhere(struct lcm_layer *l, const struct lcm_digest *blob, int status,
			 bool unsure)
{
	bool news;

	/* The registry may be gone already when the last jobs come back. */
	if (l->e->closing)
		return false;
	news = status == -ENOTRECOVERABLE ? lcm_registry_doubt(l->e->reg, &l->ref, blob)
					  : lcm_registry_blame(l->e->reg, &l->ref, blob);
	if (news && l->blob)
		lcm_blob_forget(l->blob, 0, l->row.blob_size);
	return (news || unsure) && l->watches;
}

/* ---- demand and pull ---- */

void lcm_layer_want(struct lcm_layer *l, const struct lcm_layer_watch *w, uint32_t entry)
{
	int r;

	/* Again: an unwant that was posted before may have taken the mark since the gate set it. */
	atomic_fetch_or(&l->entries[entry], LCM_ENTRY_WANTED);
	if (lcm_layer_is_local(l, entry)) {
		lcm_layer_file_done(l, entry, 0);
		return;
	}
	if (l->phase != LCM_LAYER_READY) {
		lcm_layer_file_done(l, entry, -EIO);
		return;
	}
	r = lcm_demand_file(l, w->lif, entry);
	if (r == -ENODATA)
		lcm_layer_pull(l, true);
	else if (r < 0)
		lcm_layer_file_done(l, entry, r);
}

void lcm_layer_unwant(struct lcm_layer *l, uint32_t entry)
{
	/* Another mount of the layer may wait for it too: one answer is for all, and a file more
	 * does no harm. */
	if (l->watches && l->watches->next)
		return;
	atomic_fetch_and(&l->entries[entry], (uint8_t)~LCM_ENTRY_WANTED);
	lcm_demand_drop(l, entry);
}

/* What a broken pull left may be a large tree: it goes to the store's trash, for a thread to
 * remove. */
static int empty_dir(struct lcm_layer *l)
{
	struct lcm_store *s = l->e->store;
	int real = lcm_store_real_fd(s), r;
	char trash[80];

	lcm_layer_dir_close(l->dir);
	l->dir = NULL;
	r = lcm_sys_unlinkat(real, l->name, AT_REMOVEDIR);
	if (r == -ENOTEMPTY) {
		(void)snprintf(trash, sizeof(trash), ".trash/broken-%s-%llu", l->name,
			       (unsigned long long)lcm_now_ns());
		r = lcm_sys_renameat(real, l->name, lcm_store_tmp_fd(s), trash);
		lcm_engine_sweep(l->e);
	}
	if (r == -ENOENT)
		r = 0;
	if (r == 0)
		r = lcm_sys_mkdirat(real, l->name, 0755);
	if (r == 0)
		r = lcm_layer_dir_open(real, l->name, lcm_store_tmp_fd(l->e->store), &l->dir, NULL);
	return r;
}

void lcm_layer_pull(struct lcm_layer *l, bool urgent)
{
	int r = 0;

	/* The pools may be gone already, as the registry. */
	if (l->e->closing)
		return;
	if (urgent &&
	    !l->pull_urgent) { /* somebody waits: old trouble is forgotten and tried anew at once */
		l->error = (struct lcm_err){ 0 };
		lcm_timer_clear(l->retry);
	}
	l->pull_wanted = true;
	l->pull_urgent |= urgent;
	if (l->phase != LCM_LAYER_READY || l->pull || lcm_timer_armed(l->retry) ||
	    (!l->e->cfg.background && !l->pull_urgent)) {
		if (urgent)
			lcm_pull_hurry(l);
		return;
	}
	if (!l->toc)
		r = empty_dir(l);
	if (r < 0)
		lcm_layer_pull_broke(l, r, NULL);
	else
		lcm_pull_start(l);
}

void lcm_layer_hurry(struct lcm_layer *l)
{
	l->hurried = true;
	lcm_pull_hurry(l);
}

static void on_pull_retry(void *arg)
{
	struct lcm_layer *l = arg;

	lcm_layer_pull(l, false);
}

void lcm_layer_pull_broke(struct lcm_layer *l, int status, const struct lcm_err *err)
{
	struct lcm_err e = { 0 };

	if (err)
		e = *err;
	if (!e.code)
		lcm_err_set(&e, status, "layer %s: %s", l->name, strerror(-status));
	if (l->e->closing || !l->watches)
		return;
	if (status == -ECANCELED) {
		lcm_layer_pull(l, false); /* it was stopped for nobody's sake, and somebody came */
		return;
	}
	if (l->pull_urgent && !l->toc) {
		lcm_layer_condemn(l, &e);
		return;
	}
	lcm_layer_note(l, &e); /* whoever waited for the whole layer gives up now */
	l->pull_urgent = false;
	lcm_timer_set(l->retry, LCM_MIN(1ULL << LCM_MIN(l->retries, 5U), 30ULL) * 1000000000ULL);
	l->retries++;
}

void lcm_layer_pulled(struct lcm_layer *l, uint64_t bytes)
{
	for (uint32_t i = 0; l->toc && i < lcm_toc_count(l->toc); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, i);

		if (e->type == LCM_TOC_REG && e->size &&
		    (lcm_layer_mark_local(l, i) & LCM_ENTRY_WANTED))
			lcm_layer_file_done(l, i, 0);
	}
	lcm_bigfile_local_all(l);
	lcm_fn_tenant_end(l->e->fns, (uint64_t)l->row.id);
	l->phase = LCM_LAYER_LOCAL;
	lcm_demand_cancel_all(l, -ECANCELED); /* who waited has been answered */
	l->error = (struct lcm_err){ 0 };
	l->row.real_bytes = bytes;
	/* Before anybody mounts it: a daemon killed from here on must leave real/<id> alone. */
	if (lcm_store_layer_prove(l->e->store, l->row.id, bytes) == 0)
		l->row.state = LCM_LAYER_PROVEN;
	lcm_layer_sync(l);
	lcm_layer_changed(l);
}
