/* SPDX-License-Identifier: Apache-2.0 */
/* SOCI's zTOCs: files come out of the layer by them; every field, and what may be wrong with it. */
#include <zlib.h>

#include "decode/unit.h"
#include "image/ztoc.h"
#include "tests/unit/ztoc_layer.h"

#define PLAIN_LEN ((size_t)3 << 20)
struct fixture {
	char *dir;
	char path[4096];
	uint8_t *plain;
	struct zlayer l;
	struct lcm_buf ztoc;
	struct lcm_toc_builder *b;
	struct lcm_toc *toc;
	struct lcm_err err;
};

static int setup(void **state)
{
	static const char *const words[] = { "locum ", "tenens ", "lib", "/usr/share/", "\n" };
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned int seed = 1;

	f->dir = test_mkdir();
	(void)snprintf(f->path, sizeof(f->path), "%s/toc", f->dir);
	f->ztoc = f->l.blob = f->l.points = LCM_BUF(8 << 20);
	f->plain = malloc(PLAIN_LEN);
	assert_non_null(f->plain);
	for (size_t at = 0; at < PLAIN_LEN;) {
		const char *w = words[(unsigned int)rand_r(&seed) % 5];

		/* Stretches of noise between words: blocks of every kind. */
		if (at / 100000 % 3 == 1)
			f->plain[at++] = (uint8_t)rand_r(&seed);
		else
			while (*w && at < PLAIN_LEN)
				f->plain[at++] = (uint8_t)*w++;
	}
	*state = f;
	return 0;
}

static void toc_drop(struct fixture *f)
{
	lcm_toc_builder_free(lcm_steal(&f->b));
	lcm_toc_close(lcm_steal(&f->toc));
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	toc_drop(f);
	lcm_buf_fini(&f->ztoc);
	lcm_buf_fini(&f->l.blob);
	lcm_buf_fini(&f->l.points);
	free(f->plain);
	test_rmdir(f->dir);
	free(f);
	return 0;
}

/* ---- parsing ---- */

static struct zspec spec_of(const struct fixture *f, const struct zfile *files, size_t n)
{
	return (struct zspec){
		.version = "0.9",
		.blob_size = (int64_t)f->l.blob.len,
		.plain_size = PLAIN_LEN,
		.algorithm = 1,
		.max_span = (int64_t)f->l.n - 1,
		.digests = (const char(*)[LCM_DIGEST_STR])f->l.digests,
		.n_digests = f->l.n,
		.points = f->l.points.data,
		.points_len = f->l.points.len,
		.files = files,
		.n_files = n,
	};
}

static int parse(struct fixture *f, const struct zspec *z, enum lcm_compression comp)
{
	struct lcm_toc_id id = { .blob_size = f->l.blob.len, .compression = comp };
	int r;

	toc_drop(f);
	zspec_put(&f->ztoc, z);
	f->err = (struct lcm_err){ 0 };
	assert_int_equal(lcm_toc_builder_new(&f->b), 0);
	r = lcm_ztoc_parse(f->ztoc.data, f->ztoc.len, &id, f->b, &f->err);
	if (r == 0)
		r = lcm_toc_builder_finish(f->b, &id, AT_FDCWD, f->path, false, &f->err);
	return r < 0 ? r : lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err);
}

static void must_parse(struct fixture *f, const struct zspec *z, enum lcm_compression comp)
{
	if (parse(f, z, comp) < 0)
		fail_msg("%s", f->err.msg);
}

static const struct lcm_toc_entry *at(const struct fixture *f, const char *path)
{
	uint32_t i = lcm_toc_walk(f->toc, path, strlen(path));

	if (i == LCM_TOC_NONE)
		fail_msg("no '%s'", path);
	return lcm_toc_entry(f->toc, i);
}

/* ---- what comes out ---- */

