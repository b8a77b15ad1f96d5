/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <sys/sysmacros.h>

#include "tests/unit/unpack_util.h"

/* ---- a tree with everything ---- */

static void put_file(int dir, const char *name, const char *data, size_t len, mode_t mode,
		     uid_t uid, int64_t sec, long nsec)
{
	const struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT },
					{ .tv_sec = sec, .tv_nsec = nsec } };
	lcm_autoclose int fd = lcm_sys_openat(dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_write_full(fd, data, len), 0);
	assert_int_equal(lcm_sys_fchown(fd, uid, uid * 2), 0);
	assert_int_equal(lcm_sys_fchmod(fd, mode), 0);
	assert_int_equal(lcm_sys_futimens(fd, ts), 0);
}

static void put_xattrs(int dir)
{
	/* struct vfs_cap_data, version 2: cap_net_bind_service, effective. */
	static const uint8_t cap[20] = { 1, 0, 0, 2, 0, 4 };
	static const uint8_t value[] = { 0, 1, '=', '\n', 0xff, 0 };
	lcm_autoclose int a = lcm_sys_openat(dir, "setuid", O_RDONLY, 0);
	lcm_autoclose int b = lcm_sys_openat(dir, "times/-1.5", O_RDONLY, 0);
	lcm_autoclose int c = lcm_sys_openat(dir, "setgid-dir", O_RDONLY | O_DIRECTORY, 0);

	assert_int_equal(lcm_sys_fsetxattr(b, "security.capability", cap, sizeof(cap)), 0);
	assert_int_equal(lcm_sys_fsetxattr(a, "user.binary", value, sizeof(value)), 0);
	assert_int_equal(lcm_sys_fsetxattr(a, "trusted.other", "v", 1), 0);
	assert_int_equal(lcm_sys_fsetxattr(c, "user.on-dir", "x", 1), 0);
}

/* Names with every byte a name may have, short and long, and what a UTF-8 locale would rewrite. */
static void put_names(int dir, bool ustar)
{
	static const char *const rewritten[] = { "nfd-e\xcc\x81", "nfc-\xc3\xa9",
						 "cesu-\xed\xa0\xbd\xed\xb8\x80",
						 "bad-\xff\xc0\xaf" };
	char name[256], path[300];

	for (unsigned int from = 1; from < 256; from += 64) {
		size_t n = 0;

		for (unsigned int c = from; c < LCM_MIN(from + 64, 256U); c++)
			if (c != '/')
				name[n++] = (char)c;
		name[n] = '\0';
		put_file(dir, name, "n", 1, 0644, 0, 1000, 0);
		assert_int_equal(lcm_sys_symlinkat(name, dir,
						   from == 1     ? "link1"
						   : from == 65  ? "link2"
						   : from == 129 ? "link3"
								 : "link4"),
				 0);
	}
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rewritten); i++)
		put_file(dir, rewritten[i], "r", 1, 0644, 0, 1000, 0);
	memset(name, 'd', 90);
	name[90] = '\0';
	assert_int_equal(lcm_sys_mkdirat(dir, name, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", name, "file");
	put_file(dir, path, "f", 1, 0644, 0, 1000, 0);
	if (ustar)
		return;
	memset(name, 'l', 255);
	name[254] = (char)0xe9;
	name[255] = '\0';
	put_file(dir, name, "long", 4, 0644, 0, 1000, 0);
	assert_int_equal(lcm_sys_symlinkat(name, dir, "long-link"), 0);
	assert_int_equal(lcm_sys_linkat(dir, name, dir, "long-hard", 0), 0);
}

static void put_times(int dir, bool ustar)
{
	static const struct {
		const char *name;
		int64_t sec;
		long nsec;
	} rows[] = {
		{ "times/-1.5", -2, 500000000 },
		{ "times/-0.5", -1, 500000000 },
		{ "times/0.5", 0, 500000000 },
		{ "times/-7", -7, 0 },
		{ "times/0", 0, 0 },
		{ "times/-1000000000.000000001", -1000000001, 999999999 },
		{ "times/1.999999999", 1, 999999999 },
	};

	assert_int_equal(lcm_sys_mkdirat(dir, "times", 0700), 0);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) /* ustar has no sign */
		put_file(dir, rows[i].name, "t", 1, 0400, 3,
			 ustar && rows[i].sec < 0 ? -rows[i].sec : rows[i].sec, rows[i].nsec);
}

