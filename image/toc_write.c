/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "image/toc_builder.h"
#include "src/base/sys.h"

#define OUT_CAP (256U << 10) /* small enough to be checksummed and written from the cache */

/* The breadth-first order of what is reachable from the root. */
struct order {
	const struct lcm_toc_builder *b;
	uint32_t *nodes; /* owned; file index -> node */
	uint32_t *index; /* owned; node -> file index, LCM_TOC_NONE: not in the file */
	uint32_t n;
};

/* A file being written: a cache-sized buffer, checksummed as it is flushed. */
struct out {
	const struct lcm_toc_sink *sink;
	char *buf; /* owned, OUT_CAP bytes */
	size_t len;
	uint64_t crc;
};

/* ---- order ---- */

static int node_cmp(const void *pa, const void *pb, void *arg)
{
	const struct lcm_toc_builder *b = arg;
	const struct toc_node *x = &b->nodes[*(const uint32_t *)pa],
			      *y = &b->nodes[*(const uint32_t *)pb];

	return toc_name_cmp(toc_node_name(b, x), x->e.name_len, toc_node_name(b, y), y->e.name_len);
}

static void order_children(struct lcm_toc_builder *b, struct order *o, uint32_t dir)
{
	struct toc_node *d = &b->nodes[o->nodes[dir]];
	uint32_t first = o->n;

	for (uint32_t c = d->e.first_child; c != LCM_TOC_NONE; c = b->nodes[c].next)
		if (!(b->nodes[c].e.flags & NODE_DEAD))
			o->nodes[o->n++] = c;
	if (d->e.flags & NODE_UNSORTED)
		qsort_r(o->nodes + first, o->n - first, sizeof(*o->nodes), node_cmp, b);
	for (uint32_t i = first; i < o->n; i++) {
		o->index[o->nodes[i]] = i;
		b->nodes[o->nodes[i]].e.parent = dir;
	}
	d->e.n_children = o->n - first;
	d->e.first_child = d->e.n_children ? first : 0;
}

static int order_make(struct lcm_toc_builder *b, struct order *o)
{
	o->nodes = malloc(b->n_nodes * sizeof(*o->nodes));
	o->index = malloc(b->n_nodes * sizeof(*o->index));
	if (!o->nodes || !o->index)
		return -ENOMEM;
	memset(o->index, 0xff, b->n_nodes * sizeof(*o->index));
	o->nodes[0] = o->index[0] = 0;
	o->n = 1;
	for (uint32_t i = 0; i < o->n; i++)
		if (b->nodes[o->nodes[i]].e.type == LCM_TOC_DIR)
			order_children(b, o, i);
	return 0;
}

static void order_fini(struct order *o)
{
	free(o->nodes);
	free(o->index);
}

/* ---- hardlinks ---- */

/* @to's content moves into @link, the first name in the tree that is left of it. */
static void link_promote(struct toc_node *link, struct toc_node *to)
{
	struct lcm_toc_entry e = to->e;

	e.parent = link->e.parent;
	e.name = link->e.name;
	e.name_len = link->e.name_len;
	e.flags = 0;
	link->e = e;
}

/* Nodes that only hardlinks still hold get a name again: that of the first of them. */
static void links_promote(struct lcm_toc_builder *b, const struct order *o)
{
	for (uint32_t i = 0; i < o->n; i++) {
		struct toc_node *n = &b->nodes[o->nodes[i]], *to;

		if (n->e.type != LCM_TOC_HARDLINK || o->index[n->e.link] != LCM_TOC_NONE)
			continue;
		to = &b->nodes[n->e.link];
		if (to->e.type == LCM_TOC_HARDLINK) {
			n->e.link = to->e.link; /* it has moved, see below */
			continue;
		}
		link_promote(n, to);
		to->e.type = LCM_TOC_HARDLINK;
		to->e.link = o->nodes[i];
	}
}

/* ---- output ---- */

static int out_flush(struct out *o)
{
	size_t len = o->len;

	o->len = 0;
	o->crc = toc_checksum(o->crc, o->buf, len);
	return len ? o->sink->add(o->sink->arg, o->buf, len) : 0;
}

static int out_add(struct out *o, const void *p, size_t len)
{
	const char *at = p;
	int r = 0;

	while (r == 0 && len) {
		size_t n = LCM_MIN(len, OUT_CAP - o->len);

		memcpy(o->buf + o->len, at, n);
		o->len += n;
		at += n;
		len -= n;
		if (o->len == OUT_CAP)
			r = out_flush(o);
	}
	return r;
}

