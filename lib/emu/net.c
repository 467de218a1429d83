/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* Frames from the driver to the peer and from the peer to the driver (virtio 1.4, 5.1.9). */

#define ETHERNET 14

int plx_emu_net_init(struct plx_emu *emu)
{
	emu->bounce = malloc(PLX_EMU_HEADER + PLX_EMU_FRAME + 1);
	emu->injected = calloc(emu->config.pairs, sizeof(*emu->injected));
	if (!emu->bounce || !emu->injected)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	for (unsigned i = 0; i < emu->config.pairs; i++) {
		int err = plx_emu_backlog_init(&emu->injected[i], emu->config.backlog);

		if (err)
			return err;
	}
	emu->net.status = VIRTIO_NET_S_LINK_UP;
	plx_emu_net_reset(emu);
	return 0;
}

void plx_emu_net_fini(struct plx_emu *emu)
{
	for (unsigned i = 0; emu->injected && i < emu->config.pairs; i++)
		plx_emu_backlog_fini(&emu->injected[i]);
	free(emu->injected);
	free(emu->bounce);
}

void plx_emu_net_reset(struct plx_emu *emu)
{
	struct plx_emu_net *net = &emu->net;

	*net = (struct plx_emu_net){.status = net->status, .state.pairs = 1};
	/* Whatever is negotiated is in use until the driver says otherwise. */
	net->state.guest_offloads = UINT64_MAX;
	memcpy(net->state.mac, emu->config.mac, sizeof(net->state.mac));
	for (unsigned i = 0; i < emu->config.pairs; i++)
		plx_emu_backlog_clear(&emu->injected[i]);
	if (emu->peer && emu->peer->ops->reset)
		emu->peer->ops->reset(emu->peer);
}

/* Without MQ and RSS the control queue follows the one pair (virtio 1.4, 5.1.2). */
unsigned plx_emu_net_control_index(const struct plx_emu *emu)
{
	bool many =
		plx_emu_accepted(emu, VIRTIO_NET_F_MQ) || plx_emu_accepted(emu, VIRTIO_NET_F_RSS);

	return 2 * (many ? emu->config.pairs : 1);
}

static void check_pair(struct plx_emu *emu, unsigned pair)
{
	if (pair < emu->net.state.pairs)
		return;
	plx_emu_report(emu, emu->net.pairs_set ? "NET-MQ-4" : "NET-MQ-3",
		"a frame was sent on pair %u while %u are in use", pair, emu->net.state.pairs);
}

static void count_frame(struct plx_emu *emu, const struct plx_emu_queue *queue, uint32_t len)
{
	emu->net.queue[queue->index].frames++;
	emu->net.queue[queue->index].bytes += len;
}

static void send(struct plx_emu *emu, unsigned pair, struct plx_emu_queue *queue, unsigned parts)
{
	uint32_t header = plx_emu_net_header_size(emu);
	uint32_t len =
		parts ? plx_emu_gather(queue->part, parts, emu->bounce, header + PLX_EMU_FRAME + 1)
		      : 0;
	struct virtio_net_hdr fields = {0};
	uint8_t *frame = emu->bounce + header;

	check_pair(emu, pair);
	if (parts)
		plx_emu_net_check_framing(emu, queue, parts);
	if (parts && len < header)
		plx_emu_report(emu, "NET-TX-1", "a transmit buffer of %u bytes has no header of %u",
			len, header);
	if (len <= header || len - header > PLX_EMU_FRAME ||
		!plx_emu_net_header_valid(emu, emu->bounce, frame, len - header, &fields) ||
		!plx_emu_net_send(emu, pair, &fields, frame, len - header)) {
		emu->stats.tx_malformed++;
		emu->net.queue[queue->index].drops++;
		return;
	}
	emu->stats.tx_frames++;
	emu->stats.tx_bytes += len - header;
	count_frame(emu, queue, len - header);
}

static unsigned transmit(struct plx_emu *emu, unsigned pair, unsigned budget)
{
	struct plx_emu_queue *queue = &emu->queue[VIRTIO_NET_TXQ((size_t)pair)];
	unsigned done = 0;

	if (!plx_emu_queue_ready(queue))
		return 0;
	plx_emu_queue_notice(queue);
	while (done < budget && !queue->held && plx_emu_queue_next(queue)) {
		plx_emu_queue_shuffle(queue);
		send(emu, pair, queue, plx_emu_queue_parts(queue));
		plx_emu_queue_use(queue, emu->config.junk_len ? PLX_EMU_JUNK_LEN : 0);
		done++;
	}
	if (done)
		plx_emu_queue_publish(queue);
	return done;
}

/* What is injected has its header in front; @header is NULL for what comes from the peer. */
static const uint8_t *next_frame(
	struct plx_emu *emu, unsigned pair, uint32_t *len, const uint8_t **header)
{
	*header = plx_emu_backlog_peek(&emu->injected[pair], len);
	if (!*header)
		return emu->peer->ops->peek(emu->peer, pair, len);
	*len -= VIRTIO_NET_HDR_SIZE;
	return *header + VIRTIO_NET_HDR_SIZE;
}