static void put_sparse(int dir)
{
	lcm_autoclose int fd = lcm_sys_openat(dir, "sparse", O_RDWR | O_CREAT, 0644);

	assert_int_equal(lcm_sys_ftruncate(fd, 9 << 20), 0);
	for (uint64_t i = 0; i < 12; i++)
		assert_int_equal(lcm_sys_pwrite_full(fd, "data", 4, (i + 1) * 600000), 0);
	lcm_closep(&fd);
	fd = lcm_sys_openat(dir, "all-hole", O_RDWR | O_CREAT, 0644);
	assert_int_equal(lcm_sys_ftruncate(fd, 1 << 20), 0);
}

/* The nasty tree in directory @path. */
static void put_tree(const char *path, bool ustar)
{
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	const struct timespec ts[2] = { { .tv_sec = 5 },
					{ .tv_sec = 1234567890, .tv_nsec = 123456789 } };
	lcm_autofree char *big = malloc(3000001);

	for (size_t i = 0; i < 3000001; i++)
		big[i] = (char)(i * i >> 7);
	put_file(dir, "big", big, 3000001, 0640, 7, 1500000000, 7);
	put_file(dir, "empty", "", 0, 0, 0, 1, 0);
	put_file(dir, "setuid", "#!", 2, 06755, 1, 2, 0);
	put_times(dir, ustar);
	put_names(dir, ustar);
	put_sparse(dir);
	assert_int_equal(lcm_sys_mkdirat(dir, "setgid-dir", 0755), 0);
	assert_int_equal(lcm_sys_mkdirat(dir, "setgid-dir/deep", 0755), 0);
	put_file(dir, "setgid-dir/deep/file", "x", 1, 0644, 0, 3, 0);
	assert_int_equal(lcm_sys_linkat(dir, "setuid", dir, "setgid-dir/deep/hard", 0), 0);
	assert_int_equal(lcm_sys_linkat(dir, "empty", dir, "zz-hard", 0), 0);
	assert_int_equal(lcm_sys_symlinkat("/etc/passwd", dir, "setgid-dir/link"), 0);
	assert_int_equal(lcm_sys_fchownat(dir, "setgid-dir/link", 8, 9, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(lcm_sys_utimensat(dir, "setgid-dir/link", ts, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(lcm_sys_mknodat(dir, "fifo", S_IFIFO | 0622, 0), 0);
	assert_int_equal(lcm_sys_mknodat(dir, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(lcm_sys_mknodat(dir, "block", S_IFBLK | 0660, makedev(259, 300)), 0);
	assert_int_equal(lcm_sys_fchownat(dir, "block", 0, 6, 0), 0);
	if (!ustar)
		put_xattrs(dir);
	assert_int_equal(lcm_sys_fchownat(dir, "setgid-dir", 11, 12, 0), 0);
	assert_int_equal(lcm_sys_fchmodat(dir, "setgid-dir", 03775), 0);
	assert_int_equal(lcm_sys_utimensat(dir, "setgid-dir", ts, 0), 0);
	assert_int_equal(lcm_sys_utimensat(dir, "setgid-dir/deep", ts, 0), 0);
	assert_int_equal(lcm_sys_fchmodat(dir, ".", 0751), 0);
}

struct trees {
	char *dir; /* owned */
	char in[64], out[64], tar[64];
};

static void trees_setup(struct trees *t, bool ustar)
{
	t->dir = test_mkdir();
	(void)snprintf(t->in, sizeof(t->in), "%s/in", t->dir);
	(void)snprintf(t->out, sizeof(t->out), "%s/out", t->dir);
	(void)snprintf(t->tar, sizeof(t->tar), "%s/tar", t->dir);
	assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, t->in, 0755), 0);
	assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, t->out, 0755), 0);
	put_tree(t->in, ustar);
}

/* Unpacks the tar as a plain layer, compares with GNU tar's result, then the same with a TOC. */
static void check_tar(struct trees *t, bool exact)
{
	struct layer_fixture f, g;
	struct lcm_unpack_result res, again;
	struct lcm_digest want;
	struct lcm_err err = { 0 };
	struct tar_source src = source_of_file(t->tar);
	struct lcm_toc *toc;
	unsigned int fds;
	lcm_autofree char *bytes = NULL;
	size_t len = 0;

	RUN("tar", "--warning=none", "-xpf", t->tar, "-C", t->out, "--numeric-owner", "--xattrs",
	    "--xattrs-include=*", "--same-owner", "--delay-directory-restore");
	layer_setup(&f);
	fds = count_fds();
	if (unpack_source(&f, &src, NULL, NULL, &res, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(count_fds(), fds - 1);
	RUN("tests/lib/treecmp", t->out, f.path);
	if (exact)
		RUN("tests/lib/treecmp", t->in, f.path);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, t->tar, SIZE_MAX / 4, &bytes, &len), 0);
	assert_int_equal(lcm_digest_of(bytes, len, &want), 0);
	assert_true(lcm_digest_equal(&res.diffid, &want));

	layer_setup(&g);
	src = source_of_file(t->tar);
	toc = toc_of_source(&g, &src);
	for (int i = 0; i < 2; i++) { /* the second time all is there */
		src = source_of_file(t->tar);
		if (unpack_source(&g, &src, toc, NULL, &again, &err) != 0)
			fail_msg("%s", err.msg);
		assert_true(lcm_digest_equal(&again.diffid, &want));
		assert_int_equal(again.entries, res.entries);
		assert_int_equal(again.files, res.files);
		assert_int_equal(again.bytes, res.bytes);
		RUN("tests/lib/treecmp", f.path, g.path);
	}
	lcm_toc_close(toc);
	layer_teardown(&g);
	layer_teardown(&f);
	RUN("rm", "-rf", t->out);
	assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, t->out, 0755), 0);
}

