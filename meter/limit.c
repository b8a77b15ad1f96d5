/* SPDX-License-Identifier: Apache-2.0 */
#include "meter/limit.h"

#include <string.h>

static const struct {
	const char *name;
	uint64_t unit; /* of what is counted in one of the threshold's */
} resources[LCM_RES_MAX] = {
	[LCM_RES_REQUESTS] = { "requests", 1 },
	[LCM_RES_FETCHED_BYTES] = { "fetched_bytes", 1 },
	[LCM_RES_DECODED_BYTES] = { "decoded_bytes", 1 },
	[LCM_RES_WRITTEN_BYTES] = { "written_bytes", 1 },
	[LCM_RES_DECODE_MS] = { "decode_ms", 1000000 },
	[LCM_RES_DISK_MS] = { "disk_ms", 1000000 },
};

int lcm_resource_parse(const char *name, enum lcm_resource *ret)
{
	for (size_t i = 0; i < LCM_RES_MAX; i++) {
		if (strcmp(resources[i].name, name) != 0)
			continue;
		*ret = (enum lcm_resource)i;
		return 0;
	}
	return -EINVAL;
}

const char *lcm_resource_name(enum lcm_resource r)
{
	return resources[r].name;
}

int lcm_limits_check(const struct lcm_limits *l)
{
	if (l->n > LCM_LIMITS_MAX || (l->readmit != LCM_READMIT_ROLLOVER && !l->after))
		return -EINVAL;
	for (uint32_t i = 0; i < l->n; i++)
		if (l->v[i].interval_ns < LCM_LIMIT_INTERVAL_MIN ||
		    l->v[i].interval_ns > LCM_LIMIT_INTERVAL_MAX ||
		    l->v[i].threshold > UINT64_MAX / 1000000)
			return -EINVAL;
	return 0;
}

static uint64_t amount(enum lcm_resource r, const struct lcm_lif_cost *c)
{
	switch (r) {
	case LCM_RES_REQUESTS:
		return c->requests;
	case LCM_RES_FETCHED_BYTES:
		return c->fetched_bytes;
	case LCM_RES_DECODED_BYTES:
		return c->decoded_bytes;
	case LCM_RES_WRITTEN_BYTES:
		return c->written_bytes;
	case LCM_RES_DECODE_MS:
		return c->decode_ns;
	default:
		return c->write_ns;
	}
}

/* Windows lie at multiples of the interval, so that those of all LIFs roll over together. */
static void roll(struct lcm_limit *m, uint64_t now_ns)
{
	uint64_t window = now_ns / m->interval_ns;

	if (window == m->window)
		return;
	m->window = window;
	m->used = 0;
}

static bool is_over(const struct lcm_limit *m)
{
	return m->used > m->threshold * resources[m->resource].unit;
}

void lcm_limits_replace(struct lcm_limits *l, const struct lcm_limits *by, uint64_t now_ns)
{
	struct lcm_limits next = *by;

	next.over_since_ns = 0;
	next.last = l->last;
	next.times_held = l->times_held;
	next.times_rejected = l->times_rejected;
	for (uint32_t i = 0; i < next.n; i++) {
		struct lcm_limit *m = &next.v[i];

		m->window = now_ns / m->interval_ns;
		m->used = 0;
		for (uint32_t k = 0; k < l->n; k++) {
			roll(&l->v[k], now_ns);
			if (l->v[k].resource == m->resource &&
			    l->v[k].interval_ns == m->interval_ns)
				m->used = l->v[k].used;
		}
	}
	*l = next;
}

void lcm_limits_charge(struct lcm_limits *l, const struct lcm_lif_cost *cost, uint64_t now_ns)
{
	for (uint32_t i = 0; i < l->n; i++) {
		roll(&l->v[i], now_ns);
		l->v[i].used += amount(l->v[i].resource, cost);
	}
}

/* Return: how many are over; when the first of those rolls over. */
static uint32_t count_over(struct lcm_limits *l, uint64_t now_ns, uint64_t *ret_roll)
{
	uint32_t n = 0;

	*ret_roll = UINT64_MAX;
	for (uint32_t i = 0; i < l->n; i++) {
		roll(&l->v[i], now_ns);
		if (!is_over(&l->v[i]))
			continue;
		n++;
		*ret_roll = LCM_MIN(*ret_roll, (l->v[i].window + 1) * l->v[i].interval_ns);
	}
	return n;
}

/* For the ways of readmission that do not look at windows: is it time? */
static bool readmitted(const struct lcm_limits *l, uint64_t now_ns, uint64_t others)
{
	return l->readmit == LCM_READMIT_TIME ? now_ns >= l->over_since_ns + l->after
					      : others >= l->others_then + l->after;
}

static enum lcm_admission admission_of(uint32_t over)
{
	return over == 0 ? LCM_ADMITTED : over == 1 ? LCM_HELD : LCM_REJECTED;
}

static enum lcm_admission by_windows(struct lcm_limits *l, uint64_t now_ns, uint64_t *ret_again)
{
	uint64_t rolls;
	uint32_t over = count_over(l, now_ns, &rolls);

	*ret_again = over ? rolls : 0;
	return admission_of(over);
}

/* Until it is readmitted it is held at least, whatever rolls over meanwhile. */
static enum lcm_admission until_readmitted(struct lcm_limits *l, uint64_t now_ns, uint64_t others,
					   uint64_t *ret_again)
{
	uint64_t rolls;
	uint32_t over;

	*ret_again = 0;
	if (l->over_since_ns && readmitted(l, now_ns, others)) {
		for (uint32_t i = 0; i < l->n; i++)
			l->v[i].used = 0;
		l->over_since_ns = 0;
	}
	over = count_over(l, now_ns, &rolls);
	if (over && !l->over_since_ns) {
		l->over_since_ns = now_ns;
		l->others_then = others;
	}
	if (!l->over_since_ns)
		return LCM_ADMITTED;
	if (l->readmit == LCM_READMIT_TIME)
		*ret_again = l->over_since_ns + l->after;
	return admission_of(LCM_MAX(over, 1U));
}

enum lcm_admission lcm_limits_admission(struct lcm_limits *l, uint64_t now_ns, uint64_t others,
					uint64_t *ret_again)
{
	enum lcm_admission a = l->readmit == LCM_READMIT_ROLLOVER
				   ? by_windows(l, now_ns, ret_again)
				   : until_readmitted(l, now_ns, others, ret_again);

	l->times_held += a == LCM_HELD && l->last != LCM_HELD;
	l->times_rejected += a == LCM_REJECTED && l->last != LCM_REJECTED;
	l->last = a;
	return a;
}
