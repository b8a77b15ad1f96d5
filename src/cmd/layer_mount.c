/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/layer_mount.h"

#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/cmd/client.h"

/* containers/storage pkg/archive: enum Compression. */
static int compression_number(const char *name)
{
	return strcmp(name, "gzip") == 0 ? 2 : strcmp(name, "zstd") == 0 ? 4 : 0;
}

/* Its id is made of what it is, so that it is found again by whoever serves next. */
static int make_id(struct layer_mount *l)
{
	char text[LCM_DIGEST_STR], hex[LCM_DIGEST_STR];
	lcm_auto(lcm_hash) h = lcm_hash_new();
	struct lcm_digest d;

	if (!h)
		return -ENOMEM;
	(void)lcm_digest_str(&l->digest, text);
	lcm_hash_update(h, l->image, strlen(l->image) + 1);
	lcm_hash_update(h, text, strlen(text));
	lcm_hash_final(h, &d);
	(void)snprintf(l->id, sizeof(l->id), "layer-%.24s", lcm_digest_hex(&d, hex));
	return 0;
}

struct layer_mount *layer_mount_new(const char *image, const struct lcm_digest *digest)
{
	struct layer_mount *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->image = strdup(image);
	l->digest = *digest;
	if (!l->image || make_id(l) < 0) {
		free(l->image);
		free(l);
		return NULL;
	}
	(void)pthread_mutex_init(&l->lock, NULL);
	return l;
}

void layer_mount_free(struct layer_mount *l)
{
	if (!l)
		return;
	(void)pthread_mutex_destroy(&l->lock);
	free(l->blob);
	free(l->image);
	free(l);
}

void layer_mount_info_fini(struct layer_mount_info *info)
{
	free(info->target);
	free(info->json);
}

static int call(const struct layer_mount *l, const char *method, const char *suffix, json_t **ret,
		struct lcm_err *err)
{
	lcm_autofree char *path = client_path(l->id, suffix);

	return path ? client_call(method, path, NULL, true, ret, err) : -ENOMEM;
}

static int mount_by(const struct layer_mount *l, const char *pull, struct lcm_err *err)
{
	char digest[LCM_DIGEST_STR];
	int r = client_call("POST", "/v1/mounts",
			    json_pack("{s:s s:s s:s s:s}", "image", l->image, "id", l->id, "layer",
				      lcm_digest_str(&l->digest, digest), "pull", pull),
			    true, NULL, err);
	bool made = r == 0;

	if (made || r == -EEXIST)
		r = client_follow(l->id, "ready", false, 0, NULL, err);
	if (r < 0 && made)
		lcm_ignore(call(l, "DELETE", "", NULL, NULL));
	return r;
}

/* What the tag meant when the daemon saw it last may be another image. */
static int mount_it(struct layer_mount *l, struct lcm_err *err)
{
	int r = mount_by(l, "missing", err);

	if (r == -ENOENT)
		r = mount_by(l, "always", err);
	l->mounted = l->mounted || r == 0;
	return r;
}

static bool was_mounted(const json_t *st)
{
	return json_is_number(json_object_get(st, "mounted_ms"));
}

/* Of a mount that was there before us some layer of podman's is the user, whom nobody announces
 * again. */
static void meet(struct layer_mount *l, bool mounted)
{
	if (l->met)
		return;
	l->met = true;
	l->mounted = mounted;
	l->users += mounted;
}

/* Return: 1 (it can be used), 0 (there is none), -errno. */
static int look(struct layer_mount *l, json_t **ret, struct lcm_err *err)
{
	json_t *st = NULL;
	int r = call(l, "GET", "?detail=1", &st, err);
	const char *phase = client_text(st, "phase");
	bool failed = strcmp(phase, "failed") == 0, usable;

	if (r < 0 && r != -ENOENT)
		return r;
	meet(l, r == 0 && was_mounted(st));
	usable = r == 0 && !failed && strcmp(phase, "preparing") != 0;
	l->mounted = l->mounted || usable;
	/* Whoever tried to make it has left it so. */
	if (failed && !was_mounted(st))
		lcm_ignore(call(l, "DELETE", "", NULL, NULL));
	if (usable)
		*ret = st;
	else
		json_decref(st);
	return usable;
}

