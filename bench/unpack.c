/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locum-bench-unpack FILE [RUNS] - how fast a layer is unpacked, and what could not be faster.
 *
 * FILE is a tar, plain or gzip or zstd. In each run, after one another: decoding in this process,
 * in an isolated function (as the daemon does; locum-decode lies beside this program), the same
 * with an index made on the way, `tar -x` of the same file (with the decompressor it takes itself),
 * and the floors: the stream alone (decompressing, with the digest of the blob), SHA-256 of the
 * blob and the tar alone, and writing the same bytes in 1 MiB pieces into one file. Medians and
 * ratios are printed. Works in a directory below the current one, so that the file system is the
 * caller's choice.
 */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "decode/fn.h"
#include "overlay/unpack.h"
#include "src/base/sys.h"

#define RUNS_MAX 99
#define BLOCK ((size_t)256 << 10) /* as the downloader hands it over */

extern char **environ;

enum what { UNPACK, ISOLATED, INDEXED, TAR, INFLATE, HASH, WRITE, WHAT_MAX };
static const char *const names[] = { "in this process", "isolated",     "isolated, index", "tar -x",
				     "stream alone",    "sha256 alone", "write alone" };

struct bench {
	const char *file;
	int dir, tmp; /* owned */
	enum lcm_compression comp;
	int fd;      /* owned; the file */
	char *block; /* owned; BLOCK */
	uint64_t blob, plain, files;
	struct lcm_fn_pool *fns; /* owned */
	struct lcm_fn_mem *mem;  /* owned; of the run */
	uint64_t given;          /* bytes of the file that its ring has had */
	int wake;                /* owned */
	double fn_cpu;           /* of the function, in this run */
	double seconds[WHAT_MAX][RUNS_MAX], cpu[WHAT_MAX][RUNS_MAX];
};

static void die(const char *what, int r)
{
	fprintf(stderr, "locum-bench-unpack: %s (%s)\n", what, strerror(-r));
	exit(1);
}

static ssize_t file_read(void *arg, const void **ret)
{
	struct bench *b = arg;
	ssize_t n = lcm_sys_read(b->fd, b->block, BLOCK);

	*ret = b->block;
	return n;
}

static void rewind_file(struct bench *b)
{
	lcm_closep(&b->fd);
	b->fd = lcm_sys_openat(AT_FDCWD, b->file, O_RDONLY, 0);
	if (b->fd < 0)
		die(b->file, b->fd);
}

static struct lcm_stream *stream_open(struct bench *b)
{
	struct lcm_stream *s = NULL;
	int r;

	rewind_file(b);
	r = lcm_stream_new(b->comp, file_read, b, UINT64_MAX, &s);
	if (r < 0)
		die("stream", r);
	return s;
}

static void fresh_dir(struct bench *b, const char *name)
{
	int r = lcm_rmtree_at(b->dir, name);

	if (r == 0)
		r = lcm_sys_mkdirat(b->dir, name, 0755);
	if (r == 0)
		r = lcm_sys_syncfs(b->dir); /* nobody pays for the run before */
	if (r < 0)
		die(name, r);
}

static void run_unpack(struct bench *b)
{
	struct lcm_layer_dir *d = NULL;
	struct lcm_unpack_result res = { 0 };
	struct lcm_err err = { 0 };
	struct lcm_stream *s = stream_open(b);
	struct lcm_digest unused;
	int r = lcm_layer_dir_open(b->dir, "unpacked", b->tmp, &d, &err);

	if (r == 0)
		r = lcm_unpack_stream(d, s, NULL, NULL, &res, &err);
	if (r < 0)
		die(lcm_err_text(&err, r), r);
	lcm_stream_blob_digest(s, &unused, &b->blob);
	b->files = res.entries;
	lcm_stream_free(s);
	lcm_layer_dir_close(d);
}

static int fill(void *arg, uint64_t done, uint64_t *ret_until)
{
	struct bench *b = arg;
	const uint64_t ring = lcm_fn_mem_ring(b->mem), at = b->given % ring, one = 1;
	uint64_t n = LCM_MIN(LCM_MIN(done + ring - b->given, ring - at), b->blob - b->given);
	int r = 0;

	n = LCM_MIN(n, (uint64_t)BLOCK);
	if (n)
		r = lcm_sys_pread_full(b->fd, lcm_fn_mem_in(b->mem) + at, n, b->given);
	b->given += n;
	*ret_until = b->given;
	if (n)
		lcm_ignore(lcm_sys_write_full(b->wake, &one, sizeof(one)));
	return r;
}

