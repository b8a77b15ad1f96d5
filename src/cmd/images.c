/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum images [OPTION]...\n"
			    "List the images whose manifest is in the store.\n"
			    "\n"
			    "      --json  as JSON\n"
			    "  -h, --help  this text\n";

int cmd_images_main(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	struct lcm_err err = { 0 };
	json_t *reply = NULL, *v;
	bool json = false;
	size_t i;
	int c, r;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c != 'j')
			return CMD_USAGE;
		json = true;
	}
	if (argc != optind)
		return cmd_usage("images", "\"%s\" is not expected", argv[optind]);
	r = client_call("GET", "/v1/images", NULL, true, &reply, &err);
	if (r < 0)
		return cmd_error("images", &err, r);
	if (json)
		(void)(json_dumpf(json_object_get(reply, "images"), stdout, JSON_INDENT(2)) +
		       printf("\n"));
	json_array_foreach (json_object_get(reply, "images"), i, v) {
		char bytes[24], disk[24], own[24];

		if (json)
			break;
		(void)printf("%-60s %.19s %3lld layers %10s %10s %10s\n",
			     json_string_value(json_object_get(v, "image")),
			     json_string_value(json_object_get(v, "digest")),
			     (long long)json_integer_value(json_object_get(v, "layers")),
			     cmd_bytes(json_number_value(json_object_get(v, "blob_bytes")), bytes),
			     cmd_bytes(json_number_value(json_object_get(v, "disk_bytes")), disk),
			     cmd_bytes(json_number_value(json_object_get(v, "own_bytes")), own));
	}
	json_decref(reply);
	return 0;
}
