/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_origin_parse(), lcm_origin_redirect(): a Location field chosen by a hostile host. */
#include <string.h>

#include "registry/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *base, const char *location)
{
	static const char *const hosts[] = { "plain.lan", "port.lan:8080", NULL };
	lcm_autofree char *url = NULL;
	struct lcm_origin from, to;
	struct lcm_err err;
	int r = lcm_origin_redirect(base, location, hosts, &url, &err);

	if (r < 0) {
		if (url || !err.msg[0])
			abort();
		return;
	}
	/* What was let through can be asked, and keeps every rule. */
	if (lcm_origin_parse(base, &from) < 0 || lcm_origin_parse(url, &to) < 0)
		abort();
	if (from.tls && !to.tls)
		abort();
	if (!to.tls && !lcm_origin_is_loopback(&to) && !lcm_origin_listed(&to, hosts))
		abort();
	if (strchr(url, '#') || strpbrk(url, "\r\n"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_autofree char *location = size <= 8192 ? strndup((const char *)data, size) : NULL;

	if (!location)
		return 0;
	check("https://registry.example/v2/r/x/blobs/sha256:0", location);
	check("http://localhost:5000/v2/r/x/blobs/sha256:0", location);
	return 0;
}
