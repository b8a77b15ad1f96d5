/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum umount [OPTION]... ID|DIR\n"
    "Unmount. What the container wrote is kept if the mount was given an --id, else removed.\n"
    "\n"
    "  -l, --lazy    detach even while it is in use\n"
    "      --remove  remove what the container wrote\n"
    "      --keep    keep it below ROOT/containers/ID\n"
    "  -h, --help    this text\n";

int cmd_umount_main(int argc, char **argv)
{
	static const struct option longs[] = { { "lazy", no_argument, NULL, 'l' },
					       { "remove", no_argument, NULL, 'r' },
					       { "keep", no_argument, NULL, 'k' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	const char *remove = "", *lazy = "";
	lcm_autofree char *path = NULL, *suffix = NULL;
	struct lcm_err err = { 0 };
	char real[PATH_MAX];
	int c, r;

	while ((c = getopt_long(argc, argv, "lh", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == 'l')
			lazy = "&lazy=1";
		else if (c == 'r' || c == 'k')
			remove = c == 'r' ? "&remove=1" : "&remove=0";
		else
			return CMD_USAGE;
	}
	if (argc - optind != 1)
		return cmd_usage("umount", "one id or directory is needed");
	if (asprintf(&suffix, "?%s%s", lazy, remove) < 0)
		suffix = NULL;
	path = suffix ? client_path(client_name(argv[optind], real), suffix) : NULL;
	r = path ? client_call("DELETE", path, NULL, false, NULL, &err) : -ENOMEM;
	return r < 0 ? cmd_error("umount", &err, r) : 0;
}
