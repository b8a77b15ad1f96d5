/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/hosts.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "registry/toml.h"
#include "src/base/buf.h"

/* What a table says of one host; @where is for texts. */
struct section {
	const struct lcm_toml *table;
	const char *dir;   /* paths are relative to it */
	const char *where; /* "" or "host.\"NAME\"." */
};

static int wrong(struct lcm_err *err, const struct section *s, const struct lcm_toml *v,
		 const char *key, const char *what)
{
	return lcm_err_set(err, -EUCLEAN, "line %u: %.200s%s %s", v->line, s->where, key, what);
}

int lcm_strings_add(char ***list, const char *s, size_t len)
{
	size_t n = 0;
	char **v;

	while (*list && (*list)[n])
		n++;
	if (n == (size_t)2 * LCM_HOSTS_LIST_MAX)
		return -EFBIG;
	v = reallocarray(*list, n + 2, sizeof(*v));
	if (!v)
		return -ENOMEM;
	*list = v;
	v[n + 1] = NULL;
	v[n] = strndup(s, len);
	return v[n] ? 0 : -ENOMEM;
}

static void strings_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++) {
		OPENSSL_cleanse(v[i], strlen(v[i]));
		free(v[i]);
	}
	free(v);
}

static int path_add(char ***list, const char *dir, const char *path)
{
	struct lcm_buf b = LCM_BUF(8192);
	int r = path[0] == '/' ? lcm_buf_printf(&b, "%s", path)
			       : lcm_buf_printf(&b, "%s/%s", dir, path);

	if (r == 0)
		r = lcm_strings_add(list, lcm_buf_str(&b), b.len);
	lcm_buf_fini(&b);
	return r;
}

/* ---- the keys ---- */

static int take_capabilities(struct lcm_hosts_entry *e, const struct section *s,
			     struct lcm_err *err)
{
	static const char *const names[] = { "pull", "resolve", "push" };
	const struct lcm_toml *v = lcm_toml_get(s->table, "capabilities");
	uint32_t caps = 0;

	e->caps = LCM_CAP_ALL;
	if (!v)
		return 0;
	if (v->type != LCM_TOML_ARRAY)
		return wrong(err, s, v, "capabilities", "is not an array of strings");
	for (size_t i = 0; i < v->n; i++) {
		uint32_t bit = 0;

		for (size_t k = 0; k < LCM_ARRAY_SIZE(names); k++)
			if (v->items[i].type == LCM_TOML_STRING &&
			    strcmp(v->items[i].string, names[k]) == 0)
				bit = 1U << k;
		if (!bit)
			return wrong(err, s, &v->items[i], "capabilities",
				     "has something else than \"pull\", \"resolve\" and \"push\"");
		caps |= bit;
	}
	/* As containerd has it: none named is all. */
	e->caps = caps ? caps : LCM_CAP_ALL;
	return 0;
}

static int take_flag(const struct section *s, const char *key, bool *ret, struct lcm_err *err)
{
	const struct lcm_toml *v = lcm_toml_get(s->table, key);

	if (!v)
		return 0;
	if (v->type != LCM_TOML_BOOL)
		return wrong(err, s, v, key, "is not true or false");
	*ret = v->boolean;
	return 0;
}

static int take_ca(struct lcm_hosts_entry *e, const struct section *s, struct lcm_err *err)
{
	const struct lcm_toml *v = lcm_toml_get(s->table, "ca");
	int r = 0;

	if (!v)
		return 0;
	if (v->type == LCM_TOML_STRING)
		return path_add(&e->ca, s->dir, v->string);
	if (v->type != LCM_TOML_ARRAY || v->n > LCM_HOSTS_LIST_MAX)
		return wrong(err, s, v, "ca", "is not a path or a short array of paths");
	for (size_t i = 0; i < v->n && r == 0; i++) {
		if (v->items[i].type != LCM_TOML_STRING)
			return wrong(err, s, &v->items[i], "ca", "has what is not a path");
		r = path_add(&e->ca, s->dir, v->items[i].string);
	}
	return r;
}

static int add_client(struct lcm_hosts_entry *e, const struct section *s, const char *cert,
		      const char *key)
{
	int r = path_add(&e->clients, s->dir, cert);

	return r < 0 ? r : path_add(&e->clients, s->dir, key[0] ? key : cert);
}

