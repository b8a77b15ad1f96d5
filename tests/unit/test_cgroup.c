/* SPDX-License-Identifier: Apache-2.0 */
/* Which directory a process's cgroup is: pure, from the texts of proc. */
#include "tests/unit/test.h"

#include <string.h>

#include "src/base/sys.h"
#include "src/daemon/cgroup.h"

#define HYBRID                                                                                     \
	"30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                               \
	"not a line of it\n"                                                                       \
	"31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"                              \
	"32 30 0:28 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,xfreezer,freezer\n"             \
	"33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"                 \
	"34 30 0:29 / /elsewhere rw - cgroup2 cgroup2 rw\n"
#define PURE "33 30 0:29 /pod /sys/fs/c\\040g rw - cgroup2 cgroup2 rw\n"

static void directories(void **state)
{
	static const struct {
		const char *mounts, *text;
		enum lcm_cgroup_kind kind;
		int status;
		const char *dir;
	} rows[] = {
		{ HYBRID, "3:cpu:/a\n2:freezer:/b/c\n0::/d\n", LCM_CGROUP_V2, 0,
		  "/sys/fs/cgroup/unified/d" },
		{ HYBRID, "3:cpu:/a\n2:freezer:/b/c\n0::/d\n", LCM_CGROUP_FREEZER, 0,
		  "/sys/fs/cgroup/freezer/b/c" },
		{ HYBRID, "2:cpu,freezer,pids:/b:c", LCM_CGROUP_FREEZER, 0,
		  "/sys/fs/cgroup/freezer/b:c" },
		{ HYBRID, "2:name=freezer:/b\n", LCM_CGROUP_FREEZER, -ENOENT, NULL },
		{ HYBRID, "2:freezers:/b\n", LCM_CGROUP_FREEZER, -ENOENT, NULL },
		{ HYBRID, "2:freezer:/\n0::/\n", LCM_CGROUP_FREEZER, -ENOENT, NULL },
		{ HYBRID, "2:freezer:/\n0::/\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ HYBRID, "0::/../x\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ HYBRID, "0::/..\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ HYBRID, "0::/..x\n", LCM_CGROUP_V2, 0, "/sys/fs/cgroup/unified/..x" },
		{ HYBRID, "0::relative\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ HYBRID, "", LCM_CGROUP_V2, -ENOENT, NULL },
		{ HYBRID, "0:", LCM_CGROUP_V2, -ENOENT, NULL },
		{ "", "0::/d\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ PURE, "0::/pod/d\n", LCM_CGROUP_V2, 0, "/sys/fs/c g/d" },
		{ PURE, "0::/pods/d\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ PURE, "0::/pod\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ PURE, "0::/pod/\n", LCM_CGROUP_V2, -ENOENT, NULL },
		{ PURE, "2:freezer:/b\n", LCM_CGROUP_FREEZER, -ENOENT, NULL },
	};
	struct lcm_cgroup_mount *m = calloc(LCM_CGROUP_KIND_MAX, sizeof(*m));
	char out[LCM_CGROUP_PATH];

	(void)state;
	assert_non_null(m);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_cgroup_mounts(rows[i].mounts, strlen(rows[i].mounts), m);
		assert_int_equal(lcm_cgroup_dir(rows[i].text, rows[i].kind, &m[rows[i].kind], out),
				 rows[i].status);
		if (rows[i].dir)
			assert_string_equal(out, rows[i].dir);
	}
	free(m);
}

static void too_long(void **state)
{
	struct lcm_cgroup_mount m = { .at = "/sys/fs/cgroup", .root = "/" };
	char *text = calloc(1, LCM_CGROUP_PATH + 10), out[LCM_CGROUP_PATH];

	(void)state;
	assert_non_null(text);
	memcpy(text, "0::/", 4);
	memset(text + 4, 'a', LCM_CGROUP_PATH - 10);
	assert_int_equal(lcm_cgroup_dir(text, LCM_CGROUP_V2, &m, out), -ENAMETOOLONG);
	free(text);
}

/* This process has its root where it has it, and its ancestors are nobody's container. */
static void ourselves(void **state)
{
	struct lcm_file_id id;

	(void)state;
	assert_int_equal(lcm_sys_file_id(AT_FDCWD, "/", &id, 0), 0);
	assert_int_equal(lcm_cgroup_root_is(getpid(), id.dev), 1);
	assert_int_equal(lcm_cgroup_root_is(getpid(), id.dev + 1), 0);
	assert_int_equal(lcm_cgroup_root_is(4194305, id.dev), -ENOENT); /* over any pid_max */
	assert_int_equal(lcm_cgroup_is_of("/nowhere", id.dev, 0, NULL), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directories),
		cmocka_unit_test(too_long),
		cmocka_unit_test(ourselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
