/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_soci_index_parse(), lcm_soci_find() and lcm_soci_referrer(), each with the whole
 * input. */
#include <string.h>

#include "image/soci_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int r, const struct lcm_err *err)
{
	if (r > 1 || (r < 0 && r != -ENOMEM && !err->msg[0]))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_auto(lcm_soci_index) x = NULL;
	struct lcm_err err = { 0 };
	struct lcm_digest d;
	uint64_t len;
	int r = lcm_soci_index_parse(data, size, &x, &err);

	check(r, &err);
	if ((r == 0) != (x != NULL) || (x && (x->version < 1 || x->version > 2)))
		abort();
	for (size_t i = 0; x && i < x->n_layers; i++)
		if (lcm_soci_index_layer(x, &x->layers[i].layer) != &x->layers[i] ||
		    x->layers[i].ztoc_size < 1)
			abort();
	err = (struct lcm_err){ 0 };
	check(lcm_soci_find(data, size, &d, &err), &err);
	err = (struct lcm_err){ 0 };
	check(lcm_soci_referrer(data, size, &d, &len, &err), &err);
	return 0;
}
