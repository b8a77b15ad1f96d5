/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "image/bundle.h"
#include "image/user.h"
#include "src/base/limits.h"
#include "tests/unit/test.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "# comment:x:1:1::/:\n"
			     "\n"
			     "damaged:x:no:1::/:\n"
			     "short:x:5\n"
			     "www:x:33:34:web:/var/www:/bin/false\n"
			     "77:x:1077:1078:digits:/home/77:\n"
			     "nohome:x:44:45::relative:\n"
			     "last:x:55:56::/last:/bin/sh";
static const char group[] = "root:x:0:\n"
			    "wheel:x:10:root,www\n"
			    "www:x:34:\n"
			    "bad:x:no:www\n"
			    "extra:x:11:a,www,b\n"
			    "again:x:11:www\n"
			    "ww:x:12:wwww,ww";

static void resolves_users(void **state)
{
	static const struct {
		const char *spec;
		uint32_t uid, gid;
		const char *home;
		size_t n_gids;
		uint32_t gids[3];
	} rows[] = {
		{ "", 0, 0, "/root", 1, { 10 } },
		{ "0", 0, 0, "/root", 1, { 10 } },
		{ "root", 0, 0, "/root", 1, { 10 } },
		{ "www", 33, 34, "/var/www", 2, { 10, 11 } },
		{ "www:", 33, 34, "/var/www", 2, { 10, 11 } },
		{ "33", 33, 34, "/var/www", 2, { 10, 11 } },
		{ "www:wheel", 33, 10, "/var/www", 0, { 0 } },
		{ "www:99", 33, 99, "/var/www", 0, { 0 } },
		{ "33:34", 33, 34, "/var/www", 0, { 0 } },
		{ ":wheel", 0, 10, "/root", 0, { 0 } },
		{ "1234", 1234, 0, "/", 0, { 0 } },
		{ "1234:5678", 1234, 5678, "/", 0, { 0 } },
		{ "77", 1077, 1078, "/home/77", 0, { 0 } },
		{ "nohome", 44, 45, "/", 0, { 0 } },
		{ "last", 55, 56, "/last", 0, { 0 } },
		{ "2147483647:2147483647", 2147483647, 2147483647, "/", 0, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_user) u = NULL;
		struct lcm_err err = { 0 };

		if (lcm_user_resolve(rows[i].spec, passwd, strlen(passwd), group, strlen(group), &u,
				     &err) < 0)
			fail_msg("%s: %s", rows[i].spec, err.msg);
		assert_int_equal(u->uid, rows[i].uid);
		assert_int_equal(u->gid, rows[i].gid);
		assert_string_equal(u->home, rows[i].home);
		assert_int_equal(u->n_gids, rows[i].n_gids);
		for (size_t k = 0; k < u->n_gids; k++)
			assert_int_equal(u->gids[k], rows[i].gids[k]);
	}
}

static void refuses_users(void **state)
{
	static const struct {
		const char *spec;
		bool files;
		int r;
		const char *why;
	} rows[] = {
		{ "nobody", true, -ENOENT, "user \"nobody\" is not in the image's /etc/passwd" },
		{ "damaged", true, -ENOENT, "damaged" },
		{ "short", true, -ENOENT, "short" },
		{ "www:nogroup", true, -ENOENT,
		  "group \"nogroup\" is not in the image's /etc/group" },
		{ "www:bad", true, -ENOENT, "bad" },
		{ "www", false, -ENOENT, "there is no such file" },
		{ "0:www", false, -ENOENT, "there is no such file" },
		{ "2147483648", true, -EINVAL, "2147483648" },
		{ "99999999999999999999", true, -EINVAL, "ids go" },
		{ "1:4294967296", true, -EINVAL, "group" },
		{ "-1", true, -ENOENT, "-1" },
	};
	lcm_auto(lcm_user) u = NULL;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_err err = { 0 };
		size_t p = rows[i].files ? strlen(passwd) : 0,
		       g = rows[i].files ? strlen(group) : 0;
		int r = lcm_user_resolve(rows[i].spec, p ? passwd : NULL, p, g ? group : NULL, g,
					 &u, &err);

		assert_int_equal(r, rows[i].r);
		if (!strstr(err.msg, rows[i].why))
			fail_msg("%s: %s", rows[i].spec, err.msg);
		assert_null(u);
	}
	assert_int_equal(lcm_user_resolve("0", passwd, LCM_USER_FILE_MAX + 1, group, 0, &u, NULL),
			 -EFBIG);
	assert_int_equal(lcm_user_resolve("", NULL, 0, NULL, 0, &u, NULL), 0);
	assert_int_equal(u->uid, 0);
	assert_string_equal(u->home, "/");
}

