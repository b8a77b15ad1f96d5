/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "tests/unit/gate_env.h"

#ifndef FSCONFIG_SET_STRING /* glibc 2.35 has no wrappers for these */
#include <linux/mount.h>
#endif

static const char *const layer_names[] = { "l1", "l2" };

int env_namespace(void)
{
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0)
		return 77;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	return 0;
}

_Noreturn void env_exit(int status)
{
	struct stat st;

	for (int fd = 3; fd < 4096; fd++)
		if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 229))
			(void)close(fd);
	_exit(status);
}

static void on_alarm(int sig)
{
	(void)sig;
	env_exit(1);
}

void env_watchdog(unsigned int seconds)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	(void)sigaction(SIGALRM, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)alarm(seconds);
}

static int path_fd(const char *dir, const char *name)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	assert_true(fd >= 0);
	return fd;
}

/* ---- the image ---- */

static void add(struct lcm_toc_builder *b, const char *path, enum lcm_toc_type type, uint64_t size,
		const char *link)
{
	struct lcm_toc_item_chunk chunks[16];
	struct lcm_toc_item item = {
		.path = path,
		.path_len = strlen(path),
		.type = type,
		.mode = 0644,
		.mtime = 1700000000,
		.size = size,
		.link = link,
		.link_len = link ? strlen(link) : 0,
		.chunks = chunks,
	};
	struct lcm_err err;

	for (uint64_t off = 0; type == LCM_TOC_REG && off < size; off += ENV_BIG_CHUNK) {
		chunks[item.n_chunks] = (struct lcm_toc_item_chunk){
			.blob_off = off,
			.blob_len = LCM_MIN(size - off, ENV_BIG_CHUNK),
			.file_off = off,
			.file_len = LCM_MIN(size - off, ENV_BIG_CHUNK),
		};
		chunks[item.n_chunks++].digest.b[0] = 1;
	}
	item.digest.b[0] = 1;
	if (lcm_toc_builder_add(b, &item, &err) < 0)
		fail_msg("%s", err.msg);
}

static void fill_layer(struct lcm_toc_builder *b, int layer, const struct env_options *o)
{
	char path[64];

	for (int i = 0; layer == 0 && i < o->n_files; i++) {
		(void)snprintf(path, sizeof(path), "d/f%04d", i);
		add(b, path, LCM_TOC_REG, 100 + (uint64_t)i, NULL);
	}
	if (layer == 0) {
		add(b, ENV_DEEP, LCM_TOC_REG, 5000, NULL);
		add(b, "hard", LCM_TOC_HARDLINK, 0, "d/f0000");
		add(b, "link", LCM_TOC_SYMLINK, 7, "d/f0001");
		add(b, "pipe", LCM_TOC_FIFO, 0, NULL);
	}
	for (int i = 0; layer == 1 && i < o->n_big; i++) {
		(void)snprintf(path, sizeof(path), "sub/big%d.bin", i);
		add(b, path, LCM_TOC_REG, ENV_BIG_BYTES, NULL);
	}
}

