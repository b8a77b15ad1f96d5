/* SPDX-License-Identifier: Apache-2.0 */
/*
 * badregistry DIR [OPTION]... - serves an OCI layout and misbehaves as told, for integration tests.
 *
 *   --port N              port on 127.0.0.1 (a free one)
 *   --flip DIGEST:OFF     the byte at OFF of this blob is sent inverted
 *   --truncate DIGEST:N   the connection is closed after byte N - 1 of this blob
 *   --status DIGEST:CODE  requests for this blob or manifest get this status
 *   --header NAME:VALUE   added to the answers of --status (Retry-After, WWW-Authenticate,
 * Location; at most 4)
 *   --times N             --status, --flip and --truncate stop after N of them were sent (for
 * retries)
 *   --no-range DIGEST     200 and the whole blob for every range of it
 *   --delay-ms N          every answer waits so long
 *   --stall FILE          while FILE exists, blob answers and bodies are held
 *   --stall-only DIGEST:N --stall holds only the bytes before N of this blob; may be repeated;
 * other blobs are served
 *   --log FILE            one line per finished request, appended: METHOD path status first-last
 * bytes (first-last are "-" when no byte of a blob or manifest was to be sent; bytes is how many of
 * them were handed to the socket)
 *
 * Each option but --port, --delay-ms, --stall, --log and --times may be repeated. Prints "serving
 * DIR on URL" when ready; SIGINT or SIGTERM ends it with 0.
 */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>

#include "registry/serve.h"
#include "src/base/sys.h"

#define RULES_MAX 64

enum rule_kind {
	RULE_FLIP,
	RULE_TRUNCATE,
	RULE_STATUS,
	RULE_NO_RANGE,
	RULE_STALL_ONLY,
	OPT_PORT,
	OPT_DELAY,
	OPT_STALL,
	OPT_LOG,
	OPT_HEADER,
	OPT_TIMES,
};

struct rule {
	enum rule_kind kind;
	struct lcm_digest digest;
	uint64_t value;
};

struct bad {
	struct rule rules[RULES_MAX];
	size_t n_rules;
	char *headers[LCM_SERVE_FAULT_HEADERS]; /* owned "NAME\0VALUE" */
	size_t n_headers;
	bool has_stall_only;
	uint64_t port, delay_ms;
	_Atomic int64_t times; /* faults left */
	const char *stall, *dir;
	int log;              /* O_APPEND */
	pthread_mutex_t lock; /* orders stall_sync() */
	struct lcm_serve *serve;
};

static int fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "badregistry: %s: %s\n", what, why);
	return -EINVAL;
}

/* "DIGEST" or "DIGEST:NUMBER" */
static int add_rule(struct bad *b, enum rule_kind kind, const char *arg)
{
	struct rule *rule = &b->rules[b->n_rules];
	size_t len = strlen(arg), digest = LCM_DIGEST_STR - 1;

	if (b->n_rules == RULES_MAX)
		return fail(arg, "too many rules");
	rule->kind = kind;
	if (len < digest || lcm_digest_parse(arg, digest, &rule->digest) < 0)
		return fail(arg, "not a digest");
	if (kind != RULE_NO_RANGE &&
	    (arg[digest] != ':' ||
	     lcm_serve_number(arg + digest + 1, len - digest - 1, &rule->value) < 0))
		return fail(arg, "not DIGEST:NUMBER");
	if (kind == RULE_STATUS && (rule->value < 200 || rule->value > 599))
		return fail(arg, "not a status");
	b->has_stall_only |= kind == RULE_STALL_ONLY;
	b->n_rules++;
	return 0;
}

static int add_header(struct bad *b, const char *arg)
{
	char *copy, *colon;

	if (b->n_headers == LCM_SERVE_FAULT_HEADERS || !strchr(arg, ':'))
		return fail(arg, "not NAME:VALUE, or too many");
	copy = strdup(arg);
	if (!copy)
		return -ENOMEM;
	colon = strchr(copy, ':');
	*colon = '\0';
	b->headers[b->n_headers++] = copy;
	return 0;
}

