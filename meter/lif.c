/* SPDX-License-Identifier: Apache-2.0 */
#include "meter/lif.h"

#include <string.h>

#define FIRST_NS_PER_BYTE 80.0 /* 100 Mbit/s, until it is measured */
#define RATE_WINDOW (1U << 20) /* bytes that a measurement is held against */

struct lcm_lif *lcm_lif_new(void)
{
	struct lcm_lif *l = calloc(1, sizeof(*l));

	if (l)
		*l = (struct lcm_lif){ .refs = 1, .weight = LCM_LIF_WEIGHT };
	return l;
}

struct lcm_lif *lcm_lif_ref(struct lcm_lif *l)
{
	l->refs++;
	return l;
}

void lcm_lif_unref(struct lcm_lif *l)
{
	if (l && --l->refs == 0)
		free(l);
}

/* ---- turns ---- */

void lcm_lif_enter(struct lcm_lifs *all, struct lcm_lif *l)
{
	if (l->asking++ == 0)
		l->clock = LCM_MAX(l->clock, all->clock);
}

void lcm_lif_leave(struct lcm_lif *l)
{
	l->asking--;
}

bool lcm_lif_before(const struct lcm_lifs *all, const struct lcm_lif *a, const struct lcm_lif *b)
{
	return (a ? a->clock : all->clock) < (b ? b->clock : all->clock);
}

static double rate(const struct lcm_lifs *all)
{
	return all->ns_per_byte > 0 ? all->ns_per_byte : FIRST_NS_PER_BYTE;
}

static uint64_t scaled(const struct lcm_lif *l, double ns)
{
	return (uint64_t)(ns * LCM_LIF_WEIGHT / l->weight);
}

uint64_t lcm_lif_start(struct lcm_lifs *all, struct lcm_lif *l, uint64_t bytes)
{
	uint64_t estimate;

	if (!l)
		return 0;
	all->clock = LCM_MAX(all->clock, l->clock);
	estimate = scaled(l, (double)bytes * rate(all));
	l->clock += estimate;
	l->spans++;
	return estimate;
}

void lcm_lif_end(struct lcm_lif *l, uint64_t estimate)
{
	if (!l)
		return;
	l->clock -= LCM_MIN(estimate, l->clock);
	l->spans--;
}

void lcm_lifs_measured(struct lcm_lifs *all, uint64_t bytes, uint64_t ns)
{
	double weight = (double)LCM_MIN(bytes, (uint64_t)RATE_WINDOW) / RATE_WINDOW;

	if (!bytes)
		return;
	if (all->ns_per_byte > 0)
		all->ns_per_byte += weight * ((double)ns / (double)bytes - all->ns_per_byte);
	else
		all->ns_per_byte = (double)ns / (double)bytes;
}

/* ---- charges ---- */

/* The @i-th of @n parts of @v; the parts of a whole make it up. */
static uint64_t part(uint64_t v, size_t n, size_t i)
{
	return v / n + (i < v % n);
}

static void add(struct lcm_lif_cost *to, const struct lcm_lif_cost *c)
{
	to->requests += c->requests;
	to->fetched_bytes += c->fetched_bytes;
	to->decoded_bytes += c->decoded_bytes;
	to->written_bytes += c->written_bytes;
	to->decode_ns += c->decode_ns;
	to->write_ns += c->write_ns;
	to->queue_ns += c->queue_ns;
	to->fetch_ns += c->fetch_ns;
}

static struct lcm_lif_cost share(const struct lcm_lif_cost *c, size_t n, size_t i)
{
	return (struct lcm_lif_cost){
		.requests = c->requests,
		.fetched_bytes = part(c->fetched_bytes, n, i),
		.decoded_bytes = part(c->decoded_bytes, n, i),
		.written_bytes = part(c->written_bytes, n, i),
		.decode_ns = part(c->decode_ns, n, i),
		.write_ns = part(c->write_ns, n, i),
		.queue_ns = c->queue_ns,
		.fetch_ns = c->fetch_ns,
	};
}

static uint64_t took(const struct lcm_lif_cost *c)
{
	return c->queue_ns + c->fetch_ns + c->decode_ns + c->write_ns;
}

/* As much of the end as is kept, whole characters of UTF-8. */
static const char *end_of(const char *path)
{
	size_t len = strlen(path), keep = sizeof(((struct lcm_lif_file *)0)->path) - 1;

	if (len <= keep)
		return path;
	path += len - keep;
	while (((uint8_t)*path & 0xc0) == 0x80)
		path++;
	return path;
}

/* @cost: of the whole request, which is what this LIF has waited for. A file is there once. */
static void remember(struct lcm_lif *l, const struct lcm_lif_cost *cost, const char *path)
{
	const char *end = end_of(path);
	uint32_t at = 0;

	while (at < l->n_worst && strcmp(l->worst[at].path, end) != 0)
		at++;
	if (at == l->n_worst && at < LCM_LIF_WORST)
		l->n_worst++;
	else if (took(cost) <= took(&l->worst[at = LCM_MIN(at, LCM_LIF_WORST - 1)].cost))
		return;
	for (; at > 0 && took(&l->worst[at - 1].cost) < took(cost); at--)
		l->worst[at] = l->worst[at - 1];
	memcpy(l->worst[at].path, end, strlen(end) + 1);
	l->worst[at].cost = *cost;
}

void lcm_lif_charge(struct lcm_lifs *all, struct lcm_lif *const *lifs, size_t n,
		    const struct lcm_lif_cost *cost, const char *path)
{
	/* Waits are told of once for each that waited; the total is of the same kind. */
	for (size_t i = 0; i < n; i++) {
		struct lcm_lif_cost c = share(cost, n, i);

		add(&lifs[i]->demand, &c);
		add(&all->demand, &c);
		lifs[i]->clock += scaled(lifs[i], (double)c.fetched_bytes * rate(all) +
						      (double)c.decode_ns + (double)c.write_ns);
		if (path)
			remember(lifs[i], cost, path);
		if (lifs[i]->charged)
			lifs[i]->charged(lifs[i]->arg, &c);
	}
	if (n)
		return;
	add(&all->demand, cost);
	add(&all->nobody_demand, cost);
}

void lcm_lif_charge_background(struct lcm_lifs *all, struct lcm_lif *const *lifs, size_t n,
			       const struct lcm_lif_cost *cost)
{
	for (size_t i = 0; i < n; i++) {
		struct lcm_lif_cost c = share(cost, n, i);

		add(&lifs[i]->background, &c);
	}
	add(&all->background, cost);
	if (!n)
		add(&all->nobody_background, cost);
}
