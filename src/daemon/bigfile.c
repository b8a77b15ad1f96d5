/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigfile.c - big files served by range while they are incomplete.
 *
 * A big file has a sparse partial file below tmp/ and a state per chunk. A read waits for
 * its chunks; reading on doubles the read-ahead. When every chunk is there the partial
 * file is placed in REAL like any other.
 */
#include <string.h>

#include "src/daemon/layer.h"

#define READAHEAD_MIN (256ULL << 10)
#define READAHEAD_MAX (8ULL << 20)
#define WANT_BLOB_MAX                                                                              \
	(1ULL                                                                                      \
	 << 20) /* compressed bytes per want, so that early readers do not wait for late ones */

#define COMPARE_BYTES ((size_t)64 << 10)

enum chunk_state { CHUNK_MISSING, CHUNK_WANTED, CHUNK_PRESENT };

struct read {
	struct read *next;
	struct lcm_layer_watch *w; /* borrowed until unread or done */
	uint64_t off, token;
	uint32_t len;
};

struct lcm_bigfile {
	struct lcm_bigfile *next;
	struct lcm_layer *layer; /* borrowed; referenced while the place job runs */
	uint32_t entry;
	int fd;          /* owned; partial content, the file itself once placed */
	char tmp[64];    /* name below tmp/; "" once placed */
	uint8_t *chunks; /* owned; enum chunk_state */
	uint32_t n_chunks, n_present;
	struct read *reads;
	uint64_t ra_next,
	    ra_len;           /* where a sequential reader goes on, and how far ahead to fetch */
	bool placing, placed; /* placing: a job has it */
	bool compared;        /* with what the pull has brought */
	struct lcm_task task;
	int place_status;
};

static struct lcm_bigfile *find(struct lcm_layer *l, uint32_t entry)
{
	struct lcm_bigfile *b = l->bigfiles;

	while (b && b->entry != entry)
		b = b->next;
	return b;
}

static void bigfile_free(struct lcm_bigfile *b)
{
	if (b->tmp[0])
		lcm_ignore(lcm_sys_unlinkat(lcm_store_tmp_fd(b->layer->e->store), b->tmp, 0));
	lcm_closep(&b->fd);
	free(b->chunks);
	free(b);
}

/* Does a want, a job or a reader still use it? */
static bool is_busy(const struct lcm_bigfile *b)
{
	return b->reads || b->placing || memchr(b->chunks, CHUNK_WANTED, b->n_chunks);
}

/* Nothing but its spans vouches for what demand made of this file: where in them it lies is only
 * said by the table of contents. */
static bool is_unproven(const struct lcm_bigfile *b)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(b->layer->toc, b->entry);

	return !b->placed && !b->compared && b->n_present && lcm_digest_is_zero(&e->digest) &&
	       lcm_digest_is_zero(&lcm_toc_chunk(b->layer->toc, e->first_chunk)->digest);
}

static void compare_start(struct lcm_bigfile *b);

/* Of a file that is in REAL the partial one is not needed any more: its descriptor, and its bytes
 * on the disk. */
static void reap(struct lcm_layer *l)
{
	for (struct lcm_bigfile **p = &l->bigfiles; *p;) {
		struct lcm_bigfile *b = *p;

		if (!lcm_layer_is_local(l, b->entry) || is_busy(b)) {
			p = &b->next;
			continue;
		}
		if (is_unproven(b) && !l->e->closing) {
			compare_start(b);
			p = &b->next;
			continue;
		}
		*p = b->next;
		bigfile_free(b);
	}
}

/* ---- what was read from the partial file, and what the pull has brought ---- */

static int same_range(int a, int b, uint64_t off, uint64_t len)
{
	uint8_t x[COMPARE_BYTES], y[COMPARE_BYTES];
	int r = 0;

	while (len && r == 0) {
		size_t n = (size_t)LCM_MIN(len, (uint64_t)COMPARE_BYTES);

		r = lcm_sys_pread_full(a, x, n, off);
		if (r == 0)
			r = lcm_sys_pread_full(b, y, n, off);
		if (r == 0 && memcmp(x, y, n) != 0)
			r = -EUCLEAN;
		off += n;
		len -= n;
	}
	return r;
}

