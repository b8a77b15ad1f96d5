/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit.h - storage units: one for each container or VM, never shared.
 *
 * Layer: unit. A *pool* is a directory on some file system; a *unit* is one object of a pool that
 * holds all that one owner has: the upper and work directories of its overlay, configuration and
 * runtime state, console log, for a VM also its disk, NVRAM and memory image. The map from owner to
 * unit is one to one. On the disk:
 *
 *   ROOT/units.db          SQLite (WAL): pools, units, snapshots, and what was begun with them
 *   POOL/pool.json         which pool this is
 *   POOL/ID/unit.json      whose unit this is
 *   POOL/ID/data           the unit itself: a file with a file system, or a btrfs subvolume
 *   POOL/ID/snap/NAME      its snapshots, of the same kind
 *   POOL/.tmp/ID           a unit being made; POOL/.trash/ID: one being deleted
 *
 * and inside a unit: .locum-unit (whose it is, once more), upper/, work/, and by name config.json,
 * state/, console.log, disk, nvram, memory.
 *
 * Every verb first writes to the database what it is about to do, under a lock that the kernel
 * drops with its process; a verb that finds such a note and no lock undoes or finishes it. So
 * SIGKILL at any point leaves a unit as it was or as it was to be, and no verb needs the daemon.
 *
 * A "key" names a unit: its name, its id, or its owner's id.
 * Threads: a struct lcm_units is one thread's; any number of processes and threads may have one
 * each.
 */
#ifndef LCM_UNIT_H
#define LCM_UNIT_H

#include "src/base/err.h"

#define LCM_UUID 37       /* 36 and a NUL, lower case */
#define LCM_UNIT_NAME 65  /* names of pools, units, snapshots: letters, digits, _.-, 64 at most */
#define LCM_UNIT_PATH 512 /* paths of pools */
#define LCM_UNIT_SIZE_MIN (16ULL << 20) /* mkfs.ext4 takes no less than this with a journal */
#define LCM_UNIT_SIZE_MAX (64ULL << 40)

struct lcm_units;
/**
 * lcm_units_open - the database of @root, made when missing (0700)
 * @run_dir: units are attached below it, at RUN/u/ID
 * Return: 0; -EPROTONOSUPPORT (newer schema); -EUCLEAN (damaged; nothing was changed); -EPERM (not
 * root); -errno.
 */
LCM_MUST_USE int lcm_units_open(const char *root, const char *run_dir, struct lcm_units **ret,
				struct lcm_err *err);
void lcm_units_free(struct lcm_units *u);
LCM_DEFINE_AUTO(lcm_units)

/* ---- pools ---- */

enum lcm_unit_backend {
	LCM_UNIT_IMAGE,  /* a file with xfs or ext4, through a loop device with direct I/O */
	LCM_UNIT_SUBVOL, /* a btrfs subvolume with a qgroup */
	LCM_UNIT_DIR,    /* a directory with a project quota */
	LCM_UNIT_BACKEND_MAX,
};
const char *lcm_unit_backend_name(enum lcm_unit_backend b);
/** lcm_unit_backend_parse - "image", "subvol", "dir". Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_unit_backend_parse(const char *s, enum lcm_unit_backend *ret);

struct lcm_pool {
	char name[LCM_UNIT_NAME], id[LCM_UUID], path[LCM_UNIT_PATH];
	enum lcm_unit_backend backend;
	uint64_t floor; /* bytes of its file system that are never given to units */
	bool thin;      /* more may be promised than there is; only by somebody's decision */
};

struct lcm_pool_options {
	const char *name, *path;
	const char *backend; /* NULL: subvol where it works, else image */
	uint64_t floor;
	bool thin;
};
/** lcm_pool_add - take an existing, empty directory as a pool. Return: 0; -EEXIST (name or path);
 * -ENOTEMPTY; -ENOTSUP (the backend does not work there: the text says why); -errno. */
LCM_MUST_USE int lcm_pool_add(struct lcm_units *u, const struct lcm_pool_options *o,
			      struct lcm_pool *ret, struct lcm_err *err);
/**
 * lcm_pool_adopt - take a directory that is a pool already, with its units and their snapshots:
 * another host's, or one whose database was lost
 * @o: backend is what the pool says
 * @fn: one sentence for each unit that is not taken: its owner or its id is here already, or its
 * files do not say whose it is
 * Return: how many units were taken; -ENOENT (no pool there); -EEXIST; -EUCLEAN; -errno.
 */
