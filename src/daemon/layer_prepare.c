/* SPDX-License-Identifier: Apache-2.0 */
/* layer_prepare.c - a layer's table of contents: kept from before, or fetched and built. */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/daemon/layer.h"

/* With the footer the TOC of most layers comes along. */
#define ESTARGZ_TAIL (256ULL << 10)

/* As many hosts as there may be; where a table is, too, may be a lie that is new each time. */
#define TOC_TRIES_MAX 16

struct prepare {
	struct lcm_layer *layer; /* referenced until on_prepared() */
	struct lcm_fn_mem *mem;  /* owned; a range of the blob, at last the TOC */
	uint64_t off, len;       /* the range */
	uint64_t fetch;          /* id while in flight; 0: it is not */
	struct lcm_digest blob;  /* what it is a range of */
	bool whole;              /* it is all of that: the table is a blob of its own */
	bool mirrored;           /* it came from a mirror */
	bool proven;             /* its bytes are those that the digest says */
	bool external;           /* the table is in another image, which only a tag names */
	uint32_t tries;          /* before this one */
	struct lcm_task task;
	int status;
	struct lcm_err err;
	struct lcm_toc *toc;
};

static int count_files(struct lcm_layer *l)
{
	uint32_t n = lcm_toc_count(l->toc);

	l->entries = calloc(n, 1);
	if (!l->entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, i);

		if (e->type != LCM_TOC_REG || !e->size)
			continue;
		l->files_total++;
		l->bytes_total += e->size;
	}
	return 0;
}

/* Files that an earlier daemon placed (each was verified before its rename). */
static int find_local(struct lcm_layer *l)
{
	for (uint32_t i = 0; i < lcm_toc_count(l->toc); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, i);
		int r;

		if (e->type != LCM_TOC_REG || !e->size)
			continue;
		r = lcm_layer_has(l->dir, l->toc, i);
		if (r < 0)
			return r;
		if (r)
			lcm_layer_mark_local(l, i);
	}
	return 0;
}

static int open_files(struct lcm_layer *l, struct lcm_err *err)
{
	struct lcm_store *s = l->e->store;
	int r;

	r = lcm_layer_dir_open(lcm_store_real_fd(s), l->name, lcm_store_tmp_fd(s), &l->dir, err);
	if (r == 0 && l->phase != LCM_LAYER_LOCAL)
		r = lcm_blob_open(lcm_store_blobs_fd(s), l->row.id, l->row.blob_size, &l->blob,
				  err);
	if (r == 0 && l->blob && l->data)
		r = lcm_blob_write(l->blob, 0, l->data, l->row.blob_size);
	free(lcm_steal(&l->data));
	return r;
}

void lcm_layer_ready(struct lcm_layer *l, int status, const struct lcm_err *err)
{
	struct lcm_err e = err ? *err : (struct lcm_err){ 0 };

	if (status == 0 && l->toc) {
		l->comp = (enum lcm_compression)lcm_toc_id(l->toc)->compression;
		status = count_files(l);
	}
	if (status == 0)
		status = open_files(l, &e);
	if (status == 0 && l->toc && l->row.has_toc)
		status = find_local(l);
	if (status < 0) {
		if (!e.code)
			lcm_err_set(&e, status, "layer %s: %s", l->name, strerror(-status));
		lcm_layer_condemn(l, &e);
		return;
	}
	l->phase = LCM_LAYER_READY;
	lcm_layer_changed(l);
	if (l->pull_wanted)
		lcm_layer_pull(l, l->pull_urgent);
}

/* Is its table a blob of its own? */
static bool is_beside(const struct lcm_layer *l)
{
	return l->lazy == LCM_FN_TOC_ZTOC || l->lazy == LCM_FN_TOC_FILE;
}

/* A table beside the layer is an offer: when it is gone, or cannot be read, the layer is pulled
 * whole. One that is not what an index says is somebody's doing; nothing binds which one the other
 * image of eStargz has. */
