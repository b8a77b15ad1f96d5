/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/layer_fs.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/cmd/layer_names.h"

#define REFS_MAX 4096U
#define LAYERS_MAX LAYER_NAMES_MAX
#define IDLE_THREADS 4U

/* The low bits of a node id; the others are what layer_names.h has. The root is 1, as the kernel
 * has it. */
enum kind { KIND_ROOT = 1, KIND_REF, KIND_LAYER, KIND_DIFF, KIND_INFO, KIND_BLOB };
#define KIND_BITS 3U
#define KIND_MASK ((1U << KIND_BITS) - 1)

static const struct leaf {
	const char *name;
	enum kind kind;
	mode_t mode;
} leaves[] = {
	{ "diff", KIND_DIFF, S_IFLNK | 0777 },
	{ "info", KIND_INFO, S_IFREG | 0400 },
	{ "blob", KIND_BLOB, S_IFREG | 0400 },
};

/* Of an open blob: the part that was read last. */
struct reader {
	pthread_mutex_t lock;
	struct lcm_buf part;
	uint64_t off;
};

static fuse_ino_t ino_of(enum kind kind, uint64_t id)
{
	return (fuse_ino_t)id << KIND_BITS | kind;
}

static enum kind kind_of(fuse_ino_t ino)
{
	return (enum kind)(ino & KIND_MASK);
}

static uint64_t id_of(fuse_ino_t ino)
{
	return ino >> KIND_BITS;
}

static struct layer_names *names_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static const struct leaf *find_leaf(const char *name)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(leaves); i++)
		if (strcmp(leaves[i].name, name) == 0)
			return &leaves[i];
	return NULL;
}

/* ---- attributes ---- */

static void fill_dir(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){ .st_ino = ino, .st_mode = S_IFDIR | 0700, .st_nlink = 2 };
}

/* Has the layer mounted. */
static int get(struct layer_names *names, fuse_ino_t ino, struct layer_mount_info *ret)
{
	struct layer_mount *l = layer_names_hold(names, id_of(ino));
	int r = l ? layer_mount_get(l, ret) : -ESTALE;

	if (l)
		layer_names_drop(names, id_of(ino));
	return r;
}

/* Its size is not known before it is mounted. */
static int fill_leaf(struct layer_names *names, fuse_ino_t ino, struct stat *st)
{
	struct layer_mount_info info;
	int r = get(names, ino, &info);

	if (r < 0)
		return r;
	*st = (struct stat){ .st_ino = ino, .st_nlink = 1 };
	for (size_t i = 0; i < LCM_ARRAY_SIZE(leaves); i++)
		if (leaves[i].kind == kind_of(ino))
			st->st_mode = leaves[i].mode;
	st->st_size = kind_of(ino) == KIND_BLOB   ? (off_t)info.blob_size
		      : kind_of(ino) == KIND_INFO ? (off_t)strlen(info.json)
						  : (off_t)strlen(info.target);
	layer_mount_info_fini(&info);
	return 0;
}

static int fill(struct layer_names *names, fuse_ino_t ino, struct stat *st)
{
	if (kind_of(ino) > KIND_LAYER)
		return fill_leaf(names, ino, st);
	fill_dir(ino, st);
	return 0;
}

/* Errors in the daemon are said there and in the log; to podman the layer is not in this store.
 * With ESTALE the kernel looks the name up again. */
static int as_seen(int r)
{
	return r == -ENOMEM || r == -ENOSPC || r == -ESTALE ? -r : ENOENT;
}

/* ---- operations ---- */

