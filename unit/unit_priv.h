/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_priv.h - what the files of the layout manager share.
 *
 * Layer: unit, private to this folder. Threads: one per struct lcm_units.
 */
#ifndef LCM_UNIT_PRIV_H
#define LCM_UNIT_PRIV_H

#include <sqlite3.h>

#include "image/json.h"
#include "unit/backend.h"
#include "unit/unit.h"

#define UNIT_DATA "data"
#define UNIT_DATA_NEW "data.new"
#define UNIT_SNAP "snap"
#define UNIT_JSON "unit.json"
#define UNIT_MARK ".locum-unit"
#define POOL_JSON "pool.json"
#define POOL_TMP ".tmp"
#define POOL_TRASH ".trash"

/* What was begun, as it stands in the database. */
#define OP_CREATE "create"
#define OP_DELETE "delete"
#define OP_IMPORT "import"
#define OP_MOVE "move"
#define OP_RESIZE "resize"
#define OP_ROLLBACK "rollback"

enum unit_stmt {
	UNIT_STMT_POOL_ADD,
	UNIT_STMT_POOL_GET,
	UNIT_STMT_POOL_AFTER,
	UNIT_STMT_POOL_REMOVE,
	UNIT_STMT_ADD,
	UNIT_STMT_GET,
	UNIT_STMT_BY_SEQ,
	UNIT_STMT_AFTER,
	UNIT_STMT_SET,
	UNIT_STMT_USER,
	UNIT_STMT_POOL,
	UNIT_STMT_REMOVE,
	UNIT_STMT_SNAP_ADD,
	UNIT_STMT_SNAP_GET,
	UNIT_STMT_SNAP_NEXT,
	UNIT_STMT_SNAP_SET,
	UNIT_STMT_SNAP_REMOVE,
	UNIT_STMT_PROMISED,
	UNIT_STMT_MAX,
};

struct lcm_units {
	char *root, *run_dir; /* owned */
	int lock;             /* owned; ROOT/units.lock, one byte for each unit */
	sqlite3 *db;          /* owned */
	sqlite3_stmt *stmts[UNIT_STMT_MAX];
	char path[4096]; /* lcm_unit_path() */
};

/* A row with what only this folder needs of it. */
struct unit_row {
	struct lcm_unit v;
	uint64_t reserved; /* bytes that it may come to take of the pool, beside what it has */
	uint64_t op_bytes; /* of a resize: how much of @reserved goes when it ends */
};

struct snap_row {
	struct lcm_unit_snap v;
	int64_t unit;
	uint64_t reserved;
	char op[16];
};

/* ---- db.c ---- */
LCM_MUST_USE int unit_db_open(struct lcm_units *u, struct lcm_err *err);
void unit_db_close(struct lcm_units *u);
/** unit_db_fail - the -errno of SQLite's last error, with its text. */
int unit_db_fail(const struct lcm_units *u, struct lcm_err *err);
/** unit_db_begin - a transaction that other processes wait for; unit_db_end() always follows. */
LCM_MUST_USE int unit_db_begin(struct lcm_units *u, struct lcm_err *err);
/** unit_db_end - commit when @r is 0, else undo. Return: @r, or why the commit failed. */
LCM_MUST_USE int unit_db_end(struct lcm_units *u, int r, struct lcm_err *err);

LCM_MUST_USE int unit_db_pool_add(struct lcm_units *u, const struct lcm_pool *p,
				  struct lcm_err *err);
/** unit_db_pool_get, unit_db_pool_after - by name; the one after it. Return: 1, 0 (none), -errno.
 */
LCM_MUST_USE int unit_db_pool_get(struct lcm_units *u, const char *name, struct lcm_pool *ret,
				  struct lcm_err *err);
LCM_MUST_USE int unit_db_pool_after(struct lcm_units *u, const char *name, struct lcm_pool *ret,
				    struct lcm_err *err);
LCM_MUST_USE int unit_db_pool_remove(struct lcm_units *u, const char *name, struct lcm_err *err);
/** unit_db_promised - how many units the pool has, and what is reserved for their snapshots. */
LCM_MUST_USE int unit_db_promised(struct lcm_units *u, const char *pool, uint64_t *ret_units,
				  uint64_t *ret, struct lcm_err *err);

LCM_MUST_USE int unit_db_add(struct lcm_units *u, struct unit_row *row, struct lcm_err *err);
/** unit_db_get - by name, id or owner. Return: 0, -ENOENT (no text), -errno. */
LCM_MUST_USE int unit_db_get(struct lcm_units *u, const char *key, struct unit_row *ret,
			     struct lcm_err *err);
LCM_MUST_USE int unit_db_by_seq(struct lcm_units *u, int64_t seq, struct unit_row *ret,
				struct lcm_err *err);
