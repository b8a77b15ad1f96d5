/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/endpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "registry/internal.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define SECOND 1000000000ULL
/* A file is looked at no more often. */
#define LOOK_NS SECOND
#define ABSENT_NS (60 * SECOND)
#define LIED_NS (3600 * SECOND)
#define PROBE_BUFFER 16384

/* ---- what is remembered of a blob ---- */

static struct lcm_note *note_find(struct lcm_endpoint *ep, const struct lcm_digest *blob)
{
	for (size_t i = 0; i < LCM_NOTES_MAX; i++)
		if (lcm_digest_equal(&ep->notes[i].blob, blob))
			return &ep->notes[i];
	return NULL;
}

/* The one unused for longest makes room, but a lie is not forgotten for something harmless. */
static struct lcm_note *note_oldest(struct lcm_endpoint *ep)
{
	struct lcm_note *oldest = &ep->notes[0];

	for (size_t i = 1; i < LCM_NOTES_MAX; i++) {
		struct lcm_note *n = &ep->notes[i];

		if (!n->lied_ns == !oldest->lied_ns ? n->used_ns < oldest->used_ns : !n->lied_ns)
			oldest = n;
	}
	return oldest;
}

static struct lcm_note *note_get(struct lcm_endpoint *ep, const struct lcm_digest *blob)
{
	struct lcm_note *n = note_find(ep, blob);

	if (!n) {
		n = note_oldest(ep);
		*n = (struct lcm_note){ .blob = *blob };
	}
	n->used_ns = lcm_now_ns();
	return n;
}

void lcm_endpoint_absent(struct lcm_endpoint *ep, const struct lcm_digest *blob)
{
	note_get(ep, blob)->absent_ns = lcm_now_ns() + ABSENT_NS;
}

bool lcm_endpoint_shuns(struct lcm_endpoint *ep, const struct lcm_digest *blob)
{
	const struct lcm_note *n = note_find(ep, blob);
	uint64_t now = lcm_now_ns();

	return n && (n->absent_ns > now || (n->lied_ns > now && !ep->upstream));
}

void lcm_endpoint_served(struct lcm_endpoint *ep, const struct lcm_digest *blob)
{
	note_get(ep, blob)->served = true;
}

bool lcm_endpoints_blame(struct lcm_endpoints *l, const struct lcm_digest *blob, bool sure)
{
	uint64_t now = lcm_now_ns();
	bool found = false;

	for (size_t i = 0; i < l->n; i++) {
		struct lcm_endpoint *ep = l->e[i];
		struct lcm_note *n = ep->upstream ? NULL : note_find(ep, blob);
		struct lcm_err err;

		if (!n || !n->served || n->lied_ns > now)
			continue;
		n->lied_ns = now + LIED_NS;
		found = true;
		lcm_err_set(&err, -EBADMSG, "%s",
			    sure ? "it sent bytes of a blob with another digest"
				 : "it sent bytes of a blob on which a decoder broke");
		lcm_log(LCM_LOG_WARNING, "registry=%s mirror=%s %s; it is not asked for that again",
			l->registry, ep->name, err.msg);
		if (sure)
			lcm_peer_failed(ep->peer, &err, now);
	}
	return found;
}

/* ---- the list ---- */

static struct lcm_peer *peer_get(struct lcm_registry *r, const struct lcm_origin *o)
{
	char name[LCM_ORIGIN_STR_MAX];
	struct lcm_peer *p;

	(void)lcm_origin_str(o, name, sizeof(name));
	for (p = r->peers; p; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p;
	p = lcm_peer_new(name, &r->http, lcm_random(r));
	if (!p)
		return NULL;
	p->next = r->peers;
	r->peers = p;
	return p;
}

/* "host[:port]" of a URL. */
static char *host_of(const char *url)
{
	const char *host = strstr(url, "://") + 3;

	return strndup(host, strcspn(host, "/"));
}

static int own_origin(const char *own, struct lcm_origin *ret)
{
	char url[512];

	(void)snprintf(url, sizeof(url), "https://%s/", own);
	return lcm_origin_parse(url, ret);
}

static int endpoint_fill(struct lcm_registry *r, const struct lcm_endpoints *l,
			 struct lcm_endpoint *ep)
{
	struct lcm_origin own;
	int rc = own_origin(l->own, &own);
	bool is_own;

