/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <unistd.h>

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
	const char *want = "native", *timeout = "0";
	bool json = false;
	const struct cmd_option options[] = { { "for", .value = &want },
					      { "timeout", .value = &timeout },
					      { "json", .flag = &json },
					      { 0 } };
	struct lcm_err err = { 0 };
	char real[PATH_MAX];
	uint64_t seconds;
	json_t *st = NULL;
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (lcm_number_parse(timeout, false, &seconds) < 0 || seconds > 86400 * 365)
		return cmd_usage("wait", "--timeout %s is not a number of seconds", timeout);
	if (argc - optind != 1)
		return cmd_usage("wait", "one id or directory is needed");
	r = client_follow(client_name(argv[optind], real), want, false, seconds * 1000, &st, &err);
	if (r == 0 && json)
		client_print_json(st);
	json_decref(st);
	return r < 0 ? cmd_error("wait", &err, r) : 0;
}
