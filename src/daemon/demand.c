/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.c - missing files and ranges, fetched first.
 *
 * A want is one file (or some chunks of a big one). Wants queue per layer; a span takes
 * neighbouring wants together as one range of the blob, fetches what the blob file has
 * not, and a pool job verifies and places every want in it. Under light load a span is
 * one want; under load they coalesce by themselves.
 */
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/layer.h"

#define SPANS_MAX 16 /* transfers at once: what one HTTP/1.1 registry takes kindly */
#define SPAN_BYTES_MAX (64ULL << 20) /* memory of all spans */
#define SPAN_LEN_MAX (4ULL << 20)    /* wants are joined up to this length */
#define READ_AHEAD (256ULL << 10)    /* a request is made that long where bytes are missing */
#define SPAN_GAP (32ULL << 10)       /* unwanted bytes worth fetching to save a request */
#define SPAN_HEAD                                                                                  \
	1024ULL /* before a file lies its tar header: with it, what demand fetched has no gaps for \
		   the pull to fill */
#define RUNS_MAX 32 /* present/missing runs told apart in one span */
#define HOLD_AFTER_FAILURE_NS 1000000000ULL

struct lcm_want {
	struct lcm_want *next;
	uint32_t entry, first, n; /* chunks */
	int fd;            /* partial file of a big file, borrowed; -1: place the whole file */
	uint64_t off, end; /* range of the blob; off == end: only holes */
	int status;        /* set by the pool job */
};

struct run {
	uint64_t off, len;
	bool present;      /* in the blob file already */
	uint64_t fetch;    /* id while in flight */
	uint64_t asked_ns; /* 0: its first byte has come */
	struct span *span;
};

struct span {
	struct lcm_layer *layer; /* referenced */
	struct lcm_want *wants;  /* owned */
	uint64_t off, len;
	struct lcm_fn_mem *mem; /* owned; len bytes of the blob, room for the largest chunk */
	uint8_t *buf;           /* borrowed from mem */
	struct lcm_fn *fn;      /* owned by the job, once a chunk needs it */
	struct run runs[RUNS_MAX];
	uint32_t n_runs, pending;
	int status;
	struct lcm_err err;
	struct lcm_task task;
};

static bool transient(int status)
{
	switch (status) {
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EPIPE:
	case -EAGAIN:
	case -ENOMEM:
	case -ENOSPC:
		return true;
	default:
		return false;
	}
}

static void want_end(struct lcm_layer *l, struct lcm_want *w, int status)
{
	if (w->fd >= 0) {
		lcm_bigfile_chunks_done(l, w->entry, w->first, w->n, status);
	} else {
		atomic_fetch_and(&l->entries[w->entry], (uint8_t)~LCM_ENTRY_QUEUED);
		lcm_layer_file_done(l, w->entry, status);
	}
	free(w);
}

/* It comes with the pull, which tells whoever waits. */
static void want_later(struct lcm_layer *l, struct lcm_want *w)
{
	if (w->fd >= 0)
		lcm_bigfile_chunks_done(l, w->entry, w->first, w->n, -ENODATA);
	else
		atomic_fetch_and(&l->entries[w->entry], (uint8_t)~LCM_ENTRY_QUEUED);
	free(w);
}

static void enqueue(struct lcm_layer *l, struct lcm_want *w)
{
	w->next = NULL;
	*l->queue_tail = w;
	l->queue_tail = &w->next;
}

static int queue_chunks(struct lcm_layer *l, uint32_t entry, uint32_t first, uint32_t n, int fd)
{
	struct lcm_want *w;

	if (l->no_ranges)
		return -ENODATA;
	for (uint32_t i = 0; i < n; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(l->toc, first + i);

		if (!(c->flags & LCM_TOC_CHUNK_ZEROS) &&
		    (c->skip > LCM_TOC_UNIT_PLAIN_MAX ||
		     c->file_len > LCM_TOC_UNIT_PLAIN_MAX - c->skip))
			return -ENODATA;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct lcm_want){ .entry = entry, .first = first, .n = n, .fd = fd };
	for (uint32_t i = 0; i < n; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(l->toc, first + i);

		if (c->flags & LCM_TOC_CHUNK_ZEROS)
			continue;
		w->off = w->end ? LCM_MIN(w->off, c->blob_off)
				: c->blob_off - LCM_MIN(c->blob_off, SPAN_HEAD);
		w->end = LCM_MAX(w->end, c->blob_off + c->blob_len);
	}
	enqueue(l, w);
	lcm_demand_pump(l->e);
	return 0;
}

