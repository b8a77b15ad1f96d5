/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/mman.h>

#include "image/toc_format.h"
#include "src/base/sys.h"

struct lcm_toc {
	void *map; /* owned; the whole file */
	size_t map_len;
	const struct toc_header *h;
	const struct lcm_toc_entry *entries;
	const struct lcm_toc_chunk *chunks;
	const struct lcm_toc_span *spans;
	const uint8_t *xattrs;
	const char *strings;
	uint64_t file_bytes; /* sum of regular files' sizes */
};

/* What the one pass over the entries carries along. */
struct check {
	const struct lcm_toc *t;
	uint64_t *blocks;  /* owned; bit n: an xattr block begins at byte 4n */
	uint32_t children; /* first entry that no directory has claimed yet */
	uint32_t chunks;   /* first chunk that no file has claimed yet */
	uint64_t strings;  /* bytes of names and targets so far, NULs included */
	uint64_t file_bytes;
};

static int bad_entry(struct lcm_err *err, uint32_t i, const char *rule)
{
	return lcm_err_set(err, -EUCLEAN,
			   "TOC entry %u: %s; delete the file, it will be made again", i, rule);
}

static int bad_file(struct lcm_err *err, const char *rule)
{
	return lcm_err_set(err, -EUCLEAN, "TOC: %s; delete the file, it will be made again", rule);
}

/* @len bytes at @off, the NUL after them, none inside. */
static bool string_ok(struct check *c, uint32_t off, uint32_t len)
{
	uint64_t end = (uint64_t)off + len;
	const char *s = c->t->strings;

	c->strings += (uint64_t)len + 1;
	if (end >= c->t->h->strings_len || c->strings > c->t->h->strings_len)
		return false;
	return s[end] == '\0' && !memchr(s + off, '\0', len);
}

static bool name_ok(struct check *c, const struct lcm_toc_entry *e)
{
	const char *s = c->t->strings + e->name;

	if (e->name_len < 1 || e->name_len > LCM_NAME_LEN_MAX ||
	    !string_ok(c, e->name, e->name_len))
		return false;
	if (s[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && s[1] == '.')))
		return false;
	return !memchr(s, '/', e->name_len);
}

/* The names of [first, first + n) are checked later, when their turn comes; order is checked then
 * too. */
static const char *check_dir(struct check *c, const struct lcm_toc_entry *e)
{
	if (e->n_children == 0)
		return e->first_child == 0 ? NULL : "an empty directory has a first child";
	if (e->first_child != c->children || e->n_children > c->t->h->n_entries - c->children)
		return "children out of place";
	c->children += e->n_children;
	return NULL;
}

static const char *check_chunk(const struct lcm_toc *t, const struct lcm_toc_entry *e,
			       const struct lcm_toc_chunk *k, uint64_t file_off)
{
	bool hole = k->flags & LCM_TOC_CHUNK_ZEROS, bare;

	if (k->flags & ~LCM_TOC_CHUNK_ZEROS)
		return "unknown chunk flag";
	if (k->file_off != file_off || k->file_len < 1 || k->file_len > e->size - file_off)
		return "chunks do not cover the file";
	if (hole && (k->blob_len || k->blob_off || k->skip || k->span != LCM_TOC_NONE))
		return "a hole has a range of the blob";
	if (!hole && (k->blob_len < 1 || k->blob_off > t->h->id.blob_size ||
		      k->blob_len > t->h->id.blob_size - k->blob_off))
		return "a chunk lies outside the blob";
	if (hole)
		return NULL;
	bare = lcm_digest_is_zero(&k->digest) &&
	       (e->n_chunks != 1 || lcm_digest_is_zero(&e->digest));
	if (k->span != LCM_TOC_NONE)
		return lcm_toc_range_rule(t->spans, t->h->n_spans, k, bare);
	if (bare)
		return "a chunk has no digest";
	return k->skip > INT64_MAX ? "a chunk begins after 2^63-1 bytes" : NULL;
}

