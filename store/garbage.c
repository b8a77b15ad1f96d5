/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a crash leaves behind: found at open by comparing names with rows, moved to
 * tmp/.trash by one rename each, removed by lcm_store_sweep().
 */
#include <dirent.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "store/db.h"

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_MAX 64

/* A directory listing of its own file position. NULL and *ret_error on failure. */
static DIR *list_open(int dirfd, const char *name, int *ret_error)
{
	int fd = lcm_sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	DIR *d;

	if (fd < 0) {
		*ret_error = fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (!d) {
		*ret_error = -ENOMEM;
		(void)close(fd);
	}
	return d;
}

static const char *list_next(DIR *d)
{
	struct dirent *e;

	do
		e = readdir(d);
	while (e && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0));
	return e ? e->d_name : NULL;
}

/* Return: 1, 0 (what is missing or no directory counts as empty), -errno. */
static int dir_empty(int dirfd, const char *name)
{
	int r = 0;
	DIR *d = list_open(dirfd, name, &r);

	if (!d)
		return r == -ENOENT || r == -ENOTDIR ? 1 : r;
	r = list_next(d) == NULL;
	(void)closedir(d);
	return r;
}

static int trash_put(struct lcm_store *s, int dirfd, const char *name)
{
	static _Atomic unsigned int serial;
	char to[48];
	int r;

	(void)snprintf(to, sizeof(to), "%llx-%x", (unsigned long long)lcm_realtime_ns(),
		       atomic_fetch_add(&serial, 1));
	r = lcm_sys_renameat(dirfd, name, s->trash_fd, to);
	return r == -ENOENT ? 0 : r;
}

int lcm_trash_move(struct lcm_store *s, enum lcm_store_dir dir, const char *name)
{
	return trash_put(s, s->dirs[dir], name);
}

int lcm_trash_layer(struct lcm_store *s, int64_t id, bool real, bool blob, bool toc)
{
	struct lcm_layer_name name = lcm_layer_name(id);
	int r = real ? lcm_trash_move(s, LCM_DIR_SEALS, name.s) : 0;

	if (r == 0 && real)
		r = lcm_trash_move(s, LCM_DIR_REAL, name.s);

	/* The map first: a blob without a map is empty, a map without its blob would lie. */
	if (r == 0 && blob)
		r = lcm_trash_move(s, LCM_DIR_BLOBS, lcm_layer_map_name(id).s);
	if (r == 0 && blob)
		r = lcm_trash_move(s, LCM_DIR_BLOBS, name.s);
	if (r == 0 && toc)
		r = lcm_trash_move(s, LCM_DIR_TOC, name.s);
	return r;
}

int lcm_trash_stacks(struct lcm_store *s, int64_t id)
{
	const char *name;
	char prefix[sizeof(struct lcm_layer_name) + 1];
	int r = 0;
	DIR *d = list_open(s->dirs[LCM_DIR_META], ".", &r);

	if (!d)
		return r;
	(void)snprintf(prefix, sizeof(prefix), "%s-", lcm_layer_name(id).s);
	while (r == 0 && (name = list_next(d)))
		if (strncmp(name, prefix, strlen(prefix)) == 0)
			r = lcm_trash_move(s, LCM_DIR_META, name);
	(void)closedir(d);
	return r;
}

/* The id that @name stands for, alone or as "<id>.map"; 0: it is no such name. */
static int64_t name_id(const char *name, bool map)
{
	int64_t id = 0;

	for (const char *p = name; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(id, 10, &id) ||
		    __builtin_add_overflow(id, (int64_t)(*p - '0'), &id))
			return 0;
	/* Only the spelling that we use ourselves. */
	return strcmp(name, map ? lcm_layer_map_name(id).s : lcm_layer_name(id).s) == 0 ? id : 0;
}

/* Return: 1, 0, -errno. */
static int row_exists(int r)
{
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

static int toc_kept(struct lcm_store *s, int64_t id)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_TOC_GET);

	(void)sqlite3_bind_int64(q, 1, id);
	return lcm_stmt_step(s, q);
}

static int container_wanted(struct lcm_store *s, const char *name)
{
	struct lcm_mount_row row = { 0 };
	char upper[NAME_MAX + 16];
	int r = row_exists(lcm_store_mount_get(s, name, &row));

	lcm_mount_row_fini(&row);
	if (r != 0)
		return r;
	(void)snprintf(upper, sizeof(upper), "%s/upper", name);
	r = dir_empty(s->dirs[LCM_DIR_CONTAINERS], upper);
	return r < 0 ? 1 : !r; /* what cannot be looked into is not ours to remove */
}

static int stop_at_row(void *arg, const struct lcm_mount_row *row)
{
	(void)arg;
	(void)row;
	return 1;
}

/* A mounted metadata image is held open; a directory that is a layer of a mount must stay where it
 * is. */
