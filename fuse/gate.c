/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "fuse/session.h"
#include "src/base/sys.h"

static int compare_names(const void *a, const void *b, void *arg)
{
	const struct lcm_gate_layer *layers = arg;

	return strcmp(layers[*(const uint32_t *)a].name, layers[*(const uint32_t *)b].name);
}

static int copy_layers(struct lcm_gate *g, const struct lcm_gate_config *cfg)
{
	g->layers = calloc(LCM_MAX(cfg->n_layers, 1U), sizeof(*g->layers));
	g->by_name = calloc(LCM_MAX(cfg->n_layers, 1U), sizeof(*g->by_name));
	if (!g->layers || !g->by_name)
		return -ENOMEM;
	g->n_layers = cfg->n_layers;
	for (uint32_t i = 0; i < g->n_layers; i++) {
		g->layers[i] = cfg->layers[i];
		g->by_name[i] = i;
	}
	qsort_r(g->by_name, g->n_layers, sizeof(*g->by_name), compare_names, g->layers);
	return 0;
}

static int open_session(struct lcm_gate *g, int fuse_fd, struct lcm_err *err)
{
	char arg0[] = "locum";
	char *argv[] = { arg0, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	lcm_autoclose int fd = fuse_fd;
	int r;

	g->se = fuse_session_new(&args, &lcm_gate_fuse_ops, sizeof(lcm_gate_fuse_ops), g);
	fuse_opt_free_args(&args);
	if (!g->se)
		return lcm_err_set(err, -ENOMEM,
				   "libfuse made no session for the gate: out of memory, or over "
				   "1,000 gates in one process");
	r = fuse_session_custom_io(g->se, &lcm_gate_io, fd);
	if (r != 0)
		return lcm_err_set(err, -ENOMEM, "libfuse does not take the /dev/fuse descriptor");
	g->fd = lcm_steal_fd(&fd);
	return 0;
}

void lcm_gate_free(struct lcm_gate *g)
{
	if (!g)
		return;
	if (g->se)
		fuse_session_destroy(g->se);
	lcm_closep(&g->record);
	free(g->first.mem);
	lcm_queue_fini(&g->queue);
	lcm_bound_fini(&g->bound);
	(void)pthread_mutex_destroy(&g->mu);
	free(g->layers);
	free(g->by_name);
	free(g);
}

int lcm_gate_new(const struct lcm_gate_config *cfg, int fuse_fd, struct lcm_gate **ret,
		 struct lcm_err *err)
{
	lcm_autoclose int fd = fuse_fd;
	struct lcm_gate *g;
	int r;

	if (cfg->n_layers > LCM_LAYERS_MAX)
		return lcm_err_set(err, -E2BIG,
				   "a gate of %u layers: %d are the most overlayfs takes",
				   cfg->n_layers, LCM_LAYERS_MAX);
	g = calloc(1, sizeof(*g));
	if (!g)
		return lcm_err_set(err, -ENOMEM, "no memory for a gate");
	(void)pthread_mutex_init(&g->mu, NULL);
	g->fd = g->record = -EBADF;
	g->big = cfg->big;
	g->ops = cfg->ops;
	g->arg = cfg->arg;
	r = copy_layers(g, cfg);
	if (r == 0)
		r = lcm_queue_init(&g->queue);
	if (r == 0)
		g->queue.deadline_ns = cfg->deadline_ns;
	if (r == 0)
		r = lcm_bound_init(&g->bound);
	if (r < 0)
		lcm_err_set(err, r, "no memory for a gate");
	else
		r = open_session(g, lcm_steal_fd(&fd), err);
	if (r < 0) {
		lcm_gate_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

int lcm_gate_open(const struct lcm_gate_config *cfg, struct lcm_gate **ret, int *ret_fd,
		  struct lcm_err *err)
{
	int fd = lcm_sys_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_NONBLOCK, 0), r;
	struct lcm_gate *g;

	if (fd < 0)
		return lcm_err_set(err, fd,
				   "cannot open /dev/fuse: %s; load the kernel module (modprobe "
				   "fuse) and run as root",
				   strerror(-fd));
	r = lcm_gate_new(cfg, fd, &g, err);
	if (r < 0)
		return r;
	r = lcm_gate_record_new(g);
	if (r < 0) {
		lcm_gate_free(g);
		return lcm_err_set(err, r, "no memory for a gate");
	}
	*ret_fd = g->fd;
	*ret = g;
	return 0;
}

void lcm_gate_fds(const struct lcm_gate *g, int *ret_fuse, int *ret_record)
{
	*ret_fuse = g->fd;
	*ret_record = g->record;
}

int lcm_gate_start(struct lcm_gate *g, struct lcm_gate_threads *t)
{
	if (g->threads)
		return -EALREADY;
	lcm_gate_take_first(g);
	return lcm_gate_threads_add(t, g);
}

/* Nobody serves it any more; the waiters are the caller's to end. */
static struct lcm_waiter *stop_serving(struct lcm_gate *g)
{
	struct lcm_waiter *all;

	if (g->threads)
		lcm_gate_threads_del(g->threads, g);
	(void)pthread_mutex_lock(&g->mu);
	all = lcm_queue_take_all(&g->queue);
	(void)pthread_mutex_unlock(&g->mu);
	return all;
}

void lcm_gate_close(struct lcm_gate *g)
{
	if (!g)
		return;
	lcm_gate_answer(g, stop_serving(g), ENOTCONN);
	lcm_gate_free(g);
}

void lcm_gate_leave(struct lcm_gate *g)
{
	struct lcm_waiter *all, *w;

	if (!g)
		return;
	for (all = stop_serving(g); (w = all);) {
		all = w->next;
		fuse_reply_none(w->req);
		free(w);
	}
	lcm_gate_free(g);
}

void lcm_gate_tell(struct lcm_gate *g, uint32_t layer, uint32_t entry)
{
	enum lcm_queue_tell what;

	for (bool again = false;; again = true) {
		(void)pthread_mutex_lock(&g->mu);
		what = lcm_queue_tell(&g->queue, layer, entry, again, atomic_load(&g->hold));
		(void)pthread_mutex_unlock(&g->mu);
		if (what == LCM_TELL_NOTHING)
			return;
		if (what == LCM_TELL_WANT)
			g->ops->want_file(g->arg, layer, entry);
		else if (g->ops->unwant)
			g->ops->unwant(g->arg, layer, entry, 0);
	}
}

void lcm_gate_answer(struct lcm_gate *g, struct lcm_waiter *chain, int error)
{
	while (chain) {
		struct lcm_waiter *w = chain;

		chain = w->next;
		atomic_fetch_add(
		    error == ESTALE ? &g->count.answered_stale : &g->count.answered_error, 1);
		lcm_ignore(fuse_reply_err(w->req, error));
		free(w);
	}
}

void lcm_gate_give_up(struct lcm_gate *g, struct lcm_waiter *chain, int error)
{
	while (chain) {
		struct lcm_waiter *w = chain, copy = *w;

		chain = w->next;
		w->next = NULL;
		lcm_gate_answer(g, w, error);
		if (!copy.len)
			lcm_gate_tell(g, copy.layer, copy.entry);
		else if (g->ops->unwant)
			g->ops->unwant(g->arg, copy.layer, copy.entry, copy.id.key);
	}
}

void lcm_gate_unbind(struct lcm_gate *g, uint32_t layer, uint32_t entry, uint64_t n)
{
	bool none;

	(void)pthread_mutex_lock(&g->mu);
	none = lcm_bound_sub(&g->bound, layer, entry, n);
	(void)pthread_mutex_unlock(&g->mu);
	if (none && g->ops->unbound)
		g->ops->unbound(g->arg);
}

void lcm_gate_file_done(struct lcm_gate *g, uint32_t layer, uint32_t entry, int status)
{
	struct lcm_waiter *all;

	(void)pthread_mutex_lock(&g->mu);
	all = lcm_queue_take_file(&g->queue, layer, entry);
	(void)pthread_mutex_unlock(&g->mu);
	lcm_gate_answer(g, all, status == 0 ? ESTALE : EIO);
}

/*
 * The kernel takes a short answer for the end of the file and truncates its idea
 * of the size, so anything but exactly what was asked for is an error.
 */
static int read_answer(int fd, uint64_t off, uint32_t len, char **ret)
{
	lcm_autofree char *buf = malloc(len);
	int r;

	if (!buf)
		return -ENOMEM;
	r = lcm_sys_pread_full(fd, buf, len, off);
	if (r < 0)
		return r;
	*ret = lcm_steal(&buf);
	return 0;
}

void lcm_gate_read_done(struct lcm_gate *g, uint64_t token, int fd, uint64_t off, uint32_t len,
			int status)
{
	lcm_autofree char *buf = NULL;
	struct lcm_waiter *w;

	(void)pthread_mutex_lock(&g->mu);
	w = lcm_queue_find(&g->queue, token);
	w = w && w->len ? lcm_queue_take(&g->queue, token) : NULL;
	(void)pthread_mutex_unlock(&g->mu);
	if (!w)
		return;
	if (status == 0)
		status = len == w->len ? read_answer(fd, off, len, &buf) : -EIO;
	if (status < 0) {
		lcm_gate_answer(g, w, EIO);
		return;
	}
	atomic_fetch_add(&g->count.read_bytes, len);
	lcm_ignore(fuse_reply_buf(w->req, buf, len));
	free(w);
}

uint64_t lcm_gate_expire(struct lcm_gate *g, uint64_t now_ns)
{
	struct lcm_waiter *late;
	uint64_t next;

	(void)pthread_mutex_lock(&g->mu);
	late = lcm_queue_take_expired(&g->queue, now_ns);
	next = lcm_queue_next_deadline(&g->queue);
	(void)pthread_mutex_unlock(&g->mu);
	lcm_gate_give_up(g, late, EIO);
	return next;
}

void lcm_gate_set_deadline(struct lcm_gate *g, uint64_t deadline_ns)
{
	(void)pthread_mutex_lock(&g->mu);
	g->queue.deadline_ns = deadline_ns;
	(void)pthread_mutex_unlock(&g->mu);
}

uint64_t lcm_gate_oldest(struct lcm_gate *g)
{
	uint64_t since;

	(void)pthread_mutex_lock(&g->mu);
	since = lcm_queue_oldest(&g->queue);
	(void)pthread_mutex_unlock(&g->mu);
	return since;
}

/* Makes the kernel drop the name of a bound file, so that the last reference to its dentry frees
 * it. */
static void invalidate(struct lcm_gate *g, uint32_t layer, uint32_t entry)
{
	const struct lcm_toc *toc = g->layers[layer].toc;
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, entry);

	lcm_ignore(fuse_lowlevel_notify_inval_entry(g->se, lcm_gate_ino(layer, e->parent),
						    lcm_toc_name(toc, e), e->name_len));
}

void lcm_gate_draining(struct lcm_gate *g)
{
	uint32_t layer, entry;
	bool more = true;

	(void)pthread_mutex_lock(&g->mu);
	lcm_bound_round(&g->bound);
	(void)pthread_mutex_unlock(&g->mu);
	while (more) {
		(void)pthread_mutex_lock(&g->mu);
		more = lcm_bound_visit(&g->bound, &layer, &entry);
		(void)pthread_mutex_unlock(&g->mu);
		if (more)
			invalidate(g, layer, entry);
	}
}

void lcm_gate_stats(struct lcm_gate *g, struct lcm_gate_stats *ret)
{
	const struct gate_counters *c = &g->count;

	*ret = (struct lcm_gate_stats){
		.requests = atomic_load(&c->requests),
		.lookups = atomic_load(&c->lookups),
		.lookups_files = atomic_load(&c->lookups_files),
		.reads = atomic_load(&c->reads),
		.read_bytes = atomic_load(&c->read_bytes),
		.forgets = atomic_load(&c->forgets),
		.interrupts = atomic_load(&c->interrupts),
		.answered_stale = atomic_load(&c->answered_stale),
		.answered_error = atomic_load(&c->answered_error),
		.rejected = atomic_load(&c->rejected),
	};
	(void)pthread_mutex_lock(&g->mu);
	ret->waiters = lcm_queue_count(&g->queue);
	ret->waiters_peak = g->queue.peak;
	ret->blocked_ns = g->queue.busy_ns;
	ret->n_blocked = g->queue.blocked.n;
	memcpy(ret->blocked, g->queue.blocked.worst, sizeof(ret->blocked));
	ret->bound_inodes = lcm_bound_count(&g->bound);
	(void)pthread_mutex_unlock(&g->mu);
}

void lcm_gate_bound_each(struct lcm_gate *g,
			 void (*fn)(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup),
			 void *arg)
{
	(void)pthread_mutex_lock(&g->mu);
	lcm_bound_each(&g->bound, fn, arg);
	(void)pthread_mutex_unlock(&g->mu);
}

static bool is_program(const struct lcm_toc *toc, const struct lcm_toc_entry *e)
{
	const char *name = lcm_toc_name(toc, e);

	if (e->mode & 0111)
		return true;
	if (e->name_len >= 3 && strcmp(name + e->name_len - 3, ".so") == 0)
		return true;
	return strstr(name, ".so.") != NULL;
}

bool lcm_gate_is_big(const struct lcm_gate_big *big, const struct lcm_toc *toc,
		     const struct lcm_toc_entry *e)
{
	uint64_t at_least;

	/* With one chunk, or none known, the first byte costs the whole file anyway. */
	if (e->type != LCM_TOC_REG || e->n_chunks < 2)
		return false;
	at_least = is_program(toc, e) ? big->exec_bytes : big->data_bytes;
	return at_least && e->size >= at_least;
}