	if (rc < 0)
		return rc;
	ep->origin = ep->entry->base ? ep->entry->origin : own;
	is_own = ep->origin.port == own.port && strcmp(ep->origin.host, own.host) == 0;
	ep->upstream = ep->entry->upstream;
	ep->proxy = !is_own;
	ep->loopback = lcm_origin_is_loopback(&ep->origin);
	ep->name = ep->entry->base ? host_of(ep->entry->base) : strdup(l->own);
	ep->peer = peer_get(r, &ep->origin);
	if (!ep->name || !ep->peer)
		return -ENOMEM;
	ep->creds = strdup(is_own ? l->registry : ep->name);
	if (!ep->creds)
		return -ENOMEM;
	if (ep->entry->base) {
		ep->tls = ep->origin.tls;
		ep->answered = true;
		return 0;
	}
	ep->may_plain = ep->loopback || lcm_origin_listed(&ep->origin, r->auth.insecure_hosts);
	ep->tls = !ep->loopback;
	ep->origin.tls = ep->tls;
	return 0;
}

static int endpoint_new(struct lcm_registry *r, const struct lcm_endpoints *l,
			struct lcm_hosts *conf, size_t index, struct lcm_endpoint **ret)
{
	struct lcm_endpoint *ep = calloc(1, sizeof(*ep));
	int rc;

