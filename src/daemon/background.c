/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/background.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "src/base/log.h"
#include "src/base/sys.h"

/* While it waits, somebody looks so often. */
#define LOOK_NS 3000000ULL
/* Woken later than this the thread has waited for its processor. */
#define PROMPT_NS 500000ULL
/* As any other it looks less often. */
#define SHARE_LOOK_NS 10000000ULL
#define PROMPT_LOOKS 2U
/* The source is read over so much time at least, and so many of its grains. */
#define SEEN_NS 20000000ULL
#define SEEN_GRAINS 4U
/* While it runs: how often it is asked whether anything is left for it. */
#define WINDOW_NS 50000000ULL
#define WINDOW_MAX_NS 800000000ULL
/* A slice of the share is processor time; it ends after so many times as long in any case. */
#define TURN_SLICES 25U
/* Of a processor, below which none counts as free. */
#define FREE_SHARE 4U

struct lcm_background {
	struct lcm_background_config cfg;
	const struct lcm_idle_source *source;
	struct lcm_idle_group *group;      /* owned; NULL: none */
	struct lcm_err no_group;           /* why */
	int no_class;                      /* why the idle class cannot be used; 0: it can */
	pthread_mutex_t mu;                /* guards the rest; held by background's threads alone */
	struct lcm_background_task *tasks; /* in order of beginning; the first that waits looks */
	uint64_t retired_ns;               /* processor time of tasks that have ended */
	uint64_t from_ns, from_idle_ns, from_own_ns; /* the window's begin */
	uint64_t window_ns;
	uint32_t prompt;                  /* looks in a row that got a processor at once */
	bool first_look;                  /* none since it was closed */
	uint64_t mark_ns, mark_own_ns;    /* since when its share is watched */
	uint64_t starved_ns;              /* when the last one ended, on its share; 0: it was not */
	uint64_t next_share_ns;           /* the next slice of the share */
	struct lcm_background_task *turn; /* who has the slice that runs; NULL: none does */
	uint64_t turn_ns, turn_own_ns;    /* when it began; processor time then */
	/* read by any thread */
	_Atomic bool open, sharing, stopping;
	_Atomic uint32_t n_tasks;
	_Atomic uint64_t own_ns, opened, shares;
};

static const char *const hows[] = { [LCM_BACKGROUND_GATED] = "gated",
				    [LCM_BACKGROUND_CLASS] = "class",
				    [LCM_BACKGROUND_ANY] = "no" };

int lcm_background_parse(const char *text, enum lcm_background_how *ret)
{
	for (size_t i = 0; i < LCM_ARRAY_SIZE(hows); i++) {
		if (strcmp(hows[i], text) != 0)
			continue;
		*ret = (enum lcm_background_how)i;
		return 0;
	}
	return -EINVAL;
}

void lcm_background_defaults(struct lcm_background_config *cfg)
{
	*cfg = (struct lcm_background_config){ .slice_ns = 2000000,
					       .wait_ns = 10000000000ULL,
					       .share_percent = 5 };
}

/* ---- life ---- */

/* One that could not come back would keep its class when somebody waits for it. */
static void *try_class(void *arg)
{
	int *ret = arg, r = lcm_sys_idle_class(0, true);

	if (r == 0)
		r = lcm_sys_idle_class(0, false);
	*ret = r;
	return NULL;
}

static void probe(struct lcm_background *b)
{
	pthread_t t;
	int r;

	if (b->cfg.how == LCM_BACKGROUND_ANY)
		return;
	r = -pthread_create(&t, NULL, try_class, &b->no_class);
	if (r == 0)
		(void)pthread_join(t, NULL);
	else
		b->no_class = r;
	if (lcm_idle_group_open("/sys/fs/cgroup", "/proc/self/cgroup", &b->group, &b->no_group) < 0)
		lcm_log(LCM_LOG_INFO, "background has no idle cgroup: %s", b->no_group.msg);
}

int lcm_background_new(const struct lcm_background_config *cfg,
		       const struct lcm_idle_source *source, struct lcm_background **ret)
{
	struct lcm_background *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->cfg = *cfg;
	b->source = source ? source : &lcm_idle_source_kernel;
	b->window_ns = WINDOW_NS;
	(void)pthread_mutex_init(&b->mu, NULL);
	atomic_store(&b->open, cfg->how != LCM_BACKGROUND_GATED);
	probe(b);
	*ret = b;
	return 0;
}

