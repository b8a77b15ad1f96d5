/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "image/json.h"

#define BAD "\xef\xbf\xbd"

static void text_is_kept_or_marked(void **state)
{
	static const struct {
		const char *bytes, *text;
	} rows[] = {
		{ "", "" },
		{ "plain /path", "plain /path" },
		{ "\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9" },
		{ "\xe2\x82\xac \xf0\x9f\x90\x8b", "\xe2\x82\xac \xf0\x9f\x90\x8b" },
		{ "caf\xe9", "caf" BAD },
		{ "\xa9t\xc3\xa9", BAD "t\xc3\xa9" },
		{ "cut \xf0\x9f\x90", "cut " BAD BAD BAD },
		{ "cut \xc3", "cut " BAD },
		{ "\xc0\xaf overlong", BAD BAD " overlong" },
		{ "\xed\xa0\x80 surrogate", BAD BAD BAD " surrogate" },
		{ "\xf4\x90\x80\x80 beyond", BAD BAD BAD BAD " beyond" },
		{ "\xff\xfe", BAD BAD },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_autojson json_t *v = lcm_json_text(rows[i].bytes);

		assert_non_null(v);
		assert_string_equal(json_string_value(v), rows[i].text);
	}
}

/* Whatever jansson takes stays as it is, and it takes whatever comes out. */
static void agrees_with_jansson(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 1U << 16; i++) {
		const char s[] = { (char)(i >> 8), (char)i, (char)0x80, (char)0xbf, 'x', '\0' };
		lcm_autojson json_t *v = lcm_json_text(s), *as_it_is = json_string(s);

		assert_non_null(v);
		if (as_it_is)
			assert_string_equal(json_string_value(v), s);
		else
			assert_string_not_equal(json_string_value(v), s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_kept_or_marked),
		cmocka_unit_test(agrees_with_jansson),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
