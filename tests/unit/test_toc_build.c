/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/toc_fixture.h"

/* The tree as text: "type:flags:path\n" in file order. */
static void dump(const struct fixture *f, struct lcm_buf *out)
{
	char path[4096];

	for (uint32_t i = 1; i < lcm_toc_count(f->toc); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(f->toc, i);

		assert_true(lcm_toc_path(f->toc, i, path, sizeof(path)) > 0);
		assert_int_equal(lcm_toc_walk(f->toc, path, strlen(path)), i);
		assert_int_equal(lcm_buf_printf(out, "%u:%u:%s\n", e->type, e->flags, path), 0);
	}
}

static void assert_tree(const struct fixture *f, const char *want)
{
	struct lcm_buf out = LCM_BUF(1U << 20);

	dump(f, &out);
	assert_string_equal(lcm_buf_str(&out), want);
	lcm_buf_fini(&out);
}

/* ---- paths, order ---- */

static void tree_is_sorted_and_complete(void **state)
{
	static const struct row rows[] = {
		{ LCM_TOC_REG, "./usr/bin/b", NULL, 0, NULL },
		{ LCM_TOC_REG, "usr//bin/./a", NULL, 0, NULL },
		{ LCM_TOC_DIR, "/usr/bin/", NULL, 0, NULL },
		{ LCM_TOC_REG, "usr/b", NULL, 0, NULL },
		{ LCM_TOC_REG, "usr/\xff\x01 \n", NULL, 0, NULL },
		{ LCM_TOC_DIR, "./", NULL, 0, NULL },
		{ LCM_TOC_FIFO, "b", NULL, 0, NULL },
		{ LCM_TOC_SYMLINK, "ab", "../x", 0, NULL },
		{ LCM_TOC_DIR, "a/.", NULL, 0, NULL },
	};
	struct fixture *f = *state;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	finish(f);
	assert_tree(f,
		    "1:0:a\n3:0:ab\n7:0:b\n1:2:usr\n2:0:usr/b\n1:0:usr/bin\n2:0:usr/\xff\x01 \n\n"
		    "2:0:usr/bin/a\n2:0:usr/bin/b\n");
	assert_int_equal(lcm_toc_entry(f->toc, 0)->flags, 0);
	assert_int_equal(at(f, "usr")->mode, 0755);
	assert_string_equal(lcm_toc_link(f->toc, at(f, "ab")), "../x");
	assert_int_equal(at(f, "ab")->size, 4);
	assert_int_equal(lcm_toc_walk(f->toc, "", 0), 0);
	assert_int_equal(lcm_toc_walk(f->toc, "usr/nope", 8), LCM_TOC_NONE);
	assert_int_equal(lcm_toc_walk(f->toc, "b/c", 3), LCM_TOC_NONE);
}

static void path_needs_room(void **state)
{
	static const struct row rows[] = { { LCM_TOC_REG, "abc/def", NULL, 0, NULL } };
	struct fixture *f = *state;
	char out[8] = "untouch";

	add_rows(f, rows, 1);
	finish(f);
	assert_int_equal(lcm_toc_path(f->toc, 2, out, 7), -ENAMETOOLONG);
	assert_int_equal(lcm_toc_path(f->toc, 2, out, 8), 7);
	assert_string_equal(out, "abc/def");
	assert_int_equal(lcm_toc_path(f->toc, 0, out, 1), 0);
}

static void bad_entries_are_refused(void **state)
{
	static const struct row rows[] = {
		{ LCM_TOC_REG, "../x", NULL, -EUCLEAN, "'..'" },
		{ LCM_TOC_REG, "a/../x", NULL, -EUCLEAN, "'a/../x'" },
		{ LCM_TOC_REG, "a/..", NULL, -EUCLEAN, "'..'" },
		{ LCM_TOC_REG, "..", NULL, -EUCLEAN, "'..'" },
		{ LCM_TOC_REG, "", NULL, -EUCLEAN, "root" },
		{ LCM_TOC_REG, "./", NULL, -EUCLEAN, "root" },
		{ LCM_TOC_SYMLINK, "l", "", -EUCLEAN, "target" },
		{ LCM_TOC_HARDLINK, "l", "", -EUCLEAN, "target" },
		{ LCM_TOC_TYPE_MAX, "t", NULL, -EUCLEAN, "type" },
		{ (enum lcm_toc_type)0, "t", NULL, -EUCLEAN, "type" },
		{ LCM_TOC_REG, "d/.wh.", NULL, -EUCLEAN, "whiteout" },
		{ LCM_TOC_REG, ".wh..", NULL, -EUCLEAN, "whiteout" },
		{ LCM_TOC_REG, ".wh...", NULL, -EUCLEAN, "whiteout" },
		{ LCM_TOC_REG, ".wh.x/y", NULL, -EUCLEAN, "whiteout" },
		{ LCM_TOC_REG, "file", NULL, 0, NULL },
		{ LCM_TOC_REG, "file/below", NULL, -EUCLEAN, "'file'" },
		{ LCM_TOC_SYMLINK, "sym", "d", 0, NULL },
		{ LCM_TOC_REG, "./sym/below/it", NULL, -EUCLEAN, "'./sym'" },
		{ LCM_TOC_DIR, "dir", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, "h", "dir", -EUCLEAN, "'dir'" },
	};
	struct fixture *f = *state;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	finish(f);
	assert_tree(f, "1:2:a\n1:2:d\n1:0:dir\n2:0:file\n3:0:sym\n");
}

