/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fn.h - isolated functions: the processes in which untrusted bytes are decoded and parsed.
 *
 * Layer: decode. A function is one locum-decode process of the pool. It is bound to one tenant
 * (a layer) for its life, sees the memory of that tenant's jobs and its socket, and nothing else:
 * no file system, no network, no more memory than LCM_FN_AS_MAX, a user id of its own, a handful
 * of system calls (decode/fn_box.c). It may crash, hang or lie: its job fails with a text that
 * says so, it is killed, the next job gets another.
 *
 *   pool --take--> bound to a tenant --job, job, ...--> put: idle for the same tenant
 *                     | failed, or the tenant ends: killed, its memory unmapped, never used again
 *
 * The memory of a job is new and zero for every job. What a function writes is copied before
 * it is verified where it is handed out before the whole layer is proven.
 *
 * Errors of all jobs: -ENOTRECOVERABLE (crashed, hung, or broke the protocol; the function is gone)
 * besides what the decoder says. Threads: the pool: any; one function, one memory: one at a time.
 */
#ifndef LCM_FN_H
#define LCM_FN_H

#include "decode/tar.h"
#include "image/toc_chunked.h"
#include "image/toc_estargz.h"

struct lcm_fn_pool;
struct lcm_fn;
struct lcm_fn_mem;

struct lcm_fn_config {
	const char *path;   /* of locum-decode; borrowed during the call */
	unsigned int spare; /* processes kept ready */
	unsigned int max;   /* processes at once, 1 .. LCM_FN_MAX */
	uint32_t first_uid; /* process n runs as first_uid + n, when started by root */
	uint64_t hang_ns;   /* without progress for so long it is hung; 0: LCM_FN_HANG_NS */
};

/**
 * lcm_fn_pool_new - start the spare functions
 * Return: 0; -ENOENT, -EACCES (no such program; text names it); -ENOTRECOVERABLE (it cannot confine
 * itself on this host; the text says what is missing); -errno.
 */
LCM_MUST_USE int lcm_fn_pool_new(const struct lcm_fn_config *cfg, struct lcm_fn_pool **ret,
				 struct lcm_err *err);
/** lcm_fn_pool_free - kill all functions; none may be in use. */
void lcm_fn_pool_free(struct lcm_fn_pool *p);
LCM_DEFINE_AUTO(lcm_fn_pool)

struct lcm_fn_stats {
	uint64_t started, failed; /* processes since the pool was made */
	unsigned int alive;
};
void lcm_fn_pool_stats(struct lcm_fn_pool *p, struct lcm_fn_stats *ret);

/**
 * lcm_fn_take - a function for a job of @tenant (> 0); waits while all are in use
 * Return: 0; -EAGAIN (a new one died, hung or cannot confine itself; nobody's bytes are to blame);
 * -errno (no process can be started).
 */
LCM_MUST_USE int lcm_fn_take(struct lcm_fn_pool *p, uint64_t tenant, struct lcm_fn **ret,
			     struct lcm_err *err);
/** lcm_fn_put - done with it. One that failed, or was stopped in the middle of a job, is killed. */
void lcm_fn_put(struct lcm_fn_pool *p, struct lcm_fn *fn);
/** lcm_fn_tenant_end - kill the idle functions of @tenant; those in use go when they are put. */
void lcm_fn_tenant_end(struct lcm_fn_pool *p, uint64_t tenant);
/** lcm_fn_pid - of a function in use: it is this process for as long. */
pid_t lcm_fn_pid(const struct lcm_fn *fn);
/** lcm_fn_retire - it does no other job after this one: lcm_fn_put() kills it. Thread: whose it is.
 */
void lcm_fn_retire(struct lcm_fn *fn);
/** lcm_fn_hold - stop it where it is, or let it go on. What it is late for then is not its fault,
 * see lcm_fn_stream_opt.pause. Thread: any, while it is in use. */
void lcm_fn_hold(const struct lcm_fn *fn, bool held);

/* ---- memory ---- */

/** lcm_fn_mem_new - @in: bytes that the daemon gives; @out: bytes that the function makes. */
LCM_MUST_USE int lcm_fn_mem_new(uint64_t in, uint64_t out, struct lcm_fn_mem **ret);
void lcm_fn_mem_free(struct lcm_fn_mem *m);
LCM_DEFINE_AUTO(lcm_fn_mem)
/** lcm_fn_mem_in - where the daemon's bytes go; borrowed while @m lives. */
uint8_t *lcm_fn_mem_in(struct lcm_fn_mem *m);

/**
 * lcm_fn_bind - make @m the memory of the jobs to come. @m is borrowed until the next bind or put.
 * Return: 0; -EAGAIN (it broke before it saw a byte of the job); -errno.
 */
LCM_MUST_USE int lcm_fn_bind(struct lcm_fn *fn, struct lcm_fn_mem *m, struct lcm_err *err);

/* ---- one unit: chunks and spans ---- */

struct lcm_fn_unit {
	enum lcm_compression comp;
	enum lcm_toc_start start; /* 0: no span */
	unsigned int bits;
	const uint8_t *window;   /* LCM_TOC_WINDOW bytes or NULL; copied */
	uint64_t in_off, in_len; /* in lcm_fn_mem_in() */
	uint64_t skip, len;      /* plain bytes to drop, then to give, at most the memory's @out */
};
/** lcm_fn_unit - decode; *@out (u->len bytes) gets a private copy. Return: as lcm_unit_decode();
 * -ENOTRECOVERABLE. With a window, the last LCM_TOC_WINDOW bytes of the memory's in are its. */
