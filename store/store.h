/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the state directory: metadata in SQLite, files beside it.
 *
 * Layer: store. Layout below the root (0700, one file system):
 *   locum.db           SQLite (WAL), the only judge of what is whole
 *   lock               flock(2)ed by the owner, holds its pid
 *   real/<layer id>/   unpacked layers; the data-only lower and the plain layout's lowers
 *   blobs/<layer id>   sparse blob files of layers in progress, blobs/<layer id>.map
 *   toc/<layer id>     TOC files (image/toc.h)
 *   meter/<mount>.json its own weight, limits and class (src/daemon/session_meter.c)
 *   seals/<layer id>   what real/<layer id> is, to compare it with (overlay/seal.h)
 *   meta/<hex>         EROFS images of merged trees
 *   tmp/               whatever is being written; emptied at open
 *   containers/<id>/   upper, work of one mount
 *   snapshots/<id>/    upper, work of one of containerd's snapshots (store/snapshot.h)
 * A file or directory that no row names is garbage from a crash: open moves it to
 * tmp/.trash, lcm_store_sweep() removes it. META files have no rows and always go.
 * containers/<id> without a row goes when its upper is empty; otherwise it holds somebody's
 * writes (a kept upper) and stays.
 *
 * Crash order: files are written and synced before the row that names them is
 * committed; a row is deleted before its files are.
 * Partial layers go on after a restart: row, TOC, blob and map stay; real/<id> stays when
 * there is a TOC (each file was verified before its rename). What was never synced is not
 * trusted after a reboot: a TOC and a map have checksums, the files of a partial layer are
 * unsynced, and to be compared with the TOC before they are used; without a TOC they go.
 * Threads: one owner (loop or main) unless a function says otherwise.
 */
#ifndef LCM_STORE_H
#define LCM_STORE_H

#include "src/base/digest.h"

struct lcm_store;

/**
 * lcm_store_open - open or create the state directory and take its lock
 *
 * The directory is made 0700; one that belongs to somebody else or that others can write is refused
 * (-EPERM). Return: 0; -EBUSY (another daemon holds it; text names its pid); -EPROTONOSUPPORT
 * (newer schema); -EUCLEAN (damaged db; text says what to do, nothing was touched); -EXDEV (a
 * subdirectory is another file system); -errno. Complexity: O(rows + names in the directories), no
 * tree is walked.
 */
LCM_MUST_USE int lcm_store_open(const char *root, struct lcm_store **ret, struct lcm_err *err);
void lcm_store_close(struct lcm_store *s);
static inline void lcm_store_free(struct lcm_store *s)
{
	lcm_store_close(s);
}
LCM_DEFINE_AUTO(lcm_store)

/** lcm_store_sweep - remove what is in the trash. May take long: run it on a pool thread after open
 * and after drops; before lcm_store_close(). Return: 0; -errno of the first thing that would not go
 * (the rest is removed, the next sweep tries again). Thread: any, one at a time. */
LCM_MUST_USE int lcm_store_sweep(struct lcm_store *s);
/**
 * lcm_store_begin - gather the writes that follow into one durable commit (one fsync) at
 * lcm_store_end()
 *
 * May nest. A call in between that fails undoes only itself. Callers that must know a row is
 * durable wait for the end.
 */
LCM_MUST_USE int lcm_store_begin(struct lcm_store *s);
/** lcm_store_end - commit when @status is 0, else undo all since lcm_store_begin(). Return:
 * @status, or why the commit failed. */
LCM_MUST_USE int lcm_store_end(struct lcm_store *s, int status);

struct lcm_store_totals {
	uint64_t layers, layers_complete;
	uint64_t real_bytes; /* unpacked, of complete layers */
	uint64_t blob_bytes; /* full sizes of the partial layers' blobs */
	uint64_t images, mounts;
};
LCM_MUST_USE int lcm_store_totals(struct lcm_store *s, struct lcm_store_totals *ret);

/* Directory descriptors, borrowed until close; may be used by any thread. */
int lcm_store_root_fd(const struct lcm_store *s);
int lcm_store_real_fd(const struct lcm_store *s);
int lcm_store_blobs_fd(const struct lcm_store *s);
int lcm_store_toc_fd(const struct lcm_store *s);
int lcm_store_seals_fd(const struct lcm_store *s);
int lcm_store_meter_fd(const struct lcm_store *s);
int lcm_store_meta_fd(const struct lcm_store *s);
int lcm_store_tmp_fd(const struct lcm_store *s);
int lcm_store_containers_fd(const struct lcm_store *s);
const char *lcm_store_root(const struct lcm_store *s); /* absolute path */