int lcm_demand_chunks(struct lcm_layer *l, uint32_t entry, uint32_t first, uint32_t n, int fd)
{
	return queue_chunks(l, entry, first, n, fd);
}

int lcm_demand_file(struct lcm_layer *l, uint32_t entry)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, entry);
	int r;

	if (atomic_load(&l->entries[entry]) & LCM_ENTRY_QUEUED)
		return 0;
	if (e->n_chunks == 0)
		return -ENODATA;
	atomic_fetch_or(&l->entries[entry], LCM_ENTRY_QUEUED);
	r = queue_chunks(l, entry, e->first_chunk, e->n_chunks, -1);
	if (r < 0)
		atomic_fetch_and(&l->entries[entry], (uint8_t)~LCM_ENTRY_QUEUED);
	return r;
}

void lcm_demand_drop(struct lcm_layer *l, uint32_t entry)
{
	for (struct lcm_want **p = &l->queue; *p; p = &(*p)->next) {
		struct lcm_want *w = *p;

		if (w->entry != entry || w->fd >= 0)
			continue;
		*p = w->next;
		if (l->queue_tail == &w->next)
			l->queue_tail = p;
		atomic_fetch_and(&l->entries[entry], (uint8_t)~LCM_ENTRY_QUEUED);
		free(w);
		return;
	}
}

void lcm_demand_cancel_all(struct lcm_layer *l, int status)
{
	struct lcm_want *w = l->queue;

	l->queue = NULL;
	l->queue_tail = &l->queue;
	while (w) {
		struct lcm_want *next = w->next;

		want_end(l, w, status);
		w = next;
	}
}

/* ---- the pool's half ---- */

/* The compressed bytes of a chunk in spans that have digests. Return: 1 they are good, 0 there is
 * nothing to tell by, -EBADMSG. */
static int spans_verified(struct span *s, const struct lcm_toc_chunk *c)
{
	const struct lcm_toc *toc = s->layer->toc;
	uint32_t n = c->span == LCM_TOC_NONE ? 0 : lcm_toc_chunk_spans(toc, c);

	for (uint32_t i = 0; i < n; i++) {
		const struct lcm_toc_span *p = lcm_toc_span(toc, c->span + i);
		struct lcm_digest is;
		int r;

		if (lcm_digest_is_zero(&p->digest))
			return 0;
		r = lcm_digest_of(s->buf + (p->blob_off - s->off), p->blob_len, &is);
		if (r < 0)
			return r;
		if (!lcm_digest_equal(&is, &p->digest))
			return -EBADMSG;
	}
	return n > 0;
}

static int function_get(struct span *s)
{
	struct lcm_layer *l = s->layer;
	int r;

	if (s->fn)
		return 0;
	r = lcm_fn_take(l->e->fns, (uint64_t)l->row.id, 0, &s->fn, &s->err);
	return r < 0 ? r : lcm_fn_bind(s->fn, s->mem, &s->err);
}

static int decode_chunk(struct span *s, const struct lcm_toc_chunk *c, uint8_t *out)
{
	const struct lcm_toc *toc = s->layer->toc;
	struct lcm_fn_unit u = {
		.comp = s->layer->comp,
		.in_off = c->blob_off - s->off,
		.in_len = c->blob_len,
		.skip = c->skip,
		.len = c->file_len,
	};
	int r;

	if (u.comp == LCM_COMP_NONE) { /* there is nothing to decode */
		if (u.skip > u.in_len || u.len > u.in_len - u.skip)
			return -EBADMSG;
		memcpy(out, s->buf + u.in_off + u.skip, u.len);
		return 0;
	}
	if (c->span != LCM_TOC_NONE) {
		const struct lcm_toc_span *p = lcm_toc_span(toc, c->span);

		u.start = (enum lcm_toc_start)p->start;
		u.bits = p->bits;
		u.window = lcm_toc_window(toc, p);
	}
	r = function_get(s);
	return r < 0 ? r : lcm_fn_unit(s->fn, &u, out, &s->err);
}

