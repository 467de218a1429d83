/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's bursts by themselves: a device in the same thread completes every buffer between two
 * bursts, and only the bursts are timed. What a second core would cost is not in it.
 */
#include "null_backend.h"

#include "base/clock.h"
#include "drivers/drivers.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "mem/pool.h"
#include "virtio/handshake.h"

#include <pollux/pollux.h>

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST_MAX    256
#define SEGMENTS_MAX 16

struct options {
	bool transmit;
	bool packed;
	bool mergeable;
	bool in_order;
	bool indirect;
	bool checksum; /* is left to the device */
	unsigned ring;
	unsigned burst;
	unsigned segments; /* of each frame that is sent */
	unsigned long rounds;
	bool count; /* print packets instead of cycles */
};

/* --- a device without a transport --- */

static struct {
	struct plx_virtio virtio;
	uint8_t status;
	uint64_t features;
	uint16_t doorbell;
	uintptr_t delta; /* from IOVA to address */
	struct rings rings;
} card;

static uint8_t read_status(struct plx_virtio *virtio)
{
	(void)virtio;
	return card.status;
}

static void write_status(struct plx_virtio *virtio, uint8_t status)
{
	(void)virtio;
	card.status = status;
}

static void read_features(struct plx_virtio *virtio, struct plx_features *features)
{
	(void)virtio;
	*features = (struct plx_features){{card.features, 0}};
}

static void write_features(struct plx_virtio *virtio, const struct plx_features *features)
{
	(void)virtio;
	card.rings.features = features->word[0];
}

static uint8_t read_generation(struct plx_virtio *virtio)
{
	(void)virtio;
	return 0;
}

static uint64_t config_size(struct plx_virtio *virtio)
{
	(void)virtio;
	return 64;
}

static uint32_t read_config(struct plx_virtio *virtio, unsigned offset, unsigned width)
{
	static const uint8_t config[64] = {0x02, 0, 0, 0, 0, 1};
	uint32_t value = 0;

	(void)virtio;
	memcpy(&value, &config[offset], width);
	return value;
}

static uint16_t queue_max(struct plx_virtio *virtio, uint16_t index)
{
	(void)virtio;
	return index < 2 ? 32768 : 0;
}

static int queue_setup(struct plx_virtio *virtio, const struct plx_virtio_queue *queue,
	struct plx_virtio_doorbell *doorbell)
{
	struct ring *ring = &card.rings.ring[queue->index];

	(void)virtio;
	*ring = (struct ring){
		.size = queue->size,
		.desc = (void *)((uintptr_t)queue->descriptor_area + card.delta),
		.driver = (void *)((uintptr_t)queue->driver_area + card.delta),
		.device = (void *)((uintptr_t)queue->device_area + card.delta),
		.avail_wrap = true,
		.used_wrap = true,
	};
	ring_be_quiet(&card.rings, ring);
	doorbell->window =
		(struct plx_mmio){.address = (void *)&card.doorbell, .size = sizeof(card.doorbell)};
	doorbell->value = queue->index;
	return 0;
}

static int reset_function(struct plx_virtio *virtio)
{
	(void)virtio;
	return 0;
}

static void close_card(struct plx_virtio *virtio)
{
	(void)virtio;
}

static const struct plx_virtio_transport transport = {
	.name = "none",
	.read_status = read_status,
	.write_status = write_status,
	.read_features = read_features,
	.write_features = write_features,
	.read_generation = read_generation,
	.config_size = config_size,
	.read_config = read_config,
	.queue_max = queue_max,
	.queue_setup = queue_setup,
	.reset_function = reset_function,
	.last_resort = "doing nothing",
	.close = close_card,
};

/* --- what is measured --- */

struct bench {
	struct plx_context *ctx;
	struct plx_pool *pool;
	struct plx_pool_cache *cache;
	struct plx_eth *eth;
};

static void must(int ret)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "burst: %s\n", plx_error());
	exit(1);
}

/* 5.1.9.4: one buffer, one frame, whichever packet it comes in. */
static void write_headers(struct bench *bench)
{
	unsigned count = plx_pool_count(bench->pool), done = 0;
	struct plx_packet **all = calloc(count, sizeof(struct plx_packet *));

	for (struct plx_packet *packet; done < count && plx_pool_get(bench->cache, &packet, 1);) {
		struct virtio_net_hdr *header =
			(void *)(plx_packet_buffer(packet) + plx_pool_headroom(bench->pool));

		*header = (struct virtio_net_hdr){.num_buffers = 1};
		card.delta = (uintptr_t)packet->buffer - (uintptr_t)packet->iova;
		all[done++] = packet;
	}
	plx_pool_return(all, done);
	free(all);
}

