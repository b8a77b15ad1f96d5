/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/registry.h"

#include <string.h>
#include <stdio.h>

#include "registry/creds.h"
#include "registry/internal.h"
#include "src/base/sys.h"

#define CONNECT_TIMEOUT_MS 10000
#define STALL_TIMEOUT_MS 15000
#define RETRIES 5
#define RENEW_MS 60000
#define BACKOFF_MS 200
#define CONNECTIONS 8

static uint32_t or_default(uint32_t value, uint32_t def)
{
	return value ? value : def;
}

static int dup_string(const char *s, char **ret)
{
	if (!s)
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

static int dup_list(const char *const *list, char ***ret)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		(*ret)[i] = strdup(list[i]);
		if (!(*ret)[i])
			return -ENOMEM;
	}
	return 0;
}

static int check_files(const struct lcm_registry_config *cfg, struct lcm_err *err)
{
	if (cfg->ca_file && access(cfg->ca_file, R_OK) < 0)
		return lcm_err_set(err, -EINVAL,
				   "CA file %s cannot be read; check the ca_file option",
				   cfg->ca_file);
	return 0;
}

/* ---- the turn ---- */

static void host_admit(struct lcm_host *h)
{
	for (int p = 0; p < LCM_PRIO_MAX; p++) {
		struct lcm_fetch *f;

		while (h->active[p] < h->limit[p] && (f = TAILQ_FIRST(&h->queue[p]))) {
			TAILQ_REMOVE(&h->queue[p], f, queue);
			f->queued = false;
			f->counted = true;
			h->active[p]++;
			lcm_fetch_begin(f);
		}
	}
}

static void on_kick(void *arg)
{
	struct lcm_registry *r = arg;
	struct lcm_fetch *f;

	while ((f = TAILQ_FIRST(&r->todo))) {
		TAILQ_REMOVE(&r->todo, f, todo);
		f->on_todo = false;
		lcm_fetch_attend(f);
	}
	for (struct lcm_host *h = r->hosts; h; h = h->next)
		host_admit(h);
}

void lcm_fetch_todo(struct lcm_fetch *f)
{
	if (!f->on_todo)
		TAILQ_INSERT_TAIL(&f->reg->todo, f, todo);
	f->on_todo = true;
	lcm_timer_set(f->reg->kick, 0);
}

static struct lcm_fetch_list *bucket(struct lcm_registry *r, uint64_t id)
{
	return &r->buckets[id % LCM_FETCH_BUCKETS];
}

void lcm_fetch_unlink(struct lcm_fetch *f)
{
	struct lcm_registry *r = f->reg;

	TAILQ_REMOVE(bucket(r, f->id), f, bucket);
	if (f->queued)
		TAILQ_REMOVE(&f->host->queue[f->prio], f, queue);
	if (f->on_todo)
		TAILQ_REMOVE(&r->todo, f, todo);
	if (f->counted)
		f->host->active[f->prio]--;
	f->queued = f->on_todo = f->counted = false;
	r->stats.in_flight--;
	if (!r->closing)
		lcm_timer_set(r->kick, 0);
}

/* ---- hosts and credentials ---- */

uint64_t lcm_random(struct lcm_registry *r)
{
	/* xorshift64* */
	r->rnd ^= r->rnd >> 12;
	r->rnd ^= r->rnd << 25;
	r->rnd ^= r->rnd >> 27;
	return (r->rnd * 2685821657736338717ULL) >> 8;
}

static bool name_ok(const char *name)
{
	char url[512];
	struct lcm_origin o;

	(void)snprintf(url, sizeof(url), "https://%s/", name);
	return lcm_origin_parse(url, &o) == 0;
}

int lcm_host_get(struct lcm_registry *r, const struct lcm_reference *ref, struct lcm_host **ret)
{
	struct lcm_host *h;

	for (h = r->hosts; h; h = h->next)
		if (strcmp(h->list.registry, ref->host) == 0) {
			*ret = h;
			return 0;
		}
	if (!name_ok(lcm_reference_endpoint(ref)))
		return -EINVAL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->list.registry = strdup(ref->host);
	h->list.own = strdup(lcm_reference_endpoint(ref));
	if (!h->list.registry || !h->list.own) {
		lcm_endpoints_fini(&h->list);
		free(h);
		return -ENOMEM;
	}
	h->limit[LCM_PRIO_DEMAND] = LCM_DEMAND_MAX;
	h->limit[LCM_PRIO_BACKGROUND] = r->connections;
	for (int p = 0; p < LCM_PRIO_MAX; p++)
		TAILQ_INIT(&h->queue[p]);
	h->next = r->hosts;
	r->hosts = h;
	*ret = h;
	return 0;
}

