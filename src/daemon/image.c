/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - resolution of a reference:
 *
 *   store row? --yes--> layers -> done
 *       | no
 *   GET manifest -> index? -> GET platform manifest -> GET config -> read -> check
 *     -> look for indexes beside it (image_index.c) -> store row -> layers -> done
 *
 * What a descriptor embeds is not asked for, but for indexes inside of indexes. All documents are
 * read by an isolated function; what is parsed here is text of our own (decode/doc.h).
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
	uint64_t fetch;       /* id in flight */
	struct lcm_doc *doc;  /* being read; NULL: none */
	uint64_t tenant;      /* of the function that reads; 0: none has yet */
	char *unread, *media; /* owned; a manifest that is being read, and its media type */
	size_t unread_len;
	struct lcm_digest unread_digest;
	bool abandoned;
	struct lcm_digest nested[NESTED_MAX]; /* indexes inside indexes, to be looked at in turn */
	uint32_t n_nested, next_nested;
	bool store, searched; /* once complete: write the row; its indexes were looked for */
	struct lcm_index_where where;
	struct lcm_index_search *search;   /* owned; NULL: none */
	struct lcm_buf body;               /* of the config's fetch */
	struct lcm_digest digest;          /* of the platform manifest */
	struct lcm_manifest *manifest;     /* owned */
	char *manifest_json, *config_json; /* owned; as served */
	size_t manifest_len, config_len;
	char *manifest_text, *config_text; /* owned; as read */
	struct lcm_layer **layers;         /* owned array of references */
	uint32_t n_layers;
	struct lcm_task task; /* runs done from the loop when nothing is fetched */
	int status;
	struct lcm_err err;
};

static void end_tenant(struct lcm_image *img)
{
	const struct lcm_docs docs = lcm_engine_docs(img->e);

	if (img->tenant)
		lcm_docs_tenant_end(&docs, img->tenant);
	img->tenant = 0;
}

static void image_destroy(struct lcm_image *img)
{
	for (uint32_t i = 0; i < img->n_layers; i++)
		lcm_layer_put(img->layers[i]);
	free(img->layers);
	lcm_manifest_free(img->manifest);
	lcm_index_search_free(img->search);
	free(img->manifest_json);
	free(img->config_json);
	free(img->manifest_text);
	free(img->config_text);
	free(img->unread);
	free(img->media);
	lcm_doc_cancel(img->doc);
	end_tenant(img);
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
	end_tenant(img);
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
	r = lcm_image_config_parse(img->config_text, strlen(img->config_text), &cfg, &img->err);
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
	return lcm_index_search(img->e, &img->ref, img->manifest_text, &img->digest, &img->where,
				on_searched, img, &img->search);
}

static int put_row(struct lcm_image *img)
{
	char ref[LCM_REFERENCE_STR_MAX];
	struct lcm_image_row row = { .ref = ref,
				     .manifest = img->digest,
				     .manifest_json = img->manifest_json,
				     .manifest_len = img->manifest_len,
				     .config_json = img->config_json,
				     .config_len = img->config_len,
				     .manifest_text = img->manifest_text,
				     .config_text = img->config_text };

	lcm_reference_str(&img->ref, ref, sizeof(ref));
	return lcm_store_image_put(img->e->store, &row, &img->err);
}

static void complete(struct lcm_image *img, bool store)
{
	lcm_auto(lcm_image_config) cfg = NULL;
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
		r = put_row(img);
	finish(img, lcm_store_end(img->e->store, r));
}

/* ---- reading ---- */

static uint64_t tenant_of(struct lcm_image *img)
{
	if (!img->tenant)
		img->tenant = lcm_docs_tenant();
	return img->tenant;
}

static void read_start(struct lcm_image *img, const char *json, size_t len, const char *what,
		       lcm_doc_fn done)
{
	const struct lcm_docs docs = lcm_engine_docs(img->e);
	int r = lcm_doc_start(&docs, tenant_of(img), json, len, LCM_CONFIG_MAX, what, done, img,
			      &img->doc);

	if (r < 0)
		finish(img, r);
}

