/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/serve_hold.h"

#include <time.h>

#include "src/base/sys.h"

static bool is_due(const struct lcm_holder *h, const struct lcm_held *w, uint64_t now)
{
	return h->closing || (w->until_ns == UINT64_MAX ? !h->on : w->until_ns <= now);
}

/* Resumes what is due; returns when the next one is. */
static uint64_t resume_due(struct lcm_holder *h)
{
	uint64_t now = lcm_now_ns(), next = UINT64_MAX;
	struct lcm_held **at = &h->list;

	while (*at) {
		struct lcm_held *w = *at;

		if (!is_due(h, w, now)) {
			next = LCM_MIN(next, w->until_ns);
			at = &w->next;
			continue;
		}
		*at = w->next;
		MHD_resume_connection(w->conn);
	}
	return next;
}

static void *holder_main(void *arg)
{
	struct lcm_holder *h = arg;

	(void)pthread_mutex_lock(&h->lock);
	for (;;) {
		uint64_t next = resume_due(h);
		struct timespec ts = {
			.tv_sec = (time_t)(next / 1000000000),
			.tv_nsec = (long)(next % 1000000000),
		};

		if (h->closing)
			break;
		if (next == UINT64_MAX)
			(void)pthread_cond_wait(&h->changed, &h->lock);
		else
			(void)pthread_cond_timedwait(&h->changed, &h->lock, &ts);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return NULL;
}

int lcm_holder_init(struct lcm_holder *h)
{
	pthread_condattr_t attr;
	int r;

	*h = (struct lcm_holder){ .list = NULL };
	r = pthread_condattr_init(&attr);
	if (r)
		return -r;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = pthread_cond_init(&h->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	if (r)
		return -r;
	(void)pthread_mutex_init(&h->lock, NULL);
	r = pthread_create(&h->thread, NULL, holder_main, h);
	if (r) {
		(void)pthread_cond_destroy(&h->changed);
		(void)pthread_mutex_destroy(&h->lock);
	}
	return -r;
}

void lcm_holder_close(struct lcm_holder *h)
{
	(void)pthread_mutex_lock(&h->lock);
	h->closing = true;
	(void)pthread_cond_signal(&h->changed);
	(void)pthread_mutex_unlock(&h->lock);
	(void)pthread_join(h->thread, NULL);
}

void lcm_holder_fini(struct lcm_holder *h)
{
	(void)pthread_cond_destroy(&h->changed);
	(void)pthread_mutex_destroy(&h->lock);
}

void lcm_holder_set(struct lcm_holder *h, bool on)
{
	(void)pthread_mutex_lock(&h->lock);
	h->on = on;
	(void)pthread_cond_signal(&h->changed);
	(void)pthread_mutex_unlock(&h->lock);
}

unsigned int lcm_holder_count(struct lcm_holder *h)
{
	unsigned int n = 0;

	(void)pthread_mutex_lock(&h->lock);
	for (const struct lcm_held *w = h->list; w; w = w->next)
		n += w->until_ns == UINT64_MAX;
	(void)pthread_mutex_unlock(&h->lock);
	return n;
}

bool lcm_holder_on(struct lcm_holder *h)
{
	bool on;

	(void)pthread_mutex_lock(&h->lock);
	on = h->on && !h->closing;
	(void)pthread_mutex_unlock(&h->lock);
	return on;
}

bool lcm_holder_wait(struct lcm_holder *h, struct lcm_held *w, struct MHD_Connection *c,
		     uint64_t until_ns)
{
	bool wait;

	(void)pthread_mutex_lock(&h->lock);
	w->conn = c;
	w->until_ns = until_ns;
	wait = !is_due(h, w, lcm_now_ns());
	if (wait) {
		w->next = h->list;
		h->list = w;
		MHD_suspend_connection(c);
		(void)pthread_cond_signal(&h->changed);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return wait;
}
