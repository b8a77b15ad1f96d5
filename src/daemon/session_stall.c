/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_stall.c - what becomes of readers for whom nothing comes.
 *
 *   deadline 0           they wait
 *   deadline, eio        each gets EIO so long after it came (the gate does that)
 *   deadline, freeze     they wait, and when nothing has come for so long the containers are frozen
 *
 *          nothing came for the deadline, somebody waits
 *   RUNNING ---------------------------------------------> FREEZING (a pool job)
 *      ^  ^   cannot be: says why, tries again a deadline later |
 *      |  `-----------------------------------------------------|
 *      |   something came, nobody waits, another policy,        v
 *      `------------------------------------------------------ FROZEN
 *          somebody else thawed it or killed it, umount, the daemon ends
 *
 * The demand side tries again meanwhile as ever: that is how it is noticed that the registry is
 * back.
 */
#include <string.h>

#include "image/json.h"
#include "src/base/log.h"
#include "src/daemon/freeze.h"
#include "src/daemon/session_priv.h"

#define LOOK_NS 1000000000ULL /* how often at least while somebody may wait */

struct freeze_job {
	struct lcm_task task;
	struct lcm_host *h;
	uint64_t serial;
	char id[LCM_ID_MAX + 1];
	char *target; /* owned */
	int status;
	struct lcm_frozen *frozen; /* owned */
	struct lcm_err err;
};

void session_thaw(struct lcm_session *s)
{
	if (!s->frozen)
		return;
	lcm_thaw(s->frozen);
	s->frozen = NULL;
	s->t_came = lcm_now_ns();
	lcm_log(LCM_LOG_NOTICE, "id=%s its containers are thawed", s->id);
	session_changed(s);
}

/* Since when nothing has come for those who wait; 0: nobody does, or not for want of bytes. */
static uint64_t stalled_since(const struct lcm_session *s)
{
	uint64_t oldest = s->gate && s->t_mounted ? lcm_gate_oldest(s->gate) : 0;

	if (!oldest || session_admission(s) != LCM_ADMITTED)
		return 0;
	return LCM_MAX(oldest, s->t_came);
}

static bool may_freeze(const struct lcm_session *s)
{
	return s->freeze && s->deadline_ns && !s->closing;
}

static void on_frozen(void *arg)
{
	struct freeze_job *j = arg;
	struct lcm_session *s = session_by_serial(j->h, j->serial);
	struct lcm_frozen *frozen = j->frozen;
	struct lcm_err err = j->err;
	int status = j->status;

	free(j->target);
	free(j);
	if (s)
		s->freezing = false;
	if (!s || !may_freeze(s) || !stalled_since(s)) {
		lcm_thaw(frozen);
		return;
	}
	if (status < 0) {
		s->t_came = lcm_now_ns();
		if (strcmp(err.msg, s->freeze_error.msg) != 0)
			lcm_log(LCM_LOG_WARNING, "id=%s its containers are not frozen: %s", s->id,
				err.msg);
	} else {
		s->frozen = frozen;
		lcm_log(LCM_LOG_NOTICE, "id=%s nothing comes: its containers are frozen", s->id);
	}
	s->freeze_error = err;
	session_changed(s);
}

static void freeze_job_run(void *arg)
{
	struct freeze_job *j = arg;

	j->status = lcm_freeze(j->h->run_dir, j->id, j->target, &j->frozen, &j->err);
	if (j->status < 0 && !j->err.code)
		lcm_err_set(&j->err, j->status, "%s", strerror(-j->status));
	j->task.fn = on_frozen;
	lcm_loop_post_task(j->h->e->loop, &j->task);
}

/* Without memory it is tried again at the next look. */
static void freeze(struct lcm_session *s)
{
	struct freeze_job *j = calloc(1, sizeof(*j));
	char *target = strdup(s->target);

	if (!j || !target) {
		free(j);
		free(target);
		return;
	}
	*j = (struct freeze_job){ .task = { .fn = freeze_job_run, .arg = j },
				  .h = s->host,
				  .serial = s->serial,
				  .target = target };
	memcpy(j->id, s->id, sizeof(j->id));
	s->freezing = true;
	lcm_pool_submit(s->host->e->pool, LCM_POOL_DEMAND, &j->task);
}

