/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "src/base/limits.h"
#include "src/base/sys.h"
#include "store/db.h"

void lcm_image_row_fini(struct lcm_image_row *row)
{
	free(row->ref);
	free(row->manifest_json);
	free(row->config_json);
	free(row->manifest_text);
	free(row->config_text);
	*row = (struct lcm_image_row){ 0 };
}

static int change(struct lcm_store *s, sqlite3_stmt *q)
{
	int r = lcm_stmt_run(s, q);

	return r < 0 ? r : sqlite3_changes(s->db) == 0 ? -ENOENT : 0;
}

static void bind_blob(sqlite3_stmt *q, int i, const char *p, size_t len)
{
	(void)sqlite3_bind_blob(q, i, len ? p : "", (int)len, SQLITE_STATIC);
}

int lcm_store_image_put(struct lcm_store *s, const struct lcm_image_row *row, struct lcm_err *err)
{
	sqlite3_stmt *q;
	int r;

	if (!row->ref || !row->ref[0] || row->manifest_len > LCM_MANIFEST_MAX ||
	    row->config_len > LCM_CONFIG_MAX)
		return lcm_err_set(err, -EINVAL,
				   "image %s: manifest of %zu bytes, config of %zu bytes: too big",
				   row->ref ? row->ref : "", row->manifest_len, row->config_len);
	q = lcm_stmt(s, LCM_STMT_IMAGE_PUT);
	lcm_bind_text(q, 1, row->ref);
	lcm_bind_digest(q, 2, &row->manifest);
	bind_blob(q, 3, row->manifest_json, row->manifest_len);
	bind_blob(q, 4, row->config_json, row->config_len);
	lcm_bind_u64(q, 5, lcm_realtime_ns());
	lcm_bind_text(q, 6, row->manifest_text ? row->manifest_text : "");
	lcm_bind_text(q, 7, row->config_text ? row->config_text : "");
	r = lcm_stmt_run(s, q);
	return r < 0 ? lcm_err_set(err, r, "image %s cannot be recorded in %s: %s", row->ref,
				   s->root, strerror(-r))
		     : 0;
}

int lcm_store_image_read(struct lcm_store *s, const char *ref, const char *manifest_text,
			 const char *config_text)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_IMAGE_READ);

	lcm_bind_text(q, 1, ref);
	lcm_bind_text(q, 2, manifest_text);
	lcm_bind_text(q, 3, config_text);
	return change(s, q);
}

/* Columns in the order of IMAGE_COLUMNS. */
static int row_read(sqlite3_stmt *q, struct lcm_image_row *ret)
{
	struct lcm_image_row row = { 0 };
	int r = lcm_column_bytes(q, 0, &row.ref, NULL);

	if (r == 0)
		r = lcm_column_digest(q, 1, &row.manifest);
	if (r == 0)
		r = lcm_column_bytes(q, 2, &row.manifest_json, &row.manifest_len);
	if (r == 0)
		r = lcm_column_bytes(q, 3, &row.config_json, &row.config_len);
	if (r == 0)
		r = lcm_column_u64(q, 4, &row.created_ns);
	if (r == 0)
		r = lcm_column_u64(q, 5, &row.last_used_ns);
	if (r == 0)
		r = lcm_column_bytes(q, 6, &row.manifest_text, NULL);
	if (r == 0)
		r = lcm_column_bytes(q, 7, &row.config_text, NULL);
	if (r < 0) {
		lcm_image_row_fini(&row);
		return r;
	}
	*ret = row;
	return 0;
}

static int row_by(struct lcm_store *s, enum lcm_stmt which, const char *ref,
		  struct lcm_image_row *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, which);
	int r;

	lcm_bind_text(q, 1, ref);
	r = lcm_stmt_step(s, q);
	return r <= 0 ? (r < 0 ? r : -ENOENT) : row_read(q, ret);
}

int lcm_store_image_get(struct lcm_store *s, const char *ref, struct lcm_image_row *ret)
{
	return row_by(s, LCM_STMT_IMAGE_GET, ref, ret);
}

static int each(struct lcm_store *s, enum lcm_stmt after,
		int (*fn)(void *arg, const struct lcm_image_row *row), void *arg)
{
	struct lcm_image_row row = { 0 }, next;
	int r;

	while ((r = row_by(s, after, row.ref ? row.ref : "", &next)) == 0) {
		lcm_image_row_fini(&row);
		row = next;
		r = fn(arg, &row);
		if (r != 0)
			break;
	}
	lcm_image_row_fini(&row);
	return r == -ENOENT ? 0 : r;
}

int lcm_store_image_each(struct lcm_store *s, int (*fn)(void *arg, const struct lcm_image_row *row),
			 void *arg)
{
	return each(s, LCM_STMT_IMAGE_AFTER, fn, arg);
}

int lcm_store_image_unread_each(struct lcm_store *s,
				int (*fn)(void *arg, const struct lcm_image_row *row), void *arg)
{
	return each(s, LCM_STMT_IMAGE_UNREAD_AFTER, fn, arg);
}

int lcm_store_image_remove(struct lcm_store *s, const char *ref)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_IMAGE_REMOVE);

	lcm_bind_text(q, 1, ref);
	return change(s, q);
}

int lcm_store_image_touch(struct lcm_store *s, const char *ref)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_IMAGE_TOUCH);

	lcm_bind_text(q, 1, ref);
	lcm_bind_u64(q, 2, lcm_realtime_ns());
	return change(s, q);
}

int lcm_store_image_set_layers(struct lcm_store *s, const char *ref, const int64_t *layers,
			       size_t n)
{
	sqlite3_stmt *q;
	int r = lcm_db_begin(s);

	if (r < 0)
		return r;
	q = lcm_stmt(s, LCM_STMT_IMAGE_LAYERS_CLEAR);
	lcm_bind_text(q, 1, ref);
	r = lcm_stmt_run(s, q);
	for (size_t i = 0; r == 0 && i < n; i++) {
		q = lcm_stmt(s, LCM_STMT_IMAGE_LAYER_ADD);
		lcm_bind_text(q, 1, ref);
		lcm_bind_u64(q, 2, i);
		(void)sqlite3_bind_int64(q, 3, layers[i]);
		r = lcm_stmt_run(s, q);
	}
	return lcm_db_end(s, r);
}

int lcm_store_image_layers(struct lcm_store *s, const char *ref, int64_t **ret, size_t *ret_n)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_IMAGE_LAYERS);

	lcm_bind_text(q, 1, ref);
	return lcm_column_ids(s, q, ret, ret_n);
}
