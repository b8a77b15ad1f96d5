/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_index.c:
 *
 *   by digest, or named by the manifest --------------------------> GET each index -> done
 *   else referrers allowed: GET referrers, its pages ---------------------^
 *                               | 404
 *                               `--> GET tag sha256-HEX -----------------^
 */
#include "src/daemon/image_index.h"

#include <stdio.h>
#include <string.h>

#include "src/base/log.h"

#define PAGES_MAX 64 /* registries make them of some 100 entries */

struct lcm_index_search {
	struct lcm_engine *e; /* borrowed */
	struct lcm_reference ref;
	struct lcm_digest subject; /* the image's manifest */
	bool by_referrers;         /* what is found must name it */
	bool demanded;             /* the user named the index */
	bool abandoned;
	struct lcm_referrers listed;
	uint32_t pages; /* of the list, so far */
	struct lcm_digest todo[LCM_REFERRERS_MAX];
	uint32_t n_todo, next;
	struct lcm_layer_index *found[LCM_REFERRERS_MAX]; /* owned */
	uint32_t n_found;
	uint64_t fetch;  /* id in flight */
	uint64_t tenant; /* of the function that reads them */
	struct lcm_task task;
	int status;
	struct lcm_err err;
	lcm_index_search_fn done;
	void *arg;
};

int lcm_index_where_parse(const char *s, struct lcm_index_where *ret)
{
	static const struct {
		const char *name;
		enum lcm_index_from from;
	} names[] = { { "", LCM_INDEX_FROM_DEFAULT },
		      { "manifest", LCM_INDEX_FROM_MANIFEST },
		      { "referrers", LCM_INDEX_FROM_REFERRERS },
		      { "none", LCM_INDEX_FROM_NOWHERE } };

	*ret = (struct lcm_index_where){ .from = LCM_INDEX_FROM_DIGEST };
	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++) {
		if (strcmp(s, names[i].name) != 0)
			continue;
		ret->from = names[i].from;
		return 0;
	}
	return lcm_digest_parse(s, strlen(s), &ret->digest) < 0 ? -EINVAL : 0;
}

static void search_destroy(struct lcm_index_search *s)
{
	const struct lcm_docs docs = lcm_engine_docs(s->e);

	lcm_docs_tenant_end(&docs, s->tenant);
	for (uint32_t i = 0; i < s->n_found; i++)
		lcm_layer_index_free(s->found[i]);
	free(s);
}

void lcm_index_search_free(struct lcm_index_search *s)
{
	if (!s)
		return;
	if (!s->fetch && !s->task.fn) {
		search_destroy(s);
		return;
	}
	s->abandoned = true;
	if (s->fetch)
		lcm_fetch_cancel(s->e->reg, s->fetch);
}

const struct lcm_layer_toc *lcm_index_search_layer(const struct lcm_index_search *s,
						   const struct lcm_digest *layer)
{
	const struct lcm_layer_toc *t = NULL;

	for (uint32_t i = 0; !t && i < s->n_found; i++)
		t = lcm_layer_index_layer(s->found[i], layer);
	return t;
}

static void on_end(void *arg)
{
	struct lcm_index_search *s = arg;

	s->task.fn = NULL;
	if (s->abandoned)
		search_destroy(s);
	else
		s->done(s->arg, s->status, &s->err);
}

static void search_end(struct lcm_index_search *s, int status)
{
	s->status = status;
	s->task = (struct lcm_task){ .fn = on_end, .arg = s };
	lcm_loop_post_task(s->e->loop, &s->task);
}

/* One that cannot be used; the others may be. */
static int fault(struct lcm_index_search *s, int r, const struct lcm_err *err)
{
	if (s->demanded) {
		s->err = *err;
		return lcm_err_prefix(&s->err, r, "--index");
	}
	lcm_log(LCM_LOG_NOTICE, "an index of %s is not used: %s", s->ref.repo,
		lcm_err_text(err, r));
	return 0;
}

static int get(struct lcm_index_search *s, const struct lcm_fetch_req *how)
{
	struct lcm_fetch_req req = *how;

	req.prio = LCM_PRIO_DEMAND;
	req.ref = req.ref ? req.ref : &s->ref;
	req.tenant = s->tenant;
	req.arg = s;
	return lcm_fetch_start(s->e->reg, &req, &s->fetch);
}

/* ---- the indexes ---- */

static void on_index(void *arg, const struct lcm_fetch_result *res);

static void next_index(struct lcm_index_search *s)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .done = on_index };
	int r = 0;

	if (s->next < s->n_todo) {
		req.digest = s->todo[s->next++];
		r = get(s, &req);
		if (r == 0)
			return;
	}
	search_end(s, r);
}

static int take_index(struct lcm_index_search *s, const struct lcm_fetch_result *res,
		      struct lcm_err *err)
{
	lcm_auto(lcm_layer_index) x = NULL;
	int r = res->status;

	*err = res->err;
	if (r == 0)
		r = lcm_layer_index_parse(res->text, strlen(res->text), &x, err);
	if (r < 0)
		return r;
	if (s->by_referrers && !lcm_digest_equal(&x->subject, &s->subject))
		return lcm_err_set(err, -EUCLEAN, "its subject is another image");
	s->found[s->n_found++] = lcm_steal(&x);
	return 0;
}

static void on_index(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_index_search *s = arg;
	struct lcm_err err;
	int r;

	s->fetch = 0;
	if (s->abandoned) {
		search_destroy(s);
		return;
	}
	r = take_index(s, res, &err);
	if (r < 0)
		r = fault(s, r, &err);
	if (r < 0)
		search_end(s, r);
	else
		next_index(s);
}

/* ---- referrers ---- */

static void on_referrers(void *arg, const struct lcm_fetch_result *res);

static int get_page(struct lcm_index_search *s, const char *page)
{
	struct lcm_fetch_req list = { .kind = LCM_FETCH_REFERRERS,
				      .digest = s->subject,
				      .page = page,
				      .done = on_referrers };

	return get(s, &list);
}

/* For registries without the API: the list is a tag of its subject's digest. */
static int get_tag(struct lcm_index_search *s)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .done = on_referrers };
	struct lcm_reference tag = s->ref;
	char digest[LCM_DIGEST_STR];

	tag.has_digest = false;
	(void)snprintf(tag.tag, sizeof(tag.tag), "sha256-%s", lcm_digest_hex(&s->subject, digest));
	req.ref = &tag;
	s->by_referrers = true;
	return get(s, &req);
}

static void on_referrers(void *arg, const struct lcm_fetch_result *res)
{
	struct lcm_index_search *s = arg;
	bool first = !s->by_referrers;
	struct lcm_err err = res->err;
	int r = res->status;

	s->fetch = 0;
	if (s->abandoned) {
		search_destroy(s);
		return;
	}
	if (first && (r == -ENOENT || r == -EPROTO) && get_tag(s) == 0)
		return;
	s->by_referrers = true;
	if (r == 0)
		r = lcm_layer_index_referrers(res->text, strlen(res->text), &s->listed, &err);
	if (r == 0 && res->next && ++s->pages < PAGES_MAX && get_page(s, res->next) == 0)
		return;
	if (r < 0 && r != -ENOENT)
		lcm_ignore(fault(s, r, &err));
	s->n_todo = (uint32_t)lcm_referrers_best(&s->listed, s->todo);
	next_index(s);
}

int lcm_index_search(struct lcm_engine *e, const struct lcm_reference *ref, const char *manifest,
		     const struct lcm_digest *digest, const struct lcm_index_where *where,
		     lcm_index_search_fn done, void *arg, struct lcm_index_search **ret)
{
	const struct lcm_index_where *w = where->from == LCM_INDEX_FROM_DEFAULT ? &e->cfg.index
										: where;
	struct lcm_digest named = w->digest;
	bool has = w->from == LCM_INDEX_FROM_DIGEST ||
		   (w->from != LCM_INDEX_FROM_NOWHERE &&
		    lcm_layer_index_find(manifest, strlen(manifest), &named, NULL) > 0);
	struct lcm_index_search *s;
	int r = 0;

	if (!has && w->from != LCM_INDEX_FROM_REFERRERS)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct lcm_index_search){
		.e = e, .ref = *ref, .subject = *digest, .done = done, .arg = arg
	};
	s->tenant = lcm_docs_tenant();
	s->demanded = w->from == LCM_INDEX_FROM_DIGEST;
	if (has) {
		s->todo[s->n_todo++] = named;
		next_index(s);
	} else {
		r = get_page(s, NULL);
	}
	if (r < 0) {
		search_destroy(s);
		return r;
	}
	*ret = s;
	return 1;
}