static void on_compared(void *arg)
{
	struct lcm_bigfile *b = arg;
	struct lcm_layer *l = b->layer;
	char path[LCM_PATH_MAX + 1] = "";
	struct lcm_err err;

	b->placing = false;
	b->compared = true;
	if (b->place_status == -EUCLEAN) {
		lcm_ignore(lcm_toc_path(l->toc, b->entry, path, sizeof(path)));
		lcm_err_set(&err, -EUCLEAN,
			    "layer %s: TOC and layer disagree: %.200s: what its table of contents "
			    "gave is not in the layer; the layer is destroyed",
			    l->name, path);
		lcm_layer_condemn(l, &err);
	}
	reap(l);
	lcm_layer_put(l);
}

static void compare_job(void *arg)
{
	struct lcm_bigfile *b = arg;
	const struct lcm_toc *toc = b->layer->toc;
	uint32_t first = lcm_toc_entry(toc, b->entry)->first_chunk;
	lcm_autoclose int fd = lcm_layer_open_file(b->layer->dir, toc, b->entry);

	b->place_status = LCM_MIN(fd, 0);
	for (uint32_t i = 0; b->place_status == 0 && i < b->n_chunks; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(toc, first + i);

		if (b->chunks[i] == CHUNK_PRESENT)
			b->place_status = same_range(b->fd, fd, c->file_off, c->file_len);
	}
	b->task.fn = on_compared;
	lcm_loop_post_task(b->layer->e->loop, &b->task);
}

static void compare_start(struct lcm_bigfile *b)
{
	b->placing = true;
	b->layer->refs++;
	b->task = (struct lcm_task){ .fn = compare_job, .arg = b };
	lcm_pool_submit(b->layer->e->pool, LCM_POOL_BACKGROUND, &b->task);
}

static int bigfile_new(struct lcm_layer *l, uint32_t entry, struct lcm_bigfile **ret)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(l->toc, entry);
	struct lcm_bigfile *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->layer = l;
	b->entry = entry;
	b->n_chunks = e->n_chunks;
	b->chunks = calloc(e->n_chunks ? e->n_chunks : 1, 1);
	b->fd = b->chunks ? lcm_layer_tmp(l->dir, l->toc, entry, b->tmp) : -ENOMEM;
	r = b->fd < 0 ? b->fd : lcm_sys_ftruncate(b->fd, e->size);
	if (r < 0) {
		bigfile_free(b);
		return r;
	}
	b->next = l->bigfiles;
	l->bigfiles = b;
	*ret = b;
	return 0;
}

/* Index (within the file) of the chunk that holds file offset @off. */
static uint32_t chunk_at(const struct lcm_bigfile *b, uint64_t off)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(b->layer->toc, b->entry);
	uint32_t lo = 0, hi = e->n_chunks;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (lcm_toc_chunk(b->layer->toc, e->first_chunk + mid)->file_off <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static bool all_present(const struct lcm_bigfile *b, uint64_t off, uint64_t len)
{
	if (b->placed)
		return true;
	if (!b->n_chunks)
		return false;
	for (uint32_t i = chunk_at(b, off), end = chunk_at(b, off + len - 1); i <= end; i++)
		if (b->chunks[i] != CHUNK_PRESENT)
			return false;
	return true;
}

/* Queues one want from chunk @i on; returns how many chunks it took. */
static uint32_t want_from(struct lcm_bigfile *b, struct lcm_lif *lif, uint32_t i, uint32_t end)
{
	uint32_t first = lcm_toc_entry(b->layer->toc, b->entry)->first_chunk, n = 0;
	uint64_t bytes = 0;
	int r;

	while (i + n < end && b->chunks[i + n] == CHUNK_MISSING &&
	       (n == 0 || bytes < WANT_BLOB_MAX)) {
		bytes += lcm_toc_chunk(b->layer->toc, first + i + n)->blob_len;
		b->chunks[i + n] = CHUNK_WANTED;
		n++;
	}
	r = lcm_demand_chunks(b->layer, lif, b->entry, first + i, n, b->fd);
	if (r < 0)
		memset(b->chunks + i, CHUNK_MISSING, n);
	/* A chunk too large to fetch alone comes with the whole layer. */
	if (r == -ENODATA)
		lcm_layer_pull(b->layer, true);
	return n;
}

static void want_range(struct lcm_bigfile *b, struct lcm_lif *lif, uint64_t off, uint64_t len)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(b->layer->toc, b->entry);
	uint32_t i, end;

	b->ra_len = off == b->ra_next && off ? LCM_MIN(b->ra_len * 2, READAHEAD_MAX)
					     : READAHEAD_MIN;
	b->ra_next = off + len;
	if (!b->n_chunks)
		return;
	end = chunk_at(b, off + len - 1) + 1;
	for (i = chunk_at(b, off); i < end; i++)
		if (b->chunks[i] == CHUNK_WANTED)
			lcm_demand_join(b->layer, lif, b->entry, e->first_chunk + i);
	end = chunk_at(b, LCM_MIN(off + LCM_MAX(len, b->ra_len), e->size) - 1) + 1;
	for (i = chunk_at(b, off); i < end;)
		i += b->chunks[i] == CHUNK_MISSING ? want_from(b, lif, i, end) : 1;
}

