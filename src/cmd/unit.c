/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "src/cmd/cmd.h"
#include "src/cmd/unit.h"

static const char usage[] =
    "Usage: locum unit COMMAND [OPTION]... [ARGUMENT]...\n"
    "Storage units: each holds all that one container or VM has, and is shared with nobody.\n"
    "UNIT is a unit's name, its id, or its owner's id.\n"
    "\n"
    "  pool add NAME DIR           take the empty directory DIR as a pool of units\n"
    "  pool list                   show pools and what is left in them\n"
    "  pool remove NAME            forget a pool without units\n"
    "  create --size SIZE          make an empty unit, print its id\n"
    "  list                        show units\n"
    "  show UNIT                   show one, with its snapshots\n"
    "  grow UNIT SIZE              make it larger\n"
    "  shrink UNIT SIZE            make it smaller\n"
    "  move UNIT POOL              move it into another pool of the same backend\n"
    "  snapshot UNIT@NAME          keep it as it is now\n"
    "  rollback UNIT@NAME          make it what it was then\n"
    "  clone UNIT[@NAME]           make a unit that begins as a copy, print its id\n"
    "  delete UNIT[@NAME]          delete a unit with its snapshots, or one snapshot\n"
    "  export UNIT@NAME            write the snapshot to standard output, as one stream\n"
    "  import                      make a unit of the stream on standard input, print its id\n"
    "  attach UNIT                 mount it, print where\n"
    "  detach UNIT                 unmount it\n"
    "  check                       look for units of two owners, of none, or lost\n"
    "  gc                          finish or undo what was interrupted\n"
    "\n"
    "      --pool NAME        where to create it (the only one)\n"
    "      --owner UUID       whose it will be (a new one)\n"
    "      --name NAME        what to call it (its id)\n"
    "      --size SIZE        its size, also of a clone: 512M, 10G\n"
    "      --backend BACKEND  of a pool: image, subvol (where the file system is btrfs), dir\n"
    "      --floor SIZE       of a pool: so much of its file system is never given away (0)\n"
    "      --from BYTE        export: leave out what lies before it\n"
    "      --resume UNIT      import: go on with one that was interrupted\n"
    "      --adopt            pool add: DIR is a pool already, of another host or database\n"
    "      --thin             of a pool: promise more than there is\n"
    "      --deep             check: also mount those that are detached\n"
    "      --json             print as JSON\n"
    "  -h, --help             this text\n";

enum unit_option {
	UNIT_OPT_ADOPT,
	UNIT_OPT_POOL,
	UNIT_OPT_OWNER,
	UNIT_OPT_NAME,
	UNIT_OPT_SIZE,
	UNIT_OPT_BACKEND,
	UNIT_OPT_FLOOR,
	UNIT_OPT_FROM,
	UNIT_OPT_RESUME,
	UNIT_OPT_THIN,
	UNIT_OPT_DEEP,
	UNIT_OPT_JSON,
	UNIT_OPT_MAX,
};
_Static_assert(UNIT_OPT_MAX <= CMD_OPTIONS_MAX, "cmd_options() takes no more");
#define OPT(name) (1U << UNIT_OPT_##name)

struct command {
	const char *name;
	int args; /* "pool add": after those words */
	int (*run)(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err);
	unsigned int options;                       /* OPT(); others are refused */
	enum { SNAP_NO, SNAP_MAY, SNAP_MUST } snap; /* is a snapshot named? */
};

/* "UNIT@NAME" into two; NAME NULL: there is none. */
static int split(const char *arg, struct unit_args *a)
{
	const char *at = strchr(arg, '@');
	size_t n = at ? (size_t)(at - arg) : strlen(arg);

	if (n == 0 || n >= sizeof(a->key))
		return -EINVAL;
	memcpy(a->key, arg, n);
	a->key[n] = '\0';
	a->snap = at ? at + 1 : NULL;
	return 0;
}

static int print_id(const struct lcm_unit *v)
{
	return printf("%s\n", v->id) < 0 ? -EIO : 0;
}

static void tell(void *arg, const char *what)
{
	(void)arg;
	(void)printf("%s\n", what);
}

static int run_pool_add(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	const struct lcm_pool_options o = { .name = a->argv[0],
					    .path = a->argv[1],
					    .backend = a->backend,
					    .floor = a->floor,
					    .thin = a->thin };
	struct lcm_pool p;
	int r = a->adopt ? lcm_pool_adopt(u, &o, tell, NULL, &p, err)
			 : lcm_pool_add(u, &o, &p, err);

	if (r >= 0 && a->adopt)
		(void)printf("%d units\n", r);
	return LCM_MIN(r, 0);
}

