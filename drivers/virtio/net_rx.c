/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_offload.h"
#include "drivers/virtio/net_rx_plain.h"

#include "base/error.h"
#include "virtio/virtq_ring.h"

/*
 * Receiving: one buffer is one packet of the pool and one descriptor of the ring. The device writes
 * its header in front of the frame: see place_header().
 */

static int receive_broken(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count)
{
	struct net_rxq *queue = container_of(base, struct net_rxq, base);

	(void)packets;
	(void)count;
	return plx_virtq_fail(queue->vq);
}

/* From the next burst on the queue answers with its error; what this one received is good. */
static int give_up(struct net_rxq *queue, unsigned received)
{
	queue->base.burst = receive_broken;
	return received ? (int)received : plx_virtq_fail(queue->vq);
}

/* Take packets to post, at most @want. Return: how many; 0 when the pool is empty. */
static __always_inline_fn unsigned take_fresh(
	struct net_rxq *queue, struct plx_packet **fresh, unsigned want)
{
	if (likely(plx_pool_get(queue->cache, fresh, want)))
		return want;
	want = MIN(plx_pool_cache_fill(queue->cache, 1), want);
	if (plx_pool_get(queue->cache, fresh, want))
		return want;
	plx_counter_add(&queue->counters.no_buffers, 1);
	return 0;
}

/* A buffer is one piece of memory, whether it takes one descriptor or two. */
static void post(struct net_rxq *queue, struct plx_packet *packet)
{
	const bool packed = queue->vq->is_packed;
	uint64_t iova = packet->iova + queue->header_off;
	struct plx_virtq_buffer buffers[2] = {{iova, queue->room}};

	if (likely(!queue->header_apart)) {
		plx_virtq_add(queue->vq, buffers, 0, 1, packet, packed);
		return;
	}
	buffers[0].len = queue->header_len;
	buffers[1] = (struct plx_virtq_buffer){
		iova + queue->header_len, queue->room - queue->header_len};
	plx_virtq_add(queue->vq, buffers, 0, 2, packet, packed);
}

#ifdef PLX_WIDE
/* post_run() for as many as come in eights. @map: advanced to the header. Return: how many. */
static inline PLX_WIDE unsigned post_8(const struct plx_virtq_run *run,
	const struct plx_pool_map *map, struct plx_packet *const *packets, unsigned count,
	uint32_t room, const bool packed)
{
	unsigned i = 0;

	for (; i + 8 <= count; i += 8) {
		__m512i cookies = _mm512_loadu_si512(&packets[i]);
		__m512i address = _mm512_add_epi64(_mm512_set1_epi64((long long)map->iova),
			_mm512_mullo_epi64(cookies, _mm512_set1_epi64((long long)map->scale)));

		if (!plx_virtq_put_8(
			    run, i, cookies, address, _mm512_set1_epi64(room), true, packed))
			break;
	}
	return i;
}
#endif

/* The same of packets of the pool at hand, in an ordered queue. */
static __always_inline_fn void post_run(struct net_rxq *queue, struct plx_packet **packets,
	unsigned count, const bool packed, const bool wide)
{
	const struct plx_virtq_run run = plx_virtq_begin_run(queue->vq, packed);
	struct plx_pool_map map = queue->map;
	const uint32_t room = queue->room;
	unsigned i = 0;

	plx_pool_map_advance(&map, queue->header_off);
#ifdef PLX_WIDE
	if (wide && likely(!map.apart))
		i = post_8(&run, &map, packets, count, room, packed);
#endif
	for (; i < count; i++) {
		struct plx_virtq_buffer buffer = {plx_pool_map_iova(&map, packets[i]), room};

		plx_virtq_put(&run, i, packets[i], buffer, true, packed);
	}
	plx_virtq_end_run(queue->vq, &run, count, true, packed);
}

/*
 * Post as many buffers as the ring has room for and the pool can give. Publishes them, and does not
 * notify. @in_runs, for an ordered queue whose buffers take one descriptor each, @packed and @wide
 * are constants.
 */
static __always_inline_fn void refill(
	struct net_rxq *queue, const bool in_runs, const bool packed, const bool wide)
{
	const unsigned each = in_runs ? 1 : 1 + queue->header_apart; /* descriptors */
	struct plx_virtq *vq = queue->vq;
	struct plx_packet *fresh[NET_BATCH];
	unsigned count = 1;