static int write_chunk(struct span *s, const struct lcm_toc_entry *e, const struct lcm_toc_chunk *c,
		       uint8_t *out, int fd)
{
	const struct lcm_digest *want = lcm_digest_is_zero(&c->digest) && e->n_chunks == 1
					    ? &e->digest
					    : &c->digest;
	struct lcm_digest is;
	int r, good;

	if (c->flags & LCM_TOC_CHUNK_ZEROS)
		return 0;
	good = spans_verified(s, c);
	if (good < 0)
		return good;
	r = decode_chunk(s, c, out);
	if (r < 0)
		return r;
	if (!lcm_digest_is_zero(want)) {
		r = lcm_digest_of(out, c->file_len, &is);
		if (r == 0 && !lcm_digest_equal(&is, want))
			r = -EBADMSG;
	} else if (!good) {
		r = -EBADMSG;
	}
	return r < 0 ? r : lcm_sys_pwrite_full(fd, out, c->file_len, c->file_off);
}

static int write_chunks(struct span *s, const struct lcm_want *w, int fd)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(s->layer->toc, w->entry);
	lcm_autofree uint8_t *out = NULL;
	uint64_t max = 1;
	int r = 0;

	for (uint32_t i = 0; i < w->n; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(s->layer->toc, w->first + i);

		if (!(c->flags & LCM_TOC_CHUNK_ZEROS))
			max = LCM_MAX(max, c->file_len);
	}
	out = malloc(max);
	if (!out)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->n && r == 0; i++)
		r = write_chunk(s, e, lcm_toc_chunk(s->layer->toc, w->first + i), out, fd);
	return r;
}

static int place_file(struct span *s, const struct lcm_want *w)
{
	struct lcm_layer *l = s->layer;
	lcm_autoclose int fd = -EBADF;
	char tmp[64];
	int r;

	if (lcm_layer_is_local(l, w->entry))
		return 0;
	fd = lcm_layer_tmp(l->dir, l->toc, w->entry, tmp);
	if (fd < 0)
		return fd;
	r = lcm_sys_ftruncate(fd, lcm_toc_entry(l->toc, w->entry)->size);
	if (r == 0)
		r = write_chunks(s, w, fd);
	if (r < 0) {
		if (tmp[0])
			lcm_ignore(lcm_sys_unlinkat(lcm_store_tmp_fd(l->e->store), tmp, 0));
		return r;
	}
	r = lcm_layer_place(l->dir, l->toc, w->entry, fd, tmp, NULL);
	if (r < 0 && r != -EEXIST)
		return r;
	lcm_layer_mark_local(l, w->entry);
	return 0;
}

static void span_done(void *arg);

/* Wants first, since somebody waits for them; then the blob file, so that the pull finds the bytes.
 */
static void span_job(void *arg)
{
	struct span *s = arg;

	for (uint32_t i = 0; i < s->n_runs && s->status == 0; i++)
		if (s->runs[i].present)
			s->status = lcm_blob_read(s->layer->blob, s->runs[i].off,
						  s->buf + (s->runs[i].off - s->off),
						  s->runs[i].len);
	for (struct lcm_want *w = s->wants; w; w = w->next)
		w->status = s->status    ? s->status
			    : w->fd >= 0 ? write_chunks(s, w, w->fd)
					 : place_file(s, w);
	lcm_fn_put(s->layer->e->fns, s->fn);
	for (uint32_t i = 0; i < s->n_runs && s->status == 0; i++)
		if (!s->runs[i].present)
			lcm_ignore(lcm_blob_write(s->layer->blob, s->runs[i].off,
						  s->buf + (s->runs[i].off - s->off),
						  s->runs[i].len));
	s->task.fn = span_done;
	lcm_loop_post_task(s->layer->e->loop, &s->task);
}

/* ---- the loop's half ---- */

static void note_want(struct span *s, struct lcm_want *w)
{
	struct lcm_layer *l = s->layer;
	char path[LCM_PATH_MAX + 1];
	struct lcm_err err = { 0 };

	if (w->status == 0) {
		if (w->fd < 0)
			l->demand_files++;
		return;
	}
	if (lcm_toc_path(l->toc, w->entry, path, sizeof(path)) < 0)
		path[0] = '\0';
	if (s->err.code)
		err = s->err;
	else if (w->status == -EBADMSG ||
		 w->status == -EUCLEAN) /* a flipped byte shows in the decoder already */
		lcm_err_set(&err, w->status,
			    "digest mismatch: the registry's bytes are not what the manifest "
			    "promises; the file is refused until they are");
	else
		lcm_err_set(&err, w->status, "%s", strerror(-w->status));
	lcm_err_prefix(&err, w->status, "layer %s: /%.200s", l->name, path);
	lcm_layer_note(l, &err);
	if (w->status == -EBADMSG || w->status == -EUCLEAN)
		lcm_blob_forget(l->blob, w->off, w->end - w->off);
}

