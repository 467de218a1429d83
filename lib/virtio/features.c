/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/features.h"

#include "base/compiler.h"
#include "base/error.h"
#include "virtio/virtio_reg.h"

#include <stdio.h>
#include <string.h>

#define LEGACY_ONLY "belongs to the legacy interface"
#define NOT_USED    "not used by this driver"

/* Reasons of which more is made than a sentence. */
static const char not_offered[] = "not offered";
static const char ground_missing[] = "depends on a feature that is missing";

static const struct plx_feature_entry common[] = {
	{VIRTIO_F_NOTIFY_ON_EMPTY, "F_NOTIFY_ON_EMPTY", "notify_on_empty", LEGACY_ONLY, NULL, NULL},
	{VIRTIO_F_ANY_LAYOUT, "F_ANY_LAYOUT", "any_layout", LEGACY_ONLY, NULL, NULL},
	{VIRTIO_F_INDIRECT_DESC, "F_INDIRECT_DESC", "indirect", NULL, NULL, NULL},
	{VIRTIO_F_EVENT_IDX, "F_EVENT_IDX", "event_idx", NULL, NULL, NULL},
	{VIRTIO_F_VERSION_1, "F_VERSION_1", "version_1", NULL, NULL, NULL},
	{VIRTIO_F_ACCESS_PLATFORM, "F_ACCESS_PLATFORM", "access_platform", NULL, NULL, NULL},
	{VIRTIO_F_RING_PACKED, "F_RING_PACKED", "packed", NULL, NULL, NULL},
	{VIRTIO_F_IN_ORDER, "F_IN_ORDER", "in_order", NULL, NULL, NULL},
#if defined(__x86_64__)
	/* Every barrier of base/barrier.h orders accesses of devices on x86 as well as of CPUs. */
	{VIRTIO_F_ORDER_PLATFORM, "F_ORDER_PLATFORM", "order_platform", NULL, NULL, NULL},
#else
	{VIRTIO_F_ORDER_PLATFORM, "F_ORDER_PLATFORM", "order_platform", NOT_USED, NULL, NULL},
#endif
	{VIRTIO_F_SR_IOV, "F_SR_IOV", "sr_iov", NOT_USED, NULL, NULL},
	{VIRTIO_F_NOTIFICATION_DATA, "F_NOTIFICATION_DATA", "notification_data", NULL, NULL, NULL},
	{VIRTIO_F_NOTIF_CONFIG_DATA, "F_NOTIF_CONFIG_DATA", "notif_config_data", NULL, NULL, NULL},
	{VIRTIO_F_RING_RESET, "F_RING_RESET", "ring_reset", NULL, NULL, NULL},
	{VIRTIO_F_ADMIN_VQ, "F_ADMIN_VQ", "admin_vq", NOT_USED, NULL, NULL},
	{VIRTIO_F_SUSPEND, "F_SUSPEND", "suspend", NULL, NULL, NULL},
};

const struct plx_feature_table plx_common_features = {common, ARRAY_SIZE(common)};

static void add_table(struct plx_negotiation *negotiation, const struct plx_feature_table *table)
{
	for (unsigned i = 0; i < table->count; i++)
		negotiation->entry[table->entry[i].bit] = &table->entry[i];
}

void plx_negotiation_init(
	struct plx_negotiation *negotiation, const struct plx_feature_table *device_type)
{
	memset(negotiation, 0, sizeof(*negotiation));
	add_table(negotiation, &plx_common_features);
	add_table(negotiation, device_type);
	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++) {
		const struct plx_feature_entry *entry = negotiation->entry[bit];

		if (!entry) {
			negotiation->why[bit] = "not known to this driver";
			continue;
		}
		negotiation->why[bit] = entry->declined;
		if (!entry->declined)
			plx_features_add(&negotiation->understood, bit);
	}
}

int plx_negotiation_options(struct plx_negotiation *negotiation, struct plx_address *address)
{
	static const char *const choices[] = {"auto", "on", "off", NULL};

	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++) {
		const struct plx_feature_entry *entry = negotiation->entry[bit];
		unsigned wish = PLX_FEATURE_AUTO;
		int found;

		if (!entry)
			continue;
		/* What cannot be had is refused with its reason, and not advertised. */
		address->unlisted = entry->declined != NULL;
		found = plx_address_choice(address, entry->option, choices, &wish);
		address->unlisted = false;
		if (found < 0)
			return found;
		negotiation->wish[bit] = (uint8_t)wish;
	}
	return 0;
}

void plx_negotiation_decline(struct plx_negotiation *negotiation, unsigned bit, const char *why)
{
	/* A wish of the user is decided by itself, and is the reason then. */
	if (negotiation->wish[bit] != PLX_FEATURE_AUTO)
		return;
	plx_features_remove(&negotiation->understood, bit);
	negotiation->why[bit] = why;
}

void plx_negotiation_exclude(struct plx_negotiation *negotiation, unsigned bit, const char *why)
{
	if (!plx_features_has(&negotiation->understood, bit))
		return;
	plx_features_remove(&negotiation->understood, bit);
	negotiation->why[bit] = why;
}

void plx_negotiation_legacy(struct plx_negotiation *negotiation)
{
	for (unsigned bit = PLX_FEATURE_LEGACY_BITS; bit < PLX_FEATURE_BITS; bit++)
		plx_negotiation_exclude(negotiation, bit, "not through the legacy interface");
}

