/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - OCI distribution client on one curl multi loop.
 *
 * Layer: registry (may use base, image, store, decode). Threads: all calls on the loop
 * thread. Invariant: a callback is never run from inside the call that started it,
 * and no byte reaches a sink before status, Content-Range and length were checked.
 * Source: OCI Distribution Spec v1.1; RFC 9110 (Range, Retry-After); de facto token auth.
 */
#ifndef LCM_REGISTRY_H
#define LCM_REGISTRY_H

#include "decode/doc.h"
#include "image/reference.h"
#include "src/base/loop.h"

/* All strings borrowed during lcm_registry_new() only. 0 means the default in brackets. */
struct lcm_registry_config {
	const char *const *auth_files; /* NULL-terminated; NULL: $REGISTRY_AUTH_FILE, podman's and
					  docker's own places */
	const char *provider_config;   /* the kubelet's CredentialProviderConfig; NULL: none */
	const char *provider_dir;      /* where those programs are; goes with it */
	const char *auth_first; /* one more, before these; it need not be there; NULL: none */
	const char *const *insecure_hosts; /* NULL-terminated "host[:port]" that may use plain http;
					      loopback always may */
	const char *const *hosts_dirs;     /* NULL-terminated, see hosts.h; NULL: none */
	const char *ca_file;               /* PEM; NULL: the system's */
	const char *proxy;                 /* NULL: from the environment as curl does; "" none */
	uint32_t connect_timeout_ms;       /* [10000] */
	uint32_t stall_timeout_ms;         /* no byte for so long: retry [15000] */
	uint32_t retries;                  /* further tries of one transfer [5] */
	uint32_t backoff_ms;               /* first pause, doubled with jitter [200] */
	uint32_t renew_ms;                 /* credentials older than this are asked for anew
					      after a 403 [60000] */
	uint32_t connections_per_host;     /* [8] */
	/* Who reads the replies of token services; what it points to outlives the registry.
	 * NULL members: they are parsed where we are. */
	struct lcm_docs docs;
};

struct lcm_registry;

LCM_MUST_USE int lcm_registry_new(struct lcm_loop *loop, const struct lcm_registry_config *cfg,
				  struct lcm_registry **ret, struct lcm_err *err);
/** lcm_registry_free - cancels what is in flight: each callback gets -ESHUTDOWN from inside this
 * call. Not from a sink or a done callback. */
void lcm_registry_free(struct lcm_registry *r);
LCM_DEFINE_AUTO(lcm_registry)

enum lcm_fetch_kind {
	LCM_FETCH_MANIFEST,  /* by tag or digest; Accept lists every index and manifest type */
	LCM_FETCH_BLOB,      /* whole or ranged */
	LCM_FETCH_REFERRERS, /* the index of what has manifest `digest` as its subject, by pages */
};

enum lcm_fetch_prio {
	LCM_PRIO_DEMAND, /* starts at once (up to 256 of one host; the memory of more has no bound)
			  */
	LCM_PRIO_BACKGROUND, /* waits for a free connection */
};

/* What a finished fetch was. */
struct lcm_fetch_result {
	int status;         /* 0 or -errno: -EACCES 401/403, -ENOENT 404,
			       -ETIMEDOUT/-EHOSTUNREACH/-ECONNREFUSED after retries, -EPROTO wrong status,
			       range or length, -ESPIPE no ranges, -EBADMSG digest (manifests), -EFBIG,
			       -ESHUTDOWN, -ECANCELED,	 or what the sink returned */
	struct lcm_err err; /* text: names URL (redacted), what happened, and the way out */
	uint64_t bytes;     /* body bytes received, all tries */
	uint32_t tries;
	bool mirrored; /* bytes of a blob came from another host than the registry itself */
	const char *content_type; /* borrowed during the callback; may be NULL */
	struct lcm_digest digest; /* manifests: sha256 of the body (equals the requested one) */
	/* Manifests and referrers that were asked for without a sink, else NULL; borrowed during
	 * the callback: */
	const void *body; /* as it came, also when it cannot be read */
	size_t body_len;  /* bytes */
	const char *next; /* referrers: there is another page; NULL: there is none */
	const char *text; /* the same as lcm_doc_read() has read it; NULL: status, err say why not:
			     -EUCLEAN, -EFBIG, -ENOTRECOVERABLE */
};

