/* SPDX-License-Identifier: BSD-3-Clause */
#include "card.h"

#include "base/compiler.h"
#include "context/context.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/* The life of a card and of the driver on it, and the hooks through which the card lies. */

/*
 * What one call may cost. The longest honest ones are opening, with 100 tries for each of two parts
 * of a configuration that never settles, and a walk over 48 capabilities read byte by byte.
 */
#define CONTROL_ACCESSES 4000
#define BURST_ACCESSES   4
#define CONTROL_MESSAGES 4
#define BURST_MESSAGES   1

#define TX_PACKETS 64

static struct fuzz_card the_card;

/* --- the hooks --- */

static void spend_access(struct fuzz_card *card)
{
	FUZZ_CHECK(card->accesses, "the driver does not stop asking the device");
	card->accesses--;
}

static uint64_t change(const struct fuzz_lie *lie, unsigned count, uint64_t value)
{
	switch (lie->how & 7) {
	case 0:
		return lie->value;
	case 1:
		return value ^ lie->value;
	case 2:
		return value | lie->value;
	case 3:
		return value & ~(uint64_t)lie->value;
	case 4:
		return value + lie->value;
	case 5:
		return count * (uint64_t)lie->value; /* another one at each look */
	case 6:
		return value + count % 2;
	default:
		return UINT64_MAX;
	}
}

/* Whether it is this access that the lie is about. */
static bool is_due(struct fuzz_lie *lie)
{
	if (lie->skip) {
		lie->skip--;
		return false;
	}
	if (lie->times == 1)
		lie->how |= FUZZ_LIE_OVER;
	if (lie->times)
		lie->times--;
	return true;
}

/* Configuration space is read byte by byte; a lie there covers four of them. */
static bool covers(
	const struct fuzz_lie *lie, enum plx_emu_place place, uint64_t offset, bool write)
{
	if (lie->place != place || (lie->how & FUZZ_LIE_OVER) ||
		!(lie->how & FUZZ_LIE_WRITE) == write)
		return false;
	return place == PLX_EMU_PCI_CONFIG ? offset - lie->offset < 4 : offset == lie->offset;
}

static void lie_read(
	void *arg, enum plx_emu_place place, uint64_t offset, unsigned len, uint64_t *value)
{
	struct fuzz_card *card = arg;
	uint64_t truth = *value;

	(void)len;
	spend_access(card);
	for (unsigned i = 0; i < card->lies; i++) {
		struct fuzz_lie *lie = &card->lie[i];
		struct fuzz_lie byte = *lie;

		if (!covers(lie, place, offset, false))
			continue;
		if (place == PLX_EMU_PCI_CONFIG)
			byte.value >>= 8 * (offset - lie->offset);
		else if (!is_due(lie))
			continue;
		*value = change(&byte, card->accesses, *value);
	}
	card->lied |= *value != truth;
}

static bool lie_write(
	void *arg, enum plx_emu_place place, uint64_t offset, unsigned len, uint64_t *value)
{
	struct fuzz_card *card = arg;
	bool heard = true;

	(void)len;
	spend_access(card);
	for (unsigned i = 0; i < card->lies; i++) {
		struct fuzz_lie *lie = &card->lie[i];

		if (!covers(lie, place, offset, true) || !is_due(lie))
			continue;
		card->lied = true;
		if ((lie->how & 7) == 0)
			heard = false;
		else
			*value = change(lie, card->accesses, *value);
	}
	return heard;
}

static bool lie_reset(void *arg)
{
	struct fuzz_card *card = arg;

	card->lied |= card->reset_fails;
	return !card->reset_fails;
}

static struct fuzz_ring_lie *ring_lie(struct fuzz_card *card, unsigned queue, uint8_t how)
{
	struct fuzz_ring_lie *lie = &card->ring[queue % 2];

	if (queue > 1 || !lie->times || !(lie->how & how))
		return NULL;
	lie->times--;
	card->lied = true;
	return lie;
}

static void lie_used(void *arg, unsigned queue, uint32_t *id, uint32_t *len)
{
	const struct fuzz_ring_lie *lie = ring_lie(arg, queue, FUZZ_RING_ID | FUZZ_RING_LEN);

	if (!lie)
		return;
	if (lie->how & FUZZ_RING_ID)
		*id += lie->id;
	if (lie->how & FUZZ_RING_LEN)
		*len = lie->len;
}

static void lie_used_index(void *arg, unsigned queue, uint16_t *index)
{
	const struct fuzz_ring_lie *lie = ring_lie(arg, queue, FUZZ_RING_INDEX);

	if (lie)
		*index = (uint16_t)(*index + lie->index);
}

