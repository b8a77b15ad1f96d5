/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include <stdio.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

#define APPLICATION_ID 0x4c434d31 /* "LCM1" */
#define SCHEMA_VERSION 4

static const char schema[] =
    "CREATE TABLE props(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "CREATE TABLE layers("
    " id INTEGER PRIMARY KEY AUTOINCREMENT CHECK(id > 0),"
    " diffid BLOB NOT NULL CHECK(length(diffid) = 32),"
    " blob BLOB NOT NULL CHECK(length(blob) = 32),"
    " source BLOB NOT NULL CHECK(length(source) = 32),"
    " state INTEGER NOT NULL CHECK(state IN (0, 1, 2)),"
    " has_toc INTEGER NOT NULL CHECK(has_toc IN (0, 1)),"
    " blob_size INTEGER NOT NULL CHECK(blob_size >= 0),"
    " real_bytes INTEGER NOT NULL CHECK(real_bytes >= 0),"
    " last_used INTEGER NOT NULL,"
    " UNIQUE(diffid, blob, source)) STRICT;"
    /* TOCs that outlive their layer; the id was the layer's. */
    "CREATE TABLE tocs("
    " id INTEGER PRIMARY KEY,"
    " diffid BLOB NOT NULL CHECK(length(diffid) = 32),"
    " blob BLOB NOT NULL CHECK(length(blob) = 32),"
    " source BLOB NOT NULL CHECK(length(source) = 32),"
    " proven INTEGER NOT NULL CHECK(proven IN (0, 1))) STRICT;"
    "CREATE INDEX tocs_diffid ON tocs(diffid);"
    "CREATE TABLE images("
    " ref TEXT PRIMARY KEY,"
    " manifest BLOB NOT NULL CHECK(length(manifest) = 32),"
    " manifest_json BLOB NOT NULL,"
    " config_json BLOB NOT NULL,"
    " created INTEGER NOT NULL,"
    " last_used INTEGER NOT NULL) STRICT;"
    "CREATE TABLE image_layers("
    " ref TEXT NOT NULL REFERENCES images(ref) ON DELETE CASCADE ON UPDATE CASCADE,"
    " pos INTEGER NOT NULL,"
    " layer INTEGER NOT NULL REFERENCES layers(id) ON DELETE CASCADE,"
    " PRIMARY KEY(ref, pos)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX image_layers_layer ON image_layers(layer);"
    "CREATE TABLE mounts("
    " id TEXT PRIMARY KEY,"
    " image TEXT NOT NULL,"
    " target TEXT NOT NULL,"
    " read_only INTEGER NOT NULL CHECK(read_only IN (0, 1)),"
    " keep_upper INTEGER NOT NULL CHECK(keep_upper IN (0, 1))) STRICT;"
    "CREATE TABLE mount_layers("
    " mount TEXT NOT NULL REFERENCES mounts(id) ON DELETE CASCADE,"
    " pos INTEGER NOT NULL,"
    " layer INTEGER NOT NULL REFERENCES layers(id),"
    " PRIMARY KEY(mount, pos)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX mount_layers_layer ON mount_layers(layer);";

/* What version 2 has more: containerd's snapshots. */
static const char schema_2[] = "CREATE TABLE snapshots("
			       " id INTEGER PRIMARY KEY AUTOINCREMENT CHECK(id > 0),"
			       " name TEXT NOT NULL UNIQUE,"
			       " parent TEXT REFERENCES snapshots(name),"
			       " labels TEXT NOT NULL,"
			       " image TEXT,"
			       " depth INTEGER NOT NULL CHECK(depth >= 0),"
			       " kind INTEGER NOT NULL CHECK(kind IN (1, 2, 3)),"
			       " created INTEGER NOT NULL,"
			       " updated INTEGER NOT NULL,"
			       " size INTEGER,"
			       " inodes INTEGER) STRICT;"
			       "CREATE INDEX snapshots_parent ON snapshots(parent);"
			       "CREATE INDEX snapshots_image ON snapshots(image);"
			       "CREATE TABLE snapshot_images(ref TEXT PRIMARY KEY) STRICT;";

/* And version 3: layers that are not given to new mounts; what a reboot has left unproven, and how
 * a mount is made again after one. */
static const char schema_3[] = "CREATE TABLE damaged(layer INTEGER PRIMARY KEY"
			       " REFERENCES layers(id) ON DELETE CASCADE) STRICT;"
			       "ALTER TABLE layers ADD COLUMN unsynced INTEGER NOT NULL DEFAULT 0"
			       " CHECK(unsynced IN (0, 1));"
			       "ALTER TABLE mounts ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
			       "ALTER TABLE mounts ADD COLUMN unit TEXT NOT NULL DEFAULT '';"
			       "ALTER TABLE mounts ADD COLUMN offline INTEGER NOT NULL DEFAULT 0"
			       " CHECK(offline IN (0, 1));"
			       "ALTER TABLE mounts ADD COLUMN deadline INTEGER NOT NULL DEFAULT 0;"
			       "ALTER TABLE mounts ADD COLUMN big_data INTEGER NOT NULL DEFAULT 0;"
			       "ALTER TABLE mounts ADD COLUMN big_exec INTEGER NOT NULL DEFAULT 0;";

/* And version 4: what isolated functions have read of manifests and configs; what happens to
 * readers at their deadline. */
static const char schema_4[] =
    "ALTER TABLE images ADD COLUMN manifest_text TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE images ADD COLUMN config_text TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE mounts ADD COLUMN freeze INTEGER NOT NULL DEFAULT 0 CHECK(freeze IN (0, 1));";

#define LAYER_COLUMNS                                                                              \
	"id, diffid, blob, source, state, has_toc, blob_size, real_bytes, last_used, unsynced, "   \
	"id IN (SELECT layer FROM damaged)"
#define SOUND "id NOT IN (SELECT layer FROM damaged)"
#define IMAGE_COLUMNS                                                                              \
	"ref, manifest, manifest_json, config_json, created, last_used, manifest_text, "           \
	"config_text"
#define MOUNT_COLUMNS                                                                              \
	"id, image, target, read_only, keep_upper, boot, unit, offline, deadline, big_data, "      \
	"big_exec, freeze"
#define SNAPSHOT_COLUMNS                                                                           \
	"id, name, parent, labels, image, depth, kind, created, updated, size, inodes"

static const char *const stmt_text[LCM_STMT_MAX] = {
	[LCM_STMT_SAVEPOINT] = "SAVEPOINT lcm",
	[LCM_STMT_RELEASE] = "RELEASE lcm",
	[LCM_STMT_ROLLBACK] = "ROLLBACK TO lcm",
	[LCM_STMT_PROP_GET] = "SELECT value FROM props WHERE name = ?1",
	[LCM_STMT_PROP_PUT] = "INSERT OR REPLACE INTO props(name, value) VALUES(?1, ?2)",
	[LCM_STMT_LAYER_BY_BLOB] = ("SELECT " LAYER_COLUMNS
				    " FROM layers WHERE diffid = ?1 AND blob = ?2 AND state > 0 "
				    "AND " SOUND " ORDER BY id LIMIT 1"),
	[LCM_STMT_LAYER_BY_KEY] =
	    ("SELECT " LAYER_COLUMNS
	     " FROM layers WHERE diffid = ?1 AND blob = ?2 AND source = ?3 AND " SOUND),
	[LCM_STMT_LAYER_GET] = ("SELECT " LAYER_COLUMNS " FROM layers WHERE id = ?1"),
	[LCM_STMT_LAYER_AFTER] = ("SELECT " LAYER_COLUMNS
				  " FROM layers WHERE id > ?1 ORDER BY id LIMIT 1"),
	[LCM_STMT_LAYER_ADD] =
	    "INSERT INTO layers(diffid, blob, source, state, has_toc, blob_size, real_bytes, "
	    "last_used) VALUES(?1, ?2, ?3, 0, 0, ?4, 0, ?5)",
	[LCM_STMT_LAYER_SET_TOC] = "UPDATE layers SET has_toc = 1 WHERE id = ?1",
	[LCM_STMT_LAYER_COMPLETE] = "UPDATE layers SET state = 1, real_bytes = ?2 WHERE id = ?1",
	[LCM_STMT_LAYER_PROVE] = "UPDATE layers SET state = 2, real_bytes = ?2 WHERE id = ?1",
	[LCM_STMT_LAYER_RESET] =
	    "UPDATE layers SET state = ?2, has_toc = ?3, unsynced = ?4, real_bytes = CASE ?2 WHEN "
	    "0 THEN 0 ELSE real_bytes END WHERE id = ?1",
	[LCM_STMT_LAYER_CHECKED] = "UPDATE layers SET unsynced = 0 WHERE id = ?1",
	[LCM_STMT_LAYER_TOUCH] = "UPDATE layers SET last_used = ?2 WHERE id = ?1",
	[LCM_STMT_LAYER_DROP] = "DELETE FROM layers WHERE id = ?1",
	[LCM_STMT_LAYER_USER] = "SELECT mount FROM mount_layers WHERE layer = ?1 LIMIT 1",
	/* Nobody finds it by its key any more, and another may have that. */
	[LCM_STMT_LAYER_DISOWN] = "UPDATE layers SET source = randomblob(32) WHERE id = ?1",
	[LCM_STMT_LAYER_DAMAGED] = "INSERT OR IGNORE INTO damaged(layer) VALUES(?1)",
	[LCM_STMT_TOC_KEEP] =
	    "INSERT INTO tocs(id, diffid, blob, source, proven) SELECT id, diffid, blob, source, "
	    "state > 0 FROM layers WHERE id = ?1",
	[LCM_STMT_TOC_FIND] =
	    "SELECT id FROM tocs WHERE diffid = ?1 AND blob = ?2 AND (proven = 1 OR source = ?3) "
	    "ORDER BY proven DESC, id DESC LIMIT 1",
	[LCM_STMT_TOC_GET] = "SELECT id FROM tocs WHERE id = ?1",
	[LCM_STMT_TOC_DROP] = "DELETE FROM tocs WHERE id = ?1",
	[LCM_STMT_IMAGE_PUT] =
	    ("INSERT INTO images(" IMAGE_COLUMNS
	     ") VALUES(?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7) ON CONFLICT(ref) DO UPDATE SET"
	     " manifest = excluded.manifest, manifest_json = excluded.manifest_json, config_json = "
	     "excluded.config_json,"
	     " manifest_text = excluded.manifest_text, config_text = excluded.config_text,"
	     " created = excluded.created, last_used = excluded.last_used"),
	[LCM_STMT_IMAGE_GET] = ("SELECT " IMAGE_COLUMNS " FROM images WHERE ref = ?1"),
	[LCM_STMT_IMAGE_AFTER] = ("SELECT " IMAGE_COLUMNS
				  " FROM images WHERE ref > ?1 ORDER BY ref LIMIT 1"),
	[LCM_STMT_IMAGE_UNREAD_AFTER] =
	    ("SELECT " IMAGE_COLUMNS " FROM images WHERE ref > ?1 AND"
	     " (manifest_text = '' OR config_text = '') ORDER BY ref LIMIT 1"),
	[LCM_STMT_IMAGE_TOUCH] = "UPDATE images SET last_used = ?2 WHERE ref = ?1",
	[LCM_STMT_IMAGE_READ] =
	    "UPDATE images SET manifest_text = ?2, config_text = ?3 WHERE ref = ?1",
	[LCM_STMT_IMAGE_REMOVE] = "DELETE FROM images WHERE ref = ?1",
	[LCM_STMT_IMAGE_LAYERS_CLEAR] = "DELETE FROM image_layers WHERE ref = ?1",
	[LCM_STMT_IMAGE_LAYER_ADD] = "INSERT INTO image_layers(ref, pos, layer) VALUES(?1, ?2, ?3)",
	[LCM_STMT_IMAGE_LAYERS] = "SELECT layer FROM image_layers WHERE ref = ?1 ORDER BY pos",
	[LCM_STMT_MOUNT_PUT] =
	    ("INSERT INTO mounts(" MOUNT_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
	     "?10, ?11, ?12) ON CONFLICT(id) DO UPDATE "
	     "SET"
	     " image = excluded.image, target = excluded.target, read_only = excluded.read_only, "
	     "keep_upper = excluded.keep_upper, boot = excluded.boot, unit = excluded.unit, "
	     "offline = excluded.offline, deadline = excluded.deadline, "
	     "big_data = excluded.big_data, big_exec = excluded.big_exec, freeze = "
	     "excluded.freeze"),
	[LCM_STMT_MOUNT_GET] = ("SELECT " MOUNT_COLUMNS " FROM mounts WHERE id = ?1"),
	[LCM_STMT_MOUNT_AFTER] = ("SELECT " MOUNT_COLUMNS
				  " FROM mounts WHERE id > ?1 ORDER BY id LIMIT 1"),
	[LCM_STMT_MOUNT_REMOVE] = "DELETE FROM mounts WHERE id = ?1",
	[LCM_STMT_MOUNT_LAYERS_CLEAR] = "DELETE FROM mount_layers WHERE mount = ?1",
	[LCM_STMT_MOUNT_LAYER_ADD] =
	    "INSERT INTO mount_layers(mount, pos, layer) VALUES(?1, ?2, ?3)",
	[LCM_STMT_MOUNT_LAYERS] = "SELECT layer FROM mount_layers WHERE mount = ?1 ORDER BY pos",
	[LCM_STMT_MOUNT_TOUCH] = "UPDATE layers SET last_used = ?2 WHERE id IN (SELECT layer FROM "
				 "mount_layers WHERE mount = ?1)",
	[LCM_STMT_SNAPSHOT_ADD] =
	    "INSERT INTO snapshots(name, parent, labels, image, depth, kind, created, updated) "
	    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
	[LCM_STMT_SNAPSHOT_GET] = ("SELECT " SNAPSHOT_COLUMNS " FROM snapshots WHERE name = ?1"),
	[LCM_STMT_SNAPSHOT_BY_ID] = "SELECT 1 FROM snapshots WHERE id = ?1",
	[LCM_STMT_SNAPSHOT_AFTER] = ("SELECT " SNAPSHOT_COLUMNS
				     " FROM snapshots WHERE id > ?1 ORDER BY id LIMIT 1"),
	[LCM_STMT_SNAPSHOT_CHILDREN] = "SELECT count(*) FROM snapshots WHERE parent = ?1",
	[LCM_STMT_SNAPSHOT_LABEL] =
	    "UPDATE snapshots SET labels = ?2, updated = ?3 WHERE name = ?1",
	[LCM_STMT_SNAPSHOT_COMMIT] =
	    "UPDATE snapshots SET name = ?2, parent = ?3, labels = ?4, kind = 3, created = ?5, "
	    "updated = ?5 WHERE name = ?1 AND kind = 2",
	[LCM_STMT_SNAPSHOT_MEASURED] = "UPDATE snapshots SET size = ?2, inodes = ?3 WHERE id = ?1",
	[LCM_STMT_SNAPSHOT_REMOVE] = "DELETE FROM snapshots WHERE name = ?1",
	[LCM_STMT_SNAPSHOT_IMAGE_ADD] = "INSERT OR IGNORE INTO snapshot_images(ref) VALUES(?1)",
	[LCM_STMT_SNAPSHOT_IMAGES_UNUSED] =
	    "SELECT ref FROM snapshot_images WHERE NOT EXISTS (SELECT 1 FROM snapshots WHERE image "
	    "= ref)",
	[LCM_STMT_SNAPSHOT_IMAGE_FORGET] = "DELETE FROM snapshot_images WHERE ref = ?1",
	[LCM_STMT_TOTALS] =
	    ("SELECT (SELECT count(*) FROM layers), (SELECT count(*) FROM layers WHERE state = 1), "
	     "(SELECT ifnull(sum(real_bytes), 0) FROM layers),"
	     " (SELECT ifnull(sum(blob_size), 0) FROM layers WHERE state = 0), (SELECT count(*) "
	     "FROM "
	     "images), (SELECT count(*) FROM mounts)"),
};

static int code_errno(sqlite3 *db, int rc)
{
	int e = db ? sqlite3_system_errno(db) : 0;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* our statements are fixed: the schema is not what we made */
	case SQLITE_SCHEMA:
	case SQLITE_MISMATCH:
		return -EUCLEAN;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_CONSTRAINT:
		return rc == SQLITE_CONSTRAINT_FOREIGNKEY ? -ENOENT : -EEXIST;
	default:
		return e > 0 ? -e : -EIO;
	}
}

