/* SPDX-License-Identifier: Apache-2.0 */
#include "image/soci_index.h"

#include <stdio.h>
#include <string.h>

#include "image/descriptor.h"

#define INDEX_KEY "com.amazon.soci.index-digest"
#define LAYER_KEY "com.amazon.soci.image-layer-digest"
#define NO_XATTRS_KEY "com.amazon.soci.disable-xattrs"
#define ZTOC_TYPE "application/octet-stream"
#define WHAT "SOCI index"

void lcm_soci_index_free(struct lcm_soci_index *x)
{
	if (!x)
		return;
	free(x->layers);
	free(x);
}

const struct lcm_soci_layer *lcm_soci_index_layer(const struct lcm_soci_index *x,
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

static int layer_add(struct lcm_soci_index *x, const struct lcm_descriptor *d, const char *what,
		     struct lcm_err *err)
{
	const char *layer = lcm_descriptor_annotation(d, LAYER_KEY);
	const char *no_xattrs = lcm_descriptor_annotation(d, NO_XATTRS_KEY);
	struct lcm_soci_layer l = {
		.ztoc = d->digest,
		.ztoc_size = d->size,
		.no_xattrs = no_xattrs && strcmp(no_xattrs, "true") == 0,
	};
	int r;

	if (strcmp(d->media_type, ZTOC_TYPE) != 0)
		return 0;
	if (!layer)
		return lcm_err_set(err, -EUCLEAN, "%s: no annotation " LAYER_KEY, what);
	r = digest_of(layer, what, LAYER_KEY, &l.layer, err);
	if (r < 0)
		return r;
	if (d->size < 1)
		return lcm_err_set(err, -EUCLEAN, "%s: a zTOC of no bytes", what);
	if (lcm_soci_index_layer(x, &l.layer))
		return lcm_err_set(err, -EUCLEAN, "%s: a second zTOC for layer %s", what, layer);
	x->layers[x->n_layers++] = l;
	return 0;
}

static int layers_parse(const json_t *root, struct lcm_soci_index *x, struct lcm_err *err)
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

static unsigned int version_of(const char *type)
{
	return strcmp(type, LCM_SOCI_V1) == 0 ? 1 : strcmp(type, LCM_SOCI_V2) == 0 ? 2 : 0;
}

/* SOCI writes no artifactType, oras may: the config's media type stands for it. */
static int version_parse(const json_t *root, unsigned int *ret, struct lcm_err *err)
{
	const json_t *config = lcm_json_member(root, "config");
	const char *artifact, *media = "";
	int r = lcm_json_string(root, "artifactType", WHAT, &artifact, err);

	if (r == 0 && json_is_object(config))
		r = lcm_json_string(config, "mediaType", WHAT ": config", &media, err);
	if (r < 0)
		return r;
	*ret = version_of(artifact);
	if (!*ret)
		*ret = version_of(media);
	if (!*ret)
		return lcm_err_set(err, -ENOTSUP, WHAT ": not one of version 1 or 2, but %.120s",
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

int lcm_soci_index_parse(const void *p, size_t len, struct lcm_soci_index **ret,
			 struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	lcm_auto(lcm_soci_index) x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	r = lcm_json_parse(p, len, LCM_MANIFEST_MAX, WHAT, &root, err);
	if (r == 0)
		r = version_parse(root, &x->version, err);
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

int lcm_soci_find(const void *p, size_t len, struct lcm_digest *ret, struct lcm_err *err)
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

int lcm_soci_referrer(const void *p, size_t len, struct lcm_digest *ret, uint64_t *ret_size,
		      struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	const json_t *array;
	int r = lcm_json_parse(p, len, LCM_MANIFEST_MAX, "referrers", &root, err);

	if (r < 0)
		return r;
	array = lcm_json_member(root, "manifests");
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *obj = json_array_get(array, i);
		LCM_CLEANUP(lcm_descriptor_fini) struct lcm_descriptor d = { 0 };
		const char *type;

		r = lcm_json_string(obj, "artifactType", "referrers", &type, err);
		if (r < 0)
			return r;
		if (version_of(type) != 1)
			continue;
		r = lcm_descriptor_parse(obj, "referrers: SOCI index", &d, err);
		if (r < 0)
			return r;
		*ret = d.digest;
		*ret_size = d.size;
		return 1;
	}
	return 0;
}
