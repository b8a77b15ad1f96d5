/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/cri.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "image/reference.h"
#include "src/base/base64.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/cmd/cmd.h"
#include "src/containerd/cri.pb-c.h"

#define ENTRIES_MAX 4096U
#define SECRET_MAX (16U << 10)

/* Of the file; calls come from many threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool lcm_cri_is(const char *method)
{
	static const char *const services[] = { "/runtime.v1.ImageService/",
						"/runtime.v1alpha2.ImageService/" };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(services); i++)
		if (strncmp(method, services[i], strlen(services[i])) == 0)
			return true;
	return false;
}

/* ---- the auth file ---- */

static json_t *load(const char *path)
{
	json_t *root = NULL, *auths;
	char *data = NULL;
	size_t len = 0;

	if (lcm_read_file_at(AT_FDCWD, path, LCM_AUTH_FILE_MAX, &data, &len) == 0) {
		root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
		OPENSSL_cleanse(data, len);
		free(data);
	}
	auths = json_object_get(root, "auths");
	if (json_is_object(auths) && json_object_size(auths) < ENTRIES_MAX)
		return root;
	/* One that is damaged, or full of what nobody has pulled for long, begins anew. */
	json_decref(root);
	return json_pack("{s:{}}", "auths");
}

static int save(const char *path, const json_t *root)
{
	char *text = json_dumps(root, JSON_COMPACT);
	int r = text ? lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600) : -ENOMEM;

	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
	return r;
}

/*
 * The entry of @key becomes @to (NULL: there is none any more), unless it is another than @from
 * (NULL: whatever it is). Return: what it was, a new reference; NULL: there was none.
 */
static json_t *swap(const char *key, const json_t *from, json_t *to)
{
	json_t *root, *auths, *old;
	char path[4096];
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s/cri-auth.json", cmd_globals.run_dir);
	(void)pthread_mutex_lock(&lock);
	root = load(path);
	auths = json_object_get(root, "auths");
	old = json_incref(json_object_get(auths, key));
	if (!from || json_equal(from, old)) {
		if (to)
			(void)json_object_set(auths, key, to);
		else
			(void)json_object_del(auths, key);
		r = save(path, root);
	}
	json_decref(root);
	(void)pthread_mutex_unlock(&lock);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "credentials for %s are not kept: %s: %s", key, path,
			strerror(-r));
	return old;
}

/* ---- pulls ---- */

static json_t *basic(const char *user, const char *password)
{
	char plain[SECRET_MAX], coded[2 * SECRET_MAX];
	int n = snprintf(plain, sizeof(plain), "%s:%s", user, password);
	json_t *o = NULL;

	if (n > 0 && (size_t)n < sizeof(plain)) {
		lcm_base64_encode(plain, (size_t)n, coded, sizeof(coded));
		o = json_pack("{s:s}", "auth", coded);
		OPENSSL_cleanse(coded, sizeof(coded));
	}
	OPENSSL_cleanse(plain, sizeof(plain));
	return o;
}

/* As docker's and podman's files have it. NULL: there is nothing that the daemon could use. */
static json_t *entry_of(const Cri__AuthConfig *a)
{
	if (!a)
		return NULL;
	if (*a->identity_token)
		return json_pack("{s:s}", "identitytoken", a->identity_token);
	if (*a->auth)
		return json_pack("{s:s}", "auth", a->auth);
	return *a->username ? basic(a->username, a->password) : NULL;
}

/* "host/repository": the most specific key of an auth file. */
static bool key_of(const Cri__PullImageRequest *q, char *out, size_t cap)
{
	struct lcm_reference ref;

	if (!q->image || lcm_reference_parse(q->image->image, &ref, NULL) < 0)
		return false;
	(void)snprintf(out, cap, "%s/%s", ref.host, ref.repo);
	return true;
}

/* Credentials of a pull while it runs. */
struct pull {
	char key[sizeof(struct lcm_reference)];
	json_t *entry, *before; /* owned; NULL: none */
};

static void pull_begin(struct pull *pull, const uint8_t *p, size_t len)
{
	Cri__PullImageRequest *q = cri__pull_image_request__unpack(NULL, len, p);

	if (q && key_of(q, pull->key, sizeof(pull->key)))
		pull->entry = entry_of(q->auth);
	if (q)
		cri__pull_image_request__free_unpacked(q, NULL);
	if (pull->entry)
		pull->before = swap(pull->key, NULL, pull->entry);
}

/* Somebody's wrong secret must not cost others the right one. */
static void pull_end(struct pull *pull, bool pulled)
{
	if (pull->entry && !pulled)
		json_decref(swap(pull->key, pull->entry, pull->before));
	json_decref(pull->entry);
	json_decref(pull->before);
}

void lcm_cri_call(const struct lcm_caller *c, const char *method, const uint8_t *p, size_t len,
		  struct lcm_grpc_reply *ret)
{
	bool is_pull = strcmp(strrchr(method, '/'), "/PullImage") == 0;
	int status = LCM_GRPC_UNAVAILABLE, r;
	struct pull pull = { 0 };

	if (is_pull)
		pull_begin(&pull, p, len);
	r = lcm_caller_forward(c, method, p, len, &ret->body, &status, &ret->err);
	ret->status = (enum lcm_grpc_status)(r < 0 ? LCM_GRPC_UNAVAILABLE : status);
	pull_end(&pull, ret->status == LCM_GRPC_OK);
}
