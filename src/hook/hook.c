/* SPDX-License-Identifier: Apache-2.0 */
#include "src/hook/hook.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "image/json.h"
#include "overlay/mount_root.h"
#include "src/base/buf.h"
#include "src/base/limits.h"
#include "src/base/number.h"
#include "src/base/sys.h"
#include "src/hook/client.h"
#include "src/hook/state.h"

#define FAILED 1
#define USAGE 2
#define TELL_SECONDS 2   /* all but a mount and the end of one with a unit is answered at once */
#define MOUNT_SECONDS 60 /* as readers of missing files */
#define SECONDS_MAX 3600

static const char usage[] =
    "Usage: locum hook [OPTION]... createRuntime|poststart|poststop\n"
    "An OCI hook: reads the container's state on standard input, ties the container to its mount,\n"
    "and gives it the image of its annotation org.locum.image as root file system.\n"
    "\n"
    "      --policy allow|refuse  what does not work keeps the container from starting, or is "
    "only\n"
    "                             said (allow)\n"
    "      --timeout SECONDS      for the mount of an image, 1 to 3600 (60)\n"
    "      --run DIR              where the daemon's socket is\n"
    "  -h, --help                 this text\n";

struct hook {
	enum lcm_hook_stage stage;
	struct lcm_hook_client client;
	struct lcm_hook_state state;
	unsigned int seconds;
	bool refuse, help;
	bool made;  /* a mount for the container, or perhaps */
	bool begun; /* the container's root is not what its runtime made of it any more */
};

static int parse_option(struct hook *h, int c)
{
	char extra;

	if (c == 'p' && (strcmp(optarg, "allow") == 0 || strcmp(optarg, "refuse") == 0))
		h->refuse = *optarg == 'r';
	else if (c == 't' && *optarg >= '0' && *optarg <= '9' &&
		 sscanf(optarg, "%5u%c", &h->seconds, &extra) == 1 && h->seconds >= 1 &&
		 h->seconds <= SECONDS_MAX)
		return 0;
	else if (c == 'r')
		h->client.run_dir = optarg;
	else if (c == 'h')
		h->help = true;
	else
		return -EINVAL;
	return 0;
}

static int parse(struct hook *h, int argc, char **argv)
{
	static const struct option longs[] = { { "policy", required_argument, NULL, 'p' },
					       { "timeout", required_argument, NULL, 't' },
					       { "run", required_argument, NULL, 'r' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		r = parse_option(h, c);
	if (r < 0 || h->help)
		return r;
	return argc - optind == 1 ? lcm_hook_stage_parse(argv[optind], &h->stage) : -EINVAL;
}

static int read_state(struct hook *h, struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf in = LCM_BUF(LCM_HOOK_STATE_MAX);
	char part[4096];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = lcm_sys_read(STDIN_FILENO, part, sizeof(part))) != 0)
		r = n < 0 ? (int)n : lcm_buf_add(&in, part, (size_t)n);
	if (r < 0)
		return lcm_err_set(err, r, "state on standard input: %s", strerror(-r));
	return lcm_hook_state_parse(lcm_buf_str(&in), in.len, h->stage, &h->state, err);
}

static int find_root(const struct hook *h, char *out, size_t cap, struct lcm_err *err)
{
	lcm_autofree char *path = NULL, *text = NULL;
	size_t len;
	int r = asprintf(&path, "%s/config.json", h->state.bundle) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = lcm_read_file_at(AT_FDCWD, path, LCM_HOOK_CONFIG_MAX, &text, &len);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", path ? path : "bundle", strerror(-r));
	return lcm_hook_root(text, len, h->state.bundle, out, cap, err);
}

/* The file system that the container's root is on: of a mount of ours, that mount's own. Links are
 * the container's, not ours. */
static int find_device(const struct hook *h, dev_t *ret, struct lcm_err *err)
{
	lcm_autoclose int top = -EBADF, fd = -EBADF;
	char path[32], root[LCM_PATH_MAX] = "/";
	struct lcm_file_id id;
	int r = h->stage == LCM_HOOK_CREATE_RUNTIME ? find_root(h, root, sizeof(root), err) : 0;

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/root", (int)h->state.pid);
	r = top = lcm_sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	if (r >= 0)
		r = fd = lcm_sys_open_in_root(top, root, O_PATH);
	if (r >= 0)
		r = lcm_sys_file_id(fd, "", &id, AT_EMPTY_PATH);
	if (r < 0)
		return lcm_err_set(err, r, "%s in %s: %s", root, path, strerror(-r));
	*ret = id.dev;
	return 0;
}

