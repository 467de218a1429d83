/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The upper bound: a loop over a ring that trusts the device in everything, also to complete in
 * order, and does for each packet what no driver can leave out: it reads the completion, touches
 * the 64 bytes that describe the packet, and writes the descriptor of another buffer. There is no
 * pool, no counter, no call. Set up by Pollux's own vhost-user transport.
 */
#include "bench.h"

#include "base/barrier.h"
#include "base/compiler.h"
#include "base/options.h"
#include "context/context.h"
#include "virtio/handshake.h"
#include "virtio/vhost_user.h"
#include "virtio/virtq.h"

#include <pollux/pollux.h>

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#define BURST_MAX  256
#define BUFFER     2048
#define FRAME      72 /* bytes to send: 60, behind a header of 12 zeros */
#define BOTH_FLAGS (VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED)

struct options {
	char *address;
	bool transmit;
	unsigned ring;
	unsigned burst;
	unsigned core;
	double seconds;
};

/* The 64 bytes that describe a packet. */
struct header {
	uint64_t iova;
	uint32_t len;
} __cache_aligned;

struct bare {
	struct options options;
	struct plx_context *ctx;
	struct plx_virtio *virtio;
	struct plx_virtq *queue[2];
	void *memory;
	struct header *header;
	struct header **owner; /* by descriptor */
	struct header **spare; /* a stack */
	unsigned spares;
	uint16_t avail, used; /* split: running free; packed: places */
	uint16_t avail_flags, used_flags;
	uint16_t room; /* to send: free descriptors */
};

static void must(int ret)
{
	if (ret >= 0)
		return;
	(void)fprintf(stderr, "bare: %s\n", plx_error());
	exit(1);
}

/* --- the loops; each returns the packets that it moved --- */

static inline void free_packet(struct bare *bare, uint16_t id)
{
	bare->spare[bare->spares++] = bare->owner[id];
}

/* Return: the descriptor's new owner. */
static inline struct header *take_packet(struct bare *bare, uint16_t id)
{
	return bare->owner[id] = bare->spare[--bare->spares];
}

static inline unsigned receive_split(struct bare *bare, struct plx_virtq *queue, unsigned burst)
{
	const uint16_t mask = (uint16_t)(queue->size - 1);
	/* Acquire: the elements are read after the index. */
	uint16_t seen = plx_shared16_read_acquire(&queue->split.used->idx);
	unsigned n = MIN(burst, (unsigned)(uint16_t)(seen - bare->used));
	struct header *got[BURST_MAX];

	for (unsigned i = 0; i < n; i++) {
		struct virtq_used_elem *elem = &queue->split.used->ring[(bare->used + i) & mask];

		got[i] = bare->owner[plx_shared32_read(&elem->id)];
		got[i]->len = plx_shared32_read(&elem->len);
	}
	for (unsigned i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(bare->used + i) & mask;

		plx_shared64_write(&queue->split.desc[at].addr, take_packet(bare, at)->iova);
	}
	for (unsigned i = 0; i < n; i++)
		bare->spare[bare->spares++] = got[i];
	bare->used = (uint16_t)(bare->used + n);
	bare->avail = (uint16_t)(bare->avail + n);
	/* Release: the descriptors are there before the index says so. */
	if (n)
		plx_shared16_write_release(&queue->split.avail->idx, bare->avail);
	return n;
}

static inline void reclaim_split(struct bare *bare, struct plx_virtq *queue)
{
	const uint16_t mask = (uint16_t)(queue->size - 1);
	/* Acquire: as above. */
	uint16_t seen = plx_shared16_read_acquire(&queue->split.used->idx);

	for (; bare->used != seen; bare->used++, bare->room++)
		free_packet(bare, (uint16_t)plx_shared32_read(
					  &queue->split.used->ring[bare->used & mask].id));
}

static inline unsigned transmit_split(struct bare *bare, struct plx_virtq *queue, unsigned burst)
{
	const uint16_t mask = (uint16_t)(queue->size - 1);
	unsigned n;

	if (bare->room < queue->size / 2)
		reclaim_split(bare, queue);
	n = MIN(burst, (unsigned)bare->room);
	for (unsigned i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(bare->avail + i) & mask;
		struct header *header = take_packet(bare, at);

		plx_shared64_write(&queue->split.desc[at].addr, header->iova);
		plx_shared32_write(&queue->split.desc[at].len, header->len);
	}
	bare->room = (uint16_t)(bare->room - n);
	bare->avail = (uint16_t)(bare->avail + n);
	/* Release: as above. */
	if (n)
		plx_shared16_write_release(&queue->split.avail->idx, bare->avail);
	return n;
}

static inline void step(const struct plx_virtq *queue, uint16_t *at, uint16_t *flags)
{
	if (++*at < queue->size)
		return;
	*at = 0;
	*flags ^= BOTH_FLAGS;
}

static inline bool is_used(const struct bare *bare, const struct plx_virtq *queue)
{
	/* Acquire: id and length are read after the flags. */
	uint16_t flags = plx_shared16_read_acquire(&queue->packed.desc[bare->used].flags);

	return (flags & BOTH_FLAGS) == bare->used_flags;
}

