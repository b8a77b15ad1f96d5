/* SPDX-License-Identifier: Apache-2.0 */
/* fn_stream.c - a function's job: a layer's blob in, its tar and what is in it out. */
#include <string.h>

#include "decode/fn_serve.h"
#include "decode/tar.h"

#define BLOCK_MAX ((uint64_t)256 << 10) /* of the blob: progress is told so often */
#define BLOCK_PLAIN ((uint64_t)1 << 20) /* of the tar: the same */
#define PLAIN_SHARE 4U                  /* of the plain ring: room worth waking up for */

struct job {
	struct lcm_fn_side *f; /* borrowed */
	struct fn_stream q;
	const uint8_t *in; /* rings */
	uint8_t *rec, *plain;
	uint64_t in_pos, rec_pos, plain_pos;
	struct lcm_stream *s; /* owned */
	const uint8_t *left;  /* plain bytes of @s that are not in the ring yet */
	size_t left_len;
	uint64_t need; /* what is waited for */
};

/* ---- the blob ---- */

static bool in_ready(void *arg)
{
	struct job *j = arg;

	return atomic_load(&j->f->in->head) > j->in_pos;
}

static ssize_t in_next(void *arg, const void **ret)
{
	struct job *j = arg;
	uint64_t n, at = j->in_pos % j->q.in_cap;

	atomic_store(&j->f->out->in_tail, j->in_pos);
	if (j->in_pos == j->q.blob_size)
		return 0;
	if (!in_ready(j)) {
		atomic_store(&j->f->out->wants_tail, UINT64_MAX);
		lcm_fn_side_wait(j->f, in_ready, j);
	}
	n = atomic_load(&j->f->in->head) - j->in_pos;
	n = LCM_MIN(LCM_MIN(n, BLOCK_MAX), j->q.in_cap - at);
	*ret = j->in + at;
	j->in_pos += n;
	return (ssize_t)n;
}

/* ---- plain bytes ---- */

static uint64_t plain_room(const struct job *j)
{
	return j->q.plain_cap - (j->plain_pos - atomic_load(&j->f->in->plain_tail));
}

static bool plain_ready(void *arg)
{
	struct job *j = arg;

	return plain_room(j) >= j->need;
}

/* The ring is full. Whoever reads it is slower: it shall not have to wake us for each file. All in
 * it has been parsed, so that all of it will be done with. */
static void plain_wait(struct job *j)
{
	j->need = LCM_MAX(j->q.plain_cap / PLAIN_SHARE, (uint64_t)1);
	if (plain_ready(j))
		return;
	atomic_store(&j->f->out->wants_tail, j->plain_pos + j->need - j->q.plain_cap);
	lcm_fn_side_wait(j->f, plain_ready, j);
}

/* Decodes straight into the ring. */
static ssize_t plain_direct(struct job *j, uint64_t at)
{
	size_t room = (size_t)LCM_MIN(j->q.plain_cap - at, BLOCK_PLAIN);
	ssize_t got;

	if (plain_room(j) < room)
		plain_wait(j);
	got = lcm_stream_read_into(j->s, j->plain + at, (size_t)LCM_MIN(plain_room(j), room));
	if (got > 0)
		j->plain_pos += (uint64_t)got;
	return got;
}

static ssize_t plain_copied(struct job *j, uint64_t at)
{
	const void *p;
	size_t n;

	if (!j->left_len) {
		ssize_t got = lcm_stream_read(j->s, &p);

		if (got <= 0)
			return got;
		j->left = p;
		j->left_len = (size_t)got;
	}
	n = LCM_MIN(j->left_len, (size_t)(j->q.plain_cap - at));
	if (plain_room(j) < n)
		plain_wait(j);
	n = LCM_MIN(n, (size_t)plain_room(j));
	memcpy(j->plain + at, j->left, n);
	j->left += n;
	j->left_len -= n;
	j->plain_pos += n;
	return (ssize_t)n;
}

/* The next plain bytes, where the daemon can see them. What was given before has been parsed. */
static ssize_t plain_next(void *arg, const void **ret)
{
	struct job *j = arg;
	uint64_t at = j->plain_pos % j->q.plain_cap;
	ssize_t n;

	atomic_store(&j->f->out->parsed, j->plain_pos);
	lcm_fn_side_kick(j->f);
	n = lcm_stream_reads_into(j->s) ? plain_direct(j, at) : plain_copied(j, at);
	if (n <= 0)
		return n;
	atomic_store(&j->f->out->plain_head, j->plain_pos);
	*ret = j->plain + at;
	return n;
}

static const struct lcm_err *plain_err(void *arg)
{
	struct job *j = arg;

	return lcm_stream_err(j->s);
}

/* ---- records ---- */

static bool rec_ready(void *arg)
{
	struct job *j = arg;

	return j->q.rec_cap - (j->rec_pos - atomic_load(&j->f->in->rec_tail)) >= j->need;
}

static void rec_wait(struct job *j, uint64_t need)
{
	j->need = need;
	if (rec_ready(j))
		return;
	atomic_store(&j->f->out->wants_tail, UINT64_MAX);
	lcm_fn_side_wait(j->f, rec_ready, j);
}

/* Room for a record of @len bytes; NULL: longer than any may be. */
static void *rec_begin(struct job *j, uint32_t kind, size_t len)
{
	uint64_t at = j->rec_pos % j->q.rec_cap, end;
	size_t size = (len + FN_REC_ALIGN - 1) & ~(size_t)(FN_REC_ALIGN - 1);
	struct fn_rec *r;

	if (size > FN_REC_MAX)
		return NULL;
	end = j->q.rec_cap - at;
	if (end < size) {
		rec_wait(j, end);
		r = (struct fn_rec *)(j->rec + at);
		*r = (struct fn_rec){ (uint32_t)end, FN_REC_PAD };
		j->rec_pos += end;
		atomic_store(&j->f->out->rec_head, j->rec_pos);
		at = 0;
	}
	rec_wait(j, size);
	r = (struct fn_rec *)(j->rec + at);
	*r = (struct fn_rec){ (uint32_t)size, kind };
	return r;
}

