/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_user_resolve(). The input is spec, passwd and group with a NUL after the first two. */
#include <string.h>

#include "image/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *p, *g;
	lcm_auto(lcm_user) u = NULL;
	struct lcm_err err;

	p = size ? memchr(data, 0, size) : NULL;
	g = p ? memchr(p + 1, 0, (size_t)(end - p - 1)) : NULL;
	if (!g || lcm_user_resolve((const char *)data, p + 1, (size_t)(g - p - 1), g + 1,
				   (size_t)(end - g - 1), &u, &err) < 0)
		return 0;
	if (u->uid > LCM_USER_ID_MAX || u->gid > LCM_USER_ID_MAX || u->home[0] != '/' ||
	    u->n_gids > LCM_USER_GROUPS_MAX)
		abort();
	return 0;
}
