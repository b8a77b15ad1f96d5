/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/cmd/cmd.h"
#include "src/cmd/doctor.h"
#include "tests/unit/test.h"

#define DECODER "./locum-decode"

static void verdicts(void **state)
{
	static const struct {
		struct lcm_doctor d;
		enum lcm_doctor_mode mode;
	} rows[] = {
		{ { .root = true,
		    .xattrs = true,
		    .decoder = true,
		    .features = { .overlay = true,
				  .data_only = true,
				  .fuse = true,
				  .erofs_file = true } },
		  LCM_DOCTOR_LAZY },
		{ { .root = true,
		    .xattrs = true,
		    .decoder = true,
		    .features = { .overlay = true,
				  .data_only = true,
				  .fuse = true,
				  .erofs_loop = true } },
		  LCM_DOCTOR_LAZY },
		{ { .root = true,
		    .xattrs = true,
		    .decoder = true,
		    .features = { .overlay = true, .data_only = true, .fuse = true } },
		  LCM_DOCTOR_FULL },
		{ { .root = true,
		    .xattrs = true,
		    .decoder = true,
		    .features = { .overlay = true, .data_only = true, .erofs_file = true } },
		  LCM_DOCTOR_FULL },
		{ { .root = true,
		    .xattrs = true,
		    .decoder = true,
		    .features = { .overlay = true, .fuse = true, .erofs_file = true } },
		  LCM_DOCTOR_FULL },
		{ { .root = true,
		    .xattrs = true,
		    .decoder = true,
		    .features = { .data_only = true, .fuse = true, .erofs_file = true } },
		  LCM_DOCTOR_NONE },
		{ { .root = true,
		    .xattrs = true,
		    .features = { .overlay = true,
				  .data_only = true,
				  .fuse = true,
				  .erofs_file = true } },
		  LCM_DOCTOR_NONE },
		{ { .root = true,
		    .decoder = true,
		    .features = { .overlay = true,
				  .data_only = true,
				  .fuse = true,
				  .erofs_file = true } },
		  LCM_DOCTOR_NONE },
		{ { .xattrs = true,
		    .features = { .overlay = true,
				  .data_only = true,
				  .fuse = true,
				  .erofs_file = true } },
		  LCM_DOCTOR_NONE },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		assert_int_equal(lcm_doctor_verdict(&rows[i].d), rows[i].mode);
}

static const struct lcm_doctor_item *item(const struct lcm_doctor *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->items[i].name, name) == 0)
			return &d->items[i];
	fail_msg("no item %s", name);
	return NULL;
}

static void examines(void **state)
{
	char *dir = test_mkdir(), path[64], missing[64];
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct lcm_doctor d = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/sock", dir);
	(void)snprintf(missing, sizeof(missing), "%s/not/yet", dir);
	lcm_doctor_examine(&d, missing, path, DECODER);
	assert_int_equal(item(&d, "daemon")->state, LCM_DOCTOR_OK);
	assert_non_null(strstr(item(&d, "state-fs")->value, dir)); /* the nearest one that exists */
	assert_int_equal(item(&d, "isolation")->state, LCM_DOCTOR_OK);
	assert_int_equal(item(&d, "root")->state, geteuid() == 0 ? LCM_DOCTOR_OK : LCM_DOCTOR_NO);
	for (size_t i = 0; i < d.n; i++)
		assert_true(d.items[i].state == LCM_DOCTOR_OK || d.items[i].text[0]);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	d = (struct lcm_doctor){ 0 };
	lcm_doctor_examine(&d, dir, path, DECODER);
	assert_int_equal(item(&d, "daemon")->state, LCM_DOCTOR_WARN);
	assert_non_null(strstr(item(&d, "daemon")->text, "stale"));

	assert_int_equal(listen(fd, 1), 0);
	d = (struct lcm_doctor){ 0 };
	lcm_doctor_examine(&d, dir, path, DECODER);
	assert_non_null(strstr(item(&d, "daemon")->value, "reachable"));
	d = (struct lcm_doctor){ 0 };
	lcm_doctor_examine(&d, dir, path, "/bin/false");
	assert_int_equal(item(&d, "isolation")->state, LCM_DOCTOR_NO);
	assert_false(d.decoder);
	(void)close(fd);
	assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, path, 0), 0);
	assert_int_equal(rmdir(dir), 0); /* nothing was left behind */
	free(dir);
}

