/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db.h - what the files of the store share: the object, its directories, its statements.
 *
 * Layer: store; units have their own database and use the helpers of SQLite. Threads: one owner,
 * but for the trash (lcm_trash_*).
 */
#ifndef LCM_DB_H
#define LCM_DB_H

#include <sqlite3.h>

#include "store/store.h"

enum lcm_store_dir {
	LCM_DIR_REAL,
	LCM_DIR_BLOBS,
	LCM_DIR_TOC,
	LCM_DIR_SEALS,
	LCM_DIR_METER, /* what mounts have of limits of their own; who writes it clears it away */
	LCM_DIR_META,
	LCM_DIR_TMP,
	LCM_DIR_CONTAINERS,
	LCM_DIR_SNAPSHOTS,
	LCM_STORE_DIR_MAX,
};

/* The statements, prepared once; their text is in db.c. */
enum lcm_stmt {
	LCM_STMT_SAVEPOINT,
	LCM_STMT_RELEASE,
	LCM_STMT_ROLLBACK,
	LCM_STMT_PROP_GET,
	LCM_STMT_PROP_PUT,
	LCM_STMT_LAYER_BY_BLOB,
	LCM_STMT_LAYER_BY_KEY,
	LCM_STMT_LAYER_GET,
	LCM_STMT_LAYER_AFTER,
	LCM_STMT_LAYER_ADD,
	LCM_STMT_LAYER_SET_TOC,
	LCM_STMT_LAYER_COMPLETE,
	LCM_STMT_LAYER_PROVE,
	LCM_STMT_LAYER_RESET,
	LCM_STMT_LAYER_CHECKED,
	LCM_STMT_LAYER_TOUCH,
	LCM_STMT_LAYER_DROP,
	LCM_STMT_LAYER_USER,
	LCM_STMT_LAYER_DISOWN,
	LCM_STMT_LAYER_DAMAGED,
	LCM_STMT_TOC_KEEP,
	LCM_STMT_TOC_FIND,
	LCM_STMT_TOC_GET,
	LCM_STMT_TOC_DROP,
	LCM_STMT_IMAGE_PUT,
	LCM_STMT_IMAGE_GET,
	LCM_STMT_IMAGE_AFTER,
	LCM_STMT_IMAGE_UNREAD_AFTER,
	LCM_STMT_IMAGE_TOUCH,
	LCM_STMT_IMAGE_READ,
	LCM_STMT_IMAGE_REMOVE,
	LCM_STMT_IMAGE_LAYERS_CLEAR,
	LCM_STMT_IMAGE_LAYER_ADD,
	LCM_STMT_IMAGE_LAYERS,
	LCM_STMT_MOUNT_PUT,
	LCM_STMT_MOUNT_GET,
	LCM_STMT_MOUNT_AFTER,
	LCM_STMT_MOUNT_REMOVE,
	LCM_STMT_MOUNT_LAYERS_CLEAR,
	LCM_STMT_MOUNT_LAYER_ADD,
	LCM_STMT_MOUNT_LAYERS,
	LCM_STMT_MOUNT_TOUCH,
	LCM_STMT_SNAPSHOT_ADD,
	LCM_STMT_SNAPSHOT_GET,
	LCM_STMT_SNAPSHOT_BY_ID,
	LCM_STMT_SNAPSHOT_AFTER,
	LCM_STMT_SNAPSHOT_CHILDREN,
	LCM_STMT_SNAPSHOT_LABEL,
	LCM_STMT_SNAPSHOT_COMMIT,
	LCM_STMT_SNAPSHOT_MEASURED,
	LCM_STMT_SNAPSHOT_REMOVE,
	LCM_STMT_SNAPSHOT_IMAGE_ADD,
	LCM_STMT_SNAPSHOT_IMAGES_UNUSED,
	LCM_STMT_SNAPSHOT_IMAGE_FORGET,
	LCM_STMT_TOTALS,
	LCM_STMT_MAX,
};

struct lcm_store {
	char *root;                        /* owned; absolute, no symbolic links */
	char *boot;                        /* owned; id of the boot that this is */
	int root_fd, lock_fd;              /* owned */
	int dirs[LCM_STORE_DIR_MAX];       /* owned */
	int trash_fd;                      /* owned; tmp/.trash */
	sqlite3 *db;                       /* owned */
	sqlite3_stmt *stmts[LCM_STMT_MAX]; /* owned */
};

