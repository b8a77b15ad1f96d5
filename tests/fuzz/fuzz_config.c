/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_image_config_parse() and, with what it accepts, lcm_bundle_config(). */
#include <string.h>

#include "image/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct lcm_bundle_opts o = { .rootfs = "/r" };
	lcm_autobuf struct lcm_buf out = LCM_BUF(LCM_BUNDLE_MAX);
	lcm_auto(lcm_image_config) c = NULL;
	struct lcm_err err;

	if (lcm_image_config_parse(data, size, &c, &err) < 0)
		return 0;
	if (!c->env || !c->entrypoint || !c->cmd || !c->user || !c->working_dir || !c->stop_signal)
		abort();
	lcm_ignore(lcm_bundle_config(c, &o, &out, &err));
	return 0;
}
