/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/cmd.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/daemon/daemon.h"

struct cmd_globals cmd_globals;

void cmd_plain(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = '?';
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			*p = p[1] = '?';
}

int cmd_error(const char *verb, const struct lcm_err *err, int code)
{
	char *said = cmd_globals.said;

	(void)snprintf(said, sizeof(cmd_globals.said), "%s", lcm_err_text(err, code));
	cmd_plain(said);
	(void)fprintf(stderr, "locum: %s: %s\n", verb, said);
	return CMD_FAILED;
}

int cmd_usage(const char *verb, const char *fmt, ...)
{
	char *said = cmd_globals.said;
	size_t cap = sizeof(cmd_globals.said), n;
	va_list ap;

	(void)snprintf(said, cap, "%s", cmd_globals.where ? cmd_globals.where : "");
	n = strlen(said);
	va_start(ap, fmt);
	(void)vsnprintf(said + n, cap - n, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "locum: %s: %s; see locum %s --help\n", verb, said, verb);
	return CMD_USAGE;
}

int cmd_options(int argc, char **argv, const char *usage, const struct cmd_option *options)
{
	enum { OPT_FIRST = 256 };
	struct option longs[CMD_OPTIONS_MAX + 2] = { 0 };
	size_t n = 0;
	int c;

	for (; n < CMD_OPTIONS_MAX && options[n].name; n++)
		longs[n] = (struct option){ options[n].name,
					    options[n].flag ? no_argument : required_argument, NULL,
					    OPT_FIRST + (int)n };
	longs[n] = (struct option){ "help", no_argument, NULL, 'h' };
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage, stdout) < 0;
		if (c < OPT_FIRST)
			return CMD_USAGE;
		if (options[c - OPT_FIRST].flag)
			*options[c - OPT_FIRST].flag = true;
		else
			*options[c - OPT_FIRST].value = optarg;
	}
	return -1;
}

const char *cmd_bytes(double bytes, char out[24])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
	size_t u = 0;

	for (; bytes >= 1000 && u + 1 < LCM_ARRAY_SIZE(units); u++)
		bytes /= 1000;
	(void)snprintf(out, 24, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return out;
}

static const char *env_or(const char *name, const char *fallback)
{
	const char *v = getenv(name);

	return v && *v ? v : fallback;
}

void cmd_globals_default(void)
{
	cmd_globals.root = env_or("LOCUM_ROOT", LCM_DEFAULT_ROOT);
	cmd_globals.run_dir = env_or("LOCUM_RUN", LCM_DEFAULT_RUN);
}
