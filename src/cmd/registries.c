/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] =
    "Usage: locum registries [OPTION]...\n"
    "Show the hosts that the daemon's registries are served by, and how they "
    "are.\n"
    "\n"
    "      --json  as JSON\n"
    "  -h, --help  this text\n";

static void print_host(const json_t *h)
{
	char rate[24], bytes[24];
	bool measured = client_number(h, "bytes_per_second") > 0;

	(void)printf("  %-40s %-9s %-9s score %-6lld %10s/s %6lld ms %5.1f %% errors %10s\n",
		     client_text(h, "host"),
		     json_is_true(json_object_get(h, "upstream")) ? "registry" : "mirror",
		     client_text(h, "state"), client_integer(h, "score"),
		     measured ? cmd_bytes(client_number(h, "bytes_per_second"), rate) : "?",
		     client_integer(h, "latency_ms"), client_number(h, "errors") * 100,
		     cmd_bytes(client_number(h, "bytes"), bytes));
	if (*client_text(h, "last_error"))
		(void)printf("    %lld s ago: %s\n", client_integer(h, "last_error_s"),
			     client_text(h, "last_error"));
}

static void print(const json_t *r)
{
	const char *dir = client_text(r, "dir"), *error = client_text(r, "error");
	const json_t *hosts = json_object_get(r, "hosts"), *h;
	size_t i;

	(void)printf("%s%s%s%s\n", client_text(r, "registry"), *dir ? " (" : "", dir,
		     *dir ? ")" : "");
	if (*error)
		(void)printf("  error: %s\n", error);
	json_array_foreach (hosts, i, h)
		print_host(h);
	if (json_array_size(hosts) > 1)
		(void)printf("  balance: %s, %lld moved\n", client_text(r, "balance"),
			     client_integer(r, "moves"));
}

int cmd_registries_main(int argc, char **argv)
{
	return client_list(argc, argv, usage, "registries", print);
}
