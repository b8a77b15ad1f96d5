/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

#define FREE_WAITS 20
#define FREE_WAIT_MS 10
#define UUID_FILE "/proc/sys/kernel/random/uuid"

static const struct {
	const char *name;
	const struct lcm_unit_ops *ops;
} backends[LCM_UNIT_BACKEND_MAX] = {
	[LCM_UNIT_IMAGE] = { "image", &lcm_unit_image_ops },
	[LCM_UNIT_SUBVOL] = { "subvol", &lcm_unit_subvol_ops },
	[LCM_UNIT_DIR] = { "dir", &lcm_unit_dir_ops },
};

const char *lcm_unit_backend_name(enum lcm_unit_backend b)
{
	return backends[b].name;
}

int lcm_unit_backend_parse(const char *s, enum lcm_unit_backend *ret)
{
	for (size_t i = 0; i < LCM_UNIT_BACKEND_MAX; i++) {
		if (strcmp(s, backends[i].name) == 0) {
			*ret = (enum lcm_unit_backend)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- names ---- */

bool unit_uuid_ok(const char *s)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(form); i++)
		if (form[i] == 'x' ? s[i] == '\0' || !strchr("0123456789abcdef", s[i])
				   : s[i] != form[i])
			return false;
	return true;
}

int unit_uuid_new(char ret[LCM_UUID])
{
	lcm_autofree char *text = NULL;
	size_t len;
	int r = lcm_read_file_at(AT_FDCWD, UUID_FILE, 2 * LCM_UUID, &text, &len);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (!unit_uuid_ok(text))
		return -EIO;
	memcpy(ret, text, LCM_UUID);
	return 0;
}

int unit_name_ok(const char *what, const char *s, struct lcm_err *err)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char all[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t n = strlen(s);

	if (n == 0 || n >= LCM_UNIT_NAME || !strchr(letters, s[0]) || strspn(s, all) != n)
		return lcm_err_set(err, -EINVAL,
				   "%s \"%.80s\": 1 to 64 letters, digits and, after the first, "
				   "'_', '.', '-' are allowed",
				   what, s);
	return 0;
}

/* ---- the directory ---- */

void unit_pool_close(struct unit_pool *p)
{
	lcm_closep(&p->fd);
	lcm_closep(&p->tmp);
	lcm_closep(&p->trash);
}

static int open_dir(int at, const char *name)
{
	return lcm_sys_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* Something else may be at the path by now: another disk, or none. */
static int is_this_pool(const struct unit_pool *p)
{
	lcm_autojson json_t *doc = NULL;
	int r = unit_json_read(p->fd, POOL_JSON, &doc);

	return r < 0 ? r : unit_json_is(doc, "pool", p->row.id) ? 0 : -ESTALE;
}

static int open_pool(struct unit_pool *p, struct lcm_err *err)
{
	int r;

	p->ops = backends[p->row.backend].ops;
	if (!p->ops->create)
		return lcm_err_set(err, -ENOTSUP, "pool %s: units of kind %s are not built yet",
				   p->row.name, backends[p->row.backend].name);
	p->fd = lcm_sys_openat(AT_FDCWD, p->row.path, O_RDONLY | O_DIRECTORY, 0);
	r = LCM_MIN(p->fd, 0);
	if (r == 0)
		r = is_this_pool(p);
	if (r == 0)
		r = p->tmp = open_dir(p->fd, POOL_TMP);
	if (r >= 0)
		r = p->trash = open_dir(p->fd, POOL_TRASH);
	if (r >= 0)
		return 0;
	unit_pool_close(p);
	return lcm_err_set(err, -ESTALE,
			   "pool %s: %s does not hold it (%s); is its file system mounted?",
			   p->row.name, p->row.path, strerror(-r));
}

int unit_pool_open_row(const struct lcm_pool *row, struct unit_pool *ret, struct lcm_err *err)
{
	struct unit_pool p = UNIT_POOL_NONE;
	int r;

	p.row = *row;
	r = open_pool(&p, err);
	if (r == 0)
		*ret = p;
	return r;
}

int unit_pool_open(struct lcm_units *u, const char *name, struct unit_pool *ret,
		   struct lcm_err *err)
{
	struct lcm_pool row;
	int r = lcm_pool_get(u, name, &row, err);

	return r < 0 ? r : unit_pool_open_row(&row, ret, err);
}

/* ---- pools ---- */

int lcm_pool_get(struct lcm_units *u, const char *name, struct lcm_pool *ret, struct lcm_err *err)
{
	struct lcm_pool first, second;
	int r = name ? unit_db_pool_get(u, name, ret, err) : unit_db_pool_after(u, "", &first, err);

	if (r < 0)
		return r;
	if (r == 0 && name)
		return lcm_err_set(err, -ENOENT, "no pool %s (locum unit pool list)", name);
	if (r == 0)
		return lcm_err_set(err, -ENOENT,
				   "there is no pool yet; make one: locum unit pool add NAME DIR");
	if (name)
		return 0;
	r = unit_db_pool_after(u, first.name, &second, err);
	if (r > 0)
		return lcm_err_set(err, -EINVAL, "there are several pools; say which (--pool)");
	if (r == 0)
		*ret = first;
	return r;
}

int lcm_pool_each(struct lcm_units *u, int (*fn)(void *arg, const struct lcm_pool *p), void *arg)
{
	struct lcm_pool p = { .name = "" };
	int r;

	while ((r = unit_db_pool_after(u, p.name, &p, NULL)) > 0) {
		r = fn(arg, &p);
		if (r)
			return r;
	}
	return r;
}

static int not_empty(void *arg, int dir, const char *name)
{
	(void)arg;
	(void)dir;
	return strcmp(name, "lost+found") == 0 ? 0 : 1;
}

/* The backend asked for, or the best that works here. */
static int choose_backend(const struct lcm_pool_options *o, int fd, struct lcm_pool *p,
			  struct lcm_err *err)
{
	int r;

	if (o->backend) {
		if (lcm_unit_backend_parse(o->backend, &p->backend) < 0)
			return lcm_err_set(err, -EINVAL, "no backend \"%s\": image, subvol or dir",
					   o->backend);
		return backends[p->backend].ops->probe(fd, p->path, err);
	}
	p->backend = LCM_UNIT_SUBVOL;
	r = lcm_unit_subvol_ops.probe(fd, p->path, NULL);
	if (r != -ENOTSUP)
		return r;
	p->backend = LCM_UNIT_IMAGE;
	return lcm_unit_image_ops.probe(fd, p->path, err);
}

static int write_pool(int fd, const struct lcm_pool *p)
{
	int r = lcm_sys_mkdirat(fd, POOL_TMP, 0700);

	if (r == 0)
		r = lcm_sys_mkdirat(fd, POOL_TRASH, 0700);
	return r < 0 ? r
		     : unit_json_write(fd, POOL_JSON,
				       json_pack("{s:s s:s s:s}", "pool", p->id, "name", p->name,
						 "backend", lcm_unit_backend_name(p->backend)));
}

static void unwrite_pool(int fd)
{
	lcm_ignore(lcm_sys_unlinkat(fd, POOL_JSON, 0));
	lcm_ignore(lcm_sys_unlinkat(fd, POOL_TMP, AT_REMOVEDIR));
	lcm_ignore(lcm_sys_unlinkat(fd, POOL_TRASH, AT_REMOVEDIR));
}

int unit_pool_dir(const char *path, struct lcm_pool *p, struct lcm_err *err)
{
	lcm_autofree char *real = realpath(path, NULL);
	int r = real ? 0 : (int)lcm_errno(-1);

	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	if ((size_t)snprintf(p->path, sizeof(p->path), "%s", real) >= sizeof(p->path))
		return lcm_err_set(err, -ENAMETOOLONG, "%s: longer than %d bytes", real,
				   LCM_UNIT_PATH - 1);
	r = open_dir(AT_FDCWD, real);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", real, strerror(-r)) : r;
}

static int open_new(const struct lcm_pool_options *o, struct lcm_pool *p, struct lcm_err *err)
{
	struct stat st;
	int fd = unit_pool_dir(o->path, p, err), r;

	if (fd < 0)
		return fd;
	r = lcm_sys_fstatat(fd, POOL_JSON, &st, AT_SYMLINK_NOFOLLOW) == 0
		? lcm_err_set(err, -ENOTEMPTY, "%s is a pool already; take it with --adopt",
			      p->path)
		: lcm_dir_each(fd, not_empty, NULL);
	if (r == 0)
		return fd;
	lcm_closep(&fd);
	if (r > 0)
		return lcm_err_set(err, -ENOTEMPTY,
				   "%s is not empty; a pool wants an empty directory", p->path);
	return r == -ENOTEMPTY ? r : lcm_err_set(err, r, "%s: %s", p->path, strerror(-r));
}

int lcm_pool_add(struct lcm_units *u, const struct lcm_pool_options *o, struct lcm_pool *ret,
		 struct lcm_err *err)
{
	struct lcm_pool p = { .floor = o->floor, .thin = o->thin };
	lcm_autoclose int fd = -EBADF;
	int r = unit_name_ok("pool", o->name, err);

	if (r < 0)
		return r;
	(void)snprintf(p.name, sizeof(p.name), "%s", o->name);
	fd = open_new(o, &p, err);
	if (fd < 0)
		return fd;
	r = choose_backend(o, fd, &p, err);
	if (r == 0)
		r = unit_uuid_new(p.id);
	if (r == 0)
		r = unit_db_begin(u, err);
	if (r < 0)
		return r;
	r = unit_db_pool_add(u, &p, err);
	if (r == 0) {
		r = write_pool(fd, &p);
		if (r < 0)
			lcm_ignore(lcm_err_set(err, r, "%s: %s", p.path, strerror(-r)));
		r = unit_db_end(u, r, err);
		if (r < 0)
			unwrite_pool(fd);
	} else {
		r = unit_db_end(u, r, err);
	}
	if (r == 0)
		*ret = p;
	return r;
}

int lcm_pool_remove(struct lcm_units *u, const char *name, struct lcm_err *err)
{
	autopool struct unit_pool p = UNIT_POOL_NONE;
	bool here = unit_pool_open(u, name, &p, NULL) == 0;
	int r = unit_db_pool_remove(u, name, err);

	if (r == 0 && here)
		unwrite_pool(p.fd);
	return r;
}

/* ---- space ---- */

struct promises {
	struct lcm_units *u;
	const struct unit_pool *p;
	struct lcm_err *err;
	uint64_t sum;
};

/* What one unit may still take. */
static int add_promise(struct promises *s, const struct unit_row *row)
{
	lcm_autoclose int dir = open_dir(s->p->fd, row->v.id);
	uint64_t used = 0, more = row->reserved;
	int r = 0;

	if (dir >= 0) /* else it is being made, or removed: all is promised */
		r = s->p->ops->usage(dir, UNIT_DATA, row->reserved, &used, &more, s->err);
	if (r == -ENOENT) /* removed since */
		r = 0;
	if (r == 0)
		s->sum += more;
	return r;
}

static int sum_promises(struct lcm_units *u, const struct unit_pool *p, uint64_t *ret_units,
			uint64_t *ret, struct lcm_err *err)
{
	struct promises s = { .u = u, .p = p, .err = err };
	struct unit_row row = { .v.seq = 0 };
	int r = unit_db_promised(u, p->row.name, ret_units, &s.sum, err);

	if (r < 0)
		return r;
	while ((r = unit_db_after(u, row.v.seq, &row, err)) > 0) {
		if (strcmp(row.v.pool, p->row.name) != 0)
			continue;
		r = add_promise(&s, &row);
		if (r < 0)
			return r;
	}
	*ret = s.sum;
	return r;
}

static int pool_space(struct lcm_units *u, const struct unit_pool *p, struct lcm_pool_space *ret,
		      struct lcm_err *err)
{
	struct lcm_pool_space s = { .size = 0 };
	struct statvfs st;
	uint64_t off;
	int r;

	if (fstatvfs(p->fd, &st) < 0) {
		r = (int)lcm_errno(-1);
		return lcm_err_set(err, r, "%s: %s", p->row.path, strerror(-r));
	}
	r = sum_promises(u, p, &s.units, &s.promised, err);
	if (r < 0)
		return r;
	s.size = (uint64_t)st.f_blocks * st.f_frsize;
	s.free = (uint64_t)st.f_bavail * st.f_frsize;
	off = p->row.floor + (p->row.thin ? 0 : s.promised);
	s.available = s.free > off ? s.free - off : 0;
	*ret = s;
	return 0;
}

int lcm_pool_space(struct lcm_units *u, const struct lcm_pool *p, struct lcm_pool_space *ret,
		   struct lcm_err *err)
{
	autopool struct unit_pool open = UNIT_POOL_NONE;
	int r = unit_pool_open(u, p->name, &open, err);

	return r < 0 ? r : pool_space(u, &open, ret, err);
}

int unit_pool_take(struct lcm_units *u, const struct unit_pool *p, uint64_t bytes,
		   struct lcm_err *err)
{
	struct lcm_pool_space s;
	int r = pool_space(u, p, &s, err);

	/* What was deleted is free after a commit (btrfs), or in a moment (xfs, which hurries when
	 * it is asked how much is free). */
	if (r == 0 && bytes > s.available)
		lcm_ignore(lcm_sys_syncfs(p->fd));
	for (int n = 0; r == 0 && bytes > s.available && n < FREE_WAITS; n++) {
		(void)poll(NULL, 0, FREE_WAIT_MS); /* there is no event for it */
		r = pool_space(u, p, &s, err);
	}
	if (r < 0)
		return r;
	if (bytes > s.available && (!p->row.thin || s.available == 0))
		return lcm_err_set(
		    err, -ENOSPC,
		    "pool %s has %llu bytes left for new units and copies (%llu free, of these "
		    "%llu promised, floor %llu), %llu are needed",
		    p->row.name, (unsigned long long)s.available, (unsigned long long)s.free,
		    (unsigned long long)s.promised, (unsigned long long)p->row.floor,
		    (unsigned long long)bytes);
	return 0;
}
