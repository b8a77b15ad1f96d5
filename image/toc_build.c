/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/random.h>

#include "image/toc_builder.h"
#include "src/base/sys.h"

#define WHITEOUT ".wh."
#define WHITEOUT_META ".wh..wh." /* aufs bookkeeping; of no meaning elsewhere */
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define DROPPED (LCM_TOC_NONE - 1) /* walk_dir(): below an aufs directory */

static int bad(struct lcm_err *err, const struct lcm_toc_item *item, int code, const char *rule)
{
	return lcm_err_set(err, code, "layer entry '%.*s': %s",
			   (int)LCM_MIN(item->path_len, (size_t)300), item->path, rule);
}

static struct lcm_toc_entry implicit_dir(void)
{
	return (struct lcm_toc_entry){
		.type = LCM_TOC_DIR,
		.flags = LCM_TOC_IMPLICIT,
		.mode = 0755,
		.xattrs = LCM_TOC_NONE,
		.first_child = LCM_TOC_NONE,
		.n_children = LCM_TOC_NONE,
	};
}

int lcm_toc_builder_new(struct lcm_toc_builder **ret)
{
	lcm_auto(lcm_toc_builder) b = calloc(1, sizeof(*b));
	uint32_t empty;
	int r;

	if (!b)
		return -ENOMEM;
	b->strings = LCM_BUF(UINT32_MAX);
	b->xattrs = LCM_BUF(UINT32_MAX - 3);
	b->windows = LCM_BUF(LCM_TOC_WINDOWS_MAX);
	b->last_xattrs = b->dir = LCM_TOC_NONE;
	r = (int)lcm_errno(getrandom(&b->seed, sizeof(b->seed), 0));
	if (r >= 0)
		r = lcm_toc_grow(&b->nodes, &b->cap_nodes, 0, 1, sizeof(*b->nodes),
				 LCM_TOC_ENTRIES_MAX);
	if (r == 0)
		r = lcm_toc_slots_grow(b);
	if (r == 0)
		r = lcm_toc_string_add(b, "", 0, &empty);
	if (r < 0)
		return r;
	b->nodes[0] = (struct toc_node){ .e = implicit_dir(), .next = LCM_TOC_NONE };
	b->n_nodes = 1;
	*ret = lcm_steal(&b);
	return 0;
}

void lcm_toc_builder_free(struct lcm_toc_builder *b)
{
	if (!b)
		return;
	free(b->nodes);
	free(b->chunks);
	free(b->spans);
	lcm_buf_fini(&b->windows);
	free(b->pending);
	free(b->slots);
	lcm_buf_fini(&b->strings);
	lcm_buf_fini(&b->xattrs);
	free(b);
}

/* ---- paths ---- */

static bool starts(struct toc_name n, const char *prefix)
{
	size_t len = strlen(prefix);

	return n.len >= len && memcmp(n.s, prefix, len) == 0;
}

static bool is_dots(struct toc_name n)
{
	return n.len == 2 && n.s[0] == '.' && n.s[1] == '.';
}

/* One step down to directory @n of @at, made when missing. */
static int walk_step(struct lcm_toc_builder *b, const struct lcm_toc_item *item, uint32_t at,
		     struct toc_name n, uint32_t *ret, struct lcm_err *err)
{
	uint32_t hash, c;
	struct lcm_toc_entry dir = implicit_dir();

