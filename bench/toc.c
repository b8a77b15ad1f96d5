/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc.c - what it costs to turn a zstd:chunked table of contents into an open TOC file.
 *
 * usage: locum-bench-toc [FILES [RUNS [DIR]]]   (50000, 7, /tmp)
 * Prints medians of RUNS, in ms of processor time and as parts of the total, and jansson's tree
 * parser on the same JSON in the same run.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <yajl/yajl_parse.h>
#include <zstd.h>

#include "image/toc_chunked.h"
#include "src/base/buf.h"
#include "src/base/sys.h"

#define RUNS_MAX 101

struct input {
	struct lcm_buf json;
	char *toc; /* compressed */
	size_t toc_len;
	struct lcm_chunked_ref ref;
	struct lcm_toc_id id;
};

enum phase {
	P_DIGEST,
	P_INFLATE,
	P_YAJL,
	P_PARSE,
	P_FINISH,
	P_OPEN,
	P_TOTAL,
	P_JANSSON,
	P_MAX,
};

static const char *const labels[P_MAX] = {
	[P_DIGEST] = "  digest alone",
	[P_INFLATE] = "  inflate alone",
	[P_YAJL] = "  yajl with empty callbacks",
	[P_PARSE] = "parse (digest, inflate, JSON, builder)",
	[P_FINISH] = "finish (sort, write, rename)",
	[P_OPEN] = "open (map, check)",
	[P_TOTAL] = "total",
	[P_JANSSON] = "jansson, tree of the same JSON",
};

static void check(int r, const struct lcm_err *err)
{
	if (r >= 0)
		return;
	fprintf(stderr, "locum-bench-toc: %s\n", lcm_err_text(err, r));
	exit(1);
}

/* ---- input: a tree like a distribution's, the same for the same count ---- */

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void add_file(struct input *in, uint64_t *seed, const char *dir, unsigned int i,
		     uint64_t *off)
{
	uint64_t size = next_random(seed) % 60000, packed = size / 3 + 20;
	struct lcm_digest d;
	char hex[LCM_DIGEST_STR];

	for (size_t k = 0; k < sizeof(d.b); k += 8) {
		uint64_t v = next_random(seed);

		memcpy(d.b + k, &v, 8);
	}
	check(lcm_buf_printf(
		  &in->json,
		  ",{\"type\":\"reg\",\"name\":\"%s/module_%05u.py\",\"mode\":420,\"size\":%" PRIu64
		  ",\"modtime\":\"2023-04-%02uT12:%02u:07.123456789Z\",\"accesstime\":\"0001-01-"
		  "01T00:00:00Z\","
		  "\"changetime\":\"0001-01-01T00:00:00Z\",\"digest\":\"%s\",\"offset\":%" PRIu64
		  ",\"endOffset\":%" PRIu64 "}",
		  dir, i, size, i % 28 + 1, i % 60, lcm_digest_str(&d, hex), *off, *off + packed),
	      NULL);
	*off += packed + 150;
}

static void make_json(struct input *in, unsigned int files)
{
	uint64_t seed = 88172645463325252ULL, off = 500;
	char dir[200];

	in->json = LCM_BUF(1U << 30);
	check(lcm_buf_printf(
		  &in->json,
		  "{\"version\":1,\"entries\":[{\"type\":\"dir\",\"name\":\"./\",\"mode\":493}"),
	      NULL);
	for (unsigned int i = 0; i < files; i++) {
		(void)snprintf(dir, sizeof(dir),
			       "./usr/lib/python3/dist-packages/package_%03u/sub_%u", i / 120,
			       i / 12 % 10);
		if (i % 12 == 0)
			check(lcm_buf_printf(&in->json,
					     ",{\"type\":\"dir\",\"name\":\"%s/\",\"mode\":493,"
					     "\"modtime\":\"2023-04-01T00:00:00Z\"}",
					     dir),
			      NULL);
		add_file(in, &seed, dir, i, &off);
	}
	check(lcm_buf_printf(&in->json, "]}"), NULL);
	in->ref.off = off + 8;
}

static void make_input(struct input *in, unsigned int files)
{
	size_t cap;

	make_json(in, files);
	cap = ZSTD_compressBound(in->json.len);
	in->toc = malloc(cap);
	if (!in->toc)
		exit(1);
	in->toc_len = ZSTD_compress(in->toc, cap, in->json.data, in->json.len, 3);
	in->ref.len = in->toc_len;
	in->ref.plain_len = in->json.len;
	check(lcm_digest_of(in->toc, in->toc_len, &in->ref.digest), NULL);
	in->id = (struct lcm_toc_id){ .blob_size = in->ref.off + in->toc_len + 100,
				      .compression = LCM_COMP_ZSTD };
}

/* ---- phases ---- */

static void run_inflate(const struct input *in)
{
	static char buf[1U << 17];
	ZSTD_DCtx *d = ZSTD_createDCtx();
	ZSTD_inBuffer ib = { in->toc, in->toc_len, 0 };
	size_t z = 1;

	while (z) {
		ZSTD_outBuffer ob = { buf, sizeof(buf), 0 };

		z = ZSTD_decompressStream(d, &ob, &ib);
		if (ZSTD_isError(z))
			exit(1);
	}
	(void)ZSTD_freeDCtx(d);
}