static int write_entries(const struct order *o, struct out *out, struct lcm_err *err)
{
	uint32_t chunks = 0;
	uint64_t bytes = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < o->n; i++) {
		struct lcm_toc_entry e = o->b->nodes[o->nodes[i]].e;

		e.flags &= LCM_TOC_FLAGS_ALL;
		if (e.type == LCM_TOC_REG) {
			e.first_chunk = e.n_chunks ? chunks : 0;
			chunks += e.n_chunks;
			if (__builtin_add_overflow(bytes, e.size, &bytes) || bytes > INT64_MAX)
				return lcm_err_set(
				    err, -EFBIG, "layer: its files together are over 2^63-1 bytes");
		} else if (e.type == LCM_TOC_HARDLINK) {
			e.link = o->index[e.link];
		}
		r = out_add(out, &e, sizeof(e));
	}
	return r;
}

static int write_chunks(const struct order *o, uint64_t blob_size, struct out *out,
			struct lcm_err *err)
{
	char path[LCM_ERR_MSG_MAX / 2];
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < o->n; i++) {
		const struct lcm_toc_entry *e = &o->b->nodes[o->nodes[i]].e;

		if (e->type != LCM_TOC_REG)
			continue;
		for (uint32_t k = 0; r == 0 && k < e->n_chunks; k++) {
			const struct lcm_toc_chunk *c = &o->b->chunks[e->first_chunk + k];

			if (c->blob_off > blob_size || c->blob_len > blob_size - c->blob_off)
				return lcm_err_set(err, -EUCLEAN,
						   "layer entry '%s': chunk at %llu of %llu bytes "
						   "lies outside the blob",
						   lcm_toc_path_text(o->b, o->nodes, i, path),
						   (unsigned long long)c->blob_off,
						   (unsigned long long)c->blob_len);
			r = out_add(out, c, sizeof(*c));
		}
	}
	return r;
}

static int write_windows(const struct lcm_toc_builder *b, uint64_t at, struct out *out)
{
	static const char zeros[TOC_WINDOWS_ALIGN];
	int r;

	if (!b->windows.len)
		return 0;
	r = out_add(out, zeros, -at % TOC_WINDOWS_ALIGN);
	return r < 0 ? r : out_add(out, b->windows.data, b->windows.len);
}

static uint32_t count_chunks(const struct order *o)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < o->n; i++)
		if (o->b->nodes[o->nodes[i]].e.type == LCM_TOC_REG)
			n += o->b->nodes[o->nodes[i]].e.n_chunks;
	return n;
}

static int write_sections(const struct order *o, const struct lcm_toc_id *id,
			  const struct toc_header *h, struct out *out, struct lcm_err *err)
{
	int r = write_entries(o, out, err);

	if (r == 0)
		r = write_chunks(o, id->blob_size, out, err);
	if (r == 0)
		r = out_add(out, o->b->spans, o->b->n_spans * sizeof(*o->b->spans));
	if (r == 0)
		r = out_add(out, o->b->xattrs.data, o->b->xattrs.len);
	if (r == 0)
		r = out_add(out, o->b->strings.data, o->b->strings.len);
	if (r == 0)
		r = write_windows(o->b, toc_body_len(h), out);
	return r < 0 ? r : out_flush(out);
}

/* The checksum is known last, and stands first. */
static int write_all(const struct order *o, const struct lcm_toc_id *id,
		     const struct lcm_toc_sink *sink, struct lcm_err *err)
{
	lcm_autofree char *buf = malloc(OUT_CAP);
	struct out out = { .sink = sink, .buf = buf };
	struct toc_header h = { .version = LCM_TOC_VERSION, .id = *id, .n_entries = o->n };
	int r;

	if (!buf)
		return -ENOMEM;
	memcpy(h.magic, LCM_TOC_MAGIC, sizeof(h.magic));
	h.n_chunks = count_chunks(o);
	h.n_spans = (uint32_t)o->b->n_spans;
	h.n_windows = (uint32_t)(o->b->windows.len / LCM_TOC_WINDOW);
	h.xattrs_len = o->b->xattrs.len;
	h.strings_len = o->b->strings.len;
	h.file_len = toc_file_len(&h);
	r = write_sections(o, id, &h, &out, err);
	if (r < 0)
		return r;
	h.checksum = toc_checksum(out.crc, &h, sizeof(h));
	return sink->head(sink->arg, &h, sizeof(h));
}

