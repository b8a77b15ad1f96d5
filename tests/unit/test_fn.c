/* SPDX-License-Identifier: Apache-2.0 */
/* Isolated functions: what they read is what a local tar reads, and whatever happens to one is
 * contained. */
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "decode/fn_remote.h"
#include "decode/unit.h"
#include "tests/unit/test.h"

#define PROGRAM "./locum-decode"

struct fixture {
	struct lcm_fn_pool *pool;
	struct lcm_fn *fn;
	struct lcm_fn_mem *m;
	struct lcm_tar *tar;
	struct lcm_toc_builder *index;
	struct lcm_err err;
	char *dir;
	/* what is fed */
	char *bytes;
	size_t len, step;
	uint64_t given;
	bool hold; /* nothing more for now */
	int wake;
};

static void pool_new(struct fixture *f, uint64_t hang_ns)
{
	const struct lcm_fn_config cfg = {
		.path = PROGRAM, .spare = 1, .max = 8, .first_uid = 1900000000, .hang_ns = hang_ns
	};

	if (lcm_fn_pool_new(&cfg, &f->pool, &f->err) < 0)
		fail_msg("%s", f->err.msg);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	pool_new(f, 0);
	f->wake = eventfd(0, EFD_CLOEXEC);
	f->dir = test_mkdir();
	*state = f;
	return 0;
}

static void stream_close(struct fixture *f)
{
	lcm_tar_close(f->tar);
	lcm_fn_put(f->pool, f->fn);
	lcm_fn_mem_free(f->m);
	f->tar = NULL;
	f->fn = NULL;
	f->m = NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	stream_close(f);
	lcm_fn_pool_free(f->pool);
	lcm_closep(&f->wake);
	free(f->bytes);
	test_rmdir(f->dir);
	free(f);
	return 0;
}

/* Gives at most one step at a time, as a network does. */
static int fill(void *arg, uint64_t done, uint64_t *ret_until)
{
	struct fixture *f = arg;
	uint64_t ring = lcm_fn_mem_ring(f->m), n;

	n = LCM_MIN(LCM_MIN((uint64_t)f->step, f->len - f->given), done + ring - f->given);
	for (uint64_t i = 0; i < n && !f->hold; i++, f->given++)
		lcm_fn_mem_in(f->m)[f->given % ring] = (uint8_t)f->bytes[f->given];
	*ret_until = f->given;
	if (f->given < f->len && !f->hold) {
		const uint64_t one = 1;

		assert_int_equal(lcm_sys_write_full(f->wake, &one, sizeof(one)), 0);
	}
	return 0;
}

static int stream_open(struct fixture *f, enum lcm_compression comp, bool copy)
{
	const struct lcm_fn_stream_opt opt = {
		.comp = comp,
		.blob_size = f->len,
		.copy = copy,
		.index = f->index,
		.fill = fill,
		.arg = f,
		.wake_fd = f->wake,
	};

	f->given = 0;
	assert_int_equal(lcm_fn_stream_mem(NULL, &f->m), 0);
	assert_int_equal(lcm_fn_take(f->pool, 7, &f->fn, &f->err), 0);
	return lcm_fn_stream(f->fn, f->m, &opt, &f->tar, &f->err);
}

static void run(const char *program, const char *const *args)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)execvp(program, (char *const *)(uintptr_t)args);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		fail_msg("%s failed", program);
}
#define RUN(...)                                                                                   \
	run((const char *const[]){ __VA_ARGS__, NULL }[0],                                         \
	    (const char *const[]){ __VA_ARGS__, NULL })

/* A tar of real files with a big one, compressed by @program. */
static void load(struct fixture *f, const char *program, const char *suffix)
{
	char tar[300], path[320], big[300];
	lcm_autofree char *zeros = calloc(1, 9 << 20);

	(void)snprintf(tar, sizeof(tar), "%s/t.tar", f->dir);
	(void)snprintf(big, sizeof(big), "%s/big", f->dir);
	(void)snprintf(path, sizeof(path), "%s%s", tar, suffix);
	for (size_t i = 0; i < 9 << 20; i += 97)
		zeros[i] = (char)(i >> 7);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, big, zeros, 9 << 20, 0644), 0);
	RUN("tar", "-C", "/", "--format=pax", "-cf", tar, "etc", big + 1);
	if (program)
		RUN(program, "-q", "-k", tar);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, SIZE_MAX / 4, &f->bytes, &f->len), 0);
	assert_int_equal(unlink(path), 0);
	if (program)
		assert_int_equal(unlink(tar), 0);
}

