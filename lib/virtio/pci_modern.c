/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/pci_modern.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "pci/pci.h"
#include "virtio/handshake.h"
#include "virtio/pci_interrupts.h"
#include "virtio/virtio_reg.h"

#include <linux/pci_regs.h>
#include <stdlib.h>

/* Where one virtio structure lies (virtio 1.4, 4.1.4). */
struct structure {
	bool found;
	uint8_t bar;
	uint32_t offset;
	uint32_t length;
	uint32_t notify_multiplier;
};

struct pci_modern {
	struct plx_virtio virtio;
	struct plx_vfio_device *vfio;
	struct plx_mmio common;
	struct plx_mmio config; /* device configuration; size 0 when there is none */
	struct plx_mmio isr;    /* of size 0 but while the line is in use */
	struct structure notify;
	struct structure interrupt;
};

static struct pci_modern *to_pci(struct plx_virtio *virtio)
{
	return container_of(virtio, struct pci_modern, virtio);
}

/* --- finding the structures --- */

/*
 * A capability counts when its type is one that we use, its BAR exists, the bytes of it that we
 * need fit and lie on the boundary that their registers have to, and no earlier one of its type did
 * (virtio 1.4, 4.1.4.1). A length field that is too large is no fault: only what is needed gets
 * mapped.
 */
static bool usable(
	struct plx_vfio_device *vfio, const struct structure *s, uint64_t needed, uint32_t align)
{
	return s->bar < VIRTIO_PCI_BARS && s->length >= needed && !(s->offset % align) &&
	       plx_range_fits(s->offset, needed, vfio->region[s->bar].size);
}

static void read_capability(struct plx_vfio_device *vfio, uint8_t at, struct structure *s)
{
	s->bar = plx_pci_config_read8(vfio, at + VIRTIO_PCI_CAP_BAR);
	s->offset = plx_pci_config_read32(vfio, at + VIRTIO_PCI_CAP_OFFSET);
	s->length = plx_pci_config_read32(vfio, at + VIRTIO_PCI_CAP_LENGTH);
}

struct structures {
	struct structure common;
	struct structure notify;
	struct structure interrupt;
	struct structure device;
};

static void consider(struct plx_vfio_device *vfio, uint8_t at, struct structures *found)
{
	uint8_t length = plx_pci_config_read8(vfio, at + VIRTIO_PCI_CAP_LEN);
	struct structure s = {.found = true};
	struct structure *slot;
	uint32_t align = 4; /* 4.1.4.3.1 and 4.1.4.6.1 */
	uint64_t needed;

	if (length < VIRTIO_PCI_CAP_SIZE)
		return;
	read_capability(vfio, at, &s);
	switch (plx_pci_config_read8(vfio, at + VIRTIO_PCI_CAP_TYPE)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		slot = &found->common;
		needed = VIRTIO_PCI_COMMON_SIZE_1_0;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		if (length < VIRTIO_PCI_CAP_NOTIFY_SIZE)
			return;
		s.notify_multiplier = plx_pci_config_read32(vfio, at + VIRTIO_PCI_CAP_NOTIFY_MULT);
		slot = &found->notify;
		needed = sizeof(uint16_t);
		align = 2; /* 4.1.4.4.1 */
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		slot = &found->interrupt;
		needed = 1;
		align = 1; /* 4.1.4.5.1 */
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		slot = &found->device;
		needed = 1;
		break;
	default:
		return;
	}
	if (!slot->found && usable(vfio, &s, needed, align))
		*slot = s;
}

static int find_structures(struct plx_vfio_device *vfio, struct structures *found)
{
	struct plx_pci_capability_walk walk = {0};
	bool any = false;
	uint8_t id, at;
	int ret;

	while ((ret = plx_pci_capability_next(vfio, &walk, &id, &at)) > 0) {
		if (id != PCI_CAP_ID_VNDR)
			continue;
		any = true;
		consider(vfio, at, found);
	}
	if (ret < 0)
		return ret;
	if (!any)
		return plx_fail(ENOTSUP, "%s: the device has no modern interface: say legacy=on",
			vfio->name);
	if (!found->common.found || !found->notify.found)
		return plx_fail(EPROTO,
			"%s: the device's virtio capabilities lack a usable %s structure: the "
			"device breaks virtio 1.4, 4.1.4, and cannot be driven",
			vfio->name, found->common.found ? "notification" : "common configuration");
	return 0;
}

