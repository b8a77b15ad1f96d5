/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/descriptor.h"
#include "src/base/base64.h"

#define MEDIA_TYPE_LEN_MAX 255 /* RFC 6838 s. 4.2: 127 + "/" + 127 */
#define WHAT_MAX 48

static const struct {
	const char *name;
	enum lcm_media media;
} media_types[] = {
	{ "application/vnd.oci.image.index.v1+json", LCM_MEDIA_INDEX },
	{ "application/vnd.docker.distribution.manifest.list.v2+json", LCM_MEDIA_INDEX },
	{ "application/vnd.oci.image.manifest.v1+json", LCM_MEDIA_MANIFEST },
	{ "application/vnd.docker.distribution.manifest.v2+json", LCM_MEDIA_MANIFEST },
	{ "application/vnd.oci.image.config.v1+json", LCM_MEDIA_CONFIG },
	{ "application/vnd.docker.container.image.v1+json", LCM_MEDIA_CONFIG },
	{ "application/vnd.oci.image.layer.v1.tar", LCM_MEDIA_LAYER_TAR },
	{ "application/vnd.docker.image.rootfs.diff.tar", LCM_MEDIA_LAYER_TAR },
	{ "application/vnd.oci.image.layer.v1.tar+gzip", LCM_MEDIA_LAYER_GZIP },
	{ "application/vnd.docker.image.rootfs.diff.tar.gzip", LCM_MEDIA_LAYER_GZIP },
	{ "application/vnd.oci.image.layer.v1.tar+zstd", LCM_MEDIA_LAYER_ZSTD },
	{ "application/vnd.docker.image.rootfs.diff.tar.zstd", LCM_MEDIA_LAYER_ZSTD },
	/* Not every registry has these; where it does they are layers like any other. */
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar", LCM_MEDIA_LAYER_TAR },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LCM_MEDIA_LAYER_GZIP },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", LCM_MEDIA_LAYER_ZSTD },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar", LCM_MEDIA_LAYER_TAR },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LCM_MEDIA_LAYER_GZIP },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", LCM_MEDIA_LAYER_ZSTD },
};

/* What a static file server or a careless proxy puts there: says nothing about the document. */
static const char *const generic_types[] = {
	"application/json",
	"application/octet-stream",
	"binary/octet-stream",
	"text/plain",
};

static enum lcm_media media_of(const char *type)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(media_types); i++)
		if (strcmp(type, media_types[i].name) == 0)
			return media_types[i].media;
	return LCM_MEDIA_UNKNOWN;
}

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

const char *lcm_descriptor_annotation(const struct lcm_descriptor *d, const char *key)
{
	for (size_t i = 0; i < d->n_annotations; i++)
		if (strcmp(d->annotations[i].key, key) == 0)
			return d->annotations[i].value;
	return NULL;
}

void lcm_descriptor_fini(struct lcm_descriptor *d)
{
	for (size_t i = 0; i < d->n_annotations; i++) {
		free(d->annotations[i].key);
		free(d->annotations[i].value);
	}
	free(d->annotations);
	free(d->media_type);
	free(d->data);
}

void lcm_manifest_free(struct lcm_manifest *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_layers; i++)
		lcm_descriptor_fini(&m->layers[i]);
	free(m->layers);
	lcm_descriptor_fini(&m->config);
	free(m);
}

static int parse_annotations(const json_t *obj, const char *what, struct lcm_descriptor *d,
			     struct lcm_err *err)
{
	json_t *map = lcm_json_member(obj, "annotations"), *value;
	const char *key;

	if (!map)
		return 0;
	if (!json_is_object(map))
		return lcm_err_set(err, -EUCLEAN, "%s: annotations is not an object", what);
	d->annotations = calloc(json_object_size(map) + 1, sizeof(*d->annotations));
	if (!d->annotations)
		return -ENOMEM;
	json_object_foreach (map, key, value) {
		struct lcm_annotation *a = &d->annotations[d->n_annotations];

		if (!json_is_string(value))
			return lcm_err_set(err, -EUCLEAN,
					   "%s: annotation \"%.128s\" is not a string", what, key);
		d->n_annotations++;
		a->key = strdup(key);
		a->value = strdup(json_string_value(value));
		if (!a->key || !a->value)
			return -ENOMEM;
	}
	return 0;
}

