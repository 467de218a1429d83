/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include <inttypes.h>

/* The common configuration structure (virtio 1.4, 4.1.4.3). */

/* Halves of the 64-bit fields. */
#define DESC_HIGH   (VIRTIO_PCI_COMMON_QUEUE_DESC + 4)
#define DRIVER_HIGH (VIRTIO_PCI_COMMON_QUEUE_DRIVER + 4)
#define DEVICE_HIGH (VIRTIO_PCI_COMMON_QUEUE_DEVICE + 4)

static const struct plx_emu_field fields[] = {
	{VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 4, false, "device_feature_select"},
	{VIRTIO_PCI_COMMON_DEVICE_FEATURE, 4, true, "device_feature"},
	{VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, false, "driver_feature_select"},
	{VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4, false, "driver_feature"},
	{VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 2, false, "config_msix_vector"},
	{VIRTIO_PCI_COMMON_NUM_QUEUES, 2, true, "num_queues"},
	{VIRTIO_PCI_COMMON_DEVICE_STATUS, 1, false, "device_status"},
	{VIRTIO_PCI_COMMON_CONFIG_GENERATION, 1, true, "config_generation"},
	{VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, false, "queue_select"},
	{VIRTIO_PCI_COMMON_QUEUE_SIZE, 2, false, "queue_size"},
	{VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, false, "queue_msix_vector"},
	{VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, false, "queue_enable"},
	{VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, 2, true, "queue_notify_off"},
	{VIRTIO_PCI_COMMON_QUEUE_DESC, 4, false, "queue_desc"},
	{DESC_HIGH, 4, false, "queue_desc"},
	{VIRTIO_PCI_COMMON_QUEUE_DRIVER, 4, false, "queue_driver"},
	{DRIVER_HIGH, 4, false, "queue_driver"},
	{VIRTIO_PCI_COMMON_QUEUE_DEVICE, 4, false, "queue_device"},
	{DEVICE_HIGH, 4, false, "queue_device"},
	{VIRTIO_PCI_COMMON_QUEUE_NOTIF_DATA, 2, true, "queue_notif_config_data"},
	{VIRTIO_PCI_COMMON_QUEUE_RESET, 2, false, "queue_reset"},
	{VIRTIO_PCI_COMMON_ADMIN_QUEUE_INDEX, 2, true, "admin_queue_index"},
	{VIRTIO_PCI_COMMON_ADMIN_QUEUE_NUM, 2, true, "admin_queue_num"},
};

const struct plx_emu_field *plx_emu_find_field(
	const struct plx_emu_field *table, size_t count, uint64_t offset, unsigned len)
{
	for (size_t i = 0; i < count; i++)
		if (table[i].offset == offset && table[i].width == len)
			return &table[i];
	return NULL;
}

/* Return: The field's name when the access is one that the standard allows, otherwise NULL. */
static const char *check_access(struct plx_emu *emu, uint64_t offset, unsigned len, bool write)
{
	const struct plx_emu_field *field =
		plx_emu_find_field(fields, ARRAY_SIZE(fields), offset, len);

	if (field && (!write || !field->read_only))
		return field->name;
	if (field)
		plx_emu_report(emu, "PCI-COMMON-1", "%s was written", field->name);
	else
		plx_emu_report(emu, "PCI-ACC-1",
			"the common configuration was %s with %u bytes at 0x%" PRIx64,
			write ? "written" : "read", len, offset);
	return NULL;
}

struct plx_emu_queue *plx_emu_selected(struct plx_emu *emu)
{
	return emu->queue_select < emu->queues ? &emu->queue[emu->queue_select] : NULL;
}

static uint32_t device_features(const struct plx_emu *emu)
{
	uint32_t word = emu->device_feature_select;

	return word < 4 ? (uint32_t)(plx_emu_offer(emu, word / 2) >> 32 * (word % 2)) : 0;
}

static uint32_t driver_features(const struct plx_emu *emu)
{
	uint32_t word = emu->driver_feature_select;

	return word < 4 ? (uint32_t)(emu->accepted[word / 2] >> 32 * (word % 2)) : 0;
}

static uint8_t generation(struct plx_emu *emu)
{
	if (emu->generation_due) {
		emu->generation_due = false;
		emu->generation++;
	}
	return emu->generation;
}

