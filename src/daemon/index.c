/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/index.h"

#include <stdio.h>
#include <string.h>

#include "src/daemon/index_rows.h"

struct lcm_index_job {
	struct lcm_task task;
	struct lcm_api_call *call; /* borrowed; NULL: it is over */
	struct lcm_loop *loop;     /* borrowed */
	int toc_fd;                /* borrowed */
	struct lcm_index_rows rows;
	json_t *layers; /* owned; made by the pool */
};

static void job_free(struct lcm_index_job *j)
{
	json_decref(j->layers);
	lcm_index_rows_fini(&j->rows);
	free(j);
}

static uint64_t window_bytes(const struct lcm_toc *toc)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < lcm_toc_span_count(toc); i++)
		n += lcm_toc_window(toc, lcm_toc_span(toc, i)) ? LCM_TOC_WINDOW : 0;
	return n;
}

/* Files that demand could not bring: they come with the pull. */
static uint32_t far_files(const struct lcm_toc *toc)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < lcm_toc_count(toc); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(toc, i);

		n += e->type == LCM_TOC_REG && e->size && !e->n_chunks;
	}
	return n;
}

static json_t *index_json(int toc_fd, const struct lcm_layer_row *row)
{
	lcm_auto(lcm_toc) toc = NULL;
	struct lcm_err err = { 0 };
	char name[24];
	int r;

	if (!row->has_toc)
		return json_null();
	(void)snprintf(name, sizeof(name), "%lld", (long long)row->id);
	r = lcm_toc_open(toc_fd, name, &toc, &err);
	if (r < 0)
		return json_pack("{s:s}", "error", lcm_err_text(&err, r));
	return json_pack("{s:I s:I s:I s:I s:I s:I s:b}", "entries", (json_int_t)lcm_toc_count(toc),
			 "chunks", (json_int_t)lcm_toc_chunk_count(toc), "spans",
			 (json_int_t)lcm_toc_span_count(toc), "window_bytes",
			 (json_int_t)window_bytes(toc), "file_bytes",
			 (json_int_t)lcm_toc_file_bytes(toc), "files_by_pull_only",
			 (json_int_t)far_files(toc), "own", lcm_digest_is_zero(&row->key.source));
}

static json_t *layer_json(int toc_fd, const struct lcm_layer_row *row)
{
	static const char *const states[] = { [LCM_LAYER_PARTIAL] = "partial",
					      [LCM_LAYER_COMPLETE] = "complete",
					      [LCM_LAYER_PROVEN] = "complete" };
	char blob[LCM_DIGEST_STR], diffid[LCM_DIGEST_STR];

	return json_pack("{s:s s:s s:I s:s s:o}", "digest", lcm_digest_str(&row->key.blob, blob),
			 "diffid", lcm_digest_str(&row->key.diffid, diffid), "size",
			 (json_int_t)row->blob_size, "state",
			 row->id ? states[row->state] : "absent", "index", index_json(toc_fd, row));
}

static void on_read(void *arg)
{
	struct lcm_index_job *j = arg;
	struct lcm_api_call *c = j->call;

	if (c) {
		c->index = NULL;
		c->reply = json_pack("{s:s s:O}", "image", j->rows.image, "layers", j->layers);
		c->status = c->reply ? 200 : 500;
		c->answered(c->arg);
	}
	job_free(j);
}

static void read_job(void *arg)
{
	struct lcm_index_job *j = arg;

	j->layers = json_array();
	for (size_t i = 0; i < j->rows.n; i++)
		(void)json_array_append_new(j->layers, layer_json(j->toc_fd, &j->rows.rows[i]));
	j->task.fn = on_read;
	lcm_loop_post_task(j->loop, &j->task);
}

void lcm_index_show(struct lcm_api_call *c, const char *image)
{
	struct lcm_engine *e = c->host->e;
	struct lcm_index_job *j = calloc(1, sizeof(*j));
	struct lcm_err err = { 0 };
	int r = j ? lcm_index_rows_get(e->store, image, &j->rows, &err) : -ENOMEM;

	if (r < 0) {
		if (j)
			job_free(j);
		lcm_index_rows_error(c, r, &err);
		return;
	}
	j->call = c;
	j->loop = e->loop;
	j->toc_fd = lcm_store_toc_fd(e->store);
	j->task = (struct lcm_task){ .fn = read_job, .arg = j };
	c->index = j;
	lcm_pool_submit(e->pool, LCM_POOL_DEMAND, &j->task);
}

void lcm_index_forget(struct lcm_index_job *j)
{
	if (j)
		j->call = NULL;
}
