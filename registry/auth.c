/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/auth.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "image/challenge.h"
#include "image/content_range.h"
#include "image/reference.h"
#include "image/token.h"
#include "registry/creds.h"
#include "registry/helper.h"
#include "registry/origin.h"
#include "registry/program.h"
#include "registry/retry.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define SECOND 1000000000ULL
#define FIELD_MAX (LCM_TOKEN_LEN_MAX + 64)
#define WHERE_MAX 1024
#define BUFFER_BYTES 16384

TAILQ_HEAD(wait_list, lcm_auth_wait);

struct lcm_auth {
	struct lcm_auth_env *env; /* borrowed */
	char *host, *repo;        /* owned */
	bool push;
	struct lcm_challenge *bearer; /* owned; how to get a token; NULL: not known */
	char *field;                  /* owned secret; NULL: send without */
	bool basic;                   /* field has user name and password */
	bool by_helper;               /* and a helper or provider gave them */
	uint64_t made_ns;             /* when field was made */
	uint64_t expires_ns;          /* of the token, or of what a provider gave; 0: not known */
	uint64_t generation;
	bool pending;           /* a token request is under way, or credentials are looked for */
	bool want_basic;        /* these, and no token */
	uint32_t tries;         /* of the token request */
	struct lcm_hosts *conf; /* referenced; NULL: none is known */
	const struct lcm_hosts_entry *entry; /* in conf */
	struct lcm_origin origin;            /* of the host */
	/* what it goes with */
	lcm_creds_place place;          /* to look for them next */
	unsigned int provider;          /* after all files, this one */
	bool anew;                      /* and what providers said before is not good any more */
	bool from_kept;                 /* it is what one said before */
	uint64_t creds_until_ns;        /* 0: not known */
	struct lcm_credentials *creds;  /* owned secret; NULL: none */
	struct lcm_helper *helper;      /* owned; it is asked now */
	struct lcm_provider_call *call; /* owned; the same */
	struct lcm_buf helpers_said;    /* why there is nothing of helpers, for an error text */
	struct lcm_http http;
	struct lcm_timer *again; /* owned; the pause before another try */
	struct lcm_buf body;     /* secret; the token service's reply */
	struct lcm_doc *reply;   /* it is being read; NULL: it is not */
	struct wait_list waiting;
};

static void wipe(char **s)
{
	if (*s)
		OPENSSL_cleanse(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

static void wipe_buf(struct lcm_buf *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->cap);
	lcm_buf_fini(b);
}

static void set_field(struct lcm_auth *a, char *field, bool basic)
{
	wipe(&a->field);
	a->field = field;
	a->basic = basic;
	a->made_ns = lcm_now_ns();
	a->generation++;
}

/* RFC 7617: base64(user-id ":" password). */
static int basic_field(const struct lcm_credentials *c, char **ret)
{
	struct lcm_buf plain = LCM_BUF(FIELD_MAX / 2);
	struct lcm_buf out = LCM_BUF(FIELD_MAX);
	int r;

	/* Reserved at once: growing would leave copies behind. */
	r = lcm_buf_reserve(&plain, strlen(c->username) + strlen(c->password) + 1);
	if (r == 0)
		r = lcm_buf_printf(&plain, "%s:%s", c->username, c->password);
	if (r == 0)
		r = lcm_buf_reserve(&out, 32 + (plain.len + 2) / 3 * 4);
	if (r == 0)
		r = lcm_buf_printf(&out, "Authorization: Basic ");
	if (r == 0) {
		out.len += (size_t)EVP_EncodeBlock((unsigned char *)out.data + out.len,
						   (unsigned char *)plain.data, (int)plain.len);
		*ret = lcm_buf_steal(&out);
	}
	wipe_buf(&plain);
	wipe_buf(&out);
	return r;
}

static void wake_all(struct lcm_auth *a, int r, const struct lcm_err *err)
{
	struct wait_list list;

	a->anew = false;
	TAILQ_INIT(&list);
	TAILQ_CONCAT(&list, &a->waiting, link);
	while (!TAILQ_EMPTY(&list)) {
		struct lcm_auth_wait *w = TAILQ_FIRST(&list);

		TAILQ_REMOVE(&list, w, link);
		w->queued = false;
		w->fn(w->arg, r, err);
	}
}

static void token_failed(struct lcm_auth *a, int r, const struct lcm_err *err)
{
	a->pending = false;
	wake_all(a, r, err);
}

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
		r = basic_field(c, &field);
	if (r == 0)
		r = token_send(a, lcm_buf_str(&url), field, NULL);
	wipe(&field);
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
	wipe_buf(&form);
	return r;
}

