/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_gate.c - what the gate has to say, and leaving it.
 *
 * What a gate thread says reaches the loop as a post that names the session by serial number, since
 * the session may be gone by then. Draining is a pool job: it may wait for the kernel, which may
 * wait for the gate threads.
 */
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/session_priv.h"

#define SHRINK_FIRST_NS 20000000ULL
#define LATE_NS 1000000000ULL
#define SHRINK_MAX_NS 30000000000ULL

struct drain_job {
	struct lcm_task task;
	struct lcm_session *s; /* alive while s->job is this */
	struct lcm_gate *gate; /* its; alive as long */
	int status;
};

/* ---- the gate's callbacks ---- */

enum post_kind { POST_WANT_FILE, POST_WANT_RANGE, POST_UNWANT, POST_UNBOUND, POST_GONE };

struct post {
	struct lcm_task task;
	struct lcm_host *h;
	uint64_t serial;
	enum post_kind kind;
	uint32_t layer, entry;
	uint64_t off, token;
	uint32_t len;
};

static void run_post(struct lcm_session *s, const struct post *p)
{
	struct slot *slot = &s->slots[p->layer];

	switch (p->kind) {
	case POST_WANT_FILE:
		if (session_refuses(s, slot->layer, p->entry)) {
			lcm_layer_unwant(slot->layer, p->entry);
			lcm_gate_file_done(s->gate, p->layer, p->entry, -EIO);
			break;
		}
		lcm_layer_want(slot->layer, &slot->watch, p->entry);
		break;
	case POST_WANT_RANGE:
		if (session_refuses(s, slot->layer, p->entry))
			lcm_gate_read_done(s->gate, p->token, -EBADF, p->off, p->len, -EIO);
		else
			lcm_layer_read(slot->layer, &slot->watch, p->entry, p->off, p->len,
				       p->token);
		break;
	case POST_UNWANT:
		if (p->token)
			lcm_layer_unread(slot->layer, &slot->watch, p->entry, p->token);
		else
			lcm_layer_unwant(slot->layer, p->entry);
		break;
	case POST_UNBOUND:
		if (s->phase == LCM_DRAINING)
			session_drain(s);
		break;
	case POST_GONE:
		lcm_session_check_mounts(s->host);
		break;
	}
}

static void on_post(void *arg)
{
	struct post *p = arg;
	struct lcm_session *s = session_by_serial(p->h, p->serial);

	if (s && s->gate)
		run_post(s, p);
	free(p);
}

/* Without memory the waiter is answered by its deadline, and the next open tries again. */
static void post(struct lcm_session *s, struct post what)
{
	struct post *p = malloc(sizeof(*p));

	if (!p)
		return;
	*p = what;
	p->h = s->host;
	p->serial = s->serial;
	p->task = (struct lcm_task){ .fn = on_post, .arg = p };
	lcm_loop_post_task(s->host->e->loop, &p->task);
}

static bool op_is_local(void *arg, uint32_t layer, uint32_t entry)
{
	struct lcm_session *s = arg;

	return lcm_layer_is_local(s->slots[layer].layer, entry);
}

static void op_want_file(void *arg, uint32_t layer, uint32_t entry)
{
	struct lcm_session *s = arg;

	atomic_fetch_or(&s->slots[layer].layer->entries[entry], LCM_ENTRY_WANTED);
	post(s, (struct post){ .kind = POST_WANT_FILE, .layer = layer, .entry = entry });
}

static void op_want_range(void *arg, uint32_t layer, uint32_t entry, uint64_t off, uint32_t len,
			  uint64_t token)
{
	struct lcm_session *s = arg;
	struct lcm_layer *l = s->slots[layer].layer;
	struct lcm_gate *g = s->gate;

	if (lcm_layer_is_local(l, entry)) {
		lcm_autoclose int fd = lcm_layer_open_file(l->dir, l->toc, entry);

		lcm_gate_read_done(g ? g : s->late_gate, token, fd, off, len, fd < 0 ? fd : 0);
		return;
	}
	post(s, (struct post){ .kind = POST_WANT_RANGE,
			       .layer = layer,
			       .entry = entry,
			       .off = off,
			       .len = len,
			       .token = token });
}

