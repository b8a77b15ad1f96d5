/* SPDX-License-Identifier: Apache-2.0 */
#include "store/snapshot.h"

#include <string.h>

#include "src/base/sys.h"
#include "store/db.h"

void lcm_snapshot_row_fini(struct lcm_snapshot_row *row)
{
	free(row->name);
	free(row->parent);
	free(row->labels);
	free(row->image);
	*row = (struct lcm_snapshot_row){ 0 };
}

static int change(struct lcm_store *s, sqlite3_stmt *q)
{
	int r = lcm_stmt_run(s, q);

	return r < 0 ? r : sqlite3_changes(s->db) == 0 ? -ENOENT : 0;
}

/* "" is NULL in the table: no parent, no image. */
static void bind_optional(sqlite3_stmt *q, int at, const char *text)
{
	if (text && *text)
		lcm_bind_text(q, at, text);
}

static int check(const struct lcm_snapshot_row *row, struct lcm_err *err)
{
	if (!row->name || !*row->name || strlen(row->name) > LCM_SNAPSHOT_NAME_MAX ||
	    (row->parent && strlen(row->parent) > LCM_SNAPSHOT_NAME_MAX))
		return lcm_err_set(err, -EINVAL,
				   "snapshot name of no or more than %u bytes: \"%.100s\"",
				   LCM_SNAPSHOT_NAME_MAX, row->name ? row->name : "");
	if (strlen(row->labels) > LCM_SNAPSHOT_LABELS_MAX)
		return lcm_err_set(err, -EINVAL, "snapshot %.200s: more than %u bytes of labels",
				   row->name, LCM_SNAPSHOT_LABELS_MAX);
	return 0;
}

int lcm_store_snapshot_add(struct lcm_store *s, struct lcm_snapshot_row *row, struct lcm_err *err)
{
	uint64_t now = lcm_realtime_ns();
	sqlite3_stmt *q;
	int r = check(row, err);

	if (r < 0)
		return r;
	q = lcm_stmt(s, LCM_STMT_SNAPSHOT_ADD);
	lcm_bind_text(q, 1, row->name);
	bind_optional(q, 2, row->parent);
	lcm_bind_text(q, 3, row->labels);
	bind_optional(q, 4, row->image);
	lcm_bind_u64(q, 5, row->depth);
	lcm_bind_u64(q, 6, row->kind);
	lcm_bind_u64(q, 7, now);
	r = lcm_stmt_run(s, q);
	if (r == -EEXIST)
		return lcm_err_set(err, r, "snapshot %.200s exists", row->name);
	if (r < 0)
		return lcm_err_set(err, r, "snapshot %.200s cannot be recorded: %s", row->name,
				   r == -ENOENT ? "its parent is gone" : strerror(-r));
	row->id = sqlite3_last_insert_rowid(s->db);
	row->created_ns = row->updated_ns = now;
	return 0;
}

static int optional(sqlite3_stmt *q, int at, char **ret)
{
	if (sqlite3_column_type(q, at) != SQLITE_NULL)
		return lcm_column_bytes(q, at, ret, NULL);
	*ret = strdup("");
	return *ret ? 0 : -ENOMEM;
}

/* Columns in the order of SNAPSHOT_COLUMNS. */
static int row_read(sqlite3_stmt *q, struct lcm_snapshot_row *ret)
{
	struct lcm_snapshot_row row = { .id = sqlite3_column_int64(q, 0) };
	uint64_t depth = 0, kind = 0;
	int r = lcm_column_bytes(q, 1, &row.name, NULL);

	if (r == 0)
		r = optional(q, 2, &row.parent);
	if (r == 0)
		r = lcm_column_bytes(q, 3, &row.labels, NULL);
	if (r == 0)
		r = optional(q, 4, &row.image);
	if (r == 0)
		r = lcm_column_u64(q, 5, &depth);
	if (r == 0)
		r = lcm_column_u64(q, 6, &kind);
	if (r == 0)
		r = lcm_column_u64(q, 7, &row.created_ns);
	if (r == 0)
		r = lcm_column_u64(q, 8, &row.updated_ns);
	row.measured = sqlite3_column_type(q, 9) != SQLITE_NULL;
	if (r == 0 && row.measured)
		r = lcm_column_u64(q, 9, &row.size);
	if (r == 0 && row.measured)
		r = lcm_column_u64(q, 10, &row.inodes);
	if (r < 0) {
		lcm_snapshot_row_fini(&row);
		return r;
	}
	row.depth = (uint32_t)depth;
	row.kind = (enum lcm_snapshot_kind)kind;
	*ret = row;
	return 0;
}

