/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_wire.h - a JSON tree as bytes that need no parser: how an isolated function says what it has
 * read.
 *
 * Layer: image. Pure; within one machine. A value is a byte that says its kind; then an integer (8
 * bytes), a real (8), a string (length, bytes), an array (count, values) or an object (count, and
 * for each member a length, a key, a value). Lengths and counts are 32 bits, all numbers are the
 * machine's. Threads: any.
 */
#ifndef LCM_JSON_WIRE_H
#define LCM_JSON_WIRE_H

#include "image/json.h"
#include "src/base/buf.h"

/* Bytes of any document of @len bytes that lcm_json_parse() takes: what a value needs more than
 * text. */
#define LCM_JSON_WIRE_MAX(len) ((uint64_t)(len) + (uint64_t)LCM_JSON_VALUES_MAX * 16)

/** lcm_json_wire_put - add @v to @out. Return: 0; -EFBIG (over the maximum of @out); -ENOMEM. */
LCM_MUST_USE int lcm_json_wire_put(const json_t *v, struct lcm_buf *out);

/**
 * lcm_json_wire_get - read what lcm_json_wire_put() has written, or somebody who says so
 * @p: all of it is one object; may not change meanwhile
 * @ret: owned by the caller, json_decref(); a tree that lcm_json_parse() could have returned
 *
 * Return: 0; -EPROTO (anything else, also a key given twice, bad UTF-8, a NUL, more values or
 * levels than lcm_json_parse() takes); -ENOMEM.
 */
LCM_MUST_USE int lcm_json_wire_get(const void *p, size_t len, json_t **ret);

#endif
