/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/layer_fs.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "image/reference.h"
#include "src/base/base64.h"
#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/cmd/layer_mount.h"

#define REFS_MAX 4096U
#define LAYERS_MAX 65536U
#define REF_MAX (LCM_REFERENCE_STR_MAX - 1)
#define IDLE_THREADS 4U

/* The low bits of a node id; the others are an index. The root is 1, as the kernel has it. */
enum kind { KIND_ROOT = 1, KIND_REF, KIND_LAYER, KIND_DIFF, KIND_INFO, KIND_BLOB };
#define KIND_BITS 3U
#define KIND_MASK ((1U << KIND_BITS) - 1)

static const struct leaf {
	const char *name;
	enum kind kind;
	mode_t mode;
} leaves[] = {
	{ "diff", KIND_DIFF, S_IFLNK | 0777 },
	{ "info", KIND_INFO, S_IFREG | 0444 },
	{ "blob", KIND_BLOB, S_IFREG | 0400 },
};

/* Names that were looked up stay: they are few, and small. */
struct fs {
	pthread_mutex_t lock;                   /* of the tables; layers have one each, too */
	char *refs[REFS_MAX];                   /* owned; as podman has them */
	struct layer_mount *layers[LAYERS_MAX]; /* owned */
	uint32_t n_refs, n_layers;
};

/* Of an open blob: the part that was read last. */
struct reader {
	pthread_mutex_t lock;
	struct lcm_buf part;
	uint64_t off;
};

static fuse_ino_t ino_of(enum kind kind, uint32_t index)
{
	return (fuse_ino_t)index << KIND_BITS | kind;
}

static enum kind kind_of(fuse_ino_t ino)
{
	return (enum kind)(ino & KIND_MASK);
}

static struct layer_mount *layer_at(struct fs *fs, fuse_ino_t ino)
{
	return fs->layers[ino >> KIND_BITS];
}

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- names ---- */

/* Return: index, -ENOENT (no reference), -ENOSPC, -ENOMEM. */
static int find_ref(struct fs *fs, const char *name)
{
	char text[REF_MAX + 4];
	struct lcm_reference ref;
	size_t len = strlen(name);
	long n = len / 4 * 3 < sizeof(text) ? lcm_base64(name, len, (uint8_t *)text) : -EUCLEAN;

	if (n <= 0 || memchr(text, 0, (size_t)n))
		return -ENOENT;
	text[n] = '\0';
	if (lcm_reference_parse(text, &ref, NULL) < 0)
		return -ENOENT;
	for (uint32_t i = 0; i < fs->n_refs; i++)
		if (strcmp(fs->refs[i], text) == 0)
			return (int)i;
	if (fs->n_refs == REFS_MAX)
		return -ENOSPC;
	fs->refs[fs->n_refs] = strdup(text);
	return fs->refs[fs->n_refs] ? (int)fs->n_refs++ : -ENOMEM;
}

