/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_push.c:
 *
 *   each layer: gzip?  -> GET its blob -> make a zTOC -+-> PUT the table
 *               other: its TOC file -------------------+
 *   each index: PUT config, PUT manifest -> does the registry list referrers?
 *               no: GET tag sha256-HEX, add the index, PUT it
 */
#include "src/daemon/index_push.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "image/layer_index.h"
#include "src/base/log.h"
#include "src/daemon/index_rows.h"
#include "src/daemon/index_ztoc.h"

#define LIST_TYPE "application/vnd.oci.image.index.v1+json"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

/* An index that grows. */
struct growing {
	enum lcm_index_kind kind;
	struct lcm_layer_toc *tables; /* owned, one for each layer of the image */
	const char **types;           /* owned array; borrowed from the manifest */
	size_t n;
	uint64_t bytes;
	struct lcm_digest digest; /* of its manifest */
	struct lcm_buf doc;       /* its manifest */
};

struct lcm_index_push {
	struct lcm_api_call *call; /* borrowed; NULL: it is over */
	struct lcm_engine *e;      /* borrowed */
	struct lcm_reference ref;
	struct lcm_index_rows rows;
	struct lcm_index_subject subject;
	size_t at;                /* the layer */
	unsigned int skipped;     /* layers that offer a table themselves */
	struct growing out[2];    /* SOCI's, ours */
	unsigned int out_at;      /* the index */
	int fd;                   /* owned; the blob */
	struct lcm_buf table;     /* a zTOC */
	struct lcm_digest digest; /* of the table */
	void *map;                /* owned; a TOC file */
	size_t map_len;
	struct lcm_buf list; /* referrers */
	json_t *indexes;     /* owned; the answer */
	struct lcm_task task;
	int status;
	struct lcm_err err;
};

static void table_drop(struct lcm_index_push *j)
{
	lcm_closep(&j->fd);
	lcm_buf_fini(&j->table);
	if (j->map)
		(void)munmap(j->map, j->map_len);
	j->map = NULL;
}

static void job_free(struct lcm_index_push *j)
{
	table_drop(j);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(j->out); i++) {
		free(j->out[i].tables);
		free(j->out[i].types);
		lcm_buf_fini(&j->out[i].doc);
	}
	lcm_buf_fini(&j->list);
	json_decref(j->indexes);
	lcm_index_rows_fini(&j->rows);
	free(j);
}

static void answer(struct lcm_index_push *j, int status)
{
	struct lcm_api_call *c = j->call;

	if (c) {
		c->push = NULL;
		if (status < 0)
			lcm_api_error(c,
				      status == -EACCES    ? 403
				      : status == -ENODATA ? 409
							   : 502,
				      status, "%s", lcm_err_text(&j->err, status));
		else
			c->reply = json_pack("{s:s s:O s:i}", "image", j->rows.image, "indexes",
					     j->indexes, "skipped", (int)j->skipped);
		if (status == 0)
			c->status = 200;
		c->answered(c->arg);
	}
	job_free(j);
}

/* Return: true when the job is over, and gone. */
static bool failed(struct lcm_index_push *j, int r, const struct lcm_err *err)
{
	if (r >= 0 && j->call)
		return false;
	if (err)
		j->err = *err;
	answer(j, r);
	return true;
}

static void next_layer(struct lcm_index_push *j);
static void next_index(struct lcm_index_push *j);

/* ---- tables ---- */

static const struct lcm_descriptor *desc_at(const struct lcm_index_push *j)
{
	return &j->rows.manifest->layers[j->at];
}

static struct growing *growing_of(struct lcm_index_push *j)
{
	return &j->out[j->map ? 1 : 0];
}

static void on_table_pushed(void *arg, const struct lcm_push_result *res)
{
	struct lcm_index_push *j = arg;
	struct growing *g = growing_of(j);

	if (failed(j, res->status, &res->err))
		return;
	g->bytes += g->tables[g->n].size;
	g->n++;
	table_drop(j);
	j->at++;
	next_layer(j);
}