static void open_card(struct bench *bench, const struct options *options)
{
	struct plx_context_config context = PLX_CONTEXT_CONFIG_INIT;
	struct plx_pool_config pool = PLX_POOL_CONFIG_INIT;
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;
	struct plx_address address;

	pool.count =
		2 * options->ring + 2 * PLX_POOL_CACHE_SIZE + 4 * BURST_MAX * options->segments;
	/* Enough, and no more than valgrind can give. */
	context.address_space = UINT64_C(1) << 30;
	must(plx_context_create(&context, &bench->ctx));
	must(plx_pool_create(bench->ctx, &pool, &bench->pool));
	must(plx_pool_cache_create(bench->pool, &bench->cache));
	write_headers(bench);
	plx_virtio_init(&card.virtio, &transport, &plx_handshake_modern, VIRTIO_ID_NET,
		plx_pool_memory(bench->pool));
	(void)snprintf(card.virtio.name, sizeof(card.virtio.name), "card");
	card.rings.frame_size = 60;
	card.features = UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_NET_F_MAC |
			(uint64_t)options->packed << VIRTIO_F_RING_PACKED |
			(uint64_t)options->in_order << VIRTIO_F_IN_ORDER |
			(uint64_t)options->checksum << VIRTIO_NET_F_CSUM |
			(uint64_t)options->indirect << VIRTIO_F_INDIRECT_DESC |
			(uint64_t)options->mergeable << VIRTIO_NET_F_MRG_RXBUF;
	must(plx_address_parse(&address, options->mergeable ? "card:0,mrg_rxbuf=on" : "card:0"));
	must(plx_drivers_open_eth(bench->ctx, &card.virtio, &address, &bench->eth));
	plx_address_free(&address);
	config.pool = bench->pool;
	config.offloads = options->checksum ? PLX_ETH_OFFLOAD_TX_CSUM : 0;
	config.rx_ring = config.tx_ring = (uint16_t)options->ring;
	must(plx_eth_configure(bench->eth, &config));
	must(plx_eth_start(bench->eth));
}

/*
 * The two calls that are measured, as functions of their own: benchmarks/instructions counts what
 * is executed in them, by these names.
 */
__attribute__((noinline)) static int measured_receive(
	struct bench *bench, struct plx_packet **batch, unsigned burst)
{
	int n = plx_eth_rx_burst(plx_eth_rxq(bench->eth, 0), batch, burst);

	/* Something to come back for: a jump into the driver would leave this function. */
	__asm__ volatile("" ::: "memory");
	return n;
}

__attribute__((noinline)) static int measured_transmit(
	struct bench *bench, struct plx_packet **batch, unsigned burst)
{
	int n = plx_eth_tx_burst(plx_eth_txq(bench->eth, 0), batch, burst);

	/* Something to come back for: a jump into the driver would leave this function. */
	__asm__ volatile("" ::: "memory");
	return n;
}

static uint64_t receive_round(struct bench *bench, unsigned burst, uint64_t *packets)
{
	struct plx_packet *batch[BURST_MAX];
	uint64_t start;
	int n;

	(void)ring_complete(&card.rings, 0);
	start = plx_cycles();
	n = measured_receive(bench, batch, burst);
	start = plx_cycles() - start;
	must(n);
	plx_pool_put(bench->cache, batch, (uint32_t)n);
	*packets += (unsigned)n;
	return start;
}

/* A frame of 60 bytes. Return: whether the cache had what it takes. */
static bool make_frame(
	struct bench *bench, const struct options *options, struct plx_packet **frame)
{
	const unsigned segments = options->segments;
	struct plx_packet *piece[SEGMENTS_MAX];

	if (plx_pool_get(bench->cache, piece, segments) < segments)
		return false;
	for (unsigned i = 0; i < segments; i++) {
		plx_packet_prepare(piece[i], 128);
		(void)plx_packet_append(piece[i], (uint16_t)(60 / segments));
		piece[i]->next = i + 1 < segments ? piece[i + 1] : NULL;
	}
	piece[0]->len = 60 / segments * segments;
	piece[0]->segments = (uint16_t)segments;
	piece[0]->offload = options->checksum ? PLX_PACKET_CSUM : 0;
	piece[0]->csum_start = 34;
	piece[0]->csum_offset = options->checksum ? 16 : 0;
	*frame = piece[0];
	return true;
}

