/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ztoc_write.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "image/ztoc_format.h"

#define TAR_BLOCK 512U
#define TIME_MAX sizeof("2006-01-02T15:04:05.999999999Z")
#define YEAR_0 (-62167219200LL) /* seconds from 1970 */
#define YEAR_10000 253402300800LL

/*
 * Offsets of FlatBuffers lead forward, but those of tables to their vtables: tables are written
 * first and what they point to behind them. The vector of files stands before all of them, and how
 * many there are is known last: `files` is a piece of its own, with its two vtables at its begin.
 */
struct lcm_ztoc_writer {
	struct lcm_buf files;
	struct lcm_buf at;      /* uint32_t each: where in `files` the tables are */
	struct lcm_buf points;  /* records of checkpoints */
	struct lcm_buf digests; /* text of each, with its NUL */
	uint64_t end;           /* of the data of the last file, with its padding */
	size_t n_points;
};

/* A table's shape: bytes of it with the offset to its vtable, and where in it each slot is. */
struct shape {
	uint16_t size, n;
	uint16_t slots[F_SLOTS];
};
static const struct shape root_shape = { 48,
					 Z_SLOTS,
					 { [Z_VERSION] = 4,
					   [Z_TOOL] = 8,
					   [Z_TOC] = 12,
					   [Z_INFO] = 16,
					   [Z_COMPRESSED] = 24,
					   [Z_UNCOMPRESSED] = 32 } };
static const struct shape info_shape = {
	20, I_SLOTS, { [I_ALGORITHM] = 4, [I_MAX_SPAN] = 8, [I_DIGESTS] = 12, [I_CHECKPOINTS] = 16 }
};
static const struct shape toc_shape = { 8, T_SLOTS, { [T_METADATA] = 4 } };
static const struct shape file_shape = { 80,
					 F_SLOTS,
					 { [F_NAME] = 4,
					   [F_TYPE] = 8,
					   [F_LINK] = 12,
					   [F_MTIME] = 16,
					   [F_PAX] = 20,
					   [F_OFFSET] = 32,
					   [F_SIZE] = 40,
					   [F_MODE] = 48,
					   [F_MAJOR] = 56,
					   [F_MINOR] = 64,
					   [F_UID] = 72,
					   [F_GID] = 76 } };
static const struct shape pax_shape = { 12, X_SLOTS, { [X_KEY] = 4, [X_VALUE] = 8 } };

/* ---- numbers ---- */

static void set32(struct lcm_buf *b, size_t at, uint32_t v)
{
	v = htole32(v);
	memcpy(b->data + at, &v, sizeof(v));
}

static void set64(struct lcm_buf *b, size_t at, uint64_t v)
{
	v = htole64(v);
	memcpy(b->data + at, &v, sizeof(v));
}

static int add64(struct lcm_buf *b, uint64_t v)
{
	v = htole64(v);
	return lcm_buf_add(b, &v, sizeof(v));
}

static int add32(struct lcm_buf *b, uint32_t v)
{
	v = htole32(v);
	return lcm_buf_add(b, &v, sizeof(v));
}

static int zeros(struct lcm_buf *b, size_t n)
{
	static const char none[4096];

	return lcm_buf_add(b, none, n);
}

static int align(struct lcm_buf *b, size_t n)
{
	return zeros(b, -b->len % n);
}

/* ---- pieces ---- */

/* *ret: where it is. */
static int vtable(struct lcm_buf *b, const struct shape *s, size_t *ret)
{
	uint16_t v[2 + F_SLOTS];
	int r = align(b, 4);

	*ret = b->len;
	v[0] = htole16((uint16_t)(4 + 2 * s->n));
	v[1] = htole16(s->size);
	for (size_t i = 0; i < s->n; i++)
		v[2 + i] = htole16(s->slots[i]);
	return r < 0 ? r : lcm_buf_add(b, v, 4 + 2U * s->n);
}

