/* SPDX-License-Identifier: Apache-2.0 */
/* session_meter.c - what a mount cost, its share, and how much it may use. */
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/log.h"
#include "src/daemon/container.h"
#include "src/daemon/session_priv.h"

#define SAVED_MAX (16U << 10)

static json_t *cost_json(const struct lcm_lif_cost *c)
{
	return json_pack("{s:I s:I s:I s:I s:f s:f s:f s:f}", "requests", (json_int_t)c->requests,
			 "fetched_bytes", (json_int_t)c->fetched_bytes, "decoded_bytes",
			 (json_int_t)c->decoded_bytes, "written_bytes",
			 (json_int_t)c->written_bytes, "queue_ms", (double)c->queue_ns / 1e6,
			 "network_ms", (double)c->fetch_ns / 1e6, "decode_ms",
			 (double)c->decode_ns / 1e6, "disk_ms", (double)c->write_ns / 1e6);
}

/* ---- regulation ---- */

/* What the others have had: readmission may wait for that. */
static uint64_t others(const struct lcm_session *s)
{
	return s->host->e->lifs.demand.requests - s->lif->demand.requests;
}

enum lcm_admission session_admission(const struct lcm_session *s)
{
	return s->class ? LCM_MAX(s->admission, s->class->admission) : s->admission;
}

void session_regulate_gate(struct lcm_session *s)
{
	static const enum lcm_gate_admission gate[] = { [LCM_ADMITTED] = LCM_GATE_OPEN,
							[LCM_HELD] = LCM_GATE_HOLD,
							[LCM_REJECTED] = LCM_GATE_REJECT };

	/* Nothing is missing any more while it drains. */
	if (s->gate && s->t_mounted)
		lcm_gate_regulate(
		    s->gate, s->phase == LCM_DRAINING ? LCM_GATE_OPEN : gate[session_admission(s)],
		    s->class && s->class->admission == LCM_REJECTED ? s->class->reject
								    : s->reject_error);
}

void session_regulate(struct lcm_session *s)
{
	enum lcm_admission was = s->admission;

	s->admission = lcm_meter_admit(&s->limits, others(s), s->readmit);
	session_regulate_gate(s);
	if (s->admission != was)
		session_changed(s);
}

static void on_readmit(void *arg)
{
	session_regulate(arg);
}

/* Those that wait for the requests of others look whenever somebody is charged. */
static void tell_waiting(struct lcm_session *s)
{
	for (struct lcm_session *o = s->host->sessions; o; o = o->next)
		if (o != s && o->admission != LCM_ADMITTED &&
		    o->limits.readmit == LCM_READMIT_OTHERS)
			session_regulate(o);
	lcm_meter_classes_look(s->host, s->class);
}

static void on_charged(void *arg, const struct lcm_lif_cost *cost)
{
	struct lcm_session *s = arg;

	if (s->class)
		lcm_meter_class_charge(s->class, cost);
	if (s->limits.n) {
		lcm_limits_charge(&s->limits, cost, lcm_now_ns());
		session_regulate(s);
	}
	tell_waiting(s);
}

int session_meter_init(struct lcm_session *s)
{
	s->reject_error = EAGAIN;
	s->lif = lcm_lif_new();
	if (!s->lif)
		return -ENOMEM;
	s->lif->charged = on_charged;
	s->lif->arg = s;
	return lcm_timer_new(s->host->e->loop, on_readmit, s, &s->readmit);
}

void session_meter_fini(struct lcm_session *s)
{
	if (s->lif)
		s->lif->charged = NULL; /* requests in flight may have it still */
	lcm_lif_unref(s->lif);
	lcm_meter_class_join(&s->class, NULL);
	lcm_timer_free(s->readmit);
}

/* ---- once native ---- */

static uint64_t a_second(const struct lcm_limit *m)
{
	double n = (double)m->threshold * 1e9 / (double)m->interval_ns;

	return n < 1 ? 1 : n > 1e15 ? (uint64_t)1e15 : (uint64_t)n;
}

void lcm_session_carried(const struct lcm_session *s, uint64_t want[LCM_CARRY_MAX])
{
	memset(want, 0, LCM_CARRY_MAX * sizeof(*want));
	if (s->phase != LCM_NATIVE || s->pull)
		return;
	if (s->lif->weight != LCM_LIF_WEIGHT)
		want[LCM_CARRY_WEIGHT] = s->lif->weight;
	for (uint32_t i = 0; i < s->limits.n; i++) {
		const struct lcm_limit *m = &s->limits.v[i];
		uint64_t *to = m->resource == LCM_RES_WRITTEN_BYTES ? &want[LCM_CARRY_READ_BYTES]
			       : m->resource == LCM_RES_REQUESTS    ? &want[LCM_CARRY_READS]
								    : NULL;

		if (to && (!*to || a_second(m) < *to))
			*to = a_second(m);
	}
}

/* ---- as JSON ---- */

static const char *const states[] = {
	[LCM_ADMITTED] = "admitted", [LCM_HELD] = "held", [LCM_REJECTED] = "rejected"
};

const char *lcm_meter_state_name(enum lcm_admission a)
{
	return states[a];
}

