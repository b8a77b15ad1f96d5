/* SPDX-License-Identifier: Apache-2.0 */
/* test.h - what every unit test needs: cmocka and a private directory. */
#ifndef LCM_TEST_H
#define LCM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/sys.h"

/* A fresh directory; the caller removes it with test_rmdir(). */
static inline char *test_mkdir(void)
{
	char *p = strdup("/tmp/locum-test.XXXXXX");

	assert_non_null(p);
	assert_non_null(mkdtemp(p));
	return p;
}

static inline void test_rmdir(char *p)
{
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, p), 0);
	free(p);
}

#endif
