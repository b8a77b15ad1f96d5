/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE_INTERRUPT: a signal reached a thread that waits for us.
 *
 * The kernel sends one message per request, for the first signal of any kind,
 * and from then on the thread cannot even be killed until we answer. Answering
 * EINTR to everything would make open() of a local-looking file fail for a
 * harmless SIGCHLD or SIGALRM, and a page fault in a big executable end in SIGBUS;
 * a disk file system does neither. So: a fatal signal is answered at once; for
 * others the waiter goes on waiting and is looked at every 20 ms, since the
 * fatal one that may follow is not announced. A caught signal that has waited
 * for 2 s interrupts an open after all (a user at a stalled prompt), never a READ.
 *
 * Source: Linux Documentation/filesystems/fuse.rst "Interrupting filesystem
 * operations", fs/fuse/dev.c request_wait_answer(); proc_pid_status(5).
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fuse/session.h"
#include "src/base/sys.h"

#define STATUS_MAX 16384 /* /proc/PID/status is some 1.5 KB; long group lists make it longer */
#define RECHECK_MAX 256  /* waiters per tick and gate: some 30 us each */

enum signal_state {
	SIGNAL_NONE,   /* nothing that the thread would act on */
	SIGNAL_CAUGHT, /* a handler wants to run */
	SIGNAL_FATAL,  /* it dies, or we cannot know */
};

static uint64_t bit(int sig)
{
	return 1ULL << (sig - 1);
}

/* The mask in a line "\nKey:\t<16 hex digits>"; 0 when there is none. */
static uint64_t mask_of(const char *status, const char *key)
{
	const char *p = strstr(status, key);
	unsigned long long mask = 0;

	if (p && sscanf(p + strlen(key), "%llx", &mask) != 1)
		mask = 0;
	return mask;
}

static enum signal_state signal_state(uint32_t pid)
{
	uint64_t harmless = bit(SIGCHLD) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGCONT) |
			    bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
	lcm_autofree char *status = NULL;
	uint64_t pending, caught;
	char path[32];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%u/status", pid);
	if (pid == 0 || lcm_read_file_at(AT_FDCWD, path, STATUS_MAX, &status, &len) < 0)
		return SIGNAL_FATAL;
	pending = mask_of(status, "\nSigPnd:") | mask_of(status, "\nShdPnd:");
	if (pending & bit(SIGKILL))
		return SIGNAL_FATAL;
	pending &= ~(mask_of(status, "\nSigBlk:") | mask_of(status, "\nSigIgn:"));
	caught = mask_of(status, "\nSigCgt:");
	if (pending & ~caught & ~harmless)
		return SIGNAL_FATAL;
	return pending & caught ? SIGNAL_CAUGHT : SIGNAL_NONE;
}

/* The one request that is read and not in the queue is being answered or about to be queued: the
 * kernel shall ask again. */
static void ask_again(struct lcm_gate *g, uint64_t unique)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = -EAGAIN, .unique = unique };

	lcm_ignore(lcm_sys_write_full(g->fd, &out, sizeof(out)));
}

void lcm_gate_interrupt(struct lcm_gate *g, const struct fuse_in_header *in, size_t len)
{
	const struct fuse_interrupt_in *arg = (const void *)(in + 1);
	struct lcm_waiter *w;
	bool found, fatal;
	uint32_t pid = 0;

	atomic_fetch_add(&g->count.interrupts, 1);
	if (len < sizeof(*in) + sizeof(*arg))
		return;
	(void)pthread_mutex_lock(&g->mu);
	w = lcm_queue_find(&g->queue, arg->unique);
	found = w != NULL;
	if (w)
		pid = w->pid;
	(void)pthread_mutex_unlock(&g->mu);
	if (!found) {
		ask_again(g, in->unique);
		return;
	}
	fatal = signal_state(pid) == SIGNAL_FATAL;
	(void)pthread_mutex_lock(&g->mu);
	w = fatal ? lcm_queue_take(&g->queue, arg->unique) : lcm_queue_find(&g->queue, arg->unique);
	if (w && !fatal)
		lcm_queue_signal(&g->queue, w, lcm_now_ns());
	(void)pthread_mutex_unlock(&g->mu);
	if (fatal)
		lcm_gate_give_up(g, w, EINTR);
	else
		lcm_gate_threads_tick(g->threads);
}

/* Returns the waiter when it shall be answered. */
static struct lcm_waiter *recheck_one(struct lcm_gate *g, uint64_t now_ns)
{
	struct lcm_waiter *w, seen = { 0 };
	enum signal_state state;

	(void)pthread_mutex_lock(&g->mu);
	w = lcm_queue_signalled(&g->queue);
	if (w)
		seen = *w;
	(void)pthread_mutex_unlock(&g->mu);
	if (!w)
		return NULL;
	state = signal_state(seen.pid);
	if (state == SIGNAL_CAUGHT &&
	    (seen.len || now_ns < seen.signalled + LCM_GATE_SIGNAL_GRACE_NS))
		return NULL;
	(void)pthread_mutex_lock(&g->mu);
	if (state == SIGNAL_NONE) {
		w = lcm_queue_find(&g->queue, seen.id.key);
		if (w)
			w->signalled = now_ns;
		w = NULL;
	} else {
		w = lcm_queue_take(&g->queue, seen.id.key);
	}
	(void)pthread_mutex_unlock(&g->mu);
	return w;
}

bool lcm_gate_recheck(struct lcm_gate *g, uint64_t now_ns)
{
	uint32_t left;

	(void)pthread_mutex_lock(&g->mu);
	left = g->queue.n_signalled;
	(void)pthread_mutex_unlock(&g->mu);
	for (uint32_t i = 0; i < LCM_MIN(left, (uint32_t)RECHECK_MAX); i++)
		lcm_gate_give_up(g, recheck_one(g, now_ns), EINTR);
	return left != 0;
}
