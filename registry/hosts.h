/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts.h - where the bytes of one registry come from, as the administrator has it written.
 *
 * Layer: registry. lcm_hosts_parse() is pure, the others read files. Threads: loop. A struct
 * lcm_hosts never changes once it is made: a file that changed gives a new one, and who holds a
 * reference goes on with the old. Header fields and keys are secrets: wiped, and never logged.
 * Source: containerd docs/hosts.md (hosts.toml, "_default", "ns"); docker "Verify repository client
 * with certificates" and containers-certs.d(5) (*.crt, *.cert, *.key).
 */
#ifndef LCM_HOSTS_H
#define LCM_HOSTS_H

#include "registry/origin.h"

/* Mirrors of one registry; a set of them is a uint32_t. */
#define LCM_HOSTS_MAX 16
/* Header fields, CA files or client certificates of one host. */
#define LCM_HOSTS_LIST_MAX 32
/* Together, in bytes: the system's bundle has some 220 KB. */
#define LCM_HOSTS_CA_MAX (4U << 20)

#define LCM_CAP_PULL (1U << 0)    /* manifests and blobs by digest */
#define LCM_CAP_RESOLVE (1U << 1) /* tags */
#define LCM_CAP_PUSH (1U << 2)
#define LCM_CAP_ALL (LCM_CAP_PULL | LCM_CAP_RESOLVE | LCM_CAP_PUSH)

/* What TLS with one host is to be like. All NULL and false: as with any other. */
struct lcm_tls {
	char *ca;         /* owned; PEM of all its CA files; NULL: the system's and the daemon's */
	size_t ca_len;    /* bytes */
	char *cert, *key; /* owned; paths; NULL: none; the same if one file has both */
	bool skip_verify; /* any certificate will do */
};

/* One place to ask. */
struct lcm_hosts_entry {
	char *base; /* owned; URL before "/<repo>/...", without a slash at its end; NULL: the
		       registry itself, https://NAME/v2 */
	struct lcm_origin origin; /* of base; zero without */
	uint32_t caps;            /* LCM_CAP_* */
	bool upstream;            /* the "server": last, and its word is final */
	char **fields;            /* owned, secret; NULL-terminated "Name: value"; NULL: none */
	char **ca;                /* owned; NULL-terminated absolute paths; NULL: none */
	char **clients;     /* owned; pairs of absolute paths, of certificate and key; NULL: none */
	struct lcm_tls tls; /* from ca and clients, once they are read */
};

/* What was looked at, and how it was. */
struct lcm_hosts_seen {
	struct lcm_hosts_file *files; /* owned */
	size_t n;
};

struct lcm_hosts {
	unsigned int refs;
	struct lcm_hosts_entry e[LCM_HOSTS_MAX]; /* in the order of asking; the upstream is last */
	size_t n;                                /* 1 at least */
	char *dir; /* owned; where it was read; NULL: nowhere is anything */
	struct lcm_hosts_seen seen;
};

/* NULL-terminated; where containerd, docker and podman look. */
extern const char *const lcm_hosts_dirs[];

/**
 * lcm_hosts_parse - the text of a hosts.toml
 * @text: @len bytes of it
 * @dir:  absolute; paths in it are relative to this
 * @ret:  one reference; untouched on failure
 *
 * Keys that are not known are passed over, as containerd does. Return: 0; -EUCLEAN (@err names line
 * and key); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_hosts_parse(const char *text, size_t len, const char *dir,
				 struct lcm_hosts **ret, struct lcm_err *err);
/**
 * lcm_hosts_load - what there is for a registry
 * @dirs: NULL-terminated; the first that has a directory for @name counts, then the first that has
 *        "_default"
 * @name: of the registry, "host[:port]" as in references
 * @ret:  one reference; untouched on failure
 *
 * A directory with hosts.toml is containerd's, one without has certificates only. Return: 0 (also
 * when there is nothing: only the registry itself); -EINVAL (@err names the file, and line and
 * key); -ENOMEM.
 */
LCM_MUST_USE int lcm_hosts_load(const char *const *dirs, const char *name, struct lcm_hosts **ret,
				struct lcm_err *err);
/** lcm_hosts_changed - something that lcm_hosts_load() looked at is not as it was. */
bool lcm_hosts_changed(const struct lcm_hosts *h);

/** lcm_hosts_new - only the registry itself. Return: NULL without memory. */
struct lcm_hosts *lcm_hosts_new(void);
struct lcm_hosts *lcm_hosts_ref(struct lcm_hosts *h);
/** lcm_hosts_free - give a reference back; NULL is allowed. */
void lcm_hosts_free(struct lcm_hosts *h);
LCM_DEFINE_AUTO(lcm_hosts)

/* ---- hosts.c and hosts_dir.c only ---- */

void lcm_hosts_seen_fini(struct lcm_hosts_seen *s);
/** lcm_strings_add - a copy of the @len bytes at @s at the end of a NULL-terminated list. Return:
 * 0, -EFBIG (LCM_HOSTS_LIST_MAX times two), -ENOMEM. */
LCM_MUST_USE int lcm_strings_add(char ***list, const char *s, size_t len);

#endif
