/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_digest_parse(): what it accepts prints back to the same bytes. */
#include <string.h>

#include "src/base/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_digest d;
	char out[LCM_DIGEST_STR];

	if (lcm_digest_parse((const char *)data, size, &d) < 0)
		return 0;
	if (size != strlen(lcm_digest_str(&d, out)) || memcmp(out, data, size) != 0)
		abort();
	return 0;
}
