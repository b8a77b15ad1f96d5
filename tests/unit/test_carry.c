/* SPDX-License-Identifier: Apache-2.0 */
/* Limits carried to cgroups: whose cgroup it is, cgroup v2's files, what is put back.
 * (tests/integration/carry.sh has the kernel's v1.) */
#include <jansson.h>

#include "src/daemon/carry.h"
#include "tests/unit/test.h"

static void put(const char *dir, const char *name, const char *text)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

static void begins(const char *dir, const char *name, const char *text)
{
	lcm_autofree char *is = NULL;
	char path[700];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, 4096, &is, &len), 0);
	assert_memory_equal(is, text, strlen(text));
}

/* A tree as v2's; false: this file system is on no disk. */
static bool tree(char *dir, struct lcm_carry *c)
{
	struct lcm_err err = { 0 };
	char sub[300];
	int r;

	put(dir, "cgroup.controllers", "cpu io memory\n");
	(void)snprintf(sub, sizeof(sub), "%s/x/y", dir);
	assert_int_equal(lcm_mkdir_p(sub, 0755), 0);
	r = lcm_carry_find(dir, "1:name=systemd:/a\n0::/x/y\n", "0::/z\n", dir, c, &err);
	if (r < 0)
		print_message("%s\n", err.msg);
	return r == 0;
}

static void whose(void **state)
{
	static const struct {
		const char *controllers, *theirs, *why;
	} rows[] = {
		{ "cpu io\n", "0::/\n", "no I/O cgroup of its own" },
		{ "cpu io\n", "0::/own\n", "no I/O cgroup of its own" },
		{ "cpu io\n", "0::/../../x\n", "no I/O cgroup of its own" },
		{ "cpu io\n", "0::/..\n", "no I/O cgroup of its own" },
		{ "cpu io\n", "3:blkio:/x\n", "in no cgroup of" },
		{ "cpu memory\n", "0::/x\n", "no I/O controller" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_carry c = { .v2 = false };
		struct lcm_err err = { 0 };
		char *dir = test_mkdir();

		put(dir, "cgroup.controllers", rows[i].controllers);
		assert_int_equal(lcm_carry_find(dir, rows[i].theirs, "0::/own\n", dir, &c, &err),
				 -ENOTSUP);
		assert_true(strstr(err.msg, rows[i].why) || strstr(err.msg, "no single disk"));
		assert_string_equal(c.dir, "");
		test_rmdir(dir);
	}
}

static void second_version(void **state)
{
	const uint64_t want[LCM_CARRY_MAX] = { 100, 200, 300 }, none[LCM_CARRY_MAX] = { 0 };
	struct lcm_carry c = { .v2 = false }, again = { .v2 = false }, planned = { .v2 = false };
	char *dir = test_mkdir(), text[200];
	json_t *o;

	(void)state;
	if (!tree(dir, &c)) {
		test_rmdir(dir);
		return;
	}
	assert_true(c.v2);
	(void)snprintf(text, sizeof(text),
		       "7:7 rbps=1 wbps=max riops=1 wiops=max\n%s rbps=max wbps=5 riops=120 "
		       "wiops=max\n",
		       c.disk);
	put(c.dir, "io.max", strchr(text, '\n') + 1);
	/* A plan changes nothing, and its record is enough to know what was ours. */
	assert_true(lcm_carry_plan(&c, want));
	begins(c.dir, "io.max", strchr(text, '\n') + 1);
	o = lcm_carry_json(&c);
	lcm_carry_take(o, &planned);
	json_decref(o);
	lcm_carry_apply(&c);
	(void)snprintf(text, sizeof(text), "%s rbps=100", c.disk);
	begins(c.dir, "io.max", text);
	assert_int_equal(c.items[LCM_CARRY_READ_BYTES].ours, 100);
	assert_int_equal(c.items[LCM_CARRY_READ_BYTES].before, 0);
	assert_int_equal(c.items[LCM_CARRY_READS].ours, 0);
	assert_string_equal(c.items[LCM_CARRY_READS].why,
			    "io.max has 120 already, set by somebody else");
	assert_int_equal(c.items[LCM_CARRY_WEIGHT].ours, 0);
	assert_true(c.items[LCM_CARRY_WEIGHT].why[0]);
	o = lcm_carry_json(&c);
	lcm_carry_take(o, &again);
	json_decref(o);
	assert_string_equal(again.dir, c.dir);
	assert_int_equal(again.items[LCM_CARRY_READ_BYTES].ours, 100);
	(void)lcm_carry_plan(&planned, want);
	assert_int_equal(planned.items[LCM_CARRY_READ_BYTES].ours, 100);
	assert_int_equal(planned.items[LCM_CARRY_READ_BYTES].before, 0);
	assert_false(lcm_carry_plan(&again, none));
	lcm_carry_apply(&again);
	(void)snprintf(text, sizeof(text), "%s rbps=max", c.disk);
	begins(c.dir, "io.max", text);
	assert_int_equal(again.items[LCM_CARRY_READ_BYTES].ours, 0);
	test_rmdir(dir);
}

static void bad_records(void **state)
{
	static const char *const rows[] = {
		"{}",
		"[]",
		"null",
		"{\"cgroup\":\"/x\"}",
		"{\"cgroup\":\"x\",\"disk\":\"1:2\",\"root\":\"/\",\"v2\":true}",
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		json_t *o = json_loads(rows[i], JSON_DECODE_ANY, NULL);
		struct lcm_carry c = { .v2 = false };

		lcm_carry_take(o, &c);
		assert_string_equal(c.dir, "");
		json_decref(o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whose),
		cmocka_unit_test(second_version),
		cmocka_unit_test(bad_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