static void long_and_nul_names(void **state)
{
	struct fixture *f = *state;
	lcm_autofree char *p = malloc(70000);
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "x", NULL);

	assert_non_null(p);
	memset(p, 'n', 70000);
	it.path = p;
	it.path_len = 70000;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EFBIG);
	it.path_len = 256;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	it.path_len = 255;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	p[100] = '\0';
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	it.type = LCM_TOC_SYMLINK;
	it.path = "s";
	it.path_len = 1;
	it.link = p + 1000;
	it.link_len = 4096;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	it.link_len = 4095;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	it.link = p;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	/* 2,000 directories deep: as deep as a path can be. */
	for (size_t i = 0; i < LCM_PATH_MAX; i++)
		p[i] = i % 2 ? '/' : 'd';
	it = item_of(LCM_TOC_DIR, "", NULL);
	it.path = p;
	it.path_len = LCM_PATH_MAX;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	finish(f);
	assert_int_equal(lcm_toc_count(f->toc), 1 + 2 + LCM_PATH_MAX / 2);
	assert_int_equal(lcm_toc_path(f->toc, lcm_toc_count(f->toc) - 1, p + 10000, 5000),
			 LCM_PATH_MAX - 1);
}

static void many_children_are_found(void **state)
{
	struct fixture *f = *state;
	char name[32];

	for (unsigned int i = 0; i < 20000; i++) {
		struct lcm_toc_item it;

		(void)snprintf(name, sizeof(name), "d%u/n%u", i % 7, i * 7919 % 20000);
		it = item_of(LCM_TOC_REG, name, NULL);
		assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	}
	finish(f);
	assert_int_equal(lcm_toc_count(f->toc), 20000 + 7 + 1);
	for (unsigned int i = 0; i < 20000; i++) {
		(void)snprintf(name, sizeof(name), "d%u/n%u", i % 7, i * 7919 % 20000);
		assert_int_not_equal(lcm_toc_walk(f->toc, name, strlen(name)), LCM_TOC_NONE);
	}
}

/* ---- whiteouts, replacement ---- */

