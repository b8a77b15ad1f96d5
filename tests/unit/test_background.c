/* SPDX-License-Identifier: Apache-2.0 */
/* Background: when it runs, who is asked, and what becomes of a task that somebody comes to wait
 * for. The source is the test's; threads, classes and the function are real. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "src/daemon/background.h"
#include "tests/unit/test.h"

#define MS 1000000ULL
#define TRIES                                                                                      \
	12000 /* of 5 ms: a thread of the idle class may have to wait long for its processor */

struct clock {
	struct lcm_idle_source source;
	_Atomic uint64_t ns, from;
	_Atomic bool runs; /* all the time is idle time */
	_Atomic int fails;
	_Atomic uint32_t reads;
};

static int clock_read(void *arg, uint64_t *ret_ns)
{
	struct clock *c = arg;

	(void)atomic_fetch_add(&c->reads, 1);
	if (atomic_load(&c->fails))
		return -EIO;
	*ret_ns = atomic_load(&c->ns) + (atomic_load(&c->runs) ? lcm_now_ns() - c->from : 0);
	return 0;
}

static void clock_run(struct clock *c, bool runs)
{
	uint64_t now = lcm_now_ns();

	if (atomic_load(&c->runs))
		(void)atomic_fetch_add(&c->ns, now - c->from);
	atomic_store(&c->from, now);
	atomic_store(&c->runs, runs);
}

#define NOT_YET (-1)

struct worker {
	pthread_t thread;
	struct lcm_background_task task;
	struct lcm_fn *fn;
	uint32_t points; /* that it makes */
	_Atomic uint32_t made;
	_Atomic int policy; /* NOT_YET, within, and after the end */
	_Atomic bool ended;
};

static void nap(void)
{
	const struct timespec ts = { .tv_nsec = 5000000 };

	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	lcm_background_begin(&w->task, w->fn);
	atomic_store(&w->policy, sched_getscheduler(0));
	for (uint32_t i = 0; i < w->points && !atomic_load(&w->task.cancelled); i++) {
		(void)lcm_background_point(&w->task);
		(void)atomic_fetch_add(&w->made, 1);
		if (i % 16 == 15)
			nap(); /* it is a task that waits for something, now and then */
	}
	lcm_background_end(&w->task);
	atomic_store(&w->policy, sched_getscheduler(0));
	atomic_store(&w->ended, true);
	return NULL;
}

struct fixture {
	struct clock clock;
	struct lcm_background *b;
	struct worker w[3];
	size_t n;
};

