/* SPDX-License-Identifier: Apache-2.0 */
/* api_store.c - routes about what is stored: images, layers, tables of contents. */
#include "src/daemon/api_priv.h"
#include "src/daemon/index.h"
#include "src/daemon/index_push.h"
#include "src/daemon/usage.h"
#include "src/daemon/verify.h"

void api_images(struct lcm_api_call *c, json_t *args)
{
	int r = lcm_usage_images(c->host, &c->reply);

	(void)args;
	if (r < 0)
		lcm_api_fail(c, r, NULL);
	else
		c->status = 200;
}

void api_gc(struct lcm_api_call *c, json_t *args)
{
	struct lcm_gc_result res = { 0 };
	struct lcm_err err = { 0 };
	uint64_t to = c->host->quota_low;
	int r = api_number(args, "to", &to);

	if (r < 0) {
		lcm_api_error(c, 400, -EINVAL, "\"to\" is not a number of bytes");
		return;
	}
	if (!json_object_get(args, "to") && !c->host->quota_low) {
		lcm_api_error(c, 400, -EINVAL,
			      "the daemon has no quota; say how much may be left with --to SIZE "
			      "(\"to\": bytes)");
		return;
	}
	r = lcm_gc_run(c->host, to, to, api_flag(args, "dry_run"), &res, &err);
	if (r < 0) {
		lcm_api_fail(c, r, &err);
		return;
	}
	c->reply = json_pack("{s:I s:I s:I s:I s:I}", "layers_dropped", (json_int_t)res.layers,
			     "layers_in_use", (json_int_t)res.layers_used, "bytes_before",
			     (json_int_t)res.before, "bytes_after", (json_int_t)res.after,
			     "bytes_in_use", (json_int_t)res.used);
	c->status = 200;
}

void api_verify(struct lcm_api_call *c, json_t *args)
{
	uint64_t after = 0;

	if (api_number(args, "after", &after) < 0 || after > INT64_MAX)
		lcm_api_error(c, 400, -EINVAL, "\"after\" is not the number of a layer");
	else
		lcm_verify_next(c, api_text(args, "image"), (int64_t)after,
				api_flag(args, "repair"), api_flag(args, "now"));
}

void api_drop_cache(struct lcm_api_call *c, json_t *args)
{
	struct lcm_drop_result res = { 0 };
	struct lcm_err err = { 0 };
	int r = lcm_drop_cache(c->host, api_text(args, "image"), api_flag(args, "all"), &res, &err);

	if (r < 0) {
		lcm_api_fail(c, r, &err);
		return;
	}
	c->reply = json_pack("{s:I s:I s:I}", "layers_dropped", (json_int_t)res.layers,
			     "layers_in_use", (json_int_t)res.in_use, "bytes",
			     (json_int_t)res.bytes);
	c->status = 200;
}

void api_index(struct lcm_api_call *c, json_t *args)
{
	lcm_index_show(c, api_text(args, "image"));
}

void api_index_push(struct lcm_api_call *c, json_t *args)
{
	lcm_index_push(c, api_text(args, "image"));
}