static void equals_gnu_tar(void **state)
{
	static const struct {
		const char *args[6];
		bool ustar, exact;
	} rows[] = {
		{ { "tar", "--format=posix", "-S", "--sparse-version=1.0", "--xattrs-include=*",
		    "--xattrs" },
		  false,
		  true },
		{ { "tar", "--format=posix", "-S", "--sparse-version=0.1", "--xattrs-include=*",
		    "--xattrs" },
		  false,
		  true },
		{ { "tar", "--format=posix", "-S", "--sparse-version=0.0", "--xattrs-include=*",
		    "--xattrs" },
		  false,
		  true },
		{ { "tar", "--format=gnu", "-S" }, false, false },
		{ { "tar", "--format=ustar" }, true, false },
		{ { "bsdtar", "--format=pax", "--xattrs", "--no-acls", "--no-fflags",
		    "--numeric-owner" },
		  false,
		  false },
		{ { "bsdtar", "--format=gnutar", "--no-xattrs" }, false, false },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const char *argv[12];
		struct trees t;
		size_t n = 0;

		trees_setup(&t, rows[i].ustar);
		for (; n < 6 && rows[i].args[n]; n++)
			argv[n] = rows[i].args[n];
		argv[n++] = "-cf";
		argv[n++] = t.tar;
		argv[n++] = "-C";
		argv[n++] = t.in;
		argv[n++] = ".";
		argv[n] = NULL;
		assert_int_equal(run_program(argv), 0);
		check_tar(&t, rows[i].exact);
		test_rmdir(t.dir);
	}
}

