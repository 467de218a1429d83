/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <stdlib.h>
#include <string.h>

#define always_inline static inline __attribute__((always_inline))
#define likely(x)     __builtin_expect(!!(x), 1)

/* Packets that go to a cache at once, of the at most PLX_POOL_CACHE_SIZE / 2 that it takes. */
#define BATCH 64

/* Frames ahead whose first line is fetched while one is changed. */
#define AHEAD 4

/* One writer, and the main thread reads: no more than whole values is needed. */
always_inline void count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

/* A frame of several segments. */
static __attribute__((noinline)) void free_chain(
	struct fwd_stream *stream, struct plx_packet *packet)
{
	while (packet) {
		struct plx_packet *next = packet->next;

		plx_pool_put(stream->cache, &packet, 1);
		packet = next;
	}
}

/* Those that are one packet each go back as they lie there. */
static void free_frames(struct fwd_stream *stream, struct plx_packet **frames, unsigned n)
{
	unsigned from = 0, to = 0;

	while (to < n) {
		for (; to < n && to - from < BATCH && likely(!frames[to]->next); to++)
			;
		plx_pool_put(stream->cache, frames + from, to - from);
		if (to < n && frames[to]->next)
			free_chain(stream, frames[to++]);
		from = to;
	}
}

/* The reason stands in this thread's plx_error(), and must be handed over to the main thread. */
static __attribute__((cold)) int give_up(
	struct fwd_stream *stream, const struct fwd_port *port, const char *what, int err)
{
	const char *reason = plx_error();

	if (*reason)
		stream->error = must_have(strdup(reason));
	else
		stream->error = make_text("%s: %s failed: %s; `pollux info %s` tells more",
			port->name, what, strerrordesc_np(-err), port->name);
	return err;
}

/* Send frames, and free those that a full ring does not take. Return: 0 or -errno. */
always_inline int send_frames(struct fwd_stream *stream, struct plx_packet **frames, unsigned n)
{
	unsigned tries = stream->retries + 1;
	unsigned sent = 0;

	while (sent < n && tries--) {
		int taken = plx_eth_tx_burst(stream->txq, frames + sent, n - sent);

		if (taken < 0) {
			free_frames(stream, frames + sent, n - sent);
			return give_up(stream, stream->out, "transmitting", taken);
		}
		sent += (unsigned)taken;
	}
	if (likely(sent == n))
		return 0;
	count(&stream->tx_full, n - sent);
	free_frames(stream, frames + sent, n - sent);
	return 0;
}

/* The bits of a number: 0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7. */
always_inline unsigned burst_class(unsigned frames)
{
	return frames ? 32 - (unsigned)__builtin_clz(frames) : 0;
}

always_inline int receive_frames(struct fwd_stream *stream, struct plx_packet **frames)
{
	int received = plx_eth_rx_burst(stream->rxq, frames, stream->burst);

	if (likely(received >= 0))
		count(&stream->bursts[burst_class((unsigned)received)], 1);
	return likely(received >= 0) ? received
				     : give_up(stream, stream->in, "receiving", received);
}

/* Nothing came: see that what was sent before gets on its way. Return: 0 or -errno. */
always_inline int look_after_sent(struct fwd_stream *stream)
{
	int err = plx_eth_tx_burst(stream->txq, NULL, 0);

	return likely(!err) ? 0 : give_up(stream, stream->out, "transmitting", err);
}

enum addressing { KEEP, REWRITE, SWAP };

always_inline void address_frame(const struct fwd_stream *stream, const struct plx_packet *packet,
	enum addressing addressing)
{
	uint8_t *data = plx_packet_data(packet);
	uint8_t both[12];

	/* A first segment that is shorter holds no address to change. */
	if (packet->data_len < sizeof(both))
		return;
	if (addressing == REWRITE) {
		memcpy(data, stream->addresses, sizeof(both));
		return;
	}
	memcpy(both, data + 6, 6);
	memcpy(both + 6, data, 6);
	memcpy(data, both, sizeof(both));
}

