/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one fetch. Suspension points are the states; every move goes
 * through lcm_fetch_go() and its table.
 *
 *          +------------------------------+
 *          v                              |
 *   NEW -> AUTH -> SEND -> BODY --> (READ) -> DONE
 *     \     ^      ^ |^     |             |
 *      \____|______/ |+-----|--RETRY_WAIT-+
 *           +--------+      |   ^
 *           (401)    |      +---+ (transport, 429, 5xx, of all hosts)
 *                    +----------+
 *   BODY -> AUTH, SEND; AUTH -> AUTH, RETRY_WAIT: another host goes on with it
 *   any but DONE -> FAILED
 */
#include "registry/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/link.h"
#include "registry/retry.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define EDGE(state) (1U << LCM_FETCH_##state)

static const struct {
	const char *name;
	uint32_t next; /* states that may follow */
} states[LCM_FETCH_STATE_MAX] = {
	[LCM_FETCH_NEW] = { "new", EDGE(AUTH) | EDGE(SEND) | EDGE(FAILED) },
	[LCM_FETCH_AUTH] = { "auth", EDGE(AUTH) | EDGE(SEND) | EDGE(RETRY_WAIT) | EDGE(FAILED) },
	[LCM_FETCH_SEND] = { "send", EDGE(SEND) | EDGE(AUTH) | EDGE(BODY) | EDGE(RETRY_WAIT) |
					 EDGE(FAILED) },
	[LCM_FETCH_BODY] = { "body", EDGE(READ) | EDGE(DONE) | EDGE(AUTH) | EDGE(SEND) |
					 EDGE(RETRY_WAIT) | EDGE(FAILED) },
	[LCM_FETCH_RETRY_WAIT] = { "retry-wait", EDGE(AUTH) | EDGE(SEND) | EDGE(FAILED) },
	[LCM_FETCH_READ] = { "read", EDGE(DONE) | EDGE(FAILED) },
	[LCM_FETCH_DONE] = { "done", 0 },
	[LCM_FETCH_FAILED] = { "failed", 0 },
};

#define MANIFEST_TYPES                                                                             \
	"Accept: application/vnd.oci.image.index.v1+json, "                                        \
	"application/vnd.oci.image.manifest.v1+json, "                                             \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                              \
	"application/vnd.docker.distribution.manifest.v2+json"

/* Receive buffers: one pipe's worth for background, little for the many demand ranges. */
#define BUFFER_BACKGROUND (512U << 10)
#define BUFFER_DEMAND (64U << 10)
#define MS 1000000ULL

bool lcm_fetch_edge(enum lcm_fetch_state from, enum lcm_fetch_state to)
{
	return (states[from].next & (1U << to)) != 0;
}

bool lcm_fetch_go(struct lcm_fetch *f, enum lcm_fetch_state to)
{
	if (!lcm_fetch_edge(f->state, to)) {
		lcm_debug("fetch=%" PRIu64 " has no way from %s to %s", f->id,
			  states[f->state].name, states[to].name);
		return false;
	}
	lcm_debug("fetch=%" PRIu64 " %s -> %s", f->id, states[f->state].name, states[to].name);
	f->state = to;
	return true;
}

static bool is_document(const struct lcm_fetch *f)
{
	return f->kind != LCM_FETCH_BLOB && !f->sink;
}

static void on_read(void *arg, int r, char *text, const struct lcm_err *err)
{
	struct lcm_fetch *f = arg;

	f->doc = NULL;
	f->text = text;
	if (r < 0)
		f->err = *err;
	f->unread = r;
	lcm_fetch_end(f, 0);
}

/* Return: is it being read now? */
static bool read_begin(struct lcm_fetch *f)
{
	f->unread = lcm_doc_start(
	    &f->reg->docs, f->tenant, lcm_buf_str(&f->body), f->body.len, LCM_MANIFEST_MAX,
	    f->kind == LCM_FETCH_MANIFEST ? "manifest" : "referrers", on_read, f, &f->doc);
	return f->unread == 0 && lcm_fetch_go(f, LCM_FETCH_READ);
}

