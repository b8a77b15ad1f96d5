/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/bench_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/cmd/bench_others.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum bench [OPTION]... IMAGE [-- COMMAND [ARGUMENT]...]\n"
    "       locum bench start [OPTION]... IMAGE... [-- COMMAND [ARGUMENT]...]\n"
    "       locum bench pull [OPTION]... IMAGE...\n"
    "Measure the start of a container that prints something, and the mount it ends on.\n"
    "All variants run in one process, in turns, on state directories of their own.\n"
    "\n"
    "      --start             first output, everything local, bytes, CPU and memory: lazy, full "
    "pull,\n"
    "                          podman, containerd (as the word start)\n"
    "      --fs                the native mount against a plain overlay of the same tree\n"
    "      --memory            the daemon's memory with 1 and with 50 mounts\n"
    "                          (default: these three)\n"
    "      --pull              the full pull against what this machine allows, podman and "
    "containerd\n"
    "                          (as the word pull)\n"
    "      --with LIST         podman,containerd or none (those that are installed)\n"
    "      --rate MBIT         the registries are behind a link of so many Mbit/s\n"
    "      --rtt MS            and so many milliseconds there and back\n"
    "      --file FILE         images and commands, a line \"IMAGE [COMMAND...]\" each\n"
    "      --rounds N          how often, 1 to 100 (5)\n"
    "      --warm              do not drop the page cache before each start\n"
    "      --dir DIR           for temporary state; needs room for two unpacked images (/var/tmp)\n"
    "      --daemon-option OPT given to the daemons, e.g. --insecure=HOST; may be repeated\n"
    "      --json              print JSON: an object, or of several images an array\n"
    "  -h, --help              this text\n"
    "\n"
    "Needs root. Without --warm the whole machine's page cache is dropped again and again.\n";

enum {
	OPT_START = 256,
	OPT_FS,
	OPT_MEMORY,
	OPT_PULL,
	OPT_WITH,
	OPT_RATE,
	OPT_RTT,
	OPT_FILE,
	OPT_ROUNDS,
	OPT_WARM,
	OPT_DIR,
	OPT_DAEMON,
	OPT_JSON
};

static const struct option longs[] = {
	{ "start", no_argument, NULL, OPT_START },
	{ "fs", no_argument, NULL, OPT_FS },
	{ "memory", no_argument, NULL, OPT_MEMORY },
	{ "pull", no_argument, NULL, OPT_PULL },
	{ "with", required_argument, NULL, OPT_WITH },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "rtt", required_argument, NULL, OPT_RTT },
	{ "file", required_argument, NULL, OPT_FILE },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "warm", no_argument, NULL, OPT_WARM },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "daemon-option", required_argument, NULL, OPT_DAEMON },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct parsing {
	struct bench *b;
	const char *with, *file, *dir;
	bool help;
};

/* ---- items ---- */

static int add_item(struct bench *b, const char *image, char *const *command)
{
	if (b->n_items == BENCH_IMAGES_MAX)
		return -E2BIG;
	b->items[b->n_items++] = (struct bench_item){ .image = image, .command = command };
	return 0;
}