static const char *header_value(const char *name)
{
	const char *v = name + strlen(name) + 1;

	return v + strspn(v, " ");
}

/* The last to run saw the newest state of the file; each change makes it run once more. */
static void stall_sync(struct bad *b)
{
	struct stat st;

	if (!b->stall)
		return;
	(void)pthread_mutex_lock(&b->lock);
	lcm_serve_hold(b->serve,
		       lcm_sys_fstatat(AT_FDCWD, b->stall, &st, AT_SYMLINK_NOFOLLOW) == 0);
	(void)pthread_mutex_unlock(&b->lock);
}

/* May one more fault be sent? */
static bool take(struct bad *b)
{
	return atomic_fetch_sub(&b->times, 1) > 0;
}

static void apply_rule(struct bad *b, const struct rule *rule, const struct lcm_serve_request *req,
		       struct lcm_serve_fault *f)
{
	bool inside = rule->value >= req->off && rule->value - req->off < req->len;

	if (rule->kind == RULE_FLIP && inside && take(b)) {
		f->flip = true;
		f->flip_off = rule->value;
	} else if (rule->kind == RULE_TRUNCATE && inside && take(b)) {
		f->truncate = true;
		f->truncate_at = rule->value;
	} else if (rule->kind == RULE_STATUS && take(b)) {
		f->status = (unsigned int)rule->value;
		for (size_t i = 0; i < b->n_headers; i++) {
			f->header[i].name = b->headers[i];
			f->header[i].value = header_value(b->headers[i]);
		}
	} else if (rule->kind == RULE_NO_RANGE) {
		f->ignore_range = true;
	} else if (rule->kind == RULE_STALL_ONLY && b->stall) {
		f->hold_below = rule->value;
	}
}

static void on_request(void *arg, const struct lcm_serve_request *req, struct lcm_serve_fault *ret)
{
	struct bad *b = arg;

	stall_sync(b);
	ret->delay_ms = (uint32_t)b->delay_ms;
	if (req->kind == LCM_SERVE_BLOB && b->stall && !b->has_stall_only)
		ret->hold_below = UINT64_MAX;
	for (size_t i = 0; i < b->n_rules; i++)
		if (lcm_digest_equal(&b->rules[i].digest, &req->digest))
			apply_rule(b, &b->rules[i], req, ret);
}

static void on_done(void *arg, const struct lcm_serve_request *req, uint64_t bytes)
{
	struct bad *b = arg;
	char range[48] = "-", *line;
	int n;

	if (b->log < 0)
		return;
	if (req->len)
		(void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)req->off,
			       (unsigned long long)(req->off + req->len - 1));
	n = asprintf(&line, "%s %s %u %s %llu\n", req->method, req->path, req->status, range,
		     (unsigned long long)bytes);
	if (n < 0)
		return;
	lcm_ignore(lcm_sys_write_full(b->log, line, (size_t)n));
	free(line);
}

static int number(const char *arg, uint64_t max, uint64_t *ret)
{
	if (lcm_serve_number(arg, strlen(arg), ret) < 0 || *ret > max)
		return fail(arg, "not a number, or too large");
	return 0;
}

static int parse_one(struct bad *b, int c, const char *arg)
{
	uint64_t n = 0;
	int r;

	switch (c) {
	case OPT_PORT:
		return number(arg, 65535, &b->port);
	case OPT_DELAY:
		return number(arg, 3600000, &b->delay_ms);
	case OPT_TIMES:
		r = number(arg, INT64_MAX, &n);
		atomic_store(&b->times, (int64_t)n);
		return r;
	case OPT_STALL:
		b->stall = arg;
		return 0;
	case OPT_HEADER:
		return add_header(b, arg);
	case OPT_LOG:
		b->log = lcm_sys_openat(AT_FDCWD, arg, O_WRONLY | O_CREAT | O_APPEND, 0644);
		return b->log < 0 ? fail(arg, strerror(-b->log)) : 0;
	case '?':
		return -EINVAL;
	default:
		return add_rule(b, (enum rule_kind)c, arg);
	}
}