/* Return: @out, or NULL: this page was the last. */
static const char *next_page(const struct lcm_fetch *f, char out[LCM_LINK_QUERY_MAX + 1])
{
	const char *link = lcm_http_field(&f->http, "Link", 0);
	int r = link && f->kind == LCM_FETCH_REFERRERS ? lcm_link_next(link, strlen(link), out)
						       : -ENOENT;

	if (r == -EINVAL)
		lcm_debug("fetch=%" PRIu64 " the next page's link makes no sense", f->id);
	return r == 0 ? out : NULL;
}

static void end_document(const struct lcm_fetch *f, struct lcm_fetch_result *res,
			 char page[LCM_LINK_QUERY_MAX + 1])
{
	res->next = next_page(f, page);
	res->body = f->body.data;
	res->body_len = f->body.len;
	res->text = f->text;
	res->status = f->unread;
	if (f->unread)
		res->err = f->err;
}

void lcm_fetch_end(struct lcm_fetch *f, int code)
{
	char page[LCM_LINK_QUERY_MAX + 1];
	struct lcm_fetch_result res;

	if (!code && !f->cancel && is_document(f) && f->state == LCM_FETCH_BODY && read_begin(f))
		return;
	lcm_doc_cancel(lcm_steal(&f->doc));

	if (f->cancel && code != -ESHUTDOWN)
		code = lcm_err_set(&f->err, -ECANCELED, "cancelled");
	res = (struct lcm_fetch_result){
		.status = code, .err = f->err, .bytes = f->bytes, .tries = f->tries
	};
	if (!lcm_fetch_go(f, code ? LCM_FETCH_FAILED : LCM_FETCH_DONE) && !code)
		res.status = -EIO;
	lcm_http_stop(&f->http);
	lcm_fetch_leave(f);
	if (f->auth)
		lcm_auth_unwait(f->auth, &f->wait);
	res.mirrored = f->mirrored;
	if (f->http.stalled || code)
		lcm_debug("fetch=%" PRIu64 " status=%d %s", f->id, code, f->err.msg);
	if (res.status == 0) {
		res.err = (struct lcm_err){ 0 };
		res.content_type = lcm_http_field(&f->http, "Content-Type", 0);
		res.digest = f->digest;
		if (is_document(f))
			end_document(f, &res, page);
	}
	lcm_fetch_unlink(f);
	f->done(f->arg, &res);
	lcm_fetch_free(f);
}

/* "URL: what happened"; the URL is the one that was asked last. */
void lcm_fetch_fail(struct lcm_fetch *f, int code)
{
	struct lcm_buf b = LCM_BUF(2 * LCM_URL_MAX);
	char url[240];

	if (!f->url && f->ep)
		lcm_ignore(lcm_fetch_url(f, &b));
	(void)lcm_log_redact(f->url ? f->url : lcm_buf_str(&b), url, sizeof(url));
	lcm_buf_fini(&b);
	if (f->fails)
		lcm_err_prefix(&f->err, code, "%s (%u tries)", url, f->tries);
	else if (url[0])
		lcm_err_prefix(&f->err, code, "%s", url);
	lcm_fetch_end(f, code);
}

static void fail_text(struct lcm_fetch *f, int code, const char *text)
{
	lcm_err_set(&f->err, code, "%s", text);
	lcm_fetch_fail(f, code);
}

/* ---- sending ---- */

#define FIELDS_MAX (LCM_ENDPOINT_FIELDS_MAX + 4)

