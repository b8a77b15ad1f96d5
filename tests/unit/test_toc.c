/* SPDX-License-Identifier: Apache-2.0 */
#include "image/toc_format.h"
#include "tests/unit/toc_fixture.h"

static void too_many_bytes_together(void **state)
{
	struct fixture *f = *state;
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "a", NULL);

	it.size = INT64_MAX;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	it.path = "b";
	it.size = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	assert_int_equal(try_finish(f), -EFBIG);
}

static void identity_is_kept(void **state)
{
	struct fixture *f = *state;
	struct lcm_toc_id id = {
		.blob = D, .diffid = { .b = { 2 } }, .blob_size = 77, .compression = LCM_COMP_GZIP
	};

	assert_int_equal(lcm_toc_builder_finish(f->b, &id, AT_FDCWD, f->path, true, &f->err), 0);
	assert_int_equal(lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err), 0);
	assert_memory_equal(lcm_toc_id(f->toc), &id, sizeof(id));
	assert_int_equal(lcm_toc_count(f->toc), 1);
	id.compression = 3;
	assert_int_equal(lcm_toc_builder_finish(f->b, &id, AT_FDCWD, f->path, true, &f->err),
			 -EINVAL);
}

/* A file with something of everything, read into memory. */
static char *sample(struct fixture *f, size_t *len)
{
	static const struct row rows[] = {
		{ LCM_TOC_REG, "d/f", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, "d/h", "d/f", 0, NULL },
		{ LCM_TOC_SYMLINK, "d/s", "target", 0, NULL },
		{ LCM_TOC_REG, ".wh.gone", NULL, 0, NULL },
		{ LCM_TOC_CHAR, "dev", NULL, 0, NULL },
		{ LCM_TOC_FIFO, "fifo", NULL, 0, NULL },
	};
	static const struct lcm_toc_item_chunk c[2] = {
		{ 10, 5, 0, 60, 0, 0, D }, { 0, 0, 60, 40, 0, LCM_TOC_CHUNK_ZEROS, D }
	};
	static const struct lcm_xattr x[] = { X("user.b", "two"), X("user.c", "") };
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "c", NULL);
	char *p;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	it.size = 100;
	it.chunks = c;
	it.n_chunks = 2;
	it.xattrs = x;
	it.n_xattrs = 2;
	it.digest = (struct lcm_digest)D;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	finish(f);
	lcm_toc_close(f->toc);
	f->toc = NULL;
	assert_int_equal(lcm_read_file_at(AT_FDCWD, f->path, 1U << 20, &p, len), 0);
	return p;
}

static void reseal(char *p, size_t len)
{
	struct toc_header *h = (struct toc_header *)p;

	h->checksum = 0;
	h->checksum = toc_checksum(toc_checksum(0, p + sizeof(*h), len - sizeof(*h)), h,
				   sizeof(*h));
}

static int try_open(struct fixture *f, const char *p, size_t len)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, f->path, O_WRONLY | O_TRUNC, 0);
	int r;

	assert_int_equal(lcm_sys_write_full(fd, p, len), 0);
	lcm_toc_close(f->toc);
	f->toc = NULL;
	r = lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err);
	if (r < 0)
		assert_null(f->toc);
	return r;
}

/* Everything an opened TOC can be asked. */
static void walk_all(const struct lcm_toc *t)
{
	char path[LCM_TOC_LINK_MAX + 1];

	for (uint32_t i = 0; i < lcm_toc_count(t); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(t, i);
		struct lcm_xattr x;
		uint32_t pos = 0;

		if (lcm_toc_path(t, i, path, sizeof(path)) >= 0)
			assert_int_equal(lcm_toc_walk(t, path, strlen(path)), i);
		while (lcm_toc_xattr_next(t, e, &pos, &x))
			assert_int_equal(strlen(x.name), x.name_len);
		if (e->type == LCM_TOC_SYMLINK)
			assert_int_equal(strlen(lcm_toc_link(t, e)), e->size);
	}
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct fixture *f = *state;
	size_t len;
	lcm_autofree char *p = sample(f, &len);

	assert_int_equal(try_open(f, p, len), 0);
	for (size_t i = 0; i < len; i++) {
		p[i] ^= (char)(1 << i % 8);
		assert_true(try_open(f, p, len) < 0);
		p[i] ^= (char)(1 << i % 8);
	}
}

