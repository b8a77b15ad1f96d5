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
#include <sys/resource.h>

#include "src/base/sys.h"
#include "src/cmd/bench.h"
#include "src/cmd/client.h"

#define PART "start"

#define LAZY "locum lazy"
#define ALONE "locum lazy, background off"
#define FULL "locum full pull, then run"
#define PODMAN "podman pull, then run"

/* What one start took; 0: not measured. */
struct start {
	uint64_t t0, output_ns, local_ns; /* since t0 */
	uint64_t cpu_ns, bytes_output, bytes_local;
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
	s->t0 = lcm_now_ns();
}

static double member(json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

/* The container runs: how much of its image did it need to get here? */
static void on_first_podman(void *arg)
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

static int start_lazy(struct bench *b, bool background, struct start *s, struct lcm_err *err)
{
	int r = bench_daemon_start(b, background, true, err);

	if (r == 0) {
		begin(s, b);
		r = run_container(s, err);
		if (r == 0 && background)
			r = follow_local(s, err);
		s->cpu_ns = bench_cpu(b) - s->cpu0;
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
		s->cpu_ns = bench_cpu(b) - s->cpu0;
	}
	bench_daemon_stop(b, true);
	return r;
}

/* ---- podman ---- */

struct podman {
	char root[300], run[300];
	const char *argv[32 + BENCH_ARGS_MAX];
	size_t n;
};

static void podman_command(const struct bench *b, struct podman *p)
{
	const char *const common[] = {
		b->podman,  "--root",           p->root,   "--runroot",
		p->run,     "--storage-driver", "overlay", "--cgroup-manager",
		"cgroupfs", "--events-backend", "none",
	};

	memcpy(p->argv, common, sizeof(common));
	p->n = LCM_ARRAY_SIZE(common);
}

static int podman_pull(struct start *s, struct podman *p, struct lcm_err *err)
{
	podman_command(s->b, p);
	p->argv[p->n++] = "pull";
	p->argv[p->n++] = "--quiet";
	p->argv[p->n++] = "--tls-verify=false";
	p->argv[p->n++] = s->b->image;
	p->argv[p->n] = NULL;
	return bench_run(s->b, p->argv, err);
}

static int podman_run(struct start *s, struct podman *p, struct lcm_err *err)
{
	static const char *const options[] = { "run",       "--rm",     "--network", "host",
					       "--cgroups", "disabled", "--pull",    "never" };
	uint64_t at = 0;
	int r;

	podman_command(s->b, p);
	memcpy(p->argv + p->n, options, sizeof(options));
	p->n += LCM_ARRAY_SIZE(options);
	p->argv[p->n++] = s->b->image;
	for (size_t i = 0; s->b->command && s->b->command[i]; i++)
		p->argv[p->n++] = s->b->command[i];
	p->argv[p->n] = NULL;
	r = bench_run_output(s->b, p->argv, on_first_podman, s, &at, err);
	if (r == 0)
		s->output_ns = at - s->t0;
	return r;
}

static unsigned long long hard_limit(int what)
{
	struct rlimit rl;

	return getrlimit((__rlimit_resource_t)what, &rl) < 0
		   ? 1024
		   : LCM_MIN((unsigned long long)rl.rlim_max, 4096ULL);
}

/* podman's default limits are refused where root lacks CAP_SYS_RESOURCE: ours are what we may have.
 */
static int podman_configure(struct bench *b, struct lcm_err *err)
{
	unsigned long long files = hard_limit(RLIMIT_NOFILE), procs = hard_limit(RLIMIT_NPROC);
	char path[300], text[160];
	int r, n = snprintf(
		   text, sizeof(text),
		   "[containers]\ndefault_ulimits = [\"nofile=%llu:%llu\", \"nproc=%llu:%llu\"]\n",
		   files, files, procs, procs);

	(void)snprintf(path, sizeof(path), "%s/containers.conf", b->dir);
	r = lcm_write_file_at(AT_FDCWD, path, text, (size_t)n, 0600);
	if (r < 0 || setenv("CONTAINERS_CONF", path, 1) < 0)
		return lcm_err_set(err, r < 0 ? r : -ENOMEM, "%s cannot be written", path);
	return 0;
}

static int start_podman(struct bench *b, struct start *s, struct lcm_err *err)
{
	lcm_autoclose int dir = -EBADF;
	struct podman p;
	int r = podman_configure(b, err);

	if (r < 0)
		return r;
	(void)snprintf(p.root, sizeof(p.root), "%s/podman", b->dir);
	(void)snprintf(p.run, sizeof(p.run), "%s/podman-run", b->dir);
	begin(s, b);
	r = podman_pull(s, &p, err);
	if (r == 0) {
		note_local(s);
		r = podman_run(s, &p, err);
	}
	bench_reap();
	s->cpu_ns = bench_cpu(b) - s->cpu0;
	podman_command(b, &p);
	p.argv[p.n++] = "system";
	p.argv[p.n++] = "reset";
	p.argv[p.n++] = "--force";
	p.argv[p.n] = NULL;
	lcm_ignore(bench_run(b, p.argv, NULL));
	dir = lcm_sys_openat(AT_FDCWD, b->dir, O_RDONLY | O_DIRECTORY, 0);
	if (dir >= 0) {
		lcm_ignore(lcm_rmtree_at(dir, "podman"));
		lcm_ignore(lcm_rmtree_at(dir, "podman-run"));
	}
	return r;
}

/* ---- rounds ---- */

enum variant { V_LAZY, V_ALONE, V_FULL, V_PODMAN, V_MAX };

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
		return start_podman(b, s, err);
	}
}

