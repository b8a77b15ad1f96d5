/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook.h - an OCI hook: state on stdin, the daemon told, perhaps another root put under the
 * container.
 *
 * Layer: hook. Threads: the process must have one.
 */
#ifndef LCM_HOOK_H
#define LCM_HOOK_H

/**
 * lcm_hook_main - the program locum-hook, and the verb `locum hook`
 * @argv: argv[0] is the name; then options and the stage
 * @run_dir: where the daemon's socket is, unless --run says it
 * Return: the exit status; a runtime refuses to start a container whose createRuntime hook returns
 * another than 0.
 */
int lcm_hook_main(int argc, char **argv, const char *run_dir);

#endif
