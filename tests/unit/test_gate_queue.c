/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's queue, map and lookup counts against naive models, driven by
 * deterministic random operations.
 */
#include "tests/unit/test.h"

#include "fuse/bound.h"
#include "fuse/queue.h"

#define IDS 400
#define FILES 24
#define STEPS 200000

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
	rng_state = rng_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(rng_state >> 33) % below;
}

/* What the queue should hold. */
struct model {
	struct {
		bool in;
		uint32_t file; /* entry; the layer is entry % 3 */
		uint32_t len;
		uint64_t since, signalled, order;
	} w[IDS]; /* by id - 1 */
	struct {
		bool told;    /* what the fetch side believes */
		bool telling; /* a thread is in the callback */
	} f[FILES];
	uint64_t clock, order;
	uint32_t count, peak;
};

static uint32_t model_waiters(const struct model *m, uint32_t file)
{
	uint32_t n = 0;

	for (int i = 0; i < IDS; i++)
		n += m->w[i].in && !m->w[i].len && m->w[i].file == file;
	return n;
}

static void model_drop(struct model *m, struct lcm_waiter *w)
{
	uint32_t i = (uint32_t)w->id.key - 1;

	assert_true(i < IDS);
	assert_true(m->w[i].in);
	assert_ptr_equal(w->req, &m->w[i]);
	assert_int_equal(w->entry, m->w[i].file);
	m->w[i].in = false;
	m->count--;
	free(w);
}

/* One round of the loop that lcm_queue_tell() documents; @again: the callback of this file
 * returned. */
static void tell(struct model *m, struct lcm_queue *q, uint32_t file, bool again)
{
	bool has = model_waiters(m, file) != 0;
	enum lcm_queue_tell what = lcm_queue_tell(q, file % 3, file, again, false);

	if (m->f[file].telling && !again) {
		assert_int_equal(what, LCM_TELL_NOTHING);
		return;
	}
	assert_int_equal(what, has == m->f[file].told ? LCM_TELL_NOTHING
			       : has                  ? LCM_TELL_WANT
						      : LCM_TELL_UNWANT);
	m->f[file].told = has;
	m->f[file].telling = what != LCM_TELL_NOTHING;
}

static void step_add(struct model *m, struct lcm_queue *q)
{
	uint32_t i = rng(IDS), file = rng(FILES);
	struct lcm_waiter *w = calloc(1, sizeof(*w));
	int r;

	assert_non_null(w);
	w->id.key = i + 1;
	w->req = &m->w[i];
	w->layer = file % 3;
	w->entry = file;
	w->len = rng(3) ? 0 : 4096;
	r = lcm_queue_add(q, w);
	if (m->w[i].in) {
		assert_int_equal(r, -EEXIST);
		free(w);
		return;
	}
	assert_int_equal(r, 0);
	m->w[i].in = true;
	m->w[i].file = file;
	m->w[i].len = w->len;
	m->w[i].since = w->since;
	m->w[i].signalled = 0;
	m->w[i].order = ++m->order;
	m->count++;
	m->peak = LCM_MAX(m->peak, m->count);
	if (!w->len && rng(8))
		tell(m, q, file, false);
}

static void step_take(struct model *m, struct lcm_queue *q)
{
	uint32_t i = rng(IDS);
	struct lcm_waiter *w = lcm_queue_take(q, i + 1);

	assert_int_equal(w != NULL, m->w[i].in);
	if (!w)
		return;
	model_drop(m, w);
	if (!m->w[i].len && rng(8))
		tell(m, q, m->w[i].file, false);
}

static void step_done(struct model *m, struct lcm_queue *q)
{
	uint32_t file = rng(FILES), want = model_waiters(m, file);
	struct lcm_waiter *w = lcm_queue_take_file(q, file % 3, file), *next;
	uint64_t order = 0;

	for (; w; w = next, want--) {
		next = w->next;
		assert_true(m->w[w->id.key - 1].order > order);
		order = m->w[w->id.key - 1].order;
		model_drop(m, w);
	}
	assert_int_equal(want, 0);
	m->f[file].told = false;
}