static void beyond_4_gib(void **state)
{
	static const char *const formats[] = { "--format=posix", "--format=gnu" };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(formats); i++) {
		const uint64_t size = (5ULL << 30) + 17;
		struct layer_fixture f;
		struct lcm_unpack_result res;
		struct tar_source src;
		lcm_autoclose int fd = -EBADF;
		char tar[300], file[300], buf[8] = "";
		struct stat st;

		layer_setup(&f);
		fd = lcm_sys_openat(f.tmp, "big", O_RDWR | O_CREAT, 0644);
		assert_int_equal(lcm_sys_ftruncate(fd, size), 0);
		assert_int_equal(lcm_sys_pwrite_full(fd, "end", 3, (4ULL << 30) + 5), 0);
		lcm_closep(&fd);
		(void)snprintf(tar, sizeof(tar), "%s/tmp", f.dir);
		(void)snprintf(file, sizeof(file), "%s/big.tar", f.dir);
		RUN("tar", formats[i], "-S", "-C", tar, "-cf", file, "big");
		src = source_of_file(file);
		assert_int_equal(unpack_source(&f, &src, NULL, NULL, &res, NULL), 0);
		assert_int_equal(res.bytes, size);
		fd = lcm_sys_openat(f.real, "l/big", O_RDONLY, 0);
		assert_int_equal(lcm_sys_fstat(fd, &st), 0);
		assert_int_equal(st.st_size, size);
		assert_true(st.st_blocks < 1000);
		assert_int_equal(lcm_sys_pread_full(fd, buf, 5, (4ULL << 30) + 4), 0);
		assert_memory_equal(buf, "\0end\0", 5);
		layer_teardown(&f);
	}
}

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

/* Large blocks, so that both digests are made on threads of their own. */
static void compressed_layers(void **state)
{
	static const struct {
		const char *program, *suffix;
		enum lcm_compression comp;
	} rows[] = { { "gzip", ".gz", LCM_COMP_GZIP }, { "zstd", ".zst", LCM_COMP_ZSTD } };
	struct trees t;

	(void)state;
	trees_setup(&t, false);
	RUN("tar", "--format=posix", "-S", "--xattrs", "--xattrs-include=*", "-C", t.in, "-cf",
	    t.tar, ".");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_autofree char *tar = NULL, *blob = NULL;
		struct lcm_digest want_tar, want_blob, is;
		struct lcm_unpack_result res;
		struct lcm_stream *s = NULL;
		struct layer_fixture f;
		struct tar_source src;
		size_t tar_len, blob_len;
		uint64_t len;
		char path[80];

		RUN(rows[i].program, "-q", "-1", "-k", t.tar);
		(void)snprintf(path, sizeof(path), "%s%s", t.tar, rows[i].suffix);
		assert_int_equal(lcm_read_file_at(AT_FDCWD, t.tar, SIZE_MAX / 4, &tar, &tar_len),
				 0);
		assert_int_equal(lcm_read_file_at(AT_FDCWD, path, SIZE_MAX / 4, &blob, &blob_len),
				 0);
		assert_int_equal(lcm_digest_of(tar, tar_len, &want_tar), 0);
		assert_int_equal(lcm_digest_of(blob, blob_len, &want_blob), 0);
		layer_setup(&f);
		src = source_of_bytes(&(struct lcm_buf){ .data = blob, .len = blob_len }, 200000);
		assert_int_equal(lcm_stream_new(rows[i].comp, tar_source_read, &src, 0, &s), 0);
		assert_int_equal(lcm_unpack_stream(f.d, s, NULL, NULL, &res, NULL), 0);
		lcm_stream_blob_digest(s, &is, &len);
		assert_int_equal(len, blob_len);
		assert_true(lcm_digest_equal(&is, &want_blob));
		assert_true(lcm_digest_equal(&res.diffid, &want_tar));
		RUN("tests/lib/treecmp", t.in, f.path);
		lcm_stream_free(s);
		source_fini(&src);
		layer_teardown(&f);
	}
	test_rmdir(t.dir);
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
		cmocka_unit_test(equals_gnu_tar),
		cmocka_unit_test(beyond_4_gib),
		cmocka_unit_test(evil_is_refused),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(whiteouts),
		cmocka_unit_test(order_and_duplicates),
		cmocka_unit_test(links_that_only_pax_names),
		cmocka_unit_test(diffid_covers_all),
		cmocka_unit_test(checkpoint_ends_it),
		cmocka_unit_test(compressed_layers),
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
