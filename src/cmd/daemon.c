/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include "registry/hosts.h"
#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/config_file.h"
#include "src/daemon/daemon.h"
#include "src/daemon/image_index.h"
#include "src/daemon/session.h"

#define LIST_MAX 32
#define REPLACE_MS 30000

static const char usage[] =
    "Usage: locum [--root DIR] [--run DIR] daemon [OPTION]...\n"
    "Run the daemon in the foreground until SIGTERM. Other verbs start one when none runs.\n"
    "\n"
    "      --stop                 end the running daemon; mounts stay, missing files wait for the "
    "next daemon\n"
    "      --replace              end the running daemon and go on in its place\n"
    "      --config FILE          options, one to a line without dashes (/etc/locum/daemon.conf, "
    "if it is "
    "there)\n"
    "      --keep WHO             has the gates while there is no daemon: holder (a process of its "
    "own), systemd (FDSTORE), none (holder)\n"
    "      --insecure HOST[:PORT] plain http to this host is allowed (loopback always is); may be "
    "repeated\n"
    "      --authfile FILE        credentials as docker and podman write them; may be repeated\n"
    "      --hosts-dir DIR        hosts.toml and certificates of registries, as containerd, docker "
    "and "
    "podman read them; may be repeated; none: no such directory\n"
    "      --image-credential-provider-config FILE\n"
    "                             programs that give credentials, as the kubelet's option of this "
    "name\n"
    "      --image-credential-provider-bin-dir DIR\n"
    "                             where those programs are\n"
    "      --ca-file FILE         PEM certificates to trust instead of the system's\n"
    "      --big-data SIZE        data files from this size are read by range (8M; 0: never)\n"
    "      --big-exec SIZE        the same for executables and libraries (32M; 0: never)\n"
    "      --deadline SECONDS     a reader of a missing file gets EIO after so long (60; 0: "
    "never)\n"
    "      --at-deadline WHAT     eio, or freeze: its containers freeze until something comes "
    "(eio)\n"
    "      --no-background        fetch only what is asked for (for measurements)\n"
    "      --idle HOW             background runs on processor time that nobody wants: gated, "
    "class (by the scheduler alone), no (gated)\n"
    "      --idle-slice MS        it looks so often whether it may go on, 1 to 1000 (2)\n"
    "      --idle-wait SECONDS    when it has had less than its share for so long, it gets that "
    "(10)\n"
    "      --idle-share PERCENT   of one processor, 0 to 50 (5; 0: never)\n"
    "      --hold MS              background waits so long after a demand (50)\n"
    "      --grace MS             and so long after a mount for its first one (150)\n"
    "      --index WHERE          tables of contents beside images: manifest (what it names), "
    "referrers, none (manifest)\n"
    "      --meter-policy FILE    classes of mounts and what they may use "
    "(/etc/locum/meter.json, if it is there)\n"
    "      --quota SIZE           when layers take more, those that nothing uses go, the oldest "
    "first "
    "(0: never)\n"
    "      --quota-low SIZE       until they take no more than this (4/5 of it)\n"
    "      --retries N            further tries of one transfer, 1 to 100 (5)\n"
    "      --without FEATURE      do as if the kernel lacked data-only or redirect (for tests)\n"
    "      --web [ADDR:]PORT      the page of all mounts, and metrics, on a loopback address, for "
    "who "
    "has RUN/web.token\n"
    "      --verbose, --debug     more log lines on stderr\n"
    "  -h, --help                 this text\n";

