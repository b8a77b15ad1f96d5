/* SPDX-License-Identifier: Apache-2.0 */
/* image_store.c - images for podman, CRI-O and buildah, there before they have arrived. */
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/cstore.h"
#include "src/cmd/mount_options.h"

#define VERB "image-store"

static const char usage[] =
    "Usage: locum image-store [OPTION]... add IMAGE...\n"
    "       locum image-store [OPTION]... remove IMAGE...\n"
    "       locum image-store [OPTION]... list\n"
    "Keep an additional image store for podman: what is added there can be run at\n"
    "once, while it is still arriving. storage.conf names it in additionalimagestores.\n"
    "\n"
    "      --store DIR         where it is (RUN/image-store)\n"
    "      --pull WHEN         missing, always or never ask the registry for the manifest "
    "(missing)\n"
    "      --platform P        os/arch[/variant] instead of this machine's\n"
    "      --index WHERE       tables of contents beside the image, as of locum mount\n"
    "  -h, --help              this text\n";

struct options {
	struct mount_options mount;
	const char *store; /* NULL: below the run directory */
};

/* ---- add ---- */

static void unmount(const char *layer)
{
	lcm_autofree char *path = NULL;

	if (asprintf(&path, "/v1/mounts/store-%.16s?lazy=1&remove=1", layer) > 0)
		lcm_ignore(client_call("DELETE", path, NULL, false, NULL, NULL));
}

static int mount_at(const struct options *o, const char *image, const char *layer, const char *diff,
		    json_t **ret, struct lcm_err *err)
{
	struct mount_options m = o->mount;
	char id[32];
	json_t *body;

	(void)snprintf(id, sizeof(id), "store-%.16s", layer);
	m.id = id;
	m.read_only = true;
	body = mount_options_body(&m, image, diff);
	(void)json_object_set_new(body, "lower", json_true());
	return client_session(body, "ready", ret, err);
}

static int record(struct lcm_cstore *c, const char *layer, const json_t *st, struct lcm_err *err)
{
	struct lcm_cstore_image img = {
		.name = json_string_value(json_object_get(st, "image")),
		.bytes = (uint64_t)json_integer_value(json_object_get(st, "bytes_total")),
	};
	lcm_autofree char *path = client_path(json_string_value(json_object_get(st, "id")),
					      "/config");
	json_t *texts = NULL;
	int r = path ? client_call("GET", path, NULL, false, &texts, err) : -ENOMEM;

	if (r == 0) {
		img.config = json_string_value(json_object_get(texts, "config"));
		img.manifest = json_string_value(json_object_get(texts, "manifest"));
		r = img.name && img.config && *img.config && img.manifest && *img.manifest
			? lcm_cstore_add(c, layer, &img, err)
			: lcm_err_set(err, -EAGAIN, "the daemon was replaced meanwhile; try again");
	}
	json_decref(texts);
	return r;
}

/* The store is locked for its files alone: a mount may wait for the network. */
static int add(const struct options *o, const char *image, struct lcm_err *err)
{
	char layer[LCM_CSTORE_LAYER];
	lcm_autofree char *diff = NULL;
	struct lcm_cstore c;
	json_t *st = NULL;
	int r = lcm_cstore_open(o->store, &c, err);

	if (r < 0)
		return r;
	r = lcm_cstore_new_layer(&c, layer, &diff, err);
	lcm_cstore_close(&c);
	if (r < 0)
		return r;
	r = mount_at(o, image, layer, diff, &st, err);
	if (r == 0)
		r = lcm_cstore_open(o->store, &c, err);
	if (r == 0) {
		r = record(&c, layer, st, err);
		lcm_cstore_close(&c);
	}
	json_decref(st);
	if (r < 0) {
		unmount(layer);
		lcm_cstore_drop_layer(o->store, layer);
	}
	return r == -EEXIST ? 0 : r;
}

/* ---- remove, list ---- */