/* An empty table; *ret: where it is. */
static int table(struct lcm_buf *b, const struct shape *s, size_t vtable_at, size_t *ret)
{
	int r = align(b, 8);

	*ret = b->len;
	if (r == 0)
		r = zeros(b, s->size);
	if (r == 0)
		set32(b, *ret, (uint32_t)(*ret - vtable_at));
	return r;
}

/* What the offset at @at shall lead to comes next. */
static int point_here(struct lcm_buf *b, size_t at)
{
	int r = align(b, 4);

	if (r == 0)
		set32(b, at, (uint32_t)(b->len - at));
	return r;
}

/* A string or a vector of bytes, to which the offset at @at leads, of two parts. */
static int bytes2(struct lcm_buf *b, size_t at, const void *p, size_t len, const void *q,
		  size_t q_len)
{
	int r = point_here(b, at);

	if (r == 0)
		r = add32(b, (uint32_t)(len + q_len));
	if (r == 0)
		r = lcm_buf_add(b, p, len);
	if (r == 0)
		r = lcm_buf_add(b, q, q_len);
	return r < 0 ? r : zeros(b, 1);
}

static int text(struct lcm_buf *b, size_t at, const char *s)
{
	return bytes2(b, at, s, strlen(s), NULL, 0);
}

/* A vector of @n offsets; *ret: where the first is. */
static int vector(struct lcm_buf *b, size_t at, size_t n, size_t *ret)
{
	int r = point_here(b, at);

	if (r == 0)
		r = add32(b, (uint32_t)n);
	*ret = b->len;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add32(b, 0);
	return r;
}

/* ---- files ---- */

int lcm_ztoc_writer_new(struct lcm_ztoc_writer **ret)
{
	lcm_auto(lcm_ztoc_writer) w = calloc(1, sizeof(*w));
	size_t at;
	int r;

	if (!w)
		return -ENOMEM;
	w->files = LCM_BUF(LCM_ZTOC_MAX);
	w->at = LCM_BUF(LCM_TOC_ENTRIES_MAX * sizeof(uint32_t));
	w->points = LCM_BUF(LCM_ZTOC_MAX);
	w->digests = LCM_BUF(LCM_ZTOC_MAX);
	r = vtable(&w->files, &file_shape, &at);
	if (r == 0)
		r = vtable(&w->files, &pax_shape, &at);
	if (r == 0)
		*ret = lcm_steal(&w);
	return r;
}

#define FILE_VTABLE 0
#define PAX_VTABLE (4 + 2 * F_SLOTS)
_Static_assert(PAX_VTABLE % 4 == 0, "the second vtable follows the first");

void lcm_ztoc_writer_free(struct lcm_ztoc_writer *w)
{
	if (!w)
		return;
	lcm_buf_fini(&w->files);
	lcm_buf_fini(&w->at);
	lcm_buf_fini(&w->points);
	lcm_buf_fini(&w->digests);
	free(w);
}

/* As Go's RFC3339Nano writes it: no zeros at the end of the fraction. */
static int time_text(const struct lcm_toc_item *it, char out[TIME_MAX + 1], struct lcm_err *err)
{
	time_t sec = it->mtime;
	struct tm tm;
	size_t n;

	if (it->mtime < YEAR_0 || it->mtime >= YEAR_10000 || !gmtime_r(&sec, &tm))
		return lcm_err_set(err, -ENOTSUP,
				   "zTOC: entry '%.200s': no time between the years 0 and 9999",
				   it->path);
	n = (size_t)snprintf(out, TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09u", tm.tm_year + 1900,
			     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
			     it->mtime_nsec);
	while (out[n - 1] == '0')
		n--;
	if (out[n - 1] == '.')
		n--;
	out[n] = 'Z';
	out[n + 1] = '\0';
	return 0;
}

