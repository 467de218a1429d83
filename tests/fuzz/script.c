/* SPDX-License-Identifier: BSD-3-Clause */
#include "card.h"

#include "base/compiler.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/*
 * What happens to a running card: calls of the application, moves of the card, and bytes that the
 * card writes wherever it can write.
 */

#define STEPS_MAX   256
#define BURST_MAX   32
#define FRAME_MAX   65550 /* with a header of 16 bits of length */
#define INJECT_MAX  6000
#define HEADER_SIZE sizeof(((struct fuzz_card *)0)->header)

typedef void step_fn(struct fuzz_card *card, struct fuzz_input *in);

/* --- the application --- */

/* A frame that was injected is known by its length. */
static uint8_t pattern(uint32_t len, uint32_t at)
{
	return (uint8_t)(len * 7 + at);
}

static void check_bytes(const struct plx_packet *segment, uint32_t len, uint32_t at)
{
	const uint8_t *data = plx_packet_data(segment);

	for (unsigned i = 0; i < segment->data_len; i++)
		FUZZ_CHECK(data[i] == pattern(len, at + i),
			"an honest card's frame is not what it was");
}

/* No frame is handed out that cannot be one, and no packet that is handed out already. */
static void check_frame(struct fuzz_card *card, struct plx_packet *first)
{
	struct plx_packet *packet = first;
	uint32_t len = 0;

	FUZZ_CHECK(first->segments, "a frame without segments");
	for (unsigned i = 0; i < first->segments; i++) {
		FUZZ_CHECK(packet, "a frame lacks segments");
		FUZZ_CHECK(packet->pool == card->pool, "a segment of another pool");
		FUZZ_CHECK(!packet->user, "a packet was handed out twice");
		FUZZ_CHECK(packet->data_len, "an empty segment");
		FUZZ_CHECK(packet->data_off + packet->data_len <= packet->buf_len,
			"a segment goes on behind its buffer");
		if (!card->lied)
			check_bytes(packet, first->len, len);
		packet->user = 1;
		len += packet->data_len;
		packet = packet->next;
	}
	FUZZ_CHECK(!packet, "a frame has more segments than it says");
	FUZZ_CHECK(len == first->len, "a frame is not as long as its segments");
	FUZZ_CHECK(len <= FRAME_MAX, "a frame is longer than one can be");
}

static void receive(struct fuzz_card *card, struct fuzz_input *in)
{
	struct plx_eth_rxq *queue = plx_eth_rxq(card->eth, 0);
	unsigned want = 1 + fuzz_u8(in) % BURST_MAX;
	struct plx_packet *packets[BURST_MAX];
	int got;

	if (!queue)
		return;
	if (card->holds + want > ARRAY_SIZE(card->held))
		fuzz_card_release(card);
	fuzz_card_allow_burst(card);
	got = FUZZ_CALL(plx_eth_rx_burst(queue, packets, want));
	FUZZ_CHECK(got <= (int)want, "more frames than were asked for");
	for (int i = 0; i < got; i++) {
		check_frame(card, packets[i]);
		card->held[card->holds++] = packets[i];
	}
}

static void give_back(struct fuzz_card *card, struct fuzz_input *in)
{
	(void)in;
	fuzz_card_release(card);
}

/* A frame of so many pieces, each @len bytes. Return: NULL when the pool has not so many. */
static struct plx_packet *build(
	struct plx_pool_cache *cache, unsigned pieces, uint16_t len, uint16_t headroom)
{
	struct plx_packet *packets[4];

	if (!plx_pool_get(cache, packets, pieces))
		return NULL;
	for (unsigned i = 0; i < pieces; i++) {
		plx_packet_prepare(packets[i], headroom);
		len = MIN(len, plx_packet_tailroom(packets[i]));
		packets[i]->data_len = len;
		packets[i]->next = i + 1 < pieces ? packets[i + 1] : NULL;
		memset(plx_packet_data(packets[i]), 0x5a, len);
	}
	packets[0]->segments = (uint16_t)pieces;
	packets[0]->len = len * pieces;
	return packets[0];
}