static int platform_member(const json_t *obj, const char *key, const char *what, char out[32],
			   struct lcm_err *err)
{
	const char *s;
	int r = lcm_json_string(obj, key, what, &s, err);

	if (r < 0)
		return r;
	if (strlen(s) >= 32 || !lcm_json_is_plain(s))
		return lcm_err_set(err, -EUCLEAN,
				   "%s: platform %s is over 31 bytes or has control characters",
				   what, key);
	memcpy(out, s, strlen(s) + 1);
	return 0;
}

static int parse_platform(const json_t *obj, const char *what, struct lcm_platform *p,
			  struct lcm_err *err)
{
	const json_t *o = lcm_json_member(obj, "platform");
	int r;

	if (!o)
		return 0;
	if (!json_is_object(o))
		return lcm_err_set(err, -EUCLEAN, "%s: platform is not an object", what);
	r = platform_member(o, "os", what, p->os, err);
	if (r == 0)
		r = platform_member(o, "architecture", what, p->arch, err);
	if (r == 0)
		r = platform_member(o, "variant", what, p->variant, err);
	if (r == 0 && (!p->os[0] || !p->arch[0]))
		r = lcm_err_set(err, -EUCLEAN, "%s: platform without os or architecture", what);
	return r;
}

static int parse_size(const json_t *obj, const char *what, uint64_t *ret, struct lcm_err *err)
{
	const json_t *v = lcm_json_member(obj, "size");

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return lcm_err_set(err, -EUCLEAN, "%s: size is missing or not a number of bytes",
				   what);
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

static int parse_digest(const json_t *obj, const char *what, struct lcm_digest *ret,
			struct lcm_err *err)
{
	const char *s;
	int r = lcm_json_string(obj, "digest", what, &s, err);

	if (r < 0)
		return r;
	r = lcm_digest_parse(s, strlen(s), ret);
	if (r == -ENOTSUP)
		return lcm_err_set(
		    err, r, "%s: digest algorithm of \"%.40s\" is not supported, only sha256 is",
		    what, s);
	if (r < 0)
		return lcm_err_set(err, -EUCLEAN,
				   "%s: digest \"%.80s\" is not \"sha256:\" and 64 hex digits",
				   what, s);
	return 0;
}

static int parse_media_type(const json_t *obj, const char *what, struct lcm_descriptor *d,
			    struct lcm_err *err)
{
	const char *s;
	int r = lcm_json_string(obj, "mediaType", what, &s, err);

	if (r < 0)
		return r;
	if (!*s || strlen(s) > MEDIA_TYPE_LEN_MAX || !lcm_json_is_plain(s))
		return lcm_err_set(
		    err, -EUCLEAN,
		    "%s: mediaType is missing, over %d bytes or has control characters", what,
		    MEDIA_TYPE_LEN_MAX);
	d->media = media_of(s);
	d->media_type = strdup(s);
	return d->media_type ? 0 : -ENOMEM;
}

/* descriptor.md: "data": "The decoded data MUST be identical to the referenced content". */
static int parse_data(const json_t *obj, const char *what, struct lcm_descriptor *d,
		      struct lcm_err *err)
{
	struct lcm_digest got;
	const char *s;
	long n;
	int r = lcm_json_string(obj, "data", what, &s, err);

	if (r < 0 || !*s)
		return r;
	d->data = malloc(strlen(s) + 1);
	if (!d->data)
		return -ENOMEM;
	n = lcm_base64(s, strlen(s), d->data);
	if (n < 0)
		return lcm_err_set(err, -EUCLEAN, "%s: data is not base64", what);
	r = lcm_digest_of(d->data, (size_t)n, &got);
	if (r < 0)
		return r;
	if ((uint64_t)n != d->size || !lcm_digest_equal(&got, &d->digest))
		return lcm_err_set(err, -EUCLEAN, "%s: data is not what its size and digest say",
				   what);
	return 0;
}

int lcm_descriptor_parse(const json_t *obj, const char *what, struct lcm_descriptor *d,
			 struct lcm_err *err)
{
	int r;

	if (!json_is_object(obj))
		return lcm_err_set(err, -EUCLEAN, "%s: missing or not a descriptor", what);
	r = parse_media_type(obj, what, d, err);
	if (r == 0)
		r = parse_digest(obj, what, &d->digest, err);
	if (r == 0)
		r = parse_size(obj, what, &d->size, err);
	if (r == 0)
		r = parse_annotations(obj, what, d, err);
	if (r == 0)
		r = parse_data(obj, what, d, err);
	return r;
}

static int parse_config_descriptor(const json_t *root, struct lcm_manifest *m, struct lcm_err *err)
{
	const char *artifact;
	int r = lcm_descriptor_parse(lcm_json_member(root, "config"), "manifest: config",
				     &m->config, err);

	if (r < 0)
		return r;
	r = lcm_json_string(root, "artifactType", "manifest", &artifact, err);
	if (r < 0)
		return r;
	if (m->config.media != LCM_MEDIA_CONFIG)
		return lcm_err_set(err, -ENOTSUP,
				   "manifest: an artifact (%.120s), not a container image: its "
				   "config has media type %.255s",
				   *artifact ? artifact : "no artifactType", m->config.media_type);
	if (m->config.size == 0 || m->config.size > LCM_CONFIG_MAX)
		return lcm_err_set(
		    err, -EFBIG, "manifest: config: size %" PRIu64 " is not within 1 and %u bytes",
		    m->config.size, LCM_CONFIG_MAX);
	return 0;
}

static int check_layer(const struct lcm_descriptor *d, const char *what, uint64_t *total,
		       struct lcm_err *err)
{
	const char *kind = "is not supported: tar, tar+gzip and tar+zstd are";

	switch (d->media) {
	case LCM_MEDIA_LAYER_TAR:
	case LCM_MEDIA_LAYER_GZIP:
	case LCM_MEDIA_LAYER_ZSTD:
		break;
	default:
		if (strstr(d->media_type, "+encrypted"))
			kind = "is encrypted; not supported";
		return lcm_err_set(err, -ENOTSUP, "%s: media type %.255s %s", what, d->media_type,
				   kind);
	}
	if (d->size == 0)
		return lcm_err_set(err, -EUCLEAN, "%s: size 0, a layer has at least one byte",
				   what);
	if (__builtin_add_overflow(*total, d->size, total) || *total > INT64_MAX)
		return lcm_err_set(err, -EUCLEAN,
				   "%s: the sizes of the layers add up to more than 2^63 bytes",
				   what);
	return 0;
}

/* The array @key of descriptors into m->layers: the layers of a manifest, or the manifests of an
 * index. */
static int parse_array(const json_t *root, const char *key, struct lcm_manifest *m,
		       struct lcm_err *err)
{
	const json_t *array = lcm_json_member(root, key);
	uint64_t total = 0;
	char what[WHAT_MAX];
	int r = 0;

	if (!json_is_array(array))
		return lcm_err_set(err, -EUCLEAN, "manifest: %s is missing or not an array", key);
	if (m->media == LCM_MEDIA_MANIFEST && json_array_size(array) == 0)
		return lcm_err_set(err, -ENOTSUP, "manifest: no layers, there is nothing to run");
	if (m->media == LCM_MEDIA_MANIFEST && json_array_size(array) > LCM_LAYERS_MAX)
		return lcm_err_set(err, -EFBIG, "manifest: %zu layers, overlayfs takes at most %d",
				   json_array_size(array), LCM_LAYERS_MAX);
	m->layers = calloc(json_array_size(array) + 1, sizeof(*m->layers));
	if (!m->layers)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(array) && r == 0; i++) {
		const json_t *obj = json_array_get(array, i);
		struct lcm_descriptor *d = &m->layers[m->n_layers++];

		snprintf(what, sizeof(what), "manifest: %s[%zu]", key, i);
		r = lcm_descriptor_parse(obj, what, d, err);
		if (r == 0 && m->media == LCM_MEDIA_INDEX)
			r = parse_platform(obj, what, &d->platform, err);
		if (r == 0 && m->media == LCM_MEDIA_MANIFEST)
			r = check_layer(d, what, &total, err);
	}
	return r;
}

