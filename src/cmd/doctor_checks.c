/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "decode/fn.h"
#include "registry/hosts.h"
#include "src/base/sys.h"
#include "image/json.h"
#include "src/cmd/doctor.h"
#include "src/daemon/background.h"
#include "src/daemon/carry.h"

#define FREE_WARN_BYTES (2ULL << 30) /* a middling image, unpacked */
#define VERSION_TIMEOUT_NS 2000000000ULL

extern char **environ;

/* Adds an item; the consequence is set by the caller when there is one. */
static struct lcm_doctor_item *add(struct lcm_doctor *d, enum lcm_doctor_state state,
				   const char *name, const char *text)
{
	struct lcm_doctor_item *it = &d->items[d->n];

	if (d->n + 1 < LCM_DOCTOR_ITEMS_MAX)
		d->n++;
	*it = (struct lcm_doctor_item){ .state = state, .name = name };
	(void)snprintf(it->text, sizeof(it->text), "%s", state == LCM_DOCTOR_OK ? "" : text);
	return it;
}

static void check_host(struct lcm_doctor *d)
{
	struct lcm_doctor_item *it;
	struct utsname u;

	d->root = geteuid() == 0;
	it = add(d, d->root ? LCM_DOCTOR_OK : LCM_DOCTOR_NO, "root",
		 "mounts need root; run with sudo");
	(void)snprintf(it->value, sizeof(it->value), "user %u", (unsigned int)geteuid());
	it = add(d, LCM_DOCTOR_OK, "kernel", "");
	if (uname(&u) == 0)
		(void)snprintf(it->value, sizeof(it->value), "%.40s %.60s %.20s", u.sysname,
			       u.release, u.machine);
}

/* What is lost without each feature of lcm_mount_features. */
static void features_report(struct lcm_doctor *d)
{
	const struct lcm_mount_features *f = &d->features;
	bool meta = f->erofs_file || f->erofs_loop;
	const struct {
		bool there;
		enum lcm_doctor_state lost;
		const char *name, *text;
	} rows[] = {
		{ f->overlay, LCM_DOCTOR_NO, "overlay",
		  "no container can be mounted on this file system (modprobe overlay; the state "
		  "directory on ext4, xfs "
		  "or btrfs)" },
		{ f->data_only, LCM_DOCTOR_NO, "data-only-layers",
		  "no lazy mounts, images are pulled whole first; needs Linux 6.5" },
		{ f->redirect_no_metacopy, LCM_DOCTOR_WARN, "redirect-plain",
		  "lazy mounts use metacopy=on: chmod and chown then leave placeholders in the "
		  "upper, keep the image "
		  "until the container is removed; needs Linux 6.16" },
		{ f->erofs_file, meta ? LCM_DOCTOR_WARN : LCM_DOCTOR_NO, "erofs-file",
		  meta ? "each lazy mount takes a loop device for its metadata; needs Linux 6.12"
		       : "no lazy mounts, nothing mounts their metadata (modprobe erofs)" },
		{ f->erofs_loop, f->erofs_file ? LCM_DOCTOR_OK : LCM_DOCTOR_NO, "erofs-loop",
		  "no way around a kernel without erofs-file (modprobe loop erofs)" },
		{ f->fuse, LCM_DOCTOR_NO, "fuse",
		  "no lazy mounts, nothing can stand in for missing files (modprobe fuse)" },
		{ f->fuse_resend, LCM_DOCTOR_WARN, "fuse-resend",
		  "when a daemon is killed or replaced, missing files of lazy mounts cannot be "
		  "read "
		  "until the next one has pulled them; needs Linux 6.9" },
		{ f->layer_fds, LCM_DOCTOR_WARN, "layer-descriptors",
		  "metadata and gate are attached below /tmp for a moment at each mount, at most "
		  "some 200 layers; "
		  "needs Linux 6.15" },
	};

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_doctor_item *it = add(d, rows[i].there ? LCM_DOCTOR_OK : rows[i].lost,
						 rows[i].name, rows[i].text);

		(void)snprintf(it->value, sizeof(it->value), "%s", rows[i].there ? "yes" : "no");
	}
}

static void check_dev_fuse(struct lcm_doctor *d)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, "/dev/fuse", O_RDWR, 0);
	struct lcm_doctor_item *it =
	    add(d, fd >= 0 ? LCM_DOCTOR_OK : LCM_DOCTOR_NO, "dev-fuse",
		fd == -ENOENT ? "modprobe fuse, or pass /dev/fuse into this container"
			      : "give root read and write access to it");

	(void)snprintf(it->value, sizeof(it->value), "/dev/fuse%s%s", fd < 0 ? ": " : "",
		       fd < 0 ? strerror(-fd) : "");
}

