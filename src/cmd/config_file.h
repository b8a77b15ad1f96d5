/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file.h - the daemon's configuration file: its long options, one to a line.
 *
 * A line is "NAME" or "NAME VALUE", "#" begins a comment line; space around both is dropped, and
 * what is within VALUE is kept. The same table and checks serve as for the command line, so
 * that the two cannot differ.
 *
 * Layer: cmd. Pure but for lcm_config_read().
 */
#ifndef LCM_CONFIG_FILE_H
#define LCM_CONFIG_FILE_H

#include "src/base/err.h"

#define LCM_CONFIG_FILE "/etc/locum/daemon.conf"

struct lcm_config_line {
	const char *name, *value; /* value NULL: none */
	unsigned int number;      /* from 1 */
};

struct lcm_config {
	char *text;                    /* owned; the lines point into it */
	struct lcm_config_line *lines; /* owned, n */
	size_t n;
};

/** lcm_config_parse - @text: @len bytes and a NUL; taken, also on failure. Return: 0; -EUCLEAN
 * (text names the line); -EFBIG; -ENOMEM. */
LCM_MUST_USE int lcm_config_parse(char *text, size_t len, struct lcm_config *ret,
				  struct lcm_err *err);
/** lcm_config_read - @path; *@ret is empty when there is none. Return: 0, or as above; -errno (text
 * names the file). */
LCM_MUST_USE int lcm_config_read(const char *path, struct lcm_config *ret, struct lcm_err *err);
void lcm_config_fini(struct lcm_config *c);

#endif