static bool can_do_without(const struct prepare *p)
{
	int status = p->status;

	if (p->external && lcm_wrong_bytes(status))
		return true;
	return (is_beside(p->layer) || p->external) &&
	       (status == -ENOENT || status == -ENOTSUP || status == -EUCLEAN || status == -EFBIG ||
		status == -EPROTONOSUPPORT);
}

static int fetch_toc(struct lcm_layer *l, uint32_t tries);

/* A mirror lied: the same from somebody else. What its digest proves nobody has otherwise. */
static bool again_elsewhere(struct prepare *p)
{
	struct lcm_layer *l = p->layer;

	return lcm_wrong_bytes(p->status) && !p->proven && p->tries < TOC_TRIES_MAX &&
	       lcm_layer_elsewhere(l, &p->blob, p->status, p->mirrored) &&
	       fetch_toc(l, p->tries + 1) == 0;
}

static void prepare_free(struct prepare *p)
{
	lcm_fn_mem_free(p->mem);
	free(p);
}

/* Cancelled for nobody's sake: as if it had not begun, but for those who came since. */
static bool given_up(struct prepare *p)
{
	struct lcm_layer *l = p->layer;

	if (p->status != -ECANCELED)
		return false;
	l->prepare = NULL;
	l->phase = LCM_LAYER_NEW;
	if (l->watches)
		lcm_layer_prepare(l);
	return true;
}

static void on_prepared(void *arg)
{
	struct prepare *p = arg;
	struct lcm_layer *l = p->layer;
	bool kept = l->row.has_toc;

	if (given_up(p) || again_elsewhere(p)) {
		prepare_free(p);
		lcm_layer_put(l);
		return;
	}

	l->prepare = NULL;
	l->toc = p->toc;
	l->no_ranges = p->status == -ESPIPE;
	if (p->status == -EILSEQ || l->no_ranges || (p->status < 0 && can_do_without(p))) {
		/* This TOC cannot be used, the layer can: it is pulled whole. */
		lcm_log(LCM_LOG_NOTICE, "layer=%s %s", l->name, p->err.msg);
		p->status = 0;
		p->err = (struct lcm_err){ 0 };
	}
	lcm_layer_ready(l, p->status, &p->err);
	if (l->phase == LCM_LAYER_READY && l->toc && !kept &&
	    lcm_store_layer_set_toc(l->e->store, l->row.id) == 0)
		l->row.has_toc = true;
	prepare_free(p);
	lcm_layer_put(l);
}

/* What binds the TOC to the manifest is checked here where that is possible before anything of it
 * is parsed: stargz' digest is over the plain JSON, which only the function has. */
static int check_digest(struct prepare *p)
{
	const struct lcm_layer *l = p->layer;
	const struct lcm_digest *d = NULL;
	char want[LCM_DIGEST_STR], got[LCM_DIGEST_STR];
	struct lcm_digest is;
	int r;

	if (l->lazy == LCM_FN_TOC_CHUNKED && !l->chunked.digest_of_plain)
		d = &l->chunked.digest;
	else if (p->whole)
		d = &p->blob;
	if (!d)
		return 0;
	r = lcm_digest_of(lcm_fn_mem_in(p->mem), p->len, &is);
	p->proven = r == 0 && lcm_digest_equal(&is, d);
	if (r < 0 || p->proven)
		return r;
	return lcm_err_set(&p->err, -EBADMSG, "digest is %s, the manifest says %s",
			   lcm_digest_str(&is, got), lcm_digest_str(d, want));
}

static int build_toc(struct prepare *p, struct lcm_fn *fn)
{
	struct lcm_layer *l = p->layer;
	const struct lcm_fn_toc job = {
		.kind = l->lazy,
		.len = p->len,
		.chunked = l->chunked,
		.estargz = l->estargz,
		.id = { .blob = l->row.key.blob,
			.diffid = l->row.key.diffid,
			.source = l->row.key.source,
			.blob_size = l->row.blob_size,
			.compression = l->comp,
			.flags = lcm_layer_is_stargz(l) ? LCM_TOC_SECONDS : 0 },
	};
	int toc_fd = lcm_store_toc_fd(l->e->store), r = lcm_fn_bind(fn, p->mem, &p->err);

	if (r == 0)
		r = lcm_fn_toc(fn, &job, toc_fd, l->name, &p->err);
	return r < 0 ? r : lcm_toc_open(toc_fd, l->name, &p->toc, &p->err);
}

