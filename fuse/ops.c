/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of the gate. None of them waits: what is missing becomes a
 * waiter in the queue. Operations that are not listed answer ENOSYS (libfuse's
 * default), which makes the kernel stop asking for most of them.
 */
#include <string.h>
#include <sys/statvfs.h>

#include "fuse/session.h"
#include "src/base/sys.h"

#define BACKGROUND_MAX                                                                             \
	256 /* readaheads in flight; the kernel's 12 would let a few stalled ones stop all others  \
	     */

/* What the calling gate thread is serving; its id names the request in the queue. */
static __thread const struct fuse_in_header *current;

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

/*
 * libfuse up to 3.14 at least counts parallel lookups among what it wants, and
 * then does not say so in its answer; the kernel would send one LOOKUP per
 * directory at a time, and a file that is being fetched would block its siblings.
 */
static ssize_t write_init(int fd, const struct iovec *iov, int n)
{
	const struct fuse_init_in *in = (const void *)(current + 1);
	struct fuse_init_out out = { 0 };
	struct iovec v[2] = { iov[0], { &out, iov[1].iov_len } };

	if (n != 2 || iov[1].iov_len > sizeof(out) ||
	    iov[1].iov_len < offsetof(struct fuse_init_out, max_background))
		return writev(fd, iov, n);
	memcpy(&out, iov[1].iov_base, iov[1].iov_len);
	out.flags |= in->flags & FUSE_PARALLEL_DIROPS;
	return writev(fd, v, 2);
}

/* A connection that ended is no news; libfuse would print it for every answer unless told
 * "interrupted". */
static ssize_t io_writev(int fd, struct iovec *iov, int n, void *userdata)
{
	const struct lcm_gate *g = userdata;
	long r;

	if (g->replaying) {
		for (r = 0; n > 0; n--)
			r += (long)iov[n - 1].iov_len;
		return r;
	}
	r = lcm_errno(current && current->opcode == FUSE_INIT ? write_init(fd, iov, n)
							      : writev(fd, iov, n));
	if (r >= 0)
		return r;
	errno = r == -ENODEV ? ENOENT : (int)-r;
	return -1;
}

const struct fuse_custom_io lcm_gate_io = { .writev = io_writev, .read = io_read };

void lcm_gate_serve(struct lcm_gate *g, struct fuse_buf *buf)
{
	const struct fuse_in_header *in = buf->mem;

	switch (in->opcode) {
	case FUSE_INTERRUPT:
		lcm_gate_interrupt(g, in, buf->size);
		return;
	case FUSE_INIT:
		if (!g->replaying)
			lcm_gate_record_init(g, buf->mem, buf->size);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		atomic_fetch_add(&g->count.requests, 1);
	}
	current = in;
	fuse_session_process_buf(g->se, buf);
	current = NULL;
}

bool lcm_gate_split(const struct lcm_gate *g, fuse_ino_t ino, uint32_t *ret_layer,
		    uint32_t *ret_entry)
{
	uint32_t slot = (uint32_t)(ino >> 32), entry = (uint32_t)ino;

	if (slot == 0 || slot > g->n_layers || entry >= lcm_toc_count(g->layers[slot - 1].toc))
		return false;
	*ret_layer = slot - 1;
	*ret_entry = entry;
	return true;
}

static void answer_error(struct lcm_gate *g, fuse_req_t req, int error)
{
	atomic_fetch_add(error == ESTALE ? &g->count.answered_stale : &g->count.answered_error, 1);
	lcm_ignore(fuse_reply_err(req, error));
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct lcm_gate *g = userdata;

	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX / 4 * 3;
	conn->max_readahead = UINT32_MAX;
	/* Files never change: no look at mtime at every read. */
	conn->want &= ~(unsigned int)FUSE_CAP_AUTO_INVAL_DATA;
	conn->want |= conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
				       FUSE_CAP_EXPLICIT_INVAL_DATA);
	atomic_store(&g->open_free, (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0);
}

static void fill_dir(struct stat *st, fuse_ino_t ino)
{
	*st = (struct stat){
		.st_ino = ino, .st_mode = S_IFDIR | 0555, .st_nlink = 2, .st_blksize = 4096
	};
}