static json_t *regulation_json(const struct lcm_session *s)
{
	json_t *o = json_pack("{s:s s:I s:I}", "state", states[session_admission(s)], "times_held",
			      (json_int_t)s->limits.times_held, "times_rejected",
			      (json_int_t)s->limits.times_rejected);

	lcm_meter_limits_put(o, &s->limits, s->reject_error);
	if (!json_object_get(o, "after"))
		(void)json_object_set_new(o, "after", json_integer(0));
	if (s->class)
		(void)json_object_set_new(o, "class", json_string(s->class->name));
	return o;
}

json_t *lcm_session_meter(const struct lcm_session *s)
{
	return json_pack("{s:I s:o s:o s:o}", "weight", (json_int_t)s->lif->weight, "demand",
			 cost_json(&s->lif->demand), "background", cost_json(&s->lif->background),
			 "regulation", regulation_json(s));
}

/* The requests that took longest, by stage. */
json_t *session_slowest(const struct lcm_session *s)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < s->lif->n_worst; i++) {
		json_t *o = cost_json(&s->lif->worst[i].cost);

		(void)json_object_del(o, "requests");
		(void)json_object_set_new(o, "path", lcm_json_text(s->lif->worst[i].path));
		(void)json_array_append_new(out, o);
	}
	return out;
}

/* ---- what is set ---- */

/* Its own weight goes before its class's. */
void session_meter_apply(struct lcm_session *s)
{
	s->lif->weight = s->own_weight                  ? s->own_weight
			 : s->class && s->class->weight ? s->class->weight
							: LCM_LIF_WEIGHT;
	session_regulate(s);
	lcm_container_carry(s);
	session_changed(s);
}

/* What it has of its own, for the next daemon. */
static json_t *own_json(const struct lcm_session *s)
{
	json_t *o = json_object();

	if (s->own_weight)
		(void)json_object_set_new(o, "weight", json_integer(s->own_weight));
	if (s->class)
		(void)json_object_set_new(o, "class", json_string(s->class->name));
	if (s->limits.n)
		lcm_meter_limits_put(o, &s->limits, s->reject_error);
	return o;
}

static void file_name(const struct lcm_session *s, char out[LCM_ID_MAX + 8])
{
	(void)snprintf(out, LCM_ID_MAX + 8, "%s.json", s->id);
}

void session_meter_save(const struct lcm_session *s)
{
	lcm_autojson json_t *o = own_json(s);
	lcm_autofree char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int dir = lcm_store_meter_fd(s->host->e->store), r = -ENOMEM;
	char name[LCM_ID_MAX + 8];

	if (s->pull)
		return; /* the next daemon does not know it */
	file_name(s, name);
	if (text && json_object_size(o) == 0)
		r = lcm_sys_unlinkat(dir, name, 0);
	else if (text)
		r = lcm_write_file_at(dir, name, text, strlen(text), 0600);
	if (r < 0 && r != -ENOENT)
		lcm_log(LCM_LOG_WARNING, "id=%s the next daemon will not know its limits: %s",
			s->id, strerror(-r));
}

void session_meter_forget(const struct lcm_session *s)
{
	char name[LCM_ID_MAX + 8];

	file_name(s, name);
	lcm_ignore(lcm_sys_unlinkat(lcm_store_meter_fd(s->host->e->store), name, 0));
}

static int set(struct lcm_session *s, const json_t *args, struct lcm_err *err)
{
	struct lcm_meter_class *class = s->class;
	struct lcm_meter_args a;
	int r = lcm_meter_args_take(args, &a, err);

	if (r == 0 && a.class)
		r = *a.class ? lcm_meter_class_get(s->host, a.class, &class, err) : 0;
	if (r < 0)
		return r;
	lcm_meter_class_join(&s->class, a.class && !*a.class ? NULL : class);
	if (a.weight)
		s->own_weight = a.weight;
	if (a.has_limits) {
		lcm_limits_replace(&s->limits, &a.limits, lcm_now_ns());
		s->reject_error = a.reject;
	}
	session_meter_apply(s);
	return 0;
}

int session_meter_begin(struct lcm_session *s, const struct lcm_session_options *o,
			struct lcm_err *err)
{
	int r = o->meter ? set(s, o->meter, err) : 0;

	if (r == 0 && o->weight)
		s->own_weight = o->weight;
	if (r == 0)
		session_meter_apply(s);
	return r;
}

int lcm_session_set_meter(struct lcm_session *s, const json_t *args, struct lcm_err *err)
{
	int r = set(s, args, err);

	if (r == 0)
		session_meter_save(s);
	return r;
}

void session_meter_load(struct lcm_session *s)
{
	lcm_autofree char *text = NULL;
	lcm_autojson json_t *doc = NULL;
	struct lcm_err err = { 0 };
	char name[LCM_ID_MAX + 8];
	size_t len;
	int r;

	file_name(s, name);
	r = lcm_read_file_at(lcm_store_meter_fd(s->host->e->store), name, SAVED_MAX, &text, &len);
	if (r == -ENOENT)
		return;
	if (r == 0)
		r = lcm_json_parse(text, len, SAVED_MAX, "meter", &doc, &err);
	if (r == 0)
		r = set(s, doc, &err);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "id=%s has no limits of its own any more: %s", s->id,
			lcm_err_text(&err, r));
}