static int spans_finish(struct lcm_toc_builder *b, const struct lcm_toc_id *id, struct lcm_err *err)
{
	const char *rule;
	char path[LCM_ERR_MSG_MAX / 2];
	uint32_t at = 0;
	int r;

	rule = lcm_toc_spans_rule(b->spans, (uint32_t)b->n_spans,
				  (uint32_t)(b->windows.len / LCM_TOC_WINDOW), id, &at);
	if (rule)
		return lcm_err_set(err, -EUCLEAN, "span %u %s", at, rule);
	r = lcm_toc_spans_cut(b, &at, &rule);
	if (r == -EUCLEAN)
		return lcm_err_set(err, r, "layer entry '%s': %s",
				   lcm_toc_path_text(b, NULL, at, path), rule);
	return r;
}

int lcm_toc_builder_write(struct lcm_toc_builder *b, const struct lcm_toc_id *id,
			  const struct lcm_toc_sink *sink, struct lcm_err *err)
{
	struct order o = { .b = b };
	int r;

	if (id->compression > LCM_COMP_ZSTD || id->flags & ~LCM_TOC_SECONDS ||
	    id->blob_size > INT64_MAX)
		return lcm_err_set(err, -EINVAL, "TOC: bad identity");
	r = spans_finish(b, id, err);
	if (r == 0)
		r = lcm_toc_links_resolve(b, err);
	if (r == 0)
		r = order_make(b, &o);
	if (r == 0 && b->replaced)
		links_promote(b, &o);
	if (r == 0)
		r = write_all(&o, id, sink, err);
	order_fini(&o);
	return r;
}

/* ---- files ---- */

static int file_add(void *arg, const void *p, size_t len)
{
	return lcm_sys_write_full(*(int *)arg, p, len);
}

static int file_head(void *arg, const void *p, size_t len)
{
	return lcm_sys_pwrite_full(*(int *)arg, p, len, 0);
}

int lcm_toc_file_begin(int dirfd, const char *path, char ret_tmp[LCM_TOC_TMP_MAX],
		       struct lcm_toc_sink *ret, int *fd)
{
	static const struct toc_header none;
	static _Atomic unsigned int serial;
	int r = snprintf(ret_tmp, LCM_TOC_TMP_MAX, "%s.%d.%u.tmp", path, (int)getpid(),
			 atomic_fetch_add(&serial, 1));

	if (r >= LCM_TOC_TMP_MAX)
		return -ENAMETOOLONG;
	*fd = lcm_sys_openat(dirfd, ret_tmp, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (*fd < 0)
		return *fd;
	*ret = (struct lcm_toc_sink){ file_add, file_head, fd };
	return lcm_sys_write_full(*fd, &none, sizeof(none));
}

int lcm_toc_file_end(int dirfd, const char *path, const char *tmp, int *fd, int status,
		     bool durable)
{
	bool made = *fd >= 0;
	int r = status;

	if (r == 0 && durable)
		r = lcm_sys_fsync(*fd);
	lcm_closep(fd);
	if (r == 0)
		r = lcm_sys_renameat(dirfd, tmp, dirfd, path);
	if (r < 0 && made)
		lcm_ignore(lcm_sys_unlinkat(dirfd, tmp, 0));
	return r == 0 && durable ? lcm_fsync_parent_at(dirfd, path) : r;
}

int lcm_toc_builder_finish(struct lcm_toc_builder *b, const struct lcm_toc_id *id, int dirfd,
			   const char *path, bool durable, struct lcm_err *err)
{
	struct lcm_err why = { 0 };
	struct lcm_toc_sink sink;
	char tmp[LCM_TOC_TMP_MAX];
	int fd = -EBADF, r = lcm_toc_file_begin(dirfd, path, tmp, &sink, &fd);

	if (r == 0)
		r = lcm_toc_builder_write(b, id, &sink, &why);
	r = lcm_toc_file_end(dirfd, path, tmp, &fd, r, durable);
	if (r < 0)
		return lcm_err_set(err, r, "TOC '%s' cannot be written: %s", path,
				   lcm_err_text(&why, r));
	return 0;
}