/* A line's words, and a NULL behind them, are in b->file_words. */
static int add_line(struct bench *b, char *line, struct lcm_err *err)
{
	char **words = b->file_words + b->n_file_words, *save = NULL;
	size_t n = 0;

	for (char *w = strtok_r(line, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
		if (n == BENCH_ARGS_MAX + 1 || b->n_file_words + n + 1 >= BENCH_WORDS_MAX)
			return lcm_err_set(err, -E2BIG,
					   "more than %d words in a command, or %d in all",
					   BENCH_ARGS_MAX, BENCH_WORDS_MAX);
		words[n++] = w;
	}
	if (!n)
		return 0;
	words[n] = NULL;
	b->n_file_words += n + 1;
	if (add_item(b, words[0], n > 1 ? words + 1 : NULL) < 0)
		return lcm_err_set(err, -E2BIG, "more than %d images", BENCH_IMAGES_MAX);
	return 0;
}

int bench_file(struct bench *b, char *text, struct lcm_err *err)
{
	unsigned int number = 0;
	int r = 0;

	for (char *line = text, *next; r == 0 && line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		line[strcspn(line, "#")] = '\0';
		number++;
		r = add_line(b, line, err);
	}
	if (r < 0)
		return lcm_err_prefix(err, r, "line %u", number);
	return b->n_items ? 0 : lcm_err_set(err, -EINVAL, "no image is in it");
}

static int take_file(struct bench *b, const char *path)
{
	struct lcm_err err = { 0 };
	size_t len;
	int r = lcm_read_file_at(AT_FDCWD, path, BENCH_FILE_MAX, &b->file, &len);

	if (r < 0)
		lcm_err_set(&err, r, "%s", strerror(-r));
	else if (strlen(b->file) != len)
		r = lcm_err_set(&err, -EINVAL, "a NUL is in it");
	else
		r = bench_file(b, b->file, &err);
	if (r == 0)
		return 0;
	lcm_ignore(lcm_err_prefix(&err, r, "%s", path));
	return cmd_error("bench", &err, r);
}

/* ---- options ---- */

static int take_number(const char *name, uint64_t max, uint64_t *ret)
{
	if (lcm_number_parse(optarg, false, ret) < 0 || *ret < 1 || *ret > max)
		return cmd_usage("bench", "--%s %s: 1 to %llu is expected", name, optarg,
				 (unsigned long long)max);
	return 0;
}

static int take_value(struct parsing *p, int c)
{
	struct bench *b = p->b;
	uint64_t n = 0;
	int r = 0;

	switch (c) {
	case OPT_RATE:
		r = take_number("rate", BENCH_LINK_MBIT_MAX, &n);
		b->link.bytes_per_s = n * 1000000 / 8;
		return r;
	case OPT_RTT:
		r = take_number("rtt", BENCH_LINK_RTT_MS_MAX, &n);
		b->link.rtt_ns = n * 1000000;
		return r;
	case OPT_ROUNDS:
		return take_number("rounds", BENCH_ROUNDS_MAX, &b->rounds);
	case OPT_DAEMON:
		if (b->n_daemon_options == BENCH_ARGS_MAX)
			return cmd_usage("bench", "--daemon-option is given more than %d times",
					 BENCH_ARGS_MAX);
		b->daemon_options[b->n_daemon_options++] = optarg;
		return 0;
	default:
		return CMD_USAGE;
	}
}

static int take(struct parsing *p, int c)
{
	bool *const flags[] = {
		[OPT_START - OPT_START] = &p->b->start,   [OPT_FS - OPT_START] = &p->b->fs,
		[OPT_MEMORY - OPT_START] = &p->b->memory, [OPT_PULL - OPT_START] = &p->b->pull,
		[OPT_WARM - OPT_START] = &p->b->warm,     [OPT_JSON - OPT_START] = &p->b->json
	};
	const char **const texts[] = { [OPT_WITH - OPT_START] = &p->with,
				       [OPT_FILE - OPT_START] = &p->file,
				       [OPT_DIR - OPT_START] = &p->dir };
	size_t i = (size_t)(c - OPT_START);

	if (c == 'h')
		p->help = true;
	else if (c < OPT_START)
		return CMD_USAGE;
	else if (i < LCM_ARRAY_SIZE(flags) && flags[i])
		*flags[i] = true;
	else if (i < LCM_ARRAY_SIZE(texts) && texts[i])
		*texts[i] = optarg;
	else
		return take_value(p, c);
	return 0;
}

/* Options, and words between them up to "--". Return: a status; -1: go on, the command is at
 * optind. */
static int words(int argc, char **argv, struct parsing *p)
{
	struct bench *b = p->b;
	bool first = true;
	int c, r;

	for (;;) {
		while ((c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
			r = take(p, c);
			if (r || p->help)
				return r;
		}
		if (optind == argc || strcmp(argv[optind - 1], "--") == 0)
			return -1;
		if (first && strcmp(argv[optind], "start") == 0)
			b->start = true;
		else if (first && strcmp(argv[optind], "pull") == 0)
			b->pull = true;
		else if (add_item(b, argv[optind], NULL) < 0)
			return cmd_usage("bench", "more than %d images", BENCH_IMAGES_MAX);
		first = false;
		optind++;
	}
}

static int finish(struct parsing *p, char *const *command, int n)
{
	struct bench *b = p->b;
	int r = p->file ? take_file(b, p->file) : 0;

	if (r)
		return r;
	if (!b->n_items)
		return cmd_usage("bench", "an image is needed");
	if (n > BENCH_ARGS_MAX)
		return cmd_usage("bench", "the command has more than %d words", BENCH_ARGS_MAX);
	for (size_t i = 0; n > 0 && i < b->n_items; i++)
		if (!b->items[i].command)
			b->items[i].command = command;
	if (bench_others_choose(b, p->with) < 0)
		return cmd_usage("bench", "--with %s: podman,containerd or none is expected",
				 p->with);
	if (!b->start && !b->fs && !b->memory && !b->pull)
		b->start = b->fs = b->memory = true;
	return -1;
}

int bench_options(int argc, char **argv, struct bench *b, const char **ret_dir)
{
	struct parsing p = { .b = b, .dir = *ret_dir };
	int r = words(argc, argv, &p);

	if (p.help)
		return fputs(usage, stdout) < 0;
	if (r == -1)
		r = finish(&p, argv + optind, argc - optind);
	*ret_dir = p.dir;
	return r;
}