static void add_fields(struct lcm_fetch *f, const char *fields[FIELDS_MAX], char *range, size_t cap)
{
	size_t n = lcm_endpoint_fields(f->ep, f->away, lcm_auth_field(f->auth), fields);

	fields[n++] = "Accept-Encoding: identity";
	if (f->kind != LCM_FETCH_BLOB)
		fields[n++] = MANIFEST_TYPES;
	f->ranged = f->kind == LCM_FETCH_BLOB && (f->off + f->pos > 0 || f->len < f->size);
	if (f->ranged) {
		(void)snprintf(range, cap, "Range: bytes=%" PRIu64 "-%" PRIu64, f->off + f->pos,
			       f->off + f->len - 1);
		fields[n++] = range;
	}
	fields[n] = NULL;
	f->generation = lcm_auth_generation(f->auth);
}

static int exchange_start(struct lcm_fetch *f, const char *url)
{
	struct lcm_tls tls = lcm_endpoint_tls(f->ep, f->away);
	const char *fields[FIELDS_MAX];
	bool demand = f->prio == LCM_PRIO_DEMAND;
	struct lcm_origin o;
	char range[64];
	int r = lcm_origin_parse(url, &o);

	if (r < 0)
		return r;
	add_fields(f, fields, range, sizeof(range));
	f->sent_ns = lcm_now_ns();
	lcm_fetch_weigh(f);
	return lcm_http_start(
	    &f->http,
	    &(struct lcm_http_req){ .url = url,
				    .fields = fields,
				    .pool = demand ? LCM_MULTI_DEMAND : LCM_MULTI_BACKGROUND,
				    .buffer = demand ? BUFFER_DEMAND : BUFFER_BACKGROUND,
				    .direct = lcm_origin_is_loopback(&o),
				    .fresh = f->http.stalled,
				    .tls = &tls });
}

static void fetch_send(struct lcm_fetch *f)
{
	struct lcm_buf b = LCM_BUF(LCM_URL_MAX);
	int r = f->url ? 0 : lcm_fetch_url(f, &b);

	f->verdict = LCM_VERDICT_NONE;
	f->final = false;
	f->plan = (struct lcm_plan){ 0 };
	f->complete = false;
	f->try_bytes = 0;
	f->drained = 0;
	f->body.len = 0;
	f->err = (struct lcm_err){ 0 };
	if (!lcm_fetch_go(f, LCM_FETCH_SEND))
		r = -EIO;
	if (r == 0)
		r = exchange_start(f, f->url ? f->url : lcm_buf_str(&b));
	lcm_buf_fini(&b);
	if (r < 0)
		fail_text(f, r,
			  r == -EINVAL ? "not a URL that can be asked; check the registry's name"
				       : lcm_err_text(NULL, r));
}

/* f->err says why there is no access. */
static void no_access(struct lcm_fetch *f, int code)
{
	f->code = code;
	f->after_s = -1;
	lcm_fetch_host_failed(f, LCM_FAIL_ABSENT, 0);
}

static void on_auth(void *arg, int r, const struct lcm_err *err)
{
	struct lcm_fetch *f = arg;

	if (r == 0) {
		fetch_send(f);
		return;
	}
	f->err = *err;
	no_access(f, r);
}

/* Wait for a token when lcm_auth_*() said so (1), go on (0), or end. */
static void after_auth(struct lcm_fetch *f, int r)
{
	if (r == 0)
		fetch_send(f);
	else if (r < 0)
		no_access(f, r);
	else if (!lcm_fetch_go(f, LCM_FETCH_AUTH))
		fail_text(f, -EIO, "cannot wait for a token now");
}

void lcm_fetch_chain(struct lcm_fetch *f)
{
	const char *kept = NULL;

	free(lcm_steal(&f->url));
	f->hops = 0;
	f->away = f->cached = false;
	f->tls = f->ep->tls;
	if (f->kind == LCM_FETCH_BLOB && !f->no_cache)
		kept = lcm_location_get(&f->ep->locations, f->ref.repo, &f->digest, lcm_now_ns());
	if (kept)
		f->url = strdup(kept);
	if (f->url) {
		f->away = f->cached = true;
		fetch_send(f);
		return;
	}
	after_auth(f, lcm_auth_ready(f->auth, &f->wait));
}

static void on_again(void *arg)
{
	lcm_fetch_begin(arg);
}

/* ---- the end of an exchange ---- */

