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
#include "src/daemon/demand_priv.h"

#define SPANS_MAX 16 /* transfers at once: what one HTTP/1.1 registry takes kindly */
#define SPANS_KEPT 4 /* of those, never begun by one that has all the others */
#define SPAN_BYTES_MAX (64ULL << 20) /* memory of all spans */
#define SPAN_LEN_MAX (4ULL << 20)    /* wants are joined up to this length */
#define READ_AHEAD (256ULL << 10)    /* a request is made that long where bytes are missing */
#define SPAN_GAP (32ULL << 10)       /* unwanted bytes worth fetching to save a request */
#define SPAN_HEAD                                                                                  \
	1024ULL /* before a file lies its tar header: with it, what demand fetched has no gaps for \
		   the pull to fill */
#define HOLD_AFTER_FAILURE_NS 1000000000ULL

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

static void want_free(struct lcm_want *w)
{
	for (size_t i = 0; i < w->n_lifs; i++) {
		lcm_lif_leave(w->lifs[i]);
		lcm_lif_unref(w->lifs[i]);
	}
	free(w->lifs);
	free(w);
}

/* Without memory for it the request is nobody's. */
static void want_add_lif(struct lcm_engine *e, struct lcm_want *w, struct lcm_lif *lif)
{
	struct lcm_lif **v = lif ? reallocarray(w->lifs, w->n_lifs + 1, sizeof(struct lcm_lif *))
				 : NULL;

	if (!v)
		return;
	w->lifs = v;
	for (size_t i = 0; i < w->n_lifs; i++)
		if (v[i] == lif)
			return;
	v[w->n_lifs++] = lcm_lif_ref(lif);
	lcm_lif_enter(&e->lifs, lif);
}

static void want_end(struct lcm_layer *l, struct lcm_want *w, int status)
{
	/* The pull has brought it, and somebody may wait since all who did were answered. */
	if (status == -ECANCELED && w->fd < 0 && lcm_layer_is_local(l, w->entry))
		status = 0;
	if (w->fd >= 0) {
		lcm_bigfile_chunks_done(l, w->entry, w->first, w->n, status);
	} else {
		atomic_fetch_and(&l->entries[w->entry], (uint8_t)~LCM_ENTRY_QUEUED);
		lcm_layer_file_done(l, w->entry, status);
	}
	want_free(w);
}

/* It comes with the pull, which tells whoever waits. */
static void want_later(struct lcm_layer *l, struct lcm_want *w)
{
	if (w->fd >= 0)
		lcm_bigfile_chunks_done(l, w->entry, w->first, w->n, -ENODATA);
	else
		atomic_fetch_and(&l->entries[w->entry], (uint8_t)~LCM_ENTRY_QUEUED);
	want_free(w);
}

static void enqueue(struct lcm_layer *l, struct lcm_want *w)
{
	w->next = NULL;
	*l->queue_tail = w;
	l->queue_tail = &w->next;
}

/* Where in the blob @n chunks from @first are; 0 to 0: they are holes. Return: 0, -ENODATA (only
 * the pull can bring them). */
static int range_of(const struct lcm_layer *l, uint32_t first, uint32_t n, uint64_t *ret_off,
		    uint64_t *ret_end)
{
	uint64_t off = 0, end = 0;

	if (l->no_ranges)
		return -ENODATA;
	for (uint32_t i = 0; i < n; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(l->toc, first + i);

		if (c->flags & LCM_TOC_CHUNK_ZEROS)
			continue;
		if (c->skip > LCM_TOC_UNIT_PLAIN_MAX ||
		    c->file_len > LCM_TOC_UNIT_PLAIN_MAX - c->skip)
			return -ENODATA;
		off = end ? LCM_MIN(off, c->blob_off)
			  : c->blob_off - LCM_MIN(c->blob_off, SPAN_HEAD);
		end = LCM_MAX(end, c->blob_off + c->blob_len);
	}
	*ret_off = off;
	*ret_end = end;
	return 0;
}