int lcm_sqlite_errno(sqlite3 *db)
{
	int r = code_errno(db, sqlite3_extended_errcode(db));

	return r == 0 ? -EIO : r;
}

static int damaged(struct lcm_store *s, const char *why, struct lcm_err *err)
{
	return lcm_err_set(err, -EUCLEAN,
			   "%s/locum.db is damaged (%s); nothing was changed. Move %s away and "
			   "start again: layers are "
			   "fetched anew; what containers "
			   "wrote is below its containers/",
			   s->root, why, s->root);
}

int lcm_db_fail(struct lcm_store *s, const char *what, struct lcm_err *err)
{
	int r = s->db ? lcm_sqlite_errno(s->db) : -ENOMEM;

	if (r == -EUCLEAN)
		return damaged(s, s->db ? sqlite3_errmsg(s->db) : what, err);
	return lcm_err_set(err, r, "%s/locum.db: %s: %s", s->root, what,
			   s->db ? sqlite3_errmsg(s->db) : strerror(-r));
}

sqlite3_stmt *lcm_stmt(struct lcm_store *s, enum lcm_stmt which)
{
	sqlite3_stmt *q = s->stmts[which];

	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return q;
}

void lcm_stmt_done(sqlite3_stmt **q)
{
	if (*q) {
		(void)sqlite3_reset(*q);
		(void)sqlite3_clear_bindings(*q); /* bound memory is borrowed */
	}
}

