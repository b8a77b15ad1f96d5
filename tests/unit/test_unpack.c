/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <sys/sysmacros.h>

#include "tests/unit/unpack_util.h"

/* ---- tars by hand ---- */

static void evil_is_refused(void **state)
{
	static const struct {
		struct tar_item items[3];
		const char *text;
	} rows[] = {
		{ { { .path = "../x", .data = "x" } }, "'..'" },
		{ { { .path = "a/../../x", .data = "x" } }, "'..'" },
		{ { { .path = "/..", .type = '5' } }, "'..'" },
		{ { { .path = "l", .link = "/tmp", .type = '2' }, { .path = "l/x", .data = "x" } },
		  "symbolic link" },
		{ { { .path = "l", .link = ".", .type = '2' }, { .path = "l/a/x", .data = "x" } },
		  "symbolic link" },
		{ { { .path = "l", .link = "/etc", .type = '2' },
		    { .path = "h", .link = "l/passwd", .type = '1' } },
		  "symbolic link" },
		{ { { .path = "h", .link = "../x", .type = '1' } }, "'..'" },
		{ { { .path = "h", .link = "l/etc/passwd", .type = '1' },
		    { .path = ".wh.l", .data = "" } },
		  "goes through what is not a directory" },
		{ { { .path = ".wh.l", .data = "" }, { .path = "h", .link = "l", .type = '1' } },
		  "hardlink to 'l', which this layer hides" },
		{ { { .path = "h", .link = "i", .type = '1' },
		    { .path = "i", .link = "h", .type = '1' } },
		  "leads in a circle" },
		{ { { .path = "h", .link = "h", .type = '1' } }, "itself" },
		{ { { .path = "d", .type = '5' }, { .path = "h", .link = "d", .type = '1' } },
		  "which is a directory" },
		{ { { .path = "h", .link = "./", .type = '1' } }, "hardlink to a directory" },
		{ { { .path = "f", .data = "x" }, { .path = "f/x", .data = "x" } },
		  "not a directory" },
		{ { { .path = "./", .link = "/etc", .type = '2' } }, "root is not a directory" },
		{ { { .path = "s", .type = '2' } }, "link without a target" },
		{ { { .path = ".wh.", .data = "" } }, "whiteout of no name" },
		{ { { .path = "a/.wh...", .data = "" } }, "whiteout of no name" },
		{ { { .path = ".wh.x/f", .data = "x" } }, "below a whiteout" },
		{ { { .path = "c", .type = '3', .major = 4096, .minor = 7 } },
		  "'c': device number 4096:7 is out of range" },
		{ { { .path = "d/b", .type = '4', .minor = 1048576 } },
		  "'d/b': device number 0:1048576 is out of range" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_buf b = LCM_BUF(1 << 20);
		struct lcm_unpack_result res = { .entries = 77 };
		struct lcm_err err = { 0 };
		struct layer_fixture f;
		struct tar_source src;

		for (size_t k = 0; k < 3 && rows[i].items[k].path; k++)
			tar_add(&b, &rows[i].items[k]);
		tar_end(&b);
		layer_setup(&f);
		src = source_of_bytes(&b, 100);
		assert_int_equal(unpack_source(&f, &src, NULL, NULL, &res, &err), -EUCLEAN);
		if (!strstr(err.msg, rows[i].text))
			fail_msg("row %zu: %s", i, err.msg);
		assert_int_equal(res.entries, 77);
		layer_teardown(&f);
		lcm_buf_fini(&b);
	}
}

/* What libarchive says in 64 bits is not cut to 32: 2^32 + 1 is no 1. What it cuts itself is no
 * number either. */
static void numbers_are_not_cut(void **state)
{
	static const struct {
		const char *pax[3], *text;
	} rows[] = {
		{ { "SCHILY.devmajor=4294967297", "SCHILY.devminor=3" }, "4294967297:3" },
		{ { "SCHILY.devmajor=1", "SCHILY.devminor=4294967299" }, "1:4294967299" },
		{ { "SCHILY.devmajor=-1" }, "-1:3" },
		{ { "mtime=99999999999999999999" }, "time out of range" },
		{ { "mtime=-99999999999999999999" }, "time out of range" },
	};
	const struct tar_item item = { .path = "null", .type = '3', .major = 1, .minor = 3 };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_buf b = LCM_BUF(1 << 20);
		struct lcm_err err = { 0 };
		struct layer_fixture f;

		tar_add_pax(&b, rows[i].pax);
		tar_add(&b, &item);
		tar_end(&b);
		layer_setup(&f);
		assert_int_equal(unpack_bytes(&f, &b, NULL, &err), -EUCLEAN);
		if (!strstr(err.msg, rows[i].text) || !strstr(err.msg, "layer entry 'null'"))
			fail_msg("row %zu: %s", i, err.msg);
		layer_teardown(&f);
		lcm_buf_fini(&b);
	}
}

