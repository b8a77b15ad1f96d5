/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - one locum daemon: everything that is shared, from start to stop.
 *
 * Layer: daemon.
 */
#ifndef LCM_DAEMON_H
#define LCM_DAEMON_H

#include "fuse/gate.h"
#include "src/daemon/engine.h"
#include "src/daemon/keep.h"

#define LCM_DEFAULT_ROOT "/var/lib/locum"
#define LCM_DEFAULT_RUN "/run/locum"

struct lcm_daemon_config {
	const char *root;    /* state directory */
	const char *run_dir; /* socket, mount points of `run` */
	const char
	    *web; /* "PORT", "127.0.0.1:PORT", "[::1]:PORT": the page is here too; NULL: no */
	struct lcm_registry_config registry;
	struct lcm_gate_big big; /* defaults for mounts */
	uint64_t deadline_ns;    /* the same, and what becomes of readers then */
	bool freeze;
	uint64_t hold_ns;               /* background waits so long after a demand */
	uint64_t grace_ns;              /* and so long after a mount, until its first one */
	struct lcm_index_where index;   /* of mounts that say nothing */
	enum lcm_keep_by keep;          /* who has the gates when this daemon is gone */
	uint64_t quota_high, quota_low; /* bytes of layers; high 0: none, low 0: 4/5 of high */
	bool background;
	struct lcm_background_config idle; /* when that runs */
	const char *meter_file; /* policy of meters; NULL: LCM_METER_FILE, if it is there */
	bool without_data_only; /* as on a kernel before 6.5: nothing is mounted lazily */
	bool without_redirect;  /* as on a kernel before 6.16: mounted with metacopy=on */
	unsigned int
	    threads; /* of the pool, and of the stream threads; 0: one per processor, 2 to 16 */
};

/** lcm_daemon_defaults - the configuration the man page documents. */
void lcm_daemon_defaults(struct lcm_daemon_config *cfg);

/**
 * lcm_daemon_run - run until SIGTERM, SIGINT or a stop request; mounts that are still lazy stay and
 * wait for the next daemon
 * @ready: called once, when the socket answers
 * Call from a process with one thread. Return: 0 or -errno (text names the thing).
 */
LCM_MUST_USE int lcm_daemon_run(const struct lcm_daemon_config *cfg, void (*ready)(void *arg),
				void *arg, struct lcm_err *err);

/** lcm_daemon_program - where a program of ours is, e.g. "locum-decode". */
void lcm_daemon_program(const char *name, char *out, size_t cap);

#endif
