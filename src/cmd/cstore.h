/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cstore.h - an additional image store as podman, CRI-O and buildah read it.
 *
 * A directory in the layout of containers-storage's overlay driver. Each image has one layer, whose
 * "diff" is a directory for a read-only mount of the whole image; these tools put their own overlay
 * on it. They only read; one process at a time writes (locked by flock(2) on DIR/locum.lock), files
 * first, then layers.json, then images.json, each replaced at once.
 *
 *   overlay/LAYER/{diff/,link}          overlay/l/LINK -> ../LAYER/diff
 *   overlay-layers/layers.{json,lock}   overlay-images/images.{json,lock}
 *   overlay-images/IMAGE/{manifest,=base64(name)}
 *
 * Layer: cmd. Threads: one. Source: containers/storage drivers/overlay, layers.go, images.go
 * (1.43 to 1.59); storage.conf(5) "additionalimagestores".
 */
#ifndef LCM_CSTORE_H
#define LCM_CSTORE_H

#include <jansson.h>

#include "src/base/err.h"

struct lcm_cstore {
	const char *dir;         /* borrowed; absolute */
	int lock;                /* owned */
	json_t *images, *layers; /* owned arrays, as in the files */
};

/** lcm_cstore_open - lock and read it, made when it is missing. Return: 0; -EUCLEAN (a file is not
 * what it should be; text names it); -errno. */
LCM_MUST_USE int lcm_cstore_open(const char *dir, struct lcm_cstore *ret, struct lcm_err *err);
void lcm_cstore_close(struct lcm_cstore *c);

#define LCM_CSTORE_LAYER (64 + 1)

/** lcm_cstore_new_layer - a new layer's id and its empty "diff" (free(3) it), where the image is to
 * be mounted. Return: 0, -errno (text). */
LCM_MUST_USE int lcm_cstore_new_layer(struct lcm_cstore *c, char layer[LCM_CSTORE_LAYER],
				      char **ret_diff, struct lcm_err *err);
/** lcm_cstore_drop_layer - its directory below @dir, which must not be a mount point any more. */
void lcm_cstore_drop_layer(const char *dir, const char *layer);

struct lcm_cstore_image {
	const char *name;              /* canonical reference */
	const char *config, *manifest; /* as served */
	uint64_t bytes;
};
/** lcm_cstore_add - the image appears, on @layer; its name leaves the image that had it. Return: 0;
 * -EEXIST (the very image is there under this name); -errno (text). */
LCM_MUST_USE int lcm_cstore_add(struct lcm_cstore *c, const char *layer,
				const struct lcm_cstore_image *img, struct lcm_err *err);
/** lcm_cstore_find - an image by one of its names, or by 12 or more digits of its id. Borrowed;
 * NULL: there is none. */
json_t *lcm_cstore_find(const struct lcm_cstore *c, const char *name);
/** lcm_cstore_layer - the layer of an image; borrowed. */
const char *lcm_cstore_layer(const json_t *image);
/** lcm_cstore_in_use - is any overlay mounted on @layer, as far as any process sees? Return: 1; 0,
 * when all could be looked at; -errno (text names what could not). */
LCM_MUST_USE int lcm_cstore_in_use(const char *layer, struct lcm_err *err);
/** lcm_cstore_remove - it disappears; its layer is the caller's to unmount and drop. Return: 0,
 * -errno (text). */
LCM_MUST_USE int lcm_cstore_remove(struct lcm_cstore *c, json_t *image, struct lcm_err *err);

#endif
