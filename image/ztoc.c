/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ztoc.h"

#include <endian.h>
#include <string.h>

#include "image/flat.h"
#include "image/toc_json.h"
#include "image/ztoc_format.h"

/* Checkpoints of version 1 leave out the first: it is behind a gzip header without a name. */
#define ZINFO_V1_FIRST 10
#define TARZINFO_VERSION 2
#define PAX_MAX 4096U /* records of a file */

struct ztoc {
	struct lcm_flat flat;
	const struct lcm_toc_id *id; /* borrowed */
	struct lcm_toc_builder *b;   /* borrowed */
	struct lcm_err *err;         /* borrowed */
	uint64_t plain_size;         /* bytes of the tar */
	struct lcm_flat_vector digests;
	size_t n_spans;
	struct lcm_xattr *xattrs; /* owned; PAX_MAX of them */
	uint64_t tar_at;          /* no data of a file can begin before it */
};

static int bad(const struct ztoc *z, const char *rule)
{
	return lcm_err_set(z->err, -EUCLEAN, "zTOC: %s", rule);
}

static int damaged(const struct ztoc *z)
{
	return bad(z, "damaged: an offset or a length leads out of its FlatBuffer");
}

/* ---- spans ---- */

static int span_digest(struct ztoc *z, size_t i, struct lcm_digest *ret)
{
	size_t len;
	const char *s = lcm_flat_string_at(&z->digests, i, &len);

	if (lcm_digest_parse(s, len, ret) < 0)
		return lcm_err_set(z->err, -EUCLEAN, "zTOC: span %zu: no sha256 digest", i);
	return 0;
}

static int span_add(struct ztoc *z, size_t i, struct lcm_toc_item_span *s)
{
	int r = span_digest(z, i, &s->digest);

	return r < 0 ? r : lcm_toc_builder_span(z->b, s, z->err);
}

/* A place at which inflating can begin. */
struct point {
	uint64_t in, out;      /* bytes of the blob and of the tar before it */
	unsigned int bits;     /* of the byte before `in` */
	const uint8_t *window; /* borrowed; NULL: nothing is before it */
};

static uint64_t le64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* Point @i of @n in @p, which has @records; the one behind the last is the end. */
static struct point point_at(const struct ztoc *z, const uint8_t *p, size_t records, size_t i)
{
	size_t missing = z->n_spans - records;
	struct point k = { .in = z->id->blob_size, .out = z->plain_size };

	if (i == z->n_spans)
		return k;
	if (i < missing)
		return (struct point){ .in = ZINFO_V1_FIRST };
	p += ZINFO_HEAD + (i - missing) * ZINFO_RECORD;
	k.in = le64_at(p);
	k.out = le64_at(p + 8);
	k.bits = p[16];
	k.window = k.out ? p + 17 : NULL;
	return k;
}

/* Blob bytes of a span: up to the next point, of whose shared byte both spans have all bits. */
static int span_between(struct ztoc *z, size_t i, const struct point *a, const struct point *next)
{
	struct lcm_toc_item_span s = {
		.blob_off = a->in - (a->bits ? 1 : 0),
		.plain_off = a->out,
		.start = LCM_TOC_START_DEFLATE,
		.bits = a->bits,
		.window = a->window,
	};

	if (a->in < 1 || a->in >= z->id->blob_size || a->bits > 7 || (i == 0 && a->out) ||
	    (i + 1 < z->n_spans && (next->in <= a->in || next->out < a->out)))
		return lcm_err_set(z->err, -EUCLEAN,
				   "zTOC: checkpoint %zu: out of order, or not within the layer",
				   i);
	/* A reader of tars stops at the end that the tar marks, which may be before its last byte.
	 */
	s.plain_len = LCM_MIN(next->out, z->plain_size);
	if (s.plain_len <= a->out)
		return 0;
	s.plain_len -= a->out;
	s.blob_len = LCM_MIN(next->in, z->id->blob_size) - s.blob_off;
	return span_add(z, i, &s);
}

