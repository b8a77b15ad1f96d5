/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subvol_stream.c - a subvolume as the commands that make it again: btrfs-send(8).
 *
 * The kernel makes the stream, btrfs(8) takes it. NAME.stream has what has come; NAME.in is where
 * it is made again, and both are gone once NAME is there.
 */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "src/base/run.h"
#include "unit/backend.h"
#include "unit/frame.h"
#include "unit/object.h"
#include "unit/subvol_impl.h"

#define RECEIVE_LOCK_MS 10000 /* of one that has lost its parent, until it is through */

struct name {
	char s[NAME_MAX + 1];
};

static struct name beside(const char *name, const char *suffix)
{
	struct name n;

	(void)snprintf(n.s, sizeof(n.s), "%s.%s", name, suffix);
	return n;
}

/* ---- sending ---- */

struct sender {
	int root; /* borrowed */
	int to;   /* owned; closed when all is sent */
	int status;
};

/* The kernel writes until it is through, or nobody reads; SIGPIPE is blocked. */
static void *sender_run(void *arg)
{
	struct sender *s = arg;
	struct btrfs_ioctl_send_args args = { .send_fd = s->to };

	s->status = lcm_sys_ioctl(s->root, BTRFS_IOC_SEND, &args);
	lcm_closep(&s->to);
	return NULL;
}

static int start_sender(struct sender *s, pthread_t *ret)
{
	sigset_t pipe_only, before;
	int r;

	(void)sigemptyset(&pipe_only);
	(void)sigaddset(&pipe_only, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	r = -pthread_create(ret, NULL, sender_run, s);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int pump(int fd, lcm_unit_send_fn fn, void *arg)
{
	lcm_autofree char *buf = malloc(LCM_FRAME_PLAIN_MAX);
	uint64_t at = 0;
	ssize_t n = buf ? 1 : -ENOMEM;
	int r = 0;

	while (r == 0 && n > 0) {
		n = lcm_sys_read_full(fd, buf, LCM_FRAME_PLAIN_MAX);
		if (n > 0)
			r = fn(arg, at, buf, (size_t)n);
		at += n > 0 ? (uint64_t)n : 0;
	}
	return r ? r : (int)LCM_MIN(n, 0);
}

int lcm_subvol_send(int dir, const char *name, lcm_unit_send_fn fn, void *arg, struct lcm_err *err)
{
	lcm_autoclose int root = lcm_sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	struct sender s = { .root = root, .to = -EBADF };
	int from = -EBADF, r = LCM_MIN(root, 0);
	pthread_t thread;

	if (r == 0)
		r = lcm_sys_pipe(&from, &s.to);
	if (r == 0)
		r = start_sender(&s, &thread);
	if (r < 0) {
		lcm_closep(&from);
		lcm_closep(&s.to);
		return lcm_object_fail(dir, name, r, "send", err);
	}
	r = pump(from, fn, arg);
	lcm_closep(&from);
	(void)pthread_join(thread, NULL);
	if (r == 0 && s.status < 0)
		r = lcm_object_fail(dir, name, s.status, "send", err);
	return r;
}

/* ---- receiving ---- */

int lcm_subvol_receive(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err)
{
	struct name file = beside(name, "stream");
	int fd = lcm_sys_openat(dir, file.s, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);

	(void)size, (void)thin;
	return fd < 0 ? lcm_object_fail(dir, file.s, fd, "open", err) : fd;
}

static int drop_one(void *arg, int dir, const char *name)
{
	(void)arg;
	return lcm_subvol_destroy(dir, name);
}

static int drop_in(int dir, const char *name)
{
	struct name in = beside(name, "in");
	lcm_autoclose int fd = lcm_sys_openat(dir, in.s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r = fd == -ENOENT ? 0 : fd < 0 ? fd : lcm_dir_each(fd, drop_one, NULL);

	return r == 0 && fd >= 0 ? lcm_sys_unlinkat(dir, in.s, AT_REMOVEDIR) : r;
}

int lcm_subvol_unreceive(int dir, const char *name)
{
	struct name file = beside(name, "stream");
	int r = drop_in(dir, name);

	if (r < 0)
		return r;
	r = lcm_sys_unlinkat(dir, file.s, 0);
	return r == -ENOENT ? 0 : r;
}

/* What an earlier call made before it was killed; the btrfs(8) of it may still be at work. */
static int drop_made(int dir, const char *name, int stream, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH];
	int r = lcm_sys_lock(stream, F_WRLCK, RECEIVE_LOCK_MS);

	if (r == -EAGAIN)
		return lcm_err_set(err, r,
				   "%s: an interrupted import's btrfs receive still runs; "
				   "try again",
				   lcm_object_path(dir, name, path));
	if (r == 0)
		r = drop_in(dir, name);
	if (r == 0)
		r = lcm_subvol_destroy(dir, name);
	return r == -ENOENT ? 0 : r;
}

static int run_receive(int in, int stream, struct lcm_err *err)
{
	char path[PATH_MAX];
	const char *const argv[] = { "btrfs", "receive", "-q", "-f", LCM_RUN_FILE, path, NULL };
	const struct lcm_run run = {
		.argv = argv, .what = "btrfs receive", .package = "btrfs-progs", .file = stream
	};
	int r = lcm_sys_fd_path(in, path, sizeof(path));

	return r < 0 ? r : lcm_run_with(&run, err);
}

struct made {
	int dir; /* where it is to be */
	const char *name;
	uint64_t size;
	int n;
};

/* The one that has come, with its limit and to be written. */
static int take_one(void *arg, int in, const char *name)
{
	struct made *m = arg;
	lcm_autoclose int root = lcm_sys_openat(in, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (root < 0)
		return root;
	return m->n++ ? -EUCLEAN : lcm_subvol_make(m->dir, m->name, root, false, m->size);
}

int lcm_subvol_received(int dir, const char *name, int fd, uint64_t size, struct lcm_err *err)
{
	struct name in = beside(name, "in");
	struct made m = { .dir = dir, .name = name, .size = size };
	lcm_autoclose int at = -EBADF;
	char path[LCM_OBJECT_PATH];
	int r = lcm_quota_ready(dir, lcm_object_path(dir, name, path), err);

	if (r == 0)
		r = drop_made(dir, name, fd, err);
	if (r == 0)
		r = lcm_sys_mkdirat(dir, in.s, 0700);
	if (r == 0)
		r = at = lcm_sys_openat(dir, in.s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r >= 0)
		r = run_receive(at, fd, err);
	if (r == 0)
		r = lcm_dir_each(at, take_one, &m);
	if (r == 0 && m.n == 0)
		r = -EUCLEAN;
	if (r == 0)
		r = lcm_subvol_limit(dir, name, size);
	if (r == 0)
		return lcm_subvol_unreceive(dir, name);
	return err && err->code == r ? r : lcm_object_fail(dir, name, r, "receive", err);
}
