/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbdkit_plugin.c - a unit's disks as exports of nbdkit.
 *
 * nbdkit has the protocol, TLS and the sockets; here a request is translated, decided upon and
 * done. One server serves one owner: nbdkit 1.32 tells plugins nothing of a client's certificate.
 * The unit is found and opened before nbdkit gives its privileges away (-u), and a connection only
 * looks at what is open. See doc/units-nbd.md.
 */
#include <stdio.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "config.h"
#include "unit/disk_io.h"
#include "unit/disk_unit.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct {
	const char *root, *run; /* nbdkit's until the end */
	char owner[LCM_UUID];
	enum lcm_disk_side side;
	struct lcm_disk_unit *unit; /* owned */
} server = { .root = "/var/lib/locum", .run = "/run/locum" };

struct conn {
	struct lcm_disk disk;
	struct lcm_disk_map *map; /* owned: sizes as they are when it begins */
	char name[LCM_DISK_NAME];
};

static struct lcm_disk_who who(void)
{
	return (struct lcm_disk_who){ .owner = server.owner, .side = server.side };
}

/* As a client sees it: NBD has no EACCES. */
static int fail(const char *what, int r)
{
	nbdkit_error("%s: %s", what, strerror(-r));
	nbdkit_set_error(r == -EACCES ? EPERM : -r);
	return -1;
}

static int done(const char *what, int r)
{
	return r < 0 ? fail(what, r) : 0;
}

/* ---- the server ---- */

static int set_owner(const char *value)
{
	size_t i;

	for (i = 0; value[i] && i < sizeof(server.owner) - 1; i++)
		server.owner[i] = value[i] >= 'A' && value[i] <= 'F' ? (char)(value[i] - 'A' + 'a')
								     : value[i];
	server.owner[i] = '\0';
	if (!value[i] && i == LCM_UUID - 1)
		return 0;
	nbdkit_error("owner=%s is not a UUID", value);
	return -1;
}

static int plugin_config(const char *key, const char *value)
{
	if (strcmp(key, "root") == 0)
		server.root = value;
	else if (strcmp(key, "run") == 0)
		server.run = value;
	else if (strcmp(key, "owner") == 0)
		return set_owner(value);
	else if (strcmp(key, "side") == 0 && strcmp(value, "guest") == 0)
		server.side = LCM_DISK_GUEST;
	else if (strcmp(key, "side") == 0 && strcmp(value, "host") == 0)
		server.side = LCM_DISK_HOST;
	else {
		nbdkit_error("no such parameter: %s=%s", key, value);
		return -1;
	}
	return 0;
}

static int plugin_config_complete(void)
{
	if (server.owner[0])
		return 0;
	nbdkit_error("owner=UUID is missing: whoever may connect is this owner");
	return -1;
}

static int plugin_get_ready(void)
{
	struct lcm_disk_who w = who();
	struct lcm_err err = { 0 };
	int r = lcm_disk_unit_open(server.root, server.run, &w, &server.unit, &err);

	if (r == 0)
		return 0;
	nbdkit_error("%s", lcm_err_text(&err, r));
	return -1;
}

static void plugin_unload(void)
{
	lcm_disk_unit_free(server.unit);
	server.unit = NULL;
}

static int add_export(void *arg, const char *name)
{
	return nbdkit_add_export(arg, name, NULL);
}

static int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	(void)readonly;
	(void)is_tls;
	return lcm_disk_unit_each(server.unit, add_export, exports);
}

static const char *plugin_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return "disk";
}

/* ---- connections ---- */

static void plugin_close(void *handle)
{
	struct conn *c = handle;

	lcm_disk_map_free(c->map);
	free(c);
}

static void *plugin_open(int readonly)
{
	const char *name = nbdkit_export_name();
	struct conn *c = calloc(1, sizeof(*c));
	struct lcm_disk_loc loc;
	int r = c && name ? 0 : -ENOMEM;

	(void)readonly; /* nbdkit refuses writes then */
	if (r == 0 && snprintf(c->name, sizeof(c->name), "%s", name) >= (int)sizeof(c->name))
		r = -ENOENT;
	if (r == 0)
		r = lcm_disk_unit_map(server.unit, &c->map);
	if (r == 0) {
		c->disk = (struct lcm_disk){
			.map = c->map, .who = who(), .name = c->name, .io = &lcm_disk_file_io
		};
		r = lcm_disk_translate(c->map, &c->disk.who, c->name, LCM_DISK_OPEN, 0, 0, &loc);
	}
	if (r == 0 && loc.object->handle < 0)
		r = -ENOENT;
	if (r == 0)
		return c;
	(void)fail("export", r);
	if (c)
		plugin_close(c);
	return NULL;
}