int lcm_stmt_step(struct lcm_store *s, sqlite3_stmt *q)
{
	int rc = sqlite3_step(q);

	if (rc == SQLITE_ROW)
		return 1;
	return code_errno(s->db, rc == SQLITE_DONE ? rc : sqlite3_extended_errcode(s->db));
}

int lcm_stmt_run(struct lcm_store *s, sqlite3_stmt *q)
{
	int r = lcm_stmt_step(s, q);

	lcm_stmt_done(&q);
	return LCM_MIN(r, 0);
}

int lcm_db_begin(struct lcm_store *s)
{
	return lcm_stmt_run(s, lcm_stmt(s, LCM_STMT_SAVEPOINT));
}

int lcm_db_end(struct lcm_store *s, int r)
{
	int e = r < 0 ? r : lcm_stmt_run(s, lcm_stmt(s, LCM_STMT_RELEASE));

	if (e == 0)
		return r;
	/* Some errors (disk full) have rolled everything back already: then there is no savepoint
	 * to go back to. */
	if (!sqlite3_get_autocommit(s->db)) {
		lcm_ignore(lcm_stmt_run(s, lcm_stmt(s, LCM_STMT_ROLLBACK)));
		lcm_ignore(lcm_stmt_run(s, lcm_stmt(s, LCM_STMT_RELEASE)));
	}
	return e;
}

