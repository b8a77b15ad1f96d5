/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: what is refused never reaches the storage, what is allowed reaches it where it was
 * translated to. */
#include "tests/unit/test.h"
#include "unit/disk_io.h"

#define ANN "aaaaaaaa-0000-4000-8000-000000000001"
#define BOB "bbbbbbbb-0000-4000-8000-000000000002"
#define UNIT_A "11111111-0000-4000-8000-000000000001"
#define UNIT_B "22222222-0000-4000-8000-000000000002"
#define SIZE (8U << 20)
#define START 12288U /* of ANN's disk in its file */

/* ---- a storage that only counts ---- */

static unsigned int asked;
static struct lcm_disk_loc last;

static int count(const struct lcm_disk_loc *l)
{
	asked++;
	last = *l;
	return 0;
}

static int count_read(const struct lcm_disk_loc *l, void *p)
{
	(void)p;
	return count(l);
}

static int count_write(const struct lcm_disk_loc *l, const void *p, unsigned int flags)
{
	(void)p;
	(void)flags;
	return count(l);
}

static int count_range(const struct lcm_disk_loc *l, unsigned int flags)
{
	(void)flags;
	return count(l);
}

static int count_extent(const struct lcm_disk_loc *l, bool *ret_data, uint64_t *ret_end)
{
	*ret_data = true;
	*ret_end = UINT64_MAX;
	return count(l);
}

static const struct lcm_disk_io counting = {
	.read = count_read,
	.write = count_write,
	.sync = count,
	.trim = count_range,
	.zero = count_range,
	.extent = count_extent,
	.cache = count,
};

/* ---- maps ---- */

static struct lcm_disk_map *make_map(int fd)
{
	static const char *const kinds[] = { "disk", "nvram" };
	struct lcm_disk_map *m = lcm_disk_map_new();

	assert_non_null(m);
	for (size_t i = 0; i < 4; i++) {
		struct lcm_disk_object o = { .size = SIZE, .handle = fd };
		struct lcm_disk_vdisk v = { .start = START, .len = SIZE, .writable = true };
		const char *owner = i < 2 ? ANN : BOB, *unit = i < 2 ? UNIT_A : UNIT_B;

		o.flags = LCM_DISK_WRITABLE | (i % 2 ? 0 : LCM_DISK_FOR_GUEST);
		(void)snprintf(o.unit, sizeof(o.unit), "%s", unit);
		(void)snprintf(o.owner, sizeof(o.owner), "%s", owner);
		(void)snprintf(o.name, sizeof(o.name), "%s", kinds[i % 2]);
		assert_int_equal(lcm_disk_map_object(m, &o), 0);
		/* All are ANN's, as far as this table says. */
		(void)snprintf(v.owner, sizeof(v.owner), "%s", ANN);
		(void)snprintf(v.name, sizeof(v.name), "%s%zu", kinds[i % 2], i / 2);
		(void)snprintf(v.unit, sizeof(v.unit), "%s", unit);
		(void)snprintf(v.object, sizeof(v.object), "%s", kinds[i % 2]);
		assert_int_equal(lcm_disk_map_vdisk(m, &v), 0);
	}
	return m;
}

static int add_extent(void *arg, uint64_t off, uint64_t len, bool data)
{
	uint64_t(*e)[3] = arg;
	size_t i = 0;

	while (e[i][1])
		i++;
	assert_true(i < 7);
	e[i][0] = off;
	e[i][1] = len;
	e[i][2] = data;
	return 0;
}

/* Every kind of request at @off. */
static int request(const struct lcm_disk *d, int kind, uint64_t off, size_t len)
{
	static char buf[1024];
	uint64_t extents[8][3] = { { 0 } };

	switch (kind) {
	case 0:
		return lcm_disk_read(d, buf, len, off);
	case 1:
		return lcm_disk_write(d, buf, len, off, 0);
	case 2:
		return lcm_disk_trim(d, len, off, 0);
	case 3:
		return lcm_disk_zero(d, len, off, LCM_DISK_MAY_HOLE);
	case 4:
		return lcm_disk_cache(d, len, off);
	case 5:
		return lcm_disk_extents(d, len, off, 0, add_extent, extents);
	default:
		return lcm_disk_flush(d);
	}
}
#define KINDS 7

static void test_refused(void **state)
{
	static const struct {
		const char *owner, *disk;
		uint64_t off;
		int kinds; /* of the first how many */
	} rows[] = {
		{ ANN, "disk1", 0, KINDS },
		{ ANN, "nvram0", 0, KINDS },
		{ ANN, "nvram1", 0, KINDS },
		{ ANN, "disk2", 0, KINDS },
		{ BOB, "disk0", 0, KINDS },
		{ "", "disk0", 0, KINDS },
		{ ANN, "disk0", SIZE - START, KINDS - 1 },
		{ ANN, "disk0", SIZE - START - 511, KINDS - 1 },
		{ ANN, "disk0", 1ULL << 63, KINDS - 1 },
		{ ANN, "disk0", UINT64_MAX, KINDS - 1 },
		{ ANN, "disk0", UINT64_MAX - START, KINDS - 1 },
		{ ANN, "disk0", UINT64_MAX - START + 1, KINDS - 1 },
	};
	lcm_auto(lcm_disk_map) m = make_map(-1);

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		for (int k = 0; k < rows[i].kinds; k++) {
			struct lcm_disk d = {
				m, { rows[i].owner, LCM_DISK_GUEST }, rows[i].disk, &counting
			};

			asked = 0;
			assert_true(request(&d, k, rows[i].off, 512) < 0);
			assert_int_equal(asked, 0);
		}
}

