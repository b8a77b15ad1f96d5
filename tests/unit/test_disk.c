/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"
#include "unit/disk.h"

#define ANN "aaaaaaaa-0000-4000-8000-000000000001"
#define BOB "bbbbbbbb-0000-4000-8000-000000000002"
#define UNIT_A "11111111-0000-4000-8000-000000000001"
#define UNIT_B "22222222-0000-4000-8000-000000000002"
#define MIB (1ULL << 20)

static struct lcm_disk_map *map;

static const struct lcm_disk_object objects[] = {
	{ UNIT_A, ANN, "disk", 64 * MIB, LCM_DISK_FOR_GUEST | LCM_DISK_WRITABLE, 10 },
	{ UNIT_A, ANN, "nvram", 4096, LCM_DISK_WRITABLE, 11 },
	{ UNIT_A, ANN, "image", MIB, LCM_DISK_FOR_GUEST, 12 },
	{ UNIT_B, BOB, "disk", UINT64_MAX, LCM_DISK_FOR_GUEST | LCM_DISK_WRITABLE, 20 },
};
static const struct lcm_disk_vdisk vdisks[] = {
	{ ANN, "disk", UNIT_A, "disk", 0, UINT64_MAX, true },
	{ ANN, "part", UNIT_A, "disk", MIB, 2 * MIB, true },
	{ ANN, "tail", UNIT_A, "disk", 63 * MIB, 2 * MIB, true },
	{ ANN, "past", UNIT_A, "disk", 65 * MIB, MIB, true },
	{ ANN, "nvram", UNIT_A, "nvram", 0, UINT64_MAX, true },
	{ ANN, "image", UNIT_A, "image", 0, UINT64_MAX, true },
	{ ANN, "calm", UNIT_A, "disk", 0, UINT64_MAX, false },
	{ ANN, "stolen", UNIT_B, "disk", 0, UINT64_MAX, true },
	{ ANN, "nowhere", UNIT_A, "floppy", 0, UINT64_MAX, true },
	{ BOB, "disk", UNIT_B, "disk", 0, UINT64_MAX, true },
	{ BOB, "high", UNIT_B, "disk", UINT64_MAX - 10, UINT64_MAX, true },
};

static int setup(void **state)
{
	(void)state;
	map = lcm_disk_map_new();
	assert_non_null(map);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(objects); i++)
		assert_int_equal(lcm_disk_map_object(map, &objects[i]), 0);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(vdisks); i++)
		assert_int_equal(lcm_disk_map_vdisk(map, &vdisks[i]), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lcm_disk_map_free(map);
	return 0;
}