static void lie_used_flags(void *arg, unsigned queue, uint16_t slot, uint16_t *flags)
{
	const struct fuzz_ring_lie *lie = ring_lie(arg, queue, FUZZ_RING_INDEX);

	(void)slot;
	if (lie)
		*flags ^= lie->index;
}

static unsigned lie_used_extra(void *arg, unsigned queue)
{
	const struct fuzz_ring_lie *lie = ring_lie(arg, queue, FUZZ_RING_EXTRA);

	return lie ? lie->extra : 0;
}

static void lie_suppress(void *arg, unsigned queue, uint16_t *event, uint16_t *flags)
{
	struct fuzz_card *card = arg;

	(void)queue;
	if (!card->event_lies)
		return;
	card->lied = true;
	*event ^= card->event;
	*flags ^= card->event_flags;
}

static void lie_header(void *arg, unsigned pair, uint8_t *header, size_t len)
{
	struct fuzz_card *card = arg;

	(void)pair;
	for (size_t i = 0; i < len && i < sizeof(card->header); i++) {
		card->lied |= card->header[i];
		header[i] ^= card->header[i];
	}
}

static void note_breach(void *arg, const char *rule, const char *text)
{
	struct fuzz_card *card = arg;

	if (!card->lied)
		(void)fprintf(stderr, "the driver broke %s: %s\n", rule, text);
	FUZZ_CHECK(card->lied, "the driver broke a rule on a card that never lied");
	card->messages++; /* the card's own word on it */
}

static void count_message(void *arg, enum plx_log_level level, const char *message)
{
	struct fuzz_card *card = arg;

	if (level == PLX_LOG_ERROR) {
		FUZZ_CHECK(
			!strstr(message, "came back to a pool"), "packets were given back twice");
		FUZZ_CHECK(!strstr(message, "is no DMA memory in use"), "memory was freed twice");
	}
	FUZZ_CHECK(card->messages, "the log is flooded");
	card->messages--;
}

/* --- an execution --- */

static void make_context(struct fuzz_card *card)
{
	struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;
	void *kept;

	config.page_size = 4096;
	config.address_space = UINT64_C(64) << 20;
	config.log = count_message;
	config.log_arg = card;
	FUZZ_CHECK(!plx_context_create(&config, &card->ctx), "there is no context");
	/* As long as something lies in them, the pages stay for the next execution. */
	FUZZ_CHECK(!plx_mem_alloc(card->ctx->mem, 64, 64, -1, 0, &kept), "there is no memory");
	FUZZ_CHECK(!plx_mem_alloc(card->ctx->mem, 64, 64, -1, PLX_MEM_READ_ONLY, &kept),
		"there is no memory");
	plx_context_memory(card->ctx, &card->idle);
}

struct fuzz_card *fuzz_card_begin(void)
{
	struct fuzz_card *card = &the_card;
	struct plx_context *ctx = card->ctx;
	struct plx_memory_usage idle = card->idle;

	*card = (struct fuzz_card){.ctx = ctx, .idle = idle};
	if (!ctx)
		make_context(card);
	plx_emu_config_init(&card->config);
	card->config.peer = "none";
	card->config.backlog = 1 << 14;
	card->config.hooks = (struct plx_emu_hooks){
		.arg = card,
		.breach = note_breach,
		.read = lie_read,
		.write = lie_write,
		.reset = lie_reset,
		.used = lie_used,
		.used_index = lie_used_index,
		.used_flags = lie_used_flags,
		.used_extra = lie_used_extra,
		.suppress = lie_suppress,
		.rx_header = lie_header,
	};
	return card;
}

void fuzz_card_read_lies(struct fuzz_card *card, struct fuzz_input *in)
{
	static const uint8_t sizes[] = {
		[PLX_EMU_PCI_CONFIG] = 0xff,
		[PLX_EMU_COMMON] = 0x3f,
		[PLX_EMU_ISR] = 1,
		[PLX_EMU_DEVICE_CONFIG] = 0x1f,
		[PLX_EMU_NOTIFY] = 3,
		[PLX_EMU_MSIX] = 0xff,
		[PLX_EMU_LEGACY] = 0x1f,
	};

	card->lies = fuzz_u8(in) % (FUZZ_LIES + 1);
	for (unsigned i = 0; i < card->lies; i++) {
		struct fuzz_lie *lie = &card->lie[i];

		lie->place = fuzz_u8(in) % ARRAY_SIZE(sizes);
		lie->how = fuzz_u8(in) & (7 | FUZZ_LIE_WRITE);
		lie->skip = fuzz_u8(in);
		lie->times = fuzz_u8(in);
		lie->offset = fuzz_u8(in) & sizes[lie->place];
		lie->value = fuzz_u32(in);
	}
}

