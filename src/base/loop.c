/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "src/base/sys.h"

#define EVENTS_PER_WAIT 64

struct lcm_loop_fd {
	struct lcm_loop *loop; /* borrowed */
	int fd;                /* borrowed; -1 once deleted */
	lcm_fd_fn fn;
	void *arg;
	struct lcm_loop_fd *next_dead; /* deleted while events may still name it */
};

/* Timers live in a binary heap ordered by deadline. */
struct lcm_timer {
	struct lcm_loop *loop; /* borrowed */
	uint64_t at;           /* CLOCK_MONOTONIC ns */
	size_t slot;           /* index in the heap + 1; 0: not armed */
	lcm_task_fn fn;
	void *arg;
};

struct lcm_loop {
	int epfd; /* owned */
	int wake; /* owned eventfd */
	_Atomic bool stop;
	pthread_mutex_t mu; /* guards head, tail */
	struct lcm_task *head, *tail;
	struct lcm_loop_fd *dead; /* freed after the current batch of events */
	struct lcm_timer **heap;  /* owned array of borrowed timers */
	size_t n_heap, cap_heap, n_timers;
};

int lcm_loop_new(struct lcm_loop **ret)
{
	lcm_auto(lcm_loop) l = calloc(1, sizeof(*l));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	if (!l)
		return -ENOMEM;
	l->epfd = l->wake = -EBADF;
	(void)pthread_mutex_init(&l->mu, NULL);
	l->epfd = (int)lcm_errno(epoll_create1(EPOLL_CLOEXEC));
	if (l->epfd < 0)
		return l->epfd;
	l->wake = (int)lcm_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (l->wake < 0)
		return l->wake;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wake, &ev) < 0)
		return (int)lcm_errno(-1);
	*ret = lcm_steal(&l);
	return 0;
}

static void run_mailbox(struct lcm_loop *l)
{
	struct lcm_task *t;

	(void)pthread_mutex_lock(&l->mu);
	t = l->head;
	l->head = l->tail = NULL;
	(void)pthread_mutex_unlock(&l->mu);
	while (t) {
		struct lcm_task *next = t->next;

		t->next = NULL;
		t->fn(t->arg);
		t = next;
	}
}

static void reap_dead(struct lcm_loop *l)
{
	while (l->dead) {
		struct lcm_loop_fd *w = l->dead;

		l->dead = w->next_dead;
		free(w);
	}
}

void lcm_loop_drain(struct lcm_loop *l)
{
	while (l->head)
		run_mailbox(l);
}

void lcm_loop_free(struct lcm_loop *l)
{
	if (!l)
		return;
	lcm_loop_drain(l);
	reap_dead(l);
	lcm_closep(&l->epfd);
	lcm_closep(&l->wake);
	(void)pthread_mutex_destroy(&l->mu);
	free(l->heap);
	free(l);
}

static void heap_put(struct lcm_loop *l, size_t i, struct lcm_timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

static void heap_up(struct lcm_loop *l, size_t i)
{
	struct lcm_timer *t = l->heap[i];

	for (; i && l->heap[(i - 1) / 2]->at > t->at; i = (i - 1) / 2)
		heap_put(l, i, l->heap[(i - 1) / 2]);
	heap_put(l, i, t);
}

static void heap_down(struct lcm_loop *l, size_t i)
{
	struct lcm_timer *t = l->heap[i];

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= l->n_heap)
			break;
		if (c + 1 < l->n_heap && l->heap[c + 1]->at < l->heap[c]->at)
			c++;
		if (l->heap[c]->at >= t->at)
			break;
		heap_put(l, i, l->heap[c]);
		i = c;
	}
	heap_put(l, i, t);
}