/* Bytes: how many frames, of how many pieces, with how much headroom, how long. */
static void send(struct fuzz_card *card, struct fuzz_input *in)
{
	static const uint16_t headrooms[] = {128, 128, 12, 10, 0, 64, 9, 11};
	struct plx_eth_txq *queue = plx_eth_txq(card->eth, 0);
	uint8_t how = fuzz_u8(in), shape = fuzz_u8(in);
	unsigned want = 1 + how % BURST_MAX, count = 0;
	struct plx_packet *packets[BURST_MAX];
	struct plx_pool_cache *cache;
	int sent;

	if (!queue)
		return;
	FUZZ_CHECK(!plx_pool_cache_create(how & 0x80 ? card->pool : card->tx_pool, &cache),
		"there is no cache");
	while (count < want && (packets[count] = build(cache, 1 + shape % 4, fuzz_u8(in) * 2,
					headrooms[shape >> 2 & 7])))
		count++;
	plx_pool_cache_destroy(cache);
	fuzz_card_allow_burst(card);
	sent = FUZZ_CALL(plx_eth_tx_burst(queue, packets, count));
	FUZZ_CHECK(sent <= (int)count, "more frames were sent than there were");
	for (unsigned i = sent < 0 ? 0 : (unsigned)sent; i < count; i++)
		plx_packet_free(packets[i]);
}

static void stop(struct fuzz_card *card, struct fuzz_input *in)
{
	(void)in;
	(void)fuzz_card_stop(card);
}

static void start(struct fuzz_card *card, struct fuzz_input *in)
{
	(void)in;
	(void)fuzz_card_start(card);
}

static void suspend(struct fuzz_card *card, struct fuzz_input *in)
{
	(void)in;
	fuzz_card_allow_control(card);
	(void)FUZZ_CALL(plx_eth_suspend(card->eth));
}

static void resume(struct fuzz_card *card, struct fuzz_input *in)
{
	(void)in;
	fuzz_card_allow_control(card);
	(void)FUZZ_CALL(plx_eth_resume(card->eth));
}

static void configure(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t rx = fuzz_u8(in), tx = fuzz_u8(in);

	(void)fuzz_card_configure(card, rx, tx);
}

static int see_counter(void *arg, const struct plx_eth_counter *counter)
{
	(void)arg;
	FUZZ_CHECK(counter->name[0], "a counter without a name");
	return 0;
}

static int see_feature(void *arg, const struct plx_feature *feature)
{
	(void)arg;
	FUZZ_CHECK(feature->name[0] && (feature->why || !feature->accepted),
		"a feature without a reason");
	FUZZ_CHECK(!feature->accepted || feature->offered, "a feature that was not offered");
	return 0;
}

static int see_trace(void *arg, const struct plx_trace_entry *entry)
{
	(void)arg;
	FUZZ_CHECK(entry->step, "a line without a step");
	return 0;
}

static void ask(struct fuzz_card *card, struct fuzz_input *in)
{
	struct plx_device *device = plx_eth_device(card->eth);
	struct plx_eth_stats stats;
	struct plx_eth_info info;

	(void)in;
	fuzz_card_allow_control(card);
	plx_eth_get_info(card->eth, &info);
	FUZZ_CHECK(!(info.mac[0] & 1), "the port's address is a group's");
	FUZZ_CHECK(info.mtu >= 68, "an MTU that no port can have");
	plx_eth_get_stats(card->eth, &stats);
	(void)plx_eth_counters(card->eth, see_counter, NULL);
	(void)plx_device_features(device, see_feature, NULL);
	(void)plx_device_trace(device, see_trace, NULL);
}

/* --- the card --- */

static void move(struct fuzz_card *card, struct fuzz_input *in)
{
	(void)in;
	(void)plx_emu_step(card->emu);
}

static void inject(struct fuzz_card *card, struct fuzz_input *in)
{
	uint32_t len = 1 + fuzz_u16(in) % INJECT_MAX;
	uint8_t frame[INJECT_MAX];

	for (uint32_t i = 0; i < len; i++)
		frame[i] = pattern(len, i);
	(void)plx_emu_inject(card->emu, 0, frame, len);
}

