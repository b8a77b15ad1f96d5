/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - containerd.services.snapshots.v1.Snapshots, translated into the daemon's API.
 *
 * Layer: containerd. Nothing is kept between two calls and nothing decided: messages become JSON,
 * answers become messages, errors the status codes that containerd's errdefs knows.
 * Source: containerd api/services/snapshots/v1/snapshots.proto.
 */
#ifndef LCM_CONTAINERD_SERVICE_H
#define LCM_CONTAINERD_SERVICE_H

#include "src/containerd/caller.h"
#include "src/containerd/grpc.h"

struct lcm_service {
	const struct lcm_caller *containerd; /* CRI's image service is passed on to it; NULL: it
						is not offered */
	bool meters; /* labels may say what a container's mount may use, and its weight */
	bool units;  /* labels may choose the storage unit that a container writes into */
};
/** lcm_service_call - a lcm_grpc_fn; @arg: struct lcm_service, not changed any more. Waits for the
 * daemon, which it starts when there is none. */
void lcm_service_call(void *arg, const char *method, const uint8_t *p, size_t len,
		      struct lcm_grpc_reply *ret);

/** lcm_service_status - the status of an error of the daemon, -errno. */
enum lcm_grpc_status lcm_service_status(int code);

#endif
