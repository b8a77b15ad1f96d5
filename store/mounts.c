/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/limits.h"
#include "src/base/sys.h"
#include "store/db.h"

void lcm_mount_row_fini(struct lcm_mount_row *row)
{
	free(row->image);
	free(row->target);
	free(row->unit);
	free(row->layers);
	*row = (struct lcm_mount_row){ 0 };
}

/* [A-Za-z0-9][A-Za-z0-9_.-]{0,63}: it names a directory. */
static bool id_valid(const char *id)
{
	static const char first[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t len = strspn(id, rest);

	return len >= 1 && len <= 64 && id[len] == '\0' && strchr(first, id[0]);
}

static int row_write(struct lcm_store *s, const struct lcm_mount_row *row)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_MOUNT_PUT);
	int r;

	lcm_bind_text(q, 1, row->id);
	lcm_bind_text(q, 2, row->image);
	lcm_bind_text(q, 3, row->target);
	lcm_bind_u64(q, 4, row->read_only);
	lcm_bind_u64(q, 5, row->keep_upper);
	lcm_bind_text(q, 6, row->remount ? s->boot : "");
	lcm_bind_text(q, 7, row->unit ? row->unit : "");
	lcm_bind_u64(q, 8, row->offline);
	lcm_bind_u64(q, 9, row->deadline_ns);
	lcm_bind_u64(q, 10, row->big_data_bytes);
	lcm_bind_u64(q, 11, row->big_exec_bytes);
	lcm_bind_u64(q, 12, row->freeze);
	r = lcm_stmt_run(s, q);
	if (r == 0) {
		q = lcm_stmt(s, LCM_STMT_MOUNT_LAYERS_CLEAR);
		lcm_bind_text(q, 1, row->id);
		r = lcm_stmt_run(s, q);
	}
	for (size_t i = 0; r == 0 && i < row->n_layers; i++) {
		q = lcm_stmt(s, LCM_STMT_MOUNT_LAYER_ADD);
		lcm_bind_text(q, 1, row->id);
		lcm_bind_u64(q, 2, i);
		(void)sqlite3_bind_int64(q, 3, row->layers[i]);
		r = lcm_stmt_run(s, q);
	}
	return r;
}

static int touch(struct lcm_store *s, const struct lcm_mount_row *row)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_MOUNT_TOUCH);
	int r;

	lcm_bind_text(q, 1, row->id);
	lcm_bind_u64(q, 2, lcm_realtime_ns());
	r = lcm_stmt_run(s, q);
	if (r == 0)
		r = lcm_store_image_touch(s, row->image);
	return r == -ENOENT ? 0 : r; /* an image given by directory has no row */
}

int lcm_store_mount_put(struct lcm_store *s, const struct lcm_mount_row *row, struct lcm_err *err)
{
	int r;

	if (strnlen(row->id, sizeof(row->id)) == sizeof(row->id) || !id_valid(row->id))
		return lcm_err_set(err, -EINVAL,
				   "mount id \"%.64s\": use 1 to 64 letters, digits, '_', '.' and "
				   "'-', the first a letter or digit",
				   row->id);
	if (!row->image || !row->target || row->target[0] != '/' || row->n_layers > LCM_LAYERS_MAX)
		return lcm_err_set(
		    err, -EINVAL,
		    "mount %s: needs an image, an absolute mount point and at most %d layers",
		    row->id, LCM_LAYERS_MAX);
	r = lcm_db_begin(s);
	if (r == 0) {
		r = row_write(s, row);
		if (r == 0)
			r = touch(s, row);
		r = lcm_db_end(s, r);
	}
	return r < 0
		   ? lcm_err_set(err, r, "mount %s cannot be recorded in %s: %s", row->id, s->root,
				 r == -ENOENT ? "one of its layers is gone" : strerror(-r))
		   : 0;
}

static int layers_read(struct lcm_store *s, struct lcm_mount_row *row)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_MOUNT_LAYERS);

	lcm_bind_text(q, 1, row->id);
	return lcm_column_ids(s, q, &row->layers, &row->n_layers);
}

