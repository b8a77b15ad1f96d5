/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "store/db.h"
#include "unit/unit_priv.h"

#define APPLICATION_ID 0x4c434d55 /* "LCMU" */
#define SCHEMA_VERSION 1
#define BUSY_MS 60000

static const char schema[] = "CREATE TABLE pools("
			     " name TEXT PRIMARY KEY,"
			     " id TEXT NOT NULL UNIQUE,"
			     " path TEXT NOT NULL UNIQUE,"
			     " backend INTEGER NOT NULL CHECK(backend >= 0),"
			     " floor INTEGER NOT NULL CHECK(floor >= 0),"
			     " thin INTEGER NOT NULL CHECK(thin IN (0, 1))) STRICT;"
			     "CREATE TABLE units("
			     " seq INTEGER PRIMARY KEY AUTOINCREMENT CHECK(seq > 0),"
			     " id TEXT NOT NULL UNIQUE,"
			     " owner TEXT NOT NULL UNIQUE,"
			     " name TEXT NOT NULL UNIQUE,"
			     " pool TEXT NOT NULL REFERENCES pools(name),"
			     " size INTEGER NOT NULL CHECK(size > 0),"
			     " reserved INTEGER NOT NULL CHECK(reserved >= 0),"
			     " created INTEGER NOT NULL,"
			     " op TEXT NOT NULL,"
			     " op_bytes INTEGER NOT NULL,"
			     " user TEXT NOT NULL) STRICT;"
			     "CREATE TABLE snaps("
			     " unit INTEGER NOT NULL REFERENCES units(seq) ON DELETE CASCADE,"
			     " name TEXT NOT NULL,"
			     " size INTEGER NOT NULL CHECK(size > 0),"
			     " reserved INTEGER NOT NULL CHECK(reserved >= 0),"
			     " created INTEGER NOT NULL,"
			     " op TEXT NOT NULL,"
			     " PRIMARY KEY(unit, name)) STRICT, WITHOUT ROWID;";

#define POOL_COLUMNS "name, id, path, backend, floor, thin"
#define UNIT_COLUMNS "seq, id, owner, name, pool, size, reserved, created, op, op_bytes, user"
#define SNAP_COLUMNS "name, size, reserved, created, op"

static const char *const stmt_text[UNIT_STMT_MAX] = {
	[UNIT_STMT_POOL_ADD] = "INSERT INTO pools(" POOL_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[UNIT_STMT_POOL_GET] = "SELECT " POOL_COLUMNS " FROM pools WHERE name = ?1",
	[UNIT_STMT_POOL_AFTER] = "SELECT " POOL_COLUMNS
				 " FROM pools WHERE name > ?1 ORDER BY name LIMIT 1",
	[UNIT_STMT_POOL_REMOVE] = "DELETE FROM pools WHERE name = ?1",
	[UNIT_STMT_ADD] = "INSERT INTO units(id, owner, name, pool, size, reserved, created, op, "
			  "op_bytes, user) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, '')",
	[UNIT_STMT_GET] = "SELECT " UNIT_COLUMNS
			  " FROM units WHERE ?1 IN (name, id, owner) ORDER BY seq LIMIT 1",
	[UNIT_STMT_BY_SEQ] = "SELECT " UNIT_COLUMNS " FROM units WHERE seq = ?1",
	[UNIT_STMT_AFTER] = "SELECT " UNIT_COLUMNS
			    " FROM units WHERE seq > ?1 ORDER BY seq LIMIT 1",
	[UNIT_STMT_SET] =
	    "UPDATE units SET size = ?2, reserved = ?3, op = ?4, op_bytes = ?5 WHERE seq = ?1",
	[UNIT_STMT_USER] = "UPDATE units SET user = ?2 WHERE seq = ?1",
	[UNIT_STMT_POOL] = "UPDATE units SET pool = ?2 WHERE seq = ?1",
	[UNIT_STMT_REMOVE] = "DELETE FROM units WHERE seq = ?1",
	[UNIT_STMT_SNAP_ADD] = "INSERT INTO snaps(unit, " SNAP_COLUMNS
			       ") VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[UNIT_STMT_SNAP_GET] = "SELECT " SNAP_COLUMNS " FROM snaps WHERE unit = ?1 AND name = ?2",
	[UNIT_STMT_SNAP_NEXT] = "SELECT " SNAP_COLUMNS
				" FROM snaps WHERE unit = ?1 AND (created, name) > (?2, ?3) "
				"ORDER BY created, name LIMIT 1",
	[UNIT_STMT_SNAP_SET] = "UPDATE snaps SET op = ?3 WHERE unit = ?1 AND name = ?2",
	[UNIT_STMT_SNAP_REMOVE] = "DELETE FROM snaps WHERE unit = ?1 AND name = ?2",
	[UNIT_STMT_PROMISED] =
	    "SELECT count(*), ifnull((SELECT sum(s.reserved) FROM snaps s JOIN units w ON s.unit = "
	    "w.seq WHERE w.pool = ?1), 0) FROM units WHERE pool = ?1",
};

