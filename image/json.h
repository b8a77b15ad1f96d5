/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - small JSON documents from outside, bounded before jansson sees them.
 *
 * Layer: image. Pure. jansson recurses up to 2048 levels and takes any number
 * of values; depth and count are checked by a scan first. Duplicate keys are
 * refused: tools disagree about which one counts (RFC 8259 s. 4).
 * Error texts give positions and member names, never content: it may be secret.
 */
#ifndef LCM_JSON_H
#define LCM_JSON_H

#include <jansson.h>

#include "src/base/base.h"
#include "src/base/err.h"

/* Values in one document: 500 layers with 40 annotations each are 45,000 strings. */
#define LCM_JSON_VALUES_MAX 65536U

/**
 * lcm_json_parse - parse a document whose root is an object
 * @max:  bytes; more is -EFBIG
 * @what: names the document in error texts: "manifest"
 * @ret:  owned by the caller, json_decref()
 *
 * Return: 0; -EUCLEAN; -EFBIG (size, depth over LCM_JSON_DEPTH_MAX, count); -ENOMEM.
 */
LCM_MUST_USE int lcm_json_parse(const void *p, size_t len, size_t max, const char *what,
				json_t **ret, struct lcm_err *err);

/**
 * lcm_json_string - string member @key of @obj
 * @ret: borrowed from @obj; "" when the member is absent or null
 *
 * Return: 0; -EUCLEAN (another type; text is "@what: @key ...").
 */
LCM_MUST_USE int lcm_json_string(const json_t *obj, const char *key, const char *what,
				 const char **ret, struct lcm_err *err);

/** lcm_json_member - member @key, or NULL when it is absent or null. */
json_t *lcm_json_member(const json_t *obj, const char *key);

/** lcm_json_is_plain - no control characters (bytes below 0x20, 0x7f) in @s. */
bool lcm_json_is_plain(const char *s);

/**
 * lcm_json_text - a JSON string of any bytes: what is not UTF-8 (RFC 3629) becomes U+FFFD
 *
 * Names in images are bytes, and texts may be cut anywhere; jansson dumps nothing at all of a tree
 * with one bad string. Return: a new reference, or NULL: out of memory.
 */
json_t *lcm_json_text(const char *s);

/** lcm_json_text_of - @root as compact text; owned by the caller. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_json_text_of(const json_t *root, char **ret);

/**
 * lcm_json_oom_begin, lcm_json_oom_end - did an allocation of jansson fail in this thread in
 * between?
 *
 * jansson reports it as bad syntax or a failed call, at worst not at all. Whoever builds or
 * dumps trees brackets that with these two; lcm_json_parse() does it by itself.
 */
void lcm_json_oom_begin(void);
bool lcm_json_oom_end(void);

static inline void lcm_json_unrefp(json_t **p)
{
	json_decref(*p);
}
#define lcm_autojson LCM_CLEANUP(lcm_json_unrefp)

#endif
