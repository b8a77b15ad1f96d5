/* SPDX-License-Identifier: Apache-2.0 */
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>

#include <toml++/toml.h>

/* The headers of C were read above, outside of the linkage of C. */
extern "C" {
#include "registry/toml.h"
}

static char *copy(std::string_view s)
{
	char *p = static_cast<char *>(malloc(s.size() + 1));

	if (!p)
		throw std::bad_alloc();
	memcpy(p, s.data(), s.size());
	p[s.size()] = '\0';
	return p;
}

struct refused {
	int code;
	unsigned int line;
	const char *what;
};

static unsigned int line_of(const toml::node &node)
{
	return node.source().begin.line;
}

static std::string_view plain(std::string_view s, const toml::node &node)
{
	if (s.find('\0') != s.npos)
		throw refused{ -EUCLEAN, line_of(node), "a NUL character" };
	return s;
}

static void fill(lcm_toml *t, const toml::node &node, unsigned int depth);

static void make_items(lcm_toml *t, const toml::node &node, size_t n, unsigned int depth)
{
	if (depth == LCM_TOML_DEPTH_MAX)
		throw refused{ -EFBIG, line_of(node), "too deep" };
	if (n == 0)
		return;
	t->items = static_cast<lcm_toml *>(calloc(n, sizeof(*t->items)));
	if (!t->items)
		throw std::bad_alloc();
}

static int by_place(const void *a, const void *b)
{
	const auto *x = static_cast<const lcm_toml *>(a), *y = static_cast<const lcm_toml *>(b);

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column < y->column ? -1 : x->column > y->column;
}

static void place(lcm_toml *t, const toml::source_position &at)
{
	t->line = at.line;
	t->column = at.column;
}

/* What comes first of it, where it has no line of its own. */
static void settle(lcm_toml *t)
{
	if (t->type == LCM_TOML_TABLE && t->n > 1)
		qsort(t->items, t->n, sizeof(*t->items), by_place);
	if (t->line == 0 && t->n) {
		t->line = t->items[0].line;
		t->column = t->items[0].column;
	}
}

static void fill(lcm_toml *t, const toml::node &node, unsigned int depth)
{
	place(t, node.source().begin);
	if (const toml::table *table = node.as_table()) {
		t->type = LCM_TOML_TABLE;
		make_items(t, node, table->size(), depth);
		for (const auto &[key, value] : *table) {
			lcm_toml *item = &t->items[t->n++];

			item->key = copy(plain(key.str(), value));
			fill(item, value, depth + 1);
			if (key.source().begin.line)
				place(item, key.source().begin);
		}
	} else if (const toml::array *array = node.as_array()) {
		t->type = LCM_TOML_ARRAY;
		make_items(t, node, array->size(), depth);
		for (const auto &value : *array)
			fill(&t->items[t->n++], value, depth + 1);
	} else if (const auto *string = node.as_string()) {
		t->type = LCM_TOML_STRING;
		t->string = copy(plain(string->get(), node));
	} else if (const auto *boolean = node.as_boolean()) {
		t->type = LCM_TOML_BOOL;
		t->boolean = boolean->get();
	} else {
		t->type = LCM_TOML_OTHER;
	}
	settle(t);
}

static lcm_toml *parse(std::string_view text)
{
	const toml::table root = toml::parse(text);
	lcm_toml *t = static_cast<lcm_toml *>(calloc(1, sizeof(*t)));

	if (!t)
		throw std::bad_alloc();
	try {
		fill(t, root, 0);
	} catch (...) {
		lcm_toml_free(t);
		throw;
	}
	return t;
}

int lcm_toml_parse(const char *text, size_t len, struct lcm_toml **ret, struct lcm_err *err)
{
	if (len > LCM_TOML_MAX)
		return lcm_err_set(err, -EFBIG, "over %u bytes", LCM_TOML_MAX);
	try {
		*ret = parse(std::string_view(text, len));
		return 0;
	} catch (const toml::parse_error &e) {
		const auto desc = e.description();

		return lcm_err_set(err, -EUCLEAN, "line %u, column %u: %.*s", e.source().begin.line,
				   e.source().begin.column,
				   static_cast<int>(desc.size() < 200 ? desc.size() : 200),
				   desc.data());
	} catch (const refused &e) {
		return lcm_err_set(err, e.code, "line %u: %s", e.line, e.what);
	} catch (const std::bad_alloc &) {
		return lcm_err_set(err, -ENOMEM, "out of memory");
	} catch (...) {
		return lcm_err_set(err, -EUCLEAN, "not TOML");
	}
}

static void clear(lcm_toml *t)
{
	for (size_t i = 0; i < t->n; i++)
		clear(&t->items[i]);
	free(t->items);
	free(t->key);
	free(t->string);
}

void lcm_toml_free(struct lcm_toml *t)
{
	if (t)
		clear(t);
	free(t);
}

const struct lcm_toml *lcm_toml_get(const struct lcm_toml *t, const char *key)
{
	for (size_t i = 0; t->type == LCM_TOML_TABLE && i < t->n; i++)
		if (strcmp(t->items[i].key, key) == 0)
			return &t->items[i];
	return nullptr;
}
