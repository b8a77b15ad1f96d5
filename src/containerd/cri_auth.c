/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/cri_auth.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "image/authfile.h"
#include "src/base/base64.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/sys.h"

#define ENTRIES_MAX 4096U
#define ENTRY_MAX (32U << 10) /* one may not push all others out */

#define SECRET_MAX (16U << 10)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the file and of what follows */
static struct lcm_cri_pull *running;                     /* the last one first */

/* ---- an entry ---- */

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

json_t *lcm_cri_auth_entry(const struct lcm_cri_secret *s, const char *host)
{
	if (*s->server && !lcm_authfile_key_is_host(s->server, host))
		return NULL;
	if (*s->user)
		return basic(s->user, s->password);
	if (*s->identity_token)
		return json_pack("{s:s}", "identitytoken", s->identity_token);
	return *s->auth ? json_pack("{s:s}", "auth", s->auth) : NULL;
}

/* ---- the file ---- */

/* One that is damaged begins anew; one that cannot be read now may be all right. */
static int load(const char *path, json_t **ret)
{
	json_t *root = NULL;
	char *data = NULL;
	size_t len = 0;
	int r = lcm_read_file_at(AT_FDCWD, path, LCM_AUTH_FILE_MAX, &data, &len);

	if (r < 0 && r != -ENOENT && r != -EFBIG)
		return r;
	if (r == 0) {
		root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
		OPENSSL_cleanse(data, len);
		free(data);
	}
	if (!json_is_object(json_object_get(root, "auths"))) {
		json_decref(root);
		root = json_pack("{s:{}}", "auths");
	}
	*ret = root;
	return root ? 0 : -ENOMEM;
}

static size_t text_len(const json_t *v)
{
	return json_dumpb(v, NULL, 0, JSON_COMPACT);
}

/* What nobody has pulled for long goes first: an object's members are in the order of their making.
 */
static void make_room(const json_t *root)
{
	json_t *auths = json_object_get(root, "auths");
	size_t len = text_len(root);

	while (json_object_size(auths) &&
	       (len > LCM_AUTH_FILE_MAX || json_object_size(auths) > ENTRIES_MAX)) {
		void *oldest = json_object_iter(auths);
		const char *key = json_object_iter_key(oldest);

		len -= strlen(key) + text_len(json_object_iter_value(oldest));
		(void)json_object_del(auths, key);
	}
}

static int save(const char *path, const json_t *root)
{
	int r = -ENOMEM;
	char *text;

	make_room(root);
	text = json_dumps(root, JSON_COMPACT);
	if (text)
		r = strlen(text) > LCM_AUTH_FILE_MAX
			? -EFBIG
			: lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600);
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
	return r;
}

static int put(const char *path, json_t *root, const char *key, json_t *entry)
{
	json_t *auths = json_object_get(root, "auths");

	if (entry && text_len(entry) > ENTRY_MAX)
		return -EFBIG;
	(void)json_object_del(auths, key);
	if (entry && json_object_set(auths, key, entry) < 0)
		return -ENOMEM;
	return save(path, root);
}

/* ---- pulls ---- */

static struct lcm_cri_pull *runs(const char *key)
{
	struct lcm_cri_pull *p = running;

	while (p && strcmp(p->key, key) != 0)
		p = p->next;
	return p;
}

static void tell(const char *path, const struct lcm_cri_pull *pull, int r)
{
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "credentials for %s are not kept: %s: %s", pull->key, path,
			strerror(-r));
}

void lcm_cri_auth_begin(const char *path, struct lcm_cri_pull *pull)
{
	const struct lcm_cri_pull *other;
	json_t *root = NULL;
	int r;

	if (!pull->entry)
		return;
	(void)pthread_mutex_lock(&lock);
	other = runs(pull->key);
	r = load(path, &root);
	if (r == 0)
		pull->before =
		    json_incref(other ? other->before
				      : json_object_get(json_object_get(root, "auths"), pull->key));
	if (r == 0)
		r = put(path, root, pull->key, pull->entry);
	pull->running = r == 0;
	if (pull->running) {
		pull->next = running;
		running = pull;
	}
	json_decref(root);
	(void)pthread_mutex_unlock(&lock);
	tell(path, pull, r);
}

static void leave(struct lcm_cri_pull *pull)
{
	struct lcm_cri_pull **at = &running;

	while (*at && *at != pull)
		at = &(*at)->next;
	if (*at)
		*at = pull->next;
}

/* What others with a secret of their own fall back to. */
static void is_right(const struct lcm_cri_pull *pull)
{
	for (struct lcm_cri_pull *p = running; p; p = p->next)
		if (strcmp(p->key, pull->key) == 0) {
			json_decref(p->before);
			p->before = json_incref(pull->entry);
		}
}

/* Somebody's wrong secret must not cost others the right one, nor a pull that runs its own. */
static int give_way(const char *path, const struct lcm_cri_pull *pull, json_t *root)
{
	const json_t *now = json_object_get(json_object_get(root, "auths"), pull->key);
	const struct lcm_cri_pull *other = runs(pull->key);

	if (!pull->running || !json_equal(now, pull->entry))
		return 0;
	return put(path, root, pull->key, other ? other->entry : pull->before);
}

void lcm_cri_auth_end(const char *path, struct lcm_cri_pull *pull, bool pulled)
{
	json_t *root = NULL;
	int r;

	if (!pull->entry)
		return;
	(void)pthread_mutex_lock(&lock);
	leave(pull);
	if (pulled)
		is_right(pull);
	r = load(path, &root);
	if (r == 0)
		r = pulled ? put(path, root, pull->key, pull->entry) : give_way(path, pull, root);
	json_decref(root);
	json_decref(pull->entry);
	json_decref(pull->before);
	pull->entry = pull->before = NULL;
	(void)pthread_mutex_unlock(&lock);
	tell(path, pull, r);
}
