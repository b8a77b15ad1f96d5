/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "src/daemon/daemon.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "src/base/log.h"
#include "src/daemon/container.h"
#include "src/daemon/control.h"
#include "src/daemon/freeze.h"
#include "src/daemon/layer.h"
#include "src/daemon/meter_policy.h"
#include "src/daemon/snapshot.h"
#include "src/daemon/usage.h"

#define GATE_THREADS 2
#define MOUNTS_SETTLE_NS 50000000ULL
/* Well below what systemd gives a service to start. */
#define RESTORE_PATIENCE_NS 20000000000ULL
/* Decoders: ready for the next layer, and idle with layers that may want more. */
#define FN_SPARE 2U
#define FN_IDLE 16U
/* Above what systemd-nspawn takes for containers, below 2^31. */
#define FN_FIRST_UID 1900000000U

struct daemon {
	const struct lcm_daemon_config *cfg;
	struct lcm_engine e;
	struct lcm_host h;
	struct lcm_control *control;
	struct lcm_gc *gc;
	struct lcm_web web;
	int control_fd, web_fd, signal_fd, mountinfo_fd;
	struct lcm_loop_fd *signals, *mountinfo;
	struct lcm_loop_fd *holder;
	struct lcm_kept *kept; /* owned, n_kept: gates of an earlier daemon */
	size_t n_kept;
	struct lcm_timer *settle; /* after a change of the mount table */
	void (*ready)(void *arg);
	void *ready_arg;
	struct lcm_session_watch restored; /* until then */
	struct lcm_timer *patience;
};

void lcm_daemon_defaults(struct lcm_daemon_config *cfg)
{
	*cfg = (struct lcm_daemon_config){
		.root = LCM_DEFAULT_ROOT,
		.run_dir = LCM_DEFAULT_RUN,
		.big = { .data_bytes = 8ULL << 20, .exec_bytes = 32ULL << 20 },
		.deadline_ns = 60000000000ULL,
		.hold_ns = 50000000ULL,
		.grace_ns = 150000000ULL,
		.index = { .from = LCM_INDEX_FROM_MANIFEST },
		.background = true,
	};
	lcm_background_defaults(&cfg->idle);
}