static void start(struct fixture *f, uint32_t points, struct lcm_fn *fn)
{
	struct worker *w = &f->w[f->n++];

	w->points = points;
	w->fn = fn;
	atomic_store(&w->policy, NOT_YET);
	assert_int_equal(lcm_background_init(&w->task, f->b), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
}

static void fixture_open(struct fixture *f, const struct lcm_background_config *cfg)
{
	*f = (struct fixture){
		.clock = { .source = { .name = "test", .grain_ns = 1, .read = clock_read } }
	};
	f->clock.source.arg = &f->clock;
	assert_int_equal(lcm_background_new(cfg, &f->clock.source, &f->b), 0);
}

static void fixture_close(struct fixture *f)
{
	lcm_background_stop(f->b);
	for (size_t i = 0; i < f->n; i++) {
		lcm_background_cancel(&f->w[i].task); /* one that was hurried is not stopped */
		assert_int_equal(pthread_join(f->w[i].thread, NULL), 0);
		assert_int_equal(f->w[i].policy, SCHED_OTHER);
		lcm_background_fini(&f->w[i].task);
	}
	assert_string_equal(lcm_background_state(f->b), "none");
	lcm_background_free(f->b);
}

static void await(struct fixture *f, const char *state)
{
	for (int i = 0; i < TRIES && strcmp(lcm_background_state(f->b), state) != 0; i++)
		nap();
	assert_string_equal(lcm_background_state(f->b), state);
}

static void await_made(struct worker *w, uint32_t n)
{
	for (int i = 0; i < TRIES && atomic_load(&w->made) < n; i++)
		nap();
	assert_true(atomic_load(&w->made) >= n);
}

static void await_reads(struct clock *c, uint32_t more)
{
	uint32_t n = atomic_load(&c->reads) + more;

	for (int i = 0; i < TRIES && atomic_load(&c->reads) < n; i++)
		nap();
	assert_true(atomic_load(&c->reads) >= n);
}

static void await_begun(struct worker *w)
{
	for (int i = 0; i < TRIES && atomic_load(&w->policy) == NOT_YET; i++)
		nap();
	assert_int_not_equal(w->policy, NOT_YET);
}

static void await_ended(struct worker *w)
{
	for (int i = 0; i < TRIES && !atomic_load(&w->ended); i++)
		nap();
	assert_true(w->ended);
}

static json_int_t count(const struct fixture *f, const char *key)
{
	json_t *o = lcm_background_json(f->b);
	json_int_t n = json_integer_value(json_object_get(o, key));

	json_decref(o);
	return n;
}

static struct lcm_background_config config(void)
{
	struct lcm_background_config cfg;

	lcm_background_defaults(&cfg);
	return cfg;
}

static void it_waits_for_a_free_processor(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	fixture_open(&f, &cfg);
	assert_string_equal(lcm_background_state(f.b), "none");
	assert_int_equal(f.clock.reads, 0);
	start(&f, 100000000, NULL);
	start(&f, 100000000, NULL);
	await(&f, "waiting");
	await_reads(&f.clock, 20);
	assert_int_equal(f.w[0].made + f.w[1].made, 0);
	assert_string_equal(lcm_background_state(f.b), "waiting");
	clock_run(&f.clock, true);
	await_made(&f.w[0], 1);
	await_made(&f.w[1], 1);
	assert_true(count(&f, "released") >= 1);
	/* Nothing is idle any more, and the two leave most of their time: it is others who want it.
	 */
	clock_run(&f.clock, false);
	await(&f, "waiting");
	assert_int_equal(count(&f, "shares"), 0);
	fixture_close(&f);
}

static void nobody_looks_for_nobody(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;
	uint32_t reads;

	(void)state;
	fixture_open(&f, &cfg);
	clock_run(&f.clock, true);
	start(&f, 10, NULL);
	await_ended(&f.w[0]);
	reads = f.clock.reads;
	assert_true(reads > 0);
	for (int i = 0; i < 10; i++)
		nap();
	assert_int_equal(f.clock.reads, reads);
	fixture_close(&f);
}

static void one_of_them_looks(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	fixture_open(&f, &cfg);
	for (int i = 0; i < 3; i++)
		start(&f, 1000000, NULL);
	await(&f, "waiting");
	/* The first goes: another one looks from then on. */
	lcm_background_cancel(&f.w[0].task);
	await_ended(&f.w[0]);
	await_reads(&f.clock, 5);
	clock_run(&f.clock, true);
	await_made(&f.w[1], 1);
	await_made(&f.w[2], 1);
	fixture_close(&f);
}

static void a_starved_one_gets_its_share(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	cfg.wait_ns = MS;
	cfg.share_percent = 20;
	fixture_open(&f, &cfg);
	start(&f, 100000000, NULL);
	start(&f, 100000000, NULL);
	await(&f, "share");
	await_made(&f.w[0], 100);
	await_made(&f.w[1], 100); /* in turns */
	assert_true(count(&f, "shares") >= 2);
	assert_int_equal(count(&f, "released"), 0);
	clock_run(&f.clock, true);
	await(&f, "running");
	fixture_close(&f);
}

static void one_after_another_waits_once(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	cfg.wait_ns = 3000 * MS;
	fixture_open(&f, &cfg);
	start(&f, 100000000, NULL);
	await(&f, "share");
	lcm_background_cancel(&f.w[0].task);
	await_ended(&f.w[0]);
	assert_string_equal(lcm_background_state(f.b), "none");
	start(&f, 100000000, NULL);
	await_begun(&f.w[1]);
	assert_string_equal(lcm_background_state(f.b), "share");
	fixture_close(&f);
}

/* All of a grain but its last moment may have been long ago. */
static void one_grain_is_no_release(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	cfg.share_percent = 0;
	fixture_open(&f, &cfg);
	f.clock.source.grain_ns = 10 * MS;
	start(&f, 100000000, NULL);
	await_reads(&f.clock, 5);
	for (int i = 0; i < 5; i++) {
		(void)atomic_fetch_add(&f.clock.ns, 10 * MS);
		await_reads(&f.clock, 30);
		assert_string_equal(lcm_background_state(f.b), "waiting");
	}
	assert_int_equal(count(&f, "released"), 0);
	clock_run(&f.clock, true);
	await_made(&f.w[0], 1);
	fixture_close(&f);
}

static void none_begins_at_the_end(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	fixture_open(&f, &cfg);
	start(&f, 100000000, NULL);
	await(&f, "waiting");
	await_begun(&f.w[0]);
	lcm_background_stop(f.b);
	await_ended(&f.w[0]);
	start(&f, 1000, NULL);
	await_begun(&f.w[1]);
	assert_int_not_equal(f.w[1].policy, SCHED_IDLE);
	await_made(&f.w[1], 1000);
	assert_int_equal(count(&f, "tasks"), 0);
	fixture_close(&f);
}

static void no_share_no_slice(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	cfg.wait_ns = 0;
	cfg.share_percent = 0;
	fixture_open(&f, &cfg);
	start(&f, 100000000, NULL);
	await_reads(&f.clock, 20);
	assert_int_equal(f.w[0].made, 0);
	fixture_close(&f);
}

static void who_is_waited_for_is_as_any_other(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;
	bool class;
	json_t *o;

	(void)state;
	fixture_open(&f, &cfg);
	o = lcm_background_json(f.b);
	class = json_is_true(json_object_get(o, "idle_class"));
	json_decref(o);
	start(&f, 100000000, NULL);
	start(&f, 100000000, NULL);
	await(&f, "waiting");
	for (size_t i = 0; i < f.n; i++)
		await_begun(&f.w[i]);
	if (class)
		assert_int_equal(f.w[0].policy, SCHED_IDLE);
	lcm_background_hurry(&f.w[0].task);
	lcm_background_hurry(&f.w[0].task);
	await_made(&f.w[0], 1000);
	assert_int_equal(f.w[1].made, 0);
	assert_int_equal(count(&f, "tasks"), 1); /* nor does it take the other's turns */
	if (class)
		assert_int_equal(sched_getscheduler(f.w[0].task.tid), SCHED_OTHER);
	fixture_close(&f);
}

static void a_source_that_fails_is_no_release(void **state)
{
	struct lcm_background_config cfg = config();
	struct fixture f;

	(void)state;
	fixture_open(&f, &cfg);
	clock_run(&f.clock, true);
	atomic_store(&f.clock.fails, 1);
	start(&f, 100000000, NULL);
	await_reads(&f.clock, 10);
	assert_int_equal(f.w[0].made, 0);
	atomic_store(&f.clock.fails, 0);
	await_made(&f.w[0], 1);
	fixture_close(&f);
}

/* 'T' is stopped, proc_pid_stat(5). */
static char state_of(pid_t pid)
{
	char path[64], text[256] = "";
	lcm_autoclose int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	assert_true(fd >= 0 && lcm_sys_read(fd, text, sizeof(text) - 1) > 0);
	return strrchr(text, ')')[2];
}

static void its_function_stops_with_it(void **state)
{
	const struct lcm_fn_config fns = { .path = "./locum-decode",
					   .max = 2,
					   .first_uid = 1900000000 };
	struct lcm_background_config cfg = config();
	struct lcm_fn_pool *pool;
	struct lcm_err err = { 0 };
	struct lcm_fn *fn;
	struct fixture f;
	pid_t pid;

	(void)state;
	assert_int_equal(lcm_fn_pool_new(&fns, &pool, &err), 0);
	assert_int_equal(lcm_fn_take(pool, 1, &fn, &err), 0);
	pid = lcm_fn_pid(fn);
	fixture_open(&f, &cfg);
	start(&f, 100000000, fn);
	for (int i = 0; i < TRIES && state_of(pid) != 'T'; i++)
		nap();
	assert_int_equal(state_of(pid), 'T');
	clock_run(&f.clock, true);
	await_made(&f.w[0], 1);
	for (int i = 0; i < TRIES && state_of(pid) == 'T'; i++)
		nap();
	assert_int_not_equal(state_of(pid), 'T');
	clock_run(&f.clock, false);
	for (int i = 0; i < TRIES && state_of(pid) != 'T'; i++)
		nap();
	assert_int_equal(state_of(pid), 'T');
	lcm_background_hurry(&f.w[0].task);
	await_made(&f.w[0], f.w[0].made + 100);
	assert_int_not_equal(state_of(pid), 'T');
	fixture_close(&f);
	lcm_fn_put(pool, fn); /* it was background: it goes */
	for (int i = 0; i < TRIES && kill(pid, 0) == 0 && state_of(pid) != 'Z'; i++)
		nap();
	assert_true(kill(pid, 0) < 0 || state_of(pid) == 'Z');
	lcm_fn_pool_free(pool);
}

static void without_a_gate_nothing_waits(void **state)
{
	static const enum lcm_background_how hows[] = { LCM_BACKGROUND_CLASS, LCM_BACKGROUND_ANY };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(hows); i++) {
		struct lcm_background_config cfg = config();
		struct fixture f;

		cfg.how = hows[i];
		fixture_open(&f, &cfg);
		start(&f, 100, NULL);
		await_made(&f.w[0], 100);
		assert_int_equal(f.clock.reads, hows[i] == LCM_BACKGROUND_CLASS);
		fixture_close(&f);
	}
}