static void fill_file(struct stat *st, fuse_ino_t ino, const struct lcm_toc_entry *e)
{
	*st = (struct stat){
		.st_ino = ino,
		.st_mode = S_IFREG | (e->mode & 07777),
		.st_nlink = 1,
		.st_uid = e->uid,
		.st_gid = e->gid,
		.st_size = (off_t)e->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)(e->size / 512 + !!(e->size % 512)),
		.st_mtim = { .tv_sec = e->mtime, .tv_nsec = e->mtime_nsec },
		.st_ctim = { .tv_sec = e->mtime, .tv_nsec = e->mtime_nsec },
		.st_atim = { .tv_sec = e->mtime, .tv_nsec = e->mtime_nsec },
	};
}

static void entry_init(struct fuse_entry_param *p, fuse_ino_t ino)
{
	*p = (struct fuse_entry_param){
		.ino = ino,
		.generation = 1,
		.attr_timeout = LCM_GATE_CACHE_SECONDS,
		.entry_timeout = LCM_GATE_CACHE_SECONDS,
	};
}

static void reply_dir(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_entry_param p;

	entry_init(&p, ino);
	fill_dir(&p.attr, ino);
	lcm_ignore(fuse_reply_entry(req, &p));
}

/* A negative entry the kernel may keep: node id 0. */
static void reply_negative(fuse_req_t req)
{
	struct fuse_entry_param p;

	entry_init(&p, 0);
	lcm_ignore(fuse_reply_entry(req, &p));
}

/* The layer of that name, or n_layers. */
static uint32_t layer_find(const struct lcm_gate *g, const char *name)
{
	uint32_t lo = 0, hi = g->n_layers;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, g->layers[g->by_name[mid]].name);

		if (c == 0)
			return g->by_name[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return g->n_layers;
}

/*
 * Makes the request a waiter. From lcm_queue_add() on the request belongs to
 * whoever takes the waiter out, so it must not be touched here any more.
 */
static bool enqueue(struct lcm_gate *g, fuse_req_t req, uint32_t layer, uint32_t entry,
		    uint32_t len, uint64_t off, bool *ret_held)
{
	struct lcm_waiter *w = calloc(1, sizeof(*w));
	int r = -ENOMEM;

	if (w) {
		w->id.key = current->unique;
		w->req = req;
		w->layer = layer;
		w->entry = entry;
		w->pid = current->pid;
		w->len = len;
		(void)pthread_mutex_lock(&g->mu);
		*ret_held = atomic_load(&g->hold);
		w->off = *ret_held ? off : LCM_NOT_HELD;
		r = lcm_queue_add(&g->queue, w);
		(void)pthread_mutex_unlock(&g->mu);
	}
	if (r == 0)
		return true;
	free(w);
	answer_error(g, req, EIO);
	return false;
}

/* More than it may, by two measures: answered at once. */
static bool rejected(struct lcm_gate *g, fuse_req_t req)
{
	int error = atomic_load(&g->reject);

	if (!error)
		return false;
	atomic_fetch_add(&g->count.rejected, 1);
	answer_error(g, req, error);
	return true;
}

/*
 * No lost wake-up: the file may have become local, and its waiters may have been
 * answered, between the first look and our place in the queue. So look again
 * from inside the queue; if it is local now, whoever takes the waiter answers.
 */
static void lookup_missing(struct lcm_gate *g, fuse_req_t req, uint32_t layer, uint32_t entry)
{
	uint64_t id = current->unique;
	struct lcm_waiter *w;
	bool held;

	if (rejected(g, req) || !enqueue(g, req, layer, entry, 0, LCM_NOT_HELD, &held))
		return;
	if (g->ops->is_local(g->arg, layer, entry)) {
		(void)pthread_mutex_lock(&g->mu);
		w = lcm_queue_take(&g->queue, id);
		(void)pthread_mutex_unlock(&g->mu);
		lcm_gate_answer(g, w, ESTALE);
	}
	lcm_gate_tell(g, layer, entry);
}

/*
 * The kernel is given a node to hold. A file that it holds already stays where it
 * is even when it is local by now: overlayfs asks again for names that
 * lcm_gate_draining() invalidated, and passes ESTALE on to the application.
 *
 * Counts first and looks after, so that lcm_gate_draining() either sees the file
 * bound or this sees it local. The count is taken back when the kernel did not
 * get the answer.
 */
