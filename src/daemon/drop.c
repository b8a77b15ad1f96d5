/* SPDX-License-Identifier: Apache-2.0 */
/* drop.c - forget what is stored but not in use. */
#include <string.h>

#include "src/daemon/session.h"

struct drop {
	struct lcm_host *h;
	const struct lcm_image_config *cfg; /* only these diffIDs; NULL: all */
	const char *image;                  /* keep the layers of all images but this; NULL: none */
	struct lcm_digest *keep;            /* owned; diffIDs of those */
	size_t n_keep;
	struct lcm_drop_result *res;
	bool toc;
	int64_t *ids; /* owned */
	size_t n, cap;
};

static bool selected(const struct drop *d, const struct lcm_layer_row *row)
{
	for (size_t i = 0; i < d->n_keep; i++)
		if (lcm_digest_equal(&d->keep[i], &row->key.diffid))
			return false;
	if (!d->cfg)
		return true;
	for (size_t i = 0; i < d->cfg->n_diffids; i++)
		if (lcm_digest_equal(&d->cfg->diffids[i], &row->key.diffid))
			return true;
	return false;
}

static int collect(void *arg, const struct lcm_layer_row *row)
{
	struct drop *d = arg;
	struct lcm_layer *l = lcm_layer_find(d->h->e, row->id);

	if (!selected(d, row))
		return 0;
	if (l && l->watches) {
		d->res->in_use++;
		return 0;
	}
	if (l) {
		lcm_layer_doom(l, d->toc);
		d->res->layers++;
		return 0;
	}
	if (d->n == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 64;
		void *p = reallocarray(d->ids, cap, sizeof(*d->ids));

		if (!p)
			return -ENOMEM;
		d->ids = p;
		d->cap = cap;
	}
	d->ids[d->n++] = row->id;
	d->res->bytes += row->real_bytes;
	return 0;
}

static int load_config(struct lcm_host *h, const char *image, struct lcm_image_config **ret,
		       struct lcm_err *err)
{
	struct lcm_image_row row = { 0 };
	char text[LCM_REFERENCE_STR_MAX];
	struct lcm_reference ref;
	int r = lcm_reference_parse(image, &ref, err);

	if (r < 0)
		return r;
	r = lcm_store_image_get(h->e->store, lcm_reference_str(&ref, text, sizeof(text)), &row);
	if (r < 0)
		return lcm_err_set(err, r, "%s is not in the store (locum images lists what is)",
				   text);
	r = lcm_image_config_parse(row.config_text, strlen(row.config_text), ret, err);
	lcm_image_row_fini(&row);
	return r;
}

static int forget_image(void *arg, const struct lcm_image_row *row)
{
	json_t *refs = arg;

	return json_array_append_new(refs, json_string(row->ref));
}

/* Manifests and configs of everything: the next mount asks the registry again. */
static int forget_images(struct lcm_host *h)
{
	json_t *refs = json_array(), *v;
	int r = lcm_store_image_each(h->e->store, forget_image, refs);
	size_t i;

	json_array_foreach (refs, i, v)
		if (r == 0)
			r = lcm_store_image_remove(h->e->store, json_string_value(v));
	json_decref(refs);
	return r;
}

/* Drops what is selected. */
static int drop_layers(struct drop *d, bool all, struct lcm_err *err)
{
	int r = lcm_store_layer_each(d->h->e->store, collect, d);

	for (size_t i = 0; i < d->n && r == 0; i++) {
		r = lcm_store_layer_drop(d->h->e->store, d->ids[i], !all, err);
		if (r == -EBUSY) {
			d->res->in_use++;
			r = 0;
		} else if (r == 0) {
			d->res->layers++;
		}
	}
	free(d->ids);
	free(d->keep);
	lcm_engine_sweep(d->h->e);
	return r;
}

int lcm_drop_cache(struct lcm_host *h, const char *image, bool all, struct lcm_drop_result *ret,
		   struct lcm_err *err)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	struct drop d = { .h = h, .res = ret, .toc = all };
	int r = 0;

	if (*image)
		r = load_config(h, image, &cfg, err);
	if (r < 0)
		return r;
	d.cfg = cfg;
	r = drop_layers(&d, all, err);
	if (r == 0 && all && !*image)
		r = forget_images(h);
	return r;
}

static int keep_layers(void *arg, const struct lcm_image_row *row)
{
	struct drop *d = arg;
	lcm_auto(lcm_image_config) cfg = NULL;
	void *p;

	if (strcmp(row->ref, d->image) == 0 ||
	    lcm_image_config_parse(row->config_text, strlen(row->config_text), &cfg, NULL) < 0)
		return 0;
	p = reallocarray(d->keep, d->n_keep + cfg->n_diffids + 1, sizeof(*d->keep));
	if (!p)
		return -ENOMEM;
	d->keep = p;
	memcpy(d->keep + d->n_keep, cfg->diffids, cfg->n_diffids * sizeof(*d->keep));
	d->n_keep += cfg->n_diffids;
	return 0;
}

int lcm_drop_image(struct lcm_host *h, const char *image, struct lcm_drop_result *ret,
		   struct lcm_err *err)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	struct drop d = { .h = h, .res = ret, .toc = true, .image = image };
	uint64_t in_use = ret->in_use;
	int r = load_config(h, image, &cfg, err);

	if (r == 0)
		r = lcm_store_image_each(h->e->store, keep_layers, &d);
	if (r < 0) {
		free(d.keep);
		return r == -ENOENT ? 0 : r;
	}
	d.cfg = cfg;
	r = drop_layers(&d, true, err);
	/* It says which layers are its own: while some cannot go yet it is needed. */
	if (r < 0 || ret->in_use > in_use)
		return r;
	return lcm_store_image_remove(h->e->store, image);
}
