/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include <inttypes.h>

/*
 * The legacy interface: registers in I/O space, which the device-specific configuration follows
 * (virtio 1.4, 4.1.4.10), and rings whose place is one page number (2.7.2). Everything is
 * little-endian here, as the guests are.
 */

static const struct plx_emu_field fields[] = {
	{VIRTIO_PCI_LEGACY_DEVICE_FEATURES, 4, true, "device features"},
	{VIRTIO_PCI_LEGACY_DRIVER_FEATURES, 4, false, "driver features"},
	{VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, 4, false, "queue address"},
	{VIRTIO_PCI_LEGACY_QUEUE_SIZE, 2, true, "queue size"},
	{VIRTIO_PCI_LEGACY_QUEUE_SELECT, 2, false, "queue select"},
	{VIRTIO_PCI_LEGACY_QUEUE_NOTIFY, 2, false, "queue notify"},
	{VIRTIO_PCI_LEGACY_DEVICE_STATUS, 1, false, "device status"},
	{VIRTIO_PCI_LEGACY_ISR_STATUS, 1, true, "ISR status"},
	{VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR, 2, false, "config MSI-X vector"},
	{VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR, 2, false, "queue MSI-X vector"},
};

static bool check_access(struct plx_emu *emu, uint64_t offset, unsigned len, bool write)
{
	const struct plx_emu_field *field =
		plx_emu_find_field(fields, ARRAY_SIZE(fields), offset, len);

	if (field && (!write || !field->read_only))
		return true;
	if (field)
		plx_emu_report(emu,
			offset == VIRTIO_PCI_LEGACY_QUEUE_SIZE ? "LEG-RING-1" : "LEG-PCI-1",
			"the legacy register %s was written", field->name);
	else
		plx_emu_report(emu, "LEG-PCI-1",
			"the legacy registers were %s with %u bytes at 0x%" PRIx64,
			write ? "written" : "read", len, offset);
	return false;
}

/* Turning MSI-X on moves the configuration (4.1.4.10). */
uint64_t plx_emu_legacy_config_at(const struct plx_emu *emu)
{
	return emu->msix ? VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX : VIRTIO_PCI_LEGACY_CONFIG;
}

static uint64_t queue_read(struct plx_emu *emu, uint64_t offset)
{
	struct plx_emu_queue *queue = plx_emu_selected(emu);

	if (!queue)
		return offset == VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (offset) {
	case VIRTIO_PCI_LEGACY_QUEUE_ADDRESS:
		return queue->desc_addr >> VIRTIO_PCI_LEGACY_QUEUE_ADDRESS_SHIFT;
	case VIRTIO_PCI_LEGACY_QUEUE_SIZE:
		return queue->size;
	default:
		queue->vector_unread = false;
		return queue->vector;
	}
}

uint64_t plx_emu_legacy_read(struct plx_emu *emu, uint64_t offset, unsigned len)
{
	if (!check_access(emu, offset, len, false))
		return 0;
	if (offset == VIRTIO_PCI_LEGACY_DEVICE_STATUS)
		return plx_emu_status_read(emu);
	plx_emu_status_check(emu, false);
	switch (offset) {
	case VIRTIO_PCI_LEGACY_DEVICE_FEATURES:
		return (uint32_t)emu->config.features[0];
	case VIRTIO_PCI_LEGACY_DRIVER_FEATURES:
		return (uint32_t)emu->accepted[0];
	case VIRTIO_PCI_LEGACY_QUEUE_SELECT:
		return emu->queue_select;
	case VIRTIO_PCI_LEGACY_QUEUE_NOTIFY:
		return 0;
	case VIRTIO_PCI_LEGACY_ISR_STATUS:
		return plx_emu_isr_read(emu);
	case VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR:
		emu->config_vector_unread = false;
		return emu->config_vector;
	default:
		return queue_read(emu, offset);
	}
}

/* The three parts follow each other, the third on a page of its own (2.7.2). */
static void place(struct plx_emu_queue *queue, uint64_t page)
{
	uint64_t size = queue->size;

	queue->desc_addr = page << VIRTIO_PCI_LEGACY_QUEUE_ADDRESS_SHIFT;
	queue->driver_addr = queue->desc_addr + sizeof(struct virtq_desc) * size;
	queue->device_addr = plx_align_up(queue->driver_addr + sizeof(struct virtq_avail) +
						  sizeof(struct plx_shared16) * (size + 1),
		VIRTIO_PCI_LEGACY_QUEUE_ALIGN);
	queue->written = PLX_EMU_WROTE_ALL;
}

/* The page makes the queue work, and page 0 ends that. */
static void address_write(struct plx_emu_queue *queue, uint64_t page)
{
	struct plx_emu *emu = queue->emu;

	if (!page) {
		plx_emu_queue_reset(queue);
		return;
	}
	if (queue->enabled) {
		plx_emu_report(emu, "LEG-FEAT-2",
			"the address of queue %u was written while it was in use", queue->index);
		return;
	}
	place(queue, page);
	plx_emu_queue_enable(queue);
}

static void queue_write(struct plx_emu *emu, uint64_t offset, uint64_t value)
{
	struct plx_emu_queue *queue = plx_emu_selected(emu);

	if (!queue)
		plx_emu_report(emu, "LEG-FEAT-2", "queue %u was set up, which does not exist",
			emu->queue_select);
	else if (offset == VIRTIO_PCI_LEGACY_QUEUE_ADDRESS)
		address_write(queue, value);
	else
		queue->vector = plx_emu_map_vector(emu, value, &queue->vector_unread);
}

void plx_emu_legacy_write(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value)
{
	if (!check_access(emu, offset, len, true))
		return;
	if (offset == VIRTIO_PCI_LEGACY_DEVICE_STATUS) {
		plx_emu_status_write(emu, (uint8_t)value, true);
		return;
	}
	plx_emu_status_check(emu, true);
	switch (offset) {
	case VIRTIO_PCI_LEGACY_DRIVER_FEATURES:
		plx_emu_write_features(emu, 0, (uint32_t)value);
		break;
	case VIRTIO_PCI_LEGACY_QUEUE_SELECT:
		emu->queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR:
		emu->config_vector = plx_emu_map_vector(emu, value, &emu->config_vector_unread);
		break;
	default:
		queue_write(emu, offset, value);
	}
}