/* The deadline is everybody's, and may change while they wait. */
static void step_expire(struct model *m, struct lcm_queue *q)
{
	uint64_t oldest = 0, soonest, now;
	struct lcm_waiter *w, *next;

	q->deadline_ns = rng(3) ? 1 + rng(1000000) : 0;
	w = lcm_queue_find(q, 1 + rng(IDS));
	now = w && rng(8) == 0 ? w->since + q->deadline_ns : lcm_queue_oldest(q) + q->deadline_ns;
	for (w = lcm_queue_take_expired(q, now); w; w = next) {
		next = w->next;
		assert_true(q->deadline_ns && w->since + q->deadline_ns <= now);
		model_drop(m, w);
	}
	for (int i = 0; i < IDS; i++)
		if (m->w[i].in && (!oldest || m->w[i].since < oldest))
			oldest = m->w[i].since;
	assert_int_equal(lcm_queue_oldest(q), oldest);
	soonest = oldest && q->deadline_ns ? oldest + q->deadline_ns : 0;
	assert_true(soonest == 0 || soonest > now);
	assert_int_equal(lcm_queue_next_deadline(q), soonest);
}

static void step_signal(struct model *m, struct lcm_queue *q)
{
	uint32_t i = rng(IDS), n = 0;
	struct lcm_waiter *w = lcm_queue_find(q, i + 1), *first;

	assert_int_equal(w != NULL, m->w[i].in);
	if (w && rng(4) == 0) {
		lcm_queue_signal(q, w, ++m->clock);
		if (!m->w[i].signalled)
			m->w[i].signalled = m->clock;
		assert_int_equal(w->signalled, m->w[i].signalled);
	}
	for (i = 0; i < IDS; i++)
		n += m->w[i].in && m->w[i].signalled;
	assert_int_equal(q->n_signalled, n);
	/* A full turn returns each once and then the first again. */
	first = lcm_queue_signalled(q);
	assert_int_equal(first != NULL, n != 0);
	for (i = 1; i < n; i++)
		assert_ptr_not_equal(lcm_queue_signalled(q), first);
	if (n)
		assert_ptr_equal(lcm_queue_signalled(q), first);
}

static void step_tell(struct model *m, struct lcm_queue *q)
{
	uint32_t file = rng(FILES);

	tell(m, q, file, m->f[file].telling);
}

static void queue_equals_model(void **state)
{
	static void (*const steps[])(struct model *, struct lcm_queue *) = {
		step_add,  step_add,    step_add,  step_take, step_take,
		step_done, step_expire, step_tell, step_tell,
	};
	struct model *m = calloc(1, sizeof(*m));
	struct lcm_queue q;

	(void)state;
	assert_non_null(m);
	rng_state = 42;
	assert_int_equal(lcm_queue_init(&q), 0);
	for (int i = 0; i < STEPS; i++) {
		steps[rng(LCM_ARRAY_SIZE(steps))](m, &q);
		if (i % 16 == 0)
			step_signal(m, &q);
		assert_int_equal(lcm_queue_count(&q), m->count);
		assert_int_equal(q.peak, m->peak);
	}
	assert_true(m->peak > 40);
	/* Quiet: every file's belief is brought up to date, and no file record stays for nothing.
	 */
	for (uint32_t file = 0; file < FILES; file++)
		while (tell(m, &q, file, m->f[file].telling), m->f[file].telling)
			;
	for (struct lcm_waiter *w = lcm_queue_take_all(&q), *next; w; w = next) {
		next = w->next;
		model_drop(m, w);
	}
	assert_int_equal(m->count, 0);
	for (uint32_t file = 0; file < FILES; file++)
		while (tell(m, &q, file, m->f[file].telling), m->f[file].telling)
			;
	assert_int_equal(q.files.n, 0);
	assert_int_equal(q.n_signalled, 0);
	assert_null(q.first);
	assert_null(q.last);
	lcm_queue_fini(&q);
	free(m);
}

