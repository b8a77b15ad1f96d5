/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum images [OPTION]...\n"
			    "List the images whose manifest is in the store.\n"
			    "\n"
			    "      --json  as JSON\n"
			    "  -h, --help  this text\n";

static void print(const json_t *image)
{
	char bytes[24], disk[24], own[24];

	(void)printf("%-60s %.19s %3lld layers %10s %10s %10s\n", client_text(image, "image"),
		     client_text(image, "digest"), client_integer(image, "layers"),
		     cmd_bytes(client_number(image, "blob_bytes"), bytes),
		     cmd_bytes(client_number(image, "disk_bytes"), disk),
		     cmd_bytes(client_number(image, "own_bytes"), own));
}

int cmd_images_main(int argc, char **argv)
{
	bool json = false;
	const struct cmd_option options[] = { { "json", .flag = &json }, { 0 } };
	struct lcm_err err = { 0 };
	json_t *reply = NULL, *v;
	int r = cmd_options(argc, argv, usage, options);
	size_t i;

	if (r >= 0)
		return r;
	if (argc != optind)
		return cmd_usage("images", "\"%s\" is not expected", argv[optind]);
	r = client_call("GET", "/v1/images", NULL, true, &reply, &err);
	if (r < 0)
		return cmd_error("images", &err, r);
	if (json)
		client_print_json(json_object_get(reply, "images"));
	else
		json_array_foreach (json_object_get(reply, "images"), i, v)
			print(v);
	json_decref(reply);
	return 0;
}
