/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/sysmacros.h>

#include "overlay/unpack_run.h"
#include "src/base/sys.h"

/* Between checkpoints: 2 ms at full speed. */
#define CHECKPOINT_BYTES ((uint64_t)4 << 20)

enum lcm_unpack_name lcm_unpack_name_of(const char *name, size_t len)
{
	static const char wh[] = ".wh.", meta[] = ".wh..wh.", opaque[] = ".wh..wh..opq";

	if (len < sizeof(wh) - 1 || memcmp(name, wh, sizeof(wh) - 1) != 0)
		return LCM_UNPACK_ORDINARY;
	if (len < sizeof(meta) - 1 || memcmp(name, meta, sizeof(meta) - 1) != 0)
		return LCM_UNPACK_WHITEOUT;
	if (len == sizeof(opaque) - 1 && memcmp(name, opaque, len) == 0)
		return LCM_UNPACK_OPAQUE;
	return LCM_UNPACK_DROPPED;
}

enum lcm_unpack_name lcm_unpack_below(const char *path, size_t len)
{
	while (len) {
		const char *slash = memchr(path, '/', len);
		size_t n = slash ? (size_t)(slash - path) : len;
		enum lcm_unpack_name is = lcm_unpack_name_of(path, n);

		if (is != LCM_UNPACK_ORDINARY)
			return is == LCM_UNPACK_OPAQUE ? LCM_UNPACK_DROPPED : is;
		path += LCM_MIN(n + 1, len);
		len -= LCM_MIN(n + 1, len);
	}
	return LCM_UNPACK_ORDINARY;
}

int lcm_unpack_parent_cached(const struct lcm_unpack_run *u, const char *path, size_t len)
{
	return u->parent >= 0 && u->parent_len == len && memcmp(u->parent_path, path, len) == 0
		   ? u->parent
		   : -ENOENT;
}

int lcm_unpack_parent_keep(struct lcm_unpack_run *u, const char *path, size_t len, int fd)
{
	lcm_closep(&u->parent);
	memcpy(u->parent_path, path, len);
	u->parent_len = len;
	u->parent = fd;
	return fd;
}

int lcm_unpack_checkpoint(struct lcm_unpack_run *u, uint64_t bytes)
{
	u->unchecked += bytes;
	if (bytes && u->unchecked < CHECKPOINT_BYTES)
		return 0;
	u->unchecked = 0;
	return u->ops->checkpoint ? u->ops->checkpoint(u->ops->arg) : 0;
}

struct lcm_layer_attr lcm_unpack_attr(const struct lcm_tar_entry *e)
{
	return (struct lcm_layer_attr){
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime = e->mtime,
		.mtime_nsec = e->mtime_nsec,
		.xattrs = e->xattrs,
		.n_xattrs = e->n_xattrs,
	};
}

static mode_t node_mode(enum lcm_toc_type type)
{
	switch (type) {
	case LCM_TOC_CHAR:
		return S_IFCHR;
	case LCM_TOC_BLOCK:
		return S_IFBLK;
	default:
		return S_IFIFO;
	}
}

int lcm_unpack_node(struct lcm_unpack_run *u, int dirfd, const char *name,
		    const struct lcm_tar_entry *e)
{
	struct lcm_layer_attr a = lcm_unpack_attr(e);
	bool symlink = e->type == LCM_TOC_SYMLINK;
	int r;

	if (symlink)
		r = lcm_sys_symlinkat(e->link, dirfd, name);
	else
		r = lcm_sys_mknodat(
		    dirfd, name, node_mode(e->type) | (e->mode & 0777),
		    e->type == LCM_TOC_FIFO ? 0 : makedev(e->rdev_major, e->rdev_minor));
	if (r < 0)
		return r == -EEXIST ? r : lcm_layer_fail(u->err, r, e->path, "cannot be made");
	return lcm_layer_attr_set_at(dirfd, name, symlink, &a, e->path, u->err);
}

bool lcm_unpack_is_stargz(const struct lcm_tar_entry *e)
{
	static const char *const names[] = { LCM_STARGZ_INDEX, LCM_STARGZ_LANDMARKS };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++)
		if (strcmp(e->path, names[i]) == 0)
			return true;
	return false;
}

/* ---- the index ---- */

static int chunk_add(struct lcm_unpack_run *u, const struct lcm_toc_item_chunk *c)
{
	if (u->n_chunks == u->cap_chunks) {
		size_t cap = LCM_MAX(u->cap_chunks * 2, (size_t)16);
		void *p = realloc(u->chunks, cap * sizeof(*u->chunks));

		if (!p)
			return -ENOMEM;
		u->chunks = p;
		u->cap_chunks = cap;
	}
	u->chunks[u->n_chunks++] = *c;
	return 0;
}

static int hole_note(struct lcm_unpack_run *u, uint64_t from, uint64_t to)
{
	const struct lcm_toc_item_chunk c = { .file_off = from,
					      .file_len = to - from,
					      .flags = LCM_TOC_CHUNK_ZEROS };

	return to > from ? chunk_add(u, &c) : 0;
}

/* Where a piece of the file lies in the tar; what continues the one before is one with it. */
static int chunk_note(struct lcm_unpack_run *u, const struct lcm_tar_piece *d)
{
	struct lcm_toc_item_chunk *last = u->n_chunks ? &u->chunks[u->n_chunks - 1] : NULL;
	struct lcm_toc_item_chunk c = {
		.blob_off = d->tar_off,
		.blob_len = d->len,
		.file_off = d->off,
		.file_len = d->len,
		.flags = LCM_TOC_CHUNK_TAR,
	};
	uint64_t end = last ? last->file_off + last->file_len : 0;
	int r;

	if (last && end == d->off && last->blob_off + last->blob_len == d->tar_off) {
		last->blob_len += d->len;
		last->file_len += d->len;
		return 0;
	}
	r = hole_note(u, end, d->off);
	return r < 0 ? r : chunk_add(u, &c);
}

