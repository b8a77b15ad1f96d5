/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lif.h - what each container's gate costs, and whose turn it is.
 *
 * A LIF (logical interface) is one gate's place in the pipeline that all share: network, decoders,
 * disk. What a request really used at each stage is charged to the LIFs that waited for it, in
 * equal parts, and to no other; what is fetched with nobody waiting is background, in equal parts
 * to those whose image it is. What nobody is there for goes to nobody's account, so that the sum
 * over all is what the pipeline did.
 *
 * Turns go by measured cost in time, not by number: weighted fair queueing. A LIF's clock advances
 * by (network time of its bytes + decoder time + disk time) / weight, and the one whose clock is
 * furthest behind is next. One that begins to ask starts where the others are: idle time is not
 * saved up, and what one does not use goes to whoever asks.
 *
 *   want queued --enter--> [waits] --pick (least clock)--> start: + estimate --> done: + what it
 * was
 *
 * Layer: meter; uses base. Does no I/O. Threads: the loop's. Source: Demers, Keshav, Shenker,
 * "Analysis and Simulation of a Fair Queueing Algorithm" (1989); Goyal, Vin, Cheng, "Start-time
 * Fair Queueing" (1996).
 */
#ifndef LCM_LIF_H
#define LCM_LIF_H

#include "src/base/base.h"

#define LCM_LIF_WEIGHT 100U /* of those that say nothing */
#define LCM_LIF_WEIGHT_MAX 10000U
#define LCM_LIF_WORST 10U

/* What one request, or many, used; the waits are wall time, the rest is work. */
struct lcm_lif_cost {
	uint64_t requests;
	uint64_t fetched_bytes; /* compressed, of the blob */
	uint64_t decoded_bytes; /* compressed, through a decoder or copied */
	uint64_t written_bytes; /* plain */
	uint64_t decode_ns, write_ns;
	uint64_t queue_ns, fetch_ns; /* waited for a turn, and for the network */
};

/* The requests that took longest, by stage; of each file the longest. */
struct lcm_lif_file {
	char path[160]; /* its end when it is longer */
	struct lcm_lif_cost cost;
};

struct lcm_lif {
	uint32_t refs, weight;
	uint32_t asking; /* requests queued or in flight */
	uint32_t spans;  /* transfers in flight that it began */
	uint64_t clock;  /* ns of cost times LCM_LIF_WEIGHT / weight */
	struct lcm_lif_cost demand, background;
	void (*charged)(void *arg, const struct lcm_lif_cost *cost); /* for demand; NULL: nobody
									 asks */
	void *arg;
	struct lcm_lif_file worst[LCM_LIF_WORST]; /* longest first */
	uint32_t n_worst;
};

struct lcm_lifs {                               /* what they share */
	uint64_t clock;                         /* of the last that had its turn */
	double ns_per_byte;                     /* of demand transfers, measured; 0: none yet */
	struct lcm_lif_cost demand, background; /* all there was */
	struct lcm_lif_cost nobody_demand, nobody_background;
};

/** lcm_lif_new - with one reference. NULL: out of memory. */
struct lcm_lif *lcm_lif_new(void);
struct lcm_lif *lcm_lif_ref(struct lcm_lif *l);
void lcm_lif_unref(struct lcm_lif *l); /* NULL is allowed */

/** lcm_lif_enter - one more request of it is queued. */
void lcm_lif_enter(struct lcm_lifs *all, struct lcm_lif *l);
/** lcm_lif_leave - one is done, or given up. */
void lcm_lif_leave(struct lcm_lif *l);
/** lcm_lif_before - is it @a's turn rather than @b's? NULL, nobody, comes where the last turn was.
 */
bool lcm_lif_before(const struct lcm_lifs *all, const struct lcm_lif *a, const struct lcm_lif *b);

/** lcm_lif_start - its turn: a transfer of @bytes begins. Return: the estimate that its clock was
 * advanced by, for lcm_lif_end(). @l NULL: 0. */
uint64_t lcm_lif_start(struct lcm_lifs *all, struct lcm_lif *l, uint64_t bytes);
/** lcm_lif_end - that transfer is over; what it was is charged by lcm_lif_charge(). */
void lcm_lif_end(struct lcm_lif *l, uint64_t estimate);
/** lcm_lifs_measured - @bytes came by demand transfers in @ns, in which at least one was in flight.
 */
void lcm_lifs_measured(struct lcm_lifs *all, uint64_t bytes, uint64_t ns);

/** lcm_lif_charge - a request that @n LIFs waited for (0: nobody any more). Work is split, waits
 * are each one's own. @path: of the file, for the list of the worst; NULL: not in it. */
void lcm_lif_charge(struct lcm_lifs *all, struct lcm_lif *const *lifs, size_t n,
		    const struct lcm_lif_cost *cost, const char *path);
/** lcm_lif_charge_background - the same for what nobody waited for; moves no clock. */
void lcm_lif_charge_background(struct lcm_lifs *all, struct lcm_lif *const *lifs, size_t n,
			       const struct lcm_lif_cost *cost);

#endif
