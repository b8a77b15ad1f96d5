/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull.c - a layer's blob in order, from the network and from the blob file, through an
 * isolated function (inflate, parse) and the hashes into REAL.
 *
 * The loop plans windows of the blob: runs that demand has already fetched come from the
 * blob file, the others are GETs whose bytes go into the function's ring. The stream thread
 * waits for the function and for the loop only. Both digests are compared at the end; until
 * then nothing of a plain layer is taken for whole.
 *
 * A plain layer gets a table of contents on the way: from then on it is lazy here.
 *
 * Threads: struct lcm_pull's fields are the loop's, except those below "shared".
 */
#include <string.h>
#include <sys/eventfd.h>

#include "src/base/log.h"
#include "src/daemon/layer.h"
#include "src/daemon/pull_ring.h"

/* One background GET: short while demand may come, so that its bytes are not asked for twice;
 * doubled by each that met none. */
#define WINDOW_MIN (4ULL << 20)
#define WINDOW_MAX (256ULL << 20)
#define OVERLAP_MAX                                                                                \
	(128ULL << 10) /* present bytes that are fetched again rather than asked around */
#define RETRY_NS 1000000000ULL
#define RETRY_MAX_NS 30000000000ULL

struct lcm_pull {
	struct lcm_layer *layer; /* referenced until on_ended() */
	uint64_t next_off;       /* blob offset that has not been planned yet */
	uint64_t window;         /* length of the next lazy GET */
	uint64_t fetch;          /* id of the GET in flight; 0: none */
	bool paused;             /* that GET is paused for demand */
	bool over;               /* the stream has ended */
	bool mirrored;           /* bytes came from a mirror */
	bool disk;               /* bytes are, or were to be, of the blob file */
	struct lcm_timer *retry; /* owned; after a failed GET */
	uint32_t failures;
	struct lcm_task job, refill, ended;
	int status; /* of the unpack; ended */
	bool has_index;
	bool blob_proven; /* its bytes are those of the manifest, whatever is wrong with them */
	bool patient;     /* nobody waited for it when it was submitted */
	struct lcm_background_task background;
	struct lcm_err err;
	struct lcm_unpack_result result;
	struct lcm_fn_mem *mem;    /* owned */
	struct lcm_pull_ring ring; /* shared */
};

static void kick(struct lcm_pull *p);

/* ---- the stream thread's half ---- */

static int fill(void *arg, uint64_t done, uint64_t *ret_until)
{
	struct lcm_pull *p = arg;
	bool refill = false;
	int r = lcm_pull_ring_fill(&p->ring, p->layer->blob, done, ret_until, &refill);

	if (refill)
		lcm_loop_post_task(p->layer->e->loop, &p->refill);
	return r;
}

static void on_file_placed(void *arg, uint32_t entry)
{
	struct lcm_pull *p = arg;

	/* Somebody waits: the loop is told; all others find the file by themselves. */
	if (lcm_layer_mark_local(p->layer, entry) & LCM_ENTRY_WANTED)
		lcm_layer_post_done(p->layer, entry);
}

static int checkpoint(void *arg)
{
	struct lcm_pull *p = arg;

	(void)lcm_background_point(&p->background);
	return lcm_pull_ring_stopped(&p->ring);
}

static bool pause_here(void *arg)
{
	struct lcm_pull *p = arg;

	return lcm_background_point(&p->background);
}

static int check_digests(struct lcm_pull *p, const struct lcm_digest *blob)
{
	const struct lcm_layer_row *row = &p->layer->row;
	char want[LCM_DIGEST_STR], got[LCM_DIGEST_STR];

	if (!p->blob_proven)
		return lcm_err_set(&p->err, -EBADMSG,
				   "layer blob digest mismatch: the manifest says %s, the registry "
				   "sent %s",
				   lcm_digest_str(&row->key.blob, want), lcm_digest_str(blob, got));
	if (!lcm_digest_equal(&p->result.diffid, &row->key.diffid))
		return lcm_err_set(&p->err, -EBADMSG,
				   "layer diffID mismatch: the config says %s, the unpacked tar is "
				   "%s",
				   lcm_digest_str(&row->key.diffid, want),
				   lcm_digest_str(&p->result.diffid, got));
	return 0;
}

/* What is proven now is worth an index. Without one the layer is as good as before. */
static void keep_index(struct lcm_pull *p, struct lcm_toc_builder *b)
{
	struct lcm_layer *l = p->layer;
	const struct lcm_toc_id id = {
		.blob = l->row.key.blob,
		.diffid = l->row.key.diffid,
		.blob_size = l->row.blob_size,
		.compression = l->comp,
	};
	struct lcm_err err = { 0 };
	int r = lcm_toc_builder_finish(b, &id, lcm_store_toc_fd(l->e->store), l->name, false, &err);

	if (r < 0)
		lcm_log(LCM_LOG_NOTICE, "layer=%s has no index: %s", l->name,
			lcm_err_text(&err, r));
	p->has_index = r == 0;
}

