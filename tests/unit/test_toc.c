/* SPDX-License-Identifier: Apache-2.0 */
#include "image/toc.h"
#include "tests/unit/test.h"

static void smoke(void **state)
{
	lcm_auto(lcm_toc_builder) b = NULL;
	lcm_auto(lcm_toc) t = NULL;
	struct lcm_toc_id id = { .blob_size = 100 };
	struct lcm_toc_item it = { .path = "./a/b", .path_len = 5, .type = LCM_TOC_FIFO, .mode = 0644 };
	struct lcm_err err = { 0 };
	char *dir = test_mkdir(), path[200];

	(void)state;
	assert_int_equal(lcm_toc_builder_new(&b), 0);
	assert_int_equal(lcm_toc_builder_add(b, &it, &err), 0);
	(void)snprintf(path, sizeof(path), "%s/t", dir);
	assert_int_equal(lcm_toc_builder_finish(b, &id, AT_FDCWD, path, true, &err), 0);
	if (lcm_toc_open(AT_FDCWD, path, &t, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(lcm_toc_count(t), 3);
	assert_int_equal(lcm_toc_walk(t, "a/b", 3), 2);
	test_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(smoke) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
