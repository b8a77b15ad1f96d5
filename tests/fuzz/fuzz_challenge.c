/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_challenges_add(), _find(); every line is one header field. */
#include <string.h>

#include "image/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lcm_challenges cs;
	struct lcm_err err;

	cs = (struct lcm_challenges){ 0 };
	while (size) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t len = nl ? (size_t)(nl - data) : size, before = cs.n;
		int r = lcm_challenges_add(&cs, (const char *)data, len, &err);

		if (r < 0 ? cs.n != before
			  : cs.n != before + (size_t)r || cs.n > LCM_CHALLENGES_MAX)
			abort();
		data += len + (nl ? 1 : 0);
		size -= len + (nl ? 1 : 0);
	}
	for (size_t i = 0; i < cs.n; i++)
		if (strlen(cs.c[i].realm) >= sizeof(cs.c[i].realm) ||
		    !lcm_challenges_find(&cs, cs.c[i].scheme))
			abort();
	return 0;
}