static void drop_frame(struct plx_emu *emu, unsigned pair)
{
	if (emu->injected[pair].frames)
		plx_emu_backlog_pop(&emu->injected[pair]);
	else
		emu->peer->ops->take(emu->peer, pair);
}

/*
 * How many of the waiting buffers take @need bytes: one, unless they may be merged.
 * Return: The number; 0 when more must be made available first; -1 when it can never be.
 */
static int buffers_for(const struct plx_emu *emu, const struct plx_emu_queue *queue, uint64_t need)
{
	bool merge = plx_emu_accepted(emu, VIRTIO_NET_F_MRG_RXBUF);
	uint64_t room = 0;

	for (uint32_t i = 0; i < queue->count; i++) {
		room += queue->waiting[(queue->first + i) & queue->mask].writable;
		if (room >= need)
			return (int)i + 1;
		if (!merge)
			return -1;
	}
	return queue->exposed == queue->size ? -1 : 0;
}

static bool checks_csum(const struct plx_emu *emu)
{
	return plx_emu_accepted(emu, VIRTIO_NET_F_GUEST_CSUM) &&
	       emu->net.state.guest_offloads >> VIRTIO_NET_F_GUEST_CSUM & 1;
}

/* 5.1.9.4.4: the hash behind the rest of the header. */
static void report_hash(struct plx_emu *emu, uint8_t *header, const uint8_t *frame, uint32_t len)
{
	uint32_t hash = 0;
	uint16_t report = htole16(plx_emu_net_hash(emu, frame, len, &hash));

	hash = htole32(hash);
	memcpy(header + VIRTIO_NET_HDR_HASH_VALUE, &hash, sizeof(hash));
	memcpy(header + VIRTIO_NET_HDR_HASH_REPORT, &report, sizeof(report));
}

static void make_header(struct plx_emu *emu, unsigned pair, uint8_t *header, uint32_t size,
	int buffers, const uint8_t *from, const uint8_t *frame, uint32_t len)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;
	uint16_t num_buffers = htole16((uint16_t)buffers);

	memset(header, 0, size);
	if (from)
		memcpy(header, from, offsetof(struct virtio_net_hdr, num_buffers));
	else if (checks_csum(emu) && plx_emu_net_csum_good(frame, len))
		header[0] = VIRTIO_NET_HDR_F_DATA_VALID;
	memcpy(header + offsetof(struct virtio_net_hdr, num_buffers), &num_buffers,
		sizeof(num_buffers));
	if (plx_emu_accepted(emu, VIRTIO_NET_F_HASH_REPORT))
		report_hash(emu, header, frame, len);
	if (hooks->rx_header)
		hooks->rx_header(hooks->arg, pair, header, size);
}

/* Spread a header and a frame over buffers. Return: false when one of them cannot be written to. */
static bool fill(struct plx_emu_queue *queue, int buffers, const uint8_t *header,
	uint32_t header_size, const uint8_t *frame, uint32_t len)
{
	bool whole = true;
	uint32_t done = 0;

	for (int i = 0; i < buffers; i++) {
		unsigned parts = plx_emu_queue_parts(queue);
		uint32_t skip = i ? 0 : header_size, wrote;

		if (!i && parts)
			plx_emu_net_check_framing(queue->emu, queue, parts);
		if (!i)
			(void)plx_emu_scatter(queue->part, parts, 0, header, header_size);
		wrote = plx_emu_scatter(queue->part, parts, skip, frame + done, len - done);
		whole &= parts > 0;
		plx_emu_queue_use(queue, parts ? skip + wrote : 0);
		done += wrote;
	}
	return whole && done == len;
}

/* Whether a receive buffer is as large as it has to be (virtio 1.4, 5.1.4.2 and 5.1.9.3.1). */
static void check_size(struct plx_emu *emu, uint64_t size, uint32_t header)
{
	bool merge = plx_emu_accepted(emu, VIRTIO_NET_F_MRG_RXBUF);
	bool mtu = plx_emu_accepted(emu, VIRTIO_NET_F_MTU);
	uint32_t least = merge ? header : header + ETHERNET + (mtu ? emu->config.mtu : 1500);

	if (unlikely(size < least))
		plx_emu_report(emu,
			merge ? "NET-RXBUF-3"
			: mtu ? "NET-CFG-8"
			      : "NET-RXBUF-2",
			"a receive buffer has %u bytes and needs %u", (unsigned)size, least);
}

/* Give a frame to the driver. Return: buffers used; 0 when it must wait; -1 when it was dropped. */
static int deliver(
	struct plx_emu *emu, unsigned pair, const uint8_t *from, const uint8_t *frame, uint32_t len)
{
	struct plx_emu_queue *queue = &emu->queue[VIRTIO_NET_RXQ((size_t)pair)];
	uint32_t size = plx_emu_net_header_size(emu);
	uint8_t header[PLX_EMU_HEADER];
	int buffers;

