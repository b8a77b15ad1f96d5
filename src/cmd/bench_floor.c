/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_floor.c - what no full pull can beat here: download alone, decompression alone, writing
 * alone. Their maximum is a bound for a pull that overlaps them perfectly.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "src/base/sys.h"
#include "src/cmd/bench_pull.h"

#define DIR_FILES 1000 /* files in one directory of floor_write() */

/* ---- download ---- */

struct blob {
	struct floor_ctx *f; /* borrowed */
	int fd;              /* -EBADF: keep nothing */
};

static int sink(void *arg, uint64_t off, const void *p, size_t len)
{
	const struct blob *blob = arg;

	return blob->fd < 0 ? 0 : lcm_sys_pwrite_full(blob->fd, p, len, off);
}

static void done(void *arg, const struct lcm_fetch_result *res)
{
	struct blob *blob = arg;
	struct floor_ctx *f = blob->f;

	if (res->status && !f->status)
		f->status = lcm_err_set(f->err, res->status, "%s",
					lcm_err_text(&res->err, res->status));
	if (--f->left == 0)
		lcm_loop_stop(f->loop);
}

static int fetch(struct floor_ctx *f, struct blob blobs[], struct lcm_err *err)
{
	int r = 0;

	f->left = 0;
	f->status = 0;
	f->err = err;
	for (size_t i = 0; r == 0 && i < f->m->n_layers; i++) {
		const struct lcm_descriptor *d = &f->m->layers[i];
		struct lcm_fetch_req req = { .kind = LCM_FETCH_BLOB,
					     .prio = LCM_PRIO_BACKGROUND,
					     .ref = &f->ref,
					     .digest = d->digest,
					     .size = d->size,
					     .len = d->size,
					     .sink = sink,
					     .done = done,
					     .arg = &blobs[i] };
		uint64_t id;

		r = lcm_fetch_start(f->reg, &req, &id);
		f->left += r == 0;
	}
	if (r < 0)
		return lcm_err_set(err, r, "a layer cannot be fetched: %s", strerror(-r));
	if (f->left)
		r = lcm_loop_run(f->loop);
	return r < 0 ? r : f->status;
}

int floor_download(struct floor_ctx *f, uint64_t *ret_ns, struct lcm_err *err)
{
	struct blob blobs[BENCH_LAYERS_MAX];
	uint64_t t;
	int r;

	for (size_t i = 0; i < BENCH_LAYERS_MAX; i++)
		blobs[i] = (struct blob){ f, -EBADF };
	bench_cold(f->b);
	t = lcm_now_ns();
	r = fetch(f, blobs, err);
	*ret_ns = lcm_now_ns() - t;
	return r;
}

