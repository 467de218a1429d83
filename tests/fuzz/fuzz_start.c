/* SPDX-License-Identifier: BSD-3-Clause */
#include "card.h"

#include "base/compiler.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/*
 * From plugging in to the first frames: the bytes decide what the card offers, what its registers,
 * its capabilities and its configuration read as and from which look on, which writes it hears, and
 * when it goes.
 */

static const char *const options[] = {
	",packed=off",
	",event_idx=off",
	",mrg_rxbuf=on",
	",platform=ignore",
	",legacy=on",
	",legacy=off",
	",handshake=device-ok",
	",access_platform=off",
	",mtu=off",
	",mac=off",
	",status=off",
	",handshake=legacy",
	",any_layout=off",
	",version_1=off",
	",mrg_rxbuf=off",
	",order_platform=off",
};

/* Bytes: what kind of card, its queues, what it offers and what the user asks for. */
static void choose_card(struct fuzz_card *card, struct fuzz_input *in)
{
	struct plx_emu_config *config = &card->config;
	uint8_t kind = fuzz_u8(in), size = fuzz_u8(in);

	config->interface = (enum plx_emu_interface)((kind & 3) % 3);
	config->handshake = (enum plx_emu_handshake)(kind >> 2 & 1);
	config->veto = (enum plx_emu_veto)((kind >> 3 & 3) % 3);
	config->gone_silent = kind & 0x20;
	config->pairs = kind & 0x40 ? 3 : 1;
	config->junk_len = kind & 0x80;
	config->queue_size = (uint16_t)(1u << size % 7);
	config->mtu = size & 0x80 ? 1500 : 200;
	config->seed = fuzz_u8(in);
	config->gone_after = fuzz_u8(in) * 4u;
	config->features[0] ^= fuzz_u64(in);
	config->features[1] ^= fuzz_u8(in);
	card->reset_fails = size & 0x40;
	card->pool_count = size & 0x20 ? 40 : 160;
	card->data_size = 256;
	card->lied = config->veto || config->gone_after || config->features[1];
}

/*
 * What makes a driver break a rule although nobody lied: the user says that the card speaks another
 * handshake than it does, or leaves out what it needs.
 */
static bool is_users_fault(const struct fuzz_card *card, const char *text)
{
	bool proposal = strstr(text, "handshake=device-ok");

	return proposal != (card->config.handshake == PLX_EMU_DEVICE_OK) ||
	       strstr(text, "access_platform=off") || strstr(text, "version_1=off") ||
	       strstr(text, "any_layout=off");
}

static void choose_options(struct fuzz_card *card, char *text, size_t room, struct fuzz_input *in)
{
	uint16_t chosen = fuzz_u16(in);
	size_t used = 0;

	*text = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (chosen >> i & 1)
			used += (size_t)snprintf(text + used, room - used, "%s", options[i]);
	card->lied |= is_users_fault(card, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct fuzz_card *card = fuzz_card_begin();
	char text[384];

	choose_card(card, &in);
	choose_options(card, text, sizeof(text), &in);
	fuzz_card_read_lies(card, &in);
	if (!fuzz_card_open(card, text)) {
		(void)fuzz_card_configure(card, 0, 0);
		(void)fuzz_card_start(card);
		fuzz_card_script(card, &in);
		(void)fuzz_card_stop(card);
	}
	fuzz_card_end(card);
	return 0;
}
