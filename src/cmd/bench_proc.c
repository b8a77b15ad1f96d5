/* SPDX-License-Identifier: Apache-2.0 */
/* bench_proc.c - the programs that are measured: start, first output, CPU time. */
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "src/base/sys.h"
#include "src/cmd/bench.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

#define READY_FD 3
#define LOG_MAX (1U << 20)
#define STOP_MS 10000

static void log_path(const struct bench *b, char out[300])
{
	(void)snprintf(out, 300, "%s/log", b->dir);
}

/* @fd becomes descriptor @as of the child; its stdin is empty, its stderr the log. */
static int spawn(struct bench *b, const char *const argv[], int fd, int as, pid_t *ret,
		 struct lcm_err *err)
{
	posix_spawn_file_actions_t fa;
	char log[300];
	int r;

	log_path(b, log);
	if (posix_spawn_file_actions_init(&fa) != 0)
		return -ENOMEM;
	r = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&fa, 2, log,
						     O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	if (r == 0 && fd >= 0)
		r = posix_spawn_file_actions_adddup2(&fa, fd, as);
	if (r == 0)
		r = posix_spawnp(ret, argv[0], &fa, NULL, (char *const *)argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	return r ? lcm_err_set(err, -r, "%s cannot be started: %s", argv[0], strerror(r)) : 0;
}

int bench_spawn(struct bench *b, const char *const argv[], int *ret_out, pid_t *ret,
		struct lcm_err *err)
{
	int p[2] = { -EBADF, -EBADF }, r;

	if (ret_out && pipe2(p, O_CLOEXEC) < 0)
		return lcm_err_set(err, -EMFILE, "no pipe");
	r = spawn(b, argv, p[1], 1, ret, err);
	lcm_closep(&p[1]);
	if (r < 0)
		lcm_closep(&p[0]);
	else if (ret_out)
		*ret_out = p[0];
	return r;
}

/* The last line that says something. */
static void last_line(const struct bench *b, char out[256])
{
	lcm_autofree char *text = NULL;
	char log[300], *nl;
	size_t len = 0;

	log_path(b, log);
	(void)snprintf(out, 256, "it says nothing");
	if (lcm_read_file_at(AT_FDCWD, log, LOG_MAX, &text, &len) < 0)
		return;
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	nl = strrchr(text, '\n');
	if (len)
		(void)snprintf(out, 256, "%s", nl ? nl + 1 : text);
}

int bench_wait(struct bench *b, pid_t pid, const char *what, struct lcm_err *err)
{
	struct rusage ru = { 0 };
	char text[256];
	int status = 0;

	if (wait4(pid, &status, 0, &ru) < 0)
		return lcm_err_set(err, -ECHILD, "%s was lost", what);
	b->child_peak = LCM_MAX(b->child_peak, (uint64_t)ru.ru_maxrss * 1024);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	last_line(b, text);
	return lcm_err_set(err, -EIO, "%s ended with status %d: %s", what,
			   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text);
}

int bench_run(struct bench *b, const char *const argv[], struct lcm_err *err)
{
	pid_t pid;
	int r = bench_spawn(b, argv, NULL, &pid, err);

	return r < 0 ? r : bench_wait(b, pid, argv[0], err);
}

int bench_run_output(struct bench *b, const char *const argv[], void (*first)(void *arg), void *arg,
		     uint64_t *ret_ns, struct lcm_err *err)
{
	lcm_autoclose int out = -EBADF;
	uint64_t at = 0;
	char buf[4096];
	ssize_t n;
	pid_t pid;
	int r = bench_spawn(b, argv, &out, &pid, err);

	if (r < 0)
		return r;
	while ((n = lcm_sys_read(out, buf, sizeof(buf))) > 0) {
		if (!at) {
			at = lcm_now_ns();
			if (first)
				first(arg);
		}
	}
	r = bench_wait(b, pid, argv[0], err);
	if (r == 0 && !at)
		r = lcm_err_set(err, -ENODATA,
				"the container printed nothing; give a command that prints: locum "
				"bench IMAGE -- COMMAND");
	if (r == 0)
		*ret_ns = at;
	return r;
}

void bench_reap(void)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		;
}

static uint64_t timeval_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000ULL + (uint64_t)tv->tv_usec * 1000ULL;
}

