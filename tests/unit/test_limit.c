/* SPDX-License-Identifier: Apache-2.0 */
/* Thresholds to the unit, both regulations, each way of readmission, live change. */
#include "tests/unit/test.h"

#include "meter/limit.h"

#define S 1000000000ULL
#define T0 (1000 * S)

static struct lcm_limits make(enum lcm_readmit readmit, uint64_t after)
{
	return (struct lcm_limits){
		.v = { { .resource = LCM_RES_REQUESTS, .interval_ns = S, .threshold = 10 },
		       { .resource = LCM_RES_FETCHED_BYTES,
			 .interval_ns = 2 * S,
			 .threshold = 1000 } },
		.n = 2,
		.readmit = readmit,
		.after = after,
	};
}

static void use(struct lcm_limits *l, uint64_t requests, uint64_t bytes, uint64_t now)
{
	const struct lcm_lif_cost c = { .requests = requests, .fetched_bytes = bytes };

	lcm_limits_charge(l, &c, now);
}

static enum lcm_admission ask(struct lcm_limits *l, uint64_t now, uint64_t others)
{
	uint64_t again;

	return lcm_limits_admission(l, now, others, &again);
}

/* As much as the threshold is not regulated, one more is; one metric holds, two reject. */
static void thresholds_are_exact(void **state)
{
	struct lcm_limits l = make(LCM_READMIT_ROLLOVER, 0);
	uint64_t again;

	(void)state;
	assert_int_equal(lcm_limits_check(&l), 0);
	assert_int_equal(ask(&l, T0, 0), LCM_ADMITTED);
	use(&l, 10, 1000, T0);
	assert_int_equal(ask(&l, T0 + S - 1, 0), LCM_ADMITTED);
	use(&l, 1, 0, T0 + S - 1);
	assert_int_equal(lcm_limits_admission(&l, T0 + S - 1, 0, &again), LCM_HELD);
	assert_int_equal(again, T0 + S);
	use(&l, 0, 1, T0 + S - 1);
	assert_int_equal(ask(&l, T0 + S - 1, 0), LCM_REJECTED);
	/* the window of requests rolls over, that of bytes does not yet */
	assert_int_equal(lcm_limits_admission(&l, T0 + S, 0, &again), LCM_HELD);
	assert_int_equal(again, T0 + 2 * S);
	assert_int_equal(ask(&l, T0 + 2 * S, 0), LCM_ADMITTED);
	assert_int_equal(l.times_held, 2);
	assert_int_equal(l.times_rejected, 1);
	use(&l, 11, 1001, T0 + 2 * S);
	assert_int_equal(ask(&l, T0 + 2 * S, 0), LCM_REJECTED);
	assert_int_equal(ask(&l, T0 + 2 * S, 0), LCM_REJECTED);
	assert_int_equal(l.times_held, 2);
	assert_int_equal(l.times_rejected, 2);
}

static void readmission_after_a_time(void **state)
{
	struct lcm_limits l = make(LCM_READMIT_TIME, 300000000);
	uint64_t again;

	(void)state;
	use(&l, 11, 0, T0);
	assert_int_equal(lcm_limits_admission(&l, T0 + 5, 0, &again), LCM_HELD);
	assert_int_equal(again, T0 + 5 + 300000000);
	assert_int_equal(ask(&l, again - 1, 0), LCM_HELD);
	assert_int_equal(ask(&l, again, 0), LCM_ADMITTED);
	/* windows began anew: as much again */
	use(&l, 10, 0, again);
	assert_int_equal(ask(&l, again, 0), LCM_ADMITTED);
	use(&l, 1, 0, again);
	assert_int_equal(ask(&l, again, 0), LCM_HELD);
	/* also over a rollover it lasts for the whole time */
	l = make(LCM_READMIT_TIME, 5 * S);
	use(&l, 11, 0, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_HELD);
	assert_int_equal(ask(&l, T0 + 4 * S, 0), LCM_HELD);
	assert_int_equal(ask(&l, T0 + 5 * S, 0), LCM_ADMITTED);
}

static void readmission_after_others(void **state)
{
	struct lcm_limits l = make(LCM_READMIT_OTHERS, 7);
	uint64_t again;

	(void)state;
	use(&l, 11, 0, T0);
	assert_int_equal(lcm_limits_admission(&l, T0, 100, &again), LCM_HELD);
	assert_int_equal(again, 0);
	assert_int_equal(ask(&l, T0 + 100 * S, 106), LCM_HELD);
	assert_int_equal(ask(&l, T0 + 100 * S, 107), LCM_ADMITTED);
}

/* What was used counts on in a limit of the same kind; counts of regulations are not lost. */
static void live_change(void **state)
{
	struct lcm_limits l = make(LCM_READMIT_ROLLOVER, 0), by = l;

	(void)state;
	use(&l, 11, 500, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_HELD);
	by.v[0].threshold = 11;
	lcm_limits_replace(&l, &by, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_ADMITTED);
	use(&l, 1, 0, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_HELD);
	assert_int_equal(l.times_held, 2);
	by.n = 0;
	lcm_limits_replace(&l, &by, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_ADMITTED);
	assert_int_equal(l.times_held, 2);
}

static void times_are_in_milliseconds(void **state)
{
	struct lcm_limits l = {
		.n = 1, .v = { { .resource = LCM_RES_DECODE_MS, .interval_ns = S, .threshold = 5 } }
	};
	const struct lcm_lif_cost five = { .decode_ns = 5000000 }, one = { .decode_ns = 1 };

	(void)state;
	lcm_limits_charge(&l, &five, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_ADMITTED);
	lcm_limits_charge(&l, &one, T0);
	assert_int_equal(ask(&l, T0, 0), LCM_HELD);
}

static void what_cannot_be_kept(void **state)
{
	struct lcm_limits l = make(LCM_READMIT_ROLLOVER, 0);
	enum lcm_resource r;

	(void)state;
	l.v[0].interval_ns = LCM_LIMIT_INTERVAL_MIN - 1;
	assert_int_equal(lcm_limits_check(&l), -EINVAL);
	l.v[0].interval_ns = LCM_LIMIT_INTERVAL_MAX + 1;
	assert_int_equal(lcm_limits_check(&l), -EINVAL);
	l = make(LCM_READMIT_TIME, 0);
	assert_int_equal(lcm_limits_check(&l), -EINVAL);
	l = make(LCM_READMIT_ROLLOVER, 0);
	l.n = LCM_LIMITS_MAX + 1;
	assert_int_equal(lcm_limits_check(&l), -EINVAL);
	for (int i = 0; i < LCM_RES_MAX; i++) {
		assert_int_equal(lcm_resource_parse(lcm_resource_name((enum lcm_resource)i), &r),
				 0);
		assert_int_equal(r, i);
	}
	assert_int_equal(lcm_resource_parse("cpu", &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thresholds_are_exact),
		cmocka_unit_test(readmission_after_a_time),
		cmocka_unit_test(readmission_after_others),
		cmocka_unit_test(live_change),
		cmocka_unit_test(times_are_in_milliseconds),
		cmocka_unit_test(what_cannot_be_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