static const char *fs_name(unsigned long type)
{
	static const struct {
		unsigned long type;
		const char *name;
	} rows[] = {
		{ EXT4_SUPER_MAGIC, "ext4" },         { XFS_SUPER_MAGIC, "xfs" },
		{ BTRFS_SUPER_MAGIC, "btrfs" },       { TMPFS_MAGIC, "tmpfs" },
		{ OVERLAYFS_SUPER_MAGIC, "overlay" }, { F2FS_SUPER_MAGIC, "f2fs" },
		{ NFS_SUPER_MAGIC, "nfs" },           { FUSE_SUPER_MAGIC, "fuse" },
		{ 0xca451a4e, "bcachefs" },           { 0x2fc12fc1, "zfs" },
	};

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		if (rows[i].type == type)
			return rows[i].name;
	return "unknown";
}

static void check_fs(struct lcm_doctor *d, const char *dir)
{
	struct lcm_doctor_item *it;
	struct statfs st = { 0 };
	int r = (int)lcm_errno(statfs(dir, &st));
	unsigned long type = (unsigned long)(uint32_t)st.f_type;
	uint64_t avail = (uint64_t)st.f_bavail * (uint64_t)st.f_bsize;
	bool bad = type == OVERLAYFS_SUPER_MAGIC || type == NFS_SUPER_MAGIC ||
		   type == FUSE_SUPER_MAGIC;

	it =
	    add(d,
		r < 0 || bad          ? LCM_DOCTOR_NO
		: type == TMPFS_MAGIC ? LCM_DOCTOR_WARN
				      : LCM_DOCTOR_OK,
		"state-fs",
		type == TMPFS_MAGIC
		    ? "images are kept in memory and lost at the next boot; name a --root on a disk"
		    : "overlayfs takes no upper from there; name a --root on ext4, xfs or btrfs");
	(void)snprintf(it->value, sizeof(it->value), "%.100s: %s", dir,
		       r < 0 ? strerror(-r) : fs_name(type));
	it = add(d, avail < FREE_WARN_BYTES ? LCM_DOCTOR_WARN : LCM_DOCTOR_OK, "state-space",
		 "images may not fit; make room or name another --root");
	(void)snprintf(it->value, sizeof(it->value), "%.1f GiB free",
		       (double)avail / (double)(1ULL << 30));
}

/* Does readdir(3) tell the type of a file? */
static bool has_d_type(int fd)
{
	int dup = lcm_sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *d = dup < 0 ? NULL : fdopendir(dup);
	struct dirent *e;
	bool has = false;

	if (!d) {
		lcm_closep(&dup);
		return false;
	}
	while ((e = readdir(d)))
		if (strcmp(e->d_name, "f") == 0)
			has = e->d_type == DT_REG;
	(void)closedir(d);
	return has;
}

static void check_files(struct lcm_doctor *d, const char *dir)
{
	char path[4096] = "";
	lcm_autoclose int fd = -EBADF, file = -EBADF;
	struct lcm_doctor_item *it;
	int r = -ENAMETOOLONG;

	if (snprintf(path, sizeof(path), "%s/locum-doctor.XXXXXX", dir) < (int)sizeof(path))
		r = mkdtemp(path) ? 0 : (int)lcm_errno(-1);
	if (r < 0) {
		it = add(d, LCM_DOCTOR_NO, "state-write", "name a --root that can be written");
		(void)snprintf(it->value, sizeof(it->value), "%.80s: %s", dir, strerror(-r));
		return;
	}
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	file = fd < 0 ? fd : lcm_sys_openat(fd, "f", O_WRONLY | O_CREAT, 0600);
	d->xattrs = file >= 0 && lcm_sys_fsetxattr(file, "trusted.overlay.opaque", "y", 1) == 0;
	it = add(d, d->xattrs ? LCM_DOCTOR_OK : LCM_DOCTOR_NO, "trusted-xattrs",
		 "no opaque directories and no placeholders: layers cannot be unpacked there; run "
		 "as root in the "
		 "initial user namespace, --root on ext4, xfs or btrfs");
	(void)snprintf(it->value, sizeof(it->value), "%s", d->xattrs ? "yes" : "no");
	it = add(d, file >= 0 && has_d_type(fd) ? LCM_DOCTOR_OK : LCM_DOCTOR_NO, "d-type",
		 "overlayfs shows whiteouts as files without it (xfs: mkfs.xfs -n ftype=1)");
	(void)snprintf(it->value, sizeof(it->value), "%s",
		       it->state == LCM_DOCTOR_OK ? "yes" : "no");
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, path));
}

/* The nearest directory that is there: a state directory may not be made yet. */
static void existing_dir(const char *root, char *out, size_t cap)
{
	struct stat st;
	char *slash;

	(void)snprintf(out, cap, "%s%s", root[0] == '/' ? "" : "./", root);
	while ((lcm_sys_fstatat(AT_FDCWD, out, &st, 0) < 0 || !S_ISDIR(st.st_mode)) &&
	       (slash = strrchr(out, '/')))
		slash[slash == out] = '\0';
}

