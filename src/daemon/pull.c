/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull.c - a layer's blob in order, from the network and from the blob file, through
 * inflate, hash and unpack into REAL.
 *
 * The loop plans windows of the blob: runs that demand has already fetched come from the
 * blob file, the others are GETs whose bytes are queued for the stream thread. The thread
 * blocks on that queue only. Both digests are compared at the end; until then nothing of
 * a plain layer is taken for whole.
 *
 * Threads: struct lcm_pull's fields are the loop's, except those below "shared".
 */
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "src/base/log.h"
#include "src/daemon/layer.h"

#define QUEUE_MAX (8ULL << 20) /* bytes that wait for the stream thread */
#define QUEUE_LOW (2ULL << 20) /* below this the network goes on */
/* One background GET: short while demand may come, so that its bytes are not asked for twice;
 * doubled by each that met none. */
#define WINDOW_MIN (4ULL << 20)
#define WINDOW_MAX (256ULL << 20)
#define OVERLAP_MAX                                                                                \
	(128ULL << 10) /* present bytes that are fetched again rather than asked around */
#define DISK_RUN_MAX (1ULL << 20)
#define RETRY_NS 1000000000ULL
#define RETRY_MAX_NS 30000000000ULL

struct item {
	struct item *next;
	uint64_t off, len;
	bool disk; /* read [off, off + len) from the blob file */
	uint8_t data[];
};

struct lcm_pull {
	struct lcm_layer *layer; /* referenced until on_ended() */
	uint64_t next_off;       /* blob offset that has not been planned yet */
	int nice;                /* of the stream thread; set before it starts */
	uint64_t window;         /* length of the next lazy GET */
	uint64_t fetch;          /* id of the GET in flight; 0: none */
	bool paused;             /* that GET is paused for demand */
	struct lcm_timer *retry; /* owned; after a failed GET */
	uint32_t failures;
	struct lcm_task job, refill, ended;
	int status; /* of the unpack; ended */
	struct lcm_err err;
	struct lcm_unpack_result result;
	struct lcm_digest blob_digest;
	uint64_t blob_len;
	/* shared, guarded by mu */
	pthread_mutex_t mu;
	pthread_cond_t cond;
	struct item *head, *tail;
	uint64_t queued;          /* bytes in the queue */
	bool refill_posted, full; /* full: the sink refused bytes and waits for room */
	int stop;                 /* 0, or -errno for the stream thread */
	struct lcm_err stop_err;
	/* the stream thread's */
	struct item *current; /* owned */
	uint64_t at, current_at;
	uint8_t *disk_buf; /* owned, DISK_RUN_MAX */
};

static void kick(struct lcm_pull *p);

/* ---- the stream thread's half ---- */

static struct item *next_item(struct lcm_pull *p, int *ret_status)
{
	struct item *it;

	(void)pthread_mutex_lock(&p->mu);
	while (!p->head && !p->stop)
		(void)pthread_cond_wait(&p->cond, &p->mu);
	it = p->stop ? NULL : p->head;
	*ret_status = p->stop;
	if (it) {
		p->head = it->next;
		if (!p->head)
			p->tail = NULL;
		p->queued -= it->disk ? 0 : it->len;
		if (p->queued < QUEUE_LOW && !p->refill_posted) {
			p->refill_posted = true;
			lcm_loop_post_task(p->layer->e->loop, &p->refill);
		}
	}
	(void)pthread_mutex_unlock(&p->mu);
	return it;
}

static ssize_t read_disk(struct lcm_pull *p, const void **ret)
{
	struct item *it = p->current;
	size_t n = LCM_MIN(it->len - p->current_at, DISK_RUN_MAX);
	int r = lcm_blob_read(p->layer->blob, it->off + p->current_at, p->disk_buf, n);

	if (r < 0)
		return r;
	p->current_at += n;
	p->at += n;
	*ret = p->disk_buf;
	return (ssize_t)n;
}

static ssize_t source(void *arg, const void **ret)
{
	struct lcm_pull *p = arg;
	int status;

	if (p->current && p->current->disk && p->current_at < p->current->len)
		return read_disk(p, ret);
	free(p->current);
	p->current = NULL;
	if (p->at == p->layer->row.blob_size)
		return 0;
	p->current = next_item(p, &status);
	if (!p->current)
		return status;
	p->current_at = 0;
	if (p->current->disk)
		return read_disk(p, ret);
	p->at += p->current->len;
	*ret = p->current->data;
	return (ssize_t)p->current->len;
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
	int r;

	(void)pthread_mutex_lock(&p->mu);
	r = p->stop;
	(void)pthread_mutex_unlock(&p->mu);
	return r;
}

