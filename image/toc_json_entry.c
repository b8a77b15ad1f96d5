/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "image/toc_json_impl.h"

int lcm_toc_json_bad(struct lcm_toc_json *j, const struct entry *e, const char *rule)
{
	return lcm_err_set(j->err, -EUCLEAN, "table of contents: entry '%.*s': %s",
			   (int)LCM_MIN(e->name.len, 300U), entry_text(e, e->name), rule);
}

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
	int r = lcm_toc_grow(&j->item_chunks, &cap, j->n_chunks, 1, sizeof(*j->item_chunks),
			     LCM_TOC_CHUNKS_MAX);

	if (r == 0)
		r = lcm_toc_grow(&j->chunks, &j->cap_chunks, j->n_chunks, 1, sizeof(*j->chunks),
				 LCM_TOC_CHUNKS_MAX);
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
		.skip = c->zeros ? 0 : c->inner,
		.flags = c->zeros ? LCM_TOC_CHUNK_ZEROS : 0,
		.digest = sole && lcm_digest_is_zero(&c->digest) ? f->digest : c->digest,
	};
	if (!c->zeros && end == 0)
		return "no endOffset";
	if (!c->zeros && (c->off < 1 || c->off >= end || end > j->opt.data_end))
		return "bad offset or endOffset";
	return NULL;
}

/* The ranges of the held file. */
static int chunks_convert(struct lcm_toc_json *j, size_t *ret_n)
{
	*ret_n = 0;
	if (j->file->num[K_SIZE] == 0 && j->n_chunks > 1)
		return lcm_toc_json_bad(j, j->file, "chunks of an empty file");
	if (j->file->num[K_SIZE] == 0)
		return 0;
	for (size_t i = 0; i < j->n_chunks; i++) {
		const char *rule = chunk_convert(j, i);

		if (rule)
			return lcm_toc_json_bad(j, j->file, rule);
	}
	*ret_n = j->n_chunks;
	return 0;
}

static int xattrs_convert(struct lcm_toc_json *j, const struct entry *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->n_xattrs; i++) {
		const struct xattr_span *x = &e->xattrs[i];

		r = lcm_toc_grow(&j->item_xattrs, &j->cap_item_xattrs, i, 1,
				 sizeof(*j->item_xattrs), ENTRY_XATTRS_MAX);
		if (r == 0)
			j->item_xattrs[i] = (struct lcm_xattr){
				.name = entry_text(e, x->name),
				.name_len = (uint16_t)x->name.len,
				.value = (const uint8_t *)entry_text(e, x->value),
				.value_len = (uint32_t)x->value.len,
			};
	}
	return r;
}

/* Hands @e to the builder, with @n_chunks of item_chunks. */
static int entry_emit(struct lcm_toc_json *j, const struct entry *e, size_t n_chunks)
{
	struct lcm_toc_item item = {
		.path = entry_text(e, e->name),
		.path_len = e->name.len,
		.type = (enum lcm_toc_type)e->type,
		.mode = (uint32_t)(e->num[K_MODE] & 07777),
		.uid = (uint32_t)e->num[K_UID],
		.gid = (uint32_t)e->num[K_GID],
		.mtime = e->mtime,
		.mtime_nsec = e->mtime_nsec,
		.size = e->num[K_SIZE],
		.link = entry_text(e, e->link),
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

int lcm_toc_json_file_flush(struct lcm_toc_json *j)
{
	size_t n;
	int r;

	if (!j->held)
		return 0;
	j->held = false;
	r = chunks_convert(j, &n);
	return r < 0 ? r : entry_emit(j, j->file, n);
}

/* stargz' own files in the root: they say how much to prefetch. */
static bool is_landmark(const struct lcm_toc_json *j, const struct entry *e)
{
	static const char *const names[] = { LCM_STARGZ_LANDMARKS };
	const char *s = entry_text(e, e->name);

	for (size_t i = 0; j->opt.stargz && i < LCM_ARRAY_SIZE(names); i++)
		if (e->name.len == strlen(names[i]) && memcmp(s, names[i], e->name.len) == 0)
			return true;
	return false;
}

static int chunk_end_entry(struct lcm_toc_json *j)
{
	const struct entry *e = j->e;

	if (!j->held || e->name.len != j->file->name.len ||
	    memcmp(entry_text(e, e->name), entry_text(j->file, j->file->name), e->name.len) != 0)
		return lcm_toc_json_bad(j, e, "a chunk that does not follow its file");
	return chunk_push(j, e);
}

/* Whether it has U+FFFD, what Go's JSON makes of a byte that is not UTF-8: whatever it was, it is
 * not this. */
static bool is_lossy(const struct entry *e, struct span s)
{
	const char *p = s.len ? memchr(entry_text(e, s), 0xef, s.len) : NULL;

	return p && memmem(p, s.len - (size_t)(p - entry_text(e, s)), "\xef\xbf\xbd", 3);
}

static int entry_check(struct lcm_toc_json *j, const struct entry *e)
{
	static const struct {
		enum key key;
		const char *name;
	} u32[] = {
		{ K_UID, "uid" }, { K_GID, "gid" }, { K_MAJOR, "devMajor" }, { K_MINOR, "devMinor" }
	};

	if (!e->type || !(e->seen & 1U << K_NAME))
		return lcm_toc_json_bad(j, e, "no name or no type");
	if (is_lossy(e, e->name) || is_lossy(e, e->link))
		return lcm_err_set(
		    j->err, -EILSEQ,
		    "table of contents: entry '%.*s': a name that is not UTF-8 is lost in JSON; "
		    "the layer must be pulled whole",
		    (int)LCM_MIN(e->name.len, 200U), entry_text(e, e->name));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(u32); i++)
		if (e->num[u32[i].key] >= UINT32_MAX)
			return lcm_err_set(
			    j->err, -EUCLEAN,
			    "table of contents: entry '%.*s': %s %llu is over 32 bits",
			    (int)LCM_MIN(e->name.len, 150U), entry_text(e, e->name), u32[i].name,
			    (unsigned long long)e->num[u32[i].key]);
	return 0;
}

static int offset_collect(struct lcm_toc_json *j)
{
	struct lcm_toc_offsets *o = j->opt.offsets;
	int r = 0;

	if (j->e->num[K_OFFSET] == 0)
		return 0;
	r = lcm_toc_grow(&o->v, &o->cap, o->n, 1, sizeof(*o->v), LCM_TOC_CHUNKS_MAX);
	if (r == 0)
		o->v[o->n++] = j->e->num[K_OFFSET];
	return r;
}

int lcm_toc_json_entry_end(struct lcm_toc_json *j)
{
	struct entry *e = j->e;
	int r = entry_check(j, e);

	if (r < 0)
		return r;
	if (!j->opt.b)
		return offset_collect(j);
	if (e->type == TYPE_CHUNK)
		return chunk_end_entry(j);
	r = lcm_toc_json_file_flush(j);
	if (r < 0)
		return r;
	if (is_landmark(j, e))
		return 0;
	if (e->type != LCM_TOC_REG)
		return entry_emit(j, e, 0);
	j->e = j->file;
	j->file = e;
	j->held = true;
	j->n_chunks = 0;
	return chunk_push(j, e);
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
