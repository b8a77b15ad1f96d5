/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/mount_options.h"

static const char usage[] =
    "Usage: locum mount [OPTION]... IMAGE [DIR]\n"
    "Mount IMAGE at the empty directory DIR, or at a new one whose name is printed, and return as\n"
    "soon as it can be used.\n"
    "\n" MOUNT_OPTIONS_HELP "      --json              print the status as JSON\n"
    "  -h, --help              this text\n";

/* @dir NULL: the daemon makes one. */
static int check_dir(const char *dir, char out[PATH_MAX], struct lcm_err *err)
{
	int r;

	out[0] = '\0';
	r = !dir || realpath(dir, out) ? 0 : (int)lcm_errno(-1);
	if (r < 0)
		return lcm_err_set(err, r, "mount point %s: %s; name an empty directory", dir,
				   strerror(-r));
	return 0;
}

static int do_mount(struct mount_options *o, const char *image, const char *dir, bool json)
{
	struct lcm_err err = { 0 };
	char target[PATH_MAX];
	json_t *body, *st = NULL;
	int r = check_dir(dir, target, &err);

	if (r == 0) {
		body = mount_options_body(o, image, target);
		(void)json_object_set_new(body, "remount", json_true());
		r = client_session(body, "ready", &st, &err);
	}
	if (r < 0) {
		json_decref(st);
		return cmd_error("mount", &err, r);
	}
	if (json)
		client_print_json(st);
	else
		(void)printf("%s\n", client_text(st, dir ? "id" : "target"));
	json_decref(st);
	return 0;
}

int cmd_mount_main(int argc, char **argv)
{
	static const struct option longs[] = { MOUNT_OPTIONS_LONG,
					       { "json", no_argument, NULL, 'j' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	struct mount_options o = { .pull = "" };
	bool json = false;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c == 'j')
			json = true;
		else
			r = mount_options_take(&o, "mount", c, optarg);
	}
	if (r)
		return r;
	if (argc - optind != 1 && argc - optind != 2)
		return cmd_usage("mount", "an image is needed, and perhaps a directory");
	return do_mount(&o, argv[optind], argv[optind + 1], json);
}