/* GNU's first sparse format, with the pieces [0, @map) and the end. */
static void tar_add_sparse(struct lcm_buf *b, size_t stored, unsigned int map, unsigned int size)
{
	const struct tar_item item = { .path = "s", .type = 'S' };
	size_t at = b->len;
	unsigned int sum = 0;
	char *h;

	tar_add_header(b, &item, stored);
	h = b->data + at;
	memcpy(h + 257, "ustar  ", 8);
	octal(h + 386 + 12, 12, map);
	octal(h + 386, 12, 0);
	octal(h + 483, 12, size);
	memset(h + 148, ' ', 8);
	for (size_t k = 0; k < 512; k++)
		sum += (uint8_t)h[k];
	octal(h + 148, 7, sum);
}

/* Data that no piece of a sparse map has may look like an entry: it is none, and nothing that
 * follows it is lost. */
static void sparse_maps_are_whole(void **state)
{
	static const struct {
		size_t stored;
		unsigned int map, size;
		const char *text;
	} rows[] = {
		{ 1024, 1024, 4096, NULL },
		{ 1024, 0, 0, "'s': its sparse map has fewer bytes than its header" },
		{ 1024, 512, 4096, "'s': its sparse map has fewer bytes than its header" },
		{ 1024, 512, 512, "'s': its sparse map has fewer bytes than its header" },
		{ 1024, 1536, 4096, "'s': its sparse map has more bytes than the tar" },
		{ 1024, 1536, 1536, "'s': its sparse map has more bytes than the tar" },
	};
	const struct tar_item hidden = { .path = "hidden" }, last = { .path = "last" };

	(void)state;
	for (size_t i = 0; i < 2 * LCM_ARRAY_SIZE(rows); i++) {
		static const uint8_t zeros[1024];
		const size_t k = i / 2;
		struct lcm_buf b = LCM_BUF(1 << 20);
		struct lcm_err err = { 0 };
		struct layer_fixture f;
		int r;

		tar_add_sparse(&b, rows[k].stored, rows[k].map, rows[k].size);
		if (i % 2)
			tar_add_body(&b, zeros, rows[k].stored - 512);
		else
			tar_add(&b, &hidden);
		tar_add_body(&b, zeros, 512);
		tar_add(&b, &last);
		tar_end(&b);
		layer_setup(&f);
		r = unpack_bytes(&f, &b, NULL, &err);
		if (r != (rows[k].text ? -EUCLEAN : 0) ||
		    (rows[k].text && !strstr(err.msg, rows[k].text)))
			fail_msg("row %zu: %d, %s", i, r, err.msg);
		layer_teardown(&f);
		lcm_buf_fini(&b);
	}
}

