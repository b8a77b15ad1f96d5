/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a layer store: found again, given back when it is full, and never those that are in use.
 */
#include "tests/unit/test.h"

#include "src/base/base64.h"
#include "src/cmd/layer_names.h"

#define REFS 100U
#define LAYERS 300U

static uint64_t ref_id(struct layer_names *n, unsigned int i)
{
	char text[64], coded[128];
	uint64_t id = 0;
	int len = snprintf(text, sizeof(text), "h.example/r:%u", i);

	lcm_base64_encode(text, (size_t)len, coded, sizeof(coded));
	assert_int_equal(layer_names_ref(n, coded, &id), 0);
	assert_in_range(id, 1, (1ULL << 60) - 1);
	return id;
}

static int find_layer(struct layer_names *n, uint64_t ref, unsigned int i, uint64_t *ret)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "sha256:%064x", i);
	return layer_names_layer(n, ref, text, ret);
}

static uint64_t layer_id(struct layer_names *n, uint64_t ref, unsigned int i)
{
	uint64_t id = 0;

	assert_int_equal(find_layer(n, ref, i, &id), 0);
	assert_in_range(id, 1, (1ULL << 60) - 1);
	return id;
}

static bool is_there(struct layer_names *n, uint64_t id)
{
	const struct layer_mount *l = layer_names_hold(n, id);

	if (l)
		layer_names_drop(n, id);
	return l;
}

static void found_again(void **state)
{
	struct layer_names *n = layer_names_new(REFS, LAYERS);
	uint64_t a = ref_id(n, 1), b = ref_id(n, 2), x = layer_id(n, a, 1), y = layer_id(n, b, 1);
	const struct layer_mount *l = layer_names_hold(n, x);

	(void)state;
	assert_true(a != b && x != y);
	assert_true(ref_id(n, 1) == a && layer_id(n, a, 1) == x && layer_id(n, b, 1) == y);
	assert_string_equal(l->image, "h.example/r:1");
	layer_names_drop(n, x);
	layer_names_free(n);
}

static void no_names(void **state)
{
	static const char *const rows[] = { "", "xyz", "bm8gcmVm", "====", "aAA=", "../..", "x/y" };
	struct layer_names *n = layer_names_new(REFS, LAYERS);
	uint64_t id = 77, a = ref_id(n, 1);
	char *big = calloc(1, 100001);

	(void)state;
	assert_non_null(big);
	memset(big, 'a', 100000);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		assert_int_equal(layer_names_ref(n, rows[i], &id), -ENOENT);
	assert_int_equal(layer_names_ref(n, big, &id), -ENOENT);
	assert_int_equal(layer_names_layer(n, a, "sha256:12", &id), -ENOENT);
	assert_int_equal(layer_names_layer(n, a, big, &id), -ENOENT);
	assert_int_equal(find_layer(n, a + 1, 1, &id), -ESTALE);
	assert_int_equal(find_layer(n, 0, 1, &id), -ESTALE);
	assert_int_equal(id, 77);
	assert_null(layer_names_hold(n, 0));
	assert_null(layer_names_hold(n, UINT64_MAX));
	free(big);
	layer_names_free(n);
}

static void full_of_refs(void **state)
{
	struct layer_names *n = layer_names_new(REFS, LAYERS);
	uint64_t first = ref_id(n, 0), second = ref_id(n, 1), layer = layer_id(n, first, 1),
		 id = 77;

	(void)state;
	for (unsigned int i = 2; i < REFS; i++)
		(void)ref_id(n, i);
	assert_true(ref_id(n, 0) == first);
	(void)ref_id(n, REFS);
	assert_int_equal(find_layer(n, second, 1, &id), -ESTALE);
	assert_int_equal(id, 77);
	assert_true(layer_id(n, first, 1) == layer);
	for (unsigned int i = 1; i <= REFS; i++)
		(void)ref_id(n, i);
	assert_int_equal(find_layer(n, first, 1, &id), -ESTALE);
	/* The layer is what it was, and has a new name. */
	assert_true(is_there(n, layer));
	assert_true(ref_id(n, 0) != first);
	assert_true(layer_id(n, ref_id(n, 0), 1) == layer);
	layer_names_free(n);
}

static void full_of_layers(void **state)
{
	struct layer_names *n = layer_names_new(REFS, LAYERS);
	uint64_t ref = ref_id(n, 1), mounted = layer_id(n, ref, 0), used = layer_id(n, ref, 1),
		 held = layer_id(n, ref, 2), idle = layer_id(n, ref, 3), id = 77;
	struct layer_mount *l[3] = { layer_names_hold(n, mounted), layer_names_hold(n, used),
				     layer_names_hold(n, held) };

	(void)state;
	l[0]->mounted = true;
	l[1]->users = 1;
	layer_names_drop(n, mounted);
	layer_names_drop(n, used);
	for (unsigned int i = 4; i < LAYERS; i++)
		layer_names_hold(n, layer_id(n, ref, i))->users = 1;
	assert_true(is_there(n, idle));
	(void)layer_id(n, ref, LAYERS);
	assert_false(is_there(n, idle));
	assert_true(is_there(n, mounted) && is_there(n, used) && is_there(n, held));
	layer_names_hold(n, layer_id(n, ref, LAYERS))->users = 1;
	assert_int_equal(find_layer(n, ref, 3, &id), -ENOSPC);
	assert_int_equal(id, 77);
	layer_names_drop(n, held);
	assert_int_equal(find_layer(n, ref, 3, &id), 0);
	assert_true(id != idle && id != held);
	assert_false(is_there(n, held));
	layer_names_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_again),
		cmocka_unit_test(no_names),
		cmocka_unit_test(full_of_refs),
		cmocka_unit_test(full_of_layers),
	};

	return cmocka_run_group_tests_name("layer_names", tests, NULL, NULL);
}