static ssize_t whole(void *arg, const void **ret)
{
	struct fixture *f = arg;
	size_t n = f->len - (size_t)f->given;

	*ret = f->bytes + f->given;
	f->given = f->len;
	return (ssize_t)n;
}

static void same_entry(const struct lcm_tar_entry *a, const struct lcm_tar_entry *b)
{
	assert_string_equal(a->path, b->path);
	assert_int_equal(a->name_off, b->name_off);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->mtime, b->mtime);
	assert_int_equal(a->mtime_nsec, b->mtime_nsec);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->tar_off, b->tar_off);
	assert_int_equal(a->prefix, b->prefix);
	assert_int_equal(a->link_len, b->link_len);
	assert_int_equal(a->n_xattrs, b->n_xattrs);
	if (a->link_len)
		assert_string_equal(a->link, b->link);
}

static void file_digest(struct lcm_tar *t, struct lcm_digest *ret)
{
	struct lcm_hash *h = lcm_hash_new();
	struct lcm_tar_piece d;
	int r;

	while ((r = lcm_tar_data(t, &d, NULL)) > 0)
		lcm_hash_update(h, d.p, d.len);
	assert_int_equal(r, 0);
	lcm_hash_final(h, ret);
	lcm_hash_free(h);
}

static void reads_as_a_local_tar(struct fixture *f, enum lcm_compression comp, bool copy)
{
	struct lcm_digest da, db, blob;
	struct lcm_stream *s = NULL;
	struct lcm_tar *local = NULL;
	struct lcm_tar_entry a, b;
	uint64_t len;
	int r, q;

	f->given = 0;
	assert_int_equal(lcm_stream_new(comp, whole, f, 0, &s), 0);
	assert_int_equal(lcm_tar_open(s, &local), 0);
	q = lcm_tar_next(local, &a, NULL);
	if (stream_open(f, comp, copy) < 0)
		fail_msg("%s", f->err.msg);
	while ((r = lcm_tar_next(f->tar, &b, &f->err)) > 0) {
		assert_int_equal(q, 1);
		same_entry(&a, &b);
		if (a.type == LCM_TOC_REG && a.size % 3) { /* the others are skipped */
			file_digest(local, &da);
			file_digest(f->tar, &db);
			assert_memory_equal(&da, &db, sizeof(da));
			assert_string_equal(a.path, b.path); /* still there */
		}
		q = lcm_tar_next(local, &a, NULL);
	}
	if (r < 0 || lcm_tar_finish(f->tar, &db, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(q, 0);
	assert_int_equal(lcm_tar_finish(local, &da, NULL), 0);
	assert_memory_equal(&da, &db, sizeof(da));
	lcm_fn_stream_blob_digest(f->tar, &blob, &len);
	assert_int_equal(len, f->len);
	assert_int_equal(lcm_digest_of(f->bytes, f->len, &da), 0);
	assert_memory_equal(&da, &blob, sizeof(da));
	lcm_tar_close(local);
	lcm_stream_free(s);
	stream_close(f);
}

static void streams(void **state)
{
	static const struct {
		enum lcm_compression comp;
		const char *program, *suffix;
	} rows[] = { { LCM_COMP_NONE, NULL, "" },
		     { LCM_COMP_GZIP, "gzip", ".gz" },
		     { LCM_COMP_ZSTD, "zstd", ".zst" } };
	static const size_t steps[] = { 4096, 100001, SIZE_MAX / 2 };
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		load(f, rows[i].program, rows[i].suffix);
		for (size_t k = 0; k < LCM_ARRAY_SIZE(steps); k++) {
			f->step = steps[k];
			reads_as_a_local_tar(f, rows[i].comp, k % 2);
		}
		free(f->bytes);
		f->bytes = NULL;
	}
}

/* ---- the index ---- */

/* One file through the index: its chunks, decoded from the blob, as lcm_unpack() would list them.
 */
static void index_add(struct lcm_toc_builder *b, const struct lcm_tar_entry *e,
		      const struct lcm_toc_item_chunk *c, size_t n)
{
	struct lcm_toc_item it = { .path = e->path,
				   .path_len = e->path_len,
				   .type = e->type,
				   .size = e->size,
				   .link = e->link,
				   .link_len = e->link_len,
				   .chunks = c,
				   .n_chunks = n };
	struct lcm_err err = { 0 };

	if (lcm_toc_builder_add(b, &it, &err) < 0)
		fail_msg("%s", err.msg);
}

static void decode_file(const struct fixture *f, const struct lcm_toc *toc, uint32_t entry,
			struct lcm_digest *ret)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, entry);
	lcm_autofree uint8_t *out = malloc(e->size + 1);
	uint64_t at = 0;

	for (uint32_t i = 0; i < e->n_chunks; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(toc, e->first_chunk + i);
		const struct lcm_toc_span *s = lcm_toc_span(toc, c->span);
		struct lcm_unit u = { .comp = (enum lcm_compression)lcm_toc_id(toc)->compression,
				      .start = (enum lcm_toc_start)s->start,
				      .bits = s->bits,
				      .window = lcm_toc_window(toc, s),
				      .in = f->bytes + c->blob_off,
				      .in_len = c->blob_len,
				      .skip = c->skip,
				      .len = c->file_len };
		struct lcm_digest is;

		assert_int_equal(lcm_unit_decode(&u, out + at), 0);
		at += c->file_len;
		assert_int_equal(lcm_digest_of(f->bytes + s->blob_off, s->blob_len, &is), 0);
		assert_memory_equal(&is, &s->digest, sizeof(is));
	}
	assert_int_equal(at, e->size);
	assert_int_equal(lcm_digest_of(out, e->size, ret), 0);
}

