/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu/emu_priv.h"

#include <inttypes.h>

/* Which structure an access to a BAR is for, and what a notification is checked for. */

static bool in_part(uint64_t offset, uint64_t part)
{
	return offset >= part && offset < part + PLX_EMU_BAR_PART;
}

uint8_t plx_emu_isr_read(struct plx_emu *emu)
{
	uint8_t isr = emu->isr;

	if (emu->msix)
		plx_emu_report(emu, "PCI-ISR-1", "the ISR status was read although MSI-X is on");
	emu->isr = 0;
	return isr;
}

static enum plx_emu_place legacy_place(const struct plx_emu *emu, uint64_t *offset)
{
	uint64_t config = plx_emu_legacy_config_at(emu);

	if (*offset < config)
		return PLX_EMU_LEGACY;
	*offset -= config;
	return PLX_EMU_DEVICE_CONFIG;
}

/* Where an access goes; @offset becomes what it is there. */
static enum plx_emu_place place_of(const struct plx_emu *emu, unsigned bar, uint64_t *offset)
{
	if (bar == PLX_EMU_LEGACY_BAR)
		return legacy_place(emu, offset);
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
	enum plx_emu_place place = place_of(emu, bar, &offset);
	uint64_t value = 0;

	switch (place) {
	case PLX_EMU_COMMON:
		value = plx_emu_common_read(emu, offset, len);
		break;
	case PLX_EMU_ISR:
		if (!offset && len == 1)
			value = plx_emu_isr_read(emu);
		else
			plx_emu_report(emu, "PCI-ACC-1",
				"the ISR status was read with %u bytes at offset %" PRIu64, len,
				offset);
		break;
	case PLX_EMU_DEVICE_CONFIG:
		value = plx_emu_net_config_read(emu, offset, len);
		break;
	case PLX_EMU_LEGACY:
		value = plx_emu_legacy_read(emu, offset, len);
		break;
	default:
		break; /* reads as zeros */
	}
	if (hooks->read)
		hooks->read(hooks->arg, place, offset, len, &value);
	plx_emu_event(emu, PLX_EMU_READ, place, (int32_t)offset, value, len);
	return value;
}

/* Whether a write arrives, and as what. */
static bool arrives(struct plx_emu *emu, enum plx_emu_place place, uint64_t offset, unsigned len,
	uint64_t *value)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;

	return !hooks->write || hooks->write(hooks->arg, place, offset, len, value);
}

void plx_emu_bar_write(
	struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
	enum plx_emu_place place = place_of(emu, bar, &offset);

	plx_emu_event(emu, PLX_EMU_WRITE, place, (int32_t)offset, value, len);
	if (!arrives(emu, place, offset, len, &value))
		return;
	if (place == PLX_EMU_COMMON)
		plx_emu_common_write(emu, offset, len, value);
	else if (place == PLX_EMU_DEVICE_CONFIG)
		plx_emu_net_config_write(emu, offset, len, value);
	else if (place == PLX_EMU_LEGACY)
		plx_emu_legacy_write(emu, offset, len, value);
	else if (place == PLX_EMU_ISR)
		plx_emu_report(emu, "PCI-COMMON-1", "the ISR status was written");
}

/* Whether a queue may be notified at all. */
static bool check_queue(struct plx_emu *emu, uint64_t queue)
{
	if (queue < emu->queues && __atomic_load_n(&emu->queue[queue].enabled, __ATOMIC_RELAXED))
		return true;
	plx_emu_report(
		emu, "PCI-NOTIFY-3", "queue %" PRIu64 " was notified and is not enabled", queue);
	return false;
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
	return check_queue(emu, queue);
}

/* What a driver writes through the legacy interface. */
static bool check_legacy_kick(struct plx_emu *emu, unsigned len, uint64_t value)
{
	if (len == 2)
		return check_queue(emu, value);
	plx_emu_report(emu, "LEG-PCI-1", "a notification of %u bytes", len);
	return false;
}

static void kick(struct plx_emu *emu, struct plx_emu_queue *queue, uint64_t value)
{
	if (!plx_emu_live(emu) && !plx_emu_status_early_kick(emu, queue->index))
		return;
	if (plx_emu_accepted(emu, VIRTIO_F_NOTIFICATION_DATA))
		__atomic_store_n(
			&queue->told, PLX_EMU_TOLD | (uint32_t)(value >> 16), __ATOMIC_RELAXED);
	__atomic_store_n(&queue->awake, 1, __ATOMIC_RELEASE);
	plx_emu_wake(emu);
}

static bool is_kick(unsigned bar, uint64_t *offset)
{
	if (bar == PLX_EMU_LEGACY_BAR)
		return *offset == VIRTIO_PCI_LEGACY_QUEUE_NOTIFY;
	if (bar != PLX_EMU_VIRTIO_BAR || !in_part(*offset, PLX_EMU_BAR_NOTIFY))
		return false;
	*offset -= PLX_EMU_BAR_NOTIFY;
	return true;
}

bool plx_emu_bar_kick(
	struct plx_emu *emu, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
	bool legacy = bar == PLX_EMU_LEGACY_BAR;
	uint64_t queue;

	if (!is_kick(bar, &offset))
		return false;
	queue = legacy ? value : offset / PLX_EMU_NOTIFY_MULT;
	plx_emu_event(emu, PLX_EMU_KICK, PLX_EMU_NOTIFY, (int32_t)queue, value, len);
	if (!arrives(emu, PLX_EMU_NOTIFY, queue, len, &value))
		return true;
	__atomic_add_fetch(&emu->kicks, 1, __ATOMIC_RELAXED);
	if (legacy ? check_legacy_kick(emu, len, value) : check_kick(emu, offset, len, value))
		kick(emu, &emu->queue[queue], value);
	return true;
}