static void forget_location(struct lcm_fetch *f)
{
	lcm_location_drop(&f->ep->locations, f->ref.repo, &f->digest);
	f->no_cache = true;
}

void lcm_fetch_pause_until_again(struct lcm_fetch *f)
{
	uint64_t ms;

	f->fails++;
	f->reg->stats.retries++;
	ms = lcm_retry_delay_ms(f->fails, f->reg->backoff_ms, lcm_random(f->reg), f->after_s);
	lcm_debug("fetch=%" PRIu64 " try=%u again in %" PRIu64 " ms: %s", f->id, f->tries, ms,
		  f->err.msg);
	if (!lcm_fetch_go(f, LCM_FETCH_RETRY_WAIT))
		fail_text(f, -EIO, "cannot be tried again now");
	else
		lcm_timer_set(f->again_at, ms * MS);
}

/* f->code and f->err say why; it may go better. @max: rounds after the first. */
static void fetch_retry(struct lcm_fetch *f, uint32_t max)
{
	if (f->url)
		forget_location(f);
	lcm_fetch_host_failed(f, LCM_FAIL_HOST | LCM_FAIL_AGAIN, max);
}

/* f->err has no better text than this. */
static void host_wrong(struct lcm_fetch *f, int code)
{
	f->code = code;
	lcm_fetch_host_failed(f, LCM_FAIL_HOST, 0);
}

/*
 * A host that may be either: loopback is asked in plain http first, a listed
 * one with TLS first. Until one of them answered, a try may use both.
 */
static bool other_scheme(struct lcm_fetch *f, bool evidence)
{
	if (f->url || f->ep->answered || !f->ep->may_plain || f->flipped || !evidence)
		return false;
	f->flipped = true;
	if (f->ep->tls == f->tls)
		f->ep->tls = !f->tls;
	return true;
}

static void transport_failed(struct lcm_fetch *f, CURLcode code)
{
	enum lcm_transport class = lcm_retry_transport(code);
	struct lcm_buf b = LCM_BUF(LCM_URL_MAX);
	struct lcm_origin o = { 0 };
	char peer[LCM_ORIGIN_STR_MAX];

	if (other_scheme(
		f, f->tls && (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_COULDNT_CONNECT))) {
		lcm_fetch_chain(f);
		return;
	}
	if (!f->url)
		lcm_ignore(lcm_fetch_url(f, &b));
	lcm_ignore(lcm_origin_parse(f->url ? f->url : lcm_buf_str(&b), &o));
	lcm_buf_fini(&b);
	f->code = lcm_http_error(&f->http, code, lcm_origin_str(&o, peer, sizeof(peer)), &f->err);
	f->after_s = -1;
	if (f->cached && !f->try_bytes) {
		forget_location(f);
		lcm_fetch_chain(f);
	} else if (class == LCM_TRANSPORT_FATAL || f->http.head_too_big) {
		host_wrong(f, f->code);
	} else {
		fetch_retry(f, class == LCM_TRANSPORT_UNLIKELY
				   ? LCM_MIN(f->reg->retries, LCM_RETRY_UNLIKELY_MAX)
				   : f->reg->retries);
	}
}

static void fetch_redirect(struct lcm_fetch *f)
{
	const char *location = lcm_http_field(&f->http, "Location", 0);
	struct lcm_buf b = LCM_BUF(LCM_URL_MAX);
	struct lcm_origin from, to;
	char *url = NULL;
	int r = f->url ? 0 : lcm_fetch_url(f, &b);
	const char *base = f->url ? f->url : lcm_buf_str(&b);

	if (++f->hops > LCM_REDIRECTS_MAX)
		r = lcm_err_set(&f->err, -EPROTO,
				"more than %u redirects; the registry's storage is misconfigured",
				LCM_REDIRECTS_MAX);
	else if (r == 0 && !location)
		r = lcm_err_set(&f->err, -EPROTO, "redirected without a Location");
	if (r == 0)
		r = lcm_origin_redirect(base, location, f->reg->auth.insecure_hosts, &url, &f->err);
	if (r == 0 && (lcm_origin_parse(base, &from) < 0 || lcm_origin_parse(url, &to) < 0))
		r = -EPROTO;
	lcm_buf_fini(&b);
	if (r < 0) {
		free(url);
		host_wrong(f, r);
		return;
	}
	/* Once away, always away: a foreign host cannot send credentials to a path of its choice.
	 */
	f->away = f->away || !lcm_origin_equal(&from, &to);
	f->cached = false;
	free(f->url);
	f->url = url;
	fetch_send(f);
}

