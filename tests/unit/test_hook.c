/* SPDX-License-Identifier: Apache-2.0 */
/* What runtimes tell their hooks, right and wrong; where a container's cgroup is. */
#include "tests/unit/test.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/daemon/container.h"
#include "src/hook/client.h"
#include "src/hook/state.h"

static int parse(const char *text, enum lcm_hook_stage stage, struct lcm_hook_state *s,
		 struct lcm_err *err)
{
	return lcm_hook_state_parse(text, strlen(text), stage, s, err);
}

/* crun 1.8's and runc 1.1's own. */
static void states_of_runtimes(void **state)
{
	struct lcm_hook_state s;

	(void)state;
	assert_int_equal(
	    parse("{\"ociVersion\":\"1.0\",\"id\":\"a-b_c.d+1\",\"pid\":29170,\"root\":"
		  "\"rootfs\",\"bundle\":\"/tmp/h/b\",\"status\":\"created\","
		  "\"annotations\":{\"org.locum.image\":\"r/x:1\",\"other\":\"y\","
		  "\"org.locum.pull\":\"never\",\"org.locum.read-only\":\"true\"}}",
		  LCM_HOOK_CREATE_RUNTIME, &s, NULL),
	    0);
	assert_string_equal(s.id, "a-b_c.d+1");
	assert_string_equal(s.bundle, "/tmp/h/b");
	assert_string_equal(s.image, "r/x:1");
	assert_string_equal(s.pull, "never");
	assert_string_equal(s.platform, "");
	assert_int_equal(s.pid, 29170);
	assert_true(s.read_only);
	lcm_hook_state_fini(&s);
	assert_int_equal(parse("{\"ociVersion\":\"1.0.2-dev\",\"id\":\"x\",\"status\":\"stopped\","
			       "\"bundle\":\"/b\",\"annotations\":null}",
			       LCM_HOOK_POSTSTOP, &s, NULL),
			 0);
	assert_int_equal(s.pid, 0);
	assert_string_equal(s.image, "");
	assert_false(s.read_only);
	lcm_hook_state_fini(&s);
}

#define STATE(id, pid, bundle, more) "{\"id\":" id ",\"pid\":" pid ",\"bundle\":" bundle more "}"

static void hostile_states(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "state" },
		{ "[]", "state" },
		{ "{}", "id is missing" },
		{ STATE("\"\"", "1", "\"/b\"", ""), "id is missing" },
		{ STATE("\"../x\"", "1", "\"/b\"", ""), "id is missing" },
		{ STATE("\".x\"", "1", "\"/b\"", ""), "id is missing" },
		{ STATE("\"a/b\"", "1", "\"/b\"", ""), "id is missing" },
		{ STATE("\"a\\u0000b\"", "1", "\"/b\"", ""), "state" },
		{ STATE("7", "1", "\"/b\"", ""), "id" },
		{ STATE("\"a\"", "0", "\"/b\"", ""), "pid" },
		{ STATE("\"a\"", "-1", "\"/b\"", ""), "pid" },
		{ STATE("\"a\"", "4294967296", "\"/b\"", ""), "pid" },
		{ STATE("\"a\"", "\"1\"", "\"/b\"", ""), "pid" },
		{ STATE("\"a\"", "1.0", "\"/b\"", ""), "pid" },
		{ STATE("\"a\"", "1", "\"b\"", ""), "bundle" },
		{ STATE("\"a\"", "1", "\"/b\\n\"", ""), "bundle" },
		{ STATE("\"a\"", "1", "null", ""), "bundle" },
		{ STATE("\"a\"", "1", "\"/b\"", ",\"annotations\":[]"), "annotations" },
		{ STATE("\"a\"", "1", "\"/b\"", ",\"annotations\":{\"org.locum.image\":1}"),
		  "org.locum.image" },
		{ STATE("\"a\"", "1", "\"/b\"", ",\"annotations\":{\"org.locum.pull\":\"a\\rb\"}"),
		  "org.locum.pull" },
		{ STATE("\"a\"", "1", "\"/b\"", ",\"annotations\":{\"org.locum.read-only\":\"1\"}"),
		  "org.locum.read-only" },
		{ STATE("\"a\"", "1", "\"/b\"", ",\"annotations\":{\"org.locum.deadline\":\"1m\"}"),
		  "org.locum.deadline" },
		{ STATE("\"a\"", "1", "\"/b\"",
			",\"annotations\":{\"org.locum.deadline\":\"1000000001\"}"),
		  "org.locum.deadline" },
		{ STATE("\"a\"", "1", "\"/b\"", ",\"id\":\"b\""), "state" },
	};
	lcm_autofree char *big = malloc(400);

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(bad); i++) {
		struct lcm_hook_state s;
		struct lcm_err err = { 0 };

		if (parse(bad[i].text, LCM_HOOK_CREATE_RUNTIME, &s, &err) != -EUCLEAN ||
		    !strstr(err.msg, bad[i].says))
			fail_msg("%s: \"%s\"", bad[i].text, err.msg);
	}
	assert_non_null(big);
	(void)snprintf(big, 400, "{\"id\":\"%0300d\",\"pid\":1,\"bundle\":\"/b\"}", 0);
	assert_int_equal(parse(big, LCM_HOOK_POSTSTOP, &(struct lcm_hook_state){ 0 }, NULL),
			 -EUCLEAN);
}

