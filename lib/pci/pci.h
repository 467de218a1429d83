/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_PCI_PCI_H
#define PLX_PCI_PCI_H

#include "vfio/vfio.h"

#include <pollux/pci.h>

/*
 * What the rooms above need of PCI beyond <pollux/pci.h>: sysfs under another root for tests, and
 * configuration space through the device seam.
 */

/* The files of the kernel. Tests put a made-up tree in their place. */
struct plx_pci_root {
	const char *sysfs;  /* "/sys" */
	const char *procfs; /* "/proc" */
	const char *state;  /* "/run/pollux" */
	/*
	 * Writes an attribute of sysfs; NULL for a plain write. A test's does what the kernel
	 * would. Return: 0 or -errno.
	 */
	int (*store)(const char *path, const char *value);
};

extern const struct plx_pci_root plx_pci_root;

int plx_pci_scan_in(const struct plx_pci_root *root, plx_pci_visit_fn *visit, void *arg);
int plx_pci_lookup_in(const struct plx_pci_root *root, const struct plx_pci_address *address,
	struct plx_pci_function *function);
int plx_pci_check_unused_in(const struct plx_pci_root *root, const struct plx_pci_address *address);
int plx_pci_bind_in(const struct plx_pci_root *root, const struct plx_pci_address *address,
	const char *driver, unsigned flags);
int plx_pci_unbind_in(const struct plx_pci_root *root, const struct plx_pci_address *address);

/*
 * plx_pci_ready_for_vfio() - See that a function can be opened through VFIO, before trying.
 *
 * Says what is wrong in the order in which a person would mend it: no vfio-pci module, no IOMMU,
 * the function bound to another driver (named, with its interfaces), the group held back by a
 * sibling (named, with its driver).
 * @noiommu: receives whether its group is one of VFIO's unsafe mode, that no IOMMU stands behind
 *
 * Return: 0; -ENOENT no module; -EOPNOTSUPP no IOMMU group; -EBUSY bound elsewhere or not at all;
 * -EPERM group not viable.
 */
int plx_pci_ready_for_vfio(
	const struct plx_pci_root *root, const struct plx_pci_function *function, bool *noiommu);

/*
 * plx_pci_vfio_node() - The name of a function's own file in /dev/vfio/devices.
 * @node: receives "vfio3", or "" when VFIO has no such file for it
 *
 * Return: 0; -ENAMETOOLONG.
 */
#define PLX_PCI_VFIO_NODE_LEN 32
int plx_pci_vfio_node(const struct plx_pci_root *root, const struct plx_pci_address *address,
	char node[PLX_PCI_VFIO_NODE_LEN]);

/* Configuration space through the seam; little-endian, natural width. All ones when it is gone. */
uint8_t plx_pci_config_read8(struct plx_vfio_device *device, uint32_t offset);
uint16_t plx_pci_config_read16(struct plx_vfio_device *device, uint32_t offset);
uint32_t plx_pci_config_read32(struct plx_vfio_device *device, uint32_t offset);

/*
 * plx_pci_read_virtio_id() - What plx_pci_virtio_id() says, of a device that sysfs does not know.
 * @id: receives the virtio device ID
 *
 * Return: 0; -ENODEV when the device is gone or is no virtio device.
 */
int plx_pci_read_virtio_id(struct plx_vfio_device *device, unsigned *id);

/*
 * plx_pci_capability_next() - Walk the capability list (PCI 3.0, 6.7).
 * @walk: all zeros to start; where the walk stands, at most 48 steps, as many as there is room for
 * @id: receives the capability's ID
 * @offset: receives its place in configuration space
 *
 * Return: 1 with a capability; 0 at the end; -EPROTO when the list loops or leads into the header;
 * -ENODEV when the device is gone.
 */
struct plx_pci_capability_walk {
	unsigned steps;
	uint8_t next;
};
int plx_pci_capability_next(struct plx_vfio_device *device, struct plx_pci_capability_walk *walk,
	uint8_t *id, uint8_t *offset);

#endif