static int parse(int argc, char **argv, struct bad *b)
{
	static const struct option longs[] = {
		{ "flip", required_argument, NULL, RULE_FLIP },
		{ "truncate", required_argument, NULL, RULE_TRUNCATE },
		{ "status", required_argument, NULL, RULE_STATUS },
		{ "no-range", required_argument, NULL, RULE_NO_RANGE },
		{ "stall-only", required_argument, NULL, RULE_STALL_ONLY },
		{ "port", required_argument, NULL, OPT_PORT },
		{ "delay-ms", required_argument, NULL, OPT_DELAY },
		{ "stall", required_argument, NULL, OPT_STALL },
		{ "log", required_argument, NULL, OPT_LOG },
		{ "header", required_argument, NULL, OPT_HEADER },
		{ "times", required_argument, NULL, OPT_TIMES },
		{ 0 },
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		r = parse_one(b, c, optarg);
		if (r < 0)
			return r;
	}
	if (optind != argc - 1)
		return fail("usage", "badregistry DIR [OPTION]...");
	b->dir = argv[optind];
	return 0;
}

/* Watches the directory of the stall file, which need not exist yet. */
static int watch(const char *file)
{
	lcm_autofree char *dir = strdup(file);
	lcm_autoclose int fd = (int)lcm_errno(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
	char *slash;
	int r;

	if (!dir || fd < 0)
		return dir ? fd : -ENOMEM;
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	r = (int)lcm_errno(
	    inotify_add_watch(fd, slash ? dir : ".", IN_CREATE | IN_DELETE | IN_MOVE));
	return r < 0 ? r : lcm_steal_fd(&fd);
}

/* Until a signal comes; keeps the hold in step with the stall file. */
static int wait_signal(struct bad *b, int sig_fd, int watch_fd)
{
	struct pollfd p[2] = { { .fd = sig_fd, .events = POLLIN },
			       { .fd = watch_fd, .events = POLLIN } };
	char events[4096];

	for (;;) {
		int r = (int)lcm_errno(poll(p, 2, -1));

		if (r < 0 && r != -EINTR)
			return r;
		if (r > 0 && p[0].revents)
			return 0;
		if (r > 0 && p[1].revents) {
			while (lcm_sys_read(watch_fd, events, sizeof(events)) > 0)
				;
			stall_sync(b);
		}
	}
}

static int serve(struct bad *b)
{
	struct lcm_serve_hook hook = { .request = on_request, .done = on_done, .arg = b };
	lcm_autoclose int sig_fd = -EBADF, watch_fd = -EBADF;
	struct lcm_err err = { 0 };
	char where[32];
	sigset_t set;
	int r;

	(void)snprintf(where, sizeof(where), "127.0.0.1:%u", (unsigned int)b->port);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	sig_fd = (int)lcm_errno(signalfd(-1, &set, SFD_CLOEXEC));
	if (sig_fd < 0)
		return fail("signalfd", strerror(-sig_fd));
	if (b->stall) {
		watch_fd = watch(b->stall);
		if (watch_fd < 0)
			return fail(b->stall, strerror(-watch_fd));
	}
	/* A request may come before b->serve is set: stall_sync() waits for it. */
	(void)pthread_mutex_lock(&b->lock);
	r = lcm_serve_new(
	    &(struct lcm_serve_config){ .dir = b->dir, .listen = where, .hook = &hook }, &b->serve,
	    &err);
	(void)pthread_mutex_unlock(&b->lock);
	if (r < 0)
		return fail(b->dir, lcm_err_text(&err, r));
	stall_sync(b);
	(void)printf("serving %s on %s\n", b->dir, lcm_serve_url(b->serve));
	(void)fflush(stdout);
	r = wait_signal(b, sig_fd, watch_fd);
	lcm_serve_free(b->serve);
	return r;
}

int main(int argc, char **argv)
{
	static struct bad b = { .log = -EBADF,
				.times = INT64_MAX,
				.lock = PTHREAD_MUTEX_INITIALIZER };
	int r = parse(argc, argv, &b);

	if (r == 0)
		r = serve(&b);
	for (size_t i = 0; i < b.n_headers; i++)
		free(b.headers[i]);
	lcm_closep(&b.log);
	return r < 0 ? 1 : 0;
}