/* "type/subtype; charset=utf-8" without parameters and spaces, lower case. */
static int bare_content_type(const char *s, char out[MEDIA_TYPE_LEN_MAX + 1], struct lcm_err *err)
{
	size_t n;

	s += strspn(s, " \t");
	n = strcspn(s, "; \t");
	if (n > MEDIA_TYPE_LEN_MAX)
		return lcm_err_set(err, -EUCLEAN, "manifest: Content-Type is over %d bytes",
				   MEDIA_TYPE_LEN_MAX);
	for (size_t i = 0; i < n; i++)
		out[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
	out[n] = '\0';
	return 0;
}

static bool is_generic(const char *type)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(generic_types); i++)
		if (strcmp(type, generic_types[i]) == 0)
			return true;
	return !*type;
}

static int refuse_type(const char *type, struct lcm_err *err)
{
	if (starts_with(type, "application/vnd.docker.distribution.manifest.v1"))
		return lcm_err_set(err, -ENOTSUP,
				   "manifest: Docker schema 1 is not supported; push the image "
				   "again with a current tool");
	if (strcmp(type, "application/vnd.oci.artifact.manifest.v1+json") == 0)
		return lcm_err_set(err, -ENOTSUP,
				   "manifest: %s is an artifact, not a container image", type);
	return lcm_err_set(err, -ENOTSUP,
			   "manifest: media type %.255s is not an image manifest or index", type);
}

