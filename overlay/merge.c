/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/merge.h"

#include <limits.h>
#include <string.h>

#include "overlay/merge_below.h"

/* One layer's children of the directory being merged. */
struct cursor {
	uint64_t key; /* first 8 bytes of the name, big endian: decides most comparisons */
	const char *name;
	uint32_t name_len;
	uint32_t layer;
	uint32_t pos, end; /* entries */
};

struct merger {
	struct lcm_merge *m;
	struct lcm_merge_source
	    *sources; /* of all directories; a directory's are contiguous, top first */
	uint32_t n_sources;
	uint32_t *node_of;   /* [base[layer] + entry]: node + 1 of a non-directory; 0: none yet */
	uint32_t *base;      /* [layer] */
	struct cursor *heap; /* [n_layers] */
	struct lcm_merge_source
	    *group; /* [n_layers]: layers that have the current name, top first */
	struct lcm_below below;
	struct lcm_err *err;
};

static const struct lcm_toc_entry *entry_of(const struct lcm_merge *m, uint32_t layer,
					    uint32_t entry)
{
	return lcm_toc_entry(m->layers[layer].toc, entry);
}

/*
 * Collect into the node's sources the directories that its content comes from, and
 * choose the one that gives the metadata: the topmost that its layer really lists.
 */
static void dir_sources(struct merger *mg, struct lcm_merge_node *node,
			const struct lcm_merge_source *group, size_t n)
{
	bool content = true, metadata = false;

	node->first = mg->n_sources;
	for (size_t i = 0; i < n && (content || !metadata); i++) {
		const struct lcm_toc_entry *e = entry_of(mg->m, group[i].layer, group[i].entry);

		if (e->type != LCM_TOC_DIR)
			break;
		if (!metadata && (i == 0 || !(e->flags & LCM_TOC_IMPLICIT))) {
			node->layer = group[i].layer;
			node->entry = group[i].entry;
		}
		metadata = metadata || !(e->flags & LCM_TOC_IMPLICIT);
		if (content && e->n_children > 0)
			mg->sources[mg->n_sources++] = group[i];
		content = content && !(e->flags & LCM_TOC_OPAQUE);
	}
	node->count = mg->n_sources - node->first;
}

static uint32_t add_dir(struct merger *mg, uint32_t parent, const struct lcm_merge_source *group,
			size_t n)
{
	struct lcm_merge *m = mg->m;
	struct lcm_merge_node *node = &m->nodes[m->n_nodes];

	*node = (struct lcm_merge_node){ .nlink = 2, .parent = parent, .layer = LCM_TOC_NONE };
	dir_sources(mg, node, group, n);
	if (m->n_nodes > 0)
		m->nodes[parent].nlink++;
	return m->n_nodes++;
}

/* A non-directory: names of one hardlink group of one layer share a node. */
static uint32_t add_file(struct merger *mg, uint32_t layer, uint32_t entry)
{
	struct lcm_merge *m = mg->m;
	uint32_t *known = &mg->node_of[mg->base[layer] + entry];

	if (*known == 0) {
		m->nodes[m->n_nodes] = (struct lcm_merge_node){ .layer = layer, .entry = entry };
		*known = ++m->n_nodes;
	}
	m->nodes[*known - 1].nlink++;
	return *known - 1;
}

static const struct lcm_toc_entry *entry_of_dir(const struct lcm_merge *m, uint32_t dir)
{
	return entry_of(m, m->nodes[dir].layer, m->nodes[dir].entry);
}

