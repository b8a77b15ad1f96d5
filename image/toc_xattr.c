/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "image/toc_builder.h"

static bool xattr_is_overlays(const struct lcm_xattr *x)
{
	static const char *const prefix[] = { "trusted.overlay.", "user.overlay." };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(prefix); i++) {
		size_t n = strlen(prefix[i]);

		if (x->name_len >= n && memcmp(x->name, prefix[i], n) == 0)
			return true;
	}
	return false;
}

static int xattr_cmp(const void *pa, const void *pb)
{
	const struct lcm_xattr *a = pa, *b = pb;

	return toc_name_cmp(a->name, a->name_len, b->name, b->name_len);
}

/* Copies what is kept into @out, sorted. Return: how many, or -EUCLEAN. */
static long xattrs_select(const struct lcm_toc_item *item, struct lcm_xattr *out, const char **rule)
{
	size_t n = 0, bytes = 0;

	*rule = "xattr with a bad name or too large";
	for (size_t i = 0; i < item->n_xattrs; i++) {
		const struct lcm_xattr *x = &item->xattrs[i];

		if (x->name_len < 1 || x->name_len > LCM_NAME_LEN_MAX ||
		    x->value_len > LCM_XATTR_VALUE_MAX || memchr(x->name, '\0', x->name_len))
			return -EUCLEAN;
		if (xattr_is_overlays(x))
			continue;
		bytes += toc_xattr_size(x->name_len, x->value_len);
		if (bytes > LCM_XATTRS_BYTES_MAX + sizeof(struct toc_xattr) + LCM_NAME_LEN_MAX)
			return -EUCLEAN;
		out[n++] = *x;
	}
	if (n > 1)
		qsort(out, n, sizeof(*out), xattr_cmp);
	for (size_t i = 1; i < n; i++)
		if (xattr_cmp(&out[i - 1], &out[i]) == 0) {
			*rule = "xattr listed twice";
			return -EUCLEAN;
		}
	return (long)n;
}

static int record_add(struct lcm_buf *buf, const struct lcm_xattr *x)
{
	struct toc_xattr head = { .name_len = x->name_len, .value_len = x->value_len };
	size_t size = toc_xattr_size(x->name_len, x->value_len);
	int r = lcm_buf_reserve(buf, size);
	char *p;

	if (r < 0)
		return r;
	p = buf->data + buf->len;
	memset(p, 0, size);
	memcpy(p, &head, sizeof(head));
	memcpy(p + sizeof(head), x->name, x->name_len);
	if (x->value_len)
		memcpy(p + sizeof(head) + x->name_len + 1, x->value, x->value_len);
	buf->len += size;
	return 0;
}

static int block_add(struct lcm_toc_builder *b, const struct lcm_xattr *x, size_t n, uint32_t *ret)
{
	struct lcm_buf *buf = &b->xattrs;
	size_t at = buf->len;
	struct toc_xattr_block head = { .n = (uint32_t)n };
	int r = lcm_buf_add(buf, &head, sizeof(head));

	for (size_t i = 0; r == 0 && i < n; i++)
		r = record_add(buf, &x[i]);
	if (r < 0) {
		buf->len = LCM_MIN(at, buf->len);
		return r;
	}
	head.len = (uint32_t)(buf->len - at);
	memcpy(buf->data + at, &head, sizeof(head));
	/* Neighbours mostly carry the same label or capability. */
	if (b->last_xattrs != LCM_TOC_NONE && at - b->last_xattrs == head.len &&
	    memcmp(buf->data + b->last_xattrs, buf->data + at, head.len) == 0)
		buf->len = at;
	else
		b->last_xattrs = (uint32_t)at;
	*ret = b->last_xattrs;
	return 0;
}

int lcm_toc_xattrs_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item, uint32_t *ret,
		       const char **rule)
{
	lcm_autofree struct lcm_xattr *sel = NULL;
	long n;

	*ret = LCM_TOC_NONE;
	if (item->n_xattrs == 0)
		return 0;
	sel = calloc(item->n_xattrs, sizeof(*sel));
	if (!sel)
		return -ENOMEM;
	n = xattrs_select(item, sel, rule);
	if (n <= 0)
		return (int)n;
	return block_add(b, sel, (size_t)n, ret);
}
