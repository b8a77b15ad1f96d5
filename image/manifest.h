/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h - OCI and Docker schema 2 indexes, manifests and configs.
 *
 * Layer: image. Pure parsers of hostile bytes. Sources: OCI Image Spec v1.1
 * (descriptor.md, image-index.md, manifest.md, config.md); Docker Image
 * Manifest V2, Schema 2. Threads: results are immutable, any thread may read.
 */
#ifndef LCM_MANIFEST_H
#define LCM_MANIFEST_H

#include "src/base/digest.h"
#include "src/base/limits.h"

struct lcm_annotation {
	char *key, *value; /* owned */
};

/* A platform as GOOS/GOARCH; variant "" when none. */
struct lcm_platform {
	char os[32], arch[32], variant[32];
};

enum lcm_media {
	LCM_MEDIA_UNKNOWN,
	LCM_MEDIA_INDEX, /* OCI index or Docker manifest list */
	LCM_MEDIA_MANIFEST,
	LCM_MEDIA_CONFIG,
	LCM_MEDIA_LAYER_TAR,
	LCM_MEDIA_LAYER_GZIP,
	LCM_MEDIA_LAYER_ZSTD,
};

struct lcm_descriptor {
	enum lcm_media media;
	char *media_type; /* owned, as written */
	struct lcm_digest digest;
	uint64_t size;                      /* bytes */
	struct lcm_annotation *annotations; /* owned */
	size_t n_annotations;
	struct lcm_platform platform; /* index entries only; os "" when absent */
	uint8_t
	    *data; /* owned; the whole content, embedded and of that digest and size; NULL: none */
};

/** lcm_descriptor_annotation - value of @key, or NULL. */
const char *lcm_descriptor_annotation(const struct lcm_descriptor *d, const char *key);

struct lcm_manifest {
	enum lcm_media media;          /* LCM_MEDIA_INDEX or LCM_MEDIA_MANIFEST */
	struct lcm_descriptor config;  /* manifests */
	struct lcm_descriptor *layers; /* manifests: bottom first; indexes: the manifests */
	size_t n_layers;
};

/**
 * lcm_manifest_parse - parse an index or a manifest
 * @content_type: from the HTTP reply, may be NULL; the document's own mediaType wins and must not
 * contradict it Return: 0; -EUCLEAN (malformed; text names the field); -ENOTSUP (media type, schema
 * 1, artifact; text names it); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_manifest_parse(const void *p, size_t len, const char *content_type,
				    struct lcm_manifest **ret, struct lcm_err *err);
void lcm_manifest_free(struct lcm_manifest *m);
LCM_DEFINE_AUTO(lcm_manifest)

/** lcm_platform_host - this machine's (linux/amd64, linux/arm64 v8, linux/arm v7, …). */
void lcm_platform_host(struct lcm_platform *ret);
/** lcm_platform_parse - "os/arch[/variant]". Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_platform_parse(const char *s, struct lcm_platform *ret);
/**
 * lcm_manifest_select - the index entry for @want, variants as containerd matches them (arm64 =
 * arm64/v8, lower arm variants run) Return: 0; -ENOEXEC when none fits (text lists what there is).
 */
LCM_MUST_USE int lcm_manifest_select(const struct lcm_manifest *index,
				     const struct lcm_platform *want,
				     const struct lcm_descriptor **ret, struct lcm_err *err);

/**
 * lcm_manifest_nested - the index entries that are indexes themselves, of no platform or one that
 * @want can use: where lcm_manifest_select() finds nothing, it may find something in them
 * @at: 0 at first
 * Return: the next one, borrowed; NULL: no more.
 */
const struct lcm_descriptor *lcm_manifest_nested(const struct lcm_manifest *index,
						 const struct lcm_platform *want, size_t *at);

/* Image config: what a runtime bundle needs, and the diffIDs. */
struct lcm_image_config {
	struct lcm_platform platform;
	struct lcm_digest *diffids; /* owned; bottom first */
	size_t n_diffids;
	char **env, **entrypoint, **cmd;        /* owned, NULL-terminated, never NULL themselves */
	char *user, *working_dir, *stop_signal; /* owned, "" when absent */
};

/** lcm_image_config_parse - Return: as lcm_manifest_parse(). The rootfs type must be "layers". */
LCM_MUST_USE int lcm_image_config_parse(const void *p, size_t len, struct lcm_image_config **ret,
					struct lcm_err *err);
void lcm_image_config_free(struct lcm_image_config *c);
LCM_DEFINE_AUTO(lcm_image_config)

#endif