static int find(struct layer_names *names, fuse_ino_t parent, const char *name, fuse_ino_t *ret)
{
	const struct leaf *leaf;
	uint64_t id = 0;
	int r = -ENOENT;

	switch (kind_of(parent)) {
	case KIND_ROOT:
		r = layer_names_ref(names, name, &id);
		*ret = ino_of(KIND_REF, id);
		return r;
	case KIND_REF:
		r = layer_names_layer(names, id_of(parent), name, &id);
		*ret = ino_of(KIND_LAYER, id);
		return r;
	case KIND_LAYER:
		leaf = find_leaf(name);
		if (leaf)
			*ret = ino_of(leaf->kind, id_of(parent));
		return leaf ? 0 : -ENOENT;
	default:
		return -ENOENT;
	}
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { 0 };
	int r = find(names_of(req), parent, name, &e.ino);

	if (r == 0)
		r = fill(names_of(req), e.ino, &e.attr);
	if (r < 0)
		fuse_reply_err(req, as_seen(r));
	else
		fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int r = fill(names_of(req), ino, &st);

	(void)fi;
	if (r < 0)
		fuse_reply_err(req, as_seen(r));
	else
		fuse_reply_attr(req, &st, 0);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct layer_mount_info info;
	int r = kind_of(ino) == KIND_DIFF ? get(names_of(req), ino, &info) : -EINVAL;

	if (r < 0) {
		fuse_reply_err(req, as_seen(r));
		return;
	}
	fuse_reply_readlink(req, info.target);
	layer_mount_info_fini(&info);
}

/* Return: 0, -ESTALE. */
static int count(struct layer_names *names, fuse_ino_t ino, void (*how)(struct layer_mount *))
{
	struct layer_mount *l = layer_names_hold(names, id_of(ino));

	if (!l)
		return -ESTALE;
	how(l);
	layer_names_drop(names, id_of(ino));
	return 0;
}

/* "use": who makes it counts himself in, and expects that it is not there. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	bool use = kind_of(parent) == KIND_LAYER && strcmp(name, "use") == 0;
	int r = use ? count(names_of(req), parent, layer_mount_use) : 0;

	(void)mode;
	(void)fi;
	fuse_reply_err(req, r < 0 ? -r : use ? ENOENT : EPERM);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	bool is = kind_of(parent) == KIND_REF;
	fuse_ino_t ino = 0;
	int r = is ? find(names_of(req), parent, name, &ino) : -EPERM;

	if (r == 0)
		r = count(names_of(req), ino, layer_mount_release);
	fuse_reply_err(req, r == 0 ? ENOENT : r == -ENOENT ? EPERM : -r);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct reader *rd = calloc(1, sizeof(*rd));

	if (!rd) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	/* Read once, by programs that map nothing: not worth the page cache. */
	fi->direct_io = kind_of(ino) == KIND_BLOB;
	(void)pthread_mutex_init(&rd->lock, NULL);
	rd->part = LCM_BUF(LAYER_MOUNT_PART);
	fi->fh = (uint64_t)(uintptr_t)rd;
	if (fuse_reply_open(req, fi) == 0)
		return;
	free(rd);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct reader *rd = (void *)(uintptr_t)fi->fh;

	(void)ino;
	lcm_buf_fini(&rd->part);
	(void)pthread_mutex_destroy(&rd->lock);
	free(rd);
	fuse_reply_err(req, 0);
}

/* Bytes of the blob, in parts that are larger than what the kernel asks for. */
static void read_blob(fuse_req_t req, struct layer_mount *l, struct reader *rd, size_t size,
		      uint64_t off)
{
	uint64_t base = off / LAYER_MOUNT_PART * LAYER_MOUNT_PART;
	size_t from = (size_t)(off - base);
	int r = 0;

	(void)pthread_mutex_lock(&rd->lock);
	if (!rd->part.len || rd->off != base) {
		rd->part.len = 0;
		rd->off = base;
		r = layer_mount_read(l, base, &rd->part);
	}
	if (r < 0)
		fuse_reply_err(req, EIO);
	else if (from >= rd->part.len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, rd->part.data + from, LCM_MIN(size, rd->part.len - from));
	(void)pthread_mutex_unlock(&rd->lock);
}

