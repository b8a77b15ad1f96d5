/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c - the operations: their arguments, their answers, and what is done at once. */
#include "src/daemon/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/log.h"
#include "src/daemon/snapshot_filter.h"
#include "src/daemon/snapshot_priv.h"

#define CLEANUP_FIRST_NS 500000000ULL
#define CLEANUP_MAX_NS 60000000000ULL

static const char *const kind_names[] = { [LCM_SNAPSHOT_VIEW] = "view",
					  [LCM_SNAPSHOT_ACTIVE] = "active",
					  [LCM_SNAPSHOT_COMMITTED] = "committed" };

/* ---- answers ---- */

void snapshot_job_free(struct lcm_snapshot_job *j)
{
	if (!j)
		return;
	lcm_image_free(j->image);
	json_decref(j->labels);
	free(j->dir);
	lcm_snapshot_row_fini(&j->row);
	free(j);
}

void snapshot_answer(struct lcm_snapshot_job *j, int http, json_t *reply)
{
	struct lcm_api_call *c = j->call;

	c->snapshot = NULL;
	c->reply = reply;
	c->status = reply ? http : 500;
	c->answered(c->arg);
	snapshot_job_free(j);
}

void snapshot_fail(struct lcm_snapshot_job *j, int code, const struct lcm_err *err)
{
	struct lcm_api_call *c = j->call;

	c->snapshot = NULL;
	lcm_api_fail(c, code, err);
	c->answered(c->arg);
	snapshot_job_free(j);
}

/* A container's mount goes on: containerd asks again. */
void lcm_snapshot_forget(struct lcm_snapshot_job *j)
{
	if (!j)
		return;
	j->call = NULL;
	snapshot_unwatch(j);
	if (!j->task.fn) /* else the pool has it */
		snapshot_job_free(j);
}

static json_t *info_json(const struct lcm_snapshot_row *row)
{
	json_t *labels = json_loads(row->labels, 0, NULL);

	return json_pack("{s:s s:s s:s s:I s:I s:o}", "name", row->name, "parent", row->parent,
			 "kind", kind_names[row->kind], "created_ns", (json_int_t)row->created_ns,
			 "updated_ns", (json_int_t)row->updated_ns, "labels",
			 labels ? labels : json_object());
}

/* ---- arguments ---- */

/* Every op but list and cleanup names a snapshot. */
static const char *name_arg(json_t *args, const char *key)
{
	const char *s = json_string_value(json_object_get(args, key));

	return s ? s : "";
}

/* Labels are an object of strings. Return: text for the row, owned by the caller; NULL: they are
 * not. */
static char *labels_arg(json_t *labels)
{
	const char *key;
	json_t *v;

	if (!labels)
		return strdup("{}");
	if (!json_is_object(labels))
		return NULL;
	json_object_foreach (labels, key, v)
		if (!json_is_string(v))
			return NULL;
	return json_dumps(labels, JSON_COMPACT);
}

static struct lcm_snapshot_job *job_new(struct lcm_api_call *c)
{
	struct lcm_snapshot_job *j = calloc(1, sizeof(*j));

	if (!j) {
		lcm_api_fail(c, -ENOMEM, NULL);
		return NULL;
	}
	j->call = c;
	j->host = c->host;
	c->snapshot = j;
	return j;
}

/* A job whose row is the snapshot that @key names; NULL: the call is answered. */
static struct lcm_snapshot_job *job_of(struct lcm_api_call *c, json_t *args, const char *key)
{
	const char *name = name_arg(args, key);
	struct lcm_snapshot_job *j = job_new(c);
	struct lcm_err err = { 0 };
	int r = j ? lcm_store_snapshot_get(c->host->e->store, name, &j->row) : 0;

	if (r == 0)
		return j;
	lcm_err_set(&err, r, "snapshot %.200s: %s", name,
		    r == -ENOENT ? "does not exist" : strerror(-r));
	snapshot_fail(j, r, &err);
	return NULL;
}

/* ---- making ---- */

static int take_args(struct lcm_snapshot_job *j, json_t *args, enum lcm_snapshot_kind kind,
		     struct lcm_err *err)
{
	j->row.kind = kind;
	j->labels = json_incref(json_object_get(args, "labels"));
	j->row.labels = labels_arg(j->labels);
	if (!j->row.labels)
		return lcm_err_set(err, -EINVAL, "labels: an object of strings is expected");
	j->row.name = strdup(name_arg(args, "key"));
	j->row.parent = strdup(name_arg(args, "parent"));
	j->row.image = strdup("");
	return j->row.name && j->row.parent && j->row.image ? 0 : -ENOMEM;
}