/* The same with a good checksum: whatever still opens can be walked. */
static void forged_files_are_refused_or_sound(void **state)
{
	struct fixture *f = *state;
	size_t len, refused = 0;
	lcm_autofree char *p = sample(f, &len);

	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			p[i] ^= (char)(1 << bit);
			reseal(p, len);
			if (try_open(f, p, len) < 0)
				refused++;
			else
				walk_all(f->toc);
			p[i] ^= (char)(1 << bit);
		}
	assert_true(refused > len);
}

static void truncated_files_are_refused(void **state)
{
	struct fixture *f = *state;
	size_t len;
	lcm_autofree char *p = sample(f, &len);

	for (size_t n = 0; n < len; n++)
		assert_int_equal(try_open(f, p, n), -EUCLEAN);
}

/* Edits of a good file, each resealed, and the rule that each must break. */
static void forged_fields(void **state)
{
	enum { ENTRIES = sizeof(struct toc_header), E = sizeof(struct lcm_toc_entry) };
	static const struct {
		size_t at;
		uint32_t value;
		const char *says;
	} rows[] = {
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, parent), 1, "parent" },
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, name), UINT32_MAX, "name" },
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, mode), 010000, "mode" },
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, xattrs), 4, "xattrs" },
		{ ENTRIES + offsetof(struct lcm_toc_entry, first_child), 0, "children" },
		{ ENTRIES + offsetof(struct lcm_toc_entry, n_children), 1000, "children" },
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, first_chunk), 1, "chunks" },
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, n_chunks), 1, "chunks" },
		{ ENTRIES + E + offsetof(struct lcm_toc_entry, size), 101, "chunks" },
		{ offsetof(struct toc_header, n_entries), 0, "counts" },
		{ offsetof(struct toc_header, n_chunks), UINT32_MAX, "counts" },
		{ offsetof(struct toc_header, file_len), 7, "length" },
		{ offsetof(struct toc_header, reserved), 7, "identity" },
	};
	struct fixture *f = *state;
	size_t len;
	lcm_autofree char *p = sample(f, &len);

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint32_t was;

		memcpy(&was, p + rows[i].at, sizeof(was));
		memcpy(p + rows[i].at, &rows[i].value, sizeof(was));
		reseal(p, len);
		assert_int_equal(try_open(f, p, len), -EUCLEAN);
		if (!strstr(f->err.msg, rows[i].says))
			fail_msg("row %zu: '%s' does not say '%s'", i, f->err.msg, rows[i].says);
		memcpy(p + rows[i].at, &was, sizeof(was));
	}
}

static void foreign_files(void **state)
{
	struct fixture *f = *state;
	size_t len;
	lcm_autofree char *p = sample(f, &len);

	((struct toc_header *)p)->version = LCM_TOC_VERSION + 1;
	reseal(p, len);
	assert_int_equal(try_open(f, p, len), -EPROTONOSUPPORT);
	assert_int_equal(lcm_toc_open(AT_FDCWD, "/nonexistent/toc", &f->toc, &f->err), -ENOENT);
	assert_int_equal(lcm_toc_open(AT_FDCWD, f->dir, &f->toc, &f->err), -EUCLEAN);
	assert_null(f->toc);
}

/* ---- spans ---- */

/* A gzip layer of three spans of 1000 plain bytes, of which the last has two files' bytes. */
static void add_spans(struct fixture *f)
{
	static uint8_t window[LCM_TOC_WINDOW] = { 7 };
	static const struct lcm_toc_item_span s[] = {
		{ 0, 100, 0, 1000, LCM_TOC_START_MEMBER, 0, NULL, D },
		{ 99, 101, 1000, 1000, LCM_TOC_START_DEFLATE, 3, window, D },
		{ 200, 100, 2000, 1000, LCM_TOC_START_DEFLATE, 0, window, D },
	};

	for (size_t i = 0; i < LCM_ARRAY_SIZE(s); i++)
		assert_int_equal(lcm_toc_builder_span(f->b, &s[i], &f->err), 0);
}

static void add_of_tar(struct fixture *f, const char *name, uint64_t off, uint64_t len)
{
	const struct lcm_toc_item_chunk c = { off, len, 0, len, 0, LCM_TOC_CHUNK_TAR, { { 0 } } };
	struct lcm_toc_item it = item_of(LCM_TOC_REG, name, NULL);

	it.size = len;
	it.chunks = &c;
	it.n_chunks = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
}