enum {
	OPT_STOP = 256,
	OPT_REPLACE,
	OPT_KEEP,
	OPT_CONFIG,
	OPT_INSECURE,
	OPT_AUTHFILE,
	OPT_HOSTS,
	OPT_CA,
	OPT_PROVIDERS,
	OPT_PROVIDER_DIR,
	OPT_BIG_DATA,
	OPT_BIG_EXEC,
	OPT_DEADLINE,
	OPT_AT_DEADLINE,
	OPT_NO_BACKGROUND,
	OPT_IDLE,
	OPT_IDLE_SLICE,
	OPT_IDLE_WAIT,
	OPT_IDLE_SHARE,
	OPT_HOLD,
	OPT_GRACE,
	OPT_INDEX,
	OPT_METER_POLICY,
	OPT_RETRIES,
	OPT_WITHOUT,
	OPT_WEB,
	OPT_QUOTA,
	OPT_QUOTA_LOW,
	OPT_VERBOSE,
	OPT_DEBUG,
	OPT_READY,
};

struct options {
	struct lcm_daemon_config cfg;
	const char *insecure[LIST_MAX + 1], *auth[LIST_MAX + 1], *hosts[LIST_MAX + 1];
	size_t n_insecure, n_auth, n_hosts;
	char cri_auth[4096]; /* what locum-containerd --cri keeps */
	uint64_t ready_fd;
	struct lcm_config file; /* owned; other members point into it */
	bool stop, replace, help;
};

static int number(const char *name, const char *value, bool suffixes, uint64_t scale, uint64_t *ret)
{
	uint64_t n;

	if (lcm_number_parse(value, suffixes, &n) < 0 || n > UINT64_MAX / scale)
		return cmd_usage("daemon", "--%s %s is not a number", name, value);
	*ret = n * scale;
	return 0;
}

static int add(const char *name, const char **list, size_t *n, const char *value)
{
	if (*n == LIST_MAX)
		return cmd_usage("daemon", "--%s is given more than %d times", name, LIST_MAX);
	list[(*n)++] = value;
	return 0;
}

static int take_idle(struct lcm_background_config *cfg, int c)
{
	uint64_t n = 0, max = c == OPT_IDLE_SHARE ? 50 : c == OPT_IDLE_SLICE ? 1000 : 1000000;
	const char *name = c == OPT_IDLE_SHARE   ? "idle-share"
			   : c == OPT_IDLE_SLICE ? "idle-slice"
						 : "idle-wait";
	int r;

	if (c == OPT_IDLE) {
		r = lcm_background_parse(optarg, &cfg->how);
		return r == 0 ? 0
			      : cmd_usage("daemon", "--idle %s: gated, class or no is expected",
					  optarg);
	}
	r = number(name, optarg, false, 1, &n);
	if (r)
		return r;
	if (n > max || (c == OPT_IDLE_SLICE && n < 1))
		return cmd_usage("daemon", "--%s %s: %d to %d is expected", name, optarg,
				 c == OPT_IDLE_SLICE, (int)max);
	if (c == OPT_IDLE_SHARE)
		cfg->share_percent = (uint32_t)n;
	else if (c == OPT_IDLE_SLICE)
		cfg->slice_ns = n * 1000000;
	else
		cfg->wait_ns = n * 1000000000;
	return 0;
}

static int take_retries(uint32_t *ret)
{
	uint64_t n = 0;
	int r = number("retries", optarg, false, 1, &n);

	if (r == 0 && (n < 1 || n > 100))
		r = cmd_usage("daemon", "--retries %s: 1 to 100 is expected", optarg);
	*ret = (uint32_t)n;
	return r;
}

