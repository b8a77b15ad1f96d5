/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what registry.c and fetch.c share.
 *
 * Layer: registry. Threads: loop. registry.c owns all lists and decides when a
 * fetch begins; fetch.c takes it from there to its end. Nothing here is called
 * from inside libcurl but the sink: everything else is put on the todo list,
 * which runs at the loop's next turn.
 */
#ifndef LCM_REGISTRY_INTERNAL_H
#define LCM_REGISTRY_INTERNAL_H

#include <sys/queue.h>

#include "registry/auth.h"
#include "registry/check.h"
#include "registry/http.h"
#include "registry/location.h"
#include "registry/origin.h"
#include "registry/registry.h"
#include "src/base/buf.h"

#define LCM_FETCH_BUCKETS 256
/* Demand transfers of one host under way; each has a receive buffer and maybe a connection. */
#define LCM_DEMAND_MAX 256
#define LCM_PRIO_MAX (LCM_PRIO_BACKGROUND + 1)

enum lcm_fetch_state {
	LCM_FETCH_NEW,  /* queued */
	LCM_FETCH_AUTH, /* waiting for a token */
	LCM_FETCH_SEND, /* request on its way, no usable body yet */
	LCM_FETCH_BODY, /* head was checked, bytes flow to the sink */
	LCM_FETCH_RETRY_WAIT,
	LCM_FETCH_DONE,
	LCM_FETCH_FAILED,
	LCM_FETCH_STATE_MAX,
};

/* What a head means for the fetch. */
enum lcm_verdict {
	LCM_VERDICT_NONE, /* not judged yet */
	LCM_VERDICT_BODY,
	LCM_VERDICT_REDIRECT,
	LCM_VERDICT_AUTH,      /* 401 of the registry */
	LCM_VERDICT_FORBIDDEN, /* 403 of the registry */
	LCM_VERDICT_BACK,      /* the redirected host refuses: ask the registry again */
	LCM_VERDICT_SCHEME,    /* a TLS server was spoken to in plain http */
	LCM_VERDICT_RETRY,
	LCM_VERDICT_FAIL, /* fetch->code, fetch->err */
};

TAILQ_HEAD(lcm_fetch_list, lcm_fetch);
TAILQ_HEAD(lcm_push_list, lcm_push);

/* A registry that is talked to. */
struct lcm_host {
	struct lcm_host *next;
	char *name;               /* owned; endpoint "host[:port]" */
	bool loopback, may_plain; /* may_plain: loopback or listed */
	bool tls;                 /* the scheme to use now; may change until answered */
	bool answered;            /* HTTP was spoken with that scheme */
	struct lcm_locations locations;
	struct lcm_fetch_list queue[LCM_PRIO_MAX]; /* by fetch->todo */
	uint32_t active[LCM_PRIO_MAX], limit[LCM_PRIO_MAX];
};

struct lcm_auth_slot {
	struct lcm_auth_slot *next;
	struct lcm_auth *auth; /* owned */
};

struct lcm_registry {
	struct lcm_loop *loop;   /* borrowed */
	struct lcm_multi *multi; /* owned */
	struct lcm_http_env http;
	struct lcm_auth_env auth;
	char **auth_files, **insecure_hosts; /* owned */
	struct lcm_providers *providers;     /* owned; NULL: none */
	char *ca_file, *proxy;               /* owned */
	uint32_t retries, backoff_ms, connections;
	struct lcm_host *hosts;                           /* owned list */
	struct lcm_auth_slot *auths;                      /* owned list */
	struct lcm_fetch_list buckets[LCM_FETCH_BUCKETS]; /* all fetches, by fetch->bucket */
	struct lcm_fetch_list todo;                       /* by fetch->todo */
	struct lcm_push_list pushes;                      /* under way */
	struct lcm_timer *kick;                           /* owned; runs todo and the queues */
	uint64_t last_id, rnd;
	bool closing;
	struct lcm_registry_stats stats;
};