/**
 * lcm_fetch_sink_fn - body bytes in order; @off is the offset in the blob (in the body for
 * manifests) Return: 0; LCM_FETCH_PAUSE: these bytes were not taken, call again after
 * lcm_fetch_resume(); -errno ends the fetch with that status.
 */
typedef int (*lcm_fetch_sink_fn)(void *arg, uint64_t off, const void *p, size_t len);
#define LCM_FETCH_PAUSE 1
typedef void (*lcm_fetch_done_fn)(void *arg, const struct lcm_fetch_result *res);

struct lcm_fetch_req {
	enum lcm_fetch_kind kind;
	enum lcm_fetch_prio prio;
	const struct lcm_reference
	    *ref; /* borrowed during the call: host and repo; manifests: tag or digest */
	struct lcm_digest digest; /* blobs; manifests: used when not zero, instead of ref's tag or
				     digest; referrers: their subject */
	uint64_t size; /* blobs: size of the whole blob, from its descriptor; checked against the
			  reply */
	uint64_t off, len; /* blobs: the range; off + len <= size, len >= 1 */
	const char *page;  /* referrers: `next` of the page before; borrowed during the call; NULL:
			      the first one */
	uint64_t tenant;   /* manifests: whose function reads them; 0: one of its own */
	bool skip; /* blobs: the registry is known not to serve ranges: skip whatever it costs */
	lcm_fetch_sink_fn sink; /* manifests: may be NULL, body is then in the result */
	lcm_fetch_done_fn done; /* exactly once, after the last sink call */
	void *arg;
};

/**
 * lcm_fetch_start - begin a transfer
 *
 * Which host of the registry is asked is endpoint.h's to say. Another host, and a retry, goes on at
 * the first byte the sink has not taken (a range request from there), so the sink never sees a byte
 * twice. A 200 answer to a range: when off is 0 and len == size it is what
 * was asked; otherwise the bytes before @off are skipped unseen if that costs at most 1 MiB, or
 * req->skip says so, else -ESPIPE. A whole blob that is gone on with after a broken
 * connection may skip any number of bytes: such a registry leaves no other way. Sinks may call
 * lcm_fetch_start(), _cancel(), _pause() and _resume() for any fetch. Manifests are at most
 * LCM_MANIFEST_MAX, are given to the sink only whole and after the digest was checked. Return: 0
 * and an id; -EINVAL; -ENOMEM; -ESHUTDOWN.
 */
LCM_MUST_USE int lcm_fetch_start(struct lcm_registry *r, const struct lcm_fetch_req *req,
				 uint64_t *ret_id) LCM_ON(loop);
/** lcm_fetch_cancel - @done is called with -ECANCELED at the next turn of the loop. Unknown ids are
 * ignored. */
void lcm_fetch_cancel(struct lcm_registry *r, uint64_t id) LCM_ON(loop);
/** lcm_fetch_pause - stop reading from the network until lcm_fetch_resume(). */
void lcm_fetch_pause(struct lcm_registry *r, uint64_t id) LCM_ON(loop);
void lcm_fetch_resume(struct lcm_registry *r, uint64_t id) LCM_ON(loop);

/* ---- pushing ---- */

