/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/mountinfo.h"
#include "tests/unit/test.h"

static struct lcm_mountinfo_field field(const char *s)
{
	return (struct lcm_mountinfo_field){ .p = s, .len = strlen(s) };
}

static int parse(const char *line, struct lcm_mountinfo *ret)
{
	const char *at = line, *end = line + strlen(line);
	int r = lcm_mountinfo_next(&at, end, ret);

	assert_true(at > line || line == end);
	return r;
}

static void lines(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t id;
		const char *mount_point, *type, *source, *options;
	} rows[] = {
		{ "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root "
		  "rw,errors=continue\n",
		  1, 36, "/mnt2", "ext3", "/dev/root", "rw,errors=continue" },
		{ "36 35 98:0 / / rw - overlay locum:x rw", 1, 36, "/", "overlay", "locum:x",
		  "rw" },
		{ "36 35 98:0 / / rw shared:1 master:2 propagate_from:3 unbindable - t s o", 1, 36,
		  "/", "t", "s", "o" },
		{ "1 2 0:1 / /a\\040b\\134\\011\\012 rw - t s\\043 o", 1, 1, "/a b\\\t\n", "t",
		  "s#", "o" },
		{ "1 2 0:1 / /a rw - tmpfs  rw", 1, 1, "/a", "tmpfs", "", "rw" },
		{ "1 2 0:1 / /a rw - tmpfs none", 1, 1, "/a", "tmpfs", "none", "" },
		{ "18446744073709551615 2 0:1 / /a rw - t s o", 1, UINT64_MAX, "/a", "t", "s",
		  "o" },
		{ "", 0, 0, NULL, NULL, NULL, NULL },
		{ "\n", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
		{ "18446744073709551616 2 0:1 / /a rw - t s o", -EUCLEAN, 0, NULL, NULL, NULL,
		  NULL },
		{ "x 2 0:1 / /a rw - t s o", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
		{ "1 2 0:1 / /a rw t s o", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
		{ "1 2 0:1 / /a rw -", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
		{ "1 2 0:1 / /a rw - t", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
		{ "1 2 0:1 /  rw - t s o", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
		{ "1 2", -EUCLEAN, 0, NULL, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_mountinfo m = { .id = 7 };

		assert_int_equal(parse(rows[i].text, &m), rows[i].r);
		if (rows[i].r != 1) {
			assert_int_equal(m.id, 7);
			continue;
		}
		assert_int_equal(m.id, rows[i].id);
		assert_true(lcm_mountinfo_is(&m.mount_point, rows[i].mount_point));
		assert_true(lcm_mountinfo_is(&m.type, rows[i].type));
		assert_true(lcm_mountinfo_is(&m.source, rows[i].source));
		assert_true(lcm_mountinfo_is(&m.super_options, rows[i].options));
	}
}

static void a_bad_line_is_stepped_over(void **state)
{
	static const char text[] = "1 2 0:1 / /a rw - t s o\nnonsense\n\n3 4 0:1 / /b rw - t s o\n";
	static const int want[] = { 1, -EUCLEAN, -EUCLEAN, 1, 0, 0 };
	const char *at = text, *end = text + sizeof(text) - 1;
	struct lcm_mountinfo m = { 0 };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(want); i++)
		assert_int_equal(lcm_mountinfo_next(&at, end, &m), want[i]);
	assert_int_equal(m.id, 3);
}

static void unescaping(void **state)
{
	static const struct {
		const char *raw, *plain;
		bool same;
	} rows[] = {
		{ "\\040", " ", true },     { "\\04", "\\04", true },   { "\\", "\\", true },
		{ "\\777", "\\777", true }, { "\\089", "\\089", true }, { "\\377", "\377", true },
		{ "a", "ab", false },       { "ab", "a", false },       { "", "", true },
		{ "\\0401", " 1", true },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_mountinfo_field f = field(rows[i].raw);

		assert_int_equal(lcm_mountinfo_is(&f, rows[i].plain), rows[i].same);
	}
}

static void below(void **state)
{
	static const struct {
		const char *field, *dir, *rel; /* NULL: -EXDEV */
	} rows[] = {
		{ "/b/rootfs/proc", "/b/rootfs", "proc" },
		{ "/b/rootfs/etc/hosts", "/b/rootfs", "etc/hosts" },
		{ "/b/rootfs", "/b/rootfs", "" },
		{ "/b/rootfs2/proc", "/b/rootfs", NULL },
		{ "/b/root", "/b/rootfs", NULL },
		{ "/link/proc", "/b/rootfs", NULL },
		{ "/", "/b/rootfs", NULL },
		{ "/a\\040b/c\\011", "/a b", "c\t" },
		{ "/proc", "/", "proc" },
		{ "/", "/", "" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct lcm_mountinfo_field f = { .p = rows[i].field,
						       .len = strlen(rows[i].field) };
		char out[32];
		int r = lcm_mountinfo_below(&f, rows[i].dir, out, sizeof(out));

		if (rows[i].rel ? r < 0 || strcmp(out, rows[i].rel) != 0 : r != -EXDEV)
			fail_msg("%s below %s: %d", rows[i].field, rows[i].dir, r);
		assert_int_equal(lcm_mountinfo_below(&f, rows[i].dir, out, 1), -ENAMETOOLONG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(a_bad_line_is_stepped_over),
		cmocka_unit_test(unescaping),
		cmocka_unit_test(below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
