/* SPDX-License-Identifier: Apache-2.0 */
/* demand_priv.h - wants and spans, for demand*.c only. */
#ifndef LCM_DEMAND_PRIV_H
#define LCM_DEMAND_PRIV_H

#include "meter/lif.h"
#include "src/daemon/layer.h"

#define RUNS_MAX 32 /* present/missing runs told apart in one span */

struct lcm_want {
	struct lcm_want *next;
	uint32_t entry, first, n; /* chunks */
	int fd;            /* partial file of a big file, borrowed; -1: place the whole file */
	uint64_t off, end; /* range of the blob; off == end: only holes */
	bool fresh;        /* it has had wrong bytes: nothing of it is taken from the blob file */
	struct lcm_lif **lifs; /* owned, n_lifs references: who waits for it */
	size_t n_lifs;
	uint64_t queued_ns;       /* CLOCK_MONOTONIC */
	struct lcm_lif_cost cost; /* set by the pool job, but for what the loop adds */
	int status;               /* set by the pool job */
};

struct run {
	uint64_t off, len;
	bool present;      /* in the blob file already */
	uint64_t fetch;    /* id while in flight; 0: it is not */
	uint64_t asked_ns; /* 0: its first byte has come */
	struct span *span;
};

struct span {
	struct span *next;       /* in layer->spans */
	struct lcm_layer *layer; /* referenced */
	struct lcm_want *wants;  /* owned */
	uint64_t off, len;
	struct lcm_fn_mem *mem; /* owned; len bytes of the blob, room for the largest chunk */
	uint8_t *buf;           /* borrowed from mem */
	struct lcm_fn *fn;      /* owned by the job, once a chunk needs it */
	struct run runs[RUNS_MAX];
	uint32_t n_runs, pending;
	struct lcm_lif *lif; /* owned reference; whose turn it was; NULL: nobody's */
	uint64_t estimate;   /* of lcm_lif_start() */
	uint64_t started_ns, fetched_bytes, fetch_ns;
	bool mirrored; /* bytes came from a mirror */
	bool disk;     /* bytes came from the blob file; no want is fresh then */
	int status;
	struct lcm_err err;
	struct lcm_task task;
};

/** demand_span_job - verify, decode and place what a span's wants ask for. Thread: pool. */
void demand_span_job(void *arg);
/** demand_span_done - what follows on the loop. */
void demand_span_done(void *arg);

#endif
