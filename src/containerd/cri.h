/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri.h - CRI's image service, passed on to containerd: of PullImage the credentials are kept.
 *
 * Kubernetes gives pull secrets with each pull, to containerd, which does not tell its snapshotter.
 * With its --image-service-endpoint here the kubelet's calls come by. What is kept is in an auth
 * file of the run directory, which the daemon reads when a registry asks: it outlives the daemon
 * and this program, not a reboot. Layer: containerd. Threads: any.
 */
#ifndef LCM_CONTAINERD_CRI_H
#define LCM_CONTAINERD_CRI_H

#include "src/containerd/caller.h"
#include "src/containerd/grpc.h"

/** lcm_cri_is - is this a method of CRI's image service (runtime.v1, or v1alpha2)? */
bool lcm_cri_is(const char *method);
/** lcm_cri_call - pass it on and give back what containerd says, status and all; waits for that.
 * Credentials of a pull that fails are not kept: those before are there again. */
void lcm_cri_call(const struct lcm_caller *c, const char *method, const uint8_t *p, size_t len,
		  struct lcm_grpc_reply *ret);

#endif