static int empty_string(void *arg, const unsigned char *s, size_t len)
{
	(void)arg;
	(void)s;
	(void)len;
	return 1;
}

static int empty_number(void *arg, const char *s, size_t len)
{
	(void)arg;
	(void)s;
	(void)len;
	return 1;
}

static void run_yajl(const struct input *in)
{
	static const yajl_callbacks cb = { .yajl_string = empty_string,
					   .yajl_map_key = empty_string,
					   .yajl_number = empty_number };
	yajl_handle y = yajl_alloc(&cb, NULL, NULL);

	(void)yajl_config(y, yajl_dont_validate_strings, 1);
	if (!y ||
	    yajl_parse(y, (const unsigned char *)in->json.data, in->json.len) != yajl_status_ok)
		exit(1);
	yajl_free(y);
}

static void run_jansson(const struct input *in)
{
	json_t *j = json_loadb(in->json.data, in->json.len, 0, NULL);

	if (!j)
		exit(1);
	json_decref(j);
}

/* Processor time: the program has one thread, and the machine may have other work. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static double since(uint64_t *t)
{
	uint64_t now = cpu_ns();
	double ms = (double)(now - *t) / 1e6;

	*t = now;
	return ms;
}

static void run_once(const struct input *in, const char *path, double out[P_MAX])
{
	struct lcm_err err = { 0 };
	lcm_auto(lcm_toc_builder) b = NULL;
	lcm_auto(lcm_toc) toc = NULL;
	struct lcm_digest d;
	uint64_t t = cpu_ns(), start;

	check(lcm_digest_of(in->toc, in->toc_len, &d), NULL);
	out[P_DIGEST] = since(&t);
	run_inflate(in);
	out[P_INFLATE] = since(&t);
	run_yajl(in);
	out[P_YAJL] = since(&t);
	start = t;
	check(lcm_toc_builder_new(&b), NULL);
	check(lcm_chunked_parse(&in->ref, in->toc, in->toc_len, in->id.blob_size, b, &err), &err);
	out[P_PARSE] = since(&t);
	check(lcm_toc_builder_finish(b, &in->id, AT_FDCWD, path, false, &err), &err);
	lcm_toc_builder_free(b);
	b = NULL;
	out[P_FINISH] = since(&t);
	check(lcm_toc_open(AT_FDCWD, path, &toc, &err), &err);
	out[P_OPEN] = since(&t);
	out[P_TOTAL] = since(&start);
}

static int double_cmp(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;

	return (a > b) - (a < b);
}

static double median(double *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), double_cmp);
	return v[n / 2];
}

static unsigned int number(int argc, char **argv, int i, unsigned int otherwise)
{
	unsigned int v;

	return argc > i && sscanf(argv[i], "%u", &v) == 1 ? v : otherwise;
}

/* Memory at its highest after one parse, before jansson has spoiled the figure. */
static void report_memory(const struct input *in, const char *path)
{
	struct lcm_err err = { 0 };
	lcm_auto(lcm_toc_builder) b = NULL;
	struct rusage before, after;
	struct stat st;

	(void)getrusage(RUSAGE_SELF, &before);
	check(lcm_toc_builder_new(&b), NULL);
	check(lcm_chunked_parse(&in->ref, in->toc, in->toc_len, in->id.blob_size, b, &err), &err);
	check(lcm_toc_builder_finish(b, &in->id, AT_FDCWD, path, false, &err), &err);
	(void)getrusage(RUSAGE_SELF, &after);
	check(lcm_sys_fstatat(AT_FDCWD, path, &st, 0), NULL);
	printf("json %zu bytes, compressed %zu, toc file %lld, memory at most %ld KiB more\n",
	       in->json.len, in->toc_len, (long long)st.st_size,
	       after.ru_maxrss - before.ru_maxrss);
}

int main(int argc, char **argv)
{
	static double v[P_MAX][RUNS_MAX];
	unsigned int files = number(argc, argv, 1, 50000), runs = number(argc, argv, 2, 7);
	struct input in = { 0 };
	char path[4096];
	double total;

	runs = LCM_MIN(LCM_MAX(runs, 1U), (unsigned int)RUNS_MAX);
	(void)snprintf(path, sizeof(path), "%s/locum-bench-toc.%d", argc > 3 ? argv[3] : "/tmp",
		       (int)getpid());
	make_input(&in, files);
	printf("%u files, medians of %u\n", files, runs);
	report_memory(&in, path);
	for (unsigned int i = 0; i < runs; i++) {
		double one[P_MAX];

		run_once(&in, path, one);
		for (int p = 0; p < P_JANSSON; p++)
			v[p][i] = one[p];
	}
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, 0));
	for (unsigned int i = 0; i < runs; i++) { /* last: it leaves the heap in pieces */
		uint64_t t = cpu_ns();

		run_jansson(&in);
		v[P_JANSSON][i] = since(&t);
	}
	total = median(v[P_TOTAL], runs);
	for (int p = 0; p < P_MAX; p++) {
		double m = median(v[p], runs);

		printf("%-40s %8.2f ms  %5.2f\n", labels[p], m, m / total);
	}
	free(in.toc);
	lcm_buf_fini(&in.json);
	return 0;
}
