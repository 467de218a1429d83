/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_tx_plain.h"

#include "drivers/virtio/net_offload.h"

#include "base/error.h"
#include "virtio/virtq_ring.h"

#include <string.h>

/*
 * Sending. The header goes into the headroom, right in front of the frame, so that a frame of one
 * segment is one descriptor; a frame without headroom gets a header of zeros from a shared place
 * and one descriptor more.
 */

static int transmit_broken(struct plx_eth_txq *base, struct plx_packet **packets, unsigned count)
{
	struct net_txq *queue = container_of(base, struct net_txq, base);

	(void)packets;
	(void)count;
	return plx_virtq_fail(queue->vq);
}

/* Nothing of a broken queue is touched again; what it has comes back when the device is stopped. */
static int give_up(struct net_txq *queue, unsigned taken)
{
	queue->base.burst = transmit_broken;
	return taken ? (int)taken : plx_virtq_fail(queue->vq);
}

/* Give packets of one pool back, through the cache where it is that pool's. */
static __always_inline_fn void put_run(struct net_txq *queue, const struct plx_pool *pool,
	struct plx_packet **batch, unsigned count)
{
	if (pool == queue->cache->pool)
		plx_pool_put(queue->cache, batch, count);
	else
		plx_pool_return(batch, count);
}

/* Give packets of whatever pools back. */
static void put_batch(struct net_txq *queue, struct plx_packet **batch, unsigned count)
{
	unsigned from = 0;

	while (from < count) {
		const struct plx_pool *pool = batch[from]->pool;
		unsigned to = from + 1;

		while (to < count && batch[to]->pool == pool)
			to++;
		put_run(queue, pool, batch + from, to - from);
		from = to;
	}
}

/* Packets on their way back to their pools. */
struct returning {
	unsigned count;
	struct plx_packet *packet[NET_BATCH];
};

static __always_inline_fn void give_back(
	struct net_txq *queue, struct returning *returning, struct plx_packet *packet)
{
	if (unlikely(returning->count == NET_BATCH)) {
		put_batch(queue, returning->packet, returning->count);
		returning->count = 0;
	}
	returning->packet[returning->count++] = packet;
}

/* All segments of a frame; the chain was checked when it was taken. */
static __always_inline_fn void give_back_frame(
	struct net_txq *queue, struct returning *returning, struct plx_packet *packet)
{
	for (unsigned left = packet->segments; left; left--) {
		struct plx_packet *next = packet->next;

		give_back(queue, returning, packet);
		packet = next;
	}
}

/* Fields side by side, looked at as one. */
static __always_inline_fn uint32_t shape_of(const struct plx_packet *packet)
{
	uint32_t all;

	static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first has the lowest bits");
	static_assert(offsetof(struct plx_packet, offload) ==
				      offsetof(struct plx_packet, segments) + sizeof(uint16_t) &&
			      offsetof(struct plx_packet, csum_offset) ==
				      offsetof(struct plx_packet, offload) + sizeof(uint8_t),
		"segments, offload and csum_offset make 32 bits");
	memcpy(&all, (const char *)packet + offsetof(struct plx_packet, segments), sizeof(all));
	return all;
}

/* One segment with nothing to be done to it. */
static __always_inline_fn bool is_bare(const struct plx_packet *packet)
{
	return shape_of(packet) == 1;
}

/* One segment that lacks a checksum at the most, wherever that stands. */
static __always_inline_fn bool is_simple(const struct plx_packet *packet)
{
	return (shape_of(packet) & ~(UINT32_C(0xff000000) | PLX_PACKET_CSUM << 16)) == 1;
}

/* Whether a segment is of the pool at hand, with room for the header and of a length to be sent. */
static __always_inline_fn bool fits(const struct net_txq *queue, const struct plx_packet *packet)
{
	return packet->pool == queue->home && (uint32_t)packet->data_len - 1 < queue->frame_max &&
	       packet->data_off >= queue->header_len;
}

/* Whether a frame goes in runs, and comes back in them. */
static bool is_plain(const struct net_txq *queue, const struct plx_packet *packet)
{
	return is_simple(packet) && fits(queue, packet);
}

