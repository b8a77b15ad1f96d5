/* SPDX-License-Identifier: Apache-2.0 */
#include "image/bundle.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/limits.h"

#define OPTIONS_MAX 8

/* containers.conf(5) default_capabilities */
static const char *const capabilities[] = {
	"CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",     "CAP_FSETID",
	"CAP_KILL",    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",    "CAP_SETGID",
	"CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT", NULL,
};

/* podman pkg/specgen/generate/config_linux.go BlockAccessToKernelFilesystems() */
static const char *const masked_paths[] = {
	"/proc/acpi",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/dev/block",
	"/sys/devices/virtual/powercap",
	"/sys/firmware",
	"/sys/fs/selinux",
	NULL,
};

static const char *const readonly_paths[] = {
	"/proc/asound", "/proc/bus",           "/proc/fs", "/proc/irq",
	"/proc/sys",    "/proc/sysrq-trigger", NULL,
};

struct mount {
	const char *dest, *type, *source;
	const char *options[OPTIONS_MAX];
};

static const struct mount mounts[] = {
	{ "/proc", "proc", "proc", { "nosuid", "noexec", "nodev" } },
	{ "/dev",
	  "tmpfs",
	  "tmpfs",
	  { "nosuid", "noexec", "strictatime", "mode=755", "size=65536k" } },
	{ "/dev/pts",
	  "devpts",
	  "devpts",
	  { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
	{ "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
	{ "/dev/shm", "tmpfs", "shm", { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
};

static const struct mount own_sys = {
	"/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" }
};
/* A new sysfs would show the network namespace it is mounted in, which here is the host's anyway.
 */
static const struct mount host_sys = {
	"/sys", "bind", "/sys", { "rprivate", "nosuid", "noexec", "nodev", "ro", "rbind" }
};
static const struct mount cgroup = { "/sys/fs/cgroup",
				     "cgroup",
				     "cgroup",
				     { "rprivate", "nosuid", "noexec", "nodev", "relatime",
				       "ro" } };

/* ---- small builders: each takes the new reference, NULL means out of memory ---- */

static int set(json_t *obj, const char *key, json_t *value)
{
	return json_object_set_new(obj, key, value) < 0 ? -ENOMEM : 0;
}

static int append(json_t *array, json_t *value)
{
	return json_array_append_new(array, value) < 0 ? -ENOMEM : 0;
}

/* JSON text is UTF-8; arguments and paths may be anything. (Out of memory is told apart at the
 * end.) */
static int text(const char *s, const char *what, json_t **ret, struct lcm_err *err)
{
	*ret = json_string(s);
	return *ret
		   ? 0
		   : lcm_err_set(err, -EINVAL, "%s is not UTF-8, config.json cannot hold it", what);
}

static int set_text(json_t *obj, const char *key, const char *s, const char *what,
		    struct lcm_err *err)
{
	json_t *v;
	int r = text(s, what, &v, err);

	return r < 0 ? r : set(obj, key, v);
}

static int append_all(json_t *array, const char *const *v, const char *what, struct lcm_err *err)
{
	int r = 0;

	for (; r == 0 && v && *v; v++) {
		json_t *s;

		r = text(*v, what, &s, err);
		if (r == 0)
			r = append(array, s);
	}
	return r;
}

static int set_list(json_t *obj, const char *key, const char *const *v)
{
	json_t *array = json_array();
	int r = set(obj, key, array);

	return r < 0 ? r : append_all(array, v, key, NULL);
}

/* A new object or array @child under @key; borrowed. */
static json_t *set_child(json_t *obj, const char *key, json_t *child)
{
	return set(obj, key, child) < 0 ? NULL : child;
}

/* ---- process ---- */

static int set_args(json_t *process, const struct lcm_image_config *c,
		    const struct lcm_bundle_opts *o, struct lcm_err *err)
{
	const char *const *entrypoint = o->entrypoint, *const *cmd = o->args;
	json_t *array = set_child(process, "args", json_array());
	int r;

	if (!array)
		return -ENOMEM;
	if (!cmd && !entrypoint)
		cmd = (const char *const *)c->cmd;
	if (!entrypoint)
		entrypoint = (const char *const *)c->entrypoint;
	r = append_all(array, entrypoint, "an argument", err);
	if (r == 0)
		r = append_all(array, cmd, "an argument", err);
	if (r < 0)
		return r;
	if (json_array_size(array) == 0)
		return lcm_err_set(err, -EINVAL, "the image names no command to run; give one");
	return 0;
}

/* "KEY=VALUE" into the map @env; a later one replaces an earlier one in its place. */
static int put_env(json_t *env, const char *s, struct lcm_err *err)
{
	const char *eq = strchr(s, '=');
	lcm_autofree char *key = eq ? strndup(s, (size_t)(eq - s)) : NULL;
	lcm_autojson json_t *name = NULL;
	json_t *value;
	int r;

	if (!eq || eq == s)
		return lcm_err_set(err, -EINVAL, "environment \"%.128s\" is not KEY=VALUE", s);
	if (!key)
		return -ENOMEM;
	r = text(key, "the name of an environment variable", &name, err);
	if (r == 0)
		r = text(s, "the value of an environment variable", &value, err);
	return r < 0 ? r : set(env, key, value);
}

static int default_env(json_t *env, const char *key, const char *value, struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_BUNDLE_MAX);
	int r;

	if (!value || json_object_get(env, key))
		return 0;
	r = lcm_buf_printf(&b, "%s=%s", key, value);
	return r < 0 ? r : put_env(env, lcm_buf_str(&b), err);
}

static int fill_env(json_t *env, const struct lcm_image_config *c, const struct lcm_bundle_opts *o,
		    const char *hostname, struct lcm_err *err)
{
	static const char path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	const char *const *v;
	int r = 0;

	for (v = (const char *const *)c->env; r == 0 && *v; v++)
		if (strchr(*v, '=') && **v != '=')
			r = put_env(env, *v, err);
	for (v = o->env; r == 0 && v && *v; v++)
		r = put_env(env, *v, err);
	if (r == 0)
		r = default_env(env, "PATH", path, err);
	if (r == 0)
		r = default_env(env, "HOME", o->home, err);
	if (r == 0)
		r = default_env(env, "HOSTNAME", hostname, err);
	if (r == 0)
		r = default_env(env, "TERM", o->terminal ? "xterm" : NULL, err);
	if (r == 0)
		r = default_env(env, "container", "locum", err);
	return r;
}

static int set_env(json_t *process, const struct lcm_image_config *c,
		   const struct lcm_bundle_opts *o, const char *hostname, struct lcm_err *err)
{
	lcm_autojson json_t *env = json_object();
	json_t *array = set_child(process, "env", json_array()), *value;
	const char *key;
	int r;

	if (!env || !array)
		return -ENOMEM;
	r = fill_env(env, c, o, hostname, err);
	if (r < 0)
		return r;
	json_object_foreach (env, key, value)
		if (json_array_append(array, value) < 0)
			return -ENOMEM;
	return 0;
}

static int set_user(json_t *process, const struct lcm_bundle_opts *o)
{
	json_t *user = set_child(process, "user", json_object()), *gids;
	int r = user ? set(user, "uid", json_integer(o->uid)) : -ENOMEM;

	if (r == 0)
		r = set(user, "gid", json_integer(o->gid));
	if (r < 0)
		return r;
	/* setgroups(2) replaces all: without the main group a file it may not read would become
	 * readable (CVE-2022-2989) */
	gids = set_child(user, "additionalGids", json_array());
	r = gids ? append(gids, json_integer(o->gid)) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < o->n_gids; i++)
		if (o->gids[i] != o->gid)
			r = append(gids, json_integer(o->gids[i]));
	return r;
}

static int set_capabilities(json_t *process, const struct lcm_bundle_opts *o)
{
	static const char *const none[] = { NULL };
	const char *const *held = o->uid == 0 ? capabilities : none;
	json_t *caps = set_child(process, "capabilities", json_object());
	int r = caps ? set_list(caps, "bounding", capabilities) : -ENOMEM;

	if (r == 0)
		r = set_list(caps, "effective", held);
	if (r == 0)
		r = set_list(caps, "permitted", held);
	return r;
}

static int set_cwd(json_t *process, const struct lcm_image_config *c,
		   const struct lcm_bundle_opts *o, struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_BUNDLE_MAX);
	const char *cwd = o->cwd ? o->cwd : c->working_dir;
	int r = 0;

	if (o->cwd && o->cwd[0] != '/')
		return lcm_err_set(err, -EINVAL, "working directory \"%.200s\" is not absolute",
				   o->cwd);
	if (cwd[0] != '/') {
		r = lcm_buf_printf(&b, "/%s", cwd);
		cwd = lcm_buf_str(&b);
	}
	return r < 0 ? r : set_text(process, "cwd", cwd, "the working directory", err);
}

static int set_terminal(json_t *process, const struct lcm_bundle_opts *o)
{
	json_t *size;
	int r = set(process, "terminal", json_boolean(o->terminal));

	if (r < 0 || !o->terminal || !o->rows || !o->cols)
		return r;
	size = set_child(process, "consoleSize", json_object());
	r = size ? set(size, "height", json_integer(o->rows)) : -ENOMEM;
	return r < 0 ? r : set(size, "width", json_integer(o->cols));
}

static int set_process(json_t *root, const struct lcm_image_config *c,
		       const struct lcm_bundle_opts *o, const char *hostname, struct lcm_err *err)
{
	json_t *process = set_child(root, "process", json_object());
	int r = process ? set_terminal(process, o) : -ENOMEM;

	if (r == 0)
		r = set_user(process, o);
	if (r == 0)
		r = set_args(process, c, o, err);
	if (r == 0)
		r = set_env(process, c, o, hostname, err);
	if (r == 0)
		r = set_cwd(process, c, o, err);
	if (r == 0)
		r = set_capabilities(process, o);
	return r;
}

/* ---- mounts ---- */

static int append_mount(json_t *array, const struct mount *m, struct lcm_err *err)
{
	json_t *obj = json_object();
	int r = append(array, obj);

	if (r == 0)
		r = set_text(obj, "destination", m->dest, "a mount point", err);
	if (r == 0)
		r = set_text(obj, "type", m->type, "type", err);
	if (r == 0)
		r = set_text(obj, "source", m->source, "the source of a bind mount", err);
	if (r == 0)
		r = set_list(obj, "options", m->options);
	return r;
}

static int append_bind(json_t *array, const struct lcm_bundle_bind *b, struct lcm_err *err)
{
	struct mount m = {
		b->dest, "bind", b->source, { "rbind", "rprivate", b->readonly ? "ro" : "rw" }
	};

	if (b->source[0] != '/' || b->dest[0] != '/')
		return lcm_err_set(err, -EINVAL,
				   "bind mount %.100s on %.100s: both must be absolute paths",
				   b->source, b->dest);
	return append_mount(array, &m, err);
}

static int set_mounts(json_t *root, const struct lcm_bundle_opts *o, struct lcm_err *err)
{
	json_t *array = set_child(root, "mounts", json_array());
	int r = array ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(mounts); i++)
		r = append_mount(array, &mounts[i], err);
	if (r == 0)
		r = append_mount(array, o->host_network ? &host_sys : &own_sys, err);
	if (r == 0)
		r = append_mount(array, &cgroup, err);
	for (size_t i = 0; r == 0 && i < o->n_binds; i++)
		r = append_bind(array, &o->binds[i], err);
	return r;
}

