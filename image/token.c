/* SPDX-License-Identifier: Apache-2.0 */
#include "image/token.h"

#include <string.h>

#include "image/json.h"

void lcm_token_free(struct lcm_token *t)
{
	if (!t)
		return;
	if (t->value)
		explicit_bzero(t->value, strlen(t->value));
	free(t->value);
	free(t);
}

static int check_value(const char *s, struct lcm_err *err)
{
	size_t len = strlen(s);

	if (len == 0)
		return lcm_err_set(err, -EUCLEAN, "token reply: neither token nor access_token");
	if (len > LCM_TOKEN_LEN_MAX)
		return lcm_err_set(err, -EFBIG,
				   "token reply: token of %zu bytes, at most %u are taken", len,
				   LCM_TOKEN_LEN_MAX);
	for (size_t i = 0; i < len; i++)
		if (s[i] <= 0x20 || s[i] >= 0x7f)
			return lcm_err_set(
			    err, -EUCLEAN,
			    "token reply: byte %zu of the token may not stand in a header", i);
	return 0;
}

static int parse_expiry(const json_t *root, uint32_t *ret, struct lcm_err *err)
{
	const json_t *v = lcm_json_member(root, "expires_in");
	double s = json_number_value(v);

	if (v && !json_is_number(v))
		return lcm_err_set(err, -EUCLEAN, "token reply: expires_in is not a number");
	if (!(s > LCM_TOKEN_EXPIRES_MIN_S))
		*ret = LCM_TOKEN_EXPIRES_MIN_S;
	else
		*ret = s < LCM_TOKEN_EXPIRES_MAX_S ? (uint32_t)s : LCM_TOKEN_EXPIRES_MAX_S;
	return 0;
}

int lcm_token_parse(const void *p, size_t len, struct lcm_token **ret, struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	lcm_auto(lcm_token) t = calloc(1, sizeof(*t));
	const char *token = "", *access = "";
	int r;

	if (!t)
		return -ENOMEM;
	r = lcm_json_parse(p, len, LCM_TOKEN_REPLY_MAX, "token reply", &root, err);
	if (r == 0)
		r = lcm_json_string(root, "token", "token reply", &token, err);
	if (r == 0)
		r = lcm_json_string(root, "access_token", "token reply", &access, err);
	if (r < 0)
		return r;
	if (!*token)
		token = access;
	r = check_value(token, err);
	if (r == 0)
		r = parse_expiry(root, &t->expires_in_s, err);
	if (r < 0)
		return r;
	t->value = strdup(token);
	if (!t->value)
		return -ENOMEM;
	*ret = lcm_steal(&t);
	return 0;
}
