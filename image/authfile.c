/* SPDX-License-Identifier: Apache-2.0 */
#include "image/authfile.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/base64.h"

#define KEY_MAX 640 /* host and repository of a reference, and a slash */

struct lcm_authfile {
	json_t *root; /* owned; "auths", "credHelpers" and "credsStore" have the right types */
};

void lcm_authfile_free(struct lcm_authfile *af)
{
	if (!af)
		return;
	json_decref(af->root);
	free(af);
}

static void wipe(char *s, size_t len)
{
	if (s)
		explicit_bzero(s, len);
	free(s);
}

static void wipe_str(char *s)
{
	wipe(s, s ? strlen(s) : 0);
}

void lcm_credentials_free(struct lcm_credentials *c)
{
	if (!c)
		return;
	wipe_str(c->username);
	wipe_str(c->password);
	wipe_str(c->identity_token);
	free(c);
}

/* Member @key, if there, is an object whose values are of @type. */
static int check_map(const json_t *root, const char *key, json_type type, struct lcm_err *err)
{
	json_t *map = lcm_json_member(root, key), *value;
	const char *name;

	if (!map)
		return 0;
	if (!json_is_object(map))
		return lcm_err_set(err, -EUCLEAN, "auth file: %s is not an object", key);
	json_object_foreach (map, name, value)
		if (json_typeof(value) != type)
			return lcm_err_set(err, -EUCLEAN, "auth file: %s: \"%.128s\" is not %s",
					   key, name,
					   type == JSON_OBJECT ? "an object" : "a string");
	return 0;
}

int lcm_authfile_parse(const void *p, size_t len, struct lcm_authfile **ret, struct lcm_err *err)
{
	lcm_auto(lcm_authfile) af = calloc(1, sizeof(*af));
	const char *store;
	int r;

	if (!af)
		return -ENOMEM;
	r = lcm_json_parse(p, len, LCM_AUTH_FILE_MAX, "auth file", &af->root, err);
	if (r == 0)
		r = check_map(af->root, "auths", JSON_OBJECT, err);
	if (r == 0)
		r = check_map(af->root, "credHelpers", JSON_STRING, err);
	if (r == 0)
		r = lcm_json_string(af->root, "credsStore", "auth file", &store, err);
	if (r < 0)
		return r;
	*ret = lcm_steal(&af);
	return 0;
}

static bool is_name(const char *s, size_t len, const char *name)
{
	return len == strlen(name) && memcmp(s, name, len) == 0;
}

/* Docker Hub has three names: references', the web API's and the registry's. */
static bool same_host(const char *a, size_t len, const char *host)
{
	if (is_name(a, len, "index.docker.io") || is_name(a, len, "registry-1.docker.io")) {
		a = "docker.io";
		len = strlen(a);
	}
	if (strcmp(host, "index.docker.io") == 0 || strcmp(host, "registry-1.docker.io") == 0)
		host = "docker.io";
	return is_name(a, len, host);
}

bool lcm_authfile_key_is_host(const char *key, const char *host)
{
	const char *rest = key;

	if (strncmp(rest, "https://", 8) == 0)
		rest += 8;
	else if (strncmp(rest, "http://", 7) == 0)
		rest += 7;
	return same_host(rest, rest == key ? strlen(rest) : strcspn(rest, "/"), host);
}

static const json_t *find_host(json_t *map, const char *host, const char **ret_key)
{
	const char *key;
	json_t *value = json_object_get(map, host);

	if (value) {
		*ret_key = host;
		return value;
	}
	json_object_foreach (map, key, value) {
		if (lcm_authfile_key_is_host(key, host)) {
			*ret_key = key;
			return value;
		}
	}
	return NULL;
}

/* host/a/b, then host/a; leaves the key that matched in @key. */
static const json_t *find_namespace(const json_t *map, char key[KEY_MAX], const char *host,
				    const char *repo)
{
	int n = snprintf(key, KEY_MAX, "%s/%s", host, repo);
	size_t host_len = strlen(host);
	const json_t *value;
	char *slash;

	if (n < 0 || n >= KEY_MAX)
		return NULL;
	while (strlen(key) > host_len + 1) {
		value = json_object_get(map, key);
		if (value)
			return value;
		slash = strrchr(key, '/');
		*slash = '\0';
	}
	return NULL;
}

static int damaged(struct lcm_err *err, const char *key, const char *why)
{
	return lcm_err_set(err, -EUCLEAN, "auth file: entry \"%.128s\": %s; log in again", key,
			   why);
}

/* "user:password"; docker of old padded the password with NULs. */
static int decode_pair(const char *auth, const char *key, struct lcm_credentials *c,
		       struct lcm_err *err)
{
	char *plain = malloc(strlen(auth) + 1), *colon;
	long n = plain ? lcm_base64(auth, strlen(auth), (uint8_t *)plain) : -ENOMEM;
	size_t len = n < 0 ? 0 : (size_t)n;
	int r;

