/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - mount, make a bundle, hand the terminal to crun or runc, clean up.
 */
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "image/bundle.h"
#include "image/user.h"
#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/mount_options.h"
#include "src/cmd/runtime.h"

static const char usage[] =
    "Usage: locum run [OPTION]... IMAGE [-- COMMAND [ARGUMENT]...]\n"
    "Run a container; it starts before its image has arrived.\n"
    "\n" MOUNT_OPTIONS_HELP "  -e, --env KEY=VALUE     set a variable; may be repeated\n"
    "  -w, --workdir DIR       working directory\n"
    "  -u, --user USER[:GROUP] run as\n"
    "  -v, --volume SRC:DST[:ro] bind mount; may be repeated\n"
    "      --entrypoint CMD    instead of the image's entrypoint\n"
    "      --hostname NAME     (the id)\n"
    "      --net host|none     network namespace: the host's (default) or an empty one\n"
    "  -t, --tty               a terminal (default when stdin and stdout are one)\n"
    "      --no-tty            none\n"
    "      --runtime PATH      the runtime (crun, else runc, below /usr)\n"
    "      --pid-file FILE     write the container's pid\n"
    "  -h, --help              this text\n"
    "\n"
    "Exit status: the container's; 125 when locum or the runtime failed.\n";

#define LIST_MAX 256

enum { OPT_ENTRYPOINT = 256, OPT_HOSTNAME, OPT_NET, OPT_NO_TTY, OPT_RUNTIME, OPT_PID_FILE };

struct run_options {
	struct mount_options mount;
	const char *env[LIST_MAX + 1], *entrypoint[2], *workdir, *user, *hostname, *runtime,
	    *pid_file, *image;
	struct lcm_bundle_bind binds[LIST_MAX];
	size_t n_env, n_binds;
	char *const *args;
	bool no_net, tty, help;
};

static int add_volume(struct run_options *o, char *spec)
{
	char *dst = strchr(spec, ':'), *opt = dst ? strchr(dst + 1, ':') : NULL;

	if (o->n_binds == LIST_MAX || *spec != '/' || !dst || dst[1] != '/' ||
	    (opt && strcmp(opt, ":ro") != 0))
		return cmd_usage("run", "--volume %s: /source:/destination[:ro] is expected", spec);
	*dst++ = '\0';
	if (opt)
		*opt = '\0';
	o->binds[o->n_binds++] =
	    (struct lcm_bundle_bind){ .source = spec, .dest = dst, .readonly = opt != NULL };
	return 0;
}

static int take(struct run_options *o, int c)
{
	switch (c) {
	case 'e':
		if (o->n_env == LIST_MAX)
			return cmd_usage("run", "more than %d variables", LIST_MAX);
		o->env[o->n_env++] = optarg;
		return 0;
	case 'v':
		return add_volume(o, optarg);
	case 'w':
		o->workdir = optarg;
		return 0;
	case 'u':
		o->user = optarg;
		return 0;
	case 't':
	case OPT_NO_TTY:
		o->tty = c == 't';
		return 0;
	case OPT_ENTRYPOINT:
		o->entrypoint[0] = optarg;
		return 0;
	case OPT_HOSTNAME:
		o->hostname = optarg;
		return 0;
	case OPT_RUNTIME:
		o->runtime = optarg;
		return 0;
	case OPT_PID_FILE:
		o->pid_file = optarg;
		return 0;
	case OPT_NET:
		o->no_net = strcmp(optarg, "none") == 0;
		return o->no_net || strcmp(optarg, "host") == 0
			   ? 0
			   : cmd_usage("run", "--net %s: host or none is expected", optarg);
	default:
		return mount_options_take(&o->mount, "run", c, optarg);
	}
}