	while (count && vq->free_count >= each) {
		count = take_fresh(queue, fresh, MIN(vq->free_count / each, (unsigned)NET_BATCH));
		if (in_runs)
			post_run(queue, fresh, count, packed, wide);
		for (unsigned i = 0; !in_runs && i < count; i++)
			post(queue, fresh[i]);
	}
	plx_virtq_publish(vq, packed);
}

/* Once for all that receive: a ring is filled up after several bursts, by many buffers. */
static __noinline_fn void refill_split(struct net_rxq *queue)
{
	refill(queue, true, false, false);
}

static __noinline_fn void refill_packed(struct net_rxq *queue)
{
	refill(queue, true, true, false);
}

#ifdef PLX_WIDE
PLX_WIDE static __noinline_fn void refill_split_wide(struct net_rxq *queue)
{
	refill(queue, true, false, true);
}

PLX_WIDE static __noinline_fn void refill_packed_wide(struct net_rxq *queue)
{
	refill(queue, true, true, true);
}
#endif

static __always_inline_fn void refill_in_runs(
	struct net_rxq *queue, const bool packed, const bool wide)
{
#ifdef PLX_WIDE
	if (wide) {
		packed ? refill_packed_wide(queue) : refill_split_wide(queue);
		return;
	}
#endif
	packed ? refill_packed(queue) : refill_split(queue);
}

/* Of any queue, at any time. */
static void refill_singly(struct net_rxq *queue)
{
	refill(queue, false, queue->vq->is_packed, false);
}

static void drop(struct net_rxq *queue, struct plx_packet *packet, uint64_t *reason)
{
	plx_counter_add(reason, 1);
	while (packet) {
		struct plx_packet *next = packet->next;

		plx_pool_put(queue->cache, &packet, 1);
		packet = next;
	}
}

/* A value that the device wrote into a buffer; read once. */
static __always_inline_fn uint16_t header_num_buffers(
	const struct net_rxq *queue, const struct plx_packet *packet)
{
	const uint8_t *header = plx_packet_buffer(packet) + queue->header_off;

	return plx_shared16_read_anywhere(header + offsetof(struct virtio_net_hdr, num_buffers));
}

/* Buffers of an ordered queue that were taken together; what follows them is still in the ring. */
struct run {
	struct plx_packet **packets;
	const uint32_t *len;
	unsigned count;
	unsigned at;
};

/* Take the next buffer of a frame. Return: NULL when none has come, or the queue broke. */
static struct plx_packet *next_segment(struct net_rxq *queue, struct run *run)
{
	struct plx_packet *segment;
	uint32_t len;

	if (run->at < run->count) {
		segment = run->packets[run->at];
		len = run->len[run->at++];
	} else {
		if (!plx_virtq_ready(queue->vq, queue->vq->is_packed))
			return NULL;
		segment = plx_virtq_pop(queue->vq, &len, true, queue->vq->is_packed);
		if (!segment)
			return NULL;
	}
	segment->next = NULL;
	segment->data_off = queue->header_off;
	segment->data_len = (uint16_t)len;
	return segment;
}

/*
 * Collect the rest of a frame that the device spread over several buffers (5.1.9.4.1).
 *
 * Return: Whether the whole frame is behind @first; otherwise it was dropped, for a reason of its
 * own or since the queue broke.
 */
static bool collect(
	struct net_rxq *queue, struct plx_packet *first, unsigned buffers, struct run *run)
{
	struct plx_packet *last = first;
	bool bad_length = false;

	if (!buffers || buffers > queue->vq->size) {
		drop(queue, first, &queue->counters.bad_num_buffers);
		return false;
	}
	while (--buffers) {
		struct plx_packet *segment = next_segment(queue, run);

		if (!segment) {
			drop(queue, first, &queue->counters.missing_buffers);
			return false;
		}
		last->next = segment;
		last = segment;
		bad_length |= !segment->data_len;
		first->len += segment->data_len;
		first->segments++;
	}
	if (bad_length || first->len > NET_FRAME_MAX) {
		drop(queue, first, &queue->counters.bad_length);
		return false;
	}
	return true;
}