static void whiteouts(void **state)
{
	static const struct row rows[] = {
		{ LCM_TOC_REG, ".wh.gone", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, ".wh.aufs", ".wh..wh.aufs", 0, NULL },
		{ LCM_TOC_DIR, ".wh..wh.plnk", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh..wh.plnk/1.2", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh..wh.aufs", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh..wh..opqX", NULL, 0, NULL },
		{ LCM_TOC_REG, "opaque/.wh..wh..opq", NULL, 0, NULL },
		/* whited out, then there again */
		{ LCM_TOC_REG, ".wh.file", NULL, 0, NULL },
		{ LCM_TOC_REG, "file", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh.dir", NULL, 0, NULL },
		{ LCM_TOC_DIR, "dir", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh.implied", NULL, 0, NULL },
		{ LCM_TOC_REG, "implied/x", NULL, 0, NULL },
		/* the other way round */
		{ LCM_TOC_REG, "file2", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh.file2", NULL, 0, NULL },
		{ LCM_TOC_REG, "dir2/x", NULL, 0, NULL },
		{ LCM_TOC_REG, ".wh.dir2", NULL, 0, NULL },
		{ LCM_TOC_WHITEOUT, "plain", NULL, 0, NULL },
	};
	struct fixture *f = *state;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	finish(f);
	assert_tree(f, "8:0:aufs\n1:1:dir\n1:1:dir2\n2:0:file\n2:0:file2\n8:0:gone\n1:1:implied\n1:"
		       "3:opaque\n8:0:plain\n"
		       "2:0:dir2/x\n2:0:implied/x\n");
}

static void root_can_be_opaque(void **state)
{
	static const struct row rows[] = { { LCM_TOC_REG, "./.wh..wh..opq", NULL, 0, NULL } };
	struct fixture *f = *state;

	add_rows(f, rows, 1);
	finish(f);
	assert_int_equal(lcm_toc_entry(f->toc, 0)->flags, LCM_TOC_OPAQUE | LCM_TOC_IMPLICIT);
}

static void later_entries_replace(void **state)
{
	static const struct row rows[] = {
		{ LCM_TOC_DIR, "d", NULL, 0, NULL },
		{ LCM_TOC_REG, "d/kept", NULL, 0, NULL },
		{ LCM_TOC_DIR, "d", NULL, 0, NULL },
		{ LCM_TOC_REG, "f", NULL, 0, NULL },
		{ LCM_TOC_SYMLINK, "f", "d", 0, NULL },
		{ LCM_TOC_REG, "gone/a/b", NULL, 0, NULL },
		{ LCM_TOC_REG, "gone", NULL, 0, NULL },
		{ LCM_TOC_REG, "gone/a/c", NULL, -EUCLEAN, "'gone'" },
		{ LCM_TOC_REG, "twice", NULL, 0, NULL },
		{ LCM_TOC_DIR, "twice", NULL, 0, NULL },
		{ LCM_TOC_REG, "twice/x", NULL, 0, NULL },
		{ LCM_TOC_REG, "twice", NULL, 0, NULL },
		{ LCM_TOC_DIR, "twice", NULL, 0, NULL },
		{ LCM_TOC_REG, "twice/y", NULL, 0, NULL },
	};
	struct fixture *f = *state;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	finish(f);
	assert_tree(f, "1:0:d\n3:0:f\n2:0:gone\n1:0:twice\n2:0:d/kept\n2:0:twice/y\n");
	assert_int_equal(at(f, "d")->mtime, 2);
}

/* ---- hardlinks ---- */

static void hardlinks(void **state)
{
	static const struct row rows[] = {
		{ LCM_TOC_HARDLINK, "early", "./z/file", 0, NULL },
		{ LCM_TOC_REG, "z/file", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, "late", "/z/file", 0, NULL },
		{ LCM_TOC_HARDLINK, "chain", "late", 0, NULL },
		{ LCM_TOC_SYMLINK, "sym", "x", 0, NULL },
		{ LCM_TOC_HARDLINK, "symtoo", "sym", 0, NULL },
		/* the content of `old` lives on in its links when it is replaced */
		{ LCM_TOC_REG, "old", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, "keep2", "old", 0, NULL },
		{ LCM_TOC_HARDLINK, "keep1", "old", 0, NULL },
		{ LCM_TOC_FIFO, "old", NULL, 0, NULL },
		/* also below a directory that goes, and when the link replaces its own target */
		{ LCM_TOC_REG, "dir/file", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, "rescued", "dir/file", 0, NULL },
		{ LCM_TOC_REG, "dir", NULL, 0, NULL },
		{ LCM_TOC_REG, "self", NULL, 0, NULL },
		{ LCM_TOC_HARDLINK, "self", "self", 0, NULL },
		/* a link that is itself replaced need not resolve */
		{ LCM_TOC_HARDLINK, "moot", "nowhere", 0, NULL },
		{ LCM_TOC_REG, "moot", NULL, 0, NULL },
	};
	struct fixture *f = *state;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	finish(f);
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "early")->link), at(f, "z/file"));
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "late")->link), at(f, "z/file"));
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "chain")->link), at(f, "z/file"));
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "symtoo")->link), at(f, "sym"));
	assert_int_equal(at(f, "old")->type, LCM_TOC_FIFO);
	assert_int_equal(at(f, "keep1")->type, LCM_TOC_REG);
	assert_int_equal(at(f, "keep1")->mtime, 6);
	assert_ptr_equal(lcm_toc_entry(f->toc, at(f, "keep2")->link), at(f, "keep1"));
	assert_int_equal(at(f, "rescued")->type, LCM_TOC_REG);
	assert_int_equal(at(f, "rescued")->mtime, 10);
	assert_int_equal(at(f, "self")->type, LCM_TOC_REG);
	assert_int_equal(at(f, "self")->mtime, 13);
	assert_int_equal(at(f, "moot")->type, LCM_TOC_REG);
}

