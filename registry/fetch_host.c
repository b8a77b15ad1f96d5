/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which host a fetch asks, and what its answer means for the host.
 *
 * A round asks each host at most once, in the order of lcm_endpoints_pick(); the next one goes on
 * at the first byte that the sink has not taken. Only when none could, and one may do better later,
 * there is a pause and another round. What the registry itself refuses is final.
 */
#include "registry/internal.h"

#include <inttypes.h>
#include <string.h>

#include "registry/retry.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define BALANCE_NS 1000000000ULL
/* A host that sends nothing for so long is left for another. The stall timeout is for the last. */
#define PATIENCE_NS 5000000000ULL
/* A transfer with less to come is not worth a request to another host, unless that little takes its
 * host so long. */
#define PIECE_MIN (256ULL << 10)
#define PIECE_LONG_S 2

void lcm_fetch_weigh(struct lcm_fetch *f)
{
	uint64_t left = f->kind == LCM_FETCH_BLOB ? f->len - f->pos : 1;
	uint64_t now = LCM_MIN(left, LCM_SCORE_WINDOW);

	f->ep->peer->in_flight += now - f->weight;
	f->weight = now;
}

static void unweigh(struct lcm_fetch *f)
{
	f->ep->peer->in_flight -= f->weight;
	f->weight = 0;
}

void lcm_fetch_flow(struct lcm_fetch *f, bool on)
{
	if (f->flows == on)
		return;
	f->flows = on;
	lcm_peer_flows(f->ep->peer, on, lcm_now_ns());
	/* What nobody takes now is no burden to the host. */
	if (on)
		lcm_fetch_weigh(f);
	else
		unweigh(f);
}

void lcm_fetch_leave(struct lcm_fetch *f)
{
	if (!f->ep)
		return;
	lcm_fetch_flow(f, false);
	unweigh(f);
}

/* ---- the next host ---- */

static struct lcm_pick wanted(const struct lcm_fetch *f)
{
	bool blob = f->kind == LCM_FETCH_BLOB;

	return (struct lcm_pick){ .caps = lcm_digest_is_zero(&f->digest) ? LCM_CAP_RESOLVE
									 : LCM_CAP_PULL,
				  .tried = f->tried,
				  .blob = blob ? &f->digest : NULL,
				  .bytes = blob ? LCM_MIN(f->len - f->pos, LCM_SCORE_WINDOW) : 1 };
}

/* @ep: its reference is taken. */
static int settle(struct lcm_fetch *f, struct lcm_endpoint *ep)
{
	lcm_fetch_leave(f);
	lcm_endpoint_free(f->ep);
	f->ep = ep;
	f->auth = lcm_auth_at(f->reg, f->host, ep, f->ref.repo, false);
	f->tries++;
	f->challenges = f->backs = 0;
	f->flipped = false;
	if (f->host->list.n > 1 && !lcm_timer_armed(f->reg->balance))
		lcm_timer_set(f->reg->balance, BALANCE_NS);
	return f->auth ? 0 : -ENOMEM;
}

/* Return: 0; -ENOENT (no other host can); -errno with f->err. */
static int next_host(struct lcm_fetch *f)
{
	struct lcm_endpoints *l = &f->host->list;
	struct lcm_endpoint *ep = NULL;
	struct lcm_pick p;
	int r = lcm_endpoints_look(f->reg, l, &f->err);

	if (r < 0)
		return r;
	if (f->serial != l->serial)
		f->tried = 0;
	f->serial = l->serial;
	p = wanted(f);
	r = lcm_endpoints_pick(l, &p, &ep);
	return r < 0 ? r : settle(f, ep);
}

void lcm_fetch_begin(struct lcm_fetch *f)
{
	int r;

	f->tried = 0;
	f->again = false;
	f->max = 0;
	f->said = f->first = (struct lcm_err){ 0 };
	r = next_host(f);
	if (r == 0) {
		lcm_fetch_chain(f);
		return;
	}
	if (r == -ENOENT)
		r = lcm_err_set(
		    &f->err, -EINVAL,
		    "no host of %s may %s: its hosts.toml gives that capability to none",
		    f->host->list.registry,
		    wanted(f).caps == LCM_CAP_RESOLVE ? "resolve tags" : "be pulled from");
	else if (r == -ENOMEM)
		lcm_err_set(&f->err, r, "out of memory");
	lcm_fetch_fail(f, r);
}

