/* SPDX-License-Identifier: Apache-2.0 */
/* Is every kind of damage found, and nothing else; are seals that were tampered with refused? */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "overlay/seal_impl.h"
#include "src/base/sys.h"
#include "tests/unit/test.h"

#define BIG ((uint64_t)3 << 20)
#define HUGE ((uint64_t)1 << 40)

struct found {
	unsigned int n;
	char path[300], what[100]; /* of the last */
	long left;                 /* of checkpoints; 0: cancel */
};

static void on_damage(void *arg, const char *path, const char *what)
{
	struct found *f = arg;

	f->n++;
	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	(void)snprintf(f->what, sizeof(f->what), "%s", what);
}

static int on_checkpoint(void *arg)
{
	struct found *f = arg;

	return f->left-- > 0 ? 0 : -ECANCELED;
}

struct tree {
	char *root; /* owned */
	int dir, seal;
};

static void file_put(int dir, const char *name, const char *data, uint64_t off)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, strlen(data), (off_t)off), strlen(data));
	(void)close(fd);
}

static void size_put(int dir, const char *name, uint64_t size)
{
	int fd = openat(dir, name, O_WRONLY);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	(void)close(fd);
}

static void xattr_at(int d, const char *path, const char *name, const char *value)
{
	char proc[64];

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", d, path);
	assert_int_equal(
	    value ? setxattr(proc, name, value, strlen(value), 0) : removexattr(proc, name), 0);
}

/* With the same time as before: what a disk does. */
static void rot(int dir, const char *name, uint64_t off)
{
	struct stat st;
	int fd = openat(dir, name, O_RDWR);
	uint8_t b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
	b ^= 1;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)off), 1);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(futimens(fd, (const struct timespec[]){ st.st_mtim, st.st_mtim }), 0);
	(void)close(fd);
}

