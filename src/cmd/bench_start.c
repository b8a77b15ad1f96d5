/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_start.c - from nothing to the first byte of output, and to everything local.
 *
 * Every variant starts from an empty state directory and, unless --warm, an empty page cache.
 * The daemon runs already, as it does on a node; its figures and the command's are counted
 * together.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/bench_others.h"
#include "src/cmd/client.h"

#define PART "start"

#define LAZY "locum lazy"
#define ALONE "locum lazy, background off"
#define FULL "locum full pull, then run"
#define PODMAN "podman pull, then run"
#define CONTAINERD "containerd pull, then run"

/* What one start took; 0: not measured. */
struct start {
	uint64_t t0, output_ns, local_ns; /* since t0 */
	uint64_t cpu_ns, bytes_output, bytes_local, peak;
	double files_output, files_total;
	bool has_files;
	struct bench *b; /* borrowed */
	uint64_t cpu0, bytes0;
};

static uint64_t traffic(const struct bench *b)
{
	return b->traffic ? bench_traffic_bytes(b->traffic) : 0;
}

static void begin(struct start *s, struct bench *b)
{
	*s = (struct start){ .b = b };
	bench_reap();
	bench_cold(b);
	s->cpu0 = bench_cpu(b);
	s->bytes0 = traffic(b);
	b->child_peak = 0;
	s->t0 = lcm_now_ns();
}