static void chunk_check(const struct fixture *f, const struct lcm_toc_chunk *c, const uint8_t *want)
{
	const struct lcm_toc_span *s = lcm_toc_span(f->toc, c->span);
	lcm_autofree uint8_t *out = malloc(c->file_len);
	/* No more than the range, so that a sanitizer sees a read behind it. */
	lcm_autofree uint8_t *in = malloc(c->blob_len);
	const struct lcm_unit u = {
		.comp = (enum lcm_compression)lcm_toc_id(f->toc)->compression,
		.start = (enum lcm_toc_start)s->start,
		.bits = s->bits,
		.window = lcm_toc_window(f->toc, s),
		.in = in,
		.in_len = c->blob_len,
		.skip = c->skip,
		.len = c->file_len,
	};
	struct lcm_digest d;

	assert_int_equal(lcm_toc_chunk_spans(f->toc, c), 1);
	memcpy(in, f->l.blob.data + c->blob_off, c->blob_len);
	assert_int_equal(lcm_digest_of(in, c->blob_len, &d), 0);
	assert_true(lcm_digest_equal(&d, &s->digest));
	assert_int_equal(lcm_unit_decode(&u, out), 0);
	assert_memory_equal(out, want, c->file_len);
}

static void file_check(const struct fixture *f, const struct zfile *z)
{
	const struct lcm_toc_entry *e = at(f, z->name);
	uint64_t done = 0;

	assert_int_equal(e->type, LCM_TOC_REG);
	assert_int_equal(e->size, z->size);
	for (uint32_t i = 0; i < e->n_chunks; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(f->toc, e->first_chunk + i);

		chunk_check(f, c, f->plain + z->off + c->file_off);
		done += c->file_len;
	}
	assert_int_equal(done, z->size);
}

static const struct zfile data_files[] = {
	{ .name = "first", .type = "reg", .off = 512, .size = 1000 },
	{ .name = "across", .type = "reg", .off = 2048, .size = 700000 },
	{ .name = "one", .type = "reg", .off = 702500, .size = 1 },
	{ .name = "empty", .type = "reg", .off = 703000, .size = 0 },
	{ .name = "large", .type = "reg", .off = 704000, .size = 2000000 },
	{ .name = "last", .type = "reg", .off = 2800000, .size = PLAIN_LEN - 2800000 },
};

static void all_check(struct fixture *f, const struct zspec *z, enum lcm_compression comp)
{
	must_parse(f, z, comp);
	assert_int_equal(lcm_toc_span_count(f->toc), f->l.n);
	assert_true(f->l.n > 3);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(data_files); i++)
		file_check(f, &data_files[i]);
	assert_int_equal(at(f, "empty")->n_chunks, 0);
	assert_true(at(f, "across")->n_chunks > 1);
}

/* As written by pigz -i, bgzip, and others: a layer of several members; the first has a name. */
static const size_t members_all[] = { PLAIN_LEN };
static const size_t members_few[] = { 900000, 901000, 901000, PLAIN_LEN };