static void make(struct lcm_api_call *c, json_t *args, enum lcm_snapshot_kind kind)
{
	struct lcm_snapshot_job *j = job_new(c);
	struct lcm_snapshot_row old = { 0 };
	struct lcm_err err = { 0 };
	int r;

	if (!j)
		return;
	r = take_args(j, args, kind, &err);
	if (r == 0 && lcm_store_snapshot_get(c->host->e->store, j->row.name, &old) == 0)
		r = lcm_err_set(&err, -EEXIST, "snapshot %.200s exists", j->row.name);
	lcm_snapshot_row_fini(&old);
	j->target = json_string_value(json_object_get(j->labels, SNAPSHOT_REF_LABEL));
	if (r == 0)
		r = snapshot_unit_check(j->labels, kind, j->target != NULL, &err);
	if (r < 0) {
		snapshot_fail(j, r, &err);
		return;
	}
	if (j->target && kind == LCM_SNAPSHOT_ACTIVE)
		snapshot_remote(j);
	else
		snapshot_make(j);
}

static void op_prepare(struct lcm_api_call *c, json_t *args)
{
	make(c, args, LCM_SNAPSHOT_ACTIVE);
}

static void op_view(struct lcm_api_call *c, json_t *args)
{
	make(c, args, LCM_SNAPSHOT_VIEW);
}

static void op_mounts(struct lcm_api_call *c, json_t *args)
{
	struct lcm_snapshot_job *j = job_of(c, args, "key");
	struct lcm_err err = { 0 };

	if (!j)
		return;
	if (j->row.kind == LCM_SNAPSHOT_COMMITTED)
		snapshot_fail(
		    j, lcm_err_set(&err, -EINVAL, "snapshot %.200s is committed", j->row.name),
		    &err);
	else
		snapshot_mounts(j);
}

/* ---- committing and removing ---- */

/* The active snapshot's own parent, or the one that is given now when it had none. */
static int commit_parent(struct lcm_snapshot_job *j, const char *parent, const char **ret,
			 struct lcm_err *err)
{
	struct snapshot_chain ch;
	int r;

	*ret = j->row.parent;
	if (!*parent || strcmp(parent, j->row.parent) == 0)
		return 0;
	if (*j->row.parent)
		return lcm_err_set(err, -EINVAL, "snapshot %.200s has another parent, %.200s",
				   j->row.name, j->row.parent);
	*ret = parent;
	r = snapshot_chain_get(j->host->e->store, parent, &ch, err);
	if (r == 0)
		snapshot_chain_fini(&ch);
	return r;
}

/* What the labels of an active snapshot say of its unit, in @j->labels and @ret. */
static int unit_of(struct lcm_snapshot_job *j, struct snapshot_unit *ret, struct lcm_err *err)
{
	*ret = (struct snapshot_unit){ 0 };
	if (j->row.kind != LCM_SNAPSHOT_ACTIVE)
		return 0;
	json_decref(j->labels);
	j->labels = json_loads(j->row.labels, 0, NULL);
	return j->labels ? snapshot_unit_get(j->labels, ret, err) : -EUCLEAN;
}

static int may_commit(struct lcm_snapshot_job *j, struct lcm_err *err)
{
	struct snapshot_unit u;
	int r;

	if (j->row.kind != LCM_SNAPSHOT_ACTIVE)
		return lcm_err_set(err, -EBUSY, "snapshot %.200s is not active", j->row.name);
	r = unit_of(j, &u, err);
	if (r < 0 || !u.key)
		return r;
	return lcm_err_set(
	    err, -EBUSY,
	    "snapshot %.200s is in storage unit %.80s, which may go, and a layer may "
	    "not: copy its files into a container without label " SNAPSHOT_UNIT_LABEL
	    ", and commit that",
	    j->row.name, u.key);
}

static void op_commit(struct lcm_api_call *c, json_t *args)
{
	struct lcm_snapshot_job *j = job_of(c, args, "key");
	lcm_autofree char *labels = labels_arg(json_object_get(args, "labels"));
	const char *name = name_arg(args, "name"), *parent = "";
	struct lcm_err err = { 0 };
	int r;

	if (!j)
		return;
	r = labels ? commit_parent(j, name_arg(args, "parent"), &parent, &err)
		   : lcm_err_set(&err, -EINVAL, "labels: an object of strings is expected");
	if (r == 0)
		r = may_commit(j, &err);
	if (r == 0)
		r = snapshot_unmount(c->host, j->row.id, false, &err);
	if (r == 0)
		r = lcm_store_snapshot_commit(c->host->e->store, j->row.name, name, parent, labels);
	if (r == -EEXIST)
		lcm_err_set(&err, r, "snapshot %.200s exists", name);
	if (r < 0)
		snapshot_fail(j, r, &err);
	else
		snapshot_answer(j, 200, json_object());
}

