/* SPDX-License-Identifier: Apache-2.0 */
/* What is written as a zTOC is read as one, with nothing lost. (That it is what SOCI's own readers
 * expect, byte for byte, is for tests/integration/index_push.sh: its reader is not ours.) */
#include "image/ztoc.h"
#include "image/ztoc_write.h"
#include "tests/unit/ztoc_layer.h"

#define PLAIN_LEN ((size_t)2 << 20)

struct fixture {
	char *dir;
	uint8_t *plain;
	struct zlayer l;
	struct lcm_ztoc_writer *w;
	struct lcm_buf out;
	struct lcm_toc *toc;
	struct lcm_err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned int seed = 3;

	f->dir = test_mkdir();
	f->l.blob = f->l.points = f->out = LCM_BUF(8 << 20);
	f->plain = malloc(PLAIN_LEN);
	for (size_t i = 0; i < PLAIN_LEN; i++)
		f->plain[i] = (uint8_t)(rand_r(&seed) % 17);
	zmember(&f->l.blob, f->plain, PLAIN_LEN, "a name");
	zlayer_gzip(&f->l, f->plain, PLAIN_LEN, 2);
	assert_int_equal(lcm_ztoc_writer_new(&f->w), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lcm_toc_close(f->toc);
	lcm_ztoc_writer_free(f->w);
	lcm_buf_fini(&f->out);
	lcm_buf_fini(&f->l.blob);
	lcm_buf_fini(&f->l.points);
	free(f->plain);
	test_rmdir(f->dir);
	free(f);
	return 0;
}

static void points_write(struct fixture *f)
{
	for (size_t i = 0; i < f->l.n; i++) {
		const uint8_t *rec = (const uint8_t *)f->l.points.data + 12 + i * RECORD;
		struct lcm_ztoc_point p = { .bits = rec[16], .window = i ? rec + 17 : NULL };

		memcpy(&p.in, rec, 8);
		memcpy(&p.out, rec + 8, 8);
		assert_int_equal(
		    lcm_digest_parse(f->l.digests[i], strlen(f->l.digests[i]), &p.digest), 0);
		assert_int_equal(lcm_ztoc_writer_point(f->w, &p), 0);
	}
}

static void file(struct fixture *f, const struct lcm_toc_item *it, const char *prefix, uint64_t off)
{
	if (lcm_ztoc_writer_file(f->w, it, prefix, off, &f->err) < 0)
		fail_msg("%s", f->err.msg);
}

static void read_back(struct fixture *f)
{
	struct lcm_toc_id id = { .blob_size = f->l.blob.len, .compression = LCM_COMP_GZIP };
	lcm_auto(lcm_toc_builder) b = NULL;
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/toc", f->dir);
	points_write(f);
	assert_int_equal(lcm_ztoc_writer_finish(f->w, f->l.blob.len, PLAIN_LEN, ZSPAN, &f->out), 0);
	assert_int_equal(lcm_toc_builder_new(&b), 0);
	if (lcm_ztoc_parse(f->out.data, f->out.len, &id, b, &f->err) < 0 ||
	    lcm_toc_builder_finish(b, &id, AT_FDCWD, path, false, &f->err) < 0 ||
	    lcm_toc_open(AT_FDCWD, path, &f->toc, &f->err) < 0)
		fail_msg("%s", f->err.msg);
}

static const struct lcm_toc_entry *at(const struct fixture *f, const char *path)
{
	uint32_t i = lcm_toc_walk(f->toc, path, strlen(path));

	if (i == LCM_TOC_NONE)
		fail_msg("no '%s'", path);
	return lcm_toc_entry(f->toc, i);
}

#define PATH(s) .path = (s), .path_len = sizeof(s) - 1

static void what_is_written_is_read(void **state)
{
	static const struct lcm_xattr xattrs[] = {
		{ "security.capability", 19, 3, (const uint8_t *)"\1\0\2" },
		{ "user.x", 6, 1, (const uint8_t *)"y" },
	};
	const struct lcm_toc_item root = { PATH(""), .type = LCM_TOC_DIR, .mode = 0750 };
	const struct lcm_toc_item dir = { PATH("d"), .type = LCM_TOC_DIR, .mode = 01777, .uid = 9 };
	const struct lcm_toc_item reg = { PATH("d/f"),       .type = LCM_TOC_REG, .mode = 04755,
					  .size = 700000,    .mtime = 1700000000, .mtime_nsec = 120,
					  .gid = 0xfffffffe, .xattrs = xattrs,    .n_xattrs = 2 };
	const struct lcm_toc_item link = { PATH("l"),     .type = LCM_TOC_SYMLINK,
					   .link = "d/f", .link_len = 3,
					   .mtime = -1,   .mtime_nsec = 500000000 };
	const struct lcm_toc_item hard = { PATH("h"), .type = LCM_TOC_HARDLINK, .link = "d/f",
					   .link_len = 3 };
	const struct lcm_toc_item dev = { PATH("null"), .type = LCM_TOC_CHAR, .rdev_major = 1,
					  .rdev_minor = 3 };
	const struct lcm_toc_item gone = { PATH("d/.wh.gone"), .type = LCM_TOC_REG };
	struct fixture *f = *state;
	const struct lcm_toc_entry *e;
	struct lcm_xattr x;
	uint32_t pos = 0;

	file(f, &root, "./", 512);
	file(f, &dir, "./", 1024);
	file(f, &reg, "./", 3072);
	file(f, &link, "/", 704000);
	file(f, &hard, "", 705024);
	file(f, &dev, "", 705536);
	file(f, &gone, "./", 706048);
	read_back(f);
	assert_int_equal(lcm_toc_count(f->toc), 7);
	assert_int_equal(lcm_toc_span_count(f->toc), f->l.n);
	assert_int_equal(at(f, "")->mode, 0750);
	assert_true(at(f, "d")->mode == 01777 && at(f, "d")->uid == 9);
	e = at(f, "d/f");
	assert_true(e->mode == 04755 && e->gid == 0xfffffffe && e->size == 700000);
	assert_true(e->mtime == 1700000000 && e->mtime_nsec == 120 && e->n_chunks > 1);
	assert_true(lcm_toc_xattr_next(f->toc, e, &pos, &x) && x.value_len == 3);
	assert_memory_equal(x.value, "\1\0\2", 3);
	assert_true(lcm_toc_xattr_next(f->toc, e, &pos, &x) && *x.value == 'y');
	e = at(f, "l");
	assert_string_equal(lcm_toc_link(f->toc, e), "d/f");
	assert_true(e->mtime == -1 && e->mtime_nsec == 500000000);
	assert_int_equal(at(f, "h")->type, LCM_TOC_HARDLINK);
	assert_true(at(f, "null")->rdev_major == 1 && at(f, "null")->rdev_minor == 3);
	assert_int_equal(at(f, "d/gone")->type, LCM_TOC_WHITEOUT);
}

static void what_soci_cannot_say_is_refused(void **state)
{
	struct fixture *f = *state;
	struct lcm_toc_item it = { PATH("f"), .type = LCM_TOC_REG, .size = 1000 };

	assert_int_equal(lcm_ztoc_writer_file(f->w, &it, "", 512, &f->err), 0);
	assert_int_equal(lcm_ztoc_writer_file(f->w, &it, "", 1535, &f->err), -EUCLEAN);
	assert_int_equal(lcm_ztoc_writer_file(f->w, &it, "", INT64_MAX, &f->err), -EUCLEAN);
	it.mtime = 253402300800;
	assert_int_equal(lcm_ztoc_writer_file(f->w, &it, "", 4096, &f->err), -ENOTSUP);
	it.mtime = -62167219201;
	assert_int_equal(lcm_ztoc_writer_file(f->w, &it, "", 4096, &f->err), -ENOTSUP);
	it.mtime = 0;
	it.type = LCM_TOC_WHITEOUT;
	assert_int_equal(lcm_ztoc_writer_file(f->w, &it, "", 4096, &f->err), -ENOTSUP);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_written_is_read),
		T(what_soci_cannot_say_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