static void gzip_layers(void **state)
{
	static const struct {
		unsigned int version;
		const char *name;
		const size_t *ends;
		size_t n;
	} rows[] = {
		{ 1, NULL, members_all, 1 },
		{ 2, NULL, members_all, 1 },
		{ 2, "a-long-name-of-a-layer.tar", members_all, 1 },
		{ 2, "name", members_few, 4 },
		{ 1, NULL, members_few, 4 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct zspec z;
		size_t from = 0;

		f->l.blob.len = 0;
		for (size_t k = 0; k < rows[i].n; from = rows[i].ends[k++])
			zmember(&f->l.blob, f->plain + from, rows[i].ends[k] - from, rows[i].name);
		zlayer_gzip(&f->l, f->plain, PLAIN_LEN, rows[i].version);
		assert_int_equal(f->l.points.len, 12 + (f->l.n - (rows[i].version == 1)) * RECORD);
		z = spec_of(f, data_files, LCM_ARRAY_SIZE(data_files));
		all_check(f, &z, LCM_COMP_GZIP);
	}
}

static void plain_layer(void **state)
{
	struct fixture *f = *state;
	struct zspec z;

	zlayer_plain(&f->l, f->plain, PLAIN_LEN);
	z = spec_of(f, data_files, LCM_ARRAY_SIZE(data_files));
	z.algorithm = 2;
	all_check(f, &z, LCM_COMP_NONE);
}

/* A first block of which nothing comes: two checkpoints at byte 0 of the tar. And a tar that, for
 * its reader, ends long before its last byte. */
static void spans_of_nothing(void **state)
{
	struct fixture *f = *state;
	z_stream s = { .next_in = f->plain, .avail_in = PLAIN_LEN };
	struct zspec z;
	size_t n;

	f->l.blob.len = 0;
	assert_int_equal(lcm_buf_reserve(&f->l.blob, PLAIN_LEN), 0);
	s.next_out = (uint8_t *)f->l.blob.data;
	s.avail_out = PLAIN_LEN;
	assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	s.avail_in = 0;
	assert_int_equal(deflate(&s, Z_FULL_FLUSH), Z_OK);
	s.avail_in = PLAIN_LEN;
	assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
	f->l.blob.len = PLAIN_LEN - s.avail_out;
	(void)deflateEnd(&s);
	zlayer_gzip(&f->l, f->plain, PLAIN_LEN, 2);
	n = f->l.n;
	z = spec_of(f, data_files, LCM_ARRAY_SIZE(data_files));
	must_parse(f, &z, LCM_COMP_GZIP);
	assert_true(lcm_toc_span_count(f->toc) < n);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(data_files); i++)
		file_check(f, &data_files[i]);

	z.n_files = 1;
	z.plain_size = 2048;
	must_parse(f, &z, LCM_COMP_GZIP);
	assert_int_equal(lcm_toc_span_count(f->toc), 1);
	assert_int_equal(lcm_toc_span(f->toc, 0)->plain_len, 2048);
	file_check(f, &data_files[0]);
}

/* ---- metadata ---- */

static void small_layer(struct fixture *f)
{
	zlayer_plain(&f->l, f->plain, 20000);
}

static struct zspec small_spec(const struct fixture *f, const struct zfile *files, size_t n)
{
	struct zspec z = spec_of(f, files, n);

	z.algorithm = 2;
	z.plain_size = 20000;
	return z;
}

