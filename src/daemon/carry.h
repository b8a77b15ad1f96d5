/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.h - a mount's policy after its gate is gone: on the container's cgroup, by what the kernel
 * has.
 *
 * Without a gate the files of the image are read from the disk of the state directory. What a limit
 * or weight was for until then is carried over where a controller does the like:
 *
 *   written_bytes (of files that it gets)  bytes read from that disk     io.max, blkio.throttle
 *   requests                               reads of that disk            io.max, blkio.throttle
 *   weight                                 its share of that disk        io.weight with io.cost,
 * BFQ
 *
 * The others are for what is not used any more. Before a value is set the one that is there is
 * looked at: a tighter one stays, any other is put back when the policy goes, unless somebody has
 * changed it since.
 *
 * Layer: daemon; uses base. Threads: any, one at a time for each cgroup; may wait for the disk.
 * Source: Documentation/admin-guide/cgroup-v2.rst "IO", cgroup-v1/blkio-controller.rst, block/
 * bfq-iosched.rst.
 */
#ifndef LCM_CARRY_H
#define LCM_CARRY_H

#include <jansson.h>
#include <sys/types.h>

#include "src/base/err.h"

enum lcm_carry_what {
	LCM_CARRY_READ_BYTES, /* a second */
	LCM_CARRY_READS,      /* a second */
	LCM_CARRY_WEIGHT,     /* 1 to 10000 */
	LCM_CARRY_MAX,
};

struct lcm_carry_item {
	uint64_t ours;    /* what is set; 0: nothing */
	uint64_t pending; /* and is about to be; 0: nothing else */
	uint64_t before;  /* and was before; 0: no limit */
	char why[128];    /* why it is not set though it is wanted; "": it is, or is not wanted */
};

#define LCM_CARRY_PATH_MAX 400 /* a cgroup's, below the root of the hierarchy */

struct lcm_carry {
	char root[100]; /* of the hierarchy */
	char dir[512];  /* of the cgroup; "": none that may be touched */
	bool v2;
	char disk[24]; /* MAJOR:MINOR */
	struct lcm_carry_item items[LCM_CARRY_MAX];
};

/**
 * lcm_carry_find - where limits of I/O for a process would be set
 * @sys:    where cgroups are mounted: "/sys/fs/cgroup"
 * @cgroup: text of its /proc/PID/cgroup
 * @own:    text of the daemon's: its own cgroup, and the root, are nobody's to limit
 * @dir:    a directory on the disk that is meant
 * @ret:    items are as they were
 * Return: 0; -ENOTSUP (text); -errno (text).
 */
LCM_MUST_USE int lcm_carry_find(const char *sys, const char *cgroup, const char *own,
				const char *dir, struct lcm_carry *ret, struct lcm_err *err);
/** lcm_carry_plan - look what is to be done for what @want says, 0: nothing, by each of
 * LCM_CARRY_*; what cannot be is in the items. Nothing is written. Return: something is to be set:
 * a record of it must be kept first, or the next daemon takes what it finds for somebody else's. */
bool lcm_carry_plan(struct lcm_carry *c, const uint64_t want[LCM_CARRY_MAX]);
/** lcm_carry_apply - do what was planned last, and put back what is not wanted any more. */
void lcm_carry_apply(struct lcm_carry *c);

/** lcm_carry_json - what is set and what is not: a new object. */
json_t *lcm_carry_json(const struct lcm_carry *c);
/** lcm_carry_take - from such an object of an earlier daemon; a bad one is none. */
void lcm_carry_take(const json_t *o, struct lcm_carry *ret);

/**
 * lcm_carry_probe - what could be carried on this host, for containers on the disk of @dir
 * @ret_io, @ret_weight: the controller's name; "": none; static
 * @why: of the second, when it is none
 * Return: 0; -ENOTSUP (text): neither.
 */
LCM_MUST_USE int lcm_carry_probe(const char *sys, const char *dir, const char **ret_io,
				 const char **ret_weight, char why[128], struct lcm_err *err);

#endif