static double process_cpu(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
		die("clock of locum-decode", -ESRCH);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run_isolated(struct bench *b, bool index)
{
	struct lcm_fn_stream_opt opt = {
		.comp = b->comp, .blob_size = b->blob, .fill = fill, .arg = b, .wake_fd = b->wake
	};
	lcm_auto(lcm_toc_builder) builder = NULL;
	struct lcm_unpack_ops ops = { 0 };
	struct lcm_layer_dir *d = NULL;
	struct lcm_unpack_result res = { 0 };
	struct lcm_err err = { 0 };
	struct lcm_tar *t = NULL;
	struct lcm_fn *fn = NULL;
	int r = lcm_layer_dir_open(b->dir, "unpacked", b->tmp, &d, &err);

	rewind_file(b);
	b->given = 0;
	if (r == 0 && index)
		r = lcm_toc_builder_new(&builder);
	opt.index = ops.index = builder;
	if (r == 0)
		r = lcm_fn_stream_mem(NULL, &b->mem);
	if (r == 0)
		r = lcm_fn_take(b->fns, 1, &fn, &err);
	if (r == 0) {
		b->fn_cpu = -process_cpu(lcm_fn_pid(fn));
		r = lcm_fn_stream(fn, b->mem, &opt, &t, &err);
	}
	if (r == 0)
		r = lcm_unpack(d, t, NULL, &ops, &res, &err);
	if (r < 0)
		die(lcm_err_text(&err, r), r);
	b->fn_cpu += process_cpu(lcm_fn_pid(fn));
	lcm_tar_close(t);
	lcm_fn_put(b->fns, fn);
	lcm_fn_mem_free(b->mem);
	lcm_layer_dir_close(d);
}

static void start_functions(struct bench *b)
{
	char path[4096];
	struct lcm_fn_config cfg = { .path = path, .spare = 1, .max = 4 };
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 20);
	struct lcm_err err = { 0 };
	char *slash;
	int r;

	/* Built in bench/, one directory below it. */
	for (int up = 0; up < 2; up++) {
		path[n > 0 ? n : 0] = '\0';
		slash = strrchr(path, '/');
		n = slash ? slash - path : 0;
	}
	(void)snprintf(path + n, 20, "/locum-decode");
	b->wake = (int)lcm_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	r = lcm_fn_pool_new(&cfg, &b->fns, &err);
	if (r < 0)
		die(lcm_err_text(&err, r), r);
}

static void run_tar(struct bench *b)
{
	const char *const argv[] = {
		"tar", "-xpf", b->file, "-C", "untarred", "--numeric-owner", "--warning=none", NULL
	};
	pid_t pid;
	int status = 0;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		die("tar", -ECHILD);
}

/* Reads the stream to its end; @fd: a file the bytes go to, or -1. */
static void run_stream(struct bench *b, struct lcm_hash *h, int fd)
{
	struct lcm_stream *s = stream_open(b);
	const void *p;
	ssize_t n;

	b->plain = 0;
	while ((n = lcm_stream_read(s, &p)) > 0) {
		b->plain += (uint64_t)n;
		if (h)
			lcm_hash_update(h, p, (size_t)n);
		if (fd >= 0 && lcm_sys_write_full(fd, p, (size_t)n) < 0)
			die("write", -EIO);
	}
	if (n < 0)
		die(lcm_stream_err(s)->msg, (int)n);
	lcm_stream_free(s);
}

/* Both digests of a pull, of bytes that are in the processor's cache. */
static void run_hash(struct bench *b)
{
	struct lcm_hash *h = lcm_hash_new();

	if (!h)
		die("hash", -ENOMEM);
	for (uint64_t left = b->blob + b->plain; left; left -= LCM_MIN(left, (uint64_t)BLOCK))
		lcm_hash_update(h, b->block, (size_t)LCM_MIN(left, (uint64_t)BLOCK));
	lcm_hash_free(h);
}

static void run_write(struct bench *b)
{
	lcm_autoclose int fd = lcm_sys_openat(b->dir, "written/file", O_WRONLY | O_CREAT | O_TRUNC,
					      0644);
	lcm_autofree char *p = calloc(1, 1 << 20);

	if (fd < 0 || !p)
		die("written/file", fd);
	for (uint64_t left = b->plain; left; left -= LCM_MIN(left, 1ULL << 20))
		if (lcm_sys_write_full(fd, p, (size_t)LCM_MIN(left, 1ULL << 20)) < 0)
			die("write", -EIO);
}

