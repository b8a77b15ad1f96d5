/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - the places to ask for one registry's images, and which of them is next.
 *
 * lcm_endpoints_pick() is the one place that decides where a transfer goes. The order is the
 * administrator's (hosts.toml); what is known of the hosts changes it:
 *
 *   1. mirrors that work, by score: the first of the file, unless a later one is much less loaded
 *   2. the registry itself, when no mirror works, or all that do are overloaded
 *   3. who said that it has not got it, or cannot serve ranges of it, a short while ago
 *   4. who is left alone because it fails: the one whose pause ends first. A transfer never waits
 *      for such a host while another can serve; when none can, it is asked all the same.
 *
 * A mirror that sent bytes of a blob with another digest is not asked for it again.
 *
 * Layer: registry. Threads: loop.
 */
#ifndef LCM_ENDPOINT_H
#define LCM_ENDPOINT_H

#include "registry/hosts.h"
#include "registry/location.h"
#include "registry/peer.h"
#include "src/base/buf.h"

#define LCM_NOTES_MAX 64

/* What is remembered of one blob at one place. */
struct lcm_note {
	struct lcm_digest blob; /* zero: free */
	bool served;            /* bytes of it came from here */
	uint64_t absent_ns;     /* until then it is asked after the others */
	uint64_t lied_ns;       /* until then it is not asked */
	uint64_t used_ns;
};

/* One place. */
struct lcm_endpoint {
	unsigned int refs;
	struct lcm_hosts *conf;              /* referenced */
	const struct lcm_hosts_entry *entry; /* in conf */
	struct lcm_peer *peer;               /* borrowed; they stay */
	char *name;                          /* owned; "host[:port]" that is connected to */
	char *creds;                         /* owned; whose credentials are sent */
	struct lcm_origin origin;
	size_t index;             /* in its list */
	bool upstream;            /* the registry itself, or what the file names as "server" */
	bool proxy;               /* it is to be told which registry is meant */
	bool loopback, may_plain; /* may_plain: loopback or listed */
	bool tls;                 /* the scheme to use now; may change until answered */
	bool answered;            /* HTTP was spoken with that scheme, or the file says so */
	struct lcm_locations locations;
	struct lcm_note notes[LCM_NOTES_MAX];
};

/* All of one registry. */
struct lcm_endpoints {
	char *registry;                        /* owned; as in references */
	char *own;                             /* owned; where that is, "host[:port]" */
	struct lcm_endpoint *e[LCM_HOSTS_MAX]; /* referenced */
	size_t n;                              /* 0: not looked at yet, or refused */
	uint64_t serial; /* counts the lists there have been; indexes are of one */
	uint64_t looked_ns;
	struct lcm_err refused; /* there is no list, and why; or the file changed for the worse and
				   the list is the one before; code 0: neither */
	struct lcm_decision last; /* of lcm_balance() */
	uint64_t moved_ns, moves;
};

struct lcm_registry;

struct lcm_pick {
	uint32_t caps;                 /* LCM_CAP_*, all of them */
	uint32_t tried;                /* set of indexes that are out of the question */
	const struct lcm_digest *blob; /* NULL: not one */
	uint64_t bytes;                /* as score.h counts them */
};

/**
 * lcm_endpoints_look - read the file if that was never done, or it changed
 * Return: 0; -EINVAL (@err names file, line and key); -ENOMEM. A file that changed for the worse is
 * told in the log, and the old list goes on.
 */
LCM_MUST_USE int lcm_endpoints_look(struct lcm_registry *r, struct lcm_endpoints *l,
				    struct lcm_err *err) LCM_ON(loop);
/**
 * lcm_endpoints_pick - where a transfer goes now
 * @ret: referenced; give it back with lcm_endpoint_free()
 *
 * Hosts that are passed over and whose pause is over are probed. Return: 0; -ENOENT (there is no
 * other that can).
 */
LCM_MUST_USE int lcm_endpoints_pick(struct lcm_endpoints *l, const struct lcm_pick *p,
				    struct lcm_endpoint **ret) LCM_ON(loop);
/** lcm_endpoints_rivals - those among which transfers may move: mirrors that work, or with all of
 * them overloaded the registry too. Return: how many, @ret borrowed. */
size_t lcm_endpoints_rivals(struct lcm_endpoints *l, struct lcm_endpoint *ret[LCM_HOSTS_MAX]);
void lcm_endpoints_fini(struct lcm_endpoints *l);

struct lcm_endpoint *lcm_endpoint_ref(struct lcm_endpoint *ep);
/** lcm_endpoint_free - give a reference back; NULL is allowed. */
void lcm_endpoint_free(struct lcm_endpoint *ep);

/** lcm_endpoint_absent - it has not got the blob, or serves no ranges of it. */
void lcm_endpoint_absent(struct lcm_endpoint *ep, const struct lcm_digest *blob);
/** lcm_endpoint_shuns - it is better not asked for the blob. */
bool lcm_endpoint_shuns(struct lcm_endpoint *ep, const struct lcm_digest *blob);
/** lcm_endpoint_served - bytes of the blob came from it. */
void lcm_endpoint_served(struct lcm_endpoint *ep, const struct lcm_digest *blob);
/** lcm_endpoints_blame - bytes of the blob were wrong: mirrors that served it lied, or (not @sure)
 * may have: then that is no failure of theirs. Return: whether one did of which that was not known.
 */
bool lcm_endpoints_blame(struct lcm_endpoints *l, const struct lcm_digest *blob, bool sure);

/** lcm_endpoint_tls - for a request to it, or (@away) for one to where it redirected to: client
 * certificates and skip_verify are for itself alone. Borrowed pointers. */
struct lcm_tls lcm_endpoint_tls(const struct lcm_endpoint *ep, bool away);
/* All that a file may have for a host, and one more. */
#define LCM_ENDPOINT_FIELDS_MAX (2 * LCM_HOSTS_LIST_MAX + 1)
/** lcm_endpoint_fields - what its file has for it, and @auth (NULL: none), or (@away) nothing.
 * Return: how many, borrowed. */
size_t lcm_endpoint_fields(const struct lcm_endpoint *ep, bool away, const char *auth,
			   const char *fields[LCM_ENDPOINT_FIELDS_MAX]);
/** lcm_endpoint_url - "<base>/<@rest>" with @tls for one whose scheme is not fixed. Return: 0,
 * -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_endpoint_url(const struct lcm_endpoint *ep, bool tls, const char *rest,
				  struct lcm_buf *ret);

#endif
