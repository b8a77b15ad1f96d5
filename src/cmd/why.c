/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum why [--json] ID|DIR\n"
    "Say what a mount was waited for: the requests that took longest, and where their time went.\n"
    "\n"
    "      --json  as JSON\n"
    "  -h, --help  this text\n";

static double num(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static void print(json_t *st)
{
	const json_t *demand = json_object_get(json_object_get(st, "meter"), "demand");
	json_t *v;
	size_t i;

	(void)printf("%s: somebody waited for %.1f ms in all; %.0f requests were fetched for\n",
		     json_string_value(json_object_get(st, "id")), num(st, "blocked_ms"),
		     num(demand, "requests"));
	(void)printf("%10s %10s %10s %10s  %s\n", "turn ms", "network", "decoder", "disk", "file");
	(void)printf("%10.1f %10.1f %10.1f %10.1f  all\n", num(demand, "queue_ms"),
		     num(demand, "network_ms"), num(demand, "decode_ms"), num(demand, "disk_ms"));
	json_array_foreach (json_object_get(st, "slowest"), i, v)
		(void)printf("%10.1f %10.1f %10.1f %10.1f  %s\n", num(v, "queue_ms"),
			     num(v, "network_ms"), num(v, "decode_ms"), num(v, "disk_ms"),
			     json_string_value(json_object_get(v, "path")));
}

int cmd_why_main(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	lcm_autofree char *path = NULL;
	struct lcm_err err = { 0 };
	json_t *st = NULL;
	char real[PATH_MAX];
	bool json = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c != 'j')
			return CMD_USAGE;
		json = true;
	}
	if (argc - optind != 1)
		return cmd_usage("why", "one mount is needed");
	path = client_path(client_name(argv[optind], real), "?detail=1");
	r = path ? client_call("GET", path, NULL, false, &st, &err) : -ENOMEM;
	if (r < 0)
		return cmd_error("why", &err, r);
	if (json) {
		json_t *o = json_pack("{s:O s:O s:O s:O s:O}", "id", json_object_get(st, "id"),
				      "blocked_ms", json_object_get(st, "blocked_ms"), "demand",
				      json_object_get(json_object_get(st, "meter"), "demand"),
				      "slowest", json_object_get(st, "slowest"), "blocked",
				      json_object_get(st, "blocked"));

		(void)(json_dumpf(o, stdout, JSON_INDENT(2)) + printf("\n"));
		json_decref(o);
	} else {
		print(st);
	}
	json_decref(st);
	return 0;
}
