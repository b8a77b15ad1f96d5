/* SPDX-License-Identifier: Apache-2.0 */
/* Charges are conserved, turns go by weight and cost, nobody starves: random scripts against what
 * must hold. */
#include "tests/unit/test.h"

#include <string.h>

#include "meter/lif.h"

#define LIFS 8

static uint64_t rng_state = 7;

static uint32_t rng(uint32_t below)
{
	rng_state = rng_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(rng_state >> 33) % below;
}

static void free_all(struct lcm_lif *l[LIFS])
{
	for (int i = 0; i < LIFS; i++)
		lcm_lif_unref(l[i]);
}

static void make_all(struct lcm_lif *l[LIFS])
{
	for (int i = 0; i < LIFS; i++) {
		l[i] = lcm_lif_new();
		assert_non_null(l[i]);
		assert_int_equal(l[i]->weight, LCM_LIF_WEIGHT);
	}
}

static void add(struct lcm_lif_cost *to, const struct lcm_lif_cost *c)
{
	uint64_t *x = (uint64_t *)to;
	const uint64_t *y = (const uint64_t *)c;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*x); i++)
		x[i] += y[i];
}

/* The accounts of all LIFs and of nobody make up the totals, and the totals what was charged. */
static void charges_are_conserved(void **state)
{
	struct lcm_lif_cost given = { 0 }, sum = { 0 };
	struct lcm_lifs all = { 0 };
	struct lcm_lif *l[LIFS], *who[LIFS];

	(void)state;
	make_all(l);
	for (int step = 0; step < 20000; step++) {
		struct lcm_lif_cost c = { .requests = 1,
					  .fetched_bytes = rng(1 << 20),
					  .decoded_bytes = rng(1 << 20),
					  .written_bytes = rng(1 << 20),
					  .decode_ns = rng(1000000),
					  .write_ns = rng(1000000),
					  .queue_ns = rng(1000000),
					  .fetch_ns = rng(1000000) };
		size_t n = 0;

		for (int i = 0; i < LIFS; i++)
			if (rng(3) == 0)
				who[n++] = l[i];
		if (rng(2)) {
			lcm_lif_charge(&all, who, n, &c, "/x");
			/* waits are each one's own */
			c.queue_ns *= LCM_MAX(n, (size_t)1);
			c.fetch_ns *= LCM_MAX(n, (size_t)1);
			c.requests *= LCM_MAX(n, (size_t)1);
			add(&given, &c);
		} else {
			lcm_lif_charge_background(&all, who, n, &c);
		}
	}
	for (int i = 0; i < LIFS; i++)
		add(&sum, &l[i]->demand);
	add(&sum, &all.nobody_demand);
	assert_memory_equal(&sum, &all.demand, sizeof(sum));
	assert_memory_equal(&given, &all.demand, sizeof(sum));
	memset(&sum, 0, sizeof(sum));
	for (int i = 0; i < LIFS; i++)
		add(&sum, &l[i]->background);
	add(&sum, &all.nobody_background);
	assert_int_equal(sum.fetched_bytes, all.background.fetched_bytes);
	assert_int_equal(sum.decode_ns, all.background.decode_ns);
	assert_int_equal(sum.written_bytes, all.background.written_bytes);
	free_all(l);
}

/* One transfer at a time, all of them always asking: @bytes[i] and @ns[i] for each of a LIF's. */
static void saturate(struct lcm_lif *l[LIFS], int n, const uint64_t *bytes, const uint64_t *decode,
		     int turns, double cost[LIFS])
{
	struct lcm_lifs all = { .ns_per_byte = 10 };

	for (int i = 0; i < n; i++) {
		cost[i] = 0;
		lcm_lif_enter(&all, l[i]);
	}
	for (int t = 0; t < turns; t++) {
		struct lcm_lif_cost c;
		uint64_t estimate;
		int at = 0;

		for (int i = 1; i < n; i++)
			if (lcm_lif_before(&all, l[i], l[at]))
				at = i;
		c = (struct lcm_lif_cost){ .requests = 1,
					   .fetched_bytes = bytes[at],
					   .decode_ns = decode[at] };
		estimate = lcm_lif_start(&all, l[at], bytes[at]);
		lcm_lif_end(l[at], estimate);
		lcm_lif_charge(&all, &l[at], 1, &c, NULL);
		cost[at] += (double)bytes[at] * 10 + (double)decode[at];
	}
}

