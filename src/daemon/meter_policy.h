/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meter_policy.h - classes of LIFs, and the file that says what they may use.
 *
 * A class has a weight, which each of its mounts has that has none of its own, and limits, which
 * hold for all of them together: what one uses the others cannot. A mount is held to its own limits
 * and to its class's, whichever is less.
 *
 * The file is read at the start and whenever somebody asks (SIGHUP, `locum meter reload`): as a
 * whole or not at all. What was used in a window counts on. A class that it does not have any more
 * has no weight and no limits.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_METER_POLICY_H
#define LCM_METER_POLICY_H

#include "src/daemon/meter_args.h"
#include "src/daemon/session.h"

#define LCM_METER_FILE "/etc/locum/meter.json"

struct lcm_meter_class {
	struct lcm_meter_class *next;
	struct lcm_host *host; /* borrowed */
	char name[LCM_METER_CLASS_MAX + 1];
	uint32_t weight;          /* 0: none */
	struct lcm_limits limits; /* of all its mounts together */
	int reject;               /* EAGAIN or EIO */
	enum lcm_admission admission;
	uint64_t requests;         /* that its mounts have had */
	struct lcm_timer *readmit; /* owned */
	bool in_file;              /* as it was read last */
	uint32_t users;            /* mounts that are in it */
};

/** lcm_meter_load - take the policy file of @h. @must: a missing one is an error. Return: 0; -errno
 * (text); the policy of before stays then. */
LCM_MUST_USE int lcm_meter_load(struct lcm_host *h, bool must, struct lcm_err *err);
/** lcm_meter_free - the daemon ends; no session is left. */
void lcm_meter_free(struct lcm_host *h);
/** lcm_meter_class_get - by name; one that is nowhere is made, without weight and limits, and goes
 * with its last mount. Return: 0, -ENOMEM, -ENOSPC (text), -errno. */
LCM_MUST_USE int lcm_meter_class_get(struct lcm_host *h, const char *name,
				     struct lcm_meter_class **ret, struct lcm_err *err);
/** lcm_meter_class_join - the mount whose class is in *@at is in @c from now on; NULL: in none. */
void lcm_meter_class_join(struct lcm_meter_class **at, struct lcm_meter_class *c);
/** lcm_meter_class_set - change a class until the file is read again. Return: 0, -EINVAL (text). */
LCM_MUST_USE int lcm_meter_class_set(struct lcm_host *h, const json_t *args, struct lcm_err *err);
/** lcm_meter_admit - where @l stands now. @others: requests that others have had. @readmit: goes
 * off when it is to be asked again. */
enum lcm_admission lcm_meter_admit(struct lcm_limits *l, uint64_t others,
				   struct lcm_timer *readmit);
/** lcm_meter_class_charge - a request of one of its mounts used this. */
void lcm_meter_class_charge(struct lcm_meter_class *c, const struct lcm_lif_cost *cost);
/** lcm_meter_classes_look - somebody, of class @but or of none, was charged: those that wait for
 * others' requests look. */
void lcm_meter_classes_look(struct lcm_host *h, const struct lcm_meter_class *but);
/** lcm_meter_classes_json - a new array. */
json_t *lcm_meter_classes_json(const struct lcm_host *h);
/** lcm_meter_state_name - "admitted", "held", "rejected". */
const char *lcm_meter_state_name(enum lcm_admission a);

#endif
