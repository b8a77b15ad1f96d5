/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication and redirects: who is asked for what, and who is told what. */
#include <sys/stat.h>

#include "src/base/sys.h"
#include "tests/lib/badserver.h"
#include "tests/lib/regtest.h"

#define BLOB_SIZE (64U << 10)

static uint8_t blob[BLOB_SIZE];
static struct lcm_digest blob_digest;
static char *dir;

static int setup(void **state)
{
	static char path[300];

	(void)state;
	dir = test_mkdir();
	regtest_fill(blob, sizeof(blob), 9);
	(void)snprintf(path, sizeof(path), "%s:/usr/bin:/bin", dir);
	return setenv("PATH", path, 1) < 0 ? -1 : lcm_digest_of(blob, sizeof(blob), &blob_digest);
}

static int teardown(void **state)
{
	(void)state;
	test_rmdir(dir);
	return 0;
}

/* What the scripted registry and its token service do. */
struct script {
	struct badserver *self, *other; /* other: token service or storage */
	const char *accept;             /* Authorization that the registry takes; NULL: none ever */
	bool basic;
	const char *token_reply;
	unsigned int token_failures; /* first answers of the token service are 500 */
	int token_status;            /* 0: 200 */
	unsigned int refuse_storage; /* storage answers 403 so often */
	unsigned int storage_seen;
	const char *expired; /* Authorization that is answered with 403 */
};

static bool answer(struct bad_conn *c, const char *head, const char *body)
{
	bad_printf(c, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body);
	return true;
}

static bool h_registry(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	struct script *s = arg;
	char v[256], head[512];

	if (s->accept && bad_field(req, "Authorization", v, sizeof(v)) &&
	    strcmp(v, s->accept) == 0) {
		bad_blob(c, req, blob, sizeof(blob));
		return true;
	}
	if (s->expired && bad_field(req, "Authorization", v, sizeof(v)) &&
	    strcmp(v, s->expired) == 0)
		return answer(c, "403 x", "");
	if (s->basic)
		return answer(c, "401 x\r\nWWW-Authenticate: Basic realm=\"r\"", "");
	(void)snprintf(head, sizeof(head),
		       "401 x\r\nWWW-Authenticate: Bearer "
		       "realm=\"http://localhost:%u/token\",service=\"a service\","
		       "scope=\"repository:r/x:pull\"",
		       badserver_port(s->other));
	return answer(c, head, "{}");
}

static bool h_token(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	struct script *s = arg;
	char head[64];

	bad_wait(c, 50); /* so that many ask meanwhile */
	if (req->nth < s->token_failures)
		return answer(c, "500 x", "");
	(void)snprintf(head, sizeof(head), "%d x", s->token_status ? s->token_status : 200);
	return answer(c, head, s->token_reply);
}

static char *auth_file(unsigned int port, const char *entry)
{
	struct lcm_buf text = LCM_BUF(4096), path = LCM_BUF(4096);
	char *ret;

	assert_int_equal(lcm_buf_printf(&text, "{\"auths\":{\"127.0.0.1:%u\":{%s}}}", port, entry),
			 0);
	assert_int_equal(lcm_buf_printf(&path, "%s/auth.json", dir), 0);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path.data, text.data, text.len, 0600), 0);
	lcm_buf_fini(&text);
	ret = lcm_buf_steal(&path);
	assert_non_null(ret);
	return ret;
}

struct flow {
	const char *name;
	const char *entry; /* in the auth file; NULL: no file */
	struct script script;
	int status;
	const char *text;              /* in the error */
	unsigned int registry, tokens; /* requests */
	const char *token_auth;        /* Authorization at the token service */
	const char *token_has;         /* in its target or form */
};

/* "user:secret" */
#define USER_ENTRY "\"auth\":\"dXNlcjpzZWNyZXQ=\""
#define USER_FIELD "Basic dXNlcjpzZWNyZXQ="
#define IDENTITY_ENTRY "\"auth\":\"PHRva2VuPjo=\",\"identitytoken\":\"id+tok/en\""
#define TOKEN "{\"token\":\"t1\",\"expires_in\":300}"

