/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locum-bench-gate - what the gate costs, against a plain overlay of the same
 * files, in one run: medians, and ratios that survive a noisy machine.
 *
 * The fetch side is a thread that only renames a file that is ready into place,
 * so that the figures are the gate's, the VFS's and two thread switches.
 */
#include "tests/unit/test.h"

#include <sys/mount.h>
#include <sys/syscall.h>

#include "tests/unit/gate_env.h"

#define ROUNDS 15
#define WARM_OPENS 2000
#define FIRST_OPENS 300
#define CROWD 200

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static void open_close(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		perror(path);
		env_exit(1);
	}
	(void)close(fd);
}

static double us_since(uint64_t start_ns)
{
	return (double)(lcm_now_ns() - start_ns) / 1000;
}

/* ---- open and close of files that are local, one file after another ---- */

static double warm_round(const char *root, int n_files)
{
	uint64_t start = lcm_now_ns();
	char path[512];

	for (int i = 0; i < WARM_OPENS; i++) {
		(void)snprintf(path, sizeof(path), "%s/d/f%04d", root, i % n_files);
		open_close(path);
	}
	return us_since(start) / WARM_OPENS;
}

/* A plain overlay over what REAL holds by now, at <dir>/plain. */
static void mount_plain(const struct gate_env *e)
{
	char at[512], options[1200];

	(void)snprintf(at, sizeof(at), "%s/plain", e->dir);
	(void)snprintf(options, sizeof(options), "lowerdir=%s/real/l2:%s/real/l1", e->dir, e->dir);
	if (mkdir(at, 0755) < 0 || mount("overlay", at, "overlay", MS_RDONLY, options) < 0) {
		perror(at);
		env_exit(1);
	}
}

static void bench_warm(struct lcm_gate_threads *t, struct env_worker *w)
{
	const int n = 200;
	struct gate_env *e = env_new(t, w, &(struct env_options){ .n_files = n });
	double gate[ROUNDS], plain[ROUNDS], g, p;
	char plain_dir[512], gate_dir[512];

	env_overlay(e);
	for (int i = 0; i < n; i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "d/f%04d", i);
		env_fetch(e, 0, env_entry(e, 0, path));
	}
	mount_plain(e);
	(void)snprintf(plain_dir, sizeof(plain_dir), "%s/plain", e->dir);
	(void)snprintf(gate_dir, sizeof(gate_dir), "%s/m", e->dir);
	(void)warm_round(gate_dir, n);
	(void)warm_round(plain_dir, n);
	for (int i = 0; i < ROUNDS; i++) {
		gate[i] = warm_round(gate_dir, n);
		plain[i] = warm_round(plain_dir, n);
	}
	g = median(gate, ROUNDS);
	p = median(plain, ROUNDS);
	printf("open+close, local file      gate %7.2f us   plain overlay %7.2f us   ratio %.2f   "
	       "requests %llu\n",
	       g, p, g / p, (unsigned long long)env_stats(e).requests);
	(void)umount2(plain_dir, MNT_DETACH);
	env_free(e);
}

/* ---- first opens of missing files ---- */

struct first {
	pthread_t thread;
	struct gate_env *e;
	int from, to;
	double us[FIRST_OPENS];
};

static void *first_opens(void *arg)
{
	struct first *f = arg;
	char path[512];

	for (int i = f->from; i < f->to; i++) {
		uint64_t start;

		(void)snprintf(path, sizeof(path), "%s/m/d/f%04d", f->e->dir, i);
		start = lcm_now_ns();
		open_close(path);
		f->us[i - f->from] = us_since(start);
	}
	return NULL;
}

