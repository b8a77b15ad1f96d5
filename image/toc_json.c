/* SPDX-License-Identifier: Apache-2.0 */
#include "image/toc_json.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "src/base/buf.h"

/*
 * A token that crosses a feed is scanned again from its beginning by yajl; without a bound a long one
 * would cost the square of its length. The longest there is: an xattr of 64 KiB in base64, all escaped.
 */
#define TOKEN_MAX (1U << 20)
/* Strings of one entry: its path, link and xattrs. */
#define ENTRY_TEXT_MAX (4U << 20)
#define ENTRY_XATTRS_MAX 4096

enum place {
	AT_START, /* before the document's '{' */
	AT_TOP, /* keys of the document */
	AT_ENTRIES, /* elements of "entries" */
	AT_ENTRY, /* keys of an entry */
	AT_XATTRS, /* keys of an entry's "xattrs" */
	AT_END, /* after the document's '}' */
};

/* Keys of an entry, in the order in which Go writes them. */
enum key {
	K_TYPE,
	K_NAME,
	K_LINK,
	K_MODE,
	K_SIZE,
	K_UID,
	K_GID,
	K_MTIME,
	K_MAJOR,
	K_MINOR,
	K_XATTRS,
	K_DIGEST,
	K_OFFSET,
	K_END,
	K_INNER,
	K_CHUNK_SIZE,
	K_CHUNK_OFFSET,
	K_CHUNK_DIGEST,
	K_CHUNK_TYPE,
	K_MAX,
	/* keys of the document */
	K_VERSION,
	K_ENTRIES,
	K_OTHER, /* not ours: whatever it holds is skipped */
};

#define KEY(k, s) [k] = { s, sizeof(s) - 1 }
static const struct {
	const char *s;
	size_t len;
} keys[K_MAX] = {
	KEY(K_TYPE, "type"),
	KEY(K_NAME, "name"),
	KEY(K_LINK, "linkName"),
	KEY(K_MODE, "mode"),
	KEY(K_SIZE, "size"),
	KEY(K_UID, "uid"),
	KEY(K_GID, "gid"),
	KEY(K_MTIME, "modtime"),
	KEY(K_MAJOR, "devMajor"),
	KEY(K_MINOR, "devMinor"),
	KEY(K_XATTRS, "xattrs"),
	KEY(K_DIGEST, "digest"),
	KEY(K_OFFSET, "offset"),
	KEY(K_END, "endOffset"),
	KEY(K_INNER, "innerOffset"),
	KEY(K_CHUNK_SIZE, "chunkSize"),
	KEY(K_CHUNK_OFFSET, "chunkOffset"),
	KEY(K_CHUNK_DIGEST, "chunkDigest"),
	KEY(K_CHUNK_TYPE, "chunkType"),
};

#define TYPE_CHUNK LCM_TOC_TYPE_MAX /* an entry that continues the file before it */

/* A string in the entry's text. */
struct span {
	size_t off, len;
};

struct xattr_span {
	struct span name, value;
};

struct entry {
	uint32_t seen; /* bit per enum key */
	unsigned int type; /* enum lcm_toc_type or TYPE_CHUNK; 0: not yet */
	struct span name, link;
	uint64_t num[K_MAX]; /* of the keys that are numbers */
	int64_t mtime;
	uint32_t mtime_nsec;
	bool zeros; /* chunkType */
	struct lcm_digest digest, chunk_digest;
	struct lcm_buf text;
	struct xattr_span *xattrs; /* owned */
	size_t n_xattrs, cap_xattrs;
};

/* A chunk as listed: where it begins; where it ends is known only from the next one. */
struct chunk {
	uint64_t off, file_off, file_len, inner;
	bool zeros;
	struct lcm_digest digest;
};

