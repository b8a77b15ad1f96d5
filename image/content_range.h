/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content_range.h - Content-Range and Retry-After field values.
 *
 * Layer: image. Pure parsers of hostile bytes. Sources: RFC 9110 s. 14.4
 * (Content-Range), 10.2.3 (Retry-After), 5.6.7 (HTTP-date).
 */
#ifndef LCM_CONTENT_RANGE_H
#define LCM_CONTENT_RANGE_H

#include "src/base/base.h"

struct lcm_content_range {
	bool has_range; /* false: "bytes *" "/size" of a 416 reply */
	bool has_size;  /* false: "bytes a-b/" "*" */
	uint64_t first,
	    last;      /* offsets of the first and the last byte; first <= last < UINT64_MAX */
	uint64_t size; /* complete length in bytes; last < size */
};

/**
 * lcm_content_range_parse - "bytes a-b/size", "bytes a-b/" "*", "bytes *" "/size"
 * @s:  field value without name and CRLF; need not be NUL-terminated
 *
 * Return: 0; -EINVAL (grammar, other unit, last < first, last >= size, neither range nor size,
 * beyond 64 bits). Thread: any.
 */
LCM_MUST_USE int lcm_content_range_parse(const char *s, size_t len, struct lcm_content_range *ret);

/* The longest pause a server may ask for: a day. */
#define LCM_RETRY_AFTER_MAX_S 86400U

/**
 * lcm_retry_after_parse - seconds to wait from delay-seconds or an HTTP-date
 * @now_s: seconds since 1970 that a date is compared with (the reply's own Date when it has one)
 * @ret_s: seconds, 0 .. LCM_RETRY_AFTER_MAX_S (longer ones are cut); 0 for a date that has passed
 *
 * Return: 0; -EINVAL (neither form). Thread: any.
 */
LCM_MUST_USE int lcm_retry_after_parse(const char *s, size_t len, int64_t now_s, uint32_t *ret_s);

#endif