struct lcm_fetch {
	TAILQ_ENTRY(lcm_fetch) bucket, todo, queue;
	struct lcm_registry *reg; /* borrowed */
	struct lcm_host *host;    /* borrowed */
	struct lcm_auth *auth;    /* borrowed */
	struct lcm_auth_wait wait;
	uint64_t id;
	enum lcm_fetch_kind kind;
	enum lcm_fetch_prio prio;
	struct lcm_reference ref;
	struct lcm_digest digest; /* zero: manifest by tag; referrers: of their subject */
	uint64_t size, off, len;  /* of the request */
	bool skip;
	lcm_fetch_sink_fn sink;
	lcm_fetch_done_fn done;
	void *arg;

	enum lcm_fetch_state state;
	bool queued, on_todo, counted; /* in host->queue; in reg->todo; in host->active */
	bool cancel, resume;           /* to be seen to at the next turn */
	bool hold;                     /* lcm_fetch_pause() */
	struct lcm_http http;
	struct lcm_timer *again; /* owned; end of RETRY_WAIT */

	uint64_t pos;        /* bytes of the range the sink has taken */
	struct lcm_buf body; /* manifests */

	/* Of the chain of redirects under way. */
	char *url; /* owned; NULL: ask the registry */
	uint32_t hops;
	bool away;   /* another origin than the registry's was reached: no Authorization any more */
	bool cached; /* url is a kept location */
	bool tls;    /* scheme the chain began with */
	uint64_t generation; /* of the credentials sent */

	/* Of one exchange. */
	enum lcm_verdict verdict;
	struct lcm_plan plan; /* what is left of it */
	bool ranged, complete;
	uint64_t try_bytes;
	size_t drained;
	int code; /* of a failure */
	struct lcm_err err;
	int64_t after_s; /* Retry-After, -1: none */

	uint32_t challenges, backs; /* of this try */
	bool flipped, no_cache;     /* this try changed the scheme; kept locations were wrong */
	uint32_t fails;             /* in a row, without progress */
	uint32_t tries;
	uint64_t bytes;
};

/* registry.c */
void lcm_fetch_todo(struct lcm_fetch *f);
/** lcm_fetch_unlink - out of every list; its place at the host is free. */
void lcm_fetch_unlink(struct lcm_fetch *f);

/** lcm_host_get, lcm_auth_get - the one object for it, new or known; borrowed. */
LCM_MUST_USE int lcm_host_get(struct lcm_registry *r, const char *name, struct lcm_host **ret);
struct lcm_auth *lcm_auth_get(struct lcm_registry *r, const char *host, const char *repo,
			      bool push);

/* push.c */
/** lcm_push_end_all - the client is closing: each gets -ESHUTDOWN. */
void lcm_push_end_all(struct lcm_registry *r);

/* fetch.c */
LCM_MUST_USE int lcm_fetch_new(struct lcm_registry *r, const struct lcm_fetch_req *req,
			       struct lcm_fetch **ret);
void lcm_fetch_free(struct lcm_fetch *f);
LCM_DEFINE_AUTO(lcm_fetch)
/** lcm_fetch_begin - leave NEW. May end, and free, the fetch. */
void lcm_fetch_begin(struct lcm_fetch *f);
/** lcm_fetch_attend - see to cancel and resume. May end, and free, the fetch. */
void lcm_fetch_attend(struct lcm_fetch *f);
/** lcm_fetch_end - give the result to its owner and free the fetch. @code: 0 or -errno with f->err.
 */
void lcm_fetch_end(struct lcm_fetch *f, int code);
/** lcm_fetch_edge - whether a fetch may go from one state to the other. */
bool lcm_fetch_edge(enum lcm_fetch_state from, enum lcm_fetch_state to);

/* judge.c */
/** lcm_fetch_judge - what the head that arrived means; sets verdict, plan, code, err, after_s. */
void lcm_fetch_judge(struct lcm_fetch *f);
/** lcm_fetch_url - the registry's URL of what is asked. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_fetch_url(const struct lcm_fetch *f, struct lcm_buf *ret);

#endif