static void damage_is_refused(void **state)
{
	const struct tar_item item = { .path = "file", .data = "0123456789" };
	struct lcm_buf b = LCM_BUF(1 << 20);
	struct layer_fixture f;
	struct lcm_err err = { 0 };

	(void)state;
	layer_setup(&f);
	assert_int_equal(unpack_bytes(&f, &b, NULL, &err), 0); /* no byte: no change */
	tar_add(&b, &item);
	for (size_t len = 1; len < 512 + 10; len += 37) {
		struct lcm_buf cut = { .data = b.data, .len = len };

		assert_int_equal(unpack_bytes(&f, &cut, NULL, &err), -EUCLEAN);
		assert_non_null(strstr(err.msg, "bad tar"));
	}
	b.data[3] ^= 1; /* checksum */
	assert_int_equal(unpack_bytes(&f, &b, NULL, &err), -EUCLEAN);
	layer_teardown(&f);
	lcm_buf_fini(&b);
}

static struct stat stat_of(struct layer_fixture *f, const char *path)
{
	char full[400];
	struct stat st;

	(void)snprintf(full, sizeof(full), "%s/%s", f->path, path);
	if (lcm_sys_fstatat(AT_FDCWD, full, &st, AT_SYMLINK_NOFOLLOW) != 0)
		fail_msg("%s is missing", path);
	return st;
}

static bool is_there(struct layer_fixture *f, const char *path)
{
	char full[400];
	struct stat st;

	(void)snprintf(full, sizeof(full), "%s/%s", f->path, path);
	return lcm_sys_fstatat(AT_FDCWD, full, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_opaque(struct layer_fixture *f, const char *path)
{
	char full[400], v[4];

	(void)snprintf(full, sizeof(full), "%s/%s", f->path, path);
	return lgetxattr(full, "trusted.overlay.opaque", v, sizeof(v)) == 1 && v[0] == 'y';
}

static void check_content(struct layer_fixture *f, const char *path, const char *want)
{
	lcm_autofree char *text = NULL;
	char full[400];
	size_t len;

	(void)snprintf(full, sizeof(full), "%s/%s", f->path, path);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, full, 1000, &text, &len), 0);
	assert_string_equal(text, want);
}

/* Runs @check on the plain result of @b and on the result with its TOC. */
static void both_ways(const struct lcm_buf *b, void (*check)(struct layer_fixture *f))
{
	for (int with_toc = 0; with_toc < 2; with_toc++) {
		struct layer_fixture f;
		struct lcm_toc *toc = NULL;
		struct lcm_err err = { 0 };

		layer_setup(&f);
		if (with_toc)
			toc = toc_of_bytes(&f, b);
		if (unpack_bytes(&f, b, toc, &err) != 0)
			fail_msg("toc %d: %s", with_toc, err.msg);
		check(&f);
		lcm_toc_close(toc);
		layer_teardown(&f);
	}
}

static void check_whiteouts(struct layer_fixture *f)
{
	struct stat st = stat_of(f, "d/gone");

	assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
	assert_false(is_there(f, "d/.wh.gone"));
	assert_false(is_there(f, "d/.wh..wh..opq"));
	assert_false(is_there(f, ".wh..wh.plnk"));
	assert_true(is_opaque(f, "d"));
	assert_false(is_opaque(f, "renewed/sub"));
	assert_true(is_opaque(f, "renewed"));
	assert_true(is_opaque(f, "renewed2"));
	assert_true(S_ISDIR(stat_of(f, "renewed").st_mode));
	assert_true(is_opaque(f, "implied"));
	check_content(f, "implied/file", "i");
	check_content(f, "file", "kept");
	check_content(f, "file2", "kept2");
	assert_false(is_opaque(f, "evil"));
	assert_int_equal(stat_of(f, "d").st_mtim.tv_sec, 99);
	assert_int_equal(stat_of(f, "d").st_mode & 07777, 0701);
}

