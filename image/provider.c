/* SPDX-License-Identifier: Apache-2.0 */
#include "image/provider.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "image/yaml.h"

#define CONFIG_VERSION "kubelet.config.k8s.io/v1"
#define PLUGIN_VERSION "credentialprovider.kubelet.k8s.io/v1"
#define CONFIG "CredentialProviderConfig"
#define ANSWER "CredentialProviderResponse"
#define LIST_MAX 256 /* providers, globs, arguments, variables, entries of an answer */
#define DURATION_MAX_NS (10ULL * 365 * 86400 * 1000000000)

/* ---- matching ---- */

struct place {
	const char *host, *port, *path;
	size_t host_len, port_len;
};

/* "host[:port][/path]"; "[::1]:5000" has its colons inside. */
static struct place split(const char *s)
{
	struct place p = { .host = s };
	size_t len = strcspn(s, "/"), end = len;

	while (end && s[end - 1] >= '0' && s[end - 1] <= '9')
		end--;
	p.path = s + len;
	p.host_len = end && s[end - 1] == ':' ? end - 1 : len;
	if (end && s[end - 1] == ':') {
		p.port = s + end;
		p.port_len = len - end;
	}
	return p;
}

/* '*' is any number of characters. */
static bool part_matches(const char *glob, size_t glob_len, const char *s, size_t len)
{
	size_t g = 0, i = 0, star = SIZE_MAX, from = 0;

	while (i < len) {
		if (g < glob_len && glob[g] == '*') {
			star = g++;
			from = i;
		} else if (g < glob_len && glob[g] == s[i]) {
			g++;
			i++;
		} else if (star != SIZE_MAX) {
			g = star + 1;
			i = ++from;
		} else {
			return false;
		}
	}
	while (g < glob_len && glob[g] == '*')
		g++;
	return g == glob_len;
}

static bool hosts_match(const struct place *glob, const struct place *image)
{
	const char *g = glob->host, *s = image->host;
	size_t g_left = glob->host_len, s_left = image->host_len;

	for (;;) {
		const char *g_dot = memchr(g, '.', g_left), *s_dot = memchr(s, '.', s_left);
		size_t g_len = g_dot ? (size_t)(g_dot - g) : g_left,
		       s_len = s_dot ? (size_t)(s_dot - s) : s_left;

		if (!g_dot != !s_dot || !part_matches(g, g_len, s, s_len))
			return false;
		if (!g_dot)
			return true;
		g = g_dot + 1;
		s = s_dot + 1;
		g_left -= g_len + 1;
		s_left -= s_len + 1;
	}
}

bool lcm_provider_match(const char *glob, const char *image)
{
	struct place g = split(glob), s = split(image);

	return g.port_len == s.port_len &&
	       (!g.port_len || memcmp(g.port, s.port, g.port_len) == 0) &&
	       strncmp(g.path, s.path, strlen(g.path)) == 0 && hosts_match(&g, &s);
}

/* ---- members ---- */

static bool is_answer(const char *what)
{
	return strncmp(what, ANSWER, strlen(ANSWER)) == 0;
}

/* Every member of @o is one of @known. An answer is never quoted: who knows what is in it. */
static int check_known(const json_t *o, const char *const *known, const char *what,
		       struct lcm_err *err)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)(uintptr_t)o, key, v) {
		size_t i = 0;

		while (known[i] && strcmp(known[i], key) != 0)
			i++;
		if (!known[i])
			return lcm_err_set(err, -EUCLEAN, "%s: \"%.100s\" is not understood", what,
					   is_answer(what) ? "a member" : key);
	}
	return 0;
}

static int check_kind(const json_t *root, const char *version, const char *kind,
		      struct lcm_err *err)
{
	const char *v, *k;
	int r = lcm_json_string(root, "apiVersion", kind, &v, err);

	if (r == 0)
		r = lcm_json_string(root, "kind", kind, &k, err);
	if (r < 0)
		return r;
	if (strcmp(v, version) == 0 && strcmp(k, kind) == 0)
		return 0;
	return lcm_err_set(
	    err, -EUCLEAN, "apiVersion %s and kind %s are expected, not \"%.60s\" and \"%.60s\"",
	    version, kind, is_answer(kind) ? "others" : v, is_answer(kind) ? "others" : k);
}

