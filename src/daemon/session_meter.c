/* SPDX-License-Identifier: Apache-2.0 */
/* session_meter.c - what a mount cost, its share, and how much it may use. */
#include <string.h>

#include "image/json.h"
#include "src/daemon/container.h"
#include "src/daemon/session_priv.h"

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

void session_regulate(struct lcm_session *s)
{
	static const enum lcm_gate_admission gate[] = { [LCM_ADMITTED] = LCM_GATE_OPEN,
							[LCM_HELD] = LCM_GATE_HOLD,
							[LCM_REJECTED] = LCM_GATE_REJECT };
	uint64_t now = lcm_now_ns(), again;
	enum lcm_admission was = s->admission;

	s->admission = lcm_limits_admission(&s->limits, now, others(s), &again);
	/* Nothing is missing any more while it drains. */
	if (s->gate && s->t_mounted)
		lcm_gate_regulate(s->gate,
				  s->phase == LCM_DRAINING ? LCM_GATE_OPEN : gate[s->admission],
				  s->reject_error);
	if (again)
		lcm_timer_set(s->readmit, again > now ? again - now : 0);
	else
		lcm_timer_clear(s->readmit);
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
}

static void on_charged(void *arg, const struct lcm_lif_cost *cost)
{
	struct lcm_session *s = arg;

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

static const char *const readmits[] = { [LCM_READMIT_ROLLOVER] = "rollover",
					[LCM_READMIT_TIME] = "time",
					[LCM_READMIT_OTHERS] = "others" };

static json_t *limits_json(const struct lcm_session *s)
{
	static const char *const states[] = {
		[LCM_ADMITTED] = "admitted", [LCM_HELD] = "held", [LCM_REJECTED] = "rejected"
	};
	uint64_t after = s->limits.after;
	json_t *list = json_array();

	if (s->limits.readmit == LCM_READMIT_TIME)
		after /= 1000000;
	for (uint32_t i = 0; i < s->limits.n; i++)
		(void)json_array_append_new(
		    list, json_pack("{s:s s:I s:I}", "resource",
				    lcm_resource_name(s->limits.v[i].resource), "threshold",
				    (json_int_t)s->limits.v[i].threshold, "interval_ms",
				    (json_int_t)(s->limits.v[i].interval_ns / 1000000)));
	return json_pack("{s:o s:s s:I s:s s:s s:I s:I}", "limits", list, "readmit",
			 readmits[s->limits.readmit], "after", (json_int_t)after, "reject",
			 s->reject_error == EIO ? "EIO" : "EAGAIN", "state", states[s->admission],
			 "times_held", (json_int_t)s->limits.times_held, "times_rejected",
			 (json_int_t)s->limits.times_rejected);
}

json_t *lcm_session_meter(const struct lcm_session *s)
{
	return json_pack("{s:I s:o s:o s:o}", "weight", (json_int_t)s->lif->weight, "demand",
			 cost_json(&s->lif->demand), "background", cost_json(&s->lif->background),
			 "regulation", limits_json(s));
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

static bool take_limit(const json_t *o, struct lcm_limit *ret)
{
	const char *name = json_string_value(json_object_get(o, "resource"));
	const json_t *threshold = json_object_get(o, "threshold"),
		     *interval = json_object_get(o, "interval_ms");
	json_int_t ms = interval ? json_integer_value(interval)
				 : (json_int_t)(LCM_LIMIT_INTERVAL / 1000000);

	if (!name || lcm_resource_parse(name, &ret->resource) < 0 || !json_is_integer(threshold) ||
	    json_integer_value(threshold) < 0 || ms < 1 ||
	    ms > (json_int_t)(LCM_LIMIT_INTERVAL_MAX / 1000000))
		return false;
	ret->threshold = (uint64_t)json_integer_value(threshold);
	ret->interval_ns = (uint64_t)ms * 1000000;
	return true;
}

static bool take_readmit(const json_t *args, struct lcm_limits *l)
{
	const char *name = json_string_value(json_object_get(args, "readmit"));
	const json_t *after = json_object_get(args, "after");
	json_int_t n = json_integer_value(after);
	size_t i = 0;

	if (!name)
		return !after;
	while (i < LCM_ARRAY_SIZE(readmits) && strcmp(readmits[i], name) != 0)
		i++;
	if (i == LCM_ARRAY_SIZE(readmits) || n < 0 || n > 1000000000)
		return false;
	l->readmit = (enum lcm_readmit)i;
	l->after = (uint64_t)n * (l->readmit == LCM_READMIT_TIME ? 1000000 : 1);
	return true;
}

static int set_limits(struct lcm_session *s, const json_t *args, struct lcm_err *err)
{
	struct lcm_limits next = { .n = 0 };
	const json_t *list = json_object_get(args, "limits"), *v;
	const char *reject = json_string_value(json_object_get(args, "reject"));
	bool good = json_is_array(list) && json_array_size(list) <= LCM_LIMITS_MAX &&
		    take_readmit(args, &next);
	size_t i;

	json_array_foreach (list, i, v)
		good = good && take_limit(v, &next.v[next.n++]);
	if (!good || lcm_limits_check(&next) < 0 ||
	    (reject && strcmp(reject, "EAGAIN") != 0 && strcmp(reject, "EIO") != 0))
		return lcm_err_set(err, -EINVAL,
				   "limits: at most %u of resource, threshold and interval_ms (10 "
				   "to 60000), readmit (rollover, time, others) and after, reject "
				   "(EAGAIN, EIO) are expected",
				   LCM_LIMITS_MAX);
	lcm_limits_replace(&s->limits, &next, lcm_now_ns());
	s->reject_error = reject && strcmp(reject, "EIO") == 0 ? EIO : EAGAIN;
	session_regulate(s);
	return 0;
}

int lcm_session_set_meter(struct lcm_session *s, const json_t *args, struct lcm_err *err)
{
	const json_t *weight = json_object_get(args, "weight");
	json_int_t n = json_integer_value(weight);

	if (weight && (!json_is_integer(weight) || n < 1 || n > (json_int_t)LCM_LIF_WEIGHT_MAX))
		return lcm_err_set(err, -EINVAL, "weight %lld: 1 to %u is expected", (long long)n,
				   LCM_LIF_WEIGHT_MAX);
	if (!json_object_get(args, "limits") &&
	    (json_object_get(args, "readmit") || json_object_get(args, "after") ||
	     json_object_get(args, "reject")))
		return lcm_err_set(err, -EINVAL, "readmit, after and reject go with limits");
	if (json_object_get(args, "limits")) {
		int r = set_limits(s, args, err);

		if (r < 0)
			return r;
	}
	if (weight)
		s->lif->weight = (uint32_t)n;
	lcm_container_carry(s);
	session_changed(s);
	return 0;
}