static int take(struct options *o, int c)
{
	switch (c) {
	case OPT_INSECURE:
		return add("insecure", o->insecure, &o->n_insecure, optarg);
	case OPT_AUTHFILE:
		return add("authfile", o->auth, &o->n_auth, optarg);
	case OPT_HOSTS:
		return add("hosts-dir", o->hosts, &o->n_hosts, optarg);
	case OPT_CA:
		o->cfg.registry.ca_file = optarg;
		return 0;
	case OPT_KEEP:
		if (lcm_keep_parse(optarg, &o->cfg.keep) == 0)
			return 0;
		return cmd_usage("daemon", "--keep %s: holder, systemd or none is expected",
				 optarg);
	case OPT_QUOTA:
		return number("quota", optarg, true, 1, &o->cfg.quota_high);
	case OPT_QUOTA_LOW:
		return number("quota-low", optarg, true, 1, &o->cfg.quota_low);
	case OPT_WEB:
		o->cfg.web = optarg;
		return 0;
	case OPT_BIG_DATA:
		return number("big-data", optarg, true, 1, &o->cfg.big.data_bytes);
	case OPT_BIG_EXEC:
		return number("big-exec", optarg, true, 1, &o->cfg.big.exec_bytes);
	case OPT_DEADLINE:
		return number("deadline", optarg, false, 1000000000, &o->cfg.deadline_ns);
	case OPT_AT_DEADLINE:
		if (lcm_at_deadline_parse(optarg, &o->cfg.freeze) == 0)
			return 0;
		return cmd_usage("daemon", "--at-deadline %s: eio or freeze is expected", optarg);
	case OPT_HOLD:
		return number("hold", optarg, false, 1000000, &o->cfg.hold_ns);
	case OPT_GRACE:
		return number("grace", optarg, false, 1000000, &o->cfg.grace_ns);
	case OPT_INDEX:
		if (lcm_index_where_parse(optarg, &o->cfg.index) == 0 && *optarg &&
		    o->cfg.index.from != LCM_INDEX_FROM_DIGEST)
			return 0;
		return cmd_usage("daemon", "--index %s: manifest, referrers or none is expected",
				 optarg);
	case OPT_RETRIES:
		return take_retries(&o->cfg.registry.retries);
	case OPT_WITHOUT:
		o->cfg.without_data_only |= strcmp(optarg, "data-only") == 0;
		o->cfg.without_redirect |= strcmp(optarg, "redirect") == 0;
		if (strcmp(optarg, "data-only") == 0 || strcmp(optarg, "redirect") == 0)
			return 0;
		return cmd_usage("daemon", "--without %s: data-only or redirect is expected",
				 optarg);
	case OPT_READY:
		return number("ready-fd", optarg, false, 1, &o->ready_fd);
	default:
		return CMD_USAGE;
	}
}

static const struct option longs[] = {
	{ "stop", no_argument, NULL, OPT_STOP },
	{ "replace", no_argument, NULL, OPT_REPLACE },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "keep", required_argument, NULL, OPT_KEEP },
	{ "insecure", required_argument, NULL, OPT_INSECURE },
	{ "authfile", required_argument, NULL, OPT_AUTHFILE },
	{ "hosts-dir", required_argument, NULL, OPT_HOSTS },
	{ "image-credential-provider-config", required_argument, NULL, OPT_PROVIDERS },
	{ "image-credential-provider-bin-dir", required_argument, NULL, OPT_PROVIDER_DIR },
	{ "ca-file", required_argument, NULL, OPT_CA },
	{ "big-data", required_argument, NULL, OPT_BIG_DATA },
	{ "big-exec", required_argument, NULL, OPT_BIG_EXEC },
	{ "deadline", required_argument, NULL, OPT_DEADLINE },
	{ "at-deadline", required_argument, NULL, OPT_AT_DEADLINE },
	{ "no-background", no_argument, NULL, OPT_NO_BACKGROUND },
	{ "idle", required_argument, NULL, OPT_IDLE },
	{ "idle-slice", required_argument, NULL, OPT_IDLE_SLICE },
	{ "idle-wait", required_argument, NULL, OPT_IDLE_WAIT },
	{ "idle-share", required_argument, NULL, OPT_IDLE_SHARE },
	{ "hold", required_argument, NULL, OPT_HOLD },
	{ "grace", required_argument, NULL, OPT_GRACE },
	{ "index", required_argument, NULL, OPT_INDEX },
	{ "meter-policy", required_argument, NULL, OPT_METER_POLICY },
	{ "retries", required_argument, NULL, OPT_RETRIES },
	{ "without", required_argument, NULL, OPT_WITHOUT },
	{ "web", required_argument, NULL, OPT_WEB },
	{ "quota", required_argument, NULL, OPT_QUOTA },
	{ "quota-low", required_argument, NULL, OPT_QUOTA_LOW },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ "ready-fd", required_argument, NULL, OPT_READY },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int take_any(struct options *o, int c)
{
	if (c == OPT_STOP)
		o->stop = true;
	else if (c == OPT_REPLACE)
		o->replace = true;
	else if (c == OPT_CONFIG)
		return 0; /* it was read before */
	else if (c == OPT_NO_BACKGROUND)
		o->cfg.background = false;
	else if (c == OPT_PROVIDERS)
		o->cfg.registry.provider_config = optarg;
	else if (c == OPT_PROVIDER_DIR)
		o->cfg.registry.provider_dir = optarg;
	else if (c == OPT_VERBOSE || c == OPT_DEBUG)
		lcm_log_set_level(c == OPT_DEBUG ? LCM_LOG_DEBUG : LCM_LOG_INFO);
	else if (c == 'h')
		o->help = true;
	else if (c == OPT_METER_POLICY)
		o->cfg.meter_file = optarg;
	else if (c >= OPT_IDLE && c <= OPT_IDLE_SHARE)
		return take_idle(&o->cfg.idle, c);
	else
		return take(o, c);
	return 0;
}

