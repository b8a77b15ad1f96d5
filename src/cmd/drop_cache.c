/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

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
	bool all = false, json = false;
	const struct cmd_option options[] = { { "all", .flag = &all },
					      { "json", .flag = &json },
					      { 0 } };
	struct lcm_err err = { 0 };
	json_t *reply = NULL;
	char bytes[24];
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind > 1)
		return cmd_usage("drop-cache", "one image at most");
	r = client_call(
	    "POST", "/v1/drop-cache",
	    json_pack("{s:s s:b}", "image", argc > optind ? argv[optind] : "", "all", all), true,
	    &reply, &err);
	if (r < 0)
		return cmd_error("drop-cache", &err, r);
	if (json)
		client_print_json(reply);
	else
		(void)printf("%lld layers removed (%s), %lld in use\n",
			     client_integer(reply, "layers_dropped"),
			     cmd_bytes(client_number(reply, "bytes"), bytes),
			     client_integer(reply, "layers_in_use"));
	json_decref(reply);
	return 0;
}
