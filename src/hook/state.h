/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what a runtime tells its hooks, and the annotations that are meant for us.
 *
 * Layer: hook. Pure: no I/O. Everything in it is hostile: who may write a pod's annotations may
 * not be who runs the node. Source: OCI runtime spec runtime.md "State", config.md "Hooks".
 */
#ifndef LCM_HOOK_STATE_H
#define LCM_HOOK_STATE_H

#include <jansson.h>
#include <sys/types.h>

#include "src/base/err.h"
#include "src/daemon/meter_args.h"

enum lcm_hook_stage {
	LCM_HOOK_CREATE_RUNTIME,
	LCM_HOOK_POSTSTART,
	LCM_HOOK_POSTSTOP,
	LCM_HOOK_STAGE_MAX,
};

/** lcm_hook_stage_parse - by the name of the spec; "prestart" is createRuntime. Return: 0, -EINVAL.
 */
LCM_MUST_USE int lcm_hook_stage_parse(const char *name, enum lcm_hook_stage *ret);

struct lcm_hook_state {
	json_t *doc; /* owned; the strings are borrowed from it */
	const char *id;
	pid_t pid;          /* 0: none any more */
	const char *bundle; /* absolute */
	/* annotations org.locum.*; "": absent */
	const char *image, *pull, *platform, *index;
	struct lcm_meter_texts meter;             /* org.locum.meter.* */
	const char *unit, *unit_size, *unit_pool; /* as written: see lcm_hook_state_unit() */
	const char *deadline, *at_deadline;       /* the former a number of seconds */
	bool read_only;
};

/**
 * lcm_hook_state_parse - @len bytes of JSON
 * @ret: to be released with lcm_hook_state_fini()
 * Return: 0; -EUCLEAN, -EFBIG (text names the member); -ENOMEM.
 */
LCM_MUST_USE int lcm_hook_state_parse(const char *text, size_t len, enum lcm_hook_stage stage,
				      struct lcm_hook_state *ret, struct lcm_err *err);
void lcm_hook_state_fini(struct lcm_hook_state *s);

/** lcm_hook_state_wants_unit - one of its annotations is about a unit, right or wrong: without its
 * unit the container must not run, it would write elsewhere. */
bool lcm_hook_state_wants_unit(const struct lcm_hook_state *s);
/** lcm_hook_state_unit - are the annotations about a unit right? @ret_size: bytes, 0 without one.
 * Return: 0; -EUCLEAN (text names the annotation). */
LCM_MUST_USE int lcm_hook_state_unit(const struct lcm_hook_state *s, uint64_t *ret_size,
				     struct lcm_err *err);

/** lcm_hook_root - root.path of the bundle's config.json, absolute and without "." and "..", into
 * @out. Return: 0; -EUCLEAN, -EFBIG, -ENAMETOOLONG (text). */
LCM_MUST_USE int lcm_hook_root(const char *config, size_t len, const char *bundle, char *out,
			       size_t cap, struct lcm_err *err);

#endif
