/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum meter show [--watch|--json] [ID|DIR]\n"
			    "       locum meter set ID|DIR --weight N\n"
			    "Show what mounts have cost the network, the decoders and the disk, "
			    "and how long their requests\n"
			    "waited; change a mount's share where others ask too.\n"
			    "\n"
			    "      --watch     show again at every change\n"
			    "      --json      as JSON\n"
			    "      --weight N  1 to 10000 (100)\n"
			    "  -h, --help      this text\n";

struct options {
	const char *what, *name; /* name NULL: all */
	bool watch, json;
	const char *weight;
	uint64_t weight_number;
};

static double num(const json_t *o, const char *part, const char *key)
{
	return json_number_value(json_object_get(json_object_get(o, part), key));
}

static void print_one(const json_t *st)
{
	const json_t *m = json_object_get(st, "meter");
	char fetched[24], decoded[24], written[24], background[24];

	(void)printf("%-20s weight %-5lld %6.0f requests: %s fetched, %s decoded, %s written; "
		     "waited %.1f ms for a turn, %.1f for the network, %.1f for decoders, %.1f "
		     "for the disk; background %s\n",
		     json_string_value(json_object_get(st, "id")),
		     (long long)json_integer_value(json_object_get(m, "weight")),
		     num(m, "demand", "requests"),
		     cmd_bytes(num(m, "demand", "fetched_bytes"), fetched),
		     cmd_bytes(num(m, "demand", "decoded_bytes"), decoded),
		     cmd_bytes(num(m, "demand", "written_bytes"), written),
		     num(m, "demand", "queue_ms"), num(m, "demand", "network_ms"),
		     num(m, "demand", "decode_ms"), num(m, "demand", "disk_ms"),
		     cmd_bytes(num(m, "background", "fetched_bytes"), background));
}

static json_t *meters(json_t *reply, bool one)
{
	json_t *out = json_array(), *v;
	size_t i;

	if (one)
		(void)json_array_append_new(out, json_pack("{s:O s:O}", "id",
							   json_object_get(reply, "id"), "meter",
							   json_object_get(reply, "meter")));
	json_array_foreach (json_object_get(reply, "mounts"), i, v)
		(void)json_array_append_new(out,
					    json_pack("{s:O s:O}", "id", json_object_get(v, "id"),
						      "meter", json_object_get(v, "meter")));
	return out;
}

static int show_once(const struct options *o, struct lcm_err *err)
{
	lcm_autofree char *path = NULL;
	json_t *reply = NULL, *all, *v;
	char real[PATH_MAX];
	size_t i;
	int r;

	path = o->name ? client_path(client_name(o->name, real), "") : strdup("/v1/mounts");
	r = path ? client_call("GET", path, NULL, !o->name, &reply, err) : -ENOMEM;
	if (r < 0)
		return r;
	all = meters(reply, o->name != NULL);
	if (o->json)
		(void)(json_dumpf(all, stdout, JSON_INDENT(2)) + printf("\n"));
	else
		json_array_foreach (all, i, v)
			print_one(v);
	(void)fflush(stdout);
	json_decref(all);
	json_decref(reply);
	return 0;
}

static int show(const struct options *o, struct lcm_err *err)
{
	int r = show_once(o, err);

	while (r == 0 && o->watch) {
		r = client_call("GET", "/v1/changes?timeout_ms=1000", NULL, false, NULL, err);
		if (r == 0)
			r = show_once(o, err);
	}
	return r;
}

static int set(const struct options *o, struct lcm_err *err)
{
	char real[PATH_MAX];
	lcm_autofree char *path = client_path(client_name(o->name, real), "/meter");

	return path ? client_call("POST", path,
				  json_pack("{s:I}", "weight", (json_int_t)o->weight_number), false,
				  NULL, err)
		    : -ENOMEM;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "watch", no_argument, NULL, 'w' },
					       { "json", no_argument, NULL, 'j' },
					       { "weight", required_argument, NULL, 'n' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'w')
			o->watch = true;
		else if (c == 'j')
			o->json = true;
		else if (c == 'n')
			o->weight = optarg;
		else
			return c == 'h' ? -1 : CMD_USAGE;
	}
	o->what = optind < argc ? argv[optind++] : "";
	o->name = optind < argc ? argv[optind++] : NULL;
	if (optind < argc)
		return cmd_usage("meter", "\"%s\" is not expected", argv[optind]);
	if (strcmp(o->what, "show") != 0 && strcmp(o->what, "set") != 0)
		return cmd_usage("meter", "show or set is expected");
	if (strcmp(o->what, "set") == 0 && (!o->name || !o->weight))
		return cmd_usage("meter", "set needs a mount and --weight");
	if (o->weight &&
	    (cmd_number(o->weight, false, &o->weight_number) < 0 || o->weight_number > INT64_MAX))
		return cmd_usage("meter", "--weight %s is not a number", o->weight);
	return 0;
}

int cmd_meter_main(int argc, char **argv)
{
	struct options o = { .name = NULL };
	struct lcm_err err = { 0 };
	int r = parse(argc, argv, &o);

	if (r)
		return r < 0 ? fputs(usage, stdout) < 0 : r;
	r = strcmp(o.what, "show") == 0 ? show(&o, &err) : set(&o, &err);
	return r < 0 ? cmd_error("meter", &err, r) : 0;
}