static const char *check_reg(struct check *c, const struct lcm_toc_entry *e)
{
	uint64_t off = 0;
	const char *rule;

	if (e->size > INT64_MAX || __builtin_add_overflow(c->file_bytes, e->size, &c->file_bytes) ||
	    c->file_bytes > INT64_MAX)
		return "size too large";
	if (e->n_chunks == 0)
		return e->first_chunk == 0 ? NULL : "a file without chunks has a first chunk";
	if (e->first_chunk != c->chunks || e->n_chunks > c->t->h->n_chunks - c->chunks)
		return "chunks out of place";
	c->chunks += e->n_chunks;
	for (uint32_t i = 0; i < e->n_chunks; i++) {
		const struct lcm_toc_chunk *k = &c->t->chunks[e->first_chunk + i];

		rule = check_chunk(c->t, e, k, off);
		if (rule)
			return rule;
		off += k->file_len;
	}
	return off == e->size ? NULL : "chunks do not cover the file";
}

/* One or more names, none of them "." or "..", one '/' between two. */
static bool path_ok(const char *s, size_t len)
{
	while (len) {
		const char *slash = memchr(s, '/', len);
		size_t n = slash ? (size_t)(slash - s) : len;

		if (n < 1 || n > LCM_NAME_LEN_MAX || (s[0] == '.' && n == 1) ||
		    (s[0] == '.' && s[1] == '.' && n == 2) || (slash && n + 1 == len))
			return false;
		s += LCM_MIN(n + 1, len);
		len -= LCM_MIN(n + 1, len);
	}
	return true;
}

static const char *check_link_below(struct check *c, const struct lcm_toc_entry *e)
{
	if (e->link_len < 1 || e->link_len > LCM_PATH_MAX || e->size != e->link_len ||
	    !string_ok(c, e->link, e->link_len) || !path_ok(c->t->strings + e->link, e->link_len))
		return "bad path of a hardlink to a lower layer";
	return NULL;
}

static const char *check_link(struct check *c, const struct lcm_toc_entry *e)
{
	const struct lcm_toc_entry *to;

	if (e->type == LCM_TOC_SYMLINK) {
		if (e->link_len < 1 || e->link_len > LCM_TOC_LINK_MAX || e->size != e->link_len ||
		    !string_ok(c, e->link, e->link_len))
			return "bad symlink target";
		return NULL;
	}
	if (e->link >= c->t->h->n_entries || e->link_len || e->size)
		return "hardlink out of range";
	to = &c->t->entries[e->link];
	if (to->type == LCM_TOC_DIR || to->type == LCM_TOC_HARDLINK ||
	    to->type == LCM_TOC_WHITEOUT || to->type == LCM_TOC_LINK_BELOW)
		return "hardlink to a directory, hardlink or whiteout";
	return NULL;
}

static const char *check_special(const struct lcm_toc_entry *e)
{
	bool dev = e->type == LCM_TOC_CHAR || e->type == LCM_TOC_BLOCK;

	if (e->size)
		return "size of an entry that has none";
	if (e->rdev_major > (dev ? LCM_TOC_MAJOR_MAX : 0) ||
	    e->rdev_minor > (dev ? LCM_TOC_MINOR_MAX : 0))
		return "device number out of range";
	return NULL;
}

static const char *check_body(struct check *c, const struct lcm_toc_entry *e)
{
	switch (e->type) {
	case LCM_TOC_DIR:
		return e->size ? "size of a directory" : check_dir(c, e);
	case LCM_TOC_REG:
		return check_reg(c, e);
	case LCM_TOC_SYMLINK:
	case LCM_TOC_HARDLINK:
		return check_link(c, e);
	case LCM_TOC_LINK_BELOW:
		return check_link_below(c, e);
	case LCM_TOC_CHAR:
	case LCM_TOC_BLOCK:
	case LCM_TOC_FIFO:
	case LCM_TOC_WHITEOUT:
		return check_special(e);
	default:
		return "unknown type";
	}
}

static const char *check_common(const struct check *c, const struct lcm_toc_entry *e)
{
	if (e->flags & ~LCM_TOC_FLAGS_ALL || (e->flags && e->type != LCM_TOC_DIR))
		return "unknown flag";
	if (e->mode & ~07777U || e->mtime_nsec > 999999999)
		return "mode or time out of range";
	if (e->type != LCM_TOC_REG && !lcm_digest_is_zero(&e->digest))
		return "digest of an entry that is not a regular file";
	if (e->xattrs == LCM_TOC_NONE)
		return NULL;
	if (e->xattrs % 4 || e->xattrs >= c->t->h->xattrs_len ||
	    !(c->blocks[e->xattrs / 256] >> (e->xattrs / 4 % 64) & 1))
		return "xattrs out of place";
	return NULL;
}

