/* SPDX-License-Identifier: Apache-2.0 */
/* fn_pool.c - who gets which function, and the end of those that broke. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "decode/fn_host.h"
#include "src/base/sys.h"

struct lcm_fn_pool {
	char *path; /* owned */
	unsigned int spare, max;
	uint32_t first_uid;
	uint64_t hang_ns;
	pthread_mutex_t mu;        /* guards what follows */
	pthread_cond_t freed, low; /* a slot; spare ones are wanted, or the end */
	struct lcm_fn *ready;      /* bound to nobody yet */
	struct lcm_fn *idle;       /* bound, without a job */
	struct lcm_fn *used;       /* with a job, or about to get one */
	struct lcm_fn *dead;       /* killed, not waited for yet; their slots stay taken */
	uint64_t slots[LCM_FN_MAX / 64];
	unsigned int alive, n_ready; /* slots taken; of @ready */
	struct lcm_fn_stats stats;
	bool wanted, quit; /* of the filler */
	bool filling;      /* it runs */
	pthread_t filler;  /* starts spare ones: nobody who has work waits for that */
};

/* ---- slots ---- */

static bool slot_take(struct lcm_fn_pool *p, unsigned int *ret)
{
	for (unsigned int i = 0; i < p->max; i++) {
		if (p->slots[i / 64] & 1ULL << i % 64)
			continue;
		p->slots[i / 64] |= 1ULL << i % 64;
		p->alive++;
		*ret = i;
		return true;
	}
	return false;
}

static void slot_give(struct lcm_fn_pool *p, unsigned int i)
{
	p->slots[i / 64] &= ~(1ULL << i % 64);
	p->alive--;
	(void)pthread_cond_signal(&p->freed);
}

/* ---- the end ---- */

/* A killed process goes at once, but one in the kernel may take its time: nobody waits for it. */
static void reap(struct lcm_fn_pool *p, int options)
{
	for (struct lcm_fn **at = &p->dead; *at;) {
		struct lcm_fn *fn = *at;

		if (waitpid(fn->pid, NULL, options) == 0) {
			at = &fn->next;
			continue;
		}
		*at = fn->next;
		slot_give(p, fn->slot);
		free(fn);
	}
}

static void bury(struct lcm_fn_pool *p, struct lcm_fn *fn)
{
	(void)kill(fn->pid, SIGKILL);
	lcm_closep(&fn->sock);
	fn->next = p->dead;
	p->dead = fn;
	p->stats.failed += fn->broken;
	reap(p, WNOHANG);
}

/* ---- the beginning ---- */

static int start(struct lcm_fn_pool *p, unsigned int slot, struct lcm_fn **ret, struct lcm_err *err)
{
	struct lcm_fn *fn = calloc(1, sizeof(*fn));
	int r = -ENOMEM;

	if (fn) {
		fn->slot = slot;
		fn->hang_ns = p->hang_ns;
		r = lcm_fn_spawn(p->path, p->first_uid + slot, fn, err);
	}
	(void)pthread_mutex_lock(&p->mu);
	if (r < 0)
		slot_give(p, slot);
	else
		p->stats.started++;
	(void)pthread_mutex_unlock(&p->mu);
	if (r < 0) {
		free(fn);
		return r;
	}
	*ret = fn;
	return 0;
}

static void refill(struct lcm_fn_pool *p)
{
	for (;;) {
		struct lcm_fn *fn;
		unsigned int slot;
		bool wanted;

		(void)pthread_mutex_lock(&p->mu);
		reap(p, WNOHANG);
		wanted = p->n_ready < p->spare && slot_take(p, &slot);
		p->n_ready += wanted;
		(void)pthread_mutex_unlock(&p->mu);
		if (!wanted)
			return;
		if (start(p, slot, &fn, NULL) < 0) {
			(void)pthread_mutex_lock(&p->mu);
			p->n_ready--;
			(void)pthread_mutex_unlock(&p->mu);
			return;
		}
		(void)pthread_mutex_lock(&p->mu);
		fn->next = p->ready;
		p->ready = fn;
		(void)pthread_mutex_unlock(&p->mu);
	}
}

