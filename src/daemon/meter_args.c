/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/meter_args.h"

#include <string.h>

static const char *const readmits[] = { [LCM_READMIT_ROLLOVER] = "rollover",
					[LCM_READMIT_TIME] = "time",
					[LCM_READMIT_OTHERS] = "others" };

static bool take_limit(const json_t *o, struct lcm_limit *ret)
{
	const char *name = json_string_value(json_object_get(o, "resource"));
	const json_t *threshold = json_object_get(o, "threshold"),
		     *interval = json_object_get(o, "interval_ms");
	json_int_t ms = interval ? json_integer_value(interval)
				 : (json_int_t)(LCM_LIMIT_INTERVAL / 1000000);

	if (!name || lcm_resource_parse(name, &ret->resource) < 0 || !json_is_integer(threshold) ||
	    json_integer_value(threshold) < 0 || ms < 1 ||
	    ms > (json_int_t)(LCM_LIMIT_INTERVAL_MAX / 1000000))
		return false;
	ret->threshold = (uint64_t)json_integer_value(threshold);
	ret->interval_ns = (uint64_t)ms * 1000000;
	return true;
}

static bool take_readmit(const json_t *args, struct lcm_limits *l)
{
	const char *name = json_string_value(json_object_get(args, "readmit"));
	const json_t *after = json_object_get(args, "after");
	json_int_t n = json_integer_value(after);
	size_t i = 0;

	if (!name)
		return !after;
	while (i < LCM_ARRAY_SIZE(readmits) && strcmp(readmits[i], name) != 0)
		i++;
	if (i == LCM_ARRAY_SIZE(readmits) || n < 0 || n > 1000000000)
		return false;
	l->readmit = (enum lcm_readmit)i;
	l->after = (uint64_t)n * (l->readmit == LCM_READMIT_TIME ? 1000000 : 1);
	return true;
}

static int take_limits(const json_t *args, struct lcm_meter_args *a, struct lcm_err *err)
{
	const json_t *list = json_object_get(args, "limits"), *v;
	const char *reject = json_string_value(json_object_get(args, "reject"));
	bool good = json_is_array(list) && json_array_size(list) <= LCM_LIMITS_MAX &&
		    take_readmit(args, &a->limits);
	size_t i;

	json_array_foreach (list, i, v)
		good = good && take_limit(v, &a->limits.v[a->limits.n++]);
	if (!good || lcm_limits_check(&a->limits) < 0 ||
	    (reject && strcmp(reject, "EAGAIN") != 0 && strcmp(reject, "EIO") != 0))
		return lcm_err_set(err, -EINVAL,
				   "limits: at most %u of resource, threshold and interval_ms (10 "
				   "to 60000), readmit (rollover, time, others) and after, reject "
				   "(EAGAIN, EIO) are expected",
				   LCM_LIMITS_MAX);
	a->has_limits = true;
	a->reject = reject && strcmp(reject, "EIO") == 0 ? EIO : EAGAIN;
	return 0;
}

static bool class_ok(const char *s)
{
	size_t n = strlen(s);

	return n <= LCM_METER_CLASS_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

int lcm_meter_args_take(const json_t *args, struct lcm_meter_args *ret, struct lcm_err *err)
{
	const json_t *weight = json_object_get(args, "weight"),
		     *class = json_object_get(args, "class");
	json_int_t n = json_integer_value(weight);
	struct lcm_meter_args a = { .reject = EAGAIN, .class = json_string_value(class) };
	int r;

	if (weight && (!json_is_integer(weight) || n < 1 || n > (json_int_t)LCM_LIF_WEIGHT_MAX))
		return lcm_err_set(err, -EINVAL, "weight %lld: 1 to %u is expected", (long long)n,
				   LCM_LIF_WEIGHT_MAX);
	if (class && (!a.class || !class_ok(a.class)))
		return lcm_err_set(err, -EINVAL,
				   "class: at most %d letters, digits and _.- are expected",
				   LCM_METER_CLASS_MAX);
	a.weight = (uint32_t)n;
	if (!json_object_get(args, "limits")) {
		if (json_object_get(args, "readmit") || json_object_get(args, "after") ||
		    json_object_get(args, "reject"))
			return lcm_err_set(err, -EINVAL,
					   "readmit, after and reject go with limits");
		*ret = a;
		return 0;
	}
	r = take_limits(args, &a, err);
	if (r == 0)
		*ret = a;
	return r;
}

void lcm_meter_limits_put(json_t *o, const struct lcm_limits *l, int reject)
{
	uint64_t after = l->readmit == LCM_READMIT_TIME ? l->after / 1000000 : l->after;
	json_t *list = json_array();

	for (uint32_t i = 0; i < l->n; i++)
		(void)json_array_append_new(
		    list,
		    json_pack("{s:s s:I s:I}", "resource", lcm_resource_name(l->v[i].resource),
			      "threshold", (json_int_t)l->v[i].threshold, "interval_ms",
			      (json_int_t)(l->v[i].interval_ns / 1000000)));
	(void)json_object_set_new(o, "limits", list);
	(void)json_object_set_new(o, "readmit", json_string(readmits[l->readmit]));
	if (l->readmit != LCM_READMIT_ROLLOVER)
		(void)json_object_set_new(o, "after", json_integer((json_int_t)after));
	(void)json_object_set_new(o, "reject", json_string(reject == EIO ? "EIO" : "EAGAIN"));
}