static void op_unwant(void *arg, uint32_t layer, uint32_t entry, uint64_t token)
{
	post(arg,
	     (struct post){ .kind = POST_UNWANT, .layer = layer, .entry = entry, .token = token });
}

static void op_unbound(void *arg)
{
	post(arg, (struct post){ .kind = POST_UNBOUND });
}

static void op_gone(void *arg)
{
	post(arg, (struct post){ .kind = POST_GONE });
}

static const struct lcm_gate_ops gate_ops = {
	.is_local = op_is_local,
	.want_file = op_want_file,
	.want_range = op_want_range,
	.unwant = op_unwant,
	.unbound = op_unbound,
	.gone = op_gone,
};

int session_gate_config(struct lcm_session *s, struct lcm_gate_layer **ret_layers,
			struct lcm_gate_config *ret)
{
	struct lcm_gate_layer *layers = calloc(s->n_slots, sizeof(*layers));

	if (!layers)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n_slots; i++)
		layers[i] = (struct lcm_gate_layer){ .name = s->slots[i].layer->name,
						     .toc = s->slots[i].layer->toc };
	*ret_layers = layers;
	*ret = (struct lcm_gate_config){
		.layers = layers,
		.n_layers = s->n_slots,
		.big = s->big,
		.ops = &gate_ops, /* its deadline comes when it is served: that may change */
		.arg = s,
	};
	return 0;
}

/* ---- leaving the gate ---- */

static void on_drained(void *arg);

/* Invalidate what the gate has handed out and let the overlay drop what nobody uses; the kernel
 * then forgets. */
static void drain(void *arg)
{
	struct drain_job *j = arg;

	lcm_gate_draining(j->gate);
	lcm_ignore(lcm_mount_shrink(j->s->target));
	j->status = lcm_gate_recount(j->gate);
	j->task.fn = on_drained;
	lcm_loop_post_task(j->s->host->e->loop, &j->task);
}

/*
 * An open that found nothing in REAL just before the file came there has yet to ask the gate, and
 * would get ENOTCONN from one that is closed: it is answered (ESTALE: look again) for a while.
 */
static void leave_gate(struct lcm_session *s)
{
	lcm_gate_stats(s->gate, &s->last);
	session_thaw(s);
	lcm_timer_clear(s->expire);
	lcm_timer_clear(s->shrink);
	s->late_gate = s->gate;
	s->gate = NULL;
	lcm_timer_set(s->shrink, LATE_NS);
	session_set_phase(s, LCM_NATIVE);
}

void session_end_late(struct lcm_session *s)
{
	if (!s->late_gate)
		return;
	session_unkeep_gate(s);
	lcm_gate_close(s->late_gate);
	s->late_gate = NULL;
}

static void on_drained(void *arg)
{
	struct drain_job *j = arg;
	struct lcm_session *s = j->s;
	struct lcm_gate_stats st;
	bool counted = j->status == 0;

	free(j);
	if (session_job_back(s))
		return;
	lcm_gate_stats(s->gate, &st);
	if (counted && st.bound_inodes == 0 && st.waiters == 0) {
		leave_gate(s);
		return;
	}
	lcm_timer_set(s->shrink, s->shrink_ns);
	s->shrink_ns = LCM_MIN(s->shrink_ns * 2, SHRINK_MAX_NS);
	session_changed(s);
}

void session_drain(struct lcm_session *s)
{
	struct drain_job *j;

	if (s->job)
		return;
	j = calloc(1, sizeof(*j));
	if (!j) {
		lcm_timer_set(s->shrink, SHRINK_MAX_NS);
		return;
	}
	*j = (struct drain_job){ .task = { .fn = drain, .arg = j }, .s = s, .gate = s->gate };
	s->job = j;
	lcm_pool_submit(s->host->e->pool, LCM_POOL_BACKGROUND, &j->task);
}

void session_begin_drain(struct lcm_session *s)
{
	s->shrink_ns = SHRINK_FIRST_NS;
	s->error = (struct lcm_err){ 0 }; /* nothing is missing any more */
	session_set_phase(s, LCM_DRAINING);
	session_regulate(s);
	if (s->gate)
		session_drain(s);
	else
		session_set_phase(s, LCM_NATIVE);
}