static bool still_wanted(const struct lcm_layer *l, const struct lcm_want *w)
{
	return w->fd >= 0 || (atomic_load(&l->entries[w->entry]) & LCM_ENTRY_WANTED);
}

/* What the layer's bytes do to one decoder they do to the next. */
static void broken_function(struct span *s)
{
	struct lcm_layer *l = s->layer;
	char digest[LCM_DIGEST_STR];
	struct lcm_err err;

	if (s->err.code != -ENOTRECOVERABLE || l->phase != LCM_LAYER_READY)
		return;
	lcm_err_set(&err, -ENOTRECOVERABLE, "layer %s: %s; the layer is destroyed",
		    lcm_digest_str(&l->row.key.blob, digest), s->err.msg);
	lcm_layer_condemn(l, &err);
}

static void span_done(void *arg)
{
	struct span *s = arg;
	struct lcm_layer *l = s->layer;
	struct lcm_engine *e = l->e;
	uint64_t bytes = s->len;
	bool held = false;

	broken_function(s);
	while (s->wants) {
		struct lcm_want *w = s->wants;

		s->wants = w->next;
		if (w->status == -ESPIPE) {
			want_later(l, w);
			continue;
		}
		note_want(s, w);
		if (transient(w->status) && still_wanted(l, w) && l->phase == LCM_LAYER_READY &&
		    !e->closing) {
			enqueue(l, w);
			held = true;
			continue;
		}
		want_end(l, w, w->status);
	}
	if (s->status == -ESPIPE) {
		l->no_ranges = true;
		lcm_layer_pull(l, true);
	}
	lcm_fn_mem_free(s->mem);
	free(s);
	if (held)
		l->hold_until_ns = lcm_now_ns() + HOLD_AFTER_FAILURE_NS;
	lcm_engine_demand_end(e, bytes);
	lcm_demand_pump(e);
	lcm_layer_put(l);
}

static int on_bytes(void *arg, uint64_t off, const void *p, size_t len)
{
	struct run *r = arg;
	uint64_t asked = r->asked_ns;

	if (off < r->off || len > r->off + r->len - off)
		return -EPROTO;
	memcpy(r->span->buf + (off - r->span->off), p, len);
	r->asked_ns = 0;
	if (asked)
		lcm_engine_first_byte(r->span->layer->e, lcm_now_ns() - asked);
	return 0;
}

static void submit(struct span *s)
{
	s->task = (struct lcm_task){ .fn = span_job, .arg = s };
	lcm_pool_submit(s->layer->e->pool, LCM_POOL_DEMAND, &s->task);
}

static void run_end(struct span *s, int status, const struct lcm_err *err)
{
	if (status < 0 && s->status == 0) {
		s->status = status;
		s->err = *err;
	}
	if (--s->pending == 0)
		submit(s);
}

static void on_fetched(void *arg, const struct lcm_fetch_result *res)
{
	struct run *r = arg;
	struct lcm_layer *l = r->span->layer;

	l->demand_bytes += res->bytes;
	l->e->demand_bytes += res->bytes;
	run_end(r->span, res->status, &res->err);
}

static void find_runs(struct span *s)
{
	uint64_t at = s->off, end = s->off + s->len;

	while (at < end) {
		struct run *r = &s->runs[s->n_runs++];
		uint64_t len;
		bool present = lcm_blob_next(s->layer->blob, at, &len);

		if (s->n_runs == RUNS_MAX) {
			present = false;
			len = end - at;
		}
		*r = (struct run){
			.off = at, .len = LCM_MIN(len, end - at), .present = present, .span = s
		};
		at += r->len;
	}
}