static uint16_t read_back(uint16_t vector, bool *unread)
{
	*unread = false;
	return vector;
}

static uint64_t queue_read(struct plx_emu *emu, uint64_t offset)
{
	struct plx_emu_queue *queue = plx_emu_selected(emu);

	if (!queue)
		return offset == VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (offset) {
	case VIRTIO_PCI_COMMON_QUEUE_SIZE:
		return queue->size;
	case VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR:
		return read_back(queue->vector, &queue->vector_unread);
	case VIRTIO_PCI_COMMON_QUEUE_ENABLE:
		return queue->enabled;
	case VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF:
		return queue->index;
	case VIRTIO_PCI_COMMON_QUEUE_DESC:
		return (uint32_t)queue->desc_addr;
	case DESC_HIGH:
		return queue->desc_addr >> 32;
	case VIRTIO_PCI_COMMON_QUEUE_DRIVER:
		return (uint32_t)queue->driver_addr;
	case DRIVER_HIGH:
		return queue->driver_addr >> 32;
	case VIRTIO_PCI_COMMON_QUEUE_DEVICE:
		return (uint32_t)queue->device_addr;
	case DEVICE_HIGH:
		return queue->device_addr >> 32;
	case VIRTIO_PCI_COMMON_QUEUE_NOTIF_DATA:
		return plx_emu_offers(emu, VIRTIO_F_NOTIF_CONFIG_DATA)
			       ? PLX_EMU_NOTIF_DATA(queue->index)
			       : 0;
	case VIRTIO_PCI_COMMON_QUEUE_RESET:
		queue->reset_unread = false;
		return 0;
	default:
		return 0;
	}
}

uint64_t plx_emu_common_read(struct plx_emu *emu, uint64_t offset, unsigned len)
{
	if (!check_access(emu, offset, len, false))
		return 0;
	if (offset == VIRTIO_PCI_COMMON_DEVICE_STATUS)
		return plx_emu_status_read(emu);
	plx_emu_status_check(emu, false);
	switch (offset) {
	case VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT:
		return emu->device_feature_select;
	case VIRTIO_PCI_COMMON_DEVICE_FEATURE:
		return device_features(emu);
	case VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT:
		return emu->driver_feature_select;
	case VIRTIO_PCI_COMMON_DRIVER_FEATURE:
		return driver_features(emu);
	case VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR:
		return read_back(emu->config_vector, &emu->config_vector_unread);
	case VIRTIO_PCI_COMMON_NUM_QUEUES:
		return emu->queues;
	case VIRTIO_PCI_COMMON_CONFIG_GENERATION:
		return generation(emu);
	case VIRTIO_PCI_COMMON_QUEUE_SELECT:
		return emu->queue_select;
	default:
		return queue_read(emu, offset);
	}
}

void plx_emu_write_features(struct plx_emu *emu, unsigned word, uint32_t bits)
{
	unsigned shift = 32 * (word % 2);

	if (!plx_emu_status_may_accept(emu))
		return;
	if (word >= 4) {
		if (bits)
			plx_emu_report(emu, "FEAT-5", "features above bit 127 were accepted");
		return;
	}
	emu->accepted[word / 2] &= ~(UINT64_C(0xffffffff) << shift);
	emu->accepted[word / 2] |= (uint64_t)bits << shift;
}

uint16_t plx_emu_map_vector(struct plx_emu *emu, uint64_t value, bool *unread)
{
	if (value == VIRTIO_MSI_NO_VECTOR)
		return VIRTIO_MSI_NO_VECTOR;
	*unread = true;
	if (value < emu->vectors)
		return (uint16_t)value;
	plx_emu_report(
		emu, "PCI-MSIX-4", "vector %" PRIu64 " was chosen of %u", value, emu->vectors);
	return VIRTIO_MSI_NO_VECTOR;
}

static void resize(struct plx_emu_queue *queue, uint64_t size)
{
	struct plx_emu *emu = queue->emu;
	bool packed = plx_emu_accepted(emu, VIRTIO_F_RING_PACKED);

	if (packed && !size)
		plx_emu_report(
			emu, "PCI-COMMON-2", "the size 0 was written for queue %u", queue->index);
	else if (!packed && !plx_is_power_of_two(size))
		plx_emu_report(emu, "PCI-COMMON-3", "the size %" PRIu64 " was written for queue %u",
			size, queue->index);
	else if (size > emu->config.queue_size)
		plx_emu_report(emu, "PCI-COMMON-3",
			"the size %" PRIu64 " was written for queue %u, which has %u "
			"at most",
			size, queue->index, emu->config.queue_size);
	else
		queue->size = (uint16_t)size;
}