/* Whether everything that a feature depends on is in the set. */
static bool satisfied(const struct plx_feature_entry *entry, const struct plx_features *set)
{
	for (const uint8_t *bit = entry->all_of; bit && *bit != PLX_FEATURE_END; bit++)
		if (!plx_features_has(set, *bit))
			return false;
	if (!entry->any_of)
		return true;
	for (const uint8_t *bit = entry->any_of; *bit != PLX_FEATURE_END; bit++)
		if (plx_features_has(set, *bit))
			return true;
	return false;
}

/* The decision on one bit, without what it depends on. */
static void decide_alone(struct plx_negotiation *negotiation, unsigned bit)
{
	bool offered = plx_features_has(&negotiation->offered, bit);
	bool understood = plx_features_has(&negotiation->understood, bit);

	if (!understood)
		return;
	if (negotiation->wish[bit] == PLX_FEATURE_OFF) {
		negotiation->why[bit] = "declined by the user";
	} else if (!offered) {
		negotiation->why[bit] = not_offered;
	} else {
		negotiation->why[bit] =
			negotiation->wish[bit] == PLX_FEATURE_ON ? "demanded by the user" : "used";
		plx_features_add(&negotiation->accepted, bit);
	}
}

/* Append to what @text holds already, as far as there is room. */
static void append(char *text, size_t size, const char *words, const char *name)
{
	size_t used = strlen(text);

	(void)snprintf(text + used, size - used, "%s%s", words, name);
}

static const char *name_of(const struct plx_negotiation *negotiation, unsigned bit)
{
	return negotiation->entry[bit] ? negotiation->entry[bit]->name : "an unknown feature";
}

/* The first thing that is missing: one feature, or all of those of which one would do. */
static void name_missing(
	const struct plx_negotiation *negotiation, unsigned bit, char *text, size_t size)
{
	const struct plx_feature_entry *entry = negotiation->entry[bit];
	const char *words = "depends on ";

	*text = '\0';
	for (const uint8_t *one = entry->all_of; one && *one != PLX_FEATURE_END; one++) {
		if (plx_features_has(&negotiation->accepted, *one))
			continue;
		append(text, size, words, name_of(negotiation, *one));
		return;
	}
	for (const uint8_t *one = entry->any_of; one && *one != PLX_FEATURE_END; one++) {
		append(text, size, words, name_of(negotiation, *one));
		words = " or ";
	}
}

/* Room for a reason that is made up of names. */
#define REASON_LEN 160

/* The reason of a decision in words, for which @text may be used. */
static const char *reason(const struct plx_negotiation *negotiation, unsigned bit, char *text)
{
	if (negotiation->why[bit] != ground_missing)
		return negotiation->why[bit];
	name_missing(negotiation, bit, text, REASON_LEN);
	return text;
}

/* What the user asked for and cannot have. */
static int refuse(const struct plx_negotiation *negotiation, unsigned bit, const char *name)
{
	char text[REASON_LEN];

	return plx_fail(ENOTSUP, "%s: the feature %s=on cannot be had (%s): leave the option out%s",
		name, negotiation->entry[bit]->option, reason(negotiation, bit, text),
		negotiation->why[bit] == not_offered ? ", or give the device the feature" : "");
}

int plx_negotiation_decide(struct plx_negotiation *negotiation, const char *name)
{
	bool settled;

	negotiation->accepted = (struct plx_features){{0, 0}};
	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++)
		decide_alone(negotiation, bit);
	/* Leaving one feature out may take the ground from another: at most one round a feature. */
	do {
		settled = true;
		for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++) {
			const struct plx_feature_entry *entry = negotiation->entry[bit];

			if (!plx_features_has(&negotiation->accepted, bit) ||
				satisfied(entry, &negotiation->accepted))
				continue;
			plx_features_remove(&negotiation->accepted, bit);
			negotiation->why[bit] = ground_missing;
			settled = false;
		}
	} while (!settled);
	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++)
		if (negotiation->wish[bit] == PLX_FEATURE_ON &&
			!plx_features_has(&negotiation->accepted, bit))
			return refuse(negotiation, bit, name);
	return 0;
}

int plx_negotiation_visit(
	const struct plx_negotiation *negotiation, plx_feature_visit_fn *visit, void *arg)
{
	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++) {
		const struct plx_feature_entry *entry = negotiation->entry[bit];
		char nameless[16], text[REASON_LEN];
		struct plx_feature feature = {
			.bit = bit,
			.name = entry ? entry->name : nameless,
			.offered = plx_features_has(&negotiation->offered, bit),
			.accepted = plx_features_has(&negotiation->accepted, bit),
			.why = reason(negotiation, bit, text),
		};
		int ret;

		if (!entry && !feature.offered)
			continue;
		(void)snprintf(nameless, sizeof(nameless), "bit %u", bit);
		ret = visit(arg, &feature);
		if (ret)
			return ret;
	}
	return 0;
}

char *plx_negotiation_names(const struct plx_negotiation *negotiation,
	const struct plx_features *set, char *text, unsigned size)
{
	unsigned used = 0;

	*text = '\0';
	for (unsigned bit = 0; bit < PLX_FEATURE_BITS; bit++) {
		const struct plx_feature_entry *entry = negotiation->entry[bit];
		int len;

		if (!plx_features_has(set, bit))
			continue;
		len = entry ? snprintf(text + used, size - used, "%s%s", used ? " " : "",
				      entry->name)
			    : snprintf(text + used, size - used, "%sbit %u", used ? " " : "", bit);
		if (len < 0 || (unsigned)len >= size - used) {
			(void)snprintf(text + size - sizeof("..."), sizeof("..."), "...");
			break;
		}
		used += (unsigned)len;
	}
	return text;
}
