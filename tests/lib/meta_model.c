/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/meta_model.h"

#include <stdio.h>
#include <string.h>

static struct mm_node *node_new(struct mm_node *parent, const char *name, size_t len)
{
	struct mm_node *n = calloc(1, sizeof(*n));

	if (!n)
		abort();
	n->parent = parent;
	n->name = name;
	n->name_len = len;
	return n;
}

static void node_free(struct mm_node *n)
{
	for (size_t i = 0; i < n->n_kids; i++)
		node_free(n->kids[i]);
	free(n->kids);
	free(n);
}

/* The last byte first: numbered names differ there, and a fuzzer makes memcmp() dear. */
static bool has_name(const struct mm_node *n, const char *name, size_t len)
{
	return n->name_len == len && n->name[len - 1] == name[len - 1] &&
	       memcmp(n->name, name, len) == 0;
}

static size_t kid_index(const struct mm_node *dir, const char *name, size_t len)
{
	size_t i = 0;

	while (i < dir->n_kids && !has_name(dir->kids[i], name, len))
		i++;
	return i;
}

struct mm_node *mm_child(const struct mm_node *dir, const char *name, size_t len)
{
	size_t i = kid_index(dir, name, len);

	return i < dir->n_kids ? dir->kids[i] : NULL;
}

static void kid_remove(struct mm_node *dir, const char *name, size_t len)
{
	size_t i = kid_index(dir, name, len);

	if (i == dir->n_kids)
		return;
	node_free(dir->kids[i]);
	dir->kids[i] = dir->kids[--dir->n_kids];
}

static struct mm_node *kid_add(struct mm_node *dir, const char *name, size_t len)
{
	struct mm_node *n = node_new(dir, name, len);

	if (dir->n_kids == dir->cap) {
		dir->cap = dir->cap ? dir->cap * 2 : 8;
		dir->kids = reallocarray(dir->kids, dir->cap, sizeof(struct mm_node *));
		if (!dir->kids)
			abort();
	}
	dir->kids[dir->n_kids++] = n;
	return n;
}

/* What each link below of the layer that is applied led to before that began. */
struct lower {
	const struct lcm_toc *toc;
	struct mm_node *of; /* owned; [entries] */
};

static void apply_dir(struct mm_model *m, struct mm_node *dir, const struct lower *low,
		      uint32_t layer, uint32_t entry, bool fresh);

static const struct mm_node *walk(const struct mm_node *n, const char *path)
{
	while (n && *path) {
		size_t len = strcspn(path, "/");

		n = n->dir ? mm_child(n, path, len) : NULL;
		path += len + (path[len] == '/');
	}
	return n;
}

static void lower_init(struct lower *low, const struct mm_model *m, uint32_t layer)
{
	const struct mm_node *n;

	low->toc = m->layers[layer].toc;
	low->of = calloc(lcm_toc_count(low->toc), sizeof(*low->of));
	if (!low->of)
		abort();
	for (uint32_t i = 0; i < lcm_toc_count(low->toc); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(low->toc, i);

		if (e->type != LCM_TOC_LINK_BELOW)
			continue;
		n = walk(m->root, lcm_toc_link(low->toc, e));
		low->of[i].bad = !n || n->dir || n->bad;
		low->of[i].layer = n ? n->layer : layer;
		low->of[i].entry = n ? n->entry : i;
	}
}

static void apply_entry(struct mm_model *m, struct mm_node *dir, const struct lower *low,
			uint32_t layer, uint32_t i)
{
	const struct lcm_toc *toc = m->layers[layer].toc;
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, i);
	const char *name = lcm_toc_name(toc, e);
	size_t len = e->name_len;
	struct mm_node *n = mm_child(dir, name, len);

	if (e->type == LCM_TOC_DIR && n && n->dir) {
		apply_dir(m, n, low, layer, i, false);
		return;
	}
	kid_remove(dir, name, len);
	if (e->type == LCM_TOC_HARDLINK) {
		i = e->link;
		e = lcm_toc_entry(toc, i);
	}
	if (e->type == LCM_TOC_WHITEOUT ||
	    (e->type == LCM_TOC_CHAR && !e->rdev_major && !e->rdev_minor))
		return;
	n = kid_add(dir, name, len);
	if (e->type == LCM_TOC_DIR) {
		apply_dir(m, n, low, layer, i, true);
		return;
	}
	n->layer = layer;
	n->entry = i;
	if (e->type == LCM_TOC_LINK_BELOW) {
		n->layer = low->of[i].layer;
		n->entry = low->of[i].entry;
		n->bad = low->of[i].bad;
	}
}

