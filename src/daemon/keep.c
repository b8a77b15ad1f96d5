/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/keep.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define STORE_PREFIX "gate-"

struct lcm_keep {
	enum lcm_keep_by by;
	int sock;  /* owned; to the holder; -EBADF: none */
	pid_t pid; /* of the holder, if we started it; 0: another daemon did */
	_Atomic uint32_t generation;
	pthread_mutex_t mu; /* one message at a time */
	char path[108], program[4096];
};

static const char *const names[] = {
	[LCM_KEEP_HOLDER] = "holder", [LCM_KEEP_SYSTEMD] = "systemd", [LCM_KEEP_NONE] = "none"
};

const char *lcm_keep_name(const struct lcm_keep *k)
{
	return names[k ? k->by : LCM_KEEP_NONE];
}

int lcm_keep_parse(const char *name, enum lcm_keep_by *ret)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		*ret = (enum lcm_keep_by)i;
		return 0;
	}
	return -EINVAL;
}

/* ---- the holder ---- */

static int seqpacket(const struct lcm_keep *k, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	(void)snprintf(sa->sun_path, sizeof(sa->sun_path), "%s", k->path);
	return (int)lcm_errno(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

/* A holder that was about to end may have been connected to, but answers nothing. */
static int dial(struct lcm_keep *k)
{
	struct sockaddr_un sa;
	lcm_autoclose int fd = seqpacket(k, &sa);
	struct lcm_keep_msg m = { .op = LCM_KEEP_HELLO };
	int r = fd < 0 ? fd : (int)lcm_errno(connect(fd, (const struct sockaddr *)&sa, sizeof(sa))),
	    none[2];

	if (r == 0)
		r = lcm_keep_send(fd, &m, NULL);
	if (r == 0)
		r = lcm_keep_receive(fd, &m, none);
	if (r <= 0)
		return r < 0 ? r : -ECONNRESET;
	k->sock = lcm_steal_fd(&fd);
	return 0;
}

/* The daemon listens and the holder accepts: there is no moment at which nobody would. */
static int listen_for_it(const struct lcm_keep *k)
{
	struct sockaddr_un sa;
	lcm_autoclose int fd = seqpacket(k, &sa);
	mode_t old;
	int r;

	if (fd < 0)
		return fd;
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, k->path, 0));
	old = umask(0177);
	r = (int)lcm_errno(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)));
	(void)umask(old);
	if (r == 0)
		r = (int)lcm_errno(listen(fd, 4));
	return r < 0 ? r : lcm_steal_fd(&fd);
}

static int start(struct lcm_keep *k)
{
	char name[] = "locum-holder";
	char *const argv[] = { name, k->path, NULL };
	lcm_autoclose int fd = listen_for_it(k);
	int r = fd < 0 ? fd : lcm_sys_spawn(k->program, argv, fd, LCM_KEEP_LISTEN_FD, &k->pid);

	if (r < 0)
		k->pid = 0;
	return r;
}

/* start() has closed the listening socket: dialling a holder that died at once fails and does not
 * wait. */
static int have_holder(struct lcm_keep *k, struct lcm_err *err)
{
	int r = dial(k);

	if (r == 0)
		return 0;
	r = start(k);
	if (r == 0)
		r = dial(k);
	return r < 0 ? lcm_err_set(err, r, "holder %s on %s: %s", k->program, k->path, strerror(-r))
		     : 0;
}

int lcm_keep_open(enum lcm_keep_by by, const char *run_dir, const char *program,
		  struct lcm_keep **ret, struct lcm_err *err)
{
	struct lcm_keep *k = calloc(1, sizeof(*k));
	int n, r = 0;