static void metadata(void **state)
{
	static const struct zfile files[] = {
		{ .name = "./", .type = "dir", .off = 512, .mode = 0700, .uid = 7 },
		{ .name = "./d/", .type = "dir", .off = 1024, .mode = 01777 },
		{ .name = "./d/s",
		  .type = "reg",
		  .off = 2048,
		  .size = 5,
		  .mode = 04755,
		  .uid = 0xfffffffe,
		  .gid = 100,
		  .mtime = "2024-02-29T12:00:00.25+02:00",
		  .pax = { { "SCHILY.xattr.security.capability", "\1\2" },
			   { "SCHILY.xattr.user.none", "" },
			   { "mtime", "1709200800.25" } } },
		{ .name = "./d/go",
		  .type = "reg",
		  .off = 3072,
		  .size = 5,
		  .mode = 0755 | 1 << 23 | 1 << 22,
		  .mtime = "0001-01-01T00:00:00Z" },
		{ .name = "./d/sparse",
		  .type = "reg",
		  .off = 4096,
		  .size = 1000000,
		  .pax = { { "GNU.sparse.major", "1" }, { "GNU.sparse.realsize", "1000000" } } },
		{ .name = "link", .type = "symlink", .off = 6144, .link = "d/s", .mode = 0777 },
		{ .name = "hard", .type = "hardlink", .off = 7168, .size = 5, .link = "./d/s" },
		{ .name = "null", .type = "char", .off = 7680, .major = 1, .minor = 3 },
		{ .name = "sda", .type = "block", .off = 8192, .major = 8 },
		{ .name = "pipe", .type = "fifo", .off = 8704, .mtime = "1969-12-31T23:59:59Z" },
		{ .name = ".wh.gone", .type = "reg", .off = 9216 },
		{ .name = "d/.wh..wh..opq", .type = "reg", .off = 9728 },
	};
	struct fixture *f = *state;
	const struct lcm_toc_entry *e;
	struct lcm_xattr x;
	struct zspec z;
	uint32_t pos = 0;

	small_layer(f);
	z = small_spec(f, files, LCM_ARRAY_SIZE(files));
	must_parse(f, &z, LCM_COMP_NONE);
	assert_true(at(f, "")->uid == 7 && at(f, "")->mode == 0700);
	assert_true(at(f, "d")->mode == 01777 && at(f, "d")->flags == LCM_TOC_OPAQUE);
	e = at(f, "d/s");
	assert_true(e->mode == 04755 && e->uid == 0xfffffffe && e->gid == 100);
	assert_true(e->mtime == 1709200800 && e->mtime_nsec == 250000000);
	assert_true(lcm_toc_xattr_next(f->toc, e, &pos, &x));
	assert_string_equal(x.name, "security.capability");
	assert_true(x.value_len == 2 && memcmp(x.value, "\1\2", 2) == 0);
	assert_true(lcm_toc_xattr_next(f->toc, e, &pos, &x));
	assert_string_equal(x.name, "user.none");
	assert_int_equal(x.value_len, 0);
	assert_false(lcm_toc_xattr_next(f->toc, e, &pos, &x));
	e = at(f, "d/go");
	assert_true(e->mode == 06755 && e->mtime == 0);
	e = at(f, "d/sparse");
	assert_true(e->size == 1000000 && e->n_chunks == 0);
	assert_string_equal(lcm_toc_link(f->toc, at(f, "link")), "d/s");
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "hard")->link), at(f, "d/s"));
	assert_true(at(f, "null")->type == LCM_TOC_CHAR && at(f, "null")->rdev_minor == 3);
	assert_true(at(f, "sda")->type == LCM_TOC_BLOCK && at(f, "sda")->rdev_major == 8);
	assert_true(at(f, "pipe")->type == LCM_TOC_FIFO && at(f, "pipe")->mtime == -1);
	assert_int_equal(at(f, "gone")->type, LCM_TOC_WHITEOUT);
}

/* ---- refusals ---- */

struct refusal {
	struct zfile a, b;
	const char *says;
};
#define A .name = "a", .type = "reg", .off = 512
#define B                                                                                          \
	{                                                                                          \
		.name = "b", .type = "reg", .off = 1024                                            \
	}

static void files_refused(void **state)
{
	static const struct refusal rows[] = {
		{ { .name = "a", .type = "regular", .off = 512 }, B, "'a': unknown type" },
		{ { .name = "../a", .type = "reg", .off = 512 }, B, "../a" },
		{ { A, .mtime = "yesterday" }, B, "RFC 3339" },
		{ { A, .size = 513 }, B, "'b': its data begins before" },
		{ { A, .size = -1 }, B, "'a': its data is not within" },
		{ { A, .size = INT64_MAX }, B, "'a': its data is not within" },
		{ { A, .size = 19489 }, B, "'a': its data is not within" },
		{ { .name = "a", .type = "reg", .off = -512 }, B, "'a': its data is not within" },
		{ { .name = "a", .type = "char", .off = 512, .major = -1 },
		  B,
		  "'a': device number -1:0" },
		{ { A, .pax = { { "SCHILY.xattr.", "v" } } }, B, "xattr" },
		{ { A, .pax = { { "SCHILY.xattr.u", "v" }, { "SCHILY.xattr.u", "v" } } },
		  B,
		  "xattr" },
	};
	struct fixture *f = *state;

	small_layer(f);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct zfile files[2] = { rows[i].a, rows[i].b };
		struct zspec z = small_spec(f, files, 2);

		assert_int_equal(parse(f, &z, LCM_COMP_NONE), -EUCLEAN);
		if (!strstr(f->err.msg, rows[i].says))
			fail_msg("row %zu: '%s' does not say '%s'", i, f->err.msg, rows[i].says);
	}
}

