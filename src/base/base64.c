/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/base64.h"

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

long lcm_base64(const char *s, size_t len, uint8_t *out)
{
	size_t pad = 0, n = 0;

	if (len % 4)
		return -EUCLEAN;
	while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < len; i += 4) {
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = i + k >= len - pad ? 0 : base64_value(s[i + k]);

			if (d < 0)
				return -EUCLEAN;
			v = v << 6 | (uint32_t)d;
		}
		out[n++] = (uint8_t)(v >> 16);
		out[n++] = (uint8_t)(v >> 8);
		out[n++] = (uint8_t)v;
	}
	for (size_t i = 0; i < pad; i++)
		if (out[--n])
			return -EUCLEAN;
	return (long)n;
}

void lcm_base64_encode(const void *p, size_t len, char *out, size_t cap)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *in = p;
	size_t n = 0;

	out[0] = '\0';
	if (cap < (len + 2) / 3 * 4 + 1)
		return;
	for (size_t i = 0; i < len; i += 3) {
		size_t have = LCM_MIN(len - i, (size_t)3);
		uint32_t v = (uint32_t)in[i] << 16;

		if (have > 1)
			v |= (uint32_t)in[i + 1] << 8;
		if (have > 2)
			v |= in[i + 2];
		out[n++] = digits[v >> 18];
		out[n++] = digits[v >> 12 & 63];
		out[n++] = have > 1 ? digits[v >> 6 & 63] : '=';
		out[n++] = have > 2 ? digits[v & 63] : '=';
	}
	out[n] = '\0';
}