static int finish_gzip(struct fixture *f)
{
	struct lcm_toc_id id = { .blob_size = 300, .compression = LCM_COMP_GZIP };

	return lcm_toc_builder_finish(f->b, &id, AT_FDCWD, f->path, false, &f->err);
}

static void files_are_cut_at_the_ends_of_spans(void **state)
{
	static const struct {
		const char *name;
		uint64_t skip, len;
		uint32_t span;
	} rows[] = {
		{ "a", 512, 488, 0 }, { "a", 0, 1000, 1 }, { "a", 0, 12, 2 }, { "b", 600, 300, 2 }
	};
	struct fixture *f = *state;
	uint64_t off = 0;

	add_of_tar(f, "b", 2600, 300); /* before the spans are known */
	add_spans(f);
	add_of_tar(f, "a", 512, 1500);
	assert_int_equal(finish_gzip(f), 0);
	assert_int_equal(lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err), 0);
	assert_int_equal(lcm_toc_span_count(f->toc), 3);
	assert_int_equal(lcm_toc_chunk_count(f->toc), LCM_ARRAY_SIZE(rows));
	for (uint32_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(f->toc, i);

		off = rows[i].name[0] == 'b' ? 0 : off;
		assert_int_equal(c->span, rows[i].span);
		assert_int_equal(c->skip, rows[i].skip);
		assert_int_equal(c->file_len, rows[i].len);
		assert_int_equal(c->file_off, off);
		assert_int_equal(c->blob_off, lcm_toc_span(f->toc, c->span)->blob_off);
		assert_int_equal(lcm_toc_chunk_spans(f->toc, c), 1);
		off += c->file_len;
	}
	assert_null(lcm_toc_window(f->toc, lcm_toc_span(f->toc, 0)));
	assert_int_equal(lcm_toc_window(f->toc, lcm_toc_span(f->toc, 2))[0], 7);
}

static void data_outside_of_all_spans_is_refused(void **state)
{
	struct fixture *f = *state;

	add_spans(f);
	add_of_tar(f, "late", 2900, 101);
	assert_int_equal(finish_gzip(f), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "'late'"));
	assert_non_null(strstr(f->err.msg, "no span"));
}

/* One zstd frame cannot be entered in the middle: what lies near its begin is reached from there.
 */
static void spans_that_continue(void **state)
{
	const uint64_t step = 3U << 20;
	struct lcm_toc_id id = { .blob_size = BLOB_SIZE, .compression = LCM_COMP_ZSTD };
	struct fixture *f = *state;

	for (uint64_t i = 0; i < 8; i++) {
		struct lcm_toc_item_span s = { i * 100,
					       100,
					       i * step,
					       step,
					       i ? LCM_TOC_START_CONTINUES : LCM_TOC_START_FRAME,
					       0,
					       NULL,
					       D };

		assert_int_equal(lcm_toc_builder_span(f->b, &s, &f->err), 0);
	}
	add_of_tar(f, "near", step - 10, 20);
	add_of_tar(f, "far", 7 * step, 20);
	assert_int_equal(lcm_toc_builder_finish(f->b, &id, AT_FDCWD, f->path, false, &f->err), 0);
	assert_int_equal(lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err), 0);
	assert_int_equal(at(f, "far")->n_chunks, 0);
	assert_int_equal(at(f, "near")->n_chunks, 2);
	assert_int_equal(lcm_toc_chunk_spans(f->toc, lcm_toc_chunk(f->toc, 0)), 1);
	assert_int_equal(lcm_toc_chunk_spans(f->toc, lcm_toc_chunk(f->toc, 1)), 2);
	assert_true(lcm_toc_chunk(f->toc, 1)->skip == step);
}

