/* SPDX-License-Identifier: Apache-2.0 */
/* Credential providers of the kubelet: whom they are for, what is understood, and real programs. */
#include "registry/provider.h"

#include <string.h>
#include <sys/stat.h>

#include "src/base/sys.h"
#include "tests/unit/dir_fixture.h"

/* As keyring_test.go has it, and what the documentation says. */
static void matching(void **state)
{
	static const struct {
		const char *glob, *image;
		bool matches;
	} rows[] = {
		{ "*.kubernetes.io", "prefix.kubernetes.io/x", true },
		{ "prefix.*.io", "prefix.kubernetes.io", true },
		{ "prefix.kubernetes.*", "prefix.kubernetes.io", true },
		{ "*-good.kubernetes.io", "prefix-good.kubernetes.io", true },
		{ "*.kubernetes.io/blah", "prefix.kubernetes.io/blah", true },
		{ "prefix.*.io/foo", "prefix.kubernetes.io/foo/bar", true },
		{ "*.kubernetes.io:1111/blah", "prefix.kubernetes.io:1111/blah", true },
		{ "prefix.*.io:1111/foo", "prefix.kubernetes.io:1111/foo/bar", true },
		{ "kubernetes.io", "kubernetes.com", false },
		{ "k*", "kubernetes.io", false },
		{ "*.kubernetes.io", "kubernetes.io", false },
		{ "*kubernetes.io", "a.kubernetes.io", false },
		{ "*.*.kubernetes.io", "prefix.kubernetes.io", false },
		{ "*.io", "a.k8s.io", false },
		{ "*.kubernetes.io/foo", "prefix.kubernetes.io/bar", false },
		{ "prefix.*.io/foo", "prefix.kubernetes.io", false },
		{ "prefix.kubernetes.io:3333", "prefix.kubernetes.io:8888/x", false },
		{ "prefix.kubernetes.io", "prefix.kubernetes.io:8888/x", false },
		{ "prefix.kubernetes.io:8888", "prefix.kubernetes.io/x", false },
		{ "r.io:80/path", "r.io:80/pathology", true }, /* a prefix of characters */
		{ "*", "localhost:5000/x", false },
		{ "*:5000", "localhost:5000/x", true },
		{ "[::1]:5000", "[::1]:5000/x", true },
		{ "app*.a**z.io", "app.az.io/x", true },
		{ "a*b*c.io", "aXbYbc.io", true },
		{ "a*b*c.io", "aXcYb.io", false },
		{ "", "", true },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		if (lcm_provider_match(rows[i].glob, rows[i].image) != rows[i].matches)
			fail_msg("%s %s", rows[i].glob, rows[i].image);
}

#define HEAD "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n"
#define ONE                                                                                        \
	HEAD "providers:\n- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"         \
	     "  defaultCacheDuration: \"12h\"\n"
#define GOOD ONE "  matchImages: [\"*.r.io\", 'r.io:80/x']\n"

static int parse(const char *text, struct lcm_provider_list **ret, struct lcm_err *err)
{
	return lcm_provider_list_parse(text, strlen(text), ret, err);
}

static void configurations(void **state)
{
	lcm_auto(lcm_provider_list) l = NULL;
	lcm_auto(lcm_provider_list) j = NULL;

	(void)state;
	assert_int_equal(
	    parse("# theirs\n" GOOD "  args:\n  - get # now\n  - --x=1\n"
		  "  env:\n  - name: A\n    value: >-\n      b\n      c\n  - {name: B, "
		  "value: ''}\n- name: q\n  apiVersion: "
		  "credentialprovider.kubelet.k8s.io/v1\n  matchImages:\n    - q.io\n  "
		  "defaultCacheDuration: 1h30m0.5s\n",
		  &l, NULL),
	    0);
	assert_int_equal(l->n, 2);
	assert_string_equal(l->v[0].match[0], "*.r.io");
	assert_string_equal(l->v[0].match[1], "r.io:80/x");
	assert_null(l->v[0].match[2]);
	assert_string_equal(l->v[0].argv[0], "p");
	assert_string_equal(l->v[0].argv[2], "--x=1");
	assert_null(l->v[0].argv[3]);
	assert_string_equal(l->v[0].env[0], "A=b c");
	assert_string_equal(l->v[0].env[1], "B=");
	assert_true(l->v[0].cache_ns == 43200000000000ULL);
	assert_true(l->v[1].cache_ns == 5400500000000ULL);
	assert_int_equal(parse(" {\"apiVersion\":\"kubelet.config.k8s.io/v1\",\"kind\":"
			       "\"CredentialProviderConfig\",\"providers\":[{\"name\":\"p\","
			       "\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\","
			       "\"matchImages\":[\"r.io\"],\"defaultCacheDuration\":\"0\"}]}",
			       &j, NULL),
			 0);
	assert_int_equal(j->v[0].cache_ns, 0);
}

static void refused_configurations(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "", "it is empty" },
		{ "- a\n", "a mapping is expected" },
		{ "{", "CredentialProviderConfig" },
		{ "a: [\n", "line" },
		{ "a: b: c\n", "line 1" },
		{ HEAD, "providers" },
		{ HEAD "providers: []\n", "providers" },
		{ "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: CredentialProviderConfig\n",
		  "kubelet.config.k8s.io/v1beta1" },
		{ HEAD "kind: x\n", "there twice" },
		{ HEAD "providers: &a []\n", "anchors" },
		{ HEAD "providers: !!seq []\n", "tags" },
		{ HEAD "x: *a\n", "aliases" },
		{ GOOD "---\na: b\n", "second document" },
		{ "? [a]\n: b\n", "plain word" },
		{ GOOD "  more: 1\n", "\"more\" is not understood" },
		{ GOOD "more: 1\n", "\"more\" is not understood" },
		{ ONE, "matchImages is empty" },
		{ ONE "  matchImages: r.io\n", "matchImages" },
		{ ONE "  matchImages: [1]\n", "quote numbers" },
		{ ONE "  matchImages: [https://r.io]\n", "not https://r.io" },
		{ ONE "  matchImages: [r.io/*]\n", "not r.io/*" },
		{ ONE "  matchImages: ['[ab].io\\']\n", "host only" },
		{ GOOD "  args: [{}]\n", "args" },
		{ GOOD "  env: [{name: A, value: 1}]\n", "value" },
		{ GOOD "  env: [{name: 'A=', value: x}]\n", "no name of a variable" },
		{ GOOD "  env: [{name: A, walue: x}]\n", "walue" },
		{ GOOD "  tokenAttributes: {}\n", "service account" },
		{ HEAD "providers: [{name: a/b, apiVersion: x}]\n", "without /" },
		{ HEAD "providers: [{name: .., apiVersion: x}]\n", "without /" },
		{ HEAD "providers: [{name: a, apiVersion: x}]\n", "is expected, not x" },
		{ HEAD "providers: [7]\n", "not an object" },
		{ HEAD "providers:\n- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
		       "  matchImages: [r.io]\n",
		  "defaultCacheDuration is missing" },
		{ HEAD "providers:\n- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
		       "  matchImages: [r.io]\n  defaultCacheDuration: -1s\n",
		  "a duration" },
		{ HEAD "providers:\n- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
		       "  matchImages: [r.io]\n  defaultCacheDuration: 1e300h\n",
		  "a duration" },
		{ HEAD "providers:\n- name: p\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
		       "  matchImages: [r.io]\n  defaultCacheDuration: 12\n",
		  "defaultCacheDuration" },
		{ HEAD "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
		       "]]]]]\n",
		  "too deep" },
		{ "a: \"\\0\"\n", "NUL" },
		{ "a: \x80\n", "line" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_provider_list *l = NULL;
		struct lcm_err err = { 0 };

		if (parse(rows[i].text, &l, &err) != -EUCLEAN || l ||
		    !strstr(err.msg, rows[i].says))
			fail_msg("row %zu: %s", i, err.msg);
	}
}

