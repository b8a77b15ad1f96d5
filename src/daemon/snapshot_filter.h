/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_filter.h - containerd's filters on snapshots.
 *
 * Layer: daemon. Pure. Source: containerd pkg/filters/parser.go.
 */
#ifndef LCM_SNAPSHOT_FILTER_H
#define LCM_SNAPSHOT_FILTER_H

#include <jansson.h>

#include "src/base/base.h"

/**
 * lcm_snapshot_filter - may a snapshot be among those that are asked for?
 * @info:    object with name, parent, kind and labels
 * @filters: array of texts, one of which must fit; NULL or empty: everything fits
 *
 * A filter is selectors joined by commas, all of which must fit: FIELD, FIELD==VALUE, FIELD!=VALUE,
 * FIELD~=REGEX; a field is name, parent, kind or labels.KEY, and a key or value may stand in double
 * quotes. What is not understood (regular expressions are not looked at) fits: the client looks
 * again.
 */
bool lcm_snapshot_filter(const json_t *info, const json_t *filters);

#endif