static void rec_end(struct job *j, const struct fn_rec *r)
{
	j->rec_pos += r->len;
	atomic_store(&j->f->out->rec_head, j->rec_pos);
}

static uint8_t *put(uint8_t *at, const void *p, size_t len)
{
	if (len)
		memcpy(at, p, len);
	return at + len;
}

static int entry_send(struct job *j, const struct lcm_tar_entry *e)
{
	size_t len = sizeof(struct fn_entry) + e->path_len + 1 + e->link_len + 1;
	struct fn_entry *w;
	struct fn_rec rec;
	uint8_t *at;

	for (size_t i = 0; i < e->n_xattrs; i++)
		len += sizeof(struct fn_xattr) + e->xattrs[i].name_len + 1U +
		       e->xattrs[i].value_len;
	w = rec_begin(j, FN_REC_ENTRY, len);
	if (!w)
		return -EFBIG;
	rec = w->rec;
	*w = (struct fn_entry){
		.rec = rec,
		.type = e->type,
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime_nsec = e->mtime_nsec,
		.rdev_major = e->rdev_major,
		.rdev_minor = e->rdev_minor,
		.path_len = (uint32_t)e->path_len,
		.link_len = (uint32_t)e->link_len,
		.n_xattrs = (uint32_t)e->n_xattrs,
		.prefix = e->prefix,
		.mtime = e->mtime,
		.size = e->size,
		.tar_off = e->tar_off,
	};
	at = put((uint8_t *)(w + 1), e->path, e->path_len + 1);
	at = put(at, e->link ? e->link : "", e->link_len + 1);
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct fn_xattr x = { e->xattrs[i].name_len, e->xattrs[i].value_len };

		at = put(at, &x, sizeof(x));
		at = put(at, e->xattrs[i].name, e->xattrs[i].name_len + 1U);
		at = put(at, e->xattrs[i].value, e->xattrs[i].value_len);
	}
	rec_end(j, &rec);
	return 0;
}

static void data_send(struct job *j, const struct lcm_tar_piece *d)
{
	struct fn_data *w = rec_begin(j, FN_REC_DATA, sizeof(*w));

	w->tar_off = d->tar_off;
	w->len = d->len;
	w->off = d->off;
	rec_end(j, &w->rec);
}

static int boundary_send(void *arg, const struct lcm_boundary *b)
{
	struct job *j = arg;
	size_t len = sizeof(struct fn_boundary) + (b->window ? LCM_TOC_WINDOW : 0);
	struct fn_boundary *w = rec_begin(j, FN_REC_BOUNDARY, len);

	w->blob_off = b->blob_off;
	w->plain_off = b->plain_off;
	w->start = b->start;
	w->bits = b->bits;
	w->has_window = b->window != NULL;
	if (b->window)
		memcpy(w + 1, b->window, LCM_TOC_WINDOW);
	rec_end(j, &w->rec);
	return 0;
}

/* ---- the job ---- */

static int entries(struct job *j, struct lcm_tar *t, struct lcm_err *err)
{
	struct lcm_digest none;
	struct lcm_tar_piece d;
	struct lcm_tar_entry e;
	int r;

	while ((r = lcm_tar_next(t, &e, err)) > 0) {
		r = entry_send(j, &e);
		if (r < 0)
			return lcm_err_set(err, r, "layer entry '%.200s': too large", e.path);
		if (e.type != LCM_TOC_REG)
			continue;
		while ((r = lcm_tar_data(t, &d, err)) > 0)
			data_send(j, &d);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : lcm_tar_finish(t, &none, err);
}

static int run(struct job *j, struct lcm_err *err)
{
	const struct lcm_tar_source src = { plain_next, plain_err, j };
	lcm_auto(lcm_tar) t = NULL;
	int r = lcm_stream_new((enum lcm_compression)j->q.comp, in_next, j, j->q.max_plain, &j->s);

	if (r < 0)
		return r;
	lcm_stream_no_digest(j->s);
	if (j->q.every)
		lcm_ignore(lcm_stream_boundaries(j->s, j->q.every, boundary_send, j));
	r = lcm_tar_open_source(&src, &t);
	if (r == 0)
		r = entries(j, t, err);
	atomic_store(&j->f->out->in_tail, j->in_pos);
	atomic_store(&j->f->out->parsed, j->plain_pos);
	return r;
}

void lcm_fn_side_stream(struct lcm_fn_side *f, const struct fn_stream *q, struct fn_reply *ret)
{
	struct job j = { .f = f, .q = *q };
	struct lcm_err err = { 0 };

	if (!q->in_cap || !q->rec_cap || !q->plain_cap || q->rec_cap % FN_REC_ALIGN ||
	    q->in_cap > f->in_size - FN_PAGE || q->rec_cap > f->out_size - FN_PAGE ||
	    q->plain_cap > f->out_size - FN_PAGE - q->rec_cap) {
		ret->status = -EINVAL;
		return;
	}
	j.in = lcm_fn_side_in(f);
	j.rec = lcm_fn_side_out(f);
	j.plain = j.rec + q->rec_cap;
	ret->status = run(&j, &err);
	ret->total = j.plain_pos;
	memccpy(ret->msg, err.msg, '\0', sizeof(ret->msg) - 1);
	lcm_stream_free(j.s);
}
