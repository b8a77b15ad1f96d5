/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration file: lines, space, comments, and what is none. */
#include "tests/unit/test.h"

#include <string.h>

#include "src/base/limits.h"
#include "src/base/sys.h"
#include "src/cmd/config_file.h"

static int parse(const char *text, size_t len, struct lcm_config *ret, struct lcm_err *err)
{
	char *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return lcm_config_parse(copy, len, ret, err);
}

static void lines(void **state)
{
	static const char text[] = "# first\n\n web 9723\r\nno-background\n"
				   "\tauthfile   /a file  \n  # no more\nca-file #x";
	static const struct lcm_config_line want[] = { { "web", "9723", 3 },
						       { "no-background", NULL, 4 },
						       { "authfile", "/a file", 5 },
						       { "ca-file", "#x", 7 } };
	struct lcm_config c;

	(void)state;
	assert_int_equal(parse(text, sizeof(text) - 1, &c, NULL), 0);
	assert_int_equal(c.n, LCM_ARRAY_SIZE(want));
	for (size_t i = 0; i < c.n; i++) {
		assert_string_equal(c.lines[i].name, want[i].name);
		assert_int_equal(c.lines[i].number, want[i].number);
		if (want[i].value)
			assert_string_equal(c.lines[i].value, want[i].value);
		else
			assert_null(c.lines[i].value);
	}
	lcm_config_fini(&c);
	assert_int_equal(parse("", 0, &c, NULL), 0);
	assert_int_equal(c.n, 0);
	lcm_config_fini(&c);
}

static void what_is_none(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = { { "web=9723", "line 1" },
		    { "\n\n--web 1", "line 3" },
		    { "Web 1", "line 1" },
		    { "web\n[section]\n", "line 2" },
		    { "w\xc3\xa9"
		      "b 1",
		      "line 1" },
		    { "web:1", "line 1" } };
	lcm_autofree char *many = calloc(2, LCM_CONFIG_LINES_MAX + 1);
	struct lcm_err err = { 0 };
	struct lcm_config c;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(bad); i++) {
		err = (struct lcm_err){ 0 };
		if (parse(bad[i].text, strlen(bad[i].text), &c, &err) != -EUCLEAN ||
		    !strstr(err.msg, bad[i].says))
			fail_msg("%s: %s", bad[i].text, err.msg);
	}
	assert_int_equal(parse("web 1\0web", 9, &c, &err), -EUCLEAN);
	assert_non_null(many);
	for (size_t i = 0; i <= LCM_CONFIG_LINES_MAX; i++)
		memcpy(many + 2 * i, "a\n", 2);
	assert_int_equal(parse(many, 2 * LCM_CONFIG_LINES_MAX, &c, &err), 0);
	assert_int_equal(c.n, LCM_CONFIG_LINES_MAX);
	lcm_config_fini(&c);
	assert_int_equal(parse(many, 2 * (LCM_CONFIG_LINES_MAX + 1), &c, &err), -EFBIG);
}

static void files(void **state)
{
	lcm_autofree char *dir = strdup("/tmp/locum-conf-XXXXXX"), *path = NULL;
	struct lcm_err err = { 0 };
	struct lcm_config c;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_true(asprintf(&path, "%s/f", dir) > 0);
	assert_int_equal(lcm_config_read(path, &c, &err), 0);
	assert_int_equal(c.n, 0);
	assert_null(c.text);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, "hold 1\n=", 8, 0600), 0);
	assert_int_equal(lcm_config_read(path, &c, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, "hold 1", 6, 0600), 0);
	assert_int_equal(lcm_config_read(path, &c, &err), 0);
	assert_int_equal(c.n, 1);
	lcm_config_fini(&c);
	assert_true(lcm_config_read(dir, &c, &err) < 0);
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(what_is_none),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
