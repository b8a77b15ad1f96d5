/* SPDX-License-Identifier: Apache-2.0 */
#include "src/hook/state.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "image/bundle.h"
#include "image/json.h"
#include "src/base/limits.h"
#include "src/base/number.h"

#define PREFIX "org.locum."
#define DEADLINE_MAX 1000000000U /* 31 years of seconds */
#define METER PREFIX "meter."
#define UNIT PREFIX "unit"
#define UNIT_SIZE UNIT ".size"
#define UNIT_POOL UNIT ".pool"

int lcm_hook_stage_parse(const char *name, enum lcm_hook_stage *ret)
{
	static const struct {
		const char *name;
		enum lcm_hook_stage stage;
	} names[] = { { "createRuntime", LCM_HOOK_CREATE_RUNTIME },
		      { "prestart", LCM_HOOK_CREATE_RUNTIME },
		      { "poststart", LCM_HOOK_POSTSTART },
		      { "poststop", LCM_HOOK_POSTSTOP } };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++) {
		if (strcmp(names[i].name, name) != 0)
			continue;
		*ret = names[i].stage;
		return 0;
	}
	return -EINVAL;
}

static int check_plain(const char *key, const char *s, struct lcm_err *err)
{
	return lcm_json_is_plain(s) && strlen(s) <= LCM_PATH_MAX
		   ? 0
		   : lcm_err_set(err, -EUCLEAN,
				 "annotation %s: too long or with control characters", key);
}

static int take_annotation(const json_t *all, const char *key, const char **ret,
			   struct lcm_err *err)
{
	const char *s = "";
	int r = all ? lcm_json_string(all, key, "annotations", &s, err) : 0;

	if (r == 0)
		r = check_plain(key, s, err);
	if (r == 0)
		*ret = s;
	return r;
}

/* What they say is looked at later, when it is known that there are any. */
static int take_unit(struct lcm_hook_state *s, const json_t *all, struct lcm_err *err)
{
	int r = all ? lcm_json_string(all, UNIT, "annotations", &s->unit, err) : 0;

	if (r == 0 && all)
		r = lcm_json_string(all, UNIT_SIZE, "annotations", &s->unit_size, err);
	return r < 0 || !all ? r
			     : lcm_json_string(all, UNIT_POOL, "annotations", &s->unit_pool, err);
}

bool lcm_hook_state_wants_unit(const struct lcm_hook_state *s)
{
	return *s->unit || *s->unit_size || *s->unit_pool;
}

int lcm_hook_state_unit(const struct lcm_hook_state *s, uint64_t *ret_size, struct lcm_err *err)
{
	uint64_t size = 0;
	int r = check_plain(UNIT, s->unit, err);

	if (r == 0)
		r = check_plain(UNIT_SIZE, s->unit_size, err);
	if (r == 0)
		r = check_plain(UNIT_POOL, s->unit_pool, err);
	if (r == 0 && lcm_hook_state_wants_unit(s) && !*s->unit)
		r = lcm_err_set(err, -EUCLEAN,
				"annotations " UNIT_SIZE " and " UNIT_POOL " need " UNIT);
	if (r == 0 && *s->unit && !*s->image)
		r = lcm_err_set(err, -EUCLEAN,
				"annotation " UNIT " needs " PREFIX
				"image: only what locum mounts writes into a unit");
	if (r == 0 && *s->unit_size &&
	    (lcm_number_parse(s->unit_size, true, &size) < 0 || size > INT64_MAX))
		r = lcm_err_set(err, -EUCLEAN,
				"annotation " UNIT_SIZE
				" \"%.40s\": bytes are expected, or a number "
				"with K, M or G",
				s->unit_size);
	if (r == 0)
		*ret_size = size;
	return r;
}

static int take_deadline(struct lcm_hook_state *s, const json_t *all, struct lcm_err *err)
{
	uint64_t seconds;
	int r = take_annotation(all, PREFIX "deadline", &s->deadline, err);

	if (r == 0 && *s->deadline &&
	    (lcm_number_parse(s->deadline, false, &seconds) < 0 || seconds > DEADLINE_MAX))
		r = lcm_err_set(err, -EUCLEAN,
				"annotation " PREFIX "deadline \"%.40s\": seconds are expected",
				s->deadline);
	return r < 0 ? r : take_annotation(all, PREFIX "at-deadline", &s->at_deadline, err);
}

static int take_meter(struct lcm_hook_state *s, const json_t *all, struct lcm_err *err)
{
	const struct {
		const char *key, **ret;
	} rows[] = { { METER "class", &s->meter.class },
		     { METER "weight", &s->meter.weight },
		     { METER "limits", &s->meter.limits },
		     { METER "readmit", &s->meter.readmit },
		     { METER "reject", &s->meter.reject } };
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(rows); i++)
		r = take_annotation(all, rows[i].key, rows[i].ret, err);
	return r;
}

