/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/erofs_plan.h"

#include <string.h>

static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int r = memcmp(a, b, LCM_MIN(a_len, b_len));

	return r ? r : (a_len > b_len) - (a_len < b_len);
}

/* The next entry without taking it; false at the end. The kernel searches by strcmp order, dots
 * included. */
static bool peek(const struct lcm_erofs_dir *d, struct lcm_erofs_dirent *ret, bool *ret_dot)
{
	const struct lcm_merge_node *n = &d->m->nodes[d->dir];
	size_t len = 0;

	*ret_dot = false;
	if (d->next < n->count) {
		const struct lcm_merge_name *name = &d->m->names[n->first + d->next];

		ret->name = lcm_merge_name(d->m, name, &len);
		ret->name_len = (uint16_t)len;
		ret->node = name->node;
		if (d->dots == 2 || compare(ret->name, len, "..", d->dots + 1) < 0)
			return true;
	} else if (d->dots == 2) {
		return false;
	}
	*ret_dot = true;
	ret->name = "..";
	ret->name_len = (uint16_t)(d->dots + 1);
	ret->node = d->dots == 0 ? d->dir : n->parent;
	return true;
}

size_t lcm_erofs_dir_block(struct lcm_erofs_dir *d, struct lcm_erofs_dirent *out,
			   uint32_t *ret_bytes)
{
	struct lcm_erofs_dirent e;
	uint32_t bytes = 0;
	size_t n = 0;
	bool dot;

	while (peek(d, &e, &dot)) {
		uint32_t need = (uint32_t)sizeof(struct erofs_dirent) + e.name_len;

		if (bytes + need > EROFS_BLOCK)
			break;
		bytes += need;
		if (out)
			out[n] = e;
		n++;
		if (dot)
			d->dots++;
		else
			d->next++;
	}
	*ret_bytes = bytes;
	return n;
}
