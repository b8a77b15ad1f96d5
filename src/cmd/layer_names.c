/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/layer_names.h"

#include <string.h>

#include "image/reference.h"
#include "src/base/base64.h"

#define REF_MAX (LCM_REFERENCE_STR_MAX - 1)
#define INDEX_BITS 16U
#define INDEX_MASK ((1U << INDEX_BITS) - 1)

struct slot {
	uint64_t id;   /* a serial number and the index here; 0: free */
	uint64_t used; /* when it was looked up last */
	union {
		char *ref;                 /* owned; as podman has it */
		struct layer_mount *layer; /* owned */
	};
	uint32_t holds;
};

struct table {
	struct slot *slots; /* owned */
	uint32_t n, max;
};

struct layer_names {
	pthread_mutex_t lock; /* of all; layers have one each, too */
	uint64_t clock;       /* of lookups, and serial numbers */
	struct table refs, layers;
};

struct layer_names *layer_names_new(uint32_t refs, uint32_t layers)
{
	struct layer_names *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	(void)pthread_mutex_init(&n->lock, NULL);
	n->refs.slots = calloc(refs, sizeof(struct slot));
	n->refs.max = refs;
	n->layers.slots = calloc(layers, sizeof(struct slot));
	n->layers.max = layers;
	if (n->refs.slots && n->layers.slots)
		return n;
	layer_names_free(n);
	return NULL;
}

void layer_names_free(struct layer_names *n)
{
	if (!n)
		return;
	for (uint32_t i = 0; i < n->layers.n; i++)
		layer_mount_free(n->layers.slots[i].layer);
	for (uint32_t i = 0; i < n->refs.n; i++)
		free(n->refs.slots[i].ref);
	free(n->layers.slots);
	free(n->refs.slots);
	(void)pthread_mutex_destroy(&n->lock);
	free(n);
}

/* One that is free, or else the idle one that was looked up the longest time ago. */
static struct slot *room(struct table *t, bool (*idle)(const struct slot *))
{
	struct slot *found = NULL;

	if (t->n < t->max)
		return &t->slots[t->n];
	for (struct slot *s = t->slots; s < t->slots + t->n; s++)
		if (idle(s) && (!found || s->used < found->used))
			found = s;
	return found;
}

static uint64_t looked_up(struct layer_names *n, struct slot *s)
{
	s->used = ++n->clock;
	return s->id;
}

static uint64_t name_it(struct layer_names *n, struct table *t, struct slot *s)
{
	uint32_t i = (uint32_t)(s - t->slots);

	t->n += i == t->n;
	s->id = ++n->clock << INDEX_BITS | i;
	return looked_up(n, s);
}

static struct slot *by_id(struct table *t, uint64_t id)
{
	uint32_t i = (uint32_t)id & INDEX_MASK;

	return i < t->n && t->slots[i].id == id ? &t->slots[i] : NULL;
}

/* ---- references ---- */

static bool ref_idle(const struct slot *s)
{
	(void)s;
	return true;
}

/* Return: its length, -ENOENT. */
static int decode_ref(const char *name, char text[REF_MAX + 4])
{
	struct lcm_reference ref;
	size_t len = strlen(name);
	long n = len / 4 * 3 < REF_MAX + 4 ? lcm_base64(name, len, (uint8_t *)text) : -EUCLEAN;

	if (n <= 0 || memchr(text, 0, (size_t)n))
		return -ENOENT;
	text[n] = '\0';
	return lcm_reference_parse(text, &ref, NULL) < 0 ? -ENOENT : (int)n;
}

static int find_ref(struct layer_names *n, const char *text, uint64_t *ret)
{
	struct table *t = &n->refs;
	struct slot *s;
	char *copy;

	for (s = t->slots; s < t->slots + t->n; s++)
		if (strcmp(s->ref, text) == 0) {
			*ret = looked_up(n, s);
			return 0;
		}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	s = room(t, ref_idle);
	free(s->ref);
	s->ref = copy;
	*ret = name_it(n, t, s);
	return 0;
}

int layer_names_ref(struct layer_names *n, const char *name, uint64_t *ret)
{
	char text[REF_MAX + 4];
	int r = decode_ref(name, text);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&n->lock);
	r = find_ref(n, text, ret);
	(void)pthread_mutex_unlock(&n->lock);
	return r;
}

/* ---- layers ---- */

/* Nobody changes one that nobody holds. */
static bool layer_idle(const struct slot *s)
{
	return !s->holds && !s->layer->users && !s->layer->mounted;
}

static int find_layer(struct layer_names *n, const char *image, const struct lcm_digest *d,
		      uint64_t *ret)
{
	struct table *t = &n->layers;
	struct layer_mount *l;
	struct slot *s;

	for (s = t->slots; s < t->slots + t->n; s++)
		if (lcm_digest_equal(&s->layer->digest, d) && strcmp(s->layer->image, image) == 0) {
			*ret = looked_up(n, s);
			return 0;
		}
	s = room(t, layer_idle);
	l = s ? layer_mount_new(image, d) : NULL;
	if (!l)
		return s ? -ENOMEM : -ENOSPC;
	layer_mount_free(s->layer);
	s->layer = l;
	*ret = name_it(n, t, s);
	return 0;
}

int layer_names_layer(struct layer_names *n, uint64_t ref, const char *name, uint64_t *ret)
{
	const struct slot *of;
	struct lcm_digest d;
	int r = -ESTALE;

	if (lcm_digest_parse(name, strlen(name), &d) < 0)
		return -ENOENT;
	(void)pthread_mutex_lock(&n->lock);
	of = by_id(&n->refs, ref);
	if (of)
		r = find_layer(n, of->ref, &d, ret);
	(void)pthread_mutex_unlock(&n->lock);
	return r;
}

struct layer_mount *layer_names_hold(struct layer_names *n, uint64_t id)
{
	struct slot *s;

	(void)pthread_mutex_lock(&n->lock);
	s = by_id(&n->layers, id);
	if (s)
		s->holds++;
	(void)pthread_mutex_unlock(&n->lock);
	return s ? s->layer : NULL;
}

void layer_names_drop(struct layer_names *n, uint64_t id)
{
	struct slot *s;

	(void)pthread_mutex_lock(&n->lock);
	s = by_id(&n->layers, id);
	if (s)
		s->holds--;
	(void)pthread_mutex_unlock(&n->lock);
}