	if (!ep)
		return -ENOMEM;
	ep->refs = 1;
	ep->conf = lcm_hosts_ref(conf);
	ep->entry = &conf->e[index];
	ep->index = index;
	rc = endpoint_fill(r, l, ep);
	if (rc < 0)
		lcm_endpoint_free(ep);
	else
		*ret = ep;
	return rc;
}

struct lcm_endpoint *lcm_endpoint_ref(struct lcm_endpoint *ep)
{
	ep->refs++;
	return ep;
}

void lcm_endpoint_free(struct lcm_endpoint *ep)
{
	if (!ep || --ep->refs)
		return;
	lcm_locations_fini(&ep->locations);
	lcm_hosts_free(ep->conf);
	free(ep->name);
	free(ep->creds);
	free(ep);
}

static void list_clear(struct lcm_endpoints *l)
{
	for (size_t i = 0; i < l->n; i++)
		lcm_endpoint_free(l->e[i]);
	l->n = 0;
}

void lcm_endpoints_fini(struct lcm_endpoints *l)
{
	list_clear(l);
	free(l->registry);
	free(l->own);
}

static int list_replace(struct lcm_registry *r, struct lcm_endpoints *l, struct lcm_hosts *conf)
{
	struct lcm_endpoint *fresh[LCM_HOSTS_MAX] = { NULL };
	int rc = 0;

	for (size_t i = 0; i < conf->n && rc == 0; i++)
		rc = endpoint_new(r, l, conf, i, &fresh[i]);
	if (rc < 0) {
		for (size_t i = 0; i < conf->n; i++)
			lcm_endpoint_free(fresh[i]);
		return rc;
	}
	list_clear(l);
	memcpy(l->e, fresh, sizeof(fresh));
	l->n = conf->n;
	l->serial++;
	l->refused = (struct lcm_err){ 0 };
	if (conf->dir)
		lcm_log(LCM_LOG_INFO, "registry=%s %zu hosts from %s", l->registry, l->n,
			conf->dir);
	return 0;
}

static bool is_due(struct lcm_endpoints *l)
{
	uint64_t now = lcm_now_ns();

	if (l->looked_ns && now - l->looked_ns < LOOK_NS)
		return false;
	l->looked_ns = now;
	return !l->n || l->refused.code || lcm_hosts_changed(l->e[0]->conf);
}

static void reload(struct lcm_registry *r, struct lcm_endpoints *l)
{
	lcm_auto(lcm_hosts) conf = NULL;
	struct lcm_err why = { 0 };
	int rc = lcm_hosts_load((const char *const *)r->hosts_dirs, l->registry, &conf, &why);

	if (rc == 0)
		rc = list_replace(r, l, conf);
	if (rc == 0)
		return;
	if (!why.code)
		lcm_err_set(&why, rc, "hosts of %s: %s", l->registry, lcm_err_text(NULL, rc));
	if (strcmp(l->refused.msg, why.msg) != 0)
		lcm_log(LCM_LOG_WARNING, "registry=%s %s; %s", l->registry, why.msg,
			l->n ? "what was read before goes on" : "it is refused");
	l->refused = why;
}

int lcm_endpoints_look(struct lcm_registry *r, struct lcm_endpoints *l, struct lcm_err *err)
{
	if (is_due(l))
		reload(r, l);
	if (l->n)
		return 0;
	*err = l->refused;
	return l->refused.code;
}

/* ---- which is next ---- */

struct candidates {
	struct lcm_endpoint *e[LCM_HOSTS_MAX];
	struct lcm_load load[LCM_HOSTS_MAX];
	size_t n;
};

static void candidate(struct candidates *c, struct lcm_endpoint *ep, uint64_t now)
{
	c->e[c->n] = ep;
	c->load[c->n++] = lcm_peer_load(ep->peer, now);
}

static bool lied(struct lcm_endpoint *ep, const struct lcm_note *n, uint64_t now)
{
	return n && !ep->upstream && n->lied_ns > now;
}

/* Who works: mirrors, and the registry itself (0 or 1). Who is @later, and who is left alone. */
struct field {
	struct candidates mirrors, own, later;
	struct lcm_endpoint *open; /* the one whose pause ends first */
};

static void sort_out(struct field *f, const struct lcm_endpoints *l, const struct lcm_pick *p,
		     uint64_t now)
{
	for (size_t i = 0; i < l->n; i++) {
		struct lcm_endpoint *ep = l->e[i];
		const struct lcm_note *n = p->blob ? note_find(ep, p->blob) : NULL;

		if ((p->tried & (1U << i)) || (ep->entry->caps & p->caps) != p->caps ||
		    lied(ep, n, now))
			continue;
		if (ep->peer->breaker.state != LCM_BREAKER_CLOSED) {
			if (!f->open ||
			    ep->peer->breaker.until_ns < f->open->peer->breaker.until_ns)
				f->open = ep;
		} else if (n && n->absent_ns > now) {
			candidate(&f->later, ep, now);
		} else {
			candidate(ep->upstream ? &f->own : &f->mirrors, ep, now);
		}
	}
}

/* With @bytes in addition. */
static bool overloaded(const struct candidates *c, uint64_t bytes)
{
	for (size_t i = 0; i < c->n; i++)
		if (lcm_score(&c->load[i], bytes) < LCM_SCORE_OVERLOAD)
			return false;
	return true;
}

static struct lcm_endpoint *choose(const struct field *f, uint64_t bytes)
{
	size_t best = lcm_score_pick(f->mirrors.load, f->mirrors.n, bytes);

