/* SPDX-License-Identifier: Apache-2.0 */
/* auth_token.c - a token service is asked, and what it answers. */
#include "registry/auth_impl.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "image/content_range.h"
#include "registry/origin.h"
#include "registry/retry.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define BUFFER_BYTES 16384

/* ---- the request ---- */

static int realm_check(const struct lcm_auth *a, struct lcm_err *err)
{
	struct lcm_origin o;
	int r;

	if (lcm_origin_parse(a->bearer->realm, &o) < 0)
		return lcm_err_set(err, -EPROTO,
				   "registry %s names a token service that is not a URL", a->host);
	/* Who is spoken to in plain http anyway may be its own token service. */
	r = lcm_origin_equal(&o, &a->origin)
		? 0
		: lcm_origin_check_plain(&o, a->env->insecure_hosts, err);
	return r < 0 ? lcm_err_prefix(err, r, "token service of %s", a->host) : 0;
}

static int add_param(struct lcm_buf *b, const char *name, const char *value)
{
	char *esc;
	int r;

	if (!value[0])
		return 0;
	esc = curl_easy_escape(NULL, value, (int)strlen(value));
	if (!esc)
		return -ENOMEM;
	r = lcm_buf_printf(b, "%s%s=%s", b->len ? "&" : "", name, esc);
	OPENSSL_cleanse(esc, strlen(esc));
	curl_free(esc);
	return r;
}

/* What both ways of asking name: the service and the scope. */
static int add_common(struct lcm_auth *a, struct lcm_buf *b)
{
	char scope[512];
	int r = add_param(b, "service", a->bearer->service);

	(void)snprintf(scope, sizeof(scope), "repository:%s:%s", a->repo,
		       a->push ? "pull,push" : "pull");
	return r ? r : add_param(b, "scope", a->bearer->scope[0] ? a->bearer->scope : scope);
}

static int token_send(struct lcm_auth *a, const char *url, const char *field, const char *form)
{
	const char *fields[] = { "Accept: application/json", field, NULL };
	struct lcm_origin o = { 0 };
	struct lcm_tls tls = { 0 };

	lcm_ignore(lcm_origin_parse(url, &o));
	if (a->entry)
		tls = a->entry->tls;
	if (!lcm_origin_equal(&o, &a->origin)) {
		tls.cert = tls.key = NULL;
		tls.skip_verify = false;
	}
	a->body.len = 0;
	return lcm_http_start(&a->http,
			      &(struct lcm_http_req){ .url = url,
						      .fields = fields,
						      .form = form,
						      .pool = LCM_MULTI_DEMAND,
						      .buffer = BUFFER_BYTES,
						      .direct = lcm_origin_is_loopback(&o),
						      .fresh = a->http.stalled,
						      .tls = &tls });
}

/* "GET realm?service=...&scope=...", with Basic when there are credentials. */
static int token_get(struct lcm_auth *a, const struct lcm_credentials *c)
{
	struct lcm_buf query = LCM_BUF(LCM_URL_MAX);
	struct lcm_buf url = LCM_BUF(LCM_URL_MAX);
	char *field = NULL;
	int r = add_common(a, &query);

	if (r == 0)
		r = lcm_buf_printf(&url, "%s%s%s", a->bearer->realm,
				   strchr(a->bearer->realm, '?') ? "&" : "?", lcm_buf_str(&query));
	if (r == 0 && c)
		r = lcm_auth_basic_field(c, &field);
	if (r == 0)
		r = token_send(a, lcm_buf_str(&url), field, NULL);
	lcm_auth_wipe(&field);
	lcm_buf_fini(&query);
	lcm_buf_fini(&url);
	return r;
}

/* OAuth2: "POST realm" with the identity token as refresh token. */
static int token_post(struct lcm_auth *a, const struct lcm_credentials *c)
{
	struct lcm_buf form = LCM_BUF(2 * FIELD_MAX);
	int r = lcm_buf_reserve(&form, FIELD_MAX);

	if (r == 0)
		r = lcm_buf_printf(&form, "grant_type=refresh_token&client_id=locum");
	if (r == 0)
		r = add_common(a, &form);
	if (r == 0)
		r = add_param(&form, "refresh_token", c->identity_token);
	if (r == 0)
		r = token_send(a, a->bearer->realm, NULL, lcm_buf_str(&form));
	lcm_auth_wipe_buf(&form);
	return r;
}

int lcm_auth_token_request(struct lcm_auth *a, struct lcm_err *err)
{
	const struct lcm_credentials *c = a->creds;
	int r = realm_check(a, err);

	if (r < 0)
		return r;
	r = c && c->identity_token[0] ? token_post(a, c) : token_get(a, c);
	if (r == -EFBIG)
		return lcm_err_set(err, -EPROTO, "challenge or credentials of %s are too long",
				   a->host);
	return r < 0 ? lcm_err_set(err, r, "asking the token service of %s: %s", a->host,
				   lcm_err_text(NULL, r))
		     : 0;
}

