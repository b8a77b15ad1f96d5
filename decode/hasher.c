/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/hasher.h"

#include <pthread.h>
#include <signal.h>

/* A hand-over between threads costs up to 60 us on a virtual machine, as much as hashing this much.
 */
#define WORTH_BYTES ((size_t)128 << 10)

struct lcm_hasher {
	struct lcm_hash *hash; /* owned; used by whoever holds the block */
	pthread_t thread;
	int policy; /* of the thread, sched(7) */
	bool started, no_thread;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	const void *block; /* under mu; NULL: idle */
	size_t len;        /* under mu */
	bool quit;         /* under mu */
};

static void *hasher_main(void *arg)
{
	struct lcm_hasher *h = arg;

	(void)pthread_mutex_lock(&h->mu);
	for (;;) {
		while (!h->block && !h->quit)
			(void)pthread_cond_wait(&h->cond, &h->mu);
		if (!h->block)
			break;
		(void)pthread_mutex_unlock(&h->mu);
		lcm_hash_update(h->hash, h->block, h->len);
		(void)pthread_mutex_lock(&h->mu);
		h->block = NULL;
		(void)pthread_cond_broadcast(&h->cond);
	}
	(void)pthread_mutex_unlock(&h->mu);
	return NULL;
}

/* Signals stay with the threads that were there before. */
static bool hasher_start(struct lcm_hasher *h)
{
	sigset_t all, old;

	if (h->started || h->no_thread)
		return h->started;
	h->no_thread = sysconf(_SC_NPROCESSORS_ONLN) < 2;
	if (h->no_thread)
		return false;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	h->started = pthread_create(&h->thread, NULL, hasher_main, h) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	h->no_thread = !h->started;
	h->policy = sched_getscheduler(0); /* threads inherit it */
	if (h->started)
		(void)pthread_setname_np(h->thread, "locum-hash");
	return h->started;
}

/* When its owner has another one from now on, so has it. */
static void follow(struct lcm_hasher *h)
{
	const struct sched_param none = { .sched_priority = 0 };
	int policy = sched_getscheduler(0);

	if (policy == h->policy)
		return;
	(void)pthread_setschedparam(h->thread, policy, &none);
	h->policy = policy;
}

struct lcm_hasher *lcm_hasher_new(void)
{
	struct lcm_hasher *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	(void)pthread_mutex_init(&h->mu, NULL);
	(void)pthread_cond_init(&h->cond, NULL);
	h->hash = lcm_hash_new();
	if (!h->hash) {
		lcm_hasher_free(h);
		return NULL;
	}
	return h;
}

void lcm_hasher_free(struct lcm_hasher *h)
{
	if (!h)
		return;
	if (h->started) {
		(void)pthread_mutex_lock(&h->mu);
		h->quit = true;
		(void)pthread_cond_broadcast(&h->cond);
		(void)pthread_mutex_unlock(&h->mu);
		(void)pthread_join(h->thread, NULL);
	}
	(void)pthread_cond_destroy(&h->cond);
	(void)pthread_mutex_destroy(&h->mu);
	lcm_hash_free(h->hash);
	free(h);
}

void lcm_hasher_wait(struct lcm_hasher *h)
{
	if (!h || !h->started)
		return;
	(void)pthread_mutex_lock(&h->mu);
	while (h->block)
		(void)pthread_cond_wait(&h->cond, &h->mu);
	(void)pthread_mutex_unlock(&h->mu);
}

void lcm_hasher_add(struct lcm_hasher *h, const void *p, size_t len)
{
	if (!h)
		return;
	lcm_hasher_wait(h);
	if (len < WORTH_BYTES || !hasher_start(h)) {
		lcm_hash_update(h->hash, p, len);
		return;
	}
	follow(h);
	(void)pthread_mutex_lock(&h->mu);
	h->block = p;
	h->len = len;
	(void)pthread_cond_broadcast(&h->cond);
	(void)pthread_mutex_unlock(&h->mu);
}

void lcm_hasher_final(struct lcm_hasher *h, struct lcm_digest *ret)
{
	*ret = (struct lcm_digest){ 0 };
	if (!h)
		return;
	lcm_hasher_wait(h);
	lcm_hash_final(h->hash, ret);
}
