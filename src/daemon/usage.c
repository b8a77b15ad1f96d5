/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/usage.h"

#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/layer.h"

#define KEPT_FILE_MAX (64U << 10) /* 500 ids of layers */
#define SETTLE_NS 1000000000ULL
#define PERIOD_NS 60000000000ULL

/* ---- collecting ---- */

static uint64_t blob_blocks(const struct lcm_host *h, int64_t id)
{
	char name[24];
	struct stat st;

	(void)snprintf(name, sizeof(name), "%lld", (long long)id);
	return lcm_sys_fstatat(lcm_store_blobs_fd(h->e->store), name, &st, 0) == 0
		   ? (uint64_t)st.st_blocks * 512
		   : 0;
}

struct collecting {
	struct lcm_host *h;
	struct lcm_usage *u;
};

static int collect(void *arg, const struct lcm_layer_row *row)
{
	const struct collecting *c = arg;
	const struct lcm_layer *l = lcm_layer_find(c->h->e, row->id);
	struct lcm_usage_layer *v = reallocarray(c->u->layers, c->u->n + 1, sizeof(*c->u->layers));
	char mount[65];

	if (!v)
		return -ENOMEM;
	c->u->layers = v;
	if (l && l->doomed && !l->watches)
		return 0; /* it goes with its last job, unless a mount takes it before */
	v += c->u->n++;
	*v = (struct lcm_usage_layer){ .id = row->id,
				       /* Nobody will use a damaged one: it goes first. */
				       .last_used_ns = row->damaged ? 0 : row->last_used_ns,
				       .bytes = row->real_bytes };
	if (!row->real_bytes)
		v->bytes = blob_blocks(c->h, row->id) + (l ? atomic_load(&l->bytes_local) : 0);
	v->used = (l && (l->watches || l->pull)) ||
		  lcm_store_layer_user(c->h->e->store, row->id, mount) != 0;
	c->u->bytes += v->bytes;
	return 0;
}

