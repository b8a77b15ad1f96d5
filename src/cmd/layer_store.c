/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/cmd/layer_fs.h"

static const char usage[] =
    "Usage: locum layer-store [OPTION]... [DIR]\n"
    "Serve an additional layer store for podman 4 at DIR (RUN/layer-store) until SIGTERM:\n"
    "with it `podman pull` leaves layers that can be lazy to locum.\n"
    "\n"
    "In /etc/containers/storage.conf: additionallayerstores = [\"/run/locum/layer-store:ref\"]\n"
    "\n"
    "      --verbose  say on stderr which layers are not given to podman, and why\n"
    "  -h, --help     this text\n";

int cmd_layer_store_main(int argc, char **argv)
{
	bool verbose = false;
	const struct cmd_option options[] = { { "verbose", &verbose, NULL }, { 0 } };
	char made[PATH_MAX], dir[PATH_MAX];
	struct lcm_err err = { 0 };
	int r = cmd_options(argc, argv, usage, options);

	if (r >= 0)
		return r;
	if (argc - optind > 1)
		return cmd_usage("layer-store", "at most one directory");
	if (verbose)
		lcm_log_set_level(LCM_LOG_INFO);
	if (optind == argc)
		(void)snprintf(made, sizeof(made), "%s/layer-store", cmd_globals.run_dir);
	/* A dead one's mount point cannot be looked at; layer_fs_serve() says what is wrong. */
	r = optind == argc ? lcm_mkdir_p(made, 0700) : 0;
	r = r == -ENOTCONN || r == -EEXIST ? 0 : r;
	if (r == 0 && !realpath(optind < argc ? argv[optind] : made, dir))
		(void)snprintf(dir, sizeof(dir), "%s", optind < argc ? argv[optind] : made);
	/* The daemon first: what is wrong with it shows now. */
	if (r == 0)
		r = client_call("GET", "/v1/daemon", NULL, true, NULL, &err);
	if (r == 0)
		r = layer_fs_serve(dir, &err);
	return r < 0 ? cmd_error("layer-store", &err, r) : 0;
}