/* Go's time.ParseDuration: "1h30m", "1.5h", "0", "-3ms". */
static int parse_duration(const char *s, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = { { "ns", 1 },  { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, { "ms", 1e6 },
		      { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 } };
	double sum = 0;

	if (strcmp(s, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	if (!*s)
		return -EINVAL;
	while (*s) {
		size_t digits = strspn(s, "0123456789."), unit = strcspn(s + digits, "0123456789."),
		       i = 0;
		double n;

		if (!digits || digits > 30 || sscanf(s, "%30lf", &n) != 1 ||
		    strspn(s, ".") == digits)
			return -EINVAL;
		while (i < LCM_ARRAY_SIZE(units) &&
		       !(strlen(units[i].name) == unit &&
			 strncmp(units[i].name, s + digits, unit) == 0))
			i++;
		if (i == LCM_ARRAY_SIZE(units))
			return -EINVAL;
		sum += n * units[i].ns;
		s += digits + unit;
	}
	if (!(sum <= (double)DURATION_MAX_NS))
		return -ERANGE;
	*ret_ns = (uint64_t)sum;
	return 0;
}

/* Return: 1: it is absent. */
static int take_duration(const json_t *o, const char *key, const char *what, uint64_t *ret,
			 struct lcm_err *err)
{
	const char *s;
	int r = lcm_json_string(o, key, what, &s, err);

	if (r < 0)
		return r;
	if (!lcm_json_member(o, key))
		return 1;
	return parse_duration(s, ret) == 0
		   ? 0
		   : lcm_err_set(err, -EUCLEAN,
				 "%s: %s \"%.40s\": a duration from 0 to ten years is expected, as "
				 "\"12h\"",
				 what, key, is_answer(what) ? "that" : s);
}

static void free_strings(char **v)
{
	for (char **s = v; s && *s; s++)
		free(*s);
	free(v);
}

/* ---- the configuration ---- */

void lcm_provider_list_free(struct lcm_provider_list *l)
{
	for (size_t i = 0; l && i < l->n; i++) {
		free(l->v[i].name);
		free_strings(l->v[i].match);
		free_strings(l->v[i].argv);
		free_strings(l->v[i].env);
	}
	if (l)
		free(l->v);
	free(l);
}

static int bad(const struct lcm_provider *p, struct lcm_err *err, const char *why, const char *s)
{
	return lcm_err_set(err, -EUCLEAN, CONFIG ": provider %.100s: %s%.200s",
			   p->name ? p->name : "?", why, s);
}

/* Strings of the array @key, after @first (NULL: none). */
static int take_strings(const json_t *o, const char *key, const char *first,
			const struct lcm_provider *p, char ***ret, struct lcm_err *err)
{
	const json_t *list = lcm_json_member(o, key), *v;
	size_t n = json_array_size(list), at = 0, i;
	char **out;

	if (list && (!json_is_array(list) || n > LIST_MAX))
		return bad(p, err, "a list of at most 256 strings is expected of ", key);
	out = calloc(n + 2, sizeof(*out));
	if (!out)
		return -ENOMEM;
	*ret = out; /* owned by the provider from here on, also in part */
	if (first && !(out[at++] = strdup(first)))
		return -ENOMEM;
	json_array_foreach (list, i, v) {
		if (!json_is_string(v))
			return bad(p, err, "a string that is none (quote numbers) in ", key);
		out[at] = strdup(json_string_value(v));
		if (!out[at++])
			return -ENOMEM;
	}
	return 0;
}

static int take_variable(const json_t *o, const struct lcm_provider *p, char **ret,
			 struct lcm_err *err)
{
	static const char *const known[] = { "name", "value", NULL };
	const char *name = "", *value = "";
	int r = json_is_object(o) ? check_known(o, known, CONFIG ": env", err)
				  : bad(p, err, "env: name and value are expected", "");

	if (r == 0)
		r = lcm_json_string(o, "name", CONFIG ": env", &name, err);
	if (r == 0)
		r = lcm_json_string(o, "value", CONFIG ": env", &value, err);
	if (r == 0 && (!*name || strchr(name, '=')))
		r = bad(p, err, "no name of a variable: ", name);
	if (r == 0 && asprintf(ret, "%s=%s", name, value) < 0) {
		*ret = NULL;
		r = -ENOMEM;
	}
	return r;
}

static int take_env(const json_t *o, struct lcm_provider *p, struct lcm_err *err)
{
	const json_t *list = lcm_json_member(o, "env"), *v;
	size_t i;
	int r = 0;

	if (list && (!json_is_array(list) || json_array_size(list) > LIST_MAX))
		return bad(p, err, "env: a list of at most 256 is expected", "");
	p->env = calloc(json_array_size(list) + 1, sizeof(*p->env));
	if (!p->env)
		return -ENOMEM;
	json_array_foreach (list, i, v) {
		r = take_variable(v, p, &p->env[i], err);
		if (r < 0)
			break;
	}
	return r;
}

static int check_globs(const struct lcm_provider *p, struct lcm_err *err)
{
	if (!p->match[0])
		return bad(p, err, "matchImages is empty", "");
	for (char **m = p->match; *m; m++) {
		size_t host = strcspn(*m, "/");

		if (!host || strpbrk(*m, " \t\r\n?#%\\@") || strchr(*m + host, '*') ||
		    strstr(*m, "://") || !lcm_json_is_plain(*m))
			return bad(p, err,
				   "matchImages: host[:port][/path] is expected, with * in the "
				   "host only, not ",
				   *m);
	}
	return 0;
}

static int take_name(const json_t *o, struct lcm_provider *p, struct lcm_err *err)
{
	const char *name = "", *version = "";
	int r = lcm_json_string(o, "name", CONFIG ": provider", &name, err);

	if (r == 0)
		r = lcm_json_string(o, "apiVersion", CONFIG ": provider", &version, err);
	if (r < 0)
		return r;
	p->name = strdup(name);
	if (!p->name)
		return -ENOMEM;
	if (!*name || strlen(name) > 200 || strpbrk(name, "/ ") || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0 || !lcm_json_is_plain(name))
		return bad(p, err, "name: a program's name without / and spaces is expected", "");
	return strcmp(version, PLUGIN_VERSION) == 0
		   ? 0
		   : bad(p, err, "apiVersion " PLUGIN_VERSION " is expected, not ", version);
}

static int take_provider(const json_t *o, struct lcm_provider *p, struct lcm_err *err)
{
	static const char *const known[] = {
		"name", "matchImages", "defaultCacheDuration", "apiVersion",
		"args", "env",         "tokenAttributes",      NULL
	};
	int r = json_is_object(o) ? take_name(o, p, err) : bad(p, err, "it is not an object", "");

	if (r == 0)
		r = check_known(o, known, CONFIG ": provider", err);
	if (r == 0 && lcm_json_member(o, "tokenAttributes"))
		r = bad(p, err, "tokenAttributes need a pod's service account; leave them out", "");
	if (r == 0)
		r = take_strings(o, "matchImages", NULL, p, &p->match, err);
	if (r == 0)
		r = check_globs(p, err);
	if (r == 0)
		r = take_strings(o, "args", p->name, p, &p->argv, err);
	if (r == 0)
		r = take_env(o, p, err);
	if (r == 0)
		r = take_duration(o, "defaultCacheDuration", CONFIG, &p->cache_ns, err);
	return r == 1 ? bad(p, err, "defaultCacheDuration is missing", "") : r;
}

static int take_list(const json_t *root, struct lcm_provider_list *l, struct lcm_err *err)
{
	static const char *const known[] = { "apiVersion", "kind", "providers", NULL };
	const json_t *list = lcm_json_member(root, "providers"), *v;
	int r = check_kind(root, CONFIG_VERSION, CONFIG, err);
	size_t i;

	if (r == 0)
		r = check_known(root, known, CONFIG, err);
	if (r < 0)
		return r;
	if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > LIST_MAX)
		return lcm_err_set(err, -EUCLEAN, CONFIG ": providers: 1 to 256 are expected");
	l->v = calloc(json_array_size(list), sizeof(*l->v));
	if (!l->v)
		return -ENOMEM;
	json_array_foreach (list, i, v) {
		l->n = i + 1;
		r = take_provider(v, &l->v[i], err);
		for (size_t k = 0; r == 0 && k < i; k++)
			if (strcmp(l->v[k].name, l->v[i].name) == 0)
				r = bad(&l->v[i], err, "it is there twice", "");
		if (r < 0)
			break;
	}
	return r;
}

int lcm_provider_list_parse(const char *p, size_t len, struct lcm_provider_list **ret,
			    struct lcm_err *err)
{
	lcm_auto(lcm_provider_list) l = calloc(1, sizeof(*l));
	lcm_autojson json_t *root = NULL;
	int r = l ? lcm_yaml_parse(p, len, LCM_CONFIG_FILE_MAX, CONFIG, &root, err) : -ENOMEM;

	if (r == 0)
		r = take_list(root, l, err);
	if (r == 0)
		*ret = lcm_steal(&l);
	return r;
}

/* ---- what is asked, what is answered ---- */

int lcm_provider_request(const char *image, struct lcm_buf *out)
{
	lcm_autojson json_t *o = json_pack("{s:s s:s s:s}", "apiVersion", PLUGIN_VERSION, "kind",
					   "CredentialProviderRequest", "image", image);
	lcm_autofree char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	return text ? lcm_buf_add(out, text, strlen(text)) : -ENOMEM;
}

struct entry {
	char *key; /* owned; without scheme, and without /v1/ or /v2/ */
	struct lcm_credentials *c;
};

struct lcm_provider_answer {
	enum lcm_provider_key key;
	uint64_t cache_ns;
	struct entry *v; /* owned; in reverse order of their keys */
	size_t n;
};

void lcm_provider_answer_free(struct lcm_provider_answer *a)
{
	for (size_t i = 0; a && i < a->n; i++) {
		free(a->v[i].key);
		lcm_credentials_free(a->v[i].c);
	}
	if (a)
		free(a->v);
	free(a);
}

enum lcm_provider_key lcm_provider_answer_key(const struct lcm_provider_answer *a)
{
	return a->key;
}

uint64_t lcm_provider_answer_ns(const struct lcm_provider_answer *a)
{
	return a->cache_ns;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)b)->key, ((const struct entry *)a)->key);
}