static int token_request(struct lcm_auth *a, struct lcm_err *err)
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

static int use_basic(struct lcm_auth *a, struct lcm_err *err)
{
	char *field = NULL;
	int r;

	if (!a->creds || !a->creds->username[0])
		return lcm_auth_refused(a, 401, err);
	r = basic_field(a->creds, &field);
	if (r < 0)
		return lcm_err_set(err, r, "credentials for %s: %s", a->host,
				   lcm_err_text(NULL, r));
	set_field(a, field, true);
	a->expires_ns = a->creds_until_ns;
	return 0;
}

/* ---- credentials ---- */

static void creds_forget(struct lcm_auth *a)
{
	lcm_credentials_free(lcm_steal(&a->creds));
}

static void on_helper(void *arg, int r, struct lcm_credentials *c, const struct lcm_err *err);
static void on_provider(void *arg, int r, struct lcm_credentials *c, uint64_t until_ns,
			const struct lcm_err *err);

/* No reason not to try without: images may be public. */
static void nothing_of_helper(struct lcm_auth *a, bool failed, const struct lcm_err *err)
{
	if (failed)
		lcm_log(LCM_LOG_WARNING, "registry=%s %s", a->host, err->msg);
	lcm_ignore(lcm_buf_printf(&a->helpers_said, "; %s", err->msg));
}

/* As creds_find(), of providers. */
static int providers_find(struct lcm_auth *a)
{
	struct lcm_err why = { 0 };
	char image[LCM_REFERENCE_STR_MAX];
	int r;

	(void)snprintf(image, sizeof(image), "%s/%s", a->host, a->repo);
	while ((r = lcm_providers_next(a->env->providers, image, a->anew, &a->provider, &a->creds,
				       &a->creds_until_ns)) == 1) {
		r = lcm_provider_ask(a->env->http->loop, a->env->providers, a->provider - 1, image,
				     on_provider, a, &a->call, &why);
		if (r == 0)
			return 1;
		if (r == -ENOMEM)
			return r;
		nothing_of_helper(a, true, &why);
	}
	if (r == 0)
		a->by_helper = a->from_kept = true;
	return r == -ENOENT ? 0 : r;
}

/* Return: 0, and a->creds are what there is; 1: a helper or provider is asked; -errno. */
static int creds_find(struct lcm_auth *a, struct lcm_err *err)
{
	char helper[LCM_HELPER_NAME_MAX + 1];
	struct lcm_err why = { 0 };
	int r;

	for (;;) {
		r = lcm_creds_next(a->env->files, a->host, a->repo, &a->place, &a->creds, helper,
				   NULL, err);
		if (r != 1)
			return r == -ENOENT ? providers_find(a) : r;
		r = lcm_helper_start(a->env->http->loop, helper, a->host, LCM_PROGRAM_TIMEOUT_MS,
				     on_helper, a, &a->helper, &why);
		if (r == 0)
			return 1;
		if (r == -ENOMEM)
			return r;
		nothing_of_helper(a, true, &why);
	}
}

/* @r: of creds_find(). */
static void creds_found(struct lcm_auth *a, int r, struct lcm_err *err)
{
	if (r == 1)
		return;
	if (r == 0)
		r = a->want_basic ? use_basic(a, err) : token_request(a, err);
	creds_forget(a);
	if (r < 0)
		token_failed(a, r, err);
	else if (a->want_basic) {
		a->pending = false;
		wake_all(a, 0, NULL);
	}
}

static void on_helper(void *arg, int r, struct lcm_credentials *c, const struct lcm_err *err)
{
	struct lcm_auth *a = arg;
	struct lcm_err why = { 0 };

	lcm_helper_free(lcm_steal(&a->helper));
	if (r == 0) {
		a->creds = c;
		a->by_helper = true;
	} else {
		nothing_of_helper(a, r != -ENOENT, err);
		r = creds_find(a, &why);
	}
	creds_found(a, r, &why);
}