static void times_put(int dir, const char *name)
{
	const struct timespec t[] = { { 7, 8 }, { 7, 8 } };

	assert_int_equal(utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void tree_make(struct tree *t)
{
	static const char *const names[] = { "a",    "d/b",    "d/e/f/deep", "d/e/f", "d/e",
					     "d",    "gone/x", "gone",       "link",  "fifo",
					     "null", "big",    "huge",       "wh" };

	t->root = test_mkdir();
	t->dir = open(t->root, O_RDONLY | O_DIRECTORY);
	t->seal = memfd_create("seal", 0);
	assert_true(t->dir >= 0 && t->seal >= 0);
	assert_int_equal(mkdirat(t->dir, "d", 0755) | mkdirat(t->dir, "d/e", 0711) |
			     mkdirat(t->dir, "d/e/f", 0755) | mkdirat(t->dir, "gone", 0755),
			 0);
	file_put(t->dir, "a", "content", 0);
	file_put(t->dir, "d/b", "", 0);
	file_put(t->dir, "d/e/f/deep", "deep", 0);
	file_put(t->dir, "gone/x", "x", 0);
	file_put(t->dir, "big", "begin", 0);
	file_put(t->dir, "big", "end", BIG - 3);
	file_put(t->dir, "huge", "middle", HUGE / 2);
	size_put(t->dir, "huge", HUGE);
	assert_int_equal(symlinkat("to", t->dir, "link") | mkfifoat(t->dir, "fifo", 0600) |
			     mknodat(t->dir, "null", S_IFCHR | 0666, makedev(1, 3)) |
			     mknodat(t->dir, "wh", S_IFCHR, 0),
			 0);
	xattr_at(t->dir, "a", "user.x", "1");
	xattr_at(t->dir, "d", "trusted.overlay.opaque", "y");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++)
		times_put(t->dir, names[i]);
	times_put(t->dir, ".");
}

static int seal(struct tree *t, struct lcm_seal_result *res)
{
	return lcm_seal_write(t->dir, t->seal, NULL, res, NULL);
}

static int check(const struct tree *t, struct found *f, struct lcm_seal_result *res)
{
	const struct lcm_seal_ops ops = { .damage = on_damage, .arg = f };

	*f = (struct found){ .n = 0 };
	return lcm_seal_check(t->dir, t->seal, &ops, res, NULL);
}

static void tree_end(struct tree *t)
{
	(void)close(t->dir);
	(void)close(t->seal);
	test_rmdir(t->root);
}

/* ---- damage ---- */

static void none(int d)
{
	(void)d;
}

static void content(int d)
{
	rot(d, "a", 3);
}

static void content_of_last_block(int d)
{
	rot(d, "big", BIG - 1);
}

static void content_in_a_hole(int d)
{
	rot(d, "huge", HUGE - 5);
}

/* A hole and a block of zeros are the same to who reads them. */
static void zeros_for_a_hole(int d)
{
	int fd = openat(d, "big", O_WRONLY);

	assert_int_equal(fallocate(fd, 0, 1 << 20, 1 << 20), 0);
	(void)close(fd);
	times_put(d, "big");
}

static void size(int d)
{
	size_put(d, "a", 6);
	times_put(d, "a");
}

static void missing(int d)
{
	assert_int_equal(unlinkat(d, "d/e/f/deep", 0), 0);
	times_put(d, "d/e/f");
}

static void missing_dir(int d)
{
	assert_int_equal(unlinkat(d, "gone/x", 0) | unlinkat(d, "gone", AT_REMOVEDIR), 0);
	times_put(d, ".");
}

static void extra_first(int d)
{
	file_put(d, "0", "", 0);
	times_put(d, ".");
}

static void extra_last(int d)
{
	file_put(d, "d/e/zzz", "", 0);
	times_put(d, "d/e");
}

static void type(int d)
{
	assert_int_equal(unlinkat(d, "gone/x", 0) | unlinkat(d, "gone", AT_REMOVEDIR), 0);
	file_put(d, "gone", "", 0);
	times_put(d, "gone");
	times_put(d, ".");
}

static void mode(int d)
{
	assert_int_equal(fchmodat(d, "d/e", 0755, 0), 0);
}

static void owner(int d)
{
	assert_int_equal(fchownat(d, "fifo", 1, 0, 0), 0);
}

static void mtime(int d)
{
	const struct timespec t[] = { { 7, 8 }, { 7, 9 } };

	assert_int_equal(utimensat(d, "link", t, AT_SYMLINK_NOFOLLOW), 0);
}

static void root_mode(int d)
{
	assert_int_equal(fchmod(d, 0700 | S_ISVTX), 0);
}

static void target(int d)
{
	assert_int_equal(unlinkat(d, "link", 0) | symlinkat("elsewhere", d, "link"), 0);
	times_put(d, "link");
	times_put(d, ".");
}

static void device(int d)
{
	assert_int_equal(unlinkat(d, "null", 0) | mknodat(d, "null", S_IFCHR | 0666, makedev(1, 5)),
			 0);
	times_put(d, "null");
	times_put(d, ".");
}

static void xattr_value(int d)
{
	xattr_at(d, "a", "user.x", "2");
}

static void xattr_more(int d)
{
	xattr_at(d, "d/b", "user.y", "");
}

static void xattr_less(int d)
{
	xattr_at(d, "d", "trusted.overlay.opaque", NULL);
}

static void xattr_of_a_module(int d)
{
	xattr_at(d, "a", "security.ima", "label");
}

static const char attrs[] = "owner, time or xattrs differ";

static const struct row {
	void (*harm)(int dir);
	const char *path, *what; /* NULL: none is found */
} rows[] = {
	{ none, NULL, NULL },
	{ content, "a", "content differs" },
	{ content_of_last_block, "big", "content differs" },
	{ content_in_a_hole, "huge", "content differs" },
	{ zeros_for_a_hole, NULL, NULL },
	{ size, "a", "size differs" },
	{ missing, "d/e/f/deep", "missing" },
	{ missing_dir, "gone", "missing" },
	{ extra_first, "0", "not in the layer" },
	{ extra_last, "d/e/zzz", "not in the layer" },
	{ type, "gone", "type differs" },
	{ mode, "d/e", "mode differs" },
	{ owner, "fifo", attrs },
	{ mtime, "link", attrs },
	{ root_mode, "", "mode differs" },
	{ target, "link", "target differs" },
	{ device, "null", attrs },
	{ xattr_value, "a", attrs },
	{ xattr_more, "d/b", attrs },
	{ xattr_less, "d", attrs },
	{ xattr_of_a_module, NULL, NULL },
};

static void finds_each(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct lcm_seal_result sealed, res;
		struct found f;
		struct tree t;

		tree_make(&t);
		assert_int_equal(seal(&t, &sealed), 0);
		row->harm(t.dir);
		assert_int_equal(check(&t, &f, &res), 0);
		if (f.n != (row->path != NULL) || res.damaged != f.n)
			fail_msg("row %zu: %u found, the last %s: %s", i, f.n, f.path, f.what);
		if (row->path) {
			assert_string_equal(f.path, row->path);
			assert_string_equal(f.what, row->what);
		} else {
			assert_int_equal(res.entries, sealed.entries);
			assert_int_equal(sealed.entries, 15);
		}
		tree_end(&t);
	}
}