static void give_time(struct hook *h, unsigned int seconds)
{
	h->client.deadline_ns = lcm_now_ns() + seconds * 1000000000ULL;
}

/* ---- the stages ---- */

/* A container that is not on a mount of ours is none of our business. */
static int tie(struct hook *h, struct lcm_err *err)
{
	json_t *meter = NULL;
	dev_t dev = 0;
	int r = find_device(h, &dev, err);

	/* Once: what somebody sets later is not to be undone by poststart. */
	if (r == 0 && h->stage == LCM_HOOK_CREATE_RUNTIME)
		r = lcm_meter_texts_take(&h->state.meter, &meter, err);
	if (r < 0)
		return r;
	r = lcm_hook_call(&h->client, "POST", "/v1/containers",
			  json_pack("{s:s s:s s:i s:I s:b s:o*}", "id", h->state.id, "bundle",
				    h->state.bundle, "pid", (int)h->state.pid, "dev",
				    (json_int_t)dev, "started", h->stage == LCM_HOOK_POSTSTART,
				    "meter", meter),
			  NULL, err);
	return r == -ENOENT ? 0 : r;
}

static int release(struct hook *h, struct lcm_err *err)
{
	char path[LCM_CONTAINER_ID_MAX + 32];
	int r;

	/* What went before may have used up its own; a unit is written out first. */
	give_time(h, *h->state.unit ? h->seconds : TELL_SECONDS);
	(void)snprintf(path, sizeof(path), "/v1/containers/%s", h->state.id);
	r = lcm_hook_call(&h->client, "DELETE", path, json_pack("{s:s}", "bundle", h->state.bundle),
			  NULL, err);
	return r == -ENOENT ? 0 : r;
}

/* @meter: taken; NULL: none. */
static json_t *mount_body(const struct lcm_hook_state *s, uint64_t unit_size, json_t *meter)
{
	json_t *body = json_pack("{s:s s:s s:s s:i s:b}", "image", s->image, "container", s->id,
				 "bundle", s->bundle, "pid", (int)s->pid, "read_only",
				 s->read_only);
	uint64_t seconds;

	if (*s->pull)
		(void)json_object_set_new(body, "pull", json_string(s->pull));
	if (*s->platform)
		(void)json_object_set_new(body, "platform", json_string(s->platform));
	if (*s->index)
		(void)json_object_set_new(body, "index", json_string(s->index));
	if (*s->deadline && lcm_number_parse(s->deadline, false, &seconds) == 0)
		(void)json_object_set_new(body, "deadline_ms",
					  json_integer((json_int_t)seconds * 1000));
	if (*s->at_deadline)
		(void)json_object_set_new(body, "at_deadline", json_string(s->at_deadline));
	if (*s->unit)
		(void)json_object_set_new(body, "unit", json_string(s->unit));
	if (*s->unit_pool)
		(void)json_object_set_new(body, "unit_pool", json_string(s->unit_pool));
	if (unit_size)
		(void)json_object_set_new(body, "unit_size", json_integer((json_int_t)unit_size));
	if (meter)
		(void)json_object_set_new(body, "meter", meter);
	return body;
}

/* The phase in which a wait has ended. */
static int check_phase(const struct hook *h, const json_t *st, struct lcm_err *err)
{
	const char *phase = json_string_value(json_object_get(st, "phase")),
		   *why = json_string_value(json_object_get(st, "error"));

	if (!phase || strcmp(phase, "preparing") == 0)
		return lcm_err_set(err, -ETIMEDOUT, "image %s: not mounted after %u s",
				   h->state.image, h->seconds);
	if (strcmp(phase, "failed") == 0)
		return lcm_err_set(err, -EIO, "image %s: %s", h->state.image, why ? why : "failed");
	return 0;
}

/* The daemon may have done what it was asked for and was hindered to say so. */
static bool is_unanswered(int r)
{
	return r == -ETIMEDOUT || r == -EPROTO || r == -ECONNRESET || r == -EPIPE;
}

