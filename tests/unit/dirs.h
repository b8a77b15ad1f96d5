/* SPDX-License-Identifier: Apache-2.0 */
/* dirs.h - directories for tests that mount. */
#ifndef LCM_TEST_DIRS_H
#define LCM_TEST_DIRS_H

#include "tests/unit/test.h"

static inline void make_dirs(const char *const *names)
{
	for (; *names; names++)
		assert_int_equal(lcm_mkdir_p(*names, 0755), 0);
}
#define DIRS(...) make_dirs((const char *const[]){ __VA_ARGS__, NULL })

static inline int open_dir(const char *path)
{
	int fd = lcm_sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);

	assert_true(fd >= 0);
	return fd;
}

#endif
