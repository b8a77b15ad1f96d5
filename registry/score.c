/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/score.h"

uint32_t lcm_score(const struct lcm_load *l, uint64_t more)
{
	uint64_t bps = l->bps ? l->bps : LCM_SCORE_UNKNOWN_BPS;
	uint64_t bytes = LCM_MIN(l->in_flight, UINT64_MAX / 2000) +
			 LCM_MIN(more, UINT64_MAX / 2000);
	uint64_t queue = LCM_MIN(bytes * 1000 / bps, (uint64_t)UINT32_MAX);
	uint64_t history = (uint64_t)l->errors * LCM_SCORE_ERROR_MS + l->latency_ms;
	uint64_t sum = queue * LCM_SCORE_QUEUE_WEIGHT + history * LCM_SCORE_HISTORY_WEIGHT;

	sum /= LCM_SCORE_QUEUE_WEIGHT + LCM_SCORE_HISTORY_WEIGHT;
	return (uint32_t)LCM_MIN(LCM_MAX(sum, (uint64_t)LCM_SCORE_IDLE), (uint64_t)UINT32_MAX);
}

const char *lcm_balance_name(enum lcm_balance b)
{
	static const char *const names[] = {
		[LCM_BALANCE_ALONE] = "alone",  [LCM_BALANCE_OVERLOADED] = "all overloaded",
		[LCM_BALANCE_LEVEL] = "level",  [LCM_BALANCE_RESTING] = "resting",
		[LCM_BALANCE_FULL] = "no room", [LCM_BALANCE_MOVE] = "move",
	};

	return b < LCM_BALANCE_MAX ? names[b] : "?";
}

/* In thousandths of the higher. */
static uint32_t spread(uint32_t hi, uint32_t lo)
{
	return hi > lo ? (uint32_t)((uint64_t)(hi - lo) * 1000 / hi) : 0;
}

/* Rounding down must not make what is over the threshold look as if it were at it. */
static bool over_threshold(uint32_t hi, uint32_t lo)
{
	return hi > lo && (uint64_t)(hi - lo) * 1000 > (uint64_t)hi * LCM_SCORE_SPREAD;
}

/* With the piece the taker is not overloaded, and as much better than the giver was as is worth a
 * move: they have not only changed places, and the next decision cannot be the way back. */
static bool helps(const struct lcm_balance_host *from, const struct lcm_balance_host *to)
{
	uint32_t taker = lcm_score(&to->load, from->piece);

	return from->piece && taker < LCM_SCORE_OVERLOAD &&
	       over_threshold(lcm_score(&from->load, 0), taker);
}

struct lcm_decision lcm_balance(const struct lcm_balance_host *h, size_t n, uint64_t moved_ns,
				uint64_t now_ns)
{
	struct lcm_decision d = { .what = LCM_BALANCE_ALONE };

	for (size_t i = 0; i < n; i++) {
		uint32_t s = lcm_score(&h[i].load, 0);

		if (i == 0 || s > d.hi) {
			d.hi = s;
			d.from = i;
		}
		if (i == 0 || s < d.lo) {
			d.lo = s;
			d.to = i;
		}
	}
	d.spread = spread(d.hi, d.lo);
	if (n < 2)
		return d;
	if (d.lo >= LCM_SCORE_OVERLOAD)
		d.what = LCM_BALANCE_OVERLOADED;
	else if (!over_threshold(d.hi, d.lo))
		d.what = LCM_BALANCE_LEVEL;
	else if (moved_ns && now_ns < moved_ns + LCM_SCORE_REST_NS)
		d.what = LCM_BALANCE_RESTING;
	else if (!helps(&h[d.from], &h[d.to]))
		d.what = LCM_BALANCE_FULL;
	else
		d.what = LCM_BALANCE_MOVE;
	return d;
}

size_t lcm_score_pick(const struct lcm_load *l, size_t n, uint64_t bytes)
{
	size_t best = n, lowest = n;
	uint32_t best_score = 0, lowest_score = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t s = lcm_score(&l[i], bytes);

		if (lowest == n || s < lowest_score) {
			lowest = i;
			lowest_score = s;
		}
		if (s >= LCM_SCORE_OVERLOAD)
			continue;
		if (best == n || over_threshold(best_score, s)) {
			best = i;
			best_score = s;
		}
	}
	return best == n ? lowest : best;
}