static struct lcm_auth *auth_get(struct lcm_registry *r, struct lcm_host *h, const char *host,
				 const char *repo, bool push)
{
	struct lcm_auth_slot *s;

	for (s = h->auths; s; s = s->next)
		if (lcm_auth_is(s->auth, host, repo, push))
			return s->auth;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->auth = lcm_auth_new(&r->auth, host, repo, push);
	if (!s->auth) {
		free(s);
		return NULL;
	}
	s->next = h->auths;
	h->auths = s;
	return s->auth;
}

struct lcm_auth *lcm_auth_at(struct lcm_registry *r, struct lcm_host *h,
			     const struct lcm_endpoint *ep, const char *repo, bool push)
{
	struct lcm_auth *a = auth_get(r, h, ep->creds, repo, push);
	struct lcm_origin o = ep->origin;

	o.tls = ep->tls;
	if (a)
		lcm_auth_set_place(a, ep->conf, ep->entry, &o);
	return a;
}

/* ---- fetches ---- */

static bool req_valid(const struct lcm_fetch_req *q)
{
	uint64_t end;

	if (!q->ref || !q->done || !q->ref->host[0] || !q->ref->repo[0])
		return false;
	if (q->prio != LCM_PRIO_DEMAND && q->prio != LCM_PRIO_BACKGROUND)
		return false;
	if (q->kind == LCM_FETCH_REFERRERS)
		return !lcm_digest_is_zero(&q->digest);
	if (q->kind == LCM_FETCH_MANIFEST)
		return !lcm_digest_is_zero(&q->digest) || q->ref->has_digest || q->ref->tag[0];
	if (q->kind != LCM_FETCH_BLOB || !q->sink || lcm_digest_is_zero(&q->digest))
		return false;
	return q->len && !__builtin_add_overflow(q->off, q->len, &end) && end <= q->size;
}

int lcm_fetch_start(struct lcm_registry *r, const struct lcm_fetch_req *req, uint64_t *ret_id)
{
	struct lcm_host *host;
	struct lcm_fetch *f;
	int rc;

	if (!req_valid(req))
		return -EINVAL;
	if (r->closing)
		return -ESHUTDOWN;
	rc = lcm_host_get(r, req->ref, &host);
	if (rc < 0)
		return rc;
	rc = lcm_fetch_new(r, req, &f);
	if (rc < 0)
		return rc;
	f->host = host;
	f->id = ++r->last_id;
	f->queued = true;
	TAILQ_INSERT_TAIL(bucket(r, f->id), f, bucket);
	TAILQ_INSERT_TAIL(&host->queue[f->prio], f, queue);
	r->stats.in_flight++;
	lcm_timer_set(r->kick, 0);
	*ret_id = f->id;
	return 0;
}

static struct lcm_fetch *find(struct lcm_registry *r, uint64_t id)
{
	struct lcm_fetch *f;

	TAILQ_FOREACH(f, bucket(r, id), bucket)
	if (f->id == id)
		return f;
	return NULL;
}

void lcm_fetch_cancel(struct lcm_registry *r, uint64_t id)
{
	struct lcm_fetch *f = r->closing ? NULL : find(r, id);

	if (!f)
		return;
	f->cancel = true;
	lcm_fetch_todo(f);
}

/* The next piece that arrives is not taken: nothing to tell libcurl now. */
void lcm_fetch_pause(struct lcm_registry *r, uint64_t id)
{
	struct lcm_fetch *f = find(r, id);

	if (f)
		f->hold = true;
}

void lcm_fetch_resume(struct lcm_registry *r, uint64_t id)
{
	struct lcm_fetch *f = r->closing ? NULL : find(r, id);

	if (!f)
		return;
	f->hold = false;
	f->resume = true;
	lcm_fetch_todo(f);
}

void lcm_registry_stats(const struct lcm_registry *r, struct lcm_registry_stats *ret)
{
	*ret = r->stats;
	ret->requests = r->http.requests;
	ret->tokens = r->auth.tokens;
	ret->retries += r->auth.retried;
}

/* ---- life ---- */