static void hold(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);

	plx_emu_hold(card->emu, how & 1, how & 2);
}

/* Bytes: which queue and how, how often, then what. */
static void lie_in_ring(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct fuzz_ring_lie *lie = &card->ring[how & 1];

	lie->how = how >> 1;
	lie->times = fuzz_u8(in);
	lie->id = how & 0x20 ? fuzz_u32(in) : fuzz_u8(in);
	lie->len = how & 0x40 ? fuzz_u32(in) : fuzz_u16(in);
	lie->index = fuzz_u16(in);
	lie->extra = fuzz_u8(in);
}

static void lie_in_headers(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t at = fuzz_u8(in) % HEADER_SIZE;

	card->header[at] = fuzz_u8(in);
}

static void lie_in_events(struct fuzz_card *card, struct fuzz_input *in)
{
	card->event = fuzz_u16(in);
	card->event_flags = fuzz_u16(in);
	card->event_lies = card->event || card->event_flags;
}

static void lie_in_registers(struct fuzz_card *card, struct fuzz_input *in)
{
	fuzz_card_read_lies(card, in);
}

static void misfortune(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);

	switch (which & 7) {
	case 0:
		card->lied = true; /* its queues stand still, and so do the driver's buffers */
		plx_emu_need_reset(card->emu);
		break;
	case 1:
		card->lied = true;
		plx_emu_unplug(card->emu);
		break;
	case 2:
		card->reset_fails = which & 0x80;
		break;
	case 3:
		plx_emu_set_link(card->emu, which & 0x80);
		break;
	default:
		plx_emu_announce(card->emu);
	}
}

/* --- memory that the card writes --- */

static void poke(struct fuzz_card *card, uint64_t iova, const void *bytes, size_t len)
{
	card->lied = true;
	(void)plx_emu_poke(card->emu, iova, bytes, len);
}

static void poke16(struct fuzz_card *card, uint64_t iova, uint16_t value)
{
	struct plx_shared16 shared = plx_shared16(value);

	poke(card, iova, &shared, sizeof(shared));
}

static void poke32(struct fuzz_card *card, uint64_t iova, uint32_t value)
{
	struct plx_shared32 shared = plx_shared32(value);

	poke(card, iova, &shared, sizeof(shared));
}

static uint16_t peek16(struct fuzz_card *card, uint64_t iova)
{
	struct plx_shared16 shared = {0};

	(void)plx_emu_peek(card->emu, iova, &shared, sizeof(shared));
	return plx_shared16_read(&shared);
}

static bool find_queue(struct fuzz_card *card, unsigned queue, struct plx_emu_queue_state *state)
{
	plx_emu_get_queue(card->emu, queue, state);
	return state->enabled && state->size;
}

/* Use up the next buffers, as a device would, but for the length and what is done to the id. */
static void complete_split(struct fuzz_card *card, const struct plx_emu_queue_state *queue,
	unsigned count, uint32_t len, uint32_t id)
{
	uint16_t used = peek16(card, queue->device_area + 2);

	for (; count; count--, used++) {
		unsigned slot = used & (queue->size - 1u);
		uint64_t entry = queue->device_area + 4 + 8 * slot;

		poke32(card, entry, peek16(card, queue->driver_area + 4 + 2 * slot) ^ id);
		poke32(card, entry + 4, len);
	}
	poke16(card, queue->device_area + 2, used);
}

static void complete_packed(struct fuzz_card *card, unsigned index,
	const struct plx_emu_queue_state *queue, unsigned count, uint32_t len, uint32_t id)
{
	struct fuzz_spot *spot = &card->spot[index];

	for (; count; count--) {
		uint64_t desc = queue->descriptors + 16 * spot->at;
		uint16_t flags = peek16(card, desc + 14), slots = 1;

		while (flags & VIRTQ_DESC_F_NEXT && slots < queue->size)
			flags = peek16(card,
				queue->descriptors +
					16 * ((spot->at + slots++) % (unsigned)queue->size) + 14);
		poke16(card, desc + 12, (uint16_t)(peek16(card, desc + 12) ^ id));
		poke32(card, desc + 8, len);
		poke16(card, desc + 14,
			spot->wrap ? VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED : 0);
		spot->at = (uint16_t)(spot->at + slots);
		if (spot->at < queue->size)
			continue;
		spot->at = (uint16_t)((spot->at - queue->size) % queue->size);
		spot->wrap = !spot->wrap;
	}
}

