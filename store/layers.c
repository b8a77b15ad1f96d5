/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "store/db.h"

struct lcm_layer_name lcm_layer_name(int64_t id)
{
	struct lcm_layer_name n;

	(void)snprintf(n.s, sizeof(n.s), "%lld", (long long)id);
	return n;
}

struct lcm_layer_name lcm_layer_map_name(int64_t id)
{
	struct lcm_layer_name n;

	(void)snprintf(n.s, sizeof(n.s), "%lld.map", (long long)id);
	return n;
}

/* Columns in the order of LAYER_COLUMNS. */
static int row_read(sqlite3_stmt *q, struct lcm_layer_row *ret)
{
	struct lcm_layer_row row;
	uint64_t id, state, has_toc, unsynced, damaged;
	int r = lcm_column_u64(q, 0, &id);

	if (r == 0)
		r = lcm_column_digest(q, 1, &row.key.diffid);
	if (r == 0)
		r = lcm_column_digest(q, 2, &row.key.blob);
	if (r == 0)
		r = lcm_column_digest(q, 3, &row.key.source);
	if (r == 0)
		r = lcm_column_u64(q, 4, &state);
	if (r == 0)
		r = lcm_column_u64(q, 5, &has_toc);
	if (r == 0)
		r = lcm_column_u64(q, 6, &row.blob_size);
	if (r == 0)
		r = lcm_column_u64(q, 7, &row.real_bytes);
	if (r == 0)
		r = lcm_column_u64(q, 8, &row.last_used_ns);
	if (r == 0)
		r = lcm_column_u64(q, 9, &unsynced);
	if (r == 0)
		r = lcm_column_u64(q, 10, &damaged);
	if (r < 0)
		return r;
	if (id == 0 || state > LCM_LAYER_PROVEN || has_toc > 1)
		return -EUCLEAN;
	row.id = (int64_t)id;
	row.state = (enum lcm_layer_state)state;
	row.has_toc = has_toc == 1;
	row.damaged = damaged == 1;
	row.unsynced = unsynced != 0;
	*ret = row;
	return 0;
}

/* The one row of @q. Return: 0, -ENOENT, -errno. */
static int row_one(struct lcm_store *s, sqlite3_stmt *q, struct lcm_layer_row *ret)
{
	int r = lcm_stmt_step(s, q);

	return r <= 0 ? (r < 0 ? r : -ENOENT) : row_read(q, ret);
}

/* Runs a statement about layer @id that must change just that row. */
static int row_change(struct lcm_store *s, sqlite3_stmt *q)
{
	int r = lcm_stmt_run(s, q);

	return r < 0 ? r : sqlite3_changes(s->db) == 0 ? -ENOENT : 0;
}

int lcm_store_layer_find(struct lcm_store *s, const struct lcm_layer_key *key,
			 struct lcm_layer_row *ret)
{
	lcm_autostmt sqlite3_stmt *whole = lcm_stmt(s, LCM_STMT_LAYER_BY_BLOB),
				  *part = lcm_stmt(s, LCM_STMT_LAYER_BY_KEY);
	int r;

	lcm_bind_digest(whole, 1, &key->diffid);
	lcm_bind_digest(whole, 2, &key->blob);
	r = row_one(s, whole, ret);
	if (r != -ENOENT)
		return r;
	lcm_bind_digest(part, 1, &key->diffid);
	lcm_bind_digest(part, 2, &key->blob);
	lcm_bind_digest(part, 3, &key->source);
	return row_one(s, part, ret);
}

int lcm_store_layer_get(struct lcm_store *s, int64_t id, struct lcm_layer_row *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_GET);

	(void)sqlite3_bind_int64(q, 1, id);
	return row_one(s, q, ret);
}

static int row_after(struct lcm_store *s, int64_t id, struct lcm_layer_row *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_AFTER);

	(void)sqlite3_bind_int64(q, 1, id);
	return row_one(s, q, ret);
}

int lcm_store_layer_each(struct lcm_store *s, int (*fn)(void *arg, const struct lcm_layer_row *row),
			 void *arg)
{
	struct lcm_layer_row row = { 0 };
	int r;

	while ((r = row_after(s, row.id, &row)) == 0) {
		r = fn(arg, &row);
		if (r != 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

/* The row and its empty directory; the id may have been given before to a row that was never
 * committed. */
static int layer_insert(struct lcm_store *s, const struct lcm_layer_key *key, uint64_t blob_size,
			int64_t *ret_id)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_ADD);
	int64_t id;
	int r;

	lcm_bind_digest(q, 1, &key->diffid);
	lcm_bind_digest(q, 2, &key->blob);
	lcm_bind_digest(q, 3, &key->source);
	lcm_bind_u64(q, 4, blob_size);
	lcm_bind_u64(q, 5, lcm_realtime_ns());
	r = lcm_stmt_run(s, q);
	if (r < 0)
		return r;
	id = sqlite3_last_insert_rowid(s->db);
	r = lcm_trash_layer(s, id, true, true, true);
	if (r == 0)
		r = lcm_sys_mkdirat(s->dirs[LCM_DIR_REAL], lcm_layer_name(id).s, 0755);
	if (r == 0)
		*ret_id = id;
	return r;
}

int lcm_store_layer_add(struct lcm_store *s, const struct lcm_layer_key *key, uint64_t blob_size,
			struct lcm_layer_row *ret, struct lcm_err *err)
{
	struct lcm_layer_row row;
	char hex[LCM_DIGEST_STR];
	int64_t id = 0;
	int r;

	if (blob_size > INT64_MAX)
		return lcm_err_set(err, -EINVAL, "layer %s: a blob of %llu bytes",
				   lcm_digest_str(&key->diffid, hex),
				   (unsigned long long)blob_size);
	r = lcm_db_begin(s);
	if (r == 0) {
		r = layer_insert(s, key, blob_size, &id);
		if (r == 0)
			r = lcm_store_layer_get(s, id, &row);
		r = lcm_db_end(s, r);
	}
	if (r < 0)
		return lcm_err_set(err, r, "layer %s cannot be added to %s: %s",
				   lcm_digest_str(&key->diffid, hex), s->root, strerror(-r));
	*ret = row;
	return 0;
}

int lcm_store_layer_touch(struct lcm_store *s, int64_t id)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_TOUCH);

	(void)sqlite3_bind_int64(q, 1, id);
	lcm_bind_u64(q, 2, lcm_realtime_ns());
	return row_change(s, q);
}

