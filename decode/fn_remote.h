/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fn_remote.h - a stream as the daemon sees it; shared by tar_remote.c (the archive) and
 * fn_turn.c (rings, marks, waiting).
 *
 * Layer: decode, private to it. Threads: one owner.
 */
#ifndef LCM_FN_REMOTE_H
#define LCM_FN_REMOTE_H

#include "decode/fn_host.h"
#include "decode/fn_spans.h"
#include "decode/hasher.h"

#define FN_REC_RING ((uint64_t)1 << 20)
#define FN_PLAIN_RING ((uint64_t)4 << 20)

/* What the function said at one moment. Once all records up to rec_head are read, all that is to
 * be said about bytes before the other two is known. */
struct lcm_fn_mark {
	uint64_t in_tail, parsed, plain_head, rec_head;
};

struct lcm_fn_remote {
	struct lcm_tar base;
	struct lcm_fn *fn;    /* borrowed */
	struct lcm_fn_mem *m; /* borrowed */
	struct lcm_fn_stream_opt opt;
	struct lcm_fn_spans spans;
	struct lcm_hasher *blob, *tar; /* owned; @tar NULL: the blob's digest is the tar's */
	struct lcm_digest blob_digest;
	/* positions */
	uint64_t given;                    /* bytes of the blob that the ring has had */
	uint64_t published;                /* of them, hashed */
	uint64_t in_done;                  /* of them, that the ring need not hold any more */
	uint64_t passed, hashed, released; /* plain bytes: read, given to the hasher, free */
	uint64_t rec_pos;
	struct fn_rec peeked;          /* header of the record there */
	struct lcm_fn_mark mark, seen; /* seen: when it was last looked whether anything moved */
	/* the reader's */
	struct fn_data data;      /* what is left of the last data record */
	uint64_t piece_end;       /* plain bytes that the reader has had */
	uint8_t *piece;           /* owned; NULL: pieces are lent where they lie */
	struct fn_rec *rec;       /* owned, FN_REC_MAX; the entry being read, private */
	struct lcm_xattr *xattrs; /* owned; its xattrs */
	/* time */
	uint64_t turn_ns;  /* since when it is the function's turn without a move; 0: it is not */
	uint64_t turns_ns; /* its turns together */
	bool ended;        /* its answer has come */
	bool finished;     /* and it is the end of the archive */
	struct fn_reply reply;
};

static inline const uint8_t *lcm_fn_remote_recs(const struct lcm_fn_remote *r)
{
	return (const uint8_t *)r->m->out + FN_PAGE;
}

static inline const uint8_t *lcm_fn_remote_plain(const struct lcm_fn_remote *r)
{
	return lcm_fn_remote_recs(r) + FN_REC_RING;
}

/** lcm_fn_remote_peek - wait for the next entry or data record. Return: its kind; 0 at the end;
 * -errno. */
LCM_MUST_USE int lcm_fn_remote_peek(struct lcm_fn_remote *r, struct lcm_err *err);
/** lcm_fn_remote_take - copy the record that was peeked at into @out, at most @max bytes of it. */
void lcm_fn_remote_take(struct lcm_fn_remote *r, void *out, size_t max);
/** lcm_fn_remote_pass - nobody reads plain bytes before @until any more: they are hashed, many at a
 * time, and then may be overwritten. */
void lcm_fn_remote_pass(struct lcm_fn_remote *r, uint64_t until);
/** lcm_fn_remote_nonsense - what it said cannot be. Return: -ENOTRECOVERABLE. */
int lcm_fn_remote_nonsense(struct lcm_fn_remote *r, struct lcm_err *err);
/** lcm_fn_index_step - plain bytes between the boundaries of an index of a blob of @size. */
uint64_t lcm_fn_index_step(uint64_t size);

#endif