/* In one long zstd frame what lies far from its begin comes with the pull only. */
static bool is_far(const struct lcm_toc *toc, const char *path)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, lcm_toc_walk(toc, path, strlen(path)));

	return e->n_chunks == 0 && lcm_toc_id(toc)->compression == LCM_COMP_ZSTD;
}

struct seen {
	char path[300];
	struct lcm_digest digest;
};

static size_t read_and_index(struct fixture *f, struct lcm_toc_builder *b, struct seen *seen)
{
	struct lcm_tar_entry e;
	size_t n = 0;
	int r;

	while ((r = lcm_tar_next(f->tar, &e, &f->err)) > 0) {
		struct lcm_toc_item_chunk c = { .flags = LCM_TOC_CHUNK_TAR };
		struct lcm_hash *h = lcm_hash_new();
		struct lcm_tar_piece d;

		while (e.type == LCM_TOC_REG && (r = lcm_tar_data(f->tar, &d, &f->err)) > 0) {
			c.blob_off = c.file_len ? c.blob_off : d.tar_off;
			assert_int_equal(c.blob_off + c.file_len, d.tar_off);
			c.blob_len = c.file_len += d.len;
			lcm_hash_update(h, d.p, d.len);
		}
		index_add(b, &e, &c, c.file_len > 0);
		if (c.file_len && n < 2000) {
			(void)snprintf(seen[n].path, sizeof(seen[n].path), "%s", e.path);
			lcm_hash_final(h, &seen[n++].digest);
		}
		lcm_hash_free(h);
	}
	if (r < 0)
		fail_msg("%s", f->err.msg);
	return n;
}

