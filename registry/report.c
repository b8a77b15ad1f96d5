/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of the hosts, for those who ask from outside. */
#include "registry/internal.h"

#include <string.h>

#include "src/base/sys.h"

#define MS 1000000ULL

static void report_peer(struct lcm_registry_host *h, const struct lcm_peer *p, uint64_t now)
{
	struct lcm_load l = lcm_peer_load(p, now);

	h->host = p->name;
	h->state = lcm_breaker_name(p->breaker.state);
	if (p->breaker.state == LCM_BREAKER_OPEN && p->breaker.until_ns > now)
		h->probe_ms = (uint32_t)((p->breaker.until_ns - now) / MS);
	h->score = lcm_score(&l, 0);
	h->in_flight = l.in_flight;
	h->bps = l.bps;
	h->latency_ms = l.latency_ms;
	h->errors = l.errors;
	h->bytes = p->bytes;
	h->good = p->good;
	h->failed = p->failed;
	h->opened = p->breaker.opened;
	h->moved = p->moved;
	h->last = p->last.code ? p->last.msg : NULL;
	h->last_s = p->last.code ? (uint32_t)((now - p->last_ns) / (1000 * MS)) : 0;
}

static void report_list(const struct lcm_endpoints *l, lcm_registry_host_fn fn, void *arg)
{
	const struct lcm_registry_host base = { .registry = l->registry,
						.error = l->refused.code ? l->refused.msg : NULL,
						.balance = lcm_balance_name(l->last.what),
						.spread = l->last.spread,
						.moves = l->moves };
	struct lcm_registry_host h = base;
	uint64_t now = lcm_now_ns();

	if (!l->n && h.error)
		fn(arg, &h);
	for (size_t i = 0; i < l->n; i++) {
		h = base;
		h.dir = l->e[i]->conf->dir;
		h.upstream = l->e[i]->upstream;
		h.caps = l->e[i]->entry->caps;
		report_peer(&h, l->e[i]->peer, now);
		fn(arg, &h);
	}
}

void lcm_registry_hosts(struct lcm_registry *r, lcm_registry_host_fn fn, void *arg)
{
	for (const struct lcm_host *h = r->hosts; h; h = h->next)
		report_list(&h->list, fn, arg);
}

bool lcm_registry_blame(struct lcm_registry *r, const struct lcm_reference *ref,
			const struct lcm_digest *blob)
{
	struct lcm_host *h;

	return lcm_host_get(r, ref, &h) == 0 && lcm_endpoints_blame(&h->list, blob, true);
}

bool lcm_registry_doubt(struct lcm_registry *r, const struct lcm_reference *ref,
			const struct lcm_digest *blob)
{
	struct lcm_host *h;

	return lcm_host_get(r, ref, &h) == 0 && lcm_endpoints_blame(&h->list, blob, false);
}
