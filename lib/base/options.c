/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/options.h"

#include "base/error.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A scheme is a word of letters, digits and dashes. The domain of a PCI address is one too, so the
 * word must hold something that no hexadecimal number does.
 */
static bool is_scheme(const char *text, size_t len)
{
	bool word = false;

	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && text[i] != '-')
			return false;
		if (!isxdigit((unsigned char)text[i]))
			word = true;
	}
	return word;
}

static int split_options(struct plx_address *address, char *rest)
{
	while (rest) {
		char *next = strchr(rest, ',');
		char *equals;

		if (next)
			*next++ = '\0';
		equals = strchr(rest, '=');
		if (!equals || equals == rest)
			return plx_fail(EINVAL,
				"'%s' is not an option: write key=value after the comma", rest);
		*equals = '\0';
		if (address->count == PLX_ADDRESS_OPTIONS)
			return plx_fail(EINVAL, "a device address takes at most %d options",
				PLX_ADDRESS_OPTIONS);
		address->option[address->count++] =
			(struct plx_address_option){.key = rest, .value = equals + 1};
		rest = next;
	}
	return 0;
}

int plx_address_parse(struct plx_address *address, const char *text)
{
	char *colon, *comma;
	int err;

	*address = (struct plx_address){.scheme = "pci"};
	if (!text)
		return plx_fail(
			EINVAL, "there is no device address: write one such as 0000:00:03.0");
	address->text = strdup(text);
	if (!address->text)
		return plx_fail(ENOMEM, "out of memory for the parts of a device's address");
	comma = strchr(address->text, ',');
	if (comma)
		*comma++ = '\0';
	address->place = address->text;
	colon = strchr(address->text, ':');
	if (colon && is_scheme(address->text, (size_t)(colon - address->text))) {
		*colon = '\0';
		address->scheme = address->text;
		address->place = colon + 1;
	}
	if (!*address->place)
		err = plx_fail(EINVAL,
			"'%s' names no device: write an address such as 0000:00:03.0", text);
	else
		err = split_options(address, comma);
	if (err)
		plx_address_free(address);
	return err;
}

void plx_address_free(struct plx_address *address)
{
	free(address->text);
	*address = (struct plx_address){0};
}

/* As many as there is room for, each whole. */
static void note_known(struct plx_address *address, const char *key)
{
	static const char more[] = ", and others";
	size_t used = strlen(address->known);

	if (address->unlisted || address->known_more)
		return;
	if (used + strlen(", ") + strlen(key) + sizeof(more) > sizeof(address->known)) {
		memcpy(address->known + used, more, sizeof(more));
		address->known_more = true;
		return;
	}
	(void)snprintf(address->known + used, sizeof(address->known) - used, "%s%s",
		used ? ", " : "", key);
}

int plx_address_text(struct plx_address *address, const char *key, const char **value)
{
	int found = 0;

	note_known(address, key);
	for (unsigned i = 0; i < address->count; i++) {
		struct plx_address_option *option = &address->option[i];

		if (strcmp(option->key, key))
			continue;
		if (found)
			return plx_fail(EINVAL, "the option %s is given twice", key);
		option->taken = true;
		*value = option->value;
		found = 1;
	}
	return found;
}

int plx_address_bool(struct plx_address *address, const char *key, bool *value)
{
	static const char *const choices[] = {"off", "on", "no", "yes", "0", "1", NULL};
	unsigned choice = 0;
	int found = plx_address_choice(address, key, choices, &choice);

	if (found > 0)
		*value = choice & 1;
	return found;
}

int plx_address_number(
	struct plx_address *address, const char *key, uint64_t low, uint64_t high, uint64_t *value)
{
	const char *text;
	unsigned long long number;
	char *end;
	int found = plx_address_text(address, key, &text);

	if (found <= 0)
		return found;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || end == text || *end || !isdigit((unsigned char)*text) || number < low ||
		number > high)
		return plx_fail(EINVAL, "%s=%s is not possible: give a number from %llu to %llu",
			key, text, (unsigned long long)low, (unsigned long long)high);
	*value = number;
	return 1;
}

int plx_address_choice(
	struct plx_address *address, const char *key, const char *const *choices, unsigned *value)
{
	char known[160] = "";
	const char *text;
	int found = plx_address_text(address, key, &text);

	if (found <= 0)
		return found;
	for (unsigned i = 0; choices[i]; i++) {
		size_t used = strlen(known);

		if (!strcmp(text, choices[i])) {
			*value = i;
			return 1;
		}
		(void)snprintf(
			known + used, sizeof(known) - used, "%s%s", used ? ", " : "", choices[i]);
	}
	return plx_fail(EINVAL, "%s=%s is not possible: the choices are %s", key, text, known);
}

int plx_address_finish(struct plx_address *address)
{
	for (unsigned i = 0; i < address->count; i++) {
		const struct plx_address_option *option = &address->option[i];

		if (!option->taken)
			return plx_fail(EINVAL, "'%s' is not an option of %s:%s: it knows %s",
				option->key, address->scheme, address->place,
				*address->known ? address->known : "none");
	}
	return 0;
}
