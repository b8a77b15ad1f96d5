/* SPDX-License-Identifier: Apache-2.0 */
/* meter_texts.c - weight, limits and class as options, annotations and labels have them. */
#include <stdio.h>
#include <string.h>

#include "src/base/number.h"
#include "src/daemon/meter_args.h"

#define TEXT_MAX 128

int lcm_meter_limit_take(const char *text, size_t len, json_t *list, struct lcm_err *err)
{
	char copy[TEXT_MAX], *is, *per;
	uint64_t n, ms = 1000;

	(void)snprintf(copy, sizeof(copy), "%.*s", (int)LCM_MIN(len, sizeof(copy)), text);
	is = strchr(copy, '=');
	per = is ? strchr(is, '/') : NULL;
	if (per)
		*per++ = '\0';
	if (is)
		*is++ = '\0';
	if (!is || len >= sizeof(copy) || lcm_number_parse(is, true, &n) < 0 || n > INT64_MAX ||
	    (per && lcm_number_parse(per, false, &ms) < 0))
		return lcm_err_set(err, -EINVAL,
				   "limit %.*s: RESOURCE=N or RESOURCE=N/MS is expected",
				   (int)LCM_MIN(len, sizeof(copy)), text);
	return json_array_append_new(
		   list, json_pack("{s:s s:I s:I}", "resource", copy, "threshold", (json_int_t)n,
				   "interval_ms", (json_int_t)LCM_MIN(ms, (uint64_t)INT64_MAX))) < 0
		   ? -ENOMEM
		   : 0;
}

int lcm_meter_readmit_take(const char *text, json_t *o, struct lcm_err *err)
{
	char copy[TEXT_MAX], *is;
	uint64_t n = 0;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	is = strchr(copy, '=');
	if (is)
		*is++ = '\0';
	if (is && (lcm_number_parse(is, false, &n) < 0 || n > INT64_MAX))
		return lcm_err_set(err, -EINVAL, "readmit %.64s: WHEN or WHEN=N is expected", text);
	(void)json_object_set_new(o, "readmit", json_string(copy));
	if (is)
		(void)json_object_set_new(o, "after", json_integer((json_int_t)n));
	return 0;
}

static bool given(const char *s)
{
	return s && *s;
}

static int take_limits(const char *s, json_t *o, struct lcm_err *err)
{
	json_t *list = json_array();
	int r = 0;

	(void)json_object_set_new(o, "limits", list);
	while (r == 0 && *s) {
		size_t len = strcspn(s, ",");

		r = lcm_meter_limit_take(s, len, list, err);
		s += len + (s[len] == ',');
	}
	return r;
}

int lcm_meter_texts_take(const struct lcm_meter_texts *t, json_t **ret, struct lcm_err *err)
{
	json_t *o = json_object();
	uint64_t n;
	int r = o ? 0 : -ENOMEM;

	if (r == 0 && given(t->class))
		(void)json_object_set_new(o, "class", json_string(t->class));
	if (r == 0 && given(t->weight)) {
		if (lcm_number_parse(t->weight, false, &n) < 0 || n > INT64_MAX)
			r = lcm_err_set(err, -EINVAL, "weight %.40s is not a number", t->weight);
		else
			(void)json_object_set_new(o, "weight", json_integer((json_int_t)n));
	}
	if (r == 0 && given(t->limits))
		r = take_limits(t->limits, o, err);
	if (r == 0 && given(t->readmit))
		r = lcm_meter_readmit_take(t->readmit, o, err);
	if (r == 0 && given(t->reject))
		(void)json_object_set_new(o, "reject", json_string(t->reject));
	if (r < 0 || json_object_size(o) == 0) {
		json_decref(o);
		o = NULL;
	}
	if (r == 0)
		*ret = o;
	return r;
}
