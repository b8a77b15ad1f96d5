/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.h - configuration files in YAML, as the tree that JSON would be.
 *
 * Layer: image. Pure. One document; no anchors, aliases or tags, no key twice. A plain scalar that
 * YAML 1.1 takes for null, a boolean or a number is one, everything else a string. Threads: any.
 * Source: YAML 1.1; libyaml.
 */
#ifndef LCM_YAML_H
#define LCM_YAML_H

#include <jansson.h>

#include "src/base/err.h"

/**
 * lcm_yaml_parse - parse a document whose root is a mapping; one that begins with '{' as JSON
 * @what: names the file in texts
 * @ret: owned by the caller
 * Return: 0; -EUCLEAN (text: line and reason); -EFBIG (over @max bytes); -ENOMEM.
 */
LCM_MUST_USE int lcm_yaml_parse(const char *p, size_t len, size_t max, const char *what,
				json_t **ret, struct lcm_err *err);

#endif