uint64_t session_stall_look(struct lcm_session *s, uint64_t now_ns)
{
	uint64_t since = stalled_since(s);

	if (s->frozen && (!since || lcm_frozen_let_go(s->frozen)))
		session_thaw(s);
	if (s->frozen || s->freezing || !since || !may_freeze(s))
		return LOOK_NS;
	if (now_ns < since + s->deadline_ns)
		return LCM_MIN(since + s->deadline_ns - now_ns, LOOK_NS);
	freeze(s);
	return LOOK_NS;
}

void session_came(struct lcm_session *s, int status)
{
	if (status < 0 && (!s->frozen || stalled_since(s)))
		return;
	if (s->freeze)
		s->t_came = lcm_now_ns();
	session_thaw(s);
}

void session_apply_deadline(struct lcm_session *s)
{
	if (!may_freeze(s) || lcm_now_ns() < stalled_since(s) + s->deadline_ns)
		session_thaw(s);
	s->freeze_error = (struct lcm_err){ 0 };
	if (!s->gate || !s->t_mounted)
		return;
	lcm_gate_set_deadline(s->gate, s->freeze ? 0 : s->deadline_ns);
	lcm_timer_set(s->expire, 0);
}

/* ---- as JSON ---- */

static const char *policy_name(bool freeze)
{
	return freeze ? "freeze" : "eio";
}

int lcm_at_deadline_parse(const char *name, bool *ret_freeze)
{
	for (int i = 0; i < 2; i++) {
		if (strcmp(name, policy_name(i != 0)) != 0)
			continue;
		*ret_freeze = i != 0;
		return 0;
	}
	return -EINVAL;
}

void session_stall_json(const struct lcm_session *s, json_t *o)
{
	uint64_t oldest = s->gate && s->t_mounted ? lcm_gate_oldest(s->gate) : 0;
	json_t *list;

	(void)json_object_set_new(o, "deadline_ms",
				  json_integer((json_int_t)(s->deadline_ns / 1000000)));
	(void)json_object_set_new(o, "at_deadline", json_string(policy_name(s->freeze)));
	(void)json_object_set_new(o, "waiting_ms",
				  oldest ? json_real((double)(lcm_now_ns() - oldest) / 1e6)
					 : json_null());
	if (s->freeze_error.code)
		(void)json_object_set_new(o, "freeze_error", lcm_json_text(s->freeze_error.msg));
	if (!s->frozen)
		return;
	list = json_array();
	for (size_t i = 0; i < s->frozen->n; i++)
		(void)json_array_append_new(list, lcm_json_text(s->frozen->v[i].dir));
	(void)json_object_set_new(o, "frozen", list);
}

int lcm_session_set_deadline(struct lcm_session *s, const json_t *args, struct lcm_err *err)
{
	const json_t *ms = json_object_get(args, "deadline_ms"),
		     *at = json_object_get(args, "at_deadline");
	bool freeze = s->freeze;

	if (!s->target)
		return lcm_err_set(err, -EINVAL, "%s is a pull: it has no readers", s->id);
	if ((!ms && !at) ||
	    (ms && (!json_is_integer(ms) || json_integer_value(ms) < 0 ||
		    json_integer_value(ms) > (json_int_t)LCM_DEADLINE_MS_MAX)) ||
	    (at &&
	     (!json_is_string(at) || lcm_at_deadline_parse(json_string_value(at), &freeze) < 0)))
		return lcm_err_set(err, -EINVAL,
				   "deadline_ms, a number from 0 to %llu, or at_deadline, eio or "
				   "freeze, is expected",
				   LCM_DEADLINE_MS_MAX);
	if (ms)
		s->deadline_ns = (uint64_t)json_integer_value(ms) * 1000000;
	s->freeze = freeze;
	session_apply_deadline(s);
	session_changed(s);
	return s->t_mounted ? session_put_row(s, err) : 0;
}
