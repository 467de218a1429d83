/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"
#include "virtio/virtq_ring.h"

#include <string.h>

/*
 * The control queue (virtio 1.4, 5.1.9.5): one command at a time, each waited for with a bound.
 *
 * A command is three or more descriptors: class and number, each piece of data, the
 * acknowledgement, and the result if there is one. Any device takes that, also one without
 * ANY_LAYOUT (5.1.9.6).
 *
 * When an answer does not come, the queue is retired: its memory stays the device's, to be written
 * whenever it likes, and nothing in it is looked at again before the device is reset.
 */

/* Bytes for what the device reads, and for what it writes. */
#define COMMAND_ROOM 4096
#define ANSWER_ROOM  4096

/* What the acknowledgement holds until the device writes it. */
#define NO_ACK 0xff

/* Entries that are of use: one command has six descriptors at the most. */
#define RING_MAX 64

struct answer {
	struct plx_shared8 ack;
	struct plx_shared8 result[ANSWER_ROOM - 1];
};

static struct answer *answer_of(const struct net_ctrl *ctrl)
{
	return (struct answer *)(void *)((char *)ctrl->memory + COMMAND_ROOM);
}

/* 5.1.2: behind all the pairs that there could be, if the number of them was negotiated. */
static uint16_t ctrl_index(const struct net *net)
{
	bool many = plx_virtio_has(net->virtio, VIRTIO_NET_F_MQ) ||
		    plx_virtio_has(net->virtio, VIRTIO_NET_F_RSS);

	return (uint16_t)(2 * (many ? net->config.max_queue_pairs : 1));
}

int net_ctrl_create(struct net *net)
{
	struct net_ctrl *ctrl = &net->ctrl;
	int err;

	if (!plx_virtio_has(net->virtio, VIRTIO_NET_F_CTRL_VQ))
		return 0;
	ctrl->mem = net->virtio->mem;
	err = plx_mem_alloc(ctrl->mem, COMMAND_ROOM + ANSWER_ROOM, PLX_CACHE_LINE,
		net->virtio->numa_node, 0, &ctrl->memory);
	if (err)
		return err;
	ctrl->iova = plx_mem_iova(ctrl->mem, ctrl->memory);
	return plx_virtq_create(net->virtio, ctrl_index(net), 0, RING_MAX, &ctrl->vq);
}

void net_ctrl_release(struct net *net)
{
	struct net_ctrl *ctrl = &net->ctrl;

	plx_virtq_destroy(ctrl->vq);
	if (ctrl->memory)
		plx_mem_free(ctrl->mem, ctrl->memory);
	ctrl->vq = NULL;
	ctrl->memory = NULL;
	ctrl->retired = false;
}

/* Lay the command out and make it available. Return: whether the ring has room for it. */
static bool submit(struct net_ctrl *ctrl, const struct net_command *command)
{
	struct plx_virtq *vq = ctrl->vq;
	uint8_t *at = ctrl->memory;
	struct plx_virtq_buffer buffers[2 + NET_COMMAND_PIECES + 1];
	unsigned readable = 0, writable = 0;
	uint32_t done = 2;

	at[0] = command->class_;
	at[1] = command->number;
	buffers[readable++] = (struct plx_virtq_buffer){ctrl->iova, 2};
	for (unsigned i = 0; i < NET_COMMAND_PIECES && command->piece[i].len; i++) {
		memcpy(at + done, command->piece[i].data, command->piece[i].len);
		buffers[readable++] =
			(struct plx_virtq_buffer){ctrl->iova + done, command->piece[i].len};
		done += command->piece[i].len;
	}
	plx_shared8_write(&answer_of(ctrl)->ack, NO_ACK);
	buffers[readable + writable++] = (struct plx_virtq_buffer){ctrl->iova + COMMAND_ROOM, 1};
	if (command->result_room)
		buffers[readable + writable++] = (struct plx_virtq_buffer){
			ctrl->iova + COMMAND_ROOM + 1, command->result_room};
	if (readable + writable > vq->free_count)
		return false;
	plx_virtq_add(vq, buffers, readable, writable, ctrl, vq->is_packed);
	plx_virtq_publish(vq, vq->is_packed);
	plx_virtq_kick(vq, vq->is_packed);
	return true;
}

/* Return: whether an answer is there; otherwise time is up, or the queue is broken. */
static bool await(struct net *net)
{
	struct plx_virtq *vq = net->ctrl.vq;
	struct plx_wait wait = plx_wait_for(net->virtio->limits.command);

	while (!plx_virtq_ready(vq, vq->is_packed)) {
		plx_virtq_idle(vq);
		if (vq->fault || !plx_wait_again(&wait))
			return false;
	}
	return true;
}

static int retire(struct net *net, const struct net_command *command)
{
	net->ctrl.retired = true;
	if (net->ctrl.vq->fault) {
		plx_virtq_break(net->ctrl.vq, (enum plx_virtq_fault)net->ctrl.vq->fault, 0);
		return -EIO;
	}
	plx_counter_add(&net->ctrl.counters.unanswered, 1);
	if (plx_virtio_read_status(net->virtio) == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(net->virtio);
	return plx_fail(EIO,
		"%s: the device did not answer the command for %s within %llu ms: no other command is "
		"sent until it is stopped and started",
		net->virtio->name, command->what,
		(unsigned long long)(net->virtio->limits.command / PLX_MILLISECONDS(1)));
}

/* The result in private memory, as far as the device says that it wrote one. */
static void take_result(
	struct net_ctrl *ctrl, const struct net_command *command, uint32_t len, uint32_t *got)
{
	const struct answer *answer = answer_of(ctrl);
	uint8_t *to = command->result;

	*got = len ? MIN(len - 1, command->result_room) : 0;
	for (uint32_t i = 0; i < *got; i++)
		to[i] = plx_shared8_read(&answer->result[i]);
}

static int judge(struct net *net, const struct net_command *command, uint8_t ack)
{
	if (ack == VIRTIO_NET_OK)
		return 0;
	plx_counter_add(&net->ctrl.counters.refused, 1);
	if (ack == VIRTIO_NET_ERR)
		return plx_fail(EPERM, "%s: the device refuses the command for %s",
			net->virtio->name, command->what);
	return plx_fail(EPROTO,
		"%s: the device answered the command for %s with %s (0x%02x), against virtio 1.4, 5.1.9.5",
		net->virtio->name, command->what,
		ack == NO_ACK ? "no acknowledgement" : "an unknown one", ack);
}

int net_ctrl_send(struct net *net, const struct net_command *command, uint32_t *got)
{
	struct net_ctrl *ctrl = &net->ctrl;
	uint32_t none, len;

	if (ctrl->retired)
		return plx_fail(EIO,
			"%s: %s cannot be asked for: the device left a command without an answer: stop "
			"and start it",
			net->virtio->name, command->what);
	if (!submit(ctrl, command))
		return plx_fail(EPROTO, "%s: the control queue of %u entries is too short for %s",
			net->virtio->name, ctrl->vq->size, command->what);
	plx_counter_add(&ctrl->counters.commands, 1);
	/* Of what a legacy device writes, its used length tells nothing (5.1.9.6). */
	if (!await(net) || !plx_virtq_pop(ctrl->vq, &len, !net->virtio->transport->legacy,
				   ctrl->vq->is_packed))
		return retire(net, command);
	take_result(ctrl, command, len, got ? got : &none);
	return judge(net, command, plx_shared8_read(&answer_of(ctrl)->ack));
}
