/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/verify.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "overlay/seal.h"
#include "src/base/log.h"
#include "src/daemon/index_rows.h"

#define DAMAGE_LISTED_MAX 100

struct lcm_verify_job {
	struct lcm_task task;
	struct lcm_api_call *call; /* borrowed; NULL: it is over */
	struct lcm_host *h;        /* borrowed */
	struct lcm_layer_row row;
	bool repair;
	_Atomic bool over;
	struct lcm_background_task background;
	struct lcm_seal_result res; /* what the pool found */
	json_t *damage;             /* owned */
	int status;
	struct lcm_err err;
};

static void job_free(struct lcm_verify_job *j)
{
	lcm_background_fini(&j->background);
	json_decref(j->damage);
	free(j);
}

/* ---- which layer ---- */

struct picking {
	int64_t after;
	struct lcm_layer_row row; /* id 0: none so far */
};

static int pick(void *arg, const struct lcm_layer_row *row)
{
	struct picking *p = arg;

	if (row->id > p->after && (!p->row.id || row->id < p->row.id))
		p->row = *row;
	return 0;
}

static int pick_of(struct lcm_api_call *c, const char *image, struct picking *p)
{
	struct lcm_index_rows rows = { .n = 0 };
	struct lcm_err err = { 0 };
	int r = lcm_index_rows_get(c->host->e->store, image, &rows, &err);

	for (size_t i = 0; r == 0 && i < rows.n; i++)
		(void)pick(p, &rows.rows[i]);
	lcm_index_rows_fini(&rows);
	if (r < 0)
		lcm_index_rows_error(c, r, &err);
	return r;
}

/* ---- the pool ---- */

static void on_damage(void *arg, const char *path, const char *what)
{
	struct lcm_verify_job *j = arg;

	if (json_array_size(j->damage) < DAMAGE_LISTED_MAX)
		(void)json_array_append_new(
		    j->damage, json_pack("{s:o s:s}", "path", lcm_json_text(path), "what", what));
}

static int checkpoint(void *arg)
{
	struct lcm_verify_job *j = arg;

	(void)lcm_background_point(&j->background);
	return j->over || j->h->e->closing ? -ECANCELED : 0;
}