/* ---- linux ---- */

static int set_namespaces(json_t *linux_, const struct lcm_bundle_opts *o)
{
	static const char *const types[] = { "pid", "ipc", "uts", "mount", "cgroup", "network" };
	size_t n = LCM_ARRAY_SIZE(types) - (o->host_network ? 1 : 0);
	json_t *array = set_child(linux_, "namespaces", json_array());
	int r = array ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = append(array, json_pack("{s:s}", "type", types[i]));
	return r;
}

static int set_linux(json_t *root, const struct lcm_bundle_opts *o, struct lcm_err *err)
{
	json_t *linux_ = set_child(root, "linux", json_object());
	int r = linux_ ? set_namespaces(linux_, o) : -ENOMEM;

	if (r == 0 && o->cgroup_path)
		r = set_text(linux_, "cgroupsPath", o->cgroup_path, "the cgroup path", err);
	/* all but the default devices, which runtimes add by themselves */
	if (r == 0)
		r = set(linux_, "resources",
			json_pack("{s:[{s:b,s:s}]}", "devices", "allow", 0, "access", "rwm"));
	if (r == 0)
		r = set_list(linux_, "maskedPaths", masked_paths);
	if (r == 0)
		r = set_list(linux_, "readonlyPaths", readonly_paths);
	return r;
}