static void span_start(struct span *s)
{
	struct lcm_layer *l = s->layer;

	find_runs(s);
	s->pending = 1;
	for (uint32_t i = 0; i < s->n_runs; i++) {
		struct run *r = &s->runs[i];
		struct lcm_fetch_req req = {
			.kind = LCM_FETCH_BLOB,
			.prio = LCM_PRIO_DEMAND,
			.ref = &l->ref,
			.digest = l->row.key.blob,
			.size = l->row.blob_size,
			.off = r->off,
			.len = r->len,
			.sink = on_bytes,
			.done = on_fetched,
			.arg = r,
		};
		struct lcm_err err = { 0 };
		int st;

		if (r->present)
			continue;
		s->pending++;
		l->e->demand_fetches++;
		r->asked_ns = lcm_now_ns();
		st = lcm_fetch_start(l->e->reg, &req, &r->fetch);
		if (st < 0) {
			lcm_err_set(&err, st, "fetch could not be started");
			run_end(s, st, &err);
		}
	}
	run_end(s, 0, NULL);
}

/* Takes the head of the queue and every queued neighbour that makes one range with it. */
static void gather(struct lcm_layer *l, struct span *s, uint64_t *off, uint64_t *end)
{
	struct lcm_want *head = l->queue, **p = &l->queue, **tail = &s->wants;

	*off = l->queue->off;
	*end = l->queue->end;
	while (*p) {
		struct lcm_want *w = *p;
		uint64_t lo = LCM_MIN(*off, w->off), hi = LCM_MAX(*end, w->end);
		bool near = w->off <= *end + SPAN_GAP && w->end + SPAN_GAP >= *off;

		if (w != head && !(near && hi - lo <= SPAN_LEN_MAX)) {
			p = &w->next;
			continue;
		}
		*off = lo;
		*end = hi;
		*p = w->next;
		w->next = NULL;
		*tail = w;
		tail = &w->next;
	}
	l->queue_tail = p;
}

/*
 * A short request takes some missing bytes that follow along: neighbours in a layer are often
 * opened next, and the pull needs them anyway. What is here already is never asked for because of
 * this.
 */
static uint64_t read_ahead(struct lcm_layer *l, uint64_t off, uint64_t end)
{
	uint64_t len;

	if (end - off >= READ_AHEAD || end >= l->row.blob_size ||
	    lcm_blob_has(l->blob, off, end - off) || lcm_blob_next(l->blob, end, &len))
		return end;
	return end + LCM_MIN(len, READ_AHEAD - (end - off));
}

/* The largest chunk of the span's wants. */
static uint64_t plain_max(const struct span *s)
{
	uint64_t max = 1;

	for (const struct lcm_want *w = s->wants; w; w = w->next)
		for (uint32_t i = 0; i < w->n; i++) {
			const struct lcm_toc_chunk *c = lcm_toc_chunk(s->layer->toc, w->first + i);

			if (!(c->flags & LCM_TOC_CHUNK_ZEROS))
				max = LCM_MAX(max, c->file_len);
		}
	return max;
}

static void start_one(struct lcm_layer *l)
{
	struct span *s = calloc(1, sizeof(*s));
	uint64_t off, end;

	if (!s) {
		lcm_demand_cancel_all(l, -ENOMEM);
		return;
	}
	gather(l, s, &off, &end);
	end = read_ahead(l, off, end);
	s->layer = l;
	l->refs++;
	s->off = off;
	s->len = end - off;
	lcm_engine_demand_begin(l->e, s->len);
	s->status = lcm_fn_mem_new(s->len + LCM_TOC_WINDOW, plain_max(s), &s->mem);
	if (s->status < 0) {
		submit(s);
		return;
	}
	s->buf = lcm_fn_mem_in(s->mem);
	span_start(s);
}

void lcm_demand_pump(struct lcm_engine *e)
{
	uint64_t now = 0;
	bool more = true;

	/* The registry and the pool may be gone already when the last spans end. */
	while (more && !e->closing && e->spans < SPANS_MAX && e->span_bytes < SPAN_BYTES_MAX) {
		more = false;
		for (struct lcm_layer *l = e->layers; l; l = l->next) {
			if (!l->queue || l->phase != LCM_LAYER_READY || e->spans >= SPANS_MAX)
				continue;
			if (l->hold_until_ns) {
				now = now ? now : lcm_now_ns();
				if (now < l->hold_until_ns) {
					if (!lcm_timer_armed(e->resume))
						lcm_timer_set(e->resume, l->hold_until_ns - now);
					continue;
				}
				l->hold_until_ns = 0;
			}
			start_one(l);
			more = true;
		}
	}
}