/* Entry @i > 0 as a member of its directory. */
static const char *check_member(struct check *c, uint32_t i)
{
	const struct lcm_toc_entry *e = &c->t->entries[i], *prev = e - 1, *dir;

	if (i >= c->children)
		return "no directory claims it";
	if (e->parent >= i)
		return "parent out of range";
	dir = &c->t->entries[e->parent];
	if (dir->type != LCM_TOC_DIR || i - dir->first_child >= dir->n_children ||
	    i < dir->first_child)
		return "not among its parent's children";
	if (!name_ok(c, e))
		return "bad name";
	if (i > dir->first_child && toc_name_cmp(c->t->strings + prev->name, prev->name_len,
						 c->t->strings + e->name, e->name_len) >= 0)
		return "siblings are not in order";
	return NULL;
}

static int check_entries(struct check *c, struct lcm_err *err)
{
	const struct lcm_toc_entry *root = &c->t->entries[0];

	c->children = 1;
	c->strings = 1;
	if (root->type != LCM_TOC_DIR || root->parent || root->name || root->name_len ||
	    c->t->strings[0])
		return bad_file(err, "entry 0 is not the root directory");
	for (uint32_t i = 0; i < c->t->h->n_entries; i++) {
		const struct lcm_toc_entry *e = &c->t->entries[i];
		const char *rule = i ? check_member(c, i) : NULL;

		if (!rule)
			rule = check_common(c, e);
		if (!rule)
			rule = check_body(c, e);
		if (rule)
			return bad_entry(err, i, rule);
	}
	if (c->chunks != c->t->h->n_chunks)
		return bad_file(err, "chunks that belong to no file");
	return 0;
}

/* One record at @p, @left bytes before the end of its block. Return: its bytes, 0 when bad. */
static size_t check_xattr(const uint8_t *p, size_t left, const struct toc_xattr *prev)
{
	const struct toc_xattr *x = (const void *)p;
	size_t n;

	if (left < sizeof(*x) || x->reserved || x->name_len < 1 || x->name_len > LCM_NAME_LEN_MAX ||
	    x->value_len > LCM_XATTR_VALUE_MAX)
		return 0;
	n = toc_xattr_size(x->name_len, x->value_len);
	if (n > left || x->name[x->name_len] || memchr(x->name, '\0', x->name_len))
		return 0;
	if (prev && toc_name_cmp(prev->name, prev->name_len, x->name, x->name_len) >= 0)
		return 0;
	return n;
}

static size_t check_block(const uint8_t *p, size_t left)
{
	const struct toc_xattr_block *b = (const void *)p;
	const struct toc_xattr *prev = NULL;
	size_t at = sizeof(*b);

	if (left < sizeof(*b) || b->len > left || b->len % 4 || b->n < 1)
		return 0;
	for (uint32_t i = 0; i < b->n; i++) {
		size_t n = at <= b->len ? check_xattr(p + at, b->len - at, prev) : 0;

		if (!n)
			return 0;
		prev = (const void *)(p + at);
		at += n;
	}
	return at == b->len ? at : 0;
}

static int check_xattrs(struct check *c, struct lcm_err *err)
{
	size_t len = c->t->h->xattrs_len;

	if (len == 0)
		return 0;
	c->blocks = calloc(len / 256 + 1, sizeof(*c->blocks));
	if (!c->blocks)
		return -ENOMEM;
	for (size_t at = 0; at < len;) {
		size_t n = check_block(c->t->xattrs + at, len - at);

		if (!n)
			return bad_file(err, "bad xattrs");
		c->blocks[at / 256] |= 1ULL << (at / 4 % 64);
		at += n;
	}
	return 0;
}