void snapshot_removed(struct lcm_snapshot_job *j)
{
	struct lcm_engine *e = j->host->e;
	int r = lcm_store_snapshot_remove(e->store, j->row.name);

	if (r < 0) {
		snapshot_fail(j, r, NULL);
		return;
	}
	lcm_engine_sweep(e);
	snapshot_answer(j, 200, json_object());
}

static void op_remove(struct lcm_api_call *c, json_t *args)
{
	struct lcm_snapshot_job *j = job_of(c, args, "key");
	struct snapshot_unit u = { 0 };
	struct lcm_err err = { 0 };
	int r;

	if (!j)
		return;
	r = lcm_store_snapshot_children(c->host->e->store, j->row.name);
	if (r > 0)
		r = lcm_err_set(&err, -EBUSY, "snapshot %.200s has %d snapshots on top of it",
				j->row.name, r);
	if (r == 0)
		r = unit_of(j, &u, &err);
	if (r == 0)
		r = snapshot_unmount(c->host, j->row.id, false, &err);
	if (r < 0)
		snapshot_fail(j, r, &err);
	else if (u.key)
		snapshot_unit_remove(j);
	else
		snapshot_removed(j);
}

/* ---- reading and labelling ---- */

static void op_stat(struct lcm_api_call *c, json_t *args)
{
	struct lcm_snapshot_job *j = job_of(c, args, "key");

	if (j)
		snapshot_answer(j, 200, json_pack("{s:o}", "info", info_json(&j->row)));
}

static void op_usage(struct lcm_api_call *c, json_t *args)
{
	struct lcm_snapshot_job *j = job_of(c, args, "key");

	if (j)
		snapshot_usage(j);
}

/* One path of the update's mask: "labels", or "labels.KEY" (an empty value takes the label away).
 */
static int update_path(json_t *have, json_t *labels, const char *path, struct lcm_err *err)
{
	static const char one[] = "labels.";
	const char *key = path + sizeof(one) - 1, *value;

	if (strcmp(path, "labels") == 0) {
		(void)json_object_clear(have);
		return json_object_update(have, labels);
	}
	if (strncmp(path, one, sizeof(one) - 1) != 0)
		return lcm_err_set(err, -EINVAL, "field %.100s of a snapshot cannot be changed",
				   path);
	value = json_string_value(json_object_get(labels, key));
	if (!value || !*value)
		(void)json_object_del(have, key);
	else
		(void)json_object_set_new(have, key, json_string(value));
	return 0;
}

static int update(struct lcm_snapshot_job *j, json_t *labels, json_t *paths, struct lcm_err *err)
{
	lcm_autojson json_t *old = json_loads(j->row.labels, 0, NULL);
	json_t *have = json_loads(j->row.labels, 0, NULL), *v;
	lcm_autofree char *text = NULL;
	size_t i;
	int r = have ? 0 : -EUCLEAN;

	if (r == 0 && json_array_size(paths) == 0)
		r = update_path(have, labels, "labels", err);
	json_array_foreach (paths, i, v)
		if (r == 0)
			r = update_path(have, labels,
					json_string_value(v) ? json_string_value(v) : "", err);
	if (r == 0 && j->row.kind == LCM_SNAPSHOT_ACTIVE)
		r = snapshot_unit_same(old, have, err);
	if (r == 0) {
		text = json_dumps(have, JSON_COMPACT);
		r = text ? lcm_store_snapshot_label(j->host->e->store, j->row.name, text) : -ENOMEM;
	}
	json_decref(have);
	return r;
}

static void op_update(struct lcm_api_call *c, json_t *args)
{
	struct lcm_snapshot_job *j = job_of(c, args, "name");
	json_t *labels = json_object_get(args, "labels"), *none = json_object();
	lcm_autofree char *text = labels_arg(labels);
	struct lcm_snapshot_row row = { 0 };
	struct lcm_err err = { 0 };
	int r = 0;

	if (j)
		r = text ? update(j, labels ? labels : none, json_object_get(args, "paths"), &err)
			 : lcm_err_set(&err, -EINVAL, "labels: an object of strings is expected");
	json_decref(none);
	if (!j)
		return;
	if (r == 0)
		r = lcm_store_snapshot_get(c->host->e->store, j->row.name, &row);
	if (r < 0)
		snapshot_fail(j, r, &err);
	else
		snapshot_answer(j, 200, json_pack("{s:o}", "info", info_json(&row)));
	lcm_snapshot_row_fini(&row);
}

