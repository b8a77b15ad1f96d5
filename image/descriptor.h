/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptor.h - descriptors in JSON that other parsers of this room have in hand.
 *
 * Layer: image; private. Source: OCI Image Spec v1.1 descriptor.md.
 */
#ifndef LCM_DESCRIPTOR_H
#define LCM_DESCRIPTOR_H

#include "image/json.h"
#include "image/manifest.h"

/**
 * lcm_descriptor_parse - media type, digest, size, annotations and data
 * @obj: may be NULL or anything; @what names it in error texts
 * @d: zeroed; on failure it may be half filled, lcm_descriptor_fini() copes
 * Return: 0; -EUCLEAN; -ENOTSUP (digest algorithm); -ENOMEM.
 */
LCM_MUST_USE int lcm_descriptor_parse(const json_t *obj, const char *what, struct lcm_descriptor *d,
				      struct lcm_err *err);
void lcm_descriptor_fini(struct lcm_descriptor *d);

#endif
