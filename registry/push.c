/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one push:
 *
 *   blob:     HEAD it -> there? done : POST an upload -> PUT its bytes where that leads -> done
 *   manifest: PUT it -> done
 *
 * A 401 asks for a token and goes on with the same step; what is transient begins anew.
 */
#include <stdio.h>
#include <string.h>

#include "image/content_range.h"
#include "registry/internal.h"
#include "registry/retry.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define BUFFER_BYTES (16U << 10)
#define MS 1000000ULL

enum step { STEP_LOOK, STEP_BEGIN, STEP_SEND };

struct lcm_push {
	TAILQ_ENTRY(lcm_push) link;
	struct lcm_registry *reg; /* borrowed */
	struct lcm_host *host;    /* borrowed */
	struct lcm_endpoint *ep;  /* referenced; NULL: not begun */
	struct lcm_auth *auth;    /* borrowed; of ep */
	struct lcm_auth_wait wait;
	struct lcm_http http;
	struct lcm_timer *again; /* owned */
	struct lcm_reference ref;
	struct lcm_push_req req;
	char *type, *tag; /* owned; NULL: as in the request */
	enum step step;
	char *url;    /* owned; where the upload is to be sent */
	bool away;    /* url is of another origin: no Authorization */
	bool flipped; /* the scheme was changed once */
	uint32_t fails, challenges;
	uint64_t generation; /* of the credentials sent */
	struct lcm_push_result res;
};

static void push_free(struct lcm_push *p)
{
	lcm_http_fini(&p->http);
	lcm_timer_free(p->again);
	lcm_endpoint_free(p->ep);
	free(p->url);
	free(p->type);
	free(p->tag);
	free(p);
}

static void push_end(struct lcm_push *p, int status)
{
	p->res.status = status;
	TAILQ_REMOVE(&p->reg->pushes, p, link);
	lcm_http_stop(&p->http);
	if (p->auth)
		lcm_auth_unwait(p->auth, &p->wait);
	p->req.done(p->req.arg, &p->res);
	push_free(p);
}

static int step_url(const struct lcm_push *p, struct lcm_buf *b)
{
	lcm_autobuf struct lcm_buf rest = LCM_BUF(LCM_URL_MAX);
	char digest[LCM_DIGEST_STR];
	int r = 0;

	(void)lcm_digest_str(&p->req.digest, digest);
	if (!p->type && p->step == STEP_SEND)
		return lcm_buf_printf(b, "%s%cdigest=%s", p->url, strchr(p->url, '?') ? '&' : '?',
				      digest);
	if (p->type)
		r = lcm_buf_printf(&rest, "%s/manifests/%s", p->ref.repo, p->tag ? p->tag : digest);
	else if (p->step == STEP_LOOK)
		r = lcm_buf_printf(&rest, "%s/blobs/%s", p->ref.repo, digest);
	else
		r = lcm_buf_printf(&rest, "%s/blobs/uploads/", p->ref.repo);
	return r < 0 ? r : lcm_endpoint_url(p->ep, p->ep->tls, lcm_buf_str(&rest), b);
}

/* p->res.err has what happened; the URL goes before it. */
static void push_fail(struct lcm_push *p, int status)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(2 * LCM_URL_MAX);
	char url[240];

	if (p->ep)
		lcm_ignore(step_url(p, &b));
	(void)lcm_log_redact(lcm_buf_str(&b), url, sizeof(url));
	if (url[0])
		lcm_err_prefix(&p->res.err, status, "%s", url);
	push_end(p, status);
}

/* ---- sending ---- */

static int step_start(struct lcm_push *p)
{
	static const char *const methods[] = { "HEAD", "POST", "PUT" };
	lcm_autobuf struct lcm_buf url = LCM_BUF(LCM_URL_MAX);
	struct lcm_tls tls = lcm_endpoint_tls(p->ep, p->away);
	char type[300];
	const char *fields[LCM_ENDPOINT_FIELDS_MAX + 3];
	size_t n = lcm_endpoint_fields(p->ep, p->away, lcm_auth_field(p->auth), fields);
	bool body = p->step == STEP_SEND;
	struct lcm_origin o;
	int r = step_url(p, &url);

	if (r == 0)
		r = lcm_origin_parse(lcm_buf_str(&url), &o);
	if (r < 0)
		return r;
	(void)snprintf(type, sizeof(type), "Content-Type: %s",
		       p->type ? p->type : "application/octet-stream");
	fields[n++] = type;
	fields[n++] = "Expect:";
	fields[n] = NULL;
	p->generation = lcm_auth_generation(p->auth);
	return lcm_http_start(&p->http,
			      &(struct lcm_http_req){ .url = lcm_buf_str(&url),
						      .fields = fields,
						      .method = methods[p->step],
						      .body = body ? p->req.data : NULL,
						      .body_len = body ? p->req.len : 0,
						      .pool = LCM_MULTI_BACKGROUND,
						      .buffer = BUFFER_BYTES,
						      .direct = lcm_origin_is_loopback(&o),
						      .fresh = p->http.stalled,
						      .tls = &tls });
}