#define ANSWER(rest)                                                                               \
	"{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":"                       \
	"\"CredentialProviderResponse\"," rest "}"
#define USER(u) "{\"username\":\"" u "\",\"password\":\"s3cret\"}"

static void answers(void **state)
{
	static const struct {
		const char *text, *image, *user; /* NULL: none for this image */
		enum lcm_provider_key key;
		uint64_t seconds;
	} rows[] = {
		{ ANSWER("\"cacheKeyType\":\"Image\",\"auth\":{\"r.io\":" USER("a") "}"), "r.io/x",
		  "a", LCM_PROVIDER_IMAGE, 5 },
		{ ANSWER("\"cacheKeyType\":\"Registry\",\"cacheDuration\":\"0s\",\"auth\":{\"r.io"
			 "\":" USER("a") ",\"r.io/x\":" USER("b") ",\"*.io\":" USER("c") "}"),
		  "r.io/x/y", "b", LCM_PROVIDER_REGISTRY, 0 },
		{ ANSWER("\"cacheKeyType\":\"Global\",\"cacheDuration\":\"6h\",\"auth\":{\"*."
			 "io\":" USER("c") "}"),
		  "r.io/x", "c", LCM_PROVIDER_GLOBAL, 21600 },
		{ ANSWER(
		      "\"cacheKeyType\":\"Global\",\"auth\":{\"https://r.io/v2/\":" USER("d") "}"),
		  "r.io/x", "d", LCM_PROVIDER_GLOBAL, 5 },
		{ ANSWER(
		      "\"cacheKeyType\":\"Global\",\"auth\":{\"https://index.docker.io/v1/\":" USER(
			  "hub") "}"),
		  "docker.io/library/x", "hub", LCM_PROVIDER_GLOBAL, 5 },
		{ ANSWER("\"cacheKeyType\":\"Global\",\"auth\":{}"), "r.io/x", NULL,
		  LCM_PROVIDER_GLOBAL, 5 },
		{ ANSWER("\"cacheKeyType\":\"Global\",\"auth\":null"), "r.io/x", NULL,
		  LCM_PROVIDER_GLOBAL, 5 },
		{ ANSWER("\"cacheKeyType\":\"Global\""), "r.io/x", NULL, LCM_PROVIDER_GLOBAL, 5 },
		{ ANSWER("\"cacheKeyType\":\"Image\",\"auth\":{\"q.io\":" USER("a") "}"), "r.io/x",
		  NULL, LCM_PROVIDER_IMAGE, 5 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_provider_answer) a = NULL;
		lcm_auto(lcm_credentials) c = NULL;
		int r;

		assert_int_equal(lcm_provider_answer_parse(rows[i].text, strlen(rows[i].text),
							   5000000000ULL, &a, NULL),
				 0);
		assert_int_equal(lcm_provider_answer_key(a), rows[i].key);
		assert_true(lcm_provider_answer_ns(a) == rows[i].seconds * 1000000000);
		r = lcm_provider_answer_find(a, rows[i].image, &c);
		assert_int_equal(r, rows[i].user ? 0 : -ENOENT);
		if (c) {
			assert_string_equal(c->username, rows[i].user);
			assert_string_equal(c->password, "s3cret");
			assert_string_equal(c->identity_token, "");
		}
	}
}

