/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client where the network, names, TLS or HTTP/2 misbehave: in a network of its own, with names
 * of its own, against nginx and a server of the tests.
 */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "src/base/run.h"
#include "src/base/sys.h"
#include "tests/lib/badserver.h"
#include "tests/lib/regtest.h"

#define BLOB_SIZE (1U << 20)
#define DAY 86400
#define NGINX "/usr/sbin/nginx"
/* Ports in a network of our own. */
#define PORT_GOOD 1443
#define PORT_EXPIRED 1444
#define PORT_OTHER 1445
/* Packets to it are never answered. */
#define BLACK_HOLE "192.0.2.1"

static uint8_t blob[BLOB_SIZE];
static struct lcm_digest blob_digest;
static char *dir, ca[300];
static int tun = -EBADF;

static const char *in_dir(const char *name)
{
	static char path[2][300];
	static unsigned int turn;
	char *p = path[turn++ % 2];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void put(const char *name, const char *text)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_write_full(fd, text, strlen(text)), 0);
	(void)close(fd);
}

#define IP(...) ip((const char *const[]){ "ip", __VA_ARGS__, NULL })

static void ip(const char *const argv[])
{
	struct lcm_err err = { 0 };

	if (lcm_run(argv, "network", &err) < 0)
		fail_msg("%s", err.msg);
}

/* A device that nobody reads from: what is sent there is lost. */
static void make_network(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "hole");
	tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	assert_true(tun >= 0);
	assert_int_equal(ioctl(tun, TUNSETIFF, &ifr), 0);
	IP("link", "set", "lo", "up");
	IP("link", "set", "hole", "up");
	IP("addr", "add", "192.0.2.2/24", "dev", "hole");
	IP("addr", "add", "2001:db8::2/64", "dev", "hole", "nodad");
}

#define HOSTS "127.0.0.1 localhost tls.test both.test\n2001:db8::1 both.test\n"

static void make_names(void)
{
	put("hosts", HOSTS);
	put("resolv.conf", "nameserver " BLACK_HOLE "\n");
	put("nsswitch.conf", "hosts: files dns\n");
	assert_int_equal(mount(in_dir("hosts"), "/etc/hosts", NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(in_dir("resolv.conf"), "/etc/resolv.conf", NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(in_dir("nsswitch.conf"), "/etc/nsswitch.conf", NULL, MS_BIND, NULL),
			 0);
}

/* Self-signed, for DNS name @name, and good from @from to @to, seconds from now; it is added to the
 * file of those that are trusted. */
static void make_certificate(const char *file, const char *name, long from, long to)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	X509_EXTENSION *san;
	char text[100];
	FILE *out = fopen(in_dir(file), "we"), *all = fopen(ca, "ae");

	assert_true(key && x && out && all);
	(void)snprintf(text, sizeof(text), "DNS:%s", name);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
	assert_non_null(san);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(x), from + 1000 * DAY);
	(void)X509_set_version(x, 2);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), from));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), to));
	assert_true(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
					       (const unsigned char *)file, -1, -1, 0));
	assert_true(X509_set_issuer_name(x, subject) && X509_set_pubkey(x, key) &&
		    X509_add_ext(x, san, -1) && X509_sign(x, key, EVP_sha256()));
	assert_true(PEM_write_X509(out, x) && PEM_write_X509(all, x) &&
		    PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL));
	assert_int_equal(fclose(out) | fclose(all), 0);
	X509_EXTENSION_free(san);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void make_blob(void)
{
	char path[400], hex[LCM_DIGEST_STR];

	regtest_fill(blob, sizeof(blob), 11);
	assert_int_equal(lcm_digest_of(blob, sizeof(blob), &blob_digest), 0);
	assert_int_equal(lcm_mkdir_p(in_dir("www/v2/r/x/blobs"), 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/www/v2/r/x/blobs/%s", dir,
		       lcm_digest_str(&blob_digest, hex));
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, blob, sizeof(blob), 0644), 0);
}

static int setup(void **state)
{
	(void)state;
	dir = test_mkdir();
	assert_int_equal(chmod(dir, 0755), 0);
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	make_network();
	make_names();
	make_certificate("good.pem", "tls.test", -DAY, DAY);
	make_certificate("expired.pem", "tls.test", -2 * DAY, -DAY);
	make_certificate("other.pem", "other.test", -DAY, DAY);
	make_blob();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)umount2("/etc/hosts", MNT_DETACH);
	(void)umount2("/etc/resolv.conf", MNT_DETACH);
	(void)umount2("/etc/nsswitch.conf", MNT_DETACH);
	test_rmdir(dir);
	return 0;
}