static void step_send(struct lcm_push *p)
{
	int r = step_start(p);

	if (r < 0) {
		lcm_err_set(&p->res.err, r, "%s", lcm_err_text(NULL, r));
		push_fail(p, r);
	}
}

static void on_auth(void *arg, int r, const struct lcm_err *err)
{
	struct lcm_push *p = arg;

	if (r == 0) {
		step_send(p);
		return;
	}
	p->res.err = *err;
	push_fail(p, r);
}

static void after_auth(struct lcm_push *p, int r)
{
	if (r == 0)
		step_send(p);
	else if (r < 0)
		push_fail(p, r);
}

static void step_enter(struct lcm_push *p, enum step step)
{
	p->step = step;
	p->challenges = 0;
	if (p->away && step == STEP_SEND)
		step_send(p);
	else
		after_auth(p, lcm_auth_ready(p->auth, &p->wait));
}

/* The first host that takes pushes. What is there already is not forgotten for a retry. */
static int choose_host(struct lcm_push *p)
{
	struct lcm_endpoints *l = &p->host->list;
	int r = lcm_endpoints_look(p->reg, l, &p->res.err);

	if (r < 0 || p->ep)
		return r;
	for (size_t i = 0; i < l->n && !p->ep; i++)
		if (l->e[i]->entry->caps & LCM_CAP_PUSH)
			p->ep = lcm_endpoint_ref(l->e[i]);
	if (!p->ep)
		return lcm_err_set(&p->res.err, -EINVAL,
				   "no host of %s may be pushed to: its hosts.toml gives that "
				   "capability to none",
				   l->registry);
	p->auth = lcm_auth_at(p->reg, p->host, p->ep, p->ref.repo, true);
	return p->auth ? 0 : lcm_err_set(&p->res.err, -ENOMEM, "out of memory");
}

static void push_begin(void *arg)
{
	struct lcm_push *p = arg;
	int r = choose_host(p);

	if (r < 0) {
		push_fail(p, r);
		return;
	}
	free(lcm_steal(&p->url));
	p->away = false;
	step_enter(p, p->type ? STEP_SEND : STEP_LOOK);
}

/* ---- answers ---- */

static void push_retry(struct lcm_push *p, int status, int64_t after_s)
{
	if (p->fails >= p->reg->retries) {
		push_fail(p, status);
		return;
	}
	p->fails++;
	p->reg->stats.retries++;
	lcm_timer_set(p->again,
		      lcm_retry_delay_ms(p->fails, p->reg->backoff_ms, lcm_now_ns() >> 6, after_s) *
			  MS);
}

static void upload_begun(struct lcm_push *p)
{
	const char *location = lcm_http_field(&p->http, "Location", 0);
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_URL_MAX);
	struct lcm_origin from, to;
	int r = step_url(p, &b);

	if (r == 0 && !location)
		r = lcm_err_set(&p->res.err, -EPROTO, "an upload was begun without a Location");
	if (r == 0)
		r = lcm_origin_redirect(lcm_buf_str(&b), location, p->reg->auth.insecure_hosts,
					&p->url, &p->res.err);
	if (r == 0 &&
	    (lcm_origin_parse(lcm_buf_str(&b), &from) < 0 || lcm_origin_parse(p->url, &to) < 0))
		r = lcm_err_set(&p->res.err, -EPROTO, "an upload was begun at what is no URL");
	if (r < 0) {
		push_fail(p, r);
		return;
	}
	p->away = !lcm_origin_equal(&from, &to);
	step_enter(p, STEP_SEND);
}

static void authenticate(struct lcm_push *p)
{
	bool current = p->generation == lcm_auth_generation(p->auth);

	if (current && p->challenges++)
		push_fail(p, lcm_auth_refused(p->auth, 401, &p->res.err));
	else
		after_auth(p, lcm_auth_challenged(p->auth, p->generation, &p->http, &p->wait,
						  &p->res.err));
}

static void refused(struct lcm_push *p, long status)
{
	int r = -EACCES;

	if (status == 403 && !p->away && !p->challenges++)
		r = lcm_auth_renew(p->auth, p->generation, &p->wait);
	if (status == 401 || status == 403) {
		after_auth(p, r == -EACCES ? lcm_auth_refused(p->auth, status, &p->res.err) : r);
		return;
	}
	lcm_err_set(&p->res.err, status == 404 ? -ENOENT : -EPROTO,
		    "the registry answered with status %ld%s", status,
		    status == 405 ? "; it takes no uploads" : "");
	push_fail(p, p->res.err.code);
}

