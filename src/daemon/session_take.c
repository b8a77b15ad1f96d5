/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_take.c - gates that outlive their daemon.
 *
 * A pool job takes the gate over once every layer has its table of contents: only then do node ids
 * mean something. Until then requests wait in the kernel.
 */
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/keep.h"
#include "src/daemon/session_priv.h"

struct take_job {
	struct lcm_task task;
	struct lcm_session *s; /* alive while s->job is this */
	int fuse, record;      /* owned */
	int status;
	struct lcm_err err;
};

static void keep(struct lcm_session *s, int fuse, int record)
{
	int r;

	s->kept_in = lcm_keep_generation(s->host->keep);
	r = lcm_keep_put(s->host->keep, s->id, fuse, record);
	s->kept = r == 0;
	if (r < 0)
		lcm_log(LCM_LOG_WARNING,
			"id=%s nobody keeps its gate (%s): without this daemon its missing files "
			"cannot be read",
			s->id, strerror(-r));
}

void session_keep_gate(struct lcm_session *s)
{
	int fuse, record;

	lcm_gate_fds(s->gate, &fuse, &record);
	keep(s, fuse, record);
}

void session_keep_again(struct lcm_session *s)
{
	if (s->gate && s->kept_in != lcm_keep_generation(s->host->keep))
		session_keep_gate(s);
}

void session_unkeep_gate(struct lcm_session *s)
{
	if (s->kept)
		lcm_keep_del(s->host->keep, s->id);
	s->kept = false;
	lcm_closep(&s->kept_fuse);
	lcm_closep(&s->kept_record);
}

void lcm_session_keep_all(struct lcm_host *h)
{
	for (struct lcm_session *s = h->sessions; s; s = s->next)
		if (s->kept_fuse >= 0)
			keep(s, s->kept_fuse, s->kept_record);
		else if (!s->job)
			session_keep_again(s);
}

static void on_taken(void *arg)
{
	struct take_job *j = arg;
	struct lcm_session *s = j->s;
	struct lcm_err err = j->err;
	int status = j->status;

	lcm_closep(&j->fuse);
	lcm_closep(&j->record);
	free(j);
	if (session_job_back(s))
		return;
	if (status == 0) {
		lcm_log(LCM_LOG_INFO, "id=%s its gate goes on", s->id);
		session_serve(s);
		return;
	}
	lcm_log(LCM_LOG_WARNING, "id=%s %s", s->id, lcm_err_text(&err, status));
	session_unkeep_gate(s);
	lcm_gate_close(s->gate);
	s->gate = NULL;
	session_advance(s);
}

static int take(struct take_job *j)
{
	struct lcm_session *s = j->s;
	lcm_autofree struct lcm_gate_layer *layers = NULL;
	struct lcm_gate_config cfg;
	struct lcm_gate *g;
	int r = session_gate_config(s, &layers, &cfg);

	if (r == 0)
		r = lcm_gate_adopt(&cfg, lcm_steal_fd(&j->fuse), lcm_steal_fd(&j->record), &g,
				   &j->err);
	if (r < 0)
		return r;
	s->gate = g;
	r = lcm_gate_start(g, s->host->gates);
	return r < 0 ? r : lcm_gate_recount(g);
}

static void take_job_run(void *arg)
{
	struct take_job *j = arg;

	j->status = take(j);
	j->task.fn = on_taken;
	lcm_loop_post_task(j->s->host->e->loop, &j->task);
}

void session_take_gate(struct lcm_session *s)
{
	struct take_job *j = calloc(1, sizeof(*j));

	if (!j) {
		session_unkeep_gate(s);
		return;
	}
	*j = (struct take_job){ .task = { .fn = take_job_run, .arg = j },
				.s = s,
				.fuse = lcm_steal_fd(&s->kept_fuse),
				.record = lcm_steal_fd(&s->kept_record) };
	s->job = j;
	lcm_pool_submit(s->host->e->pool, LCM_POOL_DEMAND, &j->task);
}
