/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "image/toc_json.h"

bool lcm_value_u63(const char *s, size_t len, uint64_t *ret)
{
	uint64_t v = 0;

	if (len < 1 || len > 19)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (v > INT64_MAX)
		return false;
	*ret = v;
	return true;
}

/* @n digits at @s. */
static bool digits(const char *s, size_t n, unsigned int *ret)
{
	unsigned int v = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned int)(s[i] - '0');
	}
	*ret = v;
	return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; eras of 400 years that begin in March.
 */
static int64_t days_from_civil(int64_t y, unsigned int m, unsigned int d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (153 * (int64_t)(m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static unsigned int month_days(unsigned int y, unsigned int m)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	return days[m - 1] + (m == 2 && leap ? 1U : 0U);
}

/* "Z" or "+hh:mm"; seconds east of Greenwich. */
static bool zone(const char *s, size_t len, int64_t *ret)
{
	unsigned int h, m;

	if (len == 1 && s[0] == 'Z') {
		*ret = 0;
		return true;
	}
	if (len != 6 || (s[0] != '+' && s[0] != '-') || s[3] != ':' || !digits(s + 1, 2, &h) ||
	    !digits(s + 4, 2, &m) || h > 23 || m > 59)
		return false;
	*ret = (int64_t)(h * 3600 + m * 60) * (s[0] == '-' ? -1 : 1);
	return true;
}

static bool date_time(const char *s, int64_t *ret)
{
	unsigned int y, mo, d, h, mi, se;

	if (!digits(s, 4, &y) || s[4] != '-' || !digits(s + 5, 2, &mo) || s[7] != '-' ||
	    !digits(s + 8, 2, &d) || s[10] != 'T' || !digits(s + 11, 2, &h) || s[13] != ':' ||
	    !digits(s + 14, 2, &mi) || s[16] != ':' || !digits(s + 17, 2, &se))
		return false;
	if (mo < 1 || mo > 12 || d < 1 || d > month_days(y, mo) || h > 23 || mi > 59 || se > 59)
		return false;
	*ret = days_from_civil(y, mo, d) * 86400 + (int64_t)(h * 3600 + mi * 60 + se);
	return true;
}

bool lcm_value_time(const char *s, size_t len, int64_t *ret, uint32_t *ret_nsec)
{
	static const char zero[] = "0001-01-01T00:00:00Z";
	uint32_t nsec = 0, scale = 100000000;
	int64_t sec, east;
	size_t at = 19;

	if (len < 20 || !date_time(s, &sec))
		return false;
	if (s[at] == '.') {
		for (at++; at < len && s[at] >= '0' && s[at] <= '9'; at++, scale /= 10)
			nsec += (uint32_t)(s[at] - '0') * scale;
		if (at == 20)
			return false;
	}
	if (!zone(s + at, len - at, &east))
		return false;
	*ret = len == sizeof(zero) - 1 && memcmp(s, zero, len) == 0 ? 0 : sec - east;
	*ret_nsec = nsec;
	return true;
}