static void indexes(struct fixture *f, enum lcm_compression comp)
{
	struct seen *seen = calloc(2000, sizeof(*seen));
	const struct lcm_toc_id id = { .blob_size = f->len, .compression = comp };
	struct lcm_toc *toc = NULL;
	struct lcm_digest is;
	char path[300];
	size_t n;

	assert_int_equal(lcm_toc_builder_new(&f->index), 0);
	assert_int_equal(stream_open(f, comp, false), 0);
	n = read_and_index(f, f->index, seen);
	assert_int_equal(lcm_tar_finish(f->tar, &is, &f->err), 0);
	assert_true(lcm_fn_stream_indexed(f->tar));
	(void)snprintf(path, sizeof(path), "%s/toc", f->dir);
	if (lcm_toc_builder_finish(f->index, &id, AT_FDCWD, path, false, &f->err) < 0 ||
	    lcm_toc_open(AT_FDCWD, path, &toc, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	assert_true(lcm_toc_span_count(toc) >= 4);
	for (size_t i = 0; i < n; i++) {
		if (is_far(toc, seen[i].path))
			continue;
		decode_file(f, toc, lcm_toc_walk(toc, seen[i].path, strlen(seen[i].path)), &is);
		assert_memory_equal(&is, &seen[i].digest, sizeof(is));
	}
	assert_true(n > 20);
	lcm_toc_close(toc);
	lcm_toc_builder_free(f->index);
	f->index = NULL;
	stream_close(f);
	free(seen);
}

static void indexes_lead_to_every_file(void **state)
{
	static const struct {
		enum lcm_compression comp;
		const char *program, *suffix;
	} rows[] = { { LCM_COMP_NONE, NULL, "" },
		     { LCM_COMP_GZIP, "gzip", ".gz" },
		     { LCM_COMP_ZSTD, "zstd", ".zst" } };
	static const size_t steps[] = { 30000, SIZE_MAX / 2 };
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		load(f, rows[i].program, rows[i].suffix);
		for (size_t k = 0; k < LCM_ARRAY_SIZE(steps); k++) {
			f->step = steps[k];
			indexes(f, rows[i].comp);
		}
		free(f->bytes);
		f->bytes = NULL;
	}
}

/* Reads all. Return: 0 or what stopped it. */
static int read_all(struct fixture *f)
{
	struct lcm_tar_entry e;
	struct lcm_digest d;
	struct lcm_tar_piece p;
	int r;

	while ((r = lcm_tar_next(f->tar, &e, &f->err)) > 0)
		while (e.type == LCM_TOC_REG && (r = lcm_tar_data(f->tar, &p, &f->err)) > 0)
			;
	return r < 0 ? r : lcm_tar_finish(f->tar, &d, &f->err);
}

/* Half of it is fed; then @sig. */
static void signalled(struct fixture *f, int sig, const char *says)
{
	struct lcm_fn_stats before, after;

	f->step = f->len;
	f->hold = true;
	lcm_fn_pool_stats(f->pool, &before);
	assert_int_equal(stream_open(f, LCM_COMP_GZIP, true), 0);
	assert_int_equal(kill(lcm_fn_pid(f->fn), sig), 0);
	f->hold = false;
	assert_int_equal(read_all(f), -ENOTRECOVERABLE);
	if (!strstr(f->err.msg, says))
		fail_msg("'%s' does not say '%s'", f->err.msg, says);
	stream_close(f);
	lcm_fn_pool_stats(f->pool, &after);
	assert_int_equal(after.failed, before.failed + 1);
	reads_as_a_local_tar(f, LCM_COMP_GZIP, true); /* the next one is good */
}

static void dead_and_hung_ones_are_replaced(void **state)
{
	struct fixture *f = *state;

	load(f, "gzip", ".gz");
	signalled(f, SIGSEGV, "its decoder "); /* a sanitizer makes an exit of it */
	signalled(f, SIGKILL, "signal 9");
	/* A busy machine must not make one hang that does not. */
	lcm_fn_pool_free(f->pool);
	pool_new(f, 3000000000);
	signalled(f, SIGSTOP, "hung");
}

static void damage_is_named(void **state)
{
	struct fixture *f = *state;

	load(f, "gzip", ".gz");
	f->step = f->len;
	/* In the trailer: what damage of the data becomes depends on what tar has made of the time.
	 */
	f->bytes[f->len - 5] ^= 0x55;
	assert_int_equal(stream_open(f, LCM_COMP_GZIP, true), 0);
	assert_int_equal(read_all(f), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "gzip"));
	stream_close(f);
	f->bytes[0] = 'x';
	assert_int_equal(stream_open(f, LCM_COMP_GZIP, true), 0);
	assert_int_equal(read_all(f), -EUCLEAN);
	assert_non_null(strstr(f->err.msg, "first bytes"));
}

/* ---- lies ---- */

static void lie_heads(struct fn_out *o)
{
	atomic_store(&o->rec_head, 1ULL << 40);
}

static void lie_unaligned(struct fn_out *o)
{
	atomic_store(&o->rec_head, 8);
}

