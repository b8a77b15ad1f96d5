/* SPDX-License-Identifier: Apache-2.0 */
/* bench_report.c - medians, ranges and ratios. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "src/cmd/bench.h"
#include "src/cmd/cmd.h"

static const struct {
	const char *name;
	double scale; /* of the stored value */
	const char *format;
} units[BENCH_UNIT_MAX] = {
	[BENCH_MS] = { "ms", 1e-6, "%.1f" },   [BENCH_US] = { "us", 1e-3, "%.3f" },
	[BENCH_CPU_S] = { "s", 1e-9, "%.2f" }, [BENCH_BYTES] = { "bytes", 1, "%.0f" },
	[BENCH_COUNT] = { "", 1, "%.0f" },
};

static const struct bench_series *find(const struct bench *b, const char *part, const char *name)
{
	for (size_t i = 0; i < b->n_series; i++)
		if (strcmp(b->series[i].part, part) == 0 && strcmp(b->series[i].name, name) == 0)
			return &b->series[i];
	return NULL;
}

void bench_add(struct bench *b, const char *part, const char *name, const char *base,
	       enum bench_unit unit, double value)
{
	const struct bench_series *known = find(b, part, name);
	struct bench_series *s = known ? &b->series[known - b->series] : NULL;

	if (!s && b->n_series < BENCH_SERIES_MAX) {
		s = &b->series[b->n_series++];
		*s =
		    (struct bench_series){ .part = part, .name = name, .base = base, .unit = unit };
	}
	if (s && s->n < LCM_ARRAY_SIZE(s->v))
		s->v[s->n++] = value;
}

