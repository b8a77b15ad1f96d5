/* SPDX-License-Identifier: Apache-2.0 */
/* session_priv.h - the inside of a session, for session*.c only. */
#ifndef LCM_SESSION_PRIV_H
#define LCM_SESSION_PRIV_H

#include "meter/limit.h"
#include "src/daemon/meter_policy.h"
#include "src/daemon/session.h"
#include "unit/unit.h"

/* One layer of a session; the arg of its watch and, by slot, of gate callbacks. */
struct slot {
	struct lcm_session *s;
	struct lcm_layer *layer; /* referenced by the image, or by the slot when adopted */
	struct lcm_layer_watch watch;
};

struct lcm_session {
	struct lcm_session *next;
	struct lcm_host *host; /* borrowed */
	uint64_t serial;       /* never reused: names the session in posts from gate threads */
	char id[LCM_ID_MAX + 1];
	char *target;    /* owned; NULL: pull */
	char *image_ref; /* owned; canonical */
	struct lcm_reference ref;
	bool pull, patient, read_only, full, keep, lower, own_target, adopted;
	bool offline;            /* as in the options */
	bool remount;            /* as in the options */
	bool restoring;          /* being made again after a reboot: until it is, its row stays */
	bool back;               /* made again after a reboot, and nobody has asked for it since */
	uint32_t depth;          /* as in the options */
	struct lcm_digest layer; /* as in the options */
	char *home;              /* owned; NULL: containers/ID */
	char *unit_key;          /* owned; the unit that upper and work are in; NULL: none */
	char *unit_pool;         /* owned; where a new one is made; NULL: the only one */
	uint64_t unit_size;
	bool unit_new;       /* it is made for this mount, and goes with it unless kept */
	bool unit_fresh;     /* as in the options */
	char unit[LCM_UUID]; /* attached for this mount; "": none (yet) */
	char unit_name[LCM_UNIT_NAME];
	char *above; /* owned; n_above directories, each with its NUL */
	uint32_t n_above;
	bool whole;      /* still preparing, it waits for whole layers */
	bool all_pulled; /* of all of them the pull was begun */
	struct lcm_gate_big big;
	uint64_t deadline_ns;        /* of readers; 0: never */
	bool freeze;                 /* at the deadline the containers freeze; else EIO */
	bool freezing;               /* a job does it */
	struct lcm_frozen *frozen;   /* owned; NULL: they are not */
	struct lcm_err freeze_error; /* why not, at the last try */
	uint64_t t_came;             /* when something last came, or they were thawed; ns */
	enum lcm_phase phase;
	struct lcm_err error;          /* why FAILED */
	struct lcm_image *image;       /* owned; NULL once adopted */
	struct lcm_lif *lif;           /* owned reference; who pays */
	struct lcm_limits limits;      /* of what it may use */
	int reject_error;              /* what rejected requests are told: EAGAIN or EIO */
	enum lcm_admission admission;  /* by its own limits */
	struct lcm_meter_class *class; /* borrowed, of the host; NULL: none */
	uint32_t own_weight;           /* 0: its class's */
	struct lcm_timer *readmit;     /* owned */
	struct slot *slots;            /* owned, n_slots */
	uint32_t n_slots;
	struct lcm_gate
	    *_Atomic gate; /* owned; NULL once native or never lazy; set by the mount job */
	struct lcm_gate *_Atomic late_gate; /* owned; native, but who had looked into REAL too early
					       may still ask */
	int kept_fuse, kept_record;         /* owned; of a gate to be taken over; -EBADF: none */
	_Atomic bool kept;                  /* somebody else has the gate's descriptors, too */
	_Atomic uint32_t kept_in;           /* lcm_keep_generation() when they were put */
	struct lcm_gate_stats last;         /* of the gate, kept when it is closed */
	const void *job;                    /* in the pool now */
	bool closing;                       /* free when the job comes back */
	bool leaving;             /* the daemon ends: as closing, but everything stays as it is */
	bool close_remove;        /* and remove the upper */
	struct lcm_timer *expire; /* owned; waiters' deadlines */
	struct lcm_timer *shrink; /* owned; asks the kernel to let go of big files, then ends the
				     late gate */
	uint64_t shrink_ns;
	uint64_t t_request, t_mounted, t_local, t_native; /* CLOCK_MONOTONIC ns; 0: not yet */
	uint64_t demand_files0, demand_bytes0; /* the layers' counters when this mount began */
	struct lcm_session_watch *watches;
};

