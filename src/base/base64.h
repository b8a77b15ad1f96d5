/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.h - values that JSON documents carry as text.
 *
 * Layer: base. Threads: any. Source: RFC 4648 section 4, with padding, as Go's base64.StdEncoding.
 */
#ifndef LCM_BASE64_H
#define LCM_BASE64_H

#include "src/base/err.h"

/** lcm_base64 - decode @len characters; @out has room for @len / 4 * 3 bytes. Return: bytes,
 * -EUCLEAN. */
LCM_MUST_USE long lcm_base64(const char *s, size_t len, uint8_t *out);
/** lcm_base64_encode - @out: @cap bytes, of which (@len + 2) / 3 * 4 + 1 are used; "" when they are
 * not there. */
void lcm_base64_encode(const void *p, size_t len, char *out, size_t cap);

#endif
