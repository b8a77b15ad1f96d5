/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/breaker.h"

#define MS 1000000ULL

const char *lcm_breaker_name(enum lcm_breaker_state s)
{
	static const char *const names[] = { [LCM_BREAKER_CLOSED] = "closed",
					     [LCM_BREAKER_OPEN] = "open",
					     [LCM_BREAKER_HALF_OPEN] = "half-open" };

	return s < LCM_BREAKER_STATE_MAX ? names[s] : "?";
}

static void open_it(struct lcm_breaker *b, uint64_t now_ns, uint64_t rnd)
{
	uint64_t pause = LCM_MIN((uint64_t)LCM_BREAKER_PAUSE_MS << LCM_MIN(b->trips, 16U),
				 (uint64_t)LCM_BREAKER_PAUSE_MAX_MS);

	b->state = LCM_BREAKER_OPEN;
	b->until_ns = now_ns + (pause / 2 + rnd % (pause / 2 + 1)) * MS;
	b->good = 0;
	b->trips++;
	b->opened++;
}

void lcm_breaker_success(struct lcm_breaker *b)
{
	b->state = LCM_BREAKER_CLOSED;
	b->fails = 0;
	if (b->good < LCM_BREAKER_FAILS)
		b->good++;
	if (b->good == LCM_BREAKER_FAILS)
		b->trips = 0;
}

void lcm_breaker_failure(struct lcm_breaker *b, uint64_t now_ns, uint64_t rnd)
{
	/* What began before it opened tells nothing new. */
	if (b->state != LCM_BREAKER_CLOSED)
		return;
	b->good = 0;
	if (++b->fails >= LCM_BREAKER_FAILS)
		open_it(b, now_ns, rnd);
}

bool lcm_breaker_probe(struct lcm_breaker *b, uint64_t now_ns)
{
	if (b->state != LCM_BREAKER_OPEN || now_ns < b->until_ns)
		return false;
	b->state = LCM_BREAKER_HALF_OPEN;
	return true;
}

void lcm_breaker_probed(struct lcm_breaker *b, bool good, uint64_t now_ns, uint64_t rnd)
{
	if (b->state != LCM_BREAKER_HALF_OPEN)
		return;
	if (!good) {
		open_it(b, now_ns, rnd);
		return;
	}
	b->state = LCM_BREAKER_CLOSED;
	b->good = 0;
	b->fails = LCM_BREAKER_FAILS - 1;
}