void session_changed(struct lcm_session *s);
/** session_meter_begin - from the options. Return: 0, -EINVAL (text), -ENOMEM. */
LCM_MUST_USE int session_meter_begin(struct lcm_session *s, const struct lcm_session_options *o,
				     struct lcm_err *err);
/** session_meter_apply - its class, or its own policy, has changed. */
void session_meter_apply(struct lcm_session *s);
/** session_admission - by its limits and those of its class: whoever is in one is held by both. */
enum lcm_admission session_admission(const struct lcm_session *s);
/** session_regulate_gate - the gate does what its limits and those of its class say. */
void session_regulate_gate(struct lcm_session *s);
/** session_meter_save - what it has of its own is kept for the next daemon; _load takes it,
 * _forget removes it. */
void session_meter_save(const struct lcm_session *s);
void session_meter_load(struct lcm_session *s);
void session_meter_forget(const struct lcm_session *s);
void session_set_phase(struct lcm_session *s, enum lcm_phase phase);
void session_fail(struct lcm_session *s, int status, const struct lcm_err *why);
/** session_advance - look at the layers and do what is due. */
void session_advance(struct lcm_session *s);
void session_destroy(struct lcm_session *s);
/** session_job_back - the pool job has ended. Return: the session was closed meanwhile and is gone.
 */
bool session_job_back(struct lcm_session *s);
/** session_set_unit - from the options. Return: 0, -EINVAL (text), -ENOMEM. */
LCM_MUST_USE int session_set_unit(struct lcm_session *s, const struct lcm_session_options *o,
				  struct lcm_err *err);
/** session_open_unit - make it if it is to be made, attach it. Thread: pool. @ret_unit: for
 * session_set_attached(), also when what follows fails. Return: a descriptor of its directory,
 * -errno (text). */
LCM_MUST_USE int session_open_unit(struct lcm_session *s, struct lcm_unit *ret_unit,
				   struct lcm_err *err);
void session_set_attached(struct lcm_session *s, const struct lcm_unit *unit);
/** session_leave_unit - a job detaches it; the session is closing. Return: false: there is none. */
bool session_leave_unit(struct lcm_session *s, bool remove);
/** session_recover_units - after mounts were adopted, before the rows of others go: who has which
 * unit; those of mounts that are gone are detached. */
void session_recover_units(struct lcm_host *h);
/** session_check_target - can it be mounted there? Return: 0; -EBUSY, -ENOTEMPTY, -ENOENT, ...
 * (text). */
LCM_MUST_USE int session_check_target(struct lcm_host *h, const char *target, struct lcm_err *err);
struct lcm_session *session_by_serial(struct lcm_host *h, uint64_t serial);

/** session_alloc - an empty session of @h, not in its list yet. */
LCM_MUST_USE int session_alloc(struct lcm_host *h, struct lcm_session **ret);
LCM_MUST_USE int session_make_slots(struct lcm_session *s, uint32_t n);
/** session_fill_slot - layer @i, bottom first; the reference stays with whoever holds it. */
void session_fill_slot(struct lcm_session *s, uint32_t i, struct lcm_layer *l);
void session_watch_and_prepare(struct lcm_session *s);
void session_pull_layers(struct lcm_session *s, bool urgent);
/** session_unmounted - somebody else has unmounted it: it is closed as it was made. */
void session_unmounted(struct lcm_session *s);
/** session_remove_container - row, own mount point and, if @upper, what the container wrote. */
void session_remove_container(struct lcm_session *s, bool upper);

/* session_layer.c */
/** session_is_layer - is it a mount of one layer alone? */
static inline bool session_is_layer(const struct lcm_session *s)
{
	return !lcm_digest_is_zero(&s->layer);
}
/** session_fill_slots - the layers of @img that it is a mount of. Return: 0; -ENOENT (the image
 * does not have the one; text); -ENOMEM. */
