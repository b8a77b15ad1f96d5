/* SPDX-License-Identifier: Apache-2.0 */
/* test_store.h - what the tests of the store share: fixtures, and what must hold of any state
 * directory. */
#ifndef LCM_TEST_STORE_H
#define LCM_TEST_STORE_H

#include <dirent.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "store/blob.h"
#include "store/store.h"
#include "tests/unit/test.h"

#define TEST_BLOB_SIZE 4096

struct test_layer_name {
	char s[40];
};

static inline struct test_layer_name test_name(int64_t id)
{
	struct test_layer_name n;

	(void)snprintf(n.s, sizeof(n.s), "%lld", (long long)id);
	return n;
}

static inline struct lcm_store *test_opened(const char *root)
{
	struct lcm_store *s = NULL;
	struct lcm_err err = { 0 };
	int r = lcm_store_open(root, &s, &err);

	if (r < 0)
		fail_msg("open: %d %s", r, err.msg);
	return s;
}

static inline void test_sql(const char *root, const char *text)
{
	char path[256];
	sqlite3 *db = NULL;

	(void)snprintf(path, sizeof(path), "%s/locum.db", root);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static inline struct lcm_layer_key test_key(uint8_t n)
{
	return (
	    struct lcm_layer_key){ .diffid.b = { n }, .blob.b = { n, 1 }, .source.b = { n, 2 } };
}

static inline bool test_exists(int dirfd, const char *path)
{
	struct stat st;

	return lcm_sys_fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline bool test_dir_empty(int at, const char *path)
{
	DIR *d = fdopendir(lcm_sys_openat(at, path, O_RDONLY | O_DIRECTORY, 0));
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	(void)closedir(d);
	return n == 0;
}

/* What a pull leaves: some of the blob, a TOC, an unpacked file. Return: 0 or the first failure. */
static inline int test_layer_write(struct lcm_store *s, int64_t id)
{
	struct test_layer_name name = test_name(id), file;
	struct lcm_blob *b = NULL;
	int r = lcm_blob_open(lcm_store_blobs_fd(s), id, TEST_BLOB_SIZE, &b, NULL);

	if (r == 0) {
		r = lcm_blob_write(b, 100, "blob", 4);
		if (r == 0)
			r = lcm_blob_sync(b);
		lcm_blob_close(b);
	}
	if (r == 0)
		r = lcm_write_file_at(lcm_store_toc_fd(s), name.s, "toc", 3, 0600);
	(void)snprintf(file.s, sizeof(file.s), "%lld/f", (long long)id);
	return r < 0 ? r : lcm_write_file_at(lcm_store_real_fd(s), file.s, "data", 4, 0644);
}

static inline void test_layer_fill(struct lcm_store *s, int64_t id)
{
	assert_int_equal(test_layer_write(s, id), 0);
}

static inline void test_content(int dirfd, const char *path, const char *want)
{
	lcm_autofree char *got = NULL;
	size_t len = 0;

	assert_int_equal(lcm_read_file_at(dirfd, path, 1U << 20, &got, &len), 0);
	assert_string_equal(got, want);
}

static inline int test_check_layer(void *arg, const struct lcm_layer_row *row)
{
	struct lcm_store *s = arg;
	struct test_layer_name name = test_name(row->id), file;
	struct lcm_blob *b = NULL;
	char got[4];

	(void)snprintf(file.s, sizeof(file.s), "%lld/f", (long long)row->id);
	assert_true(test_exists(lcm_store_real_fd(s), name.s));
	assert_int_equal(test_exists(lcm_store_toc_fd(s), name.s), row->has_toc);
	if (row->has_toc)
		test_content(lcm_store_toc_fd(s), name.s, "toc");
	if (test_exists(lcm_store_real_fd(s), file.s))
		test_content(lcm_store_real_fd(s), file.s, "data");
	if (row->state == LCM_LAYER_COMPLETE) {
		assert_true(test_exists(lcm_store_real_fd(s), file.s));
		assert_false(test_exists(lcm_store_blobs_fd(s), name.s));
		return 0;
	}
	if (!row->has_toc)
		assert_true(test_dir_empty(lcm_store_real_fd(s), name.s));
	assert_int_equal(lcm_blob_open(lcm_store_blobs_fd(s), row->id, TEST_BLOB_SIZE, &b, NULL),
			 0);
	assert_true(lcm_blob_present(b) == 0 || lcm_blob_present(b) == 4);
	if (lcm_blob_present(b)) {
		assert_int_equal(lcm_blob_read(b, 100, got, 4), 0);
		assert_memory_equal(got, "blob", 4);
	}
	lcm_blob_close(b);
	return 0;
}

static inline int test_check_mount(void *arg, const struct lcm_mount_row *row)
{
	struct lcm_layer_row layer;

	for (size_t i = 0; i < row->n_layers; i++)
		assert_int_equal(lcm_store_layer_get(arg, row->layers[i], &layer), 0);
	return 0;
}

/* Every name in @path is a number with a row (or "<number>.map"), or nothing is there. */
static inline void test_check_names(struct lcm_store *s, int at, const char *path, bool rows)
{
	DIR *d = fdopendir(lcm_sys_openat(at, path, O_RDONLY | O_DIRECTORY, 0));
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d))) {
		struct lcm_layer_row row;
		long long id = 0;

		if (e->d_name[0] == '.')
			continue;
		assert_true(rows);
		assert_int_equal(sscanf(e->d_name, "%lld", &id), 1);
		assert_int_equal(lcm_store_layer_get(s, id, &row), 0);
	}
	(void)closedir(d);
}

/* What must hold of a state directory whatever happened to it before. */
static inline void test_invariants(const char *root)
{
	struct lcm_store *s = NULL;
	struct lcm_err err = { 0 };
	int r = lcm_store_open(root, &s, &err), fd;

	if (r < 0)
		fail_msg("open: %d %s", r, err.msg);
	fd = lcm_store_root_fd(s);
	test_check_names(s, fd, "real", true);
	test_check_names(s, fd, "blobs", true);
	test_check_names(s, fd, "meta", false);
	test_check_names(s, fd, "tmp", false);
	assert_int_equal(lcm_store_layer_each(s, test_check_layer, s), 0);
	assert_int_equal(lcm_store_mount_each(s, test_check_mount, s), 0);
	assert_int_equal(lcm_store_sweep(s), 0);
	assert_true(test_dir_empty(fd, "tmp/.trash"));
	lcm_store_close(s);
}

/* An image's row; what is not given is empty. */
static inline int test_image_put(struct lcm_store *s, const char *ref, const struct lcm_digest *d,
				 const char *manifest, size_t manifest_len, const char *config,
				 size_t config_len, struct lcm_err *err)
{
	const struct lcm_image_row row = { .ref = (char *)(uintptr_t)ref,
					   .manifest = *d,
					   .manifest_json = (char *)(uintptr_t)manifest,
					   .manifest_len = manifest_len,
					   .config_json = (char *)(uintptr_t)config,
					   .config_len = config_len };

	return lcm_store_image_put(s, &row, err);
}

#endif
