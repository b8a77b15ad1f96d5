/* SPDX-License-Identifier: Apache-2.0 */
/* fn_turn.c - a stream's rings from the daemon's side: whose turn it is, and for how long. */
#include <poll.h>
#include <string.h>

#include "decode/fn_remote.h"
#include "src/base/sys.h"

#define HASH_MAX ((uint64_t)512 << 10) /* of the blob, at once */
#define PASS_MIN ((uint64_t)512 << 10) /* of the tar: a file at a time would be hashed by us */
#define RING_MIN (8ULL << 20)
#define RING_SPARE (1ULL << 20) /* beside two spans: what is held back, or read at once */
#define IN_SLACK 64U /* a decoder holds some bits of bytes that it says it has done with */
#define SLICE_MS 500 /* the deadline is looked at so often */
/* Windows of an index together: about 64 MiB, see lcm_fn_index_step(). */
#define STEP_MIN (1ULL << 20)
#define STEP_SHARE 512U

int lcm_fn_remote_nonsense(struct lcm_fn_remote *r, struct lcm_err *err)
{
	return lcm_fn_broke(r->fn, err, "returned malformed results");
}

/* A layer of 512 MiB, some 1.5 GiB unpacked, has a place to begin at each MiB; above that the
 * number of places stays as it is. */
uint64_t lcm_fn_index_step(uint64_t size)
{
	return LCM_MAX(STEP_MIN, size / STEP_SHARE);
}

int lcm_fn_stream_mem(const struct lcm_toc *toc, struct lcm_fn_mem **ret)
{
	uint64_t ring = RING_MIN;

	for (uint32_t i = 0; toc && i < lcm_toc_span_count(toc); i++)
		ring = LCM_MAX(ring, lcm_toc_span(toc, i)->blob_len * 2 + RING_SPARE);
	return lcm_fn_mem_new(ring, FN_REC_RING + FN_PLAIN_RING, ret);
}

uint64_t lcm_fn_mem_ring(const struct lcm_fn_mem *m)
{
	return m->in_size - FN_PAGE;
}

/* ---- the blob's side ---- */

static void show(struct lcm_fn_remote *r)
{
	atomic_store(&r->m->in->head, lcm_fn_spans_shown(&r->spans, r->published));
	lcm_fn_kick(r->fn);
}

/* Takes what has come, hashes it, shows it to the function. */
static int feed(struct lcm_fn_remote *r, struct lcm_err *err)
{
	const uint64_t ring = lcm_fn_mem_ring(r->m);
	uint64_t until = r->given;
	int st = r->opt.fill(r->opt.arg, r->in_done, &until);

	if (st < 0)
		return st;
	r->given = until;
	while (r->published < r->given) {
		uint64_t at = r->published % ring;
		uint64_t n = LCM_MIN(LCM_MIN(r->given - r->published, HASH_MAX), ring - at);

		lcm_hasher_add(r->blob, lcm_fn_mem_in(r->m) + at, (size_t)n);
		st = lcm_fn_spans_verify(&r->spans, r->published + n, err);
		if (st < 0)
			return st;
		r->published += n;
		show(r);
	}
	return 0;
}

/* The decoder needs nothing before @tail any more, and every boundary before it is known. */
static void in_free(struct lcm_fn_remote *r, uint64_t tail)
{
	if (!r->ended)
		tail -= LCM_MIN(tail, (uint64_t)IN_SLACK);
	if (tail <= r->in_done)
		return;
	lcm_hasher_wait(r->blob);
	lcm_fn_spans_pass(&r->spans, tail);
	r->in_done = tail;
}

/* ---- the tar's side ---- */

/* What is hashed may be overwritten. */
static void release(struct lcm_fn_remote *r)
{
	if (r->hashed <= r->released)
		return;
	lcm_hasher_wait(r->tar);
	r->released = r->hashed;
	atomic_store(&r->m->in->plain_tail, r->released);
	/* A lie in it is the function's own trouble: it sleeps until its deadline. */
	if (r->released >= atomic_load(&r->m->out->wants_tail))
		lcm_fn_kick(r->fn);
}

static void hash_passed(struct lcm_fn_remote *r)
{
	release(r); /* before the hasher gets the next */
	while (r->hashed < r->passed) {
		uint64_t at = r->hashed % FN_PLAIN_RING;
		uint64_t n = LCM_MIN(r->passed - r->hashed, FN_PLAIN_RING - at);

		lcm_hasher_add(r->tar, lcm_fn_remote_plain(r) + at, (size_t)n);
		r->hashed += n;
	}
}

void lcm_fn_remote_pass(struct lcm_fn_remote *r, uint64_t until)
{
	r->passed = LCM_MAX(r->passed, until);
	if (r->passed - r->hashed >= PASS_MIN)
		hash_passed(r);
}