struct lcm_toc_json {
	struct lcm_toc_json_opt opt;
	yajl_handle yajl; /* owned */
	enum place place;
	enum key key, last_key; /* the current key; where to begin to look for the next */
	unsigned int depth; /* of everything */
	unsigned int skip; /* depth inside a value that is not ours */
	bool version_seen, entries_seen;
	struct entry *e; /* the one being read */
	struct entry *file; /* the regular file that chunks may still follow, when held */
	struct entry both[2]; /* what e and file point to, in either order */
	bool held;
	struct chunk *chunks; /* owned; of the held file */
	size_t n_chunks, cap_chunks;
	struct lcm_toc_item_chunk *item_chunks; /* owned; scratch, cap_chunks */
	struct lcm_xattr *item_xattrs; /* owned; scratch */
	size_t cap_item_xattrs;
	uint64_t fed; /* bytes before the current feed */
	uint64_t quiet; /* bytes fed since the last value */
	int r; /* why a callback stopped */
	struct lcm_err *err; /* of the current feed */
};

static int grow(void *pp, size_t *cap, size_t n, size_t size, size_t max)
{
	void **p = pp, *q;
	size_t want = LCM_MIN(LCM_MAX(*cap * 2, (size_t)16), max);

	if (n < *cap)
		return 0;
	if (n >= max)
		return -EFBIG;
	q = realloc(*p, want * size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

static const char *text(const struct entry *e, struct span s)
{
	return s.len ? e->text.data + s.off : "";
}

/* Records why the parser stops; returns what tells yajl so. */
static int stop(struct lcm_toc_json *j, int code)
{
	j->r = code;
	return 0;
}

static int bad(struct lcm_toc_json *j, const struct entry *e, const char *rule)
{
	return lcm_err_set(j->err, -EUCLEAN, "table of contents: entry '%.*s': %s", (int)LCM_MIN(e->name.len, 300U),
			   text(e, e->name), rule);
}

static int bad_top(struct lcm_toc_json *j, const char *rule)
{
	return lcm_err_set(j->err, -EUCLEAN, "table of contents: %s", rule);
}

/* ---- an entry is complete ---- */

static struct chunk chunk_of(const struct entry *e)
{
	return (struct chunk){
		.off = e->num[K_OFFSET],
		.file_off = e->num[K_CHUNK_OFFSET],
		.file_len = e->num[K_CHUNK_SIZE],
		.inner = e->num[K_INNER],
		.zeros = e->zeros,
		.digest = e->chunk_digest,
	};
}

static int chunk_push(struct lcm_toc_json *j, const struct entry *e)
{
	size_t cap = j->cap_chunks;
	int r = grow(&j->item_chunks, &cap, j->n_chunks, sizeof(*j->item_chunks), LCM_TOC_CHUNKS_MAX);

	if (r == 0)
		r = grow(&j->chunks, &j->cap_chunks, j->n_chunks, sizeof(*j->chunks), LCM_TOC_CHUNKS_MAX);
	if (r == 0)
		j->chunks[j->n_chunks++] = chunk_of(e);
	return r;
}

/* Where chunk @i of the held file ends in the blob; 0 when the TOC does not say. */
static uint64_t chunk_end(const struct lcm_toc_json *j, size_t i)
{
	if (i + 1 < j->n_chunks && j->chunks[i + 1].off > j->chunks[i].off)
		return j->chunks[i + 1].off;
	if (i + 1 == j->n_chunks && j->file->num[K_END])
		return j->file->num[K_END];
	if (j->opt.offsets)
		return lcm_toc_offsets_next(j->opt.offsets, j->chunks[i].off, j->opt.data_end);
	return 0;
}

static const char *chunk_convert(struct lcm_toc_json *j, size_t i)
{
	const struct chunk *c = &j->chunks[i];
	const struct entry *f = j->file;
	bool sole = j->n_chunks == 1, last = i + 1 == j->n_chunks;
	uint64_t end = chunk_end(j, i), size = f->num[K_SIZE], len = c->file_len;

	if (c->file_off >= size)
		return "a chunk begins behind the end of the file";
	if (len == 0 && !last)
		return "a chunk before the last has no chunkSize";
	if (len == 0)
		len = size - c->file_off;
	j->item_chunks[i] = (struct lcm_toc_item_chunk){
		.blob_off = c->off,
		.blob_len = end - c->off,
		.file_off = c->file_off,
		.file_len = len,
		.flags = c->zeros ? LCM_TOC_CHUNK_ZEROS : 0,
		.digest = sole && lcm_digest_is_zero(&c->digest) ? f->digest : c->digest,
	};
	if (!c->zeros && end == 0)
		return "no endOffset";
	if (!c->zeros && (c->off < 1 || c->off >= end || end > j->opt.data_end))
		return "bad offset or endOffset";
	return NULL;
}

/* The ranges of the held file; none when several chunks share a frame, which a TOC cannot express. */
static int chunks_convert(struct lcm_toc_json *j, size_t *ret_n)
{
	*ret_n = 0;
	if (j->file->num[K_SIZE] == 0 && j->n_chunks > 1)
		return bad(j, j->file, "chunks of an empty file");
	if (j->file->num[K_SIZE] == 0)
		return 0;
	for (size_t i = 0; i < j->n_chunks; i++)
		if (j->chunks[i].inner)
			return 0;
	for (size_t i = 0; i < j->n_chunks; i++) {
		const char *rule = chunk_convert(j, i);

		if (rule)
			return bad(j, j->file, rule);
	}
	*ret_n = j->n_chunks;
	return 0;
}

static int xattrs_convert(struct lcm_toc_json *j, const struct entry *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->n_xattrs; i++) {
		const struct xattr_span *x = &e->xattrs[i];

		r = grow(&j->item_xattrs, &j->cap_item_xattrs, i, sizeof(*j->item_xattrs), ENTRY_XATTRS_MAX);
		if (r == 0)
			j->item_xattrs[i] = (struct lcm_xattr){
				.name = text(e, x->name),
				.name_len = (uint16_t)x->name.len,
				.value = (const uint8_t *)text(e, x->value),
				.value_len = (uint32_t)x->value.len,
			};
	}
	return r;
}

/* Hands @e to the builder, with @n_chunks of item_chunks. */
static int entry_emit(struct lcm_toc_json *j, const struct entry *e, size_t n_chunks)
{
	struct lcm_toc_item item = {
		.path = text(e, e->name),
		.path_len = e->name.len,
		.type = (enum lcm_toc_type)e->type,
		.mode = (uint32_t)(e->num[K_MODE] & 07777),
		.uid = (uint32_t)e->num[K_UID],
		.gid = (uint32_t)e->num[K_GID],
		.mtime = e->mtime,
		.mtime_nsec = e->mtime_nsec,
		.size = e->num[K_SIZE],
		.link = text(e, e->link),
		.link_len = e->link.len,
		.rdev_major = (uint32_t)e->num[K_MAJOR],
		.rdev_minor = (uint32_t)e->num[K_MINOR],
		.n_xattrs = e->n_xattrs,
		.chunks = j->item_chunks,
		.n_chunks = n_chunks,
	};
	int r = xattrs_convert(j, e);

	if (r < 0)
		return r;
	item.xattrs = j->item_xattrs;
	if (e->type == LCM_TOC_REG)
		item.digest = e->digest;
	return lcm_toc_builder_add(j->opt.b, &item, j->err);
}

static int file_flush(struct lcm_toc_json *j)
{
	size_t n;
	int r;

	if (!j->held)
		return 0;
	j->held = false;
	r = chunks_convert(j, &n);
	return r < 0 ? r : entry_emit(j, j->file, n);
}

static int chunk_end_entry(struct lcm_toc_json *j)
{
	const struct entry *e = j->e;

	if (!j->held || e->name.len != j->file->name.len ||
	    memcmp(text(e, e->name), text(j->file, j->file->name), e->name.len) != 0)
		return bad(j, e, "a chunk that does not follow its file");
	return chunk_push(j, e);
}

/* Whether it has U+FFFD, what Go's JSON makes of a byte that is not UTF-8: whatever it was, it is not this. */
static bool is_lossy(const struct entry *e, struct span s)
{
	const char *p = s.len ? memchr(text(e, s), 0xef, s.len) : NULL;

	return p && memmem(p, s.len - (size_t)(p - text(e, s)), "\xef\xbf\xbd", 3);
}

static int entry_check(struct lcm_toc_json *j, const struct entry *e)
{
	static const enum key u32[] = { K_UID, K_GID, K_MAJOR, K_MINOR };

	if (!e->type || !(e->seen & 1U << K_NAME))
		return bad(j, e, "no name or no type");
	if (is_lossy(e, e->name) || is_lossy(e, e->link))
		return lcm_err_set(j->err, -EILSEQ,
				   "table of contents: entry '%.*s': a name that is not UTF-8 is lost in JSON; "
				   "the layer must be pulled whole",
				   (int)LCM_MIN(e->name.len, 200U), text(e, e->name));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(u32); i++)
		if (e->num[u32[i]] >= UINT32_MAX)
			return bad(j, e, "owner or device number over 32 bits");
	return 0;
}