static void test_allowed(void **state)
{
	lcm_auto(lcm_disk_map) m = make_map(5);
	struct lcm_disk d = { m, { ANN, LCM_DISK_GUEST }, "disk0", &counting };

	(void)state;
	for (int k = 0; k < KINDS; k++) {
		asked = 0;
		assert_int_equal(request(&d, k, 1000, 512), 0);
		assert_int_equal(asked, 1);
		assert_int_equal(last.object->handle, 5);
		assert_string_equal(last.object->unit, UNIT_A);
		if (k < KINDS - 1)
			assert_true(last.off == START + 1000 && last.len == 512);
	}
	/* The host side has state of its own unit, and no more. */
	d.who.side = LCM_DISK_HOST;
	d.name = "nvram0";
	assert_int_equal(request(&d, 0, 0, 512), 0);
	asked = 0;
	d.name = "nvram1";
	assert_int_equal(request(&d, 0, 0, 512), -EACCES);
	assert_int_equal(asked, 0);
}

/* ---- a file ---- */

static int make_file(char *dir)
{
	lcm_autofree char *path = NULL;
	int fd;

	assert_true(asprintf(&path, "%s/disk", dir) > 0);
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_ftruncate(fd, SIZE), 0);
	return fd;
}

static void test_file(void **state)
{
	char *dir = test_mkdir(), *got = malloc(65536), *put = malloc(65536),
	     *zero = calloc(1, 65536);
	lcm_autoclose int fd = make_file(dir);
	lcm_auto(lcm_disk_map) m = make_map(fd);
	struct lcm_disk d = { m, { ANN, LCM_DISK_GUEST }, "disk0", &lcm_disk_file_io };
	uint64_t e[8][3] = { { 0 } };

	(void)state;
	memset(put, 0x5a, 65536);
	assert_int_equal(lcm_disk_write(&d, put, 65536, 1 << 20, 0), 0);
	assert_int_equal(lcm_disk_write(&d, put, 4096, 4 << 20, LCM_DISK_DURABLE), 0);
	assert_int_equal(lcm_disk_flush(&d), 0);
	assert_int_equal(lcm_disk_read(&d, got, 65536, 1 << 20), 0);
	assert_memory_equal(got, put, 65536);
	assert_int_equal(lcm_sys_pread_full(fd, got, 65536, (1 << 20) + START), 0);
	assert_memory_equal(got, put, 65536);
	assert_int_equal(lcm_disk_cache(&d, 1 << 20, 0), 0);

	/* hole, data, hole, data, hole: in terms of the disk, and up to its end */
	assert_int_equal(lcm_disk_extents(&d, SIZE - START, 0, 0, add_extent, e), 0);
	assert_true(!e[0][2] && e[0][0] == 0 && e[0][1] == 1 << 20);
	assert_true(e[1][2] && e[1][0] == 1 << 20 && e[1][1] == 65536);
	assert_true(!e[2][2] && e[3][2] && e[3][0] == 4 << 20 && e[3][1] == 4096 && !e[4][2]);
	assert_true(e[4][0] + e[4][1] == SIZE - START && !e[5][1]);
	memset(e, 0, sizeof(e));
	assert_int_equal(lcm_disk_extents(&d, 2 << 20, (1 << 20) + 5, LCM_DISK_ONE, add_extent, e),
			 0);
	assert_true(e[0][2] && e[0][0] == (1 << 20) + 5 && e[0][1] == 65531 && !e[1][1]);

	assert_int_equal(lcm_disk_trim(&d, 4096, 1 << 20, LCM_DISK_DURABLE), 0);
	for (unsigned int flags = 0; flags < 4; flags++) {
		uint64_t at = (1 << 20) + 8192 + 4096 * flags;
		int r = lcm_disk_zero(&d, 4096, at, flags);

		assert_true(r == 0 || r == -EOPNOTSUPP); /* tmpfs has no FALLOC_FL_ZERO_RANGE */
		assert_int_equal(lcm_disk_read(&d, got, 8192, at), 0);
		assert_memory_equal(got, r == 0 ? zero : put, 4096);
		assert_memory_equal(got + 4096, put, 4096);
	}
	test_rmdir(dir);
	free(got);
	free(put);
	free(zero);
}

/* A file that became shorter than it was: an error, and not another's bytes. */
static void test_shrunk(void **state)
{
	char *dir = test_mkdir(), buf[512];
	lcm_autoclose int fd = make_file(dir);
	lcm_auto(lcm_disk_map) m = make_map(fd);
	struct lcm_disk d = { m, { ANN, LCM_DISK_GUEST }, "disk0", &lcm_disk_file_io };

	(void)state;
	assert_int_equal(lcm_sys_ftruncate(fd, START + 100), 0);
	assert_int_equal(lcm_disk_read(&d, buf, 512, 0), -EIO);
	test_rmdir(dir);
}

#ifdef LCM_FAULTS
/* Every request, every system call of it failing: the error comes through. */
static void test_faults(void **state)
{
	char *dir = test_mkdir();
	lcm_autoclose int fd = make_file(dir);
	lcm_auto(lcm_disk_map) m = make_map(fd);
	struct lcm_disk d = { m, { ANN, LCM_DISK_GUEST }, "disk0", &lcm_disk_file_io };

	(void)state;
	for (int k = 0; k < KINDS; k++) {
		long calls;

		lcm_fault_disarm();
		assert_int_equal(request(&d, k, 0, 512), 0);
		calls = lcm_fault_count();
		assert_true(calls > 0);
		for (long n = 1; n <= calls; n++) {
			lcm_fault_arm(n, EIO);
			assert_int_equal(request(&d, k, 0, 512), -EIO);
			lcm_fault_disarm();
		}
	}
	test_rmdir(dir);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused), cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_file),    cmocka_unit_test(test_shrunk),
#ifdef LCM_FAULTS
		cmocka_unit_test(test_faults),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