static int check(struct lcm_verify_job *j)
{
	const struct lcm_seal_ops ops = { .damage = on_damage, .checkpoint = checkpoint, .arg = j };
	const struct lcm_store *s = j->h->e->store;
	lcm_autoclose int tree = -EBADF, seal = -EBADF;
	char name[24];

	(void)snprintf(name, sizeof(name), "%lld", (long long)j->row.id);
	seal = lcm_sys_openat(lcm_store_seals_fd(s), name, O_RDONLY | O_NOFOLLOW, 0);
	if (seal == -ENOENT)
		return lcm_err_set(&j->err, seal,
				   "an older locum stored it, or its disk was full then");
	if (seal < 0)
		return lcm_err_set(&j->err, seal, "its seal cannot be opened: %s", strerror(-seal));
	tree = lcm_sys_openat(lcm_store_real_fd(s), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (tree == -ENOENT) {
		on_damage(j, "", "missing");
		j->res.damaged = 1;
		return 0;
	}
	if (tree < 0)
		return lcm_err_set(&j->err, tree, "it cannot be opened: %s", strerror(-tree));
	return lcm_seal_check(tree, seal, &ops, &j->res, &j->err);
}

/* ---- the answer ---- */

static const char *state_of(const struct lcm_verify_job *j)
{
	if (j->row.state == LCM_LAYER_PARTIAL ||
	    (j->row.state == LCM_LAYER_PROVEN && j->status == -ENOENT))
		return "partial"; /* its seal comes with the sync */
	if (j->status < 0)
		return "unknown";
	return j->res.damaged ? "damaged" : "whole";
}

static json_t *users(const struct lcm_verify_job *j)
{
	json_t *list = json_array();

	for (struct lcm_session *s = j->h->sessions; s; s = lcm_session_next(s))
		if (lcm_session_has_layer(s, j->row.id))
			(void)json_array_append_new(list, json_string(lcm_session_id(s)));
	return list;
}

/* Return: what was done about it. */
static const char *repair(const struct lcm_verify_job *j)
{
	struct lcm_engine *e = j->h->e;
	struct lcm_layer *l = lcm_layer_find(e, j->row.id);
	struct lcm_err err = { 0 };
	int r = l ? -EBUSY : lcm_store_layer_drop(e->store, j->row.id, true, &err);

	if (r == 0) {
		lcm_engine_sweep(e);
		return "dropped";
	}
	if (r == -EBUSY)
		r = lcm_store_layer_damage(e->store, j->row.id);
	if (r == 0 && l)
		l->row.damaged = true; /* it goes with its last mount */
	if (r == 0)
		return "set aside";
	lcm_log(LCM_LOG_WARNING, "layer=%lld is damaged and stays: %s", (long long)j->row.id,
		lcm_err_text(&err, r));
	return "failed";
}

static json_t *answer(const struct lcm_verify_job *j)
{
	const struct lcm_layer_row *row = &j->row;
	bool damaged = strcmp(state_of(j), "damaged") == 0;
	char blob[LCM_DIGEST_STR];
	json_t *o = json_pack("{s:I s:s s:s s:b s:I s:I s:I s:O s:o}", "layer", (json_int_t)row->id,
			      "digest", lcm_digest_str(&row->key.blob, blob), "state", state_of(j),
			      "set_aside", row->damaged, "entries", (json_int_t)j->res.entries,
			      "bytes", (json_int_t)j->res.bytes, "damaged",
			      (json_int_t)j->res.damaged, "damage", j->damage, "mounts", users(j));

	if (o && j->status < 0)
		(void)json_object_set_new(o, "why", json_string(lcm_err_text(&j->err, j->status)));
	if (o && damaged && j->repair)
		(void)json_object_set_new(o, "repair", json_string(repair(j)));
	return o;
}

static void reply(struct lcm_verify_job *j)
{
	struct lcm_api_call *c = j->call;
	struct lcm_layer_row row;

	/* What was dropped under the reading is no damage. */
	if (j->row.id && lcm_store_layer_get(j->h->e->store, j->row.id, &row) == -ENOENT) {
		j->status = lcm_err_set(&j->err, -ENOENT, "it was dropped meanwhile");
		j->res.damaged = 0;
	}
	if (j->res.damaged)
		lcm_log(LCM_LOG_WARNING, "layer=%lld %llu damaged files (locum verify)",
			(long long)j->row.id, (unsigned long long)j->res.damaged);
	c->reply = j->row.id ? answer(j) : json_pack("{s:n}", "layer");
	c->status = c->reply ? 200 : 500;
}

static void on_checked(void *arg)
{
	struct lcm_verify_job *j = arg;

	if (j->call) {
		j->call->verify = NULL;
		reply(j);
		j->call->answered(j->call->arg);
	}
	job_free(j);
}

static void check_job(void *arg)
{
	struct lcm_verify_job *j = arg;

	lcm_sys_idle_io();
	lcm_background_begin(&j->background, NULL);
	j->status = check(j);
	lcm_background_end(&j->background);
	j->task.fn = on_checked;
	lcm_loop_post_task(j->h->e->loop, &j->task);
}

void lcm_verify_next(struct lcm_api_call *c, const char *image, int64_t after, bool repair,
		     bool now)
{
	struct picking p = { .after = after };
	struct lcm_verify_job *j;
	int r = *image ? pick_of(c, image, &p) : lcm_store_layer_each(c->host->e->store, pick, &p);

	if (r < 0) {
		if (!c->status)
			lcm_api_fail(c, r, NULL);
		return;
	}
	j = calloc(1, sizeof(*j));
	if (!j) {
		lcm_api_fail(c, -ENOMEM, NULL);
		return;
	}
	j->call = c;
	j->h = c->host;
	j->row = p.row;
	j->repair = repair;
	j->damage = json_array();
	if (!p.row.id || p.row.state == LCM_LAYER_PARTIAL) {
		reply(j);
		job_free(j);
		return;
	}
	j->task = (struct lcm_task){ .fn = check_job, .arg = j };
	r = lcm_background_init(&j->background, c->host->e->background);
	if (r < 0) {
		lcm_api_fail(c, r, NULL);
		job_free(j);
		return;
	}
	if (now)
		lcm_background_hurry(&j->background);
	c->verify = j;
	/* In turn with the seals of layers that were pulled, which come all the time. */
	lcm_pool_submit(c->host->e->idle, now ? LCM_POOL_DEMAND : LCM_POOL_BACKGROUND, &j->task);
}

void lcm_verify_forget(struct lcm_verify_job *j)
{
	if (!j)
		return;
	j->call = NULL;
	j->over = true;
	lcm_background_cancel(&j->background);
}
