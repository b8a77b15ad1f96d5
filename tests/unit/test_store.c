/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/unit/test_store.h"

static void layer_life(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key key = test_key(1), other = test_key(1);
	struct lcm_layer_row row, again = { .id = 77 };
	char user[65] = "";

	(void)state;
	other.source.b[0] = 9; /* the same diffID by another claim */
	assert_int_equal(lcm_store_layer_find(s, &key, &again), -ENOENT);
	assert_int_equal(lcm_store_layer_get(s, 1, &again), -ENOENT);
	assert_int_equal(again.id, 77);
	assert_int_equal(lcm_store_layer_add(s, &key, 1000, &row, NULL), 0);
	assert_true(row.id > 0 && row.state == LCM_LAYER_PARTIAL && !row.has_toc &&
		    row.blob_size == 1000 && row.last_used_ns > 0);
	assert_int_equal(lcm_store_layer_add(s, &key, 1000, &again, NULL), -EEXIST);
	assert_int_equal(lcm_store_layer_find(s, &other, &again), -ENOENT);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), -ENOENT); /* no file */
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
	assert_int_equal(lcm_store_layer_complete(s, row.id, 4), 0);
	assert_int_equal(lcm_store_layer_complete(s, row.id + 1, 4), -ENOENT);
	assert_false(test_exists(lcm_store_blobs_fd(s), "1"));
	assert_false(test_exists(lcm_store_blobs_fd(s), "1.map"));
	assert_true(test_exists(lcm_store_toc_fd(s), "1"));
	/* Proven now: found whatever the source, but not for another blob. */
	other.blob.b[9] ^= 1;
	assert_int_equal(lcm_store_layer_find(s, &other, &again), -ENOENT);
	other.blob.b[9] ^= 1;
	assert_int_equal(lcm_store_layer_find(s, &other, &again), 0);
	assert_int_equal(again.id, row.id);
	assert_int_equal(again.state, LCM_LAYER_COMPLETE);
	assert_true(again.has_toc);
	assert_int_equal(again.real_bytes, 4);
	assert_int_equal(lcm_store_layer_touch(s, row.id), 0);
	assert_int_equal(lcm_store_layer_touch(s, 99), -ENOENT);
	assert_int_equal(lcm_store_layer_user(s, row.id, user), 0);
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

static void layer_drop_and_kept_toc(void **state)
{
	static const char *const stacks[] = { "3-ab", "3-ab.dirs", "33-ab", "13-ab" };
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key key = test_key(1), other = test_key(1), claim = test_key(1);
	struct lcm_err err = { 0 };
	struct lcm_layer_row row;
	int64_t kept = 0;

	(void)state;
	other.blob.b[5] = 1;
	for (int proven = 0; proven < 2; proven++) {
		assert_int_equal(lcm_store_layer_add(s, &key, 10, &row, NULL), 0);
		test_layer_fill(s, row.id);
		assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
		if (proven)
			assert_int_equal(lcm_store_layer_complete(s, row.id, 4), 0);
		assert_int_equal(lcm_store_layer_drop(s, row.id, true, &err), 0);
		assert_int_equal(lcm_store_layer_drop(s, row.id, true, &err), -ENOENT);
		assert_int_equal(lcm_store_toc_find(s, &key, &kept), 0);
		assert_int_equal(kept, row.id);
		assert_int_equal(lcm_store_toc_find(s, &other, &kept), -ENOENT);
		claim.source.b[5] ^= 1;
		assert_int_equal(lcm_store_toc_find(s, &claim, &kept), proven ? 0 : -ENOENT);
		claim.source.b[5] ^= 1;
		lcm_store_close(s);
		test_invariants(root); /* the kept TOC is no garbage */
		s = test_opened(root);
		assert_true(test_exists(lcm_store_toc_fd(s), test_name(row.id).s));
		assert_false(test_exists(lcm_store_real_fd(s), test_name(row.id).s));
		assert_int_equal(lcm_store_toc_drop(s, row.id), 0);
		assert_int_equal(lcm_store_toc_drop(s, row.id), -ENOENT);
		assert_false(test_exists(lcm_store_toc_fd(s), test_name(row.id).s));
	}
	/* An id is never used twice. */
	assert_int_equal(lcm_store_layer_add(s, &key, 10, &row, NULL), 0);
	assert_int_equal(row.id, 3);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(stacks); i++)
		assert_int_equal(lcm_sys_mkdirat(lcm_store_meta_fd(s), stacks[i], 0700), 0);
	assert_int_equal(lcm_store_layer_drop(s, row.id, true, &err), 0); /* no TOC to keep */
	for (size_t i = 0; i < LCM_ARRAY_SIZE(stacks);
	     i++) /* only those that it was on top of go */
		assert_int_equal(test_exists(lcm_store_meta_fd(s), stacks[i]), i >= 2);
	assert_int_equal(lcm_store_toc_find(s, &key, &kept), -ENOENT);
	lcm_store_close(s);
	test_rmdir(root);
}

