/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/erofs_plan.h"

#include <endian.h>
#include <string.h>

/* Prefixes that Linux has handlers for in EROFS. Whole names (ACLs) leave no suffix. */
static const struct {
	const char *prefix;
	uint8_t len;
	uint8_t index;
	bool whole;
} prefixes[] = {
	{ "user.", 5, EROFS_XATTR_USER, false },
	{ "trusted.", 8, EROFS_XATTR_TRUSTED, false },
	{ "security.", 9, EROFS_XATTR_SECURITY, false },
	{ "system.posix_acl_access", 23, EROFS_XATTR_ACL_ACCESS, true },
	{ "system.posix_acl_default", 24, EROFS_XATTR_ACL_DEFAULT, true },
};

static bool starts_with(const struct lcm_xattr *x, const char *prefix, size_t len)
{
	return x->name_len >= len && memcmp(x->name, prefix, len) == 0;
}

/*
 * Index and prefix length of a name; false: leave it out. Left out are names that no
 * file system of Linux would take (unpacking ignores them with ENOTSUP, too), and
 * those that would steer overlayfs: a TOC kept on disk is not trusted to lack them.
 */
static bool classify(const struct lcm_xattr *x, uint8_t *ret_index, size_t *ret_prefix)
{
	if (starts_with(x, "trusted.overlay.", 16) || starts_with(x, "user.overlay.", 13))
		return false;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(prefixes); i++) {
		if (!starts_with(x, prefixes[i].prefix, prefixes[i].len) ||
		    (x->name_len == prefixes[i].len) != prefixes[i].whole)
			continue;
		*ret_index = prefixes[i].index;
		*ret_prefix = prefixes[i].len;
		return true;
	}
	return false;
}

static size_t entry_bytes(size_t name_len, size_t value_len)
{
	return (sizeof(struct erofs_xattr_entry) + name_len + value_len + 3) & ~(size_t)3;
}

static const struct lcm_toc *toc_of(const struct lcm_merge *m, uint32_t node)
{
	return m->nodes[node].layer == LCM_TOC_NONE ? NULL : m->layers[m->nodes[node].layer].toc;
}

int lcm_erofs_xattr_plan(const struct lcm_merge *m, uint32_t node, size_t redirect_len,
			 uint16_t *ret_icount)
{
	const struct lcm_merge_mark *mark = lcm_merge_marks(m, node);
	const struct lcm_toc_entry *e = lcm_merge_entry(m, node);
	const struct lcm_toc *toc = toc_of(m, node);
	size_t bytes = 0, prefix;
	struct lcm_xattr x;
	uint32_t pos = 0;
	uint8_t index;

	if (redirect_len > 0)
		bytes = 4 + entry_bytes(strlen(EROFS_REDIRECT_NAME), redirect_len);
	for (; mark->name; mark++)
		bytes += entry_bytes(strlen(mark->name), strlen(mark->value));
	while (e->xattrs != LCM_TOC_NONE && lcm_toc_xattr_next(toc, e, &pos, &x)) {
		if (!classify(&x, &index, &prefix))
			continue;
		if (x.name_len - prefix > UINT8_MAX || x.value_len > UINT16_MAX)
			return -EFBIG;
		bytes += entry_bytes(x.name_len - prefix, x.value_len);
		if (bytes / 4 + 1 > UINT16_MAX)
			return -EFBIG;
	}
	*ret_icount = (uint16_t)(bytes ? bytes / 4 + 1 : 0);
	return 0;
}

static size_t put_entry(uint8_t *p, uint8_t index, const char *name, size_t name_len,
			const void *value, size_t value_len)
{
	const struct erofs_xattr_entry head = { .name_len = (uint8_t)name_len,
						.name_index = index,
						.value_len = htole16((uint16_t)value_len) };

	memcpy(p, &head, sizeof(head));
	memcpy(p + sizeof(head), name, name_len);
	if (value_len)
		memcpy(p + sizeof(head) + name_len, value, value_len);
	return entry_bytes(name_len, value_len);
}

void lcm_erofs_xattr_put(const struct lcm_merge *m, uint32_t node, const char *redirect, size_t len,
			 uint8_t *p)
{
	const struct lcm_merge_mark *mark = lcm_merge_marks(m, node);
	const struct lcm_toc_entry *e = lcm_merge_entry(m, node);
	const struct lcm_toc *toc = toc_of(m, node);
	struct erofs_xattr_head head = { .shared_count = redirect ? 1 : 0 };
	const uint32_t shared = htole32(EROFS_METACOPY_POS / 4);
	struct lcm_xattr x;
	uint32_t pos = 0;
	size_t prefix;
	uint8_t index;

	memcpy(p, &head, sizeof(head));
	p += sizeof(head);
	if (redirect) {
		memcpy(p, &shared, sizeof(shared));
		p += sizeof(shared);
		p += put_entry(p, EROFS_XATTR_TRUSTED, EROFS_REDIRECT_NAME,
			       strlen(EROFS_REDIRECT_NAME), redirect, len);
	}
	for (; mark->name; mark++)
		p += put_entry(p, EROFS_XATTR_TRUSTED, mark->name, strlen(mark->name), mark->value,
			       strlen(mark->value));
	while (e->xattrs != LCM_TOC_NONE && lcm_toc_xattr_next(toc, e, &pos, &x))
		if (classify(&x, &index, &prefix))
			p += put_entry(p, index, x.name + prefix, x.name_len - prefix, x.value,
				       x.value_len);
}