LCM_MUST_USE int lcm_pool_adopt(struct lcm_units *u, const struct lcm_pool_options *o,
				void (*fn)(void *arg, const char *what), void *arg,
				struct lcm_pool *ret, struct lcm_err *err);
/** lcm_pool_remove - forget a pool without units. Return: 0, -ENOENT, -ENOTEMPTY. */
LCM_MUST_USE int lcm_pool_remove(struct lcm_units *u, const char *name, struct lcm_err *err);
/** lcm_pool_get - @name NULL: the only one there is. Return: 0, -ENOENT, -EINVAL (several). */
LCM_MUST_USE int lcm_pool_get(struct lcm_units *u, const char *name, struct lcm_pool *ret,
			      struct lcm_err *err);
/** lcm_pool_each - by name; @fn returning other than 0 stops and is returned. */
LCM_MUST_USE int lcm_pool_each(struct lcm_units *u, int (*fn)(void *arg, const struct lcm_pool *p),
			       void *arg);

struct lcm_pool_space {
	uint64_t size, free; /* of the file system */
	uint64_t promised;   /* what existing units and snapshots may still take of what is free */
	uint64_t available;  /* for new ones: free less promised less the floor; thin: free less the
				floor */
	uint64_t units;
};
LCM_MUST_USE int lcm_pool_space(struct lcm_units *u, const struct lcm_pool *p,
				struct lcm_pool_space *ret, struct lcm_err *err);

/* ---- units ---- */

struct lcm_unit {
	int64_t seq; /* never reused */
	char id[LCM_UUID], owner[LCM_UUID], name[LCM_UNIT_NAME], pool[LCM_UNIT_NAME];
	uint64_t size; /* bytes its owner may use, the file system's own included */
	uint64_t created_ns;
	char op[16];              /* what was begun; "": nothing */
	char user[LCM_UNIT_NAME]; /* the mount that has it; "": none */
	bool attached;            /* at lcm_unit_path() */
};

struct lcm_unit_snap {
	char name[LCM_UNIT_NAME];
	uint64_t size, created_ns;
};

struct lcm_unit_options {
	const char *pool;  /* NULL: the only one */
	const char *owner; /* a UUID; NULL: a new one */
	const char *name;  /* NULL: the unit's id */
	uint64_t size; /* bytes; rounded up to 4096; clones: at least the origin's, 0: the same */
};

/** lcm_unit_create - an empty unit. Return: 0; -EEXIST (the owner has one, or the name is taken);
 * -ENOSPC (the pool's floor would not hold); -EINVAL; -errno. */
LCM_MUST_USE int lcm_unit_create(struct lcm_units *u, const struct lcm_unit_options *o,
				 struct lcm_unit *ret, struct lcm_err *err);
/** lcm_unit_clone - a unit of another owner with what @key, or its snapshot @snap, holds now; by
 * reference, where the pool can. Its pool is the origin's. Return: as lcm_unit_create(); -ENOENT;
 * -EBUSY (attached, and the pool cannot copy a file in one instant). */
LCM_MUST_USE int lcm_unit_clone(struct lcm_units *u, const char *key, const char *snap,
				const struct lcm_unit_options *o, struct lcm_unit *ret,
				struct lcm_err *err);
/** lcm_unit_get - Return: 0, -ENOENT. */
LCM_MUST_USE int lcm_unit_get(struct lcm_units *u, const char *key, struct lcm_unit *ret,
			      struct lcm_err *err);
/** lcm_unit_each - oldest first; @fn may change the units. */
LCM_MUST_USE int lcm_unit_each(struct lcm_units *u, int (*fn)(void *arg, const struct lcm_unit *v),
			       void *arg);
/** lcm_unit_used - bytes of the pool that are this unit's, shared ones included. */
LCM_MUST_USE int lcm_unit_used(struct lcm_units *u, const struct lcm_unit *v, uint64_t *ret,
			       struct lcm_err *err);
/** lcm_unit_resize - make it larger (image with xfs: also while attached), or smaller (ext4, and
 * not below what is used). Return: 0; -ENOSPC; -ENOTSUP (text says why); -EBUSY; -errno. */
LCM_MUST_USE int lcm_unit_resize(struct lcm_units *u, const char *key, uint64_t size,
				 struct lcm_err *err);
/** lcm_unit_delete - with its snapshots. Return: 0, -ENOENT, -EBUSY (attached or in use). */
LCM_MUST_USE int lcm_unit_delete(struct lcm_units *u, const char *key, struct lcm_err *err);