/*
 * Make one descriptor available.
 * @held: write all but its flags, since it is the first of a burst
 */
static inline void post_packed(
	struct bare *bare, struct plx_virtq *queue, bool held, uint32_t len, uint16_t kind)
{
	struct virtq_packed_desc *desc = &queue->packed.desc[bare->avail];

	plx_shared64_write(&desc->addr, take_packet(bare, bare->avail)->iova);
	plx_shared32_write(&desc->len, len);
	plx_shared16_write(&desc->id, bare->avail);
	if (!held)
		plx_shared16_write(&desc->flags, bare->avail_flags | kind);
	step(queue, &bare->avail, &bare->avail_flags);
}

static inline unsigned receive_packed(struct bare *bare, struct plx_virtq *queue, unsigned burst)
{
	struct virtq_packed_desc *first = &queue->packed.desc[bare->avail];
	uint16_t first_flags = bare->avail_flags | VIRTQ_DESC_F_WRITE;
	struct header *got[BURST_MAX];
	unsigned n = 0;

	for (; n < burst && is_used(bare, queue); n++) {
		struct virtq_packed_desc *desc = &queue->packed.desc[bare->used];

		got[n] = bare->owner[plx_shared16_read(&desc->id)];
		got[n]->len = plx_shared32_read(&desc->len);
		step(queue, &bare->used, &bare->used_flags);
	}
	for (unsigned i = 0; i < n; i++)
		post_packed(bare, queue, !i, BUFFER, VIRTQ_DESC_F_WRITE);
	for (unsigned i = 0; i < n; i++)
		bare->spare[bare->spares++] = got[i];
	/* Release: the device finds all behind the first once it sees that. */
	if (n)
		plx_shared16_write_release(&first->flags, first_flags);
	return n;
}

static inline unsigned transmit_packed(struct bare *bare, struct plx_virtq *queue, unsigned burst)
{
	struct virtq_packed_desc *first = &queue->packed.desc[bare->avail];
	uint16_t first_flags = bare->avail_flags;
	unsigned n;

	while (bare->room < queue->size / 2 && is_used(bare, queue)) {
		free_packet(bare, plx_shared16_read(&queue->packed.desc[bare->used].id));
		step(queue, &bare->used, &bare->used_flags);
		bare->room++;
	}
	n = MIN(burst, (unsigned)bare->room);
	for (unsigned i = 0; i < n; i++)
		post_packed(bare, queue, !i, FRAME, 0);
	bare->room = (uint16_t)(bare->room - n);
	/* Release: as above. */
	if (n)
		plx_shared16_write_release(&first->flags, first_flags);
	return n;
}

/* --- setting up --- */

static int set_up(void *arg)
{
	struct bare *bare = arg;
	uint16_t size = (uint16_t)bare->options.ring;

	for (uint16_t i = 0; i < 2; i++)
		must(plx_virtq_create(bare->virtio, i, size, size, &bare->queue[i]));
	return 0;
}

static void fill_split(struct bare *bare, struct plx_virtq *queue)
{
	bool transmit = bare->options.transmit;

	for (uint16_t i = 0; i < queue->size; i++) {
		queue->split.desc[i] = (struct virtq_desc){
			plx_shared64(transmit ? 0 : take_packet(bare, i)->iova),
			plx_shared32(transmit ? FRAME : BUFFER),
			plx_shared16(transmit ? 0 : VIRTQ_DESC_F_WRITE),
			plx_shared16(0),
		};
		/* In order, and so for ever. */
		plx_shared16_write(&queue->split.avail->ring[i], i);
	}
	if (transmit)
		return;
	bare->avail = queue->size;
	plx_shared16_write_release(&queue->split.avail->idx, bare->avail);
}

static void fill_packed(struct bare *bare, struct plx_virtq *queue)
{
	bare->avail_flags = VIRTQ_PACKED_DESC_F_AVAIL;
	bare->used_flags = BOTH_FLAGS;
	for (unsigned i = 0; !bare->options.transmit && i < queue->size; i++)
		post_packed(bare, queue, false, BUFFER, VIRTQ_DESC_F_WRITE);
}

static int fill(void *arg)
{
	struct bare *bare = arg;
	struct plx_virtq *queue = bare->queue[bare->options.transmit];

	bare->room = queue->size;
	if (queue->is_packed)
		fill_packed(bare, queue);
	else
		fill_split(bare, queue);
	return 0;
}

static void go_live(void *arg)
{
	struct bare *bare = arg;

	plx_virtq_ring_doorbell(bare->queue[bare->options.transmit]);
}

