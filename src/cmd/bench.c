/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - `locum bench`: its options, and the process that cleans up whatever happens.
 */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "src/base/sys.h"
#include "src/cmd/bench.h"
#include "src/cmd/cmd.h"
#include "src/cmd/runtime.h"

static const char usage[] =
    "Usage: locum bench [OPTION]... IMAGE [-- COMMAND [ARGUMENT]...]\n"
    "       locum bench [OPTION]... pull IMAGE\n"
    "Measure the start of a container that prints something, and the mount it ends on.\n"
    "All variants run in one process, in turns, on state directories of their own.\n"
    "\n"
    "      --start             first output, everything local, bytes and CPU: lazy, full pull, "
    "podman\n"
    "      --fs                the native mount against a plain overlay of the same tree\n"
    "      --memory            the daemon's memory with 1 and with 50 mounts\n"
    "                          (default: these three)\n"
    "      --pull              the full pull against what this machine allows, podman and "
    "containerd\n"
    "                          (as the word pull before IMAGE)\n"
    "      --rounds N          how often, 1 to 100 (5)\n"
    "      --warm              do not drop the page cache before each start\n"
    "      --no-podman         leave podman out (it is also when it is not installed)\n"
    "      --dir DIR           for temporary state; needs room for two unpacked images (/var/tmp)\n"
    "      --daemon-option OPT given to the daemons, e.g. --insecure=HOST; may be repeated\n"
    "      --json              print JSON\n"
    "  -h, --help              this text\n"
    "\n"
    "Needs root. Without --warm the whole machine's page cache is dropped again and again.\n";

enum {
	OPT_START = 256,
	OPT_FS,
	OPT_MEMORY,
	OPT_PULL,
	OPT_ROUNDS,
	OPT_WARM,
	OPT_NO_PODMAN,
	OPT_DIR,
	OPT_DAEMON,
	OPT_JSON
};

static const char *find_podman(void)
{
	static const char *const known[] = { "/usr/bin/podman", "/usr/local/bin/podman" };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(known); i++)
		if (access(known[i], X_OK) == 0)
			return known[i];
	return NULL;
}

static int take(struct bench *b, int c)
{
	switch (c) {
	case OPT_START:
		b->start = true;
		return 0;
	case OPT_FS:
		b->fs = true;
		return 0;
	case OPT_MEMORY:
		b->memory = true;
		return 0;
	case OPT_PULL:
		b->pull = true;
		return 0;
	case OPT_ROUNDS:
		if (lcm_number_parse(optarg, false, &b->rounds) < 0 || b->rounds < 1 ||
		    b->rounds > BENCH_ROUNDS_MAX)
			return cmd_usage("bench", "--rounds %s: 1 to %d is expected", optarg,
					 BENCH_ROUNDS_MAX);
		return 0;
	case OPT_WARM:
		b->warm = true;
		return 0;
	case OPT_NO_PODMAN:
		b->no_podman = true;
		return 0;
	case OPT_DAEMON:
		if (b->n_daemon_options == BENCH_ARGS_MAX)
			return cmd_usage("bench", "--daemon-option is given more than %d times",
					 BENCH_ARGS_MAX);
		b->daemon_options[b->n_daemon_options++] = optarg;
		return 0;
	case OPT_JSON:
		b->json = true;
		return 0;
	default:
		return CMD_USAGE;
	}
}

static int parse(int argc, char **argv, struct bench *b, const char **dir, bool *help)
{
	static const struct option longs[] = {
		{ "start", no_argument, NULL, OPT_START },
		{ "fs", no_argument, NULL, OPT_FS },
		{ "memory", no_argument, NULL, OPT_MEMORY },
		{ "pull", no_argument, NULL, OPT_PULL },
		{ "rounds", required_argument, NULL, OPT_ROUNDS },
		{ "warm", no_argument, NULL, OPT_WARM },
		{ "no-podman", no_argument, NULL, OPT_NO_PODMAN },
		{ "dir", required_argument, NULL, OPT_DIR },
		{ "daemon-option", required_argument, NULL, OPT_DAEMON },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
		if (c == 'h')
			*help = true;
		else if (c == OPT_DIR)
			*dir = optarg;
		else
			r = take(b, c);
	}
	if (r || *help)
		return r;
	if (argc - optind > 1 && strcmp(argv[optind], "pull") == 0) {
		b->pull = true;
		optind++;
	}
	if (optind == argc)
		return cmd_usage("bench", "an image is needed");
	b->image = argv[optind++];
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	if (argc - optind > BENCH_ARGS_MAX)
		return cmd_usage("bench", "the command has more than %d words", BENCH_ARGS_MAX);
	b->command = optind < argc ? argv + optind : NULL;
	if (!b->start && !b->fs && !b->memory && !b->pull)
		b->start = b->fs = b->memory = true;
	return 0;
}

/* ---- the worker ---- */

static int work(struct bench *b, struct lcm_err *err)
{
	int r = (int)lcm_errno(unshare(CLONE_NEWNS));

	if (r == 0)
		r = (int)lcm_errno(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
	if (r < 0)
		return lcm_err_set(err, r, "no mount namespace: %s", strerror(-r));
	r = (int)lcm_errno(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	if (r < 0)
		return lcm_err_set(err, r, "/proc of a pid namespace: %s", strerror(-r));
	runtime_hide_hybrid_cgroup();
	b->traffic = bench_traffic_new(b->dir, b->cgroup);
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

int cmd_bench_main(int argc, char **argv)
{
	lcm_autofree struct bench *b = calloc(1, sizeof(*b));
	const char *dir = "/var/tmp";
	bool help = false;
	int r;

	if (!b)
		return CMD_FAILED;
	b->rounds = 5;
	b->cgroup = (uint32_t)getpid();
	r = parse(argc, argv, b, &dir, &help);
	if (r)
		return r;
	if (help)
		return fputs(usage, stdout) < 0;
	if (geteuid() != 0)
		return cmd_error(
		    "bench",
		    &(struct lcm_err){ .code = -EPERM,
				       .msg = "not root: mounting needs root (try sudo)" },
		    -EPERM);
	b->podman = b->no_podman ? NULL : find_podman();
	return run(b, dir);
}