static void hardlinks_to_lower_layers(void **state)
{
	static const struct row rows[] = {
		{ LCM_TOC_HARDLINK, "c", "b", 0, NULL },
		{ LCM_TOC_HARDLINK, "b", "/a/", 0, NULL },
		{ LCM_TOC_HARDLINK, "d/e", "d/./x//y", 0, NULL },
		{ LCM_TOC_REG, "d/x/z", NULL, 0, NULL },
	};
	static const struct {
		const char *path, *link;
	} want[] = { { "b", "a" }, { "c", "a" }, { "d/e", "d/x/y" } };
	struct fixture *f = *state;

	add_rows(f, rows, LCM_ARRAY_SIZE(rows));
	finish(f);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(want); i++) {
		const struct lcm_toc_entry *e = at(f, want[i].path);

		assert_int_equal(e->type, LCM_TOC_LINK_BELOW);
		assert_string_equal(lcm_toc_link(f->toc, e), want[i].link);
		assert_int_equal(e->link_len, strlen(want[i].link));
	}
}

/* A reader counts the bytes of all names and paths: shared ones would be more than there are. */
static void one_file_of_a_lower_layer_with_many_names(void **state)
{
	static const char path[] = "a/path/of/some/length";
	struct fixture *f = *state;
	char name[16];

	for (int i = 0; i < 50; i++) {
		struct row row = { LCM_TOC_HARDLINK, name, i ? "n0" : path, 0, NULL };

		(void)snprintf(name, sizeof(name), "n%d", i);
		add_rows(f, &row, 1);
	}
	finish(f);
	for (int i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(at(f, name)->type, LCM_TOC_LINK_BELOW);
		assert_string_equal(lcm_toc_link(f->toc, at(f, name)), path);
	}
}

static void bad_hardlinks_fail_at_the_end(void **state)
{
	static const struct {
		struct row rows[2];
		const char *says[2];
	} cases[] = {
		{ { { LCM_TOC_HARDLINK, "d/a", "../nowhere", 0, NULL },
		    { LCM_TOC_REG, "x", NULL, 0, NULL } },
		  { "'d/a'", "'../nowhere', which is no path in a layer" } },
		{ { { LCM_TOC_HARDLINK, "a", "x/y", 0, NULL },
		    { LCM_TOC_REG, "x", NULL, 0, NULL } },
		  { "'a'", "below something that is no directory" } },
		{ { { LCM_TOC_HARDLINK, "a", "d/y", 0, NULL },
		    { LCM_TOC_REG, "d/.wh..wh..opq", NULL, 0, NULL } },
		  { "'a'", "hides what lower layers have there" } },
		{ { { LCM_TOC_HARDLINK, "a", "d/.wh.y", 0, NULL },
		    { LCM_TOC_REG, "d/x", NULL, 0, NULL } },
		  { "'a'", "which no layer can have" } },
		{ { { LCM_TOC_HARDLINK, "a", "d", 0, NULL }, { LCM_TOC_DIR, "d", NULL, 0, NULL } },
		  { "'a'", "'d', which is a directory" } },
		{ { { LCM_TOC_HARDLINK, "a", "b", 0, NULL },
		    { LCM_TOC_HARDLINK, "b", "a", 0, NULL } },
		  { "'a'", "leads in a circle" } },
		{ { { LCM_TOC_HARDLINK, "a", "a", 0, NULL }, { LCM_TOC_REG, "x", NULL, 0, NULL } },
		  { "'a'", "leads in a circle" } },
		{ { { LCM_TOC_REG, ".wh.w", NULL, 0, NULL },
		    { LCM_TOC_HARDLINK, "a", "w", 0, NULL } },
		  { "'a'", "which this layer hides" } },
	};
	struct fixture *f = *state;
	struct stat st;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(cases); i++) {
		lcm_toc_builder_free(f->b);
		assert_int_equal(lcm_toc_builder_new(&f->b), 0);
		add_rows(f, cases[i].rows, 2);
		assert_int_equal(try_finish(f), -EUCLEAN);
		assert_non_null(strstr(f->err.msg, cases[i].says[0]));
		assert_non_null(strstr(f->err.msg, cases[i].says[1]));
		assert_int_equal(lcm_sys_fstatat(AT_FDCWD, f->path, &st, 0), -ENOENT);
	}
}

/* ---- content ---- */