static void set_nice(int nice)
{
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
}

static void on_ended(void *arg);

static void stream_job(void *arg)
{
	struct lcm_pull *p = arg;
	struct lcm_layer *l = p->layer;
	const struct lcm_unpack_ops ops = {
		.placed = l->toc ? on_file_placed : NULL,
		.checkpoint = checkpoint,
		.arg = p,
	};
	struct lcm_stream *s = NULL;

	set_nice(p->nice);
	p->disk_buf = malloc(DISK_RUN_MAX);
	p->status = p->disk_buf ? lcm_stream_new(l->comp, source, p, 0, &s) : -ENOMEM;
	if (p->status == 0)
		p->status = lcm_unpack_stream(l->dir, s, l->toc, &ops, &p->result, &p->err);
	if (p->status == 0)
		lcm_stream_blob_digest(s, &p->blob_digest, &p->blob_len);
	lcm_stream_free(s);
	free(p->disk_buf);
	free(p->current);
	p->current = NULL;
	p->ended = (struct lcm_task){ .fn = on_ended, .arg = p };
	lcm_loop_post_task(l->e->loop, &p->ended);
}

/* ---- the loop's half ---- */

static void push(struct lcm_pull *p, struct item *it)
{
	(void)pthread_mutex_lock(&p->mu);
	if (p->tail)
		p->tail->next = it;
	else
		p->head = it;
	p->tail = it;
	p->queued += it->disk ? 0 : it->len;
	(void)pthread_cond_signal(&p->cond);
	(void)pthread_mutex_unlock(&p->mu);
}

static bool has_room(struct lcm_pull *p, bool *ret_mark_full)
{
	bool room;

	(void)pthread_mutex_lock(&p->mu);
	room = p->queued < QUEUE_MAX;
	if (!room && ret_mark_full)
		p->full = *ret_mark_full = true;
	(void)pthread_mutex_unlock(&p->mu);
	return room;
}

static void stop_stream(struct lcm_pull *p, int status, const struct lcm_err *err)
{
	(void)pthread_mutex_lock(&p->mu);
	if (!p->stop) {
		p->stop = status;
		if (err)
			p->stop_err = *err;
	}
	(void)pthread_cond_signal(&p->cond);
	(void)pthread_mutex_unlock(&p->mu);
}

static int on_bytes(void *arg, uint64_t off, const void *data, size_t len)
{
	struct lcm_pull *p = arg;
	bool full = false;
	struct item *it;

	if (off != p->next_off)
		return -EPROTO;
	if (!has_room(p, &full))
		return LCM_FETCH_PAUSE;
	it = malloc(sizeof(*it) + len);
	if (!it)
		return -ENOMEM;
	*it = (struct item){ .off = off, .len = len };
	memcpy(it->data, data, len);
	p->next_off += len;
	p->layer->pulled_bytes += len;
	p->layer->e->background_bytes += len;
	push(p, it);
	return 0;
}

static void on_window(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_pull *p = arg;
	struct lcm_layer *l = p->layer;
	uint64_t pause;

	p->fetch = 0;
	p->paused = false;
	if (res->status == 0) {
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
		struct item *it;

		if (!lcm_blob_next(l->blob, p->next_off, &len))
			return;
		it = calloc(1, sizeof(*it));
		if (!it) {
			stop_stream(p, -ENOMEM, NULL);
			return;
		}
		*it = (struct item){ .off = p->next_off, .len = len, .disk = true };
		p->next_off += len;
		push(p, it);
	}
}

/* Missing bytes from @off on, and over what demand left in between where asking anew costs less
 * than a request. */
static uint64_t missing_run(struct lcm_layer *l, uint64_t off, uint64_t max)
{
	uint64_t len, present, end;

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

	if (p->fetch || p->stop || lcm_timer_armed(p->retry))
		return;
	plan_disk_runs(p);
	if (p->next_off >= l->row.blob_size || !has_room(p, NULL))
		return;
	if (!l->pull_urgent && lcm_engine_yield(l->e)) {
		p->window = WINDOW_MIN;
		return;
	}
	req.off = p->next_off;
	req.len = missing_run(l, p->next_off, l->pull_urgent ? UINT64_MAX : p->window);
	p->window = LCM_MIN(p->window * 2, WINDOW_MAX);
	r = lcm_fetch_start(l->e->reg, &req, &p->fetch);
	if (r < 0)
		stop_stream(p, r, NULL);
}