static int set_root(json_t *root, const struct lcm_bundle_opts *o, struct lcm_err *err)
{
	json_t *obj;
	int r;

	if (!o->rootfs || o->rootfs[0] != '/')
		return lcm_err_set(err, -EINVAL,
				   "root file system \"%.200s\" is not an absolute path",
				   o->rootfs ? o->rootfs : "");
	obj = set_child(root, "root", json_object());
	r = obj ? set_text(obj, "path", o->rootfs, "the path of the root file system", err)
		: -ENOMEM;
	return r < 0 ? r : set(obj, "readonly", json_boolean(o->readonly));
}

struct sink {
	struct lcm_buf *out;
	int r; /* the first failure; what follows is dropped */
};

static int dump_cb(const char *p, size_t len, void *arg)
{
	struct sink *s = arg;

	if (s->r == 0)
		s->r = lcm_buf_add(s->out, p, len);
	return s->r;
}

static int build(json_t *root, const struct lcm_image_config *c, const struct lcm_bundle_opts *o,
		 struct lcm_err *err)
{
	const char *hostname = o->hostname ? o->hostname : "locum";
	int r = root ? set(root, "ociVersion", json_string("1.0.2")) : -ENOMEM;

	if (r == 0)
		r = set_process(root, c, o, hostname, err);
	if (r == 0)
		r = set_root(root, o, err);
	if (r == 0)
		r = set_text(root, "hostname", hostname, "the host name", err);
	if (r == 0)
		r = set_mounts(root, o, err);
	if (r == 0)
		r = set_linux(root, o, err);
	return r;
}