static char *plain_key(const char *key)
{
	char *out, *path;

	if (strncmp(key, "https://", 8) == 0)
		key += 8;
	else if (strncmp(key, "http://", 7) == 0)
		key += 7;
	out = strdup(key);
	path = out ? strchr(out, '/') : NULL;
	if (path && (strncmp(path, "/v1/", 4) == 0 || strncmp(path, "/v2/", 4) == 0))
		memmove(path, path + 3, strlen(path + 3) + 1);
	if (path && strcmp(path, "/") == 0)
		*path = '\0';
	return out;
}

static int take_credentials(const json_t *o, struct lcm_credentials **ret, struct lcm_err *err)
{
	static const char *const known[] = { "username", "password", NULL };
	lcm_auto(lcm_credentials) c = calloc(1, sizeof(*c));
	const char *user = "", *password = "";
	int r = !c                  ? -ENOMEM
		: json_is_object(o) ? check_known(o, known, ANSWER ": auth", err)
				    : lcm_err_set(err, -EUCLEAN, ANSWER ": auth is no map");

	if (r == 0)
		r = lcm_json_string(o, "username", ANSWER ": auth", &user, err);
	if (r == 0)
		r = lcm_json_string(o, "password", ANSWER ": auth", &password, err);
	if (r < 0)
		return r;
	if (!lcm_json_is_plain(user) || !lcm_json_is_plain(password) || strchr(user, ':'))
		return lcm_err_set(err, -EUCLEAN,
				   ANSWER ": user name or password has control characters, or the "
					  "name a colon");
	c->username = strdup(user);
	c->password = strdup(password);
	c->identity_token = strdup("");
	if (!c->username || !c->password || !c->identity_token)
		return -ENOMEM;
	*ret = lcm_steal(&c);
	return 0;
}