static void cgroup_layouts(void **state)
{
	(void)state;
	assert_string_equal(lcm_doctor_cgroup("/nonexistent"), "none");
	assert_string_equal(lcm_doctor_cgroup("/proc"), "none");
	assert_string_equal(lcm_doctor_cgroup("/dev/shm"), "v1"); /* a tmpfs without unified/ */
}

/* Runs the verb with stdout in a file; *ret is what it printed. */
static int run(char **argv, char **ret)
{
	char path[] = "/tmp/locum-test.XXXXXX";
	int argc = 0, saved = dup(1), fd = mkstemp(path), status;
	size_t len = 0;

	while (argv[argc])
		argc++;
	assert_true(saved >= 0 && fd >= 0);
	(void)fflush(stdout);
	assert_int_equal(dup2(fd, 1), 1);
	status = cmd_doctor_main(argc, argv);
	(void)fflush(stdout);
	assert_int_equal(dup2(saved, 1), 1);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, 1U << 20, ret, &len), 0);
	(void)close(fd);
	(void)close(saved);
	assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, path, 0), 0);
	return status;
}

static void json_agrees_with_status(void **state)
{
	static const char *const modes[] = { "lazy", "full", "none" };
	char *argv[] = { (char *)"doctor", (char *)"--root", (char *)"/tmp", (char *)"--json",
			 NULL };
	lcm_autofree char *text = NULL;
	json_t *j;
	int status = run(argv, &text);

	(void)state;
	j = json_loads(text, 0, NULL);
	assert_non_null(j);
	assert_in_range(status, 0, 2);
	assert_string_equal(json_string_value(json_object_get(j, "mode")), modes[status]);
	assert_true(json_array_size(json_object_get(j, "checks")) >= 8);
	json_decref(j);
}

static void usage(void **state)
{
	char *bad[] = { (char *)"doctor", (char *)"--nonsense", NULL },
	     *more[] = { (char *)"doctor", (char *)"x", NULL },
	     *help[] = { (char *)"doctor", (char *)"--help", NULL };
	char *text = NULL;

	(void)state;
	assert_int_equal(run(bad, &text), 2);
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(run(more, &text), 2);
	free(text);
	assert_int_equal(run(help, &text), 0);
	assert_non_null(strstr(text, "--root"));
	free(text);
}

static void put(const char *dir, const char *rest, const char *text)
{
	char path[300], *slash;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, rest);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(lcm_mkdir_p(path, 0755), 0);
	*slash = '/';
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

static void registries(void **state)
{
	struct lcm_doctor d = { 0 };
	char *dir = test_mkdir();
	const char *dirs[] = { "/no/such/dir", dir, NULL };

	(void)state;
	lcm_doctor_hosts(&d, dirs);
	put(dir, "a.example/hosts.toml", "");
	put(dir, "b.example:5000/hosts.toml", "");
	put(dir, "no-directory", "");
	lcm_doctor_hosts(&d, dirs);
	put(dir, "_default/hosts.toml", "server = 1");
	put(dir, "c.example_5000_/lone.cert", "");
	lcm_doctor_hosts(&d, dirs);
	assert_int_equal(d.n, 3);
	assert_int_equal(d.items[0].state, LCM_DOCTOR_OK);
	assert_int_equal(strncmp(d.items[0].value, "0 with", 6), 0);
	assert_int_equal(d.items[1].state, LCM_DOCTOR_OK);
	assert_int_equal(strncmp(d.items[1].value, "2 with", 6), 0);
	assert_int_equal(d.items[2].state, LCM_DOCTOR_WARN);
	assert_int_equal(strncmp(d.items[2].value, "4 with", 6), 0);
	assert_non_null(strstr(d.items[2].text, "2 of them are refused"));
	assert_non_null(strstr(d.items[2].text, dir));
	test_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registries),
		cmocka_unit_test(verdicts),
		cmocka_unit_test(examines),
		cmocka_unit_test(cgroup_layouts),
		cmocka_unit_test(json_agrees_with_status),
		cmocka_unit_test(usage),
	};

	cmd_globals.root = "/var/lib/locum";
	cmd_globals.run_dir = "/run/locum";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
