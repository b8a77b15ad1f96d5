/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of a host: measured while it is busy, and fading. */
#include "registry/peer.h"

#include "tests/unit/test.h"

#define MS 1000000ULL
#define S (1000 * MS)
#define START (1000 * S)

struct fixture {
	struct lcm_loop *loop;
	struct lcm_multi *multi;
	struct lcm_http_env env;
	struct lcm_peer *p;
};

static int set_up(void **state)
{
	static struct fixture f;

	assert_int_equal(lcm_loop_new(&f.loop), 0);
	assert_int_equal(lcm_multi_new(f.loop, 1, &f.multi), 0);
	f.env = (struct lcm_http_env){ .loop = f.loop, .multi = f.multi };
	f.p = lcm_peer_new("h:443", &f.env, 7);
	assert_non_null(f.p);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	lcm_peer_free(f->p);
	lcm_multi_free(f->multi);
	lcm_loop_free(f->loop);
	return 0;
}

static void test_throughput(void **state)
{
	struct lcm_peer *p = ((struct fixture *)*state)->p;
	uint64_t now = START;

	assert_true(lcm_peer_load(p, now).bps == 0);
	/* Two bodies at once, 1 MB in half a second: 2 MB/s, not twice one. */
	lcm_peer_flows(p, true, now);
	lcm_peer_flows(p, true, now);
	for (int i = 0; i < 10; i++)
		lcm_peer_bytes(p, 100000, now += 50 * MS);
	assert_true(lcm_peer_load(p, now).bps == 2000000);
	/* Nobody takes them: that time is not the host's. */
	lcm_peer_flows(p, false, now);
	lcm_peer_flows(p, false, now);
	now += 20 * S;
	lcm_peer_flows(p, true, now);
	lcm_peer_bytes(p, 400000, now += 200 * MS);
	assert_true(lcm_peer_load(p, now).bps == 2000000);
	/* Slower, it is believed step by step. */
	lcm_peer_bytes(p, 100000, now += 1 * S);
	assert_true(lcm_peer_load(p, now).bps == 1525000);
	assert_true(p->bytes == 1500000);
	/* Nothing at all for a second is a throughput, too. */
	lcm_peer_bytes(p, 1, now += 1 * S);
	assert_true(lcm_peer_load(p, now).bps < 1200000);
	/* After a minute nothing is known. */
	assert_true(lcm_peer_load(p, now + 61 * S).bps == 0);
}

static void test_history_fades(void **state)
{
	struct lcm_peer *p = ((struct fixture *)*state)->p;
	struct lcm_err err;
	struct lcm_load l;

	lcm_err_set(&err, -ETIMEDOUT, "silence");
	lcm_peer_answered(p, 800 * MS, START);
	lcm_peer_failed(p, &err, START);
	l = lcm_peer_load(p, START);
	assert_int_equal(l.latency_ms, 800);
	assert_int_equal(l.errors, 125);
	/* The clock was looked at before that. */
	assert_int_equal(lcm_peer_load(p, START - 5 * S).latency_ms, 800);
	assert_int_equal(lcm_peer_load(p, START - 5 * S).errors, 125);
	assert_int_equal(lcm_peer_load(p, START + 30 * S).latency_ms, 400);
	assert_int_equal(lcm_peer_load(p, START + 30 * S).errors, 62);
	assert_int_equal(lcm_peer_load(p, START + 3600 * S).latency_ms, 0);
	assert_int_equal(lcm_peer_load(p, START + 3600 * S).errors, 0);
	/* A failure after a quiet hour counts as the first. */
	lcm_peer_failed(p, &err, START + 3600 * S);
	assert_int_equal(lcm_peer_load(p, START + 3600 * S).errors, 125);
	lcm_peer_good(p, START + 3600 * S);
	assert_int_equal(lcm_peer_load(p, START + 3600 * S).errors, 109);
	assert_true(p->good == 1 && p->failed == 2);
	assert_string_equal(p->last.msg, "silence");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_throughput, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_history_fades, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
