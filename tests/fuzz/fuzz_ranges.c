/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_ranges_decode(): what it takes encodes to the same bytes. The checksum is put right
 * first, or nothing gets past it. */
#include <string.h>

#include "src/base/digest.h"
#include "store/ranges.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t number(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void check(const uint8_t *p, size_t size, uint64_t id, uint64_t blob_size)
{
	lcm_autobuf struct lcm_buf again = LCM_BUF(LCM_RANGES_FILE_MAX);
	struct lcm_ranges rs = { 0 };
	uint64_t total = 0;

	if (lcm_ranges_decode(p, size, id, blob_size, &rs) < 0)
		return;
	for (size_t i = 0; i < rs.n; i++) {
		if (rs.v[i].off >= rs.v[i].end || rs.v[i].end > blob_size ||
		    (i && rs.v[i].off <= rs.v[i - 1].end))
			abort();
		total += rs.v[i].end - rs.v[i].off;
	}
	if (total != rs.total || lcm_ranges_encode(&rs, id, blob_size, &again) < 0)
		abort();
	if (again.len != size || memcmp(again.data, p, size) != 0)
		abort();
	lcm_ranges_fini(&rs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_autofree uint8_t *p = NULL;
	struct lcm_digest d;

	check(data, size, 1, 4096);
	if (size < 72)
		return 0;
	p = malloc(size);
	if (!p)
		return 0;
	memcpy(p, data, size);
	if (lcm_digest_of(p, size - 32, &d) < 0)
		return 0;
	memcpy(p + size - 32, d.b, 32);
	check(p, size, number(p + 16), number(p + 24));
	return 0;
}