static int unpack(struct lcm_pull *p, struct lcm_fn *fn, struct lcm_toc_builder *index)
{
	struct lcm_layer *l = p->layer;
	const struct lcm_unpack_ops ops = {
		.placed = l->toc ? on_file_placed : NULL,
		.checkpoint = checkpoint,
		.index = index,
		.stargz = lcm_layer_is_stargz(l),
		.arg = p,
	};
	const struct lcm_fn_stream_opt opt = {
		.comp = l->comp,
		.blob_size = l->row.blob_size,
		.copy = l->toc != NULL,
		.toc = l->toc,
		.index = index,
		.fill = fill,
		.pause = pause_here,
		.arg = p,
		.wake_fd = p->ring.wake,
	};
	lcm_auto(lcm_tar) tar = NULL;
	struct lcm_digest blob;
	uint64_t len;
	int r = lcm_fn_stream(fn, p->mem, &opt, &tar, &p->err);

	if (r < 0)
		return r;
	r = lcm_unpack(l->dir, tar, l->toc, &ops, &p->result, &p->err);
	lcm_fn_stream_blob_digest(tar, &blob, &len);
	p->blob_proven = len == l->row.blob_size && lcm_digest_equal(&blob, &l->row.key.blob);
	if (r == 0)
		r = check_digests(p, &blob);
	if (r == 0 && index && p->result.indexed && lcm_fn_stream_indexed(tar))
		keep_index(p, index);
	return r;
}

static void on_ended(void *arg);

static void stream_job(void *arg)
{
	struct lcm_pull *p = arg;
	struct lcm_layer *l = p->layer;
	lcm_auto(lcm_toc_builder) index = NULL;
	struct lcm_fn *fn = NULL;

	if (!l->toc)
		lcm_ignore(lcm_toc_builder_new(&index)); /* without memory, no index */
	p->status = lcm_fn_take(l->e->fns, (uint64_t)l->row.id, &fn, &p->err);
	/* The functions that are started for others, before and after, are no background. */
	if (p->status == 0 && p->patient)
		lcm_background_begin(&p->background, fn);
	if (p->status == 0)
		p->status = unpack(p, fn, index);
	lcm_background_end(&p->background);
	lcm_fn_put(l->e->fns, fn);
	p->ended = (struct lcm_task){ .fn = on_ended, .arg = p };
	lcm_loop_post_task(l->e->loop, &p->ended);
}

/* ---- the loop's half ---- */

static void stop_stream(struct lcm_pull *p, int status, const struct lcm_err *err)
{
	lcm_pull_ring_stop(&p->ring, status, err);
	lcm_background_cancel(&p->background);
}

static int on_bytes(void *arg, uint64_t off, const void *data, size_t len)
{
	struct lcm_pull *p = arg;
	int r;

	if (off != p->next_off)
		return -EPROTO;
	r = lcm_pull_ring_put(&p->ring, off, data, len);
	if (r < 0)
		return r;
	if (r == 0)
		return LCM_FETCH_PAUSE;
	p->next_off += len;
	p->layer->pulled_bytes += len;
	p->layer->e->background_bytes += len;
	return 0;
}

static void on_window(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_pull *p = arg;
	struct lcm_layer *l = p->layer;
	uint64_t pause;

	p->fetch = 0;
	p->paused = false;
	p->mirrored |= res->mirrored;
	lcm_layer_charge(l, res->bytes);
	if (p->over)
		return;
	if (res->status == 0 || res->status == -ESPIPE) {
		l->no_ranges |= res->status == -ESPIPE; /* asked for anew, and then it skips */
		p->failures = 0;
		kick(p);
		return;
	}
	if (l->e->closing || res->status == -ECANCELED || res->status == -ESHUTDOWN) {
		stop_stream(p, res->status, &res->err);
		return;
	}
	lcm_layer_note(l, &res->err);
	if (l->pull_urgent) {
		stop_stream(p, res->status, &res->err);
		return;
	}
	pause = LCM_MIN(RETRY_NS << LCM_MIN(p->failures, 5U), RETRY_MAX_NS);
	p->failures++;
	lcm_timer_set(p->retry, pause);
}

static void plan_disk_runs(struct lcm_pull *p)
{
	struct lcm_layer *l = p->layer;

	while (p->next_off < l->row.blob_size) {
		uint64_t len;

		if (!lcm_blob_next(l->blob, p->next_off, &len))
			return;
		if (lcm_pull_ring_disk(&p->ring, p->next_off, len) < 0) {
			stop_stream(p, -ENOMEM, NULL);
			return;
		}
		p->disk = true;
		p->next_off += len;
	}
}