static struct lcm_usage_layer *by_id(const struct lcm_usage *u, int64_t id)
{
	size_t lo = 0, hi = u->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (u->layers[mid].id == id)
			return &u->layers[mid];
		if (u->layers[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Lines of ids. What is none is skipped: at worst a layer goes that can be fetched again. */
static void mark_lines(struct lcm_usage *u, const char *text)
{
	while (*text) {
		long long id;
		struct lcm_usage_layer *v = sscanf(text, "%18lld", &id) == 1 ? by_id(u, id) : NULL;

		if (v)
			v->used = true;
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
}

struct marking {
	struct lcm_usage *u;
	struct lcm_err *err;
};

/* What containers that were kept have written lies on these. */
static int mark_kept(void *arg, int containers, const char *id)
{
	const struct marking *m = arg;
	lcm_autofree char *text = NULL;
	char path[300];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/layers", id);
	r = lcm_read_file_at(containers, path, KEPT_FILE_MAX, &text, &len);
	if (r == 0)
		mark_lines(m->u, text);
	if (r == 0 || r == -ENOENT || r == -ENOTDIR)
		return 0;
	return lcm_err_set(m->err, r, "containers/%s: %s", path, strerror(-r));
}

/* The layers of the store; of those in use the ones that a mount or a pull has. */
static int collect_layers(struct lcm_host *h, struct lcm_usage *ret)
{
	struct lcm_usage u = { .n = 0 };
	struct collecting c = { h, &u };
	int r = lcm_store_layer_each(h->e->store, collect, &c);

	if (r < 0) {
		lcm_usage_fini(&u);
		return r;
	}
	*ret = u;
	return 0;
}

void lcm_usage_fini(struct lcm_usage *u)
{
	free(u->layers);
	*u = (struct lcm_usage){ .n = 0 };
}

/* ---- choosing ---- */

static int older(const void *a, const void *b)
{
	const struct lcm_usage_layer *const *x = a, *const *y = b;

	if ((*x)->last_used_ns != (*y)->last_used_ns)
		return (*x)->last_used_ns < (*y)->last_used_ns ? -1 : 1;
	return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

uint64_t lcm_usage_choose(struct lcm_usage *u, uint64_t target)
{
	lcm_autofree struct lcm_usage_layer **order = calloc(u->n + 1,
							     sizeof(struct lcm_usage_layer *));
	uint64_t left = u->bytes;
	size_t n = 0;

	for (size_t i = 0; order && i < u->n; i++)
		if (!u->layers[i].used)
			order[n++] = &u->layers[i];
	if (order)
		qsort(order, n, sizeof(struct lcm_usage_layer *), older);
	for (size_t i = 0; i < n && left > target; i++) {
		order[i]->chosen = true;
		left -= order[i]->bytes;
	}
	return left;
}

/* ---- dropping ---- */

static int drop(struct lcm_host *h, const struct lcm_usage_layer *v, struct lcm_err *err)
{
	struct lcm_layer *l = lcm_layer_find(h->e, v->id);

	if (!l)
		return lcm_store_layer_drop(h->e->store, v->id, true, err);
	lcm_layer_doom(l, false);
	return 0;
}

int lcm_gc_run(struct lcm_host *h, uint64_t high, uint64_t low, bool dry, struct lcm_gc_result *ret,
	       struct lcm_err *err)
{
	struct lcm_usage u = { .n = 0 };
	struct marking m = { &u, err };
	int r = collect_layers(h, &u);

	if (r == 0)
		r = lcm_dir_each(lcm_store_containers_fd(h->e->store), mark_kept, &m);
	if (r < 0) {
		lcm_usage_fini(&u);
		return r;
	}
	*ret = (struct lcm_gc_result){ .before = u.bytes, .after = u.bytes };
	if (u.bytes > high)
		(void)lcm_usage_choose(&u, low);
	for (size_t i = 0; i < u.n; i++) {
		const struct lcm_usage_layer *v = &u.layers[i];

		ret->used += v->used ? v->bytes : 0;
		ret->layers_used += v->used;
		if (!v->chosen || r < 0)
			continue;
		r = dry ? 0 : drop(h, v, err);
		if (r == 0) {
			ret->layers++;
			ret->after -= v->bytes;
		}
		if (r == -EBUSY)
			r = 0; /* a mount took it just now */
	}
	lcm_usage_fini(&u);
	if (!dry && ret->layers) {
		h->gc_layers += ret->layers;
		h->gc_bytes += ret->before - ret->after;
		lcm_engine_sweep(h->e);
	}
	return r;
}

/* ---- images ---- */

struct ids {
	int64_t *v; /* owned */
	size_t n;
};

struct listing {
	struct lcm_host *h;
	struct lcm_usage u;
	json_t *list;
	struct ids *of; /* owned, as many as the list has; layers that are here, each once */
};

/* What the store has of an image's layers, in whatever state. */
static int find_layers(struct listing *l, const struct lcm_image_row *row,
		       const struct lcm_manifest *m, struct ids *ret)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	struct lcm_layer_row layer;
	int r = lcm_image_config_parse(row->config_text, strlen(row->config_text), &cfg, NULL);

	if (r < 0 || cfg->n_diffids != m->n_layers)
		return 0; /* it is said when the image is mounted */
	ret->v = calloc(m->n_layers + 1, sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_layers; i++) {
		struct lcm_usage_layer *v;
		size_t k = 0;

		if (lcm_layer_row_of(l->h->e->store, &m->layers[i], &cfg->diffids[i], &layer,
				     NULL) < 0)
			continue;
		while (k < ret->n && ret->v[k] != layer.id)
			k++;
		v = k == ret->n ? by_id(&l->u, layer.id) : NULL;
		if (!v)
			continue;
		v->images++;
		ret->v[ret->n++] = layer.id;
	}
	return 0;
}

static int add_image(void *arg, const struct lcm_image_row *row)
{
	struct listing *l = arg;
	lcm_auto(lcm_manifest) m = NULL;
	size_t at = json_array_size(l->list);
	struct ids *of = reallocarray(l->of, at + 1, sizeof(*of));
	char digest[LCM_DIGEST_STR];
	uint64_t bytes = 0;
	int r = 0;

	if (!of)
		return -ENOMEM;
	l->of = of;
	of[at] = (struct ids){ .n = 0 };
	if (lcm_manifest_parse(row->manifest_text, strlen(row->manifest_text), NULL, &m, NULL) == 0)
		r = find_layers(l, row, m, &of[at]);
	for (size_t i = 0; m && i < m->n_layers; i++)
		bytes += m->layers[i].size;
	if (json_array_append_new(l->list,
				  json_pack("{s:s s:s s:I s:I s:I}", "image", row->ref, "digest",
					    lcm_digest_str(&row->manifest, digest), "layers",
					    (json_int_t)(m ? m->n_layers : 0), "blob_bytes",
					    (json_int_t)bytes, "last_used_s",
					    (json_int_t)(row->last_used_ns / 1000000000))) < 0) {
		free(of[at].v);
		return -ENOMEM;
	}
	return r;
}

/* Of each image what it has on the disk, and what of that nobody else has. */
static void add_sizes(struct listing *l)
{
	json_t *image;
	size_t i;

	json_array_foreach (l->list, i, image) {
		uint64_t bytes = 0, own = 0;

		for (size_t k = 0; k < l->of[i].n; k++) {
			const struct lcm_usage_layer *v = by_id(&l->u, l->of[i].v[k]);

			bytes += v->bytes;
			own += v->images == 1 ? v->bytes : 0;
		}
		free(l->of[i].v);
		(void)json_object_set_new(image, "disk_bytes", json_integer((json_int_t)bytes));
		(void)json_object_set_new(image, "own_bytes", json_integer((json_int_t)own));
	}
	free(l->of);
}

int lcm_usage_images(struct lcm_host *h, json_t **ret)
{
	struct listing l = { .h = h, .list = json_array() };
	int r = collect_layers(h, &l.u);

	if (r == 0)
		r = lcm_store_image_each(h->e->store, add_image, &l);
	add_sizes(&l);
	if (r == 0)
		*ret = json_pack("{s:O s:I}", "images", l.list, "disk_bytes",
				 (json_int_t)l.u.bytes);
	json_decref(l.list);
	lcm_usage_fini(&l.u);
	return r;
}

/* ---- by itself ---- */

struct lcm_gc {
	struct lcm_host *h; /* borrowed */
	uint64_t high, low;
	struct lcm_timer *timer; /* owned */
	struct lcm_session_watch watch;
	bool watching, soon;
};

static void on_timer(void *arg)
{
	struct lcm_gc *g = arg;
	struct lcm_gc_result res = { 0 };
	struct lcm_err err = { 0 };
	int r = lcm_gc_run(g->h, g->high, g->low, false, &res, &err);

	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "gc: %s", lcm_err_text(&err, r));
	else if (res.layers)
		lcm_log(LCM_LOG_NOTICE,
			"gc: %llu layers dropped, %llu of %llu bytes left, %llu of them in use",
			(unsigned long long)res.layers, (unsigned long long)res.after,
			(unsigned long long)res.before, (unsigned long long)res.used);
	g->soon = false;
	lcm_timer_set(g->timer, PERIOD_NS);
}

static void unwatch(struct lcm_gc *g)
{
	struct lcm_session_watch **p = &g->h->watches;

	while (g->watching && *p != &g->watch)
		p = &(*p)->next;
	if (g->watching)
		*p = g->watch.next;
	g->watching = false;
}

static void on_change(void *arg, struct lcm_session *s, bool gone)
{
	struct lcm_gc *g = arg;

	(void)gone;
	if (!s) {
		unwatch(g); /* the daemon ends */
		lcm_timer_clear(g->timer);
	} else if (!g->soon) {
		g->soon = true;
		lcm_timer_set(g->timer, SETTLE_NS);
	}
}

int lcm_gc_start(struct lcm_host *h, uint64_t high, uint64_t low, struct lcm_gc **ret)
{
	struct lcm_gc *g = calloc(1, sizeof(*g));
	int r = g ? lcm_timer_new(h->e->loop, on_timer, g, &g->timer) : -ENOMEM;

	if (r < 0) {
		free(g);
		return r;
	}
	g->h = h;
	g->high = high;
	g->low = low;
	g->watch = (struct lcm_session_watch){ .changed = on_change, .arg = g, .next = h->watches };
	h->watches = &g->watch;
	g->watching = true;
	lcm_timer_set(g->timer, SETTLE_NS);
	*ret = g;
	return 0;
}

void lcm_gc_stop(struct lcm_gc *g)
{
	if (!g)
		return;
	unwatch(g);
	lcm_timer_free(g->timer);
	free(g);
}