void fuzz_card_allow_control(struct fuzz_card *card)
{
	card->accesses = CONTROL_ACCESSES;
	card->messages = CONTROL_MESSAGES;
}

void fuzz_card_allow_burst(struct fuzz_card *card)
{
	card->accesses = BURST_ACCESSES;
	card->messages = BURST_MESSAGES;
}

int fuzz_card_open(struct fuzz_card *card, const char *options)
{
	struct plx_virtio *virtio;
	struct plx_address address;
	char text[512];
	int err;

	(void)snprintf(text, sizeof(text), "emu:net%s", options);
	fuzz_card_allow_control(card);
	FUZZ_CHECK(!plx_emu_create(card->ctx->mem, &card->ctx->log, &card->config, &card->emu),
		"the card cannot be made");
	FUZZ_CHECK(!plx_address_parse(&address, text), "the address is none");
	err = FUZZ_CALL(plx_drivers_open_virtio(
		card->ctx, plx_emu_device(card->emu), VIRTIO_ID_NET, &address, &virtio));
	if (!err) {
		/* A deadline that is over at once: the same tries each time. */
		virtio->limits.reset = virtio->limits.suspend = 0;
		err = FUZZ_CALL(plx_drivers_open_eth(card->ctx, virtio, &address, &card->eth));
	}
	if (err)
		card->eth = NULL;
	plx_address_free(&address);
	return err;
}

static void make_pools(struct fuzz_card *card)
{
	struct plx_pool_config config = PLX_POOL_CONFIG_INIT;

	config.count = card->pool_count;
	config.data_size = card->data_size;
	FUZZ_CHECK(!plx_pool_create(card->ctx, &config, &card->pool), "there is no pool");
	config.count = TX_PACKETS;
	config.data_size = 512;
	FUZZ_CHECK(!plx_pool_create(card->ctx, &config, &card->tx_pool), "there is no pool");
}

int fuzz_card_configure(struct fuzz_card *card, uint16_t rx, uint16_t tx)
{
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;

	if (!card->pool)
		make_pools(card);
	config.rx_ring = rx;
	config.tx_ring = tx;
	config.pool = card->pool;
	fuzz_card_allow_control(card);
	return FUZZ_CALL(plx_eth_configure(card->eth, &config));
}

int fuzz_card_start(struct fuzz_card *card)
{
	fuzz_card_allow_control(card);
	card->spot[0] = card->spot[1] = (struct fuzz_spot){.wrap = true};
	return FUZZ_CALL(plx_eth_start(card->eth));
}

static uint32_t held_segments(const struct fuzz_card *card)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < card->holds; i++)
		count += card->held[i]->segments;
	return count;
}

static void check_all_back(struct fuzz_card *card)
{
	if (!card->pool)
		return;
	FUZZ_CHECK(
		plx_pool_available(card->pool) + held_segments(card) == plx_pool_count(card->pool),
		"not every receive buffer came back exactly once");
	FUZZ_CHECK(plx_pool_available(card->tx_pool) == plx_pool_count(card->tx_pool),
		"not every sent packet came back exactly once");
}

int fuzz_card_stop(struct fuzz_card *card)
{
	int err;

	fuzz_card_allow_control(card);
	err = FUZZ_CALL(plx_eth_stop(card->eth));
	if (!err)
		check_all_back(card);
	return err;
}

void fuzz_card_release(struct fuzz_card *card)
{
	while (card->holds) {
		struct plx_packet *first = card->held[--card->holds];

		for (struct plx_packet *packet = first; packet; packet = packet->next)
			packet->user = 0;
		plx_packet_free(first);
	}
}

static bool same_usage(const struct plx_memory_usage *one, const struct plx_memory_usage *other)
{
	return one->mapped == other->mapped && one->used == other->used;
}

void fuzz_card_end(struct fuzz_card *card)
{
	struct plx_memory_usage usage;

	fuzz_card_allow_control(card);
	plx_eth_close(card->eth);
	plx_emu_destroy(card->emu);
	check_all_back(card);
	fuzz_card_release(card);
	FUZZ_CHECK(!plx_pool_destroy(card->pool), "the pool is not whole");
	FUZZ_CHECK(!plx_pool_destroy(card->tx_pool), "the pool is not whole");
	FUZZ_CHECK(!card->ctx->devices, "a device was left behind");
	plx_context_memory(card->ctx, &usage);
	FUZZ_CHECK(same_usage(&usage, &card->idle), "memory was left behind");
}
