/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum pull [OPTION]... IMAGE\n"
			    "Fetch the whole image, check every digest, unpack it.\n"
			    "\n"
			    "      --platform OS/ARCH  another platform than this machine's\n"
			    "      --index WHERE       tables of contents: as locum mount's\n"
			    "      --json              print the result as JSON\n"
			    "  -h, --help              this text\n";

static void print(const json_t *st)
{
	char blob[24], plain[24];

	(void)printf("%s: %lld layers, %s compressed, %s unpacked\n", client_text(st, "image"),
		     client_integer(st, "layers"),
		     cmd_bytes(client_number(st, "blob_bytes_total"), blob),
		     cmd_bytes(client_number(st, "bytes_local"), plain));
}

int cmd_pull_main(int argc, char **argv)
{
	const char *platform = "", *index = "";
	bool json = false;
	const struct cmd_option options[] = { { "platform", .value = &platform },
					      { "index", .value = &index },
					      { "json", .flag = &json },
					      { 0 } };
	struct lcm_err err = { 0 };
	json_t *st = NULL;
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cmd_usage("pull", "one image is needed");
	r = client_pull(argv[optind], platform, index, &st, &err);
	if (r == 0 && json)
		client_print_json(st);
	else if (r == 0)
		print(st);
	json_decref(st);
	return r < 0 ? cmd_error("pull", &err, r) : 0;
}