static void refused_answers(void **state)
{
	static const char *const rows[] = {
		"",
		"s3cret",
		"{\"apiVersion\":\"s3cret\"}",
		"{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":\"s3cret\"}",
		"{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1beta1\",\"kind\":"
		"\"CredentialProviderResponse\",\"cacheKeyType\":\"Image\"}",
		ANSWER("\"auth\":{}"),
		ANSWER("\"cacheKeyType\":\"s3cret\""),
		ANSWER("\"cacheKeyType\":\"Image\",\"s3cret\":1"),
		ANSWER("\"cacheKeyType\":\"Image\",\"cacheDuration\":\"s3cret\""),
		ANSWER("\"cacheKeyType\":\"Image\",\"cacheDuration\":7"),
		ANSWER("\"cacheKeyType\":\"Image\",\"auth\":[\"s3cret\"]"),
		ANSWER("\"cacheKeyType\":\"Image\",\"auth\":{\"r.io\":\"s3cret\"}"),
		ANSWER("\"cacheKeyType\":\"Image\",\"auth\":{\"r.io\":{\"s3cret\":\"x\"}}"),
		ANSWER("\"cacheKeyType\":\"Image\",\"auth\":{\"r.io\":" USER("a:b") "}"),
		ANSWER("\"cacheKeyType\":\"Image\",\"auth\":{\"r.io\":" USER("a\\nb") "}"),
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_provider_answer *a = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_provider_answer_parse(rows[i], strlen(rows[i]), 0, &a, &err);

		if (r != -EUCLEAN || a || strstr(err.msg, "s3cret") || !err.msg[0])
			fail_msg("row %zu: %d %s", i, r, err.msg);
	}
}

/* ---- programs ---- */

