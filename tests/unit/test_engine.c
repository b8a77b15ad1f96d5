/* SPDX-License-Identifier: Apache-2.0 */
/* When background waits for demand, and when it goes on beside it. */
#include "src/base/loop.h"
#include "src/daemon/engine.h"
#include "tests/unit/test.h"

#define MS 1000000ULL

struct fixture {
	struct lcm_loop *loop;
	struct lcm_engine e;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(lcm_loop_new(&f->loop), 0);
	f->e.loop = f->loop;
	f->e.cfg = (struct lcm_engine_config){ .background = true,
					       .hold_ns = 60000 * MS,
					       .grace_ns = 60000 * MS };
	assert_int_equal(lcm_engine_init(&f->e), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	lcm_engine_fini(&f->e);
	lcm_loop_free(f->loop);
	free(f);
	return 0;
}

static void waits_for_demand(void **state)
{
	struct fixture *f = *state;

	assert_false(lcm_engine_yield(&f->e));
	lcm_engine_demand_begin(&f->e, 1);
	assert_true(lcm_engine_yield(&f->e));
	lcm_engine_demand_end(&f->e, 1);
	assert_true(lcm_engine_yield(&f->e));
	f->e.quiet_until_ns = lcm_now_ns();
	assert_false(lcm_engine_yield(&f->e));
}

static void waits_after_mount(void **state)
{
	struct fixture *f = *state;

	lcm_engine_mounted(&f->e);
	assert_true(lcm_engine_yield(&f->e));
	assert_true(lcm_timer_armed(f->e.resume));
}

/* Waits of demands for their first byte, and whether background may go on beside demand after each.
 */
static void shares(void **state)
{
	static const struct {
		uint64_t ms[12];
		const char *sharing; /* one character each: y or n */
	} rows[] = {
		{ { 50, 50, 50, 55, 50 }, "nyyyy" }, /* a long way with room */
		{ { 1, 1, 1, 1, 1 }, "nnnnn" },      /* nothing to win */
		{ { 50, 50, 80, 50, 50, 50, 50, 50, 50, 50, 50, 80 },
		  "nynnnnnnnnyn" },             /* it delayed demand: again after 8 */
		{ { 90, 50, 50, 57 }, "nyyn" }, /* the best so far counts */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		f->e.first_byte_ns = 0;
		f->e.clean = f->e.share_after = 0;
		f->e.sharing = false;
		f->e.starved_since_ns = 0;
		lcm_engine_mounted(&f->e);
		for (size_t k = 0; rows[i].sharing[k]; k++) {
			lcm_engine_first_byte(&f->e, rows[i].ms[k] * MS);
			assert_int_equal(lcm_engine_yield(&f->e), rows[i].sharing[k] == 'n');
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(waits_for_demand, set_up, tear_down),
		cmocka_unit_test_setup_teardown(waits_after_mount, set_up, tear_down),
		cmocka_unit_test_setup_teardown(shares, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