static int meta_wanted(struct lcm_store *s, const char *name)
{
	size_t len = strlen(name), suffix = strlen(".dirs");

	if (len <= suffix || strcmp(name + len - suffix, ".dirs") != 0)
		return 0;
	return lcm_store_mount_each(s, stop_at_row, NULL);
}

static int snapshot_wanted(struct lcm_store *s, const char *name)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_SNAPSHOT_BY_ID);
	int64_t id = name_id(name, false);

	(void)sqlite3_bind_int64(q, 1, id);
	return id ? lcm_stmt_step(s, q) : 0;
}

/* ID.json, of a mount that has a row. */
static int meter_wanted(struct lcm_store *s, const char *name)
{
	size_t len = strlen(name), end = len > 5 ? len - 5 : 0;
	struct lcm_mount_row row;
	char id[sizeof(row.id)];
	int r;

	if (!end || end >= sizeof(id) || strcmp(name + end, ".json") != 0)
		return 0;
	(void)snprintf(id, sizeof(id), "%.*s", (int)end, name);
	r = row_exists(lcm_store_mount_get(s, id, &row));
	if (r > 0)
		lcm_mount_row_fini(&row);
	return r;
}

/* Does a row want this name? Return: 1, 0 (garbage), -errno. */
static int wanted(struct lcm_store *s, enum lcm_store_dir dir, const char *name)
{
	struct lcm_layer_row row = { 0 };
	bool map = dir == LCM_DIR_BLOBS && strchr(name, '.');
	int64_t id = name_id(name, map);
	int r = id ? row_exists(lcm_store_layer_get(s, id, &row)) : 0;

	if (dir == LCM_DIR_CONTAINERS)
		return container_wanted(s, name);
	if (dir == LCM_DIR_SNAPSHOTS)
		return snapshot_wanted(s, name);
	if (dir == LCM_DIR_TMP)
		return strcmp(name, ".trash") == 0;
	if (dir == LCM_DIR_META)
		return meta_wanted(s, name);
	if (dir == LCM_DIR_METER)
		return meter_wanted(s, name);
	if (dir == LCM_DIR_TOC && r >= 0 && id && !(r > 0 && row.has_toc))
		return toc_kept(s, id);
	if (dir == LCM_DIR_BLOBS && r > 0)
		return row.state == LCM_LAYER_PARTIAL;
	if (dir == LCM_DIR_SEALS && r > 0)
		return row.state != LCM_LAYER_PARTIAL;
	return r;
}

static int dir_collect(struct lcm_store *s, enum lcm_store_dir dir)
{
	const char *name;
	int r = 0;
	DIR *d = list_open(s->dirs[dir], ".", &r);

	if (!d)
		return r;
	while (r >= 0 && (name = list_next(d))) {
		r = wanted(s, dir, name);
		if (r != 0)
			continue;
		r = lcm_trash_move(s, dir, name);
		lcm_debug("store: garbage dir=%d name=%s r=%d", (int)dir, name, r);
		if (r == -EBUSY) /* somebody's mount point: it can wait */
			r = 0;
	}
	(void)closedir(d);
	return LCM_MIN(r, 0);
}

static int exists(int dirfd, int64_t id)
{
	struct stat st;

	return row_exists(lcm_sys_fstatat(dirfd, lcm_layer_name(id).s, &st, AT_SYMLINK_NOFOLLOW));
}

static int row_reset(struct lcm_store *s, const struct lcm_layer_row *row)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_LAYER_RESET);

	(void)sqlite3_bind_int64(q, 1, row->id);
	lcm_bind_u64(q, 2, row->state);
	lcm_bind_u64(q, 3, row->has_toc);
	lcm_bind_u64(q, 4, row->unsynced);
	return lcm_stmt_run(s, q);
}

struct repair {
	struct lcm_store *s;
	bool rebooted; /* since the last owner: what was not synced may be lost, or torn */
};

/* Makes a row and its files agree; the row never claims more than there is. */
static int row_repair(void *arg, const struct lcm_layer_row *old)
{
	struct repair *rep = arg;
	struct lcm_store *s = rep->s;
	struct lcm_layer_row row = *old;
	int real = exists(s->dirs[LCM_DIR_REAL], row.id),
	    toc = exists(s->dirs[LCM_DIR_TOC], row.id),
	    seal = exists(s->dirs[LCM_DIR_SEALS], row.id), r = 0;

	if (real < 0 || toc < 0 || seal < 0)
		return LCM_MIN(LCM_MIN(real, toc), seal);
	if (rep->rebooted && row.state == LCM_LAYER_PROVEN) /* sealed: it had been synced */
		row.state = seal ? LCM_LAYER_COMPLETE : LCM_LAYER_PARTIAL;
	if (!real)
		row.state = LCM_LAYER_PARTIAL;
	row.has_toc = row.has_toc && toc; /* a torn one is told by its checksum */
	if (row.state == LCM_LAYER_PARTIAL && real && !row.has_toc) {
		r = lcm_trash_layer(s, row.id, true, false, true);
		real = 0;
	}
	if (r == 0 && !real)
		r = lcm_sys_mkdirat(s->dirs[LCM_DIR_REAL], lcm_layer_name(row.id).s, 0755);
	if (row.state == LCM_LAYER_PARTIAL)
		row.unsynced = real && (rep->rebooted || row.unsynced);
	if (r == 0 && (row.state != old->state || row.has_toc != old->has_toc ||
		       row.unsynced != old->unsynced)) {
		lcm_debug("store: layer=%lld state=%d has_toc=%d unsynced=%d after a crash",
			  (long long)row.id, (int)row.state, row.has_toc, row.unsynced);
		r = row_reset(s, &row);
	}
	return r;
}