static int exec(struct lcm_units *u, const char *sql, struct lcm_err *err)
{
	return sqlite3_exec(u->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : unit_db_fail(u, err);
}

static int ask(struct lcm_units *u, const char *sql, int64_t *ret, struct lcm_err *err)
{
	sqlite3_stmt *q = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(u->db, sql, -1, &q, NULL) == SQLITE_OK &&
	    sqlite3_step(q) == SQLITE_ROW)
		*ret = sqlite3_column_int64(q, 0);
	else
		r = unit_db_fail(u, err);
	(void)sqlite3_finalize(q);
	return r;
}

/* Return: 1 (ours), 0 (new), -errno (somebody else's). */
static int identify(struct lcm_units *u, struct lcm_err *err)
{
	int64_t app = 0, version = 0, tables = 0;
	int r = ask(u, "PRAGMA application_id", &app, err);

	if (r == 0)
		r = ask(u, "PRAGMA user_version", &version, err);
	if (r == 0)
		r = ask(u, "SELECT count(*) FROM sqlite_schema", &tables, err);
	if (r < 0)
		return r;
	if (app == APPLICATION_ID && version > SCHEMA_VERSION)
		return lcm_err_set(err, -EPROTONOSUPPORT,
				   "%s/units.db was written by a newer locum; update locum",
				   u->root);
	if (app == APPLICATION_ID && version == SCHEMA_VERSION)
		return 1;
	if (app || version || tables)
		return lcm_err_set(err, -EUCLEAN, "%s/units.db is not locum's; move it away",
				   u->root);
	return 0;
}

/* Once more, with other processes kept out: one of them may have been first. */
static int create(struct lcm_units *u, struct lcm_err *err)
{
	char pragmas[96];
	int r = identify(u, err);

	if (r)
		return LCM_MIN(r, 0);
	(void)snprintf(pragmas, sizeof(pragmas),
		       "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
		       SCHEMA_VERSION);
	r = exec(u, schema, err);
	return r < 0 ? r : exec(u, pragmas, err);
}

static int prepare_all(struct lcm_units *u, struct lcm_err *err)
{
	for (size_t i = 0; i < UNIT_STMT_MAX; i++)
		if (sqlite3_prepare_v3(u->db, stmt_text[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &u->stmts[i], NULL) != SQLITE_OK)
			return unit_db_fail(u, err);
	return 0;
}

int unit_db_open(struct lcm_units *u, struct lcm_err *err)
{
	static const char setup[] = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; "
				    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
				    "foreign_keys = ON";
	char path[4096];
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/units.db", u->root) >= sizeof(path))
		return -ENAMETOOLONG;
	if (sqlite3_open_v2(path, &u->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX |
				SQLITE_OPEN_NOFOLLOW,
			    NULL) != SQLITE_OK)
		return unit_db_fail(u, err);
	(void)sqlite3_extended_result_codes(u->db, 1);
	(void)sqlite3_busy_timeout(u->db, BUSY_MS);
	(void)sqlite3_db_config(u->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	r = exec(u, setup, err);
	if (r == 0)
		r = identify(u, err);
	if (r == 0) {
		r = unit_db_begin(u, err);
		if (r == 0)
			r = unit_db_end(u, create(u, err), err);
	}
	return r < 0 ? r : prepare_all(u, err);
}

void unit_db_close(struct lcm_units *u)
{
	for (size_t i = 0; i < UNIT_STMT_MAX; i++)
		(void)sqlite3_finalize(u->stmts[i]);
	(void)sqlite3_close(u->db);
	u->db = NULL;
}