	if (n < 0) {
		wipe(plain, plain ? strlen(auth) : 0);
		return n == -ENOMEM ? -ENOMEM : damaged(err, key, "auth is not base64");
	}
	plain[len] = '\0';
	while (len && plain[len - 1] == '\0')
		len--;
	colon = memchr(plain, ':', len);
	if (!colon || strlen(plain) != len || !lcm_json_is_plain(plain)) {
		r = damaged(err, key, "auth is not base64 of \"user:password\"");
	} else {
		c->username = strndup(plain, (size_t)(colon - plain));
		c->password = strdup(colon + 1);
		r = c->username && c->password ? 0 : -ENOMEM;
	}
	wipe(plain, len);
	return r;
}

/* Kubernetes' dockerconfigjson may have the two in the clear instead. */
static int copy_pair(const char *user, const char *password, const char *key,
		     struct lcm_credentials *c, struct lcm_err *err)
{
	if (!lcm_json_is_plain(user) || !lcm_json_is_plain(password) || strchr(user, ':'))
		return damaged(err, key,
			       "user name or password has control characters, or the name a colon");
	c->username = strdup(user);
	c->password = strdup(password);
	return c->username && c->password ? 0 : -ENOMEM;
}

static int set_identity(const char *token, const char *key, struct lcm_credentials *c,
			struct lcm_err *err)
{
	if (!lcm_json_is_plain(token))
		return damaged(err, key, "identitytoken has control characters");
	c->identity_token = strdup(token);
	c->username = strdup("");
	c->password = strdup("");
	return c->identity_token && c->username && c->password ? 0 : -ENOMEM;
}

static int decode_entry(const json_t *entry, const char *key, struct lcm_credentials *c,
			struct lcm_err *err)
{
	const char *auth = "", *token = "", *user = "", *password = "";
	int r = lcm_json_string(entry, "auth", "auth file: entry", &auth, err);

	if (r == 0)
		r = lcm_json_string(entry, "identitytoken", "auth file: entry", &token, err);
	if (r == 0)
		r = lcm_json_string(entry, "username", "auth file: entry", &user, err);
	if (r == 0)
		r = lcm_json_string(entry, "password", "auth file: entry", &password, err);
	if (r < 0)
		return r;
	if (*token)
		return set_identity(token, key, c, err);
	if (!*auth && !*user)
		return lcm_err_set(err, -ENOENT, "auth file: entry \"%.128s\" is empty", key);
	c->identity_token = strdup("");
	if (!c->identity_token)
		return -ENOMEM;
	return *auth ? decode_pair(auth, key, c, err) : copy_pair(user, password, key, c, err);
}

int lcm_authfile_lookup(const struct lcm_authfile *af, const char *host, const char *repo,
			struct lcm_credentials **ret, struct lcm_err *err)
{
	lcm_auto(lcm_credentials) c = NULL;
	json_t *auths = lcm_json_member(af->root, "auths");
	char name[KEY_MAX];
	const char *key = name;
	const json_t *entry = find_namespace(auths, name, host, repo);
	int r;

	if (!entry)
		entry = find_host(auths, host, &key);
	if (!entry)
		return lcm_err_set(err, -ENOENT, "auth file: no entry for %.200s", host);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	r = decode_entry(entry, key, c, err);
	if (r < 0)
		return r;
	*ret = lcm_steal(&c);
	return 0;
}

static const char *name_or_null(const json_t *v)
{
	const char *name = json_string_value(v);

	return name && *name ? name : NULL;
}

const char *lcm_authfile_helper(const struct lcm_authfile *af, const char *host)
{
	const char *key;

	return name_or_null(find_host(lcm_json_member(af->root, "credHelpers"), host, &key));
}

const char *lcm_authfile_store(const struct lcm_authfile *af)
{
	return name_or_null(lcm_json_member(af->root, "credsStore"));
}

static int helper_take(const json_t *root, struct lcm_credentials *c, struct lcm_err *err)
{
	const char *user, *secret;
	int r = lcm_json_string(root, "Username", "credential helper", &user, err);

	if (r == 0)
		r = lcm_json_string(root, "Secret", "credential helper", &secret, err);
	if (r < 0)
		return r;
	if (!*secret)
		return lcm_err_set(err, -ENOENT, "credential helper: no secret");
	if (!lcm_json_is_plain(secret) || !lcm_json_is_plain(user) || strchr(user, ':'))
		return lcm_err_set(err, -EUCLEAN,
				   "credential helper: user name or secret has control characters, "
				   "or the name a colon");
	if (strcmp(user, "<token>") == 0)
		return set_identity(secret, "credential helper", c, err);
	c->identity_token = strdup("");
	if (!c->identity_token)
		return -ENOMEM;
	return copy_pair(user, secret, "credential helper", c, err);
}

int lcm_credentials_of_helper(const void *p, size_t len, struct lcm_credentials **ret,
			      struct lcm_err *err)
{
	lcm_auto(lcm_credentials) c = calloc(1, sizeof(*c));
	json_t *root = NULL;
	int r = c ? lcm_json_parse(p, len, LCM_AUTH_FILE_MAX, "credential helper", &root, err)
		  : -ENOMEM;

	if (r == 0)
		r = helper_take(root, c, err);
	json_decref(root);
	if (r == 0)
		*ret = lcm_steal(&c);
	return r;
}