/* ---- a host that could not ---- */

static void note_failure(struct lcm_fetch *f, unsigned int how, uint32_t max)
{
	bool again = (how & LCM_FAIL_AGAIN) != 0;

	lcm_debug("fetch=%" PRIu64 " host=%s %s", f->id, f->ep->name, f->err.msg);
	if (how & LCM_FAIL_HOST)
		lcm_peer_failed(f->ep->peer, &f->err, lcm_now_ns());
	if ((how & LCM_FAIL_ABSENT) && f->kind == LCM_FETCH_BLOB)
		lcm_endpoint_absent(f->ep, &f->digest);
	if (f->serial == f->host->list.serial)
		f->tried |= 1U << f->ep->index;
	f->again |= again;
	f->max = LCM_MAX(f->max, again ? max : 0);
	if (f->ep->upstream && !again) {
		f->said = f->err;
		f->said.code = f->code;
	} else if (!f->ep->upstream && !f->first.code) {
		lcm_err_set(&f->first, f->code, "%.100s: %s", f->ep->name, f->err.msg);
	}
}

/* The registry's own word, if it had one, and what it was that a mirror could not. */
static void give_up(struct lcm_fetch *f)
{
	struct lcm_err last = f->said.code ? f->said : f->err;
	int code = f->said.code ? f->said.code : f->code;

	if (f->first.code && f->ep->upstream)
		lcm_err_set(&f->err, code, "%.240s; before that %.200s", last.msg, f->first.msg);
	else
		f->err = last;
	lcm_fetch_fail(f, code);
}

void lcm_fetch_host_failed(struct lcm_fetch *f, unsigned int how, uint32_t max)
{
	int r;

	if (f->code == -ENOMEM) {
		lcm_fetch_fail(f, f->code);
		return;
	}
	note_failure(f, how, max);
	if (f->try_bytes >= LCM_RETRY_PROGRESS_BYTES)
		f->fails = 0;
	f->try_bytes = 0;
	r = next_host(f);
	if (r == 0) {
		lcm_fetch_chain(f);
		return;
	}
	lcm_fetch_leave(f);
	if (r != -ENOENT)
		lcm_fetch_fail(f, r);
	else if (f->again && !f->said.code && f->fails < f->max)
		lcm_fetch_pause_until_again(f);
	else
		give_up(f);
}

/* ---- moving ---- */

static bool runs(const struct lcm_fetch *f, const struct lcm_host *h)
{
	return f->host == h && f->ep && !f->hold && !f->cancel && f->http.running &&
	       !f->http.paused && (f->state == LCM_FETCH_SEND || f->state == LCM_FETCH_BODY);
}

static uint64_t left(const struct lcm_fetch *f)
{
	return f->len - f->pos;
}

static bool worth_a_request(const struct lcm_fetch *f, uint64_t now)
{
	uint64_t bps = lcm_peer_load(f->ep->peer, now).bps;

	return f->kind == LCM_FETCH_BLOB &&
	       (left(f) >= PIECE_MIN || (bps && left(f) / bps >= PIECE_LONG_S));
}

/* The one for which it is worth most: somebody waits for it, or it is the longest. */
static bool better_piece(const struct lcm_fetch *f, const struct lcm_fetch *than, uint64_t now)
{
	if (!worth_a_request(f, now))
		return false;
	if (!than || f->prio != than->prio)
		return !than || f->prio == LCM_PRIO_DEMAND;
	return left(f) > left(than);
}

/* Not to where it has just failed, or where the blob is not. */
static bool may_go(const struct lcm_fetch *f, struct lcm_endpoint *to)
{
	bool failed = f->serial == f->host->list.serial && (f->tried & (1U << to->index));

	return !failed && !lcm_endpoint_shuns(to, &f->digest);
}