static void bad_spans(void **state)
{
	static const struct {
		struct lcm_toc_item_span s;
		const char *says;
	} rows[] = {
		{ { 98, 10, 1000, 5, LCM_TOC_START_DEFLATE, 3, NULL, D }, "overlaps" },
		{ { 99, 10, 1000, 5, LCM_TOC_START_MEMBER, 0, NULL, D }, "overlaps" },
		{ { 100, 10, 1001, 5, LCM_TOC_START_DEFLATE, 0, NULL, D }, "gap" },
		{ { 100, 10, 999, 5, LCM_TOC_START_DEFLATE, 0, NULL, D }, "gap" },
		{ { 100, 10, 1000, 0, LCM_TOC_START_DEFLATE, 0, NULL, D }, "gap" },
		{ { 100, 0, 1000, 5, LCM_TOC_START_DEFLATE, 0, NULL, D }, "outside" },
		{ { 100, 201, 1000, 5, LCM_TOC_START_DEFLATE, 0, NULL, D }, "outside" },
		{ { UINT64_MAX, 2, 1000, 5, LCM_TOC_START_DEFLATE, 0, NULL, D }, "outside" },
		{ { 100, 10, 1000, UINT64_MAX, LCM_TOC_START_DEFLATE, 0, NULL, D }, "gap" },
		{ { 100, 10, 1000, 5, LCM_TOC_START_FRAME, 0, NULL, D }, "compression" },
		{ { 100, 10, 1000, 5, LCM_TOC_START_MEMBER, 1, NULL, D }, "bits" },
		{ { 100, 10, 1000, 5, LCM_TOC_START_DEFLATE, 8, NULL, D }, "start" },
		{ { 100, 10, 1000, 5, 0, 0, NULL, D }, "start" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct lcm_toc_item_span first = { 0, 100,  0, 1000, LCM_TOC_START_MEMBER,
							 0, NULL, D };
		lcm_auto(lcm_toc_builder) b = NULL;
		struct lcm_toc_id id = { .blob_size = 300, .compression = LCM_COMP_GZIP };
		int r;

		assert_int_equal(lcm_toc_builder_new(&b), 0);
		assert_int_equal(lcm_toc_builder_span(b, &first, NULL), 0);
		r = lcm_toc_builder_span(b, &rows[i].s, &f->err);
		if (r == 0)
			r = lcm_toc_builder_finish(b, &id, AT_FDCWD, f->path, false, &f->err);
		assert_int_equal(r, -EUCLEAN);
		if (!strstr(f->err.msg, rows[i].says))
			fail_msg("row %zu: '%s' does not say '%s'", i, f->err.msg, rows[i].says);
	}
}

static void forged_spans_are_refused_or_sound(void **state)
{
	struct fixture *f = *state;
	size_t len, head, refused = 0;
	lcm_autofree char *p = NULL;

	add_spans(f);
	add_of_tar(f, "a", 512, 1500);
	assert_int_equal(finish_gzip(f), 0);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, f->path, 1U << 20, &p, &len), 0);
	head = toc_body_len((const struct toc_header *)p);
	for (size_t i = 0; i < head; i++) {
		p[i] ^= (char)(1 << i % 8);
		reseal(p, len);
		if (try_open(f, p, len) < 0)
			refused++;
		else
			for (uint32_t k = 0; k < lcm_toc_chunk_count(f->toc); k++)
				assert_in_range(
				    lcm_toc_chunk_spans(f->toc, lcm_toc_chunk(f->toc, k)), 1,
				    lcm_toc_span_count(f->toc));
		p[i] ^= (char)(1 << i % 8);
	}
	assert_true(refused > head / 4);
}

#ifdef LCM_FAULTS
static void every_failing_call_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	bool done = false;

	for (long n = 1; !done; n++) {
		struct lcm_toc_id id = { .blob_size = 1 };
		struct lcm_toc_builder *b = NULL;
		int r;

		assert_true(n < 100);
		assert_int_equal(lcm_toc_builder_new(&b), 0);
		lcm_fault_arm(n, EIO);
		r = lcm_toc_builder_finish(b, &id, AT_FDCWD, f->path, false, &f->err);
		if (r == 0)
			r = lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err);
		done = lcm_fault_count() < n;
		lcm_fault_disarm();
		assert_int_equal(r, done ? 0 : -EIO);
		if (!done)
			assert_null(f->toc);
		lcm_toc_builder_free(b);
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, f->path, 0));
		/* an empty directory has two links and can be removed: no temporary file is left */
		assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, f->dir, AT_REMOVEDIR), 0);
		assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, f->dir, 0700), 0);
	}
	assert_int_equal(lcm_sys_fstatat(AT_FDCWD, f->dir, &st, 0), 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(too_many_bytes_together),
		T(identity_is_kept),
		T(every_flipped_bit_is_noticed),
		T(forged_files_are_refused_or_sound),
		T(truncated_files_are_refused),
		T(forged_fields),
		T(foreign_files),
		T(files_are_cut_at_the_ends_of_spans),
		T(data_outside_of_all_spans_is_refused),
		T(spans_that_continue),
		T(bad_spans),
		T(forged_spans_are_refused_or_sound),
#ifdef LCM_FAULTS
		T(every_failing_call_leaves_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
