/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - run a bundle with crun or runc: terminal, signals and status pass through.
 *
 * Layer: cmd. Threads: one.
 */
#ifndef LCM_RUNTIME_H
#define LCM_RUNTIME_H

#include "src/base/err.h"

struct runtime_spec {
	const char *path; /* of crun or runc */
	const char *id, *bundle;
	const char *pid_file; /* NULL: none */
};

/** runtime_find - *path stays when set, else the first of crun and runc in the usual directories
 * below /usr
 *  ($PATH is not used). Return: 0, -ENOENT. */
LCM_MUST_USE int runtime_find(const char **path, struct lcm_err *err);
/** runtime_run - run to the end. Signals to this process go to the container's. @ret_status: its
 * exit status, 128 + signal. */
LCM_MUST_USE int runtime_run(const struct runtime_spec *spec, int *ret_status, struct lcm_err *err);
/**
 * runtime_hide_hybrid_cgroup - crun and runc refuse a hybrid cgroup tree: go on in a mount
 * namespace without the v2 part
 *
 * Mounts of the host still arrive there (slave). Nothing when the tree is not hybrid.
 */
void runtime_hide_hybrid_cgroup(void);

#endif