/* Has it been read, and may what it says be followed up? Return: 0, -errno. */
static int read_ended(struct lcm_image *img, int r, const struct lcm_err *err)
{
	img->doc = NULL;
	img->err = *err;
	return r == 0 && img->e->closing ? -ESHUTDOWN : r;
}

/* ---- the config ---- */

static void on_config_read(void *arg, int r, char *text, const struct lcm_err *err)
{
	struct lcm_image *img = arg;
	char ref[LCM_REFERENCE_STR_MAX];

	free(img->config_text);
	img->config_text = text;
	r = read_ended(img, r, err);
	if (r < 0)
		finish(img, lcm_err_prefix(&img->err, r, "%s: config",
					   lcm_reference_str(&img->ref, ref, sizeof(ref))));
	else
		complete(img, true);
}

static int on_body(void *arg, uint64_t off, const void *p, size_t len)
{
	struct lcm_image *img = arg;

	(void)off;
	return lcm_buf_add(&img->body, p, len);
}

static void fetch_ended(struct lcm_image *img)
{
	img->fetch = 0;
	if (img->abandoned)
		image_destroy(img);
}

static void fetch_config(struct lcm_image *img);

/* @json: owned. */
static void take_config(struct lcm_image *img, char *json, size_t len)
{
	free(img->config_json);
	img->config_json = json;
	img->config_len = len;
	if (json)
		read_start(img, json, len, "config", on_config_read);
	else
		finish(img, -ENOMEM);
}

static void on_config(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_image *img = arg;
	const struct lcm_descriptor *d = &img->manifest->config;
	struct lcm_digest got;
	size_t len = img->body.len;
	int r = res->status;

	if (img->abandoned) {
		fetch_ended(img);
		return;
	}
	img->fetch = 0;
	img->err = res->err;
	if (r == 0)
		r = lcm_digest_of(lcm_buf_str(&img->body), len, &got);
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
		take_config(img, lcm_buf_steal(&img->body), len);
}

static void start_fetch(struct lcm_image *img, struct lcm_fetch_req *req)
{
	int r;

	req->prio = LCM_PRIO_DEMAND;
	req->ref = &img->ref;
	req->tenant = tenant_of(img);
	req->arg = img;
	r = lcm_fetch_start(img->e->reg, req, &img->fetch);
	if (r < 0)
		finish(img, r);
}

/* With a NUL behind it. Return: owned by the caller; NULL: no memory. */
static char *copy_of(const void *p, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		return NULL;
	copy[len] = '\0';
	return memcpy(copy, p, len);
}

static void fetch_config(struct lcm_image *img)
{
	const struct lcm_descriptor *d = &img->manifest->config;
	struct lcm_fetch_req req = { .kind = LCM_FETCH_BLOB,
				     .digest = d->digest,
				     .size = d->size,
				     .len = d->size,
				     .sink = on_body,
				     .done = on_config };

	if (d->size == 0 || d->size > LCM_CONFIG_MAX) {
		finish(img,
		       lcm_err_set(&img->err, -EFBIG, "config of %llu bytes (1 to %u are taken)",
				   (unsigned long long)d->size, LCM_CONFIG_MAX));
		return;
	}
	if (d->data) {
		take_config(img, copy_of(d->data, d->size), d->size);
		return;
	}
	lcm_buf_fini(&img->body);
	img->body = LCM_BUF(LCM_CONFIG_MAX);
	start_fetch(img, &req);
}

/* ---- the manifest ---- */

static void on_manifest(void *arg, const struct lcm_fetch_result *res);
static void on_manifest_read(void *arg, int r, char *text, const struct lcm_err *err);