static int offset_collect(struct lcm_toc_json *j)
{
	struct lcm_toc_offsets *o = j->opt.offsets;
	int r = 0;

	if (j->e->num[K_OFFSET] == 0)
		return 0;
	r = grow(&o->v, &o->cap, o->n, sizeof(*o->v), LCM_TOC_CHUNKS_MAX);
	if (r == 0)
		o->v[o->n++] = j->e->num[K_OFFSET];
	return r;
}

static int entry_end(struct lcm_toc_json *j)
{
	struct entry *e = j->e;
	int r = entry_check(j, e);

	if (r < 0)
		return r;
	if (!j->opt.b)
		return offset_collect(j);
	if (e->type == TYPE_CHUNK)
		return chunk_end_entry(j);
	r = file_flush(j);
	if (r < 0)
		return r;
	if (e->type != LCM_TOC_REG)
		return entry_emit(j, e, 0);
	j->e = j->file;
	j->file = e;
	j->held = true;
	j->n_chunks = 0;
	return chunk_push(j, e);
}

static void entry_begin(struct lcm_toc_json *j)
{
	struct entry *e = j->e;
	struct lcm_buf keep_text = e->text;
	struct xattr_span *keep = e->xattrs;
	size_t cap = e->cap_xattrs;

	*e = (struct entry){ .text = keep_text, .xattrs = keep, .cap_xattrs = cap };
	e->text.len = 0;
	j->last_key = K_TYPE;
}