/* What a finished push was. */
struct lcm_push_result {
	int status;         /* 0 or -errno: -EACCES 401/403, -ENOENT 404, -EPROTO other answers,
			       -ETIMEDOUT/-EHOSTUNREACH/-ECONNREFUSED after retries, -ESHUTDOWN */
	struct lcm_err err; /* text: names URL (redacted), what happened, and the way out */
	bool existed;       /* blobs: it was there already */
	bool subject;       /* manifests: the registry lists it among its subject's referrers */
};
typedef void (*lcm_push_done_fn)(void *arg, const struct lcm_push_result *res);

struct lcm_push_req {
	const struct lcm_reference *ref; /* borrowed during the call: host and repo */
	struct lcm_digest digest;        /* of @data */
	const char *media_type;          /* of a manifest; borrowed during the call; NULL: a blob */
	const char *tag;       /* of a manifest; borrowed during the call; NULL: by its digest */
	const void *data;      /* borrowed until @done */
	size_t len;            /* bytes */
	lcm_push_done_fn done; /* exactly once, not from inside lcm_push_start() */
	void *arg;
};

/**
 * lcm_push_start - upload a blob or a manifest
 *
 * A blob that the repository has is not sent. What fails for a passing reason is sent anew from its
 * begin, as often as fetches are. Credentials are those for the scope "pull,push".
 * Source: OCI Distribution Spec v1.1 "POST then PUT", "Pushing Manifests", "Pushing Manifests with
 * Subject". Return: 0; -EINVAL; -ENOMEM; -ESHUTDOWN.
 */
LCM_MUST_USE int lcm_push_start(struct lcm_registry *r, const struct lcm_push_req *req)
    LCM_ON(loop);

/* ---- hosts ---- */

/**
 * lcm_registry_blame - bytes of a blob turned out to be wrong after their fetch had ended well
 *
 * Mirrors that served it are not asked for it again. Return: whether one did of which that was not
 * known; another fetch is then worth it.
 */
bool lcm_registry_blame(struct lcm_registry *r, const struct lcm_reference *ref,
			const struct lcm_digest *blob) LCM_ON(loop);
/** lcm_registry_doubt - as lcm_registry_blame() when it is not known whether the bytes are wrong:
 * no failure of the host's is counted. */
bool lcm_registry_doubt(struct lcm_registry *r, const struct lcm_reference *ref,
			const struct lcm_digest *blob) LCM_ON(loop);

/* One host of one registry, as it is now. Strings are borrowed during the callback. */
struct lcm_registry_host {
	const char *registry;    /* as in references */
	const char *dir;         /* its file or certificates are there; NULL: it has none */
	const char *error;       /* why the file there is now is not used; NULL: it is */
	const char *host;        /* "host:port"; NULL: the registry is refused, because of error */
	bool upstream;           /* the registry itself */
	uint32_t caps;           /* LCM_CAP_* */
	const char *state;       /* of its breaker */
	uint32_t probe_ms;       /* until it may be probed; 0: now, or it is closed */
	uint32_t score;          /* see score.h */
	uint64_t in_flight, bps; /* bytes; bytes per second, 0: not measured */
	uint32_t latency_ms, errors;                 /* errors: thousandths */
	uint64_t bytes, good, failed, opened, moved; /* counted since the start */
	const char *last;                            /* how it failed last; NULL: never */
	uint32_t last_s;                             /* so long ago */
	const char *balance; /* of the registry: what the last look at all its hosts came to */
	uint32_t spread;     /* and their spread, thousandths */
	uint64_t moves;      /* and the transfers that moved */
};
typedef void (*lcm_registry_host_fn)(void *arg, const struct lcm_registry_host *h);
/** lcm_registry_hosts - calls @fn for each host of each registry that was asked, in the order of
 * asking. */
void lcm_registry_hosts(struct lcm_registry *r, lcm_registry_host_fn fn, void *arg) LCM_ON(loop);

struct lcm_registry_stats {
	uint64_t requests, retries, bytes, tokens;
	uint32_t in_flight;
};
void lcm_registry_stats(const struct lcm_registry *r, struct lcm_registry_stats *ret) LCM_ON(loop);

#endif
