/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_mount.c - from a snapshot to the mounts that containerd makes of it. */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "image/json.h"
#include "overlay/stack_top.h"
#include "src/base/log.h"
#include "src/daemon/snapshot_priv.h"

/* overlayfs takes 500 layers, and one more may lie on top of the image's. */
#define CHAIN_MAX LCM_LAYERS_MAX

void snapshot_chain_fini(struct snapshot_chain *ch)
{
	lcm_buf_fini(&ch->dirs);
	free(ch->image);
	*ch = (struct snapshot_chain){ 0 };
}

static int open_below(struct lcm_store *s, const char *path)
{
	return lcm_sys_openat(lcm_store_root_fd(s), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* A layer that is opaque at its root hides all below it, which overlayfs does not know. */
static int is_opaque(struct lcm_store *s, const char *path)
{
	lcm_autoclose int fd = open_below(s, path);
	char v;

	if (fd < 0)
		return fd;
	return lcm_errno(fgetxattr(fd, "trusted.overlay.opaque", &v, 1)) == 1 && v == 'y';
}

/* One step down. Return: 1 go on, 0 that was the last, -errno. */
static int chain_add(struct lcm_store *s, struct snapshot_chain *ch, struct lcm_snapshot_row *row,
		     struct lcm_err *err)
{
	char path[64];
	int r;

	if (*row->image) {
		ch->image = lcm_steal(&row->image);
		ch->depth = row->depth;
		return 0;
	}
	(void)snprintf(path, sizeof(path), "snapshots/%lld/upper", (long long)row->id);
	r = is_opaque(s, path);
	if (r < 0)
		return lcm_err_set(err, r, "snapshot %.200s: its files in %s: %s", row->name, path,
				   strerror(-r));
	if (ch->n_dirs == CHAIN_MAX)
		return lcm_err_set(err, -EFBIG, "snapshot %.200s has more than %d layers below it",
				   row->name, CHAIN_MAX);
	ch->n_dirs++;
	return lcm_buf_add(&ch->dirs, path, strlen(path) + 1) < 0 ? -ENOMEM : !r;
}

static int next_parent(struct lcm_snapshot_row *row, char **parent)
{
	free(*parent);
	*parent = lcm_steal(&row->parent);
	return **parent != '\0';
}

int snapshot_chain_get(struct lcm_store *s, const char *parent, struct snapshot_chain *ret,
		       struct lcm_err *err)
{
	lcm_autofree char *name = strdup(parent);
	int r = name ? *name != '\0' : -ENOMEM;

	*ret = (struct snapshot_chain){ .dirs = LCM_BUF(1 << 20) };
	while (r > 0) {
		struct lcm_snapshot_row row = { 0 };

		r = lcm_store_snapshot_get(s, name, &row);
		if (r == -ENOENT)
			lcm_err_set(err, r, "parent snapshot %.200s does not exist", name);
		else if (r == 0 && row.kind != LCM_SNAPSHOT_COMMITTED)
			r = lcm_err_set(err, -EINVAL, "parent snapshot %.200s is not committed",
					name);
		if (r == 0)
			r = chain_add(s, ret, &row, err);
		if (r > 0)
			r = next_parent(&row, &name);
		lcm_snapshot_row_fini(&row);
	}
	if (r == 0 && !ret->image)
		ret->image = strdup("");
	if (r == 0 && !ret->image)
		r = -ENOMEM;
	/* One more NUL ends the list. */
	if (r == 0)
		r = lcm_buf_add(&ret->dirs, "", 1);
	if (r < 0)
		snapshot_chain_fini(ret);
	return r;
}

/* ---- ordinary mounts ---- */

static json_t *mount_json(const char *type, const char *source, json_t *options)
{
	return json_pack("[{s:s s:s s:o}]", "type", type, "source", source, "options", options);
}

static json_t *bind_json(const char *source, bool read_only)
{
	return mount_json("bind", source, json_pack("[s s]", read_only ? "ro" : "rw", "rbind"));
}

static json_t *option(const char *name, const char *root, const char *rest)
{
	lcm_autofree char *text = NULL;

	return asprintf(&text, "%s=%s/%s", name, root, rest) < 0 ? NULL : json_string(text);
}

static json_t *lowers(const char *root, const struct snapshot_chain *ch)
{
	lcm_autobuf struct lcm_buf text = LCM_BUF(1 << 20);
	const char *dir = lcm_buf_str(&ch->dirs);
	int r = lcm_buf_printf(&text, "lowerdir=");

	for (uint32_t i = 0; r == 0 && i < ch->n_dirs; i++) {
		r = lcm_buf_printf(&text, "%s%s/%s", i ? ":" : "", root, dir);
		dir += strlen(dir) + 1;
	}
	return r < 0 ? NULL : json_string(lcm_buf_str(&text));
}

/* As containerd's overlayfs snapshotter does it. NULL: out of memory. */
static json_t *ordinary(const struct lcm_store *s, const struct lcm_snapshot_row *row,
			const struct snapshot_chain *ch)
{
	bool view = row->kind == LCM_SNAPSHOT_VIEW;
	const char *root = lcm_store_root(s);
	char upper[64], work[64], path[4200];
	json_t *options;

	(void)snprintf(upper, sizeof(upper), "snapshots/%lld/upper", (long long)row->id);
	(void)snprintf(work, sizeof(work), "snapshots/%lld/work", (long long)row->id);
	if (ch->n_dirs == 0 || (view && ch->n_dirs == 1)) {
		(void)snprintf(path, sizeof(path), "%s/%s", root,
			       ch->n_dirs ? lcm_buf_str(&ch->dirs) : upper);
		return bind_json(path, view);
	}
	options = json_pack("[s]", "index=off");
	if (!view) {
		(void)json_array_append_new(options, option("workdir", root, work));
		(void)json_array_append_new(options, option("upperdir", root, upper));
	}
	if (json_array_append_new(options, lowers(root, ch)) < 0) {
		json_decref(options);
		return NULL;
	}
	return mount_json("overlay", "overlay", options);
}

/* ---- mounts with an image below ---- */

void snapshot_session_id(int64_t id, char out[LCM_ID_MAX + 1])
{
	(void)snprintf(out, LCM_ID_MAX + 1, LCM_SNAPSHOT_SESSION "%lld", (long long)id);
}

int snapshot_unmount(struct lcm_host *h, int64_t id, bool remove, struct lcm_err *err)
{
	char name[LCM_ID_MAX + 1];
	struct lcm_session *s;

	snapshot_session_id(id, name);
	s = lcm_session_find(h, name);
	/* What still uses it keeps it; nobody can come by it any more. */
	return s && !lcm_session_closing(s) ? lcm_session_close(s, true, remove, err) : 0;
}

void snapshot_unwatch(struct lcm_snapshot_job *j)
{
	if (j->s)
		lcm_session_unwatch(j->s, &j->watch);
	j->s = NULL;
}

struct closing {
	struct lcm_task task;
	struct lcm_host *host; /* borrowed */
	int64_t id;
	bool remove;
};

static void close_failed(void *arg)
{
	struct closing *c = arg;

	lcm_ignore(snapshot_unmount(c->host, c->id, c->remove, NULL));
	free(c);
}

/* A session cannot be closed from inside its own change. */
static void close_later(struct lcm_host *h, int64_t id, bool remove)
{
	struct closing *c = malloc(sizeof(*c));

	if (!c) /* it stays, failed, until the next start */
		return;
	*c = (struct closing){
		.task = { .fn = close_failed, .arg = c }, .host = h, .id = id, .remove = remove
	};
	lcm_loop_post_task(h->e->loop, &c->task);
}

/* The mount failed: a call that made the snapshot leaves none. */
static void give_up(struct lcm_snapshot_job *j, int code, const struct lcm_err *err)
{
	struct snapshot_unit u = { 0 };

	if (j->fresh) {
		lcm_ignore(snapshot_unit_get(j->labels, &u, NULL));
		close_later(j->host, j->row.id, u.is_new);
		lcm_ignore(lcm_store_snapshot_remove(j->host->e->store, j->row.name));
		lcm_engine_sweep(j->host->e);
	}
	snapshot_fail(j, code, err);
}

static void answer_session(struct lcm_snapshot_job *j)
{
	struct lcm_err err = { 0 };
	int r = lcm_session_error(j->s, &err);
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s", lcm_session_target(j->s));
	snapshot_unwatch(j);
	if (r < 0)
		give_up(j, r, &err);
	else
		snapshot_answer(j, 200,
				json_pack("{s:o}", "mounts",
					  bind_json(path, j->row.kind == LCM_SNAPSHOT_VIEW)));
}

static bool settled(const struct lcm_session *s)
{
	enum lcm_phase p = lcm_session_phase(s);

	return p == LCM_FAILED || p >= LCM_LAZY;
}

static void on_session(void *arg, struct lcm_session *s, bool gone)
{
	struct lcm_snapshot_job *j = arg;
	struct lcm_err err = { 0 };

	if (gone) {
		j->s = NULL;
		give_up(j, lcm_err_set(&err, -ECANCELED, "its mount was taken away"), &err);
	} else if (settled(s)) {
		answer_session(j);
	}
}

/* The session of an earlier call, when it is good for something. */
static struct lcm_session *find_session(struct lcm_snapshot_job *j, const char *id)
{
	struct lcm_session *s = lcm_session_find(j->host, id);

	if (!s || lcm_session_phase(s) != LCM_FAILED)
		return s;
	if (!lcm_session_closing(s))
		lcm_ignore(lcm_session_close(s, true, 0, NULL));
	return lcm_session_find(j->host, id);
}

static int begin_session(struct lcm_snapshot_job *j, const struct snapshot_chain *ch,
			 const char *id, struct lcm_session **ret, struct lcm_err *err)
{
	lcm_autojson json_t *labels = json_loads(j->row.labels, 0, NULL);
	struct snapshot_unit unit = { 0 };
	char home[48];
	struct lcm_session_options o = {
		.image = ch->image,
		.id = id,
		.target = "",
		.policy = LCM_IMAGE_MISSING,
		.read_only = j->row.kind == LCM_SNAPSHOT_VIEW,
		.keep = true, /* the snapshot says when it goes */
		.depth = ch->depth,
		.above = lcm_buf_str(&ch->dirs),
		.big = j->host->big,
		.deadline_ns = j->host->deadline_ns,
		.freeze = j->host->freeze,
	};

	lcm_autojson json_t *meter = NULL;
	int r = o.read_only ? 0 : snapshot_unit_get(labels, &unit, err);

	if (r == 0)
		r = snapshot_meter(labels, &meter, err);
	if (r == 0)
		r = snapshot_deadline(labels, &o.deadline_ns, &o.freeze, err);
	if (r < 0)
		return r;
	o.meter = meter;
	(void)snprintf(home, sizeof(home), "snapshots/%lld", (long long)j->row.id);
	o.home = unit.key ? NULL : home;
	o.unit = unit.key;
	o.unit_pool = unit.pool;
	o.unit_size = unit.size;
	o.unit_fresh = j->fresh;
	return lcm_session_new(j->host, &o, ret, err);
}

static void mount_image(struct lcm_snapshot_job *j, const struct snapshot_chain *ch)
{
	char id[LCM_ID_MAX + 1];
	struct lcm_err err = { 0 };
	struct lcm_session *s;
	int r = 0;

	snapshot_session_id(j->row.id, id);
	s = find_session(j, id);
	if (!s)
		r = begin_session(j, ch, id, &s, &err);
	else if (lcm_session_closing(s))
		r = lcm_err_set(&err, -EBUSY, "mount %s is just ending; try again", id);
	if (r < 0) {
		give_up(j, r, &err);
		return;
	}
	j->s = s;
	j->watch = (struct lcm_session_watch){ .changed = on_session, .arg = j };
	lcm_session_watch(s, &j->watch);
	if (settled(s))
		answer_session(j);
}

void snapshot_mounts(struct lcm_snapshot_job *j)
{
	struct lcm_store *s = j->host->e->store;
	struct snapshot_chain ch;
	struct lcm_err err = { 0 };
	json_t *mounts;
	int r = snapshot_chain_get(s, j->row.parent, &ch, &err);

	if (r < 0) {
		give_up(j, r, &err);
		return;
	}
	if (*ch.image) {
		mount_image(j, &ch);
	} else {
		mounts = ordinary(s, &j->row, &ch);
		if (mounts)
			snapshot_answer(j, 200, json_pack("{s:o}", "mounts", mounts));
		else
			give_up(j, -ENOMEM, &err);
	}
	snapshot_chain_fini(&ch);
}

/* ---- making ---- */

/* The upper's root is what a container sees as "/": it looks like the layer's below. */
static int make_dirs(struct lcm_snapshot_job *j, const struct snapshot_chain *ch)
{
	struct lcm_store *s = j->host->e->store;
	lcm_autoclose int dir = -EBADF, upper = -EBADF, from = -EBADF;
	char name[32];
	int r;

	(void)snprintf(name, sizeof(name), "%lld", (long long)j->row.id);
	r = lcm_sys_mkdirat(lcm_store_snapshots_fd(s), name, 0700);
	if (r < 0 || *ch->image)
		return r; /* the session makes the rest */
	dir = lcm_sys_openat(lcm_store_snapshots_fd(s), name, O_RDONLY | O_DIRECTORY, 0);
	r = dir < 0 ? dir : lcm_sys_mkdirat(dir, "upper", 0755);
	if (r == 0)
		r = lcm_sys_mkdirat(dir, "work", 0711);
	if (r < 0 || ch->n_dirs == 0)
		return r;
	upper = lcm_sys_openat(dir, "upper", O_RDONLY | O_DIRECTORY, 0);
	from = open_below(s, lcm_buf_str(&ch->dirs));
	return upper < 0 || from < 0 ? LCM_MIN(upper, from) : lcm_dir_copy_attr(from, upper);
}

static void remove_dirs(struct lcm_snapshot_job *j)
{
	char name[32];

	if (!j->row.id)
		return;
	(void)snprintf(name, sizeof(name), "%lld", (long long)j->row.id);
	lcm_ignore(lcm_rmtree_at(lcm_store_snapshots_fd(j->host->e->store), name));
}

/* Of a mount that is containerd's nobody could tell when its unit may be detached. */
static int unit_usable(const struct lcm_snapshot_job *j, const struct snapshot_chain *ch,
		       struct lcm_err *err)
{
	struct snapshot_unit u;
	int r = snapshot_unit_get(j->labels, &u, err);

	return r < 0 || !u.key || *ch->image
		   ? r
		   : lcm_err_set(err, -EINVAL,
				 "label " SNAPSHOT_UNIT_LABEL
				 ": only containers of images that locum serves write into units; "
				 "what is below snapshot %.200s was unpacked by containerd, which "
				 "mounts it itself (pull the image by snapshotter locum)",
				 j->row.name);
}

/* Paths go to mount(2) in an option string. */
static int root_usable(struct lcm_store *s, struct lcm_err *err)
{
	const char *root = lcm_store_root(s);

	return strpbrk(root, ":,\\") ? lcm_err_set(err, -EINVAL,
						   "state directory %s: containerd cannot mount "
						   "paths with ':', ',' or '\\'",
						   root)
				     : 0;
}

void snapshot_make(struct lcm_snapshot_job *j)
{
	struct lcm_store *s = j->host->e->store;
	struct snapshot_chain ch = { 0 };
	struct lcm_err err = { 0 };
	int r = root_usable(s, &err);

	if (r == 0)
		r = snapshot_chain_get(s, j->row.parent, &ch, &err);
	if (r == 0)
		r = unit_usable(j, &ch, &err);
	if (r == 0)
		r = lcm_store_begin(s);
	if (r == 0) {
		r = lcm_store_snapshot_add(s, &j->row, &err);
		/* Files before the row is durable: a directory without a row is garbage. */
		if (r == 0)
			r = make_dirs(j, &ch);
		r = lcm_store_end(s, r);
	}
	snapshot_chain_fini(&ch);
	if (r < 0) {
		remove_dirs(j); /* the id is free again */
		snapshot_fail(j, r, &err);
		return;
	}
	j->fresh = true;
	snapshot_mounts(j);
}
