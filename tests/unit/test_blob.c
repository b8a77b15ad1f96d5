/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "src/base/digest.h"
#include "store/blob.h"
#include "store/ranges.h"
#include "tests/unit/test.h"

/* splitmix64: the same numbers at every run. */
static uint64_t rnd(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

#define MODEL 300 /* bytes; small, so that ranges meet often */

static void model_check(const struct lcm_ranges *rs, const bool model[MODEL])
{
	uint64_t total = 0, off = 0, len;

	for (size_t i = 0; i < rs->n; i++) {
		assert_true(rs->v[i].off < rs->v[i].end && rs->v[i].end <= MODEL);
		assert_true(i == 0 || rs->v[i - 1].end < rs->v[i].off);
	}
	for (size_t i = 0; i < MODEL; i++)
		total += model[i];
	assert_int_equal(rs->total, total);
	while (off < MODEL) {
		bool in = lcm_ranges_next(rs, off, MODEL, &len);

		assert_true(len > 0 && off + len <= MODEL);
		for (uint64_t i = off; i < off + len; i++)
			assert_int_equal(model[i], in);
		assert_true(off + len == MODEL || model[off + len] != in);
		off += len;
	}
}

static bool model_has(const bool model[MODEL], uint64_t off, uint64_t len)
{
	for (uint64_t i = off; i < off + len; i++)
		if (i >= MODEL || !model[i])
			return false;
	return true;
}

static void ranges_follow_a_model(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int round = 0; round < 50; round++) {
		struct lcm_ranges rs = { 0 };
		bool model[MODEL] = { 0 };

		for (int i = 0; i < 200; i++) {
			uint64_t off = rnd(&seed) % MODEL,
				 len = rnd(&seed) % LCM_MIN(MODEL - off + 1, 40);
			bool add = rnd(&seed) % 3 != 0;

			if (add)
				assert_int_equal(lcm_ranges_add(&rs, off, len), 0);
			else
				lcm_ranges_remove(&rs, off, len);
			for (uint64_t k = off; k < off + len; k++)
				model[k] = add;
			model_check(&rs, model);
			off = rnd(&seed) % MODEL;
			len = rnd(&seed) % 50;
			assert_int_equal(lcm_ranges_has(&rs, off, len), model_has(model, off, len));
		}
		lcm_ranges_fini(&rs);
	}
}