static void devices_and_metadata(void **state)
{
	struct fixture *f = *state;
	struct lcm_toc_item it = item_of(LCM_TOC_CHAR, "null", NULL);

	it.mode = S_IFCHR | 04666;
	it.uid = 4000000000U;
	it.gid = 7;
	it.mtime = -62135596800;
	it.mtime_nsec = 999999999;
	it.rdev_major = 0xfff;
	it.rdev_minor = 0xfffff;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	it.rdev_major = 0x1000;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "'null': device number 4096:1048575"));
	it.rdev_major = 1;
	it.mtime_nsec = 1000000000;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	finish(f);
	assert_int_equal(at(f, "null")->mode, 04666);
	assert_int_equal(at(f, "null")->uid, 4000000000U);
	assert_true(at(f, "null")->mtime == -62135596800);
	assert_int_equal(at(f, "null")->rdev_minor, 0xfffff);
}

static void xattrs(void **state)
{
	static const struct lcm_xattr set[] = { X("user.b", "two"),
						X("trusted.overlay.redirect", "/etc"),
						X("user.a", ""), X("user.overlay.opaque", "y"),
						X("security.capability", "\1\0\0\2") };
	static const struct lcm_xattr twice[] = { X("user.b", "1"), X("user.b", "2") };
	static const struct lcm_xattr nameless[] = { X("", "1") }, nul[] = { X("a\0b", "1") };
	struct fixture *f = *state;
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "f", NULL);
	struct lcm_xattr x;
	uint32_t pos = 0;

	it.xattrs = set;
	it.n_xattrs = LCM_ARRAY_SIZE(set);
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	it.path = "g";
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	it.path = "h";
	it.xattrs = &set[1];
	it.n_xattrs = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	it.xattrs = twice;
	it.n_xattrs = 2;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "twice"));
	it.xattrs = nameless;
	it.n_xattrs = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	it.xattrs = nul;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	finish(f);
	assert_true(lcm_toc_xattr_next(f->toc, at(f, "f"), &pos, &x));
	assert_string_equal(x.name, "security.capability");
	assert_int_equal(x.value_len, 4);
	assert_memory_equal(x.value, "\1\0\0\2", 4);
	assert_true(lcm_toc_xattr_next(f->toc, at(f, "f"), &pos, &x));
	assert_string_equal(x.name, "user.a");
	assert_int_equal(x.value_len, 0);
	assert_true(lcm_toc_xattr_next(f->toc, at(f, "f"), &pos, &x));
	assert_memory_equal(x.value, "two", 3);
	assert_false(lcm_toc_xattr_next(f->toc, at(f, "f"), &pos, &x));
	assert_int_equal(at(f, "f")->xattrs, at(f, "g")->xattrs); /* stored once */
	pos = 0;
	assert_false(lcm_toc_xattr_next(f->toc, at(f, "h"), &pos, &x));
}

static void xattrs_have_a_limit(void **state)
{
	struct fixture *f = *state;
	lcm_autofree uint8_t *v = calloc(1, LCM_XATTR_VALUE_MAX + 1);
	struct lcm_xattr x[2] = {
		{ .name = "user.x",
		  .name_len = 6,
		  .value = v,
		  .value_len = LCM_XATTR_VALUE_MAX + 1 },
		{ .name = "user.y", .name_len = 6, .value = v, .value_len = 1000 }
	};
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "f", NULL);

	assert_non_null(v);
	it.xattrs = x;
	it.n_xattrs = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	x[0].value_len = LCM_XATTR_VALUE_MAX;
	it.n_xattrs = 2;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), -EUCLEAN);
	it.n_xattrs = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	finish(f);
}

