/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/daemon/meter_args.h"

static const char usage[] =
    "Usage: locum meter show [--watch|--json] [ID|DIR]\n"
    "       locum meter set ID|DIR [--class CLASS] [--weight N] [--limit LIMIT]... "
    "[--no-limits] [--readmit WHEN] "
    "[--reject ERROR]\n"
    "       locum meter set --class CLASS [OPTION]...\n"
    "       locum meter reload\n"
    "Show what mounts have cost the network, the decoders and the disk, "
    "and how long their requests\n"
    "waited; change a mount's share where others ask too, and what it may use.\n"
    "\n"
    "      --watch     show again at every change\n"
    "      --json      as JSON\n"
    "      --class CLASS  the mount is in it from now on (\"\": in none); without a mount: change "
    "the "
    "class\n"
    "      --weight N  1 to 10000 (100)\n"
    "      --limit RESOURCE=N[/MS]  no more than N in MS milliseconds (1000) of requests, "
    "fetched_bytes,\n"
    "                  decoded_bytes, written_bytes, decode_ms or disk_ms; may be repeated\n"
    "      --no-limits none any more\n"
    "      --readmit WHEN  rollover, time=MS or others=REQUESTS (rollover)\n"
    "      --reject ERROR  EAGAIN or EIO, when two limits are passed (EAGAIN)\n"
    "  -h, --help      this text\n";

struct options {
	const char *what, *name; /* name NULL: all */
	const char *class;       /* NULL: not given */
	bool watch, json;
	json_t *body; /* owned; what is set */
};

static double num(const json_t *o, const char *part, const char *key)
{
	return client_number(json_object_get(o, part), key);
}

static void print_limits(const json_t *reg)
{
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(reg, "limits"), i, v)
		(void)printf("    limit %s %lld in %lld ms; once native %s\n",
			     client_text(v, "resource"), client_integer(v, "threshold"),
			     client_integer(v, "interval_ms"),
			     strcmp(client_text(v, "resource"), "written_bytes") == 0
				 ? "on bytes read from the disk"
			     : strcmp(client_text(v, "resource"), "requests") == 0
				 ? "on reads of the disk"
				 : "there is nothing left that it is for");
	if (i)
		(void)printf("    %s; held %lld times, rejecting %lld times\n",
			     client_text(reg, "state"), client_integer(reg, "times_held"),
			     client_integer(reg, "times_rejected"));
}

/* What the containers' cgroups have of it. */
static void print_carried(const json_t *st)
{
	static const char *const names[] = { "read_bytes", "reads", "weight" };
	json_t *c;
	size_t i;

	json_array_foreach (json_object_get(st, "containers"), i, c) {
		const json_t *io = json_object_get(c, "io");

		if (*client_text(io, "why"))
			(void)printf("    container %s: nothing is carried over: %s\n",
				     client_text(c, "id"), client_text(io, "why"));
		for (size_t k = 0; k < LCM_ARRAY_SIZE(names); k++) {
			const json_t *v = json_object_get(io, names[k]);

			if (*client_text(v, "why"))
				(void)printf("    container %s: %s is not carried over: %s\n",
					     client_text(c, "id"), names[k], client_text(v, "why"));
			else if (v)
				(void)printf("    container %s: %s %lld on disk %s, by %s\n",
					     client_text(c, "id"), names[k],
					     client_integer(v, "set"), client_text(io, "disk"),
					     client_text(io, "cgroup"));
		}
	}
}

static void print_one(const json_t *st)
{
	const json_t *m = json_object_get(st, "meter");
	char fetched[24], decoded[24], written[24], background[24];

	(void)printf("%-20s weight %-5lld %6.0f requests: %s fetched, %s decoded, %s written; "
		     "waited %.1f ms for a turn, %.1f for the network, %.1f for decoders, %.1f "
		     "for the disk; background %s\n",
		     client_text(st, "id"), client_integer(m, "weight"),
		     num(m, "demand", "requests"),
		     cmd_bytes(num(m, "demand", "fetched_bytes"), fetched),
		     cmd_bytes(num(m, "demand", "decoded_bytes"), decoded),
		     cmd_bytes(num(m, "demand", "written_bytes"), written),
		     num(m, "demand", "queue_ms"), num(m, "demand", "network_ms"),
		     num(m, "demand", "decode_ms"), num(m, "demand", "disk_ms"),
		     cmd_bytes(num(m, "background", "fetched_bytes"), background));
	if (*client_text(json_object_get(m, "regulation"), "class"))
		(void)printf("    class %s\n",
			     client_text(json_object_get(m, "regulation"), "class"));
	print_limits(json_object_get(m, "regulation"));
	print_carried(st);
}

static json_t *meter_of(const json_t *st)
{
	json_t *o = json_pack("{s:O s:O}", "id", json_object_get(st, "id"), "meter",
			      json_object_get(st, "meter"));
	json_t *containers = json_object_get(st, "containers");

	if (o && containers)
		(void)json_object_set(o, "containers", containers);
	return o;
}

static json_t *meters(json_t *reply, bool one)
{
	json_t *out = json_array(), *v;
	size_t i;

	if (one)
		(void)json_array_append_new(out, meter_of(reply));
	json_array_foreach (json_object_get(reply, "mounts"), i, v)
		(void)json_array_append_new(out, meter_of(v));
	return out;
}

