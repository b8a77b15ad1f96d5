/* SPDX-License-Identifier: Apache-2.0 */
#include "image/link.h"

#include "tests/unit/test.h"

static const struct {
	const char *field, *query;
	int r;
} rows[] = {
	{ "</v2/x/referrers/sha256:0?n=2&last=a>; rel=\"next\"", "n=2&last=a", 0 },
	{ "<https://elsewhere/?a>;rel=next", "a", 0 },
	{ "  <?a> ; rel = next  ", "a", 0 },
	{ "<?a>; REL=\"prev Next\"", "a", 0 },
	{ "<?a>; rel=prev, <?b>; rel=next, <?c>; rel=next", "b", 0 },
	{ "<?a>; title=\"a, \\\"<?x>; rel=next\"; rel=prev, <?b>; rel=next", "b", 0 },
	{ "<?a>; flag; rel=next", "a", 0 },
	{ "<?a?b>; rel=next", "a?b", 0 },
	{ "<?a>; rel=prev; rel=next", NULL, -ENOENT }, /* the first counts */
	{ "<?a>; rel=nextish", NULL, -ENOENT },
	{ "<?a>; rel", NULL, -ENOENT },
	{ "<?a>", NULL, -ENOENT },
	{ "</a>; rel=next", NULL, -ENOENT },
	{ "</a?>; rel=next", NULL, -ENOENT },
	{ "<?a b>; rel=next", NULL, -EINVAL },
	{ "<?a#b>; rel=next", NULL, -EINVAL },
	{ "<?a\x80>; rel=next", NULL, -EINVAL },
	{ "<?a\n>; rel=next", NULL, -EINVAL },
	{ "<?a; rel=next", NULL, -EINVAL },
	{ "?a; rel=next", NULL, -EINVAL },
	{ "<?a>; rel=\"next", NULL, -EINVAL },
	{ "<?a>; =next", NULL, -EINVAL },
	{ "<?a>; rel=prev,", NULL, -EINVAL },
	{ "<?a>; rel=prev x", NULL, -EINVAL },
	{ "", NULL, -EINVAL },
};

/* Each in memory of its exact length. */
static void fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		size_t len = strlen(rows[i].field);
		lcm_autofree char *copy = malloc(len ? len : 1);
		char query[LCM_LINK_QUERY_MAX + 1] = "as it was";
		int r;

		assert_non_null(copy);
		memcpy(copy, rows[i].field, len);
		r = lcm_link_next(copy, len, query);
		if (r != rows[i].r || strcmp(query, r == 0 ? rows[i].query : "as it was") != 0)
			fail_msg("%s: %d %s", rows[i].field, r, query);
	}
}

static void lengths(void **state)
{
	static char field[LCM_LINK_QUERY_MAX + 64];
	char query[LCM_LINK_QUERY_MAX + 1];

	(void)state;
	for (unsigned int more = 0; more < 2; more++) {
		int n = snprintf(field, sizeof(field), "<?%0*d>; rel=next",
				 (int)(LCM_LINK_QUERY_MAX + more), 0);

		assert_int_equal(lcm_link_next(field, (size_t)n, query), more ? -EINVAL : 0);
		assert_int_equal(strlen(query), LCM_LINK_QUERY_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fields), cmocka_unit_test(lengths) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