/* ---- db.c ---- */
/** lcm_sqlite_errno - the -errno of the last call on @db that failed: -EUCLEAN for a damaged file
 * or a schema that is not ours, -EBUSY, -EEXIST (unique), -ENOENT (foreign key), -ENOSPC, ... */
int lcm_sqlite_errno(sqlite3 *db);
/** lcm_db_open - open or create @root/locum.db, check it, prepare every statement. Errors as
 * lcm_store_open(). */
LCM_MUST_USE int lcm_db_open(struct lcm_store *s, struct lcm_err *err);
void lcm_db_close(struct lcm_store *s);
/** lcm_db_fail - the -errno of SQLite's last error, its text after @what and the database's path.
 */
int lcm_db_fail(struct lcm_store *s, const char *what, struct lcm_err *err);
/** lcm_db_begin - a (nested) transaction; always followed by lcm_db_end(). */
LCM_MUST_USE int lcm_db_begin(struct lcm_store *s);
/** lcm_db_end - commit when @r is 0, else undo. Return: @r, or why the commit failed (then all is
 * undone). */
LCM_MUST_USE int lcm_db_end(struct lcm_store *s, int r);
/** lcm_stmt - a statement, reset, its parameters cleared; lcm_stmt_done() when through with it. */
sqlite3_stmt *lcm_stmt(struct lcm_store *s, enum lcm_stmt which);
/** lcm_stmt_step - Return: 1 (a row), 0 (no more), -errno. */
LCM_MUST_USE int lcm_stmt_step(struct lcm_store *s, sqlite3_stmt *q);
/** lcm_stmt_run - step a statement without rows to its end and reset it. Return: 0 or -errno. */
LCM_MUST_USE int lcm_stmt_run(struct lcm_store *s, sqlite3_stmt *q);
void lcm_stmt_done(sqlite3_stmt **q); /* for cleanup */
#define lcm_autostmt LCM_CLEANUP(lcm_stmt_done)

void lcm_bind_digest(sqlite3_stmt *q, int at, const struct lcm_digest *d);
void lcm_bind_u64(sqlite3_stmt *q, int at,
		  uint64_t v); /* values over INT64_MAX are kept as INT64_MAX */
void lcm_bind_text(sqlite3_stmt *q, int at, const char *s);
/* Columns of a row that somebody may have damaged. Return: 0; -EUCLEAN (wrong type or size);
 * -ENOMEM. */
LCM_MUST_USE int lcm_column_digest(sqlite3_stmt *q, int at, struct lcm_digest *ret);
LCM_MUST_USE int lcm_column_u64(sqlite3_stmt *q, int at, uint64_t *ret);
/** lcm_column_ids - the first column of every row of @q, steps it to its end. *ret is owned by the
 * caller, NULL when there is none. */
LCM_MUST_USE int lcm_column_ids(struct lcm_store *s, sqlite3_stmt *q, int64_t **ret, size_t *ret_n);
LCM_MUST_USE int lcm_column_bytes(sqlite3_stmt *q, int at, char **ret, size_t *ret_len);

/* ---- garbage.c ---- */
/** lcm_fresh_check - before a database is made: are the directories as empty as it will be? Return:
 * 0; -EUCLEAN; -errno. */
LCM_MUST_USE int lcm_fresh_check(struct lcm_store *s, struct lcm_err *err);
/** lcm_garbage_collect - at open: what no row names goes into the trash, rows are put right. */
LCM_MUST_USE int lcm_garbage_collect(struct lcm_store *s, struct lcm_err *err);
/** lcm_trash_move - get @name below @dir out of sight, in one rename; missing is success. Thread:
 * any. */
LCM_MUST_USE int lcm_trash_move(struct lcm_store *s, enum lcm_store_dir dir, const char *name);
/** lcm_trash_layer - a layer's blob, map and unpacked tree; its TOC too when @toc. */
LCM_MUST_USE int lcm_trash_layer(struct lcm_store *s, int64_t id, bool real, bool blob, bool toc);
/** lcm_trash_stacks - what is kept of stacks of layers whose topmost is @id. */
LCM_MUST_USE int lcm_trash_stacks(struct lcm_store *s, int64_t id);

/* Names below the directories. */
struct lcm_layer_name {
	char s[32];
};
struct lcm_layer_name lcm_layer_name(int64_t id);
struct lcm_layer_name lcm_layer_map_name(int64_t id);

#endif
