/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/content.h"

#include <string.h>

#include "src/daemon/api_priv.h"

struct lcm_content_job {
	struct lcm_api_call *call; /* borrowed; NULL: it is over */
	struct lcm_engine *e;      /* borrowed */
	struct lcm_reference ref;  /* of the image that was used last of those that list it */
	struct lcm_digest digest;
	uint64_t size, used_ns;
	uint64_t off, len;       /* of the part */
	struct lcm_layer *layer; /* referenced; whose blob file has the part */
	struct lcm_task task;
	struct lcm_buf out;
	int status;
	struct lcm_err err;
	bool found;
};

static void job_free(struct lcm_content_job *j)
{
	lcm_buf_fini(&j->out);
	free(j);
}

/* ---- which image has it ---- */

static int note_layer(struct lcm_content_job *j, const struct lcm_image_row *row,
		      const struct lcm_descriptor *d)
{
	struct lcm_reference ref;
	int r = lcm_reference_parse(row->ref, &ref, NULL);

	if (r < 0)
		return r;
	lcm_buf_fini(&j->out);
	j->out = LCM_BUF(LCM_CONTENT_PART_MAX);
	j->ref = ref;
	j->size = d->size;
	j->used_ns = row->last_used_ns;
	j->found = true;
	return 0;
}

static int look_into(void *arg, const struct lcm_image_row *row)
{
	struct lcm_content_job *j = arg;
	lcm_auto(lcm_manifest) m = NULL;
	char text[LCM_DIGEST_STR];
	int r = 0;

	if (j->found && row->last_used_ns < j->used_ns)
		return 0;
	(void)lcm_digest_str(&j->digest, text);
	if (!strstr(row->manifest_text, text))
		return 0;
	/* What is damaged was said when it was used; another image may do. */
	if (lcm_manifest_parse(row->manifest_text, strlen(row->manifest_text), NULL, &m, NULL) < 0)
		return 0;
	for (size_t i = 0; r == 0 && i < m->n_layers; i++)
		if (lcm_digest_equal(&m->layers[i].digest, &j->digest))
			r = note_layer(j, row, &m->layers[i]);
	return r;
}

static int find(struct lcm_content_job *j, const char *image, struct lcm_err *err)
{
	struct lcm_image_row row;
	char text[LCM_DIGEST_STR];
	int r;

	if (!*image) {
		r = lcm_store_image_each(j->e->store, look_into, j);
	} else {
		r = lcm_store_image_get(j->e->store, image, &row);
		if (r == -ENOENT)
			return lcm_err_set(err, r, "%s is no image in the store", image);
		if (r == 0) {
			r = look_into(j, &row);
			lcm_image_row_fini(&row);
		}
	}
	(void)lcm_digest_str(&j->digest, text);
	if (r == 0 && !j->found && *image)
		return lcm_err_set(err, -ENOENT, "%s has no layer %s", image, text);
	if (r == 0 && !j->found)
		return lcm_err_set(err, -ENOENT, "no image in the store has a layer %s", text);
	return r;
}

/* ---- its bytes ---- */

static void answer(struct lcm_content_job *j)
{
	struct lcm_api_call *c = j->call;

	if (c && j->status < 0) {
		c->content = NULL;
		lcm_api_error(c, j->status == -ENOENT ? 404 : 502, j->status, "%s",
			      lcm_err_text(&j->err, j->status));
		c->answered(c->arg);
	} else if (c) {
		c->content = NULL;
		c->text = j->out;
		j->out = (struct lcm_buf){ 0 };
		c->type = "application/octet-stream";
		c->status = 200;
		c->answered(c->arg);
	}
	job_free(j);
}

static int on_bytes(void *arg, uint64_t off, const void *p, size_t len)
{
	struct lcm_content_job *j = arg;

	if (off != j->off + j->out.len || len > j->len - j->out.len)
		return -EPROTO;
	return lcm_buf_add(&j->out, p, len);
}

static void on_fetched(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_content_job *j = arg;

	j->status = res->status;
	j->err = res->err;
	answer(j);
}