static void kernel_counters(void **state)
{
	static const struct {
		const char *text;
		long hz;
		int r;
		uint64_t ns;
	} rows[] = {
		{ "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5", 100, 0, 90000000 },
		{ "cpu  1 2 3 4 5", 250, 0, 36000000 },
		{ "cpu  1 2 3 0 0", 100, 0, 0 },
		{ "cpu  1 2 3 4", 100, -EUCLEAN, 0 },
		{ "cpu  1 2 3 9999999999999999999 5", 100, -EUCLEAN, 0 },
		{ "intr 1 2 3 4 5", 100, -EUCLEAN, 0 },
		{ "", 100, -EUCLEAN, 0 },
		{ "cpu  1 2 3 4 5", 0, -EUCLEAN, 0 },
	};
	uint64_t a, b;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint64_t ns = 77;

		assert_int_equal(lcm_idle_parse(rows[i].text, rows[i].hz, &ns), rows[i].r);
		assert_int_equal(ns, rows[i].r < 0 ? 77 : rows[i].ns);
	}
	assert_int_equal(lcm_idle_source_kernel.read(NULL, &a), 0);
	assert_int_equal(lcm_idle_source_kernel.read(NULL, &b), 0);
	assert_true(b >= a && a > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_counters),
		cmocka_unit_test(it_waits_for_a_free_processor),
		cmocka_unit_test(nobody_looks_for_nobody),
		cmocka_unit_test(one_of_them_looks),
		cmocka_unit_test(a_starved_one_gets_its_share),
		cmocka_unit_test(one_after_another_waits_once),
		cmocka_unit_test(one_grain_is_no_release),
		cmocka_unit_test(none_begins_at_the_end),
		cmocka_unit_test(no_share_no_slice),
		cmocka_unit_test(who_is_waited_for_is_as_any_other),
		cmocka_unit_test(a_source_that_fails_is_no_release),
		cmocka_unit_test(its_function_stops_with_it),
		cmocka_unit_test(without_a_gate_nothing_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