static int find_layer(struct fs *fs, uint32_t ref, const char *name)
{
	struct lcm_digest d;

	if (lcm_digest_parse(name, strlen(name), &d) < 0)
		return -ENOENT;
	for (uint32_t i = 0; i < fs->n_layers; i++)
		if (fs->layers[i]->image == fs->refs[ref] &&
		    lcm_digest_equal(&fs->layers[i]->digest, &d))
			return (int)i;
	if (fs->n_layers == LAYERS_MAX)
		return -ENOSPC;
	fs->layers[fs->n_layers] = layer_mount_new(fs->refs[ref], &d);
	return fs->layers[fs->n_layers] ? (int)fs->n_layers++ : -ENOMEM;
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
	*st = (struct stat){ .st_ino = ino, .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
}

/* Has the layer mounted: its size is not known before. */
static int fill_leaf(struct fs *fs, fuse_ino_t ino, struct stat *st)
{
	struct layer_mount_info info;
	int r = layer_mount_get(layer_at(fs, ino), &info);

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

static int fill(struct fs *fs, fuse_ino_t ino, struct stat *st)
{
	if (kind_of(ino) > KIND_LAYER)
		return fill_leaf(fs, ino, st);
	fill_dir(ino, st);
	return 0;
}

/* Errors in the daemon are said there and in the log; to podman the layer is not in this store. */
static int as_seen(int r)
{
	return r == -ENOMEM || r == -ENOSPC ? -r : ENOENT;
}

/* ---- operations ---- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { 0 };
	struct fs *fs = fs_of(req);
	const struct leaf *leaf;
	int r = -ENOENT;

	(void)pthread_mutex_lock(&fs->lock);
	if (kind_of(parent) == KIND_ROOT)
		r = find_ref(fs, name);
	else if (kind_of(parent) == KIND_REF)
		r = find_layer(fs, (uint32_t)(parent >> KIND_BITS), name);
	(void)pthread_mutex_unlock(&fs->lock);
	if (kind_of(parent) == KIND_LAYER && (leaf = find_leaf(name)) != NULL) {
		e.ino = ino_of(leaf->kind, (uint32_t)(parent >> KIND_BITS));
		r = 0;
	} else if (r >= 0) {
		e.ino = ino_of(kind_of(parent) == KIND_ROOT ? KIND_REF : KIND_LAYER, (uint32_t)r);
	}
	if (r >= 0)
		r = fill(fs, e.ino, &e.attr);
	if (r < 0)
		fuse_reply_err(req, as_seen(r));
	else
		fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int r = fill(fs_of(req), ino, &st);

	(void)fi;
	if (r < 0)
		fuse_reply_err(req, as_seen(r));
	else
		fuse_reply_attr(req, &st, 0);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct layer_mount_info info;
	int r = kind_of(ino) == KIND_DIFF ? layer_mount_get(layer_at(fs_of(req), ino), &info)
					  : -EINVAL;

	if (r < 0) {
		fuse_reply_err(req, as_seen(r));
		return;
	}
	fuse_reply_readlink(req, info.target);
	layer_mount_info_fini(&info);
}

/* "use": who makes it counts himself in, and expects that it is not there. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	bool use = kind_of(parent) == KIND_LAYER && strcmp(name, "use") == 0;

	(void)mode;
	(void)fi;
	if (use)
		layer_mount_use(layer_at(fs_of(req), parent));
	fuse_reply_err(req, use ? ENOENT : EPERM);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	int i = -ENOENT;

	(void)pthread_mutex_lock(&fs->lock);
	if (kind_of(parent) == KIND_REF)
		i = find_layer(fs, (uint32_t)(parent >> KIND_BITS), name);
	(void)pthread_mutex_unlock(&fs->lock);
	if (i >= 0)
		layer_mount_release(fs->layers[i]);
	fuse_reply_err(req, i >= 0 ? ENOENT : EPERM);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct reader *rd = calloc(1, sizeof(*rd));

	if (!rd) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	(void)ino;
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
	struct layer_mount *l = layer_at(fs_of(req), ino);

	if (kind_of(ino) == KIND_BLOB)
		read_blob(req, l, (void *)(uintptr_t)fi->fh, size, (uint64_t)off);
	else
		read_info(req, l, size, (uint64_t)off);
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

/* One that is dead answers ENOTCONN, one that lives has our root. */
static int clear_place(const char *dir, struct lcm_err *err)
{
	struct stat st, above;
	char up[4096];
	int r = lcm_sys_fstatat(AT_FDCWD, dir, &st, 0);

	if (r == -ENOTCONN)
		return (int)lcm_errno(umount2(dir, MNT_DETACH));
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", dir, strerror(-r));
	(void)snprintf(up, sizeof(up), "%s/..", dir);
	r = lcm_sys_fstatat(AT_FDCWD, up, &above, 0);
	return r == 0 && above.st_dev != st.st_dev
		   ? lcm_err_set(
			 err, -EBUSY,
			 "%s is a mount point already: a layer store that runs? (umount %s)", dir,
			 dir)
		   : r;
}

static void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	for (uint32_t i = 0; i < fs->n_layers; i++)
		layer_mount_free(fs->layers[i]);
	for (uint32_t i = 0; i < fs->n_refs; i++)
		free(fs->refs[i]);
	(void)pthread_mutex_destroy(&fs->lock);
	free(fs);
}

static int serve(struct fuse_session *se, const char *dir, struct lcm_err *err)
{
	struct fuse_loop_config *cfg;
	int r;

	if (fuse_set_signal_handlers(se) != 0)
		return -ENOMEM;
	if (fuse_session_mount(se, dir) != 0) {
		fuse_remove_signal_handlers(se);
		return lcm_err_set(err, -EIO,
				   "%s: FUSE cannot be mounted there (is /dev/fuse here?)", dir);
	}
	lcm_log(LCM_LOG_NOTICE, "additional layer store at %s", dir);
	lcm_notify("READY=1");
	cfg = fuse_loop_cfg_create();
	fuse_loop_cfg_set_idle_threads(cfg, IDLE_THREADS);
	r = fuse_session_loop_mt(se, cfg);
	fuse_loop_cfg_destroy(cfg);
	fuse_session_unmount(se);
	fuse_remove_signal_handlers(se);
	return LCM_MIN(r, 0);
}

int layer_fs_serve(const char *dir, struct lcm_err *err)
{
	static char name[] = "locum", option[] = "-oallow_other,default_permissions,nosuid,nodev,"
						 "fsname=locum-layers,subtype=locum";
	char *argv[] = { name, option, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	struct fs *fs = calloc(1, sizeof(*fs));
	struct fuse_session *se;
	int r = fs ? clear_place(dir, err) : -ENOMEM;

	if (r < 0) {
		free(fs);
		return r;
	}
	(void)pthread_mutex_init(&fs->lock, NULL);
	se = fuse_session_new(&args, &ops, sizeof(ops), fs);
	r = se ? serve(se, dir, err) : -ENOMEM;
	if (se)
		fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	fs_free(fs);
	return r;
}
