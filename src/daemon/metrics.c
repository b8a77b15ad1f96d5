/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "src/daemon/metrics.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "src/daemon/registries.h"

/* One family: its samples follow each other, as the format wants it. */
static int family(struct lcm_buf *out, const char *name, const char *type, const char *help)
{
	return lcm_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int single(struct lcm_buf *out, const char *name, const char *type, const char *help,
		  double value)
{
	int r = family(out, name, type, help);

	return r < 0 ? r : lcm_buf_printf(out, "%s %.17g\n", name, value);
}

/* A label's value: references are plain, but nothing may end it early. */
static int label(struct lcm_buf *out, const char *name, const char *value)
{
	int r = lcm_buf_printf(out, "%s=\"", name);

	for (; r == 0 && *value; value++) {
		if (*value == '\n')
			r = lcm_buf_add(out, "\\n", 2);
		else if (*value == '"' || *value == '\\')
			r = lcm_buf_printf(out, "\\%c", *value);
		else
			r = lcm_buf_add(out, value, 1);
	}
	return r < 0 ? r : lcm_buf_add(out, "\"", 1);
}

/* ---- the process ---- */

static int process(struct lcm_buf *out)
{
	lcm_autofree char *statm = NULL;
	struct rusage ru;
	size_t len;
	unsigned long long pages = 0;
	int r = 0;

	if (getrusage(RUSAGE_SELF, &ru) == 0)
		r = single(out, "process_cpu_seconds_total", "counter",
			   "User and system time of the daemon.",
			   (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
			       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
	if (r == 0 && lcm_read_file_at(AT_FDCWD, "/proc/self/statm", 256, &statm, &len) == 0 &&
	    sscanf(statm, "%*u %llu", &pages) == 1)
		r = single(out, "process_resident_memory_bytes", "gauge",
			   "Memory of the daemon that is resident.",
			   (double)pages * (double)sysconf(_SC_PAGESIZE));
	return r;
}

/* ---- what all mounts share ---- */

static int shared(struct lcm_host *h, struct lcm_buf *out)
{
	const struct lcm_engine *e = h->e;
	struct lcm_registry_stats reg;
	struct lcm_store_totals store = { 0 };
	int r = lcm_store_totals(e->store, &store);

	lcm_registry_stats(e->reg, &reg);
	const struct {
		const char *name, *type, *help;
		double value;
	} all[] = {
		{ "locum_registry_requests_total", "counter", "Requests to registries.",
		  (double)reg.requests },
		{ "locum_registry_retries_total", "counter", "Transfers that were tried again.",
		  (double)reg.retries },
		{ "locum_registry_received_bytes_total", "counter", "Bytes of their answers.",
		  (double)reg.bytes },
		{ "locum_registry_requests_in_flight", "gauge", "Requests that wait or transfer.",
		  (double)reg.in_flight },
		{ "locum_demand_fetches_total", "counter", "Transfers that somebody waited for.",
		  (double)e->demand_fetches },
		{ "locum_demand_bytes_total", "counter", "Compressed bytes of those.",
		  (double)e->demand_bytes },
		{ "locum_background_bytes_total", "counter",
		  "Compressed bytes that were pulled with nobody waiting for them.",
		  (double)e->background_bytes },
		{ "locum_background_processor_seconds_total", "counter",
		  "Processor time of what nobody waited for.",
		  (double)lcm_background_ns(e->background) / 1e9 },
		{ "locum_background_waits", "gauge",
		  "1 while it waits for a processor, or has its guaranteed share of one.",
		  (double)(strcmp(lcm_background_state(e->background), "waiting") == 0 ||
			   strcmp(lcm_background_state(e->background), "share") == 0) },
		{ "locum_gc_layers_total", "counter", "Layers that were dropped to make room.",
		  (double)h->gc_layers },
		{ "locum_gc_bytes_total", "counter", "Their bytes.", (double)h->gc_bytes },
		{ "locum_store_layers", "gauge", "Layers in the store.", (double)store.layers },
		{ "locum_store_layers_complete", "gauge", "Layers of which all is here.",
		  (double)store.layers_complete },
		{ "locum_store_unpacked_bytes", "gauge", "Unpacked size of complete layers.",
		  (double)store.real_bytes },
		{ "locum_store_images", "gauge", "Images in the store.", (double)store.images },
	};

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(all); i++)
		r = single(out, all[i].name, all[i].type, all[i].help, all[i].value);
	return r;
}

static double number(const json_t *status, const char *key)
{
	bool ms = strcmp(key + strlen(key) - 3, "_ms") == 0;
	const char *dot;
	char part[32];

	while ((dot = strchr(key, '.'))) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(dot - key), key);
		status = json_object_get(status, part);
		key = dot + 1;
	}
	return json_number_value(json_object_get(status, key)) * (ms ? 1e-3 : 1);
}