static const char *in_dir(const char *name)
{
	static char path[300];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const char *text, mode_t mode)
{
	assert_int_equal(lcm_write_file_at(AT_FDCWD, in_dir(name), text, strlen(text), mode), 0);
	assert_int_equal(chmod(in_dir(name), mode), 0);
}

/* How often program @name was run: it adds a line to a file each time. */
static size_t runs(const char *name)
{
	lcm_autofree char *text = NULL;
	char log[64];
	size_t len = 0, n = 0;

	(void)snprintf(log, sizeof(log), "%s.log", name);
	if (lcm_read_file_at(AT_FDCWD, in_dir(log), 1U << 20, &text, &len) < 0)
		return 0;
	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

struct asked {
	struct lcm_loop *loop;
	struct lcm_provider_call *call;
	int r, calls;
	struct lcm_credentials *c;
	uint64_t until;
	struct lcm_err err;
};

static void on_answer(void *arg, int r, struct lcm_credentials *c, uint64_t until_ns,
		      const struct lcm_err *err)
{
	struct asked *a = arg;

	a->r = r;
	a->c = c;
	a->calls++;
	a->until = until_ns;
	if (r < 0)
		a->err = *err;
	lcm_provider_call_free(lcm_steal(&a->call));
	lcm_loop_stop(a->loop);
}

/* All providers in turn, as auth.c does. Return: 0, or -ENOENT, or of the last that failed. */
static int look(struct lcm_providers *p, const char *image, bool anew, struct asked *a)
{
	unsigned int at = 0;
	int r, last = -ENOENT;

	lcm_credentials_free(lcm_steal(&a->c));
	while ((r = lcm_providers_next(p, image, anew, &at, &a->c, &a->until)) == 1) {
		a->calls = 0;
		assert_int_equal(
		    lcm_provider_ask(a->loop, p, at - 1, image, on_answer, a, &a->call, &a->err),
		    0);
		assert_int_equal(lcm_loop_run(a->loop), 0);
		assert_int_equal(a->calls, 1);
		if (a->r == 0)
			return 0;
		last = a->r == -ENOENT ? last : a->r;
	}
	return r == 0 ? 0 : last;
}

#define P(name, match, more)                                                                       \
	"- {name: " name                                                                           \
	", apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ['" match                \
	"'], defaultCacheDuration: 1h" more "}\n"
/* Says who it is and what it was asked, in a user name. */
#define SCRIPT(type, more)                                                                         \
	"#!/bin/sh\necho \"$*\" >>\"$0.log\"\nask=$(base64 -w0)\nprintf "                          \
	"'{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":"                      \
	"\"CredentialProviderResponse\",\"cacheKeyType\":\"" type "\"" more                        \
	",\"auth\":{\"*.io\":{\"username\":\"%s-%s\",\"password\":\"s3cret\"}}}' \"$WHO\" "        \
	"\"$ask\"\n"

static struct lcm_providers *load(const char *config)
{
	struct lcm_providers *p = NULL;
	struct lcm_err err = { 0 };

	put("config.yaml", config, 0600);
	if (lcm_providers_load(in_dir("config.yaml"), dir, &p, &err) < 0)
		fail_msg("%s", err.msg);
	return p;
}

static void programs(void **state)
{
	/* {"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest",
	 * "image":"a.io/x"} */
	static const char asked_for[] =
	    "me-eyJhcGlWZXJzaW9uIjoiY3JlZGVudGlhbHByb3ZpZGVyLmt1YmVsZXQuazhzLmlvL3YxIiwia2luZCI6IkN"
	    "yZWRlbnRpYWxQcm92aWRlclJlcXVlc3QiLCJpbWFnZSI6ImEuaW8veCJ9";
	struct lcm_providers *p;
	struct asked a = { 0 };

	(void)state;
	assert_int_equal(lcm_loop_new(&a.loop), 0);
	put("img", SCRIPT("Image", ""), 0755);
	put("reg", SCRIPT("Registry", ""), 0755);
	put("glob", SCRIPT("Global", ""), 0755);
	put("none", SCRIPT("Image", ",\"cacheDuration\":\"0s\""), 0755);
	p = load(HEAD "providers:\n" P("img", "a.io",
				       ", args: [get, now], env: [{name: WHO, value: "
				       "me}]") P("reg", "b.io", "") P("glob", "*.io/g", "")
		     P("none", "n.io", ""));
	assert_int_equal(setenv("WHO", "else", 1), 0);
	assert_int_equal(look(p, "a.io/x", false, &a), 0);
	assert_string_equal(a.c->username, asked_for);
	assert_string_equal(a.c->password, "s3cret");
	assert_true(a.until > lcm_now_ns() + 3599000000000ULL);
	/* kept by image, registry, for all, not at all */
	assert_int_equal(look(p, "a.io/x", false, &a), 0);
	assert_string_equal(a.c->username, asked_for);
	assert_int_equal(runs("img"), 1);
	assert_int_equal(look(p, "a.io/y", false, &a), 0);
	assert_int_equal(runs("img"), 2);
	assert_int_equal(look(p, "a.io/x", true, &a), 0);
	assert_int_equal(runs("img"), 3);
	assert_int_equal(look(p, "b.io/x", false, &a), 0);
	assert_memory_equal(a.c->username, "else-", 5);
	assert_int_equal(look(p, "b.io/y", false, &a), 0);
	assert_int_equal(runs("reg"), 1);
	assert_int_equal(look(p, "c.io/g1", false, &a), 0);
	assert_int_equal(look(p, "d.io/g2", false, &a), 0);
	assert_int_equal(runs("glob"), 1);
	assert_int_equal(look(p, "n.io/x", false, &a), 0);
	assert_int_equal(a.until, 0);
	assert_int_equal(look(p, "n.io/x", false, &a), 0);
	assert_int_equal(runs("none"), 2);
	assert_int_equal(look(p, "z.io/x", false, &a), -ENOENT);
	lcm_credentials_free(a.c);
	lcm_providers_free(p);
	lcm_loop_free(a.loop);
}

/* One that fails is not the end: the next is asked; and why it failed is known, but no secret. */
static void programs_that_fail(void **state)
{
	struct lcm_providers *p;
	struct asked a = { 0 };

	(void)state;
	assert_int_equal(lcm_loop_new(&a.loop), 0);
	put("img", "#!/bin/sh\necho s3cret\nprintf 'no \\033region\\nmore' >&2\nexit 4\n", 0755);
	put("reg", SCRIPT("Image", ""), 0755);
	p = load(HEAD "providers:\n" P("img", "r.io", "") P("reg", "*.io/x", ""));
	assert_int_equal(look(p, "r.io/y", false, &a), -EACCES);
	assert_string_equal(a.err.msg, "img: no ?region (status 4)");
	assert_int_equal(look(p, "r.io/x", false, &a), 0);
	put("img", "#!/bin/sh\necho '{\"s3cret\": 1}'\n", 0755);
	assert_int_equal(look(p, "r.io/y", false, &a), -EACCES);
	assert_non_null(strstr(a.err.msg, "img: "));
	assert_null(strstr(a.err.msg, "s3cret"));
	put("img", "#!/bin/sh\nyes >&2\nexit 3\n", 0755); /* its text has an end */
	assert_int_equal(look(p, "r.io/y", false, &a), -EACCES);
	put("img", "#!/bin/sh\nexec yes\n", 0755);
	assert_int_equal(look(p, "r.io/y", false, &a), -EACCES);
	assert_string_equal(a.err.msg, "img: it says too much");
	lcm_credentials_free(a.c);
	lcm_providers_free(p);
	lcm_loop_free(a.loop);
}

static void not_loaded(void **state)
{
	struct lcm_providers *p = NULL;
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(lcm_providers_load(in_dir("no.yaml"), dir, &p, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no.yaml"));
	put("config.yaml", HEAD "providers:\n" P("nobody", "r.io", ""), 0600);
	assert_int_equal(lcm_providers_load(in_dir("config.yaml"), dir, &p, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nobody: no such program"));
	put("config.yaml", HEAD "providers: {}\n", 0600);
	assert_int_equal(lcm_providers_load(in_dir("config.yaml"), dir, &p, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, "config.yaml"));
	put("config.yaml", HEAD "providers:\n" P("img", "r.io", ""), 0600);
	assert_int_equal(lcm_providers_load(in_dir("config.yaml"), "bin", &p, &err), -EINVAL);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matching),
		cmocka_unit_test(configurations),
		cmocka_unit_test(refused_configurations),
		cmocka_unit_test(answers),
		cmocka_unit_test(refused_answers),
		cmocka_unit_test(programs),
		cmocka_unit_test(programs_that_fail),
		cmocka_unit_test(not_loaded),
	};

	return cmocka_run_group_tests(tests, dir_setup, dir_teardown);
}