static int gzip_spans(struct ztoc *z, const uint8_t *p, size_t len)
{
	size_t records = len < ZINFO_HEAD ? 0 : (len - ZINFO_HEAD) / ZINFO_RECORD;
	struct point a, next;
	uint32_t count = 0;
	int r = 0;

	if (len >= ZINFO_HEAD)
		memcpy(&count, p, sizeof(count));
	count = le32toh(count);
	if (len != ZINFO_HEAD + records * ZINFO_RECORD || count != z->n_spans ||
	    (records != count && records + 1 != count))
		return bad(z, "checkpoints: their length is not that of its number of spans");
	a = point_at(z, p, records, 0);
	for (size_t i = 0; r == 0 && i < z->n_spans; i++) {
		next = point_at(z, p, records, i + 1);
		r = span_between(z, i, &a, &next);
		a = next;
	}
	return r;
}

static int plain_spans(struct ztoc *z, const uint8_t *p, size_t len)
{
	struct lcm_flat flat;
	const struct lcm_flat_table t = lcm_flat_open(&flat, p, len);
	int64_t version = lcm_flat_int(&t, TZ_VERSION, 4, 0);
	int64_t span = lcm_flat_int(&t, TZ_SPAN_SIZE, 8, 0);
	uint64_t size = (uint64_t)lcm_flat_int(&t, TZ_SIZE, 8, 0), n;
	int r = 0;

	if (flat.bad || version != TARZINFO_VERSION || span < 1 || size != z->id->blob_size)
		return bad(z, "checkpoints: damaged, of an unknown version, or of a tar of another "
			      "size");
	n = size / (uint64_t)span + (size % (uint64_t)span ? 1 : 0);
	if (n != z->n_spans)
		return bad(z, "checkpoints: another number of spans than its tar has");
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct lcm_toc_item_span s = { .start = LCM_TOC_START_PLAIN };

		s.blob_off = s.plain_off = i * (uint64_t)span;
		s.blob_len = s.plain_len = LCM_MIN((uint64_t)span, size - s.blob_off);
		r = span_add(z, i, &s);
	}
	return r;
}

static int algorithm_check(const struct ztoc *z, int64_t algorithm)
{
	uint32_t comp = z->id->compression;

	if (algorithm != ZTOC_GZIP && algorithm != ZTOC_PLAIN)
		return lcm_err_set(z->err, -ENOTSUP,
				   "zTOC: compression algorithm %lld is not supported: gzip (1) "
				   "and uncompressed (2) are",
				   (long long)algorithm);
	if (comp != LCM_COMP_GZIP && comp != LCM_COMP_NONE)
		return lcm_err_set(z->err, -ENOTSUP,
				   "zTOC: of a layer that is neither gzip nor a plain tar");
	if ((algorithm == ZTOC_GZIP) != (comp == LCM_COMP_GZIP))
		return bad(z, "its compression algorithm is not that of the layer");
	return 0;
}

static int spans(struct ztoc *z, const struct lcm_flat_table *root)
{
	struct lcm_flat_table info = lcm_flat_table(root, Z_INFO);
	int64_t algorithm = lcm_flat_int(&info, I_ALGORITHM, 1, ZTOC_GZIP);
	int64_t max_span = lcm_flat_int(&info, I_MAX_SPAN, 4, 0);
	struct lcm_flat_vector v = lcm_flat_vector(&info, I_CHECKPOINTS, 1);
	int r;

	z->digests = lcm_flat_vector(&info, I_DIGESTS, 4);
	if (z->flat.bad)
		return damaged(z);
	if (!info.f || !v.n)
		return bad(z, "no compression info, or no checkpoints");
	r = algorithm_check(z, algorithm);
	if (r < 0)
		return r;
	if (max_span < 0 || (uint64_t)max_span + 1 != z->digests.n)
		return bad(z, "another number of digests than of spans");
	z->n_spans = z->digests.n;
	return algorithm == ZTOC_GZIP ? gzip_spans(z, lcm_flat_bytes(&v), v.n)
				      : plain_spans(z, lcm_flat_bytes(&v), v.n);
}

/* ---- files ---- */

static bool is_text(const char *s, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(s, text, len) == 0;
}

static bool has_prefix(const char *s, size_t len, const char *prefix)
{
	return len >= strlen(prefix) && memcmp(s, prefix, strlen(prefix)) == 0;
}

static int bad_file(const struct ztoc *z, const struct lcm_toc_item *it, const char *rule)
{
	return lcm_err_set(z->err, -EUCLEAN, "zTOC: entry '%.*s': %s",
			   (int)LCM_MIN(it->path_len, (size_t)200), it->path, rule);
}

