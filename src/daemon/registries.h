/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registries.h - the hosts of each registry, for the control API and for metrics.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_REGISTRIES_H
#define LCM_REGISTRIES_H

#include <jansson.h>

#include "registry/registry.h"

/** lcm_registries_json - an array as GET /v1/registries has it; owned by the caller; NULL: out of
 * memory. */
json_t *lcm_registries_json(struct lcm_registry *r);

#endif