/** lcm_unit_snapshot - keep it as it is now. Attached ones are synced first: it is what a power cut
 * would have left. Return: 0; -EEXIST; -ENOSPC; -EBUSY as lcm_unit_clone(); -errno. */
LCM_MUST_USE int lcm_unit_snapshot(struct lcm_units *u, const char *key, const char *snap,
				   struct lcm_err *err);
LCM_MUST_USE int lcm_unit_snapshot_delete(struct lcm_units *u, const char *key, const char *snap,
					  struct lcm_err *err);
/** lcm_unit_snapshot_each - oldest first. */
LCM_MUST_USE int lcm_unit_snapshot_each(struct lcm_units *u, const struct lcm_unit *v,
					int (*fn)(void *arg, const struct lcm_unit_snap *s),
					void *arg);
/** lcm_unit_rollback - it becomes what it was then; what was written since is gone. Return: 0;
 * -ENOENT; -EBUSY (attached). */
LCM_MUST_USE int lcm_unit_rollback(struct lcm_units *u, const char *key, const char *snap,
				   struct lcm_err *err);

/** lcm_unit_move - into another pool of the same backend, with its snapshots; by reference where
 * both are on one file system that can. Return: 0; -ENOSPC; -ENOTSUP (text); -EBUSY (attached);
 * -EAGAIN (moved, but what it has left is still there: the next verb tries again). */
LCM_MUST_USE int lcm_unit_move(struct lcm_units *u, const char *key, const char *pool,
			       struct lcm_err *err);

/** lcm_unit_path - where it is, or would be, attached: RUN/u/ID; borrowed until the next call. */
const char *lcm_unit_path(struct lcm_units *u, const struct lcm_unit *v);
/** lcm_unit_attach - mount it at lcm_unit_path(). @user: the mount that has it from now on; NULL:
 * nobody in particular. Attached already by the same user: success. Return: 0; -ENOENT; -EBUSY
 * (another user, or another attach in a mount namespace we do not see); -errno. */
LCM_MUST_USE int lcm_unit_attach(struct lcm_units *u, const char *key, const char *user,
				 struct lcm_unit *ret, struct lcm_err *err);
/** lcm_unit_detach - @user: as at lcm_unit_attach(). Not attached: success. Return: 0; -EBUSY. */
LCM_MUST_USE int lcm_unit_detach(struct lcm_units *u, const char *key, const char *user,
				 struct lcm_err *err);

/* ---- streams (unit/frame.h) ---- */

/** lcm_unit_export - write the snapshot @snap to @fd, as one stream. @from: leave out what lies
 * before this offset, for one who has that. Return: 0; -ENOENT; -EPIPE (nobody reads); -errno. */
LCM_MUST_USE int lcm_unit_export(struct lcm_units *u, const char *key, const char *snap,
				 uint64_t from, int fd, struct lcm_err *err);
/**
 * lcm_unit_import - a unit from the stream that @fd gives
 * @o: size is the stream's; owner and name NULL: those of the stream
 * @resume: a unit whose import was interrupted, to go on with; @o is not looked at then
 * Return: 0; -EUCLEAN (a digest does not fit); -EPROTO (no such stream); -ENOTSUP (of another
 * backend); -EIO (the stream ends early): after these two the unit stays to be resumed, and the
 * text says how; otherwise as lcm_unit_create(), and nothing stays. The stream's file system will
 * be mounted by this kernel: only the digests are checked, not who made it.
 */
LCM_MUST_USE int lcm_unit_import(struct lcm_units *u, const struct lcm_unit_options *o, int fd,
				 const char *resume, struct lcm_unit *ret, struct lcm_err *err);

/* ---- checks ---- */

/** lcm_unit_check - look for owners without unit, units of two owners, files of nobody, sizes that
 * are not those of the database. Changes nothing but what was begun and not ended. @deep: also
 * mount each detached unit to read whose it says it is. @fn: one sentence for each thing found.
 * Return: how many; -errno. */
LCM_MUST_USE int lcm_unit_check(struct lcm_units *u, bool deep,
				void (*fn)(void *arg, const char *what), void *arg,
				struct lcm_err *err);
/** lcm_unit_gc - finish or undo what was begun and not ended, remove what belongs to nobody (@fn:
 * its path), tell the pools' devices which blocks are free (FITRIM). Return: 0, -errno. */
LCM_MUST_USE int lcm_unit_gc(struct lcm_units *u, void (*fn)(void *arg, const char *what),
			     void *arg, struct lcm_err *err);

#endif