static void read_info(fuse_req_t req, struct layer_mount *l, size_t size, uint64_t off)
{
	struct layer_mount_info info;
	int r = layer_mount_get(l, &info);
	size_t len;

	if (r < 0) {
		fuse_reply_err(req, EIO);
		return;
	}
	len = strlen(info.json);
	if (off >= len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, info.json + off, LCM_MIN(size, len - off));
	layer_mount_info_fini(&info);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct layer_names *names = names_of(req);
	struct layer_mount *l = layer_names_hold(names, id_of(ino));

	if (!l) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (kind_of(ino) == KIND_BLOB)
		read_blob(req, l, (void *)(uintptr_t)fi->fh, size, (uint64_t)off);
	else
		read_info(req, l, size, (uint64_t)off);
	layer_names_drop(names, id_of(ino)); /* the request is gone with its reply */
}

/* What there is depends on who asks for it: nothing is listed. */
static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)ino;
	(void)size;
	(void)off;
	(void)fi;
	fuse_reply_buf(req, NULL, 0);
}

/* One read of a blob after the other: the part at hand is the right one then. */
static void op_init(void *arg, struct fuse_conn_info *conn)
{
	(void)arg;
	conn->want &= ~(unsigned int)FUSE_CAP_ASYNC_READ;
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.create = op_create,
	.rmdir = op_rmdir,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.readdir = op_readdir,
};

/* ---- serving ---- */

static int failed_at(const char *path, int r, struct lcm_err *err)
{
	return r < 0 ? lcm_err_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

/* One that is dead answers ENOTCONN, one that lives has our root. */
static int clear_place(const char *dir, struct lcm_err *err)
{
	struct stat st, above;
	char up[4096];
	int r = lcm_sys_fstatat(AT_FDCWD, dir, &st, 0);

	if (r == -ENOTCONN)
		return failed_at(dir, (int)lcm_errno(umount2(dir, MNT_DETACH)), err);
	if (r < 0)
		return failed_at(dir, r, err);
	(void)snprintf(up, sizeof(up), "%s/..", dir);
	r = lcm_sys_fstatat(AT_FDCWD, up, &above, 0);
	if (r == 0 && above.st_dev != st.st_dev)
		return lcm_err_set(
		    err, -EBUSY,
		    "%s is a mount point already: a layer store that runs? (umount %s)", dir, dir);
	return failed_at(up, r, err);
}

static int serve_mounted(struct fuse_session *se, struct fuse_loop_config *cfg, const char *dir,
			 struct lcm_err *err)
{
	int r;

	if (fuse_session_mount(se, dir) != 0)
		return lcm_err_set(err, -EIO,
				   "%s: FUSE cannot be mounted there (is /dev/fuse here?)", dir);
	lcm_log(LCM_LOG_NOTICE, "additional layer store at %s", dir);
	lcm_notify("READY=1");
	fuse_loop_cfg_set_idle_threads(cfg, IDLE_THREADS);
	r = fuse_session_loop_mt(se, cfg);
	fuse_session_unmount(se);
	return LCM_MIN(r, 0);
}

static int serve(struct fuse_session *se, const char *dir, struct lcm_err *err)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int r = -ENOMEM;

	if (cfg && fuse_set_signal_handlers(se) == 0) {
		r = serve_mounted(se, cfg, dir, err);
		fuse_remove_signal_handlers(se);
	}
	if (cfg)
		fuse_loop_cfg_destroy(cfg);
	return r;
}

int layer_fs_serve(const char *dir, struct lcm_err *err)
{
	/* Without allow_other: what a lookup makes the daemon do is for our user to ask, root. */
	static char name[] = "locum", option[] = "-odefault_permissions,nosuid,nodev,"
						 "fsname=locum-layers,subtype=locum";
	char *argv[] = { name, option, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	struct layer_names *names = NULL;
	struct fuse_session *se = NULL;
	int r = clear_place(dir, err);

	if (r == 0) {
		names = layer_names_new(REFS_MAX, LAYERS_MAX);
		se = names ? fuse_session_new(&args, &ops, sizeof(ops), names) : NULL;
		r = se ? serve(se, dir, err) : -ENOMEM;
	}
	if (se)
		fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	layer_names_free(names);
	return r;
}