static const struct flow flows[] = {
	{ "anonymous bearer",
	  NULL,
	  { .accept = "Bearer t1", .token_reply = TOKEN },
	  0,
	  NULL,
	  2,
	  1,
	  NULL,
	  "/token?service=a%20service&scope=repository%3Ar%2Fx%3Apull" },
	{ "access_token",
	  NULL,
	  { .accept = "Bearer t2", .token_reply = "{\"access_token\":\"t2\"}" },
	  0,
	  NULL,
	  2,
	  1,
	  NULL,
	  NULL },
	{ "bearer with user",
	  USER_ENTRY,
	  { .accept = "Bearer t1", .token_reply = TOKEN },
	  0,
	  NULL,
	  2,
	  1,
	  USER_FIELD,
	  NULL },
	{ "identity token",
	  IDENTITY_ENTRY,
	  { .accept = "Bearer t1", .token_reply = TOKEN },
	  0,
	  NULL,
	  2,
	  1,
	  NULL,
	  "grant_type=refresh_token&client_id=locum&service=a%20service&scope=repository%3Ar%2Fx%"
	  "3Apull"
	  "&refresh_token=id%2Btok%2Fen" },
	{ "token service recovers",
	  NULL,
	  { .accept = "Bearer t1", .token_reply = TOKEN, .token_failures = 2 },
	  0,
	  NULL,
	  2,
	  3,
	  NULL,
	  NULL },
	{ "token service is down",
	  NULL,
	  { .token_reply = "", .token_failures = 100 },
	  -EHOSTUNREACH,
	  "answered with status 500",
	  1,
	  3,
	  NULL,
	  NULL },
	{ "token service refuses",
	  USER_ENTRY,
	  { .token_reply = "no", .token_status = 401 },
	  -EACCES,
	  "auth.json (used)",
	  1,
	  1,
	  USER_FIELD,
	  NULL },
	{ "token service redirects",
	  NULL,
	  { .token_reply = "", .token_status = 302 },
	  -EPROTO,
	  "status 302",
	  1,
	  1,
	  NULL,
	  NULL },
	{ "token reply malformed",
	  NULL,
	  { .token_reply = "{\"token\":1}" },
	  -EPROTO,
	  "token service",
	  1,
	  1,
	  NULL,
	  NULL },
	{ "token is not accepted",
	  NULL,
	  { .token_reply = TOKEN },
	  -EACCES,
	  "no auth file",
	  2,
	  1,
	  NULL,
	  NULL },
	{ "basic", USER_ENTRY, { .accept = USER_FIELD, .basic = true }, 0, NULL, 2, 0, NULL, NULL },
	{ "basic refused",
	  USER_ENTRY,
	  { .basic = true },
	  -EACCES,
	  "auth.json (used)",
	  2,
	  0,
	  NULL,
	  NULL },
	{ "basic without entry",
	  "",
	  { .basic = true },
	  -EACCES,
	  "auth.json (no entry)",
	  1,
	  0,
	  NULL,
	  NULL },
	{ "damaged entry",
	  "\"auth\":\"!\"",
	  { .basic = true },
	  -EACCES,
	  "auth.json",
	  1,
	  0,
	  NULL,
	  NULL },
};

static struct lcm_fetch_req blob_req(const struct lcm_reference *ref, uint64_t off, uint64_t len)
{
	return (struct lcm_fetch_req){ .kind = LCM_FETCH_BLOB,
				       .ref = ref,
				       .digest = blob_digest,
				       .size = BLOB_SIZE,
				       .off = off,
				       .len = len };
}

static void check_tokens(const struct flow *w, struct badserver *tokens)
{
	const struct bad_request *req = badserver_request(tokens, 0);
	char v[256] = "";

	assert_int_equal(badserver_count(tokens), w->tokens);
	if (!w->tokens)
		return;
	(void)bad_field(req, "Authorization", v, sizeof(v));
	assert_string_equal(v, w->token_auth ? w->token_auth : "");
	if (w->token_has)
		assert_non_null(strstr(req->body[0] ? req->body : req->target, w->token_has));
}

