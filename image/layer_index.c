/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "image/layer_index.h"

#include <stdio.h>
#include <string.h>

#include "image/descriptor.h"

#define INDEX_KEY "com.amazon.soci.index-digest"
#define WHAT "index"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define LIST_TYPE "application/vnd.oci.image.index.v1+json"

static const struct {
	const char *artifact, *toc; /* media types */
	const char *layer_key, *layer_type_key;
} kinds[LCM_INDEX_KIND_MAX] = {
	[LCM_INDEX_SOCI_V1] = { "application/vnd.amazon.soci.index.v1+json",
				"application/octet-stream", "com.amazon.soci.image-layer-digest",
				"com.amazon.soci.image-layer-mediaType" },
	[LCM_INDEX_SOCI_V2] = { "application/vnd.amazon.soci.index.v2+json",
				"application/octet-stream", "com.amazon.soci.image-layer-digest",
				"com.amazon.soci.image-layer-mediaType" },
	[LCM_INDEX_TOC] = { "application/vnd.locum.index.v1+json", "application/vnd.locum.toc.v2",
			    "org.locum.layer.digest", "org.locum.layer.mediaType" },
};

const char *lcm_index_type(enum lcm_index_kind kind)
{
	return kinds[kind].artifact;
}

void lcm_layer_index_free(struct lcm_layer_index *x)
{
	if (!x)
		return;
	free(x->layers);
	free(x);
}

const struct lcm_layer_toc *lcm_layer_index_layer(const struct lcm_layer_index *x,
						  const struct lcm_digest *layer)
{
	for (size_t i = 0; i < x->n_layers; i++)
		if (lcm_digest_equal(&x->layers[i].layer, layer))
			return &x->layers[i];
	return NULL;
}

static int digest_of(const char *s, const char *what, const char *key, struct lcm_digest *ret,
		     struct lcm_err *err)
{
	if (lcm_digest_parse(s, strlen(s), ret) < 0)
		return lcm_err_set(err, -EUCLEAN, "%s: annotation %s is no sha256 digest", what,
				   key);
	return 0;
}

static int layer_add(struct lcm_layer_index *x, const struct lcm_descriptor *d, const char *what,
		     struct lcm_err *err)
{
	const char *key = kinds[x->kind].layer_key, *layer = lcm_descriptor_annotation(d, key);
	struct lcm_layer_toc l = { .kind = x->kind, .toc = d->digest, .size = d->size };
	int r;

	if (strcmp(d->media_type, kinds[x->kind].toc) != 0)
		return 0;
	if (!layer)
		return lcm_err_set(err, -EUCLEAN, "%s: no annotation %s", what, key);
	r = digest_of(layer, what, key, &l.layer, err);
	if (r < 0)
		return r;
	if (d->size < 1)
		return lcm_err_set(err, -EUCLEAN, "%s: a table of no bytes", what);
	if (lcm_layer_index_layer(x, &l.layer))
		return lcm_err_set(err, -EUCLEAN, "%s: a second table for layer %s", what, layer);
	x->layers[x->n_layers++] = l;
	return 0;
}

static int layers_parse(const json_t *root, struct lcm_layer_index *x, struct lcm_err *err)
{
	const json_t *array = lcm_json_member(root, "layers");
	size_t n = json_array_size(array);
	char what[48];
	int r = 0;

	if (!json_is_array(array))
		return lcm_err_set(err, -EUCLEAN, WHAT ": layers is missing or not an array");
	if (n > 2 * LCM_LAYERS_MAX)
		return lcm_err_set(err, -EFBIG, WHAT ": %zu blobs, the limit is %d", n,
				   2 * LCM_LAYERS_MAX);
	x->layers = calloc(n + 1, sizeof(*x->layers));
	if (!x->layers)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++) {
		LCM_CLEANUP(lcm_descriptor_fini) struct lcm_descriptor d = { 0 };

		(void)snprintf(what, sizeof(what), WHAT ": layers[%zu]", i);
		r = lcm_descriptor_parse(json_array_get(array, i), what, &d, err);
		if (r == 0)
			r = layer_add(x, &d, what, err);
	}
	return r;
}