int lcm_unpack_index(struct lcm_unpack_run *u, const struct lcm_tar_entry *e)
{
	const struct lcm_toc_item_chunk *last;
	struct lcm_toc_item it = lcm_tar_item(e);
	int r = 0;

	if (!u->index)
		return 0;
	if (e->type == LCM_TOC_REG) {
		last = u->n_chunks ? &u->chunks[u->n_chunks - 1] : NULL;
		r = hole_note(u, last ? last->file_off + last->file_len : 0, e->size);
		it.chunks = u->chunks;
		it.n_chunks = u->n_chunks;
	}
	u->n_chunks = 0;
	if (r == 0)
		r = lcm_toc_builder_add(u->index, &it, NULL);
	/* A layer that can be unpacked and not indexed stays a plain one. */
	if (r == -EUCLEAN || r == -EFBIG) {
		u->index = NULL;
		r = 0;
	}
	return r;
}

/* ---- data ---- */

int lcm_unpack_data(struct lcm_unpack_run *u, const struct lcm_tar_entry *e, int fd,
		    int (*fn)(void *arg, const void *p, uint64_t len), void *arg)
{
	struct lcm_tar_piece d;
	uint64_t at = 0;
	int r;

	while ((r = lcm_tar_data(u->tar, &d, u->err)) > 0) {
		if (d.off < at || d.off > e->size || d.len > e->size - d.off)
			return lcm_err_set(u->err, -EUCLEAN,
					   "layer entry '%.250s': data outside of the file",
					   e->path);
		r = u->index ? chunk_note(u, &d) : 0;
		if (r < 0)
			return r;
		r = d.off > at && fn ? fn(arg, NULL, d.off - at) : 0;
		if (r == 0 && fd >= 0)
			r = lcm_sys_pwrite_full(fd, d.p, d.len, d.off);
		if (r < 0)
			return lcm_layer_fail(u->err, r, e->path, "cannot write");
		if (fn)
			r = fn(arg, d.p, d.len);
		if (r == 0)
			r = lcm_unpack_checkpoint(u, d.len);
		if (r < 0)
			return r;
		at = d.off + d.len;
	}
	if (r < 0 || at == e->size)
		return r;
	r = fd >= 0 ? lcm_sys_ftruncate(fd, e->size) : 0;
	if (r < 0)
		return lcm_layer_fail(u->err, r, e->path, "cannot set size");
	return fn ? fn(arg, NULL, e->size - at) : 0;
}

/* Is it a whiteout, and no hardlink to a lower layer? Those are made with no mode. Return: 1, 0
 * (also when it is not there), -errno. */
static int is_hidden(int dirfd, const char *name)
{
	char target[PATH_MAX];
	struct stat st;
	int r = lcm_sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (st.st_mode != S_IFCHR || st.st_rdev != 0)
		return 0;
	r = lcm_layer_link_target(dirfd, name, target);
	return r == -ENODATA || r == -ENOTSUP ? 1 : LCM_MIN(r, 0);
}

int lcm_unpack_link(struct lcm_unpack_run *u, const char *target, int dirfd, const char *name,
		    const char *path)
{
	lcm_autoclose int opened = -EBADF;
	const char *slash = strrchr(target, '/');
	size_t len = slash ? (size_t)(slash - target) : 0;
	int from = lcm_unpack_parent_cached(u, target, len), r;

	if (from < 0)
		from = opened = lcm_layer_parent(u->d, target, len, u->err);
	if (from < 0)
		return from;
	r = is_hidden(from, slash ? slash + 1 : target);
	if (r > 0)
		return lcm_err_set(u->err, -EUCLEAN,
				   "layer entry '%.200s': hardlink to '%.200s', which this layer "
				   "hides",
				   path, target);
	if (r == 0)
		r = lcm_sys_linkat(from, slash ? slash + 1 : target, dirfd, name, 0);
	if (r == 0 || r == -EEXIST || r == -ENOENT)
		return r;
	if (r == -EPERM)
		return lcm_err_set(
		    u->err, -EUCLEAN,
		    "layer entry '%.200s': hardlink to '%.200s', which is a directory", path,
		    target);
	return lcm_err_set(u->err, r, "layer entry '%.200s': cannot link to '%.200s' (%s)", path,
			   target, strerror(-r));
}

int lcm_unpack(struct lcm_layer_dir *d, struct lcm_tar *tar, const struct lcm_toc *toc,
	       const struct lcm_unpack_ops *ops, struct lcm_unpack_result *ret, struct lcm_err *err)
{
	static const struct lcm_unpack_ops none;
	lcm_autofree struct lcm_unpack_run *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->d = d;
	u->tar = tar;
	u->toc = toc;
	u->ops = ops ? ops : &none;
	u->parent = -EBADF;
	u->err = err;
	u->index = u->ops->index;
	r = toc ? lcm_unpack_with_toc(u) : lcm_unpack_plain(u);
	lcm_closep(&u->parent);
	free(u->chunks);
	u->result.indexed = u->index != NULL;
	if (r == 0)
		*ret = u->result;
	return r;
}

int lcm_unpack_stream(struct lcm_layer_dir *d, struct lcm_stream *src, const struct lcm_toc *toc,
		      const struct lcm_unpack_ops *ops, struct lcm_unpack_result *ret,
		      struct lcm_err *err)
{
	lcm_auto(lcm_tar) tar = NULL;
	int r = lcm_tar_open(src, &tar);

	return r < 0 ? r : lcm_unpack(d, tar, toc, ops, ret, err);
}
