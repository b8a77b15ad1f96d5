/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum index create|push|show [OPTION]... IMAGE\n"
    "Make, publish or show the tables of contents by which an image is lazy.\n"
    "create pulls the image without mounting it; from then on its layers are lazy here, also "
    "after\n"
    "drop-cache. push does that, too, and puts the tables beside the image into its repository:\n"
    "they are found by other hosts' locum mount --index=referrers. The image stays as it is.\n"
    "\n"
    "      --platform OS/ARCH  create, push: another platform than this machine's\n"
    "      --json              as JSON\n"
    "  -h, --help              this text\n";

static void print_layer(json_t *layer)
{
	json_t *x = json_object_get(layer, "index");
	const char *error = json_string_value(json_object_get(x, "error"));
	char size[24], kept[24];

	(void)printf("%.19s %10s  ", client_text(layer, "digest"),
		     cmd_bytes(client_number(layer, "size"), size));
	if (error)
		(void)printf("damaged: %s\n", error);
	else if (!json_is_object(x))
		(void)printf("none\n");
	else
		(void)printf("%lld entries, %lld chunks, %lld spans, %s of windows%s\n",
			     client_integer(x, "entries"), client_integer(x, "chunks"),
			     client_integer(x, "spans"),
			     cmd_bytes(client_number(x, "window_bytes"), kept),
			     json_is_true(json_object_get(x, "own")) ? "" : ", from the image");
}

/* Return: exit status; 1 when @all is wanted and a layer has none. */
static int show(const char *image, bool json, bool all)
{
	json_t *reply = NULL, *layer;
	struct lcm_err err = { 0 };
	lcm_autofree char *url = client_path_query("/v1/index", "image", image);
	bool missing = false;
	size_t i;
	int r;

	r = url ? client_call("GET", url, NULL, true, &reply, &err) : -ENOMEM;
	if (r < 0)
		return cmd_error("index", &err, r);
	if (json)
		client_print_json(reply);
	json_array_foreach (json_object_get(reply, "layers"), i, layer) {
		missing |= !json_is_object(json_object_get(layer, "index"));
		if (!json)
			print_layer(layer);
	}
	json_decref(reply);
	if (!all || !missing)
		return 0;
	lcm_err_set(
	    &err, -ENODATA,
	    "a layer has no index: it was here before without one (locum drop-cache %s, then "
	    "again), or it cannot have one (the daemon's log says why)",
	    image);
	return cmd_error("index", &err, -ENODATA);
}

static int create(const char *image, const char *platform, bool json)
{
	struct lcm_err err = { 0 };
	int r = client_pull(image, platform, "", NULL, &err);

	return r < 0 ? cmd_error("index", &err, r) : show(image, json, true);
}

static void print_pushed(json_t *x)
{
	char size[24];

	(void)printf("%s  %s, %lld layers, %s, listed by %s\n", client_text(x, "digest"),
		     client_text(x, "type"), client_integer(x, "layers"),
		     cmd_bytes(client_number(x, "bytes"), size), client_text(x, "listed"));
}

static int push(const char *image, const char *platform, bool json)
{
	struct lcm_err err = { 0 };
	json_t *reply = NULL, *x;
	size_t i;
	int r = client_pull(image, platform, "", NULL, &err);

	if (r == 0)
		r = client_call("POST", "/v1/index/push", json_pack("{s:s}", "image", image), true,
				&reply, &err);
	if (r < 0)
		return cmd_error("index", &err, r);
	if (json)
		client_print_json(reply);
	json_array_foreach (json_object_get(reply, "indexes"), i, x)
		if (!json)
			print_pushed(x);
	if (!json && !json_array_size(json_object_get(reply, "indexes")))
		(void)printf("nothing to push: every layer brings its own table\n");
	json_decref(reply);
	return 0;
}

int cmd_index_main(int argc, char **argv)
{
	const char *platform = "", *what;
	bool json = false;
	const struct cmd_option options[] = { { "platform", .value = &platform },
					      { "json", .flag = &json },
					      { 0 } };
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind != 2)
		return cmd_usage("index", "create, push or show, and one image, are needed");
	what = argv[optind];
	if (strcmp(what, "show") == 0)
		return show(argv[optind + 1], json, false);
	if (strcmp(what, "create") == 0)
		return create(argv[optind + 1], platform, json);
	if (strcmp(what, "push") == 0)
		return push(argv[optind + 1], platform, json);
	return cmd_usage("index", "\"%s\" is not create, push or show", what);
}