/* One GET for all that is left: each begins at the blob's first byte. */
static void all_that_is_left(const struct lcm_pull *p, struct lcm_fetch_req *req)
{
	req->off = p->next_off;
	req->len = p->layer->row.blob_size - p->next_off;
	req->skip = true;
}

/* Missing bytes from @off on, and over what demand left in between where asking anew costs less
 * than a request. */
static uint64_t missing_run(struct lcm_layer *l, uint64_t off, uint64_t max)
{
	uint64_t len, present, end;

	if (l->no_disk)
		return LCM_MIN(l->row.blob_size - off, max);
	(void)lcm_blob_next(l->blob, off, &len);
	for (end = off + len; end < l->row.blob_size && end - off < max; end += present + len) {
		if (!lcm_blob_next(l->blob, end, &present) || present >= OVERLAP_MAX ||
		    end + present >= l->row.blob_size)
			break;
		(void)lcm_blob_next(l->blob, end + present, &len);
	}
	return LCM_MIN(end - off, max);
}

/* Starts the next GET when there is room, something is missing, and demand leaves the link alone.
 */
static void kick(struct lcm_pull *p)
{
	struct lcm_layer *l = p->layer;
	struct lcm_fetch_req req = {
		.kind = LCM_FETCH_BLOB,
		.prio = LCM_PRIO_BACKGROUND,
		.ref = &l->ref,
		.digest = l->row.key.blob,
		.size = l->row.blob_size,
		.sink = on_bytes,
		.done = on_window,
		.arg = p,
	};
	int r;

	if (p->over || p->fetch || lcm_pull_ring_stopped(&p->ring) || lcm_timer_armed(p->retry))
		return;
	if (!l->no_ranges && !l->no_disk)
		plan_disk_runs(p);
	if (p->next_off >= l->row.blob_size || !lcm_pull_ring_has_room(&p->ring))
		return;
	if (!l->pull_urgent && lcm_engine_yield(l->e)) {
		p->window = WINDOW_MIN;
		return;
	}
	req.off = p->next_off;
	req.len = missing_run(l, p->next_off, l->pull_urgent ? UINT64_MAX : p->window);
	p->window = LCM_MIN(p->window * 2, WINDOW_MAX);
	if (l->no_ranges)
		all_that_is_left(p, &req);
	r = lcm_fetch_start(l->e->reg, &req, &p->fetch);
	if (r < 0)
		stop_stream(p, r, NULL);
}

static void on_refill(void *arg)
{
	struct lcm_pull *p = arg;
	bool full = lcm_pull_ring_refilled(&p->ring);

	if (p->fetch && full && !p->paused)
		lcm_fetch_resume(p->layer->e->reg, p->fetch);
	kick(p);
}

static void on_retry(void *arg)
{
	kick(arg);
}

static void pull_free(struct lcm_pull *p)
{
	lcm_timer_free(p->retry);
	lcm_background_fini(&p->background);
	lcm_pull_ring_fini(&p->ring);
	lcm_fn_mem_free(p->mem);
	free(p);
}

/* The decoder and the unpacker know what is wrong, not with which layer. */
static struct lcm_err name_damage(const struct lcm_pull *p, int status)
{
	char digest[LCM_DIGEST_STR];
	struct lcm_err err = p->err;

	if (lcm_wrong_bytes(status) && err.code)
		lcm_err_set(&err, status, "layer %s is damaged or lies: %s; the layer is destroyed",
			    lcm_digest_str(&p->layer->row.key.blob, digest), p->err.msg);
	return err;
}

/* Is another try worth it? Of a blob that is what the manifest says everybody has the same. What
 * demand left on the disk was checked as far as somebody asked for it, and who sent the rest is not
 * known: it is believed once only. It may also have been forgotten
 * (-ENODATA) since this pull counted on it. */
static bool once_more(const struct lcm_pull *p, int status)
{
	struct lcm_layer *l = p->layer;
	bool wrong = lcm_wrong_bytes(status);

	if (p->blob_proven)
		return false;
	if (!wrong && !(status == -ENODATA && p->disk))
		return false;
	if (p->disk && !l->e->closing) {
		l->no_disk = true;
		lcm_blob_forget(l->blob, 0, l->row.blob_size);
	}
	if (!wrong)
		return l->watches;
	return lcm_layer_elsewhere(l, &l->row.key.blob, status, p->mirrored || p->disk);
}