static void move(struct lcm_fetch *f, struct lcm_endpoint *to)
{
	lcm_debug("fetch=%" PRIu64 " moves from %s to %s at %" PRIu64 " of %" PRIu64, f->id,
		  f->ep->name, to->name, f->pos, f->len);
	lcm_http_stop(&f->http);
	f->ep->peer->moved++;
	if (settle(f, lcm_endpoint_ref(to)) < 0) {
		lcm_err_set(&f->err, -ENOMEM, "out of memory");
		lcm_fetch_fail(f, -ENOMEM);
		return;
	}
	lcm_fetch_chain(f);
}

static void balance_host(struct lcm_registry *r, struct lcm_host *h)
{
	struct lcm_endpoint *rivals[LCM_HOSTS_MAX];
	struct lcm_balance_host loads[LCM_HOSTS_MAX] = { { .piece = 0 } };
	struct lcm_fetch *pieces[LCM_HOSTS_MAX] = { NULL }, *f;
	size_t n = lcm_endpoints_rivals(&h->list, rivals);
	uint64_t now = lcm_now_ns();
	struct lcm_decision d;

	for (size_t b = 0; b < LCM_FETCH_BUCKETS; b++)
		TAILQ_FOREACH(f, &r->buckets[b], bucket)
	for (size_t i = 0; i < n; i++)
		if (runs(f, h) && f->ep == rivals[i] && better_piece(f, pieces[i], now))
			pieces[i] = f;
	for (size_t i = 0; i < n; i++) {
		loads[i].load = lcm_peer_load(rivals[i]->peer, now);
		loads[i].piece = pieces[i] ? pieces[i]->weight : 0;
	}
	d = lcm_balance(loads, n, h->list.moved_ns, now);
	h->list.last = d;
	if (n > 1)
		lcm_debug("registry=%s balance: %s, hi %s=%" PRIu32 " lo %s=%" PRIu32
			  " spread=%" PRIu32,
			  h->list.registry, lcm_balance_name(d.what), rivals[d.from]->name, d.hi,
			  rivals[d.to]->name, d.lo, d.spread);
	if (d.what != LCM_BALANCE_MOVE || !may_go(pieces[d.from], rivals[d.to]))
		return;
	h->list.moved_ns = now;
	h->list.moves++;
	move(pieces[d.from], rivals[d.to]);
}

/* Nothing comes, and somebody else could be asked. */
static bool leave_slow(struct lcm_fetch *f, uint64_t now)
{
	struct lcm_pick p = wanted(f);
	struct lcm_endpoint *other = NULL;
	bool works;

	if (f->hurried || now < f->http.last_ns + PATIENCE_NS)
		return false;
	p.tried |= 1U << f->ep->index;
	if (f->serial != f->host->list.serial || lcm_endpoints_pick(&f->host->list, &p, &other) < 0)
		return false;
	works = other->peer->breaker.state == LCM_BREAKER_CLOSED;
	lcm_endpoint_free(other);
	if (!works)
		return false;
	f->hurried = true;
	lcm_http_stop(&f->http);
	f->after_s = -1;
	f->code = lcm_err_set(&f->err, -ETIMEDOUT, "%s: no byte for %llu s", f->ep->name,
			      PATIENCE_NS / 1000000000);
	lcm_fetch_host_failed(f, LCM_FAIL_HOST | LCM_FAIL_AGAIN, f->reg->retries);
	return true;
}

/* One at a time: each may end fetches, and so change the lists. */
static bool leave_one_slow(struct lcm_registry *r, struct lcm_host *h, uint64_t now)
{
	struct lcm_fetch *f;

	for (size_t b = 0; b < LCM_FETCH_BUCKETS; b++)
		TAILQ_FOREACH(f, &r->buckets[b], bucket)
	if (runs(f, h) && leave_slow(f, now))
		return true;
	return false;
}

void lcm_balance_turn(void *registry)
{
	struct lcm_registry *r = registry;
	uint64_t now = lcm_now_ns();
	bool any = false;

	for (struct lcm_host *h = r->hosts; h; h = h->next) {
		if (h->list.n < 2 || !(h->active[LCM_PRIO_DEMAND] + h->active[LCM_PRIO_BACKGROUND]))
			continue;
		any = true;
		while (leave_one_slow(r, h, now))
			;
		balance_host(r, h);
	}
	if (any)
		lcm_timer_set(r->balance, BALANCE_NS);
}