static struct lcm_image_config *config_of(const char *process)
{
	char text[1024];
	struct lcm_image_config *c = NULL;

	snprintf(text, sizeof(text),
		 "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"config\":{%s}}", process);
	assert_int_equal(lcm_image_config_parse(text, strlen(text), &c, NULL), 0);
	return c;
}

/* The bundle's JSON as a tree; the text must parse and have no key twice. */
static json_t *bundle_of(const char *process, const struct lcm_bundle_opts *o)
{
	lcm_auto(lcm_image_config) c = config_of(process);
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_BUNDLE_MAX);
	struct lcm_err err = { 0 };
	json_t *root;

	if (lcm_bundle_config(c, o, &b, &err) < 0)
		fail_msg("%s", err.msg);
	root = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	return root;
}

/* A list of strings as "a|b|c". */
static const char *joined(const json_t *list, char *out, size_t cap)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < json_array_size(list); i++)
		used += (size_t)snprintf(out + used, cap - used, "%s%s", i ? "|" : "",
					 json_string_value(json_array_get(list, i)));
	assert_true(used < cap);
	return out;
}

static void commands_follow_docker(void **state)
{
	static const char *const none[] = { NULL }, *const sh[] = { "sh", "-c", NULL },
				 *const x[] = { "x", NULL };
	static const char image[] = "\"Entrypoint\":[\"e\",\"f\"],\"Cmd\":[\"c\"]";
	const struct {
		const char *const *entrypoint, *const *args;
		const char *want;
	} rows[] = {
		{ NULL, NULL, "e|f|c" }, { NULL, x, "e|f|x" }, { NULL, none, "e|f" },
		{ sh, NULL, "sh|-c" },   { sh, x, "sh|-c|x" }, { none, x, "x" },
	};
	char out[256];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_bundle_opts o = { .rootfs = "/r",
					     .entrypoint = rows[i].entrypoint,
					     .args = rows[i].args };
		json_t *root = bundle_of(image, &o);

		assert_string_equal(
		    joined(json_object_get(json_object_get(root, "process"), "args"), out,
			   sizeof(out)),
		    rows[i].want);
		json_decref(root);
	}
}

static void environment_is_merged(void **state)
{
	static const char image[] =
	    "\"Cmd\":[\"c\"],\"Env\":[\"A=1\",\"B=2\",\"odd\",\"=x\",\"A=3\"]";
	static const char *const add[] = { "B=new=x", "C=", NULL };
	struct lcm_bundle_opts o = { .rootfs = "/r", .env = add, .home = "/h", .hostname = "box" };
	char out[512];
	json_t *root = bundle_of(image, &o);

	(void)state;
	assert_string_equal(
	    joined(json_object_get(json_object_get(root, "process"), "env"), out, sizeof(out)),
	    "A=3|B=new=x|C=|PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/"
	    "bin|HOME=/h|"
	    "HOSTNAME=box|container=locum");
	assert_string_equal(json_string_value(json_object_get(root, "hostname")), "box");
	json_decref(root);
	o = (struct lcm_bundle_opts){ .rootfs = "/r", .home = "/h", .terminal = true };
	root = bundle_of("\"Cmd\":[\"c\"],\"Env\":[\"PATH=/p\",\"HOME=/"
			 "mine\",\"HOSTNAME=n\",\"TERM=vt100\",\"container=c\"]",
			 &o);
	assert_string_equal(
	    joined(json_object_get(json_object_get(root, "process"), "env"), out, sizeof(out)),
	    "PATH=/p|HOME=/mine|HOSTNAME=n|TERM=vt100|container=c");
	json_decref(root);
}