static int boot_known(struct lcm_store *s, const char *boot)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_PROP_GET);
	int r;

	lcm_bind_text(q, 1, "boot");
	r = lcm_stmt_step(s, q);
	return r <= 0 ? r : strcmp((const char *)sqlite3_column_text(q, 0), boot) == 0;
}

static int boot_record(struct lcm_store *s, const char *boot)
{
	sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_PROP_PUT);

	lcm_bind_text(q, 1, "boot");
	lcm_bind_text(q, 2, boot);
	return lcm_stmt_run(s, q);
}

/* All rows in one commit, together with the boot they are right for. */
static int rows_repair(struct lcm_store *s)
{
	struct repair rep = { .s = s };
	size_t len = 0;
	int r = lcm_read_file_at(AT_FDCWD, BOOT_ID_PATH, BOOT_ID_MAX, &s->boot, &len);

	if (r == 0)
		r = boot_known(s, s->boot);
	if (r < 0)
		return r;
	rep.rebooted = !r;
	r = lcm_db_begin(s);
	if (r < 0)
		return r;
	r = lcm_store_layer_each(s, row_repair, &rep);
	if (r == 0 && rep.rebooted)
		r = boot_record(s, s->boot);
	return lcm_db_end(s, r);
}

/* Files but no rows at all: somebody lost the database. That is not garbage from a crash. */
int lcm_fresh_check(struct lcm_store *s, struct lcm_err *err)
{
	static const enum lcm_store_dir dirs[] = { LCM_DIR_REAL, LCM_DIR_BLOBS, LCM_DIR_TOC,
						   LCM_DIR_CONTAINERS, LCM_DIR_SNAPSHOTS };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(dirs); i++) {
		int r = dir_empty(s->dirs[dirs[i]], ".");

		if (r < 0)
			return r;
		if (!r)
			return lcm_err_set(
			    err, -EUCLEAN,
			    "%s holds layers or containers but its locum.db was missing or empty; "
			    "nothing was removed. Put locum.db back, "
			    "or move %s away and start again",
			    s->root, s->root);
	}
	return 0;
}

int lcm_garbage_collect(struct lcm_store *s, struct lcm_err *err)
{
	int r = rows_repair(s);

	for (enum lcm_store_dir dir = 0; r == 0 && dir < LCM_STORE_DIR_MAX; dir++)
		r = dir_collect(s, dir);
	return r < 0 ? lcm_err_set(err, r, "%s: cleaning up after the last run: %s", s->root,
				   strerror(-r))
		     : 0;
}

/* A tree deeper than there are descriptors: its branches become trees of their own. */
static int trash_flatten(struct lcm_store *s, const char *name)
{
	const char *child;
	struct stat st;
	int r = 0;
	DIR *d = list_open(s->trash_fd, name, &r);

	while (d && r == 0 && (child = list_next(d))) {
		r = lcm_sys_fstatat(dirfd(d), child, &st, AT_SYMLINK_NOFOLLOW);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = trash_put(s, dirfd(d), child);
	}
	if (d)
		(void)closedir(d);
	return r < 0 ? r : lcm_rmtree_at(s->trash_fd, name);
}

/* One pass over the trash. Return: how many things went; *ret_error: the first that would not. */
static unsigned int sweep_once(struct lcm_store *s, int *ret_error)
{
	unsigned int gone = 0;
	const char *name;
	int r = 0;
	DIR *d = list_open(s->trash_fd, ".", &r);

	*ret_error = r;
	while (d && (name = list_next(d))) {
		r = lcm_rmtree_at(s->trash_fd, name);
		if (r == -EMFILE)
			r = trash_flatten(s, name);
		gone += r == 0;
		if (r < 0 && *ret_error == 0)
			*ret_error = r;
	}
	if (d)
		(void)closedir(d);
	return gone;
}

int lcm_store_sweep(struct lcm_store *s)
{
	int r;

	while (sweep_once(s, &r) > 0)
		;
	return r;
}