static enum lcm_index_kind kind_of(const char *type)
{
	for (int i = LCM_INDEX_NONE + 1; i < LCM_INDEX_KIND_MAX; i++)
		if (strcmp(type, kinds[i].artifact) == 0)
			return (enum lcm_index_kind)i;
	return LCM_INDEX_NONE;
}

/* SOCI writes no artifactType, oras may: the config's media type stands for it. */
static int kind_parse(const json_t *root, enum lcm_index_kind *ret, struct lcm_err *err)
{
	const json_t *config = lcm_json_member(root, "config");
	const char *artifact, *media = "";
	int r = lcm_json_string(root, "artifactType", WHAT, &artifact, err);

	if (r == 0 && json_is_object(config))
		r = lcm_json_string(config, "mediaType", WHAT ": config", &media, err);
	if (r < 0)
		return r;
	*ret = kind_of(artifact);
	if (!*ret)
		*ret = kind_of(media);
	if (!*ret)
		return lcm_err_set(err, -ENOTSUP,
				   WHAT
				   ": neither SOCI's of version 1 or 2 nor locum's, but %.120s",
				   *artifact ? artifact
				   : *media  ? media
					     : "without any type");
	return 0;
}

static int subject_parse(const json_t *root, struct lcm_digest *ret, struct lcm_err *err)
{
	const json_t *subject = lcm_json_member(root, "subject");
	LCM_CLEANUP(lcm_descriptor_fini) struct lcm_descriptor d = { 0 };
	int r;

	if (!subject)
		return 0;
	r = lcm_descriptor_parse(subject, WHAT ": subject", &d, err);
	if (r == 0)
		*ret = d.digest;
	return r;
}

int lcm_layer_index_parse(const void *p, size_t len, struct lcm_layer_index **ret,
			  struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	lcm_auto(lcm_layer_index) x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	r = lcm_json_parse(p, len, LCM_MANIFEST_MAX, WHAT, &root, err);
	if (r == 0)
		r = kind_parse(root, &x->kind, err);
	if (r == 0)
		r = subject_parse(root, &x->subject, err);
	if (r == 0)
		r = layers_parse(root, x, err);
	if (r < 0)
		return r;
	*ret = lcm_steal(&x);
	return 0;
}

/* ---- where it is ---- */

int lcm_layer_index_find(const void *p, size_t len, struct lcm_digest *ret, struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	const json_t *notes;
	const char *s;
	int r = lcm_json_parse(p, len, LCM_MANIFEST_MAX, "manifest", &root, err);

	if (r < 0)
		return r;
	notes = lcm_json_member(root, "annotations");
	if (!json_is_object(notes) || !lcm_json_member(notes, INDEX_KEY))
		return 0;
	r = lcm_json_string(notes, INDEX_KEY, "manifest", &s, err);
	if (r == 0)
		r = digest_of(s, "manifest", INDEX_KEY, ret, err);
	return r < 0 ? r : 1;
}

static int referrer_add(struct lcm_referrers *r, const json_t *obj, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_descriptor_fini) struct lcm_descriptor d = { 0 };
	enum lcm_index_kind kind;
	const char *type;
	int st = lcm_json_string(obj, "artifactType", "referrers", &type, err);

	if (st < 0)
		return st;
	kind = kind_of(type);
	if (kind == LCM_INDEX_NONE || r->n[kind] == LCM_REFERRERS_MAX)
		return 0;
	st = lcm_descriptor_parse(obj, "referrers: index", &d, err);
	if (st == 0)
		r->of[kind][r->n[kind]++] = d.digest;
	return st;
}

int lcm_layer_index_referrers(const void *p, size_t len, struct lcm_referrers *r,
			      struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	const json_t *list;
	int st = lcm_json_parse(p, len, LCM_MANIFEST_MAX, "referrers", &root, err);

	list = st == 0 ? lcm_json_member(root, "manifests") : NULL;
	for (size_t i = 0; st == 0 && i < json_array_size(list); i++)
		st = referrer_add(r, json_array_get(list, i), err);
	return st;
}