/* ---- hosts ---- */

static const struct {
	const char *key, *name, *type, *help; /* key: as GET /v1/registries has it */
} of_host[] = {
	{ "score", "locum_host_score", "gauge",
	  "How loaded a host of registries is; overloaded from 10000 on." },
	{ "in_flight_bytes", "locum_host_in_flight_bytes", "gauge",
	  "Bytes it was asked for that have not come; of each transfer at most 4 MiB." },
	{ "bytes_per_second", "locum_host_bytes_per_second", "gauge",
	  "Its throughput while it was busy; 0: not measured." },
	{ "latency_ms", "locum_host_latency_seconds", "gauge", "Its time to the first byte." },
	{ "bytes", "locum_host_received_bytes_total", "counter", "Bytes that came from it." },
	{ "good", "locum_host_good_total", "counter", "Transfers that ended well." },
	{ "failed", "locum_host_failed_total", "counter",
	  "Transfers that failed through its fault." },
	{ "opened", "locum_host_opened_total", "counter",
	  "How often it was left alone because it failed." },
	{ "moved", "locum_host_moved_total", "counter", "Transfers that went on at another host." },
};

/* One that serves several registries is told of once. */
static json_t *unique_hosts(struct lcm_registry *reg)
{
	json_t *all = lcm_registries_json(reg), *unique = json_object(), *r, *h;
	size_t i, k;

	json_array_foreach (all, i, r)
		json_array_foreach (json_object_get(r, "hosts"), k, h)
			(void)json_object_set(unique, json_string_value(json_object_get(h, "host")),
					      h);
	json_decref(all);
	return unique;
}

static int host_sample(struct lcm_buf *out, const char *name, const char *host, double value)
{
	int r = lcm_buf_printf(out, "%s{", name);

	if (r == 0)
		r = label(out, "host", host);
	return r < 0 ? r : lcm_buf_printf(out, "} %.17g\n", value);
}

static int hosts(struct lcm_host *h, struct lcm_buf *out)
{
	json_t *all = unique_hosts(h->e->reg), *v;
	const char *host;
	int r = family(out, "locum_host_open", "gauge",
		       "Whether a host of registries is left alone because it fails.");

	json_object_foreach (all, host, v)
		if (r == 0)
			r = host_sample(
			    out, "locum_host_open", host,
			    strcmp(json_string_value(json_object_get(v, "state")), "closed") != 0);
	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(of_host); i++) {
		r = family(out, of_host[i].name, of_host[i].type, of_host[i].help);
		json_object_foreach (all, host, v)
			if (r == 0)
				r = host_sample(out, of_host[i].name, host,
						number(v, of_host[i].key));
	}
	json_decref(all);
	return r;
}

static int phases(struct lcm_host *h, struct lcm_buf *out)
{
	unsigned int n[LCM_PHASE_MAX] = { 0 };
	int r = family(out, "locum_mounts", "gauge", "Mounts and pulls by phase.");

	for (struct lcm_session *s = h->sessions; s; s = lcm_session_next(s))
		n[lcm_session_phase(s)]++;
	for (enum lcm_phase p = 0; r == 0 && p < LCM_PHASE_MAX; p++)
		r = lcm_buf_printf(out, "locum_mounts{phase=\"%s\"} %u\n", lcm_phase_name(p), n[p]);
	return r;
}

/* ---- each mount ---- */

