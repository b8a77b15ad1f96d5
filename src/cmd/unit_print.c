/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/unit.h"

struct printing {
	struct lcm_units *u;
	struct lcm_err *err;
	json_t *list; /* owned */
};

static json_int_t number(uint64_t v)
{
	return (json_int_t)LCM_MIN(v, (uint64_t)INT64_MAX);
}

static int add(json_t *list, json_t *o)
{
	return json_array_append_new(list, o) < 0 ? -ENOMEM : 0;
}

/* ---- pools ---- */

static int add_pool(void *arg, const struct lcm_pool *p)
{
	const struct printing *pr = arg;
	struct lcm_pool_space s = { 0 };
	struct lcm_err err = { 0 };
	int r = lcm_pool_space(pr->u, p, &s, &err);

	return add(pr->list,
		   json_pack("{s:s s:s s:s s:s s:I s:b s:I s:I s:I s:I s:I s:s?}", "name", p->name,
			     "id", p->id, "path", p->path, "backend",
			     lcm_unit_backend_name(p->backend), "floor", number(p->floor), "thin",
			     p->thin, "size", number(s.size), "free", number(s.free), "promised",
			     number(s.promised), "available", number(s.available), "units",
			     number(s.units), "error", r < 0 ? lcm_err_text(&err, r) : NULL));
}

static const char *size(json_t *o, const char *key, char out[24])
{
	return cmd_bytes(client_number(o, key), out);
}

int unit_print_pools(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct printing pr = { u, err, json_array() };
	int r = lcm_pool_each(u, add_pool, &pr);
	json_t *o;
	size_t i;

	if (r == 0 && a->json) {
		client_print_json(pr.list);
	} else if (r == 0) {
		(void)printf("%-12s %-7s %5s %10s %10s %10s  %s\n", "NAME", "BACKEND", "UNITS",
			     "SIZE", "PROMISED", "AVAILABLE", "PATH");
		json_array_foreach (pr.list, i, o) {
			char b[3][24];

			(void)printf("%-12s %-7s %5.0f %10s %10s %10s  %s%s%s\n",
				     client_text(o, "name"), client_text(o, "backend"),
				     client_number(o, "units"), size(o, "size", b[0]),
				     size(o, "promised", b[1]), size(o, "available", b[2]),
				     client_text(o, "path"), *client_text(o, "error") ? ": " : "",
				     client_text(o, "error"));
		}
	}
	json_decref(pr.list);
	return r;
}

/* ---- units ---- */

static json_t *unit_json(struct lcm_units *u, const struct lcm_unit *v)
{
	uint64_t used = 0;
	int r = lcm_unit_used(u, v, &used, NULL);

	return json_pack("{s:s s:s s:s s:s s:I s:o s:I s:s? s:s? s:s?}", "id", v->id, "name",
			 v->name, "owner", v->owner, "pool", v->pool, "size", number(v->size),
			 "used", r < 0 ? json_null() : json_integer(number(used)), "created_s",
			 number(v->created_ns / 1000000000), "attached",
			 v->attached ? lcm_unit_path(u, v) : NULL, "mount",
			 v->user[0] ? v->user : NULL, "interrupted", v->op[0] ? v->op : NULL);
}

static int add_unit(void *arg, const struct lcm_unit *v)
{
	const struct printing *pr = arg;

	return add(pr->list, unit_json(pr->u, v));
}

int unit_print_list(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct printing pr = { u, err, json_array() };
	int r = lcm_unit_each(u, add_unit, &pr);
	json_t *o;
	size_t i;

	if (r == 0 && a->json) {
		client_print_json(pr.list);
	} else if (r == 0) {
		(void)printf("%-36s %-12s %10s %10s  %s\n", "NAME", "POOL", "SIZE", "USED",
			     "ATTACHED");
		json_array_foreach (pr.list, i, o) {
			char b[2][24];

			(void)printf("%-36s %-12s %10s %10s  %s\n", client_text(o, "name"),
				     client_text(o, "pool"), size(o, "size", b[0]),
				     size(o, "used", b[1]), client_text(o, "attached"));
		}
	}
	json_decref(pr.list);
	return r;
}

static int add_snap(void *arg, const struct lcm_unit_snap *s)
{
	return add(arg, json_pack("{s:s s:I s:I}", "name", s->name, "size", number(s->size),
				  "created_s", number(s->created_ns / 1000000000)));
}

static void print_one(json_t *o)
{
	char b[24];
	json_t *s;
	size_t i;

	(void)printf("id        %s\nname      %s\nowner     %s\npool      %s\nsize      %s\n",
		     client_text(o, "id"), client_text(o, "name"), client_text(o, "owner"),
		     client_text(o, "pool"), size(o, "size", b));
	(void)printf("used      %s\n", size(o, "used", b));
	if (*client_text(o, "attached"))
		(void)printf("attached  %s\n", client_text(o, "attached"));
	if (*client_text(o, "mount"))
		(void)printf("mount     %s\n", client_text(o, "mount"));
	json_array_foreach (json_object_get(o, "snapshots"), i, s)
		(void)printf("snapshot  %s\n", client_text(s, "name"));
}

int unit_print_one(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct lcm_unit v;
	int r = lcm_unit_get(u, a->key, &v, err);
	json_t *o = r < 0 ? NULL : unit_json(u, &v), *snaps = json_array();

	if (r < 0) {
		json_decref(snaps);
		return r;
	}
	r = lcm_unit_snapshot_each(u, &v, add_snap, snaps);
	if (json_object_set_new(o, "snapshots", snaps) < 0)
		r = -ENOMEM;
	if (r == 0 && a->json)
		client_print_json(o);
	else if (r == 0)
		print_one(o);
	json_decref(o);
	return r;
}