/* The body of io, mac and macswap. */
always_inline int forward(struct fwd_stream *stream, enum addressing addressing)
{
	struct plx_packet *frames[FWD_BURST_MAX];
	int received = receive_frames(stream, frames);
	int err;

	if (received <= 0)
		return received ? received : look_after_sent(stream);
	for (int i = 0; addressing != KEEP && i < received; i++) {
		if (i + AHEAD < received)
			__builtin_prefetch(plx_packet_data(frames[i + AHEAD]), 1);
		address_frame(stream, frames[i], addressing);
	}
	err = send_frames(stream, frames, (unsigned)received);
	return err ? err : received;
}

static int round_io(struct fwd_stream *stream)
{
	return forward(stream, KEEP);
}

static int round_mac(struct fwd_stream *stream)
{
	return forward(stream, REWRITE);
}

static int round_macswap(struct fwd_stream *stream)
{
	return forward(stream, SWAP);
}

static int round_csum(struct fwd_stream *stream)
{
	struct plx_packet *frames[FWD_BURST_MAX];
	int received = receive_frames(stream, frames);
	int err;

	if (received <= 0)
		return received;
	for (int i = 0; i < received; i++)
		fwd_frame_checksum(frames[i], stream->offloads);
	err = send_frames(stream, frames, (unsigned)received);
	return err ? err : received;
}

static int round_rx(struct fwd_stream *stream)
{
	struct plx_packet *frames[FWD_BURST_MAX];
	int received = receive_frames(stream, frames);

	if (received > 0)
		free_frames(stream, frames, (unsigned)received);
	return received;
}

/*
 * A full ring is what one wants of a sender: the frames that it does not take wait for the next
 * round.
 */
static int round_tx(struct fwd_stream *stream)
{
	struct plx_packet *frames[FWD_BURST_MAX];
	unsigned n = 0;
	int sent;

	while (n < stream->burst) {
		unsigned some = stream->burst - n < BATCH ? stream->burst - n : BATCH;

		if (!plx_pool_get(stream->cache, frames + n, some))
			break;
		n += some;
	}
	/* The data is as it was made; what describes it may have been changed on the way. */
	for (unsigned i = 0; i < n; i++) {
		plx_packet_prepare(frames[i], stream->headroom);
		frames[i]->data_len = stream->size;
		frames[i]->len = stream->size;
	}
	sent = plx_eth_tx_burst(stream->txq, frames, n);
	if (likely(sent >= 0)) {
		free_frames(stream, frames + sent, n - (unsigned)sent);
		return sent;
	}
	free_frames(stream, frames, n);
	return give_up(stream, stream->out, "transmitting", sent);
}

static int round_echo(struct fwd_stream *stream)
{
	struct plx_packet *frames[FWD_BURST_MAX], *ignored[FWD_BURST_MAX];
	int received = receive_frames(stream, frames);
	unsigned answers = 0, rest = 0;
	int err;

	if (received <= 0)
		return received ? received : look_after_sent(stream);
	for (int i = 0; i < received; i++) {
		if (fwd_frame_answer(frames[i], stream->out->info.mac, stream->ip))
			frames[answers++] = frames[i];
		else
			ignored[rest++] = frames[i];
	}
	count(&stream->ignored, rest);
	free_frames(stream, ignored, rest);
	err = send_frames(stream, frames, answers);
	return err ? err : received;
}

const struct fwd_mode fwd_modes[] = {
	{"io", "forward frames as they are", round_io, .paired = true},
	{"mac", "forward them from the port's address to its peer's", round_mac, .paired = true},
	{"macswap", "forward them with source and destination exchanged", round_macswap,
		.paired = true},
	{"csum",
		"forward them with checksums made anew, by the device where it can; large frames go as they came",
		round_csum, .paired = true, .offloads = true},
	{"rx", "receive, count and drop", round_rx},
	{"tx", "send UDP frames from the port to its peer", round_tx, .generates = true},
	{"echo", "answer ARP and ICMP echo requests to --ip, drop the rest", round_echo,
		.answers = true},
	{0},
};

int fwd_core_round(void *arg)
{
	const struct fwd_core *core = arg;
	int total = 0;

	for (struct fwd_stream *stream = core->streams; stream; stream = stream->next) {
		int done = stream->round(stream);

		if (done < 0)
			return done;
		total += done;
	}
	return total;
}