static int dump(const json_t *root, struct lcm_buf *out, struct lcm_err *err)
{
	struct sink sink = { .out = out };

	/* jansson 2.14 ignores the result of some of its calls of the callback */
	if (json_dump_callback(root, dump_cb, &sink, JSON_INDENT(1)) == 0 && sink.r == 0)
		return 0;
	if (sink.r == -EFBIG)
		return lcm_err_set(err, -EFBIG,
				   "config.json: arguments and environment are too large");
	return -ENOMEM;
}

int lcm_bundle_config(const struct lcm_image_config *c, const struct lcm_bundle_opts *o,
		      struct lcm_buf *out, struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	size_t len = out->len;
	int r;

	lcm_json_oom_begin();
	root = json_object();
	r = build(root, c, o, err);
	if (r == 0)
		r = dump(root, out, err);
	if (lcm_json_oom_end() || r == -ENOMEM)
		r = lcm_err_set(err, -ENOMEM, "config.json: out of memory");
	if (r < 0 && out->data) {
		out->len = len;
		out->data[len] = '\0';
	}
	return r;
}

bool lcm_container_id_ok(const char *id)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	    "_+-.";
	size_t n = strlen(id);

	return n > 0 && n <= LCM_CONTAINER_ID_MAX && strspn(id, allowed) == n && *id != '.';
}
