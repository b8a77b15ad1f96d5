/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes in order, with the redirect of each file: paths are put together, never looked up. */
#include "overlay/merge.h"

#include <limits.h>
#include <string.h>

#define PREFIX_MAX (LCM_NAME_LEN_MAX + 2) /* "/<layer>/" */

struct walker {
	const struct lcm_merge *m;
	uint32_t dir;      /* directory whose path is in @path; LCM_TOC_NONE: none */
	size_t dir_len;    /* bytes of that path, with a '/' at the end unless it is the root */
	size_t parent_len; /* bytes of its parent's path, likewise */
	uint32_t prefix;   /* layer whose prefix stands before @path; LCM_TOC_NONE: none */
	char buf[PREFIX_MAX + PATH_MAX + LCM_NAME_LEN_MAX + 2];
};

static const char too_long[] = "its path is longer than overlayfs can follow (PATH_MAX)";

static char *path_of(struct walker *w)
{
	return w->buf + PREFIX_MAX;
}

/* Append the name of directory @d to the path of @len bytes; -ENAMETOOLONG leaves the walker
 * without a path. */
static int add_component(struct walker *w, uint32_t d, size_t *len)
{
	const struct lcm_merge_node *n = &w->m->nodes[d];
	const struct lcm_merge_name name = { .layer = n->layer, .entry = n->entry };
	size_t name_len;
	const char *s = lcm_merge_name(w->m, &name, &name_len);

	if (*len + name_len + 1 > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path_of(w) + *len, s, name_len);
	path_of(w)[*len + name_len] = '/';
	*len += name_len + 1;
	return 0;
}

/* Full path of @d, by way of a list of its ancestors (a path of PATH_MAX has at most half as many).
 */
static int build_path(struct walker *w, uint32_t d, size_t *ret_parent, size_t *ret_len)
{
	uint32_t up[PATH_MAX / 2];
	size_t n = 0, len = 0, parent = 0;
	int r = 0;

	for (; d != 0; d = w->m->nodes[d].parent) {
		if (n == LCM_ARRAY_SIZE(up))
			return -ENAMETOOLONG;
		up[n++] = d;
	}
	while (n > 0 && r == 0) {
		parent = len;
		r = add_component(w, up[--n], &len);
	}
	*ret_parent = parent;
	*ret_len = len;
	return r;
}

/* Put the path of @d into the buffer; siblings follow each other, so mostly one name changes. */
static int enter_dir(struct walker *w, uint32_t d)
{
	const struct lcm_merge_node *nodes = w->m->nodes;
	size_t len = w->parent_len;
	int r;

	if (w->dir == d)
		return 0;
	if (w->dir != LCM_TOC_NONE && w->dir != 0 && nodes[w->dir].parent == nodes[d].parent)
		r = add_component(w, d, &len);
	else
		r = build_path(w, d, &w->parent_len, &len);
	w->dir = r < 0 ? LCM_TOC_NONE : d;
	w->dir_len = len;
	return r;
}

/* "/<layer>/" right before the path. Returns its length. */
static size_t set_prefix(struct walker *w, uint32_t layer)
{
	const char *name = w->m->layers[layer].name;
	size_t len = strlen(name);

	if (w->prefix != layer) {
		char *p = path_of(w) - len - 2;

		p[0] = '/';
		memcpy(p + 1, name, len);
		p[len + 1] = '/';
		w->prefix = layer;
	}
	return len + 2;
}

/* The path of a hardlink's target is that of its own entry, wherever the name we met it by is. */
static int target_path(struct walker *w, const struct lcm_merge_node *n, size_t *ret_len)
{
	int r = lcm_toc_path(w->m->layers[n->layer].toc, n->entry, path_of(w), PATH_MAX);

	w->dir = LCM_TOC_NONE;
	if (r < 0)
		return r;
	*ret_len = (size_t)r;
	return 0;
}

static int file_path(struct walker *w, uint32_t dir, const struct lcm_merge_name *name,
		     size_t *ret_len)
{
	size_t len;
	const char *s = lcm_merge_name(w->m, name, &len);
	int r;

	if (name->entry != w->m->nodes[name->node].entry ||
	    name->layer != w->m->nodes[name->node].layer)
		return target_path(w, &w->m->nodes[name->node], ret_len);
	r = enter_dir(w, dir);
	if (r < 0)
		return r;
	memcpy(path_of(w) + w->dir_len, s, len);
	*ret_len = w->dir_len + len;
	return 0;
}

static int visit(struct walker *w, uint32_t dir, const struct lcm_merge_name *name, lcm_merge_fn fn,
		 void *arg, struct lcm_err *err)
{
	const struct lcm_merge_node *n = &w->m->nodes[name->node];
	size_t len = 0, prefix;
	int r;

	if (!lcm_merge_needs_data(lcm_merge_entry(w->m, name->node)))
		return fn(arg, name->node, NULL, 0);
	r = file_path(w, dir, name, &len);
	if (r < 0)
		return lcm_merge_err(w->m, n->layer, n->entry, err, r, too_long);
	prefix = set_prefix(w, n->layer);
	if (prefix + len >= PATH_MAX)
		return lcm_merge_err(w->m, n->layer, n->entry, err, -ENAMETOOLONG, too_long);
	return fn(arg, name->node, path_of(w) - prefix, prefix + len);
}

int lcm_merge_walk(const struct lcm_merge *m, lcm_merge_fn fn, void *arg, struct lcm_err *err)
{
	struct walker w = { .m = m, .dir = LCM_TOC_NONE, .prefix = LCM_TOC_NONE };
	uint32_t next = 1;
	int r = fn(arg, 0, NULL, 0);

	for (uint32_t d = 0; d < m->n_nodes && r == 0; d++) {
		const struct lcm_merge_node *n = &m->nodes[d];

		for (uint32_t i = 0; i < n->count && r == 0; i++) {
			const struct lcm_merge_name *name = &m->names[n->first + i];

			if (name->node != next)
				continue; /* another name of a node seen before */
			next++;
			r = visit(&w, d, name, fn, arg, err);
		}
	}
	return r;
}