	plx_emu_queue_shuffle(queue);
	check_size(emu, plx_emu_queue_next(queue)->writable, size);
	if (plx_emu_queue_next(queue)->writable < size) {
		emu->stats.rx_bad_buffer++;
		plx_emu_queue_use(queue, 0);
		return 1;
	}
	buffers = buffers_for(emu, queue, (uint64_t)size + len);
	if (buffers <= 0) {
		emu->stats.rx_too_long += buffers < 0;
		return buffers;
	}
	make_header(emu, pair, header, size, buffers, from, frame, len);
	if (fill(queue, buffers, header, size, frame, len)) {
		emu->stats.rx_frames++;
		emu->stats.rx_bytes += len;
		count_frame(emu, queue, len);
	} else {
		emu->stats.rx_bad_buffer++;
	}
	drop_frame(emu, pair);
	return buffers;
}

static unsigned receive(struct plx_emu *emu, unsigned pair, unsigned budget)
{
	struct plx_emu_queue *queue = &emu->queue[VIRTIO_NET_RXQ((size_t)pair)];
	unsigned done = 0;

	if (!plx_emu_queue_ready(queue))
		return 0;
	plx_emu_queue_notice(queue);
	while (done < budget && queue->count && !queue->held && !queue->broken) {
		uint32_t len = 0;
		const uint8_t *header;
		const uint8_t *frame = next_frame(emu, pair, &len, &header);
		int used = frame ? deliver(emu, pair, header, frame, len) : 0;

		if (!used)
			break;
		if (used < 0)
			drop_frame(emu, pair);
		else
			done += (unsigned)used;
	}
	if (done)
		plx_emu_queue_publish(queue);
	return done;
}

bool plx_emu_net_can_receive(const struct plx_emu *emu)
{
	for (unsigned pair = 0; pair < emu->net.state.pairs; pair++)
		if (emu->queue[VIRTIO_NET_RXQ((size_t)pair)].count)
			return true;
	return false;
}

unsigned plx_emu_net_work(struct plx_emu *emu, unsigned budget)
{
	unsigned control = plx_emu_net_control_index(emu), done = 0;

	for (unsigned pair = 0; pair < emu->config.pairs && 2 * pair < control; pair++) {
		done += transmit(emu, pair, budget);
		if (pair < emu->net.state.pairs)
			done += receive(emu, pair, budget);
	}
	if (control < emu->queues && plx_emu_accepted(emu, VIRTIO_NET_F_CTRL_VQ))
		done += plx_emu_net_control(emu, &emu->queue[control], budget);
	return done;
}

int plx_emu_inject_with(struct plx_emu *emu, unsigned pair, const struct virtio_net_hdr *header,
	const void *frame, size_t len)
{
	bool taken = false;

	if ((pair >= emu->config.pairs && pair != PLX_EMU_ANY_PAIR) || !len || len > PLX_EMU_FRAME)
		return plx_fail(EINVAL, "%s: a frame of %zu bytes cannot arrive on pair %u",
			emu->vfio.name, len, pair);
	plx_emu_lock(emu);
	if (pair == PLX_EMU_ANY_PAIR)
		pair = plx_emu_net_steer(emu, frame, (uint32_t)len);
	memset(emu->bounce, 0, VIRTIO_NET_HDR_SIZE);
	if (header)
		memcpy(emu->bounce, header, sizeof(*header));
	else if (checks_csum(emu) && plx_emu_net_csum_good(frame, (uint32_t)len))
		emu->bounce[0] = VIRTIO_NET_HDR_F_DATA_VALID;
	memcpy(emu->bounce + VIRTIO_NET_HDR_SIZE, frame, len);
	taken = plx_emu_backlog_push(
		&emu->injected[pair], emu->bounce, (uint32_t)len + VIRTIO_NET_HDR_SIZE);
	emu->stats.rx_no_buffer += !taken;
	plx_emu_unlock(emu);
	if (!taken)
		return plx_fail(ENOBUFS, "%s: the frames of pair %u wait for receive buffers",
			emu->vfio.name, pair);
	plx_emu_wake(emu);
	return 0;
}

int plx_emu_inject(struct plx_emu *emu, unsigned pair, const void *frame, size_t len)
{
	return plx_emu_inject_with(emu, pair, NULL, frame, len);
}

void plx_emu_get_net_state(struct plx_emu *emu, struct plx_emu_net_state *state)
{
	plx_emu_lock(emu);
	*state = emu->net.state;
	plx_emu_unlock(emu);
}

void plx_emu_get_coalescing(
	struct plx_emu *emu, unsigned queue, struct plx_emu_coalescing *coalescing)
{
	*coalescing = (struct plx_emu_coalescing){0};
	plx_emu_lock(emu);
	if (queue < 2u * emu->config.pairs)
		*coalescing = emu->net.coalescing[queue];
	plx_emu_unlock(emu);
}