static int take_line(struct options *o, const struct lcm_config_line *line)
{
	const struct option *l = longs;

	while (l->name && strcmp(l->name, line->name) != 0)
		l++;
	if (!l->name || l->val == OPT_STOP || l->val == OPT_REPLACE || l->val == OPT_CONFIG ||
	    l->val == OPT_READY || l->val == 'h')
		return cmd_usage("daemon", "there is no option \"%s\" here", line->name);
	if (l->has_arg == no_argument && line->value)
		return cmd_usage("daemon", "%s takes no value", line->name);
	if (l->has_arg == required_argument && !line->value)
		return cmd_usage("daemon", "%s needs a value", line->name);
	optarg = (char *)(uintptr_t)line->value;
	return take_any(o, l->val);
}

/* What the file says comes first, so that the command line goes before it. */
static int take_file(struct options *o, const char *path, bool must)
{
	struct lcm_err err = { 0 };
	char where[4096];
	int r = lcm_config_read(path, &o->file, &err);

	if (r == 0 && must && !o->file.text)
		r = lcm_err_set(&err, -ENOENT, "%s: no such file", path);
	if (r < 0)
		return cmd_error("daemon", &err, r);
	for (size_t i = 0; r == 0 && i < o->file.n; i++) {
		(void)snprintf(where, sizeof(where), "%s, line %u: ", path,
			       o->file.lines[i].number);
		cmd_globals.where = where;
		r = take_line(o, &o->file.lines[i]);
	}
	cmd_globals.where = NULL;
	return r;
}

/* What has to work whatever the file says: getting help, ending a daemon, and telling who started
 * this one that it does not start. */
static int parse_first(int argc, char **argv, struct options *o, const char **config)
{
	int c, r = 0;

	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == OPT_CONFIG)
			*config = optarg;
		else if (c == OPT_STOP || c == OPT_READY || c == 'h')
			r = take_any(o, c);
	}
	opterr = 1;
	optind = 1;
	return r;
}

static int parse(int argc, char **argv, struct options *o)
{
	const char *config = NULL;
	int c, r = parse_first(argc, argv, o, &config);

	if (r == 0 && !o->help && !o->stop)
		r = take_file(o, config ? config : LCM_CONFIG_FILE, config != NULL);
	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		r = take_any(o, c);
	if (r == 0 && optind != argc)
		r = cmd_usage("daemon", "\"%s\" is not an option", argv[optind]);
	if (r == 0 && o->cfg.quota_low > o->cfg.quota_high)
		r = cmd_usage("daemon", "--quota-low is more than --quota");
	if (r == 0 && !o->cfg.registry.provider_config != !o->cfg.registry.provider_dir)
		r = cmd_usage("daemon", "--image-credential-provider-config and -bin-dir go "
					"together");
	return r;
}

