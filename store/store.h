/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the state directory: metadata in SQLite, files beside it.
 *
 * Layer: store. Layout below the root (0700, one file system):
 *   locum.db           SQLite (WAL), the only judge of what is whole
 *   real/<layer id>/   unpacked layers; the data-only lower and the plain layout's lowers
 *   blobs/<layer id>   sparse blob files of layers in progress, blobs/<layer id>.map
 *   toc/<layer id>     TOC files (image/toc.h)
 *   meta/<hex>         EROFS images of merged trees
 *   tmp/               whatever is being written; emptied at open
 *   containers/<id>/   upper, work of one mount
 * A file or directory that no row names is garbage from a crash and is removed at open.
 *
 * Crash order: files are written and synced before the row that names them is
 * committed; a row is deleted before its files are.
 * Threads: one owner (loop or main) unless a function says otherwise.
 */
#ifndef LCM_STORE_H
#define LCM_STORE_H

#include "src/base/digest.h"

struct lcm_store;

/**
 * lcm_store_open - open or create the state directory and take its lock
 * Return: 0; -EBUSY (another daemon holds it; text names its pid); -EPROTONOSUPPORT (newer schema); -EUCLEAN (damaged db; text says what to do); -errno.
 */
LCM_MUST_USE int lcm_store_open(const char *root, struct lcm_store **ret, struct lcm_err *err);
void lcm_store_close(struct lcm_store *s);
static inline void lcm_store_free(struct lcm_store *s)
{
	lcm_store_close(s);
}
LCM_DEFINE_AUTO(lcm_store)

/* Directory descriptors, borrowed until close; may be used by any thread. */
int lcm_store_root_fd(const struct lcm_store *s);
int lcm_store_real_fd(const struct lcm_store *s);
int lcm_store_blobs_fd(const struct lcm_store *s);
int lcm_store_toc_fd(const struct lcm_store *s);
int lcm_store_meta_fd(const struct lcm_store *s);
int lcm_store_tmp_fd(const struct lcm_store *s);
int lcm_store_containers_fd(const struct lcm_store *s);
const char *lcm_store_root(const struct lcm_store *s); /* absolute path */

/* ---- layers ---- */
enum lcm_layer_state {
	LCM_LAYER_PARTIAL, /* real/<id> grows; nothing about it is proven yet */
	LCM_LAYER_COMPLETE, /* blob digest and diffID proven, real/<id> whole and synced */
};

/*
 * A layer in progress is known by (diffid, blob, source): what an image claims of a
 * diffID is not proven until the layer is complete, so only complete layers are
 * shared by diffID alone.
 */
struct lcm_layer_key {
	struct lcm_digest diffid, blob, source; /* source: the TOC's digest, zero for plain layers */
};

struct lcm_layer_row {
	int64_t id; /* > 0; names the directories; never reused */
	struct lcm_layer_key key;
	enum lcm_layer_state state;
	bool has_toc; /* toc/<id> is whole */
	uint64_t blob_size; /* bytes */
	uint64_t real_bytes; /* bytes unpacked, 0 while partial */
	uint64_t last_used_ns; /* CLOCK_REALTIME */
};

/** lcm_store_layer_find - a complete layer of this diffID, else a partial one with the whole key. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_layer_find(struct lcm_store *s, const struct lcm_layer_key *key, struct lcm_layer_row *ret);
LCM_MUST_USE int lcm_store_layer_get(struct lcm_store *s, int64_t id, struct lcm_layer_row *ret);
/** lcm_store_layer_add - a new partial layer and its empty real/<id>. */
LCM_MUST_USE int lcm_store_layer_add(struct lcm_store *s, const struct lcm_layer_key *key, uint64_t blob_size, struct lcm_layer_row *ret, struct lcm_err *err);
LCM_MUST_USE int lcm_store_layer_set_toc(struct lcm_store *s, int64_t id);
/** lcm_store_layer_complete - the caller has synced real/<id>; the blob file is removed, the TOC kept. */
LCM_MUST_USE int lcm_store_layer_complete(struct lcm_store *s, int64_t id, uint64_t real_bytes);
/** lcm_store_layer_drop - delete the row, then blob, map, real; the TOC too unless @keep_toc. Refuses (-EBUSY) when an existing mount row uses it. */
LCM_MUST_USE int lcm_store_layer_drop(struct lcm_store *s, int64_t id, bool keep_toc, struct lcm_err *err);

/* ---- images: a reference and what it resolved to ---- */
struct lcm_image_row {
	char *ref; /* owned; canonical reference */
	struct lcm_digest manifest;
	char *manifest_json, *config_json; /* owned; bytes as served */
	size_t manifest_len, config_len;
	uint64_t created_ns, last_used_ns;
};
void lcm_image_row_fini(struct lcm_image_row *row);
/** lcm_store_image_put - insert or replace; durable on return. */
LCM_MUST_USE int lcm_store_image_put(struct lcm_store *s, const char *ref, const struct lcm_digest *manifest, const void *manifest_json, size_t manifest_len,
				     const void *config_json, size_t config_len, struct lcm_err *err);
LCM_MUST_USE int lcm_store_image_get(struct lcm_store *s, const char *ref, struct lcm_image_row *ret);
/** lcm_store_image_each - rows by reference; @fn returning non-zero stops and is returned. */
LCM_MUST_USE int lcm_store_image_each(struct lcm_store *s, int (*fn)(void *arg, const struct lcm_image_row *row), void *arg);
LCM_MUST_USE int lcm_store_image_remove(struct lcm_store *s, const char *ref);

/* ---- mounts: what exists, so that a killed daemon's leavings are found ---- */
struct lcm_mount_row {
	char id[65]; /* [A-Za-z0-9][A-Za-z0-9_.-]{0,63} */
	char *image, *target; /* owned; reference, absolute mount point */
	bool read_only, keep_upper;
	int64_t *layers; /* owned; bottom first */
	size_t n_layers;
};
void lcm_mount_row_fini(struct lcm_mount_row *row);
LCM_MUST_USE int lcm_store_mount_put(struct lcm_store *s, const struct lcm_mount_row *row, struct lcm_err *err);
LCM_MUST_USE int lcm_store_mount_remove(struct lcm_store *s, const char *id);
LCM_MUST_USE int lcm_store_mount_each(struct lcm_store *s, int (*fn)(void *arg, const struct lcm_mount_row *row), void *arg);

#endif
