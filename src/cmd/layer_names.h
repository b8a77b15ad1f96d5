/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_names.h - what was looked up in a layer store: references, and layers of them.
 *
 * Anybody's guesses count as names, so there is room for so many; what is full gives back what was
 * looked up the longest time ago, but for layers that are mounted or have users. Whoever still has
 * the id of what is gone is told so, and looks it up again. Layer: cmd. Threads: any.
 */
#ifndef LCM_LAYER_NAMES_H
#define LCM_LAYER_NAMES_H

#include "src/cmd/layer_mount.h"

#define LAYER_NAMES_MAX 65536U /* what an id has room for */

struct layer_names;

/** layer_names_new - with room for @refs and @layers, each 1 to LAYER_NAMES_MAX. NULL: out of
 * memory. */
struct layer_names *layer_names_new(uint32_t refs, uint32_t layers);
/** layer_names_free - no layer is held any more. */
void layer_names_free(struct layer_names *n);
/** layer_names_ref - @name: base64 of a reference. *ret: its id, never 0 and below 2^60, that
 * nothing else ever has. Return: 0; -ENOENT (no reference), -ENOMEM. */
LCM_MUST_USE int layer_names_ref(struct layer_names *n, const char *name, uint64_t *ret);
/** layer_names_layer - @name: a digest, below the reference with the id @ref. *ret as above.
 * Return: 0; -ENOENT (no digest), -ESTALE (@ref is gone), -ENOSPC (all layers are in use),
 * -ENOMEM. */
LCM_MUST_USE int layer_names_layer(struct layer_names *n, uint64_t ref, const char *name,
				   uint64_t *ret);
/** layer_names_hold - the layer with that id, which stays until layer_names_drop(); NULL: gone. */
struct layer_mount *layer_names_hold(struct layer_names *n, uint64_t id);
void layer_names_drop(struct layer_names *n, uint64_t id);

#endif