	if (is_dots(n))
		return bad(err, item, -EUCLEAN, "'..' in a path");
	if (n.len > LCM_NAME_LEN_MAX)
		return bad(err, item, -EUCLEAN, "name longer than 255 bytes");
	if (starts(n, WHITEOUT))
		return bad(err, item, -EUCLEAN, "lies below a whiteout");
	hash = lcm_toc_hash(b, at, n);
	c = lcm_toc_node_child(b, at, n, hash);
	if (c != LCM_TOC_NONE && b->nodes[c].e.type == LCM_TOC_DIR) {
		*ret = c;
		return 0;
	}
	if (c != LCM_TOC_NONE && b->nodes[c].e.type != LCM_TOC_WHITEOUT)
		return lcm_err_set(
		    err, -EUCLEAN,
		    "layer entry '%.*s': lies below '%.*s', which is not a directory",
		    (int)LCM_MIN(item->path_len, (size_t)200), item->path,
		    (int)LCM_MIN((size_t)(n.s + n.len - item->path), (size_t)200), item->path);
	/* Whited out and made anew: nothing of a lower layer is left to take metadata from. */
	if (c != LCM_TOC_NONE)
		dir.flags = LCM_TOC_OPAQUE;
	return lcm_toc_node_add(b, at, n, hash, &dir, c, ret);
}

static void dir_remember(struct lcm_toc_builder *b, struct toc_name path, uint32_t dir)
{
	if (path.len > sizeof(b->dir_path))
		return;
	memcpy(b->dir_path, path.s, path.len);
	b->dir_len = path.len;
	b->dir = dir;
}

/* Length of the longest beginning of both paths that ends with a component. */
static size_t common_dir(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t k = 0, end = 0;

	for (;; k++) {
		bool a_ends = k == alen || a[k] == '/', b_ends = k == blen || b[k] == '/';

		if (a_ends && b_ends)
			end = k;
		if (k == alen || k == blen || a[k] != b[k])
			return end;
	}
}

/* Where to begin to walk to @path: what it shares with the last directory is taken off it. */
static uint32_t walk_start(const struct lcm_toc_builder *b, struct toc_name *path)
{
	size_t k = b->dir == LCM_TOC_NONE ? 0
					  : common_dir(b->dir_path, b->dir_len, path->s, path->len);
	struct toc_name up = { b->dir_path + k, b->dir_len - k };
	uint32_t at = b->dir;

	if (k == 0)
		return 0;
	while (lcm_toc_path_next(&up).len)
		at = b->nodes[at].e.parent;
	path->s += k;
	path->len -= k;
	return at;
}

/* Directory @path, made with its parents when missing; DROPPED when it is aufs'. */
static int walk_dir(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
		    struct toc_name path, uint32_t *ret, struct lcm_err *err)
{
	struct toc_name rest = path, n;
	uint32_t at = walk_start(b, &rest);
	int r;

	if (rest.len == 0) {
		*ret = at;
		return 0;
	}
	for (n = lcm_toc_path_next(&rest); n.len; n = lcm_toc_path_next(&rest)) {
		if (starts(n, WHITEOUT_META)) {
			*ret = DROPPED;
			return 0;
		}
		r = walk_step(b, item, at, n, &at, err);
		if (r < 0)
			return r;
	}
	dir_remember(b, path, at);
	*ret = at;
	return 0;
}

/* ---- entries ---- */

static const char *chunk_rule(const struct lcm_toc_item *item, const struct lcm_toc_item_chunk *k,
			      uint64_t off)
{
	uint64_t end;
	bool hole = k->flags & LCM_TOC_CHUNK_ZEROS, tar = k->flags & LCM_TOC_CHUNK_TAR;

	if (k->flags & ~(LCM_TOC_CHUNK_ZEROS | LCM_TOC_CHUNK_TAR) || (hole && tar))
		return "unknown chunk flag";
	if (k->file_off != off || k->file_len < 1 || k->file_len > item->size - off)
		return "chunks overlap, leave a gap or pass the end of the file";
	if (hole)
		return NULL;
	if (k->blob_len < 1 || __builtin_add_overflow(k->blob_off, k->blob_len, &end) ||
	    end > INT64_MAX)
		return "chunk with a bad range of the blob";
	if (k->skip > INT64_MAX)
		return "chunk that begins after 2^63-1 bytes";
	if (tar)
		return k->skip || k->blob_len != k->file_len ? "chunk of the tar of two lengths"
							     : NULL;
	if (lcm_digest_is_zero(&k->digest) &&
	    (item->n_chunks != 1 || lcm_digest_is_zero(&item->digest)))
		return "chunk without a digest";
	return NULL;
}