static void on_provider(void *arg, int r, struct lcm_credentials *c, uint64_t until_ns,
			const struct lcm_err *err)
{
	struct lcm_auth *a = arg;
	struct lcm_err why = { 0 };

	lcm_provider_call_free(lcm_steal(&a->call));
	if (r == 0) {
		a->creds = c;
		a->creds_until_ns = until_ns;
		a->by_helper = true;
	} else {
		nothing_of_helper(a, r != -ENOENT, err);
		r = providers_find(a);
	}
	creds_found(a, r, &why);
}

static void on_again(void *arg)
{
	struct lcm_auth *a = arg;
	struct lcm_err err = { 0 };

	a->tries++;
	a->place = a->provider = 0;
	a->by_helper = a->from_kept = false;
	a->creds_until_ns = 0;
	a->helpers_said.len = 0;
	creds_found(a, creds_find(a, &err), &err);
}

/* Begin a token request unless one is under way, and wait for it. */
static int token_wait(struct lcm_auth *a, struct lcm_auth_wait *w)
{
	if (!a->pending) {
		a->pending = true;
		a->tries = 0;
		lcm_timer_set(a->again, 0);
	}
	w->queued = true;
	TAILQ_INSERT_TAIL(&a->waiting, w, link);
	return 1;
}

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
	set_field(a, lcm_buf_steal(&field), false);
	/* A tenth early: the clock of the service started before the reply came. */
	a->expires_ns = lcm_now_ns() + t->expires_in_s * (SECOND - SECOND / 10);
	a->env->tokens++;
	lcm_debug("registry=%s repo=%s token for %us", a->host, a->repo, t->expires_in_s);
	return 0;
}

static void end(struct lcm_auth *a, int r, const struct lcm_err *err)
{
	wipe_buf(&a->body);
	a->pending = false;
	wake_all(a, r, err);
}

static void on_reply(void *arg, int r, char *text, const struct lcm_err *said)
{
	struct lcm_auth *a = arg;
	struct lcm_err err = *said;

	a->reply = NULL;
	r = take_token(a, r, text, &err);
	wipe(&text);
	end(a, r, &err);
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
	end(a, r, &err);
}

static const struct lcm_http_ops auth_ops = { .body = on_body, .done = on_done };

struct lcm_auth *lcm_auth_new(struct lcm_auth_env *env, const char *host, const char *repo,
			      bool push)
{
	lcm_auto(lcm_auth) a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	TAILQ_INIT(&a->waiting);
	a->env = env;
	a->push = push;
	a->body = LCM_BUF(LCM_TOKEN_REPLY_MAX);
	a->helpers_said = LCM_BUF(WHERE_MAX);
	a->host = strdup(host);
	a->repo = strdup(repo);
	if (!a->host || !a->repo || lcm_http_init(&a->http, env->http, &auth_ops, a) < 0 ||
	    lcm_timer_new(env->http->loop, on_again, a, &a->again) < 0)
		return NULL;
	return lcm_steal(&a);
}

void lcm_auth_free(struct lcm_auth *a)
{
	if (!a)
		return;
	lcm_http_fini(&a->http);
	lcm_timer_free(a->again);
	lcm_helper_free(a->helper);
	lcm_doc_cancel(a->reply);
	lcm_hosts_free(a->conf);
	lcm_provider_call_free(a->call);
	creds_forget(a);
	wipe(&a->field);
	wipe_buf(&a->body);
	lcm_buf_fini(&a->helpers_said);
	free(a->bearer);
	free(a->host);
	free(a->repo);
	free(a);
}

void lcm_auth_set_place(struct lcm_auth *a, struct lcm_hosts *conf,
			const struct lcm_hosts_entry *entry, const struct lcm_origin *origin)
{
	if (a->conf != conf) {
		lcm_hosts_free(a->conf);
		a->conf = lcm_hosts_ref(conf);
	}
	a->entry = entry;
	a->origin = *origin;
}

bool lcm_auth_is(const struct lcm_auth *a, const char *host, const char *repo, bool push)
{
	return a->push == push && strcmp(a->host, host) == 0 && strcmp(a->repo, repo) == 0;
}

const char *lcm_auth_field(const struct lcm_auth *a)
{
	return a->field;
}