static int parse(int argc, char **argv, struct run_options *o)
{
	static const struct option longs[] = {
		MOUNT_OPTIONS_LONG,
		{ "env", required_argument, NULL, 'e' },
		{ "workdir", required_argument, NULL, 'w' },
		{ "user", required_argument, NULL, 'u' },
		{ "volume", required_argument, NULL, 'v' },
		{ "tty", no_argument, NULL, 't' },
		{ "no-tty", no_argument, NULL, OPT_NO_TTY },
		{ "entrypoint", required_argument, NULL, OPT_ENTRYPOINT },
		{ "hostname", required_argument, NULL, OPT_HOSTNAME },
		{ "net", required_argument, NULL, OPT_NET },
		{ "runtime", required_argument, NULL, OPT_RUNTIME },
		{ "pid-file", required_argument, NULL, OPT_PID_FILE },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, r = 0;

	o->tty = isatty(0) && isatty(1);
	while (r == 0 && (c = getopt_long(argc, argv, "+he:w:u:v:t", longs, NULL)) != -1) {
		if (c == 'h')
			o->help = true;
		else
			r = take(o, c);
	}
	if (r || o->help)
		return r;
	if (optind == argc)
		return cmd_usage("run", "an image is needed");
	o->image = argv[optind++];
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	o->args = optind < argc ? argv + optind : NULL;
	return 0;
}

/* ---- the bundle ---- */

/* A file of the image, read in its own root: no link leads out of it. Missing is NULL. */
static char *read_in_root(const char *rootfs, const char *path, size_t *ret_len)
{
	lcm_autoclose int root = lcm_sys_openat(AT_FDCWD, rootfs, O_PATH | O_DIRECTORY, 0);
	lcm_autoclose int fd = root < 0 ? root
					: lcm_sys_open_in_root(root, path, O_RDONLY | O_NONBLOCK);
	char self[64], *text = NULL;

	*ret_len = 0;
	if (fd < 0)
		return NULL;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return lcm_read_file_at(AT_FDCWD, self, LCM_USER_FILE_MAX, &text, ret_len) < 0 ? NULL
										       : text;
}

/* Root needs no look at the image's files, and so no fetch. */
static int find_user(const struct run_options *o, const struct lcm_image_config *cfg,
		     const char *rootfs, struct lcm_user **ret, struct lcm_err *err)
{
	const char *spec = o->user ? o->user : cfg->user;
	bool root = !*spec || strcmp(spec, "0") == 0 || strcmp(spec, "root") == 0 ||
		    strcmp(spec, "0:0") == 0;
	size_t plen = 0, glen = 0;
	lcm_autofree char *passwd = root ? NULL : read_in_root(rootfs, "etc/passwd", &plen);
	lcm_autofree char *group = root ? NULL : read_in_root(rootfs, "etc/group", &glen);

	if (!root)
		return lcm_user_resolve(spec, passwd, plen, group, glen, ret, err);
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

static int write_bundle(const struct run_options *o, const char *id, const char *config,
			const char *rootfs, const char *bundle, struct lcm_err *err)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	lcm_auto(lcm_user) user = NULL;
	lcm_autobuf struct lcm_buf out = LCM_BUF(LCM_BUNDLE_MAX);
	struct lcm_bundle_opts b = {
		.rootfs = rootfs,
		.hostname = o->hostname ? o->hostname : id,
		.entrypoint = o->entrypoint[0] ? o->entrypoint : NULL,
		.args = (const char *const *)o->args,
		.env = o->env,
		.cwd = o->workdir,
		.binds = o->binds,
		.n_binds = o->n_binds,
		.terminal = o->tty,
		.readonly = o->mount.read_only,
		.host_network = !o->no_net,
	};
	lcm_autofree char *path = NULL;
	struct winsize ws;
	int r = lcm_image_config_parse(config, strlen(config), &cfg, err);

	if (r == 0)
		r = find_user(o, cfg, rootfs, &user, err);
	if (r < 0)
		return r;
	b.uid = user->uid;
	b.gid = user->gid;
	b.gids = user->gids;
	b.n_gids = user->n_gids;
	b.home = user->home ? user->home : "/root";
	if (o->tty && ioctl(0, TIOCGWINSZ, &ws) == 0) {
		b.rows = ws.ws_row;
		b.cols = ws.ws_col;
	}
	r = lcm_bundle_config(cfg, &b, &out, err);
	if (r == 0)
		r = lcm_mkdir_p(bundle, 0700);
	if (r == 0 && asprintf(&path, "%s/config.json", bundle) < 0)
		r = -ENOMEM;
	if (r == 0) {
		r = lcm_write_file_at(AT_FDCWD, path, out.data, out.len, 0600);
		if (r < 0)
			return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	}
	return r;
}

/* ---- running ---- */

static int get_config(const char *id, json_t **ret, struct lcm_err *err)
{
	lcm_autofree char *path = client_path(id, "/config");

	return path ? client_call("GET", path, NULL, false, ret, err) : -ENOMEM;
}

static int run_mounted(const struct run_options *o, json_t *st, const char *bundle, int *ret_status,
		       struct lcm_err *err)
{
	const char *id = json_string_value(json_object_get(st, "id")),
		   *rootfs = json_string_value(json_object_get(st, "target"));
	struct runtime_spec spec = {
		.path = o->runtime, .id = id, .bundle = bundle, .pid_file = o->pid_file
	};
	lcm_autofree char *pid_file = NULL;
	json_t *config = NULL;
	int r = get_config(id, &config, err);

	if (!spec.pid_file && r == 0) {
		r = asprintf(&pid_file, "%s/pid", bundle) < 0 ? -ENOMEM : 0;
		spec.pid_file = pid_file;
	}
	if (r == 0)
		r = write_bundle(o, id, json_string_value(json_object_get(config, "config_text")),
				 rootfs, bundle, err);
	json_decref(config);
	if (r < 0)
		return r;
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, spec.pid_file, 0));
	r = runtime_run(&spec, ret_status, err);
	/* Both write it when the container's process runs; a failure before that has status 1 as
	 * any program's. */
	if (r == 0 && *ret_status && access(spec.pid_file, F_OK) < 0)
		return lcm_err_set(err, -ECANCELED,
				   "%s could not start the container; its message is above",
				   spec.path);
	return r;
}

