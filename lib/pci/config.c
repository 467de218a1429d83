/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/error.h"
#include "pci/pci.h"

#include <endian.h>

/* The header of configuration space (PCI 3.0, 6.1 and 6.2). */
#define VENDOR                 0x00
#define DEVICE                 0x02
#define STATUS                 0x06
#define STATUS_CAPABILITY_LIST 0x0010
#define SUBSYSTEM_DEVICE       0x2e
#define CAPABILITIES_POINTER   0x34
#define HEADER_SIZE            0x40

/* As many capabilities of four bytes as fit behind the header into 256 bytes. */
#define MAX_CAPABILITIES 48

static int config_read(struct plx_vfio_device *device, uint32_t offset, void *value, size_t len)
{
	return device->ops->read(device, VFIO_PCI_CONFIG_REGION_INDEX, offset, value, len);
}

uint8_t plx_pci_config_read8(struct plx_vfio_device *device, uint32_t offset)
{
	uint8_t value;

	return config_read(device, offset, &value, sizeof(value)) ? UINT8_MAX : value;
}

uint16_t plx_pci_config_read16(struct plx_vfio_device *device, uint32_t offset)
{
	uint16_t value;

	return config_read(device, offset, &value, sizeof(value)) ? UINT16_MAX : le16toh(value);
}

uint32_t plx_pci_config_read32(struct plx_vfio_device *device, uint32_t offset)
{
	uint32_t value;

	return config_read(device, offset, &value, sizeof(value)) ? UINT32_MAX : le32toh(value);
}

static int gone(struct plx_vfio_device *device)
{
	int err = plx_vfio_fault(device);

	if (err)
		return err;
	return plx_fail(ENODEV, "%s: its configuration space reads as all ones; was it removed?",
		device->name);
}

int plx_pci_read_virtio_id(struct plx_vfio_device *device, unsigned *id)
{
	struct plx_pci_function function = {
		.vendor = plx_pci_config_read16(device, VENDOR),
		.device = plx_pci_config_read16(device, DEVICE),
		.subsystem_device = plx_pci_config_read16(device, SUBSYSTEM_DEVICE),
	};

	if (function.vendor == UINT16_MAX)
		return gone(device);
	*id = plx_pci_virtio_id(&function);
	if (*id)
		return 0;
	return plx_fail(ENODEV,
		"%s: the device is not a virtio device (it is %04x:%04x): Pollux drives virtio devices only",
		device->name, function.vendor, function.device);
}

static int capability_first(struct plx_vfio_device *device, struct plx_pci_capability_walk *walk)
{
	uint16_t status = plx_pci_config_read16(device, STATUS);

	if (status == UINT16_MAX)
		return gone(device);
	walk->next = status & STATUS_CAPABILITY_LIST
			     ? plx_pci_config_read8(device, CAPABILITIES_POINTER)
			     : 0;
	return 0;
}

int plx_pci_capability_next(struct plx_vfio_device *device, struct plx_pci_capability_walk *walk,
	uint8_t *id, uint8_t *offset)
{
	uint16_t header;
	int err;

	if (!walk->steps) {
		err = capability_first(device, walk);
		if (err)
			return err;
	}
	/* The two lowest bits are reserved and to be masked (PCI 3.0, 6.7). */
	walk->next &= 0xfc;
	if (!walk->next)
		return 0;
	if (walk->next < HEADER_SIZE)
		return plx_fail(EPROTO, "%s: its capability list leads into the header, to 0x%02x",
			device->name, walk->next);
	if (walk->steps++ == MAX_CAPABILITIES)
		return plx_fail(EPROTO, "%s: its capability list loops", device->name);
	header = plx_pci_config_read16(device, walk->next);
	if (header == UINT16_MAX)
		return gone(device);
	*id = header & 0xff;
	*offset = walk->next;
	walk->next = header >> 8;
	return 1;
}