static double member(json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

/* The container runs: how much of its image did it need to get here? */
static void on_first_other(void *arg)
{
	struct start *s = arg;

	s->bytes_output = traffic(s->b) - s->bytes0;
}

static void on_first(void *arg)
{
	struct start *s = arg;
	json_t *all = NULL, *o;
	size_t i;

	s->bytes_output = traffic(s->b) - s->bytes0;
	if (client_call("GET", "/v1/mounts", NULL, false, &all, NULL) < 0)
		return;
	json_array_foreach (json_object_get(all, "mounts"), i, o) {
		s->files_output = member(o, "demand_fetches");
		s->files_total = member(o, "files_total");
		s->has_files = true;
	}
	json_decref(all);
}

static int run_container(struct start *s, struct lcm_err *err)
{
	const char *argv[16 + BENCH_ARGS_MAX];
	uint64_t at = 0;
	size_t n = bench_self(s->b, argv);
	int r;

	argv[n++] = "run";
	argv[n++] = "--no-tty";
	argv[n++] = s->b->image;
	argv[n++] = "--";
	for (size_t i = 0; s->b->command && s->b->command[i]; i++)
		argv[n++] = s->b->command[i];
	argv[n] = NULL;
	r = bench_run_output(s->b, argv, on_first, s, &at, err);
	if (r == 0)
		s->output_ns = at - s->t0;
	return r;
}

static void note_local(struct start *s)
{
	s->local_ns = lcm_now_ns() - s->t0;
	s->bytes_local = traffic(s->b) - s->bytes0;
}

/* The container is gone, its image still arrives: a mount of our own says when all is there. */
static int follow_local(struct start *s, struct lcm_err *err)
{
	json_t *st = NULL;
	int r = client_session(json_pack("{s:s}", "image", s->b->image), "local", &st, err);

	if (r == 0)
		note_local(s);
	json_decref(st);
	return r;
}

static void note_end(struct start *s)
{
	s->cpu_ns = bench_cpu(s->b) - s->cpu0;
	s->peak = bench_peak(s->b);
}

static int start_lazy(struct bench *b, bool background, struct start *s, struct lcm_err *err)
{
	int r = bench_daemon_start(b, background, true, err);

	if (r == 0) {
		begin(s, b);
		r = run_container(s, err);
		if (r == 0 && background)
			r = follow_local(s, err);
		note_end(s);
	}
	bench_daemon_stop(b, true);
	return r;
}

static int start_full(struct bench *b, struct start *s, struct lcm_err *err)
{
	const char *argv[8];
	int r = bench_daemon_start(b, true, true, err);

	if (r == 0) {
		bench_self_pull(b, argv);
		begin(s, b);
		r = bench_run(b, argv, err);
		if (r == 0) {
			note_local(s);
			r = run_container(s, err);
		}
		s->has_files = false;
		note_end(s);
	}
	bench_daemon_stop(b, true);
	return r;
}

static int start_other(struct bench *b, enum bench_other o, struct start *s, struct lcm_err *err)
{
	uint64_t at = 0;
	int r = bench_other_open(b, o, err);

	if (r == 0) {
		begin(s, b);
		r = bench_other_pull(b, o, err);
	}
	if (r == 0) {
		note_local(s);
		r = bench_other_run(b, o, on_first_other, s, &at, err);
	}
	if (r == 0) {
		bench_reap();
		s->output_ns = at - s->t0;
		note_end(s);
	}
	bench_other_close(b, o);
	return r;
}

/* ---- rounds ---- */

enum variant { V_LAZY, V_ALONE, V_FULL, V_PODMAN, V_CONTAINERD, V_MAX };

static void other(struct bench *b, enum bench_other o, struct start *s)
{
	struct lcm_err why = { 0 };
	int r = b->others[o] ? start_other(b, o, s, &why) : 0;

	if (r == 0)
		return;
	*s = (struct start){ 0 };
	bench_other_leave_out(b, o, r, &why);
}

static int measure(struct bench *b, enum variant v, struct start *s, struct lcm_err *err)
{
	switch (v) {
	case V_LAZY:
		return start_lazy(b, true, s, err);
	case V_ALONE:
		return start_lazy(b, false, s, err);
	case V_FULL:
		return start_full(b, s, err);
	default:
		other(b, (enum bench_other)(v - V_PODMAN), s);
		return 0;
	}
}

static const char *const names[V_MAX] = { [V_LAZY] = LAZY,
					  [V_ALONE] = ALONE,
					  [V_FULL] = FULL,
					  [V_PODMAN] = PODMAN,
					  [V_CONTAINERD] = CONTAINERD };

/* What is measured of each start. Lazy is held against no background until the first output, and
 * everything else against the full pull. */
static const struct figure {
	const char *name;
	enum bench_unit unit;
	size_t at;  /* in struct start; 0: not measured */
	bool early; /* at the first output: lazy's base is that without background */
	bool alone; /* is measured without background, too */
} figures[] = {
	{ "first output", BENCH_MS, offsetof(struct start, output_ns), true, true },
	{ "all local", BENCH_MS, offsetof(struct start, local_ns), false, false },
	{ "CPU", BENCH_CPU_S, offsetof(struct start, cpu_ns), false, false },
	{ "peak memory", BENCH_BYTES, offsetof(struct start, peak), false, false },
	{ "received by first output", BENCH_BYTES, offsetof(struct start, bytes_output), true,
	  true },
	{ "received", BENCH_BYTES, offsetof(struct start, bytes_local), false, false },
};

static char series[LCM_ARRAY_SIZE(figures)][V_MAX][80];

static const char *series_of(size_t f, enum variant v)
{
	if (!series[f][v][0])
		(void)snprintf(series[f][v], sizeof(series[f][v]), "%s: %s", figures[f].name,
			       names[v]);
	return series[f][v];
}

static const char *base_of(size_t f, enum variant v)
{
	if (!figures[f].early)
		return v == V_FULL ? NULL : series_of(f, V_FULL);
	return series_of(f, v == V_LAZY ? V_ALONE : V_LAZY);
}

static void note_figure(struct bench *b, const struct start all[V_MAX], size_t f)
{
	for (enum variant v = V_LAZY; v < V_MAX; v++) {
		uint64_t value;

		memcpy(&value, (const char *)&all[v] + figures[f].at, sizeof(value));
		/* Until the first output all of a full pull has come. */
		if (!value || (v == V_ALONE && !figures[f].alone) ||
		    (v >= V_FULL && figures[f].at == offsetof(struct start, bytes_output)))
			continue;
		bench_add(b, PART, series_of(f, v), base_of(f, v), figures[f].unit, (double)value);
	}
}

static void note(struct bench *b, const struct start all[V_MAX])
{
	for (size_t f = 0; f < LCM_ARRAY_SIZE(figures); f++)
		note_figure(b, all, f);
	for (int v = 0; v < V_MAX; v++) {
		if (!all[v].has_files)
			continue;
		bench_add(b, PART,
			  v == V_LAZY ? "files fetched by demand: " LAZY
				      : "files fetched by demand: " ALONE,
			  "files of the image", BENCH_COUNT, all[v].files_output);
	}
	if (all[V_LAZY].has_files)
		bench_add(b, PART, "files of the image", NULL, BENCH_COUNT,
			  all[V_LAZY].files_total);
}

int bench_start(struct bench *b, struct lcm_err *err)
{
	for (uint64_t round = 0; round < b->rounds; round++) {
		struct start all[V_MAX] = { 0 };

		for (uint64_t i = 0; i < V_MAX; i++) {
			enum variant v = (enum variant)((round + i) % V_MAX);
			int r;

			bench_say(b, "start: round %llu of %llu: %s", (unsigned long long)round + 1,
				  (unsigned long long)b->rounds, names[v]);
			r = measure(b, v, &all[v], err);
			if (r < 0)
				return lcm_err_prefix(err, r, "%s: %s", b->image, names[v]);
		}
		note(b, all);
	}
	return 0;
}