static void run_flow(const struct flow *w)
{
	struct script s = w->script;
	struct badserver *registry = badserver_start(h_registry, &s);
	lcm_autofree char *file = w->entry ? auth_file(badserver_port(registry), w->entry) : NULL;
	struct lcm_reference ref = regtest_ref(badserver_port(registry), "r/x:latest");
	const char *const files[] = { file, NULL };
	struct lcm_fetch_req req = blob_req(&ref, 5, 100);
	struct regfetch f = { 0 };
	struct regtest t;
	int status;

	s.other = badserver_start(h_token, &s);
	regtest_init(&t, &(struct lcm_registry_config){ .auth_files = files, .retries = 2 });
	status = regtest_fetch(&t, &f, &req);
	if (status != w->status)
		print_error("%s: %d %s\n", w->name, status, f.res.err.msg);
	assert_int_equal(status, w->status);
	if (w->text && !strstr(f.res.err.msg, w->text))
		print_error("%s: %s\n", w->name, f.res.err.msg);
	if (w->text)
		assert_non_null(strstr(f.res.err.msg, w->text));
	assert_null(strstr(f.res.err.msg, "secret"));
	assert_int_equal(badserver_count(registry), w->registry);
	check_tokens(w, s.other);
	regfetch_fini(&f);
	regtest_fini(&t);
	badserver_stop(registry);
	badserver_stop(s.other);
}

static void test_flows(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(flows); i++)
		run_flow(&flows[i]);
}

/* ---- credential helpers ---- */

struct helped {
	const char *script; /* of docker-credential-t */
	struct script server;
	bool store; /* of all hosts, and not of this */
	int status;
	const char *text;
	unsigned int registry, tokens;
	const char *token_auth;
};

#define SAYS(secret) "echo '{\"Username\":\"user\",\"Secret\":\"" secret "\"}'\n"

static const struct helped helped[] = {
	{ SAYS("secret"), { .accept = USER_FIELD, .basic = true }, false, 0, NULL, 2, 0, NULL },
	{ SAYS("secret"),
	  { .accept = "Bearer t1", .token_reply = TOKEN },
	  true,
	  0,
	  NULL,
	  2,
	  1,
	  USER_FIELD },
	/* One that fails is no reason not to try without. */
	{ "echo no region; exit 1\n",
	  { .accept = "Bearer t1", .token_reply = TOKEN },
	  false,
	  0,
	  NULL,
	  2,
	  1,
	  NULL },
	{ "echo no region; exit 1\n",
	  { .basic = true },
	  true,
	  -EACCES,
	  "docker-credential-t: no region (status 1)",
	  1,
	  0,
	  NULL },
	{ SAYS("secret"),
	  { .basic = true },
	  false,
	  -EACCES,
	  "with these credentials; looked in: ",
	  2,
	  0,
	  NULL },
};

static void put(const char *name, mode_t mode, const char *fmt, ...) LCM_PRINTF(3, 4);
static void put(const char *name, mode_t mode, const char *fmt, ...)
{
	char path[300], text[1024];
	va_list ap;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), mode), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void helper_put(const char *script, bool store, unsigned int port)
{
	put("docker-credential-t", 0755, "#!/bin/sh\n%s", script);
	if (store)
		put("helped.json", 0600, "{\"credsStore\":\"t\",\"auths\":{\"127.0.0.1:%u\":{}}}",
		    port);
	else
		put("helped.json", 0600, "{\"credHelpers\":{\"127.0.0.1:%u\":\"t\"}}", port);
}

static void run_helped(const struct helped *w)
{
	struct script s = w->server;
	struct badserver *registry = badserver_start(h_registry, &s);
	struct lcm_reference ref = regtest_ref(badserver_port(registry), "r/x:latest");
	struct lcm_fetch_req req = blob_req(&ref, 5, 100);
	struct regfetch f = { 0 };
	struct regtest t;
	char path[300];
	const char *const files[] = { path, NULL };

	(void)snprintf(path, sizeof(path), "%s/helped.json", dir);
	helper_put(w->script, w->store, badserver_port(registry));
	s.other = badserver_start(h_token, &s);
	regtest_init(&t, &(struct lcm_registry_config){ .auth_files = files, .retries = 2 });
	assert_int_equal(regtest_fetch(&t, &f, &req), w->status);
	if (w->text && !strstr(f.res.err.msg, w->text))
		fail_msg("%s", f.res.err.msg);
	assert_null(strstr(f.res.err.msg, "secret"));
	assert_int_equal(badserver_count(registry), w->registry);
	check_tokens(&(struct flow){ .tokens = w->tokens, .token_auth = w->token_auth }, s.other);
	regfetch_fini(&f);
	regtest_fini(&t);
	badserver_stop(registry);
	badserver_stop(s.other);
}

static void test_helpers(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(helped); i++)
		run_helped(&helped[i]);
}