/* One name, present in @n layers: the topmost decides. */
static int add_name(struct merger *mg, uint32_t dir, const struct lcm_merge_source *group, size_t n)
{
	struct lcm_merge *m = mg->m;
	struct lcm_merge_source at = *group;
	uint32_t node;
	int r = lcm_below_follow(&mg->below, m, &at, mg->err);
	const struct lcm_toc_entry *e = entry_of(m, at.layer, at.entry);

	if (r < 0)
		return r;
	/* In an opaque directory there is nothing below to hide. */
	if (lcm_merge_hides(e) && (!m->raw || entry_of_dir(m, dir)->flags & LCM_TOC_OPAQUE))
		return 0;
	if (e->type == LCM_TOC_DIR)
		node = add_dir(mg, dir, group, n);
	else
		node = add_file(mg, at.layer, at.entry);
	m->names[m->n_names++] = (struct lcm_merge_name){ group->layer, group->entry, node };
	return 0;
}

static void cursor_load(const struct lcm_merge *m, struct cursor *c)
{
	const struct lcm_toc *toc = m->layers[c->layer].toc;
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, c->pos);
	uint64_t key = 0;

	c->name = lcm_toc_name(toc, e);
	c->name_len = e->name_len;
	for (unsigned int i = 0; i < LCM_MIN(c->name_len, 8U); i++)
		key |= (uint64_t)(uint8_t)c->name[i] << (56 - 8 * i);
	c->key = key;
}

static int compare_names(const struct cursor *a, const struct cursor *b)
{
	int r;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	r = memcmp(a->name, b->name, LCM_MIN(a->name_len, b->name_len));
	if (r)
		return r;
	return (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* Heap order: by name, upper layers first. */
static bool before(const struct cursor *a, const struct cursor *b)
{
	int r = compare_names(a, b);

	return r < 0 || (r == 0 && a->layer > b->layer);
}

static void sift_down(struct cursor *heap, size_t n, size_t i)
{
	struct cursor c = heap[i];

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &c))
			break;
		heap[i] = heap[child];
	}
	heap[i] = c;
}

/* Advance the first cursor; returns how many cursors are left. */
static size_t heap_next(struct merger *mg, size_t n)
{
	struct cursor *heap = mg->heap;

	if (++heap[0].pos < heap[0].end)
		cursor_load(mg->m, &heap[0]);
	else
		heap[0] = heap[--n];
	if (n > 1)
		sift_down(heap, n, 0);
	return n;
}

static int merge_many(struct merger *mg, uint32_t dir, const struct lcm_merge_source *src, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		const struct lcm_toc_entry *e = entry_of(mg->m, src[i].layer, src[i].entry);

		mg->heap[i] = (struct cursor){ .layer = src[i].layer,
					       .pos = e->first_child,
					       .end = e->first_child + e->n_children };
		cursor_load(mg->m, &mg->heap[i]);
	}
	for (size_t i = n / 2; i-- > 0;)
		sift_down(mg->heap, n, i);
	while (n > 0 && r == 0) {
		struct cursor top = mg->heap[0];
		size_t k = 0;

		do {
			mg->group[k++] = (struct lcm_merge_source){ mg->heap[0].layer,
								    mg->heap[0].pos };
			n = heap_next(mg, n);
		} while (n > 0 && compare_names(&top, &mg->heap[0]) == 0);
		r = add_name(mg, dir, mg->group, k);
	}
	return r;
}

static int merge_dir(struct merger *mg, uint32_t dir)
{
	struct lcm_merge *m = mg->m;
	const struct lcm_merge_source *src = mg->sources + m->nodes[dir].first;
	size_t n = m->nodes[dir].count;
	uint32_t first = m->n_names;
	int r = 0;

	if (n == 1) {
		const struct lcm_toc_entry *e = entry_of(m, src->layer, src->entry);

		for (uint32_t i = 0; i < e->n_children && r == 0; i++) {
			struct lcm_merge_source one = { src->layer, e->first_child + i };

			r = add_name(mg, dir, &one, 1);
		}
	} else {
		r = merge_many(mg, dir, src, n);
	}
	m->nodes[dir].first = first;
	m->nodes[dir].count = m->n_names - first;
	return r;
}

