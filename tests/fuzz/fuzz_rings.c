/* SPDX-License-Identifier: BSD-3-Clause */
#include "card.h"

#include "virtio/virtio_reg.h"

/*
 * The rings: the card is honest until it runs, on the layout that the first byte chooses. From then
 * on the bytes decide what it writes into descriptors, rings, events and buffers between the polls
 * of the driver.
 */

/* Bytes: the layout and the features that choose a path, the sizes. */
static int start(struct fuzz_card *card, struct fuzz_input *in)
{
	struct plx_emu_config *config = &card->config;
	uint8_t layout = fuzz_u8(in), size = fuzz_u8(in);
	bool legacy = layout & 2, merge = layout & 4;
	uint16_t ring = (uint16_t)(1u << size % 7);
	int err;

	card->packed = layout & 1 && !legacy;
	plx_emu_config_offer(config, VIRTIO_F_RING_PACKED, card->packed);
	plx_emu_config_offer(config, VIRTIO_F_EVENT_IDX, layout & 8);
	plx_emu_config_offer(config, VIRTIO_F_ANY_LAYOUT, layout & 16);
	plx_emu_config_offer(config, VIRTIO_F_SUSPEND, true);
	config->interface = legacy ? PLX_EMU_TRANSITIONAL : PLX_EMU_MODERN_ONLY;
	config->seed = layout & 32 ? size : 0;
	config->junk_len = layout & 64;
	config->queue_size = ring;
	config->mtu = 200;
	card->data_size = layout & 128 ? 2048 : 256;
	card->pool_count = (uint16_t)(2 * ring + 8);
	err = fuzz_card_open(card, legacy  ? merge ? ",legacy=on,mrg_rxbuf=on" : ",legacy=on"
				   : merge ? ",mrg_rxbuf=on"
					   : "");
	FUZZ_CHECK(!err, "an honest card is not opened");
	/* A packed ring may have any size, and fewer entries than there are. */
	err = fuzz_card_configure(card, card->packed && size & 0x80 ? ring - ring / 4 : 0, 0);
	if (!err)
		err = fuzz_card_start(card);
	FUZZ_CHECK(!err || ring < 2, "an honest card is not started");
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct fuzz_card *card = fuzz_card_begin();

	if (!start(card, &in)) {
		fuzz_card_script(card, &in);
		(void)fuzz_card_stop(card);
	}
	fuzz_card_end(card);
	return 0;
}
