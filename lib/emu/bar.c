/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu/emu_priv.h"

#include <inttypes.h>

/* The structures in the memory BAR, and what a notification is checked for. */

static bool in_part(uint64_t offset, uint64_t part)
{
	return offset >= part && offset < part + PLX_EMU_BAR_PART;
}

static uint64_t isr_read(struct plx_emu *emu)
{
	uint8_t isr = emu->isr;

	if (emu->msix)
		plx_emu_report(emu, "PCI-ISR-1", "the ISR status was read although MSI-X is on");
	emu->isr = 0;
	return isr;
}

static enum plx_emu_place place_of(unsigned bar, uint64_t *offset)
{
	if (bar == PLX_EMU_MSIX_BAR)
		return PLX_EMU_MSIX;
	if (in_part(*offset, PLX_EMU_BAR_COMMON))
		return PLX_EMU_COMMON;
	if (in_part(*offset, PLX_EMU_BAR_ISR)) {
		*offset -= PLX_EMU_BAR_ISR;
		return PLX_EMU_ISR;
	}
	if (in_part(*offset, PLX_EMU_BAR_DEVICE)) {
		*offset -= PLX_EMU_BAR_DEVICE;
		return PLX_EMU_DEVICE_CONFIG;
	}
	*offset -= PLX_EMU_BAR_NOTIFY;
	return PLX_EMU_NOTIFY;
}

uint64_t plx_emu_bar_read(struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;
	enum plx_emu_place place = place_of(bar, &offset);
	uint64_t value = 0;

	switch (place) {
	case PLX_EMU_COMMON:
		value = plx_emu_common_read(emu, offset, len);
		break;
	case PLX_EMU_ISR:
		if (!offset && len == 1)
			value = isr_read(emu);
		else
			plx_emu_report(emu, "PCI-ACC-1",
				"the ISR status was read with %u bytes at offset %" PRIu64, len,
				offset);
		break;
	case PLX_EMU_DEVICE_CONFIG:
		value = plx_emu_net_config_read(emu, offset, len);
		break;
	default:
		break; /* reads as zeros */
	}
	if (hooks->read)
		hooks->read(hooks->arg, place, offset, len, &value);
	plx_emu_event(emu, PLX_EMU_READ, place, (int32_t)offset, value, len);
	return value;
}

void plx_emu_bar_write(
	struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
	enum plx_emu_place place = place_of(bar, &offset);

	plx_emu_event(emu, PLX_EMU_WRITE, place, (int32_t)offset, value, len);
	if (place == PLX_EMU_COMMON)
		plx_emu_common_write(emu, offset, len, value);
	else if (place == PLX_EMU_DEVICE_CONFIG)
		plx_emu_net_config_write(emu, offset, len);
	else if (place == PLX_EMU_ISR)
		plx_emu_report(emu, "PCI-COMMON-1", "the ISR status was written");
}

/* What a driver writes to notify a queue (virtio 1.4, 4.1.5.2). */
static bool check_kick(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value)
{
	bool data = plx_emu_accepted(emu, VIRTIO_F_NOTIFICATION_DATA);
	bool named = plx_emu_accepted(emu, VIRTIO_F_NOTIF_CONFIG_DATA);
	uint64_t queue = offset / PLX_EMU_NOTIFY_MULT;
	unsigned width = data ? 4 : 2;
	uint64_t expected = named ? PLX_EMU_NOTIF_DATA(queue) : queue;

	if (len != width || offset % PLX_EMU_NOTIFY_MULT) {
		plx_emu_report(emu, data ? "PCI-NOTIFY-2" : "PCI-NOTIFY-1",
			"a notification of %u bytes at offset %" PRIu64, len, offset);
		return false;
	}
	if ((value & 0xffff) != expected) {
		plx_emu_report(emu,
			named  ? data ? "PCI-NOTIFY-6" : "PCI-NOTIFY-5"
			: data ? "PCI-NOTIFY-4"
			       : "PCI-NOTIFY-3",
			"queue %" PRIu64 " was notified with the value %" PRIu64 ", not %" PRIu64,
			queue, value & 0xffff, expected);
		return false;
	}
	if (queue >= emu->queues || !emu->queue[queue].enabled) {
		plx_emu_report(emu, "PCI-NOTIFY-3",
			"queue %" PRIu64 " was notified and is not enabled", queue);
		return false;
	}
	return true;
}

bool plx_emu_bar_kick(
	struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
	struct plx_emu_queue *queue;

	if (bar != PLX_EMU_VIRTIO_BAR || !in_part(offset, PLX_EMU_BAR_NOTIFY))
		return false;
	offset -= PLX_EMU_BAR_NOTIFY;
	plx_emu_event(emu, PLX_EMU_KICK, PLX_EMU_NOTIFY, (int32_t)(offset / PLX_EMU_NOTIFY_MULT),
		value, len);
	__atomic_add_fetch(&emu->kicks, 1, __ATOMIC_RELAXED);
	if (!plx_emu_live(emu)) {
		plx_emu_report(emu, "INIT-7", "a queue was notified before the device was live");
		return true;
	}
	if (!check_kick(emu, offset, len, value))
		return true;
	queue = &emu->queue[offset / PLX_EMU_NOTIFY_MULT];
	if (plx_emu_accepted(emu, VIRTIO_F_NOTIFICATION_DATA))
		__atomic_store_n(
			&queue->told, PLX_EMU_TOLD | (uint32_t)(value >> 16), __ATOMIC_RELAXED);
	__atomic_store_n(&queue->awake, 1, __ATOMIC_RELEASE);
	plx_emu_wake(emu);
	return true;
}
