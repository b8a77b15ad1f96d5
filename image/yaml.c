/* SPDX-License-Identifier: Apache-2.0 */
#include "image/yaml.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "image/json.h"

#define DEPTH_MAX 32

struct doc {
	yaml_parser_t parser;
	const char *what;
	struct lcm_err *err; /* may be NULL */
};

static int bad(const struct doc *d, const yaml_event_t *e, const char *why)
{
	return lcm_err_set(d->err, -EUCLEAN, "%s: line %zu: %s", d->what, e->start_mark.line + 1,
			   why);
}

static int next(struct doc *d, yaml_event_t *e)
{
	if (yaml_parser_parse(&d->parser, e))
		return 0;
	if (d->parser.error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	return lcm_err_set(d->err, -EUCLEAN, "%s: line %zu: %s", d->what,
			   (d->parser.problem_mark.line ? d->parser.problem_mark.line
							: d->parser.context_mark.line) +
			       1,
			   d->parser.problem ? d->parser.problem : "not YAML");
}

static bool is_one_of(const char *s, const char *const *words)
{
	while (*words && strcmp(s, *words) != 0)
		words++;
	return *words != NULL;
}

/* A number, boolean or null; NULL: a string, or no memory. */
static json_t *plain_value(const char *s)
{
	static const char *const nothing[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes", "YES",
					   "on",   "On",   "ON",   "y",   "Y",   NULL };
	static const char *const no[] = { "false", "False", "FALSE", "no", "No", "NO",
					  "off",   "Off",   "OFF",   "n",  "N",  NULL };
	long long n;
	double f;
	char extra;

	if (is_one_of(s, nothing))
		return json_null();
	if (is_one_of(s, yes) || is_one_of(s, no))
		return json_boolean(is_one_of(s, yes));
	if (strspn(s, "+-.0123456789") == 0 || strlen(s) > 40)
		return NULL;
	if (sscanf(s, "%18lld%c", &n, &extra) == 1)
		return json_integer(n);
	return sscanf(s, "%40lf%c", &f, &extra) == 1 ? json_real(f) : NULL;
}

static int take_scalar(const struct doc *d, const yaml_event_t *e, json_t **ret)
{
	const char *s = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;

	if (e->data.scalar.anchor || e->data.scalar.tag)
		return bad(d, e, "anchors and tags are not understood");
	if (strlen(s) != len)
		return bad(d, e, "a string with a NUL");
	*ret = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_value(s) : NULL;
	if (!*ret)
		*ret = json_stringn(s, len);
	return *ret ? 0 : -ENOMEM;
}

static int take_node(struct doc *d, yaml_event_t *e, int depth, json_t **ret);

static int take_sequence(struct doc *d, int depth, json_t *list)
{
	for (;;) {
		yaml_event_t e;
		json_t *v = NULL;
		int r = next(d, &e);

		if (r < 0)
			return r;
		if (e.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&e);
			return 0;
		}
		r = take_node(d, &e, depth + 1, &v);
		yaml_event_delete(&e);
		if (r == 0 && json_array_append_new(list, v) < 0)
			r = -ENOMEM;
		if (r < 0)
			return r;
	}
}

/* A member: @e is its key. */
static int take_member(struct doc *d, const yaml_event_t *key, int depth, json_t *map)
{
	const char *name = (const char *)key->data.scalar.value;
	yaml_event_t e;
	json_t *v = NULL;
	int r;

	if (key->type != YAML_SCALAR_EVENT || key->data.scalar.anchor || key->data.scalar.tag ||
	    strlen(name) != key->data.scalar.length)
		return bad(d, key, "a key that is no plain word");
	if (json_object_get(map, name))
		return bad(d, key, "a key that is there twice");
	r = next(d, &e);
	if (r < 0)
		return r;
	r = take_node(d, &e, depth + 1, &v);
	yaml_event_delete(&e);
	return r == 0 && json_object_set_new(map, name, v) < 0 ? -ENOMEM : r;
}

static int take_mapping(struct doc *d, int depth, json_t *map)
{
	for (;;) {
		yaml_event_t e;
		bool end;
		int r = next(d, &e);

		if (r < 0)
			return r;
		end = e.type == YAML_MAPPING_END_EVENT;
		r = end ? 0 : take_member(d, &e, depth, map);
		yaml_event_delete(&e);
		if (end || r < 0)
			return r;
	}
}

static int take_node(struct doc *d, yaml_event_t *e, int depth, json_t **ret)
{
	json_t *v;
	int r;

	if (depth > DEPTH_MAX)
		return bad(d, e, "too deep");
	if (e->type == YAML_SCALAR_EVENT)
		return take_scalar(d, e, ret);
	if (e->type != YAML_MAPPING_START_EVENT && e->type != YAML_SEQUENCE_START_EVENT)
		return bad(d, e, "aliases are not understood");
	if (e->type == YAML_MAPPING_START_EVENT
		? e->data.mapping_start.anchor || e->data.mapping_start.tag
		: e->data.sequence_start.anchor || e->data.sequence_start.tag)
		return bad(d, e, "anchors and tags are not understood");
	v = e->type == YAML_MAPPING_START_EVENT ? json_object() : json_array();
	if (!v)
		return -ENOMEM;
	r = json_is_object(v) ? take_mapping(d, depth, v) : take_sequence(d, depth, v);
	if (r < 0)
		json_decref(v);
	else
		*ret = v;
	return r;
}

/* The next event is @type; @e is the caller's to delete when it is. */
static int expect(struct doc *d, yaml_event_type_t type, const char *why, yaml_event_t *e)
{
	int r = next(d, e);

	if (r == 0 && e->type != type) {
		r = bad(d, e, why);
		yaml_event_delete(e);
	}
	return r;
}

static int take_document(struct doc *d, json_t **ret)
{
	static const struct {
		yaml_event_type_t type;
		const char *why;
	} order[] = { { YAML_STREAM_START_EVENT, "not YAML" },
		      { YAML_DOCUMENT_START_EVENT, "it is empty" },
		      { YAML_MAPPING_START_EVENT, "a mapping is expected" },
		      { YAML_DOCUMENT_END_EVENT, "not YAML" },
		      { YAML_STREAM_END_EVENT, "a second document" } };
	json_t *root = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(order); i++) {
		yaml_event_t e;

		r = expect(d, order[i].type, order[i].why, &e);
		if (r < 0)
			break;
		if (order[i].type == YAML_MAPPING_START_EVENT)
			r = take_node(d, &e, 0, &root);
		yaml_event_delete(&e);
	}
	if (r < 0)
		json_decref(root);
	else
		*ret = root;
	return r;
}

int lcm_yaml_parse(const char *p, size_t len, size_t max, const char *what, json_t **ret,
		   struct lcm_err *err)
{
	struct doc d = { .what = what, .err = err };
	size_t blank = 0;
	int r;

	if (len > max)
		return lcm_err_set(err, -EFBIG, "%s: longer than %zu bytes", what, max);
	while (blank < len && strchr(" \t\r\n", p[blank]) && p[blank])
		blank++;
	if (blank < len && p[blank] == '{')
		return lcm_json_parse(p, len, max, what, ret, err);
	if (!yaml_parser_initialize(&d.parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&d.parser, (const unsigned char *)p, len);
	yaml_parser_set_encoding(&d.parser, YAML_UTF8_ENCODING);
	r = take_document(&d, ret);
	yaml_parser_delete(&d.parser);
	return r;
}