/* Its digest has been made, by a thread of the pool. */
static void push_table(struct lcm_index_push *j)
{
	struct growing *g = growing_of(j);
	const struct lcm_push_req req = { .ref = &j->ref,
					  .digest = j->digest,
					  .data = j->map ? j->map : j->table.data,
					  .len = j->map ? j->map_len : j->table.len,
					  .done = on_table_pushed,
					  .arg = j };
	int r;

	g->tables[g->n] = (struct lcm_layer_toc){
		.kind = g->kind, .layer = desc_at(j)->digest, .toc = j->digest, .size = req.len
	};
	g->types[g->n] = desc_at(j)->media_type;
	r = lcm_push_start(j->e->reg, &req);
	if (r < 0)
		(void)failed(j, r, NULL);
}

/* What nobody could use is not published. */
static int toc_map(struct lcm_index_push *j)
{
	int dir = lcm_store_toc_fd(j->e->store), r;
	lcm_auto(lcm_toc) checked = NULL;
	lcm_autoclose int fd = -EBADF;
	struct stat st;
	char name[24];

	(void)snprintf(name, sizeof(name), "%lld", (long long)j->rows.rows[j->at].id);
	r = lcm_toc_open(dir, name, &checked, &j->err);
	if (r < 0)
		return r;
	fd = lcm_sys_openat(dir, name, O_RDONLY, 0);
	r = fd < 0 ? fd : lcm_sys_fstat(fd, &st);
	if (r < 0)
		return r;
	j->map_len = (size_t)st.st_size;
	j->map = mmap(NULL, j->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (j->map != MAP_FAILED)
		return lcm_digest_of(j->map, j->map_len, &j->digest);
	j->map = NULL;
	return (int)lcm_errno(-1);
}

static void on_toc_file(void *arg)
{
	struct lcm_index_push *j = arg;

	if (!failed(j, j->status, NULL))
		push_table(j);
}

static void toc_file_job(void *arg)
{
	struct lcm_index_push *j = arg;

	j->status = toc_map(j);
	j->task = (struct lcm_task){ .fn = on_toc_file, .arg = j };
	lcm_loop_post_task(j->e->loop, &j->task);
}

static void push_toc_file(struct lcm_index_push *j)
{
	const struct lcm_layer_row *row = &j->rows.rows[j->at];
	char digest[LCM_DIGEST_STR];

	if (!row->has_toc) {
		(void)failed(j,
			     lcm_err_set(&j->err, -ENODATA,
					 "layer %s has no table of contents here (locum drop-cache "
					 "%s, then locum index create)",
					 lcm_digest_str(&row->key.blob, digest), j->rows.image),
			     NULL);
		return;
	}
	j->task = (struct lcm_task){ .fn = toc_file_job, .arg = j };
	lcm_pool_submit(j->e->pool, LCM_POOL_BACKGROUND, &j->task);
}

static void on_ztoc(void *arg)
{
	struct lcm_index_push *j = arg;

	if (j->status == -ENOTSUP && j->call) {
		lcm_log(LCM_LOG_NOTICE, "layer of %s: %s: its own table is pushed instead",
			j->rows.image, j->err.msg);
		j->err = (struct lcm_err){ 0 };
		table_drop(j);
		push_toc_file(j);
	} else if (!failed(j, j->status, NULL)) {
		push_table(j);
	}
}

static void ztoc_job(void *arg)
{
	struct lcm_index_push *j = arg;

	j->table = LCM_BUF(LCM_ZTOC_MAX);
	j->status = lcm_index_ztoc(j->e, &j->rows.rows[j->at], j->fd, &j->table, &j->err);
	if (j->status == 0)
		j->status = lcm_digest_of(j->table.data, j->table.len, &j->digest);
	j->task = (struct lcm_task){ .fn = on_ztoc, .arg = j };
	lcm_loop_post_task(j->e->loop, &j->task);
}

static int on_blob_bytes(void *arg, uint64_t off, const void *p, size_t len)
{
	struct lcm_index_push *j = arg;

	return j->call ? lcm_sys_pwrite_full(j->fd, p, len, off) : -ECANCELED;
}

static void on_blob(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_index_push *j = arg;

	if (failed(j, res->status, &res->err))
		return;
	j->err = (struct lcm_err){ 0 };
	j->task = (struct lcm_task){ .fn = ztoc_job, .arg = j };
	lcm_pool_submit(j->e->streams, LCM_POOL_BACKGROUND, &j->task);
}

static void fetch_blob(struct lcm_index_push *j)
{
	const struct lcm_descriptor *d = desc_at(j);
	const struct lcm_fetch_req req = { .kind = LCM_FETCH_BLOB,
					   .prio = LCM_PRIO_BACKGROUND,
					   .ref = &j->ref,
					   .digest = d->digest,
					   .size = d->size,
					   .len = d->size,
					   .sink = on_blob_bytes,
					   .done = on_blob,
					   .arg = j };
	uint64_t id;
	int r;

	j->fd = lcm_sys_openat(lcm_store_tmp_fd(j->e->store), ".", O_TMPFILE | O_RDWR, 0600);
	r = j->fd < 0 ? j->fd : lcm_fetch_start(j->e->reg, &req, &id);
	if (r < 0)
		(void)failed(j, r, NULL);
}

/* Nothing is published for what brings its own table, nor twice for the same layer. */
static bool needs_none(const struct lcm_index_push *j)
{
	const struct lcm_descriptor *d = desc_at(j);
	struct lcm_chunked_ref chunked;
	struct lcm_estargz_ref estargz;

	for (size_t i = 0; i < j->at; i++)
		if (lcm_digest_equal(&j->rows.manifest->layers[i].digest, &d->digest))
			return true;
	return (d->media == LCM_MEDIA_LAYER_ZSTD && lcm_chunked_find(d, &chunked, NULL) > 0) ||
	       (d->media == LCM_MEDIA_LAYER_GZIP && lcm_estargz_find(d, &estargz, NULL) > 0);
}

static void next_layer(struct lcm_index_push *j)
{
	while (j->at < j->rows.n && needs_none(j)) {
		j->skipped++;
		j->at++;
	}
	if (j->at == j->rows.n)
		next_index(j);
	else if (!j->rows.rows[j->at].id)
		(void)failed(j,
			     lcm_err_set(&j->err, -ENODATA,
					 "%s is not whole here (locum index create)",
					 j->rows.image),
			     NULL);
	else if (desc_at(j)->media == LCM_MEDIA_LAYER_GZIP && !desc_at(j)->data)
		fetch_blob(j);
	else
		push_toc_file(j);
}

/* ---- indexes ---- */

static struct growing *index_at(struct lcm_index_push *j)
{
	return &j->out[j->out_at];
}

static void index_done(struct lcm_index_push *j, const char *listed)
{
	struct growing *g = index_at(j);
	char digest[LCM_DIGEST_STR];

	(void)json_array_append_new(j->indexes, json_pack("{s:s s:s s:I s:I s:s}", "type",
							  lcm_index_type(g->kind), "digest",
							  lcm_digest_str(&g->digest, digest),
							  "layers", (json_int_t)g->n, "bytes",
							  (json_int_t)g->bytes, "listed", listed));
	j->out_at++;
	next_index(j);
}

static void on_list_pushed(void *arg, const struct lcm_push_result *res)
{
	struct lcm_index_push *j = arg;

	if (!failed(j, res->status, &res->err))
		index_done(j, "tag");
}

static const char *list_tag(const struct lcm_index_push *j, char out[LCM_DIGEST_STR])
{
	char digest[LCM_DIGEST_STR];

	(void)snprintf(out, LCM_DIGEST_STR, "sha256-%s",
		       lcm_digest_hex(&j->subject.digest, digest));
	return out;
}

static void on_list(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_index_push *j = arg;
	struct growing *g = index_at(j);
	bool none = res->status == -ENOENT;
	char tag[LCM_DIGEST_STR];
	struct lcm_push_req req = { .ref = &j->ref,
				    .media_type = LIST_TYPE,
				    .tag = list_tag(j, tag),
				    .done = on_list_pushed,
				    .arg = j };
	int r;

	if (failed(j, none ? 0 : res->status, &res->err))
		return;
	j->err = (struct lcm_err){ 0 };
	j->list.len = 0;
	r = lcm_referrers_add(res->text, none ? 0 : strlen(res->text), g->kind, &g->digest,
			      g->doc.len, &j->list, &j->err);
	if (r == 0) {
		index_done(j, "tag");
		return;
	}
	req.data = j->list.data;
	req.len = j->list.len;
	if (r > 0)
		r = lcm_digest_of(req.data, req.len, &req.digest);
	if (r == 0)
		r = lcm_push_start(j->e->reg, &req);
	if (r < 0)
		(void)failed(j, r, NULL);
}

static void fetch_list(struct lcm_index_push *j)
{
	struct lcm_reference tag = j->ref;
	const struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST,
					   .prio = LCM_PRIO_DEMAND,
					   .ref = &tag,
					   .done = on_list,
					   .arg = j };
	uint64_t id;
	int r;

	tag.has_digest = false;
	(void)list_tag(j, tag.tag);
	r = lcm_fetch_start(j->e->reg, &req, &id);
	if (r < 0)
		(void)failed(j, r, NULL);
}