static void fetch_authenticate(struct lcm_fetch *f)
{
	bool current = f->generation == lcm_auth_generation(f->auth);

	if (current && f->challenges++) {
		no_access(f, lcm_auth_refused(f->auth, 401, &f->err));
		return;
	}
	after_auth(f, lcm_auth_challenged(f->auth, f->generation, &f->http, &f->wait, &f->err));
}

static void fetch_forbidden(struct lcm_fetch *f)
{
	int r = f->challenges++ ? -EACCES : lcm_auth_renew(f->auth, f->generation, &f->wait);

	if (r == -EACCES)
		lcm_auth_refused(f->auth, 403, &f->err);
	after_auth(f, r);
}

static void fetch_back(struct lcm_fetch *f)
{
	if (!f->cached && f->backs++) {
		no_access(f, lcm_err_set(&f->err, -EACCES,
					 "the host that the registry redirects to refuses access"));
		return;
	}
	forget_location(f);
	lcm_fetch_chain(f);
}

static void fetch_good(struct lcm_fetch *f)
{
	lcm_peer_good(f->ep->peer, lcm_now_ns());
	lcm_fetch_end(f, 0);
}

/* A page to log in at has status 200, too. Return: 0; -EBADMSG, -EPROTO (the host is to blame). */
static int manifest_check(struct lcm_fetch *f, struct lcm_digest *ret)
{
	char want[LCM_DIGEST_STR], got[LCM_DIGEST_STR];
	const char *text = lcm_buf_str(&f->body);
	int r = lcm_digest_of(text, f->body.len, ret);

	if (r < 0)
		return r;
	if (f->kind == LCM_FETCH_MANIFEST && !lcm_digest_is_zero(&f->digest))
		return lcm_digest_equal(ret, &f->digest)
			   ? 0
			   : lcm_err_set(&f->err, -EBADMSG,
					 "the manifest has digest %s, wanted was %s; the "
					 "registry's copy is damaged",
					 lcm_digest_str(ret, got),
					 lcm_digest_str(&f->digest, want));
	if (text[strspn(text, " \t\r\n")] != '{')
		return lcm_err_set(&f->err, -EPROTO,
				   "what was sent is no manifest; is it a registry?");
	return 0;
}

/* The whole manifest is here. */
static void manifest_deliver(struct lcm_fetch *f)
{
	struct lcm_digest d;
	int r = manifest_check(f, &d);
	bool lie = r == -EBADMSG || r == -EPROTO;

	if (r == 0 && f->sink && f->hold)
		r = LCM_FETCH_PAUSE;
	else if (r == 0 && f->sink)
		r = f->sink(f->arg, 0, lcm_buf_str(&f->body), f->body.len);
	f->complete = true;
	if (r > 0)
		return; /* lcm_fetch_resume() brings it here again */
	if (lie) {
		host_wrong(f, r);
		return;
	}
	if (r < 0) {
		lcm_fetch_fail(f, r);
		return;
	}
	f->digest = d;
	fetch_good(f);
}

static void body_ended(struct lcm_fetch *f, CURLcode code)
{
	if (f->kind != LCM_FETCH_BLOB && code == CURLE_OK)
		manifest_deliver(f);
	else if (f->kind == LCM_FETCH_BLOB && f->complete)
		fetch_good(f);
	else
		transport_failed(f, code == CURLE_OK ? CURLE_PARTIAL_FILE : code);
}

