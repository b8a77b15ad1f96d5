/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum gc [OPTION]...\n"
    "Drop layers that nothing uses, those that were used longest ago first. Tables of contents "
    "are\n"
    "kept, so that the next mount is lazy again.\n"
    "\n"
    "      --to SIZE  until at most so much is left (the daemon's --quota-low)\n"
    "      --dry-run  only say what would go\n"
    "      --json     print the result as JSON\n"
    "  -h, --help     this text\n";

static void print(json_t *o, bool dry)
{
	char before[24], after[24], used[24];

	(void)printf("%.0f layers %s, %s of %s left; %.0f layers in use (%s)\n",
		     client_number(o, "layers_dropped"), dry ? "would go" : "removed",
		     cmd_bytes(client_number(o, "bytes_after"), after),
		     cmd_bytes(client_number(o, "bytes_before"), before),
		     client_number(o, "layers_in_use"),
		     cmd_bytes(client_number(o, "bytes_in_use"), used));
}

int cmd_gc_main(int argc, char **argv)
{
	bool json = false, dry = false;
	const char *size = NULL;
	const struct cmd_option options[] = { { "to", .value = &size },
					      { "dry-run", .flag = &dry },
					      { "json", .flag = &json },
					      { 0 } };
	json_t *body, *reply = NULL;
	struct lcm_err err = { 0 };
	uint64_t to = 0;
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc != optind)
		return cmd_usage("gc", "\"%s\" is not expected", argv[optind]);
	if (size && (lcm_number_parse(size, true, &to) < 0 || to > INT64_MAX))
		return cmd_usage("gc", "--to %s is not a size", size);
	body = json_pack("{s:b}", "dry_run", dry);
	if (size)
		(void)json_object_set_new(body, "to", json_integer((json_int_t)to));
	r = client_call("POST", "/v1/gc", body, true, &reply, &err);
	if (r < 0)
		return cmd_error("gc", &err, r);
	if (json)
		client_print_json(reply);
	else
		print(reply, dry);
	json_decref(reply);
	return 0;
}