/* A path, or an array of paths and of pairs of certificate and key. */
static int take_client(struct lcm_hosts_entry *e, const struct section *s, struct lcm_err *err)
{
	const struct lcm_toml *v = lcm_toml_get(s->table, "client");
	int r = 0;

	if (!v)
		return 0;
	if (v->type == LCM_TOML_STRING)
		return add_client(e, s, v->string, v->string);
	if (v->type != LCM_TOML_ARRAY || v->n > LCM_HOSTS_LIST_MAX)
		return wrong(err, s, v, "client", "is not a path or a short array");
	for (size_t i = 0; i < v->n && r == 0; i++) {
		const struct lcm_toml *p = &v->items[i];

		if (p->type == LCM_TOML_STRING)
			r = add_client(e, s, p->string, p->string);
		else if (p->type == LCM_TOML_ARRAY && p->n == 2 &&
			 p->items[0].type == LCM_TOML_STRING && p->items[1].type == LCM_TOML_STRING)
			r = add_client(e, s, p->items[0].string, p->items[1].string);
		else
			return wrong(
			    err, s, p, "client",
			    "has what is neither a path nor a pair of certificate and key");
	}
	return r;
}

/* RFC 9110 s. 5.6.2 (token) and s. 5.5 (field value, without obs-text). */
static bool field_ok(const char *name, const char *value)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (!name[0] || name[strspn(name, token)])
		return false;
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		if ((*p < ' ' && *p != '\t') || *p == 127)
			return false;
	return true;
}

/* What the client must say itself. */
static bool field_is_ours(const char *name)
{
	static const char *const ours[] = { "Range",  "Content-Length",  "Transfer-Encoding",
					    "Expect", "Accept-Encoding", "Connection" };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(ours); i++)
		if (strcasecmp(name, ours[i]) == 0)
			return true;
	return false;
}

static int add_field(struct lcm_hosts_entry *e, const struct section *s, const char *name,
		     const struct lcm_toml *v, struct lcm_err *err)
{
	struct lcm_buf b = LCM_BUF(LCM_TOML_MAX + 8);
	int r;

	if (v->type != LCM_TOML_STRING || !field_ok(name, v->string))
		return wrong(err, s, v, "header", "has what cannot be sent as a header field");
	if (field_is_ours(name))
		return 0;
	/* curl sends a field without a value when it ends with a semicolon. */
	r = v->string[0] ? lcm_buf_printf(&b, "%s: %s", name, v->string)
			 : lcm_buf_printf(&b, "%s;", name);
	if (r == 0)
		r = lcm_strings_add(&e->fields, lcm_buf_str(&b), b.len);
	if (b.data)
		OPENSSL_cleanse(b.data, b.cap);
	lcm_buf_fini(&b);
	return r;
}

static int take_header(struct lcm_hosts_entry *e, const struct section *s, struct lcm_err *err)
{
	const struct lcm_toml *t = lcm_toml_get(s->table, "header");
	int r = 0;

	if (!t)
		return 0;
	if (t->type != LCM_TOML_TABLE || t->n > LCM_HOSTS_LIST_MAX)
		return wrong(err, s, t, "header", "is not a short table");
	for (size_t i = 0; i < t->n && r == 0; i++) {
		const struct lcm_toml *v = &t->items[i];

		if (v->type != LCM_TOML_ARRAY) {
			r = add_field(e, s, v->key, v, err);
			continue;
		}
		if (v->n > LCM_HOSTS_LIST_MAX)
			return wrong(err, s, v, "header", "has a long array");
		for (size_t k = 0; k < v->n && r == 0; k++)
			r = add_field(e, s, v->key, &v->items[k], err);
	}
	return r;
}

/* The URL that repositories are below: "/v2" goes after it unless it is there or not wanted. */
static int take_url(struct lcm_hosts_entry *e, const char *url, bool override)
{
	struct lcm_buf b = LCM_BUF(LCM_URL_MAX);
	const char *scheme = strstr(url, "://") ? "" : "https://";
	size_t len = strlen(url);
	int r;

	while (len && url[len - 1] == '/')
		len--;
	r = lcm_buf_printf(&b, "%s%.*s", scheme, (int)len, url);
	if (r == 0 &&
	    (url[strcspn(url, "?#")] || lcm_origin_parse(lcm_buf_str(&b), &e->origin) < 0))
		r = -EINVAL;
	if (r == 0 && !override && (b.len < 3 || memcmp((char *)b.data + b.len - 3, "/v2", 3) != 0))
		r = lcm_buf_add(&b, "/v2", 3);
	if (r == 0) {
		e->base = strdup(lcm_buf_str(&b));
		r = e->base ? 0 : -ENOMEM;
	}
	lcm_buf_fini(&b);
	return r == -EFBIG ? -EINVAL : r;
}