void lcm_bind_digest(sqlite3_stmt *q, int at, const struct lcm_digest *d)
{
	(void)sqlite3_bind_blob(q, at, d->b, sizeof(d->b), SQLITE_STATIC);
}

void lcm_bind_u64(sqlite3_stmt *q, int at, uint64_t v)
{
	(void)sqlite3_bind_int64(q, at, (int64_t)LCM_MIN(v, (uint64_t)INT64_MAX));
}

void lcm_bind_text(sqlite3_stmt *q, int at, const char *s)
{
	(void)sqlite3_bind_text(q, at, s, -1, SQLITE_STATIC);
}

int lcm_column_digest(sqlite3_stmt *q, int at, struct lcm_digest *ret)
{
	const void *p = sqlite3_column_blob(q, at);

	if (!p || sqlite3_column_bytes(q, at) != (int)sizeof(ret->b))
		return -EUCLEAN;
	memcpy(ret->b, p, sizeof(ret->b));
	return 0;
}

int lcm_column_u64(sqlite3_stmt *q, int at, uint64_t *ret)
{
	int64_t v = sqlite3_column_int64(q, at);

	if (sqlite3_column_type(q, at) != SQLITE_INTEGER || v < 0)
		return -EUCLEAN;
	*ret = (uint64_t)v;
	return 0;
}

