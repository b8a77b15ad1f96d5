/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One set of threads for all gates. Each /dev/fuse descriptor sits in one epoll
 * set with EPOLLONESHOT: a thread is given a descriptor, reads one request, gives
 * the descriptor back (so that another thread may read the next one meanwhile)
 * and serves the request. epoll hands descriptors out in order of readiness, one
 * at a time, so a gate with a thousand requests gets its turn like one with one.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "fuse/session.h"
#include "src/base/sys.h"

#define THREADS_MAX 4
#define STOP UINT64_MAX /* epoll data of the eventfd */

struct slot {
	struct lcm_gate *gate; /* borrowed; NULL: free */
	uint32_t inside;       /* threads in this gate */
	uint32_t generation;   /* so that an event of a former gate is known as such */
	bool closing;
};

struct lcm_gate_threads {
	int epfd;            /* owned */
	int stop;            /* owned eventfd */
	pthread_mutex_t mu;  /* guards slots, n_slots and what they hold */
	pthread_cond_t left; /* a thread left a gate that is closing */
	struct slot *slots;  /* owned */
	uint32_t n_slots;
	_Atomic uint64_t
	    tick_at; /* when to look at signalled waiters, CLOCK_MONOTONIC ns; 0: no need */
	pthread_t threads[THREADS_MAX];
	unsigned int n_threads;
};

static struct lcm_gate *slot_enter(struct lcm_gate_threads *t, uint32_t i, uint32_t generation,
				   bool any_generation)
{
	struct lcm_gate *g = NULL;

	(void)pthread_mutex_lock(&t->mu);
	if (i < t->n_slots && !t->slots[i].closing &&
	    (any_generation || t->slots[i].generation == generation))
		g = t->slots[i].gate;
	if (g)
		t->slots[i].inside++;
	(void)pthread_mutex_unlock(&t->mu);
	return g;
}

static void slot_leave(struct lcm_gate_threads *t, uint32_t i)
{
	(void)pthread_mutex_lock(&t->mu);
	if (--t->slots[i].inside == 0 && t->slots[i].closing)
		(void)pthread_cond_broadcast(&t->left);
	(void)pthread_mutex_unlock(&t->mu);
}

static void serve_event(struct lcm_gate_threads *t, uint64_t data, struct fuse_buf *buf)
{
	struct lcm_gate *g = slot_enter(t, (uint32_t)data, (uint32_t)(data >> 32), false);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = data };
	int r;

	if (!g)
		return;
	r = fuse_session_receive_buf(g->se, buf);
	if (fuse_session_exited(g->se)) {
		if (!atomic_exchange(&g->gone, true) && g->ops->gone)
			g->ops->gone(g->arg);
	} else {
		/* Fails only when the gate is being closed. */
		(void)epoll_ctl(t->epfd, EPOLL_CTL_MOD, g->fd, &ev);
		if (r > 0)
			lcm_gate_serve(g, buf);
	}
	slot_leave(t, (uint32_t)data);
}

void lcm_gate_threads_tick(struct lcm_gate_threads *t)
{
	uint64_t none = 0;

	(void)atomic_compare_exchange_strong(&t->tick_at, &none,
					     lcm_now_ns() + LCM_GATE_SIGNAL_TICK_NS);
}

/* One thread does it; the tick is off meanwhile and on again when waiters are left. */
static void tick(struct lcm_gate_threads *t)
{
	uint64_t at = atomic_load(&t->tick_at), now;
	bool again = false, more = true;

	if (!at || (now = lcm_now_ns()) < at ||
	    !atomic_compare_exchange_strong(&t->tick_at, &at, 0))
		return;
	for (uint32_t i = 0; more; i++) {
		struct lcm_gate *g = slot_enter(t, i, 0, true);

		if (g) {
			again |= lcm_gate_recheck(g, now);
			slot_leave(t, i);
		}
		(void)pthread_mutex_lock(&t->mu);
		more = i + 1 < t->n_slots;
		(void)pthread_mutex_unlock(&t->mu);
	}
	if (again)
		lcm_gate_threads_tick(t);
}

static int wait_ms(struct lcm_gate_threads *t)
{
	uint64_t at = atomic_load(&t->tick_at), now;

	if (!at)
		return -1;
	now = lcm_now_ns();
	return at <= now ? 0 : (int)((at - now + 999999) / 1000000);
}