uint64_t lcm_auth_generation(const struct lcm_auth *a)
{
	return a->generation;
}

int lcm_auth_ready(struct lcm_auth *a, struct lcm_auth_wait *w)
{
	if (a->pending || (a->field && a->expires_ns && lcm_now_ns() >= a->expires_ns))
		return token_wait(a, w);
	return 0;
}

int lcm_auth_refused(struct lcm_auth *a, long status, struct lcm_err *err)
{
	struct lcm_credentials *c = NULL;
	struct lcm_buf where = LCM_BUF(WHERE_MAX);
	char helper[LCM_HELPER_NAME_MAX + 1];
	lcm_creds_place at = 0;
	int r;

	do
		r = lcm_creds_next(a->env->files, a->host, a->repo, &at, &c, helper, &where, NULL);
	while (r == 1);
	r = lcm_err_set(err, -EACCES, "%s refuses access to %s (status %ld) %s; looked in: %s%s",
			a->host, a->repo, status,
			c || a->by_helper ? "with these credentials"
					  : "without credentials, log in or check the name",
			where.len ? lcm_buf_str(&where) : "no auth file",
			lcm_buf_str(&a->helpers_said));
	lcm_credentials_free(c);
	lcm_buf_fini(&where);
	return r;
}

/* Could what was sent have expired, and is there newer? */
static bool is_stale(const struct lcm_auth *a)
{
	return a->field && (!a->basic || a->by_helper) &&
	       lcm_now_ns() - a->made_ns >= (uint64_t)a->env->renew_ms * 1000000;
}

int lcm_auth_renew(struct lcm_auth *a, uint64_t generation, struct lcm_auth_wait *w)
{
	if (a->pending)
		return token_wait(a, w);
	if (generation != a->generation)
		return 0;
	if (!is_stale(a))
		return -EACCES;
	a->want_basic = a->basic;
	a->anew = true;
	return token_wait(a, w);
}

static int parse_challenges(struct lcm_auth *a, const struct lcm_http *reply,
			    struct lcm_challenges *cs, struct lcm_err *err)
{
	const char *f;

	for (size_t i = 0; (f = lcm_http_field(reply, "WWW-Authenticate", i)); i++) {
		int r = lcm_challenges_add(cs, f, strlen(f), err);

		if (r < 0)
			return lcm_err_prefix(err, -EPROTO, "WWW-Authenticate of %s", a->host);
	}
	return 0;
}

static int answer(struct lcm_auth *a, uint64_t generation, const struct lcm_challenges *cs,
		  struct lcm_auth_wait *w, struct lcm_err *err)
{
	const struct lcm_challenge *c = lcm_challenges_find(cs, LCM_AUTH_BEARER);

	if (!c && lcm_challenges_find(cs, LCM_AUTH_BASIC)) {
		if (a->basic && generation == a->generation && !is_stale(a))
			return lcm_auth_refused(a, 401, err);
		a->want_basic = true;
		a->anew = a->basic; /* what was sent is refused */
		return token_wait(a, w);
	}
	if (!c)
		return lcm_err_set(err, -EACCES,
				   "registry %s answered 401 and offers neither Basic nor Bearer",
				   a->host);
	if (!a->bearer)
		a->bearer = malloc(sizeof(*a->bearer));
	if (!a->bearer)
		return -ENOMEM;
	*a->bearer = *c;
	a->want_basic = false;
	return token_wait(a, w);
}

int lcm_auth_challenged(struct lcm_auth *a, uint64_t generation, const struct lcm_http *reply,
			struct lcm_auth_wait *w, struct lcm_err *err)
{
	struct lcm_challenges *cs;
	int r;

	if (a->pending)
		return token_wait(a, w);
	if (generation != a->generation)
		return 0;
	cs = calloc(1, sizeof(*cs));
	if (!cs)
		return -ENOMEM;
	r = parse_challenges(a, reply, cs, err);
	if (r == 0)
		r = answer(a, generation, cs, w, err);
	free(cs);
	return r;
}

void lcm_auth_unwait(struct lcm_auth *a, struct lcm_auth_wait *w)
{
	if (!w->queued)
		return;
	TAILQ_REMOVE(&a->waiting, w, link);
	w->queued = false;
}
