/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_memory.c - what the daemon costs: idle, with one lazy mount, with fifty of the same image.
 *
 * Background is off, so that the mounts stay lazy while they are looked at. Pss_File is what it
 * maps of files, the tables of contents among them; it is page cache, and there once however many
 * mounts use it.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/bench.h"
#include "src/cmd/client.h"

#define PART "memory of the daemon"
#define MOUNTS 50

struct memory {
	uint64_t rss, pss, anon, file; /* bytes */
};

static uint64_t field(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	unsigned long long kb = 0;

	return at && sscanf(at + strlen(name), " %18llu", &kb) == 1 ? kb * 1024 : 0;
}

static int look(const struct bench *b, struct memory *m, struct lcm_err *err)
{
	lcm_autofree char *text = NULL;
	char path[64];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)b->daemon);
	r = lcm_read_file_at(AT_FDCWD, path, 65536, &text, &len);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	*m = (struct memory){ field(text, "\nRss:"), field(text, "\nPss:"),
			      field(text, "\nPss_Anon:"), field(text, "\nPss_File:") };
	return 0;
}

static int add_mounts(struct bench *b, int n, struct lcm_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++)
		r = client_session(json_pack("{s:s}", "image", b->image), "ready", NULL, err);
	return r;
}

/* Length of all files in a directory of the state. */
static uint64_t size_of(const struct bench *b, const char *name)
{
	uint64_t sum = 0;
	struct dirent *e;
	char path[340];
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/%s", b->root, name);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		struct stat st;

		if (lcm_sys_fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	}
	if (d)
		(void)closedir(d);
	return sum;
}

static double grown(uint64_t after, uint64_t before, int mounts)
{
	return after > before ? (double)(after - before) / mounts : 0;
}

static void report(struct bench *b, const struct memory m[3], uint64_t toc, uint64_t meta)
{
	static const char toc_name[] = "TOC files on disk", one[] = "PSS, 1 mount";

	bench_add(b, PART, "PSS, idle", NULL, BENCH_BYTES, (double)m[0].pss);
	bench_add(b, PART, "RSS, 1 mount", NULL, BENCH_BYTES, (double)m[1].rss);
	bench_add(b, PART, one, NULL, BENCH_BYTES, (double)m[1].pss);
	bench_add(b, PART, "  of it anonymous", NULL, BENCH_BYTES, (double)m[1].anon);
	bench_add(b, PART, "  of it of files", NULL, BENCH_BYTES, (double)m[1].file);
	bench_add(b, PART, "RSS, 50 mounts", "RSS, 1 mount", BENCH_BYTES, (double)m[2].rss);
	bench_add(b, PART, "PSS, 50 mounts", one, BENCH_BYTES, (double)m[2].pss);
	bench_add(b, PART, "  anonymous, 50 mounts", "  of it anonymous", BENCH_BYTES,
		  (double)m[2].anon);
	bench_add(b, PART, "  of files, 50 mounts", "  of it of files", BENCH_BYTES,
		  (double)m[2].file);
	bench_add(b, PART, "PSS of each further mount", toc_name, BENCH_BYTES,
		  grown(m[2].pss, m[1].pss, MOUNTS - 1));
	bench_add(b, PART, toc_name, NULL, BENCH_BYTES, (double)toc);
	bench_add(b, PART, "META files on disk", NULL, BENCH_BYTES, (double)meta);
}

int bench_memory(struct bench *b, struct lcm_err *err)
{
	struct memory m[3];
	int r;

	bench_say(b, "memory: %d mounts", MOUNTS);
	r = bench_daemon_start(b, false, true, err);
	if (r == 0)
		r = look(b, &m[0], err);
	if (r == 0)
		r = add_mounts(b, 1, err);
	if (r == 0)
		r = look(b, &m[1], err);
	if (r == 0)
		r = add_mounts(b, MOUNTS - 1, err);
	if (r == 0)
		r = look(b, &m[2], err);
	if (r == 0)
		report(b, m, size_of(b, "toc"), size_of(b, "meta"));
	bench_daemon_stop(b, false);
	return r;
}