/* --- the transport --- */

static uint8_t read_status(struct plx_virtio *virtio)
{
	return plx_mmio_read8(&to_pci(virtio)->common, VIRTIO_PCI_COMMON_DEVICE_STATUS);
}

static int check(struct plx_virtio *virtio)
{
	return plx_virtio_pci_check(&to_pci(virtio)->common, VIRTIO_PCI_COMMON_DEVICE_STATUS);
}

static void write_status(struct plx_virtio *virtio, uint8_t status)
{
	if (!status)
		plx_virtio_pci_revive(virtio);
	plx_mmio_write8(&to_pci(virtio)->common, VIRTIO_PCI_COMMON_DEVICE_STATUS, status);
}

static void read_features(struct plx_virtio *virtio, struct plx_features *features)
{
	const struct plx_mmio *common = &to_pci(virtio)->common;

	*features = (struct plx_features){{0, 0}};
	for (unsigned i = 0; i < PLX_FEATURE_BITS / 32; i++) {
		plx_mmio_write32(common, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, i);
		features->word[i / 2] |=
			(uint64_t)plx_mmio_read32(common, VIRTIO_PCI_COMMON_DEVICE_FEATURE)
			<< (i % 2 * 32);
	}
}

static void write_features(struct plx_virtio *virtio, const struct plx_features *features)
{
	const struct plx_mmio *common = &to_pci(virtio)->common;

	for (unsigned i = 0; i < PLX_FEATURE_BITS / 32; i++) {
		plx_mmio_write32(common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, i);
		plx_mmio_write32(common, VIRTIO_PCI_COMMON_DRIVER_FEATURE,
			(uint32_t)(features->word[i / 2] >> (i % 2 * 32)));
	}
}

static uint8_t read_generation(struct plx_virtio *virtio)
{
	return plx_mmio_read8(&to_pci(virtio)->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION);
}

static uint64_t config_size(struct plx_virtio *virtio)
{
	return to_pci(virtio)->config.size;
}

static uint32_t read_config(struct plx_virtio *virtio, unsigned offset, unsigned width)
{
	const struct plx_mmio *config = &to_pci(virtio)->config;

	switch (width) {
	case 1:
		return plx_mmio_read8(config, offset);
	case 2:
		return plx_mmio_read16(config, offset);
	default:
		return plx_mmio_read32(config, offset);
	}
}

static void select_queue(struct pci_modern *pci, uint16_t index)
{
	plx_mmio_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SELECT, index);
}

static uint16_t queue_max(struct plx_virtio *virtio, uint16_t index)
{
	struct pci_modern *pci = to_pci(virtio);

	select_queue(pci, index);
	return plx_mmio_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SIZE);
}

static int open_doorbell(struct pci_modern *pci, const struct plx_virtio_queue *queue,
	struct plx_virtio_doorbell *doorbell)
{
	const struct structure *notify = &pci->notify;
	bool data = plx_virtio_has(&pci->virtio, VIRTIO_F_NOTIFICATION_DATA);
	uint32_t width = data ? sizeof(uint32_t) : sizeof(uint16_t);
	uint64_t offset = plx_mmio_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF);

	if (offset == UINT16_MAX && plx_virtio_read_status(&pci->virtio) == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(&pci->virtio);
	offset *= notify->notify_multiplier;
	if (!plx_range_fits(offset, width, notify->length) || (notify->offset + offset) % width)
		return plx_fail(EPROTO,
			"%s: the doorbell of queue %u lies at %llu, outside the device's "
			"notification structure of %u bytes",
			pci->virtio.name, queue->index, (unsigned long long)offset, notify->length);
	doorbell->data = data;
	doorbell->value = queue->index;
	if (plx_virtio_has(&pci->virtio, VIRTIO_F_NOTIF_CONFIG_DATA))
		doorbell->value = plx_mmio_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_NOTIF_DATA);
	return plx_mmio_open(
		&doorbell->window, pci->vfio, notify->bar, notify->offset + offset, width);
}