static int print_classes(struct lcm_err *err)
{
	json_t *reply = NULL, *v;
	size_t i;
	int r = client_call("GET", "/v1/meter", NULL, false, &reply, err);

	json_array_foreach (json_object_get(reply, "classes"), i, v) {
		char weight[24] = "-";

		if (client_integer(v, "weight"))
			(void)snprintf(weight, sizeof(weight), "%lld", client_integer(v, "weight"));
		(void)printf("class %-14s weight %-5s %6lld requests of %lld mounts\n",
			     client_text(v, "class"), weight, client_integer(v, "requests"),
			     client_integer(v, "mounts"));
		print_limits(v);
	}
	json_decref(reply);
	return r;
}

static int show_once(const struct options *o, struct lcm_err *err)
{
	json_t *reply = NULL, *all, *v;
	size_t i;
	int r = client_get_mounts(o->name, "", &reply, err);

	if (r < 0)
		return r;
	all = meters(reply, o->name != NULL);
	if (o->json)
		client_print_json(all);
	else
		json_array_foreach (all, i, v)
			print_one(v);
	if (!o->json && !o->name)
		r = print_classes(err);
	(void)fflush(stdout);
	json_decref(all);
	json_decref(reply);
	return r;
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
	lcm_autofree char *path = o->name ? client_path(client_name(o->name, real), "/meter")
					  : strdup("/v1/meter");

	return path ? client_call("POST", path, json_incref(o->body), false, NULL, err) : -ENOMEM;
}

/* What resources and intervals there are the daemon knows. */
static int add_limit(struct options *o, const char *text)
{
	json_t *list = json_object_get(o->body, "limits");
	struct lcm_err err = { 0 };

	if (!list) {
		list = json_array();
		(void)json_object_set_new(o->body, "limits", list);
	}
	return lcm_meter_limit_take(text, strlen(text), list, &err) < 0
		   ? cmd_usage("meter", "--%s", err.msg)
		   : 0;
}

static int set_readmit(struct options *o, const char *text)
{
	struct lcm_err err = { 0 };

	return lcm_meter_readmit_take(text, o->body, &err) < 0 ? cmd_usage("meter", "--%s", err.msg)
							       : 0;
}

static int take(struct options *o, int c)
{
	uint64_t n;

	switch (c) {
	case 'w':
		o->watch = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case 'n':
		if (lcm_number_parse(optarg, false, &n) < 0 || n > INT64_MAX)
			return cmd_usage("meter", "--weight %s is not a number", optarg);
		(void)json_object_set_new(o->body, "weight", json_integer((json_int_t)n));
		return 0;
	case 'l':
		return add_limit(o, optarg);
	case 'o':
		(void)json_object_set_new(o->body, "limits", json_array());
		return 0;
	case 'r':
		return set_readmit(o, optarg);
	case 'c':
		o->class = optarg;
		return 0;
	case 'e':
		(void)json_object_set_new(o->body, "reject", json_string(optarg));
		return 0;
	default:
		return c == 'h' ? -1 : CMD_USAGE;
	}
}

static int check_set(const struct options *o)
{
	if (o->watch || o->json)
		return cmd_usage("meter", "--watch and --json go with show");
	if ((!o->name && !o->class) || json_object_size(o->body) == 0)
		return cmd_usage("meter", "set needs a mount or a class, and something to set");
	if (!o->name && !*o->class)
		return cmd_usage("meter", "--class is empty, and no mount is given");
	if (!json_object_get(o->body, "limits") &&
	    (json_object_get(o->body, "readmit") || json_object_get(o->body, "reject")))
		return cmd_usage("meter", "--readmit and --reject go with --limit");
	return 0;
}

static int check(const struct options *o)
{
	bool reload = strcmp(o->what, "reload") == 0;

	if (strcmp(o->what, "set") == 0)
		return check_set(o);
	if (!reload && strcmp(o->what, "show") != 0)
		return cmd_usage("meter", "show, set or reload is expected");
	if (json_object_size(o->body) > 0 || o->class)
		return cmd_usage("meter", "--class, --weight, --limit, --no-limits, --readmit and "
					  "--reject go with set");
	if (reload && (o->name || o->watch || o->json))
		return cmd_usage("meter", "reload takes nothing");
	return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "watch", no_argument, NULL, 'w' },
					       { "json", no_argument, NULL, 'j' },
					       { "weight", required_argument, NULL, 'n' },
					       { "limit", required_argument, NULL, 'l' },
					       { "no-limits", no_argument, NULL, 'o' },
					       { "readmit", required_argument, NULL, 'r' },
					       { "reject", required_argument, NULL, 'e' },
					       { "class", required_argument, NULL, 'c' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		r = take(o, c);
	if (r)
		return r;
	if (o->class)
		(void)json_object_set_new(o->body, "class", json_string(o->class));
	o->what = optind < argc ? argv[optind++] : "";
	o->name = optind < argc ? argv[optind++] : NULL;
	if (optind < argc)
		return cmd_usage("meter", "\"%s\" is not expected", argv[optind]);
	return check(o);
}

int cmd_meter_main(int argc, char **argv)
{
	struct options o = { .body = json_object() };
	struct lcm_err err = { 0 };
	int r = parse(argc, argv, &o);

	if (r < 0)
		r = fputs(usage, stdout) < 0;
	else if (r == 0) {
		if (strcmp(o.what, "show") == 0)
			r = show(&o, &err);
		else if (strcmp(o.what, "set") == 0)
			r = set(&o, &err);
		else
			r = client_call("POST", "/v1/meter/reload", NULL, false, NULL, &err);
		r = r < 0 ? cmd_error("meter", &err, r) : 0;
	}
	json_decref(o.body);
	return r;
}
