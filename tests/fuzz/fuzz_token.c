/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_token_parse(). */
#include <string.h>

#include "image/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_auto(lcm_token) t = NULL;
	struct lcm_err err;

	if (lcm_token_parse(data, size, &t, &err) < 0)
		return 0;
	if (!*t->value || strlen(t->value) > LCM_TOKEN_LEN_MAX || strpbrk(t->value, " \r\n\t"))
		abort();
	if (t->expires_in_s < LCM_TOKEN_EXPIRES_MIN_S || t->expires_in_s > LCM_TOKEN_EXPIRES_MAX_S)
		abort();
	return 0;
}
