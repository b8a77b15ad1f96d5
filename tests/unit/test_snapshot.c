/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots in the store, and containerd's filters on them. */
#include <sqlite3.h>

#include "src/daemon/snapshot_filter.h"
#include "store/snapshot.h"
#include "tests/unit/test_store.h"

static int add(struct lcm_store *s, const char *name, const char *parent, const char *image,
	       enum lcm_snapshot_kind kind, int64_t *ret_id)
{
	struct lcm_snapshot_row row = {
		.name = (char *)(uintptr_t)name,
		.parent = (char *)(uintptr_t)parent,
		.labels = (char *)(uintptr_t) "{}",
		.image = (char *)(uintptr_t)image,
		.depth = *image ? 2 : 0,
		.kind = kind,
	};
	int r = lcm_store_snapshot_add(s, &row, NULL);

	if (ret_id)
		*ret_id = row.id;
	return r;
}

static void dir_of(struct lcm_store *s, int64_t id, char out[64])
{
	(void)snprintf(out, 64, "%lld", (long long)id);
	assert_int_equal(lcm_sys_mkdirat(lcm_store_snapshots_fd(s), out, 0700), 0);
}

static void snapshot_life(void **state)
{
	char *root = test_mkdir(), dir[64];
	struct lcm_store *s = test_opened(root);
	struct lcm_snapshot_row row = { 0 };
	int64_t id = 0;

	(void)state;
	assert_int_equal(lcm_store_snapshot_get(s, "a", &row), -ENOENT);
	assert_int_equal(add(s, "a", "", "", LCM_SNAPSHOT_ACTIVE, &id), 0);
	dir_of(s, id, dir);
	assert_int_equal(add(s, "a", "", "", LCM_SNAPSHOT_VIEW, NULL), -EEXIST);
	assert_int_equal(add(s, "", "", "", LCM_SNAPSHOT_VIEW, NULL), -EINVAL);
	assert_int_equal(add(s, "b", "none", "", LCM_SNAPSHOT_ACTIVE, NULL), -ENOENT);
	assert_int_equal(lcm_store_snapshot_commit(s, "none", "A", "", "{}"), -ENOENT);
	assert_int_equal(lcm_store_snapshot_commit(s, "a", "A", "", "{\"k\":\"v\"}"), 0);
	assert_int_equal(lcm_store_snapshot_commit(s, "A", "B", "", "{}"), -ENOENT);
	assert_int_equal(add(s, "b", "A", "", LCM_SNAPSHOT_ACTIVE, NULL), 0);
	assert_int_equal(lcm_store_snapshot_commit(s, "b", "A", "A", "{}"), -EEXIST);
	assert_int_equal(lcm_store_snapshot_children(s, "A"), 1);
	assert_true(lcm_store_snapshot_remove(s, "A") < 0); /* it has a child */
	assert_int_equal(lcm_store_snapshot_get(s, "A", &row), 0);
	assert_int_equal(row.id, id);
	assert_int_equal(row.kind, LCM_SNAPSHOT_COMMITTED);
	assert_string_equal(row.parent, "");
	assert_string_equal(row.image, "");
	assert_string_equal(row.labels, "{\"k\":\"v\"}");
	assert_false(row.measured);
	lcm_snapshot_row_fini(&row);
	assert_int_equal(lcm_store_snapshot_measured(s, id, 4096, 0), 0);
	assert_int_equal(lcm_store_snapshot_label(s, "A", "{}"), 0);
	assert_int_equal(lcm_store_snapshot_label(s, "none", "{}"), -ENOENT);
	assert_int_equal(lcm_store_snapshot_get(s, "A", &row), 0);
	assert_true(row.measured && row.size == 4096 && row.inodes == 0);
	assert_string_equal(row.labels, "{}");
	lcm_snapshot_row_fini(&row);
	assert_int_equal(lcm_store_snapshot_remove(s, "b"), 0);
	assert_int_equal(lcm_store_snapshot_remove(s, "A"), 0);
	assert_int_equal(lcm_store_snapshot_remove(s, "A"), -ENOENT);
	assert_false(test_exists(lcm_store_snapshots_fd(s), dir));
	lcm_store_close(s);
	test_invariants(root);
	test_rmdir(root);
}

static int take(void *arg, const char *image)
{
	(void)snprintf(arg, 64, "%s", image);
	return 0;
}

static void images_of_snapshots(void **state)
{
	char *root = test_mkdir(), image[64] = "";
	struct lcm_store *s = test_opened(root);

	(void)state;
	assert_int_equal(lcm_store_snapshot_image_add(s, "i@d"), 0);
	assert_int_equal(lcm_store_snapshot_image_add(s, "i@d"), 0);
	assert_int_equal(add(s, "one", "", "i@d", LCM_SNAPSHOT_COMMITTED, NULL), 0);
	assert_int_equal(add(s, "two", "one", "i@d", LCM_SNAPSHOT_COMMITTED, NULL), 0);
	assert_int_equal(lcm_store_snapshot_remove(s, "two"), 0);
	assert_int_equal(lcm_store_snapshot_images_unused(s, take, image), 0);
	assert_string_equal(image, "");
	assert_int_equal(lcm_store_snapshot_remove(s, "one"), 0);
	assert_int_equal(lcm_store_snapshot_images_unused(s, take, image), 0);
	assert_string_equal(image, "i@d");
	assert_int_equal(lcm_store_snapshot_image_forget(s, "i@d"), 0);
	image[0] = '\0';
	assert_int_equal(lcm_store_snapshot_images_unused(s, take, image), 0);
	assert_string_equal(image, "");
	lcm_store_close(s);
	test_rmdir(root);
}