static void lookup_big(struct lcm_gate *g, fuse_req_t req, uint32_t layer, uint32_t entry,
		       const struct lcm_toc_entry *e)
{
	struct fuse_entry_param p;
	bool held;
	int r;

	(void)pthread_mutex_lock(&g->mu);
	held = lcm_bound_nlookup(&g->bound, layer, entry) != 0;
	r = lcm_bound_add(&g->bound, layer, entry);
	(void)pthread_mutex_unlock(&g->mu);
	if (r < 0) {
		answer_error(g, req, EIO);
		return;
	}
	if (!held && g->ops->is_local(g->arg, layer, entry)) {
		lcm_gate_unbind(g, layer, entry, 1);
		answer_error(g, req, ESTALE);
		return;
	}
	entry_init(&p, lcm_gate_ino(layer, entry));
	fill_file(&p.attr, p.ino, e);
	if (fuse_reply_entry(req, &p) != 0)
		lcm_gate_unbind(g, layer, entry, 1);
}

static void lookup_file(struct lcm_gate *g, fuse_req_t req, uint32_t layer, uint32_t entry)
{
	const struct lcm_toc *toc = g->layers[layer].toc;
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, entry);

	atomic_fetch_add(&g->count.lookups_files, 1);
	if (lcm_gate_is_big(&g->big, toc, e))
		lookup_big(g, req, layer, entry, e);
	else if (g->ops->is_local(g->arg, layer, entry))
		answer_error(g, req, ESTALE);
	else
		lookup_missing(g, req, layer, entry);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct lcm_gate *g = fuse_req_userdata(req);
	const struct lcm_toc_entry *e;
	const struct lcm_toc *toc;
	uint32_t layer, entry;

	atomic_fetch_add(&g->count.lookups, 1);
	if (parent == FUSE_ROOT_ID) {
		layer = layer_find(g, name);
		if (layer < g->n_layers)
			reply_dir(req, lcm_gate_ino(layer, 0));
		else
			reply_negative(req);
		return;
	}
	if (!lcm_gate_split(g, parent, &layer, &entry)) {
		answer_error(g, req, ESTALE);
		return;
	}
	toc = g->layers[layer].toc;
	entry = lcm_toc_child(toc, entry, name, strlen(name));
	e = entry == LCM_TOC_NONE ? NULL : lcm_toc_entry(toc, entry);
	if (e && e->type == LCM_TOC_HARDLINK) {
		entry = e->link;
		e = lcm_toc_entry(toc, entry);
	}
	if (e && e->type == LCM_TOC_DIR)
		reply_dir(req, lcm_gate_ino(layer, entry));
	else if (e && e->type == LCM_TOC_REG)
		lookup_file(g, req, layer, entry);
	else
		reply_negative(req);
}