static int check_layers(const struct lcm_meta_layer *layers, size_t n, uint32_t *base,
			uint32_t *ret_total, struct lcm_err *err)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++) {
		const char *name = layers[i].name;

		if (!*name || strlen(name) > LCM_NAME_LEN_MAX || strchr(name, '/') ||
		    !strcmp(name, ".") || !strcmp(name, ".."))
			return lcm_err_set(err, -EINVAL,
					   "layer %zu: '%.300s' is not a directory name", i, name);
		base[i] = (uint32_t)total;
		total += lcm_toc_count(layers[i].toc);
		if (total > LCM_META_ENTRIES_MAX)
			return lcm_err_set(err, -EFBIG,
					   "the layers up to '%s' list more than %u files, which "
					   "is more than locum takes",
					   name, LCM_META_ENTRIES_MAX);
	}
	*ret_total = (uint32_t)total;
	return 0;
}

static int merge_all(struct merger *mg)
{
	struct lcm_merge *m = mg->m;
	int r = 0;

	for (size_t i = 0; i < m->n_layers; i++)
		mg->group[i] = (struct lcm_merge_source){ (uint32_t)(m->n_layers - 1 - i), 0 };
	(void)add_dir(mg, 0, mg->group, m->n_layers);
	for (uint32_t d = 0; d < m->n_nodes && r == 0; d++)
		if (lcm_merge_entry(m, d)->type == LCM_TOC_DIR)
			r = merge_dir(mg, d);
	return r;
}

/* Every array has its upper bound from the start: untouched pages cost nothing. */
static int merge_init(const struct lcm_meta_layer *layers, size_t n, bool raw, struct lcm_merge *m,
		      struct lcm_err *err)
{
	struct lcm_merge out = { .layers = layers, .n_layers = n, .raw = raw };
	struct merger mg = { .m = &out, .err = err };
	uint32_t total = 0;
	int r;

	if (n > LCM_LAYERS_MAX)
		return lcm_err_set(err, -EINVAL, "%zu layers: overlayfs takes at most %d", n,
				   LCM_LAYERS_MAX);
	mg.base = calloc(n + 1, sizeof(*mg.base));
	if (!mg.base)
		return -ENOMEM;
	r = check_layers(layers, n, mg.base, &total, err);
	if (r < 0)
		goto out;
	out.nodes = malloc(((size_t)total + 1) * sizeof(*out.nodes));
	out.names = malloc(((size_t)total + 1) * sizeof(*out.names));
	mg.sources = malloc(((size_t)total + 1) * sizeof(*mg.sources));
	mg.node_of = calloc((size_t)total + 1, sizeof(*mg.node_of));
	mg.heap = malloc((n + 1) * sizeof(*mg.heap));
	mg.group = malloc((n + 1) * sizeof(*mg.group));
	mg.below.dirs = malloc((n + 1) * sizeof(*mg.below.dirs));
	r = -ENOMEM;
	if (out.nodes && out.names && mg.sources && mg.node_of && mg.heap && mg.group &&
	    mg.below.dirs)
		r = merge_all(&mg);
	if (r == 0)
		*m = out;
out:
	free(mg.below.dirs);
	free(mg.group);
	free(mg.heap);
	free(mg.node_of);
	free(mg.sources);
	free(mg.base);
	if (r < 0)
		lcm_merge_fini(&out);
	return r;
}

int lcm_merge_init(const struct lcm_meta_layer *layers, size_t n, struct lcm_merge *m,
		   struct lcm_err *err)
{
	return merge_init(layers, n, false, m, err);
}

int lcm_merge_layer_init(const struct lcm_meta_layer *layer, struct lcm_merge *m,
			 struct lcm_err *err)
{
	if (lcm_toc_entry(layer->toc, 0)->flags & LCM_TOC_OPAQUE)
		return lcm_err_set(err, -EUCLEAN,
				   "layer %.100s hides all below it, which overlayfs has no way to "
				   "say of a root",
				   layer->name);
	return merge_init(layer, 1, true, m, err);
}

