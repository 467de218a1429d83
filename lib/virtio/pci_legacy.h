/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_PCI_LEGACY_H
#define PLX_VIRTIO_PCI_LEGACY_H

#include "virtio/virtio.h"

/*
 * plx_virtio_pci_legacy_open() - Use a PCI function through the legacy interface
 * (virtio 1.4, 4.1.4.10).
 * @vfio: the function; belongs to the result on success, and stays the caller's on failure
 * @device_id: of the virtio device
 * @mem: memory that the device can reach
 *
 * The registers lie in the first BAR and are reached by one call each: VFIO maps no ports. So does
 * a notification, which is why the modern interface is the one to prefer.
 *
 * Return: 0; -ENOTSUP when the function has no legacy interface; -ENOMEM.
 */
int plx_virtio_pci_legacy_open(struct plx_vfio_device *vfio, unsigned device_id,
	struct plx_mem *mem, struct plx_virtio **virtio);

#endif