/* want, then interrupt, then a new waiter while "unwant" is still being told: "want" follows, never
 * overtakes. */
static void telling_keeps_order(void **state)
{
	struct lcm_waiter *w = calloc(1, sizeof(*w));
	struct lcm_queue q;

	(void)state;
	assert_non_null(w);
	assert_int_equal(lcm_queue_init(&q), 0);
	w->id.key = 7;
	assert_int_equal(lcm_queue_add(&q, w), 0);
	assert_int_equal(lcm_queue_tell(&q, 0, 0, false, false), LCM_TELL_WANT);
	assert_int_equal(lcm_queue_tell(&q, 0, 0, true, false), LCM_TELL_NOTHING);
	assert_ptr_equal(lcm_queue_take(&q, 7), w);
	assert_null(lcm_queue_take(&q, 7));
	assert_int_equal(lcm_queue_tell(&q, 0, 0, false, false), LCM_TELL_UNWANT);
	*w = (struct lcm_waiter){ .id.key = 8 };
	assert_int_equal(lcm_queue_add(&q, w), 0);
	assert_int_equal(lcm_queue_tell(&q, 0, 0, false, false), LCM_TELL_NOTHING);
	assert_int_equal(lcm_queue_tell(&q, 0, 0, true, false), LCM_TELL_WANT);
	/* done while "want" is being told: answered, and nothing is left to tell. */
	assert_ptr_equal(lcm_queue_take_file(&q, 0, 0), w);
	assert_int_equal(lcm_queue_tell(&q, 0, 0, true, false), LCM_TELL_NOTHING);
	assert_int_equal(q.files.n, 0);
	lcm_queue_fini(&q);
	free(w);
}

static void count_nodes(void *arg, struct lcm_map_node *node)
{
	(void)node;
	++*(size_t *)arg;
}

static void map_grows(void **state)
{
	const size_t n = 5000;
	struct lcm_map_node *nodes = calloc(n, sizeof(*nodes));
	struct lcm_map m;
	size_t seen = 0;

	(void)state;
	assert_non_null(nodes);
	assert_int_equal(lcm_map_init(&m), 0);
	for (size_t i = 0; i < n; i++) {
		nodes[i].key = (uint64_t)i << (i % 2 ? 32 : 0);
		assert_null(lcm_map_find(&m, nodes[i].key));
		lcm_map_add(&m, &nodes[i]);
	}
	lcm_map_each(&m, count_nodes, &seen);
	assert_int_equal(seen, n);
	assert_true((size_t)1 << m.bits >= n / 2);
	for (size_t i = 0; i < n; i += 2)
		lcm_map_del(&m, &nodes[i]);
	for (size_t i = 0; i < n; i++)
		assert_ptr_equal(lcm_map_find(&m, nodes[i].key), i % 2 ? &nodes[i] : NULL);
	assert_int_equal(m.n, n / 2);
	lcm_map_fini(&m);
	free(nodes);
}

static void sum_nlookup(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup)
{
	(void)layer;
	(void)entry;
	*(uint64_t *)arg += nlookup;
}

