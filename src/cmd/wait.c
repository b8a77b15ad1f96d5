/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum wait [OPTION]... ID|DIR\n"
			    "Wait until a mount has got as far as PHASE.\n"
			    "\n"
			    "      --for PHASE        ready, local (everything is here) or native "
			    "(the gate is gone; default)\n"
			    "      --timeout SECONDS  give up after so long, with status 1\n"
			    "      --json             print the status then\n"
			    "  -h, --help             this text\n";

int cmd_wait_main(int argc, char **argv)
{
	static const struct option longs[] = { { "for", required_argument, NULL, 'f' },
					       { "timeout", required_argument, NULL, 't' },
					       { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	const char *want = "native";
	struct lcm_err err = { 0 };
	char real[PATH_MAX];
	uint64_t seconds = 0;
	json_t *st = NULL;
	bool json = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == 'f')
			want = optarg;
		else if (c == 'j')
			json = true;
		else if (c != 't')
			return CMD_USAGE;
		else if (cmd_number(optarg, false, &seconds) < 0 || seconds > 86400 * 365)
			return cmd_usage("wait", "--timeout %s is not a number of seconds", optarg);
	}
	if (argc - optind != 1)
		return cmd_usage("wait", "one id or directory is needed");
	r = client_follow(client_name(argv[optind], real), want, seconds * 1000, &st, &err);
	if (r == 0 && json)
		(void)(json_dumpf(st, stdout, JSON_INDENT(2)) + printf("\n"));
	json_decref(st);
	return r < 0 ? cmd_error("wait", &err, r) : 0;
}