static int keep(struct floor_ctx *f, struct lcm_err *err)
{
	struct blob blobs[BENCH_LAYERS_MAX];
	char path[340];
	int r = 0;

	for (size_t i = 0; i < BENCH_LAYERS_MAX; i++)
		blobs[i] = (struct blob){ f, -EBADF };
	for (size_t i = 0; r >= 0 && i < f->m->n_layers; i++) {
		(void)snprintf(path, sizeof(path), "%s/%zu", f->mem, i);
		r = blobs[i].fd = lcm_sys_openat(AT_FDCWD, path,
						 O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	r = r < 0 ? lcm_err_set(err, r, "%s: %s", path, strerror(-r)) : fetch(f, blobs, err);
	for (size_t i = 0; i < f->m->n_layers; i++)
		lcm_closep(&blobs[i].fd);
	return r;
}

/* ---- as many processes as cores ---- */

typedef int (*start_fn)(struct floor_ctx *f, size_t layer, pid_t *ret, struct lcm_err *err);

static void order(const struct floor_ctx *f, size_t out[BENCH_LAYERS_MAX])
{
	for (size_t i = 0; i < f->m->n_layers; i++) {
		size_t at = i;

		for (; at && f->m->layers[out[at - 1]].size < f->m->layers[i].size; at--)
			out[at] = out[at - 1];
		out[at] = i;
	}
}

static int each_layer(struct floor_ctx *f, start_fn start, const char *what, struct lcm_err *err)
{
	long cores = LCM_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L), running = 0;
	size_t next = 0, sorted[BENCH_LAYERS_MAX];
	int r = 0;

	bench_reap();
	order(f, sorted);
	while (running || (r == 0 && next < f->m->n_layers)) {
		int status = 0;
		pid_t pid;

		if (r == 0 && running < cores && next < f->m->n_layers) {
			r = start(f, sorted[next++], &pid, err);
			running += r == 0;
			continue;
		}
		if (waitpid(-1, &status, 0) < 0)
			return lcm_err_set(err, -ECHILD, "%s was lost", what);
		running--;
		if (status && r == 0)
			r = lcm_err_set(err, -EIO, "%s failed", what);
	}
	return r;
}

/* ---- decompression ---- */

static const char *tool(enum lcm_media media)
{
	return media == LCM_MEDIA_LAYER_GZIP   ? "igzip"
	       : media == LCM_MEDIA_LAYER_ZSTD ? "zstd"
					       : "cat";
}

static int decompress(struct floor_ctx *f, size_t layer, const char *out, pid_t *ret,
		      struct lcm_err *err)
{
	const char *name = tool(f->m->layers[layer].media);
	char path[340];
	const char *const unpack[] = { name, "-d", "-q", "-f", "-o", out, path, NULL };
	const char *const copy[] = { "cp", path, out, NULL };

	(void)snprintf(path, sizeof(path), "%s/%zu", f->mem, layer);
	return bench_spawn(f->b, strcmp(name, "cat") == 0 ? copy : unpack, NULL, ret, err);
}

static int to_nowhere(struct floor_ctx *f, size_t layer, pid_t *ret, struct lcm_err *err)
{
	const char *name = tool(f->m->layers[layer].media);
	char path[340];
	const char *const unpack[] = { name, "-d", "-c", path, NULL };
	const char *const copy[] = { name, path, NULL };

	(void)snprintf(path, sizeof(path), "%s/%zu", f->mem, layer);
	return bench_spawn(f->b, strcmp(name, "cat") == 0 ? copy : unpack, NULL, ret, err);
}

static int to_tar(struct floor_ctx *f, size_t layer, pid_t *ret, struct lcm_err *err)
{
	char out[340];

	(void)snprintf(out, sizeof(out), "%s/%zu.tar", f->mem, layer);
	return decompress(f, layer, out, ret, err);
}

int floor_decompress(struct floor_ctx *f, uint64_t *ret_ns, struct lcm_err *err)
{
	uint64_t t;
	int r;

	bench_cold(f->b);
	t = lcm_now_ns();
	r = each_layer(f, to_nowhere, "decompression", err);
	*ret_ns = lcm_now_ns() - t;
	return r;
}

/* ---- writing ---- */

/* Octal, or base 256 with the top bit set. */
static int tar_number(const unsigned char *p, size_t n, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	if (p[0] & 0x80) {
		for (i = n - 8; i < n; i++)
			v = v << 8 | p[i];
		*ret = v;
		return 0;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0');
	*ret = v;
	return i < n && p[i] && p[i] != ' ' ? -EUCLEAN : 0;
}

int floor_tar_next(const unsigned char *p, size_t len, size_t *off, const unsigned char **ret,
		   size_t *ret_len)
{
	while (len - *off >= 512 && p[*off]) {
		const unsigned char *h = p + *off;
		uint64_t size, room = len - *off - 512;

		if (tar_number(h + 124, 12, &size) < 0 || size > room)
			return -EUCLEAN;
		*off += 512 + (size_t)LCM_MIN((size + 511) & ~511ULL, room);
		if (h[156] != '0' && h[156] != '\0')
			continue;
		*ret = h + 512;
		*ret_len = (size_t)size;
		return 1;
	}
	return 0;
}

static int write_file(const char *dir, size_t n, const unsigned char *p, size_t len)
{
	lcm_autoclose int fd = -EBADF;
	char path[400];
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s/%zu", dir, n / DIR_FILES);
	if (n % DIR_FILES == 0)
		r = lcm_sys_mkdirat(AT_FDCWD, path, 0755);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/%zu/%zu", dir, n / DIR_FILES, n);
	fd = lcm_sys_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? fd : lcm_sys_write_full(fd, p, len);
}

static int write_layer(const struct floor_ctx *f, size_t layer)
{
	char tar[340], dir[340];
	const unsigned char *p, *data = NULL;
	lcm_autoclose int fd = -EBADF;
	lcm_autoclose int dirfd = lcm_sys_openat(AT_FDCWD, f->b->dir, O_RDONLY | O_DIRECTORY, 0);
	size_t off = 0, n = 0, len = 0;
	struct stat st;
	int r;

	(void)snprintf(tar, sizeof(tar), "%s/%zu.tar", f->mem, layer);
	(void)snprintf(dir, sizeof(dir), "%s/written/%zu", f->b->dir, layer);
	fd = lcm_sys_openat(AT_FDCWD, tar, O_RDONLY | O_CLOEXEC, 0);
	if (dirfd < 0 || fd < 0 || lcm_sys_fstat(fd, &st) < 0 || lcm_mkdir_p(dir, 0755) < 0)
		return -EIO;
	if (st.st_size == 0)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	while ((r = floor_tar_next(p, (size_t)st.st_size, &off, &data, &len)) == 1) {
		r = write_file(dir, n++, data, len);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : lcm_sys_syncfs(dirfd);
}

static int start_write(struct floor_ctx *f, size_t layer, pid_t *ret, struct lcm_err *err)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(write_layer(f, layer) < 0);
	*ret = pid;
	return pid < 0 ? lcm_err_set(err, -EAGAIN, "no process") : 0;
}

int floor_write(struct floor_ctx *f, uint64_t *ret_ns, struct lcm_err *err)
{
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, f->b->dir, O_RDONLY | O_DIRECTORY, 0);
	uint64_t t;
	int r;

	if (dir < 0)
		return dir;
	bench_cold(f->b);
	t = lcm_now_ns();
	r = each_layer(f, start_write, "writing", err);
	if (r == 0)
		r = lcm_sys_syncfs(dir);
	*ret_ns = lcm_now_ns() - t;
	lcm_ignore(lcm_rmtree_at(dir, "written"));
	return r;
}

/* ---- preparation ---- */

struct answer {
	struct floor_ctx *f;
	struct lcm_manifest *m;
	int status;
};

static void on_manifest(void *arg, const struct lcm_fetch_result *res)
{
	struct answer *a = arg;

	a->status = res->status;
	if (res->status)
		a->status = lcm_err_set(a->f->err, res->status, "%s",
					lcm_err_text(&res->err, res->status));
	else
		a->status = lcm_manifest_parse(res->text, strlen(res->text), res->content_type,
					       &a->m, a->f->err);
	lcm_loop_stop(a->f->loop);
}

static int get_manifest(struct floor_ctx *f, const struct lcm_digest *digest)
{
	struct answer a = { .f = f };
	struct lcm_fetch_req req = {
		.kind = LCM_FETCH_MANIFEST, .ref = &f->ref, .done = on_manifest, .arg = &a
	};
	uint64_t id;
	int r;

	if (digest)
		req.digest = *digest;
	r = lcm_fetch_start(f->reg, &req, &id);
	if (r == 0)
		r = lcm_loop_run(f->loop);
	if (r == 0)
		r = a.status;
	if (r == 0) {
		lcm_manifest_free(f->m);
		f->m = a.m;
	}
	return r;
}

static int resolve(struct floor_ctx *f, struct lcm_err *err)
{
	const struct lcm_descriptor *d;
	struct lcm_platform host;
	struct lcm_digest digest;
	int r;

	f->err = err;
	r = get_manifest(f, NULL);
	if (r == 0 && f->m->media == LCM_MEDIA_INDEX) {
		lcm_platform_host(&host);
		r = lcm_manifest_select(f->m, &host, &d, err);
		if (r == 0) {
			digest = d->digest;
			r = get_manifest(f, &digest);
		}
	}
	if (r == 0 && (f->m->n_layers == 0 || f->m->n_layers > BENCH_LAYERS_MAX))
		r = lcm_err_set(err, -ENOTSUP, "%zu layers: 1 to %d are measured", f->m->n_layers,
				BENCH_LAYERS_MAX);
	return r;
}

static int connect_registry(struct floor_ctx *f, struct lcm_err *err)
{
	const char *hosts[BENCH_ARGS_MAX + 1] = { NULL };
	struct lcm_registry_config cfg = { .insecure_hosts = hosts };
	size_t n = 0;
	int r = lcm_reference_parse(f->b->image, &f->ref, err);

	for (size_t i = 0; i < f->b->n_daemon_options; i++)
		if (strncmp(f->b->daemon_options[i], "--insecure=", 11) == 0)
			hosts[n++] = f->b->daemon_options[i] + 11;
	if (r == 0)
		r = lcm_loop_new(&f->loop);
	return r < 0 ? r : lcm_registry_new(f->loop, &cfg, &f->reg, err);
}

int floor_open(struct floor_ctx *f, struct bench *b, struct lcm_err *err)
{
	int r;

	*f = (struct floor_ctx){ .b = b };
	(void)snprintf(f->mem, sizeof(f->mem), "%s/mem", b->dir);
	r = lcm_mkdir_p(f->mem, 0700);
	if (r == 0)
		r = (int)lcm_errno(
		    mount("tmpfs", f->mem, "tmpfs", MS_NOSUID | MS_NODEV, "size=90%"));
	if (r < 0)
		return lcm_err_set(err, r, "%s: no tmpfs: %s", f->mem, strerror(-r));
	r = connect_registry(f, err);
	if (r == 0)
		r = resolve(f, err);
	if (r == 0)
		r = keep(f, err);
	return r < 0 ? r : each_layer(f, to_tar, "decompression (igzip, zstd)", err);
}

void floor_close(struct floor_ctx *f)
{
	lcm_manifest_free(f->m);
	lcm_registry_free(f->reg);
	lcm_loop_free(f->loop);
	(void)umount2(f->mem, MNT_DETACH);
}
