/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - what this host allows, and what is lost by what it does not.
 *
 * Layer: cmd. Threads: main thread only (the probe forks).
 */
#ifndef LCM_DOCTOR_H
#define LCM_DOCTOR_H

#include "overlay/mount.h"

#define LCM_DOCTOR_ITEMS_MAX 32

enum lcm_doctor_state {
	LCM_DOCTOR_OK,   /* works */
	LCM_DOCTOR_WARN, /* works, with something lost */
	LCM_DOCTOR_NO,   /* does not work */
};

struct lcm_doctor_item {
	enum lcm_doctor_state state;
	const char *name; /* stable, for --json */
	char value[128];  /* what was found; may be "" */
	char text[256];   /* consequence and way out; "" when all is well */
};

enum lcm_doctor_mode {
	LCM_DOCTOR_LAZY, /* containers start before their image is here */
	LCM_DOCTOR_FULL, /* images are pulled whole first */
	LCM_DOCTOR_NONE,
};

struct lcm_doctor {
	struct lcm_doctor_item items[LCM_DOCTOR_ITEMS_MAX];
	size_t n;
	bool root, xattrs, decoder; /* what the verdict needs beside @features */
	struct lcm_mount_features features;
};

/** lcm_doctor_examine - look at everything; @root is the state directory (need not exist), @socket
 * the daemon's, @decoder the program of the isolated functions, of which one is started. Takes
 * under a second. */
void lcm_doctor_examine(struct lcm_doctor *d, const char *root, const char *socket,
			const char *decoder);
/** lcm_doctor_hosts - add what is in the NULL-terminated @dirs of registries (registry/hosts.h). */
void lcm_doctor_hosts(struct lcm_doctor *d, const char *const *dirs);
/** lcm_doctor_verdict - pure. */
enum lcm_doctor_mode lcm_doctor_verdict(const struct lcm_doctor *d);
/** lcm_doctor_cgroup - the layout below @path (/sys/fs/cgroup): "v2", "hybrid", "v1", "none". */
const char *lcm_doctor_cgroup(const char *path);

/** cmd_doctor_main - the verb. Exit status: 0 lazy mounts work, 1 only full pulls do, 2 nothing
 * does (or wrong usage).
 */
int cmd_doctor_main(int argc, char **argv);

#endif