static const struct {
	/* @key: in its status, a dot goes one deeper; "_ms" becomes seconds */
	const char *key, *name, *type, *help;
} of_mount[] = {
	{ "files_total", "locum_mount_files", "gauge", "Files of the image." },
	{ "files_local", "locum_mount_files_local", "gauge", "Files that are here." },
	{ "bytes_total", "locum_mount_bytes", "gauge", "Unpacked bytes of the image." },
	{ "bytes_local", "locum_mount_bytes_local", "gauge", "Unpacked bytes that are here." },
	{ "waiters", "locum_mount_waiters", "gauge", "Requests that wait for a missing file." },
	{ "bound_inodes", "locum_mount_bound_inodes", "gauge",
	  "Open big files that keep the mount from being native." },
	{ "demand_fetches", "locum_mount_demand_fetches_total", "counter",
	  "Files that were fetched while somebody waited." },
	{ "demand_bytes", "locum_mount_demand_bytes_total", "counter",
	  "Compressed bytes of those." },
	{ "blocked_ms", "locum_mount_blocked_seconds_total", "counter",
	  "Time in which somebody waited for a missing file." },
	{ "meter.weight", "locum_mount_weight", "gauge", "Share where others ask too." },
	{ "meter.regulation.times_held", "locum_mount_meter_held_total", "counter",
	  "How often it was held for a limit." },
	{ "meter.regulation.times_rejected", "locum_mount_meter_rejecting_total", "counter",
	  "How often its requests began to be rejected for two limits." },
	{ "gate.rejected", "locum_mount_gate_rejected_total", "counter",
	  "Requests that were rejected for limits." },
	{ "meter.demand.requests", "locum_mount_meter_requests_total", "counter",
	  "Requests of its that were fetched for." },
	{ "meter.demand.fetched_bytes", "locum_mount_meter_fetched_bytes_total", "counter",
	  "Its part of what demand fetched." },
	{ "meter.demand.decoded_bytes", "locum_mount_meter_decoded_bytes_total", "counter",
	  "Its part of the compressed bytes that were decoded for demand." },
	{ "meter.demand.written_bytes", "locum_mount_meter_written_bytes_total", "counter",
	  "Its part of what demand wrote." },
	{ "meter.demand.queue_ms", "locum_mount_meter_queue_seconds_total", "counter",
	  "Its requests waited for a turn." },
	{ "meter.demand.network_ms", "locum_mount_meter_network_seconds_total", "counter",
	  "Its requests waited for the network." },
	{ "meter.demand.decode_ms", "locum_mount_meter_decode_seconds_total", "counter",
	  "Its part of the decoders' time." },
	{ "meter.demand.disk_ms", "locum_mount_meter_disk_seconds_total", "counter",
	  "Its part of the time files were written." },
	{ "meter.background.fetched_bytes", "locum_mount_meter_background_bytes_total", "counter",
	  "Its part of what was pulled with nobody waiting." },
	{ "gate.requests", "locum_mount_gate_requests_total", "counter",
	  "Requests of the kernel to the gate." },
	{ "gate.errors", "locum_mount_gate_errors_total", "counter",
	  "Requests that were answered with an error." },
};

static int sample(struct lcm_buf *out, const char *name, const json_t *status, double value)
{
	const char *class = json_string_value(json_object_get(
	    json_object_get(json_object_get(status, "meter"), "regulation"), "class"));
	int r = lcm_buf_printf(out, "%s{", name);

	if (r == 0)
		r = label(out, "id", json_string_value(json_object_get(status, "id")));
	if (r == 0)
		r = lcm_buf_add(out, ",", 1);
	if (r == 0)
		r = label(out, "image", json_string_value(json_object_get(status, "image")));
	if (r == 0 && class)
		r = lcm_buf_add(out, ",", 1);
	if (r == 0 && class)
		r = label(out, "class", class);
	return r < 0 ? r : lcm_buf_printf(out, "} %.17g\n", value);
}

static int mounts(struct lcm_host *h, struct lcm_buf *out)
{
	json_t *all = json_array(), *v;
	size_t at;
	int r = 0;

	for (struct lcm_session *s = h->sessions; s; s = lcm_session_next(s))
		if (*lcm_session_target(s))
			(void)json_array_append_new(all, lcm_session_status(s, 0));
	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(of_mount); i++) {
		r = family(out, of_mount[i].name, of_mount[i].type, of_mount[i].help);
		json_array_foreach (all, at, v)
			if (r == 0)
				r = sample(out, of_mount[i].name, v, number(v, of_mount[i].key));
	}
	json_decref(all);
	return r;
}

int lcm_metrics_write(struct lcm_host *h, struct lcm_buf *out)
{
	int r = family(out, "locum_build_info", "gauge", "Always 1; the version is a label.");

	if (r == 0)
		r = lcm_buf_printf(out, "locum_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
	if (r == 0)
		r = process(out);
	if (r == 0)
		r = shared(h, out);
	if (r == 0)
		r = hosts(h, out);
	if (r == 0)
		r = phases(h, out);
	return r < 0 ? r : mounts(h, out);
}
