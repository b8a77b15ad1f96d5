/* SPDX-License-Identifier: Apache-2.0 */
/* META without mounts: golden images, merge rules one by one, what is refused, what is stable. */
#include <sys/mman.h>

#include "overlay/erofs_plan.h"
#include "tests/lib/meta_model.h"
#include "tests/unit/test.h"

struct fixture {
	char *dir;
	int fd;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->dir = test_mkdir();
	f->fd = lcm_sys_openat(AT_FDCWD, f->dir, O_RDONLY | O_DIRECTORY, 0);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)close(f->fd);
	test_rmdir(f->dir);
	free(f);
	return 0;
}

/* ---- layers as short text: one entry a word ---- */

/*
 * "d:path" directory, "f:path" file of 3 bytes, "e:path" empty file, "l:path=target" symlink,
 * "h:path=target" hardlink, "c:path" device 0:0, "n:path" device 1:3. Whiteouts are files named as
 * in a tar.
 */
static void add_word(struct lcm_toc_builder *b, const char *word, size_t len, uint32_t uid)
{
	const char *eq = memchr(word, '=', len);
	struct lcm_toc_item it = { .path = word + 2,
				   .path_len = (eq ? (size_t)(eq - word) : len) - 2,
				   .mode = 0700,
				   .uid = uid,
				   .mtime = 1000 };
	struct lcm_err err = { 0 };

	if (eq) {
		it.link = eq + 1;
		it.link_len = len - (size_t)(eq + 1 - word);
	}
	switch (word[0]) {
	case 'd':
		it.type = LCM_TOC_DIR;
		break;
	case 'f':
		it.size = 3;
		__attribute__((fallthrough));
	case 'e':
		it.type = LCM_TOC_REG;
		break;
	case 'l':
		it.type = LCM_TOC_SYMLINK;
		it.size = it.link_len;
		break;
	case 'h':
		it.type = LCM_TOC_HARDLINK;
		break;
	default:
		it.type = LCM_TOC_CHAR;
		it.rdev_major = word[0] == 'n' ? 1 : 0;
		it.rdev_minor = word[0] == 'n' ? 3 : 0;
	}
	if (lcm_toc_builder_add(b, &it, &err) < 0)
		fail_msg("%s", err.msg);
}

static struct lcm_toc *finish(struct fixture *f, struct lcm_toc_builder *b, const char *file)
{
	struct lcm_toc_id id = { .compression = LCM_COMP_NONE, .blob_size = 1, .blob = { { 9 } } };
	struct lcm_toc *toc = NULL;
	struct lcm_err err = { 0 };

	if (lcm_toc_builder_finish(b, &id, f->fd, file, false, &err) < 0)
		fail_msg("%s", err.msg);
	lcm_toc_builder_free(b);
	assert_int_equal(lcm_toc_open(f->fd, file, &toc, &err), 0);
	return toc;
}

static struct lcm_toc *layer_of(struct fixture *f, const char *file, const char *words,
				uint32_t uid)
{
	struct lcm_toc_builder *b = NULL;

	assert_int_equal(lcm_toc_builder_new(&b), 0);
	while (*words) {
		size_t len = strcspn(words, " ");

		add_word(b, words, len, uid);
		words += len + strspn(words + len, " ");
	}
	return finish(f, b, file);
}

static struct lcm_toc *item_layer(struct fixture *f, const struct lcm_toc_item *item)
{
	struct lcm_toc_builder *b = NULL;
	struct lcm_err err = { 0 };

	assert_int_equal(lcm_toc_builder_new(&b), 0);
	if (lcm_toc_builder_add(b, item, &err) < 0)
		fail_msg("%s", err.msg);
	return finish(f, b, "item");
}

/* "uid:name uid:name/" of every visible path in order, with @ and the link count after hardlinked
 * files. */