LCM_MUST_USE int lcm_fn_unit(struct lcm_fn *fn, const struct lcm_fn_unit *u, void *out,
			     struct lcm_err *err);

/* ---- a whole layer ---- */

struct lcm_fn_stream_opt {
	enum lcm_compression comp;
	uint64_t blob_size;
	bool copy; /* pieces of files are handed out before the layer is proven: copy them first */
	/* Spans whose digest is checked before a byte of them is decoded; borrowed; NULL: none. */
	const struct lcm_toc *toc;
	/* Gets the spans at which the layer may be entered later; borrowed; NULL: none wanted. */
	struct lcm_toc_builder *index;
	/**
	 * fill - the blob is in the ring up to *@ret_until
	 * @done: bytes that the ring need not hold any more: it has room up to @done + its length.
	 * Does not wait. Return: 0, or what ends the stream.
	 */
	int (*fill)(void *arg, uint64_t done, uint64_t *ret_until);
	/**
	 * pause - called before and while it waits for the function, and may itself take any time;
	 * NULL: there is nothing to do
	 * Return: true: the function was held meanwhile; it had no chance to move.
	 */
	bool (*pause)(void *arg);
	void *arg;
	int wake_fd; /* eventfd: fill() may have more; borrowed */
};

/** lcm_fn_stream_mem - memory for one stream. @toc: as in the options. */
LCM_MUST_USE int lcm_fn_stream_mem(const struct lcm_toc *toc, struct lcm_fn_mem **ret);
/** lcm_fn_mem_ring - bytes of its ring: byte n of the blob goes to lcm_fn_mem_in()[n % ring]. */
uint64_t lcm_fn_mem_ring(const struct lcm_fn_mem *m);
/**
 * lcm_fn_stream - decode a layer and parse its tar in @fn, as an archive to read
 * @fn, @m, @opt: borrowed until lcm_tar_close()
 *
 * Both digests are made here, over the bytes that the daemon has. lcm_tar_next() and the others
 * fail as a local tar does, and with -ENOTRECOVERABLE; -EBADMSG: a span's digest (text names it).
 */
LCM_MUST_USE int lcm_fn_stream(struct lcm_fn *fn, struct lcm_fn_mem *m,
			       const struct lcm_fn_stream_opt *opt, struct lcm_tar **ret,
			       struct lcm_err *err);
/** lcm_fn_stream_blob_digest - after lcm_tar_finish(); before that, or when it failed, *ret is all
 * zeros. */
void lcm_fn_stream_blob_digest(struct lcm_tar *t, struct lcm_digest *ret, uint64_t *ret_len);
/** lcm_fn_stream_indexed - after lcm_tar_finish(): has opt->index got all spans? */
bool lcm_fn_stream_indexed(struct lcm_tar *t);

/* ---- a table of contents ---- */

enum lcm_fn_toc_kind {
	LCM_FN_TOC_CHUNKED = 1, /* zstd:chunked, either dialect */
	LCM_FN_TOC_ESTARGZ,
	LCM_FN_TOC_ZTOC, /* SOCI's */
	LCM_FN_TOC_FILE, /* a TOC file as it is: nothing for a function, lcm_toc_open() judges it */
	LCM_FN_TOC_KIND_MAX,
};

struct lcm_fn_toc {
	enum lcm_fn_toc_kind kind;
	uint64_t len; /* of the source, in lcm_fn_mem_in() */
	struct lcm_chunked_ref chunked;
	struct lcm_estargz_ref estargz;
	struct lcm_toc_id id;
};

#define LCM_FN_TOC_OUT ((uint64_t)1 << 20) /* what the memory of such a job has as @out */

/**
 * lcm_fn_toc - parse a table of contents and write it as a TOC file, atomically
 *
 * The file is not validated: lcm_toc_open() does that. Return: as lcm_chunked_parse(),
 * lcm_toc_builder_finish(); -ENOTRECOVERABLE; -errno of writing.
 */
LCM_MUST_USE int lcm_fn_toc(struct lcm_fn *fn, const struct lcm_fn_toc *t, int dirfd,
			    const char *name, struct lcm_err *err);

/* ---- a JSON document ---- */

/** lcm_fn_json_mem - memory for one document, which is copied into it. Return: 0; -EFBIG; -errno.
 */
LCM_MUST_USE int lcm_fn_json_mem(const void *p, size_t len, struct lcm_fn_mem **ret);
/**
 * lcm_fn_json - have the @len bytes of its memory parsed as lcm_json_parse() does
 * @what: names the document in texts: at most 31 bytes
 * @ret: the same document, written by this process: text that needs no function any more; owned by
 * the caller
 *
 * Return: as lcm_json_parse(); -ENOTRECOVERABLE.
 */
LCM_MUST_USE int lcm_fn_json(struct lcm_fn *fn, size_t len, const char *what, char **ret,
			     struct lcm_err *err);

/* ---- the function's half ---- */

/** lcm_fn_confine - give up everything. @uid: 0 keeps it. Return: 0 or -errno, with what failed. */
LCM_MUST_USE int lcm_fn_confine(uint32_t uid, const char **ret_what);
/** lcm_fn_serve - do jobs from socket FN_SOCK until it ends. */
void lcm_fn_serve(void);

#endif
