/* SPDX-License-Identifier: Apache-2.0 */
/* Whole trees, compared with what GNU tar makes of them. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_gnu_tar),
		cmocka_unit_test(beyond_4_gib),
		cmocka_unit_test(compressed_layers),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "test_unpack_tree: needs root (owners, devices)\n");
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	}
	/* The locale in which libarchive rewrites names, if it is let. */
	(void)setlocale(LC_ALL, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
