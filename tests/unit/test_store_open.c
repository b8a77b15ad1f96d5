/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have a state directory, and databases that cannot be trusted or have no room. */
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/unit/test_store.h"

static void one_owner(void **state)
{
	char *root = test_mkdir(), pid[24];
	struct lcm_store *s = test_opened(root), *other = (struct lcm_store *)root;
	struct lcm_err err = { 0 };

	(void)state;
	(void)snprintf(pid, sizeof(pid), "pid %d)", (int)getpid());
	assert_int_equal(lcm_store_open(root, &other, &err), -EBUSY);
	assert_non_null(strstr(err.msg, pid));
	assert_ptr_equal(other, root);
	lcm_store_close(s);
	s = test_opened(root);
	lcm_store_close(s);
	lcm_store_close(NULL);
	test_rmdir(root);
}

static void root_is_ours(void **state)
{
	char *root = test_mkdir(), path[256];
	struct lcm_store *s = NULL;
	struct lcm_err err = { 0 };
	struct stat st;

	(void)state;
	assert_int_equal(lcm_sys_fchmodat(AT_FDCWD, root, 0770), 0);
	assert_int_equal(lcm_store_open(root, &s, &err), -EPERM);
	assert_non_null(strstr(err.msg, "chmod"));
	assert_int_equal(lcm_sys_fchmodat(AT_FDCWD, root, 0755), 0);
	s = test_opened(root);
	assert_int_equal(lcm_sys_fstat(lcm_store_root_fd(s), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	lcm_store_close(s);
	s = NULL;
	if (geteuid() == 0) {
		assert_int_equal(lcm_sys_fchownat(AT_FDCWD, root, 1, 1, 0), 0);
		assert_int_equal(lcm_store_open(root, &s, &err), -EPERM);
		assert_non_null(strstr(err.msg, "user 1"));
		assert_int_equal(lcm_sys_fchownat(AT_FDCWD, root, 0, 0, 0), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/lock/x", root);
	assert_int_equal(lcm_store_open(path, &s, &err), -ENOTDIR);
	(void)snprintf(path, sizeof(path), "%s/meta", root);
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, path), 0);
	assert_int_equal(lcm_sys_symlinkat("/tmp", AT_FDCWD, path), 0);
	assert_true(lcm_store_open(root, &s, &err) < 0); /* not through a link */
	assert_null(s);
	test_rmdir(root);
}

/* Somebody's idea of a database. */
struct bad_db {
	const char *how; /* SQL, or junk to write at @at */
	long at;         /* or one of these: */
	int r;
	const char *text;
};
#define BY_SQL -1
#define EMPTY -2
#define GONE -3

static void db_spoil(const char *root, const char *db, const struct bad_db *bad)
{
	int fd;

	if (bad->at == BY_SQL) {
		test_sql(root, bad->how);
	} else if (bad->at == GONE) {
		assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, db, 0), 0);
	} else {
		fd = lcm_sys_openat(AT_FDCWD, db, O_WRONLY, 0);
		if (bad->at == EMPTY)
			assert_int_equal(lcm_sys_ftruncate(fd, 0), 0);
		else
			assert_int_equal(
			    lcm_sys_pwrite_full(fd, bad->how, strlen(bad->how), (uint64_t)bad->at),
			    0);
		(void)close(fd);
	}
}

/* Nothing is removed, the file stays as it is, the text says what to do, asking again changes
 * nothing. */
static void db_refused(const char *root, const char *db, const struct bad_db *bad)
{
	lcm_autofree char *before = NULL, *after = NULL;
	size_t n_before = 0, n_after = 0;
	struct lcm_err err = { 0 };
	struct lcm_store *s = NULL;
	char path[256];

	if (bad->at != GONE)
		assert_int_equal(lcm_read_file_at(AT_FDCWD, db, 1U << 20, &before, &n_before), 0);
	assert_int_equal(lcm_store_open(root, &s, &err), bad->r);
	assert_null(s);
	if (!strstr(err.msg, bad->text) || !strstr(err.msg, root))
		fail_msg("\"%s\": %s", bad->how, err.msg);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, db, 1U << 20, &after, &n_after), 0);
	assert_int_equal(n_before, n_after);
	if (n_after)
		assert_memory_equal(before, after, n_after);
	assert_int_equal(lcm_store_open(root, &s, &err), bad->r);
	(void)snprintf(path, sizeof(path), "%s/real/1/f", root);
	assert_true(test_exists(AT_FDCWD, path));
}

