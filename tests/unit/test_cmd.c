/* SPDX-License-Identifier: Apache-2.0 */
/* What verbs share: options from a table, and the last text, for who waits for it. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static void options_from_a_table(void **state)
{
	static const struct {
		const char *argv[6];
		int status, first;
		bool json;
		const char *to;
	} rows[] = {
		{ { "v" }, -1, 1, false, "" },
		{ { "v", "--json" }, -1, 2, true, "" },
		{ { "v", "a", "--to", "5", "--json" }, -1, 4, true, "5" },
		{ { "v", "--to=", "--", "--json" }, -1, 3, false, "" },
		{ { "v", "--to" }, CMD_USAGE, 0, false, "" },
		{ { "v", "--json=1" }, CMD_USAGE, 0, false, "" },
		{ { "v", "--nothing" }, CMD_USAGE, 0, false, "" },
		{ { "v", "-x" }, CMD_USAGE, 0, false, "" },
		{ { "v", "-h", "--nothing" }, 0, 0, false, "" },
		{ { "v", "--help" }, 0, 0, false, "" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		char *argv[7] = { NULL };
		const char *to = "";
		bool json = false;
		const struct cmd_option options[] = { { "to", .value = &to },
						      { "json", .flag = &json },
						      { 0 } };
		int argc = 0, r;

		for (; argc < 6 && rows[i].argv[argc]; argc++)
			argv[argc] = (char *)(uintptr_t)rows[i].argv[argc];
		optind = 0;
		r = cmd_options(argc, argv, "usage\n", options);
		if (r != rows[i].status || (r < 0 && optind != rows[i].first) ||
		    json != rows[i].json || strcmp(to, rows[i].to) != 0)
			fail_msg("row %zu: %d, optind %d, json %d, to %s", i, r, optind, json, to);
	}
}

static void what_was_said(void **state)
{
	struct lcm_err err = { 0 };

	(void)state;
	(void)lcm_err_set(&err, -EIO, "the text");
	assert_int_equal(cmd_error("v", &err, -EIO), CMD_FAILED);
	assert_string_equal(cmd_globals.said, "the text");
	cmd_globals.where = "file, line 3: ";
	assert_int_equal(cmd_usage("v", "%d is none", 5), CMD_USAGE);
	assert_string_equal(cmd_globals.said, "file, line 3: 5 is none");
	cmd_globals.where = NULL;
	assert_int_equal(cmd_usage("v", "%*s", 2 * LCM_ERR_MSG_MAX, "x"), CMD_USAGE);
	assert_int_equal(strlen(cmd_globals.said), LCM_ERR_MSG_MAX - 1);
}

static void members_of_answers(void **state)
{
	json_t *o = json_pack("{s:I s:f s:s}", "n", (json_int_t)INT64_MAX, "ms", 1.5, "t", "x");

	(void)state;
	assert_true(client_integer(o, "n") == INT64_MAX);
	assert_true(client_number(o, "ms") == 1.5);
	assert_string_equal(client_text(o, "t"), "x");
	for (size_t i = 0; i < 2; i++) {
		assert_true(client_integer(i ? o : NULL, "none") == 0);
		assert_true(client_number(i ? o : NULL, "none") == 0);
		assert_string_equal(client_text(i ? o : NULL, "none"), "");
	}
	assert_string_equal(client_text(o, "n"), "");
	json_decref(o);
}

/* A file's name in an image is anybody's. */
static void no_terminal_obeys(void **state)
{
	static const char bad[] = "a\033[2Jb\nc\x7f\xc2\x9b"
				  "d\xc3\xa4\xc2",
			  good[] = "a?[2Jb?c???d\xc3\xa4\xc2";
	const struct lcm_err err = { -EIO, "no\033[1mfile\n" };
	char text[sizeof(bad)];
	json_t *v = json_pack("{s:[{s:s}], s:i}", "list", "path", "\033]0;x\007", "n", 1);

	(void)state;
	memcpy(text, bad, sizeof(bad));
	cmd_plain(text);
	assert_string_equal(text, good);
	client_plain(v);
	assert_string_equal(json_string_value(json_object_get(
				json_array_get(json_object_get(v, "list"), 0), "path")),
			    "?]0;x?");
	json_decref(v);
	assert_int_equal(cmd_error("v", &err, err.code), CMD_FAILED);
	assert_string_equal(cmd_globals.said, "no?[1mfile?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_from_a_table),
		cmocka_unit_test(what_was_said),
		cmocka_unit_test(members_of_answers),
		cmocka_unit_test(no_terminal_obeys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