/* A directory without a row is garbage, one with a row stays; ids are not used twice. */
static void what_a_crash_leaves(void **state)
{
	char *root = test_mkdir(), kept[64], orphan[64];
	struct lcm_store *s = test_opened(root);
	int64_t id = 0, lost = 0;

	(void)state;
	assert_int_equal(add(s, "kept", "", "", LCM_SNAPSHOT_ACTIVE, &id), 0);
	dir_of(s, id, kept);
	assert_int_equal(lcm_store_begin(s), 0);
	assert_int_equal(add(s, "lost", "", "", LCM_SNAPSHOT_ACTIVE, &lost), 0);
	dir_of(s, lost, orphan);
	assert_int_equal(lcm_store_end(s, -EIO), -EIO);
	lcm_store_close(s);
	s = test_opened(root);
	assert_true(test_exists(lcm_store_snapshots_fd(s), kept));
	assert_false(test_exists(lcm_store_snapshots_fd(s), orphan));
	assert_int_equal(lcm_store_snapshot_remove(s, "kept"), 0);
	assert_int_equal(add(s, "again", "", "", LCM_SNAPSHOT_ACTIVE, &lost), 0);
	assert_true(lost > id);
	lcm_store_close(s);
	test_rmdir(root);
}

#define BACK_TO_3 "ALTER TABLE mounts DROP COLUMN freeze; PRAGMA user_version = 3;"
#define BACK_TO_2                                                                                  \
	BACK_TO_3                                                                                  \
	"ALTER TABLE layers DROP COLUMN unsynced; ALTER TABLE mounts DROP COLUMN boot; "           \
	"ALTER TABLE mounts DROP COLUMN unit; ALTER TABLE mounts DROP COLUMN offline; "            \
	"ALTER TABLE mounts DROP COLUMN deadline; ALTER TABLE mounts DROP COLUMN big_data; "       \
	"ALTER TABLE mounts DROP COLUMN big_exec; DROP TABLE damaged; PRAGMA user_version = "      \
	"2;"
#define BACK_TO_1                                                                                  \
	BACK_TO_2 "DROP TABLE snapshots; DROP TABLE snapshot_images; PRAGMA user_version = 1"

static void taken_over(const char *back)
{
	struct lcm_mount_row m = { .id = "m", .image = (char *)"i", .target = (char *)"/t" };
	char *root = test_mkdir(), path[300];
	struct lcm_store *s = test_opened(root);
	const struct lcm_layer_key key = test_key(1);
	struct lcm_layer_row row;
	sqlite3 *db = NULL;

	assert_int_equal(lcm_store_mount_put(s, &m, NULL), 0);
	assert_int_equal(lcm_store_layer_add(s, &key, 1000, &row, NULL), 0);
	lcm_store_close(s);
	(void)snprintf(path, sizeof(path), "%s/locum.db", root);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, back, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	s = test_opened(root);
	assert_int_equal(lcm_store_layer_find(s, &key, &row), 0);
	assert_int_equal(add(s, "a", "", "", LCM_SNAPSHOT_ACTIVE, NULL), 0);
	assert_int_equal(lcm_store_mount_get(s, "m", &m), 0);
	assert_false(m.remount || m.rebooted || m.offline);
	lcm_mount_row_fini(&m);
	lcm_store_close(s);
	test_rmdir(root);
}

/* A state directory of an older schema is taken over with all that is in it. */
static void older_schema(void **state)
{
	(void)state;
	taken_over(BACK_TO_1);
	taken_over(BACK_TO_2);
	taken_over(BACK_TO_3);
}

/* ---- filters ---- */

static bool fits(const char *filter)
{
	json_t *info = json_pack("{s:s s:s s:s s:{s:s s:s}}", "name", "sha256:a", "parent", "p",
				 "kind", "committed", "labels", "containerd.io/snapshot.ref", "x",
				 "q", "a\"b"),
	       *filters = json_pack("[s]", filter);
	bool r = lcm_snapshot_filter(info, filters);

	json_decref(info);
	json_decref(filters);
	return r;
}

static void filters(void **state)
{
	json_t *none = json_array(), *info = json_object(),
	       *two = json_pack("[s s]", "name==x", "kind!=view");

	(void)state;
	assert_true(lcm_snapshot_filter(info, NULL));
	assert_true(lcm_snapshot_filter(info, none));
	assert_true(lcm_snapshot_filter(info, two)); /* one of them is enough */
	json_decref(none);
	json_decref(info);
	json_decref(two);
	assert_true(fits("labels.\"containerd.io/snapshot.ref\"==x,parent==\"p\""));
	assert_true(fits("labels.\"containerd.io/snapshot.ref\"==\"x\",parent==p"));
	assert_false(fits("labels.\"containerd.io/snapshot.ref\"==y,parent==p"));
	assert_false(fits("labels.\"containerd.io/snapshot.ref\"==x,parent==q"));
	assert_true(fits("labels.q==\"a\\\"b\""));
	assert_true(fits("labels.containerd.io/snapshot.ref==x"));
	assert_true(fits("labels.q"));
	assert_false(fits("labels.nothing"));
	assert_false(fits("kind==active"));
	assert_true(fits("kind!=active"));
	assert_true(fits("name==sha256:a"));
	/* What is not understood may fit: the client looks again. */
	assert_true(fits("name~=^b"));
	assert_true(fits("name==\"a"));
	assert_true(fits("name=x"));
	assert_true(fits("labels"));
	assert_true(fits("name==\"sha256:a\"rest"));
	assert_true(fits("name==\"\\x41\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshot_life),
		cmocka_unit_test(images_of_snapshots),
		cmocka_unit_test(what_a_crash_leaves),
		cmocka_unit_test(older_schema),
		cmocka_unit_test(filters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
