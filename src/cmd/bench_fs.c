/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_fs.c - the mount after handover, and the lazy one, against a plain overlay of the same
 * tree.
 *
 * The plain overlay has the same REAL directories as lower layers, so both sides read the same
 * inodes and the same page cache; only the way to them differs.
 */
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "src/base/sys.h"
#include "src/cmd/bench.h"
#include "src/cmd/client.h"

#define PART "file system"
#define PART_LAZY "file system while lazy"
#define LAYERS_MAX 500
#define FILES_MAX 2000 /* opened in one turn */
#define OPEN_TURNS 5
#define READS 20000
#define READ_FILES 8 /* the largest ones */
#define READ_SIZE 4096
#define SEQ_BUF (128U << 10)
#define SEQ_MAX (256ULL << 20)
#define TURNS 4 /* warm measurements a round */

struct file {
	char *path; /* owned; below the root, without the leading slash */
	uint64_t size;
};

struct tree {
	struct file *files; /* owned; regular files with content, largest first */
	size_t n;
};

static int compare_size(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->size < y->size ? 1 : x->size > y->size ? -1 : strcmp(x->path, y->path);
}

static void tree_fini(struct tree *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->files[i].path);
	free(t->files);
}

static int tree_add(struct tree *t, const char *path, uint64_t size)
{
	struct file *grown = t->n % 1024 ? t->files
					 : realloc(t->files, (t->n + 1024) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	t->files = grown;
	grown[t->n].size = size;
	grown[t->n].path = strdup(path);
	return grown[t->n].path ? (t->n++, 0) : -ENOMEM;
}

/* What `find -ls` does: every directory is read, every entry lstat'ed. @t may be NULL. Return:
 * entries seen or -errno. */
static int walk(const char *root, struct tree *t, struct lcm_err *err)
{
	char *paths[] = { (char *)root, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	size_t skip = strlen(root) + 1;
	int n = 0, r = 0;
	FTSENT *e;

	if (!fts)
		return (int)lcm_errno(-1);
	while (r == 0 && (e = fts_read(fts))) {
		n += e->fts_info != FTS_DP;
		if (e->fts_info == FTS_NS && e->fts_errno == ENOENT)
			continue; /* overlayfs lists the whiteouts of a directory that only one
				     layer has */
		if (e->fts_info == FTS_NS || e->fts_info == FTS_DNR || e->fts_info == FTS_ERR)
			r = lcm_err_set(err, -e->fts_errno, "%s: %s", e->fts_path + skip,
					strerror(e->fts_errno));
		else if (t && e->fts_info == FTS_F && e->fts_statp->st_size > 0 &&
			 S_ISREG(e->fts_statp->st_mode))
			r = tree_add(t, e->fts_path + skip, (uint64_t)e->fts_statp->st_size);
	}
	(void)fts_close(fts);
	return r < 0 ? r : n;
}

/* ---- one measurement each; @ret is ns for one operation ---- */

typedef int (*measure_fn)(int root, const struct tree *t, double *ret);

static int open_files(int root, const struct tree *t, double *ret)
{
	size_t step = t->n / FILES_MAX + 1, ops = 0;
	uint64_t t0 = lcm_now_ns();

	for (int turn = 0; turn < OPEN_TURNS; turn++) {
		for (size_t i = 0; i < t->n; i += step, ops++) {
			int fd = lcm_sys_openat(root, t->files[i].path, O_RDONLY, 0);

			if (fd < 0)
				return fd;
			(void)close(fd);
		}
	}
	*ret = (double)(lcm_now_ns() - t0) / (double)ops;
	return 0;
}

/* The same pseudo-random places for both sides. */
static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static int read_random(int root, const struct tree *t, double *ret)
{
	size_t n = LCM_MIN(t->n, (size_t)READ_FILES);
	int fds[READ_FILES], r = 0;
	uint64_t x = 88172645463325252ULL, t0;
	char buf[READ_SIZE];
	size_t opened = 0;

	for (; r >= 0 && opened < n; opened += r >= 0)
		r = fds[opened] = lcm_sys_openat(root, t->files[opened].path, O_RDONLY, 0);
	t0 = lcm_now_ns();
	for (int i = 0; r >= 0 && i < READS; i++) {
		size_t f = next_random(&x) % n;
		uint64_t pages = t->files[f].size / READ_SIZE + 1;

		r = (int)lcm_errno(
		    pread(fds[f], buf, sizeof(buf), (off_t)(next_random(&x) % pages * READ_SIZE)));
	}
	*ret = (double)(lcm_now_ns() - t0) / READS;
	while (opened)
		(void)close(fds[--opened]);
	return LCM_MIN(r, 0);
}

static int read_all(int root, const struct tree *t, double *ret)
{
	lcm_autofree char *buf = malloc(SEQ_BUF);
	uint64_t sum = 0, t0 = lcm_now_ns();
	int r = buf ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < t->n && sum < SEQ_MAX; i++) {
		int fd = lcm_sys_openat(root, t->files[i].path, O_RDONLY, 0);
		ssize_t got = fd;

		while (fd >= 0 && (got = lcm_sys_read(fd, buf, SEQ_BUF)) > 0)
			sum += (uint64_t)got;
		if (fd >= 0)
			(void)close(fd);
		r = got < 0 ? (int)got : 0;
	}
	*ret = sum ? (double)(lcm_now_ns() - t0) / ((double)sum / (1 << 20)) : 0;
	return r;
}

static int find_all(int root, const struct tree *t, double *ret)
{
	uint64_t t0 = lcm_now_ns();
	char path[64];
	int r;

	(void)t;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/.", root);
	r = walk(path, NULL, NULL);
	*ret = (double)(lcm_now_ns() - t0);
	return LCM_MIN(r, 0);
}

struct figure {
	measure_fn fn;
	const char *native, *plain;
	enum bench_unit unit;
	bool cold;
};

static const struct figure native_figures[] = {
	{ open_files, "open+close: native", "open+close: plain overlay", BENCH_US, false },
	{ read_random, "4 KiB random read: native", "4 KiB random read: plain overlay", BENCH_US,
	  false },
	{ read_all, "sequential read of 1 MiB: native", "sequential read of 1 MiB: plain overlay",
	  BENCH_US, false },
	{ find_all, "find: native", "find: plain overlay", BENCH_MS, false },
	{ find_all, "find, cold: native", "find, cold: plain overlay", BENCH_MS, true },
	{ open_files, "open+close, cold: native", "open+close, cold: plain overlay", BENCH_US,
	  true },
};

static const struct figure lazy_figures[] = {
	{ find_all, "find: lazy", "find: plain overlay", BENCH_MS, false },
	{ find_all, "find, cold: lazy", "find, cold: plain overlay", BENCH_MS, true },
};

/* Both sides after each other, the first one alternating. */
static int measure(struct bench *b, const char *part, const struct figure *f, const int roots[2],
		   const struct tree *t, bool swap)
{
	double v[2];

	for (int i = 0; i < 2; i++) {
		int side = i ^ (int)swap, r;

		if (f->cold)
			bench_cold(b);
		r = f->fn(roots[side], t, &v[side]);
		if (r < 0)
			return r;
	}
	bench_add(b, part, f->native, f->plain, f->unit, v[0]);
	bench_add(b, part, f->plain, NULL, f->unit, v[1]);
	return 0;
}

static int measure_all(struct bench *b, const char *part, const struct figure *figures, size_t n,
		       const int roots[2], const struct tree *t)
{
	double ignored;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t turns = figures[i].cold ? b->rounds : b->rounds * TURNS;

		if (figures[i].cold && b->warm)
			continue;
		for (int side = 0; r == 0 && !figures[i].cold && side < 2; side++)
			r = figures[i].fn(roots[side], t, &ignored);
		for (uint64_t turn = 0; r == 0 && turn < turns; turn++) {
			bench_say(b, "%s: %s: %llu of %llu", part, figures[i].native,
				  (unsigned long long)turn + 1, (unsigned long long)turns);
			r = measure(b, part, &figures[i], roots, t, turn & 1);
		}
	}
	return r;
}