static void transient(struct lcm_push *p, long status)
{
	const char *after = lcm_http_field(&p->http, "Retry-After", 0);
	uint32_t s;
	bool told = after &&
		    lcm_retry_after_parse(after, strlen(after),
					  (int64_t)(lcm_realtime_ns() / 1000000000), &s) == 0;

	lcm_err_set(&p->res.err, -EHOSTUNREACH, "the registry answers with status %ld; try later",
		    status);
	push_retry(p, -EHOSTUNREACH, told ? (int64_t)s : -1);
}

static void answered(struct lcm_push *p, long status)
{
	bool ok = status >= 200 && status < 300;

	if (status == 401 && !p->away)
		authenticate(p);
	else if (lcm_retry_status(status))
		transient(p, status);
	else if (p->step == STEP_LOOK && status >= 200 && status < 400) {
		p->res.existed = true;
		push_end(p, 0);
	} else if (p->step == STEP_LOOK && status == 404)
		step_enter(p, STEP_BEGIN);
	else if (p->step == STEP_BEGIN && status == 202)
		upload_begun(p);
	else if (ok) {
		p->res.subject = p->type && lcm_http_field(&p->http, "OCI-Subject", 0);
		push_end(p, 0);
	} else
		refused(p, status);
}

static int on_body(void *arg, const void *data, size_t len)
{
	(void)arg, (void)data, (void)len;
	return 0;
}

/* As fetches do with a host that may be either: until it answered, each scheme is tried once. */
static bool other_scheme(struct lcm_push *p, CURLcode code)
{
	struct lcm_endpoint *h = p->ep;
	bool plain_to_tls = p->http.head_done && lcm_http_status(&p->http) == 400 && !h->tls;
	bool tls_to_plain = !p->http.head_done && h->tls &&
			    (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_COULDNT_CONNECT);

	if (h->answered || p->flipped || !h->may_plain || !(plain_to_tls || tls_to_plain))
		return false;
	p->flipped = true;
	h->tls = !h->tls;
	push_begin(p);
	return true;
}

static void on_done(void *arg, CURLcode code)
{
	struct lcm_push *p = arg;
	int r;

	if (other_scheme(p, code))
		return;
	if (p->http.head_done && !p->http.head_too_big) {
		p->ep->answered = true;
		answered(p, lcm_http_status(&p->http));
		return;
	}
	r = lcm_http_error(&p->http, code, p->ep->name, &p->res.err);
	if (lcm_retry_transport(code) == LCM_TRANSPORT_FATAL || p->http.head_too_big)
		push_fail(p, r);
	else
		push_retry(p, r, -1);
}

/* ---- life ---- */

static const struct lcm_http_ops push_ops = { .body = on_body, .done = on_done };

static int push_new(struct lcm_registry *r, const struct lcm_push_req *req, struct lcm_push **ret)
{
	struct lcm_push *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->reg = r;
	p->ref = *req->ref;
	p->req = *req;
	p->req.ref = &p->ref;
	p->wait = (struct lcm_auth_wait){ .fn = on_auth, .arg = p };
	rc = lcm_http_init(&p->http, &r->http, &push_ops, p);
	if (rc == 0)
		rc = lcm_timer_new(r->loop, push_begin, p, &p->again);
	if (rc == 0 && req->media_type) {
		p->type = strdup(req->media_type);
		rc = p->type ? 0 : -ENOMEM;
	}
	if (rc == 0 && req->tag) {
		p->tag = strdup(req->tag);
		rc = p->tag ? 0 : -ENOMEM;
	}
	if (rc < 0)
		push_free(p);
	else
		*ret = p;
	return rc;
}

int lcm_push_start(struct lcm_registry *r, const struct lcm_push_req *req)
{
	struct lcm_push *p;
	int rc;

	if (!req->ref || !req->done || !req->ref->host[0] || !req->ref->repo[0] ||
	    lcm_digest_is_zero(&req->digest) || (req->tag && !req->media_type))
		return -EINVAL;
	if (r->closing)
		return -ESHUTDOWN;
	rc = push_new(r, req, &p);
	if (rc < 0)
		return rc;
	rc = lcm_host_get(r, &p->ref, &p->host);
	if (rc < 0) {
		push_free(p);
		return rc;
	}
	TAILQ_INSERT_TAIL(&r->pushes, p, link);
	lcm_timer_set(p->again, 0);
	return 0;
}

void lcm_push_end_all(struct lcm_registry *r)
{
	struct lcm_push *p;

	while ((p = TAILQ_FIRST(&r->pushes))) {
		lcm_err_set(&p->res.err, -ESHUTDOWN, "the registry client is shutting down");
		push_end(p, -ESHUTDOWN);
	}
}