static void bench_first(struct lcm_gate_threads *t, struct env_worker *w, unsigned int threads,
			int openers)
{
	struct gate_env *e =
	    env_new(t, w, &(struct env_options){ .n_files = FIRST_OPENS, .prepared = true });
	struct first *f = calloc((size_t)openers, sizeof(*f));
	double all[FIRST_OPENS], wall;
	uint64_t start, requests;
	int n = 0;

	env_overlay(e);
	requests = env_stats(e).requests;
	start = lcm_now_ns();
	for (int i = 0; f && i < openers; i++) {
		f[i].e = e;
		f[i].from = FIRST_OPENS / openers * i;
		f[i].to = FIRST_OPENS / openers * (i + 1);
		(void)pthread_create(&f[i].thread, NULL, first_opens, &f[i]);
	}
	for (int i = 0; f && i < openers; i++) {
		(void)pthread_join(f[i].thread, NULL);
		for (int k = 0; k < f[i].to - f[i].from; k++)
			all[n++] = f[i].us[k];
	}
	wall = us_since(start);
	printf("first open, %u gate threads, %2d openers   median %7.1f us   wall per file %6.1f "
	       "us   requests per open %.2f\n",
	       threads, openers, median(all, (size_t)n), wall / n,
	       (double)(env_stats(e).requests - requests) / n);
	free(f);
	env_free(e);
}

/* ---- a crowd that waits and is let go ---- */

struct crowd {
	pthread_t thread;
	_Atomic pid_t tid; /* 0: it has not begun */
	char path[512];
	uint64_t opened_ns;
};

static void *crowd_open(void *arg)
{
	struct crowd *c = arg;

	atomic_store(&c->tid, gettid());
	open_close(c->path);
	c->opened_ns = lcm_now_ns();
	return NULL;
}

/* Of those that open one file the gate hears of one; the kernel says of each that it sleeps in
 * open(2). */
static bool waits(struct crowd *c)
{
	char path[64];
	lcm_autofree char *text = NULL;
	size_t len;
	int nr;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", atomic_load(&c->tid));
	return atomic_load(&c->tid) && lcm_read_file_at(AT_FDCWD, path, 4096, &text, &len) == 0 &&
	       sscanf(text, "%d", &nr) == 1 && nr == SYS_openat;
}

static void bench_crowd(struct lcm_gate_threads *t, struct env_worker *w, unsigned int threads,
			int files)
{
	struct gate_env *e = env_new(t, w,
				     &(struct env_options){ .n_files = CROWD, .prepared = true });
	struct crowd *c = calloc(CROWD, sizeof(*c));
	double us[CROWD];
	uint64_t start;

	env_overlay(e);
	atomic_store(&e->stall, true);
	for (int i = 0; c && i < CROWD; i++) {
		(void)snprintf(c[i].path, sizeof(c[i].path), "%s/m/d/f%04d", e->dir, i % files);
		(void)pthread_create(&c[i].thread, NULL, crowd_open, &c[i]);
	}
	env_await_wants(e, (uint32_t)files);
	for (int i = 0; c && i < CROWD; i++)
		env_until(waits(&c[i]));
	start = lcm_now_ns();
	env_resume(e);
	for (int i = 0; c && i < CROWD; i++) {
		(void)pthread_join(c[i].thread, NULL);
		us[i] = (double)(c[i].opened_ns - start) / 1000;
	}
	printf("%d waiters on %3d files, %u gate threads   woken: median %7.0f us", CROWD, files,
	       threads, median(us, CROWD));
	printf("   last %7.0f us   fetches %u\n", us[CROWD - 1], e->wants);
	free(c);
	env_free(e);
}

int main(void)
{
	static const unsigned int counts[] = { 1, 2, 4 };
	struct env_worker *w;

	if (env_namespace() != 0) {
		(void)fprintf(stderr,
			      "locum-bench-gate: needs root, /dev/fuse and mount namespaces\n");
		return 77;
	}
	env_watchdog(120);
	w = env_worker_new();
	for (size_t i = 0; i < LCM_ARRAY_SIZE(counts); i++) {
		struct lcm_gate_threads *t;

		if (lcm_gate_threads_new(counts[i], &t) < 0)
			return 1;
		if (i == 0)
			bench_warm(t, w);
		bench_first(t, w, counts[i], 1);
		bench_first(t, w, counts[i], 10);
		bench_crowd(t, w, counts[i], 1);
		bench_crowd(t, w, counts[i], CROWD);
		lcm_gate_threads_free(t);
	}
	env_worker_free(w);
	return 0;
}