/* r < 0: refused so; else the handle and the first byte of the object. */
static const struct {
	const char *owner, *disk;
	enum lcm_disk_side side;
	enum lcm_disk_op op;
	uint64_t off, len;
	int r;
	int handle;
	uint64_t at;
} rows[] = {
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 0, 512, 0, 10, 0 },
	{ ANN, "disk", LCM_DISK_HOST, LCM_DISK_READ, 0, 512, 0, 10, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_WRITE, 64 * MIB - 1, 1, 0, 10, 64 * MIB - 1 },
	{ ANN, "part", LCM_DISK_GUEST, LCM_DISK_READ, 100, 512, 0, 10, MIB + 100 },
	{ ANN, "part", LCM_DISK_GUEST, LCM_DISK_TRIM, 0, 2 * MIB, 0, 10, MIB },
	{ ANN, "tail", LCM_DISK_GUEST, LCM_DISK_ZERO, 0, MIB, 0, 10, 63 * MIB },
	{ ANN, "nvram", LCM_DISK_HOST, LCM_DISK_WRITE, 4000, 96, 0, 11, 4000 },
	{ ANN, "image", LCM_DISK_GUEST, LCM_DISK_READ, 1, 1, 0, 12, 1 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_OPEN, 0, 0, 0, 10, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_FLUSH, 0, 0, 0, 10, 0 },
	{ BOB, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 1, UINT64_MAX - 1, 0, 20, 1 },
	{ BOB, "high", LCM_DISK_GUEST, LCM_DISK_READ, 0, 10, 0, 20, UINT64_MAX - 10 },
	/* another's */
	{ BOB, "part", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	{ BOB, "part", LCM_DISK_HOST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	{ ANN, "stolen", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -EACCES, 0, 0 },
	{ ANN, "stolen", LCM_DISK_HOST, LCM_DISK_READ, 0, 1, -EACCES, 0, 0 },
	{ ANN, "stolen", LCM_DISK_GUEST, LCM_DISK_OPEN, 0, 0, -EACCES, 0, 0 },
	{ ANN, "stolen", LCM_DISK_GUEST, LCM_DISK_FLUSH, 0, 0, -EACCES, 0, 0 },
	{ "", "disk", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	{ UNIT_A, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	/* state, also beyond its end: its size is nobody's business */
	{ ANN, "nvram", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -EACCES, 0, 0 },
	{ ANN, "nvram", LCM_DISK_GUEST, LCM_DISK_WRITE, 0, 1, -EACCES, 0, 0 },
	{ ANN, "nvram", LCM_DISK_GUEST, LCM_DISK_MAP, 0, 1, -EACCES, 0, 0 },
	{ ANN, "nvram", LCM_DISK_GUEST, LCM_DISK_READ, 1ULL << 40, 1, -EACCES, 0, 0 },
	{ ANN, "nvram", LCM_DISK_SIDE_MAX, LCM_DISK_READ, 0, 1, -EACCES, 0, 0 },
	/* not there */
	{ ANN, "", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	{ ANN, "../disk", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	{ ANN, "nowhere", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -ENOENT, 0, 0 },
	/* beyond the end of the disk, of the object, of 64 bits */
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 64 * MIB, 1, -EINVAL, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_WRITE, 64 * MIB - 1, 2, -ENOSPC, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_ZERO, 0, 64 * MIB + 1, -ENOSPC, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_TRIM, 0, 64 * MIB + 1, -EINVAL, 0, 0 },
	{ ANN, "part", LCM_DISK_GUEST, LCM_DISK_READ, 2 * MIB, 1, -EINVAL, 0, 0 },
	{ ANN, "part", LCM_DISK_GUEST, LCM_DISK_WRITE, 2 * MIB - 1, 2, -ENOSPC, 0, 0 },
	{ ANN, "tail", LCM_DISK_GUEST, LCM_DISK_READ, MIB, 1, -EINVAL, 0, 0 },
	{ ANN, "past", LCM_DISK_GUEST, LCM_DISK_READ, 0, 1, -EINVAL, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_READ, UINT64_MAX, 1, -EINVAL, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_WRITE, UINT64_MAX, 2, -ENOSPC, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 1, UINT64_MAX, -EINVAL, 0, 0 },
	{ ANN, "part", LCM_DISK_GUEST, LCM_DISK_READ, UINT64_MAX - MIB + 1, MIB, -EINVAL, 0, 0 },
	{ BOB, "high", LCM_DISK_GUEST, LCM_DISK_READ, 5, 6, -EINVAL, 0, 0 },
	{ BOB, "high", LCM_DISK_GUEST, LCM_DISK_READ, 11, 1, -EINVAL, 0, 0 },
	{ BOB, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 1, UINT64_MAX, -EINVAL, 0, 0 },
	/* read-only: the object, the disk */
	{ ANN, "image", LCM_DISK_GUEST, LCM_DISK_WRITE, 0, 1, -EROFS, 0, 0 },
	{ ANN, "image", LCM_DISK_GUEST, LCM_DISK_TRIM, 0, 1, -EROFS, 0, 0 },
	{ ANN, "calm", LCM_DISK_GUEST, LCM_DISK_ZERO, 0, 1, -EROFS, 0, 0 },
	{ ANN, "calm", LCM_DISK_HOST, LCM_DISK_WRITE, 0, 1, -EROFS, 0, 0 },
	/* nothing */
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_READ, 0, 0, -EINVAL, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_FLUSH, 0, 1, -EINVAL, 0, 0 },
	{ ANN, "disk", LCM_DISK_GUEST, LCM_DISK_OP_MAX, 0, 1, -EINVAL, 0, 0 },
};

static void test_translate(void **state)
{
	const struct lcm_disk_loc untouched = { NULL, 77, 78 };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_disk_who who = { rows[i].owner, rows[i].side };
		struct lcm_disk_loc l = untouched;
		int r = lcm_disk_translate(map, &who, rows[i].disk, rows[i].op, rows[i].off,
					   rows[i].len, &l);

		if (r != rows[i].r)
			print_error("row %zu: %d\n", i, r);
		assert_int_equal(r, rows[i].r);
		if (r < 0) {
			assert_memory_equal(&l, &untouched, sizeof(l));
			continue;
		}
		assert_int_equal(l.object->handle, rows[i].handle);
		assert_true(l.off == rows[i].at && l.len == rows[i].len);
	}
}

static void test_untranslate(void **state)
{
	static const struct {
		const char *disk;
		uint64_t off, len;
		int r;
		uint64_t at, n;
	} back[] = {
		{ "disk", 100, 200, 0, 100, 200 },
		{ "part", MIB + 100, 200, 0, 100, 200 },
		{ "part", 0, 64 * MIB, 0, 0, 2 * MIB },
		{ "part", MIB - 5, 6, 0, 0, 1 },
		{ "part", 3 * MIB - 1, UINT64_MAX, 0, 2 * MIB - 1, 1 },
		{ "tail", 63 * MIB, 64 * MIB, 0, 0, MIB },
		{ "part", MIB - 5, 5, -ERANGE, 0, 0 },
		{ "part", 3 * MIB, 1, -ERANGE, 0, 0 },
		{ "part", MIB, 0, -ERANGE, 0, 0 },
		{ "past", 65 * MIB, 1, -ERANGE, 0, 0 },
		{ "nvram", 0, 1, -EACCES, 0, 0 },
		{ "stolen", 0, 1, -EACCES, 0, 0 },
		{ "none", 0, 1, -ENOENT, 0, 0 },
	};
	struct lcm_disk_who who = { ANN, LCM_DISK_GUEST };
	struct lcm_disk_loc disk, image;

	(void)state;
	assert_int_equal(lcm_disk_translate(map, &who, "disk", LCM_DISK_OPEN, 0, 0, &disk), 0);
	assert_int_equal(lcm_disk_translate(map, &who, "image", LCM_DISK_OPEN, 0, 0, &image), 0);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(back); i++) {
		struct lcm_disk_loc l = { disk.object, back[i].off, back[i].len };
		uint64_t at = 7, n = 8;

		assert_int_equal(lcm_disk_untranslate(map, &who, back[i].disk, &l, &at, &n),
				 back[i].r);
		assert_true(at == (back[i].r ? 7 : back[i].at) && n == (back[i].r ? 8 : back[i].n));
	}
	image.len = 1;
	assert_int_equal(
	    lcm_disk_untranslate(map, &who, "disk", &image, &(uint64_t){ 0 }, &(uint64_t){ 0 }),
	    -ERANGE);
}

static void test_size(void **state)
{
	static const struct {
		const char *disk;
		uint64_t size;
		bool writable;
	} sizes[] = { { "disk", 64 * MIB, true }, { "part", 2 * MIB, true },
		      { "tail", MIB, true },      { "past", 0, true },
		      { "image", MIB, false },    { "calm", 64 * MIB, false } };
	struct lcm_disk_who who = { ANN, LCM_DISK_GUEST };
	uint64_t size = 7;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(sizes); i++) {
		bool writable;

		assert_int_equal(lcm_disk_size(map, &who, sizes[i].disk, &size, &writable), 0);
		assert_true(size == sizes[i].size && writable == sizes[i].writable);
	}
	size = 7;
	assert_int_equal(lcm_disk_size(map, &who, "nvram", &size, NULL), -EACCES);
	assert_int_equal(lcm_disk_size(map, &who, "none", &size, NULL), -ENOENT);
	assert_true(size == 7);
}

