/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>

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

static double number(json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static void print(json_t *o, bool dry)
{
	char before[24], after[24], used[24];

	(void)printf("%.0f layers %s, %s of %s left; %.0f layers in use (%s)\n",
		     number(o, "layers_dropped"), dry ? "would go" : "removed",
		     cmd_bytes(number(o, "bytes_after"), after),
		     cmd_bytes(number(o, "bytes_before"), before), number(o, "layers_in_use"),
		     cmd_bytes(number(o, "bytes_in_use"), used));
}

int cmd_gc_main(int argc, char **argv)
{
	static const struct option longs[] = { { "to", required_argument, NULL, 't' },
					       { "dry-run", no_argument, NULL, 'n' },
					       { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	json_t *body = json_object(), *reply = NULL;
	struct lcm_err err = { 0 };
	bool json = false, dry = false;
	uint64_t to;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'n')
			dry = true;
		else if (c == 'j')
			json = true;
		else if (c == 't' && cmd_number(optarg, true, &to) == 0 && to <= INT64_MAX)
			(void)json_object_set_new(body, "to", json_integer((json_int_t)to));
		else if (c == 't')
			r = cmd_usage("gc", "--to %s is not a size", optarg);
		else
			r = c == 'h' ? -1 : CMD_USAGE;
	}
	if (r == 0 && argc != optind)
		r = cmd_usage("gc", "\"%s\" is not expected", argv[optind]);
	if (r) {
		json_decref(body);
		return r < 0 ? fputs(usage, stdout) < 0 : r;
	}
	(void)json_object_set_new(body, "dry_run", json_boolean(dry));
	r = client_call("POST", "/v1/gc", body, true, &reply, &err);
	if (r < 0)
		return cmd_error("gc", &err, r);
	if (json)
		(void)(json_dumpf(reply, stdout, JSON_INDENT(2)) + printf("\n"));
	else
		print(reply, dry);
	json_decref(reply);
	return 0;
}