/* Another layer's table would be found out as a lie at the end: here it costs nothing yet. */
static bool is_of_layer(const struct lcm_toc *toc, const struct lcm_layer *l)
{
	const struct lcm_toc_id *id = lcm_toc_id(toc);

	return lcm_digest_equal(&id->blob, &l->row.key.blob) &&
	       lcm_digest_equal(&id->diffid, &l->row.key.diffid) &&
	       id->blob_size == l->row.blob_size && id->compression == (uint32_t)l->comp;
}

/* A TOC file of another host. */
static int take_toc(struct prepare *p)
{
	struct lcm_layer *l = p->layer;
	const uint8_t *bytes = lcm_fn_mem_in(p->mem);
	int toc_fd = lcm_store_toc_fd(l->e->store), fd = -EBADF, r;
	char tmp[LCM_TOC_TMP_MAX];
	struct lcm_toc_sink sink;

	if (p->len < LCM_TOC_HEADER_LEN)
		return lcm_err_set(&p->err, -EUCLEAN, "is shorter than its header");
	r = lcm_toc_file_begin(toc_fd, l->name, tmp, &sink, &fd);
	if (r == 0)
		r = sink.add(sink.arg, bytes + LCM_TOC_HEADER_LEN, p->len - LCM_TOC_HEADER_LEN);
	if (r == 0)
		r = sink.head(sink.arg, bytes, LCM_TOC_HEADER_LEN);
	r = lcm_toc_file_end(toc_fd, l->name, tmp, &fd, r, false);
	if (r == 0)
		r = lcm_toc_open(toc_fd, l->name, &p->toc, &p->err);
	if (r < 0 || is_of_layer(p->toc, l))
		return r;
	lcm_toc_close(lcm_steal(&p->toc));
	lcm_ignore(lcm_sys_unlinkat(toc_fd, l->name, 0));
	return lcm_err_set(&p->err, -EUCLEAN, "is of another layer");
}

static int decode_toc(struct prepare *p)
{
	struct lcm_fn_pool *fns = p->layer->e->fns;
	struct lcm_fn *fn = NULL;
	int r = lcm_fn_take(fns, (uint64_t)p->layer->row.id, &fn, &p->err);

	if (r == 0)
		r = build_toc(p, fn);
	lcm_fn_put(fns, fn);
	return r;
}

static void prepare_job(void *arg)
{
	struct prepare *p = arg;

	p->status = check_digest(p);
	if (p->status == 0)
		p->status = p->layer->lazy == LCM_FN_TOC_FILE ? take_toc(p) : decode_toc(p);
	if (p->status < 0)
		lcm_err_prefix(&p->err, p->status, "table of contents of layer %s", p->layer->name);
	p->task.fn = on_prepared;
	lcm_loop_post_task(p->layer->e->loop, &p->task);
}

/* ---- fetching ---- */

static int on_range_bytes(void *arg, uint64_t off, const void *data, size_t len)
{
	struct prepare *p = arg;

	if (off < p->off || off - p->off > p->len || len > p->len - (off - p->off))
		return -EPROTO;
	memcpy(lcm_fn_mem_in(p->mem) + (off - p->off), data, len);
	return 0;
}

/* Brings [@off, @off + @len) of the blob, or of a table @beside it, into new memory, then calls
 * @done. */
static int fetch_range(struct prepare *p, const struct lcm_layer_toc *beside, uint64_t off,
		       uint64_t len, lcm_fetch_done_fn done)
{
	struct lcm_layer *l = p->layer;
	struct lcm_fetch_req req = {
		.kind = LCM_FETCH_BLOB,
		.prio = LCM_PRIO_DEMAND,
		.ref = &l->ref,
		.digest = beside ? beside->toc : l->row.key.blob,
		.size = beside ? beside->size : l->row.blob_size,
		.off = off,
		.len = len,
		.sink = on_range_bytes,
		.done = done,
		.arg = p,
	};
	int r;

	lcm_fn_mem_free(p->mem);
	p->mem = NULL;
	p->off = off;
	p->len = len;
	p->blob = req.digest;
	p->whole = beside != NULL;
	p->mirrored = false;
	r = lcm_fn_mem_new(len, LCM_FN_TOC_OUT, &p->mem);
	return r < 0 ? r : lcm_fetch_start(l->e->reg, &req, &p->fetch);
}