	if (!k)
		return -ENOMEM;
	(void)pthread_mutex_init(&k->mu, NULL);
	k->by = by;
	k->sock = -EBADF;
	n = snprintf(k->path, sizeof(k->path), "%s/holder.sock", run_dir);
	(void)snprintf(k->program, sizeof(k->program), "%s", program);
	if (by == LCM_KEEP_HOLDER)
		r = n < 0 || (size_t)n >= sizeof(k->path)
			? lcm_err_set(err, -ENAMETOOLONG, "%s is too long a name", run_dir)
			: have_holder(k, err);
	if (r < 0) {
		lcm_keep_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

void lcm_keep_close(struct lcm_keep *k)
{
	if (!k)
		return;
	lcm_closep(&k->sock);
	(void)pthread_mutex_destroy(&k->mu);
	free(k);
}

int lcm_keep_fd(const struct lcm_keep *k)
{
	return k->sock;
}

uint32_t lcm_keep_generation(const struct lcm_keep *k)
{
	return atomic_load(&k->generation);
}

int lcm_keep_again(struct lcm_keep *k, struct lcm_err *err)
{
	int r;

	(void)pthread_mutex_lock(&k->mu);
	lcm_closep(&k->sock);
	if (k->pid > 0) {
		(void)kill(k->pid, SIGKILL); /* it may have ended the connection only */
		(void)waitpid(k->pid, NULL, 0);
	}
	k->pid = 0;
	r = have_holder(k, err);
	atomic_fetch_add(&k->generation, 1);
	(void)pthread_mutex_unlock(&k->mu);
	return r;
}

/* ---- put, del ---- */

static int tell_systemd(const char *name, const int *fds)
{
	char state[160];

	(void)snprintf(state, sizeof(state),
		       fds ? "FDSTORE=1\nFDNAME=" STORE_PREFIX "%.64s\nFDPOLL=0"
			   : "FDSTOREREMOVE=1\nFDNAME=" STORE_PREFIX "%.64s",
		       name);
	return lcm_notify_fds(state, fds, fds ? 2 : 0);
}

static int tell(struct lcm_keep *k, enum lcm_keep_op op, const char *name, const int *fds)
{
	struct lcm_keep_msg m = { .op = (char)op };
	int r = 0;

	(void)snprintf(m.name, sizeof(m.name), "%s", name);
	(void)pthread_mutex_lock(&k->mu);
	if (k->by == LCM_KEEP_HOLDER)
		r = lcm_keep_send(k->sock, &m, fds);
	else if (k->by == LCM_KEEP_SYSTEMD)
		r = tell_systemd(name, fds);
	(void)pthread_mutex_unlock(&k->mu);
	return r;
}

int lcm_keep_put(struct lcm_keep *k, const char *name, int fuse, int record)
{
	const int fds[2] = { fuse, record };

	return tell(k, LCM_KEEP_PUT, name, fds);
}

void lcm_keep_del(struct lcm_keep *k, const char *name)
{
	lcm_ignore(tell(k, LCM_KEEP_DEL, name, NULL));
}

/* ---- take ---- */

struct taken {
	struct lcm_kept *v; /* owned */
	size_t n;
};

static int add(struct taken *t, const char *name, int fuse, int record)
{
	struct lcm_kept *v = t->n < LCM_KEEP_MAX ? reallocarray(t->v, t->n + 1, sizeof(*v)) : NULL;

	if (!v) {
		lcm_closep(&fuse);
		lcm_closep(&record);
		return -ENOMEM;
	}
	t->v = v;
	v[t->n] = (struct lcm_kept){ .fuse = fuse, .record = record };
	(void)snprintf(v[t->n++].name, sizeof(v->name), "%s", name);
	return 0;
}

static int take_from_holder(struct lcm_keep *k, struct taken *t)
{
	struct lcm_keep_msg m = { .op = LCM_KEEP_LIST };
	int r = lcm_keep_send(k->sock, &m, NULL), fds[2];

	while (r == 0) {
		r = lcm_keep_receive(k->sock, &m, fds);
		if (r <= 0)
			return r < 0 ? r : -EPIPE;
		if (m.op != LCM_KEEP_PUT)
			return 0;
		r = add(t, m.name, fds[0], fds[1]);
	}
	return r;
}

static struct lcm_kept *entry_of(struct taken *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i].name, name) == 0)
			return &t->v[i];
	return add(t, name, -EBADF, -EBADF) < 0 ? NULL : &t->v[t->n - 1];
}

/* Which of a name's two it is, its kind says: /dev/fuse is a character device. */
static void take_one(void *arg, const char *name, int fd)
{
	struct taken *t = arg;
	struct lcm_kept *e = NULL;
	struct stat st;

	if (strncmp(name, STORE_PREFIX, sizeof(STORE_PREFIX) - 1) == 0 &&
	    lcm_sys_fstat(fd, &st) == 0)
		e = entry_of(t, name + sizeof(STORE_PREFIX) - 1);
	if (!e) {
		lcm_closep(&fd);
	} else if (S_ISCHR(st.st_mode)) {
		lcm_closep(&e->fuse);
		e->fuse = fd;
	} else {
		lcm_closep(&e->record);
		e->record = fd;
	}
}

int lcm_keep_take(struct lcm_keep *k, struct lcm_kept **ret, size_t *ret_n, struct lcm_err *err)
{
	struct taken t = { .n = 0 };
	int r = 0;

	if (k->by == LCM_KEEP_HOLDER)
		r = take_from_holder(k, &t);
	else if (k->by == LCM_KEEP_SYSTEMD)
		lcm_listen_stored(take_one, &t);
	if (r < 0)
		lcm_err_set(err, r, "holder on %s: %s", k->path, strerror(-r));
	*ret = t.v;
	*ret_n = t.n;
	return r;
}
