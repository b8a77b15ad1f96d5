/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/bound.h"

struct bound_file {
	struct lcm_map_node key;
	struct bound_file *next, *prev;
	uint64_t nlookup; /* since we count; >= 1 unless held */
	bool held;        /* and some from before */
	uint64_t round;   /* last round it was visited in */
};

static struct bound_file *find(const struct lcm_bound *b, uint32_t layer, uint32_t entry)
{
	struct lcm_map_node *n = lcm_map_find(&b->files, (uint64_t)layer << 32 | entry);

	return n ? lcm_container_of(n, struct bound_file, key) : NULL;
}

int lcm_bound_init(struct lcm_bound *b)
{
	*b = (struct lcm_bound){ 0 };
	return lcm_map_init(&b->files);
}

void lcm_bound_fini(struct lcm_bound *b)
{
	struct lcm_map_node *n;

	while ((n = lcm_map_any(&b->files))) {
		lcm_map_del(&b->files, n);
		free(lcm_container_of(n, struct bound_file, key));
	}
	lcm_map_fini(&b->files);
}

/* New ones go first: they were not visited. */
static void list_add_first(struct lcm_bound *b, struct bound_file *f)
{
	f->prev = NULL;
	f->next = b->first;
	if (b->first)
		b->first->prev = f;
	else
		b->last = f;
	b->first = f;
}

static void list_add_last(struct lcm_bound *b, struct bound_file *f)
{
	f->next = NULL;
	f->prev = b->last;
	if (b->last)
		b->last->next = f;
	else
		b->first = f;
	b->last = f;
}

static void list_del(struct lcm_bound *b, struct bound_file *f)
{
	if (f->prev)
		f->prev->next = f->next;
	else
		b->first = f->next;
	if (f->next)
		f->next->prev = f->prev;
	else
		b->last = f->prev;
}

static struct bound_file *get(struct lcm_bound *b, uint32_t layer, uint32_t entry)
{
	struct bound_file *f = find(b, layer, entry);

	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->key.key = (uint64_t)layer << 32 | entry;
	lcm_map_add(&b->files, &f->key);
	list_add_first(b, f);
	return f;
}

/* Returns true when it was the last. */
static bool put(struct lcm_bound *b, struct bound_file *f)
{
	if (f->nlookup || f->held)
		return false;
	lcm_map_del(&b->files, &f->key);
	list_del(b, f);
	free(f);
	return b->files.n == 0;
}

int lcm_bound_add(struct lcm_bound *b, uint32_t layer, uint32_t entry)
{
	struct bound_file *f = get(b, layer, entry);

	if (!f)
		return -ENOMEM;
	f->nlookup++;
	return 0;
}

/* The kernel forgets all lookups of a file at once, when it lets go of it (fuse_evict_inode()). */
bool lcm_bound_sub(struct lcm_bound *b, uint32_t layer, uint32_t entry, uint64_t n)
{
	struct bound_file *f = find(b, layer, entry);

	if (!f)
		return false;
	f->nlookup -= LCM_MIN(n, f->nlookup);
	f->held = false;
	return put(b, f);
}

int lcm_bound_hold(struct lcm_bound *b, uint32_t layer, uint32_t entry)
{
	struct bound_file *f = get(b, layer, entry);

	if (!f)
		return -ENOMEM;
	if (!f->nlookup)
		f->held = true;
	return 0;
}

bool lcm_bound_unhold(struct lcm_bound *b, uint32_t layer, uint32_t entry)
{
	struct bound_file *f = find(b, layer, entry);

	if (!f)
		return false;
	f->held = false;
	return put(b, f);
}

uint64_t lcm_bound_nlookup(const struct lcm_bound *b, uint32_t layer, uint32_t entry)
{
	struct bound_file *f = find(b, layer, entry);

	return f ? f->nlookup + f->held : 0;
}

void lcm_bound_round(struct lcm_bound *b)
{
	b->round++;
}

bool lcm_bound_visit(struct lcm_bound *b, uint32_t *ret_layer, uint32_t *ret_entry)
{
	struct bound_file *f = b->first;

	if (!f || f->round == b->round)
		return false;
	f->round = b->round;
	list_del(b, f);
	list_add_last(b, f);
	*ret_layer = (uint32_t)(f->key.key >> 32);
	*ret_entry = (uint32_t)f->key.key;
	return true;
}

struct each {
	void (*fn)(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup);
	void *arg;
};

static void each_file(void *arg, struct lcm_map_node *node)
{
	const struct bound_file *f = lcm_container_of(node, struct bound_file, key);
	const struct each *e = arg;

	e->fn(e->arg, (uint32_t)(f->key.key >> 32), (uint32_t)f->key.key, f->nlookup + f->held);
}

void lcm_bound_each(const struct lcm_bound *b,
		    void (*fn)(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup),
		    void *arg)
{
	struct each e = { fn, arg };

	lcm_map_each(&b->files, each_file, &e);
}
