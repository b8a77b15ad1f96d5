/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"

#include <string.h>

#include "image/json.h"

/* OCI Image Spec v1.1 config.md. */

static void strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

void lcm_image_config_free(struct lcm_image_config *c)
{
	if (!c)
		return;
	strv_free(c->env);
	strv_free(c->entrypoint);
	strv_free(c->cmd);
	free(c->diffids);
	free(c->user);
	free(c->working_dir);
	free(c->stop_signal);
	free(c);
}

/* Array of strings @key; absent and null give an empty vector. */
static int parse_strv(const json_t *obj, const char *key, char ***ret, struct lcm_err *err)
{
	const json_t *array = lcm_json_member(obj, key);
	char **v;

	if (array && !json_is_array(array))
		return lcm_err_set(err, -EUCLEAN, "config: %s is not an array", key);
	v = calloc(json_array_size(array) + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	*ret = v;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *s = json_array_get(array, i);

		if (!json_is_string(s))
			return lcm_err_set(err, -EUCLEAN, "config: %s[%zu] is not a string", key,
					   i);
		v[i] = strdup(json_string_value(s));
		if (!v[i])
			return -ENOMEM;
	}
	return 0;
}

static int parse_text(const json_t *obj, const char *key, char **ret, struct lcm_err *err)
{
	const char *s;
	int r = lcm_json_string(obj, key, "config", &s, err);

	if (r < 0)
		return r;
	if (!lcm_json_is_plain(s))
		return lcm_err_set(err, -EUCLEAN, "config: %s has control characters", key);
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

/* What the runtime gets; every member is optional, and so is the object. */
static int parse_process(const json_t *root, struct lcm_image_config *c, struct lcm_err *err)
{
	const json_t *obj = lcm_json_member(root, "config");
	int r;

	if (obj && !json_is_object(obj))
		return lcm_err_set(err, -EUCLEAN, "config: config is not an object");
	r = parse_strv(obj, "Env", &c->env, err);
	if (r == 0)
		r = parse_strv(obj, "Entrypoint", &c->entrypoint, err);
	if (r == 0)
		r = parse_strv(obj, "Cmd", &c->cmd, err);
	if (r == 0)
		r = parse_text(obj, "User", &c->user, err);
	if (r == 0)
		r = parse_text(obj, "WorkingDir", &c->working_dir, err);
	if (r == 0)
		r = parse_text(obj, "StopSignal", &c->stop_signal, err);
	return r;
}

static int parse_diffid(const json_t *v, size_t i, struct lcm_digest *ret, struct lcm_err *err)
{
	const char *s = json_string_value(v);
	int r;

	if (!s)
		return lcm_err_set(err, -EUCLEAN, "config: rootfs.diff_ids[%zu] is not a string",
				   i);
	r = lcm_digest_parse(s, strlen(s), ret);
	if (r == -ENOTSUP)
		return lcm_err_set(
		    err, r, "config: rootfs.diff_ids[%zu]: algorithm of \"%.40s\" is not supported",
		    i, s);
	if (r < 0)
		return lcm_err_set(err, -EUCLEAN,
				   "config: rootfs.diff_ids[%zu] \"%.80s\" is not a sha256 digest",
				   i, s);
	return 0;
}

static int parse_rootfs(const json_t *root, struct lcm_image_config *c, struct lcm_err *err)
{
	const json_t *obj = lcm_json_member(root, "rootfs"),
		     *ids = lcm_json_member(obj, "diff_ids");
	const char *type;
	int r;

	if (!json_is_object(obj))
		return lcm_err_set(err, -EUCLEAN, "config: rootfs is missing or not an object");
	r = lcm_json_string(obj, "type", "config: rootfs", &type, err);
	if (r < 0)
		return r;
	if (strcmp(type, "layers") != 0)
		return lcm_err_set(err, -EUCLEAN,
				   "config: rootfs.type is \"%.64s\", it must be \"layers\"", type);
	if (!json_is_array(ids))
		return lcm_err_set(err, -EUCLEAN,
				   "config: rootfs.diff_ids is missing or not an array");
	if (json_array_size(ids) > LCM_LAYERS_MAX)
		return lcm_err_set(err, -EFBIG, "config: %zu layers, overlayfs takes at most %d",
				   json_array_size(ids), LCM_LAYERS_MAX);
	c->diffids = calloc(json_array_size(ids) + 1, sizeof(*c->diffids));
	if (!c->diffids)
		return -ENOMEM;
	for (; c->n_diffids < json_array_size(ids); c->n_diffids++) {
		r = parse_diffid(json_array_get(ids, c->n_diffids), c->n_diffids,
				 &c->diffids[c->n_diffids], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_name(const json_t *root, const char *key, char out[32], struct lcm_err *err)
{
	const char *s;
	int r = lcm_json_string(root, key, "config", &s, err);

	if (r < 0)
		return r;
	if (strlen(s) >= 32 || !lcm_json_is_plain(s))
		return lcm_err_set(err, -EUCLEAN,
				   "config: %s is over 31 bytes or has control characters", key);
	memcpy(out, s, strlen(s) + 1);
	return 0;
}

int lcm_image_config_parse(const void *p, size_t len, struct lcm_image_config **ret,
			   struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	lcm_auto(lcm_image_config) c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = lcm_json_parse(p, len, LCM_CONFIG_MAX, "config", &root, err);
	if (r == 0)
		r = parse_name(root, "os", c->platform.os, err);
	if (r == 0)
		r = parse_name(root, "architecture", c->platform.arch, err);
	if (r == 0)
		r = parse_name(root, "variant", c->platform.variant, err);
	if (r == 0)
		r = parse_rootfs(root, c, err);
	if (r == 0)
		r = parse_process(root, c, err);
	if (r < 0)
		return r;
	*ret = lcm_steal(&c);
	return 0;
}