static void complete(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct plx_emu_queue_state queue;
	unsigned count = 1 + (how >> 1 & 15);
	uint32_t len = fuzz_u16(in), id = how & 0x20 ? fuzz_u8(in) : 0;

	if (!find_queue(card, how & 1, &queue))
		return;
	/* Only a packed ring's driver writes nothing else into its own area. */
	if (card->packed)
		complete_packed(card, how & 1, &queue, count, len, id);
	else
		complete_split(card, &queue, count, len, id);
}

/* A field of a descriptor, whether it is in flight or not. */
static void write_descriptor(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	unsigned slot = fuzz_u8(in);
	struct plx_emu_queue_state queue;
	uint64_t at;

	if (!find_queue(card, how & 1, &queue))
		return;
	at = queue.descriptors + 16 * (slot % queue.size);
	if (how & 2)
		poke32(card, at, fuzz_u32(in));
	if (how & 4)
		poke32(card, at + 8, fuzz_u16(in));
	if (how & 8)
		poke16(card, at + 12, fuzz_u16(in));
	if (how & 16)
		poke16(card, at + 14, fuzz_u16(in));
}

/* A used entry, or the used index or flags of a split ring; the events of either. */
static void write_area(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	uint16_t at = fuzz_u16(in), value = fuzz_u16(in);
	struct plx_emu_queue_state queue;
	uint64_t area;

	if (!find_queue(card, how & 1, &queue))
		return;
	area = how & 2 ? queue.driver_area : queue.device_area;
	at %= (uint16_t)(8 + 8 * queue.size);
	if (how & 4)
		value = (uint16_t)(value + peek16(card, area + at));
	poke16(card, area + at, value);
}

/* The header of a frame that is yet to come, in the buffer that a descriptor tells. */
static void write_buffer(struct fuzz_card *card, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	unsigned slot = fuzz_u8(in);
	uint8_t header[HEADER_SIZE] = {0};
	struct plx_emu_queue_state queue;
	struct plx_shared64 address = {0};

	if (!find_queue(card, how & 1, &queue))
		return;
	header[10] = fuzz_u8(in);
	header[11] = how & 2 ? fuzz_u8(in) : 0;
	(void)plx_emu_peek(
		card->emu, queue.descriptors + 16 * (slot % queue.size), &address, sizeof(address));
	poke(card, plx_shared64_read(&address), header, sizeof(header));
}

/* The same number of buffers for all that lie in the receive ring. */
static void write_all_buffers(struct fuzz_card *card, struct fuzz_input *in)
{
	uint16_t buffers = fuzz_u16(in);
	struct plx_emu_queue_state queue;

	if (!find_queue(card, 0, &queue))
		return;
	for (unsigned slot = 0; slot < queue.size; slot++) {
		struct plx_shared64 address = {0};

		(void)plx_emu_peek(
			card->emu, queue.descriptors + 16 * slot, &address, sizeof(address));
		poke16(card, plx_shared64_read(&address) + 10, buffers);
	}
}

static step_fn *const steps[] = {
	receive,
	send,
	move,
	inject,
	complete,
	lie_in_ring,
	write_descriptor,
	write_area,
	write_buffer,
	write_all_buffers,
	lie_in_headers,
	lie_in_events,
	hold,
	give_back,
	misfortune,
	stop,
	start,
	ask,
	configure,
	lie_in_registers,
	suspend,
	resume,
};

void fuzz_card_script(struct fuzz_card *card, struct fuzz_input *in)
{
	for (unsigned i = 0; in->left && i < STEPS_MAX; i++)
		steps[fuzz_u8(in) % ARRAY_SIZE(steps)](card, in);
}
