/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/doctor.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

#include "src/cmd/cmd.h"
#include "src/daemon/daemon.h"

static const char usage[] =
    "Usage: locum doctor [OPTION]...\n"
    "Say what this host allows, and what is lost by what it does not.\n"
    "\n"
    "      --root DIR     the state directory (locum's own)\n"
    "      --socket PATH  the daemon's socket (locum.sock in locum's run directory)\n"
    "      --json         print one JSON object\n"
    "  -h, --help         show this text\n"
    "\n"
    "Exit status: 0 lazy mounts work, 1 only full pulls work, 2 nothing works.\n";

static const char *const state_names[] = {
	[LCM_DOCTOR_OK] = "ok",
	[LCM_DOCTOR_WARN] = "warn",
	[LCM_DOCTOR_NO] = "no",
};

static const struct {
	const char *name, *text;
} modes[] = {
	[LCM_DOCTOR_LAZY] = { "lazy", "containers start before their image is here" },
	[LCM_DOCTOR_FULL] = { "full", "images are pulled whole before their container starts" },
	[LCM_DOCTOR_NONE] = { "none", "locum cannot mount anything here" },
};

enum { OPT_ROOT = 256, OPT_SOCKET, OPT_JSON };

struct options {
	const char *root, *socket;
	bool json, help;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "root", required_argument, NULL, OPT_ROOT },
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	optind = 0; /* getopt(3): start over, whoever parsed before */
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == OPT_ROOT)
			o->root = optarg;
		else if (c == OPT_SOCKET)
			o->socket = optarg;
		else if (c == OPT_JSON)
			o->json = true;
		else if (c == 'h')
			o->help = true;
		else
			return -EINVAL;
	}
	if (optind == argc)
		return 0;
	(void)fprintf(stderr, "locum: doctor: unexpected argument %s; see locum doctor --help\n",
		      argv[optind]);
	return -EINVAL;
}

static int print_text(const struct lcm_doctor *d, enum lcm_doctor_mode mode)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct lcm_doctor_item *it = &d->items[i];

		(void)printf("%-4s %-20s %s%s%s\n", state_names[it->state], it->name, it->value,
			     it->value[0] && it->text[0] ? "; " : "", it->text);
	}
	(void)printf("%-4s %-20s %s\n", state_names[mode], "mode", modes[mode].text);
	return fflush(stdout) ? -EIO : 0;
}

static int print_json(const struct lcm_doctor *d, enum lcm_doctor_mode mode)
{
	json_t *list = json_array(), *top;
	lcm_autofree char *text = NULL;

	for (size_t i = 0; i < d->n; i++) {
		const struct lcm_doctor_item *it = &d->items[i];

		/* A value that is no UTF-8 (a path) makes json_pack() fail: leave it out. */
		if (json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "name", it->name,
							  "state", state_names[it->state], "value",
							  it->value, "text", it->text)) < 0)
			(void)json_array_append_new(list,
						    json_pack("{s:s,s:s}", "name", it->name,
							      "state", state_names[it->state]));
	}
	top = json_pack("{s:s,s:s,s:o}", "mode", modes[mode].name, "text", modes[mode].text,
			"checks", list);
	text = top ? json_dumps(top, JSON_INDENT(1)) : NULL;
	json_decref(top);
	if (!text)
		return -ENOMEM;
	(void)puts(text);
	return fflush(stdout) ? -EIO : 0;
}

int cmd_doctor_main(int argc, char **argv)
{
	char socket[4096], decoder[4096];
	struct options o = { .root = cmd_globals.root, .socket = socket };
	struct lcm_doctor d = { 0 };
	enum lcm_doctor_mode mode;
	int r;

	(void)snprintf(socket, sizeof(socket), "%s/locum.sock", cmd_globals.run_dir);
	if (parse(argc, argv, &o) < 0)
		return 2;
	if (o.help)
		return fputs(usage, stdout) < 0;
	lcm_daemon_program("locum-decode", decoder, sizeof(decoder));
	lcm_doctor_examine(&d, o.root, o.socket, decoder);
	mode = lcm_doctor_verdict(&d);
	r = o.json ? print_json(&d, mode) : print_text(&d, mode);
	if (r < 0) {
		(void)fprintf(stderr, "locum: doctor: cannot print the result: %s\n",
			      lcm_err_text(NULL, r));
		return 2;
	}
	return (int)mode;
}
