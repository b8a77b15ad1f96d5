/* SPDX-License-Identifier: Apache-2.0 */
/* locum_containerd.c - containerd's proxy snapshotter: gRPC on a socket, locum's daemon behind it.
 */
#include "config.h"

#include <curl/curl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/containerd/cri.h"
#include "src/containerd/fetch.h"
#include "src/containerd/service.h"

/* Calls at once; most wait for a mount, and those for the network. */
#define THREADS 64U

static const char usage[] =
    "Usage: locum-containerd [OPTION]...\n"
    "       locum-containerd [OPTION]... fetch IMAGE...\n"
    "Serve containerd's snapshots API: containerd starts containers before their image is here.\n"
    "With fetch: bring the layers of images that were pulled so into containerd's content store,\n"
    "for export, push and whatever else reads them there.\n"
    "\n"
    "      --address SOCKET  where containerd finds it (RUN/containerd.sock; a socket that a "
    "service\n"
    "                        manager passes goes before it)\n"
    "      --root DIR        state of the daemon that is started when none runs (/var/lib/locum)\n"
    "      --run DIR         where the daemon's socket is (/run/locum)\n"
    "      --meters          labels may give containers weights, limits and classes\n"
    "      --cri             offer CRI's image service, too: calls are passed on to containerd, "
    "and\n"
    "                        the credentials of pulls kept\n"
    "      --containerd SOCKET  containerd's own, for --cri and fetch ($CONTAINERD_ADDRESS, or\n"
    "                        /run/containerd/containerd.sock)\n"
    "      --namespace NAME  its namespace, for fetch ($CONTAINERD_NAMESPACE, or default)\n"
    "      --units           labels may choose the storage units that containers write into\n"
    "      --verbose         say on stderr what is done\n"
    "      --debug           say all\n"
    "  -h, --help            this text\n"
    "      --version         the version\n";

struct options {
	struct lcm_service service;
	const char *address; /* NULL: below the run directory */
	struct lcm_caller containerd;
	char **fetch; /* images, and NULL; NULL: serve */
	bool help, version;
};

struct program {
	struct lcm_loop *loop;
	struct lcm_pool *pool, *slow; /* slow: CRI's calls, in which containerd may call us */
	struct lcm_grpc *grpc;
	struct lcm_loop_fd *signals;
	int signal_fd, stop_fd; /* stop_fd: an eventfd */
	char address[4096];
	bool made; /* the socket is ours to remove */
};

static const char *or_default(const char *given, const char *variable, const char *else_this)
{
	const char *s = given ? given : getenv(variable);

	return s && *s ? s : else_this;
}

/* What is left behind the options. */
static int arguments(int argc, char **argv, struct options *o)
{
	o->containerd.socket = or_default(o->containerd.socket, "CONTAINERD_ADDRESS",
					  "/run/containerd/containerd.sock");
	o->containerd.ns = or_default(o->containerd.ns, "CONTAINERD_NAMESPACE", "default");
	if (optind == argc)
		return 0;
	if (strcmp(argv[optind], "fetch") != 0) {
		(void)fprintf(stderr, "locum-containerd: \"%s\" is not an option; see --help\n",
			      argv[optind]);
		return CMD_USAGE;
	}
	o->fetch = argv + optind + 1;
	if (*o->fetch)
		return 0;
	(void)fprintf(stderr, "locum-containerd: fetch: which image? See --help\n");
	return CMD_USAGE;
}

static int parse(int argc, char **argv, struct options *o)
{
	enum {
		OPT_ADDRESS = 256,
		OPT_ROOT,
		OPT_RUN,
		OPT_METERS,
		OPT_CRI,
		OPT_CONTAINERD,
		OPT_NAMESPACE,
		OPT_UNITS,
		OPT_VERBOSE,
		OPT_DEBUG,
		OPT_VERSION
	};
	static const struct option longs[] = {
		{ "address", required_argument, NULL, OPT_ADDRESS },
		{ "root", required_argument, NULL, OPT_ROOT },
		{ "run", required_argument, NULL, OPT_RUN },
		{ "meters", no_argument, NULL, OPT_METERS },
		{ "cri", no_argument, NULL, OPT_CRI },
		{ "containerd", required_argument, NULL, OPT_CONTAINERD },
		{ "namespace", required_argument, NULL, OPT_NAMESPACE },
		{ "units", no_argument, NULL, OPT_UNITS },
		{ "verbose", no_argument, NULL, OPT_VERBOSE },
		{ "debug", no_argument, NULL, OPT_DEBUG },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == OPT_ADDRESS)
			o->address = optarg;
		else if (c == OPT_ROOT)
			cmd_globals.root = optarg;
		else if (c == OPT_RUN)
			cmd_globals.run_dir = optarg;
		else if (c == OPT_METERS)
			o->service.meters = true;
		else if (c == OPT_CRI)
			o->service.containerd = &o->containerd;
		else if (c == OPT_CONTAINERD)
			o->containerd.socket = optarg;
		else if (c == OPT_NAMESPACE)
			o->containerd.ns = optarg;
		else if (c == OPT_UNITS)
			o->service.units = true;
		else if (c == OPT_VERBOSE || c == OPT_DEBUG)
			lcm_log_set_level(c == OPT_DEBUG ? LCM_LOG_DEBUG : LCM_LOG_INFO);
		else if (c == OPT_VERSION)
			o->version = true;
		else if (c == 'h')
			o->help = true;
		else
			return CMD_USAGE;
	}
	return arguments(argc, argv, o);
}

