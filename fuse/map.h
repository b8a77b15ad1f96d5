/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.h - an intrusive hash map from a 64-bit key to what contains the node.
 *
 * Layer: fuse. Adding cannot fail: the table is made once and grows when memory
 * allows, which costs speed only. Threads: the caller's lock.
 */
#ifndef LCM_MAP_H
#define LCM_MAP_H

#include "src/base/base.h"

/* Embedded in its owner; valid in one map at a time. */
struct lcm_map_node {
	uint64_t key;
	struct lcm_map_node *next; /* of the same bucket */
};

struct lcm_map {
	struct lcm_map_node **buckets; /* owned; 1 << bits of them */
	unsigned int bits;
	size_t n; /* nodes in the map */
};

/** lcm_map_init - an empty map. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_map_init(struct lcm_map *m);
/** lcm_map_fini - free the table; the nodes are their owners' business. A zeroed map is allowed. */
void lcm_map_fini(struct lcm_map *m);
/** lcm_map_find - the node of @key, or NULL. Complexity: O(1) expected. */
struct lcm_map_node *lcm_map_find(const struct lcm_map *m, uint64_t key);
/** lcm_map_add - @node->key must not be in the map. */
void lcm_map_add(struct lcm_map *m, struct lcm_map_node *node);
/** lcm_map_del - @node must be in the map. */
void lcm_map_del(struct lcm_map *m, struct lcm_map_node *node);
/** lcm_map_any - some node, or NULL when empty; for emptying the map. */
struct lcm_map_node *lcm_map_any(const struct lcm_map *m);
/** lcm_map_each - call @fn for every node; @fn must not change the map. */
void lcm_map_each(const struct lcm_map *m, void (*fn)(void *arg, struct lcm_map_node *node),
		  void *arg);

#endif
