/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what the layers of one daemon share: threads, store, registry, link policy.
 *
 * Layer: daemon. Threads: one loop thread owns everything here; what other threads touch
 * is marked. The two streams of a layer:
 *
 *   gate -- want --> [queue] -> span (one GET, many wants) -> pool: verify, place --> gate answers
 *   pull -- window --> GET -> [ring] -> function: inflate, parse -> stream thread: hash, unpack
 *
 * Background windows start only while no demand is in flight (lcm_engine_yield()), unless the
 * way to the registry is long and has room: there demand mostly waits for round trips, and
 * background goes on beside it as long as demand's first bytes come no later for that.
 */
#ifndef LCM_ENGINE_H
#define LCM_ENGINE_H

#include <stdatomic.h>

#include "decode/doc.h"
#include "meter/lif.h"
#include "registry/registry.h"
#include "src/base/loop.h"
#include "src/base/pool.h"
#include "src/base/sys.h"
#include "src/daemon/background.h"
#include "store/store.h"

struct lcm_layer;

/* Where indexes of images are looked for. */
enum lcm_index_from {
	LCM_INDEX_FROM_DEFAULT,   /* as the daemon was told */
	LCM_INDEX_FROM_MANIFEST,  /* what the image's manifest names: bound by its digest */
	LCM_INDEX_FROM_REFERRERS, /* that, else what the registry lists: who may push is trusted */
	LCM_INDEX_FROM_DIGEST,    /* this one: bound by whoever gave the digest */
	LCM_INDEX_FROM_NOWHERE,
};
struct lcm_index_where {
	enum lcm_index_from from;
	struct lcm_digest digest; /* LCM_INDEX_FROM_DIGEST */
};

struct lcm_engine_config {
	bool background;              /* pull the rest of the image; off only for measuring */
	uint64_t hold_ns;             /* quiet time after a demand before background goes on */
	uint64_t grace_ns;            /* and after a mount, until its first demand */
	struct lcm_index_where index; /* of mounts that say nothing; not DEFAULT */
};

struct lcm_engine {
	struct lcm_loop *loop;    /* borrowed */
	struct lcm_pool *pool;    /* borrowed; verify, place, mount */
	struct lcm_pool *streams; /* borrowed; one thread per layer that is unpacked for somebody */
	struct lcm_pool *patient; /* borrowed; the same for nobody: background, all of it */
	struct lcm_pool *idle;    /* borrowed; two threads, for other background, which may take
				     minutes, in the order of asking */
	struct lcm_background *background; /* borrowed; when that runs */
	struct lcm_fn_pool *fns;           /* borrowed; who decodes and parses for them */
	struct lcm_store *store;           /* borrowed */
	struct lcm_registry *reg;          /* borrowed */
	struct lcm_engine_config cfg;
	struct lcm_layer *layers; /* list by ->next, loop */
	uint32_t spans;           /* demand transfers and their pool jobs in flight */
	uint64_t span_bytes;      /* memory they hold */
	uint64_t quiet_until_ns;  /* hold_ns after the last demand, or grace_ns after a mount */
	uint64_t first_byte_ns; /* the shortest wait of a demand for its first byte; 0: none yet */
	bool sharing;           /* background goes on beside demand */
	uint32_t clean, share_after; /* demands since sharing ended; so many must come before it is
					tried (again) */
	uint64_t starved_since_ns;   /* since when background is held back; 0: it is not */
	struct lcm_timer *resume;    /* owned; lets background go on */
	struct lcm_lifs lifs;        /* whose turn it is, and what was charged */
	uint64_t demand_fetches, demand_bytes, background_bytes; /* since start */
	struct lcm_task sweep; /* removes what the store has in its trash */
	bool sweeping, sweep_again;
	_Atomic bool closing; /* long jobs look, too */
};

/** lcm_engine_docs - who reads documents from outside for it. */
static inline struct lcm_docs lcm_engine_docs(const struct lcm_engine *e)
{
	return (struct lcm_docs){ .loop = e->loop, .pool = e->pool, .fns = e->fns };
}

LCM_MUST_USE int lcm_engine_init(struct lcm_engine *e);
void lcm_engine_fini(struct lcm_engine *e);

/** lcm_engine_sweep - have the store's trash removed in the background. */
void lcm_engine_sweep(struct lcm_engine *e) LCM_ON(loop);

/** lcm_engine_demand_begin/_end - bracket one span; background yields in between. */
void lcm_engine_demand_begin(struct lcm_engine *e, uint64_t bytes) LCM_ON(loop);
void lcm_engine_demand_end(struct lcm_engine *e, uint64_t bytes) LCM_ON(loop);
/** lcm_engine_first_byte - a demand's GET waited @ns for its first byte. */
void lcm_engine_first_byte(struct lcm_engine *e, uint64_t ns) LCM_ON(loop);
/** lcm_engine_mounted - a container is about to start: background lets its first demand go first.
 */
void lcm_engine_mounted(struct lcm_engine *e) LCM_ON(loop);
/** lcm_engine_yield - must background wait now? Arms the timer that asks again. */
bool lcm_engine_yield(struct lcm_engine *e) LCM_ON(loop);

#endif