/* ---- values ---- */

static int text_add(struct entry *e, const void *p, size_t len, struct span *ret)
{
	int r = lcm_buf_add(&e->text, p, len);

	if (r == 0)
		*ret = (struct span){ e->text.len - len, len };
	return r;
}

static unsigned int type_of(const char *s, size_t len)
{
	static const struct {
		const char *s;
		unsigned int type;
	} types[] = {
		{ "reg", LCM_TOC_REG }, { "dir", LCM_TOC_DIR }, { "chunk", TYPE_CHUNK },
		{ "symlink", LCM_TOC_SYMLINK }, { "hardlink", LCM_TOC_HARDLINK }, { "char", LCM_TOC_CHAR },
		{ "block", LCM_TOC_BLOCK }, { "fifo", LCM_TOC_FIFO },
	};

	for (size_t i = 0; i < LCM_ARRAY_SIZE(types); i++)
		if (strlen(types[i].s) == len && memcmp(types[i].s, s, len) == 0)
			return types[i].type;
	return 0;
}

static int value_digest(struct lcm_toc_json *j, const char *s, size_t len, struct lcm_digest *ret)
{
	if (len == 0 || lcm_digest_parse(s, len, ret) == 0)
		return 0;
	return bad(j, j->e, "a digest that is not sha256");
}

