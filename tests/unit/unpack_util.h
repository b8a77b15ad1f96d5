/* SPDX-License-Identifier: Apache-2.0 */
/* unpack_util.h - what the tests of tar reading and unpacking share: running tar, building tars
 * byte by byte, TOCs of tars. */
#ifndef LCM_UNPACK_UTIL_H
#define LCM_UNPACK_UTIL_H

#include <dirent.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "decode/tar.h"
#include "overlay/unpack.h"
#include "src/base/buf.h"
#include "tests/unit/test.h"

extern char **environ;

/* ---- programs ---- */

/* Runs a program to its end with the C locale. Return: exit status. */
static inline int run_program(const char *const argv[])
{
	int status = 0;
	pid_t pid;

	assert_int_equal(
	    posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define RUN(...) assert_int_equal(run_program((const char *const[]){ __VA_ARGS__, NULL }), 0)

static inline unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

/* ---- tars byte by byte ---- */

struct tar_item {
	const char *path, *link, *data;
	char type;         /* '0' when 0 */
	unsigned int mode; /* 0644 when 0 */
	unsigned int uid, gid, mtime, major, minor;
};

/* A number in @width bytes, the last a NUL. */
static inline void octal(char *p, size_t width, uint64_t v)
{
	p[--width] = '\0';
	for (; width; v >>= 3)
		p[--width] = (char)('0' + (v & 7));
}

static inline void tar_add_header(struct lcm_buf *b, const struct tar_item *i, size_t size)
{
	uint8_t h[512] = { 0 };
	unsigned int sum = 0;
	char *p = (char *)h;

	memcpy(p, i->path, LCM_MIN(strlen(i->path), (size_t)100));
	octal(p + 100, 8, i->mode ? i->mode : 0644);
	octal(p + 108, 8, i->uid);
	octal(p + 116, 8, i->gid);
	octal(p + 124, 12, size);
	octal(p + 136, 12, i->mtime);
	p[156] = i->type ? i->type : '0';
	if (i->link)
		memcpy(p + 157, i->link, LCM_MIN(strlen(i->link), (size_t)100));
	memcpy(p + 257,
	       "ustar\0"
	       "00",
	       8);
	octal(p + 329, 8, i->major);
	octal(p + 337, 8, i->minor);
	memset(p + 148, ' ', 8);
	for (size_t k = 0; k < sizeof(h); k++)
		sum += h[k];
	octal(p + 148, 7, sum);
	assert_int_equal(lcm_buf_add(b, h, sizeof(h)), 0);
}

static inline void tar_add_body(struct lcm_buf *b, const void *p, size_t len)
{
	static const uint8_t zeros[512];

	assert_int_equal(lcm_buf_add(b, p, len), 0);
	assert_int_equal(lcm_buf_add(b, zeros, (512 - len % 512) % 512), 0);
}

static inline void tar_add(struct lcm_buf *b, const struct tar_item *i)
{
	size_t len = i->data ? strlen(i->data) : 0;

	tar_add_header(b, i, len);
	if (len)
		tar_add_body(b, i->data, len);
}

/* A pax header for the next entry: @records is "key=value" strings, NULL at the end. */
static inline void tar_add_pax(struct lcm_buf *b, const char *const *records)
{
	struct lcm_buf body = LCM_BUF(1 << 20);
	const struct tar_item head = { .path = "pax", .type = 'x' };

	for (; *records; records++) {
		size_t len = strlen(*records) + 3, next;

		while ((next = strlen(*records) + 2 + (size_t)snprintf(NULL, 0, "%zu", len)) != len)
			len = next;
		assert_int_equal(lcm_buf_printf(&body, "%zu %s\n", len, *records), 0);
	}
	tar_add_header(b, &head, body.len);
	tar_add_body(b, body.data, body.len);
	lcm_buf_fini(&body);
}

static inline void tar_end(struct lcm_buf *b)
{
	static const uint8_t zeros[1024];

	assert_int_equal(lcm_buf_add(b, zeros, sizeof(zeros)), 0);
}

/* ---- unpacking ---- */

struct tar_source {
	int fd; /* -1: bytes */
	const char *p;
	size_t len, step;
	char *block; /* owned */
};

static inline ssize_t tar_source_read(void *arg, const void **ret)
{
	struct tar_source *s = arg;
	size_t n = LCM_MIN(s->len, s->step);

	if (s->fd >= 0) {
		ssize_t got = lcm_sys_read(s->fd, s->block, s->step);

		*ret = s->block;
		return got;
	}
	free(s->block); /* the last block goes, and nobody may look at it any more */
	s->block = malloc(n ? n : 1);
	if (n)
		memcpy(s->block, s->p, n);
	s->p += n;
	s->len -= n;
	*ret = s->block;
	return (ssize_t)n;
}

static inline struct tar_source source_of_bytes(const struct lcm_buf *b, size_t step)
{
	return (struct tar_source){ .fd = -1, .p = b->data, .len = b->len, .step = step };
}

static inline struct tar_source source_of_file(const char *path)
{
	struct tar_source s = { .fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0), .step = 100000 };

	assert_true(s.fd >= 0);
	s.block = malloc(s.step);
	return s;
}

static inline void source_fini(struct tar_source *s)
{
	free(s->block);
	lcm_closep(&s->fd);
}

/* A REAL directory with one layer "l" and a tmp directory beside it. */
struct layer_fixture {
	char *dir;      /* owned */
	char path[256]; /* of the layer */
	int real, tmp;
	struct lcm_layer_dir *d;
};

static inline void layer_setup(struct layer_fixture *f)
{
	*f = (struct layer_fixture){ .dir = test_mkdir() };
	(void)snprintf(f->path, sizeof(f->path), "%s/tmp", f->dir);
	assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, f->path, 0700), 0);
	f->tmp = lcm_sys_openat(AT_FDCWD, f->path, O_RDONLY | O_DIRECTORY, 0);
	(void)snprintf(f->path, sizeof(f->path), "%s/l", f->dir);
	assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, f->path, 0700), 0);
	f->real = lcm_sys_openat(AT_FDCWD, f->dir, O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(lcm_layer_dir_open(f->real, "l", f->tmp, &f->d, NULL), 0);
}