/* ---- the mounts ---- */

struct mounts {
	int plain, other;             /* roots */
	char target[360];             /* of the session being measured */
	char lowers[LAYERS_MAX * 24]; /* "3:2:1", below REAL */
};

static int session(struct bench *b, const char *wait_for, char target[360], struct lcm_err *err)
{
	json_t *st = NULL;
	int r = client_session(json_pack("{s:s}", "image", b->image), wait_for, &st, err);
	const char *t = json_string_value(json_object_get(st, "target"));

	if (r == 0 && !t)
		r = lcm_err_set(err, -EPROTO, "the daemon's answer has no target");
	if (r == 0)
		(void)snprintf(target, 360, "%s", t);
	json_decref(st);
	return r;
}

/* Takes the layers (DIRECTORY/NAME below the root), topmost first, from the mount options of a
 * plain locum mount. */
static int find_lowers(const char *target, char *out, size_t size, struct lcm_err *err)
{
	static const char key[] = "lowerdir+=";
	lcm_autofree char *text = NULL, *wanted = NULL;
	size_t len = 0, used = 0;
	char *line, *at;

	if (asprintf(&wanted, " %s ", target) < 0 ||
	    lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 16U << 20, &text, &len) < 0)
		return -ENOMEM;
	line = strstr(text, wanted);
	if (line)
		line[strcspn(line, "\n")] = '\0';
	for (at = line; at && (at = strstr(at, key)); at += sizeof(key) - 1) {
		size_t n = strcspn(at, ",");
		char *name = memrchr(at, '/', n);

		name = name ? memrchr(at, '/', (size_t)(name - at)) : NULL;
		if (!name || used + n + 2 > size)
			return lcm_err_set(err, -EPROTO,
					   "the layers of %s cannot be told from its mount options",
					   target);
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ":" : "",
					 (int)(at + n - name - 1), name + 1);
	}
	return used ? 0 : lcm_err_set(err, -EPROTO, "%s is not mounted on plain layers", target);
}