static const char *reg_rule(const struct lcm_toc_item *item)
{
	uint64_t off = 0;

	if (item->size > INT64_MAX)
		return "size over 2^63-1";
	for (size_t i = 0; i < item->n_chunks; i++) {
		const char *rule = chunk_rule(item, &item->chunks[i], off);

		if (rule)
			return rule;
		off += item->chunks[i].file_len;
	}
	if (item->n_chunks && off != item->size)
		return "chunks end before the file does";
	return NULL;
}

/* NULL, or what is wrong with @item apart from its path. */
static const char *item_rule(const struct lcm_toc_item *item)
{
	if (item->mtime_nsec > 999999999)
		return "nanoseconds out of range";
	switch (item->type) {
	case LCM_TOC_DIR:
	case LCM_TOC_FIFO:
	case LCM_TOC_WHITEOUT:
		return NULL;
	case LCM_TOC_REG:
		return reg_rule(item);
	case LCM_TOC_SYMLINK:
	case LCM_TOC_HARDLINK:
		if (item->link_len < 1 || memchr(item->link, '\0', item->link_len))
			return "empty link target, or one with a NUL";
		return item->link_len > LCM_TOC_LINK_MAX ? "link target longer than 4095 bytes"
							 : NULL;
	case LCM_TOC_CHAR:
	case LCM_TOC_BLOCK:
		return NULL; /* device_check() */
	default:
		return "unknown type";
	}
}

static int device_check(const struct lcm_toc_item *item, struct lcm_err *err)
{
	if (item->rdev_major <= LCM_TOC_MAJOR_MAX && item->rdev_minor <= LCM_TOC_MINOR_MAX)
		return 0;
	return lcm_err_set(err, -EUCLEAN,
			   "layer entry '%.*s': device number %u:%u is out of range, "
			   "Linux has 0:0 to %u:%u",
			   (int)LCM_MIN(item->path_len, (size_t)150), item->path, item->rdev_major,
			   item->rdev_minor, LCM_TOC_MAJOR_MAX, LCM_TOC_MINOR_MAX);
}

static int chunks_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
		      struct lcm_toc_entry *e)
{
	int r = lcm_toc_grow(&b->chunks, &b->cap_chunks, b->n_chunks, item->n_chunks,
			     sizeof(*b->chunks), LCM_TOC_CHUNKS_MAX);

	if (r < 0)
		return r;
	e->first_chunk = (uint32_t)b->n_chunks;
	e->n_chunks = (uint32_t)item->n_chunks;
	for (size_t i = 0; i < item->n_chunks; i++) {
		const struct lcm_toc_item_chunk *k = &item->chunks[i];
		bool hole = k->flags & LCM_TOC_CHUNK_ZEROS;

		b->of_tar |= (k->flags & LCM_TOC_CHUNK_TAR) != 0;
		b->chunks[b->n_chunks++] = (struct lcm_toc_chunk){
			.blob_off = hole ? 0 : k->blob_off,
			.blob_len = hole ? 0 : k->blob_len,
			.file_off = k->file_off,
			.file_len = k->file_len,
			.skip = hole ? 0 : k->skip,
			.flags = k->flags,
			.span = LCM_TOC_NONE,
			.digest = k->digest,
		};
	}
	return 0;
}

static int hardlink_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
			struct lcm_toc_entry *e, struct lcm_err *err)
{
	uint32_t to = lcm_toc_node_find(b, item->link, item->link_len), off;
	int r;