/* What has no ranges, or not this blob, may be a good host all the same. */
static void verdict_fail(struct lcm_fetch *f)
{
	if (f->final)
		lcm_fetch_fail(f, f->code);
	else
		lcm_fetch_host_failed(
		    f, f->code == -ENOENT || f->code == -ESPIPE ? LCM_FAIL_ABSENT : LCM_FAIL_HOST,
		    0);
}

static void on_done(void *arg, CURLcode code)
{
	struct lcm_fetch *f = arg;

	lcm_fetch_flow(f, false);

	if (f->verdict == LCM_VERDICT_NONE && f->http.head_done && !f->http.head_too_big)
		lcm_fetch_head(f);
	switch (f->verdict) {
	case LCM_VERDICT_NONE:
		transport_failed(f, code);
		return;
	case LCM_VERDICT_BODY:
		body_ended(f, code);
		return;
	case LCM_VERDICT_REDIRECT:
		fetch_redirect(f);
		return;
	case LCM_VERDICT_AUTH:
		fetch_authenticate(f);
		return;
	case LCM_VERDICT_FORBIDDEN:
		fetch_forbidden(f);
		return;
	case LCM_VERDICT_BACK:
		fetch_back(f);
		return;
	case LCM_VERDICT_SCHEME:
		lcm_ignore(other_scheme(f, true));
		lcm_fetch_chain(f);
		return;
	case LCM_VERDICT_RETRY:
		fetch_retry(f, f->reg->retries);
		return;
	case LCM_VERDICT_FAIL:
		verdict_fail(f);
		return;
	}
}

void lcm_fetch_attend(struct lcm_fetch *f)
{
	if (f->cancel) {
		lcm_fetch_end(f, -ECANCELED);
		return;
	}
	if (!f->resume || f->hold)
		return;
	f->resume = false;
	if (f->kind != LCM_FETCH_BLOB && f->complete) {
		manifest_deliver(f);
		return;
	}
	if (f->state == LCM_FETCH_BODY)
		lcm_fetch_flow(f, true);
	lcm_http_resume(&f->http);
}

/* ---- life ---- */

static const struct lcm_http_ops fetch_ops = { .body = lcm_fetch_on_body, .done = on_done };

int lcm_fetch_new(struct lcm_registry *r, const struct lcm_fetch_req *req, struct lcm_fetch **ret)
{
	lcm_auto(lcm_fetch) f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	f->reg = r;
	f->kind = req->kind;
	f->prio = req->prio;
	f->ref = *req->ref;
	f->digest = req->digest;
	if (f->kind == LCM_FETCH_MANIFEST && lcm_digest_is_zero(&f->digest) && f->ref.has_digest)
		f->digest = f->ref.digest;
	f->size = req->size;
	f->off = req->off;
	f->len = req->len;
	f->skip = req->skip;
	f->sink = req->sink;
	f->tenant = req->tenant;
	f->page = req->page ? strdup(req->page) : NULL;
	if (req->page && !f->page)
		return -ENOMEM;
	f->done = req->done;
	f->arg = req->arg;
	f->after_s = -1;
	f->body = LCM_BUF(LCM_MANIFEST_MAX);
	f->wait = (struct lcm_auth_wait){ .fn = on_auth, .arg = f };
	rc = lcm_http_init(&f->http, &r->http, &fetch_ops, f);
	if (rc == 0)
		rc = lcm_timer_new(r->loop, on_again, f, &f->again_at);
	if (rc < 0)
		return rc;
	*ret = lcm_steal(&f);
	return 0;
}

void lcm_fetch_free(struct lcm_fetch *f)
{
	if (!f)
		return;
	lcm_http_fini(&f->http);
	lcm_doc_cancel(f->doc);
	lcm_timer_free(f->again_at);
	lcm_endpoint_free(f->ep);
	lcm_buf_fini(&f->body);
	free(f->text);
	free(f->page);
	free(f->url);
	free(f);
}