static void bound_equals_model(void **state)
{
	uint64_t model[FILES] = { 0 };
	struct lcm_bound b;

	(void)state;
	rng_state = 7;
	assert_int_equal(lcm_bound_init(&b), 0);
	for (int i = 0; i < STEPS / 4; i++) {
		uint32_t file = rng(FILES), bound = 0, seen = 0, l, e;
		uint64_t n = rng(4), sum = 0, want = 0;

		if (rng(2)) {
			assert_int_equal(lcm_bound_add(&b, file % 3, file), 0);
			model[file]++;
		} else {
			bool had = model[file] != 0, last;

			model[file] -= LCM_MIN(n, model[file]);
			last = lcm_bound_sub(&b, file % 3, file, n);
			assert_int_equal(last, had && lcm_bound_count(&b) == 0);
		}
		for (int k = 0; k < FILES; k++) {
			bound += model[k] != 0;
			want += model[k];
		}
		assert_int_equal(lcm_bound_count(&b), bound);
		assert_int_equal(lcm_bound_nlookup(&b, file % 3, file), model[file]);
		lcm_bound_each(&b, sum_nlookup, &sum);
		assert_int_equal(sum, want);
		if (i % 64)
			continue;
		for (lcm_bound_round(&b); lcm_bound_visit(&b, &l, &e); seen++)
			assert_true(l == e % 3 && model[e]);
		assert_int_equal(seen, bound);
	}
	lcm_bound_fini(&b);
}

/* A file bound in the middle of a round is visited in it, none twice. */
static void bound_visits_newcomers(void **state)
{
	struct lcm_bound b;
	uint32_t l, e;

	(void)state;
	assert_int_equal(lcm_bound_init(&b), 0);
	assert_int_equal(lcm_bound_add(&b, 0, 1), 0);
	assert_int_equal(lcm_bound_add(&b, 0, 2), 0);
	lcm_bound_round(&b);
	assert_true(lcm_bound_visit(&b, &l, &e));
	assert_int_equal(lcm_bound_add(&b, 0, 3), 0);
	assert_true(lcm_bound_visit(&b, &l, &e));
	assert_true(lcm_bound_visit(&b, &l, &e));
	assert_false(lcm_bound_visit(&b, &l, &e));
	lcm_bound_fini(&b);
}

/* The worst of any series of waits, each for another file, and sums for files that wait again. */
static void blocked_keeps_the_worst(void **state)
{
	struct lcm_blocked b = { .n = 0 };

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		lcm_blocked_add(&b, i % 3, i, 1 + (uint64_t)i * 7919 % 1000);
	assert_int_equal(b.n, LCM_GATE_BLOCKED_MAX);
	for (uint32_t i = 0; i < b.n; i++) {
		assert_int_equal(b.worst[i].wait_ns, 1000 - i);
		assert_int_equal(1 + (uint64_t)b.worst[i].entry * 7919 % 1000, 1000 - i);
		assert_int_equal(b.worst[i].layer, b.worst[i].entry % 3);
	}
	lcm_blocked_add(&b, b.worst[9].layer, b.worst[9].entry, 20);
	assert_int_equal(b.worst[0].wait_ns, 1011);
	assert_int_equal(b.worst[0].waits, 2);
	assert_int_equal(b.worst[9].wait_ns, 992);
}

/* A crowd at one file is one wait; the time in which anybody waits counts once. */
static void queue_charges_files(void **state)
{
	struct lcm_waiter *w, *next;
	struct lcm_queue q;
	uint64_t start = lcm_now_ns(), took;

	(void)state;
	assert_int_equal(lcm_queue_init(&q), 0);
	for (uint64_t id = 1; id <= 4; id++) {
		w = calloc(1, sizeof(*w));
		assert_non_null(w);
		w->id.key = id;
		w->entry = id == 4 ? 8 : 7;
		w->len = id == 4 ? 4096 : 0;
		assert_int_equal(lcm_queue_add(&q, w), 0);
	}
	free(lcm_queue_take(&q, 2));
	assert_int_equal(q.blocked.n, 0);
	for (w = lcm_queue_take_file(&q, 0, 7); w; w = next) {
		next = w->next;
		free(w);
	}
	assert_int_equal(q.blocked.n, 1);
	assert_int_equal(q.busy_ns, 0);
	free(lcm_queue_take(&q, 4));
	took = lcm_now_ns() - start;
	assert_int_equal(q.blocked.n, 2);
	assert_true(q.busy_ns > 0 && q.busy_ns <= took);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(q.blocked.worst[i].waits, 1);
		assert_true(q.blocked.worst[i].wait_ns > 0 &&
			    q.blocked.worst[i].wait_ns <= q.busy_ns);
	}
	lcm_queue_fini(&q);
}