static void check_mounts(struct lcm_doctor *d, const char *dir)
{
	struct lcm_err err = { 0 };
	struct lcm_doctor_item *it;
	int r = lcm_mount_probe(dir, &d->features, &err);

	if (r == 0) {
		features_report(d);
		return;
	}
	it = add(d, LCM_DOCTOR_NO, "mounts", "");
	(void)snprintf(it->text, sizeof(it->text), "%.250s", lcm_err_text(&err, r));
}

/* First line that @path --version prints, of a program that may hang. Return: 0 or -errno. */
static int version_read(int fd, char *out, size_t cap)
{
	uint64_t end = lcm_now_ns() + VERSION_TIMEOUT_NS, now;
	size_t n = 0;

	while (n + 1 < cap && (now = lcm_now_ns()) < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		long r = lcm_errno(poll(&p, 1, (int)((end - now) / 1000000) + 1));

		if (r <= 0)
			continue;
		r = lcm_sys_read(fd, out + n, cap - 1 - n);
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return out[0] ? 0 : -ETIMEDOUT;
}

static int runtime_version(const char *name, char *out, size_t cap)
{
	char *argv[] = { (char *)name, (char *)"--version", NULL };
	posix_spawn_file_actions_t fa;
	int fds[2], r = lcm_sys_pipe(&fds[0], &fds[1]);
	pid_t pid;

	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_init(&fa);
	if (r == 0) {
		r = -posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
		if (r == 0)
			r = -posix_spawnp(&pid, name, &fa, NULL, argv, environ);
		(void)posix_spawn_file_actions_destroy(&fa);
	}
	(void)close(fds[1]);
	if (r == 0) {
		r = version_read(fds[0], out, cap);
		(void)kill(pid, SIGKILL); /* a zombie by now, or hanging */
		while (lcm_errno(waitpid(pid, NULL, 0)) == -EINTR)
			;
	}
	(void)close(fds[0]);
	return r;
}

static void check_runtimes(struct lcm_doctor *d)
{
	static const char *const names[] = { "crun", "runc" };
	struct lcm_doctor_item *it;
	size_t found = 0;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(names); i++) {
		char version[100];
		int r = runtime_version(names[i], version, sizeof(version));

		if (r == -ENOENT)
			continue;
		it = add(d, r < 0 ? LCM_DOCTOR_WARN : LCM_DOCTOR_OK, names[i],
			 "it does not tell its version; reinstall it");
		(void)snprintf(it->value, sizeof(it->value), "%s", r < 0 ? strerror(-r) : version);
		found += r == 0;
	}
	if (!found)
		add(d, LCM_DOCTOR_WARN, "runtime",
		    "locum run needs crun or runc (apt install crun); locum mount works without");
}

const char *lcm_doctor_cgroup(const char *path)
{
	char unified[4096];
	struct statfs st;

	if (lcm_errno(statfs(path, &st)) < 0)
		return "none";
	if ((unsigned long)st.f_type == CGROUP2_SUPER_MAGIC)
		return "v2";
	if ((unsigned long)st.f_type != TMPFS_MAGIC)
		return "none";
	if (snprintf(unified, sizeof(unified), "%s/unified", path) < (int)sizeof(unified) &&
	    lcm_errno(statfs(unified, &st)) == 0 && (unsigned long)st.f_type == CGROUP2_SUPER_MAGIC)
		return "hybrid";
	return "v1";
}

static void check_cgroup(struct lcm_doctor *d)
{
	const char *layout = lcm_doctor_cgroup("/sys/fs/cgroup");
	struct lcm_doctor_item *it =
	    add(d, strcmp(layout, "v2") == 0 ? LCM_DOCTOR_OK : LCM_DOCTOR_WARN, "cgroup",
		strcmp(layout, "none") == 0
		    ? "crun and runc start no container without cgroups; mount /sys/fs/cgroup"
		    : "of v2 only what v1 has left: background keeps to the decoders' group, I/O "
		      "limits "
		      "to "
		      "blkio; boot with systemd.unified_cgroup_hierarchy=1");

	(void)snprintf(it->value, sizeof(it->value), "%s", layout);
}

