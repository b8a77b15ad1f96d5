/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum status [OPTION]... [ID|DIR]\n"
    "Show mounts: phase, what is local, who waits, what keeps one from native.\n"
    "\n"
    "      --watch  show again at every change, until it is native (with ID) or for ever\n"
    "      --json   as JSON\n"
    "  -h, --help   this text\n";

struct options {
	const char *name; /* NULL: all */
	bool watch, json;
};

static long long num(json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

static const char *str(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void print_bound(json_t *st)
{
	json_t *v, *h;
	size_t i, k;

	json_array_foreach (json_object_get(st, "bound"), i, v) {
		(void)printf("    on the gate: %s, held by", str(v, "path"));
		if (json_array_size(json_object_get(v, "holders")) == 0)
			(void)printf(" the kernel's cache");
		json_array_foreach (json_object_get(v, "holders"), k, h)
			(void)printf("%s %s", k ? "," : "", json_string_value(h));
		(void)printf("\n");
	}
}

static void print_containers(json_t *st)
{
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(st, "containers"), i, v)
		(void)printf("    container %s, pid %lld, cgroup %s\n", str(v, "id"), num(v, "pid"),
			     *str(v, "cgroup") ? str(v, "cgroup") : "-");
}

static void print_text(json_t *st)
{
	char local[24], total[24];

	(void)printf("%-20s %-9s %s\n    %s at %s\n    %s of %s, %lld of %lld files; %lld on "
		     "demand, %lld waiting\n",
		     str(st, "id"), str(st, "phase"), str(st, "kind"), str(st, "image"),
		     *str(st, "target") ? str(st, "target") : "-",
		     cmd_bytes((double)num(st, "bytes_local"), local),
		     cmd_bytes((double)num(st, "bytes_total"), total), num(st, "files_local"),
		     num(st, "files_total"), num(st, "demand_fetches"), num(st, "waiters"));
	print_containers(st);
	print_bound(st);
	if (*str(st, "error"))
		(void)printf("    error: %s\n", str(st, "error"));
}

static void print(json_t *reply, const struct options *o)
{
	json_t *list = json_object_get(reply, "mounts"), *v;
	size_t i;

	if (o->json)
		(void)(json_dumpf(o->name ? reply : list, stdout,
				  o->watch ? JSON_COMPACT : JSON_INDENT(2)) +
		       printf("\n"));
	else if (o->name)
		print_text(reply);
	else
		json_array_foreach (list, i, v)
			print_text(v);
	(void)fflush(stdout);
}

static int once(const struct options *o, json_t **ret, struct lcm_err *err)
{
	lcm_autofree char *path = NULL;
	char real[PATH_MAX];

	path = o->name ? client_path(client_name(o->name, real), "?holders=1")
		       : strdup("/v1/mounts?holders=1");
	return path ? client_call("GET", path, NULL, !o->name, ret, err) : -ENOMEM;
}

/* Changes are seen by asking: with an id the daemon holds the answer until there is one. */
static int watch(const struct options *o, struct lcm_err *err)
{
	lcm_autofree char *last = NULL;
	bool end = false;

	while (!end) {
		lcm_autofree char *text = NULL;
		json_t *reply = NULL, *waited = NULL;
		int r = once(o, &reply, err);

		if (r < 0)
			return r;
		text = json_dumps(reply, JSON_COMPACT);
		if (!last || !text || strcmp(last, text) != 0)
			print(reply, o);
		free(last);
		last = lcm_steal(&text);
		end = o->name && (strcmp(str(reply, "phase"), "native") == 0 ||
				  strcmp(str(reply, "phase"), "failed") == 0);
		json_decref(reply);
		if (end)
			break;
		r = o->name ? client_follow(o->name, "native", 500, &waited, NULL)
			    : client_call("GET", "/v1/changes?timeout_ms=10000", NULL, false,
					  &waited, err);
		json_decref(waited);
		if (r < 0 && !o->name)
			return r;
	}
	return 0;
}

int cmd_status_main(int argc, char **argv)
{
	static const struct option longs[] = { { "watch", no_argument, NULL, 'w' },
					       { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	struct options o = { .name = NULL };
	struct lcm_err err = { 0 };
	json_t *reply = NULL;
	int c, r;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == 'w')
			o.watch = true;
		else if (c == 'j')
			o.json = true;
		else
			return CMD_USAGE;
	}
	if (argc - optind > 1)
		return cmd_usage("status", "one id or directory at most");
	o.name = argv[optind];
	r = o.watch ? watch(&o, &err) : once(&o, &reply, &err);
	if (r < 0)
		return cmd_error("status", &err, r);
	if (!o.watch)
		print(reply, &o);
	json_decref(reply);
	return 0;
}
