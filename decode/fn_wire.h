/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fn_wire.h - what the daemon and an isolated function say to one another; private to fn*.c
 * and tar_remote.c.
 *
 * Layer: decode. A function has one socket (SOCK_SEQPACKET, FN_SOCK) and, once bound, two
 * pieces of shared memory: "in", which only the daemon can write (sealed with
 * F_SEAL_FUTURE_WRITE after the daemon has mapped it), and "out". What a function says is hostile
 * input: the daemon copies before it checks, and checks before it uses.
 *
 *   in:  struct fn_in, then bytes for the function     (a ring for streams, flat otherwise)
 *   out: struct fn_out, then records, then plain bytes (rings for streams, flat otherwise)
 *
 * Positions in rings only grow; position p is at byte p % capacity. Each side writes only its own
 * positions. Whoever must wait makes its "waits" odd, looks once more, and sleeps on the socket;
 * the other side sends one byte for each odd value that it sees.
 */
#ifndef LCM_FN_WIRE_H
#define LCM_FN_WIRE_H

#include <stdatomic.h>

#include "decode/fn.h"

#define FN_SOCK 3
#define FN_PAGE 4096U

enum fn_op {
	FN_BIND = 1, /* two descriptors come along; replaces what was bound before */
	FN_UNIT,     /* decode one unit: in -> out */
	FN_STREAM,   /* decode a whole layer and parse its tar */
	FN_TOC,      /* parse a table of contents into a TOC file */
	FN_JSON,     /* parse a JSON document: in -> out, as image/json_wire.h */
	FN_OP_MAX,
};

struct fn_bind {
	uint64_t in_size, out_size; /* bytes, headers included */
};

struct fn_unit {
	uint32_t comp, start, bits;
	uint32_t has_window;                /* in's last LCM_TOC_WINDOW bytes are the window */
	uint64_t in_off, in_len, skip, len; /* len plain bytes go to the begin of out's data */
};

struct fn_stream {
	uint32_t comp, reserved;
	uint64_t blob_size;
	uint64_t every; /* plain bytes between boundaries; 0: none are wanted */
	uint64_t max_plain;
	uint64_t in_cap, rec_cap, plain_cap; /* of the rings */
};

struct fn_toc {
	uint64_t out_cap; /* of the ring of plain bytes */
	struct lcm_fn_toc t;
};

struct fn_json {
	uint64_t len;  /* of the text, at the begin of in's data */
	char what[32]; /* names it in texts of errors */
};

struct fn_request {
	uint32_t op, reserved;
	union {
		struct fn_bind bind;
		struct fn_unit unit;
		struct fn_stream stream;
		struct fn_toc toc;
		struct fn_json json;
	};
};

/* The answer to every request. */
struct fn_reply {
	int32_t status; /* 0 or -errno */
	uint32_t op;
	uint64_t total; /* STREAM: bytes of the tar; TOC: of the file; JSON: of the tree */
	uint8_t head[LCM_TOC_HEADER_LEN]; /* TOC: what stands at its begin */
	char msg[LCM_ERR_MSG_MAX];
};

/* ---- shared memory ---- */

struct fn_in {
	_Atomic uint64_t head;       /* bytes of the blob that may be decoded */
	_Atomic uint64_t plain_tail; /* plain bytes that the daemon has done with */
	_Atomic uint64_t rec_tail;
	_Atomic uint32_t waits; /* odd: the daemon sleeps */
	_Atomic uint32_t stop;  /* give up */
};
_Static_assert(sizeof(struct fn_in) <= FN_PAGE, "one page");

struct fn_out {
	_Atomic uint64_t in_tail;    /* bytes of the blob that the decoder has done with */
	_Atomic uint64_t plain_head; /* plain bytes made */
	_Atomic uint64_t parsed;     /* plain bytes of which all records are there */
	_Atomic uint64_t rec_head;
	_Atomic uint64_t
	    wants_tail;         /* while it sleeps: no plain_tail before this is worth waking up */
	_Atomic uint32_t waits; /* odd: the function sleeps */
};
_Static_assert(sizeof(struct fn_out) <= FN_PAGE, "one page");

/* ---- records of a stream ---- */

enum fn_rec_kind {
	FN_REC_PAD = 1, /* to the end of the ring */
	FN_REC_ENTRY,
	FN_REC_DATA,
	FN_REC_BOUNDARY,
	FN_REC_KIND_MAX,
};

struct fn_rec {
	uint32_t len; /* bytes with this header; multiple of FN_REC_ALIGN */
	uint32_t kind;
};
#define FN_REC_ALIGN 16U
/* An entry with all xattrs it may have, and a boundary's window. */
#define FN_REC_MAX (LCM_XATTRS_BYTES_MAX + 65536U)

/* Followed by path and link, each with a NUL, then n_xattrs times struct fn_xattr. */
struct fn_entry {
	struct fn_rec rec;
	uint32_t type, mode, uid, gid, mtime_nsec, rdev_major, rdev_minor;
	uint32_t path_len, link_len, n_xattrs, prefix;
	int64_t mtime;
	uint64_t size, tar_off;
};

/* Followed by the name with a NUL, then the value. */
struct fn_xattr {
	uint32_t name_len, value_len;
};

struct fn_data {
	struct fn_rec rec;
	uint64_t tar_off, len, off;
};

/* Followed by the window when there is one. */
struct fn_boundary {
	struct fn_rec rec;
	uint64_t blob_off, plain_off;
	uint32_t start, bits, has_window, reserved;
};

#endif
