/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_FEATURES_H
#define PLX_VIRTIO_FEATURES_H

#include "base/options.h"

#include <pollux/device.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Feature bits 0 to 127 (virtio 1.4, 2.2 and 6), and the decision on each of them.
 *
 * Negotiation is a fold over two tables, one of the bits that every device has and one of the
 * device type's own: a bit that stands in neither is never accepted. The tables say what each
 * feature is called, what it depends on, and whether this driver can use it; the user may ask for a
 * feature or forbid it by name in the device's address.
 */
#define PLX_FEATURE_BITS 128

struct plx_features {
	uint64_t word[2];
};

static inline bool plx_features_has(const struct plx_features *set, unsigned bit)
{
	return set->word[bit / 64] >> (bit % 64) & 1;
}

static inline void plx_features_add(struct plx_features *set, unsigned bit)
{
	set->word[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static inline void plx_features_remove(struct plx_features *set, unsigned bit)
{
	set->word[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

static inline struct plx_features plx_features_and(
	const struct plx_features *a, const struct plx_features *b)
{
	return (struct plx_features){{a->word[0] & b->word[0], a->word[1] & b->word[1]}};
}

static inline bool plx_features_equal(const struct plx_features *a, const struct plx_features *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* The legacy interface carries the lowest of them only (4.1.4.10). */
#define PLX_FEATURE_LEGACY_BITS 32

/* Ends a list of bits. */
#define PLX_FEATURE_END 255

/* One feature of a table. */
struct plx_feature_entry {
	uint8_t bit;
	const char *name;      /* as the standard has it, without VIRTIO_ */
	const char *option;    /* its name in a device's address: on, off or auto */
	const char *declined;  /* why this driver leaves it; NULL when it can use it */
	const uint8_t *all_of; /* bits that must be accepted too; NULL for none */
	const uint8_t *any_of; /* at least one of these must be; NULL for none */
};

struct plx_feature_table {
	const struct plx_feature_entry *entry;
	unsigned count;
};

/* The bits that belong to the ring and the transport. */
extern const struct plx_feature_table plx_common_features;

/* What the user said of a feature. */
enum plx_feature_wish { PLX_FEATURE_AUTO, PLX_FEATURE_ON, PLX_FEATURE_OFF };

/* Everything about the negotiation of one device. */
struct plx_negotiation {
	/* By their bits, of the common table and the device type's; NULL for a bit in neither. */
	const struct plx_feature_entry *entry[PLX_FEATURE_BITS];
	uint8_t wish[PLX_FEATURE_BITS];    /* enum plx_feature_wish */
	const char *why[PLX_FEATURE_BITS]; /* the reason of each decision, but for names */
	struct plx_features understood;    /* all that this driver can use */
	struct plx_features offered;
	struct plx_features accepted;
};

void plx_negotiation_init(
	struct plx_negotiation *negotiation, const struct plx_feature_table *device_type);

/* Take the features that an address names as options. Return: 0; -EINVAL. */
int plx_negotiation_options(struct plx_negotiation *negotiation, struct plx_address *address);

/*
 * The driver's own decision to leave a feature out, with the reason; the user may still demand it.
 */
void plx_negotiation_decline(struct plx_negotiation *negotiation, unsigned bit, const char *why);

/* A feature that cannot be carried to the device, whatever the user demands, with the reason. */
void plx_negotiation_exclude(struct plx_negotiation *negotiation, unsigned bit, const char *why);

/* The device is driven through the legacy interface: what that cannot carry is not understood. */
void plx_negotiation_legacy(struct plx_negotiation *negotiation);

/*
 * plx_negotiation_decide() - Choose what to accept of what is offered.
 * @name: of the device, for messages
 *
 * Return: 0; -ENOTSUP when the user demands a feature that is not offered, that the driver cannot
 * use, or that depends on one which is missing.
 */
int plx_negotiation_decide(struct plx_negotiation *negotiation, const char *name);

/* For plx_device_features(). */
int plx_negotiation_visit(
	const struct plx_negotiation *negotiation, plx_feature_visit_fn *visit, void *arg);

/* Write the names of a set into @text, separated by spaces; what does not fit ends in "...". */
char *plx_negotiation_names(const struct plx_negotiation *negotiation,
	const struct plx_features *set, char *text, unsigned size);

#endif