static int run_pool_remove(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return lcm_pool_remove(u, a->argv[0], err);
}

static int run_create(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct lcm_unit v;
	int r;

	if (!a->unit.size)
		return lcm_err_set(err, -EINVAL, "--size is needed");
	r = lcm_unit_create(u, &a->unit, &v, err);
	return r < 0 ? r : print_id(&v);
}

static int resize(struct lcm_units *u, const struct unit_args *a, bool up, struct lcm_err *err)
{
	struct lcm_unit v;
	uint64_t size;
	int r = lcm_unit_get(u, a->key, &v, err);

	if (r < 0)
		return r;
	if (lcm_number_parse(a->argv[1], true, &size) < 0)
		return lcm_err_set(err, -EINVAL, "\"%s\" is not a size", a->argv[1]);
	if (up ? size < v.size : size > v.size)
		return lcm_err_set(err, -EINVAL, "unit %s has %llu bytes: that would be to %s it",
				   v.name, (unsigned long long)v.size, up ? "shrink" : "grow");
	return lcm_unit_resize(u, a->key, size, err);
}

static int run_grow(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return resize(u, a, true, err);
}

static int run_shrink(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return resize(u, a, false, err);
}

static int run_move(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return lcm_unit_move(u, a->key, a->argv[1], err);
}

static int run_snapshot(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return lcm_unit_snapshot(u, a->key, a->snap, err);
}

static int run_rollback(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return lcm_unit_rollback(u, a->key, a->snap, err);
}

static int run_clone(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct lcm_unit v;
	int r = lcm_unit_clone(u, a->key, a->snap, &a->unit, &v, err);

	return r < 0 ? r : print_id(&v);
}

static int run_delete(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return a->snap ? lcm_unit_snapshot_delete(u, a->key, a->snap, err)
		       : lcm_unit_delete(u, a->key, err);
}

static int run_attach(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct lcm_unit v;
	int r = lcm_unit_attach(u, a->key, NULL, &v, err);

	if (r < 0)
		return r;
	return printf("%s\n", lcm_unit_path(u, &v)) < 0 ? -EIO : 0;
}

static int run_detach(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	return lcm_unit_detach(u, a->key, NULL, err);
}

static int run_check(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	int r = lcm_unit_check(u, a->deep, tell, NULL, err);

	return r > 0 ? lcm_err_set(err, -EUCLEAN, "%d things are wrong", r) : r;
}

static int run_gc(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	(void)a;
	return lcm_unit_gc(u, tell, NULL, err);
}

#define NEW (OPT(OWNER) | OPT(NAME) | OPT(SIZE))

static int run_export(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	if (isatty(STDOUT_FILENO))
		return lcm_err_set(err, -EINVAL,
				   "the stream would go to a terminal; send it to a file or a "
				   "command");
	return lcm_unit_export(u, a->key, a->snap, a->from, STDOUT_FILENO, err);
}

static int run_import(struct lcm_units *u, const struct unit_args *a, struct lcm_err *err)
{
	struct lcm_unit v;
	int r = lcm_unit_import(u, &a->unit, STDIN_FILENO, a->resume, &v, err);

	return r < 0 ? r : print_id(&v);
}

static const struct command commands[] = {
	{ "create", 0, run_create, OPT(POOL) | NEW, SNAP_NO },
	{ "list", 0, unit_print_list, OPT(JSON), SNAP_NO },
	{ "show", 1, unit_print_one, OPT(JSON), SNAP_NO },
	{ "grow", 2, run_grow, 0, SNAP_NO },
	{ "shrink", 2, run_shrink, 0, SNAP_NO },
	{ "move", 2, run_move, 0, SNAP_NO },
	{ "snapshot", 1, run_snapshot, 0, SNAP_MUST },
	{ "rollback", 1, run_rollback, 0, SNAP_MUST },
	{ "clone", 1, run_clone, NEW, SNAP_MAY },
	{ "delete", 1, run_delete, 0, SNAP_MAY },
	{ "attach", 1, run_attach, 0, SNAP_NO },
	{ "detach", 1, run_detach, 0, SNAP_NO },
	{ "export", 1, run_export, OPT(FROM), SNAP_MUST },
	{ "import", 0, run_import, OPT(POOL) | OPT(OWNER) | OPT(NAME) | OPT(RESUME), SNAP_NO },
	{ "check", 0, run_check, OPT(DEEP), SNAP_NO },
	{ "gc", 0, run_gc, 0, SNAP_NO },
	{ 0 },
};

