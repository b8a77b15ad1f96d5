/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_pull.c - `locum bench pull`: the full pull against a bound measured in the same rounds, and
 * against podman and containerd.
 *
 * Everything starts from an empty state and, unless --warm, an empty page cache. All times end
 * with syncfs(2) of the file system, as locum's own pull does.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/bench_others.h"
#include "src/cmd/bench_pull.h"

#define PART "pull"
#define LOCUM "locum pull"
#define FLOOR "floor: the longest of the three"

enum what { W_DOWNLOAD, W_DECOMPRESS, W_WRITE, W_LOCUM, W_PODMAN, W_CONTAINERD, W_MAX };

static const char *const names[W_MAX] = { "download alone", "decompression alone",
					  "writing alone",  LOCUM,
					  "podman pull",    "containerd pull" };

/* ns since the start of a pull. */
struct pulled {
	uint64_t ended, synced; /* the command's end; syncfs(2) of the file system after it */
};

struct pull_round {
	struct pulled t[W_MAX]; /* 0: not measured */
	uint64_t peak;          /* bytes */
};

static int pulled_note(const struct bench *b, uint64_t t0, struct pulled *ret, struct lcm_err *err)
{
	lcm_autoclose int dir = -EBADF;
	int r;

	ret->ended = lcm_now_ns() - t0;
	dir = lcm_sys_openat(AT_FDCWD, b->dir, O_RDONLY | O_DIRECTORY, 0);
	r = dir < 0 ? dir : lcm_sys_syncfs(dir);
	ret->synced = lcm_now_ns() - t0;
	return r < 0 ? lcm_err_set(err, r, "%s: syncfs: %s", b->dir, strerror(-r)) : 0;
}

static int pull_locum(struct bench *b, struct pull_round *p, struct lcm_err *err)
{
	const char *argv[8];
	uint64_t t0;
	int r = bench_daemon_start(b, true, true, err);

	if (r == 0) {
		bench_self_pull(b, argv);
		bench_cold(b);
		t0 = lcm_now_ns();
		r = bench_run(b, argv, err);
		if (r == 0)
			r = pulled_note(b, t0, &p->t[W_LOCUM], err);
		p->peak = bench_peak(b);
	}
	bench_daemon_stop(b, true);
	return r;
}

static int pull_other(struct bench *b, enum bench_other o, struct pulled *ret, struct lcm_err *err)
{
	uint64_t t0;
	int r = bench_other_open(b, o, err);

	if (r == 0) {
		bench_cold(b);
		t0 = lcm_now_ns();
		r = bench_other_pull(b, o, err);
		if (r == 0)
			r = pulled_note(b, t0, ret, err);
	}
	bench_other_close(b, o);
	return r;
}

static void other(struct bench *b, enum bench_other o, struct pulled *t)
{
	struct lcm_err why = { 0 };
	int r = b->others[o] ? pull_other(b, o, t, &why) : 0;

	if (r == 0)
		return;
	*t = (struct pulled){ 0 };
	bench_other_leave_out(b, o, r, &why);
}

static int measure(struct floor_ctx *f, enum what w, struct pull_round *p, struct lcm_err *err)
{
	struct pulled *t = &p->t[w];

	switch (w) {
	case W_DOWNLOAD:
		return floor_download(f, &t->synced, err);
	case W_DECOMPRESS:
		return floor_decompress(f, &t->synced, err);
	case W_WRITE:
		return floor_write(f, &t->synced, err);
	case W_LOCUM:
		return pull_locum(f->b, p, err);
	default:
		other(f->b, (enum bench_other)(w - W_PODMAN), t);
		return 0;
	}
}

static void note(struct bench *b, const struct pull_round *p, size_t wins[W_LOCUM])
{
	enum what longest = W_DOWNLOAD;

	for (int w = 0; w < W_LOCUM; w++) {
		bench_add(b, PART, names[w], NULL, BENCH_MS, (double)p->t[w].synced);
		if (p->t[w].synced > p->t[longest].synced)
			longest = (enum what)w;
	}
	wins[longest]++;
	bench_add(b, PART, FLOOR, NULL, BENCH_MS, (double)p->t[longest].synced);
	for (int w = W_LOCUM; w < W_MAX; w++)
		if (p->t[w].synced)
			bench_add(b, PART, names[w], w == W_LOCUM ? FLOOR : LOCUM, BENCH_MS,
				  (double)p->t[w].synced);
	if (p->t[W_PODMAN].ended)
		bench_add(b, PART, "podman pull, not synced", LOCUM, BENCH_MS,
			  (double)p->t[W_PODMAN].ended);
	if (p->t[W_CONTAINERD].ended)
		bench_add(b, PART, "containerd pull, not synced", LOCUM, BENCH_MS,
			  (double)p->t[W_CONTAINERD].ended);
	if (p->peak)
		bench_add(b, PART, "peak memory of the daemon", NULL, BENCH_BYTES, (double)p->peak);
}

static int rounds(struct floor_ctx *f, size_t wins[W_LOCUM], struct lcm_err *err)
{
	struct bench *b = f->b;

	for (uint64_t round = 0; round < b->rounds; round++) {
		struct pull_round p = { 0 };

		for (uint64_t i = 0; i < W_MAX; i++) {
			enum what w = (enum what)((round + i) % W_MAX);
			int r;

			bench_say(b, "pull: round %llu of %llu: %s", (unsigned long long)round + 1,
				  (unsigned long long)b->rounds, names[w]);
			r = measure(f, w, &p, err);
			if (r < 0)
				return lcm_err_prefix(err, r, "%s", names[w]);
		}
		note(b, &p, wins);
	}
	return 0;
}

int bench_pull(struct bench *b, struct lcm_err *err)
{
	lcm_autofree struct floor_ctx *f = calloc(1, sizeof(*f));
	size_t wins[W_LOCUM] = { 0 };
	int r;

	if (!f)
		return -ENOMEM;
	bench_say(b, "pull: layers into memory");
	r = floor_open(f, b, err);
	if (r == 0)
		r = rounds(f, wins, err);
	if (r == 0)
		bench_note(b, "floor",
			   "download in %zu rounds, decompression in %zu, writing in %zu",
			   wins[W_DOWNLOAD], wins[W_DECOMPRESS], wins[W_WRITE]);
	floor_close(f);
	return r;
}