static void on_signal(void *arg, uint32_t events)
{
	struct daemon *d = arg;
	struct signalfd_siginfo si;

	(void)events;
	if (lcm_sys_read(d->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGHUP) {
		struct lcm_err err = { 0 };
		int r = lcm_meter_load(&d->h, false, &err);

		lcm_log(r < 0 ? LCM_LOG_WARNING : LCM_LOG_NOTICE, "SIGHUP: %s",
			r < 0 ? lcm_err_text(&err, r) : "policy of meters read again");
		return;
	}
	lcm_log(LCM_LOG_NOTICE, "signal=%u stopping", si.ssi_signo);
	lcm_loop_stop(d->e.loop);
}

static void on_mounts(void *arg, uint32_t events)
{
	struct daemon *d = arg;

	(void)events;
	if (!lcm_timer_armed(d->settle))
		lcm_timer_set(d->settle, MOUNTS_SETTLE_NS);
}

static void on_settled(void *arg)
{
	struct daemon *d = arg;

	lcm_session_check_mounts(&d->h);
}

static void process_limits(void)
{
	struct rlimit rl;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(0);
	/* Few arenas: threads hand their memory to each other, and a node runs this for months. */
	(void)mallopt(M_ARENA_MAX, 2);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static int watch_signals(struct daemon *d)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = (int)lcm_errno(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
	return d->signal_fd < 0
		   ? d->signal_fd
		   : lcm_loop_add_fd(d->e.loop, d->signal_fd, EPOLLIN, on_signal, d, &d->signals);
}

static int watch_mounts(struct daemon *d)
{
	int r = lcm_timer_new(d->e.loop, on_settled, d, &d->settle);

	if (r < 0)
		return r;
	d->mountinfo_fd = lcm_sys_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY, 0);
	if (d->mountinfo_fd < 0)
		return d->mountinfo_fd;
	return lcm_loop_add_fd(d->e.loop, d->mountinfo_fd, EPOLLPRI, on_mounts, d, &d->mountinfo);
}

static void on_holder(void *arg, uint32_t events);

static int watch_holder(struct daemon *d)
{
	int fd = lcm_keep_fd(d->h.keep);

	return fd < 0 ? 0 : lcm_loop_add_fd(d->e.loop, fd, EPOLLIN, on_holder, d, &d->holder);
}

/* It says nothing unasked: it has been killed. */
static void on_holder(void *arg, uint32_t events)
{
	struct daemon *d = arg;
	struct lcm_err err = { 0 };
	int r;

	(void)events;
	lcm_loop_del_fd(d->holder);
	d->holder = NULL;
	r = lcm_keep_again(d->h.keep, &err);
	if (r == 0)
		r = watch_holder(d);
	lcm_log(LCM_LOG_WARNING, "the holder of the gates has ended; %s",
		r < 0 ? lcm_err_text(&err, r) : "another one has them now");
	if (r == 0)
		lcm_session_keep_all(&d->h);
}

static int probe(struct daemon *d, struct lcm_err *err)
{
	struct lcm_mount_features *f = &d->h.features;
	int r = lcm_mount_probe(d->cfg->root, f, err);

	if (r < 0)
		return r;
	f->data_only &= !d->cfg->without_data_only;
	f->redirect_no_metacopy &= !d->cfg->without_redirect;
	d->h.lazy = f->data_only && f->fuse && (f->erofs_file || f->erofs_loop);
	if (!d->h.lazy)
		lcm_log(
		    LCM_LOG_WARNING,
		    "this kernel cannot mount lazily (%s missing): images are pulled whole before "
		    "they are mounted; locum doctor has more",
		    !f->data_only ? "data-only overlay layers"
		    : !f->fuse    ? "FUSE"
				  : "EROFS");
	return 0;
}

static int open_keep(struct daemon *d, struct lcm_err *err)
{
	char program[4096];
	int r;

	lcm_daemon_program("locum-holder", program, sizeof(program));
	r = lcm_keep_open(d->cfg->keep, d->cfg->run_dir, program, &d->h.keep, err);
	return r < 0 ? r : lcm_keep_take(d->h.keep, &d->kept, &d->n_kept, err);
}

/* Everything that may fork or fail for an ordinary reason comes before the first thread. */
static int open_first(struct daemon *d, struct lcm_err *err)
{
	char path[4096];
	int r = lcm_mkdir_p(d->cfg->run_dir, 0700);

	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", d->cfg->run_dir, strerror(-r));
	(void)snprintf(path, sizeof(path), "%s/locum.sock", d->cfg->run_dir);
	r = lcm_control_listen(path, &d->control_fd, err);
	if (r == 0 && d->cfg->web)
		r = lcm_web_listen(d->cfg->web, d->cfg->run_dir, &d->web, &d->web_fd, err);
	if (r == 0)
		r = lcm_store_open(d->cfg->root, &d->e.store, err);
	if (r == 0)
		r = probe(d, err);
	if (r == 0)
		r = open_keep(d, err);
	if (r == 0)
		r = lcm_loop_new(&d->e.loop);
	if (r == 0)
		r = watch_signals(d);
	return r;
}

/* Beside this program in a build tree, else where it is installed. */
void lcm_daemon_program(const char *name, char *out, size_t cap)
{
	ssize_t n = readlink("/proc/self/exe", out, cap - 1);
	char *slash;

	out[LCM_MAX(n, (ssize_t)0)] = '\0';
	slash = strrchr(out, '/');
	if (slash) {
		(void)snprintf(slash + 1, cap - (size_t)(slash + 1 - out), "%s", name);
		if (access(out, X_OK) == 0)
			return;
	}
	(void)snprintf(out, cap, "%s/%s", LCM_LIBEXECDIR, name);
}

static int start_functions(struct daemon *d, unsigned int threads, struct lcm_err *err)
{
	char path[4096];
	const struct lcm_fn_config cfg = {
		.path = path,
		.spare = FN_SPARE,
		.max = threads * 3 + FN_SPARE + FN_IDLE,
		.first_uid = FN_FIRST_UID,
	};

	lcm_daemon_program("locum-decode", path, sizeof(path));
	return lcm_fn_pool_new(&cfg, &d->e.fns, err);
}

static int start_registry(struct daemon *d, struct lcm_err *err)
{
	struct lcm_registry_config cfg = d->cfg->registry;

	cfg.docs = lcm_engine_docs(&d->e);
	return lcm_registry_new(d->e.loop, &cfg, &d->e.reg, err);
}

static int start_gc(struct daemon *d)
{
	uint64_t high = d->cfg->quota_high, low = d->cfg->quota_low;

	if (!high)
		return 0;
	d->h.quota_low = low ? low : high / 5 * 4;
	return lcm_gc_start(&d->h, high, d->h.quota_low, &d->gc);
}

static int start_threads(struct daemon *d, struct lcm_err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int n = d->cfg->threads ? d->cfg->threads
					 : (unsigned int)LCM_MIN(LCM_MAX(cpus, 2), 16);
	int r = lcm_engine_init(&d->e);

	if (r == 0)
		r = lcm_pool_new(n, "locum-pool", &d->e.pool);
	if (r == 0)
		r = lcm_pool_new(n, "locum-stream", &d->e.streams);
	if (r == 0)
		r = lcm_background_new(&d->cfg->idle, NULL, &d->e.background);
	if (r == 0)
		r = lcm_pool_new(n, "locum-patient", &d->e.patient);
	if (r == 0)
		r = lcm_pool_new(2, "locum-idle", &d->e.idle);
	if (r == 0)
		r = start_functions(d, n, err);
	return r < 0 ? r : lcm_gate_threads_new(GATE_THREADS, &d->h.gates);
}

static void configure(struct daemon *d)
{
	d->h.e = &d->e;
	d->h.run_dir = d->cfg->run_dir;
	d->h.big = d->cfg->big;
	d->h.deadline_ns = d->cfg->deadline_ns;
	d->h.freeze = d->cfg->freeze;
	d->h.meter_file = d->cfg->meter_file ? d->cfg->meter_file : LCM_METER_FILE;
	d->e.cfg = (struct lcm_engine_config){ .background = d->cfg->background,
					       .hold_ns = d->cfg->hold_ns,
					       .grace_ns = d->cfg->grace_ns,
					       .index = d->cfg->index };
}

/* What there was before: classes first, mounts are in them. */
static int recover(struct daemon *d, struct lcm_err *err)
{
	int r;

	lcm_image_read_rows(&d->e);
	lcm_freeze_recover(d->cfg->run_dir);
	r = lcm_meter_load(&d->h, d->cfg->meter_file != NULL, err);
	if (r < 0)
		return r;
	lcm_session_recover(&d->h, d->kept, d->n_kept);
	d->n_kept = 0;
	lcm_container_recover(&d->h);
	return lcm_snapshot_start(&d->h);
}

static int start_control(struct daemon *d, struct lcm_err *err)
{
	int r = lcm_control_new(&d->h, d->control_fd, &d->control, err);

	if (r < 0)
		return r;
	d->control_fd = -EBADF;
	if (!d->cfg->web)
		return 0;
	d->h.web_url = d->web.url;
	r = lcm_control_add_web(d->control, &d->web, d->web_fd, err);
	if (r == 0)
		d->web_fd = -EBADF;
	return r;
}

static int start(struct daemon *d, struct lcm_err *err)
{
	int r = start_threads(d, err);

	if (r == 0)
		r = start_registry(d, err);
	if (r == 0)
		r = watch_mounts(d);
	if (r == 0)
		r = watch_holder(d);
	if (r < 0)
		return r;
	configure(d);
	r = recover(d, err);
	if (r == 0)
		r = start_gc(d);
	return r < 0 ? r : start_control(d, err);
}

/*
 * Pulls are cancelled, also those that have no GET in flight (they yield, or wait to try again):
 * their threads would wait for bytes for ever. Then the registry ends: its callbacks let layers go.
 */
static void stop(struct daemon *d)
{
	char path[4096];

	d->e.closing = true;
	/* While it still answers: later the name may be the next daemon's. */
	if (d->control || d->control_fd >= 0) {
		(void)snprintf(path, sizeof(path), "%s/locum.sock", d->cfg->run_dir);
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, 0));
	}
	lcm_control_free(d->control);
	lcm_gc_stop(d->gc);
	lcm_pull_cancel_all(&d->e);
	lcm_registry_free(d->e.reg);
	lcm_background_stop(d->e.background);
	lcm_pool_free(d->e.idle);
	lcm_pool_free(d->e.patient);
	lcm_pool_free(d->e.streams);
	lcm_pool_free(d->e.pool);
	if (d->e.loop)
		lcm_loop_drain(d->e.loop);
	lcm_snapshot_stop(&d->h);
	lcm_fn_pool_free(d->e.fns);
	lcm_background_free(d->e.background);
	lcm_gate_threads_free(d->h.gates);
	lcm_loop_del_fd(d->signals);
	lcm_loop_del_fd(d->mountinfo);
	lcm_loop_del_fd(d->holder);
	lcm_timer_free(d->settle);
	lcm_timer_free(d->patience);
	lcm_meter_free(&d->h);
	lcm_engine_fini(&d->e);
	lcm_loop_free(d->e.loop);
	for (size_t i = 0; i < d->n_kept; i++) {
		lcm_closep(&d->kept[i].fuse);
		lcm_closep(&d->kept[i].record);
	}
	free(d->kept);
	lcm_keep_close(d->h.keep);
	lcm_store_close(d->e.store);
	lcm_closep(&d->signal_fd);
	lcm_closep(&d->mountinfo_fd);
	lcm_closep(&d->control_fd);
	lcm_closep(&d->web_fd);
}

