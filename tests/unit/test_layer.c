/* SPDX-License-Identifier: Apache-2.0 */
/* What a layer does when jobs come back to a daemon that ends: its registry and its pools are gone
 * by then. */
#include "src/daemon/layer.h"
#include "tests/unit/test.h"

struct fixture {
	struct lcm_engine e;
	struct lcm_layer l;
};

/* Whatever is used of what has gone is a NULL. */
static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->e.cfg.background = true;
	f->e.closing = true;
	f->l = (struct lcm_layer){ .e = &f->e, .refs = 1, .phase = LCM_LAYER_READY };
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

/* A span, a stream or a table of contents that had wrong bytes. */
static void blames_nobody(void **state)
{
	struct fixture *f = *state;
	const struct lcm_digest blob = { { 1 } };

	assert_false(lcm_layer_elsewhere(&f->l, &blob, -EBADMSG, false));
	assert_false(lcm_layer_elsewhere(&f->l, &blob, -EBADMSG, true));
}

/* A span of a registry without ranges; a layer that has become READY and is wanted. */
static void begins_no_pull(void **state)
{
	struct fixture *f = *state;

	for (int urgent = 0; urgent < 2; urgent++) {
		lcm_layer_pull(&f->l, urgent != 0);
		assert_null(f->l.pull);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blames_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(begins_no_pull, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("layer", tests, NULL, NULL);
}