int lcm_store_layer_user(struct lcm_store *s, int64_t id, char ret_mount[65])
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_USER);
	int r;

	(void)sqlite3_bind_int64(q, 1, id);
	r = lcm_stmt_step(s, q);
	if (r > 0)
		(void)snprintf(ret_mount, 65, "%s", (const char *)sqlite3_column_text(q, 0));
	return r;
}

int lcm_store_layer_damage(struct lcm_store *s, int64_t id)
{
	sqlite3_stmt *q;
	int r = lcm_db_begin(s);

	if (r < 0)
		return r;
	q = lcm_stmt(s, LCM_STMT_LAYER_DISOWN);
	(void)sqlite3_bind_int64(q, 1, id);
	r = row_change(s, q);
	if (r == 0) {
		q = lcm_stmt(s, LCM_STMT_LAYER_DAMAGED);
		(void)sqlite3_bind_int64(q, 1, id);
		r = lcm_stmt_run(s, q);
	}
	return lcm_db_end(s, r);
}

int lcm_store_layer_set_toc(struct lcm_store *s, int64_t id)
{
	sqlite3_stmt *q;
	struct stat st;
	int r = lcm_sys_fstatat(s->dirs[LCM_DIR_TOC], lcm_layer_name(id).s, &st,
				AT_SYMLINK_NOFOLLOW);

	if (r < 0)
		return r;
	q = lcm_stmt(s, LCM_STMT_LAYER_SET_TOC);
	(void)sqlite3_bind_int64(q, 1, id);
	return row_change(s, q);
}

int lcm_store_layer_checked(struct lcm_store *s, int64_t id)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_CHECKED);

	(void)sqlite3_bind_int64(q, 1, id);
	return row_change(s, q);
}

int lcm_store_layer_prove(struct lcm_store *s, int64_t id, uint64_t real_bytes)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_PROVE);

	(void)sqlite3_bind_int64(q, 1, id);
	lcm_bind_u64(q, 2, real_bytes);
	return row_change(s, q);
}

int lcm_store_layer_complete(struct lcm_store *s, int64_t id, uint64_t real_bytes)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_COMPLETE);
	int r;

	(void)sqlite3_bind_int64(q, 1, id);
	lcm_bind_u64(q, 2, real_bytes);
	r = row_change(s, q);
	if (r == 0 && lcm_trash_layer(s, id, false, true, false) < 0)
		lcm_debug("store: layer=%lld blob stays until the next open", (long long)id);
	return r;
}

static int row_drop(struct lcm_store *s, const struct lcm_layer_row *row, bool keep_toc)
{
	sqlite3_stmt *q;
	int r = 0;

	if (keep_toc) {
		q = lcm_stmt(s, LCM_STMT_TOC_KEEP);
		(void)sqlite3_bind_int64(q, 1, row->id);
		r = lcm_stmt_run(s, q);
	}
	if (r < 0)
		return r;
	q = lcm_stmt(s, LCM_STMT_LAYER_DROP);
	(void)sqlite3_bind_int64(q, 1, row->id);
	return row_change(s, q);
}

int lcm_store_layer_drop(struct lcm_store *s, int64_t id, bool keep_toc, struct lcm_err *err)
{
	struct lcm_layer_row row;
	char user[65];
	int r = lcm_store_layer_get(s, id, &row);

	if (r == 0)
		r = lcm_store_layer_user(s, id, user);
	if (r > 0)
		return lcm_err_set(err, -EBUSY,
				   "layer %lld is used by mount %s; unmount that first",
				   (long long)id, user);
	if (r == 0)
		r = lcm_db_begin(s);
	if (r < 0)
		return lcm_err_set(err, r, "layer %lld cannot be dropped: %s", (long long)id,
				   strerror(-r));
	keep_toc = keep_toc && row.has_toc;
	r = lcm_db_end(s, row_drop(s, &row, keep_toc));
	if (r < 0)
		return lcm_err_set(err, r, "layer %lld cannot be dropped: %s", (long long)id,
				   strerror(-r));
	if (lcm_trash_layer(s, id, true, true, !keep_toc) < 0 || lcm_trash_stacks(s, id) < 0)
		lcm_debug("store: layer=%lld files stay until the next open", (long long)id);
	return 0;
}

int lcm_store_toc_find(struct lcm_store *s, const struct lcm_layer_key *key, int64_t *ret_id)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_TOC_FIND);
	int r;

	lcm_bind_digest(q, 1, &key->diffid);
	lcm_bind_digest(q, 2, &key->blob);
	lcm_bind_digest(q, 3, &key->source);
	r = lcm_stmt_step(s, q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret_id = sqlite3_column_int64(q, 0);
	return 0;
}

int lcm_store_toc_drop(struct lcm_store *s, int64_t id)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_TOC_DROP);
	int r;

	(void)sqlite3_bind_int64(q, 1, id);
	r = row_change(s, q);
	if (r == 0 && lcm_trash_layer(s, id, false, false, true) < 0)
		lcm_debug("store: toc=%lld stays until the next open", (long long)id);
	return r;
}