static void answer_ready(struct lcm_bigfile *b, int status)
{
	for (struct read **p = &b->reads; *p;) {
		struct read *r = *p;

		if (status == 0 && !all_present(b, r->off, r->len)) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		r->w->read_done(r->w->arg, r->token, b->fd, r->off, r->len, status);
		free(r);
	}
}

static void read_local(struct lcm_layer *l, struct lcm_layer_watch *w, uint32_t entry, uint64_t off,
		       uint32_t len, uint64_t token)
{
	lcm_autoclose int fd = lcm_layer_open_file(l->dir, l->toc, entry);

	w->read_done(w->arg, token, fd, off, len, fd < 0 ? fd : 0);
}

void lcm_layer_read(struct lcm_layer *l, struct lcm_layer_watch *w, uint32_t entry, uint64_t off,
		    uint32_t len, uint64_t token)
{
	struct lcm_bigfile *b = find(l, entry);
	struct read *r;
	int st = 0;

	if (lcm_layer_is_local(l, entry)) {
		read_local(l, w, entry, off, len, token);
		return;
	}
	if (l->phase != LCM_LAYER_READY) {
		w->read_done(w->arg, token, -1, off, len, -EIO);
		return;
	}
	if (!b)
		st = bigfile_new(l, entry, &b);
	r = st == 0 ? calloc(1, sizeof(*r)) : NULL;
	if (!r) {
		w->read_done(w->arg, token, -1, off, len, st ? st : -ENOMEM);
		return;
	}
	*r = (struct read){ .next = b->reads, .w = w, .off = off, .len = len, .token = token };
	b->reads = r;
	atomic_fetch_or(&l->entries[entry], LCM_ENTRY_WANTED);
	want_range(b, w->lif, off, len);
	if (lcm_layer_is_local(l, entry))
		lcm_bigfile_local(l, entry);
	else
		answer_ready(b, 0);
}

void lcm_layer_unread(struct lcm_layer *l, struct lcm_layer_watch *w, uint32_t entry,
		      uint64_t token)
{
	struct lcm_bigfile *b = find(l, entry);

	for (struct read **p = b ? &b->reads : NULL; p && *p; p = &(*p)->next) {
		struct read *r = *p;

		if (r->w != w || r->token != token)
			continue;
		*p = r->next;
		free(r);
		return;
	}
}

void lcm_bigfile_unread_all(struct lcm_layer *l, const struct lcm_layer_watch *w)
{
	for (struct lcm_bigfile *b = l->bigfiles; b; b = b->next) {
		for (struct read **p = &b->reads; *p;) {
			struct read *r = *p;

			if (r->w != w) {
				p = &r->next;
				continue;
			}
			*p = r->next;
			free(r);
		}
	}
}