static void say_ready(void *arg)
{
	struct daemon *d = arg;

	lcm_session_unwatch_all(&d->h, &d->restored);
	lcm_timer_clear(d->patience);
	d->ready(d->ready_arg);
}

static void on_restored(void *arg, struct lcm_session *s, bool gone)
{
	struct daemon *d = arg;

	(void)gone;
	if (!s || d->e.closing)
		lcm_session_unwatch_all(&d->h, &d->restored);
	else if (!lcm_session_restoring(&d->h))
		say_ready(d);
}

/* Whoever comes after us finds the mounts of before a reboot there, or failed; but one that takes
 * long does not keep us from being ready. */
static void ready_when_restored(struct daemon *d)
{
	if (!lcm_session_restoring(&d->h) ||
	    lcm_timer_new(d->e.loop, say_ready, d, &d->patience) < 0) {
		d->ready(d->ready_arg);
		return;
	}
	d->restored = (struct lcm_session_watch){ .changed = on_restored, .arg = d };
	lcm_session_watch_all(&d->h, &d->restored);
	lcm_timer_set(d->patience, RESTORE_PATIENCE_NS);
}

int lcm_daemon_run(const struct lcm_daemon_config *cfg, void (*ready)(void *arg), void *arg,
		   struct lcm_err *err)
{
	struct daemon d = {
		.cfg = cfg,
		.control_fd = -EBADF,
		.web_fd = -EBADF,
		.signal_fd = -EBADF,
		.mountinfo_fd = -EBADF,
	};
	int r;

	process_limits();
	r = open_first(&d, err);
	if (r == 0)
		r = start(&d, err);
	if (r == 0) {
		lcm_log(LCM_LOG_NOTICE, "locum %s serves %s/locum.sock, state in %s",
			PACKAGE_VERSION, cfg->run_dir, cfg->root);
		if (cfg->web)
			lcm_log(LCM_LOG_NOTICE, "page on %s, token in %s/web.token", d.web.url,
				cfg->run_dir);
		d.ready = ready;
		d.ready_arg = arg;
		ready_when_restored(&d);
		r = lcm_loop_run(d.e.loop);
	}
	stop(&d);
	return r;
}
