/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - one mount (or one pull) from request to native.
 *
 *   PREPARING --> LAZY --> DRAINING --> NATIVE
 *       |   \______________________________^      (everything local: plain overlay)
 *       |          |          |
 *       `------> FAILED <-----'   a layer proved wrong, or the mount could not be made
 *
 *   LAZY      META::REAL::GATE, files arrive
 *   DRAINING  every layer proven and in REAL; big files opened earlier keep their inode on the gate
 *   NATIVE    the gate's session is gone
 * A pull goes PREPARING -> NATIVE and ends there.
 *
 * Layer: daemon. Threads: loop, but for the gate callbacks.
 */
#ifndef LCM_SESSION_H
#define LCM_SESSION_H

#include <jansson.h>

#include "fuse/gate.h"
#include "overlay/meta.h"
#include "overlay/mount.h"
#include "src/daemon/carry.h"
#include "src/daemon/image.h"

enum lcm_phase {
	LCM_PREPARING,
	LCM_LAZY,
	LCM_DRAINING,
	LCM_NATIVE,
	LCM_FAILED,
	LCM_PHASE_MAX,
};
const char *lcm_phase_name(enum lcm_phase phase);

#define LCM_ID_MAX 64

struct lcm_session_watch;
struct lcm_snapshot_pull;
struct lcm_container;
struct lcm_meter_class;
struct lcm_keep;
struct lcm_kept;

struct lcm_host {                       /* what all sessions share */
	struct lcm_engine *e;           /* borrowed */
	struct lcm_gate_threads *gates; /* borrowed */
	struct lcm_mount_features features;
	bool lazy;               /* the features suffice for META::REAL::GATE */
	struct lcm_gate_big big; /* defaults for new mounts, as the next two */
	uint64_t deadline_ns;
	bool freeze;
	struct lcm_keep *keep;        /* borrowed; who has the gates' descriptors besides us */
	const char *run_dir;          /* borrowed; where targets of `run` are made */
	const char *web_url;          /* borrowed; NULL: the page is on the control socket only */
	struct lcm_session *sessions; /* list by ->next, loop */
	struct lcm_session_watch
	    *watches; /* told of every session's changes, and of new and gone ones */
	struct lcm_container *containers; /* list, of container.c */
	struct lcm_meter_class *classes;  /* list, of meter_policy.c */
	const char *meter_file;           /* borrowed */
	uint64_t last_serial;
	struct lcm_snapshot_pull *pulls; /* list, of snapshot_remote.c */
	struct lcm_timer *cleanup;       /* owned; of snapshot.c: images that could not go yet */
	uint64_t cleanup_ns;
	uint64_t quota_low;           /* what the gc leaves when nobody says more; 0: no quota */
	uint64_t gc_layers, gc_bytes; /* dropped since start */
};

struct lcm_session_options {
	const char *image;    /* reference as the user wrote it */
	const char *id;       /* "": one is made */
	const char *target;   /* absolute directory; "": one below run_dir; pulls: NULL */
	const char *platform; /* "": this machine's */
	enum lcm_image_policy policy;
	struct lcm_index_where index;
	bool pull; /* no mount: only have everything local */
	bool read_only;
	bool full;       /* mount only when everything is local */
	bool keep;       /* the upper outlives umount */
	bool offline;    /* no registry is asked, whatever policy and index say */
	bool remount;    /* after a reboot the next daemon mounts it again */
	bool lower;      /* other overlays will be mounted on it: it takes one level of stacking */
	bool patient;    /* of pulls: nobody waits for it */
	uint32_t weight; /* 0: its class's, or LCM_LIF_WEIGHT */
	const json_t *meter;     /* borrowed; as lcm_session_set_meter() takes it; NULL: nothing */
	struct lcm_digest layer; /* mount this layer alone, as a lower of another overlay: the
				    digest of its blob or of its table; zero: all */
	uint32_t depth; /* mount only so many of the image's layers, from the bottom; 0: all */
	const char
	    *home; /* below the state directory, where upper and work are; NULL: containers/ID */
	const char *unit; /* the storage unit for upper and work: a key, or "new"; NULL: none */
	const char *unit_pool; /* of a new one; NULL: the only pool */
	uint64_t unit_size;    /* of a new one, bytes */
	bool unit_fresh;       /* a new one may not be there yet, kept or not */
	const char *above; /* directories below the state directory, each with its NUL, and one NUL
			      more: layers on top of the image's, topmost first; NULL: none */
	struct lcm_gate_big big; /* of this mount */
	uint64_t deadline_ns;    /* of readers for whom nothing comes; 0: never */
	bool freeze;             /* then its containers freeze, until something does; else EIO */
};

struct lcm_session;

/**
 * lcm_session_new - begin; it becomes FAILED or better by itself
 * Return: 0; -EINVAL (reference, id, target: text says which); -EEXIST (id in use); -EBUSY (target
 * is a mount point or in use); -ENOTEMPTY; -errno.
 */
LCM_MUST_USE int lcm_session_new(struct lcm_host *h, const struct lcm_session_options *o,
				 struct lcm_session **ret, struct lcm_err *err);
/**
 * lcm_session_close - unmount and forget
 * @lazy:   detach even when busy
 * @remove: +1 remove the upper, 0 keep it, -1 as the mount was made
 * Return: 0 (the session is freed, or will be as soon as its pool job is back);
 * -EBUSY (still in use; text says by whom; nothing was changed); -errno.
 */
LCM_MUST_USE int lcm_session_close(struct lcm_session *s, bool lazy, int remove,
				   struct lcm_err *err);
/** lcm_session_free - the daemon ends: mounts stay as they are. */
void lcm_session_free(struct lcm_session *s);
/** lcm_session_recover - sessions for the rows of an earlier daemon: adopts what is still mounted,
 * with its gate if somebody kept that, mounts again what went with a reboot and was to be, clears
 * away the rest. @kept: @n gates; their descriptors are taken. */
void lcm_session_recover(struct lcm_host *h, struct lcm_kept *kept, size_t n);
/** lcm_session_restoring - is some mount still being made again after a reboot? */
bool lcm_session_restoring(const struct lcm_host *h);
/** lcm_session_claim - whoever mounts it at each boot finds it made again: the first request for it
 * after a reboot gets that mount, if it would be the same. NULL: there is none, and if it was
 * FAILED not any more (what was written is kept). */
struct lcm_session *lcm_session_claim(struct lcm_host *h, const struct lcm_session_options *o);
/** lcm_session_keep_all - tell a new keeper of every gate. */
void lcm_session_keep_all(struct lcm_host *h);
/** lcm_session_check_mounts - the mount table changed: close sessions whose mount somebody took
 * away. */
void lcm_session_check_mounts(struct lcm_host *h);

/** lcm_session_find - by id, or by target when @name begins with '/'. NULL: none. */
struct lcm_session *lcm_session_find(struct lcm_host *h, const char *name);
enum lcm_phase lcm_session_phase(const struct lcm_session *s);
const char *lcm_session_id(const struct lcm_session *s);
/** lcm_session_target - where it is mounted; borrowed; "" for pulls. */
const char *lcm_session_target(const struct lcm_session *s);
/** lcm_session_closing - it is unmounted, or about to be, and goes by itself. */
bool lcm_session_closing(const struct lcm_session *s);
/** lcm_session_unit - the path of the unit that is attached for it, into @out. Return: false: none
 * is. */
bool lcm_session_unit(const struct lcm_session *s, char out[4096]);
/** lcm_session_hurry - somebody waits until all of it is here: what its layers still need is no
 * background any more. The network goes on to serve demand first. */
void lcm_session_hurry(struct lcm_session *s);
/** lcm_session_error - why it FAILED. Return: 0 (it has not), -errno with its text. */
int lcm_session_error(const struct lcm_session *s, struct lcm_err *err);
struct lcm_host *lcm_session_host(const struct lcm_session *s);
/** lcm_session_at - the mount whose file system has this device number; NULL: none. */
struct lcm_session *lcm_session_at(struct lcm_host *h, dev_t dev);
/** lcm_session_ms - a new JSON number: from the request to @at (CLOCK_MONOTONIC ns). */
json_t *lcm_session_ms(const struct lcm_session *s, uint64_t at);
struct lcm_session *lcm_session_next(const struct lcm_session *s);
/** lcm_session_has_layer - is it one of its layers? */
bool lcm_session_has_layer(const struct lcm_session *s, int64_t id);
/** lcm_session_meter - what the mount has cost, as a new JSON object. */
json_t *lcm_session_meter(const struct lcm_session *s);
/** lcm_session_carried - what of its weight and limits is to be on its containers' cgroups now, by
 * each of LCM_CARRY_*; 0: nothing. */
void lcm_session_carried(const struct lcm_session *s, uint64_t want[LCM_CARRY_MAX]);
/** lcm_session_set_meter - its weight and limits, as doc/control-api.md has them; at once, and all
 * or nothing. Return: 0, -EINVAL (text). */
LCM_MUST_USE int lcm_session_set_meter(struct lcm_session *s, const json_t *args,
				       struct lcm_err *err);
#define LCM_DEADLINE_MS_MAX 1000000000000ULL /* 31 years */
/** lcm_session_set_deadline - "deadline_ms" and "at_deadline" of @args, each may be absent; who
 * waits already obeys at once. Return: 0, -EINVAL (text), -errno (it holds, and is not recorded).
 */
LCM_MUST_USE int lcm_session_set_deadline(struct lcm_session *s, const json_t *args,
					  struct lcm_err *err);
/** lcm_at_deadline_parse - "eio" or "freeze". Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_at_deadline_parse(const char *name, bool *ret_freeze);
#define LCM_STATUS_HOLDERS (1U << 0) /* look for processes that hold bound files (slow) */
#define LCM_STATUS_DETAIL (1U << 1)  /* each layer, and what was waited for longest */
/** lcm_session_status - a new JSON object; NULL: out of memory. @with: LCM_STATUS_*. */
json_t *lcm_session_status(struct lcm_session *s, unsigned int with);
/** lcm_session_config - the image's config as served; borrowed; "" while unknown. */
const char *lcm_session_config(const struct lcm_session *s);
/** lcm_session_config_text - the same as it was read (lcm_image_config_text()). */
const char *lcm_session_config_text(const struct lcm_session *s);
/** lcm_session_manifest - the same of its manifest for this platform. */
const char *lcm_session_manifest(const struct lcm_session *s);

/* Whoever waits for a session is called at each change, and with gone=true when it ends. */
struct lcm_session_watch {
	struct lcm_session_watch *next; /* owned by the session's list */
	/* May unwatch itself. @s is NULL when the daemon ends (watches of all sessions only). */
	void (*changed)(void *arg, struct lcm_session *s, bool gone);
	void *arg;
};
void lcm_session_watch(struct lcm_session *s, struct lcm_session_watch *w);
void lcm_session_unwatch(struct lcm_session *s, struct lcm_session_watch *w);
void lcm_session_watch_all(struct lcm_host *h, struct lcm_session_watch *w);
void lcm_session_unwatch_all(struct lcm_host *h, struct lcm_session_watch *w);

/* ---- drop.c ---- */
struct lcm_drop_result {
	uint64_t layers, in_use,
	    bytes; /* dropped, kept because something uses them, unpacked bytes freed */
};
/**
 * lcm_drop_cache - remove layers that nothing uses
 * @image: "": every image's
 * @all:   also their tables of contents and, without @image, manifests and configs
 */
LCM_MUST_USE int lcm_drop_cache(struct lcm_host *h, const char *image, bool all,
				struct lcm_drop_result *ret, struct lcm_err *err);
/** lcm_drop_image - forget @image, with those of its layers that no other image has and nothing
 * uses; while something uses one, the image stays. @ret: counts on. Return: 0, also when there is
 * no such image; -errno. */
LCM_MUST_USE int lcm_drop_image(struct lcm_host *h, const char *image, struct lcm_drop_result *ret,
				struct lcm_err *err);

#endif
