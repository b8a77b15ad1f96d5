/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/fetch REFERENCE DIGEST SIZE [RANGES [CA]] - throughput of one whole blob, then latency of
 * RANGES demand ranges of 64 KiB, alone and while the whole blob is pulled as background.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "registry/registry.h"
#include "src/base/sys.h"

#define RANGE 65536

struct bench {
	struct lcm_loop *loop;
	struct lcm_registry *reg;
	struct lcm_reference ref;
	struct lcm_digest digest;
	uint64_t size, seed;
	unsigned int ranges, left; /* asked for, still to do */
	uint64_t start_ns, worst_ns, sum_ns;
	bool background;
};

static int sink(void *arg, uint64_t off, const void *p, size_t len)
{
	(void)arg, (void)off, (void)p, (void)len;
	return 0;
}

static void finish(struct bench *b, const struct lcm_fetch_result *res)
{
	if (res->status && res->status != -ESHUTDOWN) {
		(void)fprintf(stderr, "%s\n", lcm_err_text(&res->err, res->status));
		exit(1);
	}
	lcm_loop_stop(b->loop);
}

static void whole_done(void *arg, const struct lcm_fetch_result *res)
{
	struct bench *b = arg;

	b->background = false;
	if (!b->ranges || res->status)
		finish(b, res);
}

static uint64_t start(struct bench *b, enum lcm_fetch_prio prio, uint64_t off, uint64_t len,
		      lcm_fetch_done_fn done)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_BLOB,
				     .prio = prio,
				     .ref = &b->ref,
				     .digest = b->digest,
				     .size = b->size,
				     .off = off,
				     .len = len,
				     .sink = sink,
				     .done = done,
				     .arg = b };
	uint64_t id = 0;
	int r = lcm_fetch_start(b->reg, &req, &id);

	if (r < 0) {
		(void)fprintf(stderr, "cannot start: %s\n", strerror(-r));
		exit(1);
	}
	return id;
}

static void next_range(struct bench *b);

static void range_done(void *arg, const struct lcm_fetch_result *res)
{
	struct bench *b = arg;
	uint64_t ns = lcm_now_ns() - b->start_ns;

	b->sum_ns += ns;
	b->worst_ns = LCM_MAX(b->worst_ns, ns);
	if (res->status || --b->left == 0)
		finish(b, res);
	else
		next_range(b);
}

static void next_range(struct bench *b)
{
	b->seed = b->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	b->start_ns = lcm_now_ns();
	(void)start(b, LCM_PRIO_DEMAND, (b->seed >> 16) % (b->size - RANGE), RANGE, range_done);
}

static void ranges(struct bench *b, unsigned int n, const char *what)
{
	b->ranges = b->left = n;
	b->sum_ns = b->worst_ns = 0;
	next_range(b);
	lcm_ignore(lcm_loop_run(b->loop));
	(void)printf("%u ranges of 64 KiB, %s: mean %.2f ms, worst %.2f ms%s\n", n, what,
		     (double)b->sum_ns / n / 1e6, (double)b->worst_ns / 1e6,
		     b->background ? " (background still running)" : "");
}

int main(int argc, char **argv)
{
	struct lcm_registry_config cfg = { .ca_file = argc > 5 ? argv[5] : NULL };
	struct bench b = { .seed = 1 };
	struct lcm_err err = { 0 };
	unsigned int n = 200;
	uint64_t t;

	if (argc < 4 || lcm_reference_parse(argv[1], &b.ref, &err) < 0 ||
	    lcm_digest_parse(argv[2], strlen(argv[2]), &b.digest) < 0 ||
	    sscanf(argv[3], "%" SCNu64, &b.size) != 1 || b.size <= RANGE ||
	    (argc > 4 && sscanf(argv[4], "%u", &n) != 1) || !n) {
		(void)fprintf(stderr, "usage: fetch REFERENCE DIGEST SIZE [RANGES [CA]] %s\n",
			      err.msg);
		return 2;
	}
	if (lcm_loop_new(&b.loop) < 0 || lcm_registry_new(b.loop, &cfg, &b.reg, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	t = lcm_now_ns();
	(void)start(&b, LCM_PRIO_BACKGROUND, 0, b.size, whole_done);
	lcm_ignore(lcm_loop_run(b.loop));
	t = lcm_now_ns() - t;
	(void)printf("whole blob: %.0f MB/s (%.3f s)\n", (double)b.size / 1e6 / ((double)t / 1e9),
		     (double)t / 1e9);
	ranges(&b, n, "alone");
	b.background = true;
	(void)start(&b, LCM_PRIO_BACKGROUND, 0, b.size, whole_done);
	ranges(&b, n, "beside a background body");
	lcm_registry_free(b.reg);
	lcm_loop_free(b.loop);
	return 0;
}
