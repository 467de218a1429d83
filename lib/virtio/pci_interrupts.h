/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_PCI_INTERRUPTS_H
#define PLX_VIRTIO_PCI_INTERRUPTS_H

#include "virtio/virtio.h"

/* What both PCI transports do with interrupts outside the virtio registers: see virtio.h. */

unsigned plx_virtio_pci_vectors(struct plx_virtio *virtio, bool *line);
int plx_virtio_pci_set_vectors(struct plx_virtio *virtio, unsigned count, const int32_t *fds);
int plx_virtio_pci_set_line(struct plx_virtio *virtio, int32_t fd);
/* Once the device was seen to take its interrupt back. */
void plx_virtio_pci_unmask_line(struct plx_virtio *virtio);

#endif