static int count_images(void *arg, const struct lcm_image_row *row)
{
	struct lcm_store *s = ((void **)arg)[0];
	int *n = ((void **)arg)[1];

	assert_non_null(row->ref);
	assert_int_equal(lcm_store_image_remove(s, row->ref),
			 0); /* changing the store meanwhile is fine */
	return ++*n == 2 ? 42 : 0;
}

static int count_unread(void *arg, const struct lcm_image_row *row)
{
	assert_true(!row->manifest_text[0] || !row->config_text[0]);
	++*(int *)arg;
	return 0;
}

static void images(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_digest d = { .b = { 7 } };
	struct lcm_image_row row = { 0 };
	struct lcm_layer_row layer;
	struct lcm_layer_key key = test_key(1);
	int n = 0, unread = 0;
	void *arg[] = { s, &n };
	int64_t *ids = NULL;
	size_t n_ids = 9;

	(void)state;
	assert_int_equal(lcm_store_image_get(s, "a", &row), -ENOENT);
	assert_int_equal(test_image_put(s, "", &d, "", 0, "", 0, NULL), -EINVAL);
	assert_int_equal(test_image_put(s, "a", &d, "{\0}", 3, "", 0, NULL), 0);
	assert_int_equal(test_image_put(s, "b", &d, "m", 1, "c", 1, NULL), 0);
	assert_int_equal(test_image_put(s, "c", &d, "m", 1, "c", 1, NULL), 0);
	assert_int_equal(lcm_store_image_get(s, "a", &row), 0);
	assert_int_equal(row.manifest_len, 3);
	assert_memory_equal(row.manifest_json, "{\0}", 3);
	assert_int_equal(row.config_len, 0);
	lcm_image_row_fini(&row);
	assert_int_equal(lcm_store_layer_add(s, &key, 10, &layer, NULL), 0);
	assert_int_equal(lcm_store_image_set_layers(s, "a", (int64_t[]){ layer.id, layer.id }, 2),
			 0);
	assert_int_equal(lcm_store_image_set_layers(s, "a", (int64_t[]){ layer.id, 99 }, 2),
			 -ENOENT);
	assert_int_equal(lcm_store_image_set_layers(s, "none", &layer.id, 1), -ENOENT);
	/* A new pull of the same reference keeps what is known of its layers until it is said anew.
	 */
	assert_int_equal(test_image_put(s, "a", &d, "new", 3, "", 0, NULL), 0);
	assert_int_equal(lcm_store_image_layers(s, "a", &ids, &n_ids), 0);
	assert_int_equal(n_ids, 2);
	assert_int_equal(ids[1], layer.id);
	free(ids);
	assert_int_equal(lcm_store_layer_drop(s, layer.id, false, NULL), 0);
	assert_int_equal(lcm_store_image_layers(s, "a", &ids, &n_ids), 0);
	assert_int_equal(n_ids, 0);
	assert_null(ids);
	assert_int_equal(lcm_store_image_touch(s, "a"), 0);
	assert_int_equal(lcm_store_image_touch(s, "none"), -ENOENT);
	assert_int_equal(lcm_store_image_unread_each(s, count_unread, &unread), 0);
	assert_int_equal(unread, 3);
	assert_int_equal(lcm_store_image_read(s, "b", "m", "c"), 0);
	assert_int_equal(lcm_store_image_unread_each(s, count_unread, &unread), 0);
	assert_int_equal(unread, 3 + 2);
	assert_int_equal(lcm_store_image_each(s, count_images, arg), 42);
	assert_int_equal(n, 2);
	assert_int_equal(lcm_store_image_remove(s, "a"), -ENOENT);
	assert_int_equal(lcm_store_image_each(s, count_images, arg), 0);
	lcm_store_close(s);
	test_rmdir(root);
}