/* A unit has one owner, an object is there once; names have an end. */
static void test_rows(void **state)
{
	struct lcm_disk_object o = objects[0];
	struct lcm_disk_vdisk v = vdisks[0];

	(void)state;
	assert_int_equal(lcm_disk_map_object(map, &o), -EEXIST);
	(void)snprintf(o.name, sizeof(o.name), "other");
	(void)snprintf(o.owner, sizeof(o.owner), "%s", BOB);
	assert_int_equal(lcm_disk_map_object(map, &o), -EEXIST);
	o.flags = 1U << 31;
	assert_int_equal(lcm_disk_map_object(map, &o), -EINVAL);
	o = objects[0];
	memset(o.name, 'x', sizeof(o.name));
	assert_int_equal(lcm_disk_map_object(map, &o), -EINVAL);
	assert_int_equal(lcm_disk_map_vdisk(map, &v), -EEXIST);
	v.object[0] = '\0';
	assert_int_equal(lcm_disk_map_vdisk(map, &v), -EINVAL);
	v = vdisks[0];
	memset(v.name, 'x', sizeof(v.name));
	assert_int_equal(lcm_disk_map_vdisk(map, &v), -EINVAL);
}

static void test_full(void **state)
{
	struct lcm_disk_vdisk v = vdisks[0];
	int r = 0, n;

	(void)state;
	for (n = 0; r == 0; n++) {
		(void)snprintf(v.name, sizeof(v.name), "n%d", n);
		r = lcm_disk_map_vdisk(map, &v);
	}
	assert_int_equal(r, -E2BIG);
	assert_int_equal(n - 1 + (int)LCM_ARRAY_SIZE(vdisks), LCM_DISK_ROWS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_translate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_untranslate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