/* ---- nginx ---- */

static pid_t nginx_start(void)
{
	char conf[4096], path[300];
	char name[] = "nginx", e[] = "-e", none[] = "/dev/null", c[] = "-c", g[] = "-g",
	     fg[] = "daemon off;";
	char *argv[] = { name, e, none, c, path, g, fg, NULL };
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(PORT_OTHER),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bool up = false;
	pid_t pid;

	(void)snprintf(conf, sizeof(conf),
		       "worker_processes 1;\nuser root;\npid %s/nginx.pid;\nevents {}\nhttp {\n"
		       "  log_format l '$status $connection $request_uri';\n"
		       "  access_log %s/access l;\n"
		       "  root %s/www;\n  keepalive_requests 5;\n"
		       "  server { listen 127.0.0.1:%d ssl http2; ssl_certificate %s/good.pem; "
		       "ssl_certificate_key %s/good.pem; }\n"
		       "  server { listen 127.0.0.1:%d ssl http2; ssl_certificate %s/expired.pem; "
		       "ssl_certificate_key %s/expired.pem; }\n"
		       "  server { listen 127.0.0.1:%d ssl http2; ssl_certificate %s/other.pem; "
		       "ssl_certificate_key %s/other.pem; }\n}\n",
		       dir, dir, dir, PORT_GOOD, dir, dir, PORT_EXPIRED, dir, dir, PORT_OTHER, dir,
		       dir);
	put("nginx.conf", conf);
	(void)snprintf(path, sizeof(path), "%s", in_dir("nginx.conf"));
	assert_int_equal(lcm_sys_spawn_with(NGINX, argv, environ, NULL, &pid), 0);
	for (int i = 0; !up && i < 400; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		up = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
		(void)close(fd);
		if (!up)
			(void)poll(NULL, 0, 50);
	}
	assert_true(up);
	return pid;
}