/* In a unit everything of the container's lies together, and stays with it. */
static int find_bundle(json_t *st, char **ret)
{
	const char *unit = json_string_value(json_object_get(st, "unit")),
		   *id = json_string_value(json_object_get(st, "id"));

	return asprintf(ret, "%s/%s/%s", cmd_globals.run_dir, unit ? "u" : "b", unit ? unit : id) <
		       0
		   ? -ENOMEM
		   : 0;
}

/* The unit is still attached: it leaves its place only with the mount. */
static void end_bundle(json_t *st, const char *bundle)
{
	lcm_autofree char *pid_file = NULL;

	if (!json_is_string(json_object_get(st, "unit")))
		lcm_ignore(lcm_rmtree_at(AT_FDCWD, bundle));
	else if (asprintf(&pid_file, "%s/pid", bundle) >= 0)
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, pid_file, 0));
}

static void end_mount(const char *id)
{
	lcm_autofree char *path = client_path(id, "?lazy=1");
	struct lcm_err err = { 0 };
	int r = path ? client_call("DELETE", path, NULL, true, NULL, &err) : -ENOMEM;

	if (r < 0)
		(void)cmd_error("run", &err, r);
}

int cmd_run_main(int argc, char **argv)
{
	struct run_options o = { .mount = { .pull = "" } };
	lcm_autofree char *bundle = NULL;
	struct lcm_err err = { 0 };
	json_t *st = NULL;
	const char *id;
	int r = parse(argc, argv, &o), status = 0;

	if (r)
		return r;
	if (o.help)
		return fputs(usage, stdout) < 0;
	r = runtime_find(&o.runtime, &err);
	if (r == 0)
		r = client_session(mount_options_body(&o.mount, o.image, NULL), "ready", &st, &err);
	id = json_string_value(json_object_get(st, "id"));
	if (r == 0)
		r = find_bundle(st, &bundle);
	if (r == 0) {
		r = run_mounted(&o, st, bundle, &status, &err);
		end_bundle(st, bundle);
		end_mount(id);
	}
	json_decref(st);
	if (r == 0)
		return status;
	(void)cmd_error("run", &err, r);
	return CMD_RUN_FAILED;
}