static void *filler_main(void *arg)
{
	struct lcm_fn_pool *p = arg;

	(void)pthread_mutex_lock(&p->mu);
	while (!p->quit) {
		if (!p->wanted) {
			(void)pthread_cond_wait(&p->low, &p->mu);
			continue;
		}
		p->wanted = false;
		(void)pthread_mutex_unlock(&p->mu);
		refill(p);
		(void)pthread_mutex_lock(&p->mu);
	}
	(void)pthread_mutex_unlock(&p->mu);
	return NULL;
}

/* With the lock. */
static void refill_soon(struct lcm_fn_pool *p)
{
	p->wanted = true;
	(void)pthread_cond_signal(&p->low);
}

static int filler_start(struct lcm_fn_pool *p)
{
	sigset_t all, old;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&p->filler, NULL, filler_main, p);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->filling = r == 0;
	if (p->filling)
		(void)pthread_setname_np(p->filler, "locum-spare");
	return -r;
}

static void filler_stop(struct lcm_fn_pool *p)
{
	if (!p->filling)
		return;
	(void)pthread_mutex_lock(&p->mu);
	p->quit = true;
	(void)pthread_cond_signal(&p->low);
	(void)pthread_mutex_unlock(&p->mu);
	(void)pthread_join(p->filler, NULL);
}