static void prepare_failed(struct prepare *p, int status, const struct lcm_err *err)
{
	p->status = status;
	if (err)
		p->err = *err;
	on_prepared(p);
}

static void on_toc_fetched(void *arg, const struct lcm_fetch_result *res)
{
	struct prepare *p = arg;

	p->fetch = 0;
	p->mirrored = res->mirrored;
	p->task = (struct lcm_task){ .fn = prepare_job, .arg = p };
	if (res->status < 0) {
		prepare_failed(p, res->status, &res->err);
		return;
	}
	p->layer->demand_bytes += res->bytes;
	lcm_pool_submit(p->layer->e->pool, LCM_POOL_DEMAND, &p->task);
}

/* ---- a TOC in another image ---- */

static int no_toc_image(struct prepare *p)
{
	return lcm_err_set(&p->err, -EILSEQ,
			   "of eStargz is in an image %s:%s" LCM_ESTARGZ_TOC_SUFFIX
			   ", where it is not found: it is pulled whole",
			   p->layer->ref.repo, p->layer->ref.tag);
}

static void on_toc_image(void *arg, const struct lcm_fetch_result *res)
{
	struct prepare *p = arg;
	struct lcm_layer *l = p->layer;
	lcm_auto(lcm_manifest) m = NULL;
	const struct lcm_descriptor *d = NULL;
	struct lcm_layer_toc toc;
	int r = res->status;

	p->fetch = 0;
	p->err = res->err;
	if (r == 0 &&
	    lcm_manifest_parse(res->text, strlen(res->text), res->content_type, &m, NULL) == 0)
		d = lcm_estargz_external(m, &l->row.key.blob);
	if (r == -ENOENT || lcm_wrong_bytes(r) || (r == 0 && (!d || d->size > LCM_TOC_JSON_MAX)))
		r = no_toc_image(p);
	if (r == 0) {
		toc = (struct lcm_layer_toc){ .toc = d->digest, .size = d->size };
		l->estargz.len = d->size;
		r = fetch_range(p, &toc, 0, d->size, on_toc_fetched);
	}
	if (r < 0)
		prepare_failed(p, r, NULL);
}

/* What binds it is the digest of the TOC in the layer's annotation, not its image. */
static int fetch_toc_image(struct prepare *p)
{
	struct lcm_reference ref = p->layer->ref;
	const struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST,
					   .prio = LCM_PRIO_DEMAND,
					   .ref = &ref,
					   .done = on_toc_image,
					   .arg = p };
	size_t len = strlen(ref.tag);

	p->external = true;
	ref.has_digest = false;
	if (!len || len + sizeof(LCM_ESTARGZ_TOC_SUFFIX) > sizeof(ref.tag))
		return no_toc_image(p);
	memcpy(ref.tag + len, LCM_ESTARGZ_TOC_SUFFIX, sizeof(LCM_ESTARGZ_TOC_SUFFIX));
	return lcm_fetch_start(p->layer->e->reg, &req, &p->fetch);
}

/* The footer says where the TOC is: often in the bytes that came with it. */
static void on_tail_fetched(void *arg, const struct lcm_fetch_result *res)
{
	struct prepare *p = arg;
	struct lcm_layer *l = p->layer;
	int r = res->status;

	p->fetch = 0;
	p->err = res->err;
	p->mirrored = res->mirrored;
	if (r == 0)
		r = lcm_estargz_footer(lcm_fn_mem_in(p->mem), p->len, l->row.blob_size, &l->estargz,
				       &p->err);
	if (r == -ENODATA)
		r = lcm_err_set(
		    &p->err, -EILSEQ,
		    "has the annotation of eStargz and no footer of it: it is pulled whole");
	if (r == 0 && l->estargz.off >= p->off) {
		memmove(lcm_fn_mem_in(p->mem), lcm_fn_mem_in(p->mem) + (l->estargz.off - p->off),
			l->estargz.len);
		p->len = l->estargz.len;
		on_toc_fetched(p, res);
		return;
	}
	if (r == 0)
		r = fetch_range(p, NULL, l->estargz.off, l->estargz.len, on_toc_fetched);
	else if (r > 0)
		r = fetch_toc_image(p);
	if (r < 0)
		prepare_failed(p, r, NULL);
}

