/* SPDX-License-Identifier: Apache-2.0 */
/* dir_fixture.h - for tests in one fresh directory: dir, and cmocka's two fixtures for it. */
#ifndef LCM_TEST_DIR_FIXTURE_H
#define LCM_TEST_DIR_FIXTURE_H

#include "tests/unit/test.h"

static char *dir; /* owned, from dir_setup() to dir_teardown() */

static inline int dir_setup(void **state)
{
	(void)state;
	dir = test_mkdir();
	return 0;
}

static inline int dir_teardown(void **state)
{
	(void)state;
	test_rmdir(dir);
	return 0;
}

#endif
