/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/cmd.h"
#include "src/hook/hook.h"

int cmd_hook_main(int argc, char **argv)
{
	return lcm_hook_main(argc, argv, cmd_globals.run_dir);
}