static int value_string(struct lcm_toc_json *j, const char *s, size_t len)
{
	struct entry *e = j->e;

	switch (j->key) {
	case K_TYPE:
		e->type = type_of(s, len);
		return e->type ? 0 : bad(j, e, "unknown type");
	case K_NAME:
		return text_add(e, s, len, &e->name);
	case K_LINK:
		return text_add(e, s, len, &e->link);
	case K_MTIME:
		return lcm_value_time(s, len, &e->mtime, &e->mtime_nsec) ? 0 : bad(j, e, "modtime is not RFC 3339");
	case K_DIGEST:
		return value_digest(j, s, len, &e->digest);
	case K_CHUNK_DIGEST:
		return value_digest(j, s, len, &e->chunk_digest);
	case K_CHUNK_TYPE:
		e->zeros = len == 5 && memcmp(s, "zeros", 5) == 0;
		return e->zeros || len == 0 ? 0 : bad(j, e, "unknown chunkType");
	default:
		return bad(j, e, "a string where another kind of value belongs");
	}
}

static int value_number(struct lcm_toc_json *j, const char *s, size_t len)
{
	switch (j->key) {
	case K_MODE:
	case K_SIZE:
	case K_UID:
	case K_GID:
	case K_MAJOR:
	case K_MINOR:
	case K_OFFSET:
	case K_END:
	case K_INNER:
	case K_CHUNK_SIZE:
	case K_CHUNK_OFFSET:
		return lcm_value_u63(s, len, &j->e->num[j->key]) ? 0 : bad(j, j->e, "a number out of range");
	default:
		return bad(j, j->e, "a number where another kind of value belongs");
	}
}

/* A value of "xattrs"; its name was stored with the key. */
static int value_xattr(struct lcm_toc_json *j, const char *s, size_t len)
{
	struct entry *e = j->e;
	struct xattr_span *x = &e->xattrs[e->n_xattrs - 1];
	int r = lcm_buf_reserve(&e->text, len);
	long n;

	if (r < 0)
		return r;
	n = lcm_value_base64(s, len, (uint8_t *)e->text.data + e->text.len);
	if (n < 0 || n > LCM_XATTR_VALUE_MAX)
		return bad(j, e, "an xattr that is not base64, or too long");
	x->value = (struct span){ e->text.len, (size_t)n };
	e->text.len += (size_t)n;
	return 0;
}

static int xattr_key(struct lcm_toc_json *j, const char *s, size_t len)
{
	struct entry *e = j->e;
	int r = grow(&e->xattrs, &e->cap_xattrs, e->n_xattrs, sizeof(*e->xattrs), ENTRY_XATTRS_MAX);

	if (len > LCM_NAME_LEN_MAX)
		return bad(j, e, "an xattr name over 255 bytes");
	if (r < 0)
		return r;
	e->xattrs[e->n_xattrs] = (struct xattr_span){ 0 };
	return text_add(e, s, len, &e->xattrs[e->n_xattrs++].name);
}

/* ---- keys ---- */

static enum key key_find(enum key from, const char *s, size_t len)
{
	unsigned int k = from;

	for (unsigned int i = 0; i < K_MAX; i++, k = k + 1 < K_MAX ? k + 1 : 0)
		if (keys[k].len == len && memcmp(keys[k].s, s, len) == 0)
			return (enum key)k;
	return K_OTHER;
}

static int entry_key(struct lcm_toc_json *j, const char *s, size_t len)
{
	j->key = key_find(j->last_key, s, len);
	if (j->key == K_OTHER)
		return 0;
	if (j->e->seen & 1U << j->key)
		return bad(j, j->e, "a key is there twice");
	j->e->seen |= 1U << j->key;
	j->last_key = j->key;
	return 0;
}

static int top_key(struct lcm_toc_json *j, const char *s, size_t len)
{
	bool *seen = NULL;

	j->key = K_OTHER;
	if (len == 7 && memcmp(s, "version", 7) == 0) {
		j->key = K_VERSION;
		seen = &j->version_seen;
	} else if (len == 7 && memcmp(s, "entries", 7) == 0) {
		j->key = K_ENTRIES;
		seen = &j->entries_seen;
	}
	if (seen && *seen)
		return bad_top(j, "a key is there twice");
	if (seen)
		*seen = true;
	return 0;
}

