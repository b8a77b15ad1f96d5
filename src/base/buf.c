/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void lcm_buf_fini(struct lcm_buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

int lcm_buf_reserve(struct lcm_buf *b, size_t more)
{
	size_t want, cap;
	char *p;

	if (more > b->max - b->len)
		return -EFBIG;
	want = b->len + more;
	if (b->data && want <= b->cap)
		return 0;
	cap = LCM_MAX(b->cap * 2, (size_t)64);
	cap = LCM_MIN(LCM_MAX(cap, want), b->max);
	p = realloc(b->data, cap + 1);
	if (!p)
		return -ENOMEM;
	b->data = p;
	b->cap = cap;
	b->data[b->len] = '\0';
	return 0;
}

int lcm_buf_add(struct lcm_buf *b, const void *p, size_t len)
{
	int r = lcm_buf_reserve(b, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(b->data + b->len, p, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int lcm_buf_printf(struct lcm_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = lcm_buf_reserve(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	(void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

const char *lcm_buf_str(const struct lcm_buf *b)
{
	return b->data ? b->data : "";
}

char *lcm_buf_steal(struct lcm_buf *b)
{
	char *p = b->data;

	if (!p)
		p = calloc(1, 1);
	b->data = NULL;
	b->len = b->cap = 0;
	return p;
}