static void on_manifest_pushed(void *arg, const struct lcm_push_result *res)
{
	struct lcm_index_push *j = arg;

	if (failed(j, res->status, &res->err))
		return;
	if (res->subject)
		index_done(j, "referrers");
	else
		fetch_list(j);
}

static void on_config_pushed(void *arg, const struct lcm_push_result *res)
{
	struct lcm_index_push *j = arg;
	struct growing *g = index_at(j);
	struct lcm_push_req req = {
		.ref = &j->ref, .media_type = MANIFEST_TYPE, .done = on_manifest_pushed, .arg = j
	};
	int r;

	if (failed(j, res->status, &res->err))
		return;
	g->doc = LCM_BUF(LCM_MANIFEST_MAX);
	r = lcm_layer_index_write(g->kind, g->tables, g->types, g->n, &j->subject, &g->doc);
	if (r == 0)
		r = lcm_digest_of(g->doc.data, g->doc.len, &g->digest);
	req.digest = g->digest;
	req.data = g->doc.data;
	req.len = g->doc.len;
	if (r == 0)
		r = lcm_push_start(j->e->reg, &req);
	if (r < 0)
		(void)failed(j, r, NULL);
}

static void next_index(struct lcm_index_push *j)
{
	struct lcm_push_req req = { .ref = &j->ref,
				    .data = LCM_INDEX_CONFIG,
				    .len = strlen(LCM_INDEX_CONFIG),
				    .done = on_config_pushed,
				    .arg = j };
	int r;

	while (j->out_at < LCM_ARRAY_SIZE(j->out) && !index_at(j)->n)
		j->out_at++;
	if (j->out_at == LCM_ARRAY_SIZE(j->out)) {
		answer(j, 0);
		return;
	}
	r = lcm_digest_of(req.data, req.len, &req.digest);
	if (r == 0)
		r = lcm_push_start(j->e->reg, &req);
	if (r < 0)
		(void)failed(j, r, NULL);
}