static int take_auth(const json_t *root, struct lcm_provider_answer *a, struct lcm_err *err)
{
	json_t *map = lcm_json_member(root, "auth"), *v;
	const char *key;
	int r = 0;

	if (map && (!json_is_object(map) || json_object_size(map) > LIST_MAX))
		return lcm_err_set(err, -EUCLEAN,
				   ANSWER ": auth: a map of at most 256 is expected");
	a->v = calloc(json_object_size(map) + 1, sizeof(*a->v));
	if (!a->v)
		return -ENOMEM;
	json_object_foreach (map, key, v) {
		struct entry *e = &a->v[a->n++];

		e->key = plain_key(key);
		r = e->key ? take_credentials(v, &e->c, err) : -ENOMEM;
		if (r < 0)
			return r;
	}
	qsort(a->v, a->n, sizeof(*a->v), compare);
	return 0;
}

static int take_answer(const json_t *root, struct lcm_provider_answer *a, struct lcm_err *err)
{
	static const char *const known[] = { "apiVersion",    "kind", "cacheKeyType",
					     "cacheDuration", "auth", NULL };
	static const char *const types[] = { [LCM_PROVIDER_IMAGE] = "Image",
					     [LCM_PROVIDER_REGISTRY] = "Registry",
					     [LCM_PROVIDER_GLOBAL] = "Global" };
	const char *type;
	size_t i = 0;
	int r = check_kind(root, PLUGIN_VERSION, ANSWER, err);

	if (r == 0)
		r = check_known(root, known, ANSWER, err);
	if (r == 0)
		r = lcm_json_string(root, "cacheKeyType", ANSWER, &type, err);
	if (r == 0)
		r = take_duration(root, "cacheDuration", ANSWER, &a->cache_ns, err);
	if (r < 0)
		return r;
	while (i < LCM_PROVIDER_KEY_MAX && strcmp(types[i], type) != 0)
		i++;
	if (i == LCM_PROVIDER_KEY_MAX)
		return lcm_err_set(err, -EUCLEAN,
				   ANSWER ": cacheKeyType: Image, Registry or Global is expected");
	a->key = (enum lcm_provider_key)i;
	return take_auth(root, a, err);
}

