/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_IOMMUFD_H
#define PLX_VFIO_IOMMUFD_H

#include "vfio/vfio.h"

/*
 * VFIO's device files and iommufd (Linux Documentation/driver-api/vfio.rst and
 * Documentation/userspace-api/iommufd.rst; Linux 6.6 and later).
 *
 * One I/O address space (IOAS) stands for all devices of its owner, so that memory is mapped and
 * accounted once. It attaches to the memory as a mapper with its first device and detaches with the
 * last.
 */
struct plx_vfio_iommufd;

/* Opens nothing yet. Return: 0; -ENOMEM. */
int plx_vfio_iommufd_create(
	struct plx_mem *mem, const struct plx_log *log, struct plx_vfio_iommufd **iommufd);
/* Every device must be closed. */
void plx_vfio_iommufd_destroy(struct plx_vfio_iommufd *iommufd);

/*
 * Whether the kernel has /dev/iommu and a file for the device, and this process the right to use
 * both.
 */
bool plx_vfio_iommufd_usable(const struct plx_vfio_target *target);

/*
 * plx_vfio_iommufd_open() - Open a device through its own file.
 *
 * The function is bound to vfio-pci. What plx_vfio_group_open() says of the order of things, of
 * closing and of threads holds here, too.
 *
 * Return: 0; -ENOENT without /dev/iommu or the device's file; -EACCES; -EBUSY when another process
 * or context has it or its group, or this one already; -EPERM when another driver has a device of
 * its group or interrupts are not remapped; -ERANGE or -EINVAL when its IOMMU does not reach the
 * memory; -ENODEV when it was removed; -ENOMEM when RLIMIT_MEMLOCK is too small; -errno.
 * plx_error() has the remedy.
 */
int plx_vfio_iommufd_open(struct plx_vfio_iommufd *iommufd, const struct plx_vfio_target *target,
	struct plx_vfio_device **device);

#endif