static void shares_follow_weights(void **state)
{
	static const uint64_t bytes[LIFS] = { 1000, 1000, 1000 }, none[LIFS] = { 0 };
	struct lcm_lif *l[LIFS];
	double cost[LIFS];

	(void)state;
	make_all(l);
	l[1]->weight = 200;
	l[2]->weight = 400;
	saturate(l, 3, bytes, none, 7000, cost);
	assert_true(cost[1] > cost[0] * 1.95 && cost[1] < cost[0] * 2.05);
	assert_true(cost[2] > cost[0] * 3.9 && cost[2] < cost[0] * 4.1);
	free_all(l);
}

/* Equal cost, not an equal number: large files and slow ones get fewer turns. Jain's index of the
 * costs. */
static void costly_ones_get_fewer_turns(void **state)
{
	static const uint64_t bytes[LIFS] = { 100, 1000, 10000, 500, 500, 500, 500, 500 },
			      decode[LIFS] = { 0, 0, 0, 100000, 50000, 20000, 1000, 0 };
	struct lcm_lif *l[LIFS];
	double cost[LIFS], sum = 0, squares = 0;

	(void)state;
	make_all(l);
	saturate(l, LIFS, bytes, decode, 400000, cost);
	for (int i = 0; i < LIFS; i++) {
		sum += cost[i];
		squares += cost[i] * cost[i];
	}
	assert_true(sum * sum / (LIFS * squares) > 0.99);
	assert_true(l[2]->demand.requests * 50 < l[0]->demand.requests);
	assert_true(l[3]->demand.requests * 10 < l[7]->demand.requests);
	free_all(l);
}

/* One that was idle gets the very next turn, and no more than its share for having been idle. */
static void idle_time_is_not_saved(void **state)
{
	struct lcm_lifs all = { .ns_per_byte = 1 };
	struct lcm_lif *l[LIFS];
	uint64_t clock;

	(void)state;
	make_all(l);
	lcm_lif_enter(&all, l[0]);
	for (int i = 0; i < 1000; i++) {
		struct lcm_lif_cost c = { .fetched_bytes = 1000 };

		lcm_lif_end(l[0], lcm_lif_start(&all, l[0], 1000));
		lcm_lif_charge(&all, l, 1, &c, NULL);
	}
	lcm_lif_enter(&all, l[1]);
	assert_true(lcm_lif_before(&all, l[1], l[0]));
	assert_int_equal(l[1]->clock, all.clock);
	assert_true(l[0]->clock - l[1]->clock <= 1000);
	clock = l[1]->clock;
	lcm_lif_leave(l[1]);
	lcm_lif_enter(&all, l[1]);
	assert_int_equal(l[1]->clock, clock);
	/* transfers in flight count before they are over */
	(void)lcm_lif_start(&all, l[1], 5000);
	assert_true(lcm_lif_before(&all, l[0], l[1]));
	assert_int_equal(l[1]->spans, 1);
	free_all(l);
}

