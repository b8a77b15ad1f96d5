/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - resolution of a reference:
 *
 *   store row? --yes--> parse -> layers -> done
 *       | no
 *   GET manifest -> index? -> GET platform manifest -> GET config -> check
 *     -> look for indexes beside it (image_index.c) -> store row -> layers -> done
 *
 * What a descriptor embeds is not asked for, but for indexes inside of indexes.
 */
#include "src/daemon/image.h"

#include <string.h>

#include "src/base/buf.h"
#include "src/base/log.h"

#define NESTED_MAX 16 /* indexes of one image that are looked into; nobody has more than two */

struct lcm_image {
	struct lcm_engine *e; /* borrowed */
	struct lcm_reference ref;
	struct lcm_platform platform;
	lcm_image_fn done;
	void *arg;
	uint64_t fetch; /* id in flight */
	bool abandoned;
	struct lcm_digest nested[NESTED_MAX]; /* indexes inside indexes, to be looked at in turn */
	uint32_t n_nested, next_nested;
	bool store, searched; /* once complete: write the row; its indexes were looked for */
	struct lcm_index_where where;
	struct lcm_index_search *search;   /* owned; NULL: none */
	struct lcm_buf body;               /* of the fetch in flight */
	struct lcm_digest digest;          /* of the platform manifest */
	struct lcm_manifest *manifest;     /* owned */
	char *manifest_json, *config_json; /* owned */
	size_t manifest_len, config_len;
	struct lcm_layer **layers; /* owned array of references */
	uint32_t n_layers;
	struct lcm_task task; /* runs done from the loop when nothing is fetched */
	int status;
	struct lcm_err err;
};

static void image_destroy(struct lcm_image *img)
{
	for (uint32_t i = 0; i < img->n_layers; i++)
		lcm_layer_put(img->layers[i]);
	free(img->layers);
	lcm_manifest_free(img->manifest);
	lcm_index_search_free(img->search);
	free(img->manifest_json);
	free(img->config_json);
	lcm_buf_fini(&img->body);
	free(img);
}

static void on_done(void *arg)
{
	struct lcm_image *img = arg;

	if (img->abandoned) {
		image_destroy(img);
		return;
	}
	img->task.fn = NULL;
	img->done(img->arg, img, img->status, &img->err);
}

static void finish(struct lcm_image *img, int status)
{
	img->status = status;
	if (status < 0 && !img->err.code)
		lcm_err_set(&img->err, status, "%s", strerror(-status));
	img->task = (struct lcm_task){ .fn = on_done, .arg = img };
	lcm_loop_post_task(img->e->loop, &img->task);
}

static int get_layers(struct lcm_image *img, const struct lcm_image_config *cfg)
{
	const struct lcm_manifest *m = img->manifest;

	img->layers = calloc(m->n_layers ? m->n_layers : 1, sizeof(struct lcm_layer *));
	if (!img->layers)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_layers; i++) {
		const struct lcm_layer_toc *beside =
		    img->search ? lcm_index_search_layer(img->search, &m->layers[i].digest) : NULL;
		int r = lcm_layer_get(img->e, &img->ref, &m->layers[i], &cfg->diffids[i], beside,
				      &img->layers[i], &img->err);

		if (r < 0)
			return r;
		img->n_layers++;
	}
	return 0;
}

/* Manifest and config are both here: do they belong together, and to this machine? */
static int check(struct lcm_image *img, struct lcm_image_config **ret)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	char ref[LCM_REFERENCE_STR_MAX];
	int r;

	lcm_reference_str(&img->ref, ref, sizeof(ref));
	r = lcm_image_config_parse(img->config_json, img->config_len, &cfg, &img->err);
	if (r < 0)
		return lcm_err_prefix(&img->err, r, "%s: config", ref);
	if (cfg->n_diffids != img->manifest->n_layers)
		return lcm_err_set(&img->err, -EUCLEAN,
				   "%s: config lists %zu diffIDs but the manifest has %zu layers; "
				   "the image is malformed",
				   ref, cfg->n_diffids, img->manifest->n_layers);
	if (strcmp(cfg->platform.os, img->platform.os) != 0 ||
	    strcmp(cfg->platform.arch, img->platform.arch) != 0)
		return lcm_err_set(
		    &img->err, -ENOEXEC,
		    "%s: image is for %s/%s, wanted %s/%s (--platform chooses another)", ref,
		    cfg->platform.os, cfg->platform.arch, img->platform.os, img->platform.arch);
	*ret = lcm_steal(&cfg);
	return 0;
}