static void on_signal(void *arg, uint32_t events)
{
	struct program *p = arg;

	(void)events;
	lcm_loop_stop(p->loop);
}

static int watch_signals(struct program *p)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN); /* a daemon that we have started may end before us */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = (int)lcm_errno(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
	return p->signal_fd < 0
		   ? p->signal_fd
		   : lcm_loop_add_fd(p->loop, p->signal_fd, EPOLLIN, on_signal, p, &p->signals);
}

static int open_socket(struct program *p, const struct options *o, int *ret_fd, struct lcm_err *err)
{
	int r;

	(void)snprintf(p->address, sizeof(p->address), "%s%s",
		       o->address ? o->address : cmd_globals.run_dir,
		       o->address ? "" : "/containerd.sock");
	*ret_fd = lcm_listen_inherited();
	if (*ret_fd != -ENOENT)
		return *ret_fd < 0
			   ? lcm_err_set(err, *ret_fd, "the service manager must pass one socket")
			   : 0;
	r = lcm_mkdir_p(cmd_globals.run_dir, 0700);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", cmd_globals.run_dir, strerror(-r));
	r = lcm_listen_unix(p->address, ret_fd, err);
	p->made = r == 0;
	return r;
}

/* A pull waits for containerd, and that for a snapshot of ours: it must not have the last thread.
 */
static int start_slow(struct program *p, struct options *o)
{
	p->stop_fd = (int)lcm_errno(eventfd(0, EFD_CLOEXEC));
	if (p->stop_fd < 0)
		return p->stop_fd;
	o->containerd.stop_fd = p->stop_fd;
	return lcm_pool_new(THREADS, "locum-cri", &p->slow);
}

static int start(struct program *p, struct options *o, struct lcm_err *err)
{
	int fd = -EBADF, r;

	if (geteuid() != 0)
		return lcm_err_set(err, -EPERM, "not root: mounting needs root (try sudo)");
	r = lcm_loop_new(&p->loop);
	if (r == 0)
		r = watch_signals(p);
	if (r == 0)
		r = open_socket(p, o, &fd, err);
	/* The daemon first: what is wrong with it shows now, and not at the first container. */
	if (r == 0)
		r = client_call("GET", "/v1/daemon", NULL, true, NULL, err);
	if (r == 0)
		r = lcm_pool_new(THREADS, "locum-grpc", &p->pool);
	if (r == 0 && o->service.containerd)
		r = start_slow(p, o);
	if (r < 0) {
		lcm_closep(&fd);
		return r;
	}
	r = lcm_grpc_new(p->loop, p->pool, fd, lcm_service_call, &o->service, &p->grpc);
	if (r == 0 && p->slow)
		lcm_grpc_set_slow(p->grpc, p->slow, lcm_cri_is);
	return r;
}

static void stop(struct program *p)
{
	lcm_notify("STOPPING=1");
	if (p->made)
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, p->address, 0));
	lcm_grpc_stop(p->grpc);
	if (p->stop_fd >= 0)
		lcm_ignore((int)lcm_errno(eventfd_write(p->stop_fd, 1)));
	lcm_pool_free(p->slow);
	lcm_pool_free(p->pool);
	if (p->loop)
		lcm_loop_drain(p->loop);
	lcm_grpc_free(p->grpc);
	lcm_loop_del_fd(p->signals);
	lcm_loop_free(p->loop);
	lcm_closep(&p->signal_fd);
	lcm_closep(&p->stop_fd);
}

int main(int argc, char **argv)
{
	struct program p = { .signal_fd = -EBADF, .stop_fd = -EBADF };
	struct options o = { .containerd = { .stop_fd = -EBADF } };
	struct lcm_err err = { 0 };
	int r;

	cmd_globals_default();
	r = parse(argc, argv, &o);
	if (r)
		return r;
	if (o.help)
		return fputs(usage, stdout) < 0;
	if (o.version)
		return printf("locum-containerd %s\n", PACKAGE_VERSION) < 0;
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	r = o.fetch ? fetch_images(&o.containerd, o.fetch, &err) : start(&p, &o, &err);
	if (r == 0 && !o.fetch) {
		lcm_log(LCM_LOG_NOTICE, "locum-containerd %s serves %s", PACKAGE_VERSION,
			p.address);
		lcm_notify("READY=1");
		r = lcm_loop_run(p.loop);
	}
	if (r < 0)
		(void)fprintf(stderr, "locum-containerd: %s%s\n", o.fetch ? "fetch: " : "",
			      lcm_err_text(&err, r));
	stop(&p);
	curl_global_cleanup();
	return r < 0 ? CMD_FAILED : 0;
}