struct listing {
	json_t *infos, *filters;
};

static int list_one(void *arg, const struct lcm_snapshot_row *row)
{
	struct listing *l = arg;
	json_t *info = info_json(row);

	if (info && !lcm_snapshot_filter(info, l->filters)) {
		json_decref(info);
		return 0;
	}
	return json_array_append_new(l->infos, info) < 0 ? -ENOMEM : 0;
}

static void op_list(struct lcm_api_call *c, json_t *args)
{
	struct listing l = { .infos = json_array(), .filters = json_object_get(args, "filters") };
	int r = lcm_store_snapshot_each(c->host->e->store, list_one, &l);

	if (r < 0) {
		json_decref(l.infos);
		lcm_api_fail(c, r, NULL);
		return;
	}
	c->reply = json_pack("{s:o}", "infos", l.infos);
	c->status = c->reply ? 200 : 500;
}

/* ---- what no snapshot needs any more ---- */

static int add_unused(void *arg, const char *image)
{
	return json_array_append_new(arg, json_string(image)) < 0 ? -ENOMEM : 0;
}

/* Drops the images that no snapshot names any more. One that a mount still uses (it may just be
 * ending) is tried again. */
static int cleanup(struct lcm_host *h, struct lcm_drop_result *res, struct lcm_err *err)
{
	json_t *images = json_array(), *v;
	int r = lcm_store_snapshot_images_unused(h->e->store, add_unused, images);
	size_t i;

	json_array_foreach (images, i, v) {
		const char *image = json_string_value(v);
		uint64_t in_use = res->in_use;

		if (r < 0)
			break;
		snapshot_pull_end(h, image);
		r = lcm_drop_image(h, image, res, err);
		if (r == 0 && res->in_use == in_use)
			r = lcm_store_snapshot_image_forget(h->e->store, image);
	}
	json_decref(images);
	if (h->cleanup && (r < 0 || res->in_use)) {
		h->cleanup_ns = LCM_MIN(h->cleanup_ns * 2, CLEANUP_MAX_NS);
		lcm_timer_set(h->cleanup, h->cleanup_ns);
	}
	return r;
}

static void on_cleanup(void *arg)
{
	struct lcm_drop_result res = { 0 };
	struct lcm_err err = { 0 };
	int r = cleanup(arg, &res, &err);

	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "images of removed snapshots stay for now: %s",
			lcm_err_text(&err, r));
}

static void op_cleanup(struct lcm_api_call *c, json_t *args)
{
	struct lcm_drop_result res = { 0 };
	struct lcm_err err = { 0 };
	int r;

	(void)args;
	c->host->cleanup_ns = CLEANUP_FIRST_NS;
	r = cleanup(c->host, &res, &err);
	if (r < 0) {
		lcm_api_fail(c, r, &err);
		return;
	}
	c->reply = json_pack("{s:I s:I}", "layers_dropped", (json_int_t)res.layers, "bytes",
			     (json_int_t)res.bytes);
	c->status = c->reply ? 200 : 500;
}

int lcm_snapshot_start(struct lcm_host *h)
{
	int r = lcm_timer_new(h->e->loop, on_cleanup, h, &h->cleanup);

	if (r < 0)
		return r;
	snapshot_resume(h);
	h->cleanup_ns = CLEANUP_FIRST_NS;
	lcm_timer_set(h->cleanup, h->cleanup_ns);
	return 0;
}

void lcm_snapshot_stop(struct lcm_host *h)
{
	snapshot_pulls_free(h);
	lcm_timer_free(h->cleanup);
	h->cleanup = NULL;
}

static const struct {
	const char *name;
	void (*fn)(struct lcm_api_call *c, json_t *args);
} ops[] = {
	{ "prepare", op_prepare }, { "view", op_view },     { "mounts", op_mounts },
	{ "commit", op_commit },   { "remove", op_remove }, { "stat", op_stat },
	{ "usage", op_usage },     { "update", op_update }, { "list", op_list },
	{ "cleanup", op_cleanup },
};

void lcm_snapshot_call(struct lcm_api_call *c, const char *op, json_t *args)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(ops); i++) {
		if (strcmp(ops[i].name, op) != 0)
			continue;
		ops[i].fn(c, args);
		return;
	}
	lcm_api_error(c, 404, -ENOENT, "no such operation on snapshots: %.100s", op);
}