/* One by one, in whatever order the device sent them. */
static void reclaim_singly(struct net_txq *queue)
{
	struct plx_virtq *vq = queue->vq;
	struct returning returning = {.count = 0};

	/* What is sent while we look may wait: the work of one call is bounded by a ring. */
	for (unsigned left = vq->in_flight; left && plx_virtq_ready(vq, vq->is_packed); left--) {
		uint32_t len;
		struct plx_packet *packet = plx_virtq_pop(vq, &len, false, vq->is_packed);

		if (device_lies(!packet))
			break;
		queue->odd = (uint16_t)(queue->odd - (queue->odd > 0));
		give_back_frame(queue, &returning, packet);
	}
	put_batch(queue, returning.packet, returning.count);
}

/* Fetch what the device has sent; @packed is a constant. */
static __always_inline_fn void reclaim_in_runs(struct net_txq *queue, const bool packed)
{
	struct plx_virtq *vq = queue->vq;
	bool odd = !vq->ordered || queue->odd;
	unsigned left = vq->in_flight;

	while (left && !odd) {
		struct plx_packet *done[NET_BATCH];
		unsigned count = MIN(left, (unsigned)NET_BATCH);

		count = plx_virtq_take(vq, (void **)done, NULL, count, false, &odd, packed, false);
		plx_pool_put(queue->cache, done, count);
		left = count == NET_BATCH ? left - count : 0;
	}
	if (unlikely(odd))
		reclaim_singly(queue);
}

/* Once for all that send: it is called once a burst, and as large as the rest of it. */
static __noinline_fn void reclaim_split(struct net_txq *queue)
{
	reclaim_in_runs(queue, false);
}

static __noinline_fn void reclaim_packed(struct net_txq *queue)
{
	reclaim_in_runs(queue, true);
}

static __always_inline_fn void reclaim(struct net_txq *queue, const bool packed)
{
	if (packed)
		reclaim_packed(queue);
	else
		reclaim_split(queue);
}

/*
 * Plain frames are all of one pool, so that nobody needs to look at each again, and go back through
 * a cache of it. It changes when all that is in flight goes back one by one.
 */
static void settle_at(struct net_txq *queue, struct plx_pool *pool)
{
	plx_pool_cache_rebind(queue->cache, pool);
	queue->home = pool;
	queue->map = plx_pool_map(pool);
}

/* A packet of another pool comes first: others of it may follow. */
static void meet_stranger(struct net_txq *queue, const struct plx_packet *packet)
{
	if (queue->odd == queue->vq->in_flight && is_simple(packet))
		settle_at(queue, packet->pool);
}

/* What becomes of a frame that cannot be sent: it is freed as far as its chain can be trusted. */
static void drop(struct plx_packet *packet, uint64_t *reason)
{
	plx_counter_add(reason, 1);
	plx_packet_free(packet);
}

/*
 * 5.1.9.2: no offload is asked for, and num_buffers is 0. A frame that is sent again and again
 * finds its zeros in place: they are not written anew, and the line stays in the device's cache as
 * well.
 */
static __always_inline_fn void write_header(const struct net_txq *queue, struct plx_packet *packet)
{
	uint8_t *header = plx_packet_data(packet) - queue->header_len;
	uint64_t first, last;

	static_assert(VIRTIO_NET_HDR_SIZE_LEGACY >= sizeof(last), "no header is shorter");
	memcpy(&first, header, sizeof(first));
	memcpy(&last, plx_packet_data(packet) - sizeof(last), sizeof(last));
	if (first | last || queue->header_len > sizeof(first) + sizeof(last))
		memset(header, 0, queue->header_len);
}

/* A header of its own descriptor: in the headroom if it asks for anything. */
static struct plx_virtq_buffer header_buffer(const struct net_txq *queue, struct plx_packet *packet)
{
	if (!packet->offload)
		return (struct plx_virtq_buffer){queue->empty_header, queue->header_len};
	net_offload_request(queue, packet);
	return (struct plx_virtq_buffer){
		plx_packet_data_iova(packet) - queue->header_len, queue->header_len};
}

/* Whether so many buffers take one descriptor that stands for them all. */
static bool goes_through_table(const struct net_txq *queue, unsigned buffers)
{
	return buffers >= NET_TABLE_MIN && plx_virtq_takes_table(queue->vq, buffers);
}