/* POST, then wait until it can be used. @ret: its status. */
static int mount_image(struct hook *h, uint64_t unit_size, json_t **ret, struct lcm_err *err)
{
	lcm_autojson json_t *made = NULL, *st = NULL;
	char path[128];
	const char *id;
	json_t *meter = NULL;
	int n, r = lcm_meter_texts_take(&h->state.meter, &meter, err);

	if (r < 0)
		return r;
	r = lcm_hook_call(&h->client, "POST", "/v1/mounts", mount_body(&h->state, unit_size, meter),
			  &made, err);
	h->made = r == 0 || is_unanswered(r);
	if (r < 0)
		return r;
	id = json_string_value(json_object_get(made, "id"));
	n = snprintf(path, sizeof(path), "/v1/mounts/%s/wait?for=ready&timeout_ms=%u", id ? id : "",
		     h->seconds * 1000);
	if (!id || n < 0 || (size_t)n >= sizeof(path))
		return lcm_err_set(err, -EPROTO,
				   "the daemon's answer has no id of a mount, or too long a one");
	r = lcm_hook_call(&h->client, "GET", path, NULL, &st, err);
	if (r == 0)
		r = check_phase(h, st, err);
	if (r == 0)
		*ret = lcm_steal(&st);
	return r;
}

/* A refused mount is not undone: the container of that id is then somebody else's. */
static int give_image(struct hook *h, uint64_t unit_size, struct lcm_err *err)
{
	lcm_autojson json_t *st = NULL, *daemon = NULL;
	char root[LCM_PATH_MAX];
	int r = find_root(h, root, sizeof(root), err);

	if (r < 0)
		return r;
	give_time(h, h->seconds + TELL_SECONDS);
	r = lcm_hook_call(&h->client, "GET", "/v1/daemon", NULL, &daemon, err);
	if (r == 0)
		r = mount_image(h, unit_size, &st, err);
	if (r == 0)
		r = lcm_mount_replace_root(
		    h->state.pid, (pid_t)json_integer_value(json_object_get(daemon, "pid")),
		    json_string_value(json_object_get(st, "target")), root, &h->begun, err);
	if (r < 0 && h->made)
		lcm_ignore(release(h, NULL));
	return r;
}

/* Whatever the policy: without its unit it would write elsewhere, and be lost. */
static int create(struct hook *h, struct lcm_err *err)
{
	uint64_t unit_size = 0;
	int r;

	h->refuse |= lcm_hook_state_wants_unit(&h->state);
	r = lcm_hook_state_unit(&h->state, &unit_size, err);
	return r < 0 ? r : give_image(h, unit_size, err);
}

static int run(struct hook *h, struct lcm_err *err)
{
	int r = read_state(h, err);

	if (r < 0)
		return r;
	if (h->stage == LCM_HOOK_POSTSTOP)
		return release(h, err);
	if (h->stage == LCM_HOOK_CREATE_RUNTIME &&
	    (*h->state.image || lcm_hook_state_wants_unit(&h->state)))
		return create(h, err);
	give_time(h, TELL_SECONDS);
	return tie(h, err);
}

/* crun throws away what its hooks say on standard error. */
static void complain(const struct hook *h, const char *text)
{
	const char *id = h->state.doc ? h->state.id : "?";

	(void)fprintf(stderr, "locum: hook: container %s: %s\n", id, text);
	openlog("locum-hook", LOG_PID, LOG_DAEMON);
	syslog(h->refuse || h->begun ? LOG_ERR : LOG_WARNING, "container %s: %s", id, text);
}

int lcm_hook_main(int argc, char **argv, const char *run_dir)
{
	struct hook h = { .client.run_dir = run_dir, .seconds = MOUNT_SECONDS };
	struct lcm_err err = { 0 };
	int r = parse(&h, argc, argv);

	if (r < 0) {
		(void)fprintf(stderr, "locum: hook: a stage is needed: createRuntime, poststart or "
				      "poststop; see locum hook --help\n");
		return USAGE;
	}
	if (h.help)
		return fputs(usage, stdout) < 0;
	(void)signal(SIGPIPE, SIG_IGN);
	r = run(&h, &err);
	if (r < 0)
		complain(&h, lcm_err_text(&err, r));
	lcm_hook_state_fini(&h.state);
	return r < 0 && (h.refuse || h.begun) ? FAILED : 0;
}
