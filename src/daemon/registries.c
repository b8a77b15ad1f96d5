/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/registries.h"

#include <string.h>

#include "registry/hosts.h"

struct list {
	json_t *all;   /* owned */
	json_t *hosts; /* borrowed; of the last registry in all */
	char name[256];
	bool failed;
};

static json_t *capabilities(uint32_t caps)
{
	static const char *const names[] = { "pull", "resolve", "push" };
	json_t *a = json_array();

	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++)
		if (caps & (1U << i))
			(void)json_array_append_new(a, json_string(names[i]));
	return a;
}

static void begin(struct list *l, const struct lcm_registry_host *h)
{
	json_t *hosts = json_array(), *o;

	o = json_pack("{s:s s:s? s:s? s:s s:i s:I s:O}", "registry", h->registry, "dir", h->dir,
		      "error", h->error, "balance", h->balance, "spread", (int)h->spread, "moves",
		      (json_int_t)h->moves, "hosts", hosts);
	l->hosts = hosts;
	(void)snprintf(l->name, sizeof(l->name), "%s", h->registry);
	l->failed |= !o || json_array_append_new(l->all, o) < 0;
	json_decref(hosts);
}

static void on_host(void *arg, const struct lcm_registry_host *h)
{
	struct list *l = arg;
	json_t *o;

	if (l->failed)
		return;
	if (!l->hosts || strcmp(l->name, h->registry) != 0)
		begin(l, h);
	if (l->failed || !h->host)
		return;
	o = json_pack(
	    "{s:s s:b s:o s:s s:I s:I s:I s:I s:I s:f s:I s:I s:I s:I s:I s:s?}", "host", h->host,
	    "upstream", (int)h->upstream, "capabilities", capabilities(h->caps), "state", h->state,
	    "probe_ms", (json_int_t)h->probe_ms, "score", (json_int_t)h->score, "in_flight_bytes",
	    (json_int_t)h->in_flight, "bytes_per_second", (json_int_t)h->bps, "latency_ms",
	    (json_int_t)h->latency_ms, "errors", (double)h->errors / 1000, "bytes",
	    (json_int_t)h->bytes, "good", (json_int_t)h->good, "failed", (json_int_t)h->failed,
	    "opened", (json_int_t)h->opened, "moved", (json_int_t)h->moved, "last_error", h->last);
	if (o && h->last)
		(void)json_object_set_new(o, "last_error_s", json_integer(h->last_s));
	l->failed |= !o || json_array_append_new(l->hosts, o) < 0;
}

json_t *lcm_registries_json(struct lcm_registry *r)
{
	struct list l = { .all = json_array() };

	if (!l.all)
		return NULL;
	lcm_registry_hosts(r, on_host, &l);
	if (!l.failed)
		return l.all;
	json_decref(l.all);
	return NULL;
}
