/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.h - one layer on its way into REAL, shared by every mount and pull that needs it.
 *
 *          TOC found or fetched,             pull ends,
 *          or plain                          digests proven
 *   NEW --> PREPARING --------> READY ----------------------> LOCAL
 *                  |              | digest or tree wrong
 *                  `-- error ---> FAILED
 *
 * One that the store has whole goes from PREPARING to LOCAL at once.
 *
 * Layer: daemon. Threads: loop, but for lcm_layer_is_local() (any).
 */
#ifndef LCM_LAYER_H
#define LCM_LAYER_H

#include <stdatomic.h>

#include "image/manifest.h"
#include "image/layer_index.h"
#include "image/toc_chunked.h"
#include "overlay/unpack.h"
#include "src/daemon/engine.h"
#include "store/blob.h"

enum lcm_layer_phase {
	LCM_LAYER_NEW,
	LCM_LAYER_PREPARING,
	LCM_LAYER_READY,
	LCM_LAYER_LOCAL,
	LCM_LAYER_FAILED,
};

/* Whoever uses a layer is told of its changes, on the loop. */
struct lcm_layer_watch {
	struct lcm_layer_watch *next; /* owned by the layer's list */
	void (*changed)(void *arg,
			struct lcm_layer *l); /* phase or error; may unwatch itself only */
	void (*file_done)(void *arg, struct lcm_layer *l, uint32_t entry, int status);
	/* @fd is borrowed during the call; @status < 0: nothing to read */
	void (*read_done)(void *arg, uint64_t token, int fd, uint64_t off, uint32_t len,
			  int status);
	void *arg;
	struct lcm_lif *lif; /* borrowed while it watches; who is charged; NULL: nobody */
};

struct lcm_want;
struct span;
struct lcm_pull;
struct lcm_bigfile;

/* Per entry, bits any thread may set. */
#define LCM_ENTRY_LOCAL (1U << 0)  /* the file is in REAL */
#define LCM_ENTRY_WANTED (1U << 1) /* somebody asked for it: tell the loop when it is placed */
#define LCM_ENTRY_QUEUED (1U << 2) /* it has a want (loop only) */

struct lcm_layer {
	struct lcm_layer *next;
	struct lcm_engine *e; /* borrowed */
	uint32_t refs;
	enum lcm_layer_phase phase;
	struct lcm_layer_row row;
	char name[24];            /* row.id as text: the directory below REAL */
	struct lcm_reference ref; /* where its blob is fetched from */
	enum lcm_compression comp;
	enum lcm_fn_toc_kind lazy; /* what its descriptor offers; 0: nothing */
	struct lcm_chunked_ref chunked;
	struct lcm_estargz_ref estargz; /* its range is known once the footer is here */
	struct lcm_layer_toc beside;    /* the table that an index of the image has for it */
	uint8_t *data; /* owned; the whole blob, embedded in the manifest, until it is in ->blob */
	struct lcm_err error;      /* why FAILED, or the last transient trouble; code 0: none */
	struct lcm_toc *toc;       /* owned; NULL: plain layer */
	struct lcm_layer_dir *dir; /* owned once READY */
	struct lcm_blob *blob;     /* owned once READY and not LOCAL */
	_Atomic uint8_t *entries;  /* owned, lcm_toc_count() bytes of LCM_ENTRY_*; any thread */
	_Atomic uint64_t files_local, bytes_local; /* any thread */
	uint64_t files_total, bytes_total;         /* regular files with content */
	struct lcm_layer_watch *watches;
	struct lcm_want *queue, **queue_tail; /* wants without a span */
	struct span *spans; /* of the others, under way; each references the layer */
	bool no_ranges;     /* the registry serves none: everything comes with the pull */
	bool no_disk; /* wrong bytes came from the blob file: the pull takes none from there */
	uint64_t hold_until_ns; /* demand waits after a transient failure; 0: it does not */
	struct lcm_bigfile *bigfiles;
	struct lcm_pull *pull; /* owned; the background stream while it runs */
	bool pull_wanted, pull_urgent;
	bool hurried; /* somebody waits for the end of its pull, and for no less */
	bool doomed,
	    doomed_toc; /* drop-cache: leave the store as soon as nothing uses it; its TOC too */
	struct lcm_timer *retry; /* owned; restarts a pull that met transient trouble */
	uint32_t retries;
	uint64_t demand_files,
	    demand_bytes;      /* placed or read by demand; compressed bytes fetched for it */
	uint64_t pulled_bytes; /* compressed bytes the stream has consumed */
	void *prepare;         /* layer.c: the TOC on its way */
};

/**
 * lcm_layer_get - the one object for this layer, new or shared; takes a reference
 * @beside: the table that an index of the image has for it, used when the layer offers none itself;
 * NULL: none
 * Return: 0; -ENOTSUP, -EUCLEAN (annotations); -errno of the store.
 */
LCM_MUST_USE int lcm_layer_get(struct lcm_engine *e, const struct lcm_reference *ref,
			       const struct lcm_descriptor *desc, const struct lcm_digest *diffid,
			       const struct lcm_layer_toc *beside, struct lcm_layer **ret,
			       struct lcm_err *err);
/** lcm_layer_find - the object of this row of the store, borrowed; NULL: there is none now. */
struct lcm_layer *lcm_layer_find(const struct lcm_engine *e, int64_t id);
/** lcm_layer_row_of - what the store has of this layer. Return: 0; -ENOENT; -ENOTSUP, -EUCLEAN (as
 * lcm_layer_get()); -errno. */
LCM_MUST_USE int lcm_layer_row_of(struct lcm_store *s, const struct lcm_descriptor *desc,
				  const struct lcm_digest *diffid, struct lcm_layer_row *ret,
				  struct lcm_err *err);
/** lcm_layer_adopt - a layer known by its row (after a restart); takes a reference. Its TOC must
 * have been kept, unless it is complete. */
LCM_MUST_USE int lcm_layer_adopt(struct lcm_engine *e, const struct lcm_reference *ref, int64_t id,
				 struct lcm_layer **ret, struct lcm_err *err);
/** lcm_layer_put - drop a reference. A pull that was begun holds one of its own and goes on to its
 * end. */
void lcm_layer_put(struct lcm_layer *l);
/** lcm_layer_doom - remove a layer that nobody watches any more from the store; what is transferred
 * for it is cancelled. */
void lcm_layer_doom(struct lcm_layer *l, bool toc);

void lcm_layer_watch(struct lcm_layer *l,
		     struct lcm_layer_watch *w); /* @w borrowed until unwatch */
void lcm_layer_unwatch(struct lcm_layer *l, struct lcm_layer_watch *w);

/** lcm_layer_prepare - find or fetch the TOC; ->changed when READY, LOCAL or FAILED. */
void lcm_layer_prepare(struct lcm_layer *l);
/** lcm_layer_prepare_cancel - nobody wants it any more: a fetch for it ends soon; then it is NEW.
 */
void lcm_layer_prepare_cancel(struct lcm_layer *l);
/** lcm_layer_is_known - can it be prepared, and mounted, without asking the registry: it is whole,
 * or its table of contents is here, or somebody else is getting that? */
bool lcm_layer_is_known(struct lcm_layer *l);
/** lcm_layer_load_toc - have ->toc for a layer that is LOCAL since before. Return: 0, -ENODATA (it
 * has none), -errno. */
LCM_MUST_USE int lcm_layer_load_toc(struct lcm_layer *l);
/** lcm_layer_pull - have the whole layer pulled; @urgent: somebody waits for all of it. */
void lcm_layer_pull(struct lcm_layer *l, bool urgent);
/** lcm_layer_hurry - its pull, now or later, is no background: somebody waits for its end. */
void lcm_layer_hurry(struct lcm_layer *l);
/** lcm_layer_want - have ->file_done called for a regular file; @w: who asks, and is charged. */
void lcm_layer_want(struct lcm_layer *l, const struct lcm_layer_watch *w, uint32_t entry);
/** lcm_layer_unwant - nobody waits for it any more. */
void lcm_layer_unwant(struct lcm_layer *l, uint32_t entry);

/** lcm_layer_is_stargz - does its descriptor say that stargz' tools have made it? */
static inline bool lcm_layer_is_stargz(const struct lcm_layer *l)
{
	return l->lazy == LCM_FN_TOC_ESTARGZ ||
	       (l->lazy == LCM_FN_TOC_CHUNKED && l->chunked.digest_of_plain);
}

static inline bool lcm_layer_is_local(const struct lcm_layer *l, uint32_t entry)
{
	return atomic_load(&l->entries[entry]) & LCM_ENTRY_LOCAL;
}

/**
 * lcm_layer_read - have ->read_done called on @w for bytes of a big file, once they are here and
 * verified
 * @len: 1 .. 1 MiB; @off + @len within the file. Unknown @token in lcm_layer_unread() is ignored.
 */
void lcm_layer_read(struct lcm_layer *l, struct lcm_layer_watch *w, uint32_t entry, uint64_t off,
		    uint32_t len, uint64_t token);
void lcm_layer_unread(struct lcm_layer *l, struct lcm_layer_watch *w, uint32_t entry,
		      uint64_t token);

/* ---- between the files of this room ---- */

/** lcm_layer_ready - its table of contents is here, or there is none: the end of preparing. */
void lcm_layer_ready(struct lcm_layer *l, int status, const struct lcm_err *err);
/** lcm_layer_recheck - compare the files that have seen a reboot with the table, in the pool; then
 * lcm_layer_ready(). Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_layer_recheck(struct lcm_layer *l);

/** lcm_layer_mark_local - note that @entry is in REAL. Return: the bits it had before. Thread: any.
 */
uint8_t lcm_layer_mark_local(struct lcm_layer *l, uint32_t entry);
void lcm_layer_condemn(struct lcm_layer *l, const struct lcm_err *why);
/** lcm_wrong_bytes - a status that a blob's bytes are to blame for, if it is not what it should be.
 */
bool lcm_wrong_bytes(int status);
/**
 * lcm_layer_elsewhere - bytes of @blob (the layer's, or a table's that is a blob of its own) are
 * wrong
 * @status: what they led to; a decoder that broke (-ENOTRECOVERABLE) may have done so by itself
 * @unsure: some of them came from a mirror, as the result of the fetch said, or from the blob file
 *
 * Mirrors that served it are not asked for it again, and what the blob file has of it is forgotten.
 * Return: whether another try is worth it.
 */
bool lcm_layer_elsewhere(struct lcm_layer *l, const struct lcm_digest *blob, int status,
			 bool unsure);
void lcm_layer_note(struct lcm_layer *l,
		    const struct lcm_err *why); /* transient trouble, shown in status */
void lcm_layer_changed(struct lcm_layer *l);
void lcm_layer_file_done(struct lcm_layer *l, uint32_t entry, int status);
/** lcm_layer_charge - @bytes of its blob came with nobody waiting: whoever uses the layer pays. */
void lcm_layer_charge(struct lcm_layer *l, uint64_t bytes);
/** lcm_layer_post_done - have lcm_layer_file_done() run on the loop. Thread: the stream's. */
void lcm_layer_post_done(struct lcm_layer *l, uint32_t entry);
/** lcm_layer_pulled - the pull ended with both digests proven: LOCAL now, COMPLETE in the store
 * once synced. */
void lcm_layer_pulled(struct lcm_layer *l, uint64_t bytes);
/** lcm_layer_sync - have a PROVEN layer synced, sealed (overlay/seal.h) and made COMPLETE; it may
 * be dropped meanwhile. */
void lcm_layer_sync(const struct lcm_layer *l);
/** lcm_layer_pull_broke - the pull ended for a reason that may pass; a lazy layer tries again
 * later. */
void lcm_layer_pull_broke(struct lcm_layer *l, int status, const struct lcm_err *err);

/* demand.c */
/** lcm_demand_file - queue the want of a whole file. Return: 0, -ENOMEM, -ENODATA (no ranges known:
 * only the pull can bring it). */
LCM_MUST_USE int lcm_demand_file(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry);
/** lcm_demand_chunks - queue the want of @n chunks from @first, for the big file's partial @fd
 * (borrowed until chunks_done). */
LCM_MUST_USE int lcm_demand_chunks(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry,
				   uint32_t first, uint32_t n, int fd);
/** lcm_demand_is_here - is the file in REAL, or are all of its bytes in the blob file, so that no
 * registry need be asked? */
bool lcm_demand_is_here(struct lcm_layer *l, uint32_t entry);
/** lcm_demand_join - @lif waits for a chunk, too, that is wanted already. On its way it stays with
 * those who were there when it began. */
void lcm_demand_join(struct lcm_layer *l, struct lcm_lif *lif, uint32_t entry, uint32_t chunk);
void lcm_demand_drop(struct lcm_layer *l, uint32_t entry); /* a queued file want nobody waits for */
/** lcm_demand_cancel_all - nobody waits any more: queued wants end with @status now, spans soon. */
void lcm_demand_cancel_all(struct lcm_layer *l, int status);
void lcm_demand_pump(struct lcm_engine *e);

/* bigfile.c */
void lcm_bigfile_chunks_done(struct lcm_layer *l, uint32_t entry, uint32_t first, uint32_t n,
			     int status);
void lcm_bigfile_local(struct lcm_layer *l,
		       uint32_t entry); /* the whole file was placed: answer its readers */
void lcm_bigfile_local_all(struct lcm_layer *l);
void lcm_bigfile_fail_all(struct lcm_layer *l, int status); /* answers the readers only */
void lcm_bigfile_unread_all(
    struct lcm_layer *l, const struct lcm_layer_watch *w); /* forget the reads of one that leaves */
void lcm_bigfile_free_all(struct lcm_layer *l);            /* no span or job may be in flight */

/* pull.c */
void lcm_pull_start(struct lcm_layer *l);
void lcm_pull_cancel(struct lcm_layer *l); /* it ends soon; the layer stays referenced until then */
void lcm_pull_hurry(struct lcm_layer *l);  /* somebody waits for its end from now on */
void lcm_pull_cancel_all(struct lcm_engine *e);
void lcm_pull_kick_all(struct lcm_engine *e); /* resume what may run, pause what may not */

#endif
