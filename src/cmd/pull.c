/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum pull [OPTION]... IMAGE\n"
			    "Fetch the whole image, check every digest, unpack it.\n"
			    "\n"
			    "      --platform OS/ARCH  another platform than this machine's\n"
			    "      --index WHERE       tables of contents: as locum mount's\n"
			    "      --json              print the result as JSON\n"
			    "  -h, --help              this text\n";

static void print_result(json_t *st, bool json)
{
	char blob[24], plain[24];

	if (json)
		(void)json_dumpf(st, stdout, JSON_INDENT(2));
	else
		(void)printf(
		    "%s: %lld layers, %s compressed, %s unpacked",
		    json_string_value(json_object_get(st, "image")),
		    (long long)json_integer_value(json_object_get(st, "layers")),
		    cmd_bytes(json_number_value(json_object_get(st, "blob_bytes_total")), blob),
		    cmd_bytes(json_number_value(json_object_get(st, "bytes_local")), plain));
	(void)printf("\n");
}

int cmd_pull_main(int argc, char **argv)
{
	static const struct option longs[] = { { "platform", required_argument, NULL, 'p' },
					       { "index", required_argument, NULL, 'i' },
					       { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	lcm_autofree char *path = NULL;
	const char *platform = "", *index = "";
	struct lcm_err err = { 0 };
	json_t *st = NULL;
	bool json = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == 'p')
			platform = optarg;
		else if (c == 'i')
			index = optarg;
		else if (c == 'j')
			json = true;
		else
			return CMD_USAGE;
	}
	if (argc - optind != 1)
		return cmd_usage("pull", "one image is needed");
	r = client_session(json_pack("{s:s s:b s:s s:s}", "image", argv[optind], "pull_only", 1,
				     "platform", platform, "index", index),
			   "native", &st, &err);
	if (r < 0) {
		json_decref(st);
		return cmd_error("pull", &err, r);
	}
	print_result(st, json);
	path = client_path(json_string_value(json_object_get(st, "id")), "");
	if (path)
		lcm_ignore(client_call("DELETE", path, NULL, false, NULL, NULL));
	json_decref(st);
	return 0;
}
