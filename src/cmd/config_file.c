/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/config_file.h"

#include <stdio.h>
#include <string.h>

#include "src/base/limits.h"
#include "src/base/sys.h"

#define SPACE " \t\r"
#define NAME "abcdefghijklmnopqrstuvwxyz0123456789-"

/* Cuts space off both ends. */
static char *trim(char *s)
{
	size_t n;

	s += strspn(s, SPACE);
	n = strlen(s);
	while (n > 0 && strchr(SPACE, s[n - 1]))
		s[--n] = '\0';
	return s;
}

static int add(struct lcm_config *c, char *line, unsigned int number, struct lcm_err *err)
{
	size_t name = strspn(line, NAME);
	char *value = line + name;

	if (name == 0 || (*value && !strchr(SPACE, *value)) || line[0] == '-')
		return lcm_err_set(
		    err, -EUCLEAN,
		    "line %u: the name of an option is expected, and perhaps a value", number);
	if (c->n == LCM_CONFIG_LINES_MAX)
		return lcm_err_set(err, -EFBIG, "line %u: more than %d options", number,
				   LCM_CONFIG_LINES_MAX);
	if (*value)
		*value++ = '\0';
	value = trim(value);
	c->lines[c->n++] = (struct lcm_config_line){ .name = line,
						     .value = *value ? value : NULL,
						     .number = number };
	return 0;
}

int lcm_config_parse(char *text, size_t len, struct lcm_config *ret, struct lcm_err *err)
{
	struct lcm_config c = {
		.text = text, .lines = calloc(LCM_CONFIG_LINES_MAX, sizeof(struct lcm_config_line))
	};
	unsigned int number = 0;
	int r = c.lines ? 0 : -ENOMEM;
	char *next;

	if (r == 0 && memchr(text, '\0', len))
		r = lcm_err_set(err, -EUCLEAN, "it has a NUL byte");
	for (char *line = text; r == 0 && line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		line = trim(line);
		number++;
		if (*line && *line != '#')
			r = add(&c, line, number, err);
	}
	if (r < 0) {
		lcm_config_fini(&c);
		return r;
	}
	*ret = c;
	return 0;
}

int lcm_config_read(const char *path, struct lcm_config *ret, struct lcm_err *err)
{
	char *text;
	size_t len;
	int r = lcm_read_file_at(AT_FDCWD, path, LCM_CONFIG_FILE_MAX, &text, &len);

	*ret = (struct lcm_config){ .n = 0 };
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	r = lcm_config_parse(text, len, ret, err);
	return r < 0 ? lcm_err_prefix(err, r, "%s", path) : 0;
}

void lcm_config_fini(struct lcm_config *c)
{
	free(c->lines);
	free(c->text);
	*c = (struct lcm_config){ .n = 0 };
}