int lcm_timer_new(struct lcm_loop *l, lcm_task_fn fn, void *arg, struct lcm_timer **ret)
{
	struct lcm_timer *t;

	/* Room in the heap for every timer is made here, so that arming cannot fail. */
	if (l->n_timers + 1 > l->cap_heap) {
		size_t cap = LCM_MAX(l->cap_heap * 2, (size_t)16);
		void *p = reallocarray(l->heap, cap, sizeof(struct lcm_timer *));

		if (!p)
			return -ENOMEM;
		l->heap = p;
		l->cap_heap = cap;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->loop = l;
	t->fn = fn;
	t->arg = arg;
	l->n_timers++;
	*ret = t;
	return 0;
}

void lcm_timer_clear(struct lcm_timer *t)
{
	struct lcm_loop *l = t->loop;
	size_t i = t->slot - 1;

	if (!t->slot)
		return;
	t->slot = 0;
	l->n_heap--;
	if (i == l->n_heap)
		return;
	heap_put(l, i, l->heap[l->n_heap]);
	heap_up(l, i);
	heap_down(l, l->heap[i]->slot - 1);
}

void lcm_timer_set(struct lcm_timer *t, uint64_t ns)
{
	lcm_timer_clear(t);
	t->at = lcm_now_ns() + ns;
	t->loop->heap[t->loop->n_heap] = t;
	t->slot = ++t->loop->n_heap;
	heap_up(t->loop, t->loop->n_heap - 1);
}

bool lcm_timer_armed(const struct lcm_timer *t)
{
	return t->slot != 0;
}

void lcm_timer_free(struct lcm_timer *t)
{
	if (!t)
		return;
	lcm_timer_clear(t);
	t->loop->n_timers--;
	free(t);
}

static void run_timers(struct lcm_loop *l)
{
	uint64_t now = lcm_now_ns();

	while (l->n_heap && l->heap[0]->at <= now) {
		struct lcm_timer *t = l->heap[0];

		lcm_timer_clear(t);
		t->fn(t->arg);
	}
}

static int wait_ms(const struct lcm_loop *l)
{
	uint64_t now;

	if (!l->n_heap)
		return -1;
	now = lcm_now_ns();
	if (l->heap[0]->at <= now)
		return 0;
	return (int)LCM_MIN((l->heap[0]->at - now + 999999) / 1000000, 3600000ULL);
}

int lcm_loop_run(struct lcm_loop *l)
{
	struct epoll_event ev[EVENTS_PER_WAIT];

	while (!atomic_load(&l->stop)) {
		int n = (int)lcm_errno(epoll_wait(l->epfd, ev, EVENTS_PER_WAIT, wait_ms(l)));

		if (n < 0 && n != -EINTR)
			return n;
		for (int i = 0; i < n; i++) {
			struct lcm_loop_fd *w = ev[i].data.ptr;
			uint64_t count;

			if (!w)
				lcm_ignore((int)read(l->wake, &count, sizeof(count)));
			else if (w->fd >= 0)
				w->fn(w->arg, ev[i].events);
		}
		reap_dead(l);
		run_mailbox(l);
		run_timers(l);
	}
	atomic_store(&l->stop, false);
	return 0;
}

static void wake(struct lcm_loop *l)
{
	uint64_t one = 1;

	lcm_ignore((int)write(l->wake, &one, sizeof(one)));
}

void lcm_loop_stop(struct lcm_loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

int lcm_loop_add_fd(struct lcm_loop *l, int fd, uint32_t events, lcm_fd_fn fn, void *arg,
		    struct lcm_loop_fd **ret)
{
	struct lcm_loop_fd *w = calloc(1, sizeof(*w));
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (!w)
		return -ENOMEM;
	*w = (struct lcm_loop_fd){ .loop = l, .fd = fd, .fn = fn, .arg = arg };
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		int r = (int)lcm_errno(-1);

		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

int lcm_loop_mod_fd(struct lcm_loop_fd *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	return (int)lcm_errno(epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev));
}

void lcm_loop_del_fd(struct lcm_loop_fd *w)
{
	if (!w)
		return;
	(void)epoll_ctl(w->loop->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
	w->next_dead = w->loop->dead;
	w->loop->dead = w;
}

void lcm_loop_post_task(struct lcm_loop *l, struct lcm_task *t)
{
	t->next = NULL;
	(void)pthread_mutex_lock(&l->mu);
	if (l->tail)
		l->tail->next = t;
	else
		l->head = t;
	l->tail = t;
	(void)pthread_mutex_unlock(&l->mu);
	wake(l);
}
