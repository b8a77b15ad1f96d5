/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - what the files of the verb "unit" share. Layer: cmd. Threads: one. */
#ifndef LCM_CMD_UNIT_H
#define LCM_CMD_UNIT_H

#include "unit/unit.h"

/* In the order of the table in options(). */
enum unit_option {
	UNIT_OPT_ADOPT = 1 << 0,
	UNIT_OPT_POOL = 1 << 1,
	UNIT_OPT_OWNER = 1 << 2,
	UNIT_OPT_NAME = 1 << 3,
	UNIT_OPT_SIZE = 1 << 4,
	UNIT_OPT_BACKEND = 1 << 5,
	UNIT_OPT_FLOOR = 1 << 6,
	UNIT_OPT_FROM = 1 << 7,
	UNIT_OPT_RESUME = 1 << 8,
	UNIT_OPT_THIN = 1 << 9,
	UNIT_OPT_DEEP = 1 << 10,
	UNIT_OPT_JSON = 1 << 11,
};

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
