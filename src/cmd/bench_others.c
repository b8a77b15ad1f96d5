/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/bench_others.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "image/reference.h"
#include "src/base/sys.h"

#define READY_MS 30000
#define WORDS_MAX (32 + BENCH_ARGS_MAX)

struct words {
	const char *v[WORDS_MAX + 1];
	size_t n;
};

static void say(struct words *w, const char *word)
{
	if (w->n < WORDS_MAX)
		w->v[w->n++] = word;
	w->v[w->n] = NULL;
}

static void say_command(struct words *w, const struct bench *b)
{
	for (size_t i = 0; b->command && b->command[i]; i++)
		say(w, b->command[i]);
}

static const char *find(const char *const known[2])
{
	return access(known[0], X_OK) == 0   ? known[0]
	       : access(known[1], X_OK) == 0 ? known[1]
					     : NULL;
}

static const char *podman(void)
{
	static const char *const known[] = { "/usr/bin/podman", "/usr/local/bin/podman" };

	return find(known);
}

static const char *containerd(void)
{
	static const char *const known[] = { "/usr/bin/containerd", "/usr/local/bin/containerd" };

	return find(known);
}

static const char *ctr(void)
{
	static const char *const known[] = { "/usr/bin/ctr", "/usr/local/bin/ctr" };

	return find(known);
}

/* ---- which ---- */

static const char *const names[OTHER_MAX] = {
	[OTHER_PODMAN] = "podman", [OTHER_CONTAINERD] = "containerd"
};

const char *bench_other_name(enum bench_other o)
{
	return names[o];
}

static bool installed(enum bench_other o)
{
	return o == OTHER_PODMAN ? podman() != NULL : containerd() && ctr();
}

int bench_others_choose(struct bench *b, const char *list)
{
	bool wanted[OTHER_MAX] = { false };

	for (const char *at = list; at && strcmp(list, "none") != 0;) {
		size_t len = strcspn(at, ","), o = 0;

		while (o < OTHER_MAX &&
		       (strlen(names[o]) != len || strncmp(names[o], at, len) != 0))
			o++;
		if (o == OTHER_MAX)
			return -EINVAL;
		wanted[o] = true;
		at = at[len] ? at + len + 1 : NULL;
	}
	for (size_t o = 0; o < OTHER_MAX; o++) {
		b->others[o] = (wanted[o] || !list) && installed((enum bench_other)o);
		if (!b->others[o])
			bench_note(b, names[o], "%s",
				   wanted[o] || !list ? "not installed" : "left out");
	}
	return 0;
}

void bench_other_leave_out(struct bench *b, enum bench_other o, int r, const struct lcm_err *why)
{
	b->others[o] = false;
	bench_note(b, names[o], "failed: %s", lcm_err_text(why, r));
}

/* ---- podman ---- */

static void podman_words(const struct bench *b, struct words *w, char root[300], char run[300])
{
	static const char *const common[] = { "--storage-driver", "overlay",
					      "--cgroup-manager", "cgroupfs",
					      "--events-backend", "none" };

	(void)snprintf(root, 300, "%s/podman", b->dir);
	(void)snprintf(run, 300, "%s/podman-run", b->dir);
	say(w, podman());
	say(w, "--root");
	say(w, root);
	say(w, "--runroot");
	say(w, run);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(common); i++)
		say(w, common[i]);
}

static unsigned long long hard_limit(int what)
{
	struct rlimit rl;

	return getrlimit((__rlimit_resource_t)what, &rl) < 0
		   ? 1024
		   : LCM_MIN((unsigned long long)rl.rlim_max, 4096ULL);
}

/* podman's default limits are refused where root lacks CAP_SYS_RESOURCE: ours are what we may have.
 */
static int podman_configure(struct bench *b, struct lcm_err *err)
{
	unsigned long long files = hard_limit(RLIMIT_NOFILE), procs = hard_limit(RLIMIT_NPROC);
	char path[300], text[160];
	int r, n = snprintf(
		   text, sizeof(text),
		   "[containers]\ndefault_ulimits = [\"nofile=%llu:%llu\", \"nproc=%llu:%llu\"]\n",
		   files, files, procs, procs);

	(void)snprintf(path, sizeof(path), "%s/containers.conf", b->dir);
	r = lcm_write_file_at(AT_FDCWD, path, text, (size_t)n, 0600);
	if (r < 0 || setenv("CONTAINERS_CONF", path, 1) < 0)
		return lcm_err_set(err, r < 0 ? r : -ENOMEM, "%s cannot be written", path);
	return 0;
}

static int podman_pull(struct bench *b, struct lcm_err *err)
{
	struct words w = { .n = 0 };
	char root[300], run[300];

	podman_words(b, &w, root, run);
	say(&w, "pull");
	say(&w, "--quiet");
	say(&w, "--tls-verify=false");
	say(&w, b->image);
	return bench_run(b, w.v, err);
}

static int podman_run(struct bench *b, void (*first)(void *arg), void *arg, uint64_t *ret_ns,
		      struct lcm_err *err)
{
	static const char *const options[] = { "run",       "--rm",     "--network", "host",
					       "--cgroups", "disabled", "--pull",    "never" };
	struct words w = { .n = 0 };
	char root[300], run[300];

	podman_words(b, &w, root, run);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(options); i++)
		say(&w, options[i]);
	say(&w, b->image);
	say_command(&w, b);
	return bench_run_output(b, w.v, first, arg, ret_ns, err);
}

static void podman_reset(struct bench *b)
{
	struct words w = { .n = 0 };
	char root[300], run[300];

	podman_words(b, &w, root, run);
	say(&w, "system");
	say(&w, "reset");
	say(&w, "--force");
	lcm_ignore(bench_run(b, w.v, NULL));
}