int lcm_provider_answer_parse(const char *p, size_t len, uint64_t cache_ns,
			      struct lcm_provider_answer **ret, struct lcm_err *err)
{
	lcm_auto(lcm_provider_answer) a = calloc(1, sizeof(*a));
	lcm_autojson json_t *root = NULL;
	int r = a ? lcm_json_parse(p, len, LCM_AUTH_FILE_MAX, ANSWER, &root, err) : -ENOMEM;

	if (r < 0)
		return r;
	a->cache_ns = cache_ns;
	r = take_answer(root, a, err);
	if (r == 0)
		*ret = lcm_steal(&a);
	return r;
}

static int copy(const struct lcm_credentials *c, struct lcm_credentials **ret)
{
	lcm_auto(lcm_credentials) out = calloc(1, sizeof(*out));

	if (!out)
		return -ENOMEM;
	out->username = strdup(c->username);
	out->password = strdup(c->password);
	out->identity_token = strdup(c->identity_token);
	if (!out->username || !out->password || !out->identity_token)
		return -ENOMEM;
	*ret = lcm_steal(&out);
	return 0;
}

int lcm_provider_answer_find(const struct lcm_provider_answer *a, const char *image,
			     struct lcm_credentials **ret)
{
	for (size_t i = 0; i < a->n; i++)
		if (lcm_provider_match(a->v[i].key, image))
			return copy(a->v[i].c, ret);
	/* Docker Hub by the name that docker's login gives it. */
	for (size_t i = 0; strncmp(image, "docker.io/", 10) == 0 && i < a->n; i++)
		if (strcmp(a->v[i].key, "index.docker.io") == 0)
			return copy(a->v[i].c, ret);
	return -ENOENT;
}