int lcm_column_bytes(sqlite3_stmt *q, int at, char **ret, size_t *ret_len)
{
	const void *p = sqlite3_column_blob(q, at);
	size_t len = (size_t)sqlite3_column_bytes(q, at);
	char *copy;

	if (sqlite3_column_type(q, at) == SQLITE_NULL ||
	    len > (size_t)LCM_MANIFEST_MAX + LCM_CONFIG_MAX)
		return -EUCLEAN;
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, p, len);
	copy[len] = '\0';
	*ret = copy;
	if (ret_len)
		*ret_len = len;
	return 0;
}

int lcm_column_ids(struct lcm_store *s, sqlite3_stmt *q, int64_t **ret, size_t *ret_n)
{
	lcm_autofree int64_t *ids = NULL;
	size_t n = 0;
	int r;

	while ((r = lcm_stmt_step(s, q)) > 0) {
		int64_t *more = n >= LCM_LAYERS_MAX ? NULL : realloc(ids, (n + 1) * sizeof(*ids));

		if (!more)
			return n >= LCM_LAYERS_MAX ? -EUCLEAN : -ENOMEM;
		ids = more;
		ids[n++] = sqlite3_column_int64(q, 0);
	}
	if (r < 0)
		return r;
	*ret = lcm_steal(&ids);
	*ret_n = n;
	return 0;
}

