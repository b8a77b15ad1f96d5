/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - routes of the control API (doc/control-api.md):
 *
 *   GET    /metrics                counters for Prometheus
 *   GET    /v1/daemon              version, pid, counters
 *   POST   /v1/daemon/stop
 *   GET    /v1/mounts              ?holders=1&detail=1: every session
 *   POST   /v1/mounts              {image, target, id, ...} -> 202 and its status
 *   GET    /v1/mounts/ID           ID may be a target, with '/' as %2F
 *   GET    /v1/mounts/ID/wait      ?for=ready|local|native&timeout_ms=N
 *   GET    /v1/mounts/ID/config    the image config
 *   GET    /v1/meter               classes; POST {class, weight, limits, ...}
 *   POST   /v1/meter/reload        read the policy file again
 *   GET    /v1/registries          which hosts are asked, and how they do
 *   POST   /v1/mounts/ID/meter     {class, weight, limits, readmit, after, reject}
 *   POST   /v1/mounts/ID/deadline  {deadline_ms, at_deadline}
 *   DELETE /v1/mounts/ID           ?lazy=1&remove=0|1
 *   GET    /v1/changes             ?timeout_ms=N: answers at the next change of any mount
 *   GET    /v1/images              POST /v1/drop-cache {image, all}, POST /v1/gc {to}
 *   POST   /v1/verify              {image, after, repair, now}: what is wrong with the next layer
 *   GET    /v1/index               ?image=REF: the tables of contents of its layers
 *   POST   /v1/index/push          {image, ...}: publish them (index_push.c)
 *   POST   /v1/containers          {id, pid, mount or dev}: a container is on a mount (container.c)
 *   DELETE /v1/containers/ID       it has ended
 *   POST   /v1/snapshots/OP        containerd's snapshots (snapshot.c)
 *   GET    /v1/blobs/DIGEST        ?image=REF&offset=N&length=N: a layer's blob (content.c)
 */
#include "config.h"

#include "src/daemon/api_priv.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/log.h"
#include "src/daemon/container.h"
#include "src/daemon/content.h"
#include "src/daemon/meter_policy.h"
#include "src/daemon/index.h"
#include "src/daemon/index_push.h"
#include "src/daemon/keep.h"
#include "src/daemon/metrics.h"
#include "src/daemon/registries.h"
#include "src/daemon/snapshot.h"
#include "src/daemon/verify.h"

#define WAIT_MS_MAX 600000

