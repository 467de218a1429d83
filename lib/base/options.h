/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_OPTIONS_H
#define PLX_BASE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Device addresses: "scheme:place,key=value,key=value". A PCI address needs no scheme.
 *
 * Each option that a driver understands is taken out with one of the calls below;
 * plx_address_finish() then refuses what nobody took, so that a misspelt option is never ignored.
 */
#define PLX_ADDRESS_OPTIONS 32

struct plx_address_option {
	const char *key;
	const char *value;
	bool taken;
};

struct plx_address {
	char *text;         /* the copy that everything below points into */
	const char *scheme; /* "pci", "emu", ... */
	const char *place;  /* what follows the scheme */
	unsigned count;
	struct plx_address_option option[PLX_ADDRESS_OPTIONS];
	bool unlisted;   /* while set, options asked for are not named in messages */
	bool known_more; /* there were more than @known has room for */
	char known[480]; /* names of the options asked for, for plx_address_finish() to tell */
};

/* Return: 0; -EINVAL when the text is not an address; -ENOMEM. Free with plx_address_free(). */
int plx_address_parse(struct plx_address *address, const char *text);
void plx_address_free(struct plx_address *address);

/*
 * Each takes one option. Return: 1 when it was there, 0 when not (then @value is untouched),
 * -EINVAL.
 */
int plx_address_text(struct plx_address *address, const char *key, const char **value);
int plx_address_bool(struct plx_address *address, const char *key, bool *value);
int plx_address_number(
	struct plx_address *address, const char *key, uint64_t low, uint64_t high, uint64_t *value);
/* @choices ends with NULL; @value receives the index of the one that was named. */
int plx_address_choice(
	struct plx_address *address, const char *key, const char *const *choices, unsigned *value);

/* Return: 0; -EINVAL when an option is left that nobody took. */
int plx_address_finish(struct plx_address *address);

#endif