/* Some registries say 403 to credentials that have expired: the helper is asked again, once. */
static void test_helper_again(void **state)
{
	struct script s = { .accept = USER_FIELD, .basic = true };
	struct badserver *registry = badserver_start(h_registry, &s);
	struct lcm_reference ref = regtest_ref(badserver_port(registry), "r/x:latest");
	struct lcm_fetch_req req = blob_req(&ref, 5, 100);
	struct regfetch f[3] = { 0 };
	struct regtest t;
	char path[300];
	const char *const files[] = { path, NULL };

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/helped.json", dir);
	helper_put(SAYS("secret"), false, badserver_port(registry));
	regtest_init(&t, &(struct lcm_registry_config){ .auth_files = files, .renew_ms = 1 });
	assert_int_equal(regtest_fetch(&t, &f[0], &req), 0);
	assert_int_equal(badserver_count(registry), 2);
	regfetch_fini(&f[0]);
	/* "user:other" */
	s.expired = USER_FIELD;
	s.accept = "Basic dXNlcjpvdGhlcg==";
	helper_put(SAYS("other"), false, badserver_port(registry));
	assert_int_equal(regtest_fetch(&t, &f[1], &req), 0);
	assert_int_equal(badserver_count(registry), 4);
	regfetch_fini(&f[1]);
	s.expired = s.accept;
	s.accept = NULL;
	assert_int_equal(regtest_fetch(&t, &f[2], &req), -EACCES);
	assert_non_null(strstr(f[2].res.err.msg, "status 403"));
	assert_int_equal(badserver_count(registry), 6);
	regfetch_fini(&f[2]);
	regtest_fini(&t);
	badserver_stop(registry);
}

#define MANY 20

/* However many wait: one token request; and none again while the token is good. */
static void test_single_flight(void **state)
{
	struct script s = { .accept = "Bearer t1", .token_reply = TOKEN };
	struct badserver *registry = badserver_start(h_registry, &s);
	struct lcm_reference ref = regtest_ref(badserver_port(registry), "r/x:latest");
	struct lcm_fetch_req req = blob_req(&ref, 5, 100);
	struct regfetch f[MANY] = { 0 }, late = { 0 }, gone = { 0 };
	struct lcm_registry_stats st;
	struct regtest t;

	(void)state;
	s.other = badserver_start(h_token, &s);
	regtest_init(&t, NULL);
	for (size_t i = 0; i < MANY; i++)
		regtest_start(&t, &f[i], &req);
	regtest_start(&t, &gone, &req);
	lcm_fetch_cancel(t.reg, gone.id);
	regtest_run(&t);
	assert_int_equal(gone.res.status, -ECANCELED);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(f[i].res.status, 0);
		assert_memory_equal(f[i].got.data, blob + 5, 100);
		regfetch_fini(&f[i]);
	}
	assert_int_equal(badserver_count(s.other), 1);
	assert_int_equal(badserver_count(registry), 2 * MANY);
	assert_int_equal(regtest_fetch(&t, &late, &req), 0);
	assert_int_equal(badserver_count(s.other), 1);
	assert_int_equal(badserver_count(registry), 2 * MANY + 1);
	/* The registry forgets the token: one more, once. */
	s.accept = "Bearer t3";
	s.token_reply = "{\"token\":\"t3\"}";
	regfetch_fini(&late);
	late = (struct regfetch){ 0 };
	assert_int_equal(regtest_fetch(&t, &late, &req), 0);
	assert_int_equal(badserver_count(s.other), 2);
	lcm_registry_stats(t.reg, &st);
	assert_int_equal(st.tokens, 2);
	regfetch_fini(&late);
	regfetch_fini(&gone);
	regtest_fini(&t);
	badserver_stop(registry);
	badserver_stop(s.other);
}

/* ---- redirects to storage on another port ---- */

static bool h_redirecting(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	struct script *s = arg;
	char v[256], head[256];

	if (!bad_field(req, "Authorization", v, sizeof(v)))
		return answer(c, "401 x\r\nWWW-Authenticate: Basic realm=\"r\"", "");
	(void)snprintf(head, sizeof(head),
		       "307 x\r\nLocation: http://127.0.0.1:%u/data?X-Signature=hush",
		       badserver_port(s->other));
	return answer(c, head, "<a href>");
}

static bool h_storage(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	struct script *s = arg;

	if (s->storage_seen++ < s->refuse_storage)
		return answer(c, "403 x", "expired");
	bad_blob(c, req, blob, sizeof(blob));
	return true;
}