static void working_directory(void **state)
{
	static const struct {
		const char *image, *option, *want;
	} rows[] = {
		{ "", NULL, "/" },
		{ "/w", NULL, "/w" },
		{ "w/x", NULL, "/w/x" },
		{ "/w", "/o", "/o" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_bundle_opts o = { .rootfs = "/r", .cwd = rows[i].option };
		char image[128];
		json_t *root;

		snprintf(image, sizeof(image), "\"Cmd\":[\"c\"],\"WorkingDir\":\"%s\"",
			 rows[i].image);
		root = bundle_of(image, &o);
		assert_string_equal(
		    json_string_value(json_object_get(json_object_get(root, "process"), "cwd")),
		    rows[i].want);
		json_decref(root);
	}
}

static size_t list_size(const json_t *root, const char *a, const char *b, const char *c)
{
	return json_array_size(json_object_get(json_object_get(json_object_get(root, a), b), c));
}

static const char *mount_type(const json_t *root, const char *dest)
{
	const json_t *m;
	size_t i;

	json_array_foreach (json_object_get(root, "mounts"), i, m)
		if (strcmp(json_string_value(json_object_get(m, "destination")), dest) == 0)
			return json_string_value(json_object_get(m, "type"));
	return "";
}

static void options_reach_the_bundle(void **state)
{
	static const uint32_t gids[] = { 7, 1000, 8 };
	static const struct lcm_bundle_bind binds[] = { { "/s", "/d", true } };
	struct lcm_bundle_opts o = { .rootfs = "/r" };
	json_t *root = bundle_of("\"Cmd\":[\"c\"]", &o), *process, *linux_;

	(void)state;
	linux_ = json_object_get(root, "linux");
	assert_int_equal(json_array_size(json_object_get(linux_, "namespaces")), 6);
	assert_null(json_object_get(linux_, "cgroupsPath"));
	assert_string_equal(mount_type(root, "/sys"), "sysfs");
	assert_int_equal(list_size(root, "process", "capabilities", "effective"), 11);
	assert_int_equal(list_size(root, "process", "user", "additionalGids"), 1);
	assert_false(json_is_true(json_object_get(json_object_get(root, "root"), "readonly")));
	json_decref(root);

	o = (struct lcm_bundle_opts){ .rootfs = "/r",
				      .uid = 1000,
				      .gid = 1000,
				      .gids = gids,
				      .n_gids = 3,
				      .binds = binds,
				      .n_binds = 1,
				      .rows = 24,
				      .cols = 80,
				      .terminal = true,
				      .readonly = true,
				      .host_network = true,
				      .cgroup_path = "/x" };
	root = bundle_of("\"Cmd\":[\"c\"]", &o);
	linux_ = json_object_get(root, "linux");
	process = json_object_get(root, "process");
	assert_int_equal(json_array_size(json_object_get(linux_, "namespaces")), 5);
	assert_string_equal(json_string_value(json_object_get(linux_, "cgroupsPath")), "/x");
	assert_string_equal(mount_type(root, "/sys"), "bind");
	assert_string_equal(mount_type(root, "/d"), "bind");
	assert_int_equal(list_size(root, "process", "capabilities", "effective"), 0);
	assert_int_equal(list_size(root, "process", "capabilities", "bounding"), 11);
	assert_int_equal(list_size(root, "process", "user", "additionalGids"), 3);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(process, "consoleSize"), "width")),
	    80);
	assert_true(json_is_true(json_object_get(process, "terminal")));
	assert_true(json_is_true(json_object_get(json_object_get(root, "root"), "readonly")));
	json_decref(root);
}