/* What the header says of a whole frame. Return: whether the frame is one to hand on. */
static bool take_offloads(struct net_rxq *queue, struct plx_packet *packet)
{
	const uint8_t *header = plx_packet_buffer(packet) + queue->header_off;

	if (net_offload_received(queue, packet, header))
		return true;
	drop(queue, packet, &queue->counters.bad_gso);
	return false;
}

/* Make a frame of a buffer, and of those behind it. Return: whether it is one to hand on. */
static __always_inline_fn bool make_frame(struct net_rxq *queue, struct plx_packet *packet,
	uint32_t len, struct run *run, const bool mergeable, const bool offloads)
{
	unsigned buffers;

	if (device_lies(len <= queue->header_len)) {
		packet->next = NULL;
		drop(queue, packet, &queue->counters.short_header);
		return false;
	}
	net_rx_set_first(queue, packet, len);
	buffers = mergeable ? header_num_buffers(queue, packet) : 1;
	if (unlikely(buffers != 1) && !collect(queue, packet, buffers, run))
		return false;
	return !offloads || take_offloads(queue, packet);
}

/* Take frames one by one, in whatever order the device returns its buffers. */
static unsigned receive_singly(
	struct net_rxq *queue, struct plx_packet **packets, unsigned count, uint64_t *bytes)
{
	struct plx_virtq *vq = queue->vq;
	const bool packed = vq->is_packed;
	struct run none = {.count = 0};
	unsigned received = 0;

	while (received < count && plx_virtq_ready(vq, packed)) {
		uint32_t len;
		struct plx_packet *packet = plx_virtq_pop(vq, &len, true, packed);

		if (device_lies(!packet))
			break;
		if (!make_frame(queue, packet, len, &none, queue->mergeable, queue->offloads))
			continue;
		*bytes += packet->len;
		packets[received++] = packet;
	}
	return received;
}

/* Take a run of buffers, and make frames of them where they are. */
static __always_inline_fn unsigned receive_run(struct net_rxq *queue, struct plx_packet **packets,
	unsigned count, bool *odd, uint64_t *bytes, const bool mergeable, const bool packed,
	const bool offloads, const bool wide)
{
	uint32_t len[NET_BATCH];
	struct run run = {packets, len, 0, 0};
	unsigned received = 0;

	run.count =
		plx_virtq_take(queue->vq, (void **)packets, len, count, true, odd, packed, wide);
	for (unsigned i = 0; mergeable && i < run.count; i++)
		__builtin_prefetch(
			plx_pool_map_buffer(&queue->map, packets[i]) + queue->header_off);
	if (queue->vq->free_count >= queue->refill_at && !device_lies(queue->vq->fault))
		refill_in_runs(queue, packed, wide);
	if (!mergeable && !offloads)
		run.at = received = net_rx_make_plain(queue, packets, len, run.count, bytes, wide);
	while (run.at < run.count) {
		struct plx_packet *packet = packets[run.at];

		if (unlikely(!make_frame(queue, packet, len[run.at++], &run, mergeable, offloads)))
			continue;
		*bytes += packet->len;
		packets[received++] = packet;
	}
	return received;
}

void net_rx_fill_up(struct net_rxq *queue)
{
	refill_singly(queue);
	plx_virtq_kick(queue->vq, queue->vq->is_packed);
}

/* What follows on the frames that were taken. Return: as plx_eth_rx_burst(). */
static __always_inline_fn int finish(
	struct net_rxq *queue, unsigned received, uint64_t bytes, const bool packed)
{
	plx_counter_add(&queue->counters.packets, received);
	plx_counter_add(&queue->counters.bytes, bytes);
	if (device_lies(queue->vq->fault))
		return give_up(queue, received);
	plx_virtq_kick(queue->vq, packed);
	queue->quiet = received ? 0 : queue->quiet + 1;
	if (!received) {
		if (unlikely(queue->quiet == NET_QUIET_POLLS && queue->vq->free_count))
			net_rx_fill_up(queue);
		plx_virtq_idle(queue->vq);
	}
	return (int)received;
}

static void choose_path(struct net_rxq *queue);

/*
 * In whatever order the device returns its buffers, and in two descriptors each if it wants that.
 */
