/* SPDX-License-Identifier: Apache-2.0 */
/* ztoc_fixture.h - zTOCs put together by hand: what is pointed to follows what points to it. */
#ifndef LCM_ZTOC_FIXTURE_H
#define LCM_ZTOC_FIXTURE_H

#include "src/base/buf.h"
#include "src/base/digest.h"
#include "tests/unit/test.h"

#define PAX_ROOM 4

struct zfile {
	const char *name, *type;
	int64_t off, size;
	const char *link, *mtime;
	int64_t mode, uid, gid, major, minor;
	struct {
		const char *key, *value;
	} pax[PAX_ROOM];
};

struct zspec {
	const char *version;
	int64_t blob_size, plain_size;
	int64_t algorithm, max_span;
	const char (*digests)[LCM_DIGEST_STR];
	size_t n_digests;
	const void *points;
	size_t points_len;
	const struct zfile *files;
	size_t n_files;
};

/* A field of a table: a number of @width bytes, or an offset to be pointed later. */
struct zfield {
	size_t width; /* 0: absent */
	int64_t v;
	size_t at; /* set by ztable(): where in the buffer */
};
#define ZREF                                                                                       \
	{                                                                                          \
		.width = 4                                                                         \
	}
#define ZINT(w, n)                                                                                 \
	{                                                                                          \
		.width = (n) ? (w) : 0, .v = (n)                                                   \
	}

static inline void zput(struct lcm_buf *b, const void *p, size_t n)
{
	assert_int_equal(lcm_buf_add(b, p, n), 0);
}

static inline void zpad(struct lcm_buf *b, size_t to)
{
	while (b->len % to)
		zput(b, "", 1);
}

/* The offset at @at points to what is put next. */
static inline void zpoint(struct lcm_buf *b, size_t at)
{
	uint32_t off;

	zpad(b, 8);
	off = (uint32_t)(b->len - at);
	memcpy(b->data + at, &off, 4);
}

static inline void ztable(struct lcm_buf *b, size_t at, struct zfield *f, size_t n)
{
	size_t vlen = 4 + 2 * n, pad = (8 - vlen % 8) % 8;
	int32_t back = (int32_t)vlen;
	uint16_t vtable[32] = { (uint16_t)vlen, 4 };
	uint32_t off;
	size_t begin;

	for (size_t i = 0; i < n; i++) {
		if (!f[i].width)
			continue;
		vtable[1] = (uint16_t)((vtable[1] + f[i].width - 1) / f[i].width * f[i].width);
		vtable[2 + i] = vtable[1];
		vtable[1] = (uint16_t)(vtable[1] + f[i].width);
	}
	zpad(b, 8);
	zput(b, "\0\0\0\0\0\0\0", pad);
	zput(b, vtable, vlen);
	begin = b->len;
	off = (uint32_t)(begin - at);
	memcpy(b->data + at, &off, 4);
	for (size_t i = 0; i < vtable[1]; i++)
		zput(b, "", 1);
	memcpy(b->data + begin, &back, 4);
	for (size_t i = 0; i < n; i++) {
		f[i].at = begin + vtable[2 + i];
		if (f[i].width)
			memcpy(b->data + f[i].at, &f[i].v, f[i].width);
	}
}

static inline void zstring(struct lcm_buf *b, size_t at, const char *s)
{
	uint32_t n = (uint32_t)strlen(s);

	zpoint(b, at);
	zput(b, &n, 4);
	zput(b, s, n + 1);
}

/* Return: where its first element is. */
static inline size_t zvector(struct lcm_buf *b, size_t at, size_t n)
{
	uint32_t count = (uint32_t)n;

	zpoint(b, at);
	zput(b, &count, 4);
	for (size_t i = 0; i < n; i++)
		zput(b, "\0\0\0", 4);
	return b->len - 4 * n;
}

static inline void zfile_put(struct lcm_buf *b, size_t at, const struct zfile *z)
{
	struct zfield f[] = { ZREF,
			      ZREF,
			      ZINT(8, z->off),
			      ZINT(8, z->size),
			      ZREF,
			      ZINT(8, z->mode),
			      ZINT(4, z->uid),
			      ZINT(4, z->gid),
			      ZREF,
			      ZREF,
			      ZREF,
			      ZINT(8, z->major),
			      ZINT(8, z->minor),
			      ZREF };
	size_t n = 0, v;

	ztable(b, at, f, LCM_ARRAY_SIZE(f));
	zstring(b, f[0].at, z->name);
	zstring(b, f[1].at, z->type);
	zstring(b, f[4].at, z->link ? z->link : "");
	zstring(b, f[8].at, "root");
	zstring(b, f[9].at, "root");
	zstring(b, f[10].at, z->mtime ? z->mtime : "");
	while (n < PAX_ROOM && z->pax[n].key)
		n++;
	v = zvector(b, f[13].at, n);
	for (size_t i = 0; i < n; i++) {
		struct zfield x[] = { ZREF, ZREF };

		ztable(b, v + 4 * i, x, 2);
		zstring(b, x[0].at, z->pax[i].key);
		zstring(b, x[1].at, z->pax[i].value);
	}
}

static inline void zspec_put(struct lcm_buf *b, const struct zspec *z)
{
	struct zfield root[] = { ZREF, ZREF, ZINT(8, z->blob_size), ZINT(8, z->plain_size),
				 ZREF, ZREF };
	struct zfield toc[] = { ZREF };
	struct zfield info[] = { ZINT(1, z->algorithm), ZINT(4, z->max_span), ZREF, ZREF };
	uint32_t n = (uint32_t)z->points_len;
	size_t v;

	b->len = 0;
	zput(b, "\0\0\0", 4);
	ztable(b, 0, root, LCM_ARRAY_SIZE(root));
	zstring(b, root[0].at, z->version);
	zstring(b, root[1].at, "by hand");
	ztable(b, root[4].at, toc, 1);
	v = zvector(b, toc[0].at, z->n_files);
	for (size_t i = 0; i < z->n_files; i++)
		zfile_put(b, v + 4 * i, &z->files[i]);
	ztable(b, root[5].at, info, LCM_ARRAY_SIZE(info));
	v = zvector(b, info[2].at, z->n_digests);
	for (size_t i = 0; i < z->n_digests; i++)
		zstring(b, v + 4 * i, z->digests[i]);
	zpoint(b, info[3].at);
	zput(b, &n, 4);
	zput(b, z->points, n);
}

/* TarZinfo. */
static inline void zplain_points(struct lcm_buf *b, int64_t version, int64_t span, int64_t size)
{
	struct zfield f[] = { ZINT(4, version), ZINT(8, span), ZINT(8, size) };

	b->len = 0;
	zput(b, "\0\0\0", 4);
	ztable(b, 0, f, LCM_ARRAY_SIZE(f));
}

#endif