/* Everything that may be overwritten is: before we sleep, or end. */
static void pass_all(struct lcm_fn_remote *r)
{
	hash_passed(r);
	release(r);
}

/* ---- marks ---- */

/* The records' position last: what they say may come later than what is read before. */
static struct lcm_fn_mark look(const struct lcm_fn_remote *r)
{
	const struct fn_out *o = r->m->out;
	struct lcm_fn_mark m;

	m.in_tail = atomic_load(&o->in_tail);
	m.parsed = atomic_load(&o->parsed);
	m.plain_head = atomic_load(&o->plain_head);
	m.rec_head = atomic_load(&o->rec_head);
	return m;
}

static bool moved(struct lcm_fn_remote *r)
{
	struct lcm_fn_mark m = look(r);

	if (memcmp(&m, &r->seen, sizeof(m)) == 0)
		return false;
	r->seen = m;
	return true;
}

static bool mark_ok(const struct lcm_fn_remote *r, const struct lcm_fn_mark *m)
{
	return m->in_tail >= r->mark.in_tail && m->in_tail <= r->published &&
	       m->parsed >= r->mark.parsed && m->parsed <= m->plain_head &&
	       m->plain_head >= r->mark.plain_head &&
	       m->plain_head - r->released <= FN_PLAIN_RING && m->rec_head >= r->rec_pos &&
	       m->rec_head - r->rec_pos <= FN_REC_RING && m->rec_head % FN_REC_ALIGN == 0;
}

static int bomb_check(const struct lcm_fn_remote *r, struct lcm_err *err)
{
	uint64_t max = lcm_stream_plain_max(r->published);

	if (r->mark.plain_head <= max)
		return 0;
	return lcm_err_set(err, -EFBIG,
			   "unpacks to more than %llu bytes, which is the limit for it",
			   (unsigned long long)max);
}

/* All records up to the mark are read: act on it, and take the next. */
static int mark_next(struct lcm_fn_remote *r, struct lcm_err *err)
{
	struct lcm_fn_mark m = look(r);

	in_free(r, r->mark.in_tail);
	lcm_fn_remote_pass(r, r->mark.parsed);
	if (!mark_ok(r, &m))
		return lcm_fn_remote_nonsense(r, err);
	r->mark = m;
	return bomb_check(r, err);
}

/* ---- waiting ---- */

/* Has it got all that it can wait for? */
static bool its_turn(const struct lcm_fn_remote *r)
{
	uint64_t shown = atomic_load(&r->m->in->head);

	if (r->seen.plain_head - r->released > FN_PLAIN_RING / 2 ||
	    r->seen.rec_head - r->rec_pos > FN_REC_RING / 2)
		return false;
	return r->seen.in_tail < shown || shown == r->opt.blob_size;
}

/* @excused: it has moved, or could not. */
static int deadline(struct lcm_fn_remote *r, uint64_t slept, bool excused, struct lcm_err *err)
{
	uint64_t now = lcm_now_ns(), free_ns = 2 * r->fn->hang_ns;

	if (moved(r) || excused || !its_turn(r)) {
		r->turn_ns = 0;
		return 0;
	}
	r->turns_ns += slept;
	if (!r->turn_ns)
		r->turn_ns = now;
	if (now - r->turn_ns >= r->fn->hang_ns)
		return lcm_fn_broke(r->fn, err, "hung");
	if (r->turns_ns > free_ns &&
	    (r->turns_ns - free_ns) / 1000000000U > (r->published + r->hashed) / LCM_FN_RATE_MIN)
		return lcm_fn_broke(r->fn, err, "took too long for so few bytes");
	return 0;
}

static bool pause_here(const struct lcm_fn_remote *r)
{
	return r->opt.pause && r->opt.pause(r->opt.arg);
}

static int sleep_until_moved(struct lcm_fn_remote *r, struct lcm_err *err)
{
	struct pollfd pf[2] = { { .fd = r->fn->sock, .events = POLLIN },
				{ .fd = r->opt.wake_fd, .events = POLLIN } };
	bool excused = pause_here(r);
	uint64_t began = lcm_now_ns(), slept, count;

	atomic_fetch_add(&r->m->in->waits, 1);
	if (moved(r))
		excused = true;
	else
		(void)poll(pf, 2, SLICE_MS);
	atomic_fetch_add(&r->m->in->waits, 1);
	slept = lcm_now_ns() - began;
	if (pf[1].revents)
		lcm_ignore((int)read(r->opt.wake_fd, &count, sizeof(count)));
	excused |= pause_here(r);
	return deadline(r, slept, excused, err);
}

