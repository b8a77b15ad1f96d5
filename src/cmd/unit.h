/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - what the files of the verb "unit" share. Layer: cmd. Threads: one. */
#ifndef LCM_CMD_UNIT_H
#define LCM_CMD_UNIT_H

#include "unit/unit.h"

struct unit_args {
	struct lcm_unit_options unit;
	const char *backend;
	const char *resume;
	uint64_t floor, from;
	bool thin, deep, json, adopt;
	int argc; /* after the command */
	char **argv;
	char key[LCM_UNIT_NAME]; /* of argv[0], before its '@' */
	const char *snap;        /* what comes after; NULL: nothing */
};

LCM_MUST_USE int unit_print_pools(struct lcm_units *u, const struct unit_args *a,
				  struct lcm_err *err);
LCM_MUST_USE int unit_print_list(struct lcm_units *u, const struct unit_args *a,
				 struct lcm_err *err);
LCM_MUST_USE int unit_print_one(struct lcm_units *u, const struct unit_args *a,
				struct lcm_err *err);

#endif
