/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_reference_parse(), _str(): the canonical text parses back to itself. */
#include <string.h>

#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_autofree char *s = strndup((const char *)data, size);
	char out[LCM_REFERENCE_STR_MAX], again[LCM_REFERENCE_STR_MAX];
	struct lcm_reference r;
	struct lcm_err err;

	if (!s || lcm_reference_parse(s, &r, &err) < 0)
		return 0;
	if (strlen(lcm_reference_str(&r, out, sizeof(out))) >= sizeof(out) - 1)
		abort();
	if (lcm_reference_parse(out, &r, &err) < 0 ||
	    strcmp(out, lcm_reference_str(&r, again, sizeof(again))) != 0)
		abort();
	if (!*lcm_reference_endpoint(&r))
		abort();
	return 0;
}
