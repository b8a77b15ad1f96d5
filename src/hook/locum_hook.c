/* SPDX-License-Identifier: Apache-2.0 */
/* locum_hook.c - the hook as a program of its own, which starts fast. */
#include <stdlib.h>

#include "src/daemon/daemon.h"
#include "src/hook/hook.h"

int main(int argc, char **argv)
{
	const char *run_dir = getenv("LOCUM_RUN");

	return lcm_hook_main(argc, argv, run_dir && *run_dir ? run_dir : LCM_DEFAULT_RUN);
}
