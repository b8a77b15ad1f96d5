/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - containerd's snapshots, served from the store: POST /v1/snapshots/OP.
 *
 * A remote snapshot is the first layers of an image. It is committed as soon as the image's
 * manifest is here; the pull of what it lacks goes on behind it, and a container on top of it gets
 * the ordinary lazy mount. Every other snapshot is a directory that overlayfs stacks, as in
 * containerd's own overlayfs snapshotter, also on top of a remote one. locum-containerd speaks
 * containerd's protocol and asks for these.
 *
 * Layer: daemon. Threads: loop. Source: containerd core/snapshots/snapshotter.go (what each
 * operation promises), docs/remote-snapshotter.md.
 */
#ifndef LCM_SNAPSHOT_H
#define LCM_SNAPSHOT_H

#include "src/daemon/api.h"
#include "store/snapshot.h"

/* What the ids of the sessions of snapshots begin with; the snapshot's id follows. */
#define LCM_SNAPSHOT_SESSION "snap-"

/** lcm_snapshot_call - answer operation @op, or begin to wait. @args: borrowed. */
void lcm_snapshot_call(struct lcm_api_call *c, const char *op, json_t *args);
/** lcm_snapshot_forget - the call is over: what was begun for it ends or goes on without it. NULL
 * is allowed. */
void lcm_snapshot_forget(struct lcm_snapshot_job *j);

/** lcm_snapshot_start - go on with what an earlier daemon had begun: pull, unmount what it had
 * mounted for snapshots that are gone, drop their images. */
LCM_MUST_USE int lcm_snapshot_start(struct lcm_host *h);
/** lcm_snapshot_stop - when all sessions have ended and the loop is drained. */
void lcm_snapshot_stop(struct lcm_host *h);

#endif
