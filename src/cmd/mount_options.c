/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/mount_options.h"

#include "src/cmd/cmd.h"

static int number(const char *verb, const char *name, const char *value, bool suffixes,
		  const char **given, uint64_t *ret)
{
	if (lcm_number_parse(value, suffixes, ret) < 0 || *ret > INT64_MAX / 1000)
		return cmd_usage(verb, "--%s %s is not a number", name, value);
	*given = value;
	return 0;
}

int mount_options_take(struct mount_options *o, const char *verb, int c, const char *value)
{
	switch (c) {
	case OPT_ID:
		o->id = value;
		return *value ? 0 : cmd_usage(verb, "--id is empty");
	case OPT_RO:
		o->read_only = true;
		return 0;
	case OPT_FULL:
		o->full = true;
		return 0;
	case OPT_PULL:
		o->pull = value;
		return 0;
	case OPT_OFFLINE:
		o->offline = true;
		return 0;
	case OPT_PLATFORM:
		o->platform = value;
		return 0;
	case OPT_INDEX:
		o->index = value;
		return 0;
	case OPT_WEIGHT:
		return number(verb, "weight", value, false, &o->weight, &o->weight_number);
	case OPT_UNIT:
		o->unit = value;
		return *value ? 0 : cmd_usage(verb, "--unit is empty");
	case OPT_UNIT_POOL:
		o->unit_pool = value;
		return 0;
	case OPT_UNIT_SIZE:
		return number(verb, "unit-size", value, true, &o->unit_size, &o->unit_bytes);
	case OPT_M_DEADLINE:
		return number(verb, "deadline", value, false, &o->deadline, &o->deadline_ms);
	case OPT_M_AT_DEADLINE:
		o->at_deadline = value;
		return 0;
	case OPT_M_BIG_DATA:
		return number(verb, "big-data", value, true, &o->big_data, &o->big_data_bytes);
	case OPT_M_BIG_EXEC:
		return number(verb, "big-exec", value, true, &o->big_exec, &o->big_exec_bytes);
	default:
		return CMD_USAGE;
	}
}

static void set(json_t *body, const char *key, const char *value)
{
	if (value && *value)
		(void)json_object_set_new(body, key, json_string_nocheck(value));
}

static void set_number(json_t *body, const char *key, const char *given, uint64_t value)
{
	if (given)
		(void)json_object_set_new(body, key, json_integer((json_int_t)value));
}

json_t *mount_options_body(const struct mount_options *o, const char *image, const char *target)
{
	json_t *body = json_object();

	set(body, "image", image);
	set(body, "target", target);
	set(body, "id", o->id);
	set(body, "pull", o->pull);
	set(body, "platform", o->platform);
	set(body, "index", o->index);
	set(body, "unit", o->unit);
	set(body, "unit_pool", o->unit_pool);
	set_number(body, "unit_size", o->unit_size, o->unit_bytes);
	(void)json_object_set_new(body, "read_only", json_boolean(o->read_only));
	(void)json_object_set_new(body, "full", json_boolean(o->full));
	if (o->offline)
		(void)json_object_set_new(body, "offline", json_true());
	(void)json_object_set_new(body, "keep", json_boolean(o->id != NULL));
	set_number(body, "deadline_ms", o->deadline, o->deadline_ms * 1000);
	set(body, "at_deadline", o->at_deadline);
	set_number(body, "weight", o->weight, o->weight_number);
	set_number(body, "big_data", o->big_data, o->big_data_bytes);
	set_number(body, "big_exec", o->big_exec, o->big_exec_bytes);
	return body;
}