static int type_of(struct ztoc *z, const struct lcm_flat_table *f, struct lcm_toc_item *it)
{
	size_t len;
	const char *s = lcm_flat_string(f, F_TYPE, &len);

	for (size_t i = 0; i < LCM_ARRAY_SIZE(ztoc_types); i++)
		if (ztoc_types[i] && is_text(s, len, ztoc_types[i])) {
			it->type = (enum lcm_toc_type)i;
			return 0;
		}
	return bad_file(z, it, "unknown type");
}

/* SOCI writes the tar's mode; a writer that goes by Go's os.FileMode has the three bits elsewhere.
 */
static uint32_t mode_of(int64_t mode)
{
	uint32_t m = (uint32_t)mode & 07777;

	if (mode & (1 << 23))
		m |= 04000;
	if (mode & (1 << 22))
		m |= 02000;
	if (mode & (1 << 20))
		m |= 01000;
	return m;
}

static int numbers_of(struct ztoc *z, const struct lcm_flat_table *f, struct lcm_toc_item *it)
{
	int64_t major = lcm_flat_int(f, F_MAJOR, 8, 0), minor = lcm_flat_int(f, F_MINOR, 8, 0);
	size_t len;
	const char *time = lcm_flat_string(f, F_MTIME, &len);

	it->mode = mode_of(lcm_flat_int(f, F_MODE, 8, 0));
	it->uid = (uint32_t)lcm_flat_int(f, F_UID, 4, 0);
	it->gid = (uint32_t)lcm_flat_int(f, F_GID, 4, 0);
	/* Go writes nothing for years that have no four digits. */
	if (len && !lcm_value_time(time, len, &it->mtime, &it->mtime_nsec))
		return bad_file(z, it, "its time is not one of RFC 3339");
	if (it->type != LCM_TOC_CHAR && it->type != LCM_TOC_BLOCK)
		return 0;
	if (major < 0 || minor < 0 || major >= UINT32_MAX || minor >= UINT32_MAX)
		return lcm_err_set(z->err, -EUCLEAN,
				   "zTOC: entry '%.*s': device number %lld:%lld is out of range",
				   (int)LCM_MIN(it->path_len, (size_t)150), it->path,
				   (long long)major, (long long)minor);
	it->rdev_major = (uint32_t)major;
	it->rdev_minor = (uint32_t)minor;
	return 0;
}

/* SOCI's xattrs are all PAX records of the file. *@sparse: the tar has only pieces of it. */
static int pax_of(struct ztoc *z, const struct lcm_flat_table *f, struct lcm_toc_item *it,
		  bool *sparse)
{
	static const char xattr[] = ZTOC_XATTR;
	struct lcm_flat_vector v = lcm_flat_vector(f, F_PAX, 4);

	if (v.n > PAX_MAX)
		return bad_file(z, it, "too many PAX records");
	for (size_t i = 0; i < v.n; i++) {
		struct lcm_flat_table x = lcm_flat_table_at(&v, i);
		size_t len, value_len;
		const char *key = lcm_flat_string(&x, X_KEY, &len);
		const char *value = lcm_flat_string(&x, X_VALUE, &value_len);

		if (has_prefix(key, len, "GNU.sparse."))
			*sparse = true;
		if (!has_prefix(key, len, xattr))
			continue;
		len -= sizeof(xattr) - 1;
		if (len > LCM_NAME_LEN_MAX || value_len > LCM_XATTR_VALUE_MAX)
			return bad_file(z, it, "xattr with a bad name or too large");
		z->xattrs[it->n_xattrs++] = (struct lcm_xattr){
			.name = key + sizeof(xattr) - 1,
			.name_len = (uint16_t)len,
			.value = (const uint8_t *)value,
			.value_len = (uint32_t)value_len,
		};
	}
	it->xattrs = z->xattrs;
	return 0;
}