/* Made as the daemon makes it, and removed. */
static void check_background(struct lcm_doctor *d)
{
	struct lcm_background_config cfg;
	struct lcm_background *b = NULL;
	struct lcm_doctor_item *it;
	lcm_autojson json_t *o = NULL;
	const char *group;
	bool class;

	lcm_background_defaults(&cfg);
	if (lcm_background_new(&cfg, NULL, &b) == 0)
		o = lcm_background_json(b);
	lcm_background_free(b);
	group = json_string_value(json_object_get(o, "cgroup"));
	class = json_is_true(json_object_get(o, "idle_class"));
	it =
	    add(d, class ? LCM_DOCTOR_OK : LCM_DOCTOR_WARN, "idle-class",
		"background and containers share processors until the gate closes; give the daemon "
		"CAP_SYS_NICE");
	(void)snprintf(it->value, sizeof(it->value), "%s", class ? "yes" : "no");
	it = add(
	    d, json_is_true(json_object_get(o, "cgroup_threads")) ? LCM_DOCTOR_OK : LCM_DOCTOR_WARN,
	    "idle-cgroup",
	    group ? "on cgroup v2 only the decoders go into it; the daemon's threads yield by the "
		    "idle class and the gate"
		  : "background yields by the idle class and the gate, which other cgroups do "
		    "not see");
	(void)snprintf(it->value, sizeof(it->value), "%.120s",
		       group ? group : json_string_value(json_object_get(o, "no_cgroup")));
}

/* What of a mount's limits its container keeps once its gate is gone. */
static void check_carry(struct lcm_doctor *d, const char *dir)
{
	const char *io = "", *weight = "";
	char why[128] = "";
	struct lcm_err err = { 0 };
	int r = lcm_carry_probe("/sys/fs/cgroup", dir, &io, &weight, why, &err);
	struct lcm_doctor_item *it = add(d, r == 0 ? LCM_DOCTOR_OK : LCM_DOCTOR_WARN, "io-limits",
					 "limits of a mount end when it is native");

	(void)snprintf(it->value, sizeof(it->value), "%.120s", r == 0 ? io : err.msg);
	it = add(
	    d, *weight ? LCM_DOCTOR_OK : LCM_DOCTOR_WARN, "io-weights",
	    "weights of a mount end when it is native; echo bfq >/sys/block/DISK/queue/scheduler, "
	    "and 0 >iosched/low_latency there");
	(void)snprintf(it->value, sizeof(it->value), "%.120s",
		       *weight  ? weight
		       : r == 0 ? why
				: err.msg);
}

static void check_socket(struct lcm_doctor *d, const char *path)
{
	lcm_autoclose int fd =
	    (int)lcm_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct lcm_doctor_item *it;
	int r = fd;

	if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path) >= (int)sizeof(sa.sun_path))
		r = -ENAMETOOLONG;
	if (r >= 0)
		r = (int)lcm_errno(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)));
	it = add(d, r == 0 || r == -ENOENT ? LCM_DOCTOR_OK : LCM_DOCTOR_WARN, "daemon",
		 r == -ECONNREFUSED
		     ? "the socket is stale, its daemon is gone; the next verb starts a new one"
		     : "it does not answer; see its log");
	(void)snprintf(it->value, sizeof(it->value), "%.60s: %s", path,
		       r == 0         ? "reachable"
		       : r == -ENOENT ? "not running, the first verb starts it"
				      : strerror(-r));
}

/* One is started, gives up everything as it would for a layer, and ends. */
static void check_decoder(struct lcm_doctor *d, const char *program)
{
	const struct lcm_fn_config cfg = { .path = program, .max = 1, .first_uid = 1900000000 };
	struct lcm_fn_pool *pool = NULL;
	struct lcm_err err = { 0 };
	int r = lcm_fn_pool_new(&cfg, &pool, &err);
	struct lcm_doctor_item *it = add(d, r == 0 ? LCM_DOCTOR_OK : LCM_DOCTOR_NO, "isolation",
					 lcm_err_text(&err, r));

	d->decoder = r == 0;
	(void)snprintf(it->value, sizeof(it->value), "%.100s", program);
	lcm_fn_pool_free(pool);
}

void lcm_doctor_examine(struct lcm_doctor *d, const char *root, const char *socket,
			const char *decoder)
{
	char dir[4096];

	existing_dir(root, dir, sizeof(dir));
	check_host(d);
	check_dev_fuse(d);
	check_mounts(d, dir);
	check_fs(d, dir);
	check_files(d, dir);
	check_decoder(d, decoder);
	check_runtimes(d);
	check_cgroup(d);
	check_background(d);
	check_carry(d, dir);
	check_socket(d, socket);
	lcm_doctor_hosts(d, lcm_hosts_dirs);
}

enum lcm_doctor_mode lcm_doctor_verdict(const struct lcm_doctor *d)
{
	const struct lcm_mount_features *f = &d->features;

	if (!d->root || !d->xattrs || !d->decoder || !f->overlay)
		return LCM_DOCTOR_NONE;
	return f->data_only && f->fuse && (f->erofs_file || f->erofs_loop) ? LCM_DOCTOR_LAZY
									   : LCM_DOCTOR_FULL;
}