/* ---- layers ---- */
enum lcm_layer_state {
	LCM_LAYER_PARTIAL,  /* real/<id> grows; nothing about it is proven yet */
	LCM_LAYER_COMPLETE, /* blob digest and diffID proven, real/<id> whole and synced */
	LCM_LAYER_PROVEN,   /* proven and whole, not synced yet: as good as complete until a reboot,
			       and   after it when there is a seal */
};

/*
 * A layer in progress is known by (diffid, blob, source): what an image claims of a diffID is not
 * proven until the layer is complete, so only complete layers are shared whatever the source. Never
 * by diffID alone: who made the tree from the blob was a process that the blob may have taken over,
 * and that must cost no image that names another blob.
 */
struct lcm_layer_key {
	struct lcm_digest diffid, blob,
	    source; /* source: the TOC's digest, zero for plain layers */
};

struct lcm_layer_row {
	int64_t id; /* > 0; names the directories; never reused */
	struct lcm_layer_key key;
	enum lcm_layer_state state;
	bool has_toc;  /* toc/<id> is whole */
	bool unsynced; /* partial, and what is in real/<id> has seen a reboot: it may be torn */
	uint64_t blob_size;    /* bytes */
	uint64_t real_bytes;   /* bytes unpacked, 0 while partial */
	uint64_t last_used_ns; /* CLOCK_REALTIME */
	bool damaged;          /* lcm_store_layer_damage() was called */
};

/** lcm_store_layer_find - a complete layer of this diffID and blob, else a partial one with the
 * whole key. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_layer_find(struct lcm_store *s, const struct lcm_layer_key *key,
				      struct lcm_layer_row *ret);
LCM_MUST_USE int lcm_store_layer_get(struct lcm_store *s, int64_t id, struct lcm_layer_row *ret);
/** lcm_store_layer_add - a new partial layer and its empty real/<id>. */
LCM_MUST_USE int lcm_store_layer_add(struct lcm_store *s, const struct lcm_layer_key *key,
				     uint64_t blob_size, struct lcm_layer_row *ret,
				     struct lcm_err *err);
/** lcm_store_layer_each - rows by id; @fn may change the store; non-zero stops and is returned. */
LCM_MUST_USE int lcm_store_layer_each(struct lcm_store *s,
				      int (*fn)(void *arg, const struct lcm_layer_row *row),
				      void *arg);
/** lcm_store_layer_touch - it is used now (lcm_store_mount_put() does this for its layers and its
 * image). */
LCM_MUST_USE int lcm_store_layer_touch(struct lcm_store *s, int64_t id);
/** lcm_store_layer_user - id of a mount that uses the layer. Return: 1, 0 (none), -errno. */
LCM_MUST_USE int lcm_store_layer_user(struct lcm_store *s, int64_t id, char ret_mount[65]);
/** lcm_store_layer_set_toc - toc/<id> is written; it need not be synced. Return: 0; -ENOENT (no
 * such layer or file); -errno. */
LCM_MUST_USE int lcm_store_layer_set_toc(struct lcm_store *s, int64_t id);
/** lcm_store_layer_checked - what is in real/<id> has been compared with its TOC: it is not
 * unsynced any more. Return: 0; -ENOENT; -errno. */
LCM_MUST_USE int lcm_store_layer_checked(struct lcm_store *s, int64_t id);
/** lcm_store_layer_prove - both digests are proven and real/<id> is whole: it may be mounted, also
 * by the next daemon of this boot. lcm_store_layer_complete() follows once it is synced. */
LCM_MUST_USE int lcm_store_layer_prove(struct lcm_store *s, int64_t id, uint64_t real_bytes);
/** lcm_store_layer_complete - the caller has synced real/<id> and toc/<id> (syncfs); the blob file
 * and its map are removed, the TOC kept. */
LCM_MUST_USE int lcm_store_layer_complete(struct lcm_store *s, int64_t id, uint64_t real_bytes);
/** lcm_store_layer_damage - a layer that is not PARTIAL is not what it was: lcm_store_layer_find()
 * does not give it any more, whoever has it keeps it. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_layer_damage(struct lcm_store *s, int64_t id);
/** lcm_store_layer_drop - delete the row, then blob, map, real; the TOC too unless @keep_toc.
 * Refuses (-EBUSY) when an existing mount row uses it. Files only move to the trash: their space
 * comes back with lcm_store_sweep(). */
LCM_MUST_USE int lcm_store_layer_drop(struct lcm_store *s, int64_t id, bool keep_toc,
				      struct lcm_err *err);

/**
 * lcm_store_toc_find - a TOC kept from a dropped layer
 * @ret_id: the file's name below lcm_store_toc_fd(); link or copy it to the new layer's name
 *
 * A kept TOC of a layer that was complete counts whatever the key's source (it was proven), any
 * other for the whole key only. Return: 0, -ENOENT, -errno.
 */