static void *gate_thread(void *arg)
{
	struct lcm_gate_threads *t = arg;
	struct fuse_buf buf = { 0 };
	struct epoll_event ev;

	for (;;) {
		int n = (int)lcm_errno(epoll_wait(t->epfd, &ev, 1, wait_ms(t)));

		if (n == 1 && ev.data.u64 == STOP)
			break;
		if (n == 1)
			serve_event(t, ev.data.u64, &buf);
		tick(t);
	}
	free(buf.mem);
	return NULL;
}

static int start_threads(struct lcm_gate_threads *t, unsigned int n)
{
	sigset_t all, old;
	int r = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned int i = 0; i < n && r == 0; i++) {
		char name[16];

		r = -pthread_create(&t->threads[i], NULL, gate_thread, t);
		if (r < 0)
			break;
		t->n_threads++;
		(void)snprintf(name, sizeof(name), "gate-%u", i);
		(void)pthread_setname_np(t->threads[i], name);
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

LCM_DEFINE_AUTO(lcm_gate_threads)

int lcm_gate_threads_new(unsigned int n, struct lcm_gate_threads **ret)
{
	lcm_auto(lcm_gate_threads) t = NULL;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = STOP };
	int r;

	if (n == 0 || n > THREADS_MAX)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->epfd = t->stop = -EBADF;
	(void)pthread_mutex_init(&t->mu, NULL);
	(void)pthread_cond_init(&t->left, NULL);
	t->epfd = (int)lcm_errno(epoll_create1(EPOLL_CLOEXEC));
	if (t->epfd < 0)
		return t->epfd;
	t->stop = (int)lcm_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (t->stop < 0)
		return t->stop;
	r = (int)lcm_errno(epoll_ctl(t->epfd, EPOLL_CTL_ADD, t->stop, &ev));
	if (r == 0)
		r = start_threads(t, n);
	if (r < 0)
		return r;
	*ret = lcm_steal(&t);
	return 0;
}

void lcm_gate_threads_free(struct lcm_gate_threads *t)
{
	uint64_t one = 1;

	if (!t)
		return;
	if (t->n_threads)
		lcm_ignore((int)lcm_errno(write(t->stop, &one, sizeof(one))));
	for (unsigned int i = 0; i < t->n_threads; i++)
		(void)pthread_join(t->threads[i], NULL);
	lcm_closep(&t->epfd);
	lcm_closep(&t->stop);
	(void)pthread_cond_destroy(&t->left);
	(void)pthread_mutex_destroy(&t->mu);
	free(t->slots);
	free(t);
}

/* A free slot, made when there is none; under the lock. Returns -ENOMEM or its number. */
static int64_t slot_get(struct lcm_gate_threads *t)
{
	struct slot *s;
	uint32_t i = 0;

	while (i < t->n_slots && t->slots[i].gate)
		i++;
	if (i < t->n_slots)
		return i;
	s = reallocarray(t->slots, i + 1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	t->slots = s;
	t->slots[i] = (struct slot){ 0 };
	t->n_slots = i + 1;
	return i;
}

int lcm_gate_threads_add(struct lcm_gate_threads *t, struct lcm_gate *g)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT };
	int64_t i;
	int r;

	(void)pthread_mutex_lock(&t->mu);
	i = slot_get(t);
	if (i < 0) {
		(void)pthread_mutex_unlock(&t->mu);
		return (int)i;
	}
	t->slots[i].gate = g;
	g->threads = t;
	g->slot = (uint32_t)i;
	ev.data.u64 = (uint64_t)t->slots[i].generation << 32 | (uint64_t)i;
	r = (int)lcm_errno(epoll_ctl(t->epfd, EPOLL_CTL_ADD, g->fd, &ev));
	if (r < 0) {
		t->slots[i].gate = NULL;
		g->threads = NULL;
	}
	(void)pthread_mutex_unlock(&t->mu);
	return r;
}

void lcm_gate_threads_del(struct lcm_gate_threads *t, struct lcm_gate *g)
{
	uint32_t i = g->slot;

	(void)pthread_mutex_lock(&t->mu);
	t->slots[i].closing = true;
	(void)epoll_ctl(t->epfd, EPOLL_CTL_DEL, g->fd, NULL);
	while (t->slots[i].inside)
		(void)pthread_cond_wait(&t->left, &t->mu);
	t->slots[i].gate = NULL;
	t->slots[i].closing = false;
	t->slots[i].generation++;
	(void)pthread_mutex_unlock(&t->mu);
}