static int check_header(const struct toc_header *h, size_t len, struct lcm_err *err)
{
	if (len < sizeof(*h) || memcmp(h->magic, LCM_TOC_MAGIC, sizeof(h->magic)) != 0)
		return bad_file(err, "not a TOC file");
	if (h->version != LCM_TOC_VERSION)
		return lcm_err_set(err, -EPROTONOSUPPORT,
				   "TOC: version %u, this program reads version %u", h->version,
				   LCM_TOC_VERSION);
	if (h->n_entries < 1 || h->n_entries > LCM_TOC_ENTRIES_MAX ||
	    h->n_chunks > LCM_TOC_CHUNKS_MAX || h->n_spans > LCM_TOC_SPANS_MAX ||
	    h->n_windows > LCM_TOC_WINDOWS_MAX / LCM_TOC_WINDOW || h->xattrs_len > UINT32_MAX ||
	    h->xattrs_len % 4 || h->strings_len < 1 || h->strings_len > UINT32_MAX)
		return bad_file(err, "counts out of range");
	if (toc_file_len(h) != len || h->file_len != len)
		return bad_file(err, "file length differs from its header");
	if (h->reserved || h->id.flags & ~LCM_TOC_SECONDS || h->id.compression > LCM_COMP_ZSTD ||
	    h->id.blob_size > INT64_MAX)
		return bad_file(err, "bad identity");
	return 0;
}

static int check_sum(const struct lcm_toc *t, struct lcm_err *err)
{
	struct toc_header h = *t->h;
	uint64_t crc;

	crc = toc_checksum(0, t->entries, t->map_len - sizeof(h));
	h.checksum = 0;
	if (toc_checksum(crc, &h, sizeof(h)) != t->h->checksum)
		return bad_file(err, "checksum differs");
	return 0;
}

static int check_spans(const struct lcm_toc *t, struct lcm_err *err)
{
	uint32_t i = 0;
	const char *rule = lcm_toc_spans_rule(t->spans, t->h->n_spans, t->h->n_windows, &t->h->id,
					      &i);

	return rule ? lcm_err_set(err, -EUCLEAN,
				  "TOC span %u %s; delete the file, it will be made again", i, rule)
		    : 0;
}

static int toc_check(struct lcm_toc *t, struct lcm_err *err)
{
	struct check c = { .t = t };
	int r = check_header(t->map, t->map_len, err);

	if (r < 0)
		return r;
	t->h = t->map;
	t->entries = (const void *)(t->h + 1);
	t->chunks = (const void *)(t->entries + t->h->n_entries);
	t->spans = (const void *)(t->chunks + t->h->n_chunks);
	t->xattrs = (const void *)(t->spans + t->h->n_spans);
	t->strings = (const char *)t->xattrs + t->h->xattrs_len;
	r = check_sum(t, err);
	if (r == 0)
		r = check_spans(t, err);
	if (r == 0)
		r = check_xattrs(&c, err);
	if (r == 0)
		r = check_entries(&c, err);
	free(c.blocks);
	t->file_bytes = c.file_bytes;
	return r;
}

static int toc_map(struct lcm_toc *t, int dirfd, const char *path, struct lcm_err *err)
{
	lcm_autoclose int fd = lcm_sys_openat(dirfd, path, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;
	void *p;
	int r;

	if (fd < 0)
		return lcm_err_set(err, fd, "TOC '%s' cannot be opened: %s", path, strerror(-fd));
	r = lcm_sys_fstat(fd, &st);
	if (r < 0)
		return lcm_err_set(err, r, "TOC '%s' cannot be read: %s", path, strerror(-r));
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct toc_header))
		return bad_file(err, "not a TOC file");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED) {
		r = (int)lcm_errno(-1);
		return lcm_err_set(err, r, "TOC '%s' cannot be mapped: %s", path, strerror(-r));
	}
	t->map = p;
	t->map_len = (size_t)st.st_size;
	return 0;
}

int lcm_toc_open(int dirfd, const char *path, struct lcm_toc **ret, struct lcm_err *err)
{
	lcm_auto(lcm_toc) t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	r = toc_map(t, dirfd, path, err);
	if (r < 0)
		return r;
	r = toc_check(t, err);
	if (r < 0)
		return lcm_err_prefix(err, r, "'%s'", path);
	*ret = lcm_steal(&t);
	return 0;
}

void lcm_toc_close(struct lcm_toc *t)
{
	if (!t)
		return;
	if (t->map)
		(void)munmap(t->map, t->map_len);
	free(t);
}

const struct lcm_toc_id *lcm_toc_id(const struct lcm_toc *t)
{
	return &t->h->id;
}

uint32_t lcm_toc_count(const struct lcm_toc *t)
{
	return t->h->n_entries;
}