static int describe(struct layer_mount *l, const json_t *st, struct layer_mount_info *ret)
{
	const json_t *d = json_array_get(json_object_get(st, "each_layer"), 0);
	json_t *o = json_pack(
	    "{s:s s:I s:s s:I s:i}", "compressed-diff-digest", client_text(d, "digest"),
	    "compressed-size", (json_int_t)client_integer(d, "blob_bytes"), "diff-digest",
	    client_text(d, "diffid"), "diff-size", (json_int_t)client_integer(st, "bytes_total"),
	    "compression", compression_number(client_text(d, "compression")));

	if (!o)
		return -ENOMEM;
	if (*client_text(d, "toc")) {
		(void)json_object_set(o, "toc-digest", json_object_get(d, "toc"));
		(void)json_object_set_new(
		    o, "flags",
		    json_pack("{s:s}", "expected-layer-diffid", client_text(d, "diffid")));
	}
	*ret = (struct layer_mount_info){
		.target = strdup(client_text(st, "target")),
		.json = json_dumps(o, JSON_COMPACT),
		.blob_size = (uint64_t)client_integer(d, "blob_bytes"),
	};
	json_decref(o);
	if (!l->blob)
		l->blob = strdup(client_text(d, "digest"));
	l->blob_size = ret->blob_size;
	if (ret->target && ret->json && l->blob)
		return 0;
	layer_mount_info_fini(ret);
	return -ENOMEM;
}

int layer_mount_get(struct layer_mount *l, struct layer_mount_info *ret)
{
	struct lcm_err err = { 0 };
	json_t *st = NULL;
	int r;

	(void)pthread_mutex_lock(&l->lock);
	r = look(l, &st, &err);
	if (r == 0) {
		r = mount_it(l, &err);
		if (r == 0)
			r = call(l, "GET", "?detail=1", &st, &err);
	}
	if (r >= 0)
		r = describe(l, st, ret);
	json_decref(st);
	(void)pthread_mutex_unlock(&l->lock);
	if (r < 0) {
		char digest[LCM_DIGEST_STR];

		lcm_log(LCM_LOG_INFO, "image=%s layer=%s is not given: %s", l->image,
			lcm_digest_str(&l->digest, digest), lcm_err_text(&err, r));
	}
	return r;
}

int layer_mount_read(struct layer_mount *l, uint64_t off, struct lcm_buf *out)
{
	char path[LCM_DIGEST_STR + 80];
	struct lcm_err err = { 0 };
	uint64_t len = 0;
	int r;

	(void)pthread_mutex_lock(&l->lock);
	if (l->blob && off < l->blob_size)
		len = LCM_MIN((uint64_t)LAYER_MOUNT_PART, l->blob_size - off);
	(void)snprintf(path, sizeof(path), "/v1/blobs/%s?offset=%llu&length=%llu",
		       l->blob ? l->blob : "", (unsigned long long)off, (unsigned long long)len);
	(void)pthread_mutex_unlock(&l->lock);
	r = len ? client_bytes(path, out, &err) : 0;
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "image=%s: %s", l->image, lcm_err_text(&err, r));
	return r;
}

static void meet_now(struct layer_mount *l)
{
	json_t *st = NULL;

	if (!l->met)
		lcm_ignore(look(l, &st, NULL));
	json_decref(st);
}

void layer_mount_use(struct layer_mount *l)
{
	(void)pthread_mutex_lock(&l->lock);
	meet_now(l);
	l->users++;
	(void)pthread_mutex_unlock(&l->lock);
}

void layer_mount_release(struct layer_mount *l)
{
	struct lcm_err err = { 0 };
	int r = 0;

	(void)pthread_mutex_lock(&l->lock);
	meet_now(l);
	l->users -= l->users > 0;
	if (!l->users) {
		r = call(l, "DELETE", "", NULL, &err);
		l->mounted = r < 0 && r != -ENOENT;
	}
	(void)pthread_mutex_unlock(&l->lock);
	if (r < 0 && r != -ENOENT)
		lcm_log(LCM_LOG_WARNING, "id=%s stays: %s", l->id, lcm_err_text(&err, r));
}