static int take_section(struct lcm_hosts_entry *e, const struct section *s, struct lcm_err *err)
{
	int r = take_capabilities(e, s, err);

	if (r == 0)
		r = take_flag(s, "skip_verify", &e->tls.skip_verify, err);
	if (r == 0)
		r = take_ca(e, s, err);
	if (r == 0)
		r = take_client(e, s, err);
	return r < 0 ? r : take_header(e, s, err);
}

/* ---- the file ---- */

static int take_host(struct lcm_hosts *h, const struct lcm_toml *t, const char *dir,
		     struct lcm_err *err)
{
	struct lcm_hosts_entry *e = &h->e[h->n];
	struct section s = { .table = t, .dir = dir };
	bool override = false;
	char where[300];
	int r;

	(void)snprintf(where, sizeof(where), "host.\"%.200s\".", t->key);
	s.where = where;
	if (t->type != LCM_TOML_TABLE)
		return wrong(err, &s, t, "", "is not a table");
	if (h->n == LCM_HOSTS_MAX - 1)
		return lcm_err_set(err, -EUCLEAN, "line %u: over %d hosts", t->line,
				   LCM_HOSTS_MAX - 1);
	h->n++;
	r = take_flag(&s, "override_path", &override, err);
	if (r == 0)
		r = take_url(e, t->key, override);
	if (r == -EINVAL)
		return wrong(err, &s, t, "", "is not a URL of http or https");
	return r < 0 ? r : take_section(e, &s, err);
}

static int take_server(struct lcm_hosts *h, const struct lcm_toml *root, const char *dir,
		       struct lcm_err *err)
{
	struct lcm_hosts_entry *e = &h->e[h->n++];
	const struct lcm_toml *v = lcm_toml_get(root, "server");
	const struct section s = { .table = root, .dir = dir, .where = "" };
	bool override = false;
	int r = take_flag(&s, "override_path", &override, err);

	e->upstream = true;
	if (r == 0 && v && v->type != LCM_TOML_STRING)
		r = wrong(err, &s, v, "server", "is not a string");
	if (r == 0 && v && v->string[0])
		r = take_url(e, v->string, override);
	if (r == -EINVAL)
		return wrong(err, &s, v, "server", "is not a URL of http or https");
	return r < 0 ? r : take_section(e, &s, err);
}

int lcm_hosts_parse(const char *text, size_t len, const char *dir, struct lcm_hosts **ret,
		    struct lcm_err *err)
{
	lcm_auto(lcm_hosts) h = lcm_hosts_new();
	lcm_auto(lcm_toml) root = NULL;
	const struct lcm_toml *hosts;
	int r;

	if (!h)
		return lcm_err_set(err, -ENOMEM, "out of memory");
	h->n = 0;
	h->e[0] = (struct lcm_hosts_entry){ 0 };
	r = lcm_toml_parse(text, len, &root, err);
	if (r < 0)
		return r;
	hosts = lcm_toml_get(root, "host");
	if (hosts && hosts->type != LCM_TOML_TABLE)
		return lcm_err_set(err, -EUCLEAN, "line %u: host is not a table", hosts->line);
	for (size_t i = 0; hosts && i < hosts->n && r == 0; i++)
		r = take_host(h, &hosts->items[i], dir, err);
	if (r == 0)
		r = take_server(h, root, dir, err);
	if (r < 0)
		return r == -EUCLEAN ? r : lcm_err_set(err, r, "%s", lcm_err_text(NULL, r));
	*ret = lcm_steal(&h);
	return 0;
}

/* ---- life ---- */

struct lcm_hosts *lcm_hosts_new(void)
{
	struct lcm_hosts *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->refs = 1;
	h->n = 1;
	h->e[0].upstream = true;
	h->e[0].caps = LCM_CAP_ALL;
	return h;
}

struct lcm_hosts *lcm_hosts_ref(struct lcm_hosts *h)
{
	h->refs++;
	return h;
}

static void entry_fini(struct lcm_hosts_entry *e)
{
	free(e->base);
	strings_free(e->fields);
	strings_free(e->ca);
	strings_free(e->clients);
	free(e->tls.ca);
	free(e->tls.cert);
	free(e->tls.key);
}

void lcm_hosts_free(struct lcm_hosts *h)
{
	if (!h || --h->refs)
		return;
	for (size_t i = 0; i < LCM_HOSTS_MAX; i++)
		entry_fini(&h->e[i]);
	lcm_hosts_seen_fini(&h->seen);
	free(h->dir);
	free(h);
}