	if (to != LCM_TOC_NONE && b->nodes[to].e.type == LCM_TOC_HARDLINK)
		to = b->nodes[to].e.link;
	e->link = to;
	if (to != LCM_TOC_NONE && b->nodes[to].e.type == LCM_TOC_DIR)
		return lcm_err_set(err, -EUCLEAN,
				   "layer entry '%.*s': hardlink to '%.*s', which is a directory",
				   (int)LCM_MIN(item->path_len, (size_t)200), item->path,
				   (int)LCM_MIN(item->link_len, (size_t)200), item->link);
	if (to != LCM_TOC_NONE && b->nodes[to].e.type != LCM_TOC_WHITEOUT)
		return 0;
	e->link = LCM_TOC_NONE;
	r = lcm_toc_string_add(b, item->link, item->link_len, &off);
	if (r == 0)
		r = lcm_toc_grow(&b->pending, &b->cap_pending, b->n_pending, 1, sizeof(*b->pending),
				 LCM_TOC_ENTRIES_MAX);
	if (r == 0)
		b->pending[b->n_pending++] = (struct toc_pending){ LCM_TOC_NONE, off,
								   (uint32_t)item->link_len };
	return r;
}

/* What belongs to one type only. */
static int entry_body(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
		      struct lcm_toc_entry *e, struct lcm_err *err)
{
	switch (item->type) {
	case LCM_TOC_DIR:
		e->first_child = e->n_children = LCM_TOC_NONE;
		return 0;
	case LCM_TOC_REG:
		e->size = item->size;
		e->digest = item->digest;
		return chunks_add(b, item, e);
	case LCM_TOC_SYMLINK:
		e->size = e->link_len = (uint32_t)item->link_len;
		return lcm_toc_string_add(b, item->link, item->link_len, &e->link);
	case LCM_TOC_HARDLINK:
		return hardlink_add(b, item, e, err);
	case LCM_TOC_CHAR:
	case LCM_TOC_BLOCK:
		e->rdev_major = item->rdev_major;
		e->rdev_minor = item->rdev_minor;
		return device_check(item, err);
	default:
		return 0;
	}
}

static int entry_make(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
		      struct lcm_toc_entry *e, struct lcm_err *err)
{
	const char *rule = item_rule(item);
	int r;

	if (rule)
		return bad(err, item, -EUCLEAN, rule);
	*e = (struct lcm_toc_entry){
		.type = (uint8_t)item->type,
		.mode = item->mode & 07777,
		.uid = item->uid,
		.gid = item->gid,
		.mtime = item->mtime,
		.mtime_nsec = item->mtime_nsec,
	};
	r = lcm_toc_xattrs_add(b, item, &e->xattrs, &rule);
	if (r == -EUCLEAN)
		return bad(err, item, r, rule);
	return r < 0 ? r : entry_body(b, item, e, err);
}

/* New metadata for a directory that stays. */
static void dir_update(struct toc_node *d, const struct lcm_toc_entry *e)
{
	d->e.flags &= (uint8_t)~LCM_TOC_IMPLICIT;
	d->e.mode = e->mode;
	d->e.uid = e->uid;
	d->e.gid = e->gid;
	d->e.mtime = e->mtime;
	d->e.mtime_nsec = e->mtime_nsec;
	d->e.xattrs = e->xattrs;
}

/* @hash: lcm_toc_hash() of (@parent, @n). */
static int entry_put(struct lcm_toc_builder *b, uint32_t parent, struct toc_name n, uint32_t hash,
		     struct lcm_toc_entry *e)
{
	uint32_t old = lcm_toc_node_child(b, parent, n, hash), node;
	struct toc_node *o = old == LCM_TOC_NONE ? NULL : &b->nodes[old];
	bool link_waits = e->type == LCM_TOC_HARDLINK && e->link == LCM_TOC_NONE;
	int r;