void bench_note(struct bench *b, const char *key, const char *fmt, ...)
{
	struct bench_note *n = NULL;
	va_list ap;

	for (size_t i = 0; i < b->n_notes; i++)
		if (strcmp(b->notes[i].key, key) == 0)
			n = &b->notes[i];
	if (!n && b->n_notes < BENCH_NOTES_MAX)
		n = &b->notes[b->n_notes++];
	if (!n)
		return;
	n->key = key;
	va_start(ap, fmt);
	(void)vsnprintf(n->text, sizeof(n->text), fmt, ap);
	va_end(ap);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

int bench_ratio(const struct bench_series *s, const struct bench_series *base, double *ret)
{
	double v[LCM_ARRAY_SIZE(s->v)];
	size_t n = 0;

	for (size_t i = 0; i < LCM_MIN(s->n, base->n); i++)
		if (base->v[i] > 0)
			v[n++] = s->v[i] / base->v[i];
	if (!n)
		return -ENODATA;
	*ret = bench_median(v, n);
	return 0;
}

static void summary(const struct bench_series *s, double *median, double *min, double *max)
{
	double v[LCM_ARRAY_SIZE(s->v)];

	for (size_t i = 0; i < s->n; i++)
		v[i] = s->v[i] * units[s->unit].scale;
	*median = bench_median(v, s->n);
	*min = v[0];
	*max = v[s->n - 1];
}

static const char *figure(enum bench_unit unit, double v, char out[32])
{
	char bytes[24];

	if (unit == BENCH_BYTES)
		(void)snprintf(out, 32, "%s", cmd_bytes(v, bytes));
	else if (unit == BENCH_MS)
		(void)snprintf(out, 32, "%.1f ms", v);
	else if (unit == BENCH_US)
		(void)snprintf(out, 32, "%.2f us", v);
	else if (unit == BENCH_CPU_S)
		(void)snprintf(out, 32, "%.2f s", v);
	else
		(void)snprintf(out, 32, "%.0f", v);
	return out;
}

/* "figure: variant", after one of the same figure, is the variant alone. */
static const char *base_name(const struct bench_series *s)
{
	size_t n = strcspn(s->name, ":");

	return strncmp(s->name, s->base, n) == 0 && s->base[n] == ':' ? s->base + n + 2 : s->base;
}

static void print_line(const struct bench *b, const struct bench_series *s)
{
	const struct bench_series *base = s->base ? find(b, s->part, s->base) : NULL;
	double median, min, max, ratio;
	char m[32], lo[32], hi[32], range[80];

	summary(s, &median, &min, &max);
	(void)snprintf(range, sizeof(range), "%s .. %s", figure(s->unit, min, lo),
		       figure(s->unit, max, hi));
	(void)printf("  %-54s %12s  %-26s", s->name, figure(s->unit, median, m),
		     s->n > 1 ? range : "");
	if (base && bench_ratio(s, base, &ratio) == 0)
		(void)printf("  %6.2f x %s", ratio, base_name(s));
	(void)printf("\n");
}

static json_t *line_json(const struct bench *b, const struct bench_series *s)
{
	const struct bench_series *base = s->base ? find(b, s->part, s->base) : NULL;
	json_t *o, *values = json_array();
	double median, min, max, ratio;

	summary(s, &median, &min, &max);
	for (size_t i = 0; i < s->n; i++)
		(void)json_array_append_new(values, json_real(s->v[i] * units[s->unit].scale));
	o = json_pack("{s:s s:s s:s s:f s:f s:f s:o}", "part", s->part, "name", s->name, "unit",
		      units[s->unit].name, "median", median, "min", min, "max", max, "values",
		      values);
	if (o && base && bench_ratio(s, base, &ratio) == 0) {
		(void)json_object_set_new(o, "baseline", json_string(s->base));
		(void)json_object_set_new(o, "ratio", json_real(ratio));
	}
	return o;
}

static bool has_link(const struct bench_link *l)
{
	return l->bytes_per_s || l->rtt_ns;
}

static json_t *link_json(const struct bench_link *l)
{
	return json_pack("{s:f s:f}", "rate_mbit", (double)l->bytes_per_s * 8 / 1e6, "rtt_ms",
			 (double)l->rtt_ns / 1e6);
}

static int keep_json(struct bench *b)
{
	json_t *lines = json_array(), *notes = json_object(), *o;

	for (size_t i = 0; i < b->n_series; i++)
		(void)json_array_append_new(lines, line_json(b, &b->series[i]));
	for (size_t i = 0; i < b->n_notes; i++)
		(void)json_object_set_new(notes, b->notes[i].key, json_string(b->notes[i].text));
	o = json_pack("{s:s s:I s:b s:o? s:o s:o}", "image", b->image, "rounds",
		      (json_int_t)b->rounds, "cold", !b->warm, "link",
		      has_link(&b->link) ? link_json(&b->link) : NULL, "results", lines, "notes",
		      notes);
	if (!b->reports)
		b->reports = json_array();
	return json_array_append_new(b->reports, o) < 0 ? -ENOMEM : 0;
}

static void print_head(const struct bench *b)
{
	(void)printf(
	    "%s: %llu rounds, page cache %s; median, range, ratio (median over the rounds)\n",
	    b->image, (unsigned long long)b->rounds,
	    b->warm ? "as it is" : "dropped before each start");
	if (b->link.bytes_per_s)
		(void)printf("link of %.0f Mbit/s\n", (double)b->link.bytes_per_s * 8 / 1e6);
	if (b->link.rtt_ns)
		(void)printf("round trip of %.1f ms\n", (double)b->link.rtt_ns / 1e6);
}

static void print_table(const struct bench *b)
{
	const char *part = "";

	print_head(b);
	for (size_t i = 0; i < b->n_series; i++) {
		if (strcmp(part, b->series[i].part) != 0)
			(void)printf("%s\n", b->series[i].part);
		part = b->series[i].part;
		print_line(b, &b->series[i]);
	}
	for (size_t i = 0; i < b->n_notes; i++)
		(void)printf("%s: %s\n", b->notes[i].key, b->notes[i].text);
}

int bench_print(struct bench *b)
{
	int r = 0;

	if (b->json)
		r = keep_json(b);
	else
		print_table(b);
	b->n_series = 0;
	return r < 0 ? r : fflush(stdout) ? -EIO : 0;
}

int bench_print_end(struct bench *b)
{
	json_t *o = b->n_items == 1 ? json_array_get(b->reports, 0) : b->reports;
	int r;

	if (!b->json)
		return 0;
	r = o ? json_dumpf(o, stdout, JSON_INDENT(2)) : -1;
	json_decref(b->reports);
	b->reports = NULL;
	return r < 0 || printf("\n") < 0 || fflush(stdout) ? -EIO : 0;
}

void bench_say(const struct bench *b, const char *fmt, ...)
{
	va_list ap;

	if (b->json || !isatty(STDERR_FILENO))
		return;
	(void)fprintf(stderr, "\r\033[K");
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fflush(stderr);
}
