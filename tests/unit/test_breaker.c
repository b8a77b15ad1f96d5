/* SPDX-License-Identifier: Apache-2.0 */
/* A host that fails is left alone, is probed once per pause, and comes back carefully. */
#include "registry/breaker.h"

#include "tests/unit/test.h"

#define MS 1000000ULL

static void fails(struct lcm_breaker *b, unsigned int times, uint64_t now)
{
	while (times--)
		lcm_breaker_failure(b, now, UINT64_MAX);
}

static void test_opens_after_failures_in_a_row(void **state)
{
	struct lcm_breaker b = { 0 };

	(void)state;
	for (int i = 0; i < 10; i++) {
		fails(&b, LCM_BREAKER_FAILS - 1, 1);
		lcm_breaker_success(&b);
	}
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	fails(&b, LCM_BREAKER_FAILS - 1, 1);
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	fails(&b, 1, 1);
	assert_int_equal(b.state, LCM_BREAKER_OPEN);
	assert_true(b.until_ns > LCM_BREAKER_PAUSE_MS / 2 * MS &&
		    b.until_ns <= LCM_BREAKER_PAUSE_MS * MS + 1);
	/* Those that were under way when it opened do not make the pause longer. */
	fails(&b, 100, 7);
	assert_int_equal(b.opened, 1);
	assert_true(b.until_ns <= LCM_BREAKER_PAUSE_MS * MS + 1);
}

static void test_one_probe_per_pause(void **state)
{
	struct lcm_breaker b = { 0 };
	uint64_t now = 1000 * MS, pause = 0, last = 0;

	(void)state;
	fails(&b, LCM_BREAKER_FAILS, now);
	for (int i = 0; i < 20; i++) {
		pause = b.until_ns - now;
		/* They grow, up to a maximum; jitter is at most half. */
		assert_true(pause >= last || pause >= LCM_BREAKER_PAUSE_MAX_MS / 2 * MS);
		assert_true(pause <= LCM_BREAKER_PAUSE_MAX_MS * MS);
		last = pause / 2;
		assert_false(lcm_breaker_probe(&b, b.until_ns - 1));
		now = b.until_ns;
		assert_true(lcm_breaker_probe(&b, now));
		assert_int_equal(b.state, LCM_BREAKER_HALF_OPEN);
		assert_false(lcm_breaker_probe(&b, now + 1000000 * MS));
		lcm_breaker_probed(&b, false, now, (uint64_t)i * 0x9e3779b97f4a7c15ULL);
		assert_int_equal(b.state, LCM_BREAKER_OPEN);
	}
	assert_true(pause >= LCM_BREAKER_PAUSE_MAX_MS / 2 * MS);
	assert_int_equal(b.opened, 21);
}

static void test_comes_back_carefully(void **state)
{
	struct lcm_breaker b = { 0 };
	uint64_t first;

	(void)state;
	fails(&b, LCM_BREAKER_FAILS, 0);
	first = b.until_ns;
	assert_true(lcm_breaker_probe(&b, first));
	lcm_breaker_probed(&b, true, first, 0);
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	/* It answers probes and fails at work: one failure is enough, and the pause is longer. */
	lcm_breaker_failure(&b, first, UINT64_MAX);
	assert_int_equal(b.state, LCM_BREAKER_OPEN);
	assert_true(b.until_ns - first >= LCM_BREAKER_PAUSE_MS * MS);
	assert_true(lcm_breaker_probe(&b, b.until_ns));
	lcm_breaker_probed(&b, true, b.until_ns, 0);
	for (unsigned int i = 0; i < LCM_BREAKER_FAILS; i++)
		lcm_breaker_success(&b);
	fails(&b, LCM_BREAKER_FAILS - 1, 0);
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	fails(&b, 1, 0);
	assert_true(b.until_ns <= LCM_BREAKER_PAUSE_MS * MS);
}

/* Whoever had to ask it all the same, because nobody else was there, has seen that it works. */
static void test_success_closes(void **state)
{
	struct lcm_breaker b = { 0 };

	(void)state;
	fails(&b, LCM_BREAKER_FAILS, 0);
	lcm_breaker_success(&b);
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	fails(&b, LCM_BREAKER_FAILS, 0);
	assert_true(lcm_breaker_probe(&b, UINT64_MAX));
	lcm_breaker_success(&b);
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	/* The probe's answer comes too late to matter. */
	lcm_breaker_probed(&b, false, 0, 0);
	assert_int_equal(b.state, LCM_BREAKER_CLOSED);
	assert_string_equal(lcm_breaker_name(LCM_BREAKER_OPEN), "open");
	assert_string_equal(lcm_breaker_name(LCM_BREAKER_HALF_OPEN), "half-open");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens_after_failures_in_a_row),
		cmocka_unit_test(test_one_probe_per_pause),
		cmocka_unit_test(test_comes_back_carefully),
		cmocka_unit_test(test_success_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