/* Does some layer need what an index has: not here, and without a table of contents? */
static bool needs_index(struct lcm_image *img, const struct lcm_image_config *cfg)
{
	for (size_t i = 0; i < img->manifest->n_layers; i++) {
		struct lcm_layer_row row;

		if (lcm_layer_row_of(img->e->store, &img->manifest->layers[i], &cfg->diffids[i],
				     &row, NULL) < 0 ||
		    (row.state == LCM_LAYER_PARTIAL && !row.has_toc))
			return true;
	}
	return false;
}

static void complete(struct lcm_image *img, bool store);

static void on_searched(void *arg, int status, const struct lcm_err *err)
{
	struct lcm_image *img = arg;

	img->err = *err;
	if (status < 0)
		finish(img, status);
	else
		complete(img, img->store);
}

/* Return: 1 when indexes are on their way: complete() is called again then; 0; -ENOMEM. */
static int search(struct lcm_image *img, const struct lcm_image_config *cfg)
{
	if (img->searched || !needs_index(img, cfg))
		return 0;
	img->searched = true;
	return lcm_index_search(img->e, &img->ref, img->manifest_json, img->manifest_len,
				&img->digest, &img->where, on_searched, img, &img->search);
}

static void complete(struct lcm_image *img, bool store)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	char ref[LCM_REFERENCE_STR_MAX];
	int r = check(img, &cfg);

	img->store = store;
	if (r == 0)
		r = search(img, cfg);
	if (r > 0)
		return;
	if (r == 0)
		r = lcm_store_begin(img->e->store); /* one commit for all rows: one fsync */
	if (r < 0) {
		finish(img, r);
		return;
	}
	r = get_layers(img, cfg);
	if (r == 0 && store)
		r = lcm_store_image_put(img->e->store,
					lcm_reference_str(&img->ref, ref, sizeof(ref)),
					&img->digest, img->manifest_json, img->manifest_len,
					img->config_json, img->config_len, &img->err);
	finish(img, lcm_store_end(img->e->store, r));
}

static int on_body(void *arg, uint64_t off, const void *p, size_t len)
{
	struct lcm_image *img = arg;

	(void)off;
	return lcm_buf_add(&img->body, p, len);
}

static bool take_body(struct lcm_image *img, char **ret, size_t *ret_len)
{
	*ret_len = img->body.len;
	*ret = lcm_buf_steal(&img->body);
	return *ret != NULL;
}

static void fetch_ended(struct lcm_image *img)
{
	img->fetch = 0;
	if (img->abandoned)
		image_destroy(img);
}

static void fetch_config(struct lcm_image *img);

static void on_config(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_image *img = arg;
	const struct lcm_descriptor *d = &img->manifest->config;
	struct lcm_digest got;
	int r = res->status;

	if (img->abandoned) {
		fetch_ended(img);
		return;
	}
	img->fetch = 0;
	img->err = res->err;
	free(img->config_json);
	img->config_json = NULL;
	if (r == 0 && !take_body(img, &img->config_json, &img->config_len))
		r = -ENOMEM;
	if (r == 0)
		r = lcm_digest_of(img->config_json, img->config_len, &got);
	if (r == 0 && !lcm_digest_equal(&got, &d->digest) &&
	    lcm_registry_blame(img->e->reg, &img->ref, &d->digest)) {
		fetch_config(img); /* a mirror lied */
		return;
	}
	if (r == 0 && !lcm_digest_equal(&got, &d->digest))
		r = lcm_err_set(
		    &img->err, -EBADMSG,
		    "config blob does not match its digest; the registry's copy is damaged");
	if (r < 0)
		finish(img, r);
	else
		complete(img, true);
}

