/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_link_next(): what it gives can stand in a URL, and came from the input. */
#include <stdlib.h>
#include <string.h>

#include "image/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char query[LCM_LINK_QUERY_MAX + 1];
	lcm_autofree char *copy = malloc(size ? size : 1);
	size_t len;

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	if (lcm_link_next(copy, size, query) < 0)
		return 0;
	len = strlen(query);
	if (!len || len > LCM_LINK_QUERY_MAX || strpbrk(query, " \t\r\n#>") ||
	    !memmem(copy, size, query, len))
		abort();
	return 0;
}
