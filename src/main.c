/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <getopt.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/cmd.h"
#include "src/daemon/daemon.h"

const struct cmd_verb cmd_verbs[] = {
	{ "run", "run a container whose image may still be arriving", cmd_run_main },
	{ "mount", "mount an image at a directory", cmd_mount_main },
	{ "umount", "unmount it", cmd_umount_main },
	{ "wait", "wait until a mount is ready, local or native", cmd_wait_main },
	{ "status", "show mounts and what is still missing", cmd_status_main },
	{ "why", "say what a mount was waited for, and where the time went", cmd_why_main },
	{ "meter", "show what mounts cost, and set their shares", cmd_meter_main },
	{ "pull", "fetch a whole image now", cmd_pull_main },
	{ "images", "list the images in the store", cmd_images_main },
	{ "registries", "show the hosts that registries are served by", cmd_registries_main },
	{ "image-store", "keep an image store that podman runs from at once",
	  cmd_image_store_main },
	{ "layer-store", "let podman leave the layers of images it pulls to locum",
	  cmd_layer_store_main },
	{ "index", "make, publish or show the tables of contents by which images are lazy",
	  cmd_index_main },
	{ "deadline", "how long a mount's readers wait, and what then", cmd_deadline_main },
	{ "drop-cache", "remove stored layers that nothing uses", cmd_drop_cache_main },
	{ "gc", "make room: drop layers that nothing uses, the oldest first", cmd_gc_main },
	{ "verify", "is what is stored still what was proven? repair it", cmd_verify_main },
	{ "unit", "keep storage units: one for each container or VM", cmd_unit_main },
	{ "serve", "serve an OCI layout directory as a registry", cmd_serve_main },
	{ "hook", "tell the daemon of a container: an OCI hook", cmd_hook_main },
	{ "doctor", "say what this host allows", cmd_doctor_main },
	{ "bench", "measure starts, the native mount and memory on this host", cmd_bench_main },
	{ "daemon", "run the daemon in the foreground", cmd_daemon_main },
	{ NULL, NULL, NULL },
};

static void help(FILE *f)
{
	(void)fprintf(
	    f, "Usage: locum [--root DIR] [--run DIR] VERB [OPTION]... [ARGUMENT]...\n"
	       "Start containers before their image has arrived; end on plain overlayfs.\n\n");
	for (const struct cmd_verb *v = cmd_verbs; v->name; v++)
		(void)fprintf(f, "  %-11s %s\n", v->name, v->summary);
	(void)fprintf(f,
		      "\n      --root DIR   state (%s, or $LOCUM_ROOT)\n"
		      "      --run DIR    socket and mount points (%s, or $LOCUM_RUN)\n"
		      "  -h, --help       this text; locum VERB --help for a verb\n"
		      "      --version    the version\n\n"
		      "Exit status: 0; 1 failed, with one line on stderr; 2 usage; for run, the "
		      "container's, or 125.\n",
		      LCM_DEFAULT_ROOT, LCM_DEFAULT_RUN);
}

int main(int argc, char **argv)
{
	enum { OPT_ROOT = 256, OPT_RUN, OPT_VERSION };
	static const struct option longs[] = {
		{ "root", required_argument, NULL, OPT_ROOT },
		{ "run", required_argument, NULL, OPT_RUN },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	cmd_globals_default();
	while ((c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
		if (c == OPT_ROOT) {
			cmd_globals.root = optarg;
		} else if (c == OPT_RUN) {
			cmd_globals.run_dir = optarg;
		} else if (c == OPT_VERSION) {
			(void)printf("locum %s\n", PACKAGE_VERSION);
			return 0;
		} else if (c == 'h') {
			help(stdout);
			return 0;
		} else {
			return CMD_USAGE;
		}
	}
	if (optind == argc) {
		help(stderr);
		return CMD_USAGE;
	}
	for (const struct cmd_verb *v = cmd_verbs; v->name; v++) {
		if (strcmp(v->name, argv[optind]) != 0)
			continue;
		argc -= optind;
		argv += optind;
		optind = 0; /* makes getopt start over */
		return v->main(argc, argv);
	}
	(void)fprintf(stderr, "locum: no verb \"%s\"; see locum --help\n", argv[optind]);
	return CMD_USAGE;
}