static void mount_ids(void **state)
{
	static const struct {
		const char *id;
		int r;
	} rows[] = {
		{ "a", 0 },
		{ "A-b_c.9", 0 },
		{ "", -EINVAL },
		{ ".", -EINVAL },
		{ "..", -EINVAL },
		{ "-a", -EINVAL },
		{ "a/b", -EINVAL },
		{ "a b", -EINVAL },
		{ "\303\244", -EINVAL },
		{ "0123456789012345678901234567890123456789012345678901234567890123", 0 },
	};
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_mount_row m = { .image = (char *)"i", .target = (char *)"/t" };
	struct lcm_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		(void)snprintf(m.id, sizeof(m.id), "%s", rows[i].id);
		assert_int_equal(lcm_store_mount_put(s, &m, &err), rows[i].r);
	}
	memset(m.id, 'a', sizeof(m.id)); /* no end */
	assert_int_equal(lcm_store_mount_put(s, &m, &err), -EINVAL);
	(void)snprintf(m.id, sizeof(m.id), "a");
	m.target = (char *)"relative";
	assert_int_equal(lcm_store_mount_put(s, &m, &err), -EINVAL);
	lcm_store_close(s);
	test_rmdir(root);
}

static void mounts_hold_layers(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key key = test_key(1);
	struct lcm_layer_row layer;
	struct lcm_mount_row m = { .id = "web",
				   .image = (char *)"i",
				   .target = (char *)"/t",
				   .n_layers = 2 },
			     got = { 0 };
	struct lcm_err err = { 0 };
	char user[65];

	(void)state;
	assert_int_equal(lcm_store_layer_add(s, &key, 10, &layer, NULL), 0);
	m.layers = (int64_t[]){ layer.id, 99 };
	assert_int_equal(lcm_store_mount_put(s, &m, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "layers is gone"));
	assert_int_equal(lcm_store_mount_get(s, "web", &got), -ENOENT); /* undone as a whole */
	m.layers = (int64_t[]){ layer.id, layer.id }; /* an image may have one layer twice */
	assert_int_equal(lcm_store_mount_put(s, &m, &err), 0);
	m.keep_upper = true;
	assert_int_equal(lcm_store_mount_put(s, &m, &err), 0);
	assert_int_equal(lcm_store_layer_user(s, layer.id, user), 1);
	assert_string_equal(user, "web");
	assert_int_equal(lcm_store_layer_drop(s, layer.id, false, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "web"));
	assert_int_equal(lcm_store_mount_get(s, "web", &got), 0);
	assert_int_equal(got.n_layers, 2);
	assert_true(got.keep_upper && !got.read_only);
	assert_string_equal(got.target, "/t");
	lcm_mount_row_fini(&got);
	assert_int_equal(lcm_store_mount_remove(s, "web"), 0);
	assert_int_equal(lcm_store_mount_remove(s, "web"), -ENOENT);
	assert_int_equal(lcm_store_layer_drop(s, layer.id, false, &err), 0);
	lcm_store_close(s);
	test_rmdir(root);
}

static void container_dirs(void **state)
{
	static const struct {
		const char *id;
		bool row, keep,
		    written; /* has it a row, is that row's upper kept, is something in it */
		bool after_remove, after_open;
	} rows[] = {
		{ "a", true, false, true, false, false },  { "b", true, true, true, true, true },
		{ "c", true, true, false, true, false },   { "d", false, false, true, true, true },
		{ "e", false, false, false, true, false },
	};
	char *root = test_mkdir(), path[64];
	struct lcm_store *s = test_opened(root);
	int fd = lcm_store_containers_fd(s);

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_mount_row m = { .image = (char *)"i",
					   .target = (char *)"/t",
					   .keep_upper = rows[i].keep };

		(void)snprintf(m.id, sizeof(m.id), "%s", rows[i].id);
		assert_int_equal(lcm_sys_mkdirat(fd, rows[i].id, 0700), 0);
		(void)snprintf(path, sizeof(path), "%s/upper", rows[i].id);
		assert_int_equal(lcm_sys_mkdirat(fd, path, 0755), 0);
		(void)snprintf(path, sizeof(path), "%s/upper/f", rows[i].id);
		if (rows[i].written)
			assert_int_equal(lcm_write_file_at(fd, path, "x", 1, 0600), 0);
		if (rows[i].row) {
			assert_int_equal(lcm_store_mount_put(s, &m, NULL), 0);
			assert_int_equal(lcm_store_mount_remove(s, rows[i].id), 0);
		}
		assert_int_equal(test_exists(fd, rows[i].id), rows[i].after_remove);
	}
	lcm_store_close(s);
	s = test_opened(root);
	fd = lcm_store_containers_fd(s);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		assert_int_equal(test_exists(fd, rows[i].id), rows[i].after_open);
	lcm_store_close(s);
	test_rmdir(root);
}

