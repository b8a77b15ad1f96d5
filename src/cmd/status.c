/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <string.h>
#include <unistd.h>

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

#define HOLDERS "?holders=1"

struct options {
	const char *name; /* NULL: all */
	bool watch, json;
};

static void print_bound(json_t *st)
{
	json_t *v, *h;
	size_t i, k;

	json_array_foreach (json_object_get(st, "bound"), i, v) {
		(void)printf("    on the gate: %s, held by", client_text(v, "path"));
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
		(void)printf("    container %s, pid %lld, cgroup %s\n", client_text(v, "id"),
			     client_integer(v, "pid"),
			     *client_text(v, "cgroup") ? client_text(v, "cgroup") : "-");
}

/* Who waits for what, and what becomes of them. */
static void print_waiting(json_t *st)
{
	const json_t *waiting = json_object_get(st, "waiting_ms"), *v;
	long long ms = client_integer(st, "deadline_ms");
	size_t i;

	if (json_is_number(waiting))
		(void)printf("    waiting for %.1f s", json_number_value(waiting) / 1000);
	if (json_is_number(waiting) && ms)
		(void)printf(", %s at %.1f s",
			     strcmp(client_text(st, "at_deadline"), "freeze") == 0 ? "frozen"
										   : "EIO",
			     (double)ms / 1000);
	if (json_is_number(waiting))
		(void)printf("\n");
	json_array_foreach (json_object_get(st, "frozen"), i, v)
		(void)printf("    frozen: %s\n", json_string_value(v));
	if (*client_text(st, "freeze_error"))
		(void)printf("    not frozen: %s\n", client_text(st, "freeze_error"));
}

/* Silent while it goes on: only what keeps it back is worth a line. */
static void print_background(const json_t *st)
{
	const json_t *b = json_object_get(st, "background");
	const char *state = client_text(b, "state");
	long long share = client_integer(b, "share_percent");

	if (strcmp(state, "share") == 0)
		(void)printf(
		    "    the rest has its share, %lld %% of a processor: containers want all\n",
		    share);
	else if (strcmp(state, "waiting") == 0 && share)
		(void)printf(
		    "    the rest waits for a processor that nobody wants; after %.0f s it has "
		    "%lld %% of one\n",
		    client_number(b, "wait_s"), share);
	else if (strcmp(state, "waiting") == 0)
		(void)printf("    the rest waits for a processor that nobody wants\n");
}

static void print_text(json_t *st)
{
	char local[24], total[24];

	(void)printf("%-20s %-9s %s\n    %s at %s\n    %s of %s, %lld of %lld files; %lld on "
		     "demand, %lld waiting\n",
		     client_text(st, "id"), client_text(st, "phase"), client_text(st, "kind"),
		     client_text(st, "image"),
		     *client_text(st, "target") ? client_text(st, "target") : "-",
		     cmd_bytes((double)client_integer(st, "bytes_local"), local),
		     cmd_bytes((double)client_integer(st, "bytes_total"), total),
		     client_integer(st, "files_local"), client_integer(st, "files_total"),
		     client_integer(st, "demand_fetches"), client_integer(st, "waiters"));
	if (*client_text(st, "unit_name"))
		(void)printf("    unit %s\n", client_text(st, "unit_name"));
	print_waiting(st);
	print_background(st);
	print_containers(st);
	print_bound(st);
	if (*client_text(st, "error"))
		(void)printf("    error: %s\n", client_text(st, "error"));
}

static void print(json_t *reply, const struct options *o)
{
	json_t *list = json_object_get(reply, "mounts"), *v;
	size_t i;

	if (!o->json)
		client_plain(reply);
	if (o->json && o->watch)
		(void)(json_dumpf(o->name ? reply : list, stdout, JSON_COMPACT) + printf("\n"));
	else if (o->json)
		client_print_json(o->name ? reply : list);
	else if (o->name)
		print_text(reply);
	else
		json_array_foreach (list, i, v)
			print_text(v);
	(void)fflush(stdout);
}

/* Changes are seen by asking: with an id the daemon holds the answer until there is one. */
static int watch(const struct options *o, struct lcm_err *err)
{
	lcm_autofree char *last = NULL;
	bool end = false;

	while (!end) {
		lcm_autofree char *text = NULL;
		json_t *reply = NULL, *waited = NULL;
		int r = client_get_mounts(o->name, HOLDERS, &reply, err);

		if (r < 0)
			return r;
		text = json_dumps(reply, JSON_COMPACT);
		if (!last || !text || strcmp(last, text) != 0)
			print(reply, o);
		free(last);
		last = lcm_steal(&text);
		end = o->name && (strcmp(client_text(reply, "phase"), "native") == 0 ||
				  strcmp(client_text(reply, "phase"), "failed") == 0);
		json_decref(reply);
		if (end)
			break;
		r = o->name ? client_follow(o->name, "native", true, 500, &waited, NULL)
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
	struct options o = { .name = NULL };
	const struct cmd_option options[] = { { "watch", .flag = &o.watch },
					      { "json", .flag = &o.json },
					      { 0 } };
	struct lcm_err err = { 0 };
	char real[PATH_MAX];
	json_t *reply = NULL;
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind > 1)
		return cmd_usage("status", "one id or directory at most");
	o.name = argv[optind] ? client_name(argv[optind], real) : NULL;
	r = o.watch ? watch(&o, &err) : client_get_mounts(o.name, HOLDERS, &reply, &err);
	if (r < 0)
		return cmd_error("status", &err, r);
	if (!o.watch)
		print(reply, &o);
	json_decref(reply);
	return 0;
}
