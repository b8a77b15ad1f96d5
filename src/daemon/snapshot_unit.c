/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_unit.c - snapshots that write into a storage unit: what their labels say, and how they
 * leave it.
 *
 * The labels are in the snapshot's row, and the unit's user is the id of the snapshot's mount: so
 * whatever is restarted, it is known whose unit it is. It goes before the row does: a removal that
 * was interrupted is done again.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/number.h"
#include "src/daemon/meter_args.h"
#include "src/daemon/snapshot_priv.h"
#include "unit/unit.h"

#define LABEL_SIZE SNAPSHOT_UNIT_LABEL ".size"
#define LABEL_POOL SNAPSHOT_UNIT_LABEL ".pool"

static const char *label(const json_t *labels, const char *key)
{
	const char *s = json_string_value(json_object_get(labels, key));

	return s ? s : "";
}

int snapshot_unit_get(const json_t *labels, struct snapshot_unit *ret, struct lcm_err *err)
{
	const char *key = label(labels, SNAPSHOT_UNIT_LABEL), *size = label(labels, LABEL_SIZE);
	struct snapshot_unit u = { .pool = label(labels, LABEL_POOL) };

	if (!*key && (*size || *u.pool))
		return lcm_err_set(err, -EINVAL,
				   "labels " LABEL_SIZE " and .pool need " SNAPSHOT_UNIT_LABEL);
	if (*size && (lcm_number_parse(size, true, &u.size) < 0 || u.size > INT64_MAX))
		return lcm_err_set(err, -EINVAL,
				   "label " LABEL_SIZE
				   " \"%.40s\": bytes are expected, or a number with K, M or G",
				   size);
	u.key = *key ? key : NULL;
	u.is_new = strcmp(key, "new") == 0;
	if (u.is_new && !u.size)
		return lcm_err_set(err, -EINVAL,
				   "label " SNAPSHOT_UNIT_LABEL "=new needs " LABEL_SIZE);
	*ret = u;
	return 0;
}

int snapshot_meter(const json_t *labels, json_t **ret, struct lcm_err *err)
{
	const struct lcm_meter_texts t = {
		.class = label(labels, SNAPSHOT_METER_LABEL ".class"),
		.weight = label(labels, SNAPSHOT_METER_LABEL ".weight"),
		.limits = label(labels, SNAPSHOT_METER_LABEL ".limits"),
		.readmit = label(labels, SNAPSHOT_METER_LABEL ".readmit"),
		.reject = label(labels, SNAPSHOT_METER_LABEL ".reject"),
	};

	return lcm_meter_texts_take(&t, ret, err);
}

int snapshot_deadline(const json_t *labels, uint64_t *deadline_ns, bool *freeze,
		      struct lcm_err *err)
{
	const char *seconds = label(labels, SNAPSHOT_DEADLINE_LABEL),
		   *at = label(labels, SNAPSHOT_AT_DEADLINE_LABEL);
	uint64_t s = 0;

	if (*seconds &&
	    (lcm_number_parse(seconds, false, &s) < 0 || s > LCM_DEADLINE_MS_MAX / 1000))
		return lcm_err_set(err, -EINVAL,
				   "label " SNAPSHOT_DEADLINE_LABEL
				   " \"%.40s\": seconds, 0 to %llu, are expected",
				   seconds, LCM_DEADLINE_MS_MAX / 1000);
	if (*at && lcm_at_deadline_parse(at, freeze) < 0)
		return lcm_err_set(err, -EINVAL,
				   "label " SNAPSHOT_AT_DEADLINE_LABEL
				   " \"%.40s\": eio or freeze is expected",
				   at);
	if (*seconds)
		*deadline_ns = s * 1000000000U;
	return 0;
}

int snapshot_unit_check(const json_t *labels, enum lcm_snapshot_kind kind, bool layer,
			struct lcm_err *err)
{
	struct snapshot_unit u;
	int r = snapshot_unit_get(labels, &u, err);

	if (r < 0 || !u.key)
		return r;
	if (layer) /* its labels are from the image's manifest */
		return lcm_err_set(
		    err, -EINVAL,
		    "label " SNAPSHOT_UNIT_LABEL
		    ": a layer of an image is in no unit, whatever the image's manifest says");
	if (kind == LCM_SNAPSHOT_VIEW)
		return lcm_err_set(err, -EINVAL,
				   "label " SNAPSHOT_UNIT_LABEL ": a view writes into no unit");
	return 0;
}

int snapshot_unit_same(const json_t *a, const json_t *b, struct lcm_err *err)
{
	static const char *const keys[] = { SNAPSHOT_UNIT_LABEL, LABEL_SIZE, LABEL_POOL };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(keys); i++)
		if (strcmp(label(a, keys[i]), label(b, keys[i])) != 0)
			return lcm_err_set(
			    err, -EINVAL,
			    "label %s says where the snapshot's files are: it cannot "
			    "be changed",
			    keys[i]);
	return 0;
}

/* ---- leaving it ---- */

static int let_go(const struct lcm_snapshot_job *j, struct lcm_units *u, const char *key, bool gone,
		  struct lcm_err *err)
{
	char mount[LCM_ID_MAX + 1];
	struct lcm_unit v;
	int r;

	snapshot_session_id(j->row.id, mount);
	r = lcm_unit_get(u, gone ? mount : key, &v, err);
	if (r == -ENOENT)
		return 0;
	/* Its mount has left it, unless that failed, or the mount ended with an earlier daemon. */
	if (r == 0 && strcmp(v.user, mount) == 0)
		r = lcm_unit_detach(u, v.id, mount, err);
	return r == 0 && gone ? lcm_unit_delete(u, v.id, err) : r;
}

static void on_let_go(void *arg)
{
	struct lcm_snapshot_job *j = arg;

	if (!j->call)
		snapshot_job_free(j);
	else if (j->status < 0)
		snapshot_fail(j, j->status, &j->err);
	else
		snapshot_removed(j);
}

static void let_go_job(void *arg)
{
	struct lcm_snapshot_job *j = arg;
	const struct lcm_host *h = j->host;
	lcm_auto(lcm_units) u = NULL;
	struct snapshot_unit su;

	j->status = lcm_units_open(lcm_store_root(h->e->store), h->run_dir, &u, &j->err);
	if (j->status == 0)
		j->status = snapshot_unit_get(j->labels, &su, &j->err);
	if (j->status == 0)
		j->status = let_go(j, u, su.key, su.is_new, &j->err);
	j->task.fn = on_let_go;
	lcm_loop_post_task(h->e->loop, &j->task);
}

static void begin_let_go(struct lcm_snapshot_job *j)
{
	j->task = (struct lcm_task){ .fn = let_go_job, .arg = j };
	lcm_pool_submit(j->host->e->pool, LCM_POOL_DEMAND, &j->task);
}

static void on_mount_gone(void *arg, struct lcm_session *s, bool gone)
{
	struct lcm_snapshot_job *j = arg;

	(void)s;
	if (!gone)
		return;
	j->s = NULL;
	if (j->host->e->closing)
		snapshot_fail(j, -ESHUTDOWN, NULL);
	else
		begin_let_go(j);
}

void snapshot_unit_remove(struct lcm_snapshot_job *j)
{
	char mount[LCM_ID_MAX + 1];

	snapshot_session_id(j->row.id, mount);
	j->s = lcm_session_find(j->host, mount);
	if (!j->s) {
		begin_let_go(j);
		return;
	}
	j->watch = (struct lcm_session_watch){ .changed = on_mount_gone, .arg = j };
	lcm_session_watch(j->s, &j->watch);
}