static inline void layer_teardown(struct layer_fixture *f)
{
	lcm_layer_dir_close(f->d);
	lcm_closep(&f->real);
	lcm_closep(&f->tmp);
	test_rmdir(f->dir);
}

static inline int unpack_source(struct layer_fixture *f, struct tar_source *src,
				const struct lcm_toc *toc, const struct lcm_unpack_ops *ops,
				struct lcm_unpack_result *ret, struct lcm_err *err)
{
	struct lcm_stream *s = NULL;
	int r = lcm_stream_new(LCM_COMP_NONE, tar_source_read, src, 0, &s);

	if (r == 0)
		r = lcm_unpack_stream(f->d, s, toc, ops, ret, err);
	lcm_stream_free(s);
	source_fini(src);
	return r;
}

static inline int unpack_bytes(struct layer_fixture *f, const struct lcm_buf *b,
			       const struct lcm_toc *toc, struct lcm_err *err)
{
	struct tar_source src = source_of_bytes(b, 700);
	struct lcm_unpack_result res;

	return unpack_source(f, &src, toc, NULL, &res, err);
}

/* ---- TOCs ---- */

static inline void item_digest(struct lcm_tar *t, uint64_t size, struct lcm_digest *ret)
{
	static const char zeros[4096];
	struct lcm_hash *h = lcm_hash_new();
	struct lcm_tar_piece d;
	uint64_t at = 0;
	int r;

	while ((r = lcm_tar_data(t, &d, NULL)) > 0) {
		for (; at < d.off; at += LCM_MIN(d.off - at, sizeof(zeros)))
			lcm_hash_update(h, zeros, LCM_MIN(d.off - at, sizeof(zeros)));
		lcm_hash_update(h, d.p, d.len);
		at += d.len;
	}
	assert_int_equal(r, 0);
	for (; at < size; at += LCM_MIN(size - at, sizeof(zeros)))
		lcm_hash_update(h, zeros, LCM_MIN(size - at, sizeof(zeros)));
	lcm_hash_final(h, ret);
	lcm_hash_free(h);
}

/* The TOC of a tar, as an indexer would make it. */
static inline struct lcm_toc *toc_of_source(struct layer_fixture *f, struct tar_source *src)
{
	struct lcm_toc_builder *b = NULL;
	struct lcm_stream *s = NULL;
	struct lcm_tar *t = NULL;
	struct lcm_tar_entry e;
	struct lcm_toc_id id = { 0 };
	struct lcm_toc *toc = NULL;
	struct lcm_err err = { 0 };
	int r;

	assert_int_equal(lcm_stream_new(LCM_COMP_NONE, tar_source_read, src, 0, &s), 0);
	assert_int_equal(lcm_tar_open(s, &t), 0);
	assert_int_equal(lcm_toc_builder_new(&b), 0);
	while ((r = lcm_tar_next(t, &e, &err)) > 0) {
		struct lcm_toc_item i = {
			.path = e.path,
			.path_len = e.path_len,
			.type = e.type,
			.mode = e.mode,
			.uid = e.uid,
			.gid = e.gid,
			.mtime = e.mtime,
			.mtime_nsec = e.mtime_nsec,
			.size = e.size,
			.link = e.link,
			.link_len = e.link_len,
			.rdev_major = e.rdev_major,
			.rdev_minor = e.rdev_minor,
			.xattrs = e.xattrs,
			.n_xattrs = e.n_xattrs,
		};

		if (e.type == LCM_TOC_REG)
			item_digest(t, e.size, &i.digest);
		if (lcm_toc_builder_add(b, &i, &err) != 0)
			fail_msg("%s", err.msg);
	}
	if (r < 0)
		fail_msg("%s", err.msg);
	if (lcm_toc_builder_finish(b, &id, f->real, "toc", false, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(lcm_toc_open(f->real, "toc", &toc, &err), 0);
	lcm_toc_builder_free(b);
	lcm_tar_close(t);
	lcm_stream_free(s);
	source_fini(src);
	return toc;
}

static inline struct lcm_toc *toc_of_bytes(struct layer_fixture *f, const struct lcm_buf *b)
{
	struct tar_source src = source_of_bytes(b, 4096);

	return toc_of_source(f, &src);
}

#endif