static void describe(const struct lcm_merge *m, uint32_t dir, char *path, char *out, size_t cap)
{
	const struct lcm_merge_node *n = &m->nodes[dir];
	size_t at = strlen(path);

	for (uint32_t i = 0; i < n->count; i++) {
		const struct lcm_merge_name *name = &m->names[n->first + i];
		const struct lcm_toc_entry *e = lcm_merge_entry(m, name->node);
		size_t len;
		const char *s = lcm_merge_name(m, name, &len);

		(void)snprintf(path + at, 256 - at, "%.*s%s", (int)len, s,
			       e->type == LCM_TOC_DIR ? "/" : "");
		(void)snprintf(out + strlen(out), cap - strlen(out), "%s%u:%s", *out ? " " : "",
			       e->uid, path);
		if (e->type != LCM_TOC_DIR && m->nodes[name->node].nlink > 1)
			(void)snprintf(out + strlen(out), cap - strlen(out), "@%u",
				       m->nodes[name->node].nlink);
		if (e->type == LCM_TOC_DIR)
			describe(m, name->node, path, out, cap);
		path[at] = '\0';
	}
}

static void merge_rules(void **state)
{
	static const struct {
		const char *layers[3]; /* bottom first; the uid of layer i's entries is i + 1 */
		const char *want;
	} rows[] = {
		{ { "f:a f:b" }, "1:a 1:b" },
		{ { "f:a f:b", "f:b f:c" }, "1:a 2:b 2:c" },
		{ { "f:a d:d f:d/x", "f:.wh.a f:d/.wh.x" }, "1:d/" },
		{ { "d:d f:d/x f:d/y", "d:d f:d/.wh..wh..opq f:d/z" }, "2:d/ 2:d/z" },
		{ { "d:d f:d/x", "f:d/.wh..wh..opq" }, "1:d/" },
		{ { "d:d d:d/e f:d/e/x", "f:d/.wh..wh..opq f:d/e/y" }, "1:d/ 0:d/e/ 2:d/e/y" },
		{ { "d:d f:d/x", "f:.wh.d", "f:d/y" }, "0:d/ 3:d/y" },
		{ { "d:d f:d/x", "f:d", "d:d f:d/y" }, "3:d/ 3:d/y" },
		{ { "f:d", "d:d f:d/y" }, "2:d/ 2:d/y" },
		{ { "d:d f:d/x", "l:d=e" }, "2:d" },
		{ { "d:d f:d/x", "c:d" }, "" }, /* a device 0:0 is a whiteout to overlayfs */
		{ { "n:d" }, "1:d" },
		{ { "f:.wh.a c:b" }, "" }, /* nothing below to hide */
		{ { "d:usr d:usr/bin f:usr/bin/a", "f:usr/bin/b", "f:usr/bin/c" },
		  "1:usr/ 1:usr/bin/ 1:usr/bin/a 2:usr/bin/b 3:usr/bin/c" },
		{ { "f:usr/bin/b", "d:usr", "f:usr/x" }, "2:usr/ 0:usr/bin/ 1:usr/bin/b 3:usr/x" },
		{ { "f:a h:b=a h:c=a" }, "1:a@3 1:b@3 1:c@3" },
		{ { "f:a h:b=a h:c=a", "f:.wh.a" }, "1:b@2 1:c@2" },
		{ { "f:a h:b=a h:c=a", "f:.wh.a f:b" }, "2:b 1:c" },
		{ { "f:a h:b=a", "f:a h:b=a" }, "2:a@2 2:b@2" },
		{ { "f:a", "f:a h:c=a", "f:.wh.c" }, "2:a" },
		{ { "c:w h:v=w f:x" }, "1:x" }, /* a second name of a whiteout is one, too */
		/* A hardlink to a file of a lower layer is another name of it, wherever that is. */
		{ { "f:a", "h:b=a" }, "1:a@2 1:b@2" },
		{ { "d:d f:d/a h:d/c=d/a", "f:x", "h:y/b=d/a" },
		  "1:d/ 1:d/a@3 1:d/c@3 2:x 0:y/ 1:y/b@3" },
		{ { "f:a", "h:b=a", "f:.wh.a" }, "1:b" },
		{ { "f:a", "h:b=a", "f:a" }, "3:a 1:b" },
		{ { "f:a", "h:b=a", "f:.wh.b" }, "1:a" },
		{ { "f:a", "h:b=a", "h:c=b" }, "1:a@3 1:b@3 1:c@3" },
		{ { "f:a", "h:b=a h:c=b h:d=c" }, "1:a@4 1:b@4 1:c@4 1:d@4" },
		{ { "f:a", "f:a", "h:b=a" }, "2:a@2 2:b@2" },
		{ { "f:a", "f:.wh.b h:b=./a" }, "1:a@2 1:b@2" },
		{ { "l:a=x", "h:b=/a" }, "1:a@2 1:b@2" },
		{ { "f:a-b f:a d:a.d f:a.d/x f:a!" }, "1:a 1:a! 1:a-b 1:a.d/ 1:a.d/x" },
		{ { "f:name8byt f:name8bytes", "f:name8bytes f:name8byt0" },
		  "1:name8byt 2:name8byt0 2:name8bytes" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		static const char *const files[] = { "t0", "t1", "t2" };
		struct lcm_meta_layer l[3];
		struct lcm_merge m;
		char out[1024] = "", path[256] = "";
		size_t n = 0;

		for (; n < 3 && rows[i].layers[n]; n++)
			l[n] = (struct lcm_meta_layer){
				files[n], layer_of(f, files[n], rows[i].layers[n], (uint32_t)n + 1)
			};
		assert_int_equal(lcm_merge_init(l, n, &m, NULL), 0);
		describe(&m, 0, path, out, sizeof(out));
		if (strcmp(out, rows[i].want) != 0)
			fail_msg("row %zu: '%s' is not '%s'", i, out, rows[i].want);
		lcm_merge_fini(&m);
		while (n-- > 0)
			lcm_toc_close((struct lcm_toc *)(uintptr_t)l[n].toc);
	}
}

static void links_below_to_nothing(void **state)
{
	static const struct {
		const char *layers[3];
		const char *says;
	} rows[] = {
		{ { "h:b=a" }, "/b in layer t0: hardlink to 'a', which is no file of this layer" },
		{ { "f:c", "f:.wh.c", "h:b=c" }, "/b in layer t2: hardlink to 'c'" },
		{ { "d:d", "h:b=d" }, "hardlink to 'd'" },
		{ { "f:d/a", "f:d/.wh..wh..opq f:d/x", "h:b=d/a" }, "hardlink to 'd/a'" },
		{ { "f:d/a", "f:d", "h:b=d/a" }, "hardlink to 'd/a'" },
		{ { "l:s=d f:d/a", "h:b=s/a" }, "hardlink to 's/a'" },
		{ { "c:a h:c=a", "h:b=c" }, "hardlink to 'c'" },
		{ { "f:a", "h:a=b h:b=c" }, "/a in layer t1: hardlink to 'c'" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		static const char *const files[] = { "t0", "t1", "t2" };
		struct lcm_meta_layer l[3];
		struct lcm_err err = { 0 };
		struct lcm_merge m;
		size_t n = 0;

		for (; n < 3 && rows[i].layers[n]; n++)
			l[n] = (struct lcm_meta_layer){
				files[n], layer_of(f, files[n], rows[i].layers[n], (uint32_t)n + 1)
			};
		assert_int_equal(lcm_merge_init(l, n, &m, &err), -EUCLEAN);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("row %zu: '%s'", i, err.msg);
		while (n-- > 0)
			lcm_toc_close((struct lcm_toc *)(uintptr_t)l[n].toc);
	}
}

/* The root's metadata is that of the topmost layer which lists "./". */
static void root_metadata(void **state)
{
	static const struct {
		const char *layers[3];
		uint32_t uid;
		int64_t mtime;
	} rows[] = {
		{ { "f:a", "f:b", "f:c" }, 0, 0 },
		{ { "d:./ f:a", "f:b", "f:c" }, 1, 1000 },
		{ { "d:./", "d:./", "f:c" }, 2, 1000 },
		{ { "f:a", "f:b", "d:./" }, 3, 1000 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		static const char *const files[] = { "t0", "t1", "t2" };
		struct lcm_meta_layer l[3];
		struct lcm_merge m;

		for (size_t n = 0; n < 3; n++)
			l[n] = (struct lcm_meta_layer){
				files[n], layer_of(f, files[n], rows[i].layers[n], (uint32_t)n + 1)
			};
		assert_int_equal(lcm_merge_init(l, 3, &m, NULL), 0);
		assert_int_equal(lcm_merge_entry(&m, 0)->uid, rows[i].uid);
		assert_int_equal(lcm_merge_entry(&m, 0)->mtime, rows[i].mtime);
		assert_int_equal(lcm_merge_entry(&m, 0)->mode, rows[i].uid ? 0700 : 0755);
		lcm_merge_fini(&m);
		for (size_t n = 0; n < 3; n++)
			lcm_toc_close((struct lcm_toc *)(uintptr_t)l[n].toc);
	}
}

/* ---- images ---- */

static uint8_t *image_of(const struct lcm_meta_layer *l, size_t n, struct lcm_meta_stats *st)
{
	struct lcm_err err = { 0 };
	int fd = memfd_create("meta", MFD_CLOEXEC), r;
	uint8_t *p;

	assert_true(fd >= 0);
	r = lcm_meta_write(l, n, fd, st, &err);
	if (r < 0)
		fail_msg("%s", lcm_err_text(&err, r));
	p = malloc(st->image_bytes);
	assert_non_null(p);
	assert_int_equal(lcm_sys_pread_full(fd, p, st->image_bytes, 0), 0);
	(void)close(fd);
	return p;
}

static void check_image(const struct lcm_meta_layer *l, size_t n, struct lcm_meta_stats *st)
{
	lcm_autofree uint8_t *p = image_of(l, n, st);
	struct mm_model m;
	const char *bad;

	mm_build(&m, l, n);
	bad = mm_check_image(&m, p, st->image_bytes);
	if (bad)
		fail_msg("%s", bad);
	assert_int_equal(st->inodes, m.inodes);
	assert_int_equal(st->regular, m.regular);
	assert_int_equal(st->bytes_regular, m.bytes_regular);
	mm_fini(&m);
}

/* The same tree must be the same image for ever: overlayfs keeps file handles of it in uppers. */
static void golden(void **state)
{
	static const struct {
		const char *layers[2];
		const char *digest;
	} rows[] = {
		{ { NULL }, "c4e625b1e9666ddb074b72fa2e48917229c7421dc6c4bcbc6adfc19a797b306f" },
		{ { "d:./ d:bin f:bin/sh h:bin/dash=bin/sh l:sh=bin/sh e:empty n:null" },
		  "aed0b8f4f96fc5b2dae9d79ced03ee435d4a94ba3e45f4cee3751c32f462dc75" },
		{ { "d:./ d:bin f:bin/sh h:bin/dash=bin/sh", "f:bin/.wh.sh f:usr/lib/x d:tmp" },
		  "f9ea7cd5bdfff39f4f9fec67cd951e4fbfe8924219a074296ec67f3b362fc26c" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		static const char *const files[] = { "l1", "l2" };
		struct lcm_meta_layer l[2];
		struct lcm_meta_stats st;
		struct lcm_digest d;
		char hex[LCM_DIGEST_STR];
		size_t n = 0;

		for (; n < 2 && rows[i].layers[n]; n++)
			l[n] = (struct lcm_meta_layer){
				files[n], layer_of(f, files[n], rows[i].layers[n], (uint32_t)n + 1)
			};
		check_image(l, n, &st);
		for (int twice = 0; twice < 2; twice++) {
			lcm_autofree uint8_t *p = image_of(l, n, &st);

			assert_int_equal(lcm_digest_of(p, st.image_bytes, &d), 0);
			assert_string_equal(lcm_digest_hex(&d, hex), rows[i].digest);
		}
		while (n-- > 0)
			lcm_toc_close((struct lcm_toc *)(uintptr_t)l[n].toc);
	}
}

/* One nasty item at a time, against the model's reading of the image. */
static void nasty_items(void **state)
{
	static char target[4095], name[255], value[65535];
	static struct lcm_xattr big[] = { { "user.big", 8, 60000, (const uint8_t *)value } };
	static struct lcm_xattr many[] = {
		{ "security.capability", 19, 20, (const uint8_t *)value },
		{ "system.posix_acl_access", 23, 4, (const uint8_t *)"\2\0\0\0" },
		{ "system.posix_acl_default", 24, 4, (const uint8_t *)"\2\0\0\0" },
		{ "trusted.x", 9, 0, (const uint8_t *)"" },
		{ "user.x", 6, 1, (const uint8_t *)"v" },
		{ "com.apple.x", 11, 1, (const uint8_t *)"v" }
	};
	const struct lcm_toc_item rows[] = {
		{ .type = LCM_TOC_REG,
		  .path = "a/b/c",
		  .path_len = 5,
		  .size = 1,
		  .mode = 07777,
		  .uid = UINT32_MAX - 1,
		  .gid = UINT32_MAX - 1 },
		{ .type = LCM_TOC_REG,
		  .path = "neg",
		  .path_len = 3,
		  .size = 1,
		  .mtime = -62135596800,
		  .mtime_nsec = 999999999 },
		{ .type = LCM_TOC_REG,
		  .path = "far",
		  .path_len = 3,
		  .size = 1,
		  .mtime = INT64_MAX },
		{ .type = LCM_TOC_REG, .path = "4g-1", .path_len = 4, .size = UINT32_MAX },
		{ .type = LCM_TOC_REG, .path = "4g", .path_len = 2, .size = 1ULL << 32 },
		{ .type = LCM_TOC_REG, .path = "8t", .path_len = 2, .size = 8ULL << 40 },
		{ .type = LCM_TOC_REG, .path = "8t+1", .path_len = 4, .size = (8ULL << 40) + 1 },
		{ .type = LCM_TOC_REG, .path = "16t", .path_len = 3, .size = 16ULL << 40 },
		{ .type = LCM_TOC_SYMLINK,
		  .path = "s",
		  .path_len = 1,
		  .link = target,
		  .link_len = 4095,
		  .size = 4095 },
		{ .type = LCM_TOC_SYMLINK,
		  .path = "s",
		  .path_len = 1,
		  .link = target,
		  .link_len = 4064,
		  .size = 4064 },
		{ .type = LCM_TOC_SYMLINK,
		  .path = "s",
		  .path_len = 1,
		  .link = target,
		  .link_len = 4065,
		  .size = 4065 },
		{ .type = LCM_TOC_SYMLINK,
		  .path = "s",
		  .path_len = 1,
		  .link = target,
		  .link_len = 9,
		  .size = 9,
		  .xattrs = big,
		  .n_xattrs = 1 },
		{ .type = LCM_TOC_DIR,
		  .path = "d",
		  .path_len = 1,
		  .mode = 01777,
		  .xattrs = big,
		  .n_xattrs = 1 },
		{ .type = LCM_TOC_DIR,
		  .path = "./",
		  .path_len = 2,
		  .mode = 0500,
		  .xattrs = big,
		  .n_xattrs = 1 },
		{ .type = LCM_TOC_REG,
		  .path = name,
		  .path_len = 255,
		  .size = 9,
		  .xattrs = many,
		  .n_xattrs = LCM_ARRAY_SIZE(many) },
		{ .type = LCM_TOC_BLOCK,
		  .path = "b",
		  .path_len = 1,
		  .rdev_major = 0xfff,
		  .rdev_minor = 0xfffff },
		{ .type = LCM_TOC_CHAR,
		  .path = "c",
		  .path_len = 1,
		  .rdev_major = 0,
		  .rdev_minor = 256 },
		{ .type = LCM_TOC_FIFO, .path = "p", .path_len = 1, .mode = 04000 },
	};
	struct fixture *f = *state;

	memset(target, 't', sizeof(target));
	memset(name, '\xff', sizeof(name));
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_meta_layer l = { "l", item_layer(f, &rows[i]) };
		struct lcm_meta_stats st;

		check_image(&l, 1, &st);
		lcm_toc_close((struct lcm_toc *)(uintptr_t)l.toc);
	}
}

/* Every size of a directory around the block borders, so that each tail and each padding is met. */
static void directory_sizes(void **state)
{
	struct fixture *f = *state;

	for (unsigned int n = 1; n < 700; n += n < 40 || (n > 300 && n < 345) ? 1 : 37) {
		struct lcm_toc_builder *b = NULL;
		struct lcm_meta_layer l = { "l", NULL };
		struct lcm_meta_stats st;

		assert_int_equal(lcm_toc_builder_new(&b), 0);
		for (unsigned int i = 0; i < n; i++) {
			char path[300];
			struct lcm_toc_item it = { .type = LCM_TOC_DIR, .path = path };

			it.path_len = (size_t)snprintf(path, sizeof(path), "%0*u", n < 40 ? 250 : 1,
						       i);
			assert_int_equal(lcm_toc_builder_add(b, &it, NULL), 0);
		}
		l.toc = finish(f, b, "t");
		check_image(&l, 1, &st);
		assert_int_equal(st.inodes, n + 1);
		lcm_toc_close((struct lcm_toc *)(uintptr_t)l.toc);
	}
}

static void refusals(void **state)
{
	static const uint8_t value[LCM_XATTR_VALUE_MAX];
	static const struct lcm_xattr big = { "user.big", 8, sizeof(value), value };
	static const struct {
		struct lcm_toc_item item;
		const char *layer, *text;
		int want;
	} rows[] = {
		{ { .type = LCM_TOC_REG,
		    .path = "dir/huge",
		    .path_len = 8,
		    .size = (16ULL << 40) + 1 },
		  "l",
		  "/dir/huge in layer l: ",
		  -EFBIG },
		{ { .type = LCM_TOC_REG,
		    .path = "x",
		    .path_len = 1,
		    .xattrs = &big,
		    .n_xattrs = 1 },
		  "l",
		  "/x in layer l: ",
		  -EFBIG },
		{ { .type = LCM_TOC_REG, .path = "x", .path_len = 1 }, "", "layer 0", -EINVAL },
		{ { .type = LCM_TOC_REG, .path = "x", .path_len = 1 }, "a/b", "a/b", -EINVAL },
		{ { .type = LCM_TOC_REG, .path = "x", .path_len = 1 }, "..", "..", -EINVAL },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_meta_layer l = { rows[i].layer, item_layer(f, &rows[i].item) };
		struct lcm_meta_stats st = { .inodes = 7, .image_bytes = 7 };
		struct lcm_err err = { 0 };
		int fd = memfd_create("meta", MFD_CLOEXEC);

		assert_int_equal(lcm_meta_write(&l, 1, fd, &st, &err), rows[i].want);
		assert_non_null(strstr(err.msg, rows[i].text));
		assert_int_equal(st.inodes, 7);
		assert_int_equal(st.image_bytes, 7);
		(void)close(fd);
		lcm_toc_close((struct lcm_toc *)(uintptr_t)l.toc);
	}
}

static void failed_writes(void **state)
{
	struct fixture *f = *state;
	struct lcm_meta_layer l = { "l", layer_of(f, "t", "f:a", 0) };
	struct lcm_meta_stats st = { .inodes = 7 };
	struct lcm_err err = { 0 };
	int fd = lcm_sys_openat(AT_FDCWD, "/dev/full", O_RDWR, 0);

	assert_true(fd >= 0);
	assert_int_equal(lcm_meta_write(&l, 1, fd, &st, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "META"));
	assert_int_equal(lcm_meta_write(&l, 1, -1, &st, &err), -EBADF);
	assert_int_equal(st.inodes, 7);
	(void)close(fd);
	lcm_toc_close((struct lcm_toc *)(uintptr_t)l.toc);
}

#ifdef LCM_FAULTS
/* Every system call fails once: the error comes back, the results stay untouched. */
static void every_call_fails_once(void **state)
{
	struct fixture *f = *state;
	struct lcm_meta_layer l = { "l", layer_of(f, "t", "f:a d:b f:b/c", 0) };
	struct lcm_meta_stats st = { .inodes = 7 };
	int fd = memfd_create("meta", MFD_CLOEXEC), r = -EIO;
	long n = 0;

	while (r < 0) {
		lcm_fault_arm(++n, EIO);
		r = lcm_meta_write(&l, 1, fd, &st, NULL);
		lcm_fault_disarm();
		if (r < 0) {
			assert_int_equal(r, -EIO);
			assert_int_equal(st.inodes, 7);
		}
	}
	assert_true(n > 1);
	assert_int_equal(st.inodes, 4);
	(void)close(fd);
	lcm_toc_close((struct lcm_toc *)(uintptr_t)l.toc);
}
#endif

static int note_file(void *arg, uint32_t layer, uint32_t entry)
{
	char *out = arg;
	size_t len = strlen(out);

	(void)snprintf(out + len, 256 - len, "%u.%u ", layer, entry);
	return strlen(out) > 200 ? -EINTR : 0;
}

static int stop(void *arg, uint32_t layer, uint32_t entry)
{
	(void)arg;
	(void)layer;
	(void)entry;
	return -EINTR;
}

/* Once per inode, by the entry of the file itself even when only its other names are visible. */
static void each_file(void **state)
{
	struct fixture *f = *state;
	struct lcm_meta_layer l[] = {
		{ "l1", layer_of(f, "t1", "f:a h:b=a h:c=a e:empty d:dir f:dir/x", 1) },
		{ "l2", layer_of(f, "t2", "f:.wh.a f:dir/x l:s=a", 2) }
	};
	char out[256] = "", want[64];

	assert_int_equal(lcm_meta_each_file(l, 2, note_file, out, NULL), 0);
	(void)snprintf(want, sizeof(want), "0.%u 1.%u ", lcm_toc_walk(l[0].toc, "a", 1),
		       lcm_toc_walk(l[1].toc, "dir/x", 5));
	assert_string_equal(out, want);
	assert_int_equal(lcm_meta_each_file(l, 2, stop, NULL, NULL), -EINTR);
	for (size_t i = 0; i < 2; i++)
		lcm_toc_close((struct lcm_toc *)(uintptr_t)l[i].toc);
}

/* The time most files have costs them nothing; one of another time takes 32 bytes more. */
static void common_time_is_compact(void **state)
{
	struct fixture *f = *state;
	uint64_t end[2];

	for (int odd = 0; odd < 2; odd++) {
		struct lcm_toc_builder *b = NULL;
		struct lcm_meta_layer l = { "l", NULL };
		struct lcm_erofs_plan p;
		struct lcm_merge m;

		assert_int_equal(lcm_toc_builder_new(&b), 0);
		for (unsigned int i = 0; i < 64; i++) {
			char path[8];
			struct lcm_toc_item it = { .type = LCM_TOC_FIFO,
						   .path = path,
						   .mtime = odd && i == 9 ? 78 : 77,
						   .mtime_nsec = 5 };

			it.path_len = (size_t)snprintf(path, sizeof(path), "%03u", i);
			assert_int_equal(lcm_toc_builder_add(b, &it, NULL), 0);
		}
		l.toc = finish(f, b, "t");
		assert_int_equal(lcm_merge_init(&l, 1, &m, NULL), 0);
		assert_int_equal(lcm_erofs_plan_init(&m, &p, NULL), 0);
		assert_int_equal(p.build_time, 77);
		assert_int_equal(p.build_time_nsec, 5);
		end[odd] = p.end;
		lcm_erofs_plan_fini(&p);
		lcm_merge_fini(&m);
		lcm_toc_close((struct lcm_toc *)(uintptr_t)l.toc);
	}
	assert_int_equal(end[1] - end[0], 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(merge_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(links_below_to_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(root_metadata, setup, teardown),
		cmocka_unit_test_setup_teardown(golden, setup, teardown),
		cmocka_unit_test_setup_teardown(nasty_items, setup, teardown),
		cmocka_unit_test_setup_teardown(directory_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(failed_writes, setup, teardown),
#ifdef LCM_FAULTS
		cmocka_unit_test_setup_teardown(every_call_fails_once, setup, teardown),
#endif
		cmocka_unit_test_setup_teardown(each_file, setup, teardown),
		cmocka_unit_test_setup_teardown(common_time_is_compact, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
