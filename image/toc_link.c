/* SPDX-License-Identifier: Apache-2.0 */
/* Hardlinks whose target was not there when they came: it came later, or lower layers have it. */
#include <string.h>

#include "image/toc_builder.h"

static int bad_link(const struct lcm_toc_builder *b, const struct toc_pending *p, const char *what,
		    struct lcm_err *err)
{
	char path[LCM_ERR_MSG_MAX / 2];

	return lcm_err_set(err, -EUCLEAN, "layer entry '%s': hardlink to '%.*s', %s",
			   lcm_toc_path_text(b, NULL, p->node, path),
			   (int)LCM_MIN(p->link_len, 150U), b->strings.data + p->link, what);
}

/* Whether @i or a directory above it was replaced. */
static bool is_gone(const struct lcm_toc_builder *b, uint32_t i)
{
	for (; i; i = b->nodes[i].e.parent)
		if (b->nodes[i].e.flags & NODE_DEAD)
			return true;
	return false;
}

static bool waits(const struct toc_node *n)
{
	return n->e.type == LCM_TOC_HARDLINK && n->e.link == LCM_TOC_NONE;
}

/* One component of a target that this layer does not have. NULL, or why lower layers cannot. */
static const char *name_rule(const struct lcm_toc_builder *b, uint32_t at, struct toc_name n,
			     bool last)
{
	if (n.len > LCM_NAME_LEN_MAX || (n.len == 2 && n.s[0] == '.' && n.s[1] == '.'))
		return "which is no path in a layer";
	if (n.len >= 4 && memcmp(n.s, ".wh.", 4) == 0)
		return "which no layer can have";
	if (at == LCM_TOC_NONE)
		return NULL;
	if (b->nodes[at].e.flags & LCM_TOC_OPAQUE)
		return "which this layer does not have, and it hides what lower layers have there";
	at = lcm_toc_node_child(b, at, n, lcm_toc_hash(b, at, n));
	if (at == LCM_TOC_NONE || (!last && b->nodes[at].e.type == LCM_TOC_DIR))
		return NULL;
	return b->nodes[at].e.type == LCM_TOC_WHITEOUT
		   ? "which this layer hides"
		   : "which lies below something that is no directory in this layer";
}

/* @ret: PATH without what lcm_toc_path_trim() and lcm_toc_path_next() leave out. NULL, or why lower
 * layers cannot have it. */
static const char *path_below(const struct lcm_toc_builder *b, struct toc_name path,
			      struct lcm_buf *ret, int *r)
{
	struct toc_name n = lcm_toc_path_next(&path);
	uint32_t at = 0;

	if (!n.len)
		return "which is a directory";
	while (n.len && *r == 0) {
		struct toc_name next = lcm_toc_path_next(&path);
		const char *rule = name_rule(b, at, n, !next.len);

		if (rule)
			return rule;
		if (at != LCM_TOC_NONE)
			at = lcm_toc_node_child(b, at, n, lcm_toc_hash(b, at, n));
		*r = lcm_buf_add(ret, n.s, n.len);
		if (*r == 0 && next.len)
			*r = lcm_buf_add(ret, "/", 1);
		n = next;
	}
	return NULL;
}

static int link_below(struct lcm_toc_builder *b, const struct toc_pending *p, struct lcm_err *err)
{
	struct toc_name path = lcm_toc_path_trim(b->strings.data + p->link, p->link_len);
	struct lcm_buf normal = LCM_BUF(LCM_PATH_MAX);
	struct lcm_toc_entry *e = &b->nodes[p->node].e;
	uint32_t off;
	int r = 0;
	const char *rule = path_below(b, path, &normal, &r);

	if (rule || r == -EFBIG)
		r = bad_link(b, p, rule ? rule : "which is longer than 4000 bytes", err);
	if (r == 0)
		r = lcm_toc_string_add(b, normal.data, normal.len, &off);
	if (r == 0) {
		e->type = LCM_TOC_LINK_BELOW;
		e->link = off;
		e->size = e->link_len = (uint32_t)normal.len;
	}
	lcm_buf_fini(&normal);
	return r;
}

/* @to gets a path of its own: no two entries of a TOC share one. */
static int path_copy(struct lcm_toc_builder *b, const struct lcm_toc_entry *from,
		     struct lcm_toc_entry *to)
{
	int r = lcm_buf_reserve(&b->strings, from->link_len + 1U);

	if (r == 0) /* @b's strings stay where they are from here on */
		r = lcm_toc_string_add(b, b->strings.data + from->link, from->link_len, &to->link);
	if (r == 0) {
		to->type = LCM_TOC_LINK_BELOW;
		to->size = to->link_len = from->link_len;
	}
	return r;
}

/* Return: 1: done; 0: its target waits itself; -errno. */
static int link_resolve(struct lcm_toc_builder *b, const struct toc_pending *p, struct lcm_err *err)
{
	struct lcm_toc_entry *e = &b->nodes[p->node].e;
	uint32_t to = lcm_toc_node_find(b, b->strings.data + p->link, p->link_len);
	int r;

	if (to != LCM_TOC_NONE && waits(&b->nodes[to]))
		return 0;
	if (to != LCM_TOC_NONE && b->nodes[to].e.type == LCM_TOC_HARDLINK)
		to = b->nodes[to].e.link;
	if (to == LCM_TOC_NONE || b->nodes[to].e.type == LCM_TOC_WHITEOUT) {
		r = link_below(b, p, err);
		return r < 0 ? r : 1;
	}
	if (b->nodes[to].e.type == LCM_TOC_DIR)
		return bad_link(b, p, "which is a directory", err);
	if (b->nodes[to].e.type == LCM_TOC_LINK_BELOW) {
		r = path_copy(b, &b->nodes[to].e, e);
		return r < 0 ? r : 1;
	}
	e->link = to;
	return 1;
}

/* What waits on stays. */
static int links_pass(struct lcm_toc_builder *b, struct lcm_err *err)
{
	size_t left = 0;

	for (size_t i = 0; i < b->n_pending; i++) {
		int r = is_gone(b, b->pending[i].node) ? 1 : link_resolve(b, &b->pending[i], err);

		if (r < 0)
			return r;
		if (r == 0)
			b->pending[left++] = b->pending[i];
	}
	b->n_pending = left;
	return 0;
}

int lcm_toc_links_resolve(struct lcm_toc_builder *b, struct lcm_err *err)
{
	size_t before = b->n_pending + 1;
	int r = 0;

	for (int i = 0; i < LCM_LINK_PASSES && b->n_pending && b->n_pending < before && r == 0;
	     i++) {
		before = b->n_pending;
		r = links_pass(b, err);
	}
	if (r == 0 && b->n_pending)
		r = bad_link(b, b->pending, "which leads in a circle, or over too many links", err);
	return r;
}