bool lcm_demand_is_here(struct lcm_layer *l, uint32_t entry)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, entry);
	uint64_t off, end;

	if (lcm_layer_is_local(l, entry))
		return true;
	return l->phase == LCM_LAYER_READY && e->n_chunks &&
	       range_of(l, e->first_chunk, e->n_chunks, &off, &end) == 0 &&
	       (off == end || lcm_blob_has(l->blob, off, end - off));
}

static int queue_chunks(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry, uint32_t first,
			uint32_t n, int fd)
{
	uint64_t off, end;
	struct lcm_want *w;
	int r = range_of(l, first, n, &off, &end);

	if (r < 0)
		return r;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct lcm_want){ .entry = entry,
				.first = first,
				.n = n,
				.fd = fd,
				.off = off,
				.end = end,
				.queued_ns = lcm_now_ns() };
	want_add_lif(l->e, w, lif);
	enqueue(l, w);
	lcm_demand_pump(l->e);
	return 0;
}

int lcm_demand_chunks(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry, uint32_t first,
		      uint32_t n, int fd)
{
	return queue_chunks(l, lif, entry, first, n, fd);
}

static struct lcm_want *queued(struct lcm_layer *l, uint32_t entry, uint32_t chunk)
{
	struct lcm_want *w = l->queue;

	while (w && (w->entry != entry || chunk < w->first || chunk - w->first >= w->n))
		w = w->next;
	return w;
}

void lcm_demand_join(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry, uint32_t chunk)
{
	struct lcm_want *w = queued(l, entry, chunk);

	if (w)
		want_add_lif(l->e, w, lif);
}

int lcm_demand_file(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, entry);
	int r;

	if (atomic_load(&l->entries[entry]) & LCM_ENTRY_QUEUED) {
		lcm_demand_join(l, lif, entry, e->first_chunk);
		return 0;
	}
	if (e->n_chunks == 0)
		return -ENODATA;
	atomic_fetch_or(&l->entries[entry], LCM_ENTRY_QUEUED);
	r = queue_chunks(l, lif, entry, e->first_chunk, e->n_chunks, -1);
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
		want_free(w);
		return;
	}
}

/* A slow host would keep the layer, and the link from others, for as long as it likes. */
static void cancel_spans(struct lcm_layer *l)
{
	for (struct span *s = l->spans; s; s = s->next)
		for (uint32_t i = 0; i < s->n_runs; i++)
			if (s->runs[i].fetch)
				lcm_fetch_cancel(l->e->reg, s->runs[i].fetch);
}

static void unlist(struct span *s)
{
	struct span **p = &s->layer->spans;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
}

static void end_queue(struct lcm_layer *l, int status)
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