static void lie_tail(struct fn_out *o)
{
	atomic_store(&o->in_tail, 1ULL << 40);
}

static void lie_plain(struct fn_out *o)
{
	atomic_store(&o->plain_head, UINT64_MAX);
}

static void lie_parsed(struct fn_out *o)
{
	atomic_store(&o->parsed, 1);
}

static struct fn_rec *record(struct fn_out *o, uint32_t kind, uint32_t len)
{
	struct fn_rec *r = (struct fn_rec *)((char *)o + FN_PAGE);

	*r = (struct fn_rec){ len, kind };
	atomic_store(&o->rec_head, (len + 15) & ~15U);
	return r;
}

static void lie_kind(struct fn_out *o)
{
	(void)record(o, 99, 16);
}

static void lie_length(struct fn_out *o)
{
	(void)record(o, FN_REC_ENTRY, 32);
	((struct fn_rec *)((char *)o + FN_PAGE))->len = 1 << 20;
}

static void lie_short(struct fn_out *o)
{
	(void)record(o, FN_REC_ENTRY, 16);
}

static void lie_data(struct fn_out *o)
{
	struct fn_data *d = (struct fn_data *)record(o, FN_REC_DATA, sizeof(*d));

	d->tar_off = 1ULL << 50;
	d->len = 5;
}

static void lie_path(struct fn_out *o, const char *path, uint32_t type)
{
	struct fn_entry *e = (struct fn_entry *)record(o, FN_REC_ENTRY, sizeof(*e) + 80);
	struct fn_rec r = e->rec;

	*e = (struct fn_entry){ .rec = r, .type = type, .path_len = (uint32_t)strlen(path) };
	memcpy(e + 1, path, strlen(path) + 1);
}

static void lie_up(struct fn_out *o)
{
	lie_path(o, "../../etc/passwd", LCM_TOC_REG);
}

static void lie_absolute(struct fn_out *o)
{
	lie_path(o, "/etc/passwd", LCM_TOC_REG);
}

static void lie_type(struct fn_out *o)
{
	lie_path(o, "a", LCM_TOC_WHITEOUT);
}

static void lie_link(struct fn_out *o)
{
	lie_path(o, "a", LCM_TOC_HARDLINK);
}

static void lie_xattrs(struct fn_out *o)
{
	lie_path(o, "a", LCM_TOC_REG);
	((struct fn_entry *)((char *)o + FN_PAGE))->n_xattrs = 1000000;
}

static void lie_boundary(struct fn_out *o)
{
	struct fn_boundary *b = (struct fn_boundary *)record(o, FN_REC_BOUNDARY,
							     sizeof(struct fn_boundary));

	b->blob_off = 1ULL << 50;
	b->start = LCM_TOC_START_MEMBER;
}

/* Once it waits for input it writes nothing any more. */
static void stand_still(struct fixture *f)
{
	siginfo_t i;

	while (!(atomic_load(&f->m->out->waits) & 1))
		(void)sched_yield();
	assert_int_equal(kill(lcm_fn_pid(f->fn), SIGSTOP), 0);
	assert_int_equal(waitid(P_PID, (id_t)lcm_fn_pid(f->fn), &i, WSTOPPED), 0);
}

/* A function that is not ours to change stands still while the test writes what it never would. */
static void lies_are_found(void **state)
{
	static void (*const lies[])(struct fn_out *) = {
		lie_heads,    lie_unaligned, lie_tail,  lie_plain,  lie_parsed,
		lie_kind,     lie_length,    lie_short, lie_data,   lie_up,
		lie_absolute, lie_type,      lie_link,  lie_xattrs, lie_boundary,
	};
	struct fixture *f = *state;

	load(f, "gzip", ".gz");
	f->step = f->len;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(lies); i++) {
		f->hold = true;
		assert_int_equal(stream_open(f, LCM_COMP_GZIP, true), 0);
		stand_still(f);
		lies[i](f->m->out);
		assert_int_equal(read_all(f), -ENOTRECOVERABLE);
		if (!strstr(f->err.msg, "malformed"))
			fail_msg("lie %zu: %s", i, f->err.msg);
		stream_close(f);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(streams),
		T(indexes_lead_to_every_file),
		T(dead_and_hung_ones_are_replaced),
		T(damage_is_named),
		T(lies_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
