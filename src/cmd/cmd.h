/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - the verbs of the command line, one file each.
 *
 * Layer: cmd. Threads: called by main() on the only thread. argv[0] is the verb.
 * Return: the exit status: 0, 1 failed (one line on stderr), 2 usage.
 */
#ifndef LCM_CMD_H
#define LCM_CMD_H

int cmd_serve_main(int argc, char **argv);

#endif