static void get_manifest(struct lcm_image *img, const struct lcm_digest *digest)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST,
				     .digest = *digest,
				     .done = on_manifest };

	start_fetch(img, &req);
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

/* What is to be taken once it has been read. @json: owned; NULL: no memory. */
static int set_unread(struct lcm_image *img, char *json, size_t len, const char *media,
		      const struct lcm_digest *digest)
{
	free(img->unread);
	free(img->media);
	img->unread = json;
	img->unread_len = len;
	img->media = strdup(media ? media : "");
	img->unread_digest = *digest;
	return img->unread && img->media ? 0 : -ENOMEM;
}

static void choose_platform(struct lcm_image *img, const struct lcm_manifest *index)
{
	const struct lcm_descriptor *d;
	int r = lcm_manifest_select(index, &img->platform, &d, &img->err);

	if (r == -ENOEXEC)
		r = next_index(img, index, r);
	else if (r == 0 && !d->data)
		get_manifest(img, &d->digest);
	else if (r == 0) {
		r = set_unread(img, copy_of(d->data, d->size), d->size, d->media_type, &d->digest);
		if (r == 0)
			read_start(img, img->unread, img->unread_len, "manifest", on_manifest_read);
	}
	if (r < 0)
		finish(img, r);
}

/* What set_unread() told has been read as @text (owned). */
static void take_manifest(struct lcm_image *img, char *text)
{
	lcm_autofree char *owned = text;
	lcm_auto(lcm_manifest) m = NULL;
	int r = lcm_manifest_parse(text, strlen(text), *img->media ? img->media : NULL, &m,
				   &img->err);
	char ref[LCM_REFERENCE_STR_MAX];

	if (r < 0) {
		finish(img, lcm_err_prefix(&img->err, r, "%s: manifest",
					   lcm_reference_str(&img->ref, ref, sizeof(ref))));
		return;
	}
	if (m->media == LCM_MEDIA_INDEX) {
		choose_platform(img, m);
		return;
	}
	img->digest = img->unread_digest;
	lcm_manifest_free(img->manifest);
	img->manifest = lcm_steal(&m);
	free(img->manifest_json); /* the store's, when it could not be parsed */
	free(img->manifest_text);
	img->manifest_json = lcm_steal(&img->unread);
	img->manifest_len = img->unread_len;
	img->manifest_text = lcm_steal(&owned);
	fetch_config(img);
}

static void on_manifest_read(void *arg, int r, char *text, const struct lcm_err *err)
{
	struct lcm_image *img = arg;

	r = read_ended(img, r, err);
	if (r == 0) {
		take_manifest(img, text);
		return;
	}
	free(text);
	finish(img, r);
}

static void on_manifest(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_image *img = arg;
	char ref[LCM_REFERENCE_STR_MAX], *text = NULL;
	int r = res->status;

	if (img->abandoned) {
		fetch_ended(img);
		return;
	}
	img->fetch = 0;
	img->err = res->err;
	if (r < 0 && res->body)
		lcm_err_prefix(&img->err, r, "%s: manifest",
			       lcm_reference_str(&img->ref, ref, sizeof(ref)));
	if (r == 0)
		r = set_unread(img, copy_of(res->body, res->body_len), res->body_len,
			       res->content_type, &res->digest);
	if (r == 0)
		text = strdup(res->text);
	if (r == 0 && text)
		take_manifest(img, text);
	else
		finish(img, r < 0 ? r : -ENOMEM);
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
	img->manifest_text = lcm_steal(&row.manifest_text);
	img->config_text = lcm_steal(&row.config_text);
	img->digest = row.manifest;
	lcm_image_row_fini(&row);
	return lcm_manifest_parse(img->manifest_text, strlen(img->manifest_text), NULL,
				  &img->manifest, NULL);
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
	start_fetch(img, &req);
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

const char *lcm_image_config_text(const struct lcm_image *img)
{
	return img->config_text ? img->config_text : "";
}