int lcm_fn_pool_new(const struct lcm_fn_config *cfg, struct lcm_fn_pool **ret, struct lcm_err *err)
{
	struct lcm_fn_pool *p = calloc(1, sizeof(*p));
	struct lcm_fn *first;
	unsigned int slot = 0;
	int r;

	if (!p)
		return -ENOMEM;
	(void)pthread_mutex_init(&p->mu, NULL);
	(void)pthread_cond_init(&p->freed, NULL);
	(void)pthread_cond_init(&p->low, NULL);
	p->path = strdup(cfg->path);
	p->spare = cfg->spare;
	p->max = LCM_MAX(1U, LCM_MIN(cfg->max, LCM_FN_MAX));
	p->first_uid = cfg->first_uid;
	p->hang_ns = cfg->hang_ns ? cfg->hang_ns : LCM_FN_HANG_NS;
	(void)slot_take(p, &slot);
	r = p->path ? start(p, slot, &first, err) : -ENOMEM;
	if (r == 0) {
		p->ready = first;
		p->n_ready = 1;
		refill(p);
		r = filler_start(p);
	}
	if (r < 0) {
		lcm_fn_pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

static void bury_all(struct lcm_fn_pool *p, struct lcm_fn **list)
{
	while (*list) {
		struct lcm_fn *fn = *list;

		*list = fn->next;
		bury(p, fn);
	}
}

void lcm_fn_pool_free(struct lcm_fn_pool *p)
{
	if (!p)
		return;
	filler_stop(p);
	bury_all(p, &p->ready);
	bury_all(p, &p->idle);
	reap(p, 0);
	(void)pthread_cond_destroy(&p->low);
	(void)pthread_cond_destroy(&p->freed);
	(void)pthread_mutex_destroy(&p->mu);
	free(p->path);
	free(p);
}

void lcm_fn_pool_stats(struct lcm_fn_pool *p, struct lcm_fn_stats *ret)
{
	(void)pthread_mutex_lock(&p->mu);
	reap(p, WNOHANG);
	*ret = p->stats;
	ret->alive = p->alive;
	(void)pthread_mutex_unlock(&p->mu);
}

/* ---- taking and putting ---- */

static struct lcm_fn *idle_of(struct lcm_fn_pool *p, uint64_t tenant)
{
	for (struct lcm_fn **at = &p->idle; *at; at = &(*at)->next) {
		struct lcm_fn *fn = *at;

		if (fn->tenant != tenant)
			continue;
		*at = fn->next;
		return fn;
	}
	return NULL;
}

static struct lcm_fn *waiting_one(struct lcm_fn_pool *p, uint64_t tenant)
{
	struct lcm_fn *fn = idle_of(p, tenant);

	if (!fn && p->ready) {
		fn = p->ready;
		p->ready = fn->next;
		p->n_ready--;
	}
	return fn;
}

/* Nobody reaps while all wait for a slot, so one of them must. */
static void await_dead(struct lcm_fn_pool *p)
{
	struct lcm_fn *fn = p->dead;

	p->dead = fn->next;
	(void)pthread_mutex_unlock(&p->mu);
	(void)waitpid(fn->pid, NULL, 0);
	(void)pthread_mutex_lock(&p->mu);
	slot_give(p, fn->slot);
	free(fn);
}

/* With all slots taken an idle function of somebody else makes room. */
static bool evict(struct lcm_fn_pool *p)
{
	struct lcm_fn *fn = p->idle;

	if (!fn)
		return false;
	p->idle = fn->next;
	(void)kill(fn->pid, SIGKILL);
	(void)waitpid(fn->pid, NULL, 0);
	lcm_closep(&fn->sock);
	slot_give(p, fn->slot);
	free(fn);
	return true;
}

/* One that is there, or a slot to start one in. */
static struct lcm_fn *find_or_slot(struct lcm_fn_pool *p, uint64_t tenant, unsigned int *slot)
{
	struct lcm_fn *fn;

	(void)pthread_mutex_lock(&p->mu);
	for (;;) {
		reap(p, WNOHANG);
		fn = waiting_one(p, tenant);
		if (fn && lcm_fn_gone(fn)) {
			bury(p, fn);
			continue;
		}
		if (fn || slot_take(p, slot))
			break;
		if (evict(p))
			continue;
		if (p->dead)
			await_dead(p);
		else
			(void)pthread_cond_wait(&p->freed, &p->mu);
	}
	(void)pthread_mutex_unlock(&p->mu);
	return fn;
}

int lcm_fn_take(struct lcm_fn_pool *p, uint64_t tenant, struct lcm_fn **ret, struct lcm_err *err)
{
	unsigned int slot = 0;
	struct lcm_fn *fn = find_or_slot(p, tenant, &slot);
	int r = fn ? 0 : start(p, slot, &fn, err);

	if (r < 0)
		return lcm_fn_blameless(r, err);
	fn->tenant = tenant;
	(void)pthread_mutex_lock(&p->mu);
	fn->next = p->used;
	p->used = fn;
	refill_soon(p);
	(void)pthread_mutex_unlock(&p->mu);
	*ret = fn;
	return 0;
}

static void used_remove(struct lcm_fn_pool *p, struct lcm_fn *fn)
{
	struct lcm_fn **at = &p->used;

	while (*at != fn)
		at = &(*at)->next;
	*at = fn->next;
}

void lcm_fn_put(struct lcm_fn_pool *p, struct lcm_fn *fn)
{
	if (!fn)
		return;
	fn->mem = NULL;
	(void)pthread_mutex_lock(&p->mu);
	used_remove(p, fn);
	if (fn->broken || fn->busy || fn->ended || fn->retired) {
		bury(p, fn);
	} else {
		fn->next = p->idle;
		p->idle = fn;
		(void)pthread_cond_signal(&p->freed);
	}
	refill_soon(p);
	(void)pthread_mutex_unlock(&p->mu);
}

void lcm_fn_tenant_end(struct lcm_fn_pool *p, uint64_t tenant)
{
	struct lcm_fn *fn;

	(void)pthread_mutex_lock(&p->mu);
	while ((fn = idle_of(p, tenant)))
		bury(p, fn);
	for (fn = p->used; fn; fn = fn->next)
		fn->ended |= fn->tenant == tenant;
	(void)pthread_mutex_unlock(&p->mu);
}

pid_t lcm_fn_pid(const struct lcm_fn *fn)
{
	return fn->pid;
}

void lcm_fn_retire(struct lcm_fn *fn)
{
	fn->retired = true;
}

void lcm_fn_hold(const struct lcm_fn *fn, bool held)
{
	(void)kill(fn->pid, held ? SIGSTOP : SIGCONT);
}
