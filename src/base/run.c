/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/run.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "src/base/sys.h"

#define FILE_AT 3     /* LCM_RUN_FILE */
#define TAIL_MAX 1024 /* of what the program prints: more than an error text takes */

struct tail {
	char p[TAIL_MAX];
	size_t len;
};

static void tail_add(struct tail *t, const char *p, size_t len)
{
	size_t drop;

	if (len > sizeof(t->p)) {
		p += len - sizeof(t->p);
		len = sizeof(t->p);
	}
	drop = t->len + len > sizeof(t->p) ? t->len + len - sizeof(t->p) : 0;
	memmove(t->p, t->p + drop, t->len - drop);
	memcpy(t->p + t->len - drop, p, len);
	t->len += len - drop;
}

/* The last line with anything in it; ends it with a NUL. */
static const char *tail_line(struct tail *t)
{
	size_t end = t->len, start;

	while (end && (unsigned char)t->p[end - 1] <= ' ')
		end--;
	for (start = end; start && t->p[start - 1] != '\n'; start--)
		;
	t->p[LCM_MIN(end, sizeof(t->p) - 1)] = '\0';
	return t->p + start;
}

/* All to the end, so that the program never gets SIGPIPE for talking. */
static int tail_read(struct tail *t, int fd)
{
	char buf[512];
	ssize_t n;

	while ((n = lcm_sys_read(fd, buf, sizeof(buf))) > 0)
		tail_add(t, buf, (size_t)n);
	return (int)n;
}

/* @out and @file are above those that the program gets. */
static int run_actions(posix_spawn_file_actions_t *fa, int out, int file)
{
	int r = -posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);

	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(fa, out, 1);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(fa, out, 2);
	if (r == 0 && file >= 0)
		r = -posix_spawn_file_actions_adddup2(fa, file, FILE_AT);
	return r;
}

static int run_find(const char *const argv[], const posix_spawn_file_actions_t *fa, pid_t *ret)
{
	static const char *const dirs[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
	char lang[] = "LC_ALL=C", search[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char *envp[] = { lang, search, NULL };
	int r = -ENOENT;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(dirs) && r == -ENOENT; i++) {
		char path[64];

		if (snprintf(path, sizeof(path), "%s/%s", dirs[i], argv[0]) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		r = lcm_sys_spawn_with(path, (char *const *)(uintptr_t)argv, envp, fa, ret);
	}
	return r;
}

/* Above what the program gets, or dup2(2) in the child would overwrite it. */
static int dup_high(int fd)
{
	return (int)lcm_errno(fcntl(fd, F_DUPFD_CLOEXEC, FILE_AT + 1));
}

/* Return: the status of waitpid(2), or -errno. */
static int run_child(const struct lcm_run *run, struct tail *t)
{
	lcm_autoclose int in = -EBADF, out = -EBADF, file = -EBADF;
	posix_spawn_file_actions_t fa;
	int to = -EBADF, r = lcm_sys_pipe(&in, &to), waited, status = 0;
	pid_t pid = -1;

	if (r == 0)
		r = out = dup_high(to);
	lcm_closep(&to);
	if (r >= 0 && run->file >= 0)
		r = file = dup_high(run->file);
	if (r >= 0)
		r = -posix_spawn_file_actions_init(&fa);
	if (r < 0)
		return r;
	r = run_actions(&fa, out, file);
	if (r == 0)
		r = run_find(run->argv, &fa, &pid);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (r < 0)
		return r;
	lcm_closep(&out);
	r = tail_read(t, in);
	lcm_closep(&in);
	do
		waited = (int)lcm_errno(waitpid(pid, &status, 0));
	while (waited == -EINTR);
	return r < 0 ? r : waited < 0 ? waited : status;
}

int lcm_run_with(const struct lcm_run *run, struct lcm_err *err)
{
	struct tail t = { .len = 0 };
	const char *name = run->argv[0], *said;
	int r = run_child(run, &t);

	if (r == -ENOENT)
		return lcm_err_set(err, r, "%s: %s is not installed%s%s%s", run->what, name,
				   run->package ? " (Debian: apt install " : "",
				   run->package ? run->package : "", run->package ? ")" : "");
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s: %s", run->what, name, strerror(-r));
	if (WIFSIGNALED(r))
		return lcm_err_set(err, -EIO, "%s: %s was killed by signal %d", run->what, name,
				   WTERMSIG(r));
	if (WEXITSTATUS(r) == 0 || WEXITSTATUS(r) == run->also_ok)
		return 0;
	said = tail_line(&t);
	if (!said[0])
		return lcm_err_set(err, -EIO, "%s: %s failed with status %d", run->what, name,
				   WEXITSTATUS(r));
	return lcm_err_set(err, -EIO, "%s: %s: %s", run->what, name, said);
}

int lcm_run(const char *const argv[], const char *what, struct lcm_err *err)
{
	return lcm_run_with(&(struct lcm_run){ .argv = argv, .what = what, .file = -EBADF }, err);
}