int lcm_store_snapshot_get(struct lcm_store *s, const char *name, struct lcm_snapshot_row *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_GET);
	int r;

	lcm_bind_text(q, 1, name);
	r = lcm_stmt_step(s, q);
	return r <= 0 ? (r < 0 ? r : -ENOENT) : row_read(q, ret);
}

static int row_after(struct lcm_store *s, int64_t id, struct lcm_snapshot_row *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_AFTER);
	int r;

	(void)sqlite3_bind_int64(q, 1, id);
	r = lcm_stmt_step(s, q);
	return r <= 0 ? (r < 0 ? r : -ENOENT) : row_read(q, ret);
}

int lcm_store_snapshot_each(struct lcm_store *s,
			    int (*fn)(void *arg, const struct lcm_snapshot_row *row), void *arg)
{
	struct lcm_snapshot_row row = { 0 };
	int64_t id = 0;
	int r;

	while ((r = row_after(s, id, &row)) == 0) {
		id = row.id;
		r = fn(arg, &row);
		lcm_snapshot_row_fini(&row);
		if (r != 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

/* The number in the first row of a query with one text parameter. */
static int count(struct lcm_store *s, enum lcm_stmt which, const char *text)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, which);
	int r;

	lcm_bind_text(q, 1, text);
	r = lcm_stmt_step(s, q);
	return r <= 0 ? r : sqlite3_column_int(q, 0);
}

int lcm_store_snapshot_children(struct lcm_store *s, const char *name)
{
	return count(s, LCM_STMT_SNAPSHOT_CHILDREN, name);
}

int lcm_store_snapshot_label(struct lcm_store *s, const char *name, const char *labels)
{
	sqlite3_stmt *q;

	if (strlen(labels) > LCM_SNAPSHOT_LABELS_MAX)
		return -EINVAL;
	q = lcm_stmt(s, LCM_STMT_SNAPSHOT_LABEL);
	lcm_bind_text(q, 1, name);
	lcm_bind_text(q, 2, labels);
	lcm_bind_u64(q, 3, lcm_realtime_ns());
	return change(s, q);
}

int lcm_store_snapshot_commit(struct lcm_store *s, const char *key, const char *name,
			      const char *parent, const char *labels)
{
	sqlite3_stmt *q;

	if (strlen(labels) > LCM_SNAPSHOT_LABELS_MAX || !*name ||
	    strlen(name) > LCM_SNAPSHOT_NAME_MAX)
		return -EINVAL;
	q = lcm_stmt(s, LCM_STMT_SNAPSHOT_COMMIT);
	lcm_bind_text(q, 1, key);
	lcm_bind_text(q, 2, name);
	bind_optional(q, 3, parent);
	lcm_bind_text(q, 4, labels);
	lcm_bind_u64(q, 5, lcm_realtime_ns());
	return change(s, q);
}

int lcm_store_snapshot_measured(struct lcm_store *s, int64_t id, uint64_t size, uint64_t inodes)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_MEASURED);

	(void)sqlite3_bind_int64(q, 1, id);
	lcm_bind_u64(q, 2, size);
	lcm_bind_u64(q, 3, inodes);
	return change(s, q);
}

int lcm_store_snapshot_remove(struct lcm_store *s, const char *name)
{
	struct lcm_snapshot_row row = { 0 };
	sqlite3_stmt *q;
	int r = lcm_store_snapshot_get(s, name, &row);

	if (r < 0)
		return r;
	q = lcm_stmt(s, LCM_STMT_SNAPSHOT_REMOVE);
	lcm_bind_text(q, 1, name);
	r = change(s, q);
	if (r == 0)
		r = lcm_trash_move(s, LCM_DIR_SNAPSHOTS, lcm_layer_name(row.id).s);
	lcm_snapshot_row_fini(&row);
	return r;
}

int lcm_store_snapshot_image_add(struct lcm_store *s, const char *image)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_IMAGE_ADD);

	lcm_bind_text(q, 1, image);
	return lcm_stmt_run(s, q);
}

int lcm_store_snapshot_images_unused(struct lcm_store *s, int (*fn)(void *arg, const char *image),
				     void *arg)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_IMAGES_UNUSED);
	int r;

	while ((r = lcm_stmt_step(s, q)) > 0) {
		r = fn(arg, (const char *)sqlite3_column_text(q, 0));
		if (r != 0)
			return r;
	}
	return r;
}

int lcm_store_snapshot_image_forget(struct lcm_store *s, const char *image)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_IMAGE_FORGET);

	lcm_bind_text(q, 1, image);
	return change(s, q);
}

int lcm_store_snapshots_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_SNAPSHOTS];
}