void lcm_background_stop(struct lcm_background *b)
{
	if (!b)
		return;
	atomic_store(&b->stopping, true);
	(void)pthread_mutex_lock(&b->mu);
	for (struct lcm_background_task *t = b->tasks; t; t = t->next) {
		lcm_background_hurry(t);
		lcm_background_cancel(t);
	}
	(void)pthread_mutex_unlock(&b->mu);
}

void lcm_background_free(struct lcm_background *b)
{
	if (!b)
		return;
	lcm_idle_group_close(b->group);
	(void)pthread_mutex_destroy(&b->mu);
	free(b);
}

int lcm_background_init(struct lcm_background_task *t, struct lcm_background *b)
{
	*t = (struct lcm_background_task){ .b = b };
	t->wake = (int)lcm_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	return LCM_MIN(t->wake, 0);
}

void lcm_background_fini(struct lcm_background_task *t)
{
	if (t->b)
		lcm_closep(&t->wake);
}

static void wake(struct lcm_background_task *t)
{
	const uint64_t one = 1;

	lcm_ignore(lcm_sys_write_full(t->wake, &one, sizeof(one)));
}

/* ---- processor time ---- */

static uint64_t clock_of(clockid_t id)
{
	struct timespec ts;

	/* A function that has died has none any more. */
	if (clock_gettime(id, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static uint64_t task_ns(struct lcm_background_task *t)
{
	uint64_t ns = clock_of(t->clock) + (t->has_fn_clock ? clock_of(t->fn_clock) : 0);

	t->seen_ns = LCM_MAX(t->seen_ns, ns);
	return t->seen_ns - t->begun_ns;
}

/* With mu held. */
static uint64_t own_ns(struct lcm_background *b)
{
	uint64_t ns = b->retired_ns;

	for (struct lcm_background_task *t = b->tasks; t; t = t->next)
		ns += task_ns(t);
	atomic_store(&b->own_ns, ns);
	return ns;
}

/* ---- the gate; all with mu held ---- */

static void hold(struct lcm_background_task *t, bool held)
{
	if (!t->fn || t->stopped == held)
		return;
	t->stopped = held;
	t->held |= held;
	lcm_fn_hold(t->fn, held);
}

static void window_begin(struct lcm_background *b, uint64_t now, uint64_t idle)
{
	b->from_ns = now;
	b->from_idle_ns = idle;
	b->from_own_ns = own_ns(b);
}

/* Whoever looks has to run for it, and the slices, too: as any other, while there is a share. */
static void share(struct lcm_background *b, bool on)
{
	if (atomic_exchange(&b->sharing, on) != on && b->group)
		lcm_idle_group_lift(b->group, on);
}

static void gate_open(struct lcm_background *b, uint64_t now, uint64_t idle)
{
	/* Given back at the first look: it was background's own work that left nothing. */
	b->window_ns = b->first_look ? LCM_MIN(b->window_ns * 2, WINDOW_MAX_NS) : WINDOW_NS;
	window_begin(b, now, idle);
	share(b, false);
	atomic_store(&b->open, true);
	(void)atomic_fetch_add(&b->opened, 1);
	for (struct lcm_background_task *t = b->tasks; t; t = t->next) {
		hold(t, false);
		wake(t);
	}
}

static void gate_close(struct lcm_background *b, uint64_t now, uint64_t idle)
{
	atomic_store(&b->open, false);
	b->first_look = true;
	b->prompt = 0;
	window_begin(b, now, idle);
	for (struct lcm_background_task *t = b->tasks; t; t = t->next)
		if (!atomic_load(&t->hurried))
			hold(t, true);
}

/* May its own time be taken for free time? In the idle group it has only what nobody wanted. */
static bool takes_nothing(const struct lcm_background *b)
{
	return b->group && lcm_idle_group_threads(b->group) && !b->no_class;
}

/* While it is open, once a window: has anything been left? */
static void look_open(struct lcm_background *b, uint64_t now)
{
	uint64_t idle, left;

	if (b->cfg.how != LCM_BACKGROUND_GATED || now - b->from_ns < b->window_ns ||
	    b->source->read(b->source->arg, &idle) < 0)
		return;
	left = idle > b->from_idle_ns ? idle - b->from_idle_ns : 0; /* iowait may fall */
	if (takes_nothing(b))
		left += own_ns(b) - b->from_own_ns;
	if (left < (now - b->from_ns) / FREE_SHARE) {
		gate_close(b, now, idle);
		return;
	}
	b->window_ns = LCM_MAX(b->window_ns / 2, WINDOW_NS);
	b->mark_ns = now;
	window_begin(b, now, idle);
	b->mark_own_ns = b->from_own_ns;
}

/* While it is closed: the thread has slept, and was woken @late after its time. The first grain
 * proves nothing: all but the last of it may have been idle long before the window. */
static void look_closed(struct lcm_background *b, uint64_t now, uint64_t late)
{
	uint64_t idle, over = LCM_MAX(SEEN_NS, SEEN_GRAINS * b->source->grain_ns);

	b->prompt = late < PROMPT_NS || !b->source->lags ? b->prompt + 1 : 0;
	if (b->source->read(b->source->arg, &idle) < 0)
		return;
	if (b->prompt >= PROMPT_LOOKS && idle > b->from_idle_ns &&
	    idle - b->from_idle_ns >= b->source->grain_ns + (now - b->from_ns) / FREE_SHARE) {
		gate_open(b, now, idle);
		return;
	}
	if (now - b->from_ns < over)
		return;
	b->first_look = false;
	window_begin(b, now, idle);
}

/* Has it had less than its share for the time that it is to wait? */
static bool is_starved(struct lcm_background *b, uint64_t now)
{
	uint64_t own;

	if (!b->cfg.share_percent || now - b->mark_ns < b->cfg.wait_ns)
		return false;
	own = own_ns(b);
	if (own - b->mark_own_ns < (now - b->mark_ns) / 100 * b->cfg.share_percent)
		return true;
	b->mark_ns = now;
	b->mark_own_ns = own;
	return false;
}

/* ---- how a thread and its function run ---- */

static void set_class(struct lcm_background_task *t, bool idle)
{
	struct lcm_background *b = t->b;

	if (b->no_class)
		return;
	lcm_ignore(lcm_sys_idle_class(0, idle));
	if (t->fn)
		lcm_ignore(lcm_sys_idle_class(lcm_fn_pid(t->fn), idle));
}

static void lift(struct lcm_background_task *t, bool up)
{
	if (t->b->group && atomic_exchange(&t->lifted, up) != up)
		lcm_idle_group_lift(t->b->group, up);
}

static void list_add(struct lcm_background_task *t)
{
	struct lcm_background_task **at = &t->b->tasks;

	while (*at)
		at = &(*at)->next;
	t->next = NULL;
	*at = t;
	(void)atomic_fetch_add(&t->b->n_tasks, 1);
}

static void list_remove(struct lcm_background_task *t)
{
	struct lcm_background_task **at = &t->b->tasks;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	(void)atomic_fetch_sub(&t->b->n_tasks, 1);
}

/* Whoever looks has gone: another one that waits is to look. */
static void pass_on(struct lcm_background *b)
{
	struct lcm_background_task *t = b->tasks;

	while (t && !t->waiting)
		t = t->next;
	if (t)
		wake(t);
}

/* With mu held: it is background no more. */
static void leave(struct lcm_background_task *t)
{
	struct lcm_background *b = t->b;

	b->retired_ns += task_ns(t);
	list_remove(t);
	(void)own_ns(b);
	if (b->turn == t)
		b->turn = NULL;
	if (!b->tasks && b->cfg.how == LCM_BACKGROUND_GATED) {
		b->starved_ns = atomic_load(&b->sharing) ? lcm_now_ns() : 0;
		share(b, false);
		atomic_store(&b->open, false);
	}
	pass_on(b);
}

/* Somebody waits for it now. It stays in the group, which is as any other until it has ended. */
static bool make_plain(struct lcm_background_task *t)
{
	bool held;

	t->plain = true;
	lift(t, true);
	set_class(t, false);
	(void)pthread_mutex_lock(&t->b->mu);
	hold(t, false);
	held = t->held;
	leave(t);
	(void)pthread_mutex_unlock(&t->b->mu);
	return held;
}

static void enter_group(struct lcm_background_task *t)
{
	struct lcm_idle_group *g = t->b->group;

	if (!g)
		return;
	if (lcm_idle_group_threads(g))
		t->in_group = lcm_idle_group_enter(g, atomic_load(&t->tid)) == 0;
	if (t->fn)
		lcm_ignore(lcm_idle_group_enter(g, lcm_fn_pid(t->fn)));
}

/* There was no task before: nothing was looked at. One that follows another which was starved has
 * waited with it: work of many small tasks is not to wait for each. */
static void first_begins(struct lcm_background *b)
{
	uint64_t idle = b->from_idle_ns;

	lcm_ignore(b->source->read(b->source->arg, &idle));
	window_begin(b, lcm_now_ns(), idle);
	b->mark_ns = b->from_ns;
	b->mark_own_ns = b->from_own_ns;
	b->first_look = true;
	b->prompt = 0;
	if (b->starved_ns && b->from_ns - b->starved_ns < b->cfg.wait_ns)
		share(b, true);
}

void lcm_background_begin(struct lcm_background_task *t, struct lcm_fn *fn)
{
	struct lcm_background *b = t->b;

	if (b->cfg.how == LCM_BACKGROUND_ANY || atomic_load(&t->hurried) ||
	    atomic_load(&b->stopping))
		return;
	t->active = true;
	t->fn = fn;
	if (fn)
		lcm_fn_retire(fn);
	t->has_fn_clock = fn && clock_getcpuclockid(lcm_fn_pid(fn), &t->fn_clock) == 0;
	(void)pthread_getcpuclockid(pthread_self(), &t->clock);
	atomic_store(&t->tid, (pid_t)syscall(SYS_gettid));
	(void)task_ns(t);
	t->begun_ns = t->seen_ns;
	set_class(t, true);
	enter_group(t);
	(void)pthread_mutex_lock(&b->mu);
	list_add(t);
	if (b->tasks == t)
		first_begins(b);
	(void)pthread_mutex_unlock(&b->mu);
	if (atomic_load(&t->hurried))
		(void)make_plain(t);
}

void lcm_background_end(struct lcm_background_task *t)
{
	struct lcm_background *b = t->b;

	if (!t->active)
		return;
	if (!t->plain) {
		(void)pthread_mutex_lock(&b->mu);
		leave(t);
		(void)pthread_mutex_unlock(&b->mu);
	}
	atomic_store(&t->tid, 0);
	t->fn = NULL;
	set_class(t, false);
	if (t->in_group)
		lcm_ignore(lcm_idle_group_leave(b->group, (pid_t)syscall(SYS_gettid)));
	atomic_store(&t->ended, true);
	lift(t, false);
	t->active = false;
}

/* ---- points ---- */

/* With mu held, but not while it sleeps. Return: how much too late it was woken. */
static uint64_t doze(struct lcm_background_task *t, uint64_t ns)
{
	struct pollfd p = { .fd = t->wake, .events = POLLIN };
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000U),
			       .tv_nsec = (long)(ns % 1000000000U) };
	uint64_t due = lcm_now_ns() + ns, count, now;

	(void)pthread_mutex_unlock(&t->b->mu);
	(void)ppoll(&p, 1, ns ? &ts : NULL, NULL);
	now = lcm_now_ns();
	if (p.revents)
		lcm_ignore((int)lcm_sys_read(t->wake, &count, sizeof(count)));
	(void)pthread_mutex_lock(&t->b->mu);
	return ns && now > due ? now - due : 0;
}

static bool looks(const struct lcm_background_task *t)
{
	const struct lcm_background_task *first = t->b->tasks;

	while (!first->waiting)
		first = first->next;
	return first == t;
}

static void raise_class(struct lcm_background_task *t, bool up)
{
	if (t->raised != up)
		set_class(t, !up);
	t->raised = up;
}

static void turn_begin(struct lcm_background_task *t)
{
	struct lcm_background *b = t->b;

	b->turn = t;
	b->turn_ns = lcm_now_ns();
	b->turn_own_ns = task_ns(t);
	(void)atomic_fetch_add(&b->shares, 1);
	hold(t, false);
}

/* What it has used is its share of the time until the next slice; that is another task's. */
static void turn_end(struct lcm_background_task *t, uint64_t now)
{
	struct lcm_background *b = t->b;
	uint64_t used = task_ns(t) - b->turn_own_ns;

	if (!atomic_load(&b->open) && used < b->cfg.slice_ns &&
	    now - b->turn_ns < TURN_SLICES * b->cfg.slice_ns)
		return;
	b->turn = NULL;
	b->next_share_ns = now + used * (100 - b->cfg.share_percent) / b->cfg.share_percent;
	list_remove(t);
	list_add(t);
}

static bool goes_on(const struct lcm_background_task *t)
{
	return atomic_load(&t->b->open) || atomic_load(&t->hurried) || atomic_load(&t->cancelled) ||
	       atomic_load(&t->b->stopping);
}

/* One look, and the sleep before it. Return: it has the next slice of the share. */
static bool look(struct lcm_background_task *t)
{
	struct lcm_background *b = t->b;
	uint64_t ns = LOOK_NS, now = lcm_now_ns(), late;

	if (atomic_load(&b->sharing)) {
		raise_class(t, true);
		if (now >= b->next_share_ns && !b->turn)
			return true;
		ns = b->turn ? b->cfg.slice_ns : LCM_MIN(SHARE_LOOK_NS, b->next_share_ns - now);
	}
	late = doze(t, ns);
	if (goes_on(t))
		return false;
	now = lcm_now_ns();
	look_closed(b, now, late);
	if (!atomic_load(&b->open) && !atomic_load(&b->sharing) && is_starved(b, now)) {
		share(b, true);
		b->next_share_ns = now;
	}
	return false;
}

static void wait_turn(struct lcm_background_task *t)
{
	bool turn = false;

	t->waiting = true;
	while (!goes_on(t) && !turn) {
		hold(t, true);
		if (looks(t))
			turn = look(t);
		else
			(void)doze(t, 0);
	}
	t->waiting = false;
	if (turn) {
		turn_begin(t);
	} else {
		raise_class(t, false);
		hold(t, false);
	}
	pass_on(t->b);
}

static bool was_held(struct lcm_background_task *t)
{
	bool held = t->held;

	t->held = false;
	return held;
}

bool lcm_background_point(struct lcm_background_task *t)
{
	struct lcm_background *b = t->b;
	uint64_t now;
	bool waited = false;

	if (!t->active || t->plain)
		return false;
	if (atomic_load(&t->hurried))
		return make_plain(t);
	now = lcm_now_ns();
	if (now < t->slice_end_ns && (t->has_turn || atomic_load(&b->open)))
		return false;
	(void)pthread_mutex_lock(&b->mu);
	if (b->turn == t)
		turn_end(t, now);
	if (b->turn != t && atomic_load(&b->open)) {
		raise_class(t, false);
		look_open(b, now);
	}
	waited = b->turn != t && !goes_on(t);
	if (waited)
		wait_turn(t);
	waited |= was_held(t);
	t->has_turn = b->turn == t;
	(void)pthread_mutex_unlock(&b->mu);
	t->slice_end_ns = lcm_now_ns() + b->cfg.slice_ns;
	if (atomic_load(&t->hurried))
		waited |= make_plain(t);
	return waited;
}

/* ---- from outside ---- */

void lcm_background_cancel(struct lcm_background_task *t)
{
	atomic_store(&t->cancelled, true);
	wake(t);
}

/* The thread may be waiting for its processor: the class first, which needs no help of its own. */
void lcm_background_hurry(struct lcm_background_task *t)
{
	pid_t tid;

	if (atomic_exchange(&t->hurried, true))
		return;
	tid = atomic_load(&t->tid);
	if (!tid)
		return; /* it has not begun, and sees it then; or it has ended */
	lift(t, true);
	if (!t->b->no_class)
		lcm_ignore(lcm_sys_idle_class(tid, false));
	wake(t);
	if (atomic_load(&t->ended))
		lift(t, false);
}

/* ---- status ---- */

const char *lcm_background_state(const struct lcm_background *b)
{
	if (!atomic_load(&b->n_tasks))
		return "none";
	return atomic_load(&b->open) ? "running" : atomic_load(&b->sharing) ? "share" : "waiting";
}

uint64_t lcm_background_ns(const struct lcm_background *b)
{
	return atomic_load(&b->own_ns);
}

void lcm_background_config(const struct lcm_background *b, struct lcm_background_config *ret)
{
	*ret = b->cfg;
}

json_t *lcm_background_json(const struct lcm_background *b)
{
	const char *group = b->group ? lcm_idle_group_path(b->group) : NULL;
	bool threads = b->group && lcm_idle_group_threads(b->group);
	json_t *o = json_pack(
	    "{s:s s:s s:s s:b s:s? s:b s:f s:f s:I s:I s:f s:I s:I}", "how", hows[b->cfg.how],
	    "state", lcm_background_state(b), "source", b->source->name, "idle_class",
	    b->cfg.how != LCM_BACKGROUND_ANY && !b->no_class, "cgroup", group, "cgroup_threads",
	    threads, "slice_ms", (double)b->cfg.slice_ns / 1e6, "wait_s",
	    (double)b->cfg.wait_ns / 1e9, "share_percent", (json_int_t)b->cfg.share_percent,
	    "tasks", (json_int_t)atomic_load(&b->n_tasks), "processor_ms",
	    (double)atomic_load(&b->own_ns) / 1e6, "released", (json_int_t)atomic_load(&b->opened),
	    "shares", (json_int_t)atomic_load(&b->shares));

	if (o && !b->group && b->no_group.code)
		(void)json_object_set_new(o, "no_cgroup", json_string(b->no_group.msg));
	return o;
}
