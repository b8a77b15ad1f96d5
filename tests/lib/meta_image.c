/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the bytes of an EROFS image next to the model. Offsets are those of the format, written
 * out. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/meta_model.h"

struct image {
	const struct mm_model *m;
	const uint8_t *p;
	size_t len;
	int64_t build_time;
	uint32_t build_nsec;
	uint64_t inodes; /* seen */
	uint8_t *used;   /* one per 4 bytes of the image */
	const char *bad;
};

struct inode {
	uint64_t at, end; /* bytes of the fixed part; end of the xattrs */
	unsigned int layout, icount;
	uint32_t mode, nlink, uid, gid, u, nsec;
	uint64_t size, xattrs;
	int64_t mtime;
};

static uint64_t le(const struct image *im, uint64_t at, unsigned int n)
{
	uint64_t v = 0;

	if (at > im->len || n > im->len - at)
		return UINT64_MAX;
	for (unsigned int i = 0; i < n; i++)
		v |= (uint64_t)im->p[at + i] << 8 * i;
	return v;
}

/* No two things may lie on the same bytes. */
static const char *claim(struct image *im, uint64_t at, uint64_t n)
{
	if (at > im->len || n > im->len - at)
		return "something lies outside the image";
	for (uint64_t i = at / 4; i < (at + n + 3) / 4; i++) {
		if (im->used[i])
			return "two things overlap";
		im->used[i] = 1;
	}
	return NULL;
}

static uint32_t crc(const uint8_t *p, size_t len)
{
	uint32_t c = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		c ^= i >= 4 && i < 8 ? 0 : p[i]; /* the checksum itself counts as 0 */
		for (int b = 0; b < 8; b++)
			c = c & 1 ? c >> 1 ^ 0x82F63B78 : c >> 1;
	}
	return c;
}

static const char *read_super(struct image *im, uint64_t *ret_root)
{
	const uint64_t s = 1024;

	if (im->len < 4096 || im->len % 4096)
		return "the image is not whole blocks";
	if (le(im, s, 4) != 0xE0F5E1E2)
		return "magic";
	if (le(im, s + 4, 4) != crc(im->p + s, 4096 - s))
		return "checksum";
	if (le(im, s + 8, 4) != 3 || le(im, s + 80, 4) != 4)
		return "features";
	if (im->p[s + 12] != 12 || im->p[s + 13] != 0 || im->p[s + 90] != 0)
		return "block size";
	if (le(im, s + 36, 4) != im->len / 4096)
		return "blocks";
	if (le(im, s + 40, 4) != 0 || le(im, s + 44, 4) != 0)
		return "metadata area";
	if (im->p[s + 79])
		return "volume name";
	for (uint64_t i = s + 84; i < s + 128; i++)
		if (im->p[i])
			return "reserved bytes of the superblock";
	if (le(im, s + 16, 8) != im->m->inodes)
		return "number of inodes in the superblock";
	im->build_time = (int64_t)le(im, s + 24, 8);
	im->build_nsec = (uint32_t)le(im, s + 32, 4);
	*ret_root = le(im, s + 14, 2);
	return claim(im, 0, s + 128 + 20);
}

static const char *read_inode(struct image *im, uint64_t nid, struct inode *n)
{
	uint64_t at = nid * 32;
	unsigned int fmt = (unsigned int)le(im, at, 2);
	bool ext = fmt & 1;

	if (nid > im->len / 32 || at + (ext ? 64 : 32) > im->len || fmt > 15)
		return "inode outside the image, or unknown format";
	n->at = at;
	n->layout = fmt >> 1;
	n->icount = (unsigned int)le(im, at + 2, 2);
	n->mode = (uint32_t)le(im, at + 4, 2);
	n->size = le(im, at + 8, ext ? 8 : 4);
	n->u = (uint32_t)le(im, at + 16, 4);
	n->uid = (uint32_t)le(im, at + 24, ext ? 4 : 2);
	n->gid = (uint32_t)le(im, at + (ext ? 28 : 26), ext ? 4 : 2);
	n->nlink = (uint32_t)(ext ? le(im, at + 44, 4) : le(im, at + 6, 2));
	n->mtime = ext ? (int64_t)le(im, at + 32, 8) : im->build_time;
	n->nsec = ext ? (uint32_t)le(im, at + 40, 4) : im->build_nsec;
	n->xattrs = at + (ext ? 64 : 32);
	n->end = n->xattrs + (n->icount ? 12 + 4 * ((uint64_t)n->icount - 1) : 0);
	if (!ext && (le(im, at + 12, 4) || le(im, at + 28, 4)))
		return "reserved bytes of a compact inode";
	return claim(im, at, n->end - at);
}