static int receive_any_order(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count)
{
	struct net_rxq *queue = container_of(base, struct net_rxq, base);
	uint64_t bytes = 0;
	unsigned received = receive_singly(queue, packets, count, &bytes);

	if (!queue->vq->fault && queue->vq->free_count >= queue->refill_at)
		refill_singly(queue);
	return finish(queue, received, bytes, queue->vq->is_packed);
}

/* What comes next is no part of a run: the device is not in order any more, or it lies. */
static unsigned leave_order(
	struct net_rxq *queue, struct plx_packet **packets, unsigned count, uint64_t *bytes)
{
	unsigned received = receive_singly(queue, packets, count, bytes);

	choose_path(queue);
	return received;
}

/* The one body of receiving; @mergeable, @packed, @offloads and @wide are constants. */
static __always_inline_fn int receive(struct plx_eth_rxq *base, struct plx_packet **packets,
	unsigned count, const bool mergeable, const bool packed, const bool offloads,
	const bool wide)
{
	struct net_rxq *queue = container_of(base, struct net_rxq, base);
	unsigned received = 0, want, got;
	uint64_t bytes = 0;
	bool odd = false;

	do {
		want = MIN(count - received, (unsigned)NET_BATCH);
		got = receive_run(queue, packets + received, want, &odd, &bytes, mergeable, packed,
			offloads, wide);
		received += got;
	} while (unlikely(got == NET_BATCH) && received < count && queue->vq->ordered);
	/* The rest of a frame may have come out of turn, which no run tells of. */
	if (unlikely(odd || !queue->vq->ordered))
		received += leave_order(queue, packets + received, count - received, &bytes);
	return finish(queue, received, bytes, packed);
}

#define INSTANCE(name, mergeable, packed, offloads)                                                \
	static int name(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count)     \
	{                                                                                          \
		return receive(base, packets, count, mergeable, packed, offloads, false);          \
	}

INSTANCE(receive_split, false, false, false)
INSTANCE(receive_split_offloads, false, false, true)
INSTANCE(receive_split_mergeable, true, false, false)
INSTANCE(receive_split_mergeable_offloads, true, false, true)
INSTANCE(receive_packed, false, true, false)
INSTANCE(receive_packed_offloads, false, true, true)
INSTANCE(receive_packed_mergeable, true, true, false)
INSTANCE(receive_packed_mergeable_offloads, true, true, true)

#undef INSTANCE

#ifdef PLX_WIDE
PLX_WIDE static int receive_split_wide(
	struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count)
{
	return receive(base, packets, count, false, false, false, true);
}

PLX_WIDE static int receive_packed_wide(
	struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count)
{
	return receive(base, packets, count, false, true, false, true);
}
#else
#define receive_split_wide  receive_split
#define receive_packed_wide receive_packed
#endif

typedef int burst_fn(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count);

/* [packed][mergeable][offloads] */
static burst_fn *const bursts[2][2][2] = {
	{{receive_split, receive_split_offloads},
		{receive_split_mergeable, receive_split_mergeable_offloads}},
	{{receive_packed, receive_packed_offloads},
		{receive_packed_mergeable, receive_packed_mergeable_offloads}},
};

/* Every path has a name, by what was negotiated and by what the device does with it. */
enum order { NO_PROMISE, IN_ORDER, ANY_ORDER };

#define OFFLOADS(name)                                                                             \
	{                                                                                          \
		name, name ", offloads"                                                            \
	}
#define ORDERS(name)                                                                               \
	{                                                                                          \
		OFFLOADS(name), OFFLOADS(name ", in order"), OFFLOADS(name ", any order")          \
	}

/* [packed][mergeable][order][offloads] */
static const char *const names[2][2][3][2] = {
	{ORDERS("split, one buffer"), ORDERS("split, mergeable")},
	{ORDERS("packed, one buffer"), ORDERS("packed, mergeable")},
};

/* Where registers are wide: [packed], and [packed][order]. */
static burst_fn *const wide_bursts[] = {receive_split_wide, receive_packed_wide};
static const char *const wide_names[2][2] = {
	{"split, one buffer, AVX-512", "split, one buffer, in order, AVX-512"},
	{"packed, one buffer, AVX-512", "packed, one buffer, in order, AVX-512"},
};

#undef OFFLOADS
#undef ORDERS

