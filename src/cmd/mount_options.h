/* SPDX-License-Identifier: Apache-2.0 */
/* mount_options.h - the options `mount` and `run` have in common. Layer: cmd. */
#ifndef LCM_MOUNT_OPTIONS_H
#define LCM_MOUNT_OPTIONS_H

#include <getopt.h>
#include <jansson.h>

#include "src/base/base.h"

struct mount_options {
	const char *id, *pull, *platform, *index; /* NULL or "": not given */
	const char *unit, *unit_pool;
	bool read_only, full, offline;
	const char *at_deadline;
	const char *deadline, *big_data, *big_exec, *weight,
	    *unit_size; /* as written; NULL: the daemon's */
	uint64_t deadline_ms, big_data_bytes, big_exec_bytes, weight_number, unit_bytes;
};

enum {
	OPT_ID = 512,
	OPT_RO,
	OPT_FULL,
	OPT_PULL,
	OPT_OFFLINE,
	OPT_PLATFORM,
	OPT_INDEX,
	OPT_M_DEADLINE,
	OPT_M_BIG_DATA,
	OPT_M_BIG_EXEC,
	OPT_WEIGHT,
	OPT_UNIT,
	OPT_UNIT_SIZE,
	OPT_UNIT_POOL,
	OPT_M_AT_DEADLINE
};

#define MOUNT_OPTIONS_LONG                                                                         \
	{ "id", required_argument, NULL, OPT_ID }, { "ro", no_argument, NULL, OPT_RO },            \
	    { "full", no_argument, NULL, OPT_FULL },                                               \
	    { "pull", required_argument, NULL, OPT_PULL },                                         \
	    { "offline", no_argument, NULL, OPT_OFFLINE },                                         \
	    { "platform", required_argument, NULL, OPT_PLATFORM },                                 \
	    { "index", required_argument, NULL, OPT_INDEX },                                       \
	    { "deadline", required_argument, NULL, OPT_M_DEADLINE },                               \
	    { "at-deadline", required_argument, NULL, OPT_M_AT_DEADLINE },                         \
	    { "big-data", required_argument, NULL, OPT_M_BIG_DATA },                               \
	    { "weight", required_argument, NULL, OPT_WEIGHT },                                     \
	    { "unit", required_argument, NULL, OPT_UNIT },                                         \
	    { "unit-size", required_argument, NULL, OPT_UNIT_SIZE },                               \
	    { "unit-pool", required_argument, NULL, OPT_UNIT_POOL },                               \
	{                                                                                          \
		"big-exec", required_argument, NULL, OPT_M_BIG_EXEC                                \
	}

#define MOUNT_OPTIONS_HELP                                                                         \
	"      --id ID             name it; its writes are then kept for the next use of ID\n"     \
	"      --ro                read-only, without an upper directory\n"                        \
	"      --full              wait until everything is local\n"                               \
	"      --pull WHEN         missing (default), always or never ask the registry\n"          \
	"      --offline           ask no registry, now or later: what is not here gives EIO\n"    \
	"      --platform OS/ARCH  another platform than this machine's\n"                         \
	"      --index WHERE       tables of contents: manifest (default), referrers, none, a "    \
	"digest\n"                                                                                 \
	"      --deadline SECONDS  readers of missing files get EIO after so long (0: never)\n"    \
	"      --at-deadline WHAT  eio, or freeze: freeze the containers until something comes\n"  \
	"      --big-data SIZE     data files from this size are read by range (0: never)\n"       \
	"      --big-exec SIZE     the same for executables and libraries\n"                       \
	"      --weight N          its share where others fetch too, 1 to 10000 (100)\n"           \
	"      --unit UNIT|new     keep what it writes in this storage unit, or in a new one\n"    \
	"      --unit-size SIZE    of a new one\n"                                                 \
	"      --unit-pool POOL    where a new one is made (the only one)\n"

/** mount_options_take - one option of getopt_long(). Return: 0 or the exit status (said already).
 */
LCM_MUST_USE int mount_options_take(struct mount_options *o, const char *verb, int c,
				    const char *value);
/** mount_options_body - the request; @target may be NULL. NULL: out of memory. */
json_t *mount_options_body(const struct mount_options *o, const char *image, const char *target);

#endif