static void start_fetch(struct lcm_image *img, struct lcm_fetch_req *req, size_t max)
{
	int r;

	lcm_buf_fini(&img->body);
	img->body = LCM_BUF(max);
	req->prio = LCM_PRIO_DEMAND;
	req->ref = &img->ref;
	req->sink = on_body;
	req->arg = img;
	r = lcm_fetch_start(img->e->reg, req, &img->fetch);
	if (r < 0)
		finish(img, r);
}

/* Return: a copy of @d->data with a NUL behind it, owned by the caller; NULL: no memory. */
static char *embedded(const struct lcm_descriptor *d)
{
	char *p = malloc(d->size + 1);

	if (!p)
		return NULL;
	memcpy(p, d->data, d->size);
	p[d->size] = '\0';
	return p;
}

static void fetch_config(struct lcm_image *img)
{
	const struct lcm_descriptor *d = &img->manifest->config;
	struct lcm_fetch_req req = { .kind = LCM_FETCH_BLOB,
				     .digest = d->digest,
				     .size = d->size,
				     .len = d->size,
				     .done = on_config };

	if (d->size == 0 || d->size > LCM_CONFIG_MAX) {
		finish(img,
		       lcm_err_set(&img->err, -EFBIG, "config of %llu bytes (1 to %u are taken)",
				   (unsigned long long)d->size, LCM_CONFIG_MAX));
		return;
	}
	if (!d->data) {
		start_fetch(img, &req, LCM_CONFIG_MAX);
		return;
	}
	free(img->config_json);
	img->config_json = embedded(d);
	img->config_len = d->size;
	if (img->config_json)
		complete(img, true);
	else
		finish(img, -ENOMEM);
}

static void on_manifest(void *arg, const struct lcm_fetch_result *res);
static void take_manifest(struct lcm_image *img, char *json, size_t len, const char *content_type,
			  const struct lcm_digest *digest);

static void get_manifest(struct lcm_image *img, const struct lcm_digest *digest)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST,
				     .digest = *digest,
				     .done = on_manifest };

	start_fetch(img, &req, LCM_MANIFEST_MAX);
}

/* Nothing fits in this index: there may be something in those inside of it, or of one before. */
static int next_index(struct lcm_image *img, const struct lcm_manifest *index, int r)
{
	const struct lcm_descriptor *d;
	size_t at = 0;

	while ((d = lcm_manifest_nested(index, &img->platform, &at))) {
		if (img->n_nested == NESTED_MAX)
			return lcm_err_set(&img->err, -EFBIG,
					   "more than %d indexes inside of indexes", NESTED_MAX);
		img->nested[img->n_nested++] = d->digest;
	}
	if (img->next_nested == img->n_nested)
		return r;
	img->err = (struct lcm_err){ 0 };
	get_manifest(img, &img->nested[img->next_nested++]);
	return 0;
}

static void choose_platform(struct lcm_image *img, const struct lcm_manifest *index)
{
	const struct lcm_descriptor *d;
	int r = lcm_manifest_select(index, &img->platform, &d, &img->err);
	char *json;

	if (r == -ENOEXEC)
		r = next_index(img, index, r);
	else if (r == 0 && !d->data)
		get_manifest(img, &d->digest);
	else if (r == 0) {
		json = embedded(d);
		if (json)
			take_manifest(img, json, d->size, d->media_type, &d->digest);
		else
			r = -ENOMEM;
	}
	if (r < 0)
		finish(img, r);
}

