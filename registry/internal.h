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
#include "registry/endpoint.h"
#include "registry/http.h"
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
	LCM_FETCH_READ, /* all is here, a function reads it */
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

/* A registry as references name it. */
struct lcm_host {
	struct lcm_host *next;
	struct lcm_endpoints list;                 /* where it is */
	struct lcm_fetch_list queue[LCM_PRIO_MAX]; /* by fetch->todo */
	uint32_t active[LCM_PRIO_MAX], limit[LCM_PRIO_MAX];
	struct lcm_auth_slot *auths; /* owned list */
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
	struct lcm_docs docs;                              /* who reads documents from outside */
	char **auth_files, **insecure_hosts, **hosts_dirs; /* owned */
	struct lcm_providers *providers;                   /* owned; NULL: none */
	char *ca_file, *proxy;                             /* owned */
	uint32_t retries, backoff_ms, connections;
	struct lcm_host *hosts;                           /* owned list */
	struct lcm_peer *peers;                           /* owned list */
	struct lcm_fetch_list buckets[LCM_FETCH_BUCKETS]; /* all fetches, by fetch->bucket */
	struct lcm_fetch_list todo;                       /* by fetch->todo */
	struct lcm_push_list pushes;                      /* under way */
	struct lcm_timer *kick;                           /* owned; runs todo and the queues */
	struct lcm_timer *balance;                        /* owned; lcm_balance_turn() */
	uint64_t last_id, rnd;
	bool closing;
	struct lcm_registry_stats stats;
};

struct lcm_fetch {
	TAILQ_ENTRY(lcm_fetch) bucket, todo, queue;
	struct lcm_registry *reg; /* borrowed */
	struct lcm_host *host;    /* borrowed */
	struct lcm_endpoint *ep;  /* referenced; asked now or last; NULL: nobody yet */
	struct lcm_auth *auth;    /* borrowed; of ep; NULL: without one */
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
	struct lcm_timer *again_at; /* owned; end of RETRY_WAIT */

	uint64_t pos;        /* bytes of the range the sink has taken */
	struct lcm_buf body; /* manifests */
	struct lcm_doc *doc; /* it is being read; NULL: it is not */
	uint64_t tenant;     /* whose function reads it */
	char *page;          /* owned; referrers: its query; NULL: the first */
	char *text;          /* owned; as it was read */

	/* Of one round: each host is asked once. */
	uint64_t serial;      /* of the list that tried is of */
	uint32_t tried;       /* set of indexes */
	bool again;           /* one of them may do better later */
	uint32_t max;         /* and so many tries it is worth */
	struct lcm_err said;  /* the registry's own last word; code 0: none */
	struct lcm_err first; /* what the first other one failed with */
	bool hurried;         /* it left one for being slow; once is enough */
	bool mirrored;        /* bytes came from another host than the registry */