void lcm_demand_cancel_all(struct lcm_layer *l, int status)
{
	cancel_spans(l);
	end_queue(l, status);
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
	if (w->status == -ECANCELED)
		return;
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

/* Somebody came after its transfers were cancelled because nobody waited. */
static bool came_back(const struct lcm_layer *l, const struct lcm_want *w)
{
	return w->status == -ECANCELED && l->watches;
}

/* Wrong, or forgotten by the blob file since the span counted on it. */
static bool is_unusable(int status)
{
	return lcm_wrong_bytes(status) || status == -ENODATA;
}

/* Bytes of a mirror, or of whoever sent what the blob file had, are wrong: the same from somebody
 * else. */
static bool elsewhere_of(struct span *s)
{
	const struct lcm_layer *l = s->layer;
	int why = 0;

	if (s->status == -ENODATA && s->disk)
		return l->watches && !l->e->closing;
	for (const struct lcm_want *w = s->wants; w; w = w->next)
		if (lcm_wrong_bytes(w->status) && (!why || why == -ENOTRECOVERABLE))
			why = w->status;
	return why && lcm_layer_elsewhere(s->layer, &l->row.key.blob, why, s->mirrored || s->disk);
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

static void charge_want(struct span *s, struct lcm_want *w, uint64_t fetched)
{
	struct lcm_layer *l = s->layer;
	char path[LCM_PATH_MAX + 2] = "/";

	w->cost.requests = 1;
	w->cost.fetched_bytes = fetched;
	w->cost.queue_ns = s->started_ns - w->queued_ns;
	w->cost.fetch_ns = s->fetch_ns;
	if (lcm_toc_path(l->toc, w->entry, path + 1, sizeof(path) - 1) < 0)
		path[1] = '\0';
	lcm_lif_charge(&l->e->lifs, w->lifs, w->n_lifs, &w->cost, path);
	w->cost = (struct lcm_lif_cost){ 0 };
}

/* What was fetched is split by the ranges that were asked for; what came along with them, too. */
static void charge(struct span *s)
{
	uint64_t total = 0, left = s->fetched_bytes;

	lcm_lif_end(s->lif, s->estimate);
	lcm_lif_unref(s->lif);
	for (const struct lcm_want *w = s->wants; w; w = w->next)
		total += w->end - w->off + 1;
	for (struct lcm_want *w = s->wants; w; w = w->next) {
		double part = (double)(w->end - w->off + 1) / (double)total;
		uint64_t fetched = w->next ? (uint64_t)((double)s->fetched_bytes * part) : left;

		fetched = LCM_MIN(fetched, left);
		left -= fetched;
		charge_want(s, w, fetched);
	}
	lcm_lifs_measured(&s->layer->e->lifs, s->fetched_bytes,
			  s->fetch_ns / LCM_MAX(s->layer->e->spans, 1U));
}

/* It ends, or is asked for anew. Return: did it meet trouble that may pass? */
static bool settle_want(struct span *s, struct lcm_want *w, bool elsewhere)
{
	struct lcm_layer *l = s->layer;
	bool lie = elsewhere && is_unusable(w->status);
	bool again = (lie || came_back(l, w) || transient(w->status)) && still_wanted(l, w) &&
		     l->phase == LCM_LAYER_READY && !l->e->closing;

	if (again && lie) {
		lcm_blob_forget(l->blob, w->off, w->end - w->off);
		w->fresh = true;
	} else {
		note_want(s, w);
	}
	if (!again) {
		want_end(l, w, w->status);
		return false;
	}
	w->queued_ns = lcm_now_ns();
	enqueue(l, w);
	return transient(w->status);
}

void demand_span_done(void *arg)
{
	struct span *s = arg;
	struct lcm_layer *l = s->layer;
	struct lcm_engine *e = l->e;
	uint64_t bytes = s->len;
	bool held = false, elsewhere = elsewhere_of(s);

	charge(s);
	if (!elsewhere)
		broken_function(s);
	unlist(s);
	while (s->wants) {
		struct lcm_want *w = s->wants;

		s->wants = w->next;
		if (w->status == -ESPIPE)
			want_later(l, w);
		else
			held |= settle_want(s, w, elsewhere);
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
	s->fetch_ns = lcm_now_ns() - s->started_ns;
	s->task = (struct lcm_task){ .fn = demand_span_job, .arg = s };
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
	r->span->fetched_bytes += res->bytes;
	r->span->mirrored |= res->mirrored;
	r->fetch = 0;
	run_end(r->span, res->status, &res->err);
}

static bool is_fresh(const struct span *s)
{
	const struct lcm_want *w = s->wants;

	while (w && !w->fresh)
		w = w->next;
	return w != NULL;
}

static void find_runs(struct span *s)
{
	uint64_t at = s->off, end = s->off + s->len;
	bool fresh = is_fresh(s);

	while (at < end) {
		struct run *r = &s->runs[s->n_runs++];
		uint64_t len;
		bool present = lcm_blob_next(s->layer->blob, at, &len);

		if (s->n_runs == RUNS_MAX || fresh) {
			present = false;
			len = end - at;
		}
		s->disk |= present;
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

/* Takes @head out of the queue, and every queued neighbour that makes one range with it. */
static void gather(struct lcm_layer *l, const struct lcm_want *head, struct span *s, uint64_t *off,
		   uint64_t *end)
{
	struct lcm_want **p = &l->queue, **tail = &s->wants;

	*off = head->off;
	*end = head->end;
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

static void start_one(struct lcm_layer *l, const struct lcm_want *head, struct lcm_lif *lif)
{
	struct span *s = calloc(1, sizeof(*s));
	uint64_t off, end;

	if (!s) {
		end_queue(l, -ENOMEM);
		return;
	}
	s->lif = lif ? lcm_lif_ref(lif) : NULL;
	gather(l, head, s, &off, &end);
	end = read_ahead(l, off, end);
	s->layer = l;
	l->refs++;
	s->next = l->spans;
	l->spans = s;
	s->off = off;
	s->len = end - off;
	s->started_ns = lcm_now_ns();
	s->estimate = lcm_lif_start(&l->e->lifs, lif, s->len);
	lcm_engine_demand_begin(l->e, s->len);
	s->status = lcm_fn_mem_new(s->len + LCM_TOC_WINDOW, plain_max(s), &s->mem);
	if (s->status < 0) {
		submit(s);
		return;
	}
	s->buf = lcm_fn_mem_in(s->mem);
	span_start(s);
}

/* Demand of a layer waits a moment after trouble that may pass. */
static bool held_back(struct lcm_layer *l, uint64_t *now)
{
	struct lcm_engine *e = l->e;

	if (!l->hold_until_ns)
		return false;
	*now = *now ? *now : lcm_now_ns();
	if (*now >= l->hold_until_ns) {
		l->hold_until_ns = 0;
		return false;
	}
	if (!lcm_timer_armed(e->resume))
		lcm_timer_set(e->resume, l->hold_until_ns - *now);
	return true;
}

struct turn {
	struct lcm_layer *layer;
	const struct lcm_want *want; /* NULL: nobody's turn */
	struct lcm_lif *lif;
};

/* Of all who wait for this, and have not too many transfers, the one whose turn it is first. */
static struct lcm_lif *first_of(const struct lcm_engine *e, const struct lcm_want *w)
{
	struct lcm_lif *first = NULL;

	for (size_t i = 0; i < w->n_lifs; i++) {
		struct lcm_lif *lif = w->lifs[i];

		if (lif->spans < SPANS_MAX - SPANS_KEPT &&
		    (!first || lcm_lif_before(&e->lifs, lif, first)))
			first = lif;
	}
	return first;
}

/* There are about as many wants as threads that wait: each is looked at for each turn. */
static void look_through(struct lcm_layer *l, struct turn *t)
{
	const struct lcm_engine *e = l->e;

	for (const struct lcm_want *w = l->queue; w; w = w->next) {
		struct lcm_lif *lif = first_of(e, w);

		if ((lif || !w->n_lifs) && (!t->want || lcm_lif_before(&e->lifs, lif, t->lif)))
			*t = (struct turn){ l, w, lif };
	}
}

void lcm_demand_pump(struct lcm_engine *e)
{
	uint64_t now = 0;

	/* The registry and the pool may be gone already when the last spans end. */
	while (!e->closing && e->spans < SPANS_MAX && e->span_bytes < SPAN_BYTES_MAX) {
		struct turn t = { .want = NULL };

		for (struct lcm_layer *l = e->layers; l; l = l->next)
			if (l->queue && l->phase == LCM_LAYER_READY && !held_back(l, &now))
				look_through(l, &t);
		if (!t.want)
			return;
		start_one(t.layer, t.want, t.lif);
	}
}