static void apply_dir(struct mm_model *m, struct mm_node *dir, const struct lower *low,
		      uint32_t layer, uint32_t entry, bool fresh)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(m->layers[layer].toc, entry);

	dir->dir = true;
	if (fresh || !(e->flags & LCM_TOC_IMPLICIT)) {
		dir->layer = layer;
		dir->entry = entry;
	}
	while ((e->flags & LCM_TOC_OPAQUE) && dir->n_kids > 0)
		node_free(dir->kids[--dir->n_kids]);
	for (uint32_t i = 0; i < e->n_children; i++)
		apply_entry(m, dir, low, layer, e->first_child + i);
}

struct leaves {
	struct mm_node **v;
	size_t n;
};

static void collect(struct mm_model *m, struct mm_node *n, struct leaves *l)
{
	m->inodes += n->dir;
	m->bad = m->bad || n->bad;
	n->first = n;
	n->nlink = 2;
	if (!n->dir) {
		l->v = reallocarray(l->v, l->n + 1, sizeof(struct mm_node *));
		if (!l->v)
			abort();
		l->v[l->n++] = n;
	}
	for (size_t i = 0; i < n->n_kids; i++) {
		n->nlink += n->kids[i]->dir;
		collect(m, n->kids[i], l);
	}
}

static int by_inode(const void *a, const void *b)
{
	const struct mm_node *x = *(struct mm_node *const *)a, *y = *(struct mm_node *const *)b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->entry > y->entry) - (x->entry < y->entry);
}

static void count_links(struct mm_model *m, struct leaves *l)
{
	size_t end;

	if (l->n > 0)
		qsort(l->v, l->n, sizeof(struct mm_node *), by_inode);
	for (size_t i = 0; i < l->n; i = end) {
		const struct lcm_toc_entry *e = mm_entry(m, l->v[i]);

		for (end = i; end < l->n && by_inode(&l->v[i], &l->v[end]) == 0; end++)
			l->v[end]->first = l->v[i];
		for (size_t j = i; j < end; j++)
			l->v[j]->nlink = (uint32_t)(end - i);
		m->inodes++;
		if (e->type == LCM_TOC_REG) {
			m->regular++;
			m->bytes_regular += e->size;
		}
	}
}

void mm_build(struct mm_model *m, const struct lcm_meta_layer *layers, size_t n)
{
	struct leaves l = { 0 };

	*m = (struct mm_model){ .layers = layers, .n_layers = n };
	m->root = node_new(NULL, "", 0);
	m->root->dir = true;
	m->root->layer = LCM_TOC_NONE;
	for (size_t i = 0; i < n; i++) {
		struct lower low;

		lower_init(&low, m, (uint32_t)i);
		apply_dir(m, m->root, &low, (uint32_t)i, 0, i == 0);
		free(low.of);
	}
	collect(m, m->root, &l);
	count_links(m, &l);
	free(l.v);
}

void mm_fini(struct mm_model *m)
{
	if (m->root)
		node_free(m->root);
	m->root = NULL;
}

const struct lcm_toc_entry *mm_entry(const struct mm_model *m, const struct mm_node *n)
{
	static const struct lcm_toc_entry root = { .type = LCM_TOC_DIR,
						   .mode = 0755,
						   .xattrs = LCM_TOC_NONE };

	return n->layer == LCM_TOC_NONE ? &root : lcm_toc_entry(m->layers[n->layer].toc, n->entry);
}

static bool shown(const struct lcm_xattr *x)
{
	if (!strncmp(x->name, "trusted.overlay.", 16) || !strncmp(x->name, "user.overlay.", 13))
		return false;
	if (!strcmp(x->name, "system.posix_acl_access") ||
	    !strcmp(x->name, "system.posix_acl_default"))
		return true;
	return (!strncmp(x->name, "user.", 5) && x->name_len > 5) ||
	       (!strncmp(x->name, "trusted.", 8) && x->name_len > 8) ||
	       (!strncmp(x->name, "security.", 9) && x->name_len > 9);
}

const char *mm_each_xattr(const struct mm_model *m, const struct mm_node *n,
			  const char *(*fn)(void *arg, const struct lcm_xattr *x), void *arg)
{
	const struct lcm_toc_entry *e = mm_entry(m, n);
	const char *bad = NULL;
	struct lcm_xattr x;
	uint32_t pos = 0;

	while (!bad && e->xattrs != LCM_TOC_NONE &&
	       lcm_toc_xattr_next(m->layers[n->layer].toc, e, &pos, &x))
		if (shown(&x))
			bad = fn(arg, &x);
	return bad;
}

size_t mm_redirect(const struct mm_model *m, const struct mm_node *n, char *out, size_t cap)
{
	int len = snprintf(out, cap, "/%s/", m->layers[n->layer].name), path;

	if (len < 0 || (size_t)len >= cap)
		abort();
	path = lcm_toc_path(m->layers[n->layer].toc, n->entry, out + len, cap - (size_t)len);
	if (path < 0)
		abort();
	return (size_t)len + (size_t)path;
}