static void refused(struct fixture *f, const struct zspec *z, enum lcm_compression comp, int r,
		    const char *says)
{
	assert_int_equal(parse(f, z, comp), r);
	if (!strstr(f->err.msg, says))
		fail_msg("'%s' does not say '%s'", f->err.msg, says);
}

static void heads_refused(void **state)
{
	struct fixture *f = *state;
	struct zspec good, z;
	char digest[ZPOINTS_MAX][LCM_DIGEST_STR] = { "sha512:00" };

	small_layer(f);
	good = z = small_spec(f, data_files, 1);
	z.version = "1.0";
	refused(f, &z, LCM_COMP_NONE, -ENOTSUP, "version '1.0'");
	z = good;
	z.blob_size++;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "20001 bytes");
	z = good;
	z.plain_size = -1;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "less than no bytes");
	z = good;
	z.algorithm = 3;
	refused(f, &z, LCM_COMP_NONE, -ENOTSUP, "algorithm 3");
	refused(f, &good, LCM_COMP_GZIP, -EUCLEAN, "not that of the layer");
	refused(f, &good, LCM_COMP_ZSTD, -ENOTSUP, "neither gzip nor a plain tar");
	z = good;
	z.max_span = 1;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "number of digests");
	z = good;
	z.n_digests = 0;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "number of digests");
	z = good;
	z.digests = (const char(*)[LCM_DIGEST_STR])digest;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "no sha256 digest");
	z = good;
	z.points_len = 0;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "no checkpoints");
	z = good;
	z.points_len /= 2;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "checkpoints: damaged");
	zplain_points(&f->l.points, 3, ZSPAN, 20000);
	refused(f, &good, LCM_COMP_NONE, -EUCLEAN, "checkpoints: damaged");
	zplain_points(&f->l.points, 2, 0, 20000);
	z = good;
	z.points_len = f->l.points.len;
	refused(f, &z, LCM_COMP_NONE, -EUCLEAN, "checkpoints: damaged");
	zplain_points(&f->l.points, 2, 10000, 20000);
	refused(f, &good, LCM_COMP_NONE, -EUCLEAN, "another number of spans");
}

static void points_refused(void **state)
{
	static const struct {
		size_t at; /* in the second of the records */
		uint64_t v;
		const char *says;
	} rows[] = {
		{ 0, 0, "out of order" },          { 0, 10, "out of order" },
		{ 0, UINT64_MAX, "out of order" }, { 8, UINT64_MAX, "out of order" },
		{ 16, 8, "out of order" }, /* bits; the window is not looked at */
	};
	struct fixture *f = *state;
	struct zspec good, z;
	uint32_t count;

	f->l.blob.len = 0;
	zmember(&f->l.blob, f->plain, PLAIN_LEN, NULL);
	zlayer_gzip(&f->l, f->plain, PLAIN_LEN, 2);
	good = spec_of(f, data_files, LCM_ARRAY_SIZE(data_files));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		char *p = f->l.points.data + 12 + RECORD + rows[i].at, old[8];

		memcpy(old, p, 8);
		memcpy(p, &rows[i].v, 8);
		refused(f, &good, LCM_COMP_GZIP, -EUCLEAN, rows[i].says);
		memcpy(p, old, 8);
	}
	f->l.points.data[12 + 8] = 1; /* the first begins behind byte 0 of the tar */
	refused(f, &good, LCM_COMP_GZIP, -EUCLEAN, "checkpoint 0");
	f->l.points.data[12 + 8] = 0;
	for (size_t cut = 1; cut < 2 * RECORD; cut += RECORD - 1) {
		z = good;
		z.points_len -= cut;
		if (cut != RECORD)
			refused(f, &z, LCM_COMP_GZIP, -EUCLEAN, "their length");
	}
	count = (uint32_t)f->l.n + 1;
	memcpy(f->l.points.data, &count, 4);
	refused(f, &good, LCM_COMP_GZIP, -EUCLEAN, "their length");
	z = good;
	z.points_len = 11;
	refused(f, &z, LCM_COMP_GZIP, -EUCLEAN, "their length");
}

/* ---- hostile bytes ---- */