/* ---- the seal ---- */

static void tampered_is_refused(void **state)
{
	struct lcm_seal_result res;
	struct tree t, copy;
	struct found f;
	struct stat st;

	(void)state;
	tree_make(&t);
	assert_int_equal(seal(&t, &res), 0);
	assert_int_equal(fstat(t.seal, &st), 0);
	copy = t;
	copy.seal = memfd_create("copy", 0);
	for (off_t at = 0; at < st.st_size; at++) {
		uint8_t bytes[8192], old;

		assert_in_range(st.st_size, 0, sizeof(bytes));
		assert_int_equal(pread(t.seal, bytes, sizeof(bytes), 0), st.st_size);
		old = bytes[at];
		bytes[at] ^= (uint8_t)(1U << (at % 8));
		assert_int_equal(pwrite(copy.seal, bytes, (size_t)st.st_size, 0), st.st_size);
		assert_int_equal(check(&copy, &f, &res), -EUCLEAN);
		bytes[at] = old;
		assert_int_equal(pwrite(copy.seal, bytes, (size_t)st.st_size, 0), st.st_size);
		assert_int_equal(ftruncate(copy.seal, at), 0);
		assert_int_equal(check(&copy, &f, &res), -EUCLEAN);
		assert_int_equal(f.n, 0);
	}
	(void)close(copy.seal);
	tree_end(&t);
}

/* With a right checksum: whatever it says, nothing but an answer comes of it. */
static void forged_is_survived(void **state)
{
	uint64_t seed = 1;
	struct lcm_seal_result res;
	struct tree t;
	struct found f;
	struct stat st;
	uint8_t bytes[8192];
	unsigned int refused = 0;

	(void)state;
	tree_make(&t);
	assert_int_equal(seal(&t, &res), 0);
	assert_int_equal(fstat(t.seal, &st), 0);
	assert_int_equal(pread(t.seal, bytes, sizeof(bytes), 0), st.st_size);
	for (int i = 0; i < 3000; i++) {
		uint8_t bad[8192];
		struct seal_header h = { .magic = SEAL_MAGIC };
		size_t body;
		int r;

		seed = seed * 6364136223846793005U + 1442695040888963407U;
		body = (seed >> 60) ? (size_t)st.st_size - sizeof(h)
				    : (size_t)(seed >> 32) % ((size_t)st.st_size - sizeof(h));
		memcpy(bad, bytes, sizeof(bad));
		if (body)
			bad[sizeof(h) + (size_t)(seed >> 20) % body] = (uint8_t)(seed >> 50);
		h.len = body;
		h.checksum = seal_header_crc(seal_crc(0, bad + sizeof(h), body), &h);
		memcpy(bad, &h, sizeof(h));
		assert_int_equal(pwrite(t.seal, bad, sizeof(h) + body, 0), sizeof(h) + body);
		assert_int_equal(ftruncate(t.seal, (off_t)(sizeof(h) + body)), 0);
		r = check(&t, &f, &res);
		assert_true(r == 0 || r == -EUCLEAN);
		refused += r != 0;
	}
	assert_in_range(refused, 100, 2900);
	tree_end(&t);
}