static void set_low(uint64_t *address, uint64_t value)
{
	*address = (*address & ~UINT64_C(0xffffffff)) | value;
}

static void set_high(uint64_t *address, uint64_t value)
{
	*address = (uint32_t)*address | value << 32;
}

static void address_write(struct plx_emu_queue *queue, uint64_t offset, uint64_t value)
{
	/* The halves of the three addresses follow each other; one bit notes each. */
	unsigned half = (unsigned)(offset - VIRTIO_PCI_COMMON_QUEUE_DESC) / 4;
	uint64_t *address[] = {&queue->desc_addr, &queue->driver_addr, &queue->device_addr};

	queue->written |= (uint8_t)(1u << half);
	if (half % 2)
		set_high(address[half / 2], value);
	else
		set_low(address[half / 2], value);
}

static void enable(struct plx_emu_queue *queue, uint64_t value)
{
	if (value == 1)
		plx_emu_queue_enable(queue);
	else
		plx_emu_report(queue->emu, "PCI-COMMON-6",
			"%" PRIu64 " was written to queue_enable of queue %u", value, queue->index);
}

static void reset_one(struct plx_emu_queue *queue, uint64_t value)
{
	struct plx_emu *emu = queue->emu;

	if (!plx_emu_accepted(emu, VIRTIO_F_RING_RESET) || value != 1) {
		plx_emu_report(emu, "PCI-ACC-1",
			"%" PRIu64 " was written to queue_reset, which needs RING_RESET "
			"and 1",
			value);
		return;
	}
	plx_emu_queue_reset(queue);
	queue->reset_unread = true;
}

/* Turning interrupts off is possible at any time, and writing 0 to queue_enable never is. */
static bool may_follow_enable(uint64_t offset, uint64_t value)
{
	return (offset == VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR && value == VIRTIO_MSI_NO_VECTOR) ||
	       (offset == VIRTIO_PCI_COMMON_QUEUE_ENABLE && !value);
}

static void queue_write(struct plx_emu *emu, uint64_t offset, uint64_t value, const char *name)
{
	struct plx_emu_queue *queue = plx_emu_selected(emu);

	if (!queue) {
		plx_emu_report(emu, "PCI-COMMON-4",
			"%s was written for queue %u, which does not exist", name,
			emu->queue_select);
		return;
	}
	if (offset == VIRTIO_PCI_COMMON_QUEUE_RESET) {
		reset_one(queue, value);
		return;
	}
	if (queue->reset_unread)
		plx_emu_report(emu, "PCI-COMMON-7",
			"%s was written before queue_reset of queue %u read 0", name, queue->index);
	if (queue->enabled && !may_follow_enable(offset, value)) {
		plx_emu_report(emu, "PCI-COMMON-4", "%s of queue %u was written after queue_enable",
			name, queue->index);
		return;
	}
	if (offset == VIRTIO_PCI_COMMON_QUEUE_SIZE)
		resize(queue, value);
	else if (offset == VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR)
		queue->vector = plx_emu_map_vector(emu, value, &queue->vector_unread);
	else if (offset == VIRTIO_PCI_COMMON_QUEUE_ENABLE)
		enable(queue, value);
	else
		address_write(queue, offset, value);
}

void plx_emu_common_write(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value)
{
	const char *name = check_access(emu, offset, len, true);

	if (!name)
		return;
	if (offset == VIRTIO_PCI_COMMON_DEVICE_STATUS) {
		plx_emu_status_write(emu, (uint8_t)value, false);
		return;
	}
	plx_emu_status_check(emu, true);
	switch (offset) {
	case VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT:
		emu->device_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT:
		emu->driver_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_DRIVER_FEATURE:
		plx_emu_write_features(emu, emu->driver_feature_select, (uint32_t)value);
		break;
	case VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR:
		emu->config_vector = plx_emu_map_vector(emu, value, &emu->config_vector_unread);
		break;
	case VIRTIO_PCI_COMMON_QUEUE_SELECT:
		emu->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(emu, offset, value, name);
	}
}