/* image-spec manifest.md: "clients SHOULD [...] verify that the mediaType matches the
 * Content-Type". */
static int decide_media(const json_t *root, const char *content_type, enum lcm_media *ret,
			struct lcm_err *err)
{
	char header[MEDIA_TYPE_LEN_MAX + 1] = "";
	const char *type;
	enum lcm_media media;
	int r = content_type ? bare_content_type(content_type, header, err) : 0;

	if (r == 0)
		r = lcm_json_string(root, "mediaType", "manifest", &type, err);
	if (r < 0)
		return r;
	if (*type && !is_generic(header) && strcmp(type, header) != 0)
		return lcm_err_set(err, -EUCLEAN,
				   "manifest: mediaType %.200s contradicts Content-Type %.200s",
				   type, header);
	if (!*type && !is_generic(header))
		type = header;
	if (*type) {
		media = media_of(type);
		if (media != LCM_MEDIA_INDEX && media != LCM_MEDIA_MANIFEST)
			return refuse_type(type, err);
		*ret = media;
		return 0;
	}
	*ret = lcm_json_member(root, "manifests") ? LCM_MEDIA_INDEX : LCM_MEDIA_MANIFEST;
	return 0;
}

/* A document that is both would be read as one by some tools and as the other by the rest
 * (CVE-2021-41190). */
static int check_shape(const json_t *root, enum lcm_media media, struct lcm_err *err)
{
	static const char *const not_in_index[] = { "config", "layers", "fsLayers", "history" };
	static const char *const not_in_manifest[] = { "manifests", "fsLayers", "history" };
	bool index = media == LCM_MEDIA_INDEX;
	const char *const *keys = index ? not_in_index : not_in_manifest;
	size_t n = index ? LCM_ARRAY_SIZE(not_in_index) : LCM_ARRAY_SIZE(not_in_manifest);

	for (size_t i = 0; i < n; i++)
		if (json_object_get(root, keys[i]))
			return lcm_err_set(
			    err, -EUCLEAN,
			    "manifest: %s has \"%s\", it could be taken for another kind",
			    index ? "an index" : "a manifest", keys[i]);
	return 0;
}

static int check_version(const json_t *root, struct lcm_err *err)
{
	const json_t *v = lcm_json_member(root, "schemaVersion");

	if (!json_is_integer(v))
		return lcm_err_set(err, -EUCLEAN,
				   "manifest: schemaVersion is missing or not a number");
	if (json_integer_value(v) == 1)
		return refuse_type("application/vnd.docker.distribution.manifest.v1+json", err);
	if (json_integer_value(v) != 2)
		return lcm_err_set(err, -ENOTSUP,
				   "manifest: schemaVersion %" JSON_INTEGER_FORMAT
				   " is not supported, 2 is",
				   json_integer_value(v));
	return 0;
}

int lcm_manifest_parse(const void *p, size_t len, const char *content_type,
		       struct lcm_manifest **ret, struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	lcm_auto(lcm_manifest) m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	r = lcm_json_parse(p, len, LCM_MANIFEST_MAX, "manifest", &root, err);
	if (r < 0)
		return r;
	r = decide_media(root, content_type, &m->media, err);
	if (r == 0)
		r = check_version(root, err);
	if (r == 0)
		r = check_shape(root, m->media, err);
	if (r == 0 && m->media == LCM_MEDIA_MANIFEST)
		r = parse_config_descriptor(root, m, err);
	if (r == 0)
		r = parse_array(root, m->media == LCM_MEDIA_INDEX ? "manifests" : "layers", m, err);
	if (r < 0)
		return r;
	*ret = lcm_steal(&m);
	return 0;
}