LCM_MUST_USE int lcm_store_toc_find(struct lcm_store *s, const struct lcm_layer_key *key,
				    int64_t *ret_id);
/** lcm_store_toc_drop - forget and remove a kept TOC. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_toc_drop(struct lcm_store *s, int64_t id);

/* ---- images: a reference and what it resolved to ---- */
struct lcm_image_row {
	char *ref; /* owned; canonical reference */
	struct lcm_digest manifest;
	char *manifest_json, *config_json; /* owned; bytes as served */
	size_t manifest_len, config_len;
	char *manifest_text, *config_text; /* owned; the same as an isolated function read them, in
					      text of our own; "": it has not yet */
	uint64_t created_ns, last_used_ns;
};
void lcm_image_row_fini(struct lcm_image_row *row);
/** lcm_store_image_put - insert or replace; durable on return. Times are made here; a NULL is "".
 */
LCM_MUST_USE int lcm_store_image_put(struct lcm_store *s, const struct lcm_image_row *row,
				     struct lcm_err *err);
/** lcm_store_image_read - note what a function has read of it. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_image_read(struct lcm_store *s, const char *ref,
				      const char *manifest_text, const char *config_text);
/** lcm_store_image_get - Return: 0 (*ret to be given to lcm_image_row_fini()), -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_image_get(struct lcm_store *s, const char *ref,
				     struct lcm_image_row *ret);
/** lcm_store_image_each - rows by reference; @fn returning non-zero stops and is returned. */
LCM_MUST_USE int lcm_store_image_each(struct lcm_store *s,
				      int (*fn)(void *arg, const struct lcm_image_row *row),
				      void *arg);
/** lcm_store_image_unread_each - of those alone of which lcm_store_image_read() is still to be
 * said.
 */
LCM_MUST_USE int lcm_store_image_unread_each(struct lcm_store *s,
					     int (*fn)(void *arg, const struct lcm_image_row *row),
					     void *arg);
/** lcm_store_image_remove - the row only; its layers stay until they are dropped. Return: 0,
 * -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_image_remove(struct lcm_store *s, const char *ref);
LCM_MUST_USE int lcm_store_image_touch(struct lcm_store *s, const char *ref);
/** lcm_store_image_set_layers - which layers the image has, bottom first; replaces what was said
 * before. Return: 0, -ENOENT (image or layer), -errno. */
LCM_MUST_USE int lcm_store_image_set_layers(struct lcm_store *s, const char *ref,
					    const int64_t *layers, size_t n);
/** lcm_store_image_layers - the list again, without layers dropped since. *ret is free(3)d by the
 * caller (NULL when empty). Return: 0, -errno. */
LCM_MUST_USE int lcm_store_image_layers(struct lcm_store *s, const char *ref, int64_t **ret,
					size_t *ret_n);

/* ---- mounts: what exists, so that a killed daemon's leavings are found ---- */
struct lcm_mount_row {
	char id[65];          /* [A-Za-z0-9][A-Za-z0-9_.-]{0,63} */
	char *image, *target; /* owned; reference, absolute mount point */
	bool read_only, keep_upper;
	bool remount;  /* after a reboot it is mounted again */
	bool rebooted; /* that is due: it was mounted in another boot. Of no meaning to put() */
	bool offline;
	char
	    *unit; /* owned; the storage unit it writes into, as it was asked for; NULL, "": none */
	uint64_t deadline_ns, big_data_bytes, big_exec_bytes;
	bool freeze;     /* what happens at the deadline */
	int64_t *layers; /* owned; bottom first */
	size_t n_layers;
};
void lcm_mount_row_fini(struct lcm_mount_row *row);
/** lcm_store_mount_put - insert or replace. Return: 0; -EINVAL (id, target); -ENOENT (a layer that
 * is not there); -errno. */
LCM_MUST_USE int lcm_store_mount_put(struct lcm_store *s, const struct lcm_mount_row *row,
				     struct lcm_err *err);
/** lcm_store_mount_get - Return: 0 (*ret to be given to lcm_mount_row_fini()), -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_mount_get(struct lcm_store *s, const char *id,
				     struct lcm_mount_row *ret);
/**
 * lcm_store_mount_remove - move containers/<id> to the trash, unless the row says keep_upper, and
 * delete the row
 *
 * Nothing may be mounted below containers/<id> any more. Return: 0, -ENOENT, -errno.
 */
LCM_MUST_USE int lcm_store_mount_remove(struct lcm_store *s, const char *id);
LCM_MUST_USE int lcm_store_mount_each(struct lcm_store *s,
				      int (*fn)(void *arg, const struct lcm_mount_row *row),
				      void *arg);

#endif
