/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

static const char usage[] = "Usage: locum images [OPTION]...\n"
			    "List the images whose manifest is in the store.\n"
			    "\n"
			    "      --json  as JSON\n"
			    "  -h, --help  this text\n";

static void print(const json_t *image)
{
	char bytes[24], disk[24], own[24];

	(void)printf("%-60s %.19s %3lld layers %10s %10s %10s\n", client_text(image, "image"),
		     client_text(image, "digest"), client_integer(image, "layers"),
		     cmd_bytes(client_number(image, "blob_bytes"), bytes),
		     cmd_bytes(client_number(image, "disk_bytes"), disk),
		     cmd_bytes(client_number(image, "own_bytes"), own));
}

int cmd_images_main(int argc, char **argv)
{
	return client_list(argc, argv, usage, "images", print);
}
