/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"
#include "virtio/virtq_ring.h"

/*
 * Receiving: one buffer is one packet of the pool and one descriptor of the ring. The device writes
 * its header in front of the frame, into the same cache line as the frame's first bytes.
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

/* A buffer is one piece of memory, whether it takes one descriptor or two. */
static __always_inline_fn void post(
	struct net_rxq *queue, struct plx_packet *packet, const bool packed)
{
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

/*
 * Post as many buffers as the ring has room for and the pool can give. Publishes them, and does not
 * notify.
 */
static __always_inline_fn void refill(struct net_rxq *queue, const bool packed)
{
	struct plx_virtq *vq = queue->vq;
	struct plx_packet *batch[NET_BATCH];

	const unsigned each = 1 + queue->header_apart; /* descriptors */

	while (vq->free_count >= each) {
		uint32_t want = MIN(vq->free_count / each, (uint32_t)NET_BATCH);

		if (!plx_pool_get(queue->cache, batch, want)) {
			want = MIN(plx_pool_cache_fill(queue->cache, 1), want);
			if (!plx_pool_get(queue->cache, batch, want)) {
				net_counter_add(&queue->counters.no_buffers, 1);
				break;
			}
		}
		for (uint32_t i = 0; i < want; i++)
			post(queue, batch[i], packed);
	}
	plx_virtq_publish(vq, packed);
}

static void drop(struct net_rxq *queue, struct plx_packet *packet, uint64_t *reason)
{
	net_counter_add(reason, 1);
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

	return plx_shared16_read(
		(const void *)(header + offsetof(struct virtio_net_hdr, num_buffers)));
}

static __always_inline_fn void set_first(
	const struct net_rxq *queue, struct plx_packet *packet, uint32_t len)
{
	packet->next = NULL;
	packet->len = len - queue->header_len;
	packet->data_len = (uint16_t)(len - queue->header_len);
	packet->data_off = (uint16_t)(queue->header_off + queue->header_len);
	packet->segments = 1;
	packet->flags = 0;
}

/* Take the next buffer of a frame. Return: NULL when none has come, or the queue broke. */
static struct plx_packet *next_segment(struct net_rxq *queue)
{
	struct plx_packet *segment;
	uint32_t len;

	if (!plx_virtq_ready(queue->vq, queue->vq->is_packed))
		return NULL;
	segment = plx_virtq_pop(queue->vq, &len, true, queue->vq->is_packed);
	if (!segment)
		return NULL;
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
static bool collect(struct net_rxq *queue, struct plx_packet *first, unsigned buffers)
{
	struct plx_packet *last = first;
	bool bad_length = false;

	if (!buffers || buffers > queue->vq->size) {
		drop(queue, first, &queue->counters.bad_num_buffers);
		return false;
	}
	while (--buffers) {
		struct plx_packet *segment = next_segment(queue);

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

/* The one body of receiving; @mergeable and @packed are constants. */
static __always_inline_fn int receive(struct plx_eth_rxq *base, struct plx_packet **packets,
	unsigned count, const bool mergeable, const bool packed)
{
	struct net_rxq *queue = container_of(base, struct net_rxq, base);
	struct plx_virtq *vq = queue->vq;
	unsigned received = 0;
	uint64_t bytes = 0;

	while (received < count && plx_virtq_ready(vq, packed)) {
		struct plx_packet *packet;
		unsigned buffers;
		uint32_t len;

		packet = plx_virtq_pop(vq, &len, true, packed);
		if (device_lies(!packet))
			break;
		if (device_lies(len <= queue->header_len)) {
			packet->next = NULL;
			drop(queue, packet, &queue->counters.short_header);
			continue;
		}
		set_first(queue, packet, len);
		buffers = mergeable ? header_num_buffers(queue, packet) : 1;
		if (unlikely(buffers != 1) && !collect(queue, packet, buffers))
			continue;
		bytes += packet->len;
		packets[received++] = packet;
	}
	net_counter_add(&queue->counters.packets, received);
	net_counter_add(&queue->counters.bytes, bytes);
	if (device_lies(vq->fault))
		return give_up(queue, received);
	if (vq->free_count >= MIN(vq->size / 4, NET_BATCH)) {
		refill(queue, packed);
		plx_virtq_kick(vq, packed);
	} else if (!received) {
		plx_virtq_idle(vq);
	}
	return (int)received;
}

#define INSTANCE(name, mergeable, packed)                                                          \
	static int name(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count)     \
	{                                                                                          \
		return receive(base, packets, count, mergeable, packed);                           \
	}

INSTANCE(receive_split, false, false)
INSTANCE(receive_split_mergeable, true, false)
INSTANCE(receive_packed, false, true)
INSTANCE(receive_packed_mergeable, true, true)

#undef INSTANCE

/* Every path, by what was negotiated. */
static const struct {
	int (*burst)(struct plx_eth_rxq *base, struct plx_packet **packets, unsigned count);
	const char *name;
} paths[2][2] = {
	/* [packed][mergeable] */
	{{receive_split, "split, one buffer"}, {receive_split_mergeable, "split, mergeable"}},
	{{receive_packed, "packed, one buffer"}, {receive_packed_mergeable, "packed, mergeable"}},
};

/* --- life --- */

int net_rx_create(struct net *net, struct net_rxq *queue, uint16_t index)
{
	struct plx_pool *pool = net->wanted.pool;
	int err;

	queue->header_len = net_header_len(net->virtio);
	queue->header_apart = net_header_apart(net->virtio);
	queue->header_off = plx_pool_headroom(pool);
	queue->room = plx_pool_data_size(pool);
	err = plx_pool_cache_create(pool, &queue->cache);
	if (err)
		return err;
	return plx_virtq_create(net->virtio, index, net->wanted.rx_ring, 1024, &queue->vq);
}

int net_rx_fill(struct net_rxq *queue)
{
	refill(queue, queue->vq->is_packed);
	if (queue->vq->free_count <= queue->header_apart)
		return 0;
	return plx_fail(ENOBUFS,
		"%s: the pool has no packets left to fill a ring of %u: give it more "
		"packets or ask for a smaller ring",
		queue->vq->name, queue->vq->size);
}

void net_rx_run(struct net *net, struct net_rxq *queue)
{
	bool mergeable = plx_virtio_has(net->virtio, VIRTIO_NET_F_MRG_RXBUF);
	bool packed = queue->vq->is_packed;

	queue->path = paths[packed][mergeable].name;
	queue->base.burst = paths[packed][mergeable].burst;
	plx_virtq_kick(queue->vq, packed);
	if (queue->vq->counters.kicks)
		plx_trace_add(&net->virtio->trace, PLX_TRACE_NOTIFY, queue->vq->index, 0);
}

void net_rx_release(struct net_rxq *queue)
{
	struct plx_packet *packet;
	unsigned cursor = 0;

	queue->base.burst = plx_eth_rx_stopped;
	while (queue->vq && (packet = plx_virtq_reclaim(queue->vq, &cursor)))
		plx_pool_put(queue->cache, &packet, 1);
	plx_virtq_destroy(queue->vq);
	plx_pool_cache_destroy(queue->cache);
	queue->vq = NULL;
	queue->cache = NULL;
}
