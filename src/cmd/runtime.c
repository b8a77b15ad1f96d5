/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/runtime.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "src/base/sys.h"

#define CGROUP2_MAGIC 0x63677270

int runtime_find(const char **path, struct lcm_err *err)
{
	static const char *const known[] = { "/usr/bin/crun", "/usr/local/bin/crun",
					     "/usr/bin/runc", "/usr/sbin/runc",
					     "/usr/local/bin/runc" };

	for (size_t i = 0; !*path && i < LCM_ARRAY_SIZE(known); i++)
		if (access(known[i], X_OK) == 0)
			*path = known[i];
	if (*path && access(*path, X_OK) == 0)
		return 0;
	return lcm_err_set(err, -ENOENT,
			   *path ? "runtime %s cannot be run"
				 : "neither crun nor runc is installed (apt-get install crun)%s",
			   *path ? *path : "");
}

void runtime_hide_hybrid_cgroup(void)
{
	static const char unified[] = "/sys/fs/cgroup/unified";
	struct statfs fs;

	if (statfs(unified, &fs) < 0 || fs.f_type != CGROUP2_MAGIC || unshare(CLONE_NEWNS) < 0)
		return;
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) == 0)
		(void)umount2(unified, MNT_DETACH);
}

static void exec_runtime(const struct runtime_spec *s, const sigset_t *mask)
{
	const char *argv[] = { s->path, "run", "--bundle", s->bundle, s->id, NULL, NULL, NULL };

	if (s->pid_file) {
		argv[4] = "--pid-file";
		argv[5] = s->pid_file;
		argv[6] = s->id;
	}
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	runtime_hide_hybrid_cgroup();
	(void)execv(s->path, (char *const *)argv);
	_exit(125);
}

static void forward(const struct runtime_spec *s, int sig)
{
	char number[16];
	pid_t pid;

	(void)snprintf(number, sizeof(number), "%d", sig);
	pid = fork();
	if (pid == 0) {
		runtime_hide_hybrid_cgroup();
		(void)execl(s->path, s->path, "kill", s->id, number, (char *)NULL);
		_exit(125);
	}
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}

/* Returns the wait status of @pid; every other blocked signal is passed on. */
static int supervise(const struct runtime_spec *s, pid_t pid, const sigset_t *set)
{
	int status;

	for (;;) {
		int sig = sigwaitinfo(set, NULL);

		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		if (sig > 0 && sig != SIGCHLD)
			forward(s, sig);
	}
}

int runtime_run(const struct runtime_spec *s, int *ret_status, struct lcm_err *err)
{
	static const int passed[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
	sigset_t set, old;
	pid_t pid;
	int status;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(passed); i++)
		(void)sigaddset(&set, passed[i]);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		exec_runtime(s, &old);
	if (pid < 0) {
		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		return lcm_err_set(err, -EAGAIN, "no process for %s", s->path);
	}
	status = supervise(s, pid, &set);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
}
