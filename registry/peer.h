/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - what is known of one host that serves, whichever registries it serves.
 *
 * Everything measured is told here, everything asked comes from here: its load for score.h, whether
 * it is left alone (breaker.h), and what status says. What was measured fades: a host that was bad
 * and is not asked any more gets another chance.
 *
 * Layer: registry. Threads: loop.
 */
#ifndef LCM_PEER_H
#define LCM_PEER_H

#include "registry/breaker.h"
#include "registry/http.h"
#include "registry/score.h"

struct lcm_peer {
	struct lcm_peer *next;
	char *name; /* owned; "host:port" */
	struct lcm_breaker breaker;
	uint64_t in_flight; /* as score.h counts it */
	/* throughput */
	uint32_t busy;                /* bodies that flow now */
	uint64_t busy_since_ns;       /* while busy */
	uint64_t busy_ns, busy_bytes; /* not part of bps yet */
	uint64_t bps, bps_ns;         /* smoothed; when; 0: not measured */
	/* history */
	uint64_t latency_ns, latency_at_ns; /* smoothed; when */
	uint32_t errors;                    /* thousandths, smoothed */
	uint64_t errors_at_ns;
	/* counted */
	uint64_t bytes, good, failed, moved;
	struct lcm_err last; /* why it failed last; code 0: never */
	uint64_t last_ns;
	struct lcm_http probe; /* of HALF_OPEN */
	uint64_t rnd;
};

/** lcm_peer_new - @name is copied. Return: NULL without memory. */
struct lcm_peer *lcm_peer_new(const char *name, struct lcm_http_env *env, uint64_t seed);
/** lcm_peer_free - nothing may be in flight. */
void lcm_peer_free(struct lcm_peer *p);
LCM_DEFINE_AUTO(lcm_peer)

/** lcm_peer_load - as it is now, faded. */
struct lcm_load lcm_peer_load(const struct lcm_peer *p, uint64_t now_ns);
/** lcm_peer_flows - one more body flows (@on), or one no more: it ended, or nobody takes it. */
void lcm_peer_flows(struct lcm_peer *p, bool on, uint64_t now_ns);
/** lcm_peer_bytes - so many came, of a body that flows. */
void lcm_peer_bytes(struct lcm_peer *p, uint64_t n, uint64_t now_ns);
/** lcm_peer_answered - the first byte came so long after the request. */
void lcm_peer_answered(struct lcm_peer *p, uint64_t ns, uint64_t now_ns);
/** lcm_peer_good - a transfer ended well. */
void lcm_peer_good(struct lcm_peer *p, uint64_t now_ns);
/** lcm_peer_failed - a transfer failed and the host is to blame; @err is copied. */
void lcm_peer_failed(struct lcm_peer *p, const struct lcm_err *err, uint64_t now_ns);
/**
 * lcm_peer_probe - ask once whether it is back, if it is time to
 * @req: of a GET that any working registry answers; borrowed during the call
 */
void lcm_peer_probe(struct lcm_peer *p, const struct lcm_http_req *req, uint64_t now_ns)
    LCM_ON(loop);

#endif
