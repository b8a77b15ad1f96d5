/* SPDX-License-Identifier: Apache-2.0 */
/* Who is loaded, who gets work, and what moves: the order of decision, and that nothing ping-pongs.
 */
#include "registry/score.h"

#include "tests/unit/test.h"

#define SECOND 1000000000ULL

static uint64_t rnd_state = 88172645463325252ULL;

static uint64_t rnd(void)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state;
}

/* A host with this score; history alone makes it. */
static struct lcm_load of_score(uint32_t score)
{
	return (struct lcm_load){ .latency_ms = score * 4 };
}

static void test_score(void **state)
{
	static const struct {
		struct lcm_load l;
		uint64_t more;
		uint32_t want;
	} rows[] = {
		{ { 0 }, 0, LCM_SCORE_IDLE },
		{ { .latency_ms = 399 }, 0, LCM_SCORE_IDLE },
		/* The queue counts three times the history. */
		{ { .in_flight = 4000, .bps = 1000 }, 0, 3000 },
		{ { .latency_ms = 4000 }, 0, 1000 },
		{ { .errors = 400 }, 0, 1000 },
		{ { .in_flight = 4000, .bps = 1000, .latency_ms = 2000, .errors = 200 }, 0, 4000 },
		{ { .in_flight = 3000, .bps = 1000 }, 1000, 3000 },
		{ { .in_flight = LCM_SCORE_UNKNOWN_BPS }, 0, 750 },
		{ { .in_flight = UINT64_MAX,
		    .bps = 1,
		    .latency_ms = UINT32_MAX,
		    .errors = UINT32_MAX },
		  UINT64_MAX,
		  UINT32_MAX },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		assert_int_equal(lcm_score(&rows[i].l, rows[i].more), rows[i].want);
	/* More to bring, slower, longer to answer, more failures: never a lower score. */
	for (int i = 0; i < 10000; i++) {
		struct lcm_load l = { .in_flight = rnd() >> (rnd() % 64),
				      .bps = 1 + (rnd() >> (rnd() % 64)) / 2,
				      .latency_ms = (uint32_t)rnd() >> (rnd() % 32),
				      .errors = (uint32_t)(rnd() % 1001) };
		uint32_t s = lcm_score(&l, 0);
		struct lcm_load worse[] = { l, l, l, l };

		worse[0].in_flight += worse[0].in_flight < UINT64_MAX / 2 ? rnd() >> 32 : 0;
		worse[1].bps = worse[1].bps / 2 + 1 <= worse[1].bps ? worse[1].bps / 2 + 1 : l.bps;
		worse[2].latency_ms += worse[2].latency_ms < UINT32_MAX / 2 ? 1000 : 0;
		worse[3].errors++;
		for (size_t k = 0; k < LCM_ARRAY_SIZE(worse); k++)
			assert_true(lcm_score(&worse[k], 0) >= s);
	}
}

/* Each question is asked only when those before it let it through. */
static void test_order_of_decision(void **state)
{
	const uint64_t now = 100 * SECOND, fresh = now - LCM_SCORE_REST_NS + 1,
		       old = now - LCM_SCORE_REST_NS;
	const struct {
		uint32_t scores[3];
		size_t n;
		uint64_t moved_ns;
		enum lcm_balance want;
	} rows[] = {
		{ { 0 }, 0, 0, LCM_BALANCE_ALONE },
		{ { 20000 }, 1, 0, LCM_BALANCE_ALONE },
		{ { 10000, 90000 }, 2, fresh, LCM_BALANCE_OVERLOADED },
		{ { 10000, 10000, 10000 }, 3, 0, LCM_BALANCE_OVERLOADED },
		{ { 9999, 90000 }, 2, fresh, LCM_BALANCE_RESTING },
		{ { 9999, 90000 }, 2, old, LCM_BALANCE_FULL },
		{ { 0, 0 }, 2, fresh, LCM_BALANCE_LEVEL },
		/* At the threshold nothing moves, one above it does. */
		{ { 1000, 700 }, 2, fresh, LCM_BALANCE_LEVEL },
		{ { 1000, 699 }, 2, fresh, LCM_BALANCE_RESTING },
		{ { 9000, 6300 }, 2, fresh, LCM_BALANCE_LEVEL },
		{ { 9000, 6299 }, 2, fresh, LCM_BALANCE_RESTING },
		{ { 1000, 800, 699 }, 3, old, LCM_BALANCE_FULL },
		{ { 1000, 0 }, 2, 0, LCM_BALANCE_FULL },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_balance_host h[3] = { { .piece = 0 } };
		struct lcm_decision d;

		for (size_t k = 0; k < rows[i].n; k++)
			h[k].load = of_score(rows[i].scores[k]);
		d = lcm_balance(h, rows[i].n, rows[i].moved_ns, now);
		assert_int_equal(d.what, rows[i].want);
	}
}

static void test_move(void **state)
{
	/* 3000 and 750, 1500 after the move: level enough. */
	struct lcm_balance_host h[] = {
		{ .load = { .in_flight = 1000, .bps = 1000 }, .piece = 1000 },
		{ .load = { .in_flight = 4000, .bps = 1000 }, .piece = 1000 },
	};
	struct lcm_decision d = lcm_balance(h, 2, 0, SECOND);

	(void)state;
	assert_int_equal(d.what, LCM_BALANCE_MOVE);
	assert_int_equal(d.from, 1);
	assert_int_equal(d.to, 0);
	assert_int_equal(d.hi, 3000);
	assert_int_equal(d.lo, 750);
	assert_int_equal(d.spread, 750);
	/* All that it has: they would only change places. */
	h[1].piece = 4000;
	assert_int_equal(lcm_balance(h, 2, 0, SECOND).what, LCM_BALANCE_FULL);
	/* Not to where it would be too much. */
	h[0].load.in_flight = 12000;
	h[1].load.in_flight = 40000;
	h[1].piece = 2000;
	assert_int_equal(lcm_balance(h, 2, 0, SECOND).what, LCM_BALANCE_FULL);
	h[1].piece = 1000;
	assert_int_equal(lcm_balance(h, 2, 0, SECOND).what, LCM_BALANCE_MOVE);
}

static struct lcm_balance_host random_host(void)
{
	struct lcm_balance_host h = { .load = { .in_flight = rnd() % (64U << 20),
						.bps = rnd() % 4 ? (50U << 20) >> (rnd() % 10) : 0,
						.latency_ms = (uint32_t)(rnd() % 2000),
						.errors = (uint32_t)(rnd() % 300) } };

	h.piece = rnd() % 4 ? h.load.in_flight / (1 + rnd() % 8) : 0;
	return h;
}

/* Whatever the loads are. */
static void test_properties(void **state)
{
	unsigned int seen[LCM_BALANCE_MAX] = { 0 };

	(void)state;
	for (int i = 0; i < 100000; i++) {
		struct lcm_balance_host h[4], turned[4];
		size_t n = 1 + rnd() % 4, overloaded = 0;
		struct lcm_decision d, t;

		for (size_t k = 0; k < n; k++) {
			h[k] = random_host();
			overloaded += lcm_score(&h[k].load, 0) >= LCM_SCORE_OVERLOAD;
		}
		for (size_t k = 0; k < n; k++)
			turned[k] = h[(k + 1) % n];
		d = lcm_balance(h, n, 0, SECOND);
		t = lcm_balance(turned, n, 0, SECOND);
		seen[d.what]++;
		/* Equal on every observer, in whatever order it knows the hosts. */
		assert_true(d.hi == t.hi && d.lo == t.lo && d.spread == t.spread);
		assert_int_equal(d.what == LCM_BALANCE_OVERLOADED, n > 1 && overloaded == n);
		for (size_t k = 0; k < n; k++)
			assert_true(lcm_score(&h[k].load, 0) <= d.hi &&
				    lcm_score(&h[k].load, 0) >= d.lo);
		if (d.what != LCM_BALANCE_MOVE)
			continue;
		assert_true((uint64_t)(d.hi - d.lo) * 1000 > (uint64_t)d.hi * LCM_SCORE_SPREAD);
		h[d.from].load.in_flight -= h[d.from].piece;
		h[d.to].load.in_flight += h[d.from].piece;
		h[d.to].piece = h[d.from].piece;
		assert_true(lcm_score(&h[d.to].load, 0) < LCM_SCORE_OVERLOAD);
		assert_true(lcm_score(&h[d.from].load, 0) <= d.hi);
		/* And not back. */
		t = lcm_balance(h, n, 0, SECOND);
		assert_false(t.what == LCM_BALANCE_MOVE && t.from == d.to && t.to == d.from);
	}
	for (int k = 0; k < LCM_BALANCE_MAX; k++)
		assert_true(k == LCM_BALANCE_RESTING || seen[k] > 100);
}

static void test_pick(void **state)
{
	const struct lcm_load idle = { 0 }, fast = { .bps = 40U << 20 }, slow = { .bps = 1U << 20 };
	struct lcm_load l[3] = { idle, idle, idle };

	(void)state;
	assert_int_equal(lcm_score_pick(l, 0, 1), 0);
	/* Equals: as they are listed. */
	assert_int_equal(lcm_score_pick(l, 3, 1U << 20), 0);
	/* One is busy, the next gets it. */
	l[0].in_flight = 4U << 20;
	assert_int_equal(lcm_score_pick(l, 3, 4U << 20), 1);
	l[1].in_flight = 4U << 20;
	assert_int_equal(lcm_score_pick(l, 3, 4U << 20), 2);
	l[2].in_flight = 4U << 20;
	assert_int_equal(lcm_score_pick(l, 3, 4U << 20), 0);
	/* A slow one only when the fast one has that much to do. */
	l[0] = fast;
	l[1] = slow;
	assert_int_equal(lcm_score_pick(l, 2, 1U << 20), 0);
	l[0].in_flight = 30U << 20;
	assert_int_equal(lcm_score_pick(l, 2, 1U << 20), 0);
	l[0].in_flight = 100U << 20;
	assert_int_equal(lcm_score_pick(l, 2, 1U << 20), 1);
	/* As good as idle is as good as idle. */
	l[0] = of_score(LCM_SCORE_IDLE);
	l[1] = idle;
	assert_int_equal(lcm_score_pick(l, 2, 0), 0);
	/* A preferred one that is a little worse keeps it. */
	l[0] = of_score(1000);
	l[1] = of_score(700);
	assert_int_equal(lcm_score_pick(l, 2, 0), 0);
	l[1] = of_score(699);
	assert_int_equal(lcm_score_pick(l, 2, 0), 1);
	/* Overloaded ones only when all are. */
	l[0] = of_score(LCM_SCORE_OVERLOAD);
	l[1] = of_score(LCM_SCORE_OVERLOAD - 1);
	assert_int_equal(lcm_score_pick(l, 2, 0), 1);
	l[1] = of_score(LCM_SCORE_OVERLOAD + 1);
	assert_int_equal(lcm_score_pick(l, 2, 0), 0);
}

/* ---- the simulation ---- */

#define STEPS 10000
#define STEP_NS 100000000ULL
#define HOSTS 3
#define JOBS 12
#define JOB_BYTES (64ULL << 20)

struct job {
	size_t at;      /* host */
	uint64_t left;  /* bytes */
	int moved_step; /* -1: never */
	size_t came_from;
};

struct world {
	uint64_t capacity[HOSTS]; /* bytes per second, shared by its jobs */
	uint64_t measured[HOSTS];
	struct job jobs[JOBS];
	uint64_t wanted, got;
	uint64_t moved_ns;
	unsigned int moves, back; /* back: a job went back to where it had come from */
	int last_move;
};

static uint64_t job_weight(const struct job *j)
{
	return LCM_MIN(j->left, LCM_SCORE_WINDOW);
}

static void loads(const struct world *w, struct lcm_balance_host h[HOSTS])
{
	for (size_t i = 0; i < HOSTS; i++)
		h[i] = (struct lcm_balance_host){ .load = { .bps = w->measured[i],
							    .latency_ms = 20 } };
	for (size_t k = 0; k < JOBS; k++) {
		struct lcm_balance_host *on = &h[w->jobs[k].at];

		on->load.in_flight += job_weight(&w->jobs[k]);
		on->piece = LCM_MAX(on->piece, job_weight(&w->jobs[k]));
	}
}

static void new_job(struct world *w, struct job *j)
{
	struct lcm_balance_host h[HOSTS];
	struct lcm_load l[HOSTS];

	*j = (struct job){ .at = j->at, .moved_step = -1 };
	loads(w, h);
	for (size_t i = 0; i < HOSTS; i++)
		l[i] = h[i].load;
	j->left = JOB_BYTES / 2 + rnd() % JOB_BYTES;
	j->at = lcm_score_pick(l, HOSTS, job_weight(j));
	w->wanted += j->left;
}

static void work(struct world *w)
{
	uint64_t users[HOSTS] = { 0 }, done[HOSTS] = { 0 };

	for (size_t k = 0; k < JOBS; k++)
		users[w->jobs[k].at]++;
	for (size_t k = 0; k < JOBS; k++) {
		struct job *j = &w->jobs[k];
		uint64_t share = w->capacity[j->at] / 10 / users[j->at];
		uint64_t n = LCM_MIN(j->left, share);

		j->left -= n;
		w->got += n;
		done[j->at] += n;
	}
	/* What is measured is off by up to a quarter either way, and smoothed. */
	for (size_t i = 0; i < HOSTS; i++) {
		uint64_t rate = done[i] * 10 * (75 + rnd() % 51) / 100;

		if (done[i])
			w->measured[i] = w->measured[i] ? (w->measured[i] * 7 + rate) / 8 : rate;
	}
}

/* The longest job there goes. @naive: whenever it is lighter elsewhere, as if there were no rules.
 */
static void balance(struct world *w, int step, bool naive)
{
	struct lcm_balance_host h[HOSTS];
	struct lcm_decision d;
	struct job *longest = NULL;

	loads(w, h);
	d = lcm_balance(h, HOSTS, w->moved_ns, 1 + (uint64_t)step * STEP_NS);
	if (naive ? d.hi == d.lo : d.what != LCM_BALANCE_MOVE)
		return;
	for (size_t k = 0; k < JOBS; k++)
		if (w->jobs[k].at == d.from && (!longest || w->jobs[k].left > longest->left))
			longest = &w->jobs[k];
	if (!longest)
		return;
	w->back += longest->moved_step >= 0 && longest->came_from == d.to;
	w->moves++;
	w->last_move = step;
	w->moved_ns = 1 + (uint64_t)step * STEP_NS;
	longest->came_from = d.from;
	longest->moved_step = step;
	longest->at = d.to;
}

static uint64_t left(const struct world *w)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < JOBS; k++)
		sum += w->jobs[k].left;
	return sum;
}