uint64_t bench_cpu(const struct bench *b)
{
	struct rusage ru = { 0 };
	struct timespec ts = { 0 };
	clockid_t clock;
	uint64_t ns = 0;

	if (getrusage(RUSAGE_CHILDREN, &ru) == 0)
		ns = timeval_ns(&ru.ru_utime) + timeval_ns(&ru.ru_stime);
	if (b->daemon > 0 && clock_getcpuclockid(b->daemon, &clock) == 0 &&
	    clock_gettime(clock, &ts) == 0)
		ns += (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
	return ns;
}

uint64_t bench_peak(const struct bench *b)
{
	lcm_autofree char *text = NULL;
	unsigned long long kb = 0;
	char path[64];
	const char *at;
	size_t len;

	if (b->daemon <= 0)
		return b->child_peak;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)b->daemon);
	if (lcm_read_file_at(AT_FDCWD, path, 65536, &text, &len) < 0)
		return 0;
	at = strstr(text, "\nVmHWM:");
	return at && sscanf(at + 7, " %18llu", &kb) == 1 ? kb * 1024 : 0;
}

void bench_cold(const struct bench *b)
{
	lcm_autoclose int fd = -EBADF;

	if (b->warm)
		return;
	sync();
	fd = lcm_sys_openat(AT_FDCWD, "/proc/sys/vm/drop_caches", O_WRONLY, 0);
	if (fd >= 0)
		lcm_ignore(lcm_sys_write_full(fd, "3\n", 2));
}

/* ---- the daemon ---- */

size_t bench_self(const struct bench *b, const char *argv[static 8])
{
	argv[0] = "/proc/self/exe";
	argv[1] = "--root";
	argv[2] = b->root;
	argv[3] = "--run";
	argv[4] = b->run;
	return 5;
}

void bench_self_pull(const struct bench *b, const char *argv[static 8])
{
	size_t n = bench_self(b, argv);

	argv[n++] = "pull";
	argv[n++] = b->image;
	argv[n] = NULL;
}

static int make_dirs(struct bench *b, struct lcm_err *err)
{
	int r;

	b->serial++;
	(void)snprintf(b->root, sizeof(b->root), "%s/%u/root", b->dir, b->serial);
	(void)snprintf(b->run, sizeof(b->run), "%s/%u/run", b->dir, b->serial);
	r = lcm_mkdir_p(b->root, 0700);
	if (r == 0)
		r = lcm_mkdir_p(b->run, 0700);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", b->root, strerror(-r)) : 0;
}

static int await_ready(struct bench *b, int fd, struct lcm_err *err)
{
	char text[LCM_ERR_MSG_MAX] = "";
	size_t len = 0;
	ssize_t n;

	while (len + 1 < sizeof(text) &&
	       (n = lcm_sys_read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, "ok") == 0)
		return 0;
	if (!*text)
		last_line(b, text);
	return lcm_err_set(err, -EIO, "daemon did not start: %s", text);
}

int bench_daemon_start(struct bench *b, bool background, bool fresh, struct lcm_err *err)
{
	const char *argv[16 + BENCH_ARGS_MAX];
	int p[2], r = fresh ? make_dirs(b, err) : 0;
	size_t n;

	if (r < 0)
		return r;
	cmd_globals.root = b->root;
	cmd_globals.run_dir = b->run;
	n = bench_self(b, argv);
	argv[n++] = "daemon";
	argv[n++] = "--ready-fd";
	argv[n++] = "3";
	if (!background)
		argv[n++] = "--no-background";
	for (size_t i = 0; i < b->n_daemon_options; i++)
		argv[n++] = b->daemon_options[i];
	argv[n] = NULL;
	if (pipe2(p, O_CLOEXEC) < 0)
		return lcm_err_set(err, -EMFILE, "no pipe");
	r = spawn(b, argv, p[1], READY_FD, &b->daemon, err);
	(void)close(p[1]);
	if (r == 0)
		r = await_ready(b, p[0], err);
	(void)close(p[0]);
	return r;
}

void bench_daemon_end(struct bench *b)
{
	if (b->daemon > 0) {
		lcm_autoclose int fd = (int)syscall(SYS_pidfd_open, b->daemon, 0);
		struct pollfd ended = { .fd = fd, .events = POLLIN };

		(void)kill(b->daemon, SIGTERM);
		if (fd < 0 || poll(&ended, 1, STOP_MS) != 1)
			(void)kill(b->daemon, SIGKILL);
		(void)waitpid(b->daemon, NULL, 0);
	}
	b->daemon = 0;
}

void bench_daemon_stop(struct bench *b, bool remove)
{
	bench_daemon_end(b);
	if (remove) {
		char name[16];
		lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, b->dir, O_RDONLY | O_DIRECTORY, 0);

		(void)snprintf(name, sizeof(name), "%u", b->serial);
		if (dir >= 0)
			lcm_ignore(lcm_rmtree_at(dir, name));
	}
}
