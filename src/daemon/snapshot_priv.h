/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_priv.h - what the files of the snapshots share. */
#ifndef LCM_SNAPSHOT_PRIV_H
#define LCM_SNAPSHOT_PRIV_H

#include "src/base/buf.h"
#include "src/daemon/snapshot.h"

#define SNAPSHOT_REF_LABEL "containerd.io/snapshot.ref"
#define SNAPSHOT_UNIT_LABEL "containerd.io/snapshot/locum.unit"
#define SNAPSHOT_DEADLINE_LABEL "containerd.io/snapshot/locum.deadline"
#define SNAPSHOT_AT_DEADLINE_LABEL "containerd.io/snapshot/locum.at-deadline"
#define SNAPSHOT_METER_LABEL "containerd.io/snapshot/locum.meter"

/* What lies below a snapshot: directories, topmost first, and perhaps an image below them. */
struct snapshot_chain {
	struct lcm_buf dirs; /* below the state directory, each with its NUL */
	uint32_t n_dirs;
	char *image; /* owned; "": none */
	uint32_t depth;
};
void snapshot_chain_fini(struct snapshot_chain *ch);
/** snapshot_chain_get - what lies below a child of @parent ("": nothing). Return: 0; -ENOENT,
 * -EINVAL (@parent is not committed), -EUCLEAN; -errno. */
LCM_MUST_USE int snapshot_chain_get(struct lcm_store *s, const char *parent,
				    struct snapshot_chain *ret, struct lcm_err *err);

/* An answer that is waited for. */
struct lcm_snapshot_job {
	struct lcm_api_call *call; /* borrowed */
	struct lcm_host *host;     /* borrowed */
	struct lcm_snapshot_row row;
	bool fresh; /* the row was made by this call: it goes when the mount fails */
	/* a mount that is waited for */
	struct lcm_session *s; /* borrowed while watched */
	struct lcm_session_watch watch;
	/* an image that is looked for */
	const char *target; /* name of the remote snapshot; in row.labels' object */
	json_t *labels;     /* owned; of removals, too */
	struct lcm_reference ref;
	bool tag_known;          /* the store had the image by its tag before */
	struct lcm_image *image; /* owned */
	/* usage */
	struct lcm_task task;
	char *dir;     /* owned; absolute */
	char blob[64]; /* below the state directory; "": none */
	uint64_t size, inodes;
	bool final; /* neither changes any more */
	int status;
	struct lcm_err err;
};
/** snapshot_answer - end @j with this reply. */
void snapshot_answer(struct lcm_snapshot_job *j, int http, json_t *reply);
void snapshot_fail(struct lcm_snapshot_job *j, int code, const struct lcm_err *err);
void snapshot_job_free(struct lcm_snapshot_job *j);

/* snapshot_mount.c */
/** snapshot_mounts - answer with the mounts of @j's row, once there are any. */
void snapshot_mounts(struct lcm_snapshot_job *j);
/** snapshot_make - the row of @j and its directories, then snapshot_mounts(). */
void snapshot_make(struct lcm_snapshot_job *j);
void snapshot_unwatch(struct lcm_snapshot_job *j);
/** snapshot_unmount - end the session of snapshot @id, if there is one. @remove: with the unit that
 * was made for it. */
LCM_MUST_USE int snapshot_unmount(struct lcm_host *h, int64_t id, bool remove, struct lcm_err *err);
void snapshot_session_id(int64_t id, char out[LCM_ID_MAX + 1]);

/* snapshot.c */
/** snapshot_removed - nothing is mounted of @j's row any more: it goes, and @j is answered. */
void snapshot_removed(struct lcm_snapshot_job *j);

/* snapshot_unit.c */
struct snapshot_unit {
	const char *key; /* borrowed from the labels, as @pool; NULL: no unit */
	const char *pool;
	uint64_t size; /* bytes */
	bool is_new;   /* made for the snapshot, and goes with it */
};
/** snapshot_unit_get - what @labels (may be NULL) say. Return: 0, -EINVAL (text). */
LCM_MUST_USE int snapshot_unit_get(const json_t *labels, struct snapshot_unit *ret,
				   struct lcm_err *err);
/** snapshot_meter - what labels say of weight, limits and class, as lcm_session_set_meter() takes
 * it.
 * @ret: a new object; NULL: nothing. Return: 0; -EINVAL (text). */
LCM_MUST_USE int snapshot_meter(const json_t *labels, json_t **ret, struct lcm_err *err);
/** snapshot_deadline - what labels say of readers for whom nothing comes; what they do not say
 * stays as it is. Return: 0; -EINVAL (text). */
LCM_MUST_USE int snapshot_deadline(const json_t *labels, uint64_t *deadline_ns, bool *freeze,
				   struct lcm_err *err);
/** snapshot_unit_check - may a new snapshot have these labels? @layer: an image's. Return: 0,
 * -EINVAL (text). */
LCM_MUST_USE int snapshot_unit_check(const json_t *labels, enum lcm_snapshot_kind kind, bool layer,
				     struct lcm_err *err);
/** snapshot_unit_same - do both say the same of a unit? Return: 0, -EINVAL (text). */
LCM_MUST_USE int snapshot_unit_same(const json_t *a, const json_t *b, struct lcm_err *err);
/** snapshot_unit_remove - the mount of @j's row is ending, or there is none: its unit is left, then
 * snapshot_removed(). */
void snapshot_unit_remove(struct lcm_snapshot_job *j);

/* snapshot_remote.c */
/** snapshot_remote - commit @j's row as a remote snapshot and answer -EEXIST, or do as
 * snapshot_make(). */
void snapshot_remote(struct lcm_snapshot_job *j);
void snapshot_remote_cancel(struct lcm_snapshot_job *j);
/** snapshot_pull - have all of @image pulled, whoever waits for it or not. */
void snapshot_pull(struct lcm_host *h, const char *image);
/** snapshot_pull_end - nobody wants @image any more. */
void snapshot_pull_end(struct lcm_host *h, const char *image);

/** snapshot_resume - pull on, and unmount what belongs to no snapshot any more. */
void snapshot_resume(struct lcm_host *h);
void snapshot_pulls_free(struct lcm_host *h);

/* snapshot_usage.c */
void snapshot_usage(struct lcm_snapshot_job *j);

#endif