/* What the kernel holds from before: any forget ends it, and so does its word that it does not. */
static void held_files_are_bound(void **state)
{
	struct lcm_bound b;

	(void)state;
	assert_int_equal(lcm_bound_init(&b), 0);
	assert_int_equal(lcm_bound_hold(&b, 0, 1), 0);
	assert_int_equal(lcm_bound_hold(&b, 0, 1), 0);
	assert_int_equal(lcm_bound_nlookup(&b, 0, 1), 1);
	assert_int_equal(lcm_bound_add(&b, 0, 1), 0);
	assert_int_equal(lcm_bound_count(&b), 1);
	assert_true(lcm_bound_sub(&b, 0, 1, 7));
	assert_int_equal(lcm_bound_hold(&b, 0, 1), 0);
	assert_true(lcm_bound_sub(&b, 0, 1, 1));
	/* one that is counted is not held besides, and stays when the kernel is asked too early */
	assert_int_equal(lcm_bound_add(&b, 2, 3), 0);
	assert_int_equal(lcm_bound_hold(&b, 2, 3), 0);
	assert_int_equal(lcm_bound_nlookup(&b, 2, 3), 1);
	assert_false(lcm_bound_unhold(&b, 2, 3));
	assert_int_equal(lcm_bound_nlookup(&b, 2, 3), 1);
	assert_true(lcm_bound_sub(&b, 2, 3, 1));
	assert_int_equal(lcm_bound_hold(&b, 2, 3), 0);
	assert_true(lcm_bound_unhold(&b, 2, 3));
	assert_false(lcm_bound_unhold(&b, 2, 3));
	lcm_bound_fini(&b);
}

/* During a hold nobody is told to fetch; that nobody waits any more is told. */
static void a_hold_tells_no_want(void **state)
{
	struct lcm_waiter *w = calloc(1, sizeof(*w)), *v = calloc(1, sizeof(*v));
	struct lcm_queue q;

	(void)state;
	assert_true(w && v);
	assert_int_equal(lcm_queue_init(&q), 0);
	w->id.key = 1;
	w->entry = 7;
	assert_int_equal(lcm_queue_add(&q, w), 0);
	assert_int_equal(lcm_queue_tell(&q, 0, 7, false, true), LCM_TELL_NOTHING);
	assert_int_equal(lcm_queue_tell(&q, 0, 7, false, false), LCM_TELL_WANT);
	assert_int_equal(lcm_queue_tell(&q, 0, 7, true, false), LCM_TELL_NOTHING);
	free(lcm_queue_take(&q, 1));
	assert_int_equal(lcm_queue_tell(&q, 0, 7, false, true), LCM_TELL_UNWANT);
	assert_int_equal(lcm_queue_tell(&q, 0, 7, true, true), LCM_TELL_NOTHING);
	v->id.key = 2;
	v->entry = 7;
	assert_int_equal(lcm_queue_add(&q, v), 0);
	assert_int_equal(lcm_queue_tell(&q, 0, 7, false, true), LCM_TELL_NOTHING);
	free(lcm_queue_take_file(&q, 0, 7));
	assert_int_equal(lcm_queue_count(&q), 0);
	lcm_queue_fini(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_equals_model),
		cmocka_unit_test(telling_keeps_order),
		cmocka_unit_test(map_grows),
		cmocka_unit_test(bound_equals_model),
		cmocka_unit_test(bound_visits_newcomers),
		cmocka_unit_test(held_files_are_bound),
		cmocka_unit_test(a_hold_tells_no_want),
		cmocka_unit_test(blocked_keeps_the_worst),
		cmocka_unit_test(queue_charges_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
