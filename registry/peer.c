/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/peer.h"

#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"

#define MS 1000000ULL
/* What is remembered halves in this time. */
#define HALF_LIFE_NS (30000 * MS)
/* A throughput that old is not known any more. */
#define STALE_NS (60000 * MS)
/* A sample of throughput: so long and so many bytes, or for the slow so long whatever came. */
#define SAMPLE_NS (200 * MS)
#define SAMPLE_SLOW_NS (1000 * MS)
#define SAMPLE_BYTES (64ULL << 10)
/* What ends before that is a sample, too, if it is long enough to tell something. */
#define SAMPLE_SHORT_BYTES (256ULL << 10)

/* What was noted since the caller looked at the clock is new. */
static uint64_t age(uint64_t at_ns, uint64_t now_ns)
{
	return now_ns > at_ns ? now_ns - at_ns : 0;
}

struct lcm_load lcm_peer_load(const struct lcm_peer *p, uint64_t now_ns)
{
	uint64_t halves = LCM_MIN(age(p->latency_at_ns, now_ns) / HALF_LIFE_NS, 31ULL);
	struct lcm_load l = { .in_flight = p->in_flight };

	l.latency_ms = (uint32_t)LCM_MIN((p->latency_ns >> halves) / MS, (uint64_t)UINT32_MAX);
	halves = LCM_MIN(age(p->errors_at_ns, now_ns) / HALF_LIFE_NS, 31ULL);
	l.errors = p->errors >> halves;
	if (p->bps_ns && age(p->bps_ns, now_ns) < STALE_NS)
		l.bps = p->bps;
	return l;
}

static void fold(struct lcm_peer *p, uint64_t now_ns)
{
	uint64_t ms = LCM_MAX(p->busy_ns / MS, 1ULL), rate = p->busy_bytes * 1000 / ms;

	rate = LCM_MAX(rate, 1ULL);
	p->bps = p->bps_ns && age(p->bps_ns, now_ns) < STALE_NS ? (p->bps * 3 + rate) / 4 : rate;
	p->bps = LCM_MAX(p->bps, 1ULL);
	p->bps_ns = now_ns;
	p->busy_ns = p->busy_bytes = 0;
}

static void clock_busy(struct lcm_peer *p, uint64_t now_ns)
{
	if (!p->busy)
		return;
	p->busy_ns += age(p->busy_since_ns, now_ns);
	p->busy_since_ns = now_ns;
}

static void sample(struct lcm_peer *p, uint64_t now_ns)
{
	if (p->busy_ns >= (p->busy_bytes >= SAMPLE_BYTES ? SAMPLE_NS : SAMPLE_SLOW_NS))
		fold(p, now_ns);
}

void lcm_peer_flows(struct lcm_peer *p, bool on, uint64_t now_ns)
{
	clock_busy(p, now_ns);
	if (on && p->busy++ == 0)
		p->busy_since_ns = now_ns;
	if (!on && --p->busy == 0 && p->busy_bytes >= SAMPLE_SHORT_BYTES)
		fold(p, now_ns);
	else
		sample(p, now_ns);
}

void lcm_peer_bytes(struct lcm_peer *p, uint64_t n, uint64_t now_ns)
{
	p->bytes += n;
	p->busy_bytes += n;
	clock_busy(p, now_ns);
	sample(p, now_ns);
}

void lcm_peer_answered(struct lcm_peer *p, uint64_t ns, uint64_t now_ns)
{
	p->latency_ns = p->latency_at_ns ? (p->latency_ns * 7 + ns) / 8 : ns;
	p->latency_at_ns = now_ns;
}

static void note_outcome(struct lcm_peer *p, uint32_t thousandths, uint64_t now_ns)
{
	uint32_t faded = lcm_peer_load(p, now_ns).errors;

	p->errors = (faded * 7 + thousandths) / 8;
	p->errors_at_ns = now_ns;
}

static uint64_t next_random(struct lcm_peer *p)
{
	p->rnd = p->rnd * 6364136223846793005ULL + 1442695040888963407ULL;
	return p->rnd >> 16;
}

/* One line for each change: this is what an operator looks for in the log. */
static void told(const struct lcm_peer *p, enum lcm_breaker_state before)
{
	if (p->breaker.state != before)
		lcm_log(LCM_LOG_NOTICE, "host=%s %s -> %s%s%s", p->name, lcm_breaker_name(before),
			lcm_breaker_name(p->breaker.state),
			p->breaker.state == LCM_BREAKER_OPEN ? ": " : "",
			p->breaker.state == LCM_BREAKER_OPEN ? p->last.msg : "");
}

void lcm_peer_good(struct lcm_peer *p, uint64_t now_ns)
{
	enum lcm_breaker_state before = p->breaker.state;

	p->good++;
	note_outcome(p, 0, now_ns);
	lcm_breaker_success(&p->breaker);
	told(p, before);
}

void lcm_peer_failed(struct lcm_peer *p, const struct lcm_err *err, uint64_t now_ns)
{
	enum lcm_breaker_state before = p->breaker.state;

	p->failed++;
	p->last = *err;
	p->last_ns = now_ns;
	note_outcome(p, 1000, now_ns);
	lcm_breaker_failure(&p->breaker, now_ns, next_random(p));
	told(p, before);
}

/* ---- the probe ---- */

static int on_probe_body(void *arg, const void *data, size_t len)
{
	(void)arg, (void)data, (void)len;
	return -1; /* the head says it all */
}

static void on_probe_done(void *arg, CURLcode code)
{
	struct lcm_peer *p = arg;
	enum lcm_breaker_state before = p->breaker.state;
	long status = lcm_http_status(&p->probe);
	uint64_t now = lcm_now_ns();
	/* 401 and 404 are answers of a host that works. */
	bool good = p->probe.head_done && status < 500 && status != 429;

	if (!good && p->probe.head_done)
		lcm_err_set(&p->last, -EHOSTUNREACH, "a probe was answered with status %ld",
			    status);
	else if (!good)
		lcm_ignore(lcm_http_error(&p->probe, code, p->name, &p->last));
	if (!good)
		p->last_ns = now;
	lcm_breaker_probed(&p->breaker, good, now, next_random(p));
	told(p, before);
}

static const struct lcm_http_ops probe_ops = { .body = on_probe_body, .done = on_probe_done };

void lcm_peer_probe(struct lcm_peer *p, const struct lcm_http_req *req, uint64_t now_ns)
{
	if (!lcm_breaker_probe(&p->breaker, now_ns))
		return;
	lcm_debug("host=%s is probed", p->name);
	if (lcm_http_start(&p->probe, req) < 0)
		lcm_breaker_probed(&p->breaker, false, now_ns, next_random(p));
}

struct lcm_peer *lcm_peer_new(const char *name, struct lcm_http_env *env, uint64_t seed)
{
	lcm_auto(lcm_peer) p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->rnd = seed;
	p->name = strdup(name);
	if (!p->name || lcm_http_init(&p->probe, env, &probe_ops, p) < 0)
		return NULL;
	return lcm_steal(&p);
}

void lcm_peer_free(struct lcm_peer *p)
{
	if (!p)
		return;
	lcm_http_fini(&p->probe);
	free(p->name);
	free(p);
}
