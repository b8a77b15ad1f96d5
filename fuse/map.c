/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/map.h"

#define BITS_MIN 4U
#define BITS_MAX 24U

/* Fibonacci hashing: keys are small integers in both halves. */
static size_t bucket_of(uint64_t key, unsigned int bits)
{
	return (size_t)((key * 0x9E3779B97F4A7C15ULL) >> (64 - bits));
}

int lcm_map_init(struct lcm_map *m)
{
	struct lcm_map_node **b = calloc((size_t)1 << BITS_MIN, sizeof(*b));

	if (!b)
		return -ENOMEM;
	*m = (struct lcm_map){ .buckets = b, .bits = BITS_MIN };
	return 0;
}

void lcm_map_fini(struct lcm_map *m)
{
	free(m->buckets);
	*m = (struct lcm_map){ 0 };
}

struct lcm_map_node *lcm_map_find(const struct lcm_map *m, uint64_t key)
{
	struct lcm_map_node *n = m->buckets[bucket_of(key, m->bits)];

	while (n && n->key != key)
		n = n->next;
	return n;
}

static void grow(struct lcm_map *m)
{
	unsigned int bits = m->bits + 1;
	struct lcm_map_node **b = calloc((size_t)1 << bits, sizeof(*b));

	if (!b)
		return;
	for (size_t i = 0; i < (size_t)1 << m->bits; i++) {
		while (m->buckets[i]) {
			struct lcm_map_node *n = m->buckets[i];
			size_t to = bucket_of(n->key, bits);

			m->buckets[i] = n->next;
			n->next = b[to];
			b[to] = n;
		}
	}
	free(m->buckets);
	m->buckets = b;
	m->bits = bits;
}

void lcm_map_add(struct lcm_map *m, struct lcm_map_node *node)
{
	size_t i;

	if (m->n >= (size_t)1 << m->bits && m->bits < BITS_MAX)
		grow(m);
	i = bucket_of(node->key, m->bits);
	node->next = m->buckets[i];
	m->buckets[i] = node;
	m->n++;
}

void lcm_map_del(struct lcm_map *m, struct lcm_map_node *node)
{
	struct lcm_map_node **p = &m->buckets[bucket_of(node->key, m->bits)];

	while (*p != node)
		p = &(*p)->next;
	*p = node->next;
	node->next = NULL;
	m->n--;
}

struct lcm_map_node *lcm_map_any(const struct lcm_map *m)
{
	for (size_t i = 0; m->n && i < (size_t)1 << m->bits; i++)
		if (m->buckets[i])
			return m->buckets[i];
	return NULL;
}

void lcm_map_each(const struct lcm_map *m, void (*fn)(void *arg, struct lcm_map_node *node),
		  void *arg)
{
	if (!m->buckets)
		return;
	for (size_t i = 0; i < (size_t)1 << m->bits; i++)
		for (struct lcm_map_node *n = m->buckets[i]; n; n = n->next)
			fn(arg, n);
}
