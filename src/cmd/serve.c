/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "registry/serve.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum serve [OPTION]... DIR\n"
    "Serve the OCI image layout DIR as a read-only registry until interrupted.\n"
    "Every repository name stands for DIR, e.g. 127.0.0.1:5000/image:TAG.\n"
    "\n"
    "  -l, --listen ADDR:PORT  where to listen, port 0 for a free one (127.0.0.1:0)\n"
    "      --public            allow an ADDR that is not loopback\n"
    "      --json              print the address as JSON\n"
    "  -h, --help              show this text\n";

enum { OPT_PUBLIC = 256, OPT_JSON };

struct options {
	struct lcm_serve_config cfg;
	bool json, help;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "public", no_argument, NULL, OPT_PUBLIC },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "hl:", longs, NULL)) != -1) {
		if (c == 'l')
			o->cfg.listen = optarg;
		else if (c == OPT_PUBLIC)
			o->cfg.public = true;
		else if (c == OPT_JSON)
			o->json = true;
		else if (c == 'h')
			o->help = true;
		else
			return -EINVAL;
	}
	if (!o->help && optind != argc - 1) {
		(void)fprintf(stderr, "locum: serve: %s; see locum serve --help\n",
			      optind == argc ? "no directory given"
					     : "more than one directory given");
		return -EINVAL;
	}
	o->cfg.dir = argv[optind];
	return 0;
}

/* One line, flushed: whoever started us may wait for it. */
static int announce(const struct options *o, const char *url)
{
	lcm_autofree char *text = NULL;
	json_t *j;

	if (!o->json) {
		(void)printf("serving %s on %s\n", o->cfg.dir, url);
		return fflush(stdout) ? -EIO : 0;
	}
	j = json_pack("{s:s,s:s}", "dir", o->cfg.dir, "url", url);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!text)
		return -EINVAL;
	(void)puts(text);
	return fflush(stdout) ? -EIO : 0;
}

static int serve(const struct options *o)
{
	struct lcm_err err = { 0 };
	lcm_auto(lcm_serve) s = NULL;
	sigset_t set;
	int r, sig;

	/* Before the threads are made, so that they inherit it. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	r = lcm_serve_new(&o->cfg, &s, &err);
	if (r == 0)
		r = announce(o, lcm_serve_url(s));
	if (r < 0) {
		(void)fprintf(stderr, "locum: serve: %s\n", lcm_err_text(&err, r));
		return 1;
	}
	return sigwait(&set, &sig) ? 1 : 0;
}

int cmd_serve_main(int argc, char **argv)
{
	struct options o = { .json = false };

	if (parse(argc, argv, &o) < 0)
		return 2;
	if (o.help) {
		(void)fputs(usage, stdout);
		return 0;
	}
	return serve(&o);
}
