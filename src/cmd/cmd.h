/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.h - the verbs of the command line, one file each.
 *
 * Layer: cmd. Threads: called by main() on the only thread. argv[0] is the verb.
 * Return: the exit status: 0, 1 failed (one line on stderr), 2 usage.
 */
#ifndef LCM_CMD_H
#define LCM_CMD_H

#include <stdio.h>

#include "src/base/err.h"
#include "src/base/number.h"

#define CMD_FAILED 1
#define CMD_USAGE 2
#define CMD_RUN_FAILED                                                                             \
	125 /* `run`: locum itself failed; everything else is the container's status */

/* The dispatch table, also the source of --help and of the check that each verb has a man page. */
struct cmd_verb {
	const char *name, *summary;
	int (*main)(int argc, char **argv);
};
extern const struct cmd_verb cmd_verbs[]; /* ends with name NULL */

/* Set by options before the verb, by LOCUM_ROOT and LOCUM_RUN, or the defaults. */
struct cmd_globals {
	const char *root, *run_dir;
	const char *where; /* what cmd_usage() says first: "FILE, line 3: "; NULL: nothing */
	char said[LCM_ERR_MSG_MAX]; /* the last text of cmd_error() or cmd_usage() */
};
extern struct cmd_globals cmd_globals;
/** cmd_globals_default - from LOCUM_ROOT and LOCUM_RUN, or as documented. */
void cmd_globals_default(void);

/** cmd_error - "locum: VERB: text" on stderr. Return: CMD_FAILED. */
int cmd_error(const char *verb, const struct lcm_err *err, int code);
/** cmd_usage - "locum: VERB: text; see locum VERB --help". Return: CMD_USAGE. */
int cmd_usage(const char *verb, const char *fmt, ...) LCM_PRINTF(2, 3);

#define CMD_OPTIONS_MAX 12
/* An option of a verb that has none but flags and values. */
struct cmd_option {
	const char *name;
	bool *flag;         /* becomes true; or, when it is NULL, */
	const char **value; /* what is given */
};
/** cmd_options - take @options (the last has name NULL), --help and -h; optind is then the first
 * argument. Return: -1; or, when there is nothing more to do, an exit status. */
LCM_MUST_USE int cmd_options(int argc, char **argv, const char *usage,
			     const struct cmd_option *options);
/** cmd_plain - what a terminal obeys becomes '?' (control characters, C1 as UTF-8 too): names in
 * images are anybody's. */
void cmd_plain(char *text);
/** cmd_bytes - "12.3 MB" into @out; returns it. */
const char *cmd_bytes(double bytes, char out[24]);

int cmd_bench_main(int argc, char **argv);
int cmd_daemon_main(int argc, char **argv);
int cmd_deadline_main(int argc, char **argv);
int cmd_doctor_main(int argc, char **argv);
int cmd_drop_cache_main(int argc, char **argv);
int cmd_gc_main(int argc, char **argv);
int cmd_verify_main(int argc, char **argv);
int cmd_hook_main(int argc, char **argv);
int cmd_image_store_main(int argc, char **argv);
int cmd_layer_store_main(int argc, char **argv);
int cmd_images_main(int argc, char **argv);
int cmd_registries_main(int argc, char **argv);
int cmd_index_main(int argc, char **argv);
int cmd_meter_main(int argc, char **argv);
int cmd_mount_main(int argc, char **argv);
int cmd_pull_main(int argc, char **argv);
int cmd_run_main(int argc, char **argv);
int cmd_serve_main(int argc, char **argv);
int cmd_status_main(int argc, char **argv);
int cmd_unit_main(int argc, char **argv);
int cmd_umount_main(int argc, char **argv);
int cmd_wait_main(int argc, char **argv);
int cmd_why_main(int argc, char **argv);

#endif