LCM_MUST_USE int session_fill_slots(struct lcm_session *s, struct lcm_image *img,
				    struct lcm_err *err);
/** session_check_layer - it is mounted: does this kernel show the next overlay what the layer
 * hides? If not it is unmounted again. Return: 0, -EOPNOTSUPP (text). Thread: pool. */
LCM_MUST_USE int session_check_layer(const struct lcm_session *s, struct lcm_err *err);
/** session_advance_layer - its layer is READY or LOCAL: mount it, or fail. */
void session_advance_layer(struct lcm_session *s);

/* session_offline.c */
/** session_all_known - can all its layers be prepared without a registry? Return: 0; -ENODATA (text
 * names the first that cannot). */
LCM_MUST_USE int session_all_known(struct lcm_session *s, struct lcm_err *err);
/** session_fail_offline - it needs a whole layer that is not here. */
void session_fail_offline(struct lcm_session *s);
/** session_refuses - is this file one that could only come from a registry, which the mount does
 * not ask? Its status says so then. */
bool session_refuses(struct lcm_session *s, struct lcm_layer *l, uint32_t entry);

/* session_recover.c */
/** session_put_row - record the mount, durably. */
LCM_MUST_USE int session_put_row(struct lcm_session *s, struct lcm_err *err);
/** session_restored - it is mounted: if that was because of a reboot, its row says so now. */
void session_restored(struct lcm_session *s);

/* session_meter.c */
/** session_meter_init - what is charged to it is held against its limits. Return: 0, -ENOMEM. */
LCM_MUST_USE int session_meter_init(struct lcm_session *s);
void session_meter_fini(struct lcm_session *s);
/** session_slowest - a new JSON array. */
json_t *session_slowest(const struct lcm_session *s);
/** session_regulate - bring the gate in line with the limits. */
void session_regulate(struct lcm_session *s);

/* session_stall.c */
/** session_stall_look - freeze or thaw the containers, as is due at @now_ns. Return: ns until the
 * next look. */
uint64_t session_stall_look(struct lcm_session *s, uint64_t now_ns);
/** session_came - a file or range has come (0), or will not (-errno). */
void session_came(struct lcm_session *s, int status);
/** session_apply_deadline - the policy, or the gate, is new. */
void session_apply_deadline(struct lcm_session *s);
void session_thaw(struct lcm_session *s);
/** session_stall_json - the policy, and what it has done, into the status @o. */
void session_stall_json(const struct lcm_session *s, json_t *o);

/* session_take.c */
/** session_keep_gate - have the gate's descriptors kept. Thread: any. */
void session_keep_gate(struct lcm_session *s);
/** session_keep_again - if whoever kept them is gone: by whoever does now. */
void session_keep_again(struct lcm_session *s);
/** session_unkeep_gate - the gate ends, or is given up: no daemon is to go on with it. */
void session_unkeep_gate(struct lcm_session *s);
/** session_take_gate - go on with the gate of an earlier daemon; every layer has its table. */
void session_take_gate(struct lcm_session *s);

/* session_mount.c */
/** session_serve - the gate is served: deadlines and pulls begin. */
void session_serve(struct lcm_session *s);
/** session_mount_start - run the mount job; @lazy: META::REAL::GATE, else the plain layout. */
void session_mount_start(struct lcm_session *s, bool lazy);

/* session_gate.c */
/** session_gate_config - @ret_layers: owned by the caller while the gate is made. */
LCM_MUST_USE int session_gate_config(struct lcm_session *s, struct lcm_gate_layer **ret_layers,
				     struct lcm_gate_config *ret);
/** session_begin_drain - everything is local and proven: LAZY -> DRAINING -> NATIVE. */
void session_begin_drain(struct lcm_session *s);
/** session_drain - one more try to have the kernel let go of the gate. */
void session_drain(struct lcm_session *s);
/** session_end_late - nobody asks the late gate any more. */
void session_end_late(struct lcm_session *s);
/** session_users - "PID NAME, PID NAME" of processes with something open, mapped, as cwd or root in
 * @dir. Return: how many. */
size_t session_users(const char *dir, char *out, size_t size);
char *session_source(const struct lcm_session *s, char out[80]);

#endif