static int fetch_toc(struct lcm_layer *l, uint32_t tries)
{
	struct prepare *p = calloc(1, sizeof(*p));
	uint64_t tail = LCM_MIN(l->row.blob_size, ESTARGZ_TAIL);
	int r;

	if (!p)
		return -ENOMEM;
	p->layer = l;
	p->tries = tries;
	if (l->lazy == LCM_FN_TOC_ESTARGZ)
		r = fetch_range(p, NULL, l->row.blob_size - tail, tail, on_tail_fetched);
	else if (is_beside(l))
		r = fetch_range(p, &l->beside, 0, l->beside.size, on_toc_fetched);
	else
		r = fetch_range(p, NULL, l->chunked.off, l->chunked.len, on_toc_fetched);
	if (r < 0) {
		prepare_free(p);
		return r;
	}
	l->prepare = p;
	l->refs++;
	return 0;
}

/* The table that the store has of a layer in progress. */
static void open_kept_toc(struct lcm_layer *l)
{
	if (l->toc || !l->row.has_toc)
		return;
	if (lcm_toc_open(lcm_store_toc_fd(l->e->store), l->name, &l->toc, NULL) == 0 &&
	    !lcm_digest_equal(&lcm_toc_id(l->toc)->blob, &l->row.key.blob))
		/* its ranges are those of another blob with the same content */
		lcm_toc_close(lcm_steal(&l->toc));
	if (!l->toc)
		l->row.has_toc = false; /* fetch or make it again */
}

bool lcm_layer_is_known(struct lcm_layer *l)
{
	if (l->phase == LCM_LAYER_NEW && l->row.state == LCM_LAYER_PARTIAL)
		open_kept_toc(l);
	else if (l->phase != LCM_LAYER_READY)
		return true;
	return l->toc != NULL;
}

void lcm_layer_prepare(struct lcm_layer *l)
{
	int r = 0;

	if (l->phase != LCM_LAYER_NEW)
		return;
	l->phase = LCM_LAYER_PREPARING;
	if (l->row.state == LCM_LAYER_PROVEN)
		lcm_layer_sync(l);
	if (l->row.state != LCM_LAYER_PARTIAL) {
		l->phase = LCM_LAYER_LOCAL;
		lcm_layer_changed(l);
		return;
	}
	open_kept_toc(l);
	if (l->toc && l->row.unsynced)
		r = lcm_layer_recheck(l);
	else if (!l->toc && l->lazy)
		r = fetch_toc(l, 0);
	else
		lcm_layer_ready(l, 0, NULL);
	if (r < 0)
		lcm_layer_ready(l, r, NULL);
}

void lcm_layer_prepare_cancel(struct lcm_layer *l)
{
	const struct prepare *p = l->prepare;

	if (p && p->fetch)
		lcm_fetch_cancel(l->e->reg, p->fetch);
}

int lcm_layer_load_toc(struct lcm_layer *l)
{
	int r;

	if (l->toc)
		return 0;
	if (l->phase != LCM_LAYER_LOCAL || !l->row.has_toc)
		return -ENODATA;
	r = lcm_toc_open(lcm_store_toc_fd(l->e->store), l->name, &l->toc, NULL);
	if (r == 0)
		r = count_files(l);
	if (r < 0) {
		lcm_toc_close(l->toc);
		l->toc = NULL;
		return r;
	}
	for (uint32_t i = 0; i < lcm_toc_count(l->toc); i++)
		if (lcm_toc_entry(l->toc, i)->type == LCM_TOC_REG)
			lcm_layer_mark_local(l, i);
	return 0;
}
