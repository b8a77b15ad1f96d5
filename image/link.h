/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - Link field values.
 *
 * Layer: image. Pure parser of hostile bytes. Source: RFC 8288 s. 3; OCI Distribution Spec v1.1
 * "Listing Referrers". Threads: any.
 */
#ifndef LCM_LINK_H
#define LCM_LINK_H

#include "src/base/base.h"

#define LCM_LINK_QUERY_MAX 1024U

/**
 * lcm_link_next - where the next page of a list is: the query of the target whose relation is
 * "next"
 *
 * Only the query counts: a page is asked of the host and by the path that the list was asked of.
 * @s:   field value; need not be NUL-terminated
 * @ret: gets the query without "?", 1 .. LCM_LINK_QUERY_MAX visible characters, none of them "#"
 *
 * Return: 0; -ENOENT (no such link, or its target has no query); -EINVAL (grammar; an over-long
 * query).
 */
LCM_MUST_USE int lcm_link_next(const char *s, size_t len, char ret[LCM_LINK_QUERY_MAX + 1]);

#endif