/* ---- yajl ---- */

static int on_scalar_other(struct lcm_toc_json *j)
{
	switch (j->place) {
	case AT_TOP:
		return j->key == K_OTHER ? 0 : bad_top(j, "\"version\" or \"entries\" is of the wrong kind");
	case AT_ENTRY:
		return j->key == K_OTHER ? 0 : bad(j, j->e, "a value of the wrong kind");
	case AT_XATTRS:
		return bad(j, j->e, "an xattr that is not a string");
	default:
		return bad_top(j, "not an object with a list of entries");
	}
}

/* null is Go's empty value: the key might as well be absent. */
static int on_null(void *arg)
{
	struct lcm_toc_json *j = arg;
	int r = 0;

	j->quiet = 0;
	if (j->skip || j->place == AT_ENTRY || (j->place == AT_TOP && j->key != K_VERSION))
		return 1;
	r = on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_boolean(void *arg, int v)
{
	struct lcm_toc_json *j = arg;
	int r;

	(void)v;
	j->quiet = 0;
	r = j->skip ? 0 : on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_number(void *arg, const char *s, size_t len)
{
	struct lcm_toc_json *j = arg;
	int r;

	j->quiet = 0;
	if (j->skip)
		return 1;
	if (j->place == AT_ENTRY && j->key != K_OTHER)
		r = value_number(j, s, len);
	else if (j->place == AT_TOP && j->key == K_VERSION)
		r = len == 1 && s[0] == '1' ? 0 : bad_top(j, "version is not 1");
	else
		r = on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_string(void *arg, const unsigned char *s, size_t len)
{
	struct lcm_toc_json *j = arg;
	int r;

	j->quiet = 0;
	if (j->skip)
		return 1;
	if (j->place == AT_ENTRY && j->key != K_OTHER)
		r = value_string(j, (const char *)s, len);
	else if (j->place == AT_XATTRS)
		r = value_xattr(j, (const char *)s, len);
	else
		r = on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_key(void *arg, const unsigned char *s, size_t len)
{
	struct lcm_toc_json *j = arg;
	int r;

	j->quiet = 0;
	if (j->skip)
		return 1;
	if (j->place == AT_ENTRY)
		r = entry_key(j, (const char *)s, len);
	else if (j->place == AT_XATTRS)
		r = xattr_key(j, (const char *)s, len);
	else
		r = top_key(j, (const char *)s, len);
	return r < 0 ? stop(j, r) : 1;
}

/* A container opens: one of ours, or one to skip. */
static int on_open(struct lcm_toc_json *j, bool map)
{
	int r = 0;

	j->quiet = 0;
	if (++j->depth > LCM_JSON_DEPTH_MAX)
		return stop(j, bad_top(j, "nested deeper than 64"));
	if (j->skip) {
		j->skip++;
	} else if (j->place == AT_START && map) {
		j->place = AT_TOP;
	} else if (j->place == AT_TOP && j->key == K_ENTRIES && !map) {
		j->place = AT_ENTRIES;
	} else if (j->place == AT_ENTRIES && map) {
		entry_begin(j);
		j->place = AT_ENTRY;
	} else if (j->place == AT_ENTRY && j->key == K_XATTRS && map) {
		j->place = AT_XATTRS;
	} else if ((j->place == AT_TOP || j->place == AT_ENTRY) && j->key == K_OTHER) {
		j->skip = 1;
	} else {
		r = on_scalar_other(j);
	}
	return r < 0 ? stop(j, r) : 1;
}

static int on_close(struct lcm_toc_json *j)
{
	int r = 0;

	j->quiet = 0;
	j->depth--;
	if (j->skip) {
		j->skip--;
		return 1;
	}
	switch (j->place) {
	case AT_XATTRS:
		j->place = AT_ENTRY;
		break;
	case AT_ENTRY:
		j->place = AT_ENTRIES;
		r = entry_end(j);
		break;
	case AT_ENTRIES:
		j->place = AT_TOP;
		r = file_flush(j);
		break;
	default:
		j->place = AT_END;
		break;
	}
	return r < 0 ? stop(j, r) : 1;
}

static int on_map_open(void *arg)
{
	return on_open(arg, true);
}

static int on_array_open(void *arg)
{
	return on_open(arg, false);
}

static int on_container_close(void *arg)
{
	return on_close(arg);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_map_open,
	.yajl_map_key = on_key,
	.yajl_end_map = on_container_close,
	.yajl_start_array = on_array_open,
	.yajl_end_array = on_container_close,
};

int lcm_toc_json_new(const struct lcm_toc_json_opt *opt, struct lcm_toc_json **ret)
{
	lcm_auto(lcm_toc_json) j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->opt = *opt;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(j->both); i++)
		j->both[i].text = LCM_BUF(ENTRY_TEXT_MAX);
	j->e = &j->both[0];
	j->file = &j->both[1];
	j->yajl = yajl_alloc(&callbacks, NULL, j);
	if (!j->yajl)
		return -ENOMEM;
	/* Names may be any bytes; the builder and the kernel do not care. */
	(void)yajl_config(j->yajl, yajl_dont_validate_strings, 1);
	*ret = lcm_steal(&j);
	return 0;
}

void lcm_toc_json_free(struct lcm_toc_json *j)
{
	if (!j)
		return;
	if (j->yajl)
		yajl_free(j->yajl);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(j->both); i++) {
		lcm_buf_fini(&j->both[i].text);
		free(j->both[i].xattrs);
	}
	free(j->chunks);
	free(j->item_chunks);
	free(j->item_xattrs);
	free(j);
}

static int json_failed(struct lcm_toc_json *j, yajl_status st)
{
	unsigned char *what;
	uint64_t at = j->fed + yajl_get_bytes_consumed(j->yajl);

	if (st == yajl_status_client_canceled && j->r < 0)
		return j->r;
	what = yajl_get_error(j->yajl, 0, NULL, 0);
	if (!what)
		return -ENOMEM;
	(void)lcm_err_set(j->err, -EUCLEAN, "table of contents: at byte %llu: %.*s", (unsigned long long)at,
			  (int)strcspn((char *)what, "\n"), (char *)what);
	yajl_free_error(j->yajl, what);
	return -EUCLEAN;
}

int lcm_toc_json_feed(struct lcm_toc_json *j, const void *p, size_t len, struct lcm_err *err)
{
	yajl_status st;

	j->err = err;
	j->quiet += len;
	st = yajl_parse(j->yajl, p, len);
	if (st != yajl_status_ok)
		return json_failed(j, st);
	j->fed += len;
	if (j->quiet > TOKEN_MAX + len)
		return bad_top(j, "a string longer than 1 MiB");
	return 0;
}

int lcm_toc_json_finish(struct lcm_toc_json *j, struct lcm_err *err)
{
	yajl_status st;

	j->err = err;
	st = yajl_complete_parse(j->yajl);
	if (st != yajl_status_ok)
		return json_failed(j, st);
	if (j->place != AT_END || !j->version_seen || !j->entries_seen)
		return bad_top(j, "no \"version\" or no \"entries\"");
	return 0;
}

/* ---- offsets ---- */

static int u64_cmp(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return (a > b) - (a < b);
}

void lcm_toc_offsets_sort(struct lcm_toc_offsets *o)
{
	if (o->n > 1)
		qsort(o->v, o->n, sizeof(*o->v), u64_cmp);
}

uint64_t lcm_toc_offsets_next(const struct lcm_toc_offsets *o, uint64_t off, uint64_t end)
{
	size_t lo = 0, hi = o->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (o->v[mid] > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < o->n ? o->v[lo] : end;
}
