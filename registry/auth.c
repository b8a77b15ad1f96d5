/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/auth_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "image/reference.h"
#include "registry/origin.h"
#include "registry/program.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define WHERE_MAX 1024

void lcm_auth_wipe(char **s)
{
	if (*s)
		OPENSSL_cleanse(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void lcm_auth_wipe_buf(struct lcm_buf *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->cap);
	lcm_buf_fini(b);
}

void lcm_auth_set_field(struct lcm_auth *a, char *field, bool basic)
{
	lcm_auth_wipe(&a->field);
	a->field = field;
	a->basic = basic;
	a->made_ns = lcm_now_ns();
	a->generation++;
}

/* RFC 7617: base64(user-id ":" password). */
int lcm_auth_basic_field(const struct lcm_credentials *c, char **ret)
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
	lcm_auth_wipe_buf(&plain);
	lcm_auth_wipe_buf(&out);
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

void lcm_auth_end(struct lcm_auth *a, int r, const struct lcm_err *err)
{
	lcm_auth_wipe_buf(&a->body);
	a->pending = false;
	wake_all(a, r, err);
}

static int use_basic(struct lcm_auth *a, struct lcm_err *err)
{
	char *field = NULL;
	int r;

	if (!a->creds || !a->creds->username[0])
		return lcm_auth_refused(a, 401, err);
	r = lcm_auth_basic_field(a->creds, &field);
	if (r < 0)
		return lcm_err_set(err, r, "credentials for %s: %s", a->host,
				   lcm_err_text(NULL, r));
	lcm_auth_set_field(a, field, true);
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
		r = a->want_basic ? use_basic(a, err) : lcm_auth_token_request(a, err);
	creds_forget(a);
	if (r < 0)
		lcm_auth_end(a, r, err);
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
	if (!a->host || !a->repo || lcm_http_init(&a->http, env->http, &lcm_auth_http_ops, a) < 0 ||
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
	lcm_auth_wipe(&a->field);
	lcm_auth_wipe_buf(&a->body);
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