static int exec(struct lcm_store *s, const char *sql, const char *what, struct lcm_err *err)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
								       : lcm_db_fail(s, what, err);
}

/* The single value of a pragma, as text of at most @cap bytes. */
static int ask(struct lcm_store *s, const char *sql, char *out, size_t cap, struct lcm_err *err)
{
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL), r = 0;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(q);
	if (rc == SQLITE_ROW && sqlite3_column_text(q, 0))
		(void)snprintf(out, cap, "%s", (const char *)sqlite3_column_text(q, 0));
	else
		r = lcm_db_fail(s, sql, err);
	(void)sqlite3_finalize(q);
	return r;
}

static int ask_number(struct lcm_store *s, const char *sql, long *ret, struct lcm_err *err)
{
	char text[24];
	int r = ask(s, sql, text, sizeof(text), err);

	if (r == 0 && sscanf(text, "%ld", ret) != 1)
		return damaged(s, sql, err);
	return r;
}

/* Is this file ours, new, or somebody else's? Nothing is written before that is known. */
static int identify(struct lcm_store *s, bool *ret_fresh, long *ret_version, struct lcm_err *err)
{
	long app = 0, version = 0, tables = 0;
	int r = ask_number(s, "PRAGMA application_id", &app, err);

	if (r == 0)
		r = ask_number(s, "PRAGMA user_version", &version, err);
	if (r == 0)
		r = ask_number(s, "SELECT count(*) FROM sqlite_schema", &tables, err);
	if (r < 0)
		return r;
	*ret_fresh = app == 0 && version == 0 && tables == 0;
	if (*ret_fresh)
		return lcm_fresh_check(s, err);
	if (app != APPLICATION_ID)
		return damaged(s, "it is not locum's", err);
	if (version > SCHEMA_VERSION)
		return lcm_err_set(err, -EPROTONOSUPPORT,
				   "%s was written by a newer locum (schema %ld, this one knows "
				   "%d); update locum or "
				   "name another --root",
				   s->root, version, SCHEMA_VERSION);
	*ret_version = version;
	return version >= 1 ? 0 : damaged(s, "no schema version", err);
}