	/* What it is to the host that is asked. */
	uint64_t weight;  /* of peer->in_flight */
	bool flows;       /* counted in peer->busy */
	uint64_t sent_ns; /* the request */

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
	int code;   /* of a failure */
	int unread; /* why the document could not be read */
	bool final; /* it is not the host's */
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

/** lcm_host_get - the one object for the registry of a reference, new or known; borrowed. */
LCM_MUST_USE int lcm_host_get(struct lcm_registry *r, const struct lcm_reference *ref,
			      struct lcm_host **ret);
/** lcm_auth_at - how to authenticate at a host of the registry @h: what its file says of the host
 * is not another registry's that has the same mirror. Borrowed; NULL: out of memory. */
struct lcm_auth *lcm_auth_at(struct lcm_registry *r, struct lcm_host *h,
			     const struct lcm_endpoint *ep, const char *repo, bool push);
/** lcm_random - enough to spread retries. */
uint64_t lcm_random(struct lcm_registry *r);

/* push.c */
/** lcm_push_end_all - the client is closing: each gets -ESHUTDOWN. */
void lcm_push_end_all(struct lcm_registry *r);

/* fetch.c */
LCM_MUST_USE int lcm_fetch_new(struct lcm_registry *r, const struct lcm_fetch_req *req,
			       struct lcm_fetch **ret);
void lcm_fetch_free(struct lcm_fetch *f);
LCM_DEFINE_AUTO(lcm_fetch)
/** lcm_fetch_chain - ask f->ep, from its URL on or from where it led to a moment ago. May end, and
 * free, the fetch. */
void lcm_fetch_chain(struct lcm_fetch *f);
/** lcm_fetch_pause_until_again - RETRY_WAIT, then a new round. May end, and free, the fetch. */
void lcm_fetch_pause_until_again(struct lcm_fetch *f);
/** lcm_fetch_fail - end it with f->err, of code @code; the URL that was asked last goes before it.
 */
void lcm_fetch_fail(struct lcm_fetch *f, int code);
/** lcm_fetch_attend - see to cancel and resume. May end, and free, the fetch. */
void lcm_fetch_attend(struct lcm_fetch *f);
/** lcm_fetch_end - give the result to its owner and free the fetch. @code: 0 or -errno with f->err.
 */
void lcm_fetch_end(struct lcm_fetch *f, int code);
/** lcm_fetch_edge - whether a fetch may go from one state to the other. */
bool lcm_fetch_edge(enum lcm_fetch_state from, enum lcm_fetch_state to);

/* fetch_host.c: which host is asked, and what its answer means for it */

#define LCM_FAIL_HOST (1U << 0)  /* the host is to blame */
#define LCM_FAIL_AGAIN (1U << 1) /* it may go better later */
#define LCM_FAIL_ABSENT                                                                            \
	(1U << 2) /* it has not got it, or not for us, or not so that it is of use */

/** lcm_fetch_begin - leave NEW, or RETRY_WAIT: a round of all hosts. May end, and free, the fetch.
 */
void lcm_fetch_begin(struct lcm_fetch *f);
/**
 * lcm_fetch_host_failed - f->ep could not do it, f->code and f->err say why
 * @how: LCM_FAIL_*
 * @max: with LCM_FAIL_AGAIN, rounds after the first
 *
 * The next host, or all of them again after a pause, or the end. May end, and free, the fetch.
 */
void lcm_fetch_host_failed(struct lcm_fetch *f, unsigned int how, uint32_t max);
/** lcm_fetch_weigh - so much of it is in flight at its host now. */
void lcm_fetch_weigh(struct lcm_fetch *f);
/** lcm_fetch_flow - whether its body flows now. */
void lcm_fetch_flow(struct lcm_fetch *f, bool on);
/** lcm_fetch_leave - it is nothing to its host any more. */
void lcm_fetch_leave(struct lcm_fetch *f);
/** lcm_balance_turn - every second while registries with several hosts have transfers: those that
 * get nothing go elsewhere, and at most one for each moves from the highest score to the lowest. */
void lcm_balance_turn(void *registry);

/* fetch_body.c */
/** lcm_fetch_on_body - inside libcurl; for struct lcm_http_ops. */
int lcm_fetch_on_body(void *fetch, const void *p, size_t len);
/** lcm_fetch_head - judge the head that is here, and begin with the body if it is one. */
void lcm_fetch_head(struct lcm_fetch *f);
/** lcm_fetch_go - to another state. Return: false if there is no such edge. */
bool lcm_fetch_go(struct lcm_fetch *f, enum lcm_fetch_state to);

/* judge.c */
/** lcm_fetch_judge - what the head that arrived means; sets verdict, plan, code, err, after_s. */
void lcm_fetch_judge(struct lcm_fetch *f);
/** lcm_fetch_url - the URL of what is asked, at f->ep. Return: 0, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_fetch_url(const struct lcm_fetch *f, struct lcm_buf *ret);

#endif