static void whiteouts(void **state)
{
	static const struct tar_item items[] = {
		{ .path = "d/.wh.gone", .data = "" },
		{ .path = "d/.wh..wh..opq", .data = "" },
		{ .path = "d", .type = '5', .mode = 0701, .mtime = 99 },
		{ .path = "d/.wh.gone", .data = "" },
		{ .path = ".wh..wh.plnk", .type = '5' },
		{ .path = ".wh..wh.plnk/1.2", .data = "x" },
		{ .path = ".wh.renewed", .data = "" },
		{ .path = "renewed", .type = '5', .mode = 0755 },
		{ .path = "renewed/sub", .type = '5', .mode = 0755 },
		{ .path = "renewed2", .type = '5', .mode = 0755 },
		{ .path = ".wh.renewed2", .data = "" },
		{ .path = ".wh.implied", .data = "" },
		{ .path = "implied/file", .data = "i" },
		{ .path = ".wh.file", .data = "" },
		{ .path = "file", .data = "kept" },
		{ .path = "file2", .data = "kept2" },
		{ .path = ".wh.file2", .data = "" },
	};
	static const char *const records[] = { "SCHILY.xattr.trusted.overlay.opaque=y",
					       "SCHILY.xattr.user.overlay.opaque=y", NULL };
	const struct tar_item evil = { .path = "evil", .type = '5', .mode = 0755 };
	struct lcm_buf b = LCM_BUF(1 << 20);

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(items); i++)
		tar_add(&b, &items[i]);
	tar_add_pax(&b, records);
	tar_add(&b, &evil);
	tar_end(&b);
	both_ways(&b, check_whiteouts);
	lcm_buf_fini(&b);
}

static void check_pax_links(struct layer_fixture *f)
{
	char target[16] = "";

	assert_int_equal(stat_of(f, "hard").st_ino, stat_of(f, "\xc3\xa9").st_ino);
	assert_true(S_ISLNK(stat_of(f, "soft").st_mode));
	assert_int_equal(readlinkat(f->real, "l/soft", target, sizeof(target)), 2);
	assert_string_equal(target, "\xc3\xa9");
}

/* Go leaves what is not ASCII out of a header: nothing is left of this name. */
static void links_that_only_pax_names(void **state)
{
	static const char *const records[] = { "linkpath=\xc3\xa9", NULL };
	static const char *const path[] = { "path=\xc3\xa9", NULL };
	const struct tar_item file = { .path = "x", .data = "x" };
	const struct tar_item links[] = { { .path = "hard", .type = '1' },
					  { .path = "soft", .type = '2', .mode = 0777 } };

	(void)state;
	for (size_t first = 0; first < 2; first++) {
		struct lcm_buf b = LCM_BUF(1 << 20);

		tar_add_pax(&b, path);
		tar_add(&b, &file);
		for (size_t i = 0; i < 2; i++) {
			tar_add_pax(&b, records);
			tar_add(&b, &links[(first + i) % 2]);
		}
		tar_end(&b);
		both_ways(&b, check_pax_links);
		lcm_buf_fini(&b);
	}
}

static void check_order(struct layer_fixture *f)
{
	struct stat st;

	check_content(f, "abs/file", "absolute");
	check_content(f, "dots/file", "dots");
	check_content(f, "twice", "second");
	assert_int_equal(stat_of(f, "twice").st_mode & 07777, 0600);
	check_content(f, "was-dir", "now a file");
	assert_true(S_ISDIR(stat_of(f, "was-link").st_mode));
	assert_true(S_ISLNK(stat_of(f, "was-file").st_mode));
	st = stat_of(f, "implicit/deep");
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(st.st_mtim.tv_sec, 0);
	assert_int_equal(st.st_uid, 0);
	st = stat_of(f, "late");
	assert_int_equal(st.st_mode & 07777, 02700);
	assert_int_equal(st.st_mtim.tv_sec, 4242);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(stat_of(f, "late/file").st_gid, 0);
	assert_int_equal(stat_of(f, "forward").st_ino, stat_of(f, "target").st_ino);
	assert_int_equal(stat_of(f, "target").st_nlink, 2);
	assert_int_equal(stat_of(f, "").st_mtim.tv_sec, 0);
}