/* With random weights, costs and comings and goings nobody who asks waits for long. */
static void nobody_starves(void **state)
{
	struct lcm_lifs all = { 0 };
	struct lcm_lif *l[LIFS];
	bool asks[LIFS] = { 0 };
	int since[LIFS] = { 0 };

	(void)state;
	make_all(l);
	for (int i = 0; i < LIFS; i++)
		l[i]->weight = 50 + rng(150);
	for (int t = 0; t < 200000; t++) {
		int who = (int)rng(LIFS), at = -1;
		struct lcm_lif_cost c = { .fetched_bytes = 1000 + rng(1000),
					  .decode_ns = rng(100000) };

		if (asks[who] != (rng(4) != 0)) {
			asks[who] = !asks[who];
			if (asks[who])
				lcm_lif_enter(&all, l[who]);
			else
				lcm_lif_leave(l[who]);
			since[who] = t;
		}
		for (int i = 0; i < LIFS; i++)
			if (asks[i] && (at < 0 || lcm_lif_before(&all, l[i], l[at])))
				at = i;
		if (at < 0)
			continue;
		lcm_lif_end(l[at], lcm_lif_start(&all, l[at], c.fetched_bytes));
		lcm_lif_charge(&all, &l[at], 1, &c, NULL);
		since[at] = t;
		for (int i = 0; i < LIFS; i++)
			assert_true(!asks[i] || t - since[i] < 100);
	}
	free_all(l);
}

static void the_worst_are_remembered(void **state)
{
	struct lcm_lifs all = { 0 };
	struct lcm_lif *l[LIFS];
	char path[400];

	(void)state;
	make_all(l);
	for (uint64_t i = 0; i < 1000; i++) {
		struct lcm_lif_cost c = { .queue_ns = i * 7919 % 1000 };

		(void)snprintf(path, sizeof(path), "/%0300d/%d", 0, (int)(i * 7919 % 1000));
		lcm_lif_charge(&all, l, 1, &c, path);
	}
	assert_int_equal(l[0]->n_worst, LCM_LIF_WORST);
	for (uint32_t i = 0; i < LCM_LIF_WORST; i++) {
		(void)snprintf(path, sizeof(path), "0/%u", 999 - i);
		assert_int_equal(l[0]->worst[i].cost.queue_ns, 999 - i);
		assert_int_equal(strlen(l[0]->worst[i].path), sizeof(l[0]->worst[i].path) - 1);
		assert_non_null(strstr(l[0]->worst[i].path, path));
	}
	free_all(l);
}

/* A big file is read in many pieces; names are not cut within a character. */
static void a_file_is_remembered_once(void **state)
{
	struct lcm_lifs all = { 0 };
	struct lcm_lif *l[LIFS];
	char path[402] = "";

	(void)state;
	make_all(l);
	for (int i = 0; i < 200; i++)
		memcpy(path + strlen(path), "\xc3\xa9", 3);
	for (uint64_t i = 0; i < 300; i++) {
		struct lcm_lif_cost c = { .queue_ns = i * 7 % 300 };

		lcm_lif_charge(&all, l, 1, &c, i % 3 ? path : "/other");
	}
	assert_int_equal(l[0]->n_worst, 2);
	assert_int_equal(l[0]->worst[0].cost.queue_ns, 299);
	assert_string_equal(l[0]->worst[0].path, path + 400 - 158);
	assert_string_equal(l[0]->worst[1].path, "/other");
	assert_int_equal(l[0]->worst[1].cost.queue_ns, 297);
	free_all(l);
}

static void rates_are_measured(void **state)
{
	struct lcm_lifs all = { 0 };

	(void)state;
	lcm_lifs_measured(&all, 0, 1000);
	assert_true(all.ns_per_byte == 0);
	lcm_lifs_measured(&all, 1000, 50000);
	assert_true(all.ns_per_byte == 50);
	for (int i = 0; i < 100; i++)
		lcm_lifs_measured(&all, 1 << 20, 10 << 20);
	assert_true(all.ns_per_byte > 9.9 && all.ns_per_byte < 10.1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(charges_are_conserved),
		cmocka_unit_test(shares_follow_weights),
		cmocka_unit_test(costly_ones_get_fewer_turns),
		cmocka_unit_test(idle_time_is_not_saved),
		cmocka_unit_test(nobody_starves),
		cmocka_unit_test(the_worst_are_remembered),
		cmocka_unit_test(a_file_is_remembered_once),
		cmocka_unit_test(rates_are_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
