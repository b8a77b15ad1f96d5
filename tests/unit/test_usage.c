/* SPDX-License-Identifier: Apache-2.0 */
/* What goes when there is too much: random layers against what must hold of any choice. */
#include "tests/unit/test.h"

#include "src/daemon/usage.h"

#define LAYERS 40
#define ROUNDS 5000

static uint64_t rng_state = 1;

static uint32_t rng(uint32_t below)
{
	rng_state = rng_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(rng_state >> 33) % below;
}

static void make(struct lcm_usage *u, struct lcm_usage_layer *v)
{
	u->layers = v;
	u->n = rng(LAYERS + 1);
	u->bytes = 0;
	for (size_t i = 0; i < u->n; i++) {
		v[i] = (struct lcm_usage_layer){ .id = (int64_t)i + 1,
						 .bytes = rng(1000),
						 .last_used_ns = rng(50),
						 .used = rng(4) == 0 };
		u->bytes += v[i].bytes;
	}
}

static bool goes_before(const struct lcm_usage_layer *a, const struct lcm_usage_layer *b)
{
	return a->last_used_ns != b->last_used_ns ? a->last_used_ns < b->last_used_ns
						  : a->id < b->id;
}

/* None in use goes, none stays that is older than one that goes, and not one more than needed. */
static void the_oldest_go_first(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct lcm_usage_layer v[LAYERS];
		struct lcm_usage u;
		uint64_t target, left, used = 0, sum = 0;
		const struct lcm_usage_layer *last = NULL;

		make(&u, v);
		target = rng(25000);
		left = lcm_usage_choose(&u, target);
		for (size_t i = 0; i < u.n; i++) {
			assert_false(v[i].chosen && v[i].used);
			sum += v[i].chosen ? 0 : v[i].bytes;
			used += v[i].used ? v[i].bytes : 0;
			if (v[i].chosen && (!last || goes_before(last, &v[i])))
				last = &v[i];
		}
		assert_int_equal(sum, left);
		for (size_t i = 0; last && i < u.n; i++)
			if (!v[i].chosen && !v[i].used)
				assert_true(goes_before(last, &v[i]));
		if (last)
			assert_true(left + last->bytes > target);
		if (left > target)
			assert_int_equal(left, used);
	}
}

static void nothing_to_choose_from(void **state)
{
	struct lcm_usage u = { .n = 0 };

	(void)state;
	assert_int_equal(lcm_usage_choose(&u, 0), 0);
	lcm_usage_fini(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_oldest_go_first),
		cmocka_unit_test(nothing_to_choose_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
