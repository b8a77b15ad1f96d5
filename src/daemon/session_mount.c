/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_mount.c - making the mount: a pool job, since it may wait for the kernel, which may wait
 * for the gate threads.
 */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "overlay/stack_top.h"
#include "src/base/buf.h"
#include "src/base/log.h"
#include "src/daemon/session_priv.h"

struct mount_job {
	struct lcm_task task;
	struct lcm_session *s; /* alive while s->job is this */
	bool lazy;
	int status;
	struct lcm_err err;
	struct lcm_gate *gate; /* made by the job, taken by the session */
	struct lcm_unit unit;  /* attached by the job; its id is "": none */
};

char *session_source(const struct lcm_session *s, char out[80])
{
	(void)snprintf(out, 80, "locum:%s", s->id);
	return out;
}

/* ---- on the pool ---- */

static int open_dir(int dirfd, const char *name)
{
	return lcm_sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* The upper's root directory is what the container sees as "/": it looks like the image's. */
static int copy_root(int from, int upper)
{
	lcm_autoclose int dir = open_dir(from, ".");

	return dir < 0 ? dir : lcm_dir_copy_attr(dir, upper);
}

/* Where upper and work are; what containers/ID has not yet is made. */
static int open_home(struct mount_job *j)
{
	struct lcm_store *store = j->s->host->e->store;
	int base = lcm_store_containers_fd(store), r;

	if (j->s->unit_key)
		return session_open_unit(j->s, &j->unit, &j->err);
	if (j->s->home)
		return open_dir(lcm_store_root_fd(store), j->s->home);
	r = lcm_sys_mkdirat(base, j->s->id, 0700);
	return r == 0 || r == -EEXIST ? open_dir(base, j->s->id) : r;
}

/* The gc spares the layers that a container which is kept has written on. Whether it is kept may
 * also be decided at its end; containerd's snapshots are in the database. */
static int name_layers(const struct lcm_session *s, int home)
{
	lcm_autobuf struct lcm_buf text = LCM_BUF(64U << 10);
	int r = 0;

	if (s->home || s->unit_key)
		return 0;
	for (uint32_t i = 0; r == 0 && i < s->n_slots; i++)
		r = lcm_buf_printf(&text, "%s\n", s->slots[i].layer->name);
	return r < 0 ? r : lcm_write_file_at(home, "layers", lcm_buf_str(&text), text.len, 0600);
}

static int make_upper(struct mount_job *j, int root_from, int *ret_upper, int *ret_work)
{
	const char *name = j->s->home ? j->s->home : j->s->id;
	lcm_autoclose int dir = open_home(j);
	bool fresh;
	int r;

	if (dir < 0)
		return j->err.code ? dir
				   : lcm_err_set(&j->err, dir, "%s: %s", name, strerror(-dir));
	r = lcm_sys_mkdirat(dir, "upper", 0755);
	fresh = r == 0;
	if (r == -EEXIST)
		r = 0;
	if (r == 0)
		r = name_layers(j->s, dir);
	if (r == 0)
		r = lcm_sys_mkdirat(dir, "work", 0700);
	if (r < 0 && r != -EEXIST)
		return lcm_err_set(&j->err, r, "%s: %s", name, strerror(-r));
	*ret_upper = open_dir(dir, "upper");
	*ret_work = open_dir(dir, "work");
	if (*ret_upper < 0 || *ret_work < 0)
		return lcm_err_set(&j->err, -EIO, "%s: upper and work cannot be opened", name);
	return fresh ? copy_root(root_from, *ret_upper) : 0;
}

/* Puts the directories that lie above the image in front of @spec's layers, in an array of its own.
 */
static int stack_above(struct mount_job *j, struct lcm_overlay_spec *spec, int *fds)
{
	int root = lcm_store_root_fd(j->s->host->e->store);
	const char *name = j->s->above;

	for (uint32_t i = 0; i < j->s->n_above; i++) {
		fds[i] = open_dir(root, name);
		if (fds[i] < 0)
			return lcm_err_set(&j->err, fds[i], "%s: %s", name, strerror(-fds[i]));
		name += strlen(name) + 1;
	}
	if (spec->n_lowers)
		memcpy(fds + j->s->n_above, spec->lowers, spec->n_lowers * sizeof(int));
	spec->lowers = fds;
	spec->n_lowers += j->s->n_above;
	return fds[0];
}

static int attach_overlay(struct mount_job *j, struct lcm_overlay_spec *spec, int root_from)
{
	lcm_autoclose int upper = -EBADF, work = -EBADF, mnt = -EBADF;
	char source[80];
	int r;

	if (!j->s->read_only) {
		r = make_upper(j, root_from, &upper, &work);
		if (r < 0)
			return r;
	}
	spec->upper = j->s->read_only ? -1 : upper;
	spec->work = j->s->read_only ? -1 : work;
	spec->source = session_source(j->s, source);
	mnt = lcm_mount_overlay(spec, &j->err);
	return mnt < 0 ? mnt : lcm_mount_attach(mnt, j->s->target, &j->err);
}

static int attach(struct mount_job *j, struct lcm_overlay_spec *spec, int root_from)
{
	uint32_t n = j->s->n_above;
	lcm_autofree int *fds = NULL;
	int r;

	if (n == 0)
		return attach_overlay(j, spec, root_from);
	fds = malloc((n + spec->n_lowers) * sizeof(int));
	if (!fds)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		fds[i] = -EBADF;
	r = stack_above(j, spec, fds);
	if (r >= 0)
		r = attach_overlay(j, spec, fds[0]);
	for (uint32_t i = 0; i < n; i++)
		lcm_closep(&fds[i]);
	return r;
}

#define META_NAME_MAX (24 + LCM_DIGEST_STR)

/* META belongs to one stack of layers: its name is the id of the topmost, with which the store
 * drops it, and a digest of all ids. */
static int meta_name(const struct lcm_session *s, char out[META_NAME_MAX])
{
	lcm_auto(lcm_hash) h = lcm_hash_new();
	char text[LCM_DIGEST_STR];
	struct lcm_digest d;

	if (!h)
		return -ENOMEM; /* never a name that another stack could have, too */
	for (uint32_t i = 0; i < s->n_slots; i++)
		lcm_hash_update(h, s->slots[i].layer->name, strlen(s->slots[i].layer->name) + 1);
	if (session_is_layer(s))
		lcm_hash_update(h, "alone", 6);
	lcm_hash_final(h, &d);
	(void)snprintf(out, META_NAME_MAX, "%s-%s",
		       s->n_slots ? s->slots[s->n_slots - 1].layer->name : "0",
		       lcm_digest_hex(&d, text));
	return 0;
}

/* What the image's layers need on top of them; an empty file says that they need nothing. */
static int write_top(struct mount_job *j, const char *name, const int *lowers, size_t n)
{
	struct lcm_store *store = j->s->host->e->store;
	lcm_autofree int *bottom_first = calloc(n + 1, sizeof(int));
	int meta = lcm_store_meta_fd(store), r;
	lcm_autoclose int dir = -EBADF;
	char tmp[160];

	if (!bottom_first)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		bottom_first[i] = lowers[n - 1 - i];
	(void)snprintf(tmp, sizeof(tmp), "%s.%llu.tmp", name, (unsigned long long)j->s->serial);
	r = lcm_sys_mkdirat(meta, tmp, 0700);
	dir = r < 0 ? r : open_dir(meta, tmp);
	r = dir < 0 ? dir : lcm_stack_top_write(bottom_first, n, dir, &j->err);
	if (r > 0)
		r = lcm_sys_renameat(meta, tmp, meta, name);
	else if (r == 0)
		r = lcm_write_file_at(meta, name, "", 0, 0600);
	lcm_ignore(lcm_rmtree_at(meta, tmp));
	/* Another mount of the image was faster. */
	return r == -ENOTEMPTY || r == -EEXIST || r == -ENOTDIR ? 0 : r;
}

/* Opens the thin layer on top of all: its descriptor, -ENOTDIR when the image needs none. */
static int open_top(struct mount_job *j, const int *lowers, size_t n)
{
	int meta = lcm_store_meta_fd(j->s->host->e->store), fd, r;
	char name[META_NAME_MAX + 8];

	r = meta_name(j->s, name);
	if (r < 0)
		return r;
	(void)strncat(name, ".dirs", 6);
	fd = open_dir(meta, name);
	if (fd != -ENOENT)
		return fd;
	r = write_top(j, name, lowers, n);
	return r < 0 ? r : open_dir(meta, name);
}

/* An image may have a layer more than once, overlayfs may not: whatever it brings at the bottom it
 * brings again, and hides there, at the top. */
static bool comes_again(const struct lcm_session *s, uint32_t slot)
{
	for (uint32_t i = slot + 1; i < s->n_slots; i++)
		if (s->slots[i].layer == s->slots[slot].layer)
			return true;
	return false;
}

/* overlayfs merges the roots of all layers, also of one that is opaque there (".wh..wh..opq" in the
 * root): nothing below it may be in the stack. */
static bool hides_all(int fd)
{
	char v;

	return lcm_errno(fgetxattr(fd, "trusted.overlay.opaque", &v, 1)) == 1 && v == 'y';
}

static int open_layers(struct mount_job *j, int *fds, size_t *n)
{
	struct lcm_session *s = j->s;
	int real = lcm_store_real_fd(s->host->e->store);

	for (uint32_t i = s->n_slots; i > 0; i--) {
		if (comes_again(s, i - 1))
			continue;
		fds[*n] = open_dir(real, s->slots[i - 1].layer->name);
		if (fds[*n] < 0)
			return fds[*n];
		if (hides_all(fds[(*n)++]))
			break;
	}
	if (*n)
		return 0;
	lcm_ignore(lcm_sys_mkdirat(lcm_store_root_fd(s->host->e->store), "empty", 0755));
	fds[0] = open_dir(lcm_store_root_fd(s->host->e->store), "empty");
	*n = fds[0] >= 0;
	return LCM_MIN(fds[0], 0);
}

static int mount_plain(struct mount_job *j)
{
	lcm_autofree int *fds = calloc(j->s->n_slots + 2, sizeof(int));
	/* An upper of a lazy mount with metacopy=on may hold files without data of their own. */
	struct lcm_overlay_spec spec = { .lowers = fds + 1,
					 .metacopy = !j->s->host->features.redirect_no_metacopy };
	struct lcm_overlay_spec own;
	int r;

	if (!fds)
		return -ENOMEM;
	r = open_layers(j, fds + 1, &spec.n_lowers);
	if (r == 0 && !lcm_stack_top_none(spec.lowers, spec.n_lowers)) {
		r = fds[0] = open_top(j, fds + 1, spec.n_lowers);
		if (r >= 0) {
			spec.lowers = fds;
			spec.n_lowers++;
		}
		r = r == -ENOTDIR ? 0 : LCM_MIN(r, 0);
	}
	own = spec;
	if (r == 0)
		r = attach(j, &spec, spec.lowers[0]);
	for (size_t i = 0; i < own.n_lowers; i++) {
		int fd = own.lowers[i];

		lcm_closep(&fd);
	}
	return r;
}

static int write_meta(struct mount_job *j, const char *name)
{
	struct lcm_session *s = j->s;
	int dir = lcm_store_meta_fd(s->host->e->store), r;
	lcm_autofree struct lcm_meta_layer *layers = calloc(s->n_slots, sizeof(*layers));
	lcm_autoclose int fd = -EBADF;
	struct lcm_meta_stats stats;
	char tmp[160];

	if (!layers)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n_slots; i++)
		layers[i] = (struct lcm_meta_layer){ .name = s->slots[i].layer->name,
						     .toc = s->slots[i].layer->toc };
	(void)snprintf(tmp, sizeof(tmp), "%s.%llu.tmp", name, (unsigned long long)s->serial);
	fd = lcm_sys_openat(dir, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
	r = fd < 0                ? fd
	    : session_is_layer(s) ? lcm_meta_write_layer(layers, fd, &stats, &j->err)
				  : lcm_meta_write(layers, s->n_slots, fd, &stats, &j->err);
	if (r == 0)
		r = lcm_sys_renameat(dir, tmp, dir, name);
	if (r < 0 && fd >= 0)
		lcm_ignore(lcm_sys_unlinkat(dir, tmp, 0));
	return r;
}

static int mount_meta(struct mount_job *j)
{
	struct lcm_session *s = j->s;
	struct lcm_store *store = s->host->e->store;
	char name[META_NAME_MAX], path[4096];
	struct stat st;
	int r;

	r = meta_name(s, name);
	if (r == 0)
		r = lcm_sys_fstatat(lcm_store_meta_fd(store), name, &st, 0);
	if (r == -ENOENT)
		r = write_meta(j, name);
	if (r < 0)
		return lcm_err_prefix(&j->err, r, "metadata image");
	(void)snprintf(path, sizeof(path), "%s/meta/%s", lcm_store_root(store), name);
	return lcm_mount_erofs(path, s->lower, &j->err);
}

static int open_gate(struct mount_job *j)
{
	struct lcm_session *s = j->s;
	lcm_autofree struct lcm_gate_layer *layers = NULL;
	struct lcm_gate_config cfg;
	int fuse_fd, mnt, r = session_gate_config(s, &layers, &cfg);

	if (r == 0)
		r = lcm_gate_open(&cfg, &j->gate, &fuse_fd, &j->err);
	if (r < 0)
		return r;
	s->gate = j->gate; /* callbacks come as soon as it is served */
	mnt = lcm_mount_gate(fuse_fd, &j->err);
	if (mnt < 0)
		return mnt;
	session_keep_gate(s);
	r = lcm_gate_start(j->gate, s->host->gates);
	if (r == 0)
		return mnt;
	lcm_closep(&mnt);
	return r;
}

static int mount_lazy(struct mount_job *j)
{
	struct lcm_session *s = j->s;
	lcm_autoclose int meta = mount_meta(j);
	lcm_autoclose int gate = meta < 0 ? meta : open_gate(j);
	const int data[] = { lcm_store_real_fd(s->host->e->store), gate };
	struct lcm_overlay_spec spec = {
		.lowers = &meta,
		.n_lowers = 1,
		.data = data,
		.n_data = 2,
		.metacopy = !s->host->features.redirect_no_metacopy,
	};

	return gate < 0 ? gate : attach(j, &spec, meta);
}

static void on_mounted(void *arg);

static void mount_job_run(void *arg)
{
	struct mount_job *j = arg;

	j->status = j->lazy ? mount_lazy(j) : mount_plain(j);
	if (j->status == 0 && session_is_layer(j->s))
		j->status = session_check_layer(j->s, &j->err);
	j->task.fn = on_mounted;
	lcm_loop_post_task(j->s->host->e->loop, &j->task);
}

void session_serve(struct lcm_session *s)
{
	session_apply_deadline(s);
	lcm_engine_mounted(s->host->e);
	session_pull_layers(s, false);
	session_advance(s);
}

static void on_mounted(void *arg)
{
	struct mount_job *j = arg;
	struct lcm_session *s = j->s;
	bool lazy = j->lazy;
	struct lcm_err err = j->err;
	int status = j->status;

	session_set_attached(s, &j->unit);
	free(j);
	if (status < 0) {
		session_unkeep_gate(s);
		lcm_gate_close(s->gate);
		s->gate = NULL;
		if (!session_job_back(s))
			session_fail(s, status, &err);
		return;
	}
	s->t_mounted = lcm_now_ns();
	if (session_job_back(s))
		return;
	session_restored(s);
	session_set_phase(s, lazy ? LCM_LAZY : LCM_NATIVE);
	if (lazy)
		session_serve(s);
}

void session_mount_start(struct lcm_session *s, bool lazy)
{
	struct mount_job *j = calloc(1, sizeof(*j));
	struct lcm_err err = { 0 };
	int r = !j ? -ENOMEM : s->restoring ? 0 : session_put_row(s, &err);

	if (r < 0) {
		free(j);
		session_fail(s, r, &err);
		return;
	}
	*j = (struct mount_job){ .task = { .fn = mount_job_run, .arg = j }, .s = s, .lazy = lazy };
	s->job = j;
	lcm_pool_submit(s->host->e->pool, LCM_POOL_DEMAND, &j->task);
}
