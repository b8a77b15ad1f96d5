/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_snapshot_filter(). The input is one filter, beside one that fits. */
#include <string.h>

#include "src/daemon/snapshot_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *info = json_pack("{s:s s:s s:{s:s}}", "name", "n", "parent", "", "labels",
				 "containerd.io/snapshot.ref", "x"),
	       *filters = json_array(), *filter = json_stringn((const char *)data, size);

	if (filter && json_array_append_new(filters, filter) == 0) {
		/* Whatever the first is, one that fits is enough. */
		(void)json_array_append_new(filters, json_string("name==n"));
		if (!lcm_snapshot_filter(info, filters))
			abort();
	}
	json_decref(info);
	json_decref(filters);
	return 0;
}