/** unit_db_after - the unit after @seq. Return: 1, 0 (no more), -errno. */
LCM_MUST_USE int unit_db_after(struct lcm_units *u, int64_t seq, struct unit_row *ret,
			       struct lcm_err *err);
/** unit_db_set - size, reserved, op and op_bytes of @row. */
LCM_MUST_USE int unit_db_set(struct lcm_units *u, const struct unit_row *row, struct lcm_err *err);
LCM_MUST_USE int unit_db_set_pool(struct lcm_units *u, int64_t seq, const char *pool,
				  struct lcm_err *err);
LCM_MUST_USE int unit_db_set_user(struct lcm_units *u, int64_t seq, const char *user,
				  struct lcm_err *err);
/** unit_db_remove - with its snapshots. */
LCM_MUST_USE int unit_db_remove(struct lcm_units *u, int64_t seq, struct lcm_err *err);

LCM_MUST_USE int unit_db_snap_add(struct lcm_units *u, const struct snap_row *s,
				  struct lcm_err *err);
LCM_MUST_USE int unit_db_snap_get(struct lcm_units *u, int64_t unit, const char *name,
				  struct snap_row *ret, struct lcm_err *err);
/** unit_db_snap_next - the oldest after (@created, @name). Return: 1, 0, -errno. */
LCM_MUST_USE int unit_db_snap_next(struct lcm_units *u, int64_t unit, uint64_t created,
				   const char *name, struct snap_row *ret, struct lcm_err *err);
LCM_MUST_USE int unit_db_snap_op(struct lcm_units *u, int64_t unit, const char *name,
				 const char *op, struct lcm_err *err);
LCM_MUST_USE int unit_db_snap_remove(struct lcm_units *u, int64_t unit, const char *name,
				     struct lcm_err *err);

/* ---- pool.c ---- */
/* A pool in use. */
struct unit_pool {
	struct lcm_pool row;
	const struct lcm_unit_ops *ops;
	int fd, tmp, trash; /* owned */
};
#define UNIT_POOL_NONE                                                                             \
	{                                                                                          \
		.fd = -EBADF, .tmp = -EBADF, .trash = -EBADF                                       \
	}
void unit_pool_close(struct unit_pool *p);
#define autopool LCM_CLEANUP(unit_pool_close)
/** unit_pool_open - by name; NULL: the only one. -ESTALE: another pool, or none, is at its path. */
LCM_MUST_USE int unit_pool_open(struct lcm_units *u, const char *name, struct unit_pool *ret,
				struct lcm_err *err);
/** unit_pool_open_row - by its row, which need not be in the database. */
LCM_MUST_USE int unit_pool_open_row(const struct lcm_pool *row, struct unit_pool *ret,
				    struct lcm_err *err);
/** unit_pool_dir - an existing directory, whose absolute path goes into @p. Return: fd, -errno. */
LCM_MUST_USE int unit_pool_dir(const char *path, struct lcm_pool *p, struct lcm_err *err);
/** unit_pool_take - would @bytes more hold the floor? Within a transaction. Return: 0, -ENOSPC. */
LCM_MUST_USE int unit_pool_take(struct lcm_units *u, const struct unit_pool *p, uint64_t bytes,
				struct lcm_err *err);
/** unit_uuid_new - a random one. */
LCM_MUST_USE int unit_uuid_new(char ret[LCM_UUID]);
/** unit_uuid_ok - is it one, in lower case? */
bool unit_uuid_ok(const char *s);
/** unit_name_ok - may pools, units, snapshots be called so? -EINVAL with a text: no. */
LCM_MUST_USE int unit_name_ok(const char *what, const char *s, struct lcm_err *err);

/* ---- json.c: pool.json and unit.json ---- */
/** unit_json_read - the object in @dir/@name; the caller's. Return: 0, -EUCLEAN, -EFBIG, -errno. */
LCM_MUST_USE int unit_json_read(int dir, const char *name, json_t **ret);
/** unit_json_write - takes @doc; NULL is -ENOMEM. */
LCM_MUST_USE int unit_json_write(int dir, const char *name, json_t *doc);
/** unit_json_is - is member @key the string @value? */
bool unit_json_is(const json_t *doc, const char *key, const char *value);
/** unit_json_text - member @key, a string shorter than @cap. Return: 0, -EUCLEAN. */
LCM_MUST_USE int unit_json_text(const json_t *doc, const char *key, char *out, size_t cap);

/* ---- place.c: a unit's directory in its pool ---- */
/** unit_place_open - POOL/ID, after its unit.json was found to be of @v. Return: fd, -EUCLEAN. */
LCM_MUST_USE int unit_place_open(const struct unit_pool *p, const struct lcm_unit *v,
				 struct lcm_err *err);
/** unit_place_begin - POOL/.tmp/ID with its unit.json and an empty snap/. Return: fd. */
LCM_MUST_USE int unit_place_begin(const struct unit_pool *p, const struct lcm_unit *v,
				  struct lcm_err *err);