/* ---- xattrs ---- */

struct want {
	struct image *im;
	const struct inode *n;
	uint64_t found; /* entries matched */
};

static const char *find_xattr(struct want *w, unsigned int index, const char *name, size_t len,
			      const void *value, size_t value_len)
{
	uint64_t at = w->n->xattrs + 12 + 4 * le(w->im, w->n->xattrs + 4, 1);

	while (w->n->icount && at + 4 <= w->n->end) {
		uint64_t nl = le(w->im, at, 1), vl = le(w->im, at + 2, 2);

		if (at + 4 + nl + vl > w->n->end)
			return "an xattr runs over its area";
		if (le(w->im, at + 1, 1) == index && nl == len &&
		    !memcmp(w->im->p + at + 4, name, len)) {
			if (vl != value_len || memcmp(w->im->p + at + 4 + nl, value, vl) != 0)
				return "the value of an xattr";
			w->found++;
			return NULL;
		}
		at += (4 + nl + vl + 3) & ~3ULL;
	}
	return "an xattr is missing";
}

static const char *want_xattr(void *arg, const struct lcm_xattr *x)
{
	const char *n = x->name;

	if (!strcmp(n, "system.posix_acl_access") || !strcmp(n, "system.posix_acl_default"))
		return find_xattr(arg, n[17] == 'a' ? 2 : 3, "", 0, x->value, x->value_len);
	if (n[0] == 'u')
		return find_xattr(arg, 1, n + 5, x->name_len - 5U, x->value, x->value_len);
	if (n[0] == 't')
		return find_xattr(arg, 4, n + 8, x->name_len - 8U, x->value, x->value_len);
	return find_xattr(arg, 6, n + 9, x->name_len - 9U, x->value, x->value_len);
}

static const char *check_metacopy(const struct image *im, uint64_t id)
{
	uint64_t at = id * 4;

	if (le(im, at, 1) != 16 || le(im, at + 1, 1) != 4 || le(im, at + 2, 2) != 0)
		return "the shared xattr";
	return memcmp(im->p + at + 4, "overlay.metacopy", 16) != 0 ? "name of the shared xattr"
								   : NULL;
}

static const char *check_xattrs(struct image *im, const struct mm_node *node, const struct inode *n)
{
	const struct lcm_toc_entry *e = mm_entry(im->m, node);
	bool placeholder = e->type == LCM_TOC_REG && e->size > 0;
	struct want w = { .im = im, .n = n };
	uint64_t shared, count = 0, at;
	char redirect[8192];
	const char *bad;

	bad = mm_each_xattr(im->m, node, want_xattr, &w);
	if (!bad && placeholder) {
		size_t len = mm_redirect(im->m, node, redirect, sizeof(redirect));

		bad = find_xattr(&w, 4, "overlay.redirect", 16, redirect, len);
	}
	if (bad || !n->icount)
		return bad;
	shared = le(im, n->xattrs + 4, 1);
	if (shared != (placeholder ? 1 : 0) || le(im, n->xattrs, 4) || le(im, n->xattrs + 5, 4) ||
	    le(im, n->xattrs + 9, 3))
		return "xattr header";
	if (placeholder)
		bad = check_metacopy(im, le(im, n->xattrs + 12, 4));
	for (at = n->xattrs + 12 + 4 * shared; at + 4 <= n->end; count++)
		at += (4 + le(im, at, 1) + le(im, at + 2, 2) + 3) & ~3ULL;
	if (!bad && (at != n->end || count != w.found))
		return "an xattr too many";
	return bad;
}

/* ---- content ---- */

