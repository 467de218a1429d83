/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/pci_legacy.h"

#include "base/compiler.h"
#include "base/error.h"
#include "pci/pci.h"
#include "virtio/handshake.h"
#include "virtio/pci_interrupts.h"
#include "virtio/virtio_reg.h"

#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pci_legacy {
	struct plx_virtio virtio;
	struct plx_vfio_device *vfio;
	struct plx_mmio registers;
	uint8_t msix; /* its capability in configuration space; 0 for none */
};

static struct pci_legacy *to_pci(struct plx_virtio *virtio)
{
	return container_of(virtio, struct pci_legacy, virtio);
}

static uint8_t read_status(struct plx_virtio *virtio)
{
	return plx_mmio_read8(&to_pci(virtio)->registers, VIRTIO_PCI_LEGACY_DEVICE_STATUS);
}

static int check(struct plx_virtio *virtio)
{
	return plx_virtio_pci_check(&to_pci(virtio)->registers, VIRTIO_PCI_LEGACY_DEVICE_STATUS);
}

static void write_status(struct plx_virtio *virtio, uint8_t status)
{
	if (!status)
		plx_virtio_pci_revive(virtio);
	plx_mmio_write8(&to_pci(virtio)->registers, VIRTIO_PCI_LEGACY_DEVICE_STATUS, status);
}

/* There are only the first 32 (4.1.4.10). */
static void read_features(struct plx_virtio *virtio, struct plx_features *features)
{
	features->word[0] =
		plx_mmio_read32(&to_pci(virtio)->registers, VIRTIO_PCI_LEGACY_DEVICE_FEATURES);
	features->word[1] = 0;
}

static void write_features(struct plx_virtio *virtio, const struct plx_features *features)
{
	plx_mmio_write32(&to_pci(virtio)->registers, VIRTIO_PCI_LEGACY_DRIVER_FEATURES,
		(uint32_t)features->word[0]);
}

/*
 * Device configuration moves by four bytes while MSI-X is on (4.1.4.10), and who holds the device
 * may turn it on at any time by asking for its interrupts.
 */
static uint32_t config_at(const struct pci_legacy *pci)
{
	uint16_t flags;

	if (!pci->msix)
		return VIRTIO_PCI_LEGACY_CONFIG;
	flags = plx_pci_config_read16(pci->vfio, pci->msix + PCI_MSIX_FLAGS);
	return flags != UINT16_MAX && (flags & PCI_MSIX_FLAGS_ENABLE)
		       ? VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX
		       : VIRTIO_PCI_LEGACY_CONFIG;
}

static uint64_t config_size(struct plx_virtio *virtio)
{
	const struct pci_legacy *pci = to_pci(virtio);
	uint32_t at = config_at(pci);

	return pci->registers.size > at ? pci->registers.size - at : 0;
}

/* Native-endian, and byte by byte as every old device expects (4.1.3.2). */
static uint32_t read_config(struct plx_virtio *virtio, unsigned offset, unsigned width)
{
	const struct pci_legacy *pci = to_pci(virtio);
	uint32_t at = config_at(pci) + offset;
	uint8_t bytes[4] = {0};
	uint16_t half;
	uint32_t word;

	for (unsigned i = 0; i < width; i++)
		bytes[i] = plx_mmio_read8(&pci->registers, at + i);
	if (width == 1)
		return bytes[0];
	memcpy(&half, bytes, sizeof(half));
	memcpy(&word, bytes, sizeof(word));
	return width == 2 ? half : word;
}

static uint16_t queue_max(struct plx_virtio *virtio, uint16_t index)
{
	const struct plx_mmio *registers = &to_pci(virtio)->registers;

	plx_mmio_write16(registers, VIRTIO_PCI_LEGACY_QUEUE_SELECT, index);
	return plx_mmio_read16(registers, VIRTIO_PCI_LEGACY_QUEUE_SIZE);
}

static int queue_setup(struct plx_virtio *virtio, const struct plx_virtio_queue *queue,
	struct plx_virtio_doorbell *doorbell)
{
	struct pci_legacy *pci = to_pci(virtio);
	uint64_t page = queue->descriptor_area >> VIRTIO_PCI_LEGACY_QUEUE_ADDRESS_SHIFT;
	uint32_t present;

	if (page > UINT32_MAX)
		return plx_fail(ERANGE,
			"%s: queue %u lies at 0x%llx, which the legacy interface cannot "
			"express: it ends at 16 TiB",
			virtio->name, queue->index, (unsigned long long)queue->descriptor_area);
	plx_mmio_write16(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_SELECT, queue->index);
	present = plx_mmio_read32(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_ADDRESS);
	if (present == UINT32_MAX)
		return plx_virtio_gone(virtio);
	if (present)
		return plx_fail(EPROTO,
			"%s: queue %u is active right after a reset: the device does not "
			"reset its queues",
			virtio->name, queue->index);
	doorbell->value = queue->index;
	plx_mmio_write32(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, (uint32_t)page);
	return plx_mmio_open(&doorbell->window, pci->vfio, pci->registers.region,
		VIRTIO_PCI_LEGACY_QUEUE_NOTIFY, sizeof(uint16_t));
}

