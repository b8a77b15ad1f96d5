/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - what the parts of the gate share; private to fuse/.
 *
 * Layer: fuse. gate.c: life cycle and completion; ops.c: the operations;
 * regulate.c: holds; interrupt.c: FUSE_INTERRUPT; threads.c: who serves which gate;
 * adopt.c: the gate of a lost daemon.
 *
 * Lock order: lcm_gate_threads.mu and lcm_gate.mu are never held together, and
 * neither is held while a request is answered, a notification is sent or a
 * lcm_gate_ops callback runs. libfuse's own locks are therefore leaves.
 *
 * Interrupts do not go through fuse_req_interrupt_func(): its callback runs under
 * the request's lock, may race with the reply that frees the request, and needs a
 * walk over all open requests. A gate thread sees the FUSE_INTERRUPT message
 * before libfuse does, finds the waiter by the request id it names and takes it
 * out of the queue, or does not find it (queue.h says why that is enough).
 */
#ifndef LCM_GATE_SESSION_H
#define LCM_GATE_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>

#include "fuse/bound.h"
#include "fuse/gate.h"
#include "fuse/queue.h"

/* A year in seconds: nothing in a layer ever changes. */
#define LCM_GATE_CACHE_SECONDS 31536000.0
/* How often a waiter with a signal that is not known to be fatal is looked at again. */
#define LCM_GATE_SIGNAL_TICK_NS 20000000ULL
/* A caught signal interrupts an open that has waited so long already since the signal came. */
#define LCM_GATE_SIGNAL_GRACE_NS 2000000000ULL

/* The kernel's FUSE_INIT has 104 bytes; newer ones may say more. */
#define GATE_INIT_MAX 1024U

/* What the next daemon is to know of a gate (adopt.c); native byte order: it is of this boot. */
struct gate_record {
	uint64_t magic, data_bytes, exec_bytes, unused;
	uint32_t init_len; /* 0: it has not come yet */
	uint32_t zero;
	uint8_t init[GATE_INIT_MAX];
};

struct gate_counters {
	_Atomic uint64_t requests, lookups, lookups_files, reads, read_bytes, forgets, interrupts,
	    answered_stale, answered_error, rejected;
};

struct lcm_gate {
	struct fuse_session *se;       /* owned; closes fd */
	int fd;                        /* /dev/fuse, borrowed from se */
	struct lcm_gate_layer *layers; /* owned array; what it points to is borrowed */
	uint32_t *by_name;             /* owned: slots sorted by name */
	uint32_t n_layers;
	struct lcm_gate_big big;
	const struct lcm_gate_ops *ops; /* borrowed */
	void *arg;
	_Atomic bool open_free; /* the kernel opens files without asking */
	_Atomic bool gone;      /* ops->gone was called */
	_Atomic bool hold;      /* nobody is told to fetch anything; changed under mu */
	_Atomic int reject;     /* error for what is missing; 0: none is rejected */
	pthread_mutex_t mu;     /* guards queue and bound */
	struct lcm_queue queue;
	struct lcm_bound bound;
	struct gate_counters count;
	int record;            /* owned memfd: struct gate_record */
	bool adopted;          /* from an earlier daemon: its lookup counts are not known */
	bool replaying;        /* what is answered is for nobody; before it is started only */
	struct fuse_buf first; /* owned memory: read before it is started */
	struct lcm_gate_threads *threads; /* borrowed; NULL until started */
	uint32_t slot;                    /* in threads */
};

static inline fuse_ino_t lcm_gate_ino(uint32_t layer, uint32_t entry)
{
	return (fuse_ino_t)(layer + 1) << 32 | entry;
}

/** lcm_gate_split - layer and entry of a node id. Return: false for the root and for ids that were
 * never given out. */
bool lcm_gate_split(const struct lcm_gate *g, fuse_ino_t ino, uint32_t *ret_layer,
		    uint32_t *ret_entry);

extern const struct fuse_lowlevel_ops lcm_gate_fuse_ops;

/** lcm_gate_io - how libfuse reads and writes a descriptor it did not open; adds what it leaves out
 * of INIT. */
extern const struct fuse_custom_io lcm_gate_io;

/** lcm_gate_serve - one request read into @buf (@buf->size bytes). Thread: gate. */
void lcm_gate_serve(struct lcm_gate *g, struct fuse_buf *buf);

/** lcm_gate_interrupt - a FUSE_INTERRUPT message of @len bytes. Thread: gate. */
void lcm_gate_interrupt(struct lcm_gate *g, const struct fuse_in_header *in, size_t len);
/** lcm_gate_recheck - look again at waiters with signals, at @now_ns. Return: true when some are
 * left. Thread: gate. */
bool lcm_gate_recheck(struct lcm_gate *g, uint64_t now_ns);

/** lcm_gate_tell - bring the fetch side up to date about a file. Thread: any, no locks held. */
void lcm_gate_tell(struct lcm_gate *g, uint32_t layer, uint32_t entry);
/** lcm_gate_answer - answer every waiter of a chain with @error (positive errno) and free them. No
 * locks held. */
void lcm_gate_answer(struct lcm_gate *g, struct lcm_waiter *chain, int error);
/** lcm_gate_give_up - as lcm_gate_answer(), and tell the fetch side that these no longer wait. */
void lcm_gate_give_up(struct lcm_gate *g, struct lcm_waiter *chain, int error);
/** lcm_gate_unhold_local - a READ (@id) that was held is let go, if its file is local by now.
 * Return: true, and the caller goes on with it; false: nothing has changed. */
bool lcm_gate_unhold_local(struct lcm_gate *g, uint32_t layer, uint32_t entry, uint64_t id);
/** lcm_gate_unbind - the kernel forgot @n lookups of a file. */
void lcm_gate_unbind(struct lcm_gate *g, uint32_t layer, uint32_t entry, uint64_t n);

/** lcm_gate_new - a gate on @fuse_fd (taken, also on failure). Return: 0 or -errno (text). */
LCM_MUST_USE int lcm_gate_new(const struct lcm_gate_config *cfg, int fuse_fd, struct lcm_gate **ret,
			      struct lcm_err *err);
void lcm_gate_free(struct lcm_gate *g); /* one that is not served; NULL is allowed */

/* adopt.c */
LCM_MUST_USE int lcm_gate_record_new(struct lcm_gate *g);
/** lcm_gate_record_init - keep a FUSE_INIT request of @len bytes. */
void lcm_gate_record_init(struct lcm_gate *g, const void *init, size_t len);
/** lcm_gate_take_first - serve what was read while it was taken over. Before any thread serves it.
 */
void lcm_gate_take_first(struct lcm_gate *g);

/** lcm_gate_threads_add - from now on @g->fd is served. Return: 0 or -errno. */
LCM_MUST_USE int lcm_gate_threads_add(struct lcm_gate_threads *t, struct lcm_gate *g);
/** lcm_gate_threads_tick - have lcm_gate_recheck() called for every gate in a while. Thread: gate.
 */
void lcm_gate_threads_tick(struct lcm_gate_threads *t);
/** lcm_gate_threads_del - stop serving @g and wait until no thread is inside it. */
void lcm_gate_threads_del(struct lcm_gate_threads *t, struct lcm_gate *g);

#endif
