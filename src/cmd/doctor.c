/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/doctor.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

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
	char path[4096], decoder[4096];
	const char *root = cmd_globals.root, *socket = path;
	bool json = false;
	const struct cmd_option options[] = { { "root", .value = &root },
					      { "socket", .value = &socket },
					      { "json", .flag = &json },
					      { 0 } };
	struct lcm_doctor d = { 0 };
	enum lcm_doctor_mode mode;
	int r;

	(void)snprintf(path, sizeof(path), "%s/locum.sock", cmd_globals.run_dir);
	optind = 0; /* getopt(3): start over, whoever parsed before */
	r = cmd_options(argc, argv, usage, options);
	if (r >= 0)
		return r;
	if (optind != argc)
		return cmd_usage("doctor", "unexpected argument %s", argv[optind]);
	lcm_daemon_program("locum-decode", decoder, sizeof(decoder));
	lcm_doctor_examine(&d, root, socket, decoder);
	mode = lcm_doctor_verdict(&d);
	r = json ? print_json(&d, mode) : print_text(&d, mode);
	if (r < 0) {
		(void)fprintf(stderr, "locum: doctor: cannot print the result: %s\n",
			      lcm_err_text(NULL, r));
		return 2;
	}
	return (int)mode;
}
