/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_hook_state_parse() and lcm_hook_root(). The first byte is the stage, or says config.
 */
#include <string.h>

#include "src/base/limits.h"
#include "src/hook/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void root(const char *text, size_t size)
{
	struct lcm_err err = { 0 };
	char out[256];

	if (lcm_hook_root(text, size, "/bundle/./x", out, sizeof(out), &err) < 0)
		return;
	if (out[0] != '/' || strstr(out, "/../") || strstr(out, "//") || strlen(out) < 2)
		abort();
}

static void state(const char *text, size_t size, enum lcm_hook_stage stage)
{
	struct lcm_hook_state s = { 0 };
	struct lcm_err err = { 0 };

	if (lcm_hook_state_parse(text, size, stage, &s, &err) < 0)
		return;
	if (strchr(s.id, '/') || s.id[0] == '.' || strlen(s.id) > LCM_CONTAINER_ID_MAX ||
	    s.bundle[0] != '/' || (stage != LCM_HOOK_POSTSTOP && s.pid < 1))
		abort();
	if (strpbrk(s.image, "\r\n") || strpbrk(s.pull, "\r\n"))
		abort();
	lcm_hook_state_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	if (data[0] % (LCM_HOOK_STAGE_MAX + 1) == LCM_HOOK_STAGE_MAX)
		root(text, size - 1);
	else
		state(text, size - 1, data[0] % (LCM_HOOK_STAGE_MAX + 1));
	return 0;
}
