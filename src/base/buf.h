/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - growable byte buffer with a hard maximum.
 *
 * Layer: base. Invariants: len <= cap, len <= max; when data is not NULL the
 * byte after len is NUL, so data may be used as a string. Threads: one owner.
 */
#ifndef LCM_BUF_H
#define LCM_BUF_H

#include "src/base/base.h"

struct lcm_buf {
	char *data; /* owned; NULL when nothing was added yet */
	size_t len; /* bytes used */
	size_t cap; /* bytes allocated, NUL not counted */
	size_t max; /* bytes it may ever hold; 0 means nothing may be added */
};

#define LCM_BUF(max_bytes) ((struct lcm_buf){ .max = (max_bytes) })

/** lcm_buf_fini - free the bytes; the buffer is empty and keeps its maximum. */
void lcm_buf_fini(struct lcm_buf *b);
/** lcm_buf_reserve - room for @more bytes. Return: 0, -EFBIG above max, -ENOMEM. */
LCM_MUST_USE int lcm_buf_reserve(struct lcm_buf *b, size_t more);
/** lcm_buf_add - append @len bytes. Return: as lcm_buf_reserve; nothing is added on failure. */
LCM_MUST_USE int lcm_buf_add(struct lcm_buf *b, const void *p, size_t len);
/** lcm_buf_printf - append formatted text. Return: as lcm_buf_reserve. */
LCM_MUST_USE int lcm_buf_printf(struct lcm_buf *b, const char *fmt, ...) LCM_PRINTF(2, 3);
/** lcm_buf_str - the content as a string, "" when empty; borrowed until the next change. */
const char *lcm_buf_str(const struct lcm_buf *b);
/** lcm_buf_steal - take the bytes (never NULL on success; free(3) them). NULL: out of memory. */
char *lcm_buf_steal(struct lcm_buf *b);

#define lcm_autobuf LCM_CLEANUP(lcm_buf_fini)

#endif