static void try_bytes(const uint8_t *p, size_t len, uint64_t blob_size)
{
	const struct lcm_toc_id id = { .blob_size = blob_size };
	lcm_autofree uint8_t *exact = malloc(len + !len); /* what is behind it is seen */
	lcm_auto(lcm_toc_builder) b = NULL;
	struct lcm_err err = { 0 };
	int r;

	assert_int_equal(lcm_toc_builder_new(&b), 0);
	memcpy(exact, p, len);
	r = lcm_ztoc_parse(exact, len, &id, b, &err);
	assert_true(r == 0 || (r < 0 && err.msg[0]));
}

static void hostile(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	static const struct zfile files[] = {
		{ .name = "a",
		  .type = "reg",
		  .off = 512,
		  .size = 5,
		  .mtime = "2024-02-29T12:00:00Z",
		  .pax = { { "SCHILY.xattr.u", "v" } } },
		{ .name = "b", .type = "dir", .off = 1024 },
	};
	struct fixture *f = *state;
	struct zspec z;

	small_layer(f);
	z = small_spec(f, files, 2);
	zspec_put(&f->ztoc, &z);
	for (size_t n = 0; n <= f->ztoc.len; n++)
		try_bytes((uint8_t *)f->ztoc.data, n, 20000);
	for (size_t i = 0; i < f->ztoc.len; i++)
		for (size_t k = 0; k < LCM_ARRAY_SIZE(values); k++) {
			char old = f->ztoc.data[i];

			f->ztoc.data[i] = (char)values[k];
			try_bytes((uint8_t *)f->ztoc.data, f->ztoc.len, 20000);
			f->ztoc.data[i] = old;
		}
}

/* A thousand files that all have the same thousand PAX records: more than their bytes can be. */
static void shared_vectors(void **state)
{
	struct zfield root[] = { ZREF, { 0 }, ZINT(8, 20000), ZINT(8, 20000), ZREF, ZREF };
	struct zfield info[] = { ZINT(1, 2), { 0 }, ZREF, ZREF };
	struct zfield toc[] = { ZREF }, pax[] = { ZREF, ZREF };
	struct zfield file[14] = { ZREF, ZREF, { 0 } };
	const struct lcm_toc_id id = { .blob_size = 20000 };
	struct fixture *f = *state;
	struct lcm_buf *b = &f->ztoc;
	size_t v, records;
	uint32_t n;

	small_layer(f);
	zput(b, "\0\0\0", 4);
	ztable(b, 0, root, 6);
	zstring(b, root[0].at, "0.9");
	ztable(b, root[5].at, info, 4);
	zstring(b, zvector(b, info[2].at, 1), f->l.digests[0]);
	zpoint(b, info[3].at);
	n = (uint32_t)f->l.points.len;
	zput(b, &n, 4);
	zput(b, f->l.points.data, n);
	file[13].width = 4;
	ztable(b, root[4].at, toc, 1);
	v = zvector(b, toc[0].at, 1000);
	ztable(b, v, file, 14);
	zstring(b, file[0].at, "a");
	zstring(b, file[1].at, "dir");
	records = zvector(b, file[13].at, 1000);
	ztable(b, records, pax, 2);
	zstring(b, pax[0].at, "k");
	zstring(b, pax[1].at, "v");
	for (uint32_t i = 1; i < 1000; i++) {
		uint32_t off;

		memcpy(&off, b->data + v, 4);
		off -= 4 * i;
		memcpy(b->data + v + (size_t)4 * i, &off, 4);
		memcpy(&off, b->data + records, 4);
		off -= 4 * i;
		memcpy(b->data + records + (size_t)4 * i, &off, 4);
	}
	assert_int_equal(lcm_toc_builder_new(&f->b), 0);
	assert_int_equal(lcm_ztoc_parse(b->data, b->len, &id, f->b, &f->err), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "damaged"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(gzip_layers),    T(plain_layer),   T(spans_of_nothing),
		T(metadata),       T(files_refused), T(heads_refused),
		T(points_refused), T(hostile),       T(shared_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