static void bad_databases(void **state)
{
	static const struct bad_db rows[] = {
		{ "junk, no database at all", 0, -EUCLEAN, "damaged" },
		{ "JUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNKJUNK", 4096, -EUCLEAN,
		  "damaged" },
		{ "", EMPTY, -EUCLEAN, "missing or empty" },
		{ "", GONE, -EUCLEAN, "missing or empty" },
		{ "PRAGMA application_id = 7", BY_SQL, -EUCLEAN, "not locum's" },
		{ "PRAGMA user_version = 5", BY_SQL, -EPROTONOSUPPORT, "newer" },
		{ "PRAGMA user_version = 0", BY_SQL, -EUCLEAN, "schema" },
		{ "DROP TABLE mount_layers", BY_SQL, -EUCLEAN, "mount_layers" },
		{ "ALTER TABLE layers DROP COLUMN real_bytes", BY_SQL, -EUCLEAN, "real_bytes" },
		{ "PRAGMA ignore_check_constraints = 1; UPDATE layers SET diffid = x'00'", BY_SQL,
		  -EUCLEAN, "damaged" },
		{ "PRAGMA ignore_check_constraints = 1; UPDATE layers SET state = 5", BY_SQL,
		  -EUCLEAN, "damaged" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		char *root = test_mkdir(), db[256];
		struct lcm_store *s = test_opened(root);
		struct lcm_layer_key one = test_key(1);
		struct lcm_layer_row row;

		assert_int_equal(lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &row, NULL), 0);
		test_layer_fill(s, row.id);
		lcm_store_close(s);
		(void)snprintf(db, sizeof(db), "%s/locum.db", root);
		db_spoil(root, db, &rows[i]);
		db_refused(root, db, &rows[i]);
		test_rmdir(root);
	}
}

/* A real full disk: the database says ENOSPC and stays whole. */
static void disk_full(void **state)
{
	static const size_t len = 300000;
	char *root = test_mkdir();
	lcm_autofree char *json = calloc(1, len);
	struct lcm_digest d = { .b = { 7 } };
	struct lcm_image_row row = { 0 };
	struct lcm_err err = { 0 };
	struct lcm_store *s;
	int r = 0, n = 0;

	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		test_rmdir(root);
		assert_null(getenv("LCM_TESTS_MUST_RUN"));
		return;
	}
	assert_int_equal(mount("t", root, "tmpfs", 0, "size=2m,mode=0700"), 0);
	s = test_opened(root);
	for (; r == 0 && n < 20; n++) {
		char ref[16];

		(void)snprintf(ref, sizeof(ref), "i%02d", n);
		r = lcm_store_image_put(s, ref, &d, json, len, "c", 1, &err);
	}
	assert_int_equal(r, -ENOSPC);
	assert_non_null(strstr(err.msg, root));
	assert_int_equal(lcm_store_image_get(s, "i00", &row), 0);
	lcm_image_row_fini(&row);
	/* A batch hears of it at its end and is undone as a whole. */
	assert_int_equal(lcm_store_begin(s), 0);
	assert_int_equal(lcm_store_image_put(s, "full", &d, json, len, "c", 1, &err), 0);
	assert_int_equal(lcm_store_end(s, 0), -ENOSPC);
	assert_int_equal(lcm_store_image_get(s, "full", &row), -ENOENT);
	assert_int_equal(lcm_store_image_get(s, "i00", &row), 0);
	lcm_image_row_fini(&row);
	lcm_store_close(s);
	s = test_opened(root);
	assert_int_equal(lcm_store_image_get(s, "i00", &row), 0);
	assert_int_equal(row.manifest_len, len);
	lcm_image_row_fini(&row);
	lcm_store_close(s);
	assert_int_equal(umount(root), 0);
	test_rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_owner),
		cmocka_unit_test(root_is_ours),
		cmocka_unit_test(bad_databases),
		cmocka_unit_test(disk_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