/* Directory and symlink bytes in one piece; free(3) them. */
static uint8_t *read_data(struct image *im, const struct inode *n)
{
	uint64_t whole = n->size / 4096 * 4096, tail = n->size % 4096, blocks;
	uint8_t *out = calloc(1, n->size + 1);

	if (!out)
		abort();
	im->bad = "data layout";
	if (n->layout != 0 && n->layout != 2)
		return out;
	blocks = n->layout == 0 ? n->size : whole;
	im->bad = blocks ? claim(im, (uint64_t)n->u * 4096, (blocks + 4095) / 4096 * 4096) : NULL;
	if (!im->bad)
		memcpy(out, im->p + (uint64_t)n->u * 4096, blocks);
	if (im->bad || n->layout == 0)
		return out;
	im->bad = claim(im, n->end, tail);
	if (!im->bad && (tail == 0 || n->end / 4096 != (n->end + tail - 1) / 4096))
		im->bad = "inline data crosses a block";
	if (!im->bad)
		memcpy(out + whole, im->p + n->end, tail);
	return out;
}

static const char *check_node(struct image *im, struct mm_node *node, uint64_t nid,
			      uint64_t parent);

static const char *check_dirent(struct image *im, struct mm_node *node, const uint8_t *name,
				size_t len, uint64_t nid, unsigned int type, uint64_t self,
				uint64_t parent)
{
	static const uint8_t types[] = {
		[LCM_TOC_DIR] = 2,  [LCM_TOC_REG] = 1,   [LCM_TOC_SYMLINK] = 7,
		[LCM_TOC_CHAR] = 3, [LCM_TOC_BLOCK] = 4, [LCM_TOC_FIFO] = 5
	};
	struct mm_node *kid;

	if (len == 1 && name[0] == '.')
		return nid == self && type == 2 ? NULL : "entry .";
	if (len == 2 && !memcmp(name, "..", 2))
		return nid == parent && type == 2 ? NULL : "entry ..";
	kid = mm_child(node, (const char *)name, len);
	if (!kid)
		return "a name that should not be there";
	if (type != types[mm_entry(im->m, kid)->type])
		return "file type of a directory entry";
	return check_node(im, kid, nid, self);
}

struct dir_walk {
	struct image *im;
	struct mm_node *node;
	uint64_t self, parent;
	const uint8_t *last; /* name before */
	size_t last_len;
	uint64_t count;
};

static const char *check_dir_block(struct dir_walk *d, const uint8_t *p, size_t len)
{
	const struct image block = { .p = p, .len = len };
	uint64_t first = le(&block, 8, 2), n = first / 12;

	if (len < 13 || first % 12 || n == 0 || first >= len)
		return "head of a directory block";
	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = le(&block, i * 12 + 8, 2),
			 end = i + 1 < n ? le(&block, i * 12 + 20, 2) : len;
		const uint8_t *name = p + off;
		size_t name_len;
		const char *bad;
		int order;

		if (off < first || end > len || end <= off)
			return "name offset";
		name_len = strnlen((const char *)name, end - off);
		if (name_len == 0 || name_len > 255 || (i + 1 < n && name_len != end - off))
			return "length of a name";
		order = d->last ? memcmp(d->last, name, LCM_MIN(d->last_len, name_len)) : -1;
		if (order > 0 || (order == 0 && d->last_len >= name_len))
			return "order of names";
		bad = check_dirent(d->im, d->node, name, name_len, le(&block, i * 12, 8),
				   p[i * 12 + 10], d->self, d->parent);
		if (bad)
			return bad;
		d->last = name;
		d->last_len = name_len;
		d->count++;
	}
	return NULL;
}

static const char *check_dir(struct image *im, struct mm_node *node, const struct inode *n,
			     uint64_t nid, uint64_t parent)
{
	struct dir_walk d = { .im = im, .node = node, .self = nid, .parent = parent };
	lcm_autofree uint8_t *data = read_data(im, n);
	const char *bad = im->bad;

	for (uint64_t off = 0; off < n->size && !bad; off += 4096)
		bad = check_dir_block(&d, data + off, LCM_MIN(n->size - off, 4096U));
	if (!bad && d.count != node->n_kids + 2)
		bad = "a name is missing";
	return bad;
}