static bool no_leak(struct badserver *storage)
{
	const struct bad_request *req;
	char v[256];

	for (unsigned int i = 0; (req = badserver_request(storage, i)); i++)
		if (bad_field(req, "Authorization", v, sizeof(v)) ||
		    bad_field(req, "Cookie", v, sizeof(v)))
			return false;
	return true;
}

struct redirect_test {
	struct script s;
	struct badserver *registry;
	char *file;
	struct lcm_reference ref;
	struct regtest t;
};

static void redirect_init(struct redirect_test *r)
{
	const char *files[2] = { NULL };

	*r = (struct redirect_test){ 0 };
	r->registry = badserver_start(h_redirecting, &r->s);
	r->s.other = badserver_start(h_storage, &r->s);
	files[0] = r->file = auth_file(badserver_port(r->registry), USER_ENTRY);
	r->ref = regtest_ref(badserver_port(r->registry), "r/x:latest");
	regtest_init(&r->t, &(struct lcm_registry_config){ .auth_files = files, .retries = 2 });
}

/* What is said are the requests to the registry. */
static int redirect_fetch(struct redirect_test *r, struct regfetch *f, const char *fault)
{
	struct lcm_fetch_req req = blob_req(&r->ref, 5, 100);
	unsigned int before = badserver_count(r->registry);
	uint64_t since = lcm_now_ns();
	int status;

	*f = (struct regfetch){ 0 };
	status = regtest_fetch(&r->t, f, &req);
	regtest_say(fault, status, badserver_count(r->registry) - before, since);
	if (status == 0)
		assert_memory_equal(f->got.data, blob + 5, 100);
	regfetch_fini(f);
	return status;
}

static void redirect_fini(struct redirect_test *r)
{
	assert_true(no_leak(r->s.other));
	regtest_fini(&r->t);
	badserver_stop(r->registry);
	badserver_stop(r->s.other);
	free(r->file);
}

static void test_redirect_no_leak(void **state)
{
	struct redirect_test r;
	struct regfetch f;

	(void)state;
	redirect_init(&r);
	assert_int_equal(redirect_fetch(&r, &f, "storage on another host"), 0);
	assert_int_equal(badserver_count(r.registry), 2);
	assert_int_equal(badserver_count(r.s.other), 1);
	/* The second goes straight to the storage. */
	assert_int_equal(redirect_fetch(&r, &f, "storage, again"), 0);
	assert_int_equal(badserver_count(r.registry), 2);
	assert_int_equal(badserver_count(r.s.other), 2);
	redirect_fini(&r);
}

/* An expired signature: back to the registry, not to a token service, once. */
static void test_redirect_refused(void **state)
{
	struct redirect_test r;
	struct regfetch f;

	(void)state;
	redirect_init(&r);
	r.s.refuse_storage = 1;
	assert_int_equal(redirect_fetch(&r, &f, "storage refuses a new URL"), 0);
	assert_int_equal(badserver_count(r.registry), 3);
	r.s.storage_seen = 0; /* now the kept location is refused */
	assert_int_equal(redirect_fetch(&r, &f, "storage refuses the kept URL"), 0);
	assert_int_equal(badserver_count(r.registry), 4);
	r.s.storage_seen = 0;
	r.s.refuse_storage = 1000;
	assert_int_equal(redirect_fetch(&r, &f, "storage refuses every URL"), -EACCES);
	assert_non_null(strstr(f.res.err.msg, "/data: the host"));
	assert_null(strstr(f.res.err.msg, "hush"));
	assert_int_equal(badserver_count(r.registry), 6);
	redirect_fini(&r);
}

/* A kept location that nobody serves any more costs nothing but time. */
static void test_redirect_gone(void **state)
{
	struct redirect_test r;
	struct badserver *old;
	struct regfetch f;

	(void)state;
	redirect_init(&r);
	assert_int_equal(redirect_fetch(&r, &f, "storage, first"), 0);
	old = r.s.other;
	r.s.other = badserver_start(h_storage, &r.s);
	assert_true(no_leak(old));
	badserver_stop(old);
	assert_int_equal(redirect_fetch(&r, &f, "storage is gone"), 0);
	assert_int_equal(f.res.tries, 1);
	redirect_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_helpers),
		cmocka_unit_test(test_helper_again),
		cmocka_unit_test(test_single_flight),
		cmocka_unit_test(test_redirect_no_leak),
		cmocka_unit_test(test_redirect_refused),
		cmocka_unit_test(test_redirect_gone),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
