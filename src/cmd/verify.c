/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum verify [OPTION]... [IMAGE]\n"
    "Read what is stored of IMAGE, or of all images, from the disk, and compare it with what it "
    "was when\n"
    "its digests were proven: names, types, owners, modes, times, xattrs, content. It has what "
    "processor\n"
    "and disk have left. Exit status 1 when something is damaged, or cannot be said.\n"
    "\n"
    "      --now      as fast as it goes, whoever else wants the processors\n"
    "      --repair   damaged layers are dropped and fetched again; one that is mounted is kept\n"
    "                 from new mounts and goes with its last one\n"
    "      --json     print one JSON object for each layer\n"
    "  -h, --help     this text\n";

struct verify {
	const char *image; /* "": all */
	bool repair, now, json, bad;
	unsigned int layers, damaged, unknown, partial;
	double bytes;
	json_t *gone; /* owned; digests of layers to be fetched again */
};

static void print_damage(const json_t *layer)
{
	const json_t *d, *mount;
	size_t i;

	json_array_foreach (json_object_get(layer, "damage"), i, d)
		(void)printf("    /%s: %s\n", client_text(d, "path"), client_text(d, "what"));
	if (client_integer(layer, "damaged") > (long long)i)
		(void)printf("    and %lld more\n",
			     client_integer(layer, "damaged") - (long long)i);
	json_array_foreach (json_object_get(layer, "mounts"), i, mount)
		(void)printf("    mount %s has it: what it reads there is wrong until it is "
			     "unmounted and mounted again\n",
			     json_string_value(mount));
}

static void print(const json_t *layer)
{
	const char *why = client_text(layer, "why"), *repair = client_text(layer, "repair");
	char bytes[24];

	(void)printf(
	    "layer %lld %.19s: %s%s%s%s%s%s (%lld entries, %s)\n", client_integer(layer, "layer"),
	    client_text(layer, "digest"), client_text(layer, "state"), *why ? ": " : "", why,
	    *repair ? ", " : "", repair,
	    json_is_true(json_object_get(layer, "set_aside")) ? ", set aside before" : "",
	    client_integer(layer, "entries"), cmd_bytes(client_number(layer, "bytes"), bytes));
	if (client_integer(layer, "damaged"))
		print_damage(layer);
	(void)fflush(stdout);
}

static void show(const struct verify *v, json_t *layer)
{
	if (v->json) {
		client_print_json(layer);
		return;
	}
	client_plain(layer);
	print(layer);
}

static void count(struct verify *v, json_t *layer)
{
	const char *state = client_text(layer, "state");

	v->layers++;
	v->bytes += client_number(layer, "bytes");
	v->unknown += strcmp(state, "unknown") == 0;
	v->partial += strcmp(state, "partial") == 0;
	if (strcmp(state, "damaged") != 0)
		return;
	v->damaged++;
	if (v->repair && strcmp(client_text(layer, "repair"), "failed") != 0)
		(void)json_array_append(v->gone, json_object_get(layer, "digest"));
}

static int check_all(struct verify *v, struct lcm_err *err)
{
	long long after = 0;
	json_t *layer = NULL;
	int r = 0;

	for (;;) {
		json_decref(layer);
		layer = NULL;
		r = client_call("POST", "/v1/verify",
				json_pack("{s:s s:I s:b s:b}", "image", v->image, "after",
					  (json_int_t)after, "repair", v->repair, "now", v->now),
				true, &layer, err);
		if (r < 0 || json_is_null(json_object_get(layer, "layer")))
			break;
		after = client_integer(layer, "layer");
		count(v, layer);
		show(v, layer);
	}
	json_decref(layer);
	return r;
}

/* ---- repair ---- */

static bool is_gone(const struct verify *v, const char *digest)
{
	const json_t *x;
	size_t i;

	json_array_foreach (v->gone, i, x)
		if (strcmp(json_string_value(x), digest) == 0)
			return true;
	return false;
}

/* Has the image a layer that was dropped or set aside? Return: 1, 0, -errno. */
static int needs_pull(const struct verify *v, const char *image, struct lcm_err *err)
{
	lcm_autofree char *url = client_path_query("/v1/index", "image", image);
	json_t *reply = NULL, *layer;
	size_t i;
	int r = url ? client_call("GET", url, NULL, true, &reply, err) : -ENOMEM;

	json_array_foreach (json_object_get(reply, "layers"), i, layer)
		if (r == 0 && is_gone(v, client_text(layer, "digest")))
			r = 1;
	json_decref(reply);
	return r;
}

/* Each on its own: a registry that does not answer keeps no other image damaged. */
static void repair_image(struct verify *v, const char *image)
{
	struct lcm_err err = { 0 };
	int r = needs_pull(v, image, &err);

	if (r > 0)
		r = client_pull(image, "", "", NULL, &err);
	else if (r == 0)
		return;
	v->bad |= r < 0;
	if (r < 0)
		(void)cmd_error("verify", &err, r);
	else if (!v->json)
		(void)printf("%s: fetched again\n", image);
}

static int repair(struct verify *v, struct lcm_err *err)
{
	json_t *reply = NULL, *image;
	size_t i;
	int r;

	if (!json_array_size(v->gone))
		return 0;
	if (*v->image) {
		repair_image(v, v->image);
		return 0;
	}
	r = client_call("GET", "/v1/images", NULL, true, &reply, err);
	json_array_foreach (json_object_get(reply, "images"), i, image)
		if (r == 0)
			repair_image(v, client_text(image, "image"));
	json_decref(reply);
	return r;
}

static int verdict(const struct verify *v)
{
	struct lcm_err err = { 0 };

	if (v->bad)
		return CMD_FAILED; /* it has been said why */
	if (v->damaged && !v->repair)
		lcm_ignore(lcm_err_set(&err, -EUCLEAN,
				       "%u of %u layers are damaged; --repair fetches them again",
				       v->damaged, v->layers));
	else if (v->unknown)
		lcm_ignore(lcm_err_set(&err, -EUCLEAN,
				       "of %u of %u layers it is not known what they were; locum "
				       "drop-cache and locum pull make them anew",
				       v->unknown, v->layers));
	return err.code ? cmd_error("verify", &err, err.code) : 0;
}

static int run(struct verify *v)
{
	struct lcm_err err = { 0 };
	char bytes[24];
	int r = check_all(v, &err);

	if (r == 0)
		r = repair(v, &err);
	if (r < 0)
		return cmd_error("verify", &err, r);
	if (!v->json)
		(void)printf("%u layers, %s read: %u damaged, %u not known, %u not complete yet\n",
			     v->layers, cmd_bytes(v->bytes, bytes), v->damaged, v->unknown,
			     v->partial);
	return verdict(v);
}

int cmd_verify_main(int argc, char **argv)
{
	struct verify v = { .image = "" };
	const struct cmd_option options[] = { { "repair", .flag = &v.repair },
					      { "now", .flag = &v.now },
					      { "json", .flag = &v.json },
					      { 0 } };
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind > 1)
		return cmd_usage("verify", "one image at most");
	if (argc > optind)
		v.image = argv[optind];
	v.gone = json_array();
	r = run(&v);
	json_decref(v.gone);
	return r;
}