#define NOTED(more) STATE("\"a\"", "1", "\"/b\"", ",\"annotations\":{" more "}")
#define WITH_UNIT "\"org.locum.image\":\"x\",\"org.locum.unit\":\"new\""

/* That something is said of a unit is known also when what is said is wrong. */
static void units(void **state)
{
	static const struct {
		const char *text, *says; /* NULL: right */
		bool wants;
		uint64_t size;
	} rows[] = {
		{ NOTED("\"org.locum.image\":\"x\""), NULL, false, 0 },
		{ NOTED(WITH_UNIT), NULL, true, 0 },
		{ NOTED(WITH_UNIT ",\"org.locum.unit.size\":\"4096\""), NULL, true, 4096 },
		{ NOTED(WITH_UNIT ",\"org.locum.unit.size\":\"2G\""), NULL, true, 2ULL << 30 },
		{ NOTED(WITH_UNIT ",\"org.locum.unit.size\":\"2T\""), "unit.size", true, 0 },
		{ NOTED(WITH_UNIT ",\"org.locum.unit.size\":\"-1\""), "unit.size", true, 0 },
		{ NOTED(WITH_UNIT ",\"org.locum.unit.size\":\"9999999999G\""), "unit.size", true,
		  0 },
		{ NOTED(WITH_UNIT ",\"org.locum.unit.pool\":\"a\\nb\""), "unit.pool", true, 0 },
		{ NOTED("\"org.locum.image\":\"x\",\"org.locum.unit\":\"\\u0001\""),
		  "unit: too long", true, 0 },
		{ NOTED("\"org.locum.unit\":\"x\""), "org.locum.image", true, 0 },
		{ NOTED("\"org.locum.image\":\"x\",\"org.locum.unit.pool\":\"p\""),
		  "need org.locum.unit", true, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_hook_state s;
		struct lcm_err err = { 0 };
		uint64_t size = 7;
		int r;

		assert_int_equal(parse(rows[i].text, LCM_HOOK_CREATE_RUNTIME, &s, NULL), 0);
		assert_int_equal(lcm_hook_state_wants_unit(&s), rows[i].wants);
		r = lcm_hook_state_unit(&s, &size, &err);
		if (r != (rows[i].says ? -EUCLEAN : 0) || size != (r ? 7 : rows[i].size) ||
		    (r && !strstr(err.msg, rows[i].says)))
			fail_msg("%s: %d \"%s\"", rows[i].text, r, err.msg);
		lcm_hook_state_fini(&s);
	}
}

static void roots_of_bundles(void **state)
{
	static const struct {
		const char *config, *root; /* NULL: refused */
	} rows[] = {
		{ "{\"root\":{\"path\":\"rootfs\"}}", "/run/b/rootfs" },
		{ "{\"root\":{\"path\":\"./a//b/\"}}", "/run/b/a/b" },
		{ "{\"root\":{\"path\":\"/srv/x\"}}", "/srv/x" },
		{ "{\"root\":{\"path\":\"/srv/./x/.\"}}", "/srv/x" },
		{ "{\"root\":{\"path\":\"../x\"}}", NULL },
		{ "{\"root\":{\"path\":\"/a/../../x\"}}", NULL },
		{ "{\"root\":{\"path\":\"/\"}}", NULL },
		{ "{\"root\":{\"path\":\"\"}}", NULL },
		{ "{\"root\":{}}", NULL },
		{ "{\"root\":\"x\"}", NULL },
		{ "{}", NULL },
		{ "{\"root\":{\"path\":\"a0123456789a0123456789a0123456789a0123456789\"}}", NULL },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_err err = { 0 };
		char out[40] = "";
		int r = lcm_hook_root(rows[i].config, strlen(rows[i].config), "/run/./b/", out,
				      sizeof(out), &err);

		if (rows[i].root ? r < 0 || strcmp(out, rows[i].root) != 0 : r >= 0 || !err.msg[0])
			fail_msg("%s: %d \"%s\" \"%s\"", rows[i].config, r, out, err.msg);
	}
}

static void stages(void **state)
{
	enum lcm_hook_stage stage = LCM_HOOK_STAGE_MAX;

	(void)state;
	assert_int_equal(lcm_hook_stage_parse("createRuntime", &stage), 0);
	assert_int_equal(stage, LCM_HOOK_CREATE_RUNTIME);
	assert_int_equal(lcm_hook_stage_parse("prestart", &stage), 0);
	assert_int_equal(stage, LCM_HOOK_CREATE_RUNTIME);
	assert_int_equal(lcm_hook_stage_parse("poststart", &stage), 0);
	assert_int_equal(stage, LCM_HOOK_POSTSTART);
	assert_int_equal(lcm_hook_stage_parse("poststop", &stage), 0);
	assert_int_equal(stage, LCM_HOOK_POSTSTOP);
	assert_int_equal(lcm_hook_stage_parse("createContainer", &stage), -EINVAL);
}

static void cgroups(void **state)
{
	static const struct {
		const char *text, *path;
	} rows[] = {
		{ "0::/system.slice/x.scope\n", "/system.slice/x.scope" },
		{ "12:cpu,cpuacct:/\n5:blkio:/c1\n4:pids:/c2\n0::/\n", "/c1" },
		{ "5:blkio:/c1\n0::/unified/c1\n", "/unified/c1" },
		{ "1:name=systemd:/a:b\n", "/a:b" },
		{ "0::/no-newline", "/no-newline" },
		{ "0::/\n", "" },
		{ "", "" },
		{ "nonsense\n::\n:\n", "" },
		{ "0::relative\n", "" },
		{ "0::/0123456789012345678901234567890\n3:x:/short\n", "/short" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		char out[32];

		lcm_container_cgroup(rows[i].text, out, sizeof(out));
		assert_string_equal(out, rows[i].path);
	}
}

/* A socket that listens in ./locum.sock of @dir; nobody will accept. */
static int listen_in(const char *dir, struct sockaddr_un *ret)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/locum.sock", dir);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)ret, sizeof(*ret)), 0);
	return fd;
}

static int call_for(const char *dir, uint64_t ms, struct lcm_err *err)
{
	const struct lcm_hook_client c = { .run_dir = dir,
					   .deadline_ns = lcm_now_ns() + ms * 1000000 };

	return lcm_hook_call(&c, "GET", "/v1/daemon", NULL, NULL, err);
}

static void no_daemon_says_why(void **state)
{
	char *dir = test_mkdir();
	struct lcm_err err = { 0 };
	struct sockaddr_un sa;
	int fd;

	(void)state;
	assert_int_equal(call_for(dir, 1000, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.msg, "/locum.sock: No such file or directory"));
	fd = listen_in(dir, &sa);
	assert_int_equal(call_for(dir, 1000, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.msg, "/locum.sock: Connection refused"));
	(void)close(fd);
	test_rmdir(dir);
}

/* connect(2) to a full backlog waits until it is accepted, which may be never. */
static void a_stuck_daemon_is_left(void **state)
{
	char *dir = test_mkdir();
	uint64_t began = lcm_now_ns();
	struct lcm_err err = { 0 };
	struct sockaddr_un sa;
	int fd = listen_in(dir, &sa), full;

	(void)state;
	assert_int_equal(listen(fd, 0), 0);
	(void)alarm(20);
	assert_int_equal(call_for(dir, 300, &err), -ETIMEDOUT); /* accepted by no one */
	full = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	while (connect(full, (const struct sockaddr *)&sa, sizeof(sa)) == 0) {
		(void)close(full);
		full = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	assert_int_equal(call_for(dir, 300, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "takes no connection"));
	assert_int_equal(call_for(dir, 0, &err), -ETIMEDOUT);
	(void)alarm(0);
	assert_true(lcm_now_ns() - began < 10000000000ULL);
	(void)close(full);
	(void)close(fd);
	test_rmdir(dir);
}

static void meters(void **state)
{
	static const struct {
		const char *text, *says, *json; /* says NULL: right; json NULL: nothing is said */
	} rows[] = {
		{ NOTED("\"org.locum.image\":\"x\""), NULL, NULL },
		{ NOTED("\"org.locum.meter.class\":\"gold\",\"org.locum.meter.weight\":\"7\""),
		  NULL, "{\"class\":\"gold\",\"weight\":7}" },
		{ NOTED(
		      "\"org.locum.meter.limits\":\"requests=5,fetched_bytes=2M/500\","
		      "\"org.locum.meter.readmit\":\"time=40\",\"org.locum.meter.reject\":\"EIO\""),
		  NULL,
		  "{\"after\":40,\"limits\":[{\"interval_ms\":1000,\"resource\":\"requests\","
		  "\"threshold\":5},{\"interval_ms\":500,\"resource\":\"fetched_bytes\","
		  "\"threshold\":2097152}],\"readmit\":\"time\",\"reject\":\"EIO\"}" },
		{ NOTED("\"org.locum.meter.weight\":\"much\""), "weight much is not a number",
		  NULL },
		{ NOTED("\"org.locum.meter.limits\":\"requests\""), "limit requests: RESOURCE=N",
		  NULL },
		{ NOTED("\"org.locum.meter.limits\":\"requests=1,,\""), "limit : RESOURCE=N",
		  NULL },
		{ NOTED("\"org.locum.meter.limits\":\"requests=1/x\""),
		  "limit requests=1/x:", NULL },
		{ NOTED("\"org.locum.meter.readmit\":\"time=x\""), "readmit time=x:", NULL },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_hook_state s;
		struct lcm_err err = { 0 };
		json_t *o = NULL;
		char *text = NULL;
		int r;

		assert_int_equal(parse(rows[i].text, LCM_HOOK_CREATE_RUNTIME, &s, &err), 0);
		r = lcm_meter_texts_take(&s.meter, &o, &err);
		assert_int_equal(r, rows[i].says ? -EINVAL : 0);
		if (rows[i].says && !strstr(err.msg, rows[i].says))
			fail_msg("%s: \"%s\"", rows[i].text, err.msg);
		text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
		assert_int_equal(text != NULL, rows[i].json != NULL);
		if (text)
			assert_string_equal(text, rows[i].json);
		free(text);
		json_decref(o);
		lcm_hook_state_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_of_runtimes),
		cmocka_unit_test(hostile_states),
		cmocka_unit_test(units),
		cmocka_unit_test(meters),
		cmocka_unit_test(roots_of_bundles),
		cmocka_unit_test(stages),
		cmocka_unit_test(cgroups),
		cmocka_unit_test(no_daemon_says_why),
		cmocka_unit_test(a_stuck_daemon_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