static void on_placed(void *arg)
{
	struct lcm_bigfile *b = arg;
	struct lcm_layer *l = b->layer;

	b->placing = false;
	if (b->place_status == 0 || b->place_status == -EEXIST) {
		b->tmp[0] = '\0';
		b->placed = true;
		l->demand_files++;
		lcm_layer_file_done(l, b->entry, 0);
		answer_ready(b, 0);
	}
	reap(l);
	lcm_layer_put(l);
}

static void place_job(void *arg)
{
	struct lcm_bigfile *b = arg;

	b->place_status = lcm_layer_place(b->layer->dir, b->layer->toc, b->entry, b->fd, b->tmp,
					  NULL);
	if (b->place_status == 0 || b->place_status == -EEXIST)
		lcm_layer_mark_local(b->layer, b->entry);
	b->task.fn = on_placed;
	lcm_loop_post_task(b->layer->e->loop, &b->task);
}

static bool read_needs(const struct lcm_bigfile *b, const struct read *r, uint32_t chunk)
{
	return chunk_at(b, r->off) <= chunk && chunk <= chunk_at(b, r->off + r->len - 1);
}

/* Of a failed group each chunk that a reader needs is tried alone; a reader fails only with its own
 * chunk. */
static void chunks_failed(struct lcm_bigfile *b, uint32_t base, uint32_t n, int status)
{
	for (uint32_t i = base; i < base + n; i++) {
		for (struct read **p = &b->reads; *p;) {
			struct read *r = *p;

			if (!read_needs(b, r, i)) {
				p = &r->next;
				continue;
			}
			if (n > 1) {
				if (b->chunks[i] == CHUNK_MISSING)
					(void)want_from(b, r->w->lif, i, i + 1);
				break;
			}
			*p = r->next;
			r->w->read_done(r->w->arg, r->token, -1, r->off, r->len, status);
			free(r);
		}
	}
}

void lcm_bigfile_chunks_done(struct lcm_layer *l, uint32_t entry, uint32_t first, uint32_t n,
			     int status)
{
	struct lcm_bigfile *b = find(l, entry);
	uint32_t base = first - lcm_toc_entry(l->toc, entry)->first_chunk;

	if (!b)
		return;
	for (uint32_t i = base; i < base + n; i++) {
		b->chunks[i] = status == 0 ? CHUNK_PRESENT : CHUNK_MISSING;
		b->n_present += status == 0;
	}
	if (status == -ENODATA) /* whoever reads them waits for the pull */
		return;
	if (status < 0)
		chunks_failed(b, base, n, status);
	else
		answer_ready(b, 0);
	if (lcm_layer_is_local(l, entry)) {
		reap(l);
		return;
	}
	if (b->n_present < b->n_chunks || b->placing || b->placed || l->e->closing)
		return;
	b->placing = true;
	l->refs++;
	b->task = (struct lcm_task){ .fn = place_job, .arg = b };
	lcm_pool_submit(l->e->pool, LCM_POOL_DEMAND, &b->task);
}

static void answer_local(struct lcm_bigfile *b)
{
	struct read *r = b->reads;

	b->reads = NULL;
	while (r) {
		struct read *next = r->next;

		read_local(b->layer, r->w, b->entry, r->off, r->len, r->token);
		free(r);
		r = next;
	}
}

void lcm_bigfile_local(struct lcm_layer *l, uint32_t entry)
{
	struct lcm_bigfile *b = find(l, entry);

	if (!b)
		return;
	answer_local(b);
	reap(l);
}

void lcm_bigfile_local_all(struct lcm_layer *l)
{
	for (struct lcm_bigfile *b = l->bigfiles; b; b = b->next)
		answer_local(b);
	reap(l);
}

void lcm_bigfile_fail_all(struct lcm_layer *l, int status)
{
	for (struct lcm_bigfile *b = l->bigfiles; b; b = b->next)
		answer_ready(b, status);
}

void lcm_bigfile_free_all(struct lcm_layer *l)
{
	while (l->bigfiles) {
		struct lcm_bigfile *b = l->bigfiles;

		l->bigfiles = b->next;
		answer_ready(b, -ESHUTDOWN);
		bigfile_free(b);
	}
}