/* ---- the beginning ---- */

static int job_new(struct lcm_api_call *c, const char *image, struct lcm_index_push **ret,
		   struct lcm_err *err)
{
	struct lcm_index_push *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return -ENOMEM;
	j->e = c->host->e;
	j->fd = -EBADF;
	j->list = LCM_BUF(LCM_MANIFEST_MAX);
	j->indexes = json_array();
	j->out[0].kind = LCM_INDEX_SOCI_V2;
	j->out[1].kind = LCM_INDEX_TOC;
	r = lcm_index_rows_get(j->e->store, image, &j->rows, err);
	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(j->out); i++) {
		j->out[i].tables = calloc(j->rows.n + 1, sizeof(*j->out[i].tables));
		j->out[i].types = calloc(j->rows.n + 1, sizeof(*j->out[i].types));
		r = j->out[i].tables && j->out[i].types ? 0 : -ENOMEM;
	}
	if (r < 0) {
		job_free(j);
		return r;
	}
	j->ref = j->rows.ref;
	j->subject = (struct lcm_index_subject){ .media_type = j->rows.media_type,
						 .digest = j->rows.digest,
						 .size = j->rows.manifest_len };
	*ret = j;
	return 0;
}

static void on_begin(void *arg)
{
	struct lcm_index_push *j = arg;

	if (!failed(j, 0, NULL))
		next_layer(j);
}

void lcm_index_push(struct lcm_api_call *c, const char *image)
{
	struct lcm_err err = { 0 };
	struct lcm_index_push *j;
	int r = job_new(c, image, &j, &err);

	if (r < 0) {
		lcm_index_rows_error(c, r, &err);
		return;
	}
	j->call = c;
	c->push = j;
	j->task = (struct lcm_task){ .fn = on_begin, .arg = j };
	lcm_loop_post_task(j->e->loop, &j->task);
}

void lcm_index_push_forget(struct lcm_index_push *j)
{
	if (j)
		j->call = NULL;
}