static int take_reply(struct lcm_fn_remote *r, struct lcm_err *err)
{
	int st = lcm_fn_receive(r->fn, &r->reply, err);

	if (st <= 0)
		return st;
	r->ended = true;
	return r->reply.op == FN_STREAM ? 0 : lcm_fn_remote_nonsense(r, err);
}

/* ---- records ---- */

/* All records are read and nothing more comes. */
static int at_end(struct lcm_fn_remote *r, struct lcm_err *err)
{
	int st = lcm_fn_status(&r->reply, err);

	if (st < 0 || r->finished)
		return st;
	if (r->reply.total != r->mark.plain_head || r->mark.parsed != r->mark.plain_head ||
	    r->mark.in_tail != r->opt.blob_size)
		return lcm_fn_remote_nonsense(r, err);
	lcm_fn_remote_pass(r, r->mark.parsed);
	pass_all(r);
	in_free(r, r->mark.in_tail);
	r->finished = true;
	st = lcm_fn_spans_end(&r->spans, r->opt.blob_size, r->mark.plain_head);
	return st == -EPROTO ? lcm_fn_remote_nonsense(r, err) : st;
}

/* More records, or the end: r->ended and none left. */
static int records_wait(struct lcm_fn_remote *r, struct lcm_err *err)
{
	bool ended;
	int st;

	for (;;) {
		ended = r->ended; /* before it is looked: then what is there is all */
		st = mark_next(r, err);
		if (st == 0)
			st = feed(r, err);
		if (st < 0 || ended || r->rec_pos != r->mark.rec_head)
			return st;
		st = take_reply(r, err);
		if (st == 0 && !r->ended) {
			pass_all(r);
			st = sleep_until_moved(r, err);
		}
		if (st < 0)
			return st;
	}
}

static int boundary(struct lcm_fn_remote *r, const struct fn_rec *h, struct lcm_err *err)
{
	union {
		struct fn_boundary b;
		uint8_t space[sizeof(struct fn_boundary) + LCM_TOC_WINDOW];
	} u;
	int st;

	lcm_fn_remote_take(r, &u, sizeof(u));
	u.b.has_window = u.b.has_window && h->len >= sizeof(u);
	st = h->len < sizeof(u.b) ? -EPROTO : lcm_fn_spans_boundary(&r->spans, &u.b, r->published);
	return st == -EPROTO ? lcm_fn_remote_nonsense(r, err) : st;
}

static bool header_read(const struct lcm_fn_remote *r, struct fn_rec *ret)
{
	uint64_t at = r->rec_pos % FN_REC_RING;

	memcpy(ret, lcm_fn_remote_recs(r) + at, sizeof(*ret));
	return ret->len >= sizeof(*ret) && ret->len % FN_REC_ALIGN == 0 &&
	       ret->len <= FN_REC_RING - at && ret->len <= r->mark.rec_head - r->rec_pos &&
	       (ret->kind == FN_REC_PAD || ret->len <= FN_REC_MAX);
}

int lcm_fn_remote_peek(struct lcm_fn_remote *r, struct lcm_err *err)
{
	struct fn_rec h;
	int st = 0;

	while (st == 0) {
		if (r->rec_pos == r->mark.rec_head) {
			st = records_wait(r, err);
			if (st < 0)
				return st;
			if (r->rec_pos == r->mark.rec_head)
				return at_end(r, err);
		}
		if (!header_read(r, &h))
			return lcm_fn_remote_nonsense(r, err);
		r->peeked = h;
		if (h.kind == FN_REC_ENTRY || h.kind == FN_REC_DATA)
			return (int)h.kind;
		if (h.kind == FN_REC_BOUNDARY)
			st = boundary(r, &h, err);
		else if (h.kind == FN_REC_PAD)
			lcm_fn_remote_take(r, NULL, 0);
		else
			return lcm_fn_remote_nonsense(r, err);
	}
	return st;
}

void lcm_fn_remote_take(struct lcm_fn_remote *r, void *out, size_t max)
{
	size_t n = LCM_MIN(max, (size_t)r->peeked.len);

	if (n) {
		memset(out, 0, LCM_MIN(max, sizeof(struct fn_boundary)));
		memcpy(out, lcm_fn_remote_recs(r) + r->rec_pos % FN_REC_RING, n);
		/* It may have changed since it was checked. */
		memcpy(out, &r->peeked, sizeof(r->peeked));
	}
	r->rec_pos += r->peeked.len;
	if (r->rec_pos - atomic_load(&r->m->in->rec_tail) < FN_REC_RING / 8 &&
	    r->rec_pos != r->mark.rec_head)
		return;
	atomic_store(&r->m->in->rec_tail, r->rec_pos);
	lcm_fn_kick(r->fn);
}