uint32_t lcm_toc_chunk_count(const struct lcm_toc *t)
{
	return t->h->n_chunks;
}

uint64_t lcm_toc_file_bytes(const struct lcm_toc *t)
{
	return t->file_bytes;
}

const struct lcm_toc_entry *lcm_toc_entry(const struct lcm_toc *t, uint32_t i)
{
	return &t->entries[i];
}

const struct lcm_toc_chunk *lcm_toc_chunk(const struct lcm_toc *t, uint32_t i)
{
	return &t->chunks[i];
}

uint32_t lcm_toc_span_count(const struct lcm_toc *t)
{
	return t->h->n_spans;
}

const struct lcm_toc_span *lcm_toc_span(const struct lcm_toc *t, uint32_t i)
{
	return &t->spans[i];
}

const uint8_t *lcm_toc_window(const struct lcm_toc *t, const struct lcm_toc_span *s)
{
	if (s->window == LCM_TOC_NONE)
		return NULL;
	return (const uint8_t *)t->map + toc_windows_off(t->h) + (size_t)s->window * LCM_TOC_WINDOW;
}

uint32_t lcm_toc_chunk_spans(const struct lcm_toc *t, const struct lcm_toc_chunk *c)
{
	return lcm_toc_spans_last(t->spans, t->h->n_spans, c) - c->span + 1;
}

const char *lcm_toc_name(const struct lcm_toc *t, const struct lcm_toc_entry *e)
{
	return t->strings + e->name;
}

const char *lcm_toc_link(const struct lcm_toc *t, const struct lcm_toc_entry *e)
{
	return t->strings + e->link;
}

uint32_t lcm_toc_child(const struct lcm_toc *t, uint32_t dir, const char *name, size_t len)
{
	const struct lcm_toc_entry *d = &t->entries[dir];
	uint32_t lo = d->first_child, n = d->type == LCM_TOC_DIR ? d->n_children : 0;

	while (n) {
		const struct lcm_toc_entry *e = &t->entries[lo + n / 2];
		int r = toc_name_cmp(name, len, t->strings + e->name, e->name_len);

		if (r == 0)
			return lo + n / 2;
		if (r > 0) {
			lo += n / 2 + 1;
			n -= n / 2 + 1;
		} else {
			n /= 2;
		}
	}
	return LCM_TOC_NONE;
}

uint32_t lcm_toc_walk(const struct lcm_toc *t, const char *path, size_t len)
{
	uint32_t at = 0;

	while (len && at != LCM_TOC_NONE) {
		const char *slash = memchr(path, '/', len);
		size_t n = slash ? (size_t)(slash - path) : len;

		if (n)
			at = lcm_toc_child(t, at, path, n);
		n += slash ? 1 : 0;
		path += n;
		len -= n;
	}
	return at;
}

int lcm_toc_path(const struct lcm_toc *t, uint32_t i, char *out, size_t cap)
{
	size_t len = 0, at;

	for (uint32_t k = i; k; k = t->entries[k].parent)
		len += t->entries[k].name_len + (len ? 1U : 0U);
	if (len >= cap || len > INT32_MAX)
		return -ENAMETOOLONG;
	at = len;
	out[at] = '\0';
	for (uint32_t k = i; k; k = t->entries[k].parent) {
		const struct lcm_toc_entry *e = &t->entries[k];

		if (at != len)
			out[--at] = '/';
		at -= e->name_len;
		memcpy(out + at, t->strings + e->name, e->name_len);
	}
	return (int)len;
}

bool lcm_toc_xattr_next(const struct lcm_toc *t, const struct lcm_toc_entry *e, uint32_t *pos,
			struct lcm_xattr *ret)
{
	const struct toc_xattr_block *b;
	const struct toc_xattr *x;

	if (e->xattrs == LCM_TOC_NONE)
		return false;
	b = (const void *)(t->xattrs + e->xattrs);
	if (*pos == 0)
		*pos = sizeof(*b);
	if (*pos >= b->len)
		return false;
	x = (const void *)((const uint8_t *)b + *pos);
	*ret = (struct lcm_xattr){
		.name = x->name,
		.name_len = x->name_len,
		.value_len = x->value_len,
		.value = (const uint8_t *)x->name + x->name_len + 1,
	};
	*pos += (uint32_t)toc_xattr_size(x->name_len, x->value_len);
	return true;
}
