/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_authfile_parse(), _lookup(), _helper(), _store(), lcm_credentials_of_helper(). */
#include <string.h>

#include "image/authfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const hosts[] = { "docker.io", "quay.io", "localhost:5000" };
	lcm_auto(lcm_authfile) af = NULL;
	lcm_auto(lcm_credentials) said = NULL;
	struct lcm_err err;

	if (lcm_credentials_of_helper(data, size, &said, &err) == 0 &&
	    (strpbrk(said->username, ":\r\n") || strpbrk(said->password, "\r\n") ||
	     (!said->password[0] && !said->identity_token[0])))
		abort();
	if (lcm_authfile_parse(data, size, &af, &err) < 0)
		return 0;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(hosts); i++) {
		lcm_auto(lcm_credentials) c = NULL;

		(void)lcm_authfile_helper(af, hosts[i]);
		(void)lcm_authfile_store(af);
		if (lcm_authfile_lookup(af, hosts[i], "ns/app", &c, &err) < 0)
			continue;
		if (strpbrk(c->username, ":\r\n") || strpbrk(c->password, "\r\n"))
			abort();
	}
	return 0;
}