/* Add a frame of several segments, or one whose header lies apart. */
static void add_chain(
	struct net_txq *queue, struct plx_packet *packet, unsigned segments, bool apart)
{
	struct plx_virtq_buffer buffers[NET_SEGMENTS_MAX + 1];
	struct plx_packet *segment = packet;
	unsigned count = 0;

	if (apart)
		buffers[count++] = header_buffer(queue, packet);
	for (unsigned i = 0; i < segments; i++) {
		buffers[count++] =
			(struct plx_virtq_buffer){plx_packet_data_iova(segment), segment->data_len};
		segment = segment->next;
	}
	if (!apart) {
		if (packet->offload)
			net_offload_request(queue, packet);
		else
			write_header(queue, packet);
		buffers[0].iova -= queue->header_len;
		buffers[0].len += queue->header_len;
	}
	if (goes_through_table(queue, count))
		plx_virtq_add_table(queue->vq, buffers, count, packet, queue->vq->is_packed);
	else
		plx_virtq_add(queue->vq, buffers, count, 0, packet, queue->vq->is_packed);
}

enum outcome { SENT, DROPPED, NO_ROOM };

/* A frame that is not plain, or that looks wrong. */
static enum outcome send_singly(struct net_txq *queue, struct plx_packet *packet)
{
	bool apart = queue->header_apart || plx_packet_headroom(packet) < queue->header_len;
	unsigned descriptors;
	uint32_t len;
	unsigned segments = net_tx_measure(
		packet, MIN((unsigned)queue->vq->size - apart, (unsigned)NET_SEGMENTS_MAX), &len);

	if (!segments) {
		drop(packet, &queue->counters.bad_segments);
		return DROPPED;
	}
	if (packet->offload && net_offload_fault(queue, packet, len)) {
		drop(packet, &queue->counters.bad_offload);
		return DROPPED;
	}
	if (len > net_tx_frame_max(queue, packet)) {
		drop(packet, &queue->counters.bad_length);
		return DROPPED;
	}
	/* What is enough for frames of one segment may not be enough for this one. */
	descriptors = goes_through_table(queue, segments + apart) ? 1 : segments + apart;
	if (descriptors > queue->vq->free_count)
		reclaim(queue, queue->vq->is_packed);
	if (descriptors > queue->vq->free_count || queue->vq->fault)
		return NO_ROOM;
	add_chain(queue, packet, segments, apart);
	/* In order, what was sent before comes back before. */
	if (!is_plain(queue, packet))
		queue->odd = queue->vq->in_flight;
	return SENT;
}

/*
 * Write the header of a frame that goes in a run, if it is such a frame. One that lacks its
 * checksum must not ask for it in vain.
 */
static __always_inline_fn bool begin_plain(struct net_txq *queue, struct plx_packet *packet)
{
	if (unlikely(!fits(queue, packet)))
		return false;
	if (likely(is_bare(packet))) {
		write_header(queue, packet);
		return true;
	}
	if (!is_simple(packet) || net_offload_fault(queue, packet, packet->data_len))
		return false;
	if (packet->offload)
		net_offload_request(queue, packet);
	else
		write_header(queue, packet);
	return true;
}

/* Send the plain frames that come first. Return: how many. */
static __always_inline_fn unsigned send_run(struct net_txq *queue, struct plx_packet **packets,
	unsigned count, uint64_t *bytes, const bool packed, const bool wide)
{
	const struct plx_virtq_run run = plx_virtq_begin_run(queue->vq, packed);
	const uint32_t header_len = queue->header_len;
	uint64_t sum = 0;
	unsigned sent = 0;

	count = MIN(count, MIN((unsigned)queue->vq->free_count, (unsigned)NET_BATCH));
	if (unlikely(packets[0]->pool != queue->home))
		meet_stranger(queue, packets[0]);
#ifdef PLX_WIDE
	if (wide && likely(!queue->map.apart))
		sent = net_tx_put_8(queue, &run, packets, count, &sum, packed);
#endif
	for (; sent < count && likely(begin_plain(queue, packets[sent])); sent++) {
		struct plx_packet *packet = packets[sent];
		const uint32_t len = packet->data_len;
		struct plx_virtq_buffer buffer = {
			plx_packet_data_iova(packet) - header_len, len + header_len};

		plx_virtq_put(&run, sent, packet, buffer, false, packed);
		sum += len;
	}
	*bytes += sum;
	plx_virtq_end_run(queue->vq, &run, sent, false, packed);
	return sent;
}

