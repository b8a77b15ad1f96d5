/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/multi.h"

#include "src/base/log.h"

/* Idle demand connections kept: a burst of opens finds them warm. */
#define DEMAND_IDLE_MAX 32

struct sock {
	struct pool *pool;         /* borrowed */
	curl_socket_t fd;          /* libcurl's */
	struct lcm_loop_fd *watch; /* owned */
	struct sock *next, **prev;
};

struct pool {
	CURLM *curl;             /* owned */
	struct lcm_loop *loop;   /* borrowed */
	struct lcm_timer *timer; /* owned */
	struct sock *socks;      /* owned list */
};

struct lcm_multi {
	CURLSH *share; /* owned */
	struct pool pools[LCM_MULTI_POOL_MAX];
};

static void pool_drain(struct pool *p)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(p->curl, &left))) {
		struct lcm_multi_job *job = NULL;
		CURLcode code = msg->data.result;
		CURL *easy = msg->easy_handle;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&job);
		(void)curl_multi_remove_handle(p->curl, easy);
		job->done(job->arg, code);
	}
}

static void pool_action(struct pool *p, curl_socket_t fd, int mask)
{
	int running;
	CURLMcode mc = curl_multi_socket_action(p->curl, fd, mask, &running);

	if (mc != CURLM_OK)
		lcm_debug("curl_multi_socket_action: %s", curl_multi_strerror(mc));
	pool_drain(p);
}

static void on_socket(void *arg, uint32_t events)
{
	struct sock *s = arg;
	int mask = 0;

	if (events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	pool_action(s->pool, s->fd, mask); /* may free s */
}

static void on_timer(void *arg)
{
	pool_action(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void sock_free(struct sock *s)
{
	lcm_loop_del_fd(s->watch);
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	free(s);
}

static struct sock *sock_new(struct pool *p, curl_socket_t fd, uint32_t events)
{
	struct sock *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct sock){ .pool = p, .fd = fd };
	if (lcm_loop_add_fd(p->loop, fd, events, on_socket, s, &s->watch) < 0) {
		free(s);
		return NULL;
	}
	s->next = p->socks;
	s->prev = &p->socks;
	if (s->next)
		s->next->prev = &s->next;
	p->socks = s;
	return s;
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
	struct pool *p = arg;
	struct sock *s = sockp;
	uint32_t events = 0;

	(void)easy;
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			sock_free(s);
	} else if (!s) {
		s = sock_new(p, fd, events);
		(void)curl_multi_assign(p->curl, fd, s);
	} else if (lcm_loop_mod_fd(s->watch, events) < 0) {
		s = NULL;
	}
	/*
	 * An unwatched socket makes its transfer stall, which is tried again;
	 * -1 would end every transfer of the pool and the pool with them.
	 */
	if (what != CURL_POLL_REMOVE && !s)
		lcm_debug("cannot watch socket %d", (int)fd);
	return 0;
}

static int timer_cb(CURLM *curl, long ms, void *arg)
{
	struct pool *p = arg;

	(void)curl;
	if (ms < 0)
		lcm_timer_clear(p->timer);
	else
		lcm_timer_set(p->timer, (uint64_t)ms * 1000000);
	return 0;
}

static int pool_init(struct pool *p, struct lcm_loop *loop, bool multiplex, long idle)
{
	int r;

	p->loop = loop;
	p->curl = curl_multi_init();
	if (!p->curl)
		return -ENOMEM;
	r = lcm_timer_new(loop, on_timer, p, &p->timer);
	if (r < 0)
		return r;
	(void)curl_multi_setopt(p->curl, CURLMOPT_SOCKETFUNCTION, socket_cb);
	(void)curl_multi_setopt(p->curl, CURLMOPT_SOCKETDATA, p);
	(void)curl_multi_setopt(p->curl, CURLMOPT_TIMERFUNCTION, timer_cb);
	(void)curl_multi_setopt(p->curl, CURLMOPT_TIMERDATA, p);
	(void)curl_multi_setopt(p->curl, CURLMOPT_PIPELINING,
				multiplex ? CURLPIPE_MULTIPLEX : CURLPIPE_NOTHING);
	(void)curl_multi_setopt(p->curl, CURLMOPT_MAXCONNECTS, idle);
	return 0;
}

static void pool_fini(struct pool *p)
{
	if (p->curl)
		(void)curl_multi_cleanup(p->curl);
	while (p->socks)
		sock_free(p->socks);
	lcm_timer_free(p->timer);
}

int lcm_multi_new(struct lcm_loop *loop, uint32_t connections, struct lcm_multi **ret)
{
	lcm_auto(lcm_multi) m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->share = curl_share_init();
	if (!m->share)
		return -ENOMEM;
	/* One thread: the share needs no lock functions. */
	(void)curl_share_setopt(m->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
	(void)curl_share_setopt(m->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	r = pool_init(&m->pools[LCM_MULTI_DEMAND], loop, true, DEMAND_IDLE_MAX);
	if (r == 0)
		r = pool_init(&m->pools[LCM_MULTI_BACKGROUND], loop, false, (long)connections);
	if (r < 0)
		return r;
	*ret = lcm_steal(&m);
	return 0;
}

void lcm_multi_free(struct lcm_multi *m)
{
	if (!m)
		return;
	for (int i = 0; i < LCM_MULTI_POOL_MAX; i++)
		pool_fini(&m->pools[i]);
	if (m->share)
		(void)curl_share_cleanup(m->share);
	free(m);
}

CURLSH *lcm_multi_share(struct lcm_multi *m)
{
	return m->share;
}

int lcm_multi_add(struct lcm_multi *m, enum lcm_multi_pool pool, CURL *easy)
{
	CURLMcode mc = curl_multi_add_handle(m->pools[pool].curl, easy);

	return mc == CURLM_OK ? 0 : -ENOMEM;
}

void lcm_multi_remove(struct lcm_multi *m, enum lcm_multi_pool pool, CURL *easy)
{
	(void)curl_multi_remove_handle(m->pools[pool].curl, easy);
}

void lcm_multi_kick(struct lcm_multi *m, enum lcm_multi_pool pool)
{
	pool_drain(&m->pools[pool]);
}
