/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

#define MARK_MAX 256

static int say(struct lcm_err *err, int r, const struct unit_pool *p, const char *id)
{
	return lcm_err_set(err, r, "%s/%s: %s", p->row.path, id, strerror(-r));
}

static int open_dir(int at, const char *name)
{
	return lcm_sys_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

int unit_place_open(const struct unit_pool *p, const struct lcm_unit *v, struct lcm_err *err)
{
	lcm_autoclose int dir = open_dir(p->fd, v->id);
	lcm_autojson json_t *doc = NULL;
	int r = dir < 0 ? dir : unit_json_read(dir, UNIT_JSON, &doc);

	if (r < 0)
		return say(err, r, p, v->id);
	if (!unit_json_is(doc, "unit", v->id) || !unit_json_is(doc, "owner", v->owner))
		return lcm_err_set(err, -EUCLEAN, "%s/%s/" UNIT_JSON ": not of unit %s of owner %s",
				   p->row.path, v->id, v->id, v->owner);
	return lcm_steal_fd(&dir);
}

int unit_place_begin(const struct unit_pool *p, const struct lcm_unit *v, struct lcm_err *err)
{
	lcm_autoclose int dir = -EBADF;
	int r = lcm_sys_mkdirat(p->tmp, v->id, 0700);

	dir = r < 0 ? r : open_dir(p->tmp, v->id);
	r = LCM_MIN(dir, 0);
	if (r == 0)
		r = lcm_sys_mkdirat(dir, UNIT_SNAP, 0700);
	if (r == 0)
		r = unit_json_write(dir, UNIT_JSON,
				    json_pack("{s:s s:s s:s s:I}", "unit", v->id, "owner", v->owner,
					      "name", v->name, "created_s",
					      (json_int_t)(v->created_ns / 1000000000)));
	return r < 0 ? say(err, r, p, v->id) : lcm_steal_fd(&dir);
}

static void mark_text(const struct lcm_unit *v, char out[MARK_MAX])
{
	(void)snprintf(out, MARK_MAX, "unit %s\nowner %s\n", v->id, v->owner);
}

int unit_place_mark(const struct unit_pool *p, int dir, const struct lcm_unit *v,
		    struct lcm_err *err)
{
	lcm_autoclose int mnt = p->ops->mount(dir, UNIT_DATA, err);
	lcm_autoclose int root = mnt < 0 ? mnt : open_dir(mnt, "."); /* @mnt is an O_PATH one */
	char text[MARK_MAX];
	int r;

	if (mnt < 0)
		return mnt;
	mark_text(v, text);
	r = root < 0 ? root : lcm_write_file_at(root, UNIT_MARK, text, strlen(text), 0400);
	if (r == 0)
		r = lcm_sys_syncfs(root);
	return r < 0 ? say(err, r, p, v->id) : 0;
}

int unit_place_marked(int mnt, const struct lcm_unit *v, struct lcm_err *err)
{
	lcm_autofree char *text = NULL;
	char want[MARK_MAX];
	size_t len;
	int r = lcm_read_file_at(mnt, UNIT_MARK, MARK_MAX, &text, &len);

	mark_text(v, want);
	if (r == 0 && strcmp(text, want) == 0)
		return 0;
	return lcm_err_set(err, -EUCLEAN,
			   "unit %s: what it holds does not say that it is of owner %s (%s)", v->id,
			   v->owner, r < 0 ? strerror(-r) : "another mark");
}

int unit_place_end(const struct unit_pool *p, const char *id, struct lcm_err *err)
{
	int r = lcm_sys_renameat2(p->tmp, id, p->fd, id, RENAME_NOREPLACE);

	if (r == 0)
		r = lcm_sys_fsync(p->fd);
	return r < 0 ? say(err, r, p, id) : 0;
}

/* ---- removing ---- */

struct removal {
	const struct unit_pool *p;
	struct lcm_err *err;
};

static int remove_snap(void *arg, int dir, const char *name)
{
	const struct removal *m = arg;

	return m->p->ops->remove(dir, name, m->err);
}

static int remove_objects(const struct unit_pool *p, int dir, struct lcm_err *err)
{
	struct removal m = { p, err };
	lcm_autoclose int snaps = open_dir(dir, UNIT_SNAP);
	int r = snaps == -ENOENT ? 0 : snaps < 0 ? snaps : lcm_dir_each(snaps, remove_snap, &m);

	if (r == 0)
		r = p->ops->remove(dir, UNIT_DATA_NEW, err);
	return r < 0 ? r : p->ops->remove(dir, UNIT_DATA, err);
}

/* Out of sight first: what is in .trash is nobody's, whenever this ends. */
static int to_trash(const struct unit_pool *p, int from, const char *id)
{
	int r = lcm_sys_renameat2(from, id, p->trash, id, RENAME_NOREPLACE);

	if (r == 0)
		r = lcm_sys_fsync(from);
	return r == -ENOENT ? 0 : r;
}

int unit_place_remove(const struct unit_pool *p, const char *id, struct lcm_err *err)
{
	const int from[] = { p->tmp, p->fd };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(from); i++) {
		int r = to_trash(p, from[i], id);
		lcm_autoclose int dir = r < 0 ? r : open_dir(p->trash, id);

		if (r == 0 && dir == -ENOENT)
			continue;
		r = dir < 0 ? dir : remove_objects(p, dir, err);
		if (r == 0)
			r = lcm_rmtree_at(p->trash, id);
		if (r < 0)
			return err && err->code == r ? r : say(err, r, p, id);
	}
	return 0;
}