/*
 * Called with nothing to send: take back what was sent, and see that what was not is not forgotten
 * for ever behind a notification that the device did not want. Of another's pool nothing is kept
 * when all is sent, so that it may be destroyed.
 */
static int look_after(struct net_txq *queue, const bool packed)
{
	reclaim(queue, packed);
	if (device_lies(queue->vq->fault))
		return give_up(queue, 0);
	plx_virtq_idle(queue->vq);
	if (queue->home != queue->own && !queue->vq->in_flight)
		settle_at(queue, queue->own);
	return 0;
}

/* Give a frame to the ring that is no part of a run. Return: whether it was taken. */
static bool transmit_one(struct net_txq *queue, struct plx_packet *packet, uint64_t *bytes)
{
	/* Once sent, the packet may be the device's and soon somebody else's. */
	uint32_t len = likely(packet->segments == 1) ? packet->data_len : packet->len;
	enum outcome outcome = send_singly(queue, packet);

	if (outcome == SENT) {
		*bytes += len;
		plx_counter_add(&queue->counters.packets, 1);
	}
	return outcome != NO_ROOM;
}

/*
 * Whether there is room to begin with. In a ring that is full, waiting for a few places more costs
 * nothing, and spares both sides the fight for the lines that they share.
 */
static __always_inline_fn bool has_room(struct net_txq *queue, unsigned count, const bool packed)
{
	struct plx_virtq *vq = queue->vq;

	if (likely(vq->free_count >= count))
		return true;
	reclaim(queue, packed);
	return vq->free_count >= MIN(count, queue->worth_while) && !vq->fault;
}

static __always_inline_fn unsigned transmit_all(struct net_txq *queue, struct plx_packet **packets,
	unsigned count, uint64_t *bytes, const bool packed, const bool wide)
{
	unsigned taken = 0, plain = 0;

	while (taken < count) {
		unsigned run = 0;

		/* Asked anew each time: making room for a frame may find the order gone. */
		if (likely(queue->in_runs && queue->vq->ordered))
			run = send_run(queue, packets + taken, count - taken, bytes, packed, wide);
		taken += run;
		plain += run;
		if (likely(taken == count) || run == NET_BATCH)
			continue;
		if (!transmit_one(queue, packets[taken], bytes))
			break;
		taken++;
	}
	plx_counter_add(&queue->counters.packets, plain);
	return taken;
}

/*
 * The one body of sending; @packed and @wide are constants. What was sent before is fetched between
 * the publication and the question whether the device wants to hear of it: the question waits until
 * the device can see what is published, and that takes its time.
 */
static __always_inline_fn int transmit(struct plx_eth_txq *base, struct plx_packet **packets,
	unsigned count, const bool packed, const bool wide)
{
	struct net_txq *queue = container_of(base, struct net_txq, base);
	struct plx_virtq *vq = queue->vq;
	uint64_t bytes = 0;
	unsigned taken = 0;

	if (unlikely(!count))
		return look_after(queue, packed);
	if (likely(has_room(queue, count, packed)))
		taken = transmit_all(queue, packets, count, &bytes, packed, wide);
	plx_counter_add(&queue->counters.bytes, bytes);
	if (device_lies(vq->fault))
		return give_up(queue, taken);
	plx_virtq_publish(vq, packed);
	if (vq->free_count < queue->reclaim_below)
		reclaim(queue, packed);
	if (device_lies(vq->fault))
		return give_up(queue, taken);
	plx_virtq_kick(vq, packed);
	if (unlikely(taken < count)) {
		plx_counter_add(&queue->counters.full, 1);
		plx_virtq_idle(vq);
	}
	return (int)taken;
}

#define INSTANCE(name, packed, wide)                                                               \
	static int name(struct plx_eth_txq *base, struct plx_packet **packets, unsigned count)     \
	{                                                                                          \
		return transmit(base, packets, count, packed, wide);                               \
	}

