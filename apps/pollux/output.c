/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

char *format_size(char text[FORMAT_LEN], uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;

	while (bytes && bytes % 1024 == 0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(text, FORMAT_LEN, "%llu %s", (unsigned long long)bytes, units[unit]);
	return text;
}

char *format_rate(char text[FORMAT_LEN], double value, const char *unit)
{
	if (value >= 1e9)
		(void)snprintf(text, FORMAT_LEN, "%.3f G%s", value * 1e-9, unit);
	else if (value >= 1e6)
		(void)snprintf(text, FORMAT_LEN, "%.3f M%s", value * 1e-6, unit);
	else if (value >= 1e3)
		(void)snprintf(text, FORMAT_LEN, "%.3f k%s", value * 1e-3, unit);
	else
		(void)snprintf(text, FORMAT_LEN, "%.0f %s", value, unit);
	return text;
}

char *format_mac(char text[FORMAT_LEN], const uint8_t mac[6])
{
	(void)snprintf(text, FORMAT_LEN, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	return text;
}

void table_add(struct table *table, const char *format, ...)
{
	va_list args;
	int len;

	table->cell = must_have(reallocarray(table->cell, table->cells + 1, sizeof(*table->cell)));
	va_start(args, format);
	len = vasprintf(&table->cell[table->cells], format, args);
	va_end(args);
	table->cells += must_have(len < 0 ? NULL : table->cell[table->cells]) != NULL;
}

static int column_width(const struct table *table, unsigned column)
{
	size_t width = 0;

	for (unsigned i = column; i < table->cells; i += table->columns)
		if (strlen(table->cell[i]) > width)
			width = strlen(table->cell[i]);
	return (int)width;
}

void table_print(const struct table *table, FILE *out, const char *end_of_line)
{
	for (unsigned i = 0; i < table->cells; i++) {
		unsigned column = i % table->columns;

		if (column + 1 < table->columns)
			(void)fprintf(out, "%-*s  ", column_width(table, column), table->cell[i]);
		else
			(void)fprintf(out, "%s%s", table->cell[i], end_of_line);
	}
}

void table_free(struct table *table)
{
	for (unsigned i = 0; i < table->cells; i++)
		free(table->cell[i]);
	free(table->cell);
}

static void add(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		(void)must_have(NULL);
}

void json_add_string(struct json_object *object, const char *key, const char *value)
{
	add(object, key, value ? must_have(json_object_new_string(value)) : NULL);
}

void json_add_number(struct json_object *object, const char *key, uint64_t value)
{
	add(object, key, must_have(json_object_new_uint64(value)));
}

void json_add_real(struct json_object *object, const char *key, double value, int decimals)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%.*f", decimals, value);
	add(object, key, must_have(json_object_new_double_s(value, text)));
}

void json_add_bool(struct json_object *object, const char *key, bool value)
{
	add(object, key, must_have(json_object_new_boolean(value)));
}

struct json_object *json_add_object(struct json_object *object, const char *key)
{
	struct json_object *value = must_have(json_object_new_object());

	add(object, key, value);
	return value;
}

struct json_object *json_add_array(struct json_object *object, const char *key)
{
	struct json_object *value = must_have(json_object_new_array());

	add(object, key, value);
	return value;
}

static void append(struct json_object *array, struct json_object *value)
{
	if (json_object_array_add(array, value))
		(void)must_have(NULL);
}

struct json_object *json_append_object(struct json_object *array)
{
	struct json_object *value = must_have(json_object_new_object());

	append(array, value);
	return value;
}

void json_append_string(struct json_object *array, const char *value)
{
	append(array, must_have(json_object_new_string(value)));
}

void json_add_or_null(struct json_object *object, const char *key, int number)
{
	if (number < 0)
		json_add_string(object, key, NULL);
	else
		json_add_number(object, key, (uint64_t)number);
}

void json_print(struct json_object *object)
{
	int form = JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;

	(void)puts(must_have((void *)(uintptr_t)json_object_to_json_string_ext(object, form)));
	(void)json_object_put(object);
}
