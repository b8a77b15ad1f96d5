/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_estargz_footer() and the member that lcm_estargz_parse() inflates: the input is the
 * end of a blob, or, when it has no footer, the member itself (whose digest can hardly be right:
 * what is covered is inflate, the tar around the JSON, and all bounds).
 */
#include <string.h>

#include "image/toc_estargz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_estargz_ref ref = { 0 };
	lcm_auto(lcm_toc_builder) b = NULL;
	struct lcm_err err = { 0 };
	int r = lcm_estargz_footer(data, size, size, &ref, &err);

	if (r == 0 && (ref.off >= size || ref.len < 1 || ref.len > size - ref.off))
		abort();
	if (r < 0) {
		ref = (struct lcm_estargz_ref){ .off = size, .len = size };
		if (r == -EUCLEAN && !err.msg[0])
			abort();
	}
	if (lcm_toc_builder_new(&b) < 0)
		return 0;
	err = (struct lcm_err){ 0 };
	r = lcm_estargz_parse(&ref, r == 0 ? data + ref.off : data, ref.len, b, &err);
	if (r > 0 || (r < 0 && r != -ENOMEM && !err.msg[0]))
		abort();
	return 0;
}