/* By the old mount(2), from the state directory so that the option string stays short. */
static int mount_plain(struct bench *b, const char *lowers, int *ret, struct lcm_err *err)
{
	lcm_autofree char *options = NULL;
	char dir[340], path[400];
	int r = 0;

	(void)snprintf(dir, sizeof(dir), "%s/%u/plain", b->dir, b->serial);
	for (size_t i = 0; r == 0 && i < 3; i++) {
		static const char *const names[] = { "upper", "work", "root" };

		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		r = lcm_mkdir_p(path, 0755);
	}
	if (r == 0 && asprintf(&options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lowers,
			       dir, dir) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = (int)lcm_errno(chdir(b->root));
	(void)snprintf(path, sizeof(path), "%s/root", dir);
	if (r == 0)
		r = (int)lcm_errno(mount("locum-bench", path, "overlay", 0, options));
	(void)!chdir("/");
	if (r < 0)
		return lcm_err_set(err, r, "plain overlay of %s: %s", lowers, strerror(-r));
	*ret = lcm_sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	return LCM_MIN(*ret, 0);
}

/* First a lazy mount that goes native, then a second one of the same image, which tells the layers.
 */
static int make_native(struct bench *b, struct mounts *m, struct lcm_err *err)
{
	char second[360];
	int r = bench_daemon_start(b, true, true, err);

	if (r == 0)
		r = session(b, "native", m->target, err);
	if (r == 0)
		r = session(b, "native", second, err);
	if (r == 0)
		r = find_lowers(second, m->lowers, sizeof(m->lowers), err);
	if (r == 0)
		r = mount_plain(b, m->lowers, &m->plain, err);
	if (r < 0)
		return r;
	m->other = lcm_sys_openat(AT_FDCWD, m->target, O_PATH | O_DIRECTORY, 0);
	return LCM_MIN(m->other, 0);
}

static int files_of(int root, struct tree *t, struct lcm_err *err)
{
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/.", root);
	r = walk(path, t, err);
	if (r < 0)
		return lcm_err_prefix(err, r, "reading the plain overlay");
	if (t->n == 0)
		return lcm_err_set(err, -ENODATA, "the image has no files with content");
	qsort(t->files, t->n, sizeof(*t->files), compare_size);
	return 0;
}

static double gate_requests(void)
{
	double sum = 0;
	json_t *all = NULL, *o;
	size_t i;

	if (client_call("GET", "/v1/mounts", NULL, false, &all, NULL) < 0)
		return -1;
	json_array_foreach (json_object_get(all, "mounts"), i, o)
		sum +=
		    json_number_value(json_object_get(json_object_get(o, "gate"), "lookups_files"));
	json_decref(all);
	return sum;
}

/* Another daemon on fresh state; the plain overlay of the first one stays mounted. */
static int measure_lazy(struct bench *b, struct mounts *m, struct lcm_err *err)
{
	double before;
	int r = bench_daemon_start(b, false, true, err);

	if (r == 0)
		r = session(b, "ready", m->target, err);
	if (r < 0)
		return r;
	m->other = lcm_sys_openat(AT_FDCWD, m->target, O_PATH | O_DIRECTORY, 0);
	before = gate_requests();
	if (m->other >= 0)
		r = measure_all(b, PART_LAZY, lazy_figures, LCM_ARRAY_SIZE(lazy_figures),
				(int[]){ m->other, m->plain }, NULL);
	if (r == 0 && before >= 0)
		bench_add(b, PART_LAZY, "files asked of the daemon by all of it", NULL, BENCH_COUNT,
			  gate_requests() - before);
	lcm_closep(&m->other);
	bench_daemon_stop(b, false);
	return r;
}

int bench_fs(struct bench *b, struct lcm_err *err)
{
	struct mounts m = { .plain = -EBADF, .other = -EBADF };
	struct tree t = { 0 };
	int r;

	bench_say(b, "file system: pulling the image");
	r = make_native(b, &m, err);
	if (r == 0)
		r = files_of(m.plain, &t, err);
	if (r == 0) {
		r = measure_all(b, PART, native_figures, LCM_ARRAY_SIZE(native_figures),
				(int[]){ m.other, m.plain }, &t);
		if (r < 0)
			r = lcm_err_set(err, r, "measuring the file system: %s", strerror(-r));
	}
	lcm_closep(&m.other);
	bench_daemon_stop(b, false);
	if (r == 0)
		r = measure_lazy(b, &m, err);
	lcm_closep(&m.plain);
	tree_fini(&t);
	return r;
}