struct names {
	const char *output, *local, *cpu, *bytes_output, *bytes_local;
};

static const struct names names[V_MAX] = {
	[V_LAZY] = { "first output: " LAZY, "all local: " LAZY, "CPU: " LAZY,
		     "received by first output: " LAZY, "received: " LAZY },
	[V_ALONE] = { "first output: " ALONE, NULL, NULL, "received by first output: " ALONE,
		      NULL },
	[V_FULL] = { "first output: " FULL, "all local: " FULL, "CPU: " FULL, NULL,
		     "received: " FULL },
	[V_PODMAN] = { "first output: " PODMAN, "all local: " PODMAN, "CPU: " PODMAN, NULL,
		       "received: " PODMAN },
};

/* Lazy is held against no background at the first output, and everything against the full pull
 * after. */
static void note(struct bench *b, const struct start all[V_MAX])
{
	for (int v = 0; v < V_MAX; v++)
		if (all[v].output_ns)
			bench_add(b, PART, names[v].output,
				  names[v == V_LAZY ? V_ALONE : V_LAZY].output, BENCH_MS,
				  (double)all[v].output_ns);
	for (int v = 0; v < V_MAX; v++)
		if (all[v].local_ns && names[v].local)
			bench_add(b, PART, names[v].local, v == V_FULL ? NULL : names[V_FULL].local,
				  BENCH_MS, (double)all[v].local_ns);
	for (int v = 0; v < V_MAX; v++)
		if (all[v].cpu_ns && names[v].cpu)
			bench_add(b, PART, names[v].cpu, v == V_FULL ? NULL : names[V_FULL].cpu,
				  BENCH_CPU_S, (double)all[v].cpu_ns);
	for (int v = 0; v < V_MAX; v++)
		if (all[v].bytes_output && names[v].bytes_output)
			bench_add(b, PART, names[v].bytes_output,
				  v == V_LAZY ? names[V_ALONE].bytes_output : NULL, BENCH_BYTES,
				  (double)all[v].bytes_output);
	for (int v = 0; v < V_MAX; v++)
		if (all[v].bytes_local && names[v].bytes_local)
			bench_add(b, PART, names[v].bytes_local,
				  v == V_FULL ? NULL : names[V_FULL].bytes_local, BENCH_BYTES,
				  (double)all[v].bytes_local);
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

			if (v == V_PODMAN && !b->podman)
				continue;
			bench_say(b, "start: round %llu of %llu: %s", (unsigned long long)round + 1,
				  (unsigned long long)b->rounds,
				  names[v].output + sizeof("first output: ") - 1);
			r = measure(b, v, &all[v], err);
			if (r < 0)
				return lcm_err_prefix(err, r, "%s", names[v].output);
		}
		note(b, all);
	}
	return 0;
}