static const char *check_symlink(struct image *im, const struct mm_node *node,
				 const struct inode *n)
{
	const struct lcm_toc_entry *e = mm_entry(im->m, node);
	lcm_autofree uint8_t *data = read_data(im, n);

	if (im->bad)
		return im->bad;
	if (n->size != e->link_len ||
	    memcmp(data, lcm_toc_link(im->m->layers[node->layer].toc, e), n->size) != 0)
		return "target of a symlink";
	if (n->layout == 2 && n->at / 4096 != (n->end + n->size - 1) / 4096)
		return "an inline symlink is not in its inode's block";
	return NULL;
}

static const char *check_regular(struct image *im, const struct mm_node *node,
				 const struct inode *n)
{
	uint64_t size = mm_entry(im->m, node)->size, chunks;

	if (n->size != size)
		return "size";
	if (size == 0)
		return n->layout == 0 && n->u == 0 ? NULL : "layout of an empty file";
	if (n->layout != 4 || (n->u & ~0x1fU))
		return "layout of a placeholder";
	chunks = (size - 1) / (4096ULL << (n->u & 0x1f)) + 1;
	for (uint64_t i = 0; i < chunks; i++)
		if (le(im, n->end + 4 * i, 4) != 0xffffffff)
			return "a placeholder is not a hole";
	return claim(im, n->end, 4 * chunks);
}

static const char *check_content(struct image *im, struct mm_node *node, const struct inode *n,
				 uint64_t nid, uint64_t parent)
{
	const struct lcm_toc_entry *e = mm_entry(im->m, node);
	static const uint32_t types[] = {
		[LCM_TOC_DIR] = 0040000,  [LCM_TOC_REG] = 0100000,   [LCM_TOC_SYMLINK] = 0120000,
		[LCM_TOC_CHAR] = 0020000, [LCM_TOC_BLOCK] = 0060000, [LCM_TOC_FIFO] = 0010000
	};

	if (n->mode != (types[e->type] | (e->mode & 07777)))
		return "mode";
	switch (e->type) {
	case LCM_TOC_DIR:
		return check_dir(im, node, n, nid, parent);
	case LCM_TOC_SYMLINK:
		return check_symlink(im, node, n);
	case LCM_TOC_REG:
		return check_regular(im, node, n);
	case LCM_TOC_FIFO:
		return n->size || n->u ? "FIFO" : NULL;
	default:
		if ((n->u >> 8 & 0xfff) != e->rdev_major ||
		    ((n->u & 0xff) | (n->u >> 12 & 0xfff00)) != e->rdev_minor)
			return "device number";
		return NULL;
	}
}

static const char *check_node(struct image *im, struct mm_node *node, uint64_t nid, uint64_t parent)
{
	const struct lcm_toc_entry *e = mm_entry(im->m, node);
	struct inode n;
	const char *bad;

	if (node->first->id)
		return node->first->id == nid ? NULL : "names of one inode differ";
	node->first->id = nid;
	im->inodes++;
	bad = read_inode(im, nid, &n);
	if (bad)
		return bad;
	if (n.nlink != node->nlink)
		return "link count";
	if (n.uid != e->uid || n.gid != e->gid)
		return "owner";
	if (n.mtime != e->mtime || n.nsec != e->mtime_nsec)
		return "mtime";
	bad = check_xattrs(im, node, &n);
	return bad ? bad : check_content(im, node, &n, nid, parent);
}

static void forget_ids(struct mm_node *n)
{
	n->id = 0;
	for (size_t i = 0; i < n->n_kids; i++)
		forget_ids(n->kids[i]);
}

const char *mm_check_image(const struct mm_model *m, const uint8_t *image, size_t len)
{
	struct image im = { .m = m, .p = image, .len = len, .used = calloc(1, len / 4 + 1) };
	uint64_t root = 0;
	const char *bad;

	if (!im.used)
		abort();
	forget_ids(m->root);
	bad = read_super(&im, &root);
	if (!bad)
		bad = check_node(&im, m->root, root, root);
	if (!bad && im.inodes != m->inodes)
		bad = "number of inodes";
	free(im.used);
	return bad;
}
