/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: lcm_serve_route_parse, lcm_serve_range_parse, lcm_serve_number, lcm_serve_layout_type. */
#include <string.h>

#include "registry/serve_layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void route(const char *s)
{
	struct lcm_serve_route r;

	if (lcm_serve_route_parse(s, &r) < 0)
		return;
	if (r.repo[0] && !lcm_serve_repo_valid(r.repo, strlen(r.repo)))
		abort();
	if (r.tag[0] && (strchr(r.tag, '/') || strcmp(r.tag, "..") == 0))
		abort();
	if (r.kind == LCM_SERVE_BLOB && r.tag[0])
		abort();
}

static void range(const char *s, uint64_t size)
{
	uint64_t off, n;

	if (lcm_serve_range_parse(s, size, &off, &n) < 0)
		return;
	if (n == 0 || off >= size || n > size - off)
		abort();
}

static void type(const char *s, size_t len)
{
	static const struct lcm_digest d;
	char t[LCM_SERVE_TYPE_MAX + 1];

	if (lcm_serve_layout_type(-EBADF, &d, s, len, t) < 0)
		return;
	for (size_t i = 0; t[i]; i++)
		if (t[i] <= ' ' || t[i] > '~')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	lcm_autofree char *s = malloc(len + 1);
	static const uint64_t sizes[] = { 0, 1, 1000, UINT64_MAX };

	if (!s)
		return 0;
	memcpy(s, data, len);
	s[len] = '\0';
	if (len && s[0] == '/')
		route(s);
	else if (len && s[0] == '{')
		type(s, len);
	else
		for (size_t i = 0; i < LCM_ARRAY_SIZE(sizes); i++)
			range(s, sizes[i]);
	return 0;
}