size_t lcm_referrers_best(const struct lcm_referrers *r, struct lcm_digest ret[LCM_REFERRERS_MAX])
{
	size_t n = 0;

	for (int kind = LCM_INDEX_KIND_MAX - 1; kind > LCM_INDEX_NONE; kind--)
		for (size_t i = 0; i < r->n[kind] && n < LCM_REFERRERS_MAX; i++)
			ret[n++] = r->of[kind][i];
	return n;
}

/* ---- writing ---- */

static json_t *descriptor_json(const char *media_type, const struct lcm_digest *digest,
			       uint64_t size)
{
	char text[LCM_DIGEST_STR];

	return json_pack("{s:s s:s s:I}", "mediaType", media_type, "digest",
			 lcm_digest_str(digest, text), "size", (json_int_t)size);
}

static json_t *layer_json(const struct lcm_layer_toc *l, const char *media_type)
{
	json_t *o = descriptor_json(kinds[l->kind].toc, &l->toc, l->size);
	char text[LCM_DIGEST_STR];

	(void)json_object_set_new(o, "annotations",
				  json_pack("{s:s s:s}", kinds[l->kind].layer_key,
					    lcm_digest_str(&l->layer, text),
					    kinds[l->kind].layer_type_key, media_type));
	return o;
}

static int dump(json_t *root, struct lcm_buf *out)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	int r;

	if (!text || lcm_json_oom_end()) {
		free(text);
		return -ENOMEM;
	}
	r = lcm_buf_add(out, text, strlen(text));
	free(text);
	return r;
}

int lcm_layer_index_write(enum lcm_index_kind kind, const struct lcm_layer_toc *layers,
			  const char *const *media_types, size_t n,
			  const struct lcm_index_subject *subject, struct lcm_buf *out)
{
	lcm_autojson json_t *root = NULL;
	struct lcm_digest config;
	json_t *array;
	int r = lcm_digest_of(LCM_INDEX_CONFIG, strlen(LCM_INDEX_CONFIG), &config);

	if (r < 0)
		return r;
	lcm_json_oom_begin();
	array = json_array();
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(array, layer_json(&layers[i], media_types[i]));
	root = json_pack(
	    "{s:i s:s s:s s:o s:o s:o s:{s:s}}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE,
	    "artifactType", kinds[kind].artifact, "config",
	    descriptor_json(kinds[kind].artifact, &config, strlen(LCM_INDEX_CONFIG)), "layers",
	    array, "subject", descriptor_json(subject->media_type, &subject->digest, subject->size),
	    "annotations", "com.amazon.soci.build-tool-identifier", "locum " PACKAGE_VERSION);
	return dump(root, out);
}

static bool listed(const json_t *array, const char *digest)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *s =
		    json_string_value(json_object_get(json_array_get(array, i), "digest"));

		if (s && strcmp(s, digest) == 0)
			return true;
	}
	return false;
}

int lcm_referrers_add(const void *p, size_t len, enum lcm_index_kind kind,
		      const struct lcm_digest *index, uint64_t size, struct lcm_buf *out,
		      struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	char text[LCM_DIGEST_STR];
	json_t *array, *o;
	int r = len ? lcm_json_parse(p, len, LCM_MANIFEST_MAX, "referrers", &root, err) : 0;

	if (r < 0)
		return r;
	lcm_json_oom_begin();
	if (!len)
		root = json_pack("{s:i s:s s:[]}", "schemaVersion", 2, "mediaType", LIST_TYPE,
				 "manifests");
	array = json_object_get(root, "manifests");
	if (len && !json_is_array(array))
		return lcm_err_set(err, -EUCLEAN, "referrers: manifests is no array");
	if (listed(array, lcm_digest_str(index, text)))
		return 0;
	o = descriptor_json(MANIFEST_TYPE, index, size);
	(void)json_object_set_new(o, "artifactType", json_string(kinds[kind].artifact));
	(void)json_array_append_new(array, o);
	r = dump(root, out);
	return r < 0 ? r : 1;
}