static int pax_write(struct lcm_buf *b, size_t at, const struct lcm_toc_item *it)
{
	size_t v, t;
	int r = vector(b, at, it->n_xattrs, &v);

	for (size_t i = 0; r == 0 && i < it->n_xattrs; i++) {
		const struct lcm_xattr *x = &it->xattrs[i];

		r = table(b, &pax_shape, PAX_VTABLE, &t);
		if (r < 0)
			return r;
		set32(b, v + 4 * i, (uint32_t)(t - (v + 4 * i)));
		r = bytes2(b, t + pax_shape.slots[X_KEY], ZTOC_XATTR, strlen(ZTOC_XATTR), x->name,
			   x->name_len);
		if (r == 0)
			r = bytes2(b, t + pax_shape.slots[X_VALUE], x->value, x->value_len, NULL,
				   0);
	}
	return r;
}

static int name_write(struct lcm_buf *b, size_t at, const struct lcm_toc_item *it,
		      const char *prefix)
{
	char raw[LCM_PATH_MAX + 8];
	int n = snprintf(raw, sizeof(raw), "%s%.*s%s", prefix, (int)it->path_len, it->path,
			 it->type == LCM_TOC_DIR && it->path_len ? "/" : "");

	return n < 0 || (size_t)n >= sizeof(raw) ? -EFBIG : bytes2(b, at, raw, (size_t)n, NULL, 0);
}

static int file_write(struct lcm_buf *b, const struct lcm_toc_item *it, const char *prefix,
		      const char *mtime, uint64_t off, size_t *ret)
{
	const uint16_t *s = file_shape.slots;
	int r = table(b, &file_shape, FILE_VTABLE, ret);
	size_t t = *ret;

	if (r < 0)
		return r;
	set64(b, t + s[F_OFFSET], off);
	set64(b, t + s[F_SIZE], it->size);
	set64(b, t + s[F_MODE], it->mode & 07777);
	set64(b, t + s[F_MAJOR], it->rdev_major);
	set64(b, t + s[F_MINOR], it->rdev_minor);
	set32(b, t + s[F_UID], it->uid);
	set32(b, t + s[F_GID], it->gid);
	r = name_write(b, t + s[F_NAME], it, prefix);
	if (r == 0)
		r = text(b, t + s[F_TYPE], ztoc_types[it->type]);
	if (r == 0)
		r = bytes2(b, t + s[F_LINK], it->link, it->link_len, NULL, 0);
	if (r == 0)
		r = text(b, t + s[F_MTIME], mtime);
	return r < 0 ? r : pax_write(b, t + s[F_PAX], it);
}

int lcm_ztoc_writer_file(struct lcm_ztoc_writer *w, const struct lcm_toc_item *it,
			 const char *prefix, uint64_t off, struct lcm_err *err)
{
	char mtime[TIME_MAX + 1];
	size_t at;
	int r = time_text(it, mtime, err);

	if (r < 0)
		return r;
	if (!ztoc_types[it->type])
		return lcm_err_set(err, -ENOTSUP, "zTOC: entry '%.200s': of no type of a tar",
				   it->path);
	if (off < w->end || off > INT64_MAX || it->size > INT64_MAX - off)
		return lcm_err_set(err, -EUCLEAN,
				   "zTOC: entry '%.200s': its place in the tar cannot be",
				   it->path);
	r = file_write(&w->files, it, prefix, mtime, off, &at);
	if (r == 0)
		r = lcm_buf_add(&w->at, &(uint32_t){ (uint32_t)at }, sizeof(uint32_t));
	w->end = (off + it->size + TAR_BLOCK - 1) & ~(uint64_t)(TAR_BLOCK - 1);
	return r;
}

/* ---- points ---- */

