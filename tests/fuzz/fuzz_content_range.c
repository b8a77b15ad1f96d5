/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_content_range_parse(), lcm_retry_after_parse(). */
#include <string.h>

#include "image/content_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_content_range cr;
	uint32_t wait;

	if (lcm_content_range_parse((const char *)data, size, &cr) == 0) {
		if (cr.has_range && (cr.last < cr.first || cr.last == UINT64_MAX))
			abort();
		if (cr.has_range && cr.has_size && cr.last >= cr.size)
			abort();
		if (!cr.has_range && !cr.has_size)
			abort();
	}
	if (lcm_retry_after_parse((const char *)data, size, INT64_MIN, &wait) == 0 &&
	    wait > LCM_RETRY_AFTER_MAX_S)
		abort();
	if (lcm_retry_after_parse((const char *)data, size, 784111777, &wait) == 0 &&
	    wait > LCM_RETRY_AFTER_MAX_S)
		abort();
	return 0;
}