static void ranges_edges(void **state)
{
	struct lcm_ranges rs = { 0 };
	uint64_t len = 0;

	(void)state;
	assert_int_equal(lcm_ranges_add(&rs, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(lcm_ranges_add(&rs, 5, 0), 0);
	assert_int_equal(rs.n, 0);
	assert_int_equal(lcm_ranges_add(&rs, UINT64_MAX - 1, 1), 0);
	assert_true(lcm_ranges_has(&rs, UINT64_MAX - 1, 1));
	assert_false(lcm_ranges_has(&rs, UINT64_MAX - 1, 2));
	assert_true(lcm_ranges_next(&rs, UINT64_MAX - 1, UINT64_MAX, &len));
	assert_int_equal(len, 1);
	lcm_ranges_remove(&rs, UINT64_MAX, UINT64_MAX);
	assert_int_equal(rs.n, 1);
	lcm_ranges_remove(&rs, 0, UINT64_MAX);
	assert_int_equal(rs.n, 0);
	assert_int_equal(rs.total, 0);
	lcm_ranges_fini(&rs);
}

static void map_encode(struct lcm_buf *map, uint64_t id, uint64_t size)
{
	struct lcm_ranges rs = { 0 };

	assert_int_equal(lcm_ranges_add(&rs, 10, 5), 0);
	assert_int_equal(lcm_ranges_add(&rs, 20, 80), 0);
	assert_int_equal(lcm_ranges_encode(&rs, id, size, map), 0);
	lcm_ranges_fini(&rs);
}

static void map_resum(struct lcm_buf *map)
{
	struct lcm_digest d;

	assert_int_equal(lcm_digest_of(map->data, map->len - 32, &d), 0);
	memcpy(map->data + map->len - 32, d.b, 32);
}

static void map_refuses_every_flip(void **state)
{
	lcm_autobuf struct lcm_buf map = LCM_BUF(4096);
	struct lcm_ranges rs = { .n = 7 };

	(void)state;
	map_encode(&map, 3, 100);
	for (size_t bit = 0; bit < map.len * 8; bit++) {
		map.data[bit / 8] ^= (char)(1 << bit % 8);
		assert_int_equal(lcm_ranges_decode(map.data, map.len, 3, 100, &rs), -EUCLEAN);
		map.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t len = 0; len < map.len; len++)
		assert_int_equal(lcm_ranges_decode(map.data, len, 3, 100, &rs), -EUCLEAN);
	assert_int_equal(lcm_ranges_decode(map.data, map.len, 4, 100, &rs), -EUCLEAN);
	assert_int_equal(lcm_ranges_decode(map.data, map.len, 3, 101, &rs), -EUCLEAN);
	assert_int_equal(rs.n, 7);
	assert_int_equal(lcm_ranges_decode(map.data, map.len, 3, 100, &rs), 0);
	assert_int_equal(rs.n, 2);
	assert_int_equal(rs.total, 85);
	lcm_ranges_fini(&rs);
}

static void map_refuses_bad_ranges(void **state)
{
	/* The two ranges as little-endian numbers, with a right checksum. */
	static const uint64_t rows[][4] = {
		{ 10, 0, 20, 80 },         /* empty */
		{ 10, 5, 15, 80 },         /* touching */
		{ 20, 80, 10, 5 },         /* out of order */
		{ 10, 5, 20, 81 },         /* past the end */
		{ 10, 5, 20, UINT64_MAX }, /* overflow */
		{ 10, 5, 12, 8 },          /* overlapping */
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_autobuf struct lcm_buf map = LCM_BUF(4096);
		struct lcm_ranges rs = { .n = 7 };

		map_encode(&map, 3, 100);
		for (size_t k = 0; k < 32; k++)
			map.data[40 + k] = (char)(rows[i][k / 8] >> (k % 8 * 8));
		map_resum(&map);
		assert_int_equal(lcm_ranges_decode(map.data, map.len, 3, 100, &rs), -EUCLEAN);
		assert_int_equal(rs.n, 7);
	}
}

static int dirfd_open(const char *dir)
{
	int fd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);

	assert_true(fd >= 0);
	return fd;
}

static void blob_survives_close(void **state)
{
	char *dir = test_mkdir(), got[8] = "";
	int fd = dirfd_open(dir);
	struct lcm_blob *b = NULL;
	uint64_t len = 0;

	(void)state;
	assert_int_equal(lcm_blob_open(fd, 5, 1ULL << 40, &b, NULL), 0);
	assert_int_equal(lcm_blob_read(b, 0, got, 1), -ENODATA);
	assert_int_equal(lcm_blob_write(b, 1000, "abcdef", 6), 0);
	assert_int_equal(lcm_blob_write(b, (1ULL << 40) - 3, "xyz", 3), 0);
	assert_int_equal(lcm_blob_write(b, (1ULL << 40) - 3, "xyza", 4), -EINVAL);
	assert_int_equal(lcm_blob_write(b, UINT64_MAX, "x", 1), -EINVAL);
	lcm_blob_forget(b, 1002, 1);
	assert_int_equal(lcm_blob_read(b, 1000, got, 3), -ENODATA);
	lcm_blob_close(b);

	assert_int_equal(lcm_blob_open(fd, 5, 1ULL << 40, &b, NULL), 0);
	assert_int_equal(lcm_blob_present(b), 8);
	assert_int_equal(lcm_blob_read(b, 1003, got, 3), 0);
	assert_memory_equal(got, "def", 3);
	assert_false(lcm_blob_has(b, 1000, 3));
	assert_false(lcm_blob_next(b, 0, &len));
	assert_int_equal(len, 1000);
	assert_true(lcm_blob_next(b, 1001, &len));
	assert_int_equal(len, 1);
	assert_int_equal(lcm_blob_sync(b), 0);
	lcm_blob_close(b);
	(void)close(fd);
	test_rmdir(dir);
}

/* What makes a map worthless: the blob is then empty, never wrong. */
static void blob_starts_empty(void **state)
{
	char *dir = test_mkdir();
	int fd = dirfd_open(dir);

	(void)state;
	for (int how = 0; how < 5; how++) {
		struct lcm_blob *b = NULL;
		uint64_t size = 4096;

		assert_int_equal(lcm_blob_open(fd, 1, size, &b, NULL), 0);
		assert_int_equal(lcm_blob_write(b, 0, "abc", 3), 0);
		lcm_blob_close(b);
		if (how == 0)
			assert_int_equal(lcm_write_file_at(fd, "1.map", "junk", 4, 0600), 0);
		else if (how == 1)
			assert_int_equal(lcm_sys_unlinkat(fd, "1.map", 0), 0);
		else if (how == 2)
			assert_int_equal(lcm_sys_unlinkat(fd, "1", 0), 0);
		else if (how == 3)
			assert_int_equal(lcm_write_file_at(fd, "1", "short", 5, 0600), 0);
		else
			size = 8192;
		assert_int_equal(lcm_blob_open(fd, 1, size, &b, NULL), 0);
		assert_int_equal(lcm_blob_present(b), 0);
		assert_false(lcm_blob_has(b, 0, 1));
		lcm_blob_close(b);
	}
	(void)close(fd);
	test_rmdir(dir);
}

static void blob_of_nothing(void **state)
{
	char *dir = test_mkdir();
	int fd = dirfd_open(dir);
	struct lcm_blob *b = NULL, *untouched = (struct lcm_blob *)dir;
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(lcm_blob_open(fd, 1, 0, &b, NULL), 0);
	assert_int_equal(lcm_blob_write(b, 0, "", 0), 0);
	assert_int_equal(lcm_blob_write(b, 0, "a", 1), -EINVAL);
	assert_true(lcm_blob_has(b, 0, 0));
	lcm_blob_close(b);
	lcm_blob_close(NULL);
	assert_int_equal(lcm_blob_open(fd, 0, 10, &untouched, &err), -EINVAL);
	assert_int_equal(lcm_blob_open(fd, 1, UINT64_MAX, &untouched, &err), -EINVAL);
	assert_int_equal(lcm_blob_open(-1, 1, 10, &untouched, &err), -EBADF);
	assert_non_null(strstr(err.msg, "blob file 1"));
	assert_ptr_equal(untouched, dir);
	(void)close(fd);
	test_rmdir(dir);
}

/* A blob whose layer is done has no name any more and must not leave a map. */
static void blob_unlinked_leaves_no_map(void **state)
{
	char *dir = test_mkdir();
	int fd = dirfd_open(dir);
	struct lcm_blob *b = NULL;

	(void)state;
	assert_int_equal(lcm_blob_open(fd, 1, 100, &b, NULL), 0);
	assert_int_equal(lcm_blob_write(b, 0, "abc", 3), 0);
	assert_int_equal(lcm_sys_unlinkat(fd, "1", 0), 0);
	lcm_blob_close(b);
	assert_int_equal(lcm_sys_openat(fd, "1.map", O_RDONLY, 0), -ENOENT);
	(void)close(fd);
	test_rmdir(dir);
}

#define THREADS 4
#define SLOT 16384 /* bytes of one thread's part */

struct writer {
	struct lcm_blob *blob;
	uint64_t base; /* offset of its part */
	uint64_t seed;
	bool model[SLOT];
};

static unsigned char byte_at(uint64_t off)
{
	return (unsigned char)(off * 31 + (off >> 8));
}

static void *writer_run(void *arg)
{
	struct writer *w = arg;
	unsigned char buf[512];

	for (int i = 0; i < 2000; i++) {
		uint64_t off = rnd(&w->seed) % SLOT,
			 len = rnd(&w->seed) % LCM_MIN((uint64_t)sizeof(buf), SLOT - off + 1);
		uint64_t at = w->base + off;
		bool all = true, forget = rnd(&w->seed) % 4 == 0;

		if (forget)
			lcm_blob_forget(w->blob, at, len);
		for (uint64_t k = 0; k < len; k++)
			buf[k] = byte_at(at + k);
		if (!forget && lcm_blob_write(w->blob, at, buf, len) < 0)
			return w;
		for (uint64_t k = off; k < off + len; k++)
			w->model[k] = !forget;
		if (i % 500 == 0 && lcm_blob_sync(w->blob) < 0)
			return w;
		off = rnd(&w->seed) % (SLOT - 64);
		for (uint64_t k = off; k < off + 64; k++)
			all = all && w->model[k];
		if (lcm_blob_read(w->blob, w->base + off, buf, 64) != (all ? 0 : -ENODATA))
			return w;
		for (uint64_t k = 0; all && k < 64; k++)
			if (buf[k] != byte_at(w->base + off + k))
				return w;
	}
	return NULL;
}

static void blob_threads(void **state)
{
	static struct writer w[THREADS];
	char *dir = test_mkdir();
	int fd = dirfd_open(dir);
	struct lcm_blob *b = NULL;
	uint64_t present = 0;
	pthread_t t[THREADS];

	(void)state;
	assert_int_equal(lcm_blob_open(fd, 1, THREADS * SLOT, &b, NULL), 0);
	for (size_t i = 0; i < THREADS; i++) {
		w[i] = (struct writer){ .blob = b, .base = i * SLOT, .seed = i };
		assert_int_equal(pthread_create(&t[i], NULL, writer_run, &w[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++) {
		void *failed = &failed;

		assert_int_equal(pthread_join(t[i], &failed), 0);
		assert_null(failed);
		for (size_t k = 0; k < SLOT; k++)
			present += w[i].model[k];
	}
	assert_int_equal(lcm_blob_present(b), present);
	lcm_blob_close(b);
	assert_int_equal(lcm_blob_open(fd, 1, THREADS * SLOT, &b, NULL), 0);
	for (size_t i = 0; i < THREADS * SLOT; i++)
		assert_int_equal(lcm_blob_has(b, i, 1), w[i / SLOT].model[i % SLOT]);
	lcm_blob_close(b);
	(void)close(fd);
	test_rmdir(dir);
}

#ifdef LCM_FAULTS
/* Each call fails once: no byte is ever claimed that was not written, and the next try works. */
static void blob_errors(void **state)
{
	static const int errors[] = { EIO, ENOSPC };

	(void)state;
	for (size_t e = 0; e < LCM_ARRAY_SIZE(errors); e++) {
		long n = 0, calls;

		do {
			char *dir = test_mkdir(), got[3];
			int fd = dirfd_open(dir), r;
			struct lcm_blob *b = NULL;

			lcm_fault_arm(++n, errors[e]);
			r = lcm_blob_open(fd, 1, 100, &b, NULL);
			if (r == 0) {
				r = lcm_blob_write(b, 10, "abc", 3);
				assert_int_equal(lcm_blob_has(b, 10, 3), r == 0);
				r = lcm_blob_sync(b);
				if (r < 0) {
					lcm_fault_disarm();
					assert_int_equal(lcm_blob_sync(b), 0);
				}
				lcm_blob_close(b);
			}
			calls = lcm_fault_count();
			lcm_fault_disarm();
			assert_int_equal(lcm_blob_open(fd, 1, 100, &b, NULL), 0);
			if (lcm_blob_has(b, 10, 3)) {
				assert_int_equal(lcm_blob_read(b, 10, got, 3), 0);
				assert_memory_equal(got, "abc", 3);
			}
			lcm_blob_close(b);
			(void)close(fd);
			test_rmdir(dir);
			if (r == 0 && calls < n)
				break;
		} while (n < 100);
		assert_in_range(n, 10, 99);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_follow_a_model),
		cmocka_unit_test(ranges_edges),
		cmocka_unit_test(map_refuses_every_flip),
		cmocka_unit_test(map_refuses_bad_ranges),
		cmocka_unit_test(blob_survives_close),
		cmocka_unit_test(blob_starts_empty),
		cmocka_unit_test(blob_of_nothing),
		cmocka_unit_test(blob_unlinked_leaves_no_map),
		cmocka_unit_test(blob_threads),
#ifdef LCM_FAULTS
		cmocka_unit_test(blob_errors),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