/* How it was mounted. */
static int options_read(struct lcm_store *s, sqlite3_stmt *q, struct lcm_mount_row *row)
{
	lcm_autofree char *boot = NULL;
	uint64_t read_only = 0, keep_upper = 0, offline = 0, freeze = 0;
	int r = lcm_column_u64(q, 3, &read_only);

	if (r == 0)
		r = lcm_column_u64(q, 4, &keep_upper);
	if (r == 0)
		r = lcm_column_bytes(q, 5, &boot, NULL);
	if (r == 0)
		r = lcm_column_bytes(q, 6, &row->unit, NULL);
	if (r == 0)
		r = lcm_column_u64(q, 7, &offline);
	if (r == 0)
		r = lcm_column_u64(q, 8, &row->deadline_ns);
	if (r == 0)
		r = lcm_column_u64(q, 9, &row->big_data_bytes);
	if (r == 0)
		r = lcm_column_u64(q, 10, &row->big_exec_bytes);
	if (r == 0)
		r = lcm_column_u64(q, 11, &freeze);
	if (r < 0)
		return r;
	row->read_only = read_only != 0;
	row->keep_upper = keep_upper != 0;
	row->offline = offline != 0;
	row->freeze = freeze != 0;
	row->remount = boot[0] != '\0';
	row->rebooted = row->remount && strcmp(boot, s->boot) != 0;
	return 0;
}

/* Columns in the order of MOUNT_COLUMNS, then the layers. */
static int row_read(struct lcm_store *s, sqlite3_stmt *q, struct lcm_mount_row *ret)
{
	struct lcm_mount_row row = { 0 };
	lcm_autofree char *id = NULL;
	int r = lcm_column_bytes(q, 0, &id, NULL);

	if (r == 0 && !id_valid(id))
		r = -EUCLEAN;
	if (r == 0)
		r = lcm_column_bytes(q, 1, &row.image, NULL);
	if (r == 0)
		r = lcm_column_bytes(q, 2, &row.target, NULL);
	if (r == 0)
		r = options_read(s, q, &row);
	if (r == 0) {
		(void)snprintf(row.id, sizeof(row.id), "%s", id);
		r = layers_read(s, &row);
	}
	if (r < 0) {
		lcm_mount_row_fini(&row);
		return r;
	}
	*ret = row;
	return 0;
}

static int row_by(struct lcm_store *s, enum lcm_stmt which, const char *id,
		  struct lcm_mount_row *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, which);
	int r;

	lcm_bind_text(q, 1, id);
	r = lcm_stmt_step(s, q);
	return r <= 0 ? (r < 0 ? r : -ENOENT) : row_read(s, q, ret);
}

int lcm_store_mount_get(struct lcm_store *s, const char *id, struct lcm_mount_row *ret)
{
	return row_by(s, LCM_STMT_MOUNT_GET, id, ret);
}

int lcm_store_mount_each(struct lcm_store *s, int (*fn)(void *arg, const struct lcm_mount_row *row),
			 void *arg)
{
	struct lcm_mount_row row = { 0 }, next;
	int r;

	while ((r = row_by(s, LCM_STMT_MOUNT_AFTER, row.id, &next)) == 0) {
		lcm_mount_row_fini(&row);
		row = next;
		r = fn(arg, &row);
		if (r != 0)
			break;
	}
	lcm_mount_row_fini(&row);
	return r == -ENOENT ? 0 : r;
}

int lcm_store_mount_remove(struct lcm_store *s, const char *id)
{
	struct lcm_mount_row row = { 0 };
	sqlite3_stmt *q;
	int r = lcm_store_mount_get(s, id, &row);

	/* The directory first: a row without it does no harm, a directory without a row would be
	 * taken for a kept upper. */
	if (r == 0 && !row.keep_upper)
		r = lcm_trash_move(s, LCM_DIR_CONTAINERS, row.id);
	if (r == 0) {
		q = lcm_stmt(s, LCM_STMT_MOUNT_REMOVE);
		lcm_bind_text(q, 1, row.id);
		r = lcm_stmt_run(s, q);
	}
	lcm_mount_row_fini(&row);
	return r;
}
