/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - from a reference to a manifest, a config and referenced layers.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_IMAGE_H
#define LCM_IMAGE_H

#include "image/manifest.h"
#include "src/daemon/image_index.h"
#include "src/daemon/layer.h"

struct lcm_image; /* one resolution; freed by lcm_image_free() */

enum lcm_image_policy {
	LCM_IMAGE_MISSING, /* what the store knows of the reference is good enough */
	LCM_IMAGE_ALWAYS,  /* ask the registry what the tag means now */
	LCM_IMAGE_NEVER,   /* only what the store knows */
};

typedef void (*lcm_image_fn)(void *arg, struct lcm_image *img, int status,
			     const struct lcm_err *err);

/**
 * lcm_image_resolve - find or fetch manifest and config, check them against each other
 * @platform: NULL: this machine's
 * @done: exactly once, on the loop, not from inside this call; on success the image's layers are
 * referenced (lcm_image_layer()), none is prepared yet Return: 0 or -errno (then @done is not
 * called).
 */
LCM_MUST_USE int lcm_image_resolve(struct lcm_engine *e, const struct lcm_reference *ref,
				   const struct lcm_platform *platform,
				   enum lcm_image_policy policy,
				   const struct lcm_index_where *where, lcm_image_fn done,
				   void *arg, struct lcm_image **ret, struct lcm_err *err);
/** lcm_image_free - drops the layers; an unfinished resolution is abandoned and @done not called.
 */
void lcm_image_free(struct lcm_image *img);

uint32_t lcm_image_n_layers(const struct lcm_image *img);
struct lcm_layer *lcm_image_layer(const struct lcm_image *img, uint32_t i); /* bottom first */
const struct lcm_digest *
lcm_image_digest(const struct lcm_image *img); /* of its manifest; borrowed */
/* Borrowed; "" before they are known. As served: for who passes them on, not for a parser. */
const char *lcm_image_config_json(const struct lcm_image *img);
const char *lcm_image_manifest_json(const struct lcm_image *img);
/** lcm_image_config_text - the config as an isolated function has read it, in text of our own. */
const char *lcm_image_config_text(const struct lcm_image *img);

/**
 * lcm_image_read_rows - have functions read what the store has from before it kept what they read
 * For the start, before the loop runs: waits. What cannot be read is logged, and as if it were not
 * there.
 */
void lcm_image_read_rows(struct lcm_engine *e);

#endif