static bool holds_whiteouts(const struct lcm_merge *m, const struct lcm_merge_node *n)
{
	for (uint32_t i = 0; i < n->count; i++) {
		const struct lcm_merge_node *child = &m->nodes[m->names[n->first + i].node];

		if (lcm_merge_hides(entry_of(m, child->layer, child->entry)))
			return true;
	}
	return false;
}

/* Documentation/filesystems/overlayfs.rst "Nesting overlayfs mounts". The root is marked in any
 * case: without it the kernel looks for no whiteouts of this kind in the layer. Without an origin
 * it would list the whiteouts of a directory that replaces a file or link below. Linux 6.7 looks
 * for "whiteouts" where later ones look for opaque=x. */
const struct lcm_merge_mark *lcm_merge_marks(const struct lcm_merge *m, uint32_t node)
{
	static const struct lcm_merge_mark none = { 0 },
					   whiteout[] = { { "overlay.overlay.whiteout", "" },
							  { 0 } },
					   opaque[] = { { "overlay.overlay.opaque", "y" }, { 0 } },
					   whiteouts[] = { { "overlay.overlay.opaque", "x" },
							   { "overlay.overlay.whiteouts", "" },
							   { "overlay.overlay.origin", "" },
							   { 0 } };
	const struct lcm_merge_node *n = &m->nodes[node];
	const struct lcm_toc_entry *e;

	if (!m->raw)
		return &none;
	e = entry_of(m, n->layer, n->entry);
	if (lcm_merge_hides(e))
		return whiteout;
	if (e->type != LCM_TOC_DIR)
		return &none;
	if (e->flags & LCM_TOC_OPAQUE)
		return opaque;
	return node == 0 || holds_whiteouts(m, n) ? whiteouts : &none;
}

void lcm_merge_fini(struct lcm_merge *m)
{
	free(m->nodes);
	free(m->names);
	m->nodes = NULL;
	m->names = NULL;
	m->n_nodes = m->n_names = 0;
}

const struct lcm_toc_entry *lcm_merge_entry(const struct lcm_merge *m, uint32_t node)
{
	static const struct lcm_toc_entry none = {
		.type = LCM_TOC_DIR, .flags = LCM_TOC_IMPLICIT, .mode = 0755, .xattrs = LCM_TOC_NONE
	};
	static const struct lcm_toc_entry whiteout = { .type = LCM_TOC_REG,
						       .xattrs = LCM_TOC_NONE };
	const struct lcm_merge_node *n = &m->nodes[node];
	const struct lcm_toc_entry *e = n->layer == LCM_TOC_NONE ? &none
								 : entry_of(m, n->layer, n->entry);

	return m->raw && lcm_merge_hides(e) ? &whiteout : e;
}

const char *lcm_merge_name(const struct lcm_merge *m, const struct lcm_merge_name *name,
			   size_t *ret_len)
{
	const struct lcm_toc *toc = m->layers[name->layer].toc;
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, name->entry);

	*ret_len = e->name_len;
	return lcm_toc_name(toc, e);
}

int lcm_merge_err(const struct lcm_merge *m, uint32_t layer, uint32_t entry, struct lcm_err *err,
		  int code, const char *what)
{
	char path[PATH_MAX];

	if (lcm_toc_path(m->layers[layer].toc, entry, path, sizeof(path)) < 0) {
		const struct lcm_merge_name name = { .layer = layer, .entry = entry };
		size_t len;

		return lcm_err_set(err, code, ".../%.200s in layer %.100s: %s",
				   lcm_merge_name(m, &name, &len), m->layers[layer].name, what);
	}
	return lcm_err_set(err, code, "/%.200s%s in layer %.100s: %s", path,
			   strlen(path) > 200 ? "..." : "", m->layers[layer].name, what);
}
