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
	static const struct lcm_toc_item_chunk c[2] = { { 10, 5, 0, 60, 0, D },
							{ 0, 0, 60, 40, LCM_TOC_CHUNK_ZEROS, D } };
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
#ifdef LCM_FAULTS
		T(every_failing_call_leaves_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