static void order_and_duplicates(void **state)
{
	static const struct tar_item items[] = {
		{ .path = "/abs//file", .data = "absolute" },
		{ .path = "./dots/./file", .data = "dots" },
		{ .path = "twice", .data = "first one", .mode = 04755 },
		{ .path = "twice", .data = "second", .mode = 0600 },
		{ .path = "was-dir", .type = '5', .mode = 0755 },
		{ .path = "was-dir", .data = "now a file" },
		{ .path = "was-link", .type = '2', .link = "/etc", .mode = 0777 },
		{ .path = "was-link/", .type = '5', .mode = 0755 },
		{ .path = "was-file", .data = "x" },
		{ .path = "was-file", .type = '2', .link = "/etc", .mode = 0777 },
		{ .path = "implicit/deep/file", .data = "x" },
		{ .path = "late/file", .data = "x" },
		{ .path = "late", .type = '5', .mode = 02700, .uid = 5, .gid = 6, .mtime = 4242 },
		{ .path = "forward", .type = '1', .link = "./target" },
		{ .path = "target", .data = "t" },
	};
	struct lcm_buf b = LCM_BUF(1 << 20);

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(items); i++)
		tar_add(&b, &items[i]);
	tar_end(&b);
	both_ways(&b, check_order);
	lcm_buf_fini(&b);
}

static void diffid_covers_all(void **state)
{
	const struct tar_item item = { .path = "file", .data = "x" };
	struct lcm_buf b = LCM_BUF(4 << 20);
	struct lcm_unpack_result res;
	struct lcm_digest want;

	(void)state;
	tar_add(&b, &item);
	tar_end(&b);
	for (int i = 0; i < 200000; i++)
		assert_int_equal(lcm_buf_add(&b, "trailing", 8), 0);
	assert_int_equal(lcm_digest_of(b.data, b.len, &want), 0);
	for (size_t step = 512; step <= b.len; step *= 9) {
		struct tar_source src = source_of_bytes(&b, step);
		struct layer_fixture f;

		layer_setup(&f);
		assert_int_equal(unpack_source(&f, &src, NULL, NULL, &res, NULL), 0);
		assert_true(lcm_digest_equal(&res.diffid, &want));
		assert_int_equal(res.entries, 1);
		layer_teardown(&f);
	}
	lcm_buf_fini(&b);
}

static int stop_at_third(void *arg)
{
	int *n = arg;

	return ++*n == 3 ? -ECANCELED : 0;
}

static void checkpoint_ends_it(void **state)
{
	const struct tar_item item = { .path = "file", .data = "x" };
	struct lcm_buf b = LCM_BUF(1 << 20);
	int n = 0;
	const struct lcm_unpack_ops ops = { .checkpoint = stop_at_third, .arg = &n };
	struct lcm_unpack_result res;
	struct layer_fixture f;
	struct tar_source src;

	(void)state;
	for (int i = 0; i < 5; i++)
		tar_add(&b, &item);
	tar_end(&b);
	layer_setup(&f);
	src = source_of_bytes(&b, 4096);
	assert_int_equal(unpack_source(&f, &src, NULL, &ops, &res, NULL), -ECANCELED);
	assert_int_equal(n, 3);
	layer_teardown(&f);
	lcm_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(evil_is_refused),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(whiteouts),
		cmocka_unit_test(order_and_duplicates),
		cmocka_unit_test(links_that_only_pax_names),
		cmocka_unit_test(diffid_covers_all),
		cmocka_unit_test(checkpoint_ends_it),
		cmocka_unit_test(numbers_are_not_cut),
		cmocka_unit_test(sparse_maps_are_whole),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "test_unpack: needs root (owners, devices)\n");
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	}
	/* The locale in which libarchive rewrites names, if it is let. */
	(void)setlocale(LC_ALL, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
