/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/client.h"

#include <curl/curl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/limits.h"
#include "src/base/sys.h"
#include "src/cmd/cmd.h"
#include "src/cmd/progress.h"

#define STEP_MS 500 /* one long poll; progress is drawn between two */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	return lcm_buf_add(arg, p, size * n) < 0 ? 0 : size * n;
}

static int transfer(const char *method, const char *path, const char *body, struct lcm_buf *out,
		    long *ret_status)
{
	lcm_autofree char *url = NULL;
	char socket[4096];
	CURL *c = curl_easy_init();
	CURLcode rc;

	if (!c || asprintf(&url, "http://locum%s", path) < 0) {
		curl_easy_cleanup(c);
		return -ENOMEM;
	}
	(void)snprintf(socket, sizeof(socket), "%s/locum.sock", cmd_globals.run_dir);
	curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(c, CURLOPT_PROXY, "");
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
	if (body)
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
	rc = curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, ret_status);
	curl_easy_cleanup(c);
	if (rc == CURLE_COULDNT_CONNECT)
		return -ECONNREFUSED;
	return rc == CURLE_OK ? 0 : -EIO;
}

/* The program `locum` beside this one. */
static const char *program(char *out, size_t cap)
{
	static const char name[] = "locum";
	ssize_t n = readlink("/proc/self/exe", out, cap - sizeof(name));
	char *slash;

	out[LCM_MAX(n, (ssize_t)0)] = '\0';
	slash = strrchr(out, '/');
	if (!slash)
		return name;
	memcpy(slash + 1, name, sizeof(name));
	return out;
}

static void exec_daemon(int ready)
{
	char log[4096], fd[16], path[4096];
	int null = open("/dev/null", O_RDWR), out;

	(void)snprintf(log, sizeof(log), "%s/daemon.log", cmd_globals.run_dir);
	(void)snprintf(fd, sizeof(fd), "%d", ready);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	/* What a service manager said was said to us; how we treat our children is our affair. */
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)signal(SIGCHLD, SIG_DFL);
	(void)setsid();
	if (null >= 0) {
		(void)dup2(null, 0);
		(void)dup2(null, 1);
		(void)dup2(out >= 0 ? out : null, 2);
	}
	if (chdir("/") < 0)
		_exit(127);
	(void)execl(program(path, sizeof(path)), "locum", "--root", cmd_globals.root, "--run",
		    cmd_globals.run_dir, "daemon", "--ready-fd", fd, NULL);
	_exit(127);
}

