/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_GROUP_H
#define PLX_VFIO_GROUP_H

#include "vfio/vfio.h"

/*
 * VFIO's container and group interface with a type 1 IOMMU (Linux Documentation/driver-api/vfio.rst
 * and <linux/vfio.h>).
 *
 * A container holds every group of its owner, so that memory is mapped and accounted once. It
 * attaches to the memory as a mapper when its first group joins and detaches when the last leaves.
 */
struct plx_vfio_container;

/*
 * Opens nothing yet.
 * @noiommu: for devices that no IOMMU stands before, in VFIO's unsafe mode: they are given physical
 * addresses and can write to all memory of the machine, which a warning says for each
 *
 * Return: 0; -ENOMEM.
 */
int plx_vfio_container_create(struct plx_mem *mem, const struct plx_log *log, bool noiommu,
	struct plx_vfio_container **container);
/* Every device must be closed. */
void plx_vfio_container_destroy(struct plx_vfio_container *container);

/*
 * plx_vfio_group_open() - Open a device of a group.
 *
 * The function is bound to vfio-pci. Enables bus mastering last, so that nothing is reachable
 * before the IOMMU is set up. Any thread may call; so may plx_vfio_close() be called for devices of
 * one container from several threads.
 *
 * Closing turns bus mastering off, gives the descriptor back, upon which the kernel resets the
 * function where it can, and with the last device of the container unmaps all memory, in this
 * order. Every window of the device is closed before.
 *
 * Return: 0; -ENOENT without /dev/vfio or the group's node; -EACCES; -EBUSY when another process or
 * container has it, or this one already; -EPERM when the group is not viable or interrupts are not
 * remapped; -ENOTSUP when VFIO speaks another version or has no type 1 IOMMU; -ERANGE or -EINVAL
 * when its IOMMU does not reach the memory; -EBUSY when the memory is not fit for a device without;
 * -ENODEV when VFIO does not have it or it was removed; -EAGAIN while the kernel resets it; -ENOMEM
 * when RLIMIT_MEMLOCK is too small; -errno. plx_error() has the remedy.
 */
int plx_vfio_group_open(struct plx_vfio_container *container, const struct plx_vfio_target *target,
	struct plx_vfio_device **device);

#endif
