/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_pull_others.c - the same pull by podman and by containerd, each with an empty state of its
 * own.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "src/base/sys.h"
#include "src/cmd/bench_pull.h"

#define READY_MS 30000

static void forget(const struct bench *b, const char *name)
{
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, b->dir, O_RDONLY | O_DIRECTORY, 0);

	if (dir >= 0)
		lcm_ignore(lcm_rmtree_at(dir, name));
}

int pulled_note(const struct bench *b, uint64_t t0, struct pulled *ret, struct lcm_err *err)
{
	lcm_autoclose int dir = -EBADF;
	int r;

	ret->ended = lcm_now_ns() - t0;
	dir = lcm_sys_openat(AT_FDCWD, b->dir, O_RDONLY | O_DIRECTORY, 0);
	r = dir < 0 ? dir : lcm_sys_syncfs(dir);
	ret->synced = lcm_now_ns() - t0;
	return r < 0 ? lcm_err_set(err, r, "%s: syncfs: %s", b->dir, strerror(-r)) : 0;
}

int others_podman(struct bench *b, struct pulled *ret, struct lcm_err *err)
{
	char root[300], run[300];
	const char *const pull[] = { b->podman,  "--root",
				     root,       "--runroot",
				     run,        "--storage-driver",
				     "overlay",  "--cgroup-manager",
				     "cgroupfs", "--events-backend",
				     "none",     "pull",
				     "--quiet",  "--tls-verify=false",
				     b->image,   NULL };
	const char *reset[16];
	uint64_t t0;
	int r;

	(void)snprintf(root, sizeof(root), "%s/podman", b->dir);
	(void)snprintf(run, sizeof(run), "%s/podman-run", b->dir);
	bench_cold(b);
	t0 = lcm_now_ns();
	r = bench_run(b, pull, err);
	if (r == 0)
		r = pulled_note(b, t0, ret, err);
	memcpy(reset, pull, 11 * sizeof(*pull));
	reset[11] = "system";
	reset[12] = "reset";
	reset[13] = "--force";
	reset[14] = NULL;
	lcm_ignore(bench_run(b, reset, NULL));
	forget(b, "podman");
	forget(b, "podman-run");
	return r;
}

/* ---- containerd ---- */

static const char *find(const char *const known[2])
{
	return access(known[0], X_OK) == 0   ? known[0]
	       : access(known[1], X_OK) == 0 ? known[1]
					     : NULL;
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

bool others_has_containerd(void)
{
	return containerd() && ctr();
}

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

static int start(struct bench *b, const char *address, pid_t *ret, struct lcm_err *err)
{
	lcm_autoclose int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char config[340], root[340], state[340];
	const char *const argv[] = { containerd(), "--config", config,      "--root", root,
				     "--state",    state,      "--address", address,  NULL };
	int r = configure(b, config, err);

	if (r < 0)
		return r;
	(void)snprintf(root, sizeof(root), "%s/containerd/root", b->dir);
	(void)snprintf(state, sizeof(state), "%s/containerd/state", b->dir);
	r = snprintf(un.sun_path, sizeof(un.sun_path), "%s/containerd/notify", b->dir);
	if (sock < 0 || (size_t)r >= sizeof(un.sun_path) ||
	    bind(sock, (const struct sockaddr *)&un, sizeof(un)) < 0)
		return lcm_err_set(err, -EIO, "%s: no socket", un.sun_path);
	if (setenv("NOTIFY_SOCKET", un.sun_path, 1) < 0)
		return -ENOMEM;
	r = bench_spawn(b, argv, NULL, ret, err);
	(void)unsetenv("NOTIFY_SOCKET");
	return r < 0 ? r : await_ready(sock, err);
}

int others_containerd(struct bench *b, const struct lcm_reference *ref, bool plain,
		      struct pulled *ret, struct lcm_err *err)
{
	char name[LCM_REFERENCE_STR_MAX], address[340];
	const char *pull[] = { ctr(), "--address", address, "images", "pull", name, NULL, NULL };
	pid_t pid = 0;
	uint64_t t0;
	int r;

	(void)lcm_reference_str(ref, name, sizeof(name));
	(void)snprintf(address, sizeof(address), "%s/containerd/sock", b->dir);
	if (plain) {
		pull[5] = "--plain-http";
		pull[6] = name;
	}
	r = start(b, address, &pid, err);
	if (r == 0) {
		bench_cold(b);
		t0 = lcm_now_ns();
		r = bench_run(b, pull, err);
		if (r == 0)
			r = pulled_note(b, t0, ret, err);
	}
	if (pid > 0) {
		(void)kill(pid, SIGTERM);
		(void)waitpid(pid, NULL, 0);
	}
	forget(b, "containerd");
	return r;
}