/* Hosts are well, one becomes slow, it recovers, another nearly stops. */
static void simulate(struct world *w, bool naive)
{
	uint64_t before = rnd_state;

	rnd_state = 42;
	*w = (struct world){ .capacity = { 40U << 20, 40U << 20, 20U << 20 }, .last_move = -1 };
	for (size_t k = 0; k < JOBS; k++)
		new_job(w, &w->jobs[k]);
	for (int step = 0; step < STEPS; step++) {
		if (step == STEPS / 4)
			w->capacity[0] = 4U << 20;
		if (step == STEPS / 2)
			w->capacity[0] = 40U << 20;
		if (step == STEPS * 3 / 4)
			w->capacity[1] = 1U << 20;
		work(w);
		for (size_t k = 0; k < JOBS; k++)
			if (w->jobs[k].left == 0)
				new_job(w, &w->jobs[k]);
		balance(w, step, naive);
		/* Nothing is lost, nothing comes twice. */
		assert_true(w->got + left(w) == w->wanted);
	}
	rnd_state = before;
}

static void test_simulation(void **state)
{
	struct world w;

	(void)state;
	simulate(&w, false);
	print_message("# %u moves in %d steps, %u back; %llu MB\n", w.moves, STEPS, w.back,
		      (unsigned long long)(w.got >> 20));
	assert_true(w.moves > 0);
	/* Less than one in two seconds of 1000, and none goes back. */
	assert_true(w.moves < STEPS / 20);
	assert_int_equal(w.back, 0);
	/* The same world without the rules, so that the count is known to count. */
	simulate(&w, true);
	print_message("# without rules: %u moves, %u back\n", w.moves, w.back);
	assert_true(w.back > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_score), cmocka_unit_test(test_order_of_decision),
		cmocka_unit_test(test_move),  cmocka_unit_test(test_properties),
		cmocka_unit_test(test_pick),  cmocka_unit_test(test_simulation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