static void stops(void **state)
{
	struct lcm_seal_result res;
	struct tree t;
	struct found f = { .left = 5 };
	const struct lcm_seal_ops ops = { .checkpoint = on_checkpoint, .arg = &f };

	(void)state;
	tree_make(&t);
	assert_int_equal(lcm_seal_write(t.dir, t.seal, &ops, &res, NULL), -ECANCELED);
	assert_int_equal(seal(&t, &res), 0);
	f.left = 5;
	assert_int_equal(lcm_seal_check(t.dir, t.seal, &ops, &res, NULL), -ECANCELED);
	assert_int_equal(res.damaged, 0);
	tree_end(&t);
}

/* The deepest path that a layer may have. */
static void deep(void **state)
{
	struct lcm_seal_result sealed, res;
	struct tree t;
	struct found f;
	int fd;

	(void)state;
	tree_make(&t);
	fd = dup(t.dir);
	for (int i = 0; i < 1990; i++) {
		int next;

		assert_int_equal(mkdirat(fd, "x", 0755), 0);
		next = openat(fd, "x", O_PATH);
		assert_true(next >= 0);
		(void)close(fd);
		fd = next;
	}
	assert_int_equal(seal(&t, &sealed), 0);
	assert_int_equal(check(&t, &f, &res), 0);
	assert_int_equal(f.n, 0);
	assert_int_equal(res.entries, 15 + 1990);
	assert_int_equal(mkdirat(fd, "y", 0755), 0);
	(void)close(fd);
	assert_int_equal(check(&t, &f, &res), 0);
	assert_int_equal(f.n, 2); /* the name, and the time of the directory */
	tree_end(&t);
}

#ifdef LCM_FAULTS
/* A disk that fails at any call: it is said, or it is damage, and never that all is well. */
static void faults(void **state)
{
	struct lcm_seal_result res;
	struct tree t;
	struct found f;
	long calls;

	(void)state;
	tree_make(&t);
	lcm_fault_arm(1L << 40, EIO);
	assert_int_equal(seal(&t, &res), 0);
	calls = lcm_fault_count();
	lcm_fault_disarm();
	for (long n = 1; n <= calls; n++) {
		lcm_fault_arm(n, EIO);
		assert_int_not_equal(seal(&t, &res), 0);
		lcm_fault_disarm();
	}
	assert_int_equal(seal(&t, &res), 0);
	lcm_fault_arm(1L << 40, EIO);
	assert_int_equal(check(&t, &f, &res), 0);
	calls = lcm_fault_count();
	lcm_fault_disarm();
	for (long n = 1; n <= calls; n++) {
		int r;

		lcm_fault_arm(n, EIO);
		r = check(&t, &f, &res);
		lcm_fault_disarm();
		assert_true(r < 0 || f.n == 1);
		lcm_fault_arm(n, ENOMEM);
		assert_int_equal(check(&t, &f, &res), -ENOMEM);
		lcm_fault_disarm();
		assert_int_equal(f.n, 0);
	}
	assert_in_range(calls, 50, 1000);
	tree_end(&t);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_each),
		cmocka_unit_test(tampered_is_refused),
		cmocka_unit_test(forged_is_survived),
		cmocka_unit_test(stops),
		cmocka_unit_test(deep),
#ifdef LCM_FAULTS
		cmocka_unit_test(faults),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
