/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum drop-cache [--all] [IMAGE]\n"
    "Remove stored layers that no mount uses, of IMAGE or of all images. Tables of contents are "
    "kept,\n"
    "so that the next mount is lazy again.\n"
    "\n"
    "      --all   also remove tables of contents and, without IMAGE, manifests and configs\n"
    "      --json  print the result as JSON\n"
    "  -h, --help  this text\n";

int cmd_drop_cache_main(int argc, char **argv)
{
	static const struct option longs[] = { { "all", no_argument, NULL, 'a' },
					       { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	bool all = false, json = false;
	struct lcm_err err = { 0 };
	json_t *reply = NULL;
	char bytes[24];
	int c, r;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == 'a')
			all = true;
		else if (c == 'j')
			json = true;
		else
			return CMD_USAGE;
	}
	if (argc - optind > 1)
		return cmd_usage("drop-cache", "one image at most");
	r = client_call(
	    "POST", "/v1/drop-cache",
	    json_pack("{s:s s:b}", "image", argc > optind ? argv[optind] : "", "all", all), true,
	    &reply, &err);
	if (r < 0)
		return cmd_error("drop-cache", &err, r);
	if (json)
		(void)json_dumpf(reply, stdout, JSON_INDENT(2));
	else
		(void)printf(
		    "%lld layers removed (%s), %lld in use",
		    (long long)json_integer_value(json_object_get(reply, "layers_dropped")),
		    cmd_bytes(json_number_value(json_object_get(reply, "bytes")), bytes),
		    (long long)json_integer_value(json_object_get(reply, "layers_in_use")));
	(void)printf("\n");
	json_decref(reply);
	return 0;
}
