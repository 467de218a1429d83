/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_PCI_MODERN_H
#define PLX_VIRTIO_PCI_MODERN_H

#include "virtio/virtio.h"

#include <pollux/pci.h>

/*
 * plx_virtio_pci_open() - Find the virtio structures of a PCI function (virtio 1.4, 4.1.4).
 * @vfio: the function; belongs to the result on success, and stays the caller's on failure
 * @device_id: of the virtio device, VIRTIO_ID_NET and so on
 * @mem: memory that the device can reach
 *
 * Touches nothing but configuration space and mappings.
 *
 * Return: 0; -EPROTO when the capabilities are broken or one that is needed is missing; -ENOTSUP
 * for a device with the legacy interface only; -ENODEV; -ENOMEM.
 */
int plx_virtio_pci_open(struct plx_vfio_device *vfio, unsigned device_id, struct plx_mem *mem,
	struct plx_virtio **virtio);

#endif