static void chunks(void **state)
{
	static const struct {
		struct lcm_toc_item_chunk c[2];
		size_t n;
		uint64_t size;
		int r;
	} rows[] = {
		{ { { 10, 5, 0, 100, 0, 0, D } }, 1, 100, 0 },
		{ { { 10, 5, 0, 60, 0, 0, D }, { 99, 5, 60, 40, 0, 0, D } }, 2, 100, 0 },
		{ { { 10, 5, 0, 60, 0, 0, D },
		    { 99, 5, 60, 40, 0, LCM_TOC_CHUNK_ZEROS, { { 0 } } } },
		  2,
		  100,
		  0 },
		{ { { 10, 5, 0, 60, 0, 0, D }, { 0, 0, 0, 0, 0, 0, D } },
		  1,
		  100,
		  -EUCLEAN },                                         /* short */
		{ { { 10, 5, 0, 101, 0, 0, D } }, 1, 100, -EUCLEAN }, /* long */
		{ { { 10, 5, 0, 60, 0, 0, D }, { 99, 5, 59, 41, 0, 0, D } },
		  2,
		  100,
		  -EUCLEAN }, /* overlap */
		{ { { 10, 5, 0, 60, 0, 0, D }, { 99, 5, 61, 39, 0, 0, D } },
		  2,
		  100,
		  -EUCLEAN }, /* gap */
		{ { { 10, 5, 40, 60, 0, 0, D }, { 99, 5, 0, 40, 0, 0, D } },
		  2,
		  100,
		  -EUCLEAN },                                         /* order */
		{ { { 10, 0, 0, 100, 0, 0, D } }, 1, 100, -EUCLEAN }, /* no bytes */
		{ { { UINT64_MAX, 5, 0, 100, 0, 0, D } }, 1, 100, -EUCLEAN },
		{ { { 10, INT64_MAX, 0, 100, 0, 0, D } }, 1, 100, -EUCLEAN },
		{ { { 10, 5, 0, UINT64_MAX, 0, 0, D } }, 1, 100, -EUCLEAN },
		{ { { 10, 5, 0, 0, 0, 0, D }, { 10, 5, 0, 100, 0, 0, D } },
		  2,
		  100,
		  -EUCLEAN },                                         /* empty chunk */
		{ { { 10, 5, 0, 100, 0, 4, D } }, 1, 100, -EUCLEAN }, /* flag */
		{ { { 10, 5, 0, 60, 0, 0, D }, { 99, 5, 60, 40, 0, 0, { { 0 } } } },
		  2,
		  100,
		  -EUCLEAN }, /* no digest */
		{ { { 10, 5, 0, 100, 0, 0, { { 0 } } } }, 1, 100, -EUCLEAN },
		{ { { 10, 5, 0, 1, 0, 0, D } }, 1, UINT64_MAX, -EUCLEAN },
	};
	struct fixture *f = *state;
	char name[16];

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_toc_item it;

		(void)snprintf(name, sizeof(name), "f%zu", i);
		it = item_of(LCM_TOC_REG, name, NULL);
		it.size = rows[i].size;
		it.chunks = rows[i].c;
		it.n_chunks = rows[i].n;
		if (lcm_toc_builder_add(f->b, &it, &f->err) != rows[i].r)
			fail_msg("row %zu: %s", i, f->err.msg);
	}
	finish(f);
	assert_int_equal(lcm_toc_chunk_count(f->toc), 5);
	assert_true(lcm_toc_file_bytes(f->toc) == 300);
	assert_int_equal(at(f, "f2")->n_chunks, 2);
	assert_int_equal(lcm_toc_chunk(f->toc, at(f, "f2")->first_chunk + 1)->blob_len, 0);
}

static void chunk_beyond_the_blob(void **state)
{
	static const struct lcm_toc_item_chunk c = { BLOB_SIZE - 4, 5, 0, 100, 0, 0, D };
	struct fixture *f = *state;
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "d/f", NULL);

	it.size = 100;
	it.chunks = &c;
	it.n_chunks = 1;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	assert_int_equal(try_finish(f), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "'d/f'"));
}

static void sole_chunk_may_lean_on_the_file(void **state)
{
	static const struct lcm_toc_item_chunk c = { 1, 5, 0, 100, 0, 0, { { 0 } } };
	struct fixture *f = *state;
	struct lcm_toc_item it = item_of(LCM_TOC_REG, "f", NULL);

	it.size = 100;
	it.chunks = &c;
	it.n_chunks = 1;
	it.digest = (struct lcm_digest)D;
	assert_int_equal(lcm_toc_builder_add(f->b, &it, &f->err), 0);
	finish(f);
	assert_int_equal(at(f, "f")->digest.b[0], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(tree_is_sorted_and_complete),
		T(path_needs_room),
		T(bad_entries_are_refused),
		T(long_and_nul_names),
		T(many_children_are_found),
		T(whiteouts),
		T(root_can_be_opaque),
		T(later_entries_replace),
		T(hardlinks),
		T(hardlinks_to_lower_layers),
		T(one_file_of_a_lower_layer_with_many_names),
		T(bad_hardlinks_fail_at_the_end),
		T(devices_and_metadata),
		T(xattrs),
		T(xattrs_have_a_limit),
		T(chunks),
		T(chunk_beyond_the_blob),
		T(sole_chunk_may_lean_on_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
