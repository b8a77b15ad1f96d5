/* SPDX-License-Identifier: Apache-2.0 */
/* The heads of a unit's stream: what is taken is within its bounds and written back as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit/frame.h"

#define END (1ULL << 30)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void frames(const uint8_t *p, size_t size)
{
	uint8_t again[LCM_FRAME_BYTES];
	struct lcm_frame f;
	uint64_t at = 0;

	for (; size >= LCM_FRAME_BYTES; p += LCM_FRAME_BYTES, size -= LCM_FRAME_BYTES) {
		if (lcm_frame_get(p, at, END, &f) < 0)
			continue;
		lcm_frame_put(again, &f);
		if (memcmp(again, p, LCM_FRAME_BYTES) != 0)
			abort();
		if (f.type == LCM_FRAME_END)
			continue;
		if (f.plain == 0 || f.plain > LCM_FRAME_PLAIN_MAX ||
		    f.stored > LCM_FRAME_STORED_MAX || f.offset < at || f.offset + f.plain > END)
			abort();
		at = f.offset + f.plain;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[LCM_FRAME_HEAD];
	struct lcm_digest json;
	uint32_t len;

	if (size < LCM_FRAME_HEAD)
		return 0;
	if (lcm_frame_get_head(data, &len, &json) == 0) {
		if (len > LCM_FRAME_JSON_MAX)
			abort();
		lcm_frame_put_head(again, len, &json);
		if (memcmp(again, data, LCM_FRAME_HEAD) != 0)
			abort();
	}
	frames(data + LCM_FRAME_HEAD, size - LCM_FRAME_HEAD);
	return 0;
}