/* Write a frame into every packet of a pool. */
static void build_frames(const struct fwd_stream *stream, struct plx_pool *pool)
{
	uint32_t total = plx_pool_count(pool), n = 0;
	struct plx_packet **frames = must_have(calloc(total, sizeof(struct plx_packet *)));

	while (n < total) {
		uint32_t some = total - n < BATCH ? total - n : BATCH;

		if (!plx_pool_get(stream->cache, frames + n, some))
			break;
		n += some;
	}
	for (uint32_t i = 0; i < n; i++) {
		plx_packet_prepare(frames[i], stream->headroom);
		fwd_frame_build(
			plx_packet_data(frames[i]), stream->size, stream->addresses, (uint16_t)i);
	}
	plx_pool_return(frames, n);
	free(frames);
}

static int create_stream(
	struct fwd *fwd, struct fwd_port *port, unsigned queue, struct fwd_stream *stream)
{
	const struct fwd_options *options = &fwd->options;
	struct plx_pool *pool = options->mode->generates ? port->frames : port->pool;
	int err;

	*stream = (struct fwd_stream){
		.round = options->mode->round,
		.rxq = plx_eth_rxq(port->eth, queue),
		.txq = plx_eth_txq(port->out->eth, queue),
		.burst = options->burst,
		.retries = options->retries,
		.ip = options->ip,
		.offloads = port->out->info.offloads,
		.size = options->size,
		.headroom = plx_pool_headroom(pool),
		.in = port,
		.out = port->out,
	};
	memcpy(stream->addresses, port->out->peer, 6);
	memcpy(stream->addresses + 6, port->out->info.mac, 6);
	err = plx_pool_cache_create(pool, &stream->cache);
	if (!err && options->mode->generates && !queue)
		build_frames(stream, pool);
	return err;
}

int fwd_streams_create(struct fwd *fwd)
{
	unsigned queues = fwd->options.queues;
	size_t total = (size_t)fwd->ports * queues;
	int err = 0;

	fwd->stream = must_have(aligned_alloc(PLX_CACHE_LINE, total * sizeof(*fwd->stream)));
	fwd->cores = fwd->options.cores < total ? fwd->options.cores : (unsigned)total;
	fwd->core = must_have(aligned_alloc(PLX_CACHE_LINE, fwd->cores * sizeof(*fwd->core)));
	memset(fwd->core, 0, fwd->cores * sizeof(*fwd->core));
	for (unsigned i = 0; i < fwd->cores; i++)
		fwd->core[i].number = fwd->options.core[i];
	for (unsigned i = 0; !err && i < total; i++) {
		struct fwd_core *core = &fwd->core[i % fwd->cores];

		err = create_stream(fwd, &fwd->port[i / queues], i % queues, &fwd->stream[i]);
		fwd->stream[i].next = core->streams;
		core->streams = &fwd->stream[i];
		fwd->stream_count++;
	}
	return err;
}

/* The first frames of one stream; what the ring does not take is freed. */
static int send_first(struct fwd_stream *stream, unsigned n)
{
	struct plx_packet *frames[FWD_BURST_MAX];

	n = plx_pool_get(stream->cache, frames, n);
	for (unsigned i = 0; i < n; i++) {
		plx_packet_prepare(frames[i], stream->headroom);
		(void)plx_packet_append(frames[i], stream->size);
		fwd_frame_build(
			plx_packet_data(frames[i]), stream->size, stream->addresses, (uint16_t)i);
	}
	return send_frames(stream, frames, n);
}

int fwd_streams_send_first(struct fwd *fwd)
{
	int err = 0;

	for (unsigned i = 0; fwd->options.first && !err && i < fwd->stream_count; i++)
		err = send_first(&fwd->stream[i], fwd->options.first);
	return err;
}

void fwd_streams_destroy(struct fwd *fwd)
{
	for (unsigned i = 0; i < fwd->stream_count; i++) {
		plx_pool_cache_destroy(fwd->stream[i].cache);
		free(fwd->stream[i].error);
	}
	free(fwd->stream);
	free(fwd->core);
}