static int64_t plugin_get_size(void *handle)
{
	struct conn *c = handle;
	uint64_t size;
	int r = lcm_disk_size(c->map, &c->disk.who, c->name, &size, NULL);

	return r < 0 ? fail("size", r) : (int64_t)size;
}

static int plugin_can_write(void *handle)
{
	struct conn *c = handle;
	uint64_t size;
	bool writable;
	int r = lcm_disk_size(c->map, &c->disk.who, c->name, &size, &writable);

	return r < 0 ? fail("permission", r) : writable;
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int plugin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_NATIVE;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
			     uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = 4096;
	*maximum = 32U << 20;
	return 0;
}

/* ---- requests ---- */

static unsigned int flags_of(uint32_t flags)
{
	return (flags & NBDKIT_FLAG_FUA ? LCM_DISK_DURABLE : 0) |
	       (flags & NBDKIT_FLAG_MAY_TRIM ? LCM_DISK_MAY_HOLE : 0) |
	       (flags & NBDKIT_FLAG_REQ_ONE ? LCM_DISK_ONE : 0);
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct conn *c = handle;

	(void)flags;
	return done("read", lcm_disk_read(&c->disk, buf, count, offset));
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
			 uint32_t flags)
{
	struct conn *c = handle;

	return done("write", lcm_disk_write(&c->disk, buf, count, offset, flags_of(flags)));
}

static int plugin_flush(void *handle, uint32_t flags)
{
	struct conn *c = handle;

	(void)flags;
	return done("flush", lcm_disk_flush(&c->disk));
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct conn *c = handle;

	return done("trim", lcm_disk_trim(&c->disk, count, offset, flags_of(flags)));
}

static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct conn *c = handle;
	int r = lcm_disk_zero(&c->disk, count, offset, flags_of(flags));

	if (r != -EOPNOTSUPP)
		return done("zero", r);
	/* nbdkit writes zeros then, unless the client wants it fast or not at all. */
	nbdkit_set_error(EOPNOTSUPP);
	return -1;
}

static int add_extent(void *arg, uint64_t off, uint64_t len, bool data)
{
	uint32_t type = data ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;

	return nbdkit_add_extent(arg, off, len, type) < 0 ? -ENOMEM : 0;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	struct conn *c = handle;
	int r = lcm_disk_extents(&c->disk, count, offset, flags_of(flags), add_extent, extents);

	return done("extents", r);
}

static int plugin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct conn *c = handle;

	(void)flags;
	return done("cache", lcm_disk_cache(&c->disk, count, offset));
}

static struct nbdkit_plugin plugin = {
	.name = "locum",
	.longname = "locum storage units",
	.version = PACKAGE_VERSION,
	.description = "the virtual disk of one owner's storage unit",
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.config_help = "owner=UUID     (required) whose unit; whoever may connect is this owner\n"
		       "root=DIR       where units.db is (default: /var/lib/locum)\n"
		       "run=DIR        units are attached at DIR/u/ID (default: /run/locum)\n"
		       "side=guest     the disk (default)\n"
		       "side=host      also nvram, memory, console.log, config.json",
	.get_ready = plugin_get_ready,
	.unload = plugin_unload,
	.list_exports = plugin_list_exports,
	.default_export = plugin_default_export,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.can_write = plugin_can_write,
	.can_flush = yes,
	.can_trim = yes,
	.can_zero = yes,
	.can_fast_zero = yes,
	.can_extents = yes,
	.can_multi_conn = yes, /* all connections have one file */
	.can_fua = plugin_can_fua,
	.can_cache = plugin_can_cache,
	.block_size = plugin_block_size,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.flush = plugin_flush,
	.trim = plugin_trim,
	.zero = plugin_zero,
	.extents = plugin_extents,
	.cache = plugin_cache,
};

NBDKIT_DLL_PUBLIC struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
