/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_ztoc_parse(), with it flat.c and spans in the builder. The first byte's lowest bit is
 * the compression, the next two bytes are the size of the blob. What was taken must be a TOC
 * that can be written, or one with a reason why not.
 */
#include <string.h>

#include "image/ztoc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sink_add(void *arg, const void *p, size_t len)
{
	(void)p;
	*(size_t *)arg += len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_toc_id id = { .compression = LCM_COMP_NONE };
	lcm_auto(lcm_toc_builder) b = NULL;
	struct lcm_err err = { 0 };
	size_t written = 0;
	const struct lcm_toc_sink sink = { sink_add, sink_add, &written };
	int r;

	if (size < 3 || lcm_toc_builder_new(&b) < 0)
		return 0;
	if (data[0] & 1)
		id.compression = LCM_COMP_GZIP;
	id.blob_size = (uint64_t)data[1] << 8 | data[2];
	r = lcm_ztoc_parse(data + 3, size - 3, &id, b, &err);
	if (r == 0)
		r = lcm_toc_builder_write(b, &id, &sink, &err);
	if (r > 0 || (r < 0 && r != -ENOMEM && !err.msg[0]) ||
	    (r == 0 && written <= LCM_TOC_HEADER_LEN))
		abort();
	return 0;
}
