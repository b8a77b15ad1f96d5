/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/web.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <openssl/crypto.h>

#include "src/base/digest.h"
#include "src/base/log.h"
#include "src/base/sys.h"

/* A file of the source tree as bytes of the program: NAME_data up to NAME_end. */
#define EMBED(name, path)                                                                          \
	__asm__(".section .rodata\n" #name "_data:\n.incbin \"" path "\"\n" #name                  \
		"_end:\n.previous\n");                                                             \
	extern const char name##_data[] __attribute__((visibility("hidden"))),                     \
	    name##_end[] __attribute__((visibility("hidden")))

EMBED(web_html, "src/web/index.html");
EMBED(web_js, "src/web/app.js");
EMBED(web_css, "src/web/style.css");

const struct lcm_web_header lcm_web_headers[] = {
	{ "Content-Security-Policy",
	  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri "
	  "'none'; form-action 'none'; frame-ancestors 'none'" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cache-Control", "no-store" },
	{ NULL, NULL },
};

const struct lcm_web_file *lcm_web_file(const char *url)
{
	static struct lcm_web_file files[] = {
		{ "/", "text/html; charset=utf-8", web_html_data, 0 },
		{ "/app.js", "text/javascript; charset=utf-8", web_js_data, 0 },
		{ "/style.css", "text/css; charset=utf-8", web_css_data, 0 },
	};

	files[0].len = (size_t)(web_html_end - web_html_data);
	files[1].len = (size_t)(web_js_end - web_js_data);
	files[2].len = (size_t)(web_css_end - web_css_data);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(files); i++)
		if (strcmp(files[i].url, url) == 0)
			return &files[i];
	return NULL;
}

/* ---- the address and the token ---- */

static int parse_where(const char *where, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
	char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1", extra;
	unsigned int n;

	*ret = (struct sockaddr_storage){ 0 };
	if (*port < '0' || *port > '9' || sscanf(port, "%5u%c", &n, &extra) != 1 || n > 65535)
		return -EINVAL;
	if (colon && (size_t)snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where) >=
			 sizeof(host))
		return -EINVAL;
	if (strcmp(host, "[::1]") == 0) {
		v6->sin6_family = AF_INET6;
		v6->sin6_addr = in6addr_loopback;
		v6->sin6_port = htons((uint16_t)n);
		*ret_len = sizeof(*v6);
		return 0;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)n);
	*ret_len = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1 &&
		       ntohl(v4->sin_addr.s_addr) == INADDR_LOOPBACK
		   ? 0
		   : -EINVAL;
}

static int listen_at(const struct sockaddr_storage *sa, socklen_t len)
{
	lcm_autoclose int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)sa, len) < 0 || listen(fd, 128) < 0)
		return (int)lcm_errno(-1);
	return lcm_steal_fd(&fd);
}

static int name_url(int fd, char *out, size_t cap)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[INET6_ADDRSTRLEN];
	bool v6;

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return (int)lcm_errno(-1);
	v6 = sa.ss_family == AF_INET6;
	if (!inet_ntop(sa.ss_family,
		       v6 ? (void *)&((struct sockaddr_in6 *)&sa)->sin6_addr
			  : (void *)&((struct sockaddr_in *)&sa)->sin_addr,
		       host, sizeof(host)))
		return (int)lcm_errno(-1);
	(void)snprintf(out, cap, v6 ? "http://[%s]:%u/" : "http://%s:%u/", host,
		       ntohs(v6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
				: ((struct sockaddr_in *)&sa)->sin_port));
	return 0;
}