void lcm_api_error(struct lcm_api_call *c, int http, int code, const char *fmt, ...)
{
	char text[LCM_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->status = http;
	c->reply = json_pack("{s:o s:i}", "error", lcm_json_text(text), "code", code);
}

void lcm_api_fail(struct lcm_api_call *c, int code, const struct lcm_err *err)
{
	int http = code == -ENOENT                     ? 404
		   : code == -EEXIST || code == -EBUSY ? 409
		   : code == -EINVAL                   ? 400
						       : 500;

	lcm_api_error(c, http, code, "%s", lcm_err_text(err, code));
}

const char *api_text(json_t *args, const char *key)
{
	const char *s = json_string_value(json_object_get(args, key));

	return s ? s : "";
}

bool api_flag(json_t *args, const char *key)
{
	json_t *v = json_object_get(args, key);

	return json_is_true(v) || (json_is_string(v) && strcmp(json_string_value(v), "1") == 0);
}

int api_number(json_t *args, const char *key, uint64_t *ret)
{
	json_t *v = json_object_get(args, key);
	const char *s = json_string_value(v);
	unsigned long long n;
	char extra;

	if (!v)
		return 0;
	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		*ret = (uint64_t)json_integer_value(v);
		return 0;
	}
	if (!s || *s < '0' || *s > '9' || sscanf(s, "%18llu%c", &n, &extra) != 1)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* ---- sessions ---- */

static unsigned int status_args(json_t *args)
{
	return (api_flag(args, "holders") ? LCM_STATUS_HOLDERS : 0) |
	       (api_flag(args, "detail") ? LCM_STATUS_DETAIL : 0);
}

void api_reply_status(struct lcm_api_call *c, int http, struct lcm_session *s, unsigned int with)
{
	c->reply = lcm_session_status(s, with);
	c->status = c->reply ? http : 500;
}

static void mounts_get(struct lcm_api_call *c, json_t *args)
{
	json_t *list = json_array();

	lcm_session_check_mounts(c->host);
	for (struct lcm_session *s = c->host->sessions; s; s = lcm_session_next(s))
		(void)json_array_append_new(list, lcm_session_status(s, status_args(args)));
	c->reply = json_pack("{s:o}", "mounts", list);
	c->status = 200;
}

static void stop_waiting(struct lcm_api_call *c)
{
	if (!c->waiting)
		return;
	c->waiting = false;
	if (c->s)
		lcm_session_unwatch(c->s, &c->watch);
	else
		lcm_session_unwatch_all(c->host, &c->watch);
	if (c->timeout) /* a mount's end is waited for without one */
		lcm_timer_clear(c->timeout);
}

static bool reached(const struct lcm_api_call *c)
{
	enum lcm_phase p = lcm_session_phase(c->s);

	return p == LCM_FAILED || p >= c->want;
}

static void on_wait_changed(void *arg, struct lcm_session *s, bool gone)
{
	struct lcm_api_call *c = arg;

	if (gone) {
		c->waiting = false;
		lcm_timer_clear(c->timeout);
		lcm_api_error(c, 404, -ENOENT, "mount %s is gone", lcm_session_id(s));
		c->answered(c->arg);
	} else if (reached(c)) {
		stop_waiting(c);
		api_reply_status(c, 200, s, 0);
		c->answered(c->arg);
	}
}

static void on_wait_timeout(void *arg)
{
	struct lcm_api_call *c = arg;

	stop_waiting(c);
	api_reply_status(c, 200, c->s, 0);
	c->answered(c->arg);
}

/* ---- any change at all ---- */

static void changes_end(void *arg)
{
	struct lcm_api_call *c = arg;

	stop_waiting(c);
	c->reply = json_object();
	c->status = 200;
	c->answered(c->arg);
}

static void on_any_change(void *arg, struct lcm_session *s, bool gone)
{
	(void)s;
	(void)gone;
	changes_end(arg);
}

static void changes_get(struct lcm_api_call *c, json_t *args)
{
	uint64_t ms = WAIT_MS_MAX;

	if (api_number(args, "timeout_ms", &ms) < 0 || ms > WAIT_MS_MAX) {
		lcm_api_error(c, 400, -EINVAL, "timeout_ms: 0 to %d is expected", WAIT_MS_MAX);
		return;
	}
	if (lcm_timer_new(c->host->e->loop, changes_end, c, &c->timeout) < 0) {
		lcm_api_fail(c, -ENOMEM, NULL);
		return;
	}
	c->watch = (struct lcm_session_watch){ .changed = on_any_change, .arg = c };
	lcm_session_watch_all(c->host, &c->watch);
	lcm_timer_set(c->timeout, ms * 1000000);
	c->waiting = true;
}

static void mount_wait(struct lcm_api_call *c, struct lcm_session *s, json_t *args)
{
	const char *what = api_text(args, "for");
	bool patient = strcmp(api_text(args, "patient"), "1") == 0;
	uint64_t ms = WAIT_MS_MAX;

	if (!*what || strcmp(what, "ready") == 0)
		c->want = LCM_LAZY;
	else if (strcmp(what, "local") == 0)
		c->want = LCM_DRAINING;
	else if (strcmp(what, "native") == 0)
		c->want = LCM_NATIVE;
	else
		lcm_api_error(c, 400, -EINVAL, "for=%s: ready, local or native is expected", what);
	if (!c->status && (api_number(args, "timeout_ms", &ms) < 0 || ms > WAIT_MS_MAX))
		lcm_api_error(c, 400, -EINVAL, "timeout_ms: 0 to %d is expected", WAIT_MS_MAX);
	if (c->status)
		return;
	c->s = s;
	if (reached(c) || ms == 0 ||
	    lcm_timer_new(c->host->e->loop, on_wait_timeout, c, &c->timeout) < 0) {
		api_reply_status(c, 200, s, 0);
		return;
	}
	if (c->want > LCM_LAZY && !patient)
		lcm_session_hurry(s);
	c->watch = (struct lcm_session_watch){ .changed = on_wait_changed, .arg = c };
	lcm_session_watch(s, &c->watch);
	lcm_timer_set(c->timeout, ms * 1000000);
	c->waiting = true;
}

static void reply_closed(struct lcm_api_call *c)
{
	c->reply = json_object();
	c->status = 200;
}

static void on_closing_changed(void *arg, struct lcm_session *s, bool gone)
{
	struct lcm_api_call *c = arg;

	(void)s;
	if (!gone)
		return;
	c->waiting = false;
	reply_closed(c);
	c->answered(c->arg);
}

/* Answered when it is gone: whoever asked may then use its id, its directory, its unit. NULL: it
 * is.
 */
static void answer_when_gone(struct lcm_api_call *c, struct lcm_session *s)
{
	if (!s) {
		reply_closed(c);
		return;
	}
	c->s = s;
	c->watch = (struct lcm_session_watch){ .changed = on_closing_changed, .arg = c };
	lcm_session_watch(s, &c->watch);
	c->waiting = true;
}

static void mount_delete(struct lcm_api_call *c, struct lcm_session *s, json_t *args)
{
	const char *remove = api_text(args, "remove");
	struct lcm_host *h = c->host;
	struct lcm_err err = { 0 };
	char id[LCM_ID_MAX + 1];
	int r;

	(void)snprintf(id, sizeof(id), "%s", lcm_session_id(s));
	r = lcm_session_close(s, api_flag(args, "lazy"), *remove ? strcmp(remove, "1") == 0 : -1,
			      &err);
	if (r < 0) {
		lcm_api_fail(c, r, &err);
		return;
	}
	answer_when_gone(c, lcm_session_find(h, id));
}

static void mount_config(struct lcm_api_call *c, struct lcm_session *s)
{
	c->reply = json_pack("{s:o s:o s:s}", "config", json_string_nocheck(lcm_session_config(s)),
			     "manifest", json_string_nocheck(lcm_session_manifest(s)),
			     "config_text", lcm_session_config_text(s));
	c->status = c->reply ? 200 : 500;
}

static void mount_meter(struct lcm_api_call *c, struct lcm_session *s, json_t *args)
{
	struct lcm_err err = { 0 };
	int r = lcm_session_set_meter(s, args, &err);

	if (r < 0) {
		lcm_api_fail(c, r, &err);
		return;
	}
	c->reply = lcm_session_meter(s);
	c->status = 200;
}

static void mount_deadline(struct lcm_api_call *c, struct lcm_session *s, json_t *args)
{
	struct lcm_err err = { 0 };
	int r = lcm_session_set_deadline(s, args, &err);

	if (r < 0)
		lcm_api_fail(c, r, &err);
	else
		api_reply_status(c, 200, s, 0);
}

static void one_mount(struct lcm_api_call *c, const char *method, const char *rest, json_t *args)
{
	const char *action = strrchr(rest, '/');
	char name[4096];
	struct lcm_session *s;
	bool wait = action && strcmp(action, "/wait") == 0,
	     config = action && strcmp(action, "/config") == 0,
	     meter = action && strcmp(action, "/meter") == 0,
	     deadline = action && strcmp(action, "/deadline") == 0;

	(void)snprintf(
	    name, sizeof(name), "%.*s",
	    wait || config || meter || deadline ? (int)(action - rest) : (int)strlen(rest), rest);
	s = lcm_session_find(c->host, name);
	if (!s)
		lcm_api_error(c, 404, -ENOENT, "no mount \"%s\" (locum status lists them)", name);
	else if (wait && strcmp(method, "GET") == 0)
		mount_wait(c, s, args);
	else if (config && strcmp(method, "GET") == 0)
		mount_config(c, s);
	else if (meter && strcmp(method, "POST") == 0)
		mount_meter(c, s, args);
	else if (deadline && strcmp(method, "POST") == 0)
		mount_deadline(c, s, args);
	else if (strcmp(method, "GET") == 0)
		api_reply_status(c, 200, s, status_args(args));
	else if (strcmp(method, "DELETE") == 0)
		mount_delete(c, s, args);
	else
		lcm_api_error(c, 405, -EINVAL, "%s is not allowed here", method);
}

/* ---- containers ---- */

static void containers_post(struct lcm_api_call *c, json_t *args)
{
	struct lcm_container_tie t = { .id = api_text(args, "id"),
				       .bundle = api_text(args, "bundle"),
				       .started = api_flag(args, "started") };
	const char *mount = api_text(args, "mount");
	const json_t *meter = json_object_get(args, "meter");
	struct lcm_meter_args checked;
	struct lcm_err err = { 0 };
	struct lcm_session *s;
	uint64_t pid = 0, dev = 0;
	int r;

	if (api_number(args, "pid", &pid) < 0 || pid > INT_MAX ||
	    api_number(args, "dev", &dev) < 0) {
		lcm_api_error(c, 400, -EINVAL, "pid and dev are numbers from 0");
		return;
	}
	t.pid = (pid_t)pid;
	s = *mount ? lcm_session_find(c->host, mount) : dev ? lcm_session_at(c->host, dev) : NULL;
	if (!s) {
		lcm_api_error(c, 404, -ENOENT, "container %s is on no mount of locum", t.id);
		return;
	}
	/* A container that is refused changes nothing of the mount. */
	r = meter ? lcm_meter_args_take(meter, &checked, &err) : 0;
	if (r == 0)
		r = lcm_container_tie(s, &t, &err);
	if (r == 0 && meter)
		r = lcm_session_set_meter(s, meter, &err);
	if (r < 0) {
		lcm_api_fail(c, r, &err);
		return;
	}
	c->reply = json_pack("{s:s}", "mount", lcm_session_id(s));
	c->status = 200;
}

static void one_container(struct lcm_api_call *c, const char *method, const char *id, json_t *args)
{
	struct lcm_session *ends = NULL;
	struct lcm_err err = { 0 };
	int r;

	if (strcmp(method, "DELETE") != 0) {
		lcm_api_error(c, 405, -EINVAL, "%s is not allowed here", method);
		return;
	}
	r = lcm_container_release(c->host, id, api_text(args, "bundle"), &ends, &err);
	if (r < 0)
		lcm_api_fail(c, r, &err);
	else
		answer_when_gone(c, ends);
}

/* ---- classes of mounts ---- */

static void meter_get(struct lcm_api_call *c, json_t *args)
{
	(void)args;
	c->reply = json_pack("{s:s s:o}", "file", c->host->meter_file, "classes",
			     lcm_meter_classes_json(c->host));
	c->status = c->reply ? 200 : 500;
}

static void meter_post(struct lcm_api_call *c, json_t *args)
{
	struct lcm_err err = { 0 };
	int r = lcm_meter_class_set(c->host, args, &err);

	if (r < 0)
		lcm_api_fail(c, r, &err);
	else
		meter_get(c, args);
}

static void meter_reload(struct lcm_api_call *c, json_t *args)
{
	struct lcm_err err = { 0 };
	int r = lcm_meter_load(c->host, true, &err);

	if (r < 0)
		lcm_api_fail(c, r, &err);
	else
		meter_get(c, args);
}

/* ---- the daemon ---- */

static void daemon_get(struct lcm_api_call *c)
{
	struct lcm_registry_stats st;

	lcm_registry_stats(c->host->e->reg, &st);
	c->reply = json_pack("{s:s s:i s:s s:s? s:s s:{s:I s:I s:I s:I} s:I s:I s:I}", "version",
			     PACKAGE_VERSION, "pid", (int)getpid(), "root",
			     lcm_store_root(c->host->e->store), "web", c->host->web_url, "keep",
			     lcm_keep_name(c->host->keep), "registry", "requests",
			     (json_int_t)st.requests, "retries", (json_int_t)st.retries, "bytes",
			     (json_int_t)st.bytes, "in_flight", (json_int_t)st.in_flight,
			     "demand_fetches", (json_int_t)c->host->e->demand_fetches,
			     "demand_bytes", (json_int_t)c->host->e->demand_bytes,
			     "background_bytes", (json_int_t)c->host->e->background_bytes);
	if (c->reply)
		(void)json_object_set_new(c->reply, "background",
					  lcm_background_json(c->host->e->background));
	c->status = c->reply ? 200 : 500;
}

static void route_daemon(struct lcm_api_call *c, json_t *args)
{
	(void)args;
	daemon_get(c);
}

static void route_registries(struct lcm_api_call *c, json_t *args)
{
	(void)args;
	c->reply = json_pack("{s:o}", "registries", lcm_registries_json(c->host->e->reg));
	c->status = c->reply ? 200 : 500;
}

static void route_metrics(struct lcm_api_call *c, json_t *args)
{
	int r;

	(void)args;
	c->text = LCM_BUF(LCM_CONTROL_REPLY_MAX);
	r = lcm_metrics_write(c->host, &c->text);
	if (r < 0) {
		lcm_api_fail(c, r, NULL);
		return;
	}
	c->type = LCM_METRICS_TYPE;
	c->status = 200;
}

static void route_stop(struct lcm_api_call *c, json_t *args)
{
	(void)args;
	c->reply = json_object();
	c->status = 200;
	lcm_loop_stop(c->host->e->loop);
}

static const struct {
	const char *method, *url;
	void (*fn)(struct lcm_api_call *c, json_t *args);
} routes[] = {
	{ "GET", "/metrics", route_metrics },
	{ "GET", "/v1/daemon", route_daemon },
	{ "POST", "/v1/daemon/stop", route_stop },
	{ "GET", "/v1/meter", meter_get },
	{ "POST", "/v1/meter", meter_post },
	{ "POST", "/v1/meter/reload", meter_reload },
	{ "GET", "/v1/mounts", mounts_get },
	{ "POST", "/v1/mounts", api_mounts_post },
	{ "GET", "/v1/images", api_images },
	{ "GET", "/v1/registries", route_registries },
	{ "POST", "/v1/drop-cache", api_drop_cache },
	{ "GET", "/v1/changes", changes_get },
	{ "GET", "/v1/index", api_index },
	{ "POST", "/v1/index/push", api_index_push },
	{ "POST", "/v1/containers", containers_post },
	{ "POST", "/v1/gc", api_gc },
	{ "POST", "/v1/verify", api_verify },
};

void lcm_api_start(struct lcm_api_call *c, const char *method, const char *url, json_t *args)
{
	static const char mounts[] = "/v1/mounts/", snapshots[] = "/v1/snapshots/",
			  containers[] = "/v1/containers/", blobs[] = "/v1/blobs/";

	for (size_t i = 0; i < LCM_ARRAY_SIZE(routes); i++) {
		if (strcmp(routes[i].method, method) != 0 || strcmp(routes[i].url, url) != 0)
			continue;
		routes[i].fn(c, args);
		return;
	}
	if (strncmp(url, mounts, sizeof(mounts) - 1) == 0)
		one_mount(c, method, url + sizeof(mounts) - 1, args);
	else if (strncmp(url, containers, sizeof(containers) - 1) == 0)
		one_container(c, method, url + sizeof(containers) - 1, args);
	else if (strcmp(method, "POST") == 0 && strncmp(url, snapshots, sizeof(snapshots) - 1) == 0)
		lcm_snapshot_call(c, url + sizeof(snapshots) - 1, args);
	else if (strcmp(method, "GET") == 0 && strncmp(url, blobs, sizeof(blobs) - 1) == 0)
		lcm_content_call(c, url + sizeof(blobs) - 1, args);
	else
		lcm_api_error(c, 404, -ENOENT, "no such resource: %s %s", method, url);
}

void lcm_api_end(struct lcm_api_call *c)
{
	stop_waiting(c);
	lcm_index_forget(c->index);
	c->index = NULL;
	lcm_index_push_forget(c->push);
	c->push = NULL;
	lcm_snapshot_forget(c->snapshot);
	c->snapshot = NULL;
	lcm_verify_forget(c->verify);
	c->verify = NULL;
	lcm_content_forget(c->content);
	c->content = NULL;
	lcm_timer_free(c->timeout);
	c->timeout = NULL;
	json_decref(c->reply);
	c->reply = NULL;
	lcm_buf_fini(&c->text);
}

void lcm_api_shutdown(struct lcm_host *h)
{
	/* Sessions end with the daemon; each tells its waiters. */
	while (h->sessions)
		lcm_session_free(h->sessions);
	/* Who waits for any change is told even when there was no session left to end. */
	while (h->watches)
		h->watches->changed(h->watches->arg, NULL, true);
}
