/* SPDX-License-Identifier: Apache-2.0 */
/* api_mount.c - POST /v1/mounts: what a mount is asked to be. */
#include <limits.h>
#include <string.h>

#include "src/daemon/api_priv.h"
#include "src/daemon/container.h"
#include "src/daemon/image_index.h"
#include "src/daemon/snapshot.h"

static int parse_policy(const char *s, enum lcm_image_policy *ret)
{
	static const char *const names[] = { [LCM_IMAGE_MISSING] = "missing",
					     [LCM_IMAGE_ALWAYS] = "always",
					     [LCM_IMAGE_NEVER] = "never" };

	for (size_t i = 0; *s && i < LCM_ARRAY_SIZE(names); i++) {
		if (strcmp(s, names[i]) != 0)
			continue;
		*ret = (enum lcm_image_policy)i;
		return 0;
	}
	return *s ? -EINVAL : 0;
}

/* The mount is made for a container, and goes with it. */
static int own_mount(struct lcm_session *s, json_t *args, pid_t pid, struct lcm_err *err)
{
	const struct lcm_container_tie t = { .id = api_text(args, "container"),
					     .bundle = api_text(args, "bundle"),
					     .pid = pid,
					     .owns = true };
	int r = lcm_container_tie(s, &t, err);

	if (r < 0)
		lcm_ignore(lcm_session_close(s, true, -1, NULL));
	return r;
}

static bool take_numbers(json_t *args, struct lcm_session_options *o, pid_t *ret_pid)
{
	uint64_t ms = o->deadline_ns / 1000000, pid = 0, weight = LCM_LIF_WEIGHT;

	if (api_number(args, "deadline_ms", &ms) < 0 || api_number(args, "pid", &pid) < 0 ||
	    pid > INT_MAX || api_number(args, "big_data", &o->big.data_bytes) < 0 ||
	    api_number(args, "big_exec", &o->big.exec_bytes) < 0 ||
	    api_number(args, "unit_size", &o->unit_size) < 0 ||
	    api_number(args, "weight", &weight) < 0 || weight < 1 || weight > LCM_LIF_WEIGHT_MAX ||
	    ms > LCM_DEADLINE_MS_MAX)
		return false;
	o->weight = json_object_get(args, "weight") ? (uint32_t)weight : 0;
	o->deadline_ns = ms * 1000000;
	*ret_pid = (pid_t)pid;
	return true;
}

/* What of @args would ask a registry all the same. */
static const char *not_offline(json_t *args, const struct lcm_session_options *o)
{
	const char *pull = api_text(args, "pull"), *index = api_text(args, "index");

	if (o->pull || (*pull && strcmp(pull, "never") != 0))
		return "pull";
	return *o->platform ? "platform" : *index && strcmp(index, "none") != 0 ? "index" : NULL;
}

/* One layer is a lower directory of other overlays, and nothing else. */
static bool take_layer(json_t *args, struct lcm_session_options *o)
{
	const char *layer = api_text(args, "layer");

	if (!*layer)
		return true;
	o->read_only = o->lower = true;
	o->remount = false; /* its row says nothing of this */
	return !o->pull && !o->full && !*o->unit &&
	       lcm_digest_parse(layer, strlen(layer), &o->layer) == 0;
}

/* Return: false, and the answer is an error. */
static bool take_mount(struct lcm_api_call *c, json_t *args, struct lcm_session_options *o,
		       pid_t *ret_pid)
{
	const char *at_deadline = api_text(args, "at_deadline");

	if (!*o->image)
		lcm_api_error(c, 400, -EINVAL, "\"image\" is missing");
	else if (strncmp(o->id, LCM_SNAPSHOT_SESSION, strlen(LCM_SNAPSHOT_SESSION)) == 0)
		lcm_api_error(c, 400, -EINVAL, "ids that begin with \"%s\" are containerd's",
			      LCM_SNAPSHOT_SESSION);
	else if (*o->target && *o->target != '/')
		lcm_api_error(c, 400, -EINVAL, "target \"%s\" is not an absolute path", o->target);
	else if (parse_policy(api_text(args, "pull"), &o->policy) < 0)
		lcm_api_error(c, 400, -EINVAL, "pull \"%s\": missing, always or never is expected",
			      api_text(args, "pull"));
	else if (*at_deadline && lcm_at_deadline_parse(at_deadline, &o->freeze) < 0)
		lcm_api_error(c, 400, -EINVAL, "at_deadline \"%s\": eio or freeze is expected",
			      at_deadline);
	else if (lcm_index_where_parse(api_text(args, "index"), &o->index) < 0)
		lcm_api_error(
		    c, 400, -EINVAL,
		    "index \"%s\": manifest, referrers, none or sha256: and 64 hex digits "
		    "are expected",
		    api_text(args, "index"));
	else if (o->offline && not_offline(args, o))
		lcm_api_error(c, 400, -EINVAL, "offline: %s asks a registry; leave out one of both",
			      not_offline(args, o));
	else if (!take_layer(args, o))
		lcm_api_error(c, 400, -EINVAL,
			      "layer: a digest is expected, and neither pull_only, full nor unit");
	else if (!take_numbers(args, o, ret_pid))
		lcm_api_error(
		    c, 400, -EINVAL,
		    "deadline_ms, big_data, big_exec, unit_size and pid are numbers from 0, weight "
		    "is one from 1 to 10000");
	return !c->status;
}

void api_mounts_post(struct lcm_api_call *c, json_t *args)
{
	struct lcm_session_options o = {
		.image = api_text(args, "image"),
		.id = api_text(args, "id"),
		.target = api_text(args, "target"),
		.platform = api_text(args, "platform"),
		.pull = api_flag(args, "pull_only"),
		.read_only = api_flag(args, "read_only"),
		.full = api_flag(args, "full"),
		.keep = api_flag(args, "keep"),
		.lower = api_flag(args, "lower"),
		.offline = api_flag(args, "offline"),
		.remount = api_flag(args, "remount"),
		.unit = api_text(args, "unit"),
		.unit_pool = api_text(args, "unit_pool"),
		.big = c->host->big,
		.deadline_ns = c->host->deadline_ns,
		.freeze = c->host->freeze,
		.meter = json_object_get(args, "meter"),
		.policy = api_flag(args, "pull_only") ? LCM_IMAGE_ALWAYS : LCM_IMAGE_MISSING,
	};
	struct lcm_err err = { 0 };
	struct lcm_session *s;
	pid_t pid = 0;
	int r;

	if (!take_mount(c, args, &o, &pid))
		return;
	s = lcm_session_claim(c->host, &o);
	r = s ? 0 : lcm_session_new(c->host, &o, &s, &err);
	if (r == 0 && json_object_get(args, "container"))
		r = own_mount(s, args, pid, &err);
	if (r < 0)
		lcm_api_fail(c, r, &err);
	else
		api_reply_status(c, 202, s, 0);
}