/* ---- the answer ---- */

static int on_body(void *arg, const void *p, size_t len)
{
	struct lcm_auth *a = arg;

	return lcm_buf_add(&a->body, p, len);
}

static bool try_again(struct lcm_auth *a, bool transient, int64_t after_s)
{
	if (!transient || a->tries > a->env->retries)
		return false;
	a->env->retried++;
	lcm_timer_set(a->again,
		      lcm_retry_delay_ms(a->tries, a->env->backoff_ms, lcm_now_ns() >> 6, after_s) *
			  1000000);
	return true;
}

/* @text: NULL when @r < 0. */
static int take_token(struct lcm_auth *a, int r, const char *text, struct lcm_err *err)
{
	lcm_auto(lcm_token) t = NULL;
	struct lcm_buf field = LCM_BUF(FIELD_MAX);

	if (r == 0)
		r = lcm_token_parse(text, strlen(text), &t, err);
	if (r == -EUCLEAN || r == -EFBIG)
		return lcm_err_prefix(err, -EPROTO, "token service of %s", a->host);
	if (r < 0)
		return r;
	r = lcm_buf_reserve(&field, strlen(t->value) + 64);
	if (r == 0)
		r = lcm_buf_printf(&field, "Authorization: Bearer %s", t->value);
	if (r < 0)
		return r;
	lcm_auth_set_field(a, lcm_buf_steal(&field), false);
	/* A tenth early: the clock of the service started before the reply came. */
	a->expires_ns = lcm_now_ns() + t->expires_in_s * (SECOND - SECOND / 10);
	a->env->tokens++;
	lcm_debug("registry=%s repo=%s token for %us", a->host, a->repo, t->expires_in_s);
	return 0;
}

static void on_reply(void *arg, int r, char *text, const struct lcm_err *said)
{
	struct lcm_auth *a = arg;
	struct lcm_err err = *said;

	a->reply = NULL;
	r = take_token(a, r, text, &err);
	lcm_auth_wipe(&text);
	lcm_auth_end(a, r, &err);
}

static int read_reply(struct lcm_auth *a)
{
	return lcm_doc_start(a->env->docs, 0, lcm_buf_str(&a->body), a->body.len,
			     LCM_TOKEN_REPLY_MAX, "token reply", on_reply, a, &a->reply);
}

static int64_t retry_after(const struct lcm_http *h)
{
	const char *f = lcm_http_field(h, "Retry-After", 0);
	uint32_t s;

	if (!f ||
	    lcm_retry_after_parse(f, strlen(f), (int64_t)(lcm_realtime_ns() / SECOND), &s) < 0)
		return -1;
	return s;
}

/* RFC 6749 s. 5.2: a refused grant is a 400. */
static bool refused(long status)
{
	return status == 400 || status == 401 || status == 403;
}

static int token_status(struct lcm_auth *a, long status, struct lcm_err *err)
{
	char realm[256];

	(void)lcm_log_redact(a->bearer->realm, realm, sizeof(realm));
	if (refused(status)) {
		lcm_auth_refused(a, status, err);
		return lcm_err_prefix(err, -EACCES, "token service %s", realm);
	}
	return lcm_err_set(err, lcm_retry_status(status) ? -EHOSTUNREACH : -EPROTO,
			   "token service %s of %s answered with status %ld", realm, a->host,
			   status);
}

static void on_done(void *arg, CURLcode code)
{
	struct lcm_auth *a = arg;
	struct lcm_err err = { 0 };
	struct lcm_origin o = { 0 };
	char peer[LCM_ORIGIN_STR_MAX];
	long status = lcm_http_status(&a->http);
	int r;

	if (code == CURLE_OK && status == 200) {
		r = read_reply(a);
		if (r == 0)
			return;
	} else if (code == CURLE_OK && refused(status) && a->from_kept && !a->anew) {
		a->anew = true;
		lcm_timer_set(a->again, 0);
		return;
	} else if (code == CURLE_OK) {
		if (try_again(a, lcm_retry_status(status), retry_after(&a->http)))
			return;
		r = token_status(a, status, &err);
	} else {
		if (try_again(a, lcm_retry_transport(code) != LCM_TRANSPORT_FATAL, -1))
			return;
		lcm_ignore(lcm_origin_parse(a->bearer->realm, &o));
		r = lcm_http_error(&a->http, code, lcm_origin_str(&o, peer, sizeof(peer)), &err);
		r = lcm_err_prefix(&err, r, "token service of %s", a->host);
	}
	lcm_auth_end(a, r, &err);
}

const struct lcm_http_ops lcm_auth_http_ops = { .body = on_body, .done = on_done };