static int fetch(struct lcm_content_job *j)
{
	const struct lcm_fetch_req req = {
		.kind = LCM_FETCH_BLOB,
		.prio = LCM_PRIO_BACKGROUND,
		.ref = &j->ref,
		.digest = j->digest,
		.size = j->size,
		.off = j->off,
		.len = j->len,
		.skip = true,
		.sink = on_bytes,
		.done = on_fetched,
		.arg = j,
	};
	uint64_t id;

	return lcm_fetch_start(j->e->reg, &req, &id);
}

static void on_read(void *arg)
{
	struct lcm_content_job *j = arg;

	lcm_layer_put(j->layer);
	j->layer = NULL;
	/* A range that the pull has just found wrong, say. */
	if (j->status < 0) {
		j->out.len = 0;
		j->status = j->e->closing ? -ESHUTDOWN : fetch(j);
		if (j->status == 0)
			return;
	}
	answer(j);
}

static void read_job(void *arg)
{
	struct lcm_content_job *j = arg;

	j->status = lcm_buf_reserve(&j->out, j->len);
	if (j->status == 0)
		j->status = lcm_blob_read(j->layer->blob, j->off, j->out.data, j->len);
	if (j->status == 0)
		j->out.len = j->len;
	j->task.fn = on_read;
	lcm_loop_post_task(j->e->loop, &j->task);
}

/* One whose blob file has the part. */
static struct lcm_layer *layer_with(const struct lcm_content_job *j)
{
	for (struct lcm_layer *l = j->e->layers; l; l = l->next)
		if (l->blob && l->phase == LCM_LAYER_READY &&
		    lcm_digest_equal(&l->row.key.blob, &j->digest) && l->row.blob_size == j->size &&
		    lcm_blob_has(l->blob, j->off, j->len))
			return l;
	return NULL;
}

static int start(struct lcm_content_job *j)
{
	j->layer = layer_with(j);
	if (!j->layer)
		return fetch(j);
	j->layer->refs++;
	j->task = (struct lcm_task){ .fn = read_job, .arg = j };
	lcm_pool_submit(j->e->pool, LCM_POOL_BACKGROUND, &j->task);
	return 0;
}

/* ---- the call ---- */

static void describe(struct lcm_api_call *c, const struct lcm_content_job *j)
{
	char text[LCM_REFERENCE_STR_MAX];

	c->reply = json_pack("{s:s s:I}", "image", lcm_reference_str(&j->ref, text, sizeof(text)),
			     "size", (json_int_t)j->size);
	c->status = c->reply ? 200 : 500;
}

static int part(struct lcm_content_job *j, json_t *args, struct lcm_err *err)
{
	if (api_number(args, "offset", &j->off) < 0 || api_number(args, "length", &j->len) < 0 ||
	    j->len > LCM_CONTENT_PART_MAX || j->off > j->size || j->len > j->size - j->off)
		return lcm_err_set(err, -EINVAL,
				   "offset and length are numbers; a part has at most %u bytes and "
				   "ends with the blob's %llu",
				   LCM_CONTENT_PART_MAX, (unsigned long long)j->size);
	return 0;
}

void lcm_content_call(struct lcm_api_call *c, const char *digest, json_t *args)
{
	struct lcm_content_job *j = calloc(1, sizeof(*j));
	struct lcm_err err = { 0 };
	int r = j ? 0 : -ENOMEM;

	if (r == 0 && lcm_digest_parse(digest, strlen(digest), &j->digest) < 0)
		r = lcm_err_set(&err, -EINVAL, "\"%.100s\" is not a digest (sha256:HEX)", digest);
	if (r == 0) {
		j->e = c->host->e;
		r = find(j, api_text(args, "image"), &err);
	}
	if (r == 0)
		r = part(j, args, &err);
	if (r == 0 && j->len) {
		j->call = c;
		c->content = j;
		r = start(j);
		if (r == 0)
			return;
		c->content = NULL;
	} else if (r == 0) {
		describe(c, j);
	}
	if (r < 0)
		lcm_api_fail(c, r, &err);
	if (j)
		job_free(j);
}

void lcm_content_forget(struct lcm_content_job *j)
{
	if (j)
		j->call = NULL;
}
