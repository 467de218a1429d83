/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "base/options.h"
#include "emu/emu_priv.h"
#include "virtio/features.h"

#include <pollux/pci.h>

#include <ctype.h>
#include <string.h>

/*
 * Addresses of devices and their options, as a user writes them: taken apart, and every option
 * taken out, as plx_eth_open() does it, but that nothing is opened.
 */

#define TEXT_MAX 700

static void check_parsed(const struct plx_address *address)
{
	FUZZ_CHECK(address->count <= PLX_ADDRESS_OPTIONS, "more options than there is room for");
	FUZZ_CHECK(*address->place && *address->scheme, "an address that names nothing");
	for (const char *at = address->scheme; *at; at++)
		FUZZ_CHECK(isalnum((unsigned char)*at) || *at == '-', "a scheme that is no word");
	for (unsigned i = 0; i < address->count; i++) {
		const struct plx_address_option *option = &address->option[i];

		FUZZ_CHECK(*option->key && !strpbrk(option->key, ",="), "a key that is none");
		FUZZ_CHECK(!strchr(option->value, ','), "a value with an option in it");
	}
}

/* An address is six pairs of hexadecimal digits and says what was made of it. */
static void check_mac(const struct plx_address *address, const uint8_t mac[6])
{
	char text[18];

	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	FUZZ_CHECK(!(mac[0] & 1), "a group's address");
	for (unsigned i = 0; i < address->count; i++)
		if (!strcmp(address->option[i].key, "dev.mac"))
			FUZZ_CHECK(!strcasecmp(address->option[i].value, text),
				"an address that is not what was written");
}

static void check_card(const struct plx_address *address, const struct plx_emu_config *config)
{
	FUZZ_CHECK(!strcmp(address->place, "net"), "a card that there is not");
	FUZZ_CHECK(config->pairs && config->pairs <= PLX_EMU_PAIRS, "impossible queues");
	FUZZ_CHECK(config->queue_size && config->queue_size <= VIRTQ_SIZE_MAX, "impossible rings");
	FUZZ_CHECK(config->mtu >= 68, "an impossible MTU");
	FUZZ_CHECK(config->frame_size >= 60 && config->frame_size <= PLX_EMU_FRAME,
		"impossible frames");
	FUZZ_CHECK(config->peer, "no peer");
	check_mac(address, config->mac);
}

static int take_driver_options(struct plx_address *address)
{
	static const char *const interfaces[] = {"auto", "on", "off", NULL};
	static const struct plx_feature_table none = {NULL, 0};
	struct plx_negotiation negotiation;
	unsigned choice = 0;
	int found = FUZZ_CALL(plx_address_choice(address, "legacy", interfaces, &choice));

	FUZZ_CHECK(choice < 3, "a choice that there is not");
	if (found < 0)
		return found;
	plx_negotiation_init(&negotiation, &none);
	return FUZZ_CALL(plx_negotiation_options(&negotiation, address));
}

static void take_options(struct plx_address *address)
{
	struct plx_emu_config config;
	bool all = true;
	int err = FUZZ_CALL(plx_emu_config_from_address(&config, address));

	if (!err)
		check_card(address, &config);
	if (err || take_driver_options(address))
		return;
	err = FUZZ_CALL(plx_address_finish(address));
	for (unsigned i = 0; i < address->count; i++)
		all &= address->option[i].taken;
	FUZZ_CHECK(!err == all, "an option was ignored, or one refused that was taken");
}

/* What is taken for a PCI address is written in one way, and means the same then. */
static void check_function(const char *text)
{
	struct plx_pci_address address, again;
	char written[PLX_PCI_ADDRESS_LEN];

	if (FUZZ_CALL(plx_pci_address_parse(text, &address)))
		return;
	FUZZ_CHECK(!plx_pci_address_parse(plx_pci_address_format(&address, written), &again),
		"an address that is not one once it is written");
	FUZZ_CHECK(address.domain == again.domain && address.bus == again.bus &&
			   address.device == again.device && address.function == again.function,
		"an address that changes when it is written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plx_address address;
	char text[TEXT_MAX + 1];

	size = size < TEXT_MAX ? size : TEXT_MAX;
	memcpy(text, data, size);
	text[size] = '\0';
	check_function(text);
	if (FUZZ_CALL(plx_address_parse(&address, text)))
		return 0;
	check_parsed(&address);
	if (!strcmp(address.scheme, "emu"))
		take_options(&address);
	plx_address_free(&address);
	return 0;
}