/* A 64-bit field is written as two of 32 bits, the low one first (virtio 1.4, 4.1.3.1). */
static void write_address(const struct plx_mmio *common, unsigned offset, uint64_t address)
{
	plx_mmio_write32(common, offset, (uint32_t)address);
	plx_mmio_write32(common, offset + 4, (uint32_t)(address >> 32));
}

static int queue_setup(struct plx_virtio *virtio, const struct plx_virtio_queue *queue,
	struct plx_virtio_doorbell *doorbell)
{
	struct pci_modern *pci = to_pci(virtio);
	const struct plx_mmio *common = &pci->common;
	uint16_t enabled;
	int err;

	select_queue(pci, queue->index);
	enabled = plx_mmio_read16(common, VIRTIO_PCI_COMMON_QUEUE_ENABLE);
	if (enabled == UINT16_MAX)
		return plx_virtio_gone(virtio);
	if (enabled)
		return plx_fail(EPROTO,
			"%s: queue %u is enabled right after a reset: the device does not "
			"reset its queues",
			virtio->name, queue->index);
	err = open_doorbell(pci, queue, doorbell);
	if (err)
		return err;
	plx_mmio_write16(common, VIRTIO_PCI_COMMON_QUEUE_SIZE, queue->size);
	write_address(common, VIRTIO_PCI_COMMON_QUEUE_DESC, queue->descriptor_area);
	write_address(common, VIRTIO_PCI_COMMON_QUEUE_DRIVER, queue->driver_area);
	write_address(common, VIRTIO_PCI_COMMON_QUEUE_DEVICE, queue->device_area);
	plx_mmio_write16(common, VIRTIO_PCI_COMMON_QUEUE_ENABLE, 1);
	return 0;
}

/* While the device is at it the register reads 1 (4.1.4.3.2). */
static int queue_reset(struct plx_virtio *virtio, uint16_t index)
{
	const struct plx_mmio *common = &to_pci(virtio)->common;
	struct plx_wait wait = plx_wait_for(virtio->limits.reset);
	uint16_t value;

	select_queue(to_pci(virtio), index);
	plx_mmio_write16(common, VIRTIO_PCI_COMMON_QUEUE_RESET, 1);
	while ((value = plx_mmio_read16(common, VIRTIO_PCI_COMMON_QUEUE_RESET)))
		if (value == UINT16_MAX || !plx_wait_again(&wait))
			break;
	if (value == UINT16_MAX)
		return plx_virtio_gone(virtio);
	if (value || plx_mmio_read16(common, VIRTIO_PCI_COMMON_QUEUE_ENABLE))
		return plx_fail(EIO,
			"%s: the device does not finish the reset of queue %u: its buffers are "
			"kept until the device is stopped",
			virtio->name, index);
	return 0;
}

/* What has no register in a structure as short as the device's (4.1.4.3.1). */
static void narrow(struct plx_virtio *virtio)
{
	static const uint8_t bits[] = {VIRTIO_F_NOTIF_CONFIG_DATA, VIRTIO_F_RING_RESET};
	struct pci_modern *pci = to_pci(virtio);

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		if (pci->common.size < VIRTIO_PCI_COMMON_SIZE_1_2)
			plx_negotiation_exclude(&virtio->negotiation, bits[i],
				"the device's common configuration is too short for it");
}

static unsigned vectors(struct plx_virtio *virtio, bool *line)
{
	unsigned count = plx_virtio_pci_vectors(virtio, line);

	/* Nothing else takes back what the line says (4.1.4.5). */
	*line = *line && to_pci(virtio)->interrupt.found;
	return count;
}

/* 4.1.5.1.2: what the device took is what reads back. */
static uint16_t map_queue(struct plx_virtio *virtio, uint16_t index, uint16_t vector)
{
	struct pci_modern *pci = to_pci(virtio);

	select_queue(pci, index);
	plx_mmio_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, vector);
	return plx_mmio_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR);
}