/* The registers of vectors are there while MSI-X is on (4.1.4.10), which they are used in. */
static uint16_t map_queue(struct plx_virtio *virtio, uint16_t index, uint16_t vector)
{
	const struct plx_mmio *registers = &to_pci(virtio)->registers;

	plx_mmio_write16(registers, VIRTIO_PCI_LEGACY_QUEUE_SELECT, index);
	plx_mmio_write16(registers, VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR, vector);
	return plx_mmio_read16(registers, VIRTIO_PCI_LEGACY_QUEUE_MSIX_VECTOR);
}

static uint16_t map_config(struct plx_virtio *virtio, uint16_t vector)
{
	const struct plx_mmio *registers = &to_pci(virtio)->registers;

	plx_mmio_write16(registers, VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR, vector);
	return plx_mmio_read16(registers, VIRTIO_PCI_LEGACY_CONFIG_MSIX_VECTOR);
}

static void rearm_line(struct plx_virtio *virtio)
{
	(void)plx_mmio_read8(&to_pci(virtio)->registers, VIRTIO_PCI_LEGACY_ISR_STATUS);
	plx_virtio_pci_unmask_line(virtio);
}

static void close_device(struct plx_virtio *virtio)
{
	struct pci_legacy *pci = to_pci(virtio);

	plx_mmio_close(&pci->registers);
	plx_vfio_close(pci->vfio);
	free(pci);
}

static const struct plx_virtio_transport transport = {
	.name = "pci-legacy",
	.legacy = true,
	.read_status = read_status,
	.write_status = write_status,
	.read_features = read_features,
	.write_features = write_features,
	.read_generation = NULL,
	.config_size = config_size,
	.read_config = read_config,
	.queue_max = queue_max,
	.queue_setup = queue_setup,
	.check = check,
	.fault = plx_virtio_pci_fault,
	.reset_function = plx_virtio_pci_reset_function,
	.vectors = plx_virtio_pci_vectors,
	.set_vectors = plx_virtio_pci_set_vectors,
	.map_queue = map_queue,
	.map_config = map_config,
	.set_line = plx_virtio_pci_set_line,
	.rearm_line = rearm_line,
	.last_resort = "resetting the PCI function",
	.close = close_device,
};

/* 4.1.2.3: only a transitional ID with revision 0 has these registers, in I/O space. */
static bool has_interface(struct plx_vfio_device *vfio)
{
	uint16_t id = plx_pci_config_read16(vfio, PCI_DEVICE_ID);
	uint32_t bar = plx_pci_config_read32(vfio, PCI_BASE_ADDRESS_0);

	return id >= VIRTIO_PCI_TRANSITIONAL_FIRST && id <= VIRTIO_PCI_TRANSITIONAL_LAST &&
	       !plx_pci_config_read8(vfio, PCI_REVISION_ID) && (bar & PCI_BASE_ADDRESS_SPACE_IO) &&
	       vfio->region[VFIO_PCI_BAR0_REGION_INDEX].size >= VIRTIO_PCI_LEGACY_CONFIG;
}

static int find_msix(struct pci_legacy *pci)
{
	struct plx_pci_capability_walk walk = {0};
	uint8_t id, at;
	int ret;

	while ((ret = plx_pci_capability_next(pci->vfio, &walk, &id, &at)) > 0)
		if (id == PCI_CAP_ID_MSIX)
			pci->msix = at;
	return ret;
}

int plx_virtio_pci_legacy_open(struct plx_vfio_device *vfio, unsigned device_id,
	struct plx_mem *mem, struct plx_virtio **virtio)
{
	struct pci_legacy *pci;
	int err;

	if (!has_interface(vfio)) {
		if (plx_pci_config_read16(vfio, PCI_VENDOR_ID) == UINT16_MAX)
			return plx_fail(ENODEV,
				"%s: its configuration space reads as all ones; was it removed?",
				vfio->name);
		return plx_fail(ENOTSUP,
			"%s: the device has no legacy interface: leave out legacy=on", vfio->name);
	}
	pci = calloc(1, sizeof(*pci));
	if (!pci)
		return plx_fail(ENOMEM, "%s: out of memory for the device", vfio->name);
	pci->vfio = vfio;
	err = find_msix(pci);
	if (!err)
		err = plx_mmio_open(&pci->registers, vfio, VFIO_PCI_BAR0_REGION_INDEX, 0,
			vfio->region[VFIO_PCI_BAR0_REGION_INDEX].size);
	if (err) {
		free(pci);
		return err;
	}
	plx_virtio_init(&pci->virtio, &transport, &plx_handshake_legacy, device_id, mem);
	plx_virtio_init_pci(&pci->virtio, vfio);
	*virtio = &pci->virtio;
	return 0;
}
