/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum deadline ID|DIR [SECONDS] [--at-deadline WHAT]\n"
    "Say what becomes of those who read, in this mount, what does not come. Who waits already "
    "obeys "
    "at once.\n"
    "SECONDS is how long they wait (0: for ever).\n"
    "\n"
    "      --at-deadline WHAT  eio: each gets an error; freeze: they wait on, and the mount's "
    "containers\n"
    "                          are frozen until something comes\n"
    "  -h, --help              this text\n";

static int set(const char *name, json_t *body, struct lcm_err *err)
{
	char real[PATH_MAX];
	lcm_autofree char *path = client_path(client_name(name, real), "/deadline");

	return path ? client_call("POST", path, body, false, NULL, err) : -ENOMEM;
}

int cmd_deadline_main(int argc, char **argv)
{
	const char *at = NULL, *name, *seconds;
	const struct cmd_option options[] = { { "at-deadline", .value = &at }, { 0 } };
	struct lcm_err err = { 0 };
	uint64_t n = 0;
	json_t *body;
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	name = optind < argc ? argv[optind++] : NULL;
	seconds = optind < argc ? argv[optind++] : NULL;
	if (optind < argc)
		return cmd_usage("deadline", "\"%s\" is not expected", argv[optind]);
	if (!name || (!seconds && !at))
		return cmd_usage("deadline", "a mount and something to set are expected");
	if (seconds && (lcm_number_parse(seconds, false, &n) < 0 || n > INT64_MAX / 1000))
		return cmd_usage("deadline", "%s is not a number of seconds", seconds);
	body = json_object();
	if (seconds)
		(void)json_object_set_new(body, "deadline_ms", json_integer((json_int_t)n * 1000));
	if (at)
		(void)json_object_set_new(body, "at_deadline", json_string_nocheck(at));
	r = set(name, body, &err);
	return r < 0 ? cmd_error("deadline", &err, r) : 0;
}