static void nginx_stop(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* Requests that nginx has answered with a part of the blob, and on how many connections. */
static unsigned int answered(unsigned int *ret_connections)
{
	lcm_autofree char *text = NULL;
	unsigned long seen[256] = { 0 };
	unsigned int n = 0, conns = 0;
	size_t len;

	assert_int_equal(lcm_read_file_at(AT_FDCWD, in_dir("access"), 1U << 20, &text, &len), 0);
	for (char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		unsigned long conn;
		unsigned int i = 0;

		if (sscanf(p, "206 %lu /v2/", &conn) != 1)
			continue;
		n++;
		while (i < conns && seen[i] != conn)
			i++;
		if (i == conns && conns < LCM_ARRAY_SIZE(seen))
			seen[conns++] = conn;
	}
	*ret_connections = conns;
	return n;
}

/* ---- rows ---- */

static struct lcm_fetch_req blob_req(const struct lcm_reference *ref, uint64_t off, uint64_t len)
{
	return (struct lcm_fetch_req){ .kind = LCM_FETCH_BLOB,
				       .ref = ref,
				       .digest = blob_digest,
				       .size = BLOB_SIZE,
				       .off = off,
				       .len = len };
}

static struct lcm_reference name(const char *host, unsigned int port)
{
	struct lcm_reference ref;
	char text[100];

	(void)snprintf(text, sizeof(text), "%s:%u/r/x:latest", host, port);
	assert_int_equal(lcm_reference_parse(text, &ref, NULL), 0);
	return ref;
}

static bool h_good(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	bad_blob(c, req, blob, sizeof(blob));
	return true;
}

struct row {
	const char *fault, *host;
	unsigned int port; /* 0: of the test's own server */
	const char *ca;
	int status;
	const char *text; /* in the error */
	unsigned int tries, requests;
	uint32_t connect_ms; /* 0: as ever */
};

static void run_row(const struct row *row, struct badserver *s)
{
	static const char *const plain[] = { "both.test", "back.test", NULL };
	struct lcm_reference ref = name(row->host, row->port ? row->port : badserver_port(s));
	struct lcm_fetch_req req = blob_req(&ref, 100, 1000);
	unsigned int before = badserver_count(s);
	struct regfetch f = { 0 };
	uint64_t since = lcm_now_ns();
	struct regtest t;
	int status;

	regtest_init(&t, &(struct lcm_registry_config){ .retries = 3,
							.connect_timeout_ms = row->connect_ms,
							.ca_file = row->ca,
							.insecure_hosts = plain,
							.proxy = "" });
	status = regtest_fetch(&t, &f, &req);
	regtest_say(row->fault, status, badserver_count(s) - before, since);
	if (status != row->status || (row->text && !strstr(f.res.err.msg, row->text)))
		fail_msg("%s: %d %s", row->fault, status, f.res.err.msg);
	assert_int_equal(f.res.tries, row->tries);
	assert_int_equal(badserver_count(s) - before, row->requests);
	if (status == 0)
		assert_memory_equal(f.got.data, blob + 100, 1000);
	regfetch_fini(&f);
	regtest_fini(&t);
}

static void names_and_paths(void **state)
{
	static const struct row rows[] = {
		{ "IPv6 that hangs, IPv4 that does not", "both.test", 0, NULL, 0, NULL, 1, 1, 0 },
		{ "a host that answers no packet", BLACK_HOLE, 80, NULL, -ETIMEDOUT, BLACK_HOLE, 4,
		  0, 400 },
		{ "DNS that does not answer", "gone.test", 80, NULL, -ETIMEDOUT, "gone.test", 4, 0,
		  400 },
	};
	static const struct row lost = { "DNS: no such name", "back.test", 0, NULL, -EHOSTUNREACH,
					 "resolve",           3,           0, 0 };
	static const struct row back = {
		"DNS: the name is back", "back.test", 0, NULL, 0, NULL, 1, 1, 0
	};
	struct badserver *s = badserver_start(h_good, NULL);

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		run_row(&rows[i], s);
	put("nsswitch.conf", "hosts: files\n");
	put("resolv.conf", "");
	run_row(&lost, s);
	put("hosts", HOSTS "127.0.0.1 back.test\n");
	run_row(&back, s);
	badserver_stop(s);
}

static void tls(void **state)
{
	const struct row rows[] = {
		{ "TLS: good", "tls.test", PORT_GOOD, ca, 0, NULL, 1, 0, 0 },
		{ "TLS: unknown CA", "tls.test", PORT_GOOD, NULL, -EPROTO, "not trusted", 1, 0, 0 },
		{ "TLS: expired (or our clock jumped)", "tls.test", PORT_EXPIRED, ca, -EPROTO,
		  "expired", 1, 0, 0 },
		{ "TLS: another name", "tls.test", PORT_OTHER, ca, -EPROTO, "tls.test", 1, 0, 0 },
		{ "TLS: the server speaks http", "tls.test", 0, ca, -EHOSTUNREACH, "handshake", 3,
		  0, 0 },
	};
	struct badserver *s = badserver_start(h_good, NULL);
	pid_t pid = nginx_start();

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++)
		run_row(&rows[i], s);
	nginx_stop(pid);
	badserver_stop(s);
}

#define MANY 60

/* nginx says GOAWAY after each five requests of a connection, while others are under way on it. */
static void h2_goaway(void **state)
{
	struct lcm_reference ref = name("tls.test", PORT_GOOD);
	struct regfetch *f = calloc(MANY, sizeof(*f));
	unsigned int n, conns, tries = 0;
	uint64_t since = lcm_now_ns();
	struct regtest t;
	pid_t pid;

	(void)state;
	assert_non_null(f);
	put("access", "");
	pid = nginx_start();
	regtest_init(&t, &(struct lcm_registry_config){ .ca_file = ca, .proxy = "" });
	for (size_t i = 0; i < MANY; i++) {
		struct lcm_fetch_req req = blob_req(&ref, i * 10000, 10000);

		regtest_start(&t, &f[i], &req);
	}
	regtest_run(&t);
	nginx_stop(pid); /* and its log is complete */
	n = answered(&conns);
	regtest_say("HTTP/2 GOAWAY after each 5 requests", 0, n, since);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(f[i].res.status, 0);
		assert_int_equal(f[i].got.len, 10000);
		assert_memory_equal(f[i].got.data, blob + f[i].first, 10000);
		tries += f[i].res.tries;
		regfetch_fini(&f[i]);
	}
	print_message("# %u connections, %u tries\n", conns, tries);
	assert_true(conns >= MANY / 6); /* there were many of them */
	assert_int_equal(n, MANY);      /* nothing was asked for twice */
	free(f);
	regtest_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_paths),
		cmocka_unit_test(tls),
		cmocka_unit_test(h2_goaway),
	};

	if (geteuid() != 0 || access(NGINX, X_OK) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0 ||
	    unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return 77;
	return cmocka_run_group_tests(tests, setup, teardown);
}