/* The child says "ok" once its socket answers, or why it cannot start. */
static int start_daemon(struct lcm_err *err)
{
	char text[LCM_ERR_MSG_MAX] = "";
	size_t len = 0;
	ssize_t n;
	pid_t pid;
	int p[2];

	if (geteuid() != 0)
		return lcm_err_set(err, -EPERM, "not root: mounting needs root (try sudo)");
	if (lcm_mkdir_p(cmd_globals.run_dir, 0700) < 0 || pipe2(p, O_CLOEXEC) < 0)
		return lcm_err_set(err, -EIO, "%s cannot be used", cmd_globals.run_dir);
	pid = fork();
	if (pid == 0) {
		(void)fcntl(p[1], F_SETFD, 0);
		exec_daemon(p[1]);
	}
	(void)close(p[1]);
	while (pid > 0 && len + 1 < sizeof(text) &&
	       (n = lcm_sys_read(p[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	(void)close(p[0]);
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, "ok") == 0 || strstr(text, "already listens"))
		return 0;
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	return lcm_err_set(err, -EIO, "daemon did not start: %s",
			   *text ? text : "it ended without a word");
}

static int parse_reply(const struct lcm_buf *b, long status, json_t **ret, struct lcm_err *err)
{
	json_t *j = json_loadb(lcm_buf_str(b), b->len, 0, NULL);
	const char *text;
	int code;

	if (!j)
		return lcm_err_set(err, -EPROTO, "the daemon's answer is not JSON (status %ld)",
				   status);
	if (status < 300) {
		if (ret)
			*ret = j;
		else
			json_decref(j);
		return 0;
	}
	text = json_string_value(json_object_get(j, "error"));
	code = (int)json_integer_value(json_object_get(j, "code"));
	code = lcm_err_set(err, code < 0 ? code : -EIO, "%s",
			   text ? text : "the daemon refused without a reason");
	json_decref(j);
	return code;
}

/* With a daemon that is started when none answers and @start says so. */
static int transfer_to_any(const char *method, const char *path, const char *body, bool start,
			   struct lcm_buf *out, long *ret_status, struct lcm_err *err)
{
	int r = transfer(method, path, body, out, ret_status);

	if (r == -ECONNREFUSED && start) {
		r = start_daemon(err);
		if (r < 0)
			return r;
		r = transfer(method, path, body, out, ret_status);
	}
	if (r == -ECONNREFUSED)
		return lcm_err_set(err, r,
				   geteuid() ? "not root: the daemon's socket is root's (try sudo)"
					     : "no daemon answers on %s/locum.sock",
				   cmd_globals.run_dir);
	return r < 0 ? lcm_err_set(err, r, "talking to the daemon: %s", strerror(-r)) : 0;
}

int client_call(const char *method, const char *path, json_t *body, bool start, json_t **ret,
		struct lcm_err *err)
{
	lcm_autofree char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	lcm_autobuf struct lcm_buf out = LCM_BUF(LCM_CONTROL_REPLY_MAX);
	long status = 0;
	int r;

	if (body)
		json_decref(body);
	r = transfer_to_any(method, path, text, start, &out, &status, err);
	return r < 0 ? r : parse_reply(&out, status, ret, err);
}

int client_bytes(const char *path, struct lcm_buf *out, struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf answer = LCM_BUF(LCM_CONTROL_REPLY_MAX);
	long status = 0;
	int r = transfer_to_any("GET", path, NULL, true, &answer, &status, err);

	if (r == 0 && status >= 300)
		r = parse_reply(&answer, status, NULL, err);
	return r < 0 ? r : lcm_buf_add(out, answer.data, answer.len);
}

char *client_path(const char *name, const char *suffix)
{
	char *escaped = curl_easy_escape(NULL, name, 0), *path = NULL;

	if (escaped && asprintf(&path, "/v1/mounts/%s%s", escaped, suffix) < 0)
		path = NULL;
	curl_free(escaped);
	return path;
}

char *client_path_query(const char *path, const char *key, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0), *url = NULL;

	if (escaped && asprintf(&url, "%s?%s=%s", path, key, escaped) < 0)
		url = NULL;
	curl_free(escaped);
	return url;
}

const char *client_name(const char *arg, char *real)
{
	if (strchr(arg, '/') || strcmp(arg, ".") == 0)
		return realpath(arg, real) ? real : arg;
	return arg;
}

int client_get_mounts(const char *name, const char *query, json_t **ret, struct lcm_err *err)
{
	lcm_autofree char *path = NULL;
	char real[PATH_MAX];

	if (name)
		path = client_path(client_name(name, real), query);
	else if (asprintf(&path, "/v1/mounts%s", query) < 0)
		path = NULL;
	return path ? client_call("GET", path, NULL, !name, ret, err) : -ENOMEM;
}

double client_number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

long long client_integer(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

const char *client_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

void client_plain(json_t *v)
{
	lcm_autofree char *text = json_is_string(v) ? strdup(json_string_value(v)) : NULL;
	const char *key;
	json_t *of;
	size_t i;

	if (text) {
		cmd_plain(text);
		(void)json_string_set(v, text);
	}
	json_object_foreach (v, key, of)
		client_plain(of);
	json_array_foreach (v, i, of)
		client_plain(of);
}

void client_print_json(const json_t *j)
{
	(void)json_dumpf(j, stdout, JSON_INDENT(2));
	(void)printf("\n");
}

int client_list(int argc, char **argv, const char *usage, const char *verb,
		void (*print)(const json_t *item))
{
	bool json = false;
	const struct cmd_option options[] = { { "json", .flag = &json }, { 0 } };
	struct lcm_err err = { 0 };
	json_t *reply = NULL, *v;
	char path[64];
	int r = cmd_options(argc, argv, usage, options);
	size_t i;

	if (r >= 0)
		return r;
	if (argc != optind)
		return cmd_usage(verb, "\"%s\" is not expected", argv[optind]);
	(void)snprintf(path, sizeof(path), "/v1/%s", verb);
	r = client_call("GET", path, NULL, true, &reply, &err);
	if (r < 0)
		return cmd_error(verb, &err, r);
	if (json) {
		client_print_json(json_object_get(reply, verb));
	} else {
		client_plain(reply);
		json_array_foreach (json_object_get(reply, verb), i, v)
			print(v);
	}
	json_decref(reply);
	return 0;
}

static int phase_error(json_t *st, struct lcm_err *err)
{
	const char *text = json_string_value(json_object_get(st, "error"));
	int code = (int)json_integer_value(json_object_get(st, "error_code"));

	return lcm_err_set(err, code < 0 ? code : -EIO, "%s",
			   text ? text : "it failed without a reason");
}

/* Has the status reached what was waited for? Phases only go forward. */
static bool reached(const char *phase, const char *want)
{
	static const char *const order[] = { "preparing", "lazy", "draining", "native" };
	size_t have = 0, need = strcmp(want, "ready") == 0 ? 1 : strcmp(want, "local") == 0 ? 2 : 3;

	while (have < LCM_ARRAY_SIZE(order) && strcmp(order[have], phase) != 0)
		have++;
	return have < LCM_ARRAY_SIZE(order) && have >= need;
}

int client_follow(const char *name, const char *wait_for, bool patient, uint64_t timeout_ms,
		  json_t **ret, struct lcm_err *err)
{
	uint64_t end = timeout_ms ? lcm_now_ns() + timeout_ms * 1000000 : UINT64_MAX;
	struct progress bar = { 0 };
	json_t *st = NULL;
	int r = 0;

	for (;;) {
		lcm_autofree char *path = NULL, *suffix = NULL;
		uint64_t now = lcm_now_ns(),
			 ms = end > now ? LCM_MIN((end - now) / 1000000, (uint64_t)STEP_MS) : 0;
		const char *phase;

		json_decref(st);
		st = NULL;
		if (asprintf(&suffix, "/wait?for=%s&patient=%d&timeout_ms=%llu", wait_for, patient,
			     (unsigned long long)ms) < 0)
			suffix = NULL;
		path = suffix ? client_path(name, suffix) : NULL;
		r = path ? client_call("GET", path, NULL, false, &st, err) : -ENOMEM;
		phase = json_string_value(json_object_get(st, "phase"));
		if (r == 0 && !phase)
			r = lcm_err_set(err, -EPROTO, "the daemon's answer has no phase");
		if (r == 0 && strcmp(phase, "failed") == 0)
			r = phase_error(st, err);
		if (r < 0 || reached(phase, wait_for))
			break;
		progress_draw(&bar, st);
		if (lcm_now_ns() >= end) {
			r = lcm_err_set(err, -ETIMEDOUT, "%s is still %s", name, phase);
			break;
		}
	}
	progress_end(&bar);
	if (ret)
		*ret = st;
	else
		json_decref(st);
	return r;
}

int client_session(json_t *body, const char *wait_for, json_t **ret, struct lcm_err *err)
{
	lcm_autofree char *id = NULL, *path = NULL;
	json_t *st = NULL;
	int r = client_call("POST", "/v1/mounts", body, true, &st, err);

	if (r < 0)
		return r;
	if (json_string_value(json_object_get(st, "id")))
		id = strdup(json_string_value(json_object_get(st, "id")));
	json_decref(st);
	if (!id)
		return lcm_err_set(err, -EPROTO, "the daemon's answer has no id");
	r = client_follow(id, wait_for, false, 0, ret, err);
	path = r < 0 ? client_path(id, "") : NULL;
	if (path)
		lcm_ignore(client_call("DELETE", path, NULL, false, NULL, NULL));
	return r;
}

int client_pull(const char *image, const char *platform, const char *index, json_t **ret,
		struct lcm_err *err)
{
	lcm_autofree char *path = NULL;
	json_t *st = NULL;
	int r = client_session(json_pack("{s:s s:b s:s s:s}", "image", image, "pull_only", 1,
					 "platform", platform, "index", index),
			       "native", &st, err);

	path = r == 0 ? client_path(client_text(st, "id"), "") : NULL;
	if (path)
		lcm_ignore(client_call("DELETE", path, NULL, false, NULL, NULL));
	if (ret)
		*ret = json_incref(st);
	json_decref(st);
	return r;
}
