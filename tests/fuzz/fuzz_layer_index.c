/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_layer_index_parse(), lcm_layer_index_find() and lcm_layer_index_referrers(), each with
 * the whole input. */
#include <string.h>

#include "image/layer_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int r, const struct lcm_err *err)
{
	if (r > 1 || (r < 0 && r != -ENOMEM && !err->msg[0]))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_auto(lcm_layer_index) x = NULL;
	struct lcm_err err = { 0 };
	struct lcm_digest d, many[LCM_REFERRERS_MAX] = { 0 };
	struct lcm_referrers list = { 0 };
	lcm_autobuf struct lcm_buf out = LCM_BUF(16U << 20);
	int r = lcm_layer_index_parse(data, size, &x, &err);

	check(r, &err);
	if ((r == 0) != (x != NULL) || (x && !lcm_index_type(x->kind)))
		abort();
	for (size_t i = 0; x && i < x->n_layers; i++)
		if (lcm_layer_index_layer(x, &x->layers[i].layer) != &x->layers[i] ||
		    x->layers[i].size < 1)
			abort();
	err = (struct lcm_err){ 0 };
	check(lcm_layer_index_find(data, size, &d, &err), &err);
	err = (struct lcm_err){ 0 };
	r = lcm_layer_index_referrers(data, size, &list, &err);
	if (r > 0 || lcm_referrers_best(&list, many) > LCM_REFERRERS_MAX)
		abort();
	check(r, &err);
	err = (struct lcm_err){ 0 };
	check(lcm_referrers_add(data, size, LCM_INDEX_TOC, &many[0], 1, &out, &err), &err);
	return 0;
}