static uint16_t map_config(struct plx_virtio *virtio, uint16_t vector)
{
	const struct plx_mmio *common = &to_pci(virtio)->common;

	plx_mmio_write16(common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, vector);
	return plx_mmio_read16(common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR);
}

static int set_line(struct plx_virtio *virtio, int32_t fd)
{
	struct pci_modern *pci = to_pci(virtio);
	int err = 0;

	if (fd >= 0 && !pci->isr.size)
		err = plx_mmio_open(
			&pci->isr, pci->vfio, pci->interrupt.bar, pci->interrupt.offset, 1);
	return err ? err : plx_virtio_pci_set_line(virtio, fd);
}

/* Reading the register takes the interrupt back (4.1.4.5). */
static void rearm_line(struct plx_virtio *virtio)
{
	(void)plx_mmio_read8(&to_pci(virtio)->isr, 0);
	plx_virtio_pci_unmask_line(virtio);
}

static void close_device(struct plx_virtio *virtio)
{
	struct pci_modern *pci = to_pci(virtio);

	plx_mmio_close(&pci->isr);
	plx_mmio_close(&pci->config);
	plx_mmio_close(&pci->common);
	plx_vfio_close(pci->vfio);
	free(pci);
}

static const struct plx_virtio_transport transport = {
	.name = "pci",
	.read_status = read_status,
	.write_status = write_status,
	.read_features = read_features,
	.write_features = write_features,
	.narrow = narrow,
	.read_generation = read_generation,
	.config_size = config_size,
	.read_config = read_config,
	.queue_max = queue_max,
	.queue_setup = queue_setup,
	.queue_reset = queue_reset,
	.check = check,
	.fault = plx_virtio_pci_fault,
	.reset_function = plx_virtio_pci_reset_function,
	.vectors = vectors,
	.set_vectors = plx_virtio_pci_set_vectors,
	.map_queue = map_queue,
	.map_config = map_config,
	.set_line = set_line,
	.rearm_line = rearm_line,
	.last_resort = "resetting the PCI function",
	.close = close_device,
};

/* The largest device configuration of any type that is driven here, and room to grow. */
#define CONFIG_NEEDED 256

/* Bytes of a structure up to the ones that are of use. */
static uint64_t there_is(
	const struct plx_vfio_device *vfio, const struct structure *s, uint64_t needed)
{
	uint64_t left = vfio->region[s->bar].size - s->offset;

	return MIN(MIN(s->length, left), needed);
}

static int open_windows(struct pci_modern *pci, const struct structures *found)
{
	int err;

	err = plx_mmio_open(&pci->common, pci->vfio, found->common.bar, found->common.offset,
		there_is(pci->vfio, &found->common, VIRTIO_PCI_COMMON_SIZE_1_2));
	if (err || !found->device.found)
		return err;
	err = plx_mmio_open(&pci->config, pci->vfio, found->device.bar, found->device.offset,
		there_is(pci->vfio, &found->device, CONFIG_NEEDED));
	if (err)
		plx_mmio_close(&pci->common);
	return err;
}

int plx_virtio_pci_open(struct plx_vfio_device *vfio, unsigned device_id, struct plx_mem *mem,
	struct plx_virtio **virtio)
{
	struct structures found = {0};
	struct pci_modern *pci;
	int err;

	err = find_structures(vfio, &found);
	if (err)
		return err;
	pci = calloc(1, sizeof(*pci));
	if (!pci)
		return plx_fail(ENOMEM, "%s: out of memory for the device", vfio->name);
	pci->vfio = vfio;
	pci->notify = found.notify;
	pci->interrupt = found.interrupt;
	err = open_windows(pci, &found);
	if (err) {
		free(pci);
		return err;
	}
	plx_virtio_init(&pci->virtio, &transport, &plx_handshake_modern, device_id, mem);
	plx_virtio_init_pci(&pci->virtio, vfio);
	*virtio = &pci->virtio;
	return 0;
}
