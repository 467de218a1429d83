/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/pci_interrupts.h"

#include "base/error.h"

/* VFIO masks the line with each interrupt, so without a way to unmask it there is but one. */
unsigned plx_virtio_pci_vectors(struct plx_virtio *virtio, bool *line)
{
	const struct plx_vfio_device *vfio = virtio->function;

	*line = vfio->irqs[VFIO_PCI_INTX_IRQ_INDEX] && vfio->ops->unmask_irq;
	return vfio->irqs[VFIO_PCI_MSIX_IRQ_INDEX];
}

int plx_virtio_pci_set_vectors(struct plx_virtio *virtio, unsigned count, const int32_t *fds)
{
	struct plx_vfio_device *vfio = virtio->function;

	return vfio->ops->set_irqs(vfio, VFIO_PCI_MSIX_IRQ_INDEX, 0, count, fds);
}

int plx_virtio_pci_set_line(struct plx_virtio *virtio, int32_t fd)
{
	struct plx_vfio_device *vfio = virtio->function;

	return vfio->ops->set_irqs(
		vfio, VFIO_PCI_INTX_IRQ_INDEX, 0, fd >= 0 ? 1 : 0, fd >= 0 ? &fd : NULL);
}

void plx_virtio_pci_unmask_line(struct plx_virtio *virtio)
{
	struct plx_vfio_device *vfio = virtio->function;

	/* Fails when the device is gone, which whoever waits for its interrupts finds out. */
	(void)vfio->ops->unmask_irq(vfio, VFIO_PCI_INTX_IRQ_INDEX);
}