static uint64_t transmit_round(
	struct bench *bench, const struct options *options, uint64_t *packets)
{
	struct plx_packet *batch[BURST_MAX];
	uint64_t start;
	unsigned made = 0;
	int n;

	(void)ring_complete(&card.rings, 1);
	while (made < options->burst && make_frame(bench, options, &batch[made]))
		made++;
	start = plx_cycles();
	n = measured_transmit(bench, batch, made);
	start = plx_cycles() - start;
	must(n);
	for (unsigned i = (unsigned)n; i < made; i++)
		plx_packet_free(batch[i]);
	*packets += (unsigned)n;
	return start;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/*
 * Cycles a packet: the median of slices, so that an interruption does not count. Or all packets
 * that were moved.
 */
static double measure(struct bench *bench, const struct options *options)
{
	enum { SLICES = 201 };
	double slice[SLICES];
	uint64_t moved = 0;

	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t cycles = 0, packets = 0;

		for (unsigned long round = 0; round < options->rounds / SLICES + 1; round++)
			cycles += options->transmit
					  ? transmit_round(bench, options, &packets)
					  : receive_round(bench, options->burst, &packets);
		slice[i] = (double)cycles / (double)packets;
		moved += packets;
	}
	if (options->count)
		return (double)moved;
	qsort(slice, SLICES, sizeof(slice[0]), compare);
	return slice[SLICES / 2];
}

/* --- the command line --- */

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 't':
		options->transmit = true;
		return 0;
	case 'p':
		options->packed = true;
		return 0;
	case 'm':
		options->mergeable = true;
		return 0;
	case 'i':
		options->in_order = true;
		return 0;
	case 'r':
		options->ring = (unsigned)strtoul(arg, NULL, 0);
		return 0;
	case 'b':
		options->burst = (unsigned)strtoul(arg, NULL, 0);
		if (!options->burst || options->burst > BURST_MAX)
			argp_error(
				state, "--burst=%s is not possible: give 1 to %u", arg, BURST_MAX);
		return 0;
	case 's':
		options->segments = (unsigned)strtoul(arg, NULL, 0);
		if (!options->segments || options->segments > SEGMENTS_MAX)
			argp_error(state, "--segments=%s is not possible: give 1 to %u", arg,
				SEGMENTS_MAX);
		return 0;
	case 'k':
		options->checksum = true;
		return 0;
	case 'd':
		options->indirect = true;
		return 0;
	case 'n':
		options->rounds = strtoul(arg, NULL, 0);
		return 0;
	case 'c':
		options->count = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option list[] = {
		{"transmit", 't', NULL, 0, "Send; otherwise receive", 0},
		{"packed", 'p', NULL, 0, "Use a packed ring; otherwise a split one", 0},
		{"mergeable", 'm', NULL, 0, "Receive with mergeable buffers", 0},
		{"in-order", 'i', NULL, 0, "The device completes in order", 0},
		{"indirect", 'd', NULL, 0, "The device takes indirect tables", 0},
		{"checksum", 'k', NULL, 0, "Frames that are sent ask for their checksum", 0},
		{"segments", 's', "COUNT", 0, "Segments of each frame that is sent (1)", 0},
		{"ring", 'r', "ENTRIES", 0, "Entries of the ring (256)", 0},
		{"burst", 'b', "PACKETS", 0, "Packets a burst (32)", 0},
		{"rounds", 'n', "BURSTS", 0, "How many bursts (200000)", 0},
		{"count", 'c', NULL, 0,
			"Print how many packets were moved instead, for a tool that counts what that took",
			0},
		{0},
	};
	static const struct argp argp = {list, parse, NULL,
		"Print the cycles that a burst of the driver takes for each packet of 60 bytes.",
		NULL, NULL, NULL};
	struct options options = {.ring = 256, .burst = 32, .segments = 1, .rounds = 200000};
	struct bench bench = {0};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	open_card(&bench, &options);
	printf("%.2f\n", measure(&bench, &options));
	plx_eth_close(bench.eth);
	plx_pool_cache_destroy(bench.cache);
	must(plx_pool_destroy(bench.pool));
	must(plx_context_destroy(bench.ctx));
	return 0;
}
