/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc.h - documents in JSON from outside are read in isolated functions, off the loop.
 *
 * Layer: decode. Threads: loop, but lcm_doc_read().
 */
#ifndef LCM_DOC_H
#define LCM_DOC_H

#include "decode/fn.h"
#include "src/base/loop.h"
#include "src/base/pool.h"

/* Where documents are read. Without functions they are parsed where we are: for programs that have
 * no daemon's memory to lose. */
struct lcm_docs {
	struct lcm_loop *loop;   /* borrowed */
	struct lcm_pool *pool;   /* borrowed; NULL: none */
	struct lcm_fn_pool *fns; /* borrowed; NULL: none */
};

/** lcm_docs_tenant - a tenant that no layer is, for the documents of one image. Thread: any. */
uint64_t lcm_docs_tenant(void);
/** lcm_docs_tenant_end - the last of them has been read. */
void lcm_docs_tenant_end(const struct lcm_docs *d, uint64_t tenant);

/**
 * lcm_doc_read - have a document parsed; waits for that
 * @tenant: 0: one of its own, for this document alone
 * @what: names it in texts: at most 31 bytes
 * @max:  bytes; more is -EFBIG
 * @ret:  the same document in text of our own; owned by the caller
 *
 * Return: as lcm_json_parse(); -ENOTRECOVERABLE (the function broke); -errno. Thread: any but the
 * loop.
 */
LCM_MUST_USE int lcm_doc_read(const struct lcm_docs *d, uint64_t tenant, const void *p, size_t len,
			      size_t max, const char *what, char **ret, struct lcm_err *err);

struct lcm_doc;

/* @text: what lcm_doc_read() returns, owned by the callee; NULL when @r < 0. */
typedef void (*lcm_doc_fn)(void *arg, int r, char *text, const struct lcm_err *err);

/**
 * lcm_doc_start - as lcm_doc_read(), on a thread of the pool
 * @d:    borrowed during the call; what it points to outlives the loop's last task
 * @p:    copied
 * @what: a constant
 * @done: exactly once on the loop, not from inside this call; not after lcm_doc_cancel()
 * @ret:  until @done
 *
 * Return: 0, -ENOMEM.
 */
LCM_MUST_USE int lcm_doc_start(const struct lcm_docs *d, uint64_t tenant, const void *p, size_t len,
			       size_t max, const char *what, lcm_doc_fn done, void *arg,
			       struct lcm_doc **ret) LCM_ON(loop);
/** lcm_doc_cancel - @done is not called any more, and its tenant has ended. NULL is ignored. */
void lcm_doc_cancel(struct lcm_doc *doc) LCM_ON(loop);

#endif