/* ---- containerd ---- */

/* It says so as to systemd, see sd_notify(3). */
static int await_ready(int sock, struct lcm_err *err)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char text[256];
	ssize_t n;

	while (poll(&p, 1, READY_MS) == 1 && (n = recv(sock, text, sizeof(text) - 1, 0)) >= 0) {
		text[n] = '\0';
		if (strstr(text, "READY=1"))
			return 0;
	}
	return lcm_err_set(err, -ETIMEDOUT, "containerd is not ready after %d s", READY_MS / 1000);
}

static int configure(const struct bench *b, char path[340], struct lcm_err *err)
{
	static const char text[] = "version = 2\n"
				   "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
	int r;

	(void)snprintf(path, 340, "%s/containerd", b->dir);
	r = lcm_mkdir_p(path, 0700);
	(void)snprintf(path, 340, "%s/containerd/config.toml", b->dir);
	if (r == 0)
		r = lcm_write_file_at(AT_FDCWD, path, text, sizeof(text) - 1, 0600);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

static void address(const struct bench *b, char out[340])
{
	(void)snprintf(out, 340, "%s/containerd/sock", b->dir);
}

static int containerd_start(struct bench *b, struct lcm_err *err)
{
	lcm_autoclose int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char config[340], root[340], state[340], at[340];
	const char *const argv[] = { containerd(), "--config", config,      "--root", root,
				     "--state",    state,      "--address", at,       NULL };
	int r = configure(b, config, err);

	if (r < 0)
		return r;
	address(b, at);
	(void)snprintf(root, sizeof(root), "%s/containerd/root", b->dir);
	(void)snprintf(state, sizeof(state), "%s/containerd/state", b->dir);
	r = snprintf(un.sun_path, sizeof(un.sun_path), "%s/containerd/notify", b->dir);
	if (sock < 0 || (size_t)r >= sizeof(un.sun_path) ||
	    bind(sock, (const struct sockaddr *)&un, sizeof(un)) < 0)
		return lcm_err_set(err, -EIO, "%s: no socket", un.sun_path);
	if (setenv("NOTIFY_SOCKET", un.sun_path, 1) < 0)
		return -ENOMEM;
	r = bench_spawn(b, argv, NULL, &b->daemon, err);
	(void)unsetenv("NOTIFY_SOCKET");
	return r < 0 ? r : await_ready(sock, err);
}

static bool plain_http(const struct bench *b, const char *host)
{
	if (strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 ||
	    strncmp(host, "[::1]", 5) == 0)
		return true;
	for (size_t i = 0; i < b->n_daemon_options; i++)
		if (strncmp(b->daemon_options[i], "--insecure=", 11) == 0 &&
		    strcmp(b->daemon_options[i] + 11, host) == 0)
			return true;
	return false;
}

struct ctr_call {
	struct words w;
	struct lcm_reference ref;
	char name[LCM_REFERENCE_STR_MAX], at[340];
};

static int ctr_begin(const struct bench *b, struct ctr_call *c, struct lcm_err *err)
{
	int r = lcm_reference_parse(b->image, &c->ref, err);

	if (r < 0)
		return r;
	(void)lcm_reference_str(&c->ref, c->name, sizeof(c->name));
	address(b, c->at);
	c->w.n = 0;
	say(&c->w, ctr());
	say(&c->w, "--address");
	say(&c->w, c->at);
	return 0;
}

static int containerd_pull(struct bench *b, struct lcm_err *err)
{
	struct ctr_call c;
	int r = ctr_begin(b, &c, err);

	if (r < 0)
		return r;
	say(&c.w, "images");
	say(&c.w, "pull");
	if (plain_http(b, c.ref.host))
		say(&c.w, "--plain-http");
	say(&c.w, c.name);
	return bench_run(b, c.w.v, err);
}

static int containerd_run(struct bench *b, void (*first)(void *arg), void *arg, uint64_t *ret_ns,
			  struct lcm_err *err)
{
	struct ctr_call c;
	int r = ctr_begin(b, &c, err);

	if (r < 0)
		return r;
	say(&c.w, "run");
	say(&c.w, "--rm");
	say(&c.w, "--net-host");
	say(&c.w, c.name);
	say(&c.w, "bench");
	say_command(&c.w, b);
	return bench_run_output(b, c.w.v, first, arg, ret_ns, err);
}

/* ---- both ---- */

int bench_other_open(struct bench *b, enum bench_other o, struct lcm_err *err)
{
	return o == OTHER_PODMAN ? podman_configure(b, err) : containerd_start(b, err);
}

int bench_other_pull(struct bench *b, enum bench_other o, struct lcm_err *err)
{
	return o == OTHER_PODMAN ? podman_pull(b, err) : containerd_pull(b, err);
}

int bench_other_run(struct bench *b, enum bench_other o, void (*first)(void *arg), void *arg,
		    uint64_t *ret_ns, struct lcm_err *err)
{
	return o == OTHER_PODMAN ? podman_run(b, first, arg, ret_ns, err)
				 : containerd_run(b, first, arg, ret_ns, err);
}

void bench_other_close(struct bench *b, enum bench_other o)
{
	static const char *const trees[OTHER_MAX][2] = { { "podman", "podman-run" },
							 { "containerd", NULL } };
	lcm_autoclose int dir = -EBADF;

	if (o == OTHER_PODMAN)
		podman_reset(b);
	else
		bench_daemon_end(b);
	dir = lcm_sys_openat(AT_FDCWD, b->dir, O_RDONLY | O_DIRECTORY, 0);
	for (size_t i = 0; dir >= 0 && i < 2 && trees[o][i]; i++)
		lcm_ignore(lcm_rmtree_at(dir, trees[o][i]));
}