static void forget_one(struct lcm_gate *g, fuse_ino_t ino, uint64_t n)
{
	uint32_t layer, entry;

	atomic_fetch_add(&g->count.forgets, 1);
	if (lcm_gate_split(g, ino, &layer, &entry))
		lcm_gate_unbind(g, layer, entry, n);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget_one(fuse_req_userdata(req), ino, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget_one(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct lcm_gate *g = fuse_req_userdata(req);
	const struct lcm_toc_entry *e = NULL;
	uint32_t layer, entry;
	struct stat st;

	(void)fi;
	if (lcm_gate_split(g, ino, &layer, &entry))
		e = lcm_toc_entry(g->layers[layer].toc, entry);
	else if (ino != FUSE_ROOT_ID) {
		answer_error(g, req, ESTALE);
		return;
	}
	if (e && e->type == LCM_TOC_REG)
		fill_file(&st, ino, e);
	else
		fill_dir(&st, ino);
	lcm_ignore(fuse_reply_attr(req, &st, LCM_GATE_CACHE_SECONDS));
}

/*
 * ENOSYS means "no OPEN and RELEASE any more" to kernels that offer it: opens of
 * bound files then cost no round trip and keep their pages (fuse.h, FUSE_NO_OPEN_SUPPORT).
 */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct lcm_gate *g = fuse_req_userdata(req);

	(void)ino;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		answer_error(g, req, EROFS);
		return;
	}
	if (atomic_load(&g->open_free)) {
		lcm_ignore(fuse_reply_err(req, ENOSYS));
		return;
	}
	fi->keep_cache = 1;
	fi->noflush = 1;
	lcm_ignore(fuse_reply_open(req, fi));
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct lcm_gate *g = fuse_req_userdata(req);
	const struct lcm_toc_entry *e = NULL;
	uint64_t token = current->unique, len, from = (uint64_t)off;
	uint32_t layer, entry;
	bool held;

	(void)fi;
	atomic_fetch_add(&g->count.reads, 1);
	if (lcm_gate_split(g, ino, &layer, &entry))
		e = lcm_toc_entry(g->layers[layer].toc, entry);
	if (!e || e->type != LCM_TOC_REG || off < 0) {
		answer_error(g, req, EIO);
		return;
	}
	len = from < e->size
		  ? LCM_MIN(LCM_MIN((uint64_t)size, e->size - from), (uint64_t)UINT32_MAX)
		  : 0;
	if (len == 0)
		lcm_ignore(fuse_reply_buf(req, NULL, 0));
	else if (atomic_load(&g->reject) && !g->ops->is_local(g->arg, layer, entry) &&
		 rejected(g, req))
		return;
	else if (enqueue(g, req, layer, entry, (uint32_t)len, from, &held) &&
		 (!held || lcm_gate_unhold_local(g, layer, entry, token)))
		g->ops->want_range(g->arg, layer, entry, from, (uint32_t)len, token);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	lcm_ignore(fuse_reply_err(req, ENOSYS));
}

/* One name of a directory: @i counts from 0. Returns NULL behind the last; mode 0: not shown. */
static const char *dir_name(const struct lcm_gate *g, fuse_ino_t dir, uint64_t i, struct stat *ret)
{
	const struct lcm_toc_entry *e;
	const struct lcm_toc *toc;
	uint32_t layer, entry;

	*ret = (struct stat){ .st_ino = dir, .st_mode = S_IFDIR };
	if (i < 2)
		return i == 0 ? "." : "..";
	i -= 2;
	if (dir == FUSE_ROOT_ID) {
		ret->st_ino = i < g->n_layers ? lcm_gate_ino((uint32_t)i, 0) : 0;
		return i < g->n_layers ? g->layers[i].name : NULL;
	}
	if (!lcm_gate_split(g, dir, &layer, &entry))
		return NULL;
	toc = g->layers[layer].toc;
	e = lcm_toc_entry(toc, entry);
	if (e->type != LCM_TOC_DIR || i >= e->n_children)
		return NULL;
	entry = e->first_child + (uint32_t)i;
	e = lcm_toc_entry(toc, entry);
	ret->st_ino = lcm_gate_ino(layer, entry);
	if (e->type == LCM_TOC_REG || e->type == LCM_TOC_HARDLINK)
		ret->st_mode = S_IFREG;
	else if (e->type != LCM_TOC_DIR)
		ret->st_mode = 0;
	return lcm_toc_name(toc, e);
}

/* overlayfs never lists a data-only layer; this is for people who look into the gate. */
static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct lcm_gate *g = fuse_req_userdata(req);
	lcm_autofree char *buf = malloc(size);
	size_t used = 0, need;
	const char *name;
	struct stat st;

	(void)fi;
	if (!buf) {
		answer_error(g, req, EIO);
		return;
	}
	for (uint64_t i = (uint64_t)off; (name = dir_name(g, ino, i, &st)); i++) {
		if (!st.st_mode)
			continue;
		need = fuse_add_direntry(req, buf + used, size - used, name, &st, (off_t)(i + 1));
		if (need > size - used)
			break;
		used += need;
	}
	lcm_ignore(fuse_reply_buf(req, buf, used));
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { .f_bsize = 4096,
			      .f_frsize = 4096,
			      .f_namemax = LCM_NAME_LEN_MAX,
			      .f_flag = ST_RDONLY };

	(void)ino;
	lcm_ignore(fuse_reply_statfs(req, &st));
}

const struct fuse_lowlevel_ops lcm_gate_fuse_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.open = op_open,
	.read = op_read,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.statfs = op_statfs,
};