/* @json: owned. */
static void take_manifest(struct lcm_image *img, char *json, size_t len, const char *content_type,
			  const struct lcm_digest *digest)
{
	lcm_auto(lcm_manifest) m = NULL;
	int r = lcm_manifest_parse(json, len, content_type, &m, &img->err);
	char ref[LCM_REFERENCE_STR_MAX];

	if (r < 0) {
		free(json);
		finish(img, lcm_err_prefix(&img->err, r, "%s: manifest",
					   lcm_reference_str(&img->ref, ref, sizeof(ref))));
		return;
	}
	if (m->media == LCM_MEDIA_INDEX) {
		free(json);
		choose_platform(img, m);
		return;
	}
	img->digest = *digest;
	img->manifest = lcm_steal(&m);
	free(img->manifest_json); /* the store's, when it could not be parsed */
	img->manifest_json = json;
	img->manifest_len = len;
	fetch_config(img);
}

static void on_manifest(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_image *img = arg;
	char *json = NULL;
	size_t len = 0;
	int r = res->status;

	if (img->abandoned) {
		fetch_ended(img);
		return;
	}
	img->fetch = 0;
	img->err = res->err;
	if (r == 0 && !take_body(img, &json, &len))
		r = -ENOMEM;
	if (r < 0)
		finish(img, r);
	else
		take_manifest(img, json, len, res->content_type, &res->digest);
}

static int from_store(struct lcm_image *img)
{
	char ref[LCM_REFERENCE_STR_MAX];
	struct lcm_image_row row = { 0 };
	int r = lcm_store_image_get(img->e->store, lcm_reference_str(&img->ref, ref, sizeof(ref)),
				    &row);

	if (r < 0)
		return r;
	img->manifest_json = lcm_steal(&row.manifest_json);
	img->manifest_len = row.manifest_len;
	img->config_json = lcm_steal(&row.config_json);
	img->config_len = row.config_len;
	img->digest = row.manifest;
	lcm_image_row_fini(&row);
	return lcm_manifest_parse(img->manifest_json, img->manifest_len, NULL, &img->manifest,
				  NULL);
}

int lcm_image_resolve(struct lcm_engine *e, const struct lcm_reference *ref,
		      const struct lcm_platform *platform, enum lcm_image_policy policy,
		      const struct lcm_index_where *where, lcm_image_fn done, void *arg,
		      struct lcm_image **ret, struct lcm_err *err)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .done = on_manifest };
	struct lcm_image *img = calloc(1, sizeof(*img));
	char text[LCM_REFERENCE_STR_MAX];

	if (!img)
		return -ENOMEM;
	img->e = e;
	img->ref = *ref;
	img->where = *where;
	img->done = done;
	img->arg = arg;
	if (platform)
		img->platform = *platform;
	else
		lcm_platform_host(&img->platform);
	*ret = img;
	if (policy != LCM_IMAGE_ALWAYS && from_store(img) == 0) {
		complete(img, false);
		return 0;
	}
	if (policy == LCM_IMAGE_NEVER) {
		*ret = NULL;
		image_destroy(img);
		return lcm_err_set(err, -ENOENT, "%s is not in the store (locum pull fetches it)",
				   lcm_reference_str(ref, text, sizeof(text)));
	}
	start_fetch(img, &req, LCM_MANIFEST_MAX);
	return 0;
}

void lcm_image_free(struct lcm_image *img)
{
	if (!img)
		return;
	if (!img->fetch && !img->task.fn) {
		image_destroy(img);
		return;
	}
	img->abandoned = true;
	if (img->fetch)
		lcm_fetch_cancel(img->e->reg, img->fetch);
}

uint32_t lcm_image_n_layers(const struct lcm_image *img)
{
	return img->n_layers;
}

struct lcm_layer *lcm_image_layer(const struct lcm_image *img, uint32_t i)
{
	return img->layers[i];
}

const struct lcm_digest *lcm_image_digest(const struct lcm_image *img)
{
	return &img->digest;
}

const char *lcm_image_manifest_json(const struct lcm_image *img)
{
	return img->manifest_json ? img->manifest_json : "";
}

const char *lcm_image_config_json(const struct lcm_image *img)
{
	return img->config_json ? img->config_json : "";
}