static int remove_from(struct lcm_cstore *c, const char *name, struct lcm_err *err)
{
	json_t *image = lcm_cstore_find(c, name);
	char layer[LCM_CSTORE_LAYER];
	int r;

	if (!image)
		return lcm_err_set(err, -ENOENT,
				   "%s is not in the store (locum image-store list shows what is)",
				   name);
	(void)snprintf(layer, sizeof(layer), "%s", lcm_cstore_layer(image));
	r = *layer ? lcm_cstore_in_use(layer, err) : 0;
	if (r > 0)
		return lcm_err_set(err, -EBUSY, "%s: containers run on it; end them first", name);
	if (r < 0)
		return lcm_err_prefix(err, r, "%s", name);
	r = lcm_cstore_remove(c, image, err);
	if (r < 0 || !*layer)
		return r;
	unmount(layer);
	lcm_cstore_drop_layer(c->dir, layer);
	return 0;
}

static int remove_one(const struct options *o, const char *name, struct lcm_err *err)
{
	struct lcm_cstore c;
	int r = lcm_cstore_open(o->store, &c, err);

	if (r < 0)
		return r;
	r = remove_from(&c, name, err);
	lcm_cstore_close(&c);
	return r;
}

/* The name of one may have gone to another. */
static void print_image(const json_t *image)
{
	const json_t *names = json_object_get(image, "names");
	const char *id = json_string_value(json_object_get(image, "id"));
	size_t i = 0;

	do {
		const char *name = json_string_value(json_array_get(names, i));

		(void)printf("%-60s %.12s\n", name ? name : "<none>", id ? id : "<none>");
	} while (++i < json_array_size(names));
}

static int list(const struct options *o, struct lcm_err *err)
{
	struct lcm_cstore c;
	json_t *image;
	size_t i;
	int r = lcm_cstore_open(o->store, &c, err);

	if (r < 0)
		return r;
	json_array_foreach (c.images, i, image)
		print_image(image);
	lcm_cstore_close(&c);
	return 0;
}

static int run(struct options *o, const char *what, char **images)
{
	lcm_autofree char *made = NULL;
	struct lcm_err err = { 0 };
	int r = asprintf(&made, "%s/image-store", cmd_globals.run_dir) < 0 ? -ENOMEM : 0;

	if (!o->store)
		o->store = made;
	if (r == 0 && strcmp(what, "list") == 0)
		r = list(o, &err);
	for (; r == 0 && *images; images++)
		r = strcmp(what, "add") == 0 ? add(o, *images, &err) : remove_one(o, *images, &err);
	return r < 0 ? cmd_error(VERB, &err, r) : 0;
}

int cmd_image_store_main(int argc, char **argv)
{
	enum { OPT_STORE = 1000 };
	static const struct option longs[] = { { "store", required_argument, NULL, OPT_STORE },
					       { "pull", required_argument, NULL, OPT_PULL },
					       { "platform", required_argument, NULL,
						 OPT_PLATFORM },
					       { "index", required_argument, NULL, OPT_INDEX },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	struct options o = { .mount = { .pull = "" } };
	const char *what;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == OPT_STORE)
			o.store = optarg;
		else
			r = mount_options_take(&o.mount, VERB, c, optarg);
	}
	if (r)
		return r;
	what = optind < argc ? argv[optind] : "";
	if (strcmp(what, "add") != 0 && strcmp(what, "remove") != 0 && strcmp(what, "list") != 0)
		return cmd_usage(VERB, "add, remove or list is expected");
	if ((strcmp(what, "list") == 0) != (optind + 1 == argc))
		return cmd_usage(VERB, strcmp(what, "list") == 0 ? "list takes no image"
								 : "an image is needed");
	if (o.store && *o.store != '/')
		return cmd_usage(VERB, "--store %s is not an absolute path", o.store);
	return run(&o, what, argv + optind + 1);
}