	if (f->own.n && (best == f->mirrors.n ||
			 (overloaded(&f->mirrors, bytes) && !overloaded(&f->own, bytes))))
		return f->own.e[0];
	if (best < f->mirrors.n)
		return f->mirrors.e[best];
	return f->later.n ? f->later.e[0] : f->open;
}

static void probe(struct lcm_endpoint *ep, uint64_t now)
{
	lcm_autobuf struct lcm_buf url = LCM_BUF(LCM_URL_MAX);
	struct lcm_tls tls = lcm_endpoint_tls(ep, false);

	if (ep->peer->breaker.state != LCM_BREAKER_OPEN ||
	    lcm_endpoint_url(ep, ep->tls, "", &url) < 0)
		return;
	lcm_peer_probe(ep->peer,
		       &(struct lcm_http_req){ .url = lcm_buf_str(&url),
					       .fields = (const char *const *)ep->entry->fields,
					       .pool = LCM_MULTI_DEMAND,
					       .buffer = PROBE_BUFFER,
					       .direct = ep->loopback,
					       .fresh = true,
					       .tls = &tls },
		       now);
}

/* All scores, in the order of the file, and what came of them. */
static void trace(const struct lcm_endpoints *l, const struct field *f,
		  const struct lcm_endpoint *ep, uint64_t bytes)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(4096);
	const struct candidates *sets[] = { &f->mirrors, &f->own, &f->later };
	static const char *const names[] = { "", " own", " later" };

	for (size_t s = 0; s < LCM_ARRAY_SIZE(sets); s++)
		for (size_t i = 0; i < sets[s]->n; i++)
			lcm_ignore(lcm_buf_printf(&b, "%s %s=%" PRIu32, names[s],
						  sets[s]->e[i]->name,
						  lcm_score(&sets[s]->load[i], bytes)));
	lcm_debug("registry=%s bytes=%" PRIu64 " scores:%s -> %s", l->registry, bytes,
		  lcm_buf_str(&b), ep->name);
}

int lcm_endpoints_pick(struct lcm_endpoints *l, const struct lcm_pick *p, struct lcm_endpoint **ret)
{
	uint64_t now = lcm_now_ns();
	struct field f = { .open = NULL };
	struct lcm_endpoint *ep;

	sort_out(&f, l, p, now);
	ep = choose(&f, p->bytes);
	if (!ep)
		return -ENOENT;
	/* Whoever is passed over is asked whether it is back; nobody waits for the answer. */
	for (size_t i = 0; i < l->n; i++)
		if (l->e[i] != ep && !(p->tried & (1U << i)))
			probe(l->e[i], now);
	if (l->n > 1)
		trace(l, &f, ep, p->bytes);
	*ret = lcm_endpoint_ref(ep);
	return 0;
}

size_t lcm_endpoints_rivals(struct lcm_endpoints *l, struct lcm_endpoint *ret[LCM_HOSTS_MAX])
{
	const struct lcm_pick p = { .caps = LCM_CAP_PULL };
	struct field f = { .open = NULL };

	sort_out(&f, l, &p, lcm_now_ns());
	if (overloaded(&f.mirrors, 0) && f.own.n)
		candidate(&f.mirrors, f.own.e[0], lcm_now_ns());
	memcpy(ret, f.mirrors.e, f.mirrors.n * sizeof(f.mirrors.e[0]));
	return f.mirrors.n;
}

/* ---- requests ---- */

struct lcm_tls lcm_endpoint_tls(const struct lcm_endpoint *ep, bool away)
{
	struct lcm_tls t = ep->entry->tls;

	if (away) {
		t.cert = t.key = NULL;
		t.skip_verify = false;
	}
	return t;
}

int lcm_endpoint_url(const struct lcm_endpoint *ep, bool tls, const char *rest, struct lcm_buf *ret)
{
	if (ep->entry->base)
		return lcm_buf_printf(ret, "%s/%s", ep->entry->base, rest);
	return lcm_buf_printf(ret, "%s://%s/v2/%s", tls ? "https" : "http", ep->name, rest);
}

size_t lcm_endpoint_fields(const struct lcm_endpoint *ep, bool away, const char *auth,
			   const char *fields[LCM_ENDPOINT_FIELDS_MAX])
{
	char **own = away ? NULL : ep->entry->fields;
	size_t n = 0;

	/* Credentials that were found are newer than what is written in a file. */
	for (; own && *own; own++)
		if (!auth || strncasecmp(*own, "Authorization", 13) != 0)
			fields[n++] = *own;
	if (auth && !away)
		fields[n++] = auth;
	return n;
}