static void refuses_bundles(void **state)
{
	static const char *const no_eq[] = { "A", NULL }, *const no_key[] = { "=A", NULL };
	static const char *const latin1[] = { "caf\xe9", NULL };
	static const struct lcm_bundle_bind relative[] = { { "s", "/d", true } };
	const struct {
		const char *image;
		struct lcm_bundle_opts o;
		size_t max;
		int r;
		const char *why;
	} rows[] = {
		{ "", { .rootfs = "/r" }, LCM_BUNDLE_MAX, -EINVAL, "no command" },
		{ "\"Cmd\":[\"c\"]", { .rootfs = "r" }, LCM_BUNDLE_MAX, -EINVAL, "absolute" },
		{ "\"Cmd\":[\"c\"]", { 0 }, LCM_BUNDLE_MAX, -EINVAL, "absolute" },
		{ "\"Cmd\":[\"c\"]",
		  { .rootfs = "/r", .cwd = "x" },
		  LCM_BUNDLE_MAX,
		  -EINVAL,
		  "working directory" },
		{ "\"Cmd\":[\"c\"]",
		  { .rootfs = "/r", .env = no_eq },
		  LCM_BUNDLE_MAX,
		  -EINVAL,
		  "KEY=VALUE" },
		{ "\"Cmd\":[\"c\"]",
		  { .rootfs = "/r", .env = no_key },
		  LCM_BUNDLE_MAX,
		  -EINVAL,
		  "KEY=VALUE" },
		{ "",
		  { .rootfs = "/r", .args = latin1 },
		  LCM_BUNDLE_MAX,
		  -EINVAL,
		  "an argument is not UTF-8" },
		{ "\"Cmd\":[\"c\"]", { .rootfs = "/r\xff" }, LCM_BUNDLE_MAX, -EINVAL, "not UTF-8" },
		{ "\"Cmd\":[\"c\"]",
		  { .rootfs = "/r", .binds = relative, .n_binds = 1 },
		  LCM_BUNDLE_MAX,
		  -EINVAL,
		  "bind" },
		{ "\"Cmd\":[\"c\"]", { .rootfs = "/r" }, 100, -EFBIG, "too large" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_image_config) c = config_of(rows[i].image);
		lcm_autobuf struct lcm_buf b = LCM_BUF(rows[i].max);
		struct lcm_err err = { 0 };

		assert_int_equal(lcm_buf_add(&b, "kept", 4), 0);
		assert_int_equal(lcm_bundle_config(c, &rows[i].o, &b, &err), rows[i].r);
		if (!strstr(err.msg, rows[i].why))
			fail_msg("row %zu: %s", i, err.msg);
		assert_string_equal(lcm_buf_str(&b), "kept");
	}
}

#ifdef LCM_FAULTS
static int parse_and_write(const char *text)
{
	static const struct lcm_bundle_opts o = { .rootfs = "/r" };
	lcm_auto(lcm_image_config) c = NULL;
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_BUNDLE_MAX);
	int r = lcm_image_config_parse(text, strlen(text), &c, NULL);

	return r < 0 ? r : lcm_bundle_config(c, &o, &b, NULL);
}

/* jansson calls out of memory bad syntax, or nothing at all; neither may get out. */
static void allocations_fail_in_turn(void **state)
{
	static const char text[] =
	    "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"config\":{\"Cmd\":[\"c\"],"
	    "\"Env\":[\"A=1\"]}}";
	long n = 0, seen;
	int r;

	(void)state;
	do {
		lcm_fault_arm(++n, ENOMEM);
		r = parse_and_write(text);
		seen = lcm_fault_count();
		lcm_fault_disarm();
		assert_int_equal(r, seen >= n ? -ENOMEM : 0);
	} while (r < 0);
	assert_true(n > 100);
}
#endif

static void container_ids(void **state)
{
	static const struct {
		const char *id;
		bool ok;
	} rows[] = {
		{ "a", true },    { "a-b_c.d+1", true }, { "-", true },    { "", false },
		{ ".", false },   { "..", false },       { ".a", false },  { "a/b", false },
		{ "a b", false }, { "a\n", false },      { "a?b", false }, { "\xc3\xa4", false },
	};
	char id[LCM_CONTAINER_ID_MAX + 2];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		if (lcm_container_id_ok(rows[i].id) != rows[i].ok)
			fail_msg("\"%s\"", rows[i].id);
	memset(id, 'x', sizeof(id) - 1);
	id[LCM_CONTAINER_ID_MAX + 1] = '\0';
	assert_false(lcm_container_id_ok(id));
	id[LCM_CONTAINER_ID_MAX] = '\0';
	assert_true(lcm_container_id_ok(id));
	/* Its tie is a file, written under the longest name that lcm_write_file_at() may make. */
	assert_true(strlen(id) + strlen(".json.4194304.4294967295.tmp") <= LCM_NAME_LEN_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolves_users),
		cmocka_unit_test(refuses_users),
		cmocka_unit_test(commands_follow_docker),
		cmocka_unit_test(environment_is_merged),
		cmocka_unit_test(working_directory),
		cmocka_unit_test(options_reach_the_bundle),
		cmocka_unit_test(refuses_bundles),
		cmocka_unit_test(container_ids),
#ifdef LCM_FAULTS
		cmocka_unit_test(allocations_fail_in_turn),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
