/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "image/toc_builder.h"

int lcm_toc_grow(void *pp, size_t *cap, size_t n, size_t more, size_t size, size_t max)
{
	void **p = pp, *q;
	size_t want;

	if (more > max || n > max - more)
		return -EFBIG;
	if (n + more <= *cap)
		return 0;
	want = LCM_MIN(LCM_MAX(LCM_MAX(*cap * 2, (size_t)64), n + more), max);
	q = realloc(*p, want * size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

/* ---- (directory, name) -> node ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t m = (__uint128_t)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint32_t lcm_toc_hash(const struct lcm_toc_builder *b, uint32_t parent, struct toc_name n)
{
	uint64_t h = b->seed ^ parent, w, v;
	const char *p = n.s;
	size_t left = n.len;

	for (; left > 16; left -= 16, p += 16) {
		memcpy(&w, p, 8);
		memcpy(&v, p + 8, 8);
		h = mix(w ^ 0xa0761d6478bd642fULL ^ b->seed, v ^ h);
	}
	w = v = 0;
	memcpy(&w, p, LCM_MIN(left, (size_t)8));
	if (left > 8)
		memcpy(&v, p + 8, left - 8);
	h = mix(w ^ 0xe7037ed1a0b428dbULL ^ b->seed, v ^ h);
	return (uint32_t)mix(h ^ n.len, 0x8ebc6af09c88c6e3ULL);
}

uint32_t lcm_toc_node_child(const struct lcm_toc_builder *b, uint32_t parent, struct toc_name n,
			    uint32_t hash)
{
	for (size_t i = hash & (b->n_slots - 1);; i = (i + 1) & (b->n_slots - 1)) {
		const struct toc_slot *s = &b->slots[i];
		const struct toc_node *c = &b->nodes[s->node];

		if (!s->node)
			return LCM_TOC_NONE;
		if (s->hash == hash && c->e.parent == parent && c->e.name_len == n.len &&
		    memcmp(toc_node_name(b, c), n.s, n.len) == 0)
			return s->node;
	}
}

static void slot_put(struct toc_slot *slots, size_t n_slots, struct toc_slot v)
{
	size_t i = v.hash & (n_slots - 1);

	while (slots[i].node)
		i = (i + 1) & (n_slots - 1);
	slots[i] = v;
}

int lcm_toc_slots_grow(struct lcm_toc_builder *b)
{
	size_t want = b->n_slots ? b->n_slots * 2 : 4096;
	struct toc_slot *s;

	if (b->used_slots + 1 <= b->n_slots / 2)
		return 0;
	s = calloc(want, sizeof(*s));
	if (!s)
		return -ENOMEM;
	for (size_t i = 0; i < b->n_slots; i++)
		if (b->slots[i].node)
			slot_put(s, want, b->slots[i]);
	free(b->slots);
	b->slots = s;
	b->n_slots = want;
	return 0;
}

/* ---- nodes ---- */

int lcm_toc_string_add(struct lcm_toc_builder *b, const char *s, size_t len, uint32_t *ret)
{
	int r = lcm_buf_reserve(&b->strings, len + 1);

	if (r < 0)
		return r;
	*ret = (uint32_t)b->strings.len;
	if (len)
		memcpy(b->strings.data + b->strings.len, s, len);
	b->strings.data[b->strings.len + len] = '\0';
	b->strings.len += len + 1;
	return 0;
}

static void child_append(struct lcm_toc_builder *b, uint32_t parent, uint32_t node)
{
	struct toc_node *d = &b->nodes[parent], *c = &b->nodes[node], *last;

	if (d->e.first_child == LCM_TOC_NONE) {
		d->e.first_child = d->e.n_children = node;
		return;
	}
	last = &b->nodes[d->e.n_children];
	last->next = node;
	d->e.n_children = node;
	if (toc_name_cmp(toc_node_name(b, last), last->e.name_len, toc_node_name(b, c),
			 c->e.name_len) >= 0)
		d->e.flags |= NODE_UNSORTED;
}

/* A node with the fields of @e, in the place of @old when that is a node. Nothing changed on
 * failure. */
int lcm_toc_node_add(struct lcm_toc_builder *b, uint32_t parent, struct toc_name n, uint32_t hash,
		     const struct lcm_toc_entry *e, uint32_t old, uint32_t *ret)
{
	uint32_t name, node = (uint32_t)b->n_nodes;
	size_t i = hash;
	int r = lcm_toc_grow(&b->nodes, &b->cap_nodes, b->n_nodes, 1, sizeof(*b->nodes),
			     LCM_TOC_ENTRIES_MAX);

	if (r == 0)
		r = lcm_toc_slots_grow(b);
	if (r == 0)
		r = lcm_toc_string_add(b, n.s, n.len, &name);
	if (r < 0)
		return r;
	b->nodes[node] = (struct toc_node){ .e = *e, .next = LCM_TOC_NONE };
	b->nodes[node].e.parent = parent;
	b->nodes[node].e.name = name;
	b->nodes[node].e.name_len = (uint16_t)n.len;
	b->n_nodes++;
	if (old == LCM_TOC_NONE) {
		slot_put(b->slots, b->n_slots, (struct toc_slot){ .hash = hash, .node = node });
		b->used_slots++;
	} else {
		while (b->slots[i & (b->n_slots - 1)].node != old)
			i++;
		b->slots[i & (b->n_slots - 1)].node = node;
		b->nodes[old].e.flags |= NODE_DEAD;
		b->replaced = true;
		b->dir = LCM_TOC_NONE;
	}
	child_append(b, parent, node);
	*ret = node;
	return 0;
}

/* ---- paths ---- */

/* Takes the next component off @path; "" at the end. */
struct toc_name lcm_toc_path_next(struct toc_name *path)
{
	struct toc_name n = { 0 };
	const char *slash;

	while (path->len) {
		slash = memchr(path->s, '/', path->len);
		n.s = path->s;
		n.len = slash ? (size_t)(slash - path->s) : path->len;
		path->s += n.len + (slash ? 1 : 0);
		path->len -= n.len + (slash ? 1 : 0);
		if (n.len && !(n.len == 1 && n.s[0] == '.'))
			return n;
	}
	return (struct toc_name){ 0 };
}

/* Strips what the contract of struct lcm_toc_item strips at both ends. */
struct toc_name lcm_toc_path_trim(const char *s, size_t len)
{
	for (;;) {
		if (len >= 1 && s[0] == '/') {
			s++;
			len--;
		} else if (len >= 2 && s[0] == '.' && s[1] == '/') {
			s += 2;
			len -= 2;
		} else {
			break;
		}
	}
	for (;;) {
		if (len >= 1 && s[len - 1] == '/')
			len--;
		else if (len >= 2 && s[len - 1] == '.' && s[len - 2] == '/')
			len -= 2;
		else
			break;
	}
	if (len == 1 && s[0] == '.')
		len = 0;
	return (struct toc_name){ s, len };
}

uint32_t lcm_toc_node_find(const struct lcm_toc_builder *b, const char *path, size_t len)
{
	struct toc_name p = lcm_toc_path_trim(path, len), n;
	uint32_t at = 0;

	for (n = lcm_toc_path_next(&p); n.len && at != LCM_TOC_NONE; n = lcm_toc_path_next(&p))
		at = lcm_toc_node_child(b, at, n, lcm_toc_hash(b, at, n));
	return at;
}

const char *lcm_toc_path_text(const struct lcm_toc_builder *b, const uint32_t *order, uint32_t i,
			      char out[LCM_ERR_MSG_MAX / 2])
{
	size_t at = LCM_ERR_MSG_MAX / 2 - 1;

	out[at] = '\0';
	while (i) {
		const struct toc_node *n = &b->nodes[order ? order[i] : i];

		if (n->e.name_len + 1U > at)
			break;
		if (out[at])
			out[--at] = '/';
		at -= n->e.name_len;
		memcpy(out + at, toc_node_name(b, n), n->e.name_len);
		i = n->e.parent;
	}
	return out + at;
}