/* From nothing (@version 0), or from an older schema, in one transaction. */
static int create(struct lcm_store *s, long version, struct lcm_err *err)
{
	char pragmas[96];
	int r = exec(s, "BEGIN IMMEDIATE", "create", err);

	(void)snprintf(pragmas, sizeof(pragmas),
		       "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
		       SCHEMA_VERSION);
	if (r == 0 && version < 1)
		r = exec(s, schema, "create", err);
	if (r == 0 && version < 2)
		r = exec(s, schema_2, "create", err);
	if (r == 0 && version < 3)
		r = exec(s, schema_3, "create", err);
	if (r == 0 && version < 4)
		r = exec(s, schema_4, "create", err);
	if (r == 0)
		r = exec(s, pragmas, "create", err);
	if (r == 0)
		r = exec(s, "COMMIT", "create", err);
	/* The name itself must survive a power cut, as what it names will be believed. */
	return r < 0 ? r : lcm_sys_fsync(s->root_fd);
}

static int prepare_all(struct lcm_store *s, struct lcm_err *err)
{
	for (size_t i = 0; i < LCM_STMT_MAX; i++)
		if (sqlite3_prepare_v3(s->db, stmt_text[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &s->stmts[i], NULL) != SQLITE_OK)
			return lcm_db_fail(s, "prepare", err);
	return 0;
}

int lcm_db_open(struct lcm_store *s, struct lcm_err *err)
{
	/* EXCLUSIVE: the lock file keeps others out already, so WAL needs no shared memory file. */
	static const char setup[] = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; "
				    "PRAGMA cell_size_check = ON";
	static const char setup_ours[] =
	    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";
	lcm_autobuf struct lcm_buf path = LCM_BUF(4096);
	char check[256];
	long version = 0;
	bool fresh = false;
	int r = lcm_buf_printf(&path, "%s/locum.db", s->root);

	if (r < 0)
		return r;
	if (sqlite3_open_v2(lcm_buf_str(&path), &s->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX |
				SQLITE_OPEN_NOFOLLOW,
			    NULL) != SQLITE_OK)
		return lcm_db_fail(s, "open", err);
	(void)sqlite3_extended_result_codes(s->db, 1);
	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	r = exec(s, setup, "open", err);
	if (r == 0)
		r = identify(s, &fresh, &version, err);
	if (r == 0)
		r = exec(s, setup_ours, "open", err);
	if (r == 0 && fresh)
		r = create(s, 0, err);
	if (r == 0)
		r = ask(s, "PRAGMA quick_check(1)", check, sizeof(check), err);
	if (r == 0 && strcmp(check, "ok") != 0)
		r = damaged(s, check, err);
	if (r == 0 && !fresh && version < SCHEMA_VERSION)
		r = create(s, version, err);
	return r < 0 ? r : prepare_all(s, err);
}

void lcm_db_close(struct lcm_store *s)
{
	for (size_t i = 0; i < LCM_STMT_MAX; i++)
		(void)sqlite3_finalize(s->stmts[i]);
	(void)sqlite3_close(s->db);
	s->db = NULL;
}
