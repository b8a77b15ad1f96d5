/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum why [--json] ID|DIR\n"
    "Say what a mount was waited for: the requests that took longest, and where their time went.\n"
    "\n"
    "      --json  as JSON\n"
    "  -h, --help  this text\n";

static void print(json_t *st)
{
	const json_t *demand = json_object_get(json_object_get(st, "meter"), "demand");
	json_t *v;
	size_t i;

	(void)printf("%s: somebody waited for %.1f ms in all; %.0f requests were fetched for\n",
		     client_text(st, "id"), client_number(st, "blocked_ms"),
		     client_number(demand, "requests"));
	(void)printf("%10s %10s %10s %10s  %s\n", "turn ms", "network", "decoder", "disk", "file");
	(void)printf("%10.1f %10.1f %10.1f %10.1f  all\n", client_number(demand, "queue_ms"),
		     client_number(demand, "network_ms"), client_number(demand, "decode_ms"),
		     client_number(demand, "disk_ms"));
	if (*client_text(st, "error"))
		(void)printf("error: %s\n", client_text(st, "error"));
	json_array_foreach (json_object_get(st, "slowest"), i, v)
		(void)printf("%10.1f %10.1f %10.1f %10.1f  %s\n", client_number(v, "queue_ms"),
			     client_number(v, "network_ms"), client_number(v, "decode_ms"),
			     client_number(v, "disk_ms"), client_text(v, "path"));
}

static void print_json(const json_t *st)
{
	json_t *o = json_pack("{s:O s:O s:O s:O s:O s:O?}", "id", json_object_get(st, "id"),
			      "blocked_ms", json_object_get(st, "blocked_ms"), "demand",
			      json_object_get(json_object_get(st, "meter"), "demand"), "slowest",
			      json_object_get(st, "slowest"), "blocked",
			      json_object_get(st, "blocked"), "error",
			      json_object_get(st, "error"));

	client_print_json(o);
	json_decref(o);
}

int cmd_why_main(int argc, char **argv)
{
	bool json = false;
	const struct cmd_option options[] = { { "json", .flag = &json }, { 0 } };
	struct lcm_err err = { 0 };
	json_t *st = NULL;
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cmd_usage("why", "one mount is needed");
	r = client_get_mounts(argv[optind], "?detail=1", &st, &err);
	if (r < 0)
		return cmd_error("why", &err, r);
	if (json)
		print_json(st);
	else {
		client_plain(st);
		print(st);
	}
	json_decref(st);
	return 0;
}
