/* SPDX-License-Identifier: Apache-2.0 */
/* regulate.c - a hold: whom it keeps, and how they go on. */
#include "fuse/session.h"

/* What waited for the end of a hold. */
struct released {
	struct {
		uint64_t token, off;
		uint32_t layer, entry, len;
	} * v; /* owned */
	size_t n, cap;
};

static void release_one(void *arg, struct lcm_waiter *w)
{
	struct released *r = arg;

	if (r->n == r->cap || (w->len && w->off == LCM_NOT_HELD))
		return;
	r->v[r->n].token = w->id.key;
	r->v[r->n].off = w->off;
	r->v[r->n].layer = w->layer;
	r->v[r->n].entry = w->entry;
	r->v[r->n++].len = w->len;
	w->off = LCM_NOT_HELD;
}

static void release(struct lcm_gate *g)
{
	struct released r = { .n = 0 };

	(void)pthread_mutex_lock(&g->mu);
	atomic_store(&g->hold, false);
	r.cap = lcm_queue_count(&g->queue);
	r.v = calloc(r.cap + 1, sizeof(*r.v));
	if (r.v)
		lcm_queue_each(&g->queue, release_one, &r);
	(void)pthread_mutex_unlock(&g->mu);
	/* Without memory they are answered by their deadlines. */
	for (size_t i = 0; i < r.n; i++) {
		if (!r.v[i].len)
			lcm_gate_tell(g, r.v[i].layer, r.v[i].entry);
		else
			g->ops->want_range(g->arg, r.v[i].layer, r.v[i].entry, r.v[i].off,
					   r.v[i].len, r.v[i].token);
	}
	free(r.v);
}

void lcm_gate_regulate(struct lcm_gate *g, enum lcm_gate_admission how, int error)
{
	atomic_store(&g->reject, how == LCM_GATE_REJECT ? error : 0);
	if (how == LCM_GATE_HOLD) {
		(void)pthread_mutex_lock(&g->mu);
		atomic_store(&g->hold, true);
		(void)pthread_mutex_unlock(&g->mu);
	} else if (atomic_load(&g->hold)) {
		release(g);
	}
}

/* The pull may have brought it since the READ was put into the queue, or a hold may just have
 * ended: one takes it. */
bool lcm_gate_unhold_local(struct lcm_gate *g, uint32_t layer, uint32_t entry, uint64_t id)
{
	struct lcm_waiter *w;
	bool mine;

	if (!g->ops->is_local(g->arg, layer, entry))
		return false;
	(void)pthread_mutex_lock(&g->mu);
	w = lcm_queue_find(&g->queue, id);
	mine = w && w->off != LCM_NOT_HELD;
	if (mine)
		w->off = LCM_NOT_HELD;
	(void)pthread_mutex_unlock(&g->mu);
	return mine;
}