static void on_refill(void *arg)
{
	struct lcm_pull *p = arg;
	bool full;

	(void)pthread_mutex_lock(&p->mu);
	p->refill_posted = false;
	full = p->full;
	p->full = false;
	(void)pthread_mutex_unlock(&p->mu);
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
	while (p->head) {
		struct item *it = p->head;

		p->head = it->next;
		free(it);
	}
	lcm_timer_free(p->retry);
	(void)pthread_cond_destroy(&p->cond);
	(void)pthread_mutex_destroy(&p->mu);
	free(p);
}

static int check_digests(struct lcm_pull *p, struct lcm_err *err)
{
	const struct lcm_layer_row *row = &p->layer->row;
	char want[LCM_DIGEST_STR], got[LCM_DIGEST_STR];

	if (p->blob_len != row->blob_size || !lcm_digest_equal(&p->blob_digest, &row->key.blob))
		return lcm_err_set(err, -EBADMSG,
				   "layer blob digest mismatch: the manifest says %s, the registry "
				   "sent %s; the layer is destroyed",
				   lcm_digest_str(&row->key.blob, want),
				   lcm_digest_str(&p->blob_digest, got));
	if (!lcm_digest_equal(&p->result.diffid, &row->key.diffid))
		return lcm_err_set(err, -EBADMSG,
				   "layer diffID mismatch: the config says %s, the unpacked tar is "
				   "%s; the layer is destroyed",
				   lcm_digest_str(&row->key.diffid, want),
				   lcm_digest_str(&p->result.diffid, got));
	return 0;
}

static bool proven_wrong(int status)
{
	return status == -EBADMSG || status == -EUCLEAN || status == -EFBIG ||
	       status == -ENAMETOOLONG;
}

/* The decoder and the unpacker know what is wrong, not with which layer. */
static struct lcm_err name_damage(const struct lcm_pull *p, int status)
{
	char digest[LCM_DIGEST_STR];
	struct lcm_err err = p->err;

	if (proven_wrong(status) && err.code)
		lcm_err_set(&err, status, "layer %s is damaged or lies: %s; the layer is destroyed",
			    lcm_digest_str(&p->layer->row.key.blob, digest), p->err.msg);
	return err;
}

/* The stream is over; a last refill or window may still be on its way to the loop. */
static void on_ended(void *arg)
{
	struct lcm_pull *p = arg;
	struct lcm_layer *l = p->layer;
	struct lcm_err err = { 0 };
	int status = p->status;

	if (p->refill_posted || p->fetch) {
		if (p->fetch)
			lcm_fetch_cancel(l->e->reg, p->fetch);
		lcm_loop_post_task(l->e->loop, &p->ended);
		return;
	}
	if (status == 0)
		status = check_digests(p, &err);
	else if (p->stop && p->stop_err.code)
		err = p->stop_err;
	else
		err = name_damage(p, status);
	if (status < 0 && !err.code)
		lcm_err_set(&err, status, "%s", strerror(-status));
	l->pull = NULL;
	if (status == 0)
		lcm_layer_pulled(l, p->result.bytes);
	else if (proven_wrong(status))
		lcm_layer_condemn(l, &err);
	else
		lcm_layer_pull_broke(l, status, &err);
	pull_free(p);
	lcm_layer_put(l);
}

void lcm_pull_start(struct lcm_layer *l)
{
	struct lcm_pull *p = calloc(1, sizeof(*p));

	if (!p || lcm_timer_new(l->e->loop, on_retry, p, &p->retry) < 0) {
		free(p);
		lcm_layer_pull_broke(l, -ENOMEM, NULL);
		return;
	}
	(void)pthread_mutex_init(&p->mu, NULL);
	(void)pthread_cond_init(&p->cond, NULL);
	p->layer = l;
	p->window = WINDOW_MIN;
	p->nice = l->pull_urgent ? 0 : 10;
	l->refs++;
	l->pull = p;
	p->refill = (struct lcm_task){ .fn = on_refill, .arg = p };
	p->job = (struct lcm_task){ .fn = stream_job, .arg = p };
	lcm_pool_submit(l->e->streams, l->pull_urgent ? LCM_POOL_DEMAND : LCM_POOL_BACKGROUND,
			&p->job);
	kick(p);
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
