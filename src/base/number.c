/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/number.h"

#include <stdio.h>
#include <string.h>

int lcm_number_parse(const char *s, bool suffixes, uint64_t *ret)
{
	static const char units[] = "KMG";
	unsigned long long n;
	char unit = '\0', extra;
	int got = *s >= '0' && *s <= '9' ? sscanf(s, "%18llu%c%c", &n, &unit, &extra) : 0;
	const char *u;

	if (got < 1 || got > 2 || (got == 2 && !suffixes))
		return -EINVAL;
	u = got == 2 ? strchr(units, unit) : NULL;
	if (got == 2 && !u)
		return -EINVAL;
	if (u && __builtin_mul_overflow(n, 1ULL << (10 * (u - units + 1)), &n))
		return -EINVAL;
	*ret = n;
	return 0;
}
