/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/blocked.h"

void lcm_blocked_add(struct lcm_blocked *b, uint32_t layer, uint32_t entry, uint64_t wait_ns)
{
	struct lcm_gate_blocked file = { .layer = layer, .entry = entry };
	uint32_t i = 0;

	while (i < b->n && (b->worst[i].layer != layer || b->worst[i].entry != entry))
		i++;
	if (i < b->n)
		file = b->worst[i];
	else if (b->n < LCM_GATE_BLOCKED_MAX)
		b->n++;
	else if (wait_ns <= b->worst[--i].wait_ns)
		return;
	file.wait_ns += wait_ns;
	file.waits++;
	for (; i > 0 && b->worst[i - 1].wait_ns < file.wait_ns; i--)
		b->worst[i] = b->worst[i - 1];
	b->worst[i] = file;
}
