/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/pool.h"

#include <pthread.h>
#include <signal.h>

struct task_queue {
	struct lcm_task *head, *tail;
};

struct lcm_pool {
	pthread_mutex_t mu; /* guards all below */
	pthread_cond_t cond;
	struct task_queue q[LCM_POOL_CLASS_MAX];
	bool closing;
	unsigned int n_threads, slow; /* slow: threads on LCM_POOL_SLOW now */
	pthread_t threads[64];
};

static bool may_run(const struct lcm_pool *p, int cls)
{
	return cls != LCM_POOL_SLOW || p->slow == 0 || p->slow + 1 < p->n_threads;
}

static struct lcm_task *take(struct lcm_pool *p, int *ret_cls)
{
	for (int c = 0; c < LCM_POOL_CLASS_MAX; c++) {
		struct lcm_task *t = p->q[c].head;

		if (!t || !may_run(p, c))
			continue;
		*ret_cls = c;
		p->q[c].head = t->next;
		if (!t->next)
			p->q[c].tail = NULL;
		t->next = NULL;
		return t;
	}
	return NULL;
}

static void *worker(void *arg)
{
	struct lcm_pool *p = arg;

	(void)pthread_mutex_lock(&p->mu);
	for (;;) {
		int cls = 0;
		struct lcm_task *t = take(p, &cls);

		if (t) {
			p->slow += cls == LCM_POOL_SLOW;
			(void)pthread_mutex_unlock(&p->mu);
			t->fn(t->arg);
			(void)pthread_mutex_lock(&p->mu);
			p->slow -= cls == LCM_POOL_SLOW;
			continue;
		}
		if (p->closing)
			break;
		(void)pthread_cond_wait(&p->cond, &p->mu);
	}
	(void)pthread_mutex_unlock(&p->mu);
	return NULL;
}

int lcm_pool_new(unsigned int threads, const char *name, struct lcm_pool **ret)
{
	lcm_auto(lcm_pool) p = NULL;
	sigset_t all, old;
	int r = 0;

	if (threads == 0 || threads > LCM_ARRAY_SIZE(p->threads))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	(void)pthread_mutex_init(&p->mu, NULL);
	(void)pthread_cond_init(&p->cond, NULL);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned int i = 0; i < threads && r == 0; i++) {
		r = -pthread_create(&p->threads[i], NULL, worker, p);
		if (r == 0) {
			p->n_threads++;
			(void)pthread_setname_np(p->threads[i], name);
		}
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return r;
	*ret = lcm_steal(&p);
	return 0;
}

void lcm_pool_free(struct lcm_pool *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->mu);
	p->closing = true;
	(void)pthread_cond_broadcast(&p->cond);
	(void)pthread_mutex_unlock(&p->mu);
	for (unsigned int i = 0; i < p->n_threads; i++)
		(void)pthread_join(p->threads[i], NULL);
	(void)pthread_cond_destroy(&p->cond);
	(void)pthread_mutex_destroy(&p->mu);
	free(p);
}

void lcm_pool_submit(struct lcm_pool *p, enum lcm_pool_class cls, struct lcm_task *t)
{
	struct task_queue *q = &p->q[cls];

	t->next = NULL;
	(void)pthread_mutex_lock(&p->mu);
	if (q->tail)
		q->tail->next = t;
	else
		q->head = t;
	q->tail = t;
	(void)pthread_cond_signal(&p->cond);
	(void)pthread_mutex_unlock(&p->mu);
}

bool lcm_pool_take_back(struct lcm_pool *p, enum lcm_pool_class cls, struct lcm_task *t)
{
	struct task_queue *q = &p->q[cls];
	struct lcm_task *before = NULL, *at;

	(void)pthread_mutex_lock(&p->mu);
	for (at = q->head; at && at != t; at = at->next)
		before = at;
	if (at && before)
		before->next = t->next;
	else if (at)
		q->head = t->next;
	if (at && q->tail == t)
		q->tail = before;
	(void)pthread_mutex_unlock(&p->mu);
	return at != NULL;
}