/* Once: the descriptor is closed. */
static void tell(struct options *o, const char *text)
{
	if (!o->ready_fd)
		return;
	lcm_ignore(lcm_sys_write_full((int)o->ready_fd, text, strlen(text)));
	(void)close((int)o->ready_fd);
	o->ready_fd = 0;
}

static void on_ready(void *arg)
{
	lcm_notify("READY=1");
	tell(arg, "ok\n");
}

/* One that runs is asked to end, and has ended when this returns. */
static int replace(struct lcm_err *err)
{
	json_t *st = NULL;
	int r = client_call("GET", "/v1/daemon", NULL, false, &st, err), fd;
	struct pollfd p = { .events = POLLIN };

	if (r < 0)
		return r == -ECONNREFUSED ? 0 : r;
	if (strcmp(client_text(st, "keep"), "systemd") == 0) {
		json_decref(st);
		return lcm_err_set(
		    err, -EPERM,
		    "the running daemon is a unit of systemd's, which alone can hand "
		    "its gates on: systemctl restart locum");
	}
	fd = (int)lcm_errno(syscall(SYS_pidfd_open, (pid_t)client_integer(st, "pid"), 0));
	json_decref(st);
	if (fd < 0)
		return fd == -ESRCH ? 0 : fd;
	r = client_call("POST", "/v1/daemon/stop", NULL, false, NULL, err);
	p.fd = fd;
	if (r == 0 && lcm_errno(poll(&p, 1, REPLACE_MS)) == 0)
		r = lcm_err_set(err, -ETIMEDOUT, "the running daemon does not end");
	(void)close(fd);
	return r;
}

static int run(struct options *o)
{
	struct lcm_err err = { 0 };
	int r;

	if (o->stop) {
		r = client_call("POST", "/v1/daemon/stop", NULL, false, NULL, &err);
		return r < 0 ? cmd_error("daemon", &err, r) : 0;
	}
	if (geteuid() != 0)
		return cmd_error(
		    "daemon",
		    &(struct lcm_err){ .code = -EPERM,
				       .msg = "not root: mounting needs root (try sudo)" },
		    -EPERM);
	o->cfg.root = cmd_globals.root;
	o->cfg.run_dir = cmd_globals.run_dir;
	(void)snprintf(o->cri_auth, sizeof(o->cri_auth), "%s/cri-auth.json", cmd_globals.run_dir);
	o->cfg.registry.auth_first = o->cri_auth;
	o->cfg.registry.insecure_hosts = o->insecure;
	o->cfg.registry.auth_files = o->n_auth ? o->auth : NULL;
	o->cfg.registry.hosts_dirs = o->n_hosts ? o->hosts : lcm_hosts_dirs;
	if (o->n_hosts == 1 && strcmp(o->hosts[0], "none") == 0)
		o->cfg.registry.hosts_dirs = NULL;
	if (o->ready_fd)
		(void)fcntl((int)o->ready_fd, F_SETFD, FD_CLOEXEC);
	r = o->replace ? replace(&err) : 0;
	if (r == 0)
		r = lcm_daemon_run(&o->cfg, on_ready, o, &err);
	lcm_notify("STOPPING=1");
	return r < 0 ? cmd_error("daemon", &err, r) : 0;
}

int cmd_daemon_main(int argc, char **argv)
{
	struct options o = { .stop = false };
	int r;

	lcm_daemon_defaults(&o.cfg);
	r = parse(argc, argv, &o);
	if (r == 0)
		r = o.help ? fputs(usage, stdout) < 0 : run(&o);
	if (r)
		tell(&o, cmd_globals.said);
	lcm_config_fini(&o.file);
	return r;
}
