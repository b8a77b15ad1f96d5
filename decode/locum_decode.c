/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locum-decode - one isolated function; started by the daemon, of no use to anybody else.
 *
 * Descriptor 3 is its socket; argument 1 the uid to run as. It says first how confining itself
 * went.
 */
#include <fcntl.h>
#include <iconv.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>

#include "decode/fn.h"
#include "decode/fn_wire.h"
#include "src/base/sys.h"

/* Decimal, as the daemon writes it. */
static uint32_t number(const char *s)
{
	uint32_t v = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (uint32_t)(*s - '0');
	return v;
}

/* What libraries read once, while there still is a file system: OpenSSL its configuration, the C
 * library its list of character sets, which libarchive asks for, jansson a number at random. */
static void warm_up(void)
{
	iconv_t to = iconv_open("ANSI_X3.4-1968", "UTF-8");
	iconv_t from = iconv_open("UTF-8", "ANSI_X3.4-1968");

	if (to != (iconv_t)-1)
		(void)iconv_close(to);
	if (from != (iconv_t)-1)
		(void)iconv_close(from);
	lcm_hash_free(lcm_hash_new());
	json_object_seed(0);
}

int main(int argc, char **argv)
{
	struct fn_reply r = { .op = FN_BIND };
	const char *what = "";

	if (argc != 2) {
		static const char text[] = "locum-decode is started by locum daemon\n";

		lcm_ignore((int)write(STDERR_FILENO, text, sizeof(text) - 1));
		return 2;
	}
	warm_up();
	(void)close_range(FN_SOCK + 1, ~0U, 0);
	r.status = lcm_fn_confine(number(argv[1]), &what);
	memccpy(r.msg, what, '\0', sizeof(r.msg) - 1);
	if (send(FN_SOCK, &r, sizeof(r), MSG_NOSIGNAL) < 0 || r.status < 0)
		return 1;
	lcm_fn_serve();
	_exit(0);
}