/* The stream is over; a last refill or window may still be on its way to the loop. */
static void on_ended(void *arg)
{
	struct lcm_pull *p = arg;
	struct lcm_layer *l = p->layer;
	struct lcm_err err = { 0 };
	int status = p->status;
	bool again = false;

	/* What is cancelled here is not why it ended. */
	p->over = true;
	if (lcm_pull_ring_refill_posted(&p->ring) || p->fetch) {
		if (p->fetch)
			lcm_fetch_cancel(l->e->reg, p->fetch);
		lcm_loop_post_task(l->e->loop, &p->ended);
		return;
	}
	if (status < 0 && !lcm_pull_ring_why(&p->ring, &err))
		err = name_damage(p, status);
	if (status < 0 && !err.code)
		lcm_err_set(&err, status, "%s", strerror(-status));
	l->pull = NULL;
	if (status == 0 && p->has_index && lcm_store_layer_set_toc(l->e->store, l->row.id) == 0)
		l->row.has_toc = true;
	if (status == 0)
		lcm_layer_pulled(l, p->result.bytes);
	else if (once_more(p, status))
		again = true;
	else if (lcm_wrong_bytes(status))
		lcm_layer_condemn(l, &err);
	else
		lcm_layer_pull_broke(l, status, &err);
	pull_free(p);
	if (again)
		lcm_layer_pull(l, false);
	lcm_layer_put(l);
}

static int pull_new(struct lcm_layer *l, struct lcm_pull **ret)
{
	struct lcm_pull *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->ring.wake = -EBADF;
	r = lcm_timer_new(l->e->loop, on_retry, p, &p->retry);
	if (r == 0)
		r = lcm_background_init(&p->background, l->e->background);
	if (r == 0)
		r = lcm_fn_stream_mem(l->toc, &p->mem);
	if (r == 0)
		r = lcm_pull_ring_init(&p->ring, lcm_fn_mem_in(p->mem), lcm_fn_mem_ring(p->mem));
	if (r < 0) {
		lcm_timer_free(p->retry);
		lcm_background_fini(&p->background);
		lcm_fn_mem_free(p->mem);
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void lcm_pull_start(struct lcm_layer *l)
{
	struct lcm_pull *p;
	int r = pull_new(l, &p);

	if (r < 0) {
		lcm_layer_pull_broke(l, r, NULL);
		return;
	}
	p->layer = l;
	p->window = WINDOW_MIN;
	p->patient = !l->pull_urgent && !l->hurried;
	l->refs++;
	l->pull = p;
	p->refill = (struct lcm_task){ .fn = on_refill, .arg = p };
	p->job = (struct lcm_task){ .fn = stream_job, .arg = p };
	if (p->patient)
		lcm_pool_submit(l->e->patient, LCM_POOL_BACKGROUND, &p->job);
	else
		lcm_pool_submit(l->e->streams, LCM_POOL_DEMAND, &p->job);
	kick(p);
}

/* One that has not begun must not wait for threads that wait for a processor. */
void lcm_pull_hurry(struct lcm_layer *l)
{
	struct lcm_pull *p = l->pull;

	if (!p || !p->patient)
		return;
	lcm_background_hurry(&p->background);
	lcm_pull_ring_wake(&p->ring);
	if (lcm_pool_take_back(l->e->patient, LCM_POOL_BACKGROUND, &p->job))
		lcm_pool_submit(l->e->streams, LCM_POOL_DEMAND, &p->job);
	lcm_pull_kick_all(l->e);
}

void lcm_pull_cancel(struct lcm_layer *l)
{
	struct lcm_pull *p = l->pull;

	if (!p)
		return;
	lcm_timer_clear(p->retry);
	if (p->fetch)
		lcm_fetch_cancel(l->e->reg, p->fetch);
	stop_stream(p, -ECANCELED, NULL);
}

void lcm_pull_cancel_all(struct lcm_engine *e)
{
	for (struct lcm_layer *l = e->layers; l; l = l->next)
		lcm_pull_cancel(l);
}

void lcm_pull_kick_all(struct lcm_engine *e)
{
	bool yields = false, asked = false;

	for (struct lcm_layer *l = e->layers; l; l = l->next) {
		struct lcm_pull *p = l->pull;
		bool yield;

		if (!p)
			continue;
		if (!asked && !l->pull_urgent) {
			yields = lcm_engine_yield(e);
			asked = true;
		}
		yield = yields &&
			!l->pull_urgent; /* one that became urgent may have been paused before */
		if (!p->fetch) {
			kick(p);
		} else if (yield && !p->paused) {
			p->paused = true;
			lcm_fetch_pause(e->reg, p->fetch);
		} else if (!yield && p->paused) {
			p->paused = false;
			lcm_fetch_resume(e->reg, p->fetch);
		}
	}
}
