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
#include "src/cmd/bench_pull.h"

#define PART "pull"
#define LOCUM "locum pull"
#define FLOOR "floor: the longest of the three"

enum what { W_DOWNLOAD, W_DECOMPRESS, W_WRITE, W_LOCUM, W_PODMAN, W_CONTAINERD, W_MAX };

static const char *const names[W_MAX] = { "download alone", "decompression alone",
					  "writing alone",  LOCUM,
					  "podman pull",    "containerd pull" };

struct pull_round {
	struct pulled t[W_MAX]; /* 0: not measured */
	uint64_t peak;          /* bytes */
};

static uint64_t peak(const struct bench *b)
{
	lcm_autofree char *text = NULL;
	unsigned long long kb = 0;
	char path[64];
	const char *at;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)b->daemon);
	if (lcm_read_file_at(AT_FDCWD, path, 65536, &text, &len) < 0)
		return 0;
	at = strstr(text, "\nVmHWM:");
	return at && sscanf(at + 7, " %18llu", &kb) == 1 ? kb * 1024 : 0;
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
		p->peak = peak(b);
	}
	bench_daemon_stop(b, true);
	return r;
}

static bool plain_http(const struct floor_ctx *f)
{
	const char *host = f->ref.host;

	if (strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 ||
	    strncmp(host, "[::1]", 5) == 0)
		return true;
	for (size_t i = 0; i < f->b->n_daemon_options; i++)
		if (strncmp(f->b->daemon_options[i], "--insecure=", 11) == 0 &&
		    strcmp(f->b->daemon_options[i] + 11, host) == 0)
			return true;
	return false;
}

/* The others are compared with, not needed: what is wrong with them is said and not the end. They
 * are left out from then on, so that the rounds of all series stay the same. */
static int other(struct floor_ctx *f, enum what w, struct pulled *t)
{
	struct bench *b = f->b;
	struct lcm_err why = { 0 };
	bool podman = w == W_PODMAN;
	int r;

	if (podman ? !b->podman : !f->containerd)
		return 0;
	r = podman ? others_podman(b, t, &why)
		   : others_containerd(b, &f->ref, plain_http(f), t, &why);
	if (r == 0)
		return 0;
	*t = (struct pulled){ 0 };
	if (podman)
		b->podman = NULL;
	else
		f->containerd = false;
	bench_note(b, podman ? "podman" : "containerd", "failed: %s", lcm_err_text(&why, r));
	return 0;
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
		return other(f, w, t);
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
	if (!b->podman)
		bench_note(b, "podman", b->no_podman ? "left out" : "not installed");
	if (!others_has_containerd())
		bench_note(b, "containerd", "not installed");
	r = floor_open(f, b, err);
	f->containerd = others_has_containerd();
	if (r == 0)
		r = rounds(f, wins, err);
	if (r == 0)
		bench_note(b, "floor",
			   "download in %zu rounds, decompression in %zu, writing in %zu",
			   wins[W_DOWNLOAD], wins[W_DECOMPRESS], wins[W_WRITE]);
	floor_close(f);
	return r;
}