static void garbage_goes(void **state)
{
	static const char *const names[] = {
		"real/99",      "real/01",  "real/x",          "real/18446744073709551617",
		"real/-1",      "blobs/99", "blobs/99.map",    "blobs/1.map.5.0.tmp",
		"blobs/1.mapx", "toc/99",   "toc/2",           "meta/abc",
		"tmp/x",        "tmp/.y",   "containers/none",
	};
	char *root = test_mkdir(), path[512];
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key one = test_key(1), two = test_key(2);
	struct lcm_layer_row row;
	int fd;

	(void)state;
	assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
	assert_int_equal(lcm_store_layer_add(s, &two, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id); /* toc/2 exists, but nobody said so: real/2 is not verified */
	lcm_store_close(s);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", root, names[i]);
		if (i != 10)
			assert_int_equal(lcm_write_file_at(AT_FDCWD, path, "x", 1, 0600), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/tmp/deep/d/d/d", root);
	assert_int_equal(lcm_mkdir_p(path, 0700), 0);
	s = test_opened(root);
	fd = lcm_store_root_fd(s);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++)
		assert_false(test_exists(fd, names[i]));
	assert_true(test_exists(fd, "real/1/f"));
	assert_true(test_exists(fd, "toc/1"));
	assert_true(test_exists(fd, "blobs/1"));
	assert_true(test_exists(fd, "blobs/1.map"));
	assert_true(test_exists(fd, "real/2"));
	assert_false(test_exists(fd, "real/2/f"));
	assert_true(test_exists(fd, "blobs/2.map"));
	assert_false(test_exists(fd, "tmp/deep"));
	assert_int_equal(lcm_store_sweep(s), 0);
	assert_true(test_dir_empty(fd, "tmp/.trash"));
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

/* A tree deeper than there may be descriptors goes as well. */
static void sweep_goes_deep(void **state)
{
	struct rlimit old, low = { 0 };
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	int fd = lcm_sys_openat(lcm_store_tmp_fd(s), ".trash", O_RDONLY | O_DIRECTORY, 0);

	(void)state;
	for (int i = 0; i < 300; i++) {
		int sub;

		assert_int_equal(lcm_sys_mkdirat(fd, "d", 0700), 0);
		sub = lcm_sys_openat(fd, "d", O_RDONLY | O_DIRECTORY, 0);
		(void)close(fd);
		fd = sub;
	}
	(void)close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){ .rlim_cur = 64, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(lcm_store_sweep(s), 0);
	assert_true(test_dir_empty(lcm_store_root_fd(s), "tmp/.trash"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	lcm_store_close(s);
	test_rmdir(root);
}

/* Which mounts are made again, and how, is known after a reboot, and until it is done. */
static void mounts_know_their_boot(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_mount_row m = { .id = "web",
				   .image = (char *)"i",
				   .target = (char *)"/t",
				   .remount = true,
				   .offline = true,
				   .unit = (char *)"u",
				   .deadline_ns = 5,
				   .freeze = true,
				   .big_data_bytes = 6,
				   .big_exec_bytes = 7 },
			     got = { 0 };

	(void)state;
	assert_int_equal(lcm_store_mount_put(s, &m, NULL), 0);
	(void)snprintf(m.id, sizeof(m.id), "run");
	m.remount = false;
	assert_int_equal(lcm_store_mount_put(s, &m, NULL), 0);
	assert_int_equal(lcm_store_mount_get(s, "web", &got), 0);
	assert_true(got.remount && !got.rebooted);
	lcm_mount_row_fini(&got);
	lcm_store_close(s);
	test_sql(root, "UPDATE mounts SET boot = 'another' WHERE boot <> ''");
	for (int i = 0; i < 2; i++) { /* the first daemon may not get so far */
		s = test_opened(root);
		assert_int_equal(lcm_store_mount_get(s, "run", &got), 0);
		assert_false(got.remount || got.rebooted);
		lcm_mount_row_fini(&got);
		assert_int_equal(lcm_store_mount_get(s, "web", &got), 0);
		assert_true(got.remount && got.rebooted && got.offline);
		assert_string_equal(got.unit, "u");
		assert_int_equal(got.deadline_ns, 5);
		assert_true(got.freeze);
		assert_int_equal(got.big_data_bytes, 6);
		assert_int_equal(got.big_exec_bytes, 7);
		if (i > 0)
			assert_int_equal(lcm_store_mount_put(s, &got, NULL), 0);
		lcm_mount_row_fini(&got);
		lcm_store_close(s);
	}
	s = test_opened(root);
	assert_int_equal(lcm_store_mount_get(s, "web", &got), 0);
	assert_true(got.remount && !got.rebooted);
	lcm_mount_row_fini(&got);
	lcm_store_close(s);
	test_rmdir(root);
}

static void reboot_distrusts_partial_layers(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key one = test_key(1), two = test_key(2), three = test_key(3);
	struct lcm_layer_row row;
	int fd;

	(void)state;
	assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
	assert_int_equal(lcm_store_layer_add(s, &two, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
	assert_int_equal(lcm_store_layer_complete(s, row.id, 4), 0);
	assert_int_equal(lcm_store_layer_add(s, &three, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	lcm_store_close(s);
	test_sql(root, "UPDATE props SET value = 'another' WHERE name = 'boot'");
	s = test_opened(root);
	fd = lcm_store_root_fd(s);
	assert_true(test_exists(fd, "real/1/f"));
	assert_true(test_exists(fd, "toc/1"));
	assert_true(test_exists(fd, "blobs/1.map"));
	assert_int_equal(lcm_store_layer_get(s, 1, &row), 0);
	assert_true(row.has_toc && row.unsynced);
	assert_true(test_exists(fd, "real/2/f"));
	assert_true(test_exists(fd, "toc/2"));
	assert_int_equal(lcm_store_layer_get(s, 2, &row), 0);
	assert_true(row.has_toc && row.state == LCM_LAYER_COMPLETE && !row.unsynced);
	assert_false(test_exists(fd, "real/3/f")); /* nothing can tell what it is */
	assert_int_equal(lcm_store_layer_get(s, 3, &row), 0);
	assert_false(row.has_toc || row.unsynced);
	lcm_store_close(s);
	s = test_opened(root); /* not checked yet when that daemon ended */
	assert_int_equal(lcm_store_layer_get(s, 1, &row), 0);
	assert_true(row.unsynced);
	assert_int_equal(lcm_store_layer_checked(s, 1), 0);
	assert_int_equal(lcm_store_layer_checked(s, 9), -ENOENT);
	lcm_store_close(s);
	s = test_opened(root);
	assert_int_equal(lcm_store_layer_get(s, 1, &row), 0);
	assert_false(row.unsynced);
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

/* A plain image may be mounted before its layers are synced: a killed daemon must not cost it them.
 */
static void proven_layers_last_until_reboot(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key one = test_key(1), same = test_key(1), two = test_key(2);
	struct lcm_layer_row row;

	(void)state;
	memset(same.source.b, 9, sizeof(same.source.b));
	assert_int_equal(lcm_store_layer_prove(s, 1, 4), -ENOENT);
	assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_find(s, &same, &row), -ENOENT);
	assert_int_equal(lcm_store_layer_prove(s, 1, 4), 0);
	assert_int_equal(lcm_store_layer_find(s, &same, &row), 0);
	lcm_store_close(s);
	s = test_opened(root);
	assert_true(test_exists(lcm_store_root_fd(s), "real/1/f"));
	assert_int_equal(lcm_store_layer_get(s, 1, &row), 0);
	assert_int_equal(row.state, LCM_LAYER_PROVEN);
	assert_int_equal(row.real_bytes, 4);
	lcm_store_close(s);
	s = test_opened(root);
	assert_int_equal(lcm_store_layer_add(s, &two, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_prove(s, row.id, 4), 0);
	assert_int_equal(lcm_write_file_at(lcm_store_seals_fd(s), "2", "seal", 4, 0600), 0);
	lcm_store_close(s);
	test_sql(root, "UPDATE props SET value = 'another' WHERE name = 'boot'");
	s = test_opened(root);
	assert_false(test_exists(lcm_store_root_fd(s), "real/1/f"));
	assert_int_equal(lcm_store_layer_get(s, 1, &row), 0);
	assert_int_equal(row.state, LCM_LAYER_PARTIAL);
	/* Sealed is synced. */
	assert_true(test_exists(lcm_store_root_fd(s), "real/2/f"));
	assert_true(test_exists(lcm_store_root_fd(s), "seals/2"));
	assert_int_equal(lcm_store_layer_get(s, 2, &row), 0);
	assert_int_equal(row.state, LCM_LAYER_COMPLETE);
	assert_int_equal(row.real_bytes, 4);
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

/* Who has it keeps it, and its digests are free for another. */
static void damaged_layers_are_not_found(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key one = test_key(1);
	struct lcm_layer_row row, other;
	int64_t toc;

	(void)state;
	assert_int_equal(lcm_store_layer_damage(s, 1), -ENOENT);
	assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
	assert_int_equal(lcm_store_layer_complete(s, row.id, 4), 0);
	assert_int_equal(lcm_store_layer_damage(s, row.id), 0);
	assert_int_equal(lcm_store_layer_damage(s, row.id), 0);
	assert_int_equal(lcm_store_layer_find(s, &one, &other), -ENOENT);
	assert_int_equal(lcm_store_layer_get(s, row.id, &row), 0);
	assert_int_equal(lcm_store_layer_find(s, &row.key, &other), -ENOENT);
	assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &other, NULL), 0);
	assert_true(other.id > row.id && !other.damaged);
	lcm_store_close(s);
	s = test_opened(root);
	assert_int_equal(lcm_store_layer_get(s, row.id, &row), 0);
	assert_true(row.damaged && row.state == LCM_LAYER_COMPLETE);
	assert_true(test_exists(lcm_store_root_fd(s), "real/1/f"));
	assert_int_equal(lcm_store_layer_find(s, &one, &other), 0);
	assert_int_equal(other.id, 2);
	assert_int_equal(lcm_store_layer_drop(s, row.id, true, NULL), 0);
	assert_false(test_exists(lcm_store_root_fd(s), "real/1"));
	assert_int_equal(lcm_store_toc_find(s, &one, &toc), 0);
	assert_int_equal(toc, 1);
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

static void lost_files_demote(void **state)
{
	char *root = test_mkdir(), path[256];
	struct lcm_store *s = test_opened(root);
	struct lcm_layer_key one = test_key(1);
	struct lcm_layer_row row;

	(void)state;
	assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &row, NULL), 0);
	test_layer_fill(s, row.id);
	assert_int_equal(lcm_store_layer_set_toc(s, row.id), 0);
	assert_int_equal(lcm_store_layer_complete(s, row.id, 4), 0);
	lcm_store_close(s);
	(void)snprintf(path, sizeof(path), "%s/real/1", root);
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, path), 0);
	s = test_opened(root);
	assert_int_equal(lcm_store_layer_get(s, 1, &row), 0);
	assert_int_equal(row.state, LCM_LAYER_PARTIAL);
	assert_int_equal(row.real_bytes, 0);
	assert_true(row.has_toc);
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

static void batches(void **state)
{
	char *root = test_mkdir();
	struct lcm_store *s = test_opened(root);
	struct lcm_digest d = { .b = { 7 } };
	struct lcm_store_totals t;
	struct lcm_mount_row m = { .id = "a",
				   .image = (char *)"i",
				   .target = (char *)"/t",
				   .n_layers = 1,
				   .layers = (int64_t[]){ 99 } };

	(void)state;
	assert_int_equal(lcm_store_begin(s), 0);
	assert_int_equal(test_image_put(s, "a", &d, "m", 1, "c", 1, NULL), 0);
	assert_int_equal(lcm_store_mount_put(s, &m, NULL), -ENOENT); /* undoes itself only */
	assert_int_equal(lcm_store_end(s, 0), 0);
	assert_int_equal(lcm_store_begin(s), 0);
	assert_int_equal(test_image_put(s, "b", &d, "m", 1, "c", 1, NULL), 0);
	assert_int_equal(lcm_store_end(s, -EINTR), -EINTR);
	assert_int_equal(lcm_store_totals(s, &t), 0);
	assert_int_equal(t.images, 1);
	assert_int_equal(t.mounts, 0);
	lcm_store_close(s);
	test_rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layer_life),
		cmocka_unit_test(layer_drop_and_kept_toc),
		cmocka_unit_test(images),
		cmocka_unit_test(mount_ids),
		cmocka_unit_test(mounts_hold_layers),
		cmocka_unit_test(container_dirs),
		cmocka_unit_test(garbage_goes),
		cmocka_unit_test(sweep_goes_deep),
		cmocka_unit_test(mounts_know_their_boot),
		cmocka_unit_test(reboot_distrusts_partial_layers),
		cmocka_unit_test(proven_layers_last_until_reboot),
		cmocka_unit_test(damaged_layers_are_not_found),
		cmocka_unit_test(lost_files_demote),
		cmocka_unit_test(batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