static int take_annotations(struct lcm_hook_state *s, struct lcm_err *err)
{
	const json_t *all = lcm_json_member(s->doc, "annotations");
	const char *read_only = "";
	int r;

	if (all && !json_is_object(all))
		return lcm_err_set(err, -EUCLEAN, "state: annotations is not an object");
	r = take_annotation(all, PREFIX "image", &s->image, err);
	if (r == 0)
		r = take_annotation(all, PREFIX "pull", &s->pull, err);
	if (r == 0)
		r = take_annotation(all, PREFIX "platform", &s->platform, err);
	if (r == 0)
		r = take_annotation(all, PREFIX "index", &s->index, err);
	if (r == 0)
		r = take_deadline(s, all, err);
	if (r == 0)
		r = take_unit(s, all, err);
	if (r == 0)
		r = take_meter(s, all, err);
	if (r == 0)
		r = take_annotation(all, PREFIX "read-only", &read_only, err);
	if (r == 0 && *read_only && strcmp(read_only, "true") != 0 &&
	    strcmp(read_only, "false") != 0)
		r = lcm_err_set(err, -EUCLEAN,
				"annotation " PREFIX "read-only: true or false is expected");
	s->read_only = strcmp(read_only, "true") == 0;
	return r;
}

static int take_state(struct lcm_hook_state *s, enum lcm_hook_stage stage, struct lcm_err *err)
{
	const json_t *pid = lcm_json_member(s->doc, "pid");
	int r = lcm_json_string(s->doc, "id", "state", &s->id, err);

	if (r == 0)
		r = lcm_json_string(s->doc, "bundle", "state", &s->bundle, err);
	if (r < 0)
		return r;
	if (!lcm_container_id_ok(s->id))
		return lcm_err_set(err, -EUCLEAN,
				   "state: id is missing, longer than %d or has other characters "
				   "than letters, digits and _+-.",
				   LCM_CONTAINER_ID_MAX);
	if (*s->bundle != '/' || !lcm_json_is_plain(s->bundle) || strlen(s->bundle) > LCM_PATH_MAX)
		return lcm_err_set(err, -EUCLEAN, "state: bundle is not an absolute path");
	if (stage == LCM_HOOK_POSTSTOP)
		return 0;
	if (!json_is_integer(pid) || json_integer_value(pid) < 1 ||
	    json_integer_value(pid) > INT_MAX)
		return lcm_err_set(err, -EUCLEAN, "state: pid is not a number from 1");
	s->pid = (pid_t)json_integer_value(pid);
	return 0;
}

int lcm_hook_state_parse(const char *text, size_t len, enum lcm_hook_stage stage,
			 struct lcm_hook_state *ret, struct lcm_err *err)
{
	struct lcm_hook_state s = { .image = "",
				    .pull = "",
				    .platform = "",
				    .index = "",
				    .unit = "",
				    .unit_size = "",
				    .unit_pool = "",
				    .deadline = "",
				    .at_deadline = "" };
	int r = lcm_json_parse(text, len, LCM_HOOK_STATE_MAX, "state", &s.doc, err);

	if (r == 0)
		r = take_state(&s, stage, err);
	if (r == 0)
		r = take_annotations(&s, err);
	if (r < 0) {
		lcm_hook_state_fini(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void lcm_hook_state_fini(struct lcm_hook_state *s)
{
	json_decref(s->doc);
	s->doc = NULL;
}

/* Appends the parts of @path to the absolute @out, each with a slash before it. */
static int append_parts(const char *path, char *out, size_t cap)
{
	size_t n = strlen(out);

	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && strncmp(path, "..", 2) == 0)
			return -EUCLEAN;
		if (len && !(len == 1 && *path == '.')) {
			if (n + len + 2 > cap)
				return -ENAMETOOLONG;
			out[n++] = '/';
			memcpy(out + n, path, len);
			n += len;
			out[n] = '\0';
		}
		path += len + (path[len] == '/');
	}
	return 0;
}

int lcm_hook_root(const char *config, size_t len, const char *bundle, char *out, size_t cap,
		  struct lcm_err *err)
{
	lcm_autojson json_t *doc = NULL;
	const char *path = "";
	const json_t *root;
	int r = lcm_json_parse(config, len, LCM_HOOK_CONFIG_MAX, "config.json", &doc, err);

	if (r < 0)
		return r;
	root = lcm_json_member(doc, "root");
	if (!json_is_object(root))
		return lcm_err_set(err, -EUCLEAN, "config.json: root is not an object");
	r = lcm_json_string(root, "path", "config.json: root", &path, err);
	if (r < 0)
		return r;
	out[0] = '\0';
	r = *path == '/' ? 0 : append_parts(bundle, out, cap);
	if (r == 0)
		r = append_parts(path, out, cap);
	if (r < 0 || !*path || !*out)
		return lcm_err_set(err, r < 0 ? r : -EUCLEAN,
				   "config.json: root.path is missing, too long or has \"..\"");
	return 0;
}