/* Where the data is. Only regular files have any, whatever their header says. */
static int data_of(struct ztoc *z, const struct lcm_flat_table *f, struct lcm_toc_item *it,
		   bool sparse, struct lcm_toc_item_chunk *ret)
{
	int64_t off = lcm_flat_int(f, F_OFFSET, 8, 0), size = lcm_flat_int(f, F_SIZE, 8, 0);

	if (it->type != LCM_TOC_REG)
		size = 0;
	if (off < 0 || size < 0 || (uint64_t)off > z->plain_size)
		return bad_file(z, it, "its data is not within the tar");
	if ((uint64_t)off < z->tar_at)
		return bad_file(z, it, "its data begins before that of the one before it ends");
	it->size = (uint64_t)size;
	z->tar_at = (uint64_t)off;
	if (sparse || !size)
		return 0;
	if ((uint64_t)size > z->plain_size - (uint64_t)off)
		return bad_file(z, it, "its data is not within the tar");
	z->tar_at += (uint64_t)size;
	*ret = (struct lcm_toc_item_chunk){
		.blob_off = (uint64_t)off,
		.blob_len = (uint64_t)size,
		.file_len = (uint64_t)size,
		.flags = LCM_TOC_CHUNK_TAR,
	};
	it->chunks = ret;
	it->n_chunks = 1;
	return 0;
}

static int file_add(struct ztoc *z, const struct lcm_flat_table *f)
{
	struct lcm_toc_item it = { 0 };
	struct lcm_toc_item_chunk chunk;
	bool sparse = false;
	int r;

	it.path = lcm_flat_string(f, F_NAME, &it.path_len);
	it.link = lcm_flat_string(f, F_LINK, &it.link_len);
	r = type_of(z, f, &it);
	if (r == 0)
		r = numbers_of(z, f, &it);
	if (r == 0)
		r = pax_of(z, f, &it, &sparse);
	if (r == 0)
		r = data_of(z, f, &it, sparse, &chunk);
	if (z->flat.bad)
		return damaged(z);
	return r < 0 ? r : lcm_toc_builder_add(z->b, &it, z->err);
}

static int files(struct ztoc *z, const struct lcm_flat_table *root)
{
	struct lcm_flat_table toc = lcm_flat_table(root, Z_TOC);
	struct lcm_flat_vector v = lcm_flat_vector(&toc, T_METADATA, 4);
	int r = 0;

	if (z->flat.bad)
		return damaged(z);
	for (size_t i = 0; r == 0 && i < v.n; i++) {
		struct lcm_flat_table f = lcm_flat_table_at(&v, i);

		r = file_add(z, &f);
	}
	return r;
}

/* ---- the whole ---- */

static int head_check(struct ztoc *z, const struct lcm_flat_table *root)
{
	size_t len;
	const char *version = lcm_flat_string(root, Z_VERSION, &len);
	uint64_t blob = (uint64_t)lcm_flat_int(root, Z_COMPRESSED, 8, 0);
	int64_t plain = lcm_flat_int(root, Z_UNCOMPRESSED, 8, 0);

	if (z->flat.bad)
		return damaged(z);
	if (!is_text(version, len, ZTOC_VERSION))
		return lcm_err_set(z->err, -ENOTSUP,
				   "zTOC: version '%.*s' is not supported: " ZTOC_VERSION " is",
				   (int)LCM_MIN(len, (size_t)40), version);
	if (blob != z->id->blob_size)
		return lcm_err_set(z->err, -EUCLEAN,
				   "zTOC: of a layer of %llu bytes, but this one has %llu",
				   (unsigned long long)blob, (unsigned long long)z->id->blob_size);
	if (plain < 0)
		return bad(z, "a tar of less than no bytes");
	z->plain_size = (uint64_t)plain;
	return 0;
}

int lcm_ztoc_parse(const void *p, size_t len, const struct lcm_toc_id *id,
		   struct lcm_toc_builder *b, struct lcm_err *err)
{
	lcm_autofree struct lcm_xattr *xattrs = malloc(PAX_MAX * sizeof(*xattrs));
	struct ztoc z = { .id = id, .b = b, .err = err, .xattrs = xattrs };
	struct lcm_flat_table root;
	int r;

	if (!xattrs)
		return -ENOMEM;
	if (len > LCM_ZTOC_MAX)
		return lcm_err_set(err, -EFBIG, "zTOC: %zu bytes, the limit is %llu", len,
				   (unsigned long long)LCM_ZTOC_MAX);
	root = lcm_flat_open(&z.flat, p, len);
	r = head_check(&z, &root);
	if (r == 0)
		r = spans(&z, &root);
	return r < 0 ? r : files(&z, &root);
}