INSTANCE(transmit_split, false, false)
INSTANCE(transmit_packed, true, false)

#undef INSTANCE

#ifdef PLX_WIDE
PLX_WIDE static int transmit_split_wide(
	struct plx_eth_txq *base, struct plx_packet **packets, unsigned count)
{
	return transmit(base, packets, count, false, true);
}

PLX_WIDE static int transmit_packed_wide(
	struct plx_eth_txq *base, struct plx_packet **packets, unsigned count)
{
	return transmit(base, packets, count, true, true);
}
#else
#define transmit_split_wide  transmit_split
#define transmit_packed_wide transmit_packed
#endif

/* --- life --- */

int net_tx_create(struct net *net, unsigned pair, uint16_t entries)
{
	struct net_txq *queue = &net->tx[pair];
	int err;

	queue->header_len = net_header_len(net->virtio);
	queue->header_apart = net_header_apart(net->virtio);
	queue->in_runs = !queue->header_apart;
	queue->odd = 0;
	queue->own = net->wanted.pool;
	queue->home = queue->own;
	queue->map = plx_pool_map(net->wanted.pool);
	queue->empty_header = plx_mem_iova(net->virtio->mem, net->empty_header);
	queue->offloads = (uint8_t)(net_offloads(net) & NET_TX_OFFLOADS);
	queue->ecn = plx_virtio_has(net->virtio, VIRTIO_NET_F_HOST_ECN);
	queue->wide = net->wide && queue->in_runs && queue->header_len <= VIRTIO_NET_HDR_SIZE;
	queue->frame_max =
		net->config.mtu_given ? net->config.mtu + NET_ETHERNET_HEADER : NET_FRAME_MAX;
	err = plx_pool_cache_create(net->wanted.pool, &queue->cache);
	if (err)
		return err;
	err = plx_virtq_create(
		net->virtio, (uint16_t)VIRTIO_NET_TXQ(pair), entries, 1024, &queue->vq);
	if (err)
		return err;
	plx_virtq_create_tables(queue->vq, NET_TABLE_MAX);
	queue->reclaim_below = queue->vq->size / 4;
	queue->worth_while = (uint16_t)MAX(queue->vq->size / 4, 1);
	/* What is to be received may never come; what is sent should go. */
	queue->vq->stall.patience = net->virtio->limits.stall;
	return 0;
}

#define TABLES(name, wide)                                                                         \
	{                                                                                          \
		name wide, name ", indirect" wide                                                  \
	}
#define ORDERS(name, wide)                                                                         \
	{                                                                                          \
		TABLES(name, wide), TABLES(name ", in order", wide)                                \
	}

void net_tx_run(struct net_txq *queue)
{
	/* [wide][packed][in order][tables] */
	static const char *const names[2][2][2][2] = {
		{ORDERS("split", ""), ORDERS("packed", "")},
		{ORDERS("split", ", AVX-512"), ORDERS("packed", ", AVX-512")},
	};
	/* [wide][packed] */
	static int (*const bursts[2][2])(struct plx_eth_txq *, struct plx_packet **, unsigned) = {
		{transmit_split, transmit_packed}, {transmit_split_wide, transmit_packed_wide}};
	const struct plx_virtq *vq = queue->vq;

	queue->path = names[queue->wide][vq->is_packed][vq->in_order][vq->tables != NULL];
	queue->base.burst = bursts[queue->wide][vq->is_packed];
	queue->base.prepare = net_tx_prepare;
}

void net_tx_park(struct net_txq *queue)
{
	queue->base.burst = plx_eth_tx_unused;
}

void net_tx_release(struct net_txq *queue)
{
	struct plx_packet *packet;
	unsigned cursor = 0;

	queue->base.burst = plx_eth_tx_stopped;
	queue->base.prepare = plx_eth_prepare_stopped;
	if (queue->vq)
		net_ring_add(&queue->ring, &queue->vq->counters);
	while (queue->vq && (packet = plx_virtq_reclaim(queue->vq, &cursor)))
		plx_packet_free(packet);
	plx_virtq_destroy(queue->vq);
	plx_pool_cache_destroy(queue->cache);
	queue->vq = NULL;
	queue->cache = NULL;
}