static void choose_path(struct net_rxq *queue)
{
	const struct plx_virtq *vq = queue->vq;
	bool runs = vq->ordered && !queue->header_apart, offloads = queue->offloads;
	enum order order = !runs ? ANY_ORDER : vq->in_order ? IN_ORDER : NO_PROMISE;
	bool wide = runs && !queue->mergeable && !offloads && queue->wide;

	/* Whoever asks for it may do so while the queue runs. */
	__atomic_store_n(&queue->path,
		wide ? wide_names[vq->is_packed][order]
		     : names[vq->is_packed][queue->mergeable][order][offloads],
		__ATOMIC_RELAXED);
	queue->base.burst = wide   ? wide_bursts[vq->is_packed]
			    : runs ? bursts[vq->is_packed][queue->mergeable][offloads]
				   : receive_any_order;
}

/* --- life --- */

/*
 * Where the header goes. In the headroom, in front of a frame that begins a cache line: a header
 * that stays the same from frame to frame is then a line that nobody writes, and a frame that is
 * passed on unseen never leaves the other side's cache. With merged buffers the header changes and
 * is looked at, and so does best on the line where the frame begins.
 */
static uint16_t place_header(const struct net_rxq *queue, const struct plx_pool *pool)
{
	uint16_t headroom = plx_pool_headroom(pool);

	if (queue->mergeable || headroom < queue->header_len)
		return headroom;
	return (uint16_t)(headroom - queue->header_len);
}

int net_rx_create(struct net *net, unsigned pair, uint16_t entries)
{
	struct net_rxq *queue = &net->rx[pair];
	struct plx_pool *pool = net->wanted.pool;
	int err;

	queue->header_len = net_header_len(net->virtio);
	queue->header_apart = net_header_apart(net->virtio);
	queue->mergeable = plx_virtio_has(net->virtio, VIRTIO_NET_F_MRG_RXBUF);
	queue->header_off = place_header(queue, pool);
	queue->offloads = net_offloads(net) & (NET_SWITCHABLE | PLX_ETH_OFFLOAD_RX_HASH);
	queue->ecn = plx_virtio_has(net->virtio, VIRTIO_NET_F_GUEST_ECN);
	queue->wide = net->wide;
	queue->room = plx_pool_data_size(pool);
	queue->buf_len = (uint16_t)(plx_pool_headroom(pool) + queue->room);
	queue->map = plx_pool_map(pool);
	err = plx_pool_cache_create(pool, &queue->cache);
	if (!err && net->interrupts)
		err = plx_interrupts_map(net->interrupts, pair);
	if (!err)
		err = plx_virtq_create(
			net->virtio, (uint16_t)VIRTIO_NET_RXQ(pair), entries, 1024, &queue->vq);
	if (err)
		return err;
	plx_virtq_set_room(queue->vq, queue->room);
	queue->refill_at = (uint16_t)MAX(queue->vq->size / (queue->mergeable ? 8 : 2), 1);
	return 0;
}

int net_rx_fill(struct net_rxq *queue)
{
	refill_singly(queue);
	if (queue->vq->free_count <= queue->header_apart)
		return 0;
	return plx_fail(ENOBUFS,
		"%s: the pool has no packets left to fill a ring of %u: give it more "
		"packets or ask for a smaller ring",
		queue->vq->name, queue->vq->size);
}

void net_rx_run(struct net *net, struct net_rxq *queue)
{
	choose_path(queue);
	plx_virtq_kick(queue->vq, queue->vq->is_packed);
	if (queue->vq->counters.kicks)
		plx_trace_add(&net->virtio->trace, PLX_TRACE_NOTIFY, queue->vq->index, 0);
}

void net_rx_release(struct net_rxq *queue)
{
	struct plx_packet *packet;
	unsigned cursor = 0;

	queue->base.burst = plx_eth_rx_stopped;
	if (queue->vq)
		net_ring_add(&queue->ring, &queue->vq->counters);
	while (queue->vq && (packet = plx_virtq_reclaim(queue->vq, &cursor)))
		plx_pool_put(queue->cache, &packet, 1);
	plx_virtq_destroy(queue->vq);
	plx_pool_cache_destroy(queue->cache);
	queue->vq = NULL;
	queue->cache = NULL;
}