static int have_token(const char *run_dir, char out[LCM_WEB_TOKEN_LEN + 1], struct lcm_err *err)
{
	lcm_autofree char *old = NULL;
	char path[4096];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/web.token", run_dir);
	r = lcm_read_file_at(AT_FDCWD, path, LCM_WEB_TOKEN_LEN + 1, &old, &len);
	if (r == 0 && strspn(old, "0123456789abcdef") == LCM_WEB_TOKEN_LEN) {
		memcpy(out, old, LCM_WEB_TOKEN_LEN);
		out[LCM_WEB_TOKEN_LEN] = '\0';
		return 0;
	}
	r = lcm_random_hex(out, LCM_WEB_TOKEN_LEN);
	if (r == 0)
		r = lcm_write_file_at(AT_FDCWD, path, out, LCM_WEB_TOKEN_LEN, 0600);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

int lcm_web_listen(const char *where, const char *run_dir, struct lcm_web *ret, int *ret_fd,
		   struct lcm_err *err)
{
	lcm_autoclose int fd = -EBADF;
	struct sockaddr_storage sa;
	socklen_t len;
	int r = parse_where(where, &sa, &len);

	if (r < 0)
		return lcm_err_set(
		    err, r,
		    "web address %s: PORT, 127.0.0.1:PORT or [::1]:PORT is expected; for other "
		    "hosts put a proxy with TLS in front",
		    where);
	fd = listen_at(&sa, len);
	r = fd < 0 ? fd : name_url(fd, ret->url, sizeof(ret->url));
	if (r < 0)
		return lcm_err_set(err, r, "web address %s: %s", where, strerror(-r));
	r = have_token(run_dir, ret->token, err);
	if (r < 0)
		return r;
	*ret_fd = lcm_steal_fd(&fd);
	return 0;
}

/* ---- who may look ---- */

/* "localhost", "127.0.0.1" or "[::1]", with any port; on the control socket also "locum". */
static bool is_loopback_host(const char *host, bool tcp)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "[::1]", "locum" };

	for (size_t i = 0; host && i < LCM_ARRAY_SIZE(names) - tcp; i++) {
		size_t n = strlen(names[i]);

		if (strncasecmp(host, names[i], n) == 0 &&
		    (host[n] == '\0' || (host[n] == ':' && strspn(host + n + 1, "0123456789") ==
							       strlen(host + n + 1))))
			return true;
	}
	return false;
}

/* A page that was loaded from the same host and port. */
static bool is_own_origin(const char *origin, const char *host)
{
	static const char scheme[] = "http://";

	return strncmp(origin, scheme, sizeof(scheme) - 1) == 0 &&
	       strcmp(origin + sizeof(scheme) - 1, host) == 0;
}

static bool has_token(const struct lcm_web *w, const char *authorization)
{
	static const char bearer[] = "Bearer ";

	return authorization && strncasecmp(authorization, bearer, sizeof(bearer) - 1) == 0 &&
	       strlen(authorization) == sizeof(bearer) - 1 + LCM_WEB_TOKEN_LEN &&
	       CRYPTO_memcmp(authorization + sizeof(bearer) - 1, w->token, LCM_WEB_TOKEN_LEN) == 0;
}

int lcm_web_check(const struct lcm_web *w, const struct lcm_web_request *rq, const char **ret_why)
{
	*ret_why = "the Host header names no loopback address (DNS rebinding?)";
	if (!is_loopback_host(rq->host, w != NULL))
		return 403;
	*ret_why = "another site's page made this request";
	if (lcm_web_file(rq->url) && strcmp(rq->method, "GET") == 0)
		return 0;
	if ((rq->origin && !is_own_origin(rq->origin, rq->host)) ||
	    (rq->fetch_site && strcmp(rq->fetch_site, "same-origin") != 0 &&
	     strcmp(rq->fetch_site, "none") != 0))
		return 403;
	if (!w)
		return 0;
	*ret_why = "this address is for looking only; use the control socket";
	if (strcmp(rq->method, "GET") != 0)
		return 405;
	*ret_why =
	    "\"Authorization: Bearer TOKEN\" is needed; the token is in web.token beside the "
	    "control socket";
	return has_token(w, rq->authorization) ? 0 : 401;
}