static void make_packets(struct bare *bare)
{
	uint8_t *buffer;

	bare->spares = 2 * MAX(bare->options.ring, (unsigned)BURST_MAX);
	bare->header = aligned_alloc(PLX_CACHE_LINE, bare->spares * sizeof(struct header));
	bare->owner = calloc(bare->options.ring, sizeof(struct header *));
	bare->spare = calloc(bare->spares, sizeof(struct header *));
	if (!bare->header || !bare->owner || !bare->spare)
		must(plx_fail(ENOMEM, "out of memory"));
	must(plx_mem_alloc(bare->ctx->mem, (size_t)bare->spares * BUFFER, PLX_CACHE_LINE, -1, 0,
		&bare->memory));
	buffer = bare->memory;
	memset(buffer, 0, (size_t)bare->spares * BUFFER);
	for (unsigned i = 0; i < bare->spares; i++) {
		bare->header[i] = (struct header){
			.iova = plx_mem_iova(bare->ctx->mem, buffer + (size_t)i * BUFFER),
			.len = FRAME,
		};
		bare->spare[i] = &bare->header[i];
	}
}

static void open_device(struct bare *bare)
{
	static const struct plx_feature_table none = {NULL, 0};
	static const struct plx_handshake_driver driver = {set_up, fill, go_live};
	struct plx_address address;

	must(plx_context_create(NULL, &bare->ctx));
	make_packets(bare);
	must(plx_address_parse(&address, bare->options.address));
	must(plx_vhost_user_open(bare->ctx->mem, &bare->ctx->log, &address, &bare->virtio));
	plx_negotiation_init(&bare->virtio->negotiation, &none);
	must(plx_negotiation_options(&bare->virtio->negotiation, &address));
	must(plx_address_finish(&address));
	plx_address_free(&address);
	must(plx_handshake_probe(bare->virtio));
	must(plx_negotiation_decide(&bare->virtio->negotiation, bare->virtio->name));
	must(plx_handshake_start(bare->virtio, &driver, bare));
}

static void close_device(struct bare *bare)
{
	must(plx_virtio_quiesce(bare->virtio));
	for (unsigned i = 0; i < 2; i++) {
		plx_virtq_disconnect(bare->queue[i]);
		plx_virtq_destroy(bare->queue[i]);
	}
	plx_virtio_close(bare->virtio);
	plx_mem_free(bare->ctx->mem, bare->memory);
	must(plx_context_destroy(bare->ctx));
	free(bare->spare);
	free(bare->owner);
	free(bare->header);
}

/* --- the run --- */

#define LOOP(name)                                                                                 \
	static uint64_t loop_##name(struct bare *bare, struct plx_virtq *queue)                    \
	{                                                                                          \
		uint64_t packets = 0;                                                              \
                                                                                                   \
		for (unsigned i = 0; i < 4096; i++)                                                \
			packets += name(bare, queue, bare->options.burst);                         \
		return packets;                                                                    \
	}

LOOP(receive_split)
LOOP(receive_packed)
LOOP(transmit_split)
LOOP(transmit_packed)

#undef LOOP

static void run(struct bare *bare)
{
	static uint64_t (*const loops[2][2])(struct bare *, struct plx_virtq *) = {
		{loop_receive_split, loop_receive_packed},
		{loop_transmit_split, loop_transmit_packed},
	};
	struct plx_virtq *queue = bare->queue[bare->options.transmit];
	double from = bench_now(), to = from;
	uint64_t packets = 0;

	while (to - from < bare->options.seconds) {
		packets += loops[bare->options.transmit][queue->is_packed](bare, queue);
		to = bench_now();
	}
	bench_print(to - from, bare->options.transmit ? 0 : packets,
		bare->options.transmit ? packets : 0);
}

/* --- the command line --- */

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'x':
		options->transmit = true;
		return 0;
	case 'r':
		options->ring = bench_number("ring", arg, 32768, state);
		if (!options->ring || (options->ring & (options->ring - 1)))
			argp_error(state, "--ring=%s is not possible: give a power of two", arg);
		return 0;
	case 'b':
		options->burst = bench_number("burst", arg, BURST_MAX, state);
		return 0;
	case 'c':
		options->core = bench_number("core", arg, CPU_SETSIZE - 1, state);
		return 0;
	case 't':
		options->seconds = strtod(arg, NULL);
		return 0;
	case ARGP_KEY_ARG:
		if (options->address)
			argp_error(state, "one address is enough");
		options->address = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->address)
			argp_error(state, "no address is given");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option list[] = {
		{"transmit", 'x', NULL, 0, "Send; otherwise receive", 0},
		{"ring", 'r', "ENTRIES", 0, "Entries of the ring (256)", 0},
		{"burst", 'b', "PACKETS", 0, "Packets a burst (32)", 0},
		{"core", 'c', "CORE", 0, "Core to poll on (1)", 0},
		{"time", 't', "SECONDS", 0, "How long to run (1)", 0},
		{0},
	};
	static const struct argp argp = {list, parse, "vhost-user:SOCKET,in_order=off[,packed=off]",
		"Walk a ring with no checks at all, and print as a line of JSON how many frames were "
		"received or sent. The backend must complete in order, and name each.",
		NULL, NULL, NULL};
	struct bare bare = {
		.options = {.ring = 256, .burst = 32, .core = 1, .seconds = 1},
	};

	argp_parse(&argp, argc, argv, 0, NULL, &bare.options);
	bench_pin("bare", bare.options.core);
	open_device(&bare);
	run(&bare);
	close_device(&bare);
	return 0;
}