int lcm_ztoc_writer_point(struct lcm_ztoc_writer *w, const struct lcm_ztoc_point *p)
{
	char digest[LCM_DIGEST_STR];
	uint8_t bits = (uint8_t)p->bits;
	int r = add64(&w->points, p->in);

	if (r == 0)
		r = add64(&w->points, p->out);
	if (r == 0)
		r = lcm_buf_add(&w->points, &bits, 1);
	if (r == 0)
		r = p->window ? lcm_buf_add(&w->points, p->window, LCM_TOC_WINDOW)
			      : zeros(&w->points, 4096);
	for (size_t n = 4096; r == 0 && !p->window && n < LCM_TOC_WINDOW; n += 4096)
		r = zeros(&w->points, 4096);
	if (r == 0)
		r = lcm_buf_add(&w->digests, lcm_digest_str(&p->digest, digest), LCM_DIGEST_STR);
	w->n_points++;
	return r;
}

/* ---- the whole ---- */

static int digests_write(const struct lcm_ztoc_writer *w, struct lcm_buf *out, size_t at)
{
	size_t v;
	int r = vector(out, at, w->n_points, &v);

	for (size_t i = 0; r == 0 && i < w->n_points; i++)
		r = text(out, v + 4 * i, w->digests.data + i * LCM_DIGEST_STR);
	return r;
}

static int info_write(const struct lcm_ztoc_writer *w, struct lcm_buf *out, size_t at,
		      uint64_t span)
{
	const uint16_t *s = info_shape.slots;
	size_t v, t;
	int r = vtable(out, &info_shape, &v);

	if (r == 0)
		r = table(out, &info_shape, v, &t);
	if (r < 0)
		return r;
	set32(out, at, (uint32_t)(t - at));
	out->data[t + s[I_ALGORITHM]] = ZTOC_GZIP;
	set32(out, t + s[I_MAX_SPAN], (uint32_t)w->n_points - 1);
	r = digests_write(w, out, t + s[I_DIGESTS]);
	if (r == 0)
		r = point_here(out, t + s[I_CHECKPOINTS]);
	if (r == 0)
		r = add32(out, (uint32_t)(ZINFO_HEAD + w->points.len));
	if (r == 0)
		r = add32(out, (uint32_t)w->n_points);
	if (r == 0)
		r = add64(out, span);
	return r < 0 ? r : lcm_buf_add(out, w->points.data, w->points.len);
}

static int files_write(const struct lcm_ztoc_writer *w, struct lcm_buf *out, size_t at)
{
	size_t n = w->at.len / sizeof(uint32_t), v, t, first;
	uint32_t off;
	int r = vtable(out, &toc_shape, &v);

	if (r == 0)
		r = table(out, &toc_shape, v, &t);
	if (r < 0)
		return r;
	set32(out, at, (uint32_t)(t - at));
	r = vector(out, t + toc_shape.slots[T_METADATA], n, &first);
	if (r == 0)
		r = align(out, 8);
	for (size_t i = 0; r == 0 && i < n; i++) {
		memcpy(&off, w->at.data + i * sizeof(off), sizeof(off));
		set32(out, first + 4 * i, (uint32_t)(out->len + off - (first + 4 * i)));
	}
	return r < 0 ? r : lcm_buf_add(out, w->files.data, w->files.len);
}

int lcm_ztoc_writer_finish(struct lcm_ztoc_writer *w, uint64_t blob, uint64_t plain, uint64_t span,
			   struct lcm_buf *out)
{
	const uint16_t *s = root_shape.slots;
	size_t v, t;
	int r = add32(out, 0);

	if (r == 0)
		r = vtable(out, &root_shape, &v);
	if (r == 0)
		r = table(out, &root_shape, v, &t);
	if (r < 0)
		return r;
	set32(out, 0, (uint32_t)t);
	set64(out, t + s[Z_COMPRESSED], blob);
	set64(out, t + s[Z_UNCOMPRESSED], plain);
	r = text(out, t + s[Z_VERSION], ZTOC_VERSION);
	if (r == 0)
		r = text(out, t + s[Z_TOOL], "locum " PACKAGE_VERSION);
	if (r == 0)
		r = files_write(w, out, t + s[Z_TOC]);
	return r < 0 ? r : info_write(w, out, t + s[Z_INFO], span);
}