static const struct command pool_commands[] = {
	{ "add", 2, run_pool_add, OPT(BACKEND) | OPT(FLOOR) | OPT(THIN) | OPT(ADOPT), SNAP_NO },
	{ "list", 0, unit_print_pools, OPT(JSON), SNAP_NO },
	{ "remove", 1, run_pool_remove, 0, SNAP_NO },
	{ 0 },
};

/* ---- options ---- */

static int set_size(const char *text, uint64_t *ret, const char *option)
{
	if (text && (lcm_number_parse(text, true, ret) < 0 || *ret > INT64_MAX))
		return cmd_usage("unit", "--%s %s is not a size", option, text);
	return 0;
}

/* Return: -1, or an exit status. */
static int options(int argc, char **argv, struct unit_args *a, unsigned int *ret_given)
{
	const char *size = NULL, *floor = NULL, *from = NULL;
	const struct cmd_option table[] = {
		[UNIT_OPT_ADOPT] = { "adopt", .flag = &a->adopt },
		[UNIT_OPT_POOL] = { "pool", .value = &a->unit.pool },
		[UNIT_OPT_OWNER] = { "owner", .value = &a->unit.owner },
		[UNIT_OPT_NAME] = { "name", .value = &a->unit.name },
		[UNIT_OPT_SIZE] = { "size", .value = &size },
		[UNIT_OPT_BACKEND] = { "backend", .value = &a->backend },
		[UNIT_OPT_FLOOR] = { "floor", .value = &floor },
		[UNIT_OPT_FROM] = { "from", .value = &from },
		[UNIT_OPT_RESUME] = { "resume", .value = &a->resume },
		[UNIT_OPT_THIN] = { "thin", .flag = &a->thin },
		[UNIT_OPT_DEEP] = { "deep", .flag = &a->deep },
		[UNIT_OPT_JSON] = { "json", .flag = &a->json },
		[UNIT_OPT_MAX] = { 0 },
	};
	int r = cmd_options(argc, argv, usage, table);

	for (unsigned int i = 0; i < UNIT_OPT_MAX; i++)
		if (table[i].flag ? *table[i].flag : *table[i].value != NULL)
			*ret_given |= 1U << i;
	if (r < 0 && set_size(size, &a->unit.size, "size"))
		return CMD_USAGE;
	if (r < 0 && set_size(from, &a->from, "from"))
		return CMD_USAGE;
	if (r < 0 && set_size(floor, &a->floor, "floor"))
		return CMD_USAGE;
	return r;
}

static int run(const struct command *c, const struct unit_args *a)
{
	lcm_auto(lcm_units) u = NULL;
	struct lcm_err err = { 0 };
	int r = geteuid() == 0 ? 0 : lcm_err_set(&err, -EPERM, "not root; run it as root");

	if (r == 0)
		r = lcm_units_open(cmd_globals.root, cmd_globals.run_dir, &u, &err);
	if (r == 0)
		r = c->run(u, a, &err);
	return r < 0 ? cmd_error("unit", &err, r) : 0;
}

int cmd_unit_main(int argc, char **argv)
{
	struct unit_args a = { .argc = 0 };
	unsigned int given = 0;
	const struct command *c = commands;
	bool pool;
	int r = options(argc, argv, &a, &given);

	if (r >= 0)
		return r;
	if (optind == argc)
		return cmd_usage("unit", "a command is needed");
	pool = strcmp(argv[optind], "pool") == 0;
	if (pool) {
		c = pool_commands;
		optind++;
	}
	while (c->name && (optind == argc || strcmp(c->name, argv[optind]) != 0))
		c++;
	if (!c->name)
		return cmd_usage("unit", "no command \"%s%s%s\"", pool ? "pool" : "",
				 pool ? " " : "", optind < argc ? argv[optind] : "");
	a.argc = argc - optind - 1;
	a.argv = argv + optind + 1;
	if (given & ~c->options)
		return cmd_usage("unit", "%s takes none of the other commands' options", c->name);
	if (a.argc != c->args)
		return cmd_usage("unit", "%s takes %d argument%s", c->name, c->args,
				 c->args == 1 ? "" : "s");
	if (!pool && c->args && split(a.argv[0], &a) < 0)
		return cmd_usage("unit", "\"%s\" names no unit", a.argv[0]);
	if (a.snap ? c->snap == SNAP_NO : c->snap == SNAP_MUST)
		return cmd_usage("unit", a.snap ? "%s takes no snapshot" : "%s wants UNIT@NAME",
				 c->name);
	return run(c, &a);
}