static int copy_config(struct lcm_registry *r, const struct lcm_registry_config *cfg)
{
	int rc = lcm_creds_files(cfg->auth_first, cfg->auth_files, &r->auth_files);

	if (rc == 0)
		rc = dup_list(cfg->insecure_hosts, &r->insecure_hosts);
	if (rc == 0)
		rc = dup_list(cfg->hosts_dirs, &r->hosts_dirs);
	if (rc == 0)
		rc = dup_string(cfg->ca_file, &r->ca_file);
	if (rc == 0)
		rc = dup_string(cfg->proxy, &r->proxy);
	r->retries = or_default(cfg->retries, RETRIES);
	r->backoff_ms = or_default(cfg->backoff_ms, BACKOFF_MS);
	r->connections = or_default(cfg->connections_per_host, CONNECTIONS);
	return rc;
}

static void wire(struct lcm_registry *r, const struct lcm_registry_config *cfg)
{
	r->http = (struct lcm_http_env){
		.loop = r->loop,
		.multi = r->multi,
		.ca_file = r->ca_file,
		.proxy = r->proxy,
		.connect_timeout_ms = or_default(cfg->connect_timeout_ms, CONNECT_TIMEOUT_MS),
		.stall_timeout_ms = or_default(cfg->stall_timeout_ms, STALL_TIMEOUT_MS)
	};
	r->docs = cfg->docs;
	r->docs.loop = r->loop;
	r->auth = (struct lcm_auth_env){ .http = &r->http,
					 .docs = &r->docs,
					 .files = r->auth_files,
					 .providers = r->providers,
					 .insecure_hosts = (const char *const *)r->insecure_hosts,
					 .retries = r->retries,
					 .backoff_ms = r->backoff_ms,
					 .renew_ms = or_default(cfg->renew_ms, RENEW_MS) };
}

int lcm_registry_new(struct lcm_loop *loop, const struct lcm_registry_config *cfg,
		     struct lcm_registry **ret, struct lcm_err *err)
{
	lcm_auto(lcm_registry) r = NULL;
	int rc = check_files(cfg, err);

	if (rc < 0)
		return rc;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return lcm_err_set(err, -ENOMEM, "libcurl does not start");
	r = calloc(1, sizeof(*r));
	if (!r)
		return lcm_err_set(err, -ENOMEM, "out of memory");
	r->loop = loop;
	r->rnd = lcm_now_ns() | 1;
	TAILQ_INIT(&r->todo);
	TAILQ_INIT(&r->pushes);
	for (size_t i = 0; i < LCM_FETCH_BUCKETS; i++)
		TAILQ_INIT(&r->buckets[i]);
	rc = copy_config(r, cfg);
	if (rc == 0)
		rc = lcm_multi_new(loop, r->connections, &r->multi);
	if (rc == 0)
		rc = lcm_timer_new(loop, on_kick, r, &r->kick);
	if (rc == 0)
		rc = lcm_timer_new(loop, lcm_balance_turn, r, &r->balance);
	if (rc < 0)
		return lcm_err_set(err, rc, "starting the registry client: %s",
				   lcm_err_text(NULL, rc));
	rc = cfg->provider_config
		 ? lcm_providers_load(cfg->provider_config, cfg->provider_dir, &r->providers, err)
		 : 0;
	if (rc < 0)
		return rc;
	wire(r, cfg);
	*ret = lcm_steal(&r);
	return 0;
}

static void host_free(struct lcm_host *h)
{
	while (h->auths) {
		struct lcm_auth_slot *s = h->auths;

		h->auths = s->next;
		lcm_auth_free(s->auth);
		free(s);
	}
	lcm_endpoints_fini(&h->list);
	free(h);
}

static void hosts_free(struct lcm_registry *r)
{
	while (r->hosts) {
		struct lcm_host *h = r->hosts;

		r->hosts = h->next;
		host_free(h);
	}
	while (r->peers) {
		struct lcm_peer *p = r->peers;

		r->peers = p->next;
		lcm_peer_free(p);
	}
}

void lcm_registry_free(struct lcm_registry *r)
{
	struct lcm_fetch *f;

	if (!r)
		return;
	r->closing = true;
	for (size_t i = 0; i < LCM_FETCH_BUCKETS; i++)
		while ((f = TAILQ_FIRST(&r->buckets[i]))) {
			lcm_err_set(&f->err, -ESHUTDOWN, "the registry client is shutting down");
			lcm_fetch_end(f, -ESHUTDOWN);
		}
	lcm_push_end_all(r);
	hosts_free(r);
	lcm_multi_free(r->multi);
	lcm_timer_free(r->kick);
	lcm_timer_free(r->balance);
	lcm_providers_free(r->providers);
	lcm_creds_files_free(r->auth_files);
	lcm_creds_files_free(r->insecure_hosts);
	lcm_creds_files_free(r->hosts_dirs);
	free(r->ca_file);
	free(r->proxy);
	free(r);
}
