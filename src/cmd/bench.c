/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - `locum bench`: its options, and the process that cleans up whatever happens.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "src/base/sys.h"
#include "image/reference.h"
#include "src/cmd/bench_options.h"
#include "src/cmd/cmd.h"
#include "src/cmd/runtime.h"

/* ---- the worker ---- */

static int own_mounts(struct lcm_err *err)
{
	int r = (int)lcm_errno(unshare(CLONE_NEWNS));

	if (r == 0)
		r = (int)lcm_errno(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
	if (r < 0)
		return lcm_err_set(err, r, "no mount namespace: %s", strerror(-r));
	r = (int)lcm_errno(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	return r < 0 ? lcm_err_set(err, r, "/proc of a pid namespace: %s", strerror(-r)) : 0;
}

static int go_behind_link(const struct bench *b, struct lcm_err *err)
{
	struct lcm_reference refs[BENCH_IMAGES_MAX];
	const char *hosts[BENCH_IMAGES_MAX];
	int r = 0;

	if (!b->link.bytes_per_s && !b->link.rtt_ns)
		return 0;
	for (size_t i = 0; r == 0 && i < b->n_items; i++) {
		r = lcm_reference_parse(b->items[i].image, &refs[i], err);
		hosts[i] = lcm_reference_endpoint(&refs[i]);
	}
	return r < 0 ? r : bench_link_enter(&b->link, hosts, b->n_items, b->dir, err);
}

static int measure(struct bench *b, const struct bench_item *item, struct lcm_err *err)
{
	int r = 0;

	b->image = item->image;
	b->command = item->command;
	if (b->start)
		r = bench_start(b, err);
	if (r == 0 && b->fs)
		r = bench_fs(b, err);
	if (r == 0 && b->memory)
		r = bench_memory(b, err);
	if (r == 0 && b->pull)
		r = bench_pull(b, err);
	bench_say(b, "%s", "");
	if (r == 0 || (b->n_series &&
		       !b->json)) /* what was measured before something failed is as good as ever */
		lcm_ignore(bench_print(b));
	return r;
}

static int work(struct bench *b, struct lcm_err *err)
{
	int r = own_mounts(err);

	if (r < 0)
		return r;
	runtime_hide_hybrid_cgroup();
	r = go_behind_link(b, err);
	b->traffic = bench_traffic_new(b->dir, b->cgroup);
	for (size_t i = 0; r == 0 && i < b->n_items; i++)
		r = measure(b, &b->items[i], err);
	return r < 0 ? r : bench_print_end(b);
}

static void work_and_exit(struct bench *b, const sigset_t *mask)
{
	struct lcm_err err = { 0 };
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setsid(); /* ^C is the supervisor's */
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	r = work(b, &err);
	_exit(r < 0 ? cmd_error("bench", &err, r) : 0);
}

/* ---- the supervisor ---- */

/* The worker was the first process of its pid namespace: with it, all that it started has ended. */
static void clean_up(const struct bench *b, uint64_t cgroup)
{
	bench_traffic_remove(b->dir, cgroup);
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, b->dir));
}

static int supervise(pid_t worker, const sigset_t *set)
{
	int status = 0;

	for (;;) {
		int sig = sigwaitinfo(set, NULL);

		if (waitpid(worker, &status, WNOHANG) == worker)
			return WIFEXITED(status) ? WEXITSTATUS(status) : CMD_FAILED;
		if (sig <= 0 || sig == SIGCHLD)
			continue;
		(void)kill(worker, SIGKILL);
		(void)waitpid(worker, &status, 0);
		return 128 + sig;
	}
}

/* The child is the first process of a new pid namespace; this process's later children are not in
 * it. */
static pid_t fork_into_namespace(void)
{
	lcm_autoclose int ours = lcm_sys_openat(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY, 0);
	pid_t pid;

	if (ours < 0 || unshare(CLONE_NEWPID) < 0)
		return -1;
	(void)fflush(NULL);
	pid = fork();
	if (pid != 0)
		(void)setns(ours, CLONE_NEWPID);
	return pid;
}

static int run(struct bench *b, const char *dir)
{
	static const int ends[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT };
	struct lcm_err err = { 0 };
	sigset_t set, old;
	pid_t worker;
	int status;

	if ((size_t)snprintf(b->dir, sizeof(b->dir), "%s/locum-bench.XXXXXX", dir) > 64 ||
	    !mkdtemp(b->dir)) {
		lcm_err_set(
		    &err, -EINVAL,
		    "%s: no directory of at most 40 characters that can be written to (--dir)",
		    dir);
		return cmd_error("bench", &err, -EINVAL);
	}
	(void)sigemptyset(&set);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(ends); i++)
		(void)sigaddset(&set, ends[i]);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	worker = fork_into_namespace();
	if (worker == 0)
		work_and_exit(b, &old);
	if (worker > 0)
		status = supervise(worker, &set);
	else
		status =
		    cmd_error("bench",
			      &(struct lcm_err){
				  .code = -EAGAIN,
				  .msg = "no pid namespace: CONFIG_PID_NS and root are needed" },
			      -EAGAIN);
	if (!b->json && isatty(STDERR_FILENO) && status)
		(void)fprintf(stderr, "\n");
	clean_up(b, b->cgroup);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return status;
}

static int bench(struct bench *b, int argc, char **argv)
{
	const char *dir = "/var/tmp";
	int r = bench_options(argc, argv, b, &dir);

	if (r != -1)
		return r;
	if (geteuid() != 0)
		return cmd_error(
		    "bench",
		    &(struct lcm_err){ .code = -EPERM,
				       .msg = "not root: mounting needs root (try sudo)" },
		    -EPERM);
	return run(b, dir);
}

int cmd_bench_main(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return CMD_FAILED;
	b->rounds = 5;
	b->cgroup = (uint32_t)getpid();
	r = bench(b, argc, argv);
	free(b->file);
	free(b);
	return r;
}