	if (o && e->type == LCM_TOC_WHITEOUT) {
		if (o->e.type == LCM_TOC_DIR)
			o->e.flags = (uint8_t)((o->e.flags | LCM_TOC_OPAQUE) & ~LCM_TOC_IMPLICIT);
		return 0;
	}
	if (o && o->e.type == LCM_TOC_DIR && e->type == LCM_TOC_DIR) {
		dir_update(o, e);
		return 0;
	}
	if (o && o->e.type == LCM_TOC_WHITEOUT && e->type == LCM_TOC_DIR)
		e->flags |= LCM_TOC_OPAQUE;
	r = lcm_toc_node_add(b, parent, n, hash, e, old, &node);
	if (link_waits) {
		if (r == 0)
			b->pending[b->n_pending - 1].node = node;
		else
			b->n_pending--;
	}
	return r;
}

static int whiteout_put(struct lcm_toc_builder *b, const struct lcm_toc_item *item, uint32_t parent,
			struct toc_name n, struct lcm_err *err)
{
	struct lcm_toc_entry e = { .type = LCM_TOC_WHITEOUT, .xattrs = LCM_TOC_NONE };

	if (n.len == 0 || is_dots(n) || (n.len == 1 && n.s[0] == '.'))
		return bad(err, item, -EUCLEAN, "whiteout of no name");
	return entry_put(b, parent, n, lcm_toc_hash(b, parent, n), &e);
}

/* An entry whose name begins with ".wh.". */
static int marker_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item, uint32_t parent,
		      struct toc_name n, struct lcm_err *err)
{
	const size_t skip = strlen(WHITEOUT);

	if (!starts(n, WHITEOUT_META))
		return whiteout_put(b, item, parent, (struct toc_name){ n.s + skip, n.len - skip },
				    err);
	if (n.len == strlen(WHITEOUT_OPAQUE) && starts(n, WHITEOUT_OPAQUE))
		b->nodes[parent].e.flags |= LCM_TOC_OPAQUE;
	return 0;
}

static int root_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item, struct lcm_err *err)
{
	struct lcm_toc_entry e;
	int r;

	if (item->type != LCM_TOC_DIR)
		return bad(err, item, -EUCLEAN, "the root is not a directory");
	r = entry_make(b, item, &e, err);
	if (r == 0)
		dir_update(&b->nodes[0], &e);
	return r;
}

static int named_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
		     struct toc_name path, struct lcm_err *err)
{
	const char *slash = memrchr(path.s, '/', path.len);
	struct toc_name dir = { path.s, slash ? (size_t)(slash - path.s) : 0 };
	struct toc_name n = { path.s, path.len };
	struct lcm_toc_entry e;
	uint32_t parent, hash;
	int r;

	if (slash)
		n = (struct toc_name){ slash + 1, path.len - dir.len - 1 };
	if (is_dots(n))
		return bad(err, item, -EUCLEAN, "'..' in a path");
	if (n.len > LCM_NAME_LEN_MAX)
		return bad(err, item, -EUCLEAN, "name longer than 255 bytes");
	r = walk_dir(b, item, dir, &parent, err);
	if (r < 0 || parent == DROPPED)
		return r;
	if (item->type == LCM_TOC_WHITEOUT)
		return whiteout_put(b, item, parent, n, err);
	if (starts(n, WHITEOUT))
		return marker_add(b, item, parent, n, err);
	hash = lcm_toc_hash(b, parent, n);
	__builtin_prefetch(&b->slots[hash & (b->n_slots - 1)],
			   1); /* it comes while the entry is made */
	r = entry_make(b, item, &e, err);
	return r < 0 ? r : entry_put(b, parent, n, hash, &e);
}

int lcm_toc_builder_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
			struct lcm_err *err)
{
	struct toc_name path = lcm_toc_path_trim(item->path, item->path_len);
	int r;

	if (item->path_len > LCM_PATH_MAX)
		return bad(err, item, -EFBIG, "path longer than 4000 bytes");
	if (path.len && memchr(path.s, '\0', path.len))
		return bad(err, item, -EUCLEAN, "NUL in a path");
	r = path.len ? named_add(b, item, path, err) : root_add(b, item, err);
	if (r == -EFBIG)
		return bad(err, item, r, "layer with too many entries, chunks or bytes of names");
	return r;
}
