/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meter_args.h - a weight and limits as JSON: in requests, the policy file, and what is kept of a
 * mount.
 *
 * Layer: daemon. Pure.
 */
#ifndef LCM_METER_ARGS_H
#define LCM_METER_ARGS_H

#include <jansson.h>

#include "meter/limit.h"
#include "src/base/err.h"

#define LCM_METER_CLASS_MAX 64 /* characters of a name */

struct lcm_meter_args {
	uint32_t weight;          /* 0: not given */
	bool has_limits;          /* also when they are none */
	struct lcm_limits limits; /* with how they are readmitted */
	int reject;               /* EAGAIN or EIO */
	const char *class;        /* borrowed; "": out of any; NULL: not given */
};

/** lcm_meter_args_take - from an object with weight, limits, readmit, after, reject and class;
 * other members are not looked at. Return: 0, -EINVAL (text). */
LCM_MUST_USE int lcm_meter_args_take(const json_t *args, struct lcm_meter_args *ret,
				     struct lcm_err *err);
/* As users write them; NULL, "": not given. */
struct lcm_meter_texts {
	const char *class, *weight;
	const char *limits;  /* "RESOURCE=N[/MS],..." */
	const char *readmit; /* "rollover", "time=MS", "others=N" */
	const char *reject;
};
/** lcm_meter_texts_take - into an object for lcm_meter_args_take(), which judges it. @ret: NULL:
 * none is given. Return: 0; -EINVAL (text: which is malformed); -ENOMEM. */
LCM_MUST_USE int lcm_meter_texts_take(const struct lcm_meter_texts *t, json_t **ret,
				      struct lcm_err *err);
/** lcm_meter_limit_take - one limit, @len bytes of @text, into the array @list. */
LCM_MUST_USE int lcm_meter_limit_take(const char *text, size_t len, json_t *list,
				      struct lcm_err *err);
/** lcm_meter_readmit_take - readmit and after, into the object @o. */
LCM_MUST_USE int lcm_meter_readmit_take(const char *text, json_t *o, struct lcm_err *err);
/** lcm_meter_limits_put - limits, readmit, after and reject into the object @o. */
void lcm_meter_limits_put(json_t *o, const struct lcm_limits *l, int reject);

#endif