static void make_toc(struct gate_env *e, int layer, int dirfd, const struct env_options *o)
{
	const struct lcm_toc_id id = { .blob.b[0] = 1,
				       .blob_size = 1ULL << 40,
				       .compression = LCM_COMP_ZSTD };
	lcm_auto(lcm_toc_builder) b = NULL;
	struct lcm_err err;

	assert_int_equal(lcm_toc_builder_new(&b), 0);
	fill_layer(b, layer, o);
	if (lcm_toc_builder_finish(b, &id, dirfd, layer_names[layer], false, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(lcm_toc_open(dirfd, layer_names[layer], &e->toc[layer], &err), 0);
	e->local[layer] = calloc(lcm_toc_count(e->toc[layer]), 1);
	assert_non_null(e->local[layer]);
}

static unsigned char byte_at(uint32_t layer, uint32_t entry, uint64_t off)
{
	return (unsigned char)(off * 31 + (off >> 12) * 7 + entry * 13 + layer);
}

static void fill(uint32_t layer, uint32_t entry, unsigned char *p, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = byte_at(layer, entry, off + i);
}

static void write_content(int dirfd, const char *path, uint32_t layer, uint32_t entry,
			  uint64_t size)
{
	lcm_autofree unsigned char *p = malloc(size);
	lcm_autoclose int fd = lcm_sys_openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_non_null(p);
	assert_true(fd >= 0);
	fill(layer, entry, p, 0, size);
	assert_int_equal(lcm_sys_pwrite_full(fd, p, size, 0), 0);
}

/* Where a file is made before it is renamed into place. */
static void ready_name(uint32_t entry, char out[32])
{
	(void)snprintf(out, 32, "ready%u", entry);
}

static void placeholder(int meta, uint32_t layer, const struct lcm_toc_entry *t, const char *path)
{
	lcm_autoclose int fd = lcm_sys_openat(meta, path, O_WRONLY | O_CREAT, 0644);
	char redirect[512];

	assert_true(fd >= 0);
	(void)snprintf(redirect, sizeof(redirect), "/%s/%s", layer_names[layer], path);
	assert_int_equal(lcm_sys_ftruncate(fd, t->size), 0);
	assert_int_equal(lcm_sys_fsetxattr(fd, "trusted.overlay.metacopy", "", 0), 0);
	assert_int_equal(
	    lcm_sys_fsetxattr(fd, "trusted.overlay.redirect", redirect, strlen(redirect)), 0);
}

/* META, the directories of REAL, and src/<entry> for the big files. */
static void make_trees(struct gate_env *e, uint32_t layer)
{
	lcm_autoclose int meta = path_fd(e->dir, "meta"), src = path_fd(e->dir, "src");
	char path[256], deep[512];

	assert_int_equal(lcm_sys_mkdirat(e->real, layer_names[layer], 0755), 0);
	for (uint32_t i = 1; i < lcm_toc_count(e->toc[layer]); i++) {
		const struct lcm_toc_entry *t = lcm_toc_entry(e->toc[layer], i);

		assert_true(lcm_toc_path(e->toc[layer], i, path, sizeof(path)) > 0);
		(void)snprintf(deep, sizeof(deep), "%s/%s", layer_names[layer], path);
		if (t->type == LCM_TOC_DIR) {
			assert_int_equal(lcm_sys_mkdirat(meta, path, 0755), 0);
			assert_int_equal(lcm_sys_mkdirat(e->real, deep, 0755), 0);
		} else if (t->type == LCM_TOC_REG) {
			placeholder(meta, layer, t, path);
			(void)snprintf(deep, sizeof(deep), "%u", i);
			if (layer == 1)
				write_content(src, deep, layer, i, t->size);
			ready_name(i, deep);
			if (e->prepared && layer == 0)
				write_content(e->real, deep, layer, i, t->size);
		} else if (t->type == LCM_TOC_SYMLINK) {
			assert_int_equal(
			    lcm_sys_symlinkat(lcm_toc_link(e->toc[layer], t), meta, path), 0);
		}
	}
}

/* ---- the fetch side ---- */

static void serve_range(struct gate_env *e, const struct env_job *j)
{
	char name[32];
	lcm_autoclose int src = path_fd(e->dir, "src");
	lcm_autoclose int fd = -EBADF;

	(void)snprintf(name, sizeof(name), "%u", j->entry);
	fd = lcm_sys_openat(src, name, O_RDONLY, 0);
	assert_true(fd >= 0);
	lcm_gate_read_done(e->gate, j->token, fd, j->off, j->len, 0);
}

void env_fetch(struct gate_env *e, uint32_t layer, uint32_t entry)
{
	char path[256], to[512], from[32];
	static _Atomic uint32_t unique;

	assert_true(lcm_toc_path(e->toc[layer], entry, path, sizeof(path)) > 0);
	(void)snprintf(to, sizeof(to), "%s/%s", layer_names[layer], path);
	if (e->prepared && layer == 0) {
		ready_name(entry, from);
	} else {
		(void)snprintf(from, sizeof(from), "tmp%u", atomic_fetch_add(&unique, 1));
		write_content(e->real, from, layer, entry,
			      lcm_toc_entry(e->toc[layer], entry)->size);
	}
	assert_int_equal(lcm_sys_renameat(e->real, from, e->real, to), 0);
	atomic_store(&e->local[layer][entry], 1);
}

static void serve(struct gate_env *e, const struct env_job *j)
{
	int status = atomic_load(&e->fail);

	if (j->len) {
		serve_range(e, j);
		return;
	}
	if (status == 0 && !atomic_load(&e->local[j->layer][j->entry]))
		env_fetch(e, j->layer, j->entry);
	lcm_gate_file_done(e->gate, j->layer, j->entry, status);
}

static void *worker(void *arg)
{
	struct env_worker *w = arg;

	for (;;) {
		struct env_job *j;

		(void)pthread_mutex_lock(&w->mu);
		w->busy = false;
		(void)pthread_cond_broadcast(&w->cond);
		while (!w->first)
			(void)pthread_cond_wait(&w->cond, &w->mu);
		j = w->first;
		w->first = j->next;
		w->busy = true;
		(void)pthread_mutex_unlock(&w->mu);
		if (!j->env) {
			free(j);
			return NULL;
		}
		serve(j->env, j);
		free(j);
	}
}

static void worker_push(struct env_worker *w, struct env_job *j)
{
	(void)pthread_mutex_lock(&w->mu);
	j->next = NULL;
	if (w->first)
		w->last->next = j;
	else
		w->first = j;
	w->last = j;
	(void)pthread_cond_broadcast(&w->cond);
	(void)pthread_mutex_unlock(&w->mu);
}

void env_quiesce(struct env_worker *w)
{
	(void)pthread_mutex_lock(&w->mu);
	while (w->first || w->busy)
		(void)pthread_cond_wait(&w->cond, &w->mu);
	(void)pthread_mutex_unlock(&w->mu);
}

struct env_worker *env_worker_new(void)
{
	struct env_worker *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	(void)pthread_mutex_init(&w->mu, NULL);
	(void)pthread_cond_init(&w->cond, NULL);
	assert_int_equal(pthread_create(&w->thread, NULL, worker, w), 0);
	return w;
}

void env_worker_free(struct env_worker *w)
{
	worker_push(w, calloc(1, sizeof(struct env_job)));
	(void)pthread_join(w->thread, NULL);
	(void)pthread_mutex_destroy(&w->mu);
	(void)pthread_cond_destroy(&w->cond);
	free(w);
}

static void submit(struct gate_env *e, const struct env_job *job)
{
	struct env_job *j = malloc(sizeof(*j));

	assert_non_null(j);
	*j = *job;
	j->env = e;
	(void)pthread_mutex_lock(&e->mu);
	if (atomic_load(&e->stall)) {
		j->next = e->aside;
		e->aside = j;
		j = NULL;
	}
	(void)pthread_mutex_unlock(&e->mu);
	if (j)
		worker_push(e->worker, j);
}

void env_resume(struct gate_env *e)
{
	struct env_job *j, *next;

	(void)pthread_mutex_lock(&e->mu);
	atomic_store(&e->stall, false);
	j = e->aside;
	e->aside = NULL;
	(void)pthread_mutex_unlock(&e->mu);
	for (; j; j = next) {
		next = j->next;
		worker_push(e->worker, j);
	}
}

static bool is_local(void *arg, uint32_t layer, uint32_t entry)
{
	struct gate_env *e = arg;

	return atomic_load(&e->local[layer][entry]);
}

static void want_file(void *arg, uint32_t layer, uint32_t entry)
{
	struct gate_env *e = arg;

	(void)pthread_mutex_lock(&e->mu);
	atomic_fetch_add(&e->wants, 1);
	(void)pthread_cond_broadcast(&e->wanted);
	(void)pthread_mutex_unlock(&e->mu);
	submit(e, &(struct env_job){ .layer = layer, .entry = entry });
}

void env_await_wants(struct gate_env *e, uint32_t n)
{
	(void)pthread_mutex_lock(&e->mu);
	while (atomic_load(&e->wants) < n)
		(void)pthread_cond_wait(&e->wanted, &e->mu);
	(void)pthread_mutex_unlock(&e->mu);
}

static void want_range(void *arg, uint32_t layer, uint32_t entry, uint64_t off, uint32_t len,
		       uint64_t token)
{
	struct gate_env *e = arg;

	atomic_fetch_add(&e->ranges, 1);
	submit(e, &(struct env_job){
		      .layer = layer, .entry = entry, .off = off, .len = len, .token = token });
}

static void unwant(void *arg, uint32_t layer, uint32_t entry, uint64_t token)
{
	(void)layer;
	(void)entry;
	(void)token;
	atomic_fetch_add(&((struct gate_env *)arg)->unwants, 1);
}

static void unbound(void *arg)
{
	atomic_fetch_add(&((struct gate_env *)arg)->unbounds, 1);
}

static void gone(void *arg)
{
	atomic_fetch_add(&((struct gate_env *)arg)->gones, 1);
}

/* ---- mounts ---- */

static void config(int fs, unsigned int cmd, const char *key, const char *value)
{
	if (syscall(SYS_fsconfig, fs, cmd, key, value, 0) == 0)
		return;
	{
		char msg[256] = "";

		lcm_ignore((int)lcm_sys_read(fs, msg, sizeof(msg) - 1));
		fail_msg("fsconfig %s: %s", key ? key : "create", msg);
	}
}

static int mount_fs(int fs, const char *at)
{
	int fd, r;

	config(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
	fd = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	assert_true(fd >= 0);
	r = (int)syscall(SYS_move_mount, fd, "", AT_FDCWD, at, 4 /* MOVE_MOUNT_F_EMPTY_PATH */);
	assert_int_equal(r, 0);
	lcm_closep(&fs);
	return fd;
}

static void mount_gate(struct gate_env *e, struct lcm_gate_threads *t, int fuse_fd)
{
	int fs = (int)syscall(SYS_fsopen, "fuse", 1), mnt;
	char text[512];

	assert_true(fs >= 0);
	(void)snprintf(text, sizeof(text), "%d", fuse_fd);
	config(fs, FSCONFIG_SET_STRING, "fd", text);
	config(fs, FSCONFIG_SET_STRING, "rootmode", "40000");
	config(fs, FSCONFIG_SET_STRING, "user_id", "0");
	config(fs, FSCONFIG_SET_STRING, "group_id", "0");
	config(fs, FSCONFIG_SET_FLAG, "allow_other", NULL);
	config(fs, FSCONFIG_SET_FLAG, "ro", NULL);
	(void)snprintf(text, sizeof(text), "%s/gate", e->dir);
	mnt = mount_fs(fs, text);
	e->mounted = "gate";
	assert_int_equal(lcm_gate_start(e->gate, t), 0);
	assert_int_equal(lcm_gate_start(e->gate, t), -EALREADY);
	lcm_closep(&mnt);
}

struct gate_env *env_new(struct lcm_gate_threads *t, struct env_worker *w,
			 const struct env_options *o)
{
	struct gate_env *e = calloc(1, sizeof(*e));
	struct lcm_gate_layer layers[2];
	struct lcm_gate_config cfg = { .layers = layers,
				       .n_layers = 2,
				       .big = o->big,
				       .deadline_ns = o->deadline_ns,
				       .arg = e };
	lcm_autoclose int dirfd = -EBADF;
	struct lcm_err err;
	int fuse_fd;

	assert_non_null(e);
	(void)pthread_mutex_init(&e->mu, NULL);
	(void)pthread_cond_init(&e->wanted, NULL);
	e->worker = w;
	e->ops = (struct lcm_gate_ops){ is_local, want_file, want_range, unwant, unbound, gone };
	e->dir = test_mkdir();
	assert_int_equal(mount("tmpfs", e->dir, "tmpfs", 0, "mode=0700"), 0);
	dirfd = path_fd(e->dir, "");
	for (const char *const *p =
		 (const char *const[]){ "meta", "real", "gate", "m", "src", NULL };
	     *p; p++)
		assert_int_equal(lcm_sys_mkdirat(dirfd, *p, 0755), 0);
	e->prepared = o->prepared;
	e->real = path_fd(e->dir, "real");
	for (int i = 0; i < 2; i++) {
		make_toc(e, i, dirfd, o);
		make_trees(e, (uint32_t)i);
		layers[i] = (struct lcm_gate_layer){ layer_names[i], e->toc[i] };
	}
	cfg.ops = &e->ops;
	if (lcm_gate_open(&cfg, &e->gate, &fuse_fd, &err) < 0)
		fail_msg("%s", err.msg);
	mount_gate(e, t, fuse_fd);
	return e;
}

void env_overlay(struct gate_env *e)
{
	int fs = (int)syscall(SYS_fsopen, "overlay", 1);
	char text[512];

	assert_true(fs >= 0);
	(void)snprintf(text, sizeof(text), "%s/meta", e->dir);
	config(fs, FSCONFIG_SET_STRING, "lowerdir+", text);
	(void)snprintf(text, sizeof(text), "%s/real", e->dir);
	config(fs, FSCONFIG_SET_STRING, "datadir+", text);
	(void)snprintf(text, sizeof(text), "%s/gate", e->dir);
	config(fs, FSCONFIG_SET_STRING, "datadir+", text);
	(void)snprintf(text, sizeof(text), "%s/m", e->dir);
	(void)close(mount_fs(fs, text));
	e->mounted = "m";
	(void)snprintf(text, sizeof(text), "%s/gate", e->dir);
	assert_int_equal(umount2(text, MNT_DETACH), 0);
}

void env_umount(struct gate_env *e)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "%s/%s", e->dir, e->mounted);
	assert_int_equal(umount2(text, MNT_DETACH), 0);
	e->mounted = NULL;
}

void env_free(struct gate_env *e)
{
	env_quiesce(e->worker);
	lcm_gate_close(e->gate);
	if (e->mounted)
		env_umount(e);
	lcm_closep(&e->real);
	assert_int_equal(umount2(e->dir, MNT_DETACH), 0);
	test_rmdir(e->dir);
	for (int i = 0; i < 2; i++) {
		lcm_toc_close(e->toc[i]);
		free(e->local[i]);
	}
	while (e->aside) {
		struct env_job *j = e->aside;

		e->aside = j->next;
		free(j);
	}
	(void)pthread_cond_destroy(&e->wanted);
	(void)pthread_mutex_destroy(&e->mu);
	free(e);
}

void env_shrink(struct gate_env *e)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "%s/m", e->dir);
	assert_int_equal(mount(NULL, text, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
}

/* ---- looking ---- */

uint32_t env_entry(const struct gate_env *e, uint32_t layer, const char *path)
{
	uint32_t i = lcm_toc_walk(e->toc[layer], path, strlen(path));

	assert_int_not_equal(i, LCM_TOC_NONE);
	return i;
}

const char *env_path(const struct gate_env *e, const char *path)
{
	static __thread char buf[512];

	(void)snprintf(buf, sizeof(buf), "%s/m/%s", e->dir, path);
	return buf;
}

bool env_check(const struct gate_env *e, uint32_t layer, uint32_t entry, const void *p,
	       uint64_t off, size_t len)
{
	const unsigned char *c = p;

	(void)e;
	for (size_t i = 0; i < len; i++)
		if (c[i] != byte_at(layer, entry, off + i))
			return false;
	return true;
}

int env_read_all(const struct gate_env *e, const char *path, uint32_t layer, uint32_t entry)
{
	uint64_t size = lcm_toc_entry(e->toc[layer], entry)->size;
	lcm_autofree char *p = malloc(size + 1);
	lcm_autoclose int fd = (int)lcm_errno(open(env_path(e, path), O_RDONLY | O_CLOEXEC));
	int r;

	if (fd < 0)
		return fd;
	if (!p)
		return -ENOMEM;
	r = lcm_sys_pread_full(fd, p, size, 0);
	if (r < 0)
		return r;
	return env_check(e, layer, entry, p, 0, size) && pread(fd, p, 1, (off_t)size) == 0
		   ? 0
		   : -EBADMSG;
}

struct lcm_gate_stats env_stats(struct gate_env *e)
{
	struct lcm_gate_stats s;

	lcm_gate_stats(e->gate, &s);
	return s;
}

struct lcm_gate_threads *env_threads;
struct env_worker *env_fetcher;

int env_setup(void **state)
{
	(void)state;
	env_fetcher = env_worker_new();
	return lcm_gate_threads_new(2, &env_threads);
}

int env_teardown(void **state)
{
	(void)state;
	lcm_gate_threads_free(env_threads);
	env_worker_free(env_fetcher);
	return 0;
}