/** unit_place_mark - write into the file system of @dir/data whose it is. */
LCM_MUST_USE int unit_place_mark(const struct unit_pool *p, int dir, const struct lcm_unit *v,
				 struct lcm_err *err);
/** unit_place_marked - is what is mounted at @mnt the unit @v? Return: 0, -EUCLEAN (text). */
LCM_MUST_USE int unit_place_marked(int mnt, const struct lcm_unit *v, struct lcm_err *err);
/** unit_place_end - from .tmp to its place. */
LCM_MUST_USE int unit_place_end(const struct unit_pool *p, const char *id, struct lcm_err *err);
/** unit_place_remove - from wherever it is in the pool, by way of .trash. Missing is success. */
LCM_MUST_USE int unit_place_remove(const struct unit_pool *p, const char *id, struct lcm_err *err);

/* ---- unit.c ---- */
/* A unit under its lock, with its pool. */
struct unit_hold {
	struct lcm_units *u;
	struct unit_row row;
	struct unit_pool pool;
	int dir; /* owned; POOL/ID */
};
#define UNIT_HOLD_NONE                                                                             \
	{                                                                                          \
		.pool = UNIT_POOL_NONE, .dir = -EBADF                                              \
	}
/** unit_hold - wait for the lock, undo or finish what was begun, open what a verb needs. */
LCM_MUST_USE int unit_hold(struct lcm_units *u, const char *key, struct unit_hold *ret,
			   struct lcm_err *err);
/** unit_try_hold - as unit_hold(), but -EAGAIN when somebody else has the lock. */
LCM_MUST_USE int unit_try_hold(struct lcm_units *u, const char *key, struct unit_hold *ret,
			       struct lcm_err *err);
void unit_release(struct unit_hold *h);
#define autohold LCM_CLEANUP(unit_release)
/** unit_lock - one unit's lock; kept until unit_unlock() or the end of the process. @wait: else
 * -EAGAIN. */
LCM_MUST_USE int unit_lock(struct lcm_units *u, int64_t seq, bool wait);
void unit_unlock(struct lcm_units *u, int64_t seq);
/** unit_idle - it is neither attached nor had by a mount. -EBUSY: text says by what. */
LCM_MUST_USE int unit_idle(const struct unit_hold *h, const char *to_do, struct lcm_err *err);
/** unit_is_attached - is something mounted at lcm_unit_path()? */
bool unit_is_attached(struct lcm_units *u, const struct lcm_unit *v);
/** unit_begin - a new row whose @op was begun, locked before others can see it. */
LCM_MUST_USE int unit_begin(struct lcm_units *u, const struct unit_pool *p,
			    const struct lcm_unit_options *o, const char *op, struct unit_row *row,
			    struct lcm_err *err);
/** unit_end - its op has ended. @copy: it shares blocks, each that is written is a new one. */
LCM_MUST_USE int unit_end(struct lcm_units *u, const struct unit_pool *p, struct unit_row *row,
			  bool copy, struct lcm_err *err);
/** unit_lock_row - a row under its lock, whatever was begun. Return: 0, -ENOENT (text), -errno. */
LCM_MUST_USE int unit_lock_row(struct lcm_units *u, const char *key, bool wait,
			       struct unit_hold *ret, struct lcm_err *err);
LCM_MUST_USE int unit_size_ok(uint64_t size, struct lcm_err *err);
/** unit_round - up to a whole block. */
uint64_t unit_round(uint64_t size);
/** unit_resized - what the database says after a resize that came to @size. */
void unit_resized(const struct unit_pool *p, struct unit_row *row, uint64_t size);
/** unit_sync - write back what is attached. Return: 1 (it is attached), 0, -errno. */
LCM_MUST_USE int unit_sync(const struct unit_hold *h, struct lcm_err *err);

/* ---- snap.c ---- */
struct unit_object {
	char s[sizeof(UNIT_SNAP) + LCM_UNIT_NAME];
};
/** unit_snap_object - "snap/NAME"; longer names, which none are, are cut. */
struct unit_object unit_snap_object(const char *snap);
/** unit_snap_get - Return: 0, -ENOENT (text). */
LCM_MUST_USE int unit_snap_get(const struct unit_hold *h, const char *snap, struct snap_row *ret,
			       struct lcm_err *err);

/* ---- move.c ---- */
/** unit_move_end - remove what lies in other pools than the row's, then the note. */
LCM_MUST_USE int unit_move_end(struct lcm_units *u, struct unit_row *row, struct lcm_err *err);

/* ---- recover.c ---- */
/** unit_recover - finish or undo what was begun; the lock is held, the object is perhaps not whole.
 * Return: 0; 1 (the unit is gone); -errno. */
LCM_MUST_USE int unit_recover(struct lcm_units *u, const struct unit_pool *p, struct unit_row *row,
			      struct lcm_err *err);

#endif