/* Of this process and of its children that have ended. */
static double own_cpu(void)
{
	double sum = 0;
	struct rusage u;

	for (int who = 0; who < 2; who++) {
		(void)getrusage(who ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
		sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	}
	return sum;
}

static void run(struct bench *b, enum what what, unsigned int i)
{
	uint64_t begin;
	double cpu;

	if (what <= INDEXED)
		fresh_dir(b, "unpacked");
	if (what == TAR)
		fresh_dir(b, "untarred");
	if (what == WRITE)
		fresh_dir(b, "written");
	b->fn_cpu = 0;
	cpu = own_cpu();
	begin = lcm_now_ns();
	switch (what) {
	case UNPACK:
		run_unpack(b);
		break;
	case ISOLATED:
	case INDEXED:
		run_isolated(b, what == INDEXED);
		break;
	case TAR:
		run_tar(b);
		break;
	case INFLATE:
		run_stream(b, NULL, -1);
		break;
	case HASH:
		run_hash(b);
		break;
	default:
		run_write(b);
	}
	b->seconds[what][i] = (double)(lcm_now_ns() - begin) / 1e9;
	b->cpu[what][i] = own_cpu() - cpu + b->fn_cpu;
}

static int by_value(const void *pa, const void *pb)
{
	const double *a = pa, *b = pb;

	return *a < *b ? -1 : *a > *b;
}

static void print(struct bench *b, unsigned int runs)
{
	double base, cpu;

	for (int w = 0; w < WHAT_MAX; w++) {
		qsort(b->seconds[w], runs, sizeof(double), by_value);
		qsort(b->cpu[w], runs, sizeof(double), by_value);
	}
	base = b->seconds[UNPACK][runs / 2];
	cpu = b->cpu[UNPACK][runs / 2];
	printf("%s: %llu entries, %.1f MB, unpacked %.1f MB; medians of %u\n", b->file,
	       (unsigned long long)b->files, (double)b->blob / 1e6, (double)b->plain / 1e6, runs);
	for (int w = 0; w < WHAT_MAX; w++)
		printf(
		    "%-17s %8.3f s  %8.0f MB/s  %5.2f x   cpu %7.3f s  %5.2f x in this process\n",
		    names[w], b->seconds[w][runs / 2],
		    (double)b->plain / 1e6 / b->seconds[w][runs / 2],
		    b->seconds[w][runs / 2] / base, b->cpu[w][runs / 2], b->cpu[w][runs / 2] / cpu);
}

static enum lcm_compression comp_of(struct bench *b)
{
	uint8_t m[4] = { 0 };

	rewind_file(b);
	lcm_ignore(lcm_sys_pread_full(b->fd, m, sizeof(m), 0));
	if (m[0] == 0x1f && m[1] == 0x8b)
		return LCM_COMP_GZIP;
	return m[0] == 0x28 && m[1] == 0xb5 ? LCM_COMP_ZSTD : LCM_COMP_NONE;
}

int main(int argc, char **argv)
{
	static const char work[] = "locum-bench-unpack.tmp";
	static struct bench b = { .dir = -EBADF, .tmp = -EBADF, .fd = -EBADF };
	unsigned int runs = 5;

	if (argc < 2 || argc > 3 ||
	    (argc == 3 && (sscanf(argv[2], "%u", &runs) != 1 || runs < 1 || runs > RUNS_MAX))) {
		fprintf(stderr, "usage: locum-bench-unpack FILE [RUNS]\n");
		return 2;
	}
	b.file = argv[1];
	b.block = calloc(1, BLOCK);
	if (!b.block || lcm_mkdir_p(work, 0700) < 0 || chdir(work) < 0 ||
	    lcm_mkdir_p("tmp", 0700) < 0)
		die(work, -EIO);
	if (b.file[0] != '/') {
		fprintf(stderr, "locum-bench-unpack: give FILE as an absolute path\n");
		return 2;
	}
	b.dir = lcm_sys_openat(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY, 0);
	b.tmp = lcm_sys_openat(AT_FDCWD, "tmp", O_RDONLY | O_DIRECTORY, 0);
	b.comp = comp_of(&b);
	start_functions(&b);
	run_stream(&b, NULL, -1); /* into the page cache */
	for (unsigned int i = 0; i < runs; i++)
		for (int w = 0; w < WHAT_MAX; w++)
			run(&b, (enum what)w, i);
	print(&b, runs);
	lcm_fn_pool_free(b.fns);
	lcm_closep(&b.wake);
	lcm_closep(&b.dir);
	lcm_closep(&b.tmp);
	lcm_closep(&b.fd);
	free(b.block);
	return chdir("..") < 0 || lcm_rmtree_at(AT_FDCWD, work) < 0;
}
