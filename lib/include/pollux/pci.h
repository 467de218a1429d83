/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_PCI_H
#define POLLUX_PCI_H

#include <pollux/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * @file
 * PCI functions as the kernel shows them in sysfs, and who drives them. Linux's
 * Documentation/ABI/testing/sysfs-bus-pci is the source of every file named here.
 */

#ifdef __cplusplus
extern "C" {
#endif

/** Where a PCI function is. */
struct plx_pci_address {
	uint32_t domain;  /**< segment group */
	uint8_t bus;      /**< 0 to 255 */
	uint8_t device;   /**< 0 to 31 */
	uint8_t function; /**< 0 to 7 */
};

/** Bytes of "0000:00:00.0" with a domain of up to eight digits and the closing zero. */
#define PLX_PCI_ADDRESS_LEN 18
/** Bytes of a driver's or an interface's name that are kept, with the closing zero. */
#define PLX_PCI_NAME_LEN    64

/** One PCI function. */
struct plx_pci_function {
	struct plx_pci_address address; /**< where it is */
	uint16_t vendor;                /**< vendor ID */
	uint16_t device;                /**< device ID */
	uint16_t subsystem_vendor;      /**< subsystem vendor ID */
	uint16_t subsystem_device;      /**< subsystem device ID */
	uint32_t class_code; /**< base class, sub-class, interface: 0x020000 is Ethernet */
	uint8_t revision;    /**< revision ID */
	int numa_node;       /**< -1 when the machine has none */
	int iommu_group;     /**< -1 when it is behind no IOMMU */
	char driver[PLX_PCI_NAME_LEN];     /**< the kernel driver that has it, or "" */
	char interfaces[PLX_PCI_NAME_LEN]; /**< its network interfaces, with spaces between */
	bool holds_group; /**< its driver keeps VFIO from the devices of its IOMMU group */
};

/**
 * plx_pci_address_parse() - Read "0000:00:03.0", "00:03.0" or "pci:0000:00:03.0".
 * @text: what a person wrote
 * @address: receives the address
 *
 * Any thread may call; never blocks.
 *
 * Return: 0; -EINVAL when it is not an address of a PCI function.
 */
PLX_API int plx_pci_address_parse(const char *text, struct plx_pci_address *address);

/**
 * plx_pci_address_format() - Write an address in the kernel's form.
 * @address: the address
 * @text: receives at most PLX_PCI_ADDRESS_LEN bytes
 *
 * Any thread may call; never blocks.
 *
 * Return: @text.
 */
PLX_API char *plx_pci_address_format(
	const struct plx_pci_address *address, char text[PLX_PCI_ADDRESS_LEN]);

/**
 * typedef plx_pci_visit_fn - Is shown one function.
 *
 * Return: 0 to go on, anything else to end the walk with that value.
 */
typedef int plx_pci_visit_fn(void *arg, const struct plx_pci_function *function);

/**
 * plx_pci_scan() - Show every PCI function of the machine, in the order of their addresses.
 * @visit: is called for each
 * @arg: handed to @visit
 *
 * Any thread may call; reads sysfs. A machine without PCI has no functions and is no error.
 *
 * Return: 0; what @visit returned; -errno when sysfs cannot be read.
 */
PLX_API int plx_pci_scan(plx_pci_visit_fn *visit, void *arg);

/**
 * plx_pci_lookup() - Read what the kernel says of one function.
 * @address: which
 * @function: receives it
 *
 * Any thread may call; reads sysfs.
 *
 * Return: 0; -ENODEV when there is none at that address; -errno when sysfs cannot be read.
 */
PLX_API int plx_pci_lookup(
	const struct plx_pci_address *address, struct plx_pci_function *function);

/**
 * plx_pci_is_virtio() - Tell whether a function is a virtio device (virtio 1.4, 4.1.2).
 * @function: what plx_pci_scan() or plx_pci_lookup() told of it
 *
 * Any thread may call; never blocks.
 *
 * Return: Whether its vendor and device IDs are those of virtio.
 */
PLX_API bool plx_pci_is_virtio(const struct plx_pci_function *function);

/**
 * plx_pci_virtio_id() - The virtio device ID of a function (virtio 1.4, 4.1.2.1 and 5).
 * @function: what plx_pci_scan() or plx_pci_lookup() told of it
 *
 * Transitional device IDs tell it in the subsystem device ID. Any thread may call; never blocks.
 *
 * Return: 1 for a network device, and so on; 0 when it is not a virtio device.
 */
PLX_API unsigned plx_pci_virtio_id(const struct plx_pci_function *function);

/**
 * plx_pci_check_unused() - See whether anybody uses a function: what plx_pci_bind() minds.
 * @address: which
 *
 * Any thread may call; reads sysfs and procfs. Interfaces in other network namespaces, and
 * processes of other users when the caller is not root, are not seen.
 *
 * Return: 0 when nobody is seen to use it; -EBUSY when its network interface carries an address or
 * the default route, or has another interface on top of it, or when a process has the function open
 * through VFIO, and plx_error() says which; -ENODEV when there is no such function; other -errno.
 */
PLX_API int plx_pci_check_unused(const struct plx_pci_address *address);

/** Take the device even when its network interface is in use. */
#define PLX_PCI_BIND_FORCE 1u

/**
 * plx_pci_bind() - Hand a function to another kernel driver, usually vfio-pci.
 * @address: which
 * @driver: the kernel driver's name
 * @flags: 0 or PLX_PCI_BIND_FORCE
 *
 * Uses driver_override, so that no other device is affected. The driver that had the function is
 * noted under /run/pollux for plx_pci_unbind(). When a step fails, the former driver gets it back.
 * Blocks while the kernel unbinds and probes. One call at a time for a function.
 *
 * Return: 0, also when @driver has it already; -ENODEV when there is no such function; -ENOENT when
 * the driver is not loaded; -EBUSY when its network interface carries an address or the default
 * route, or has another interface (a bridge, bond or VLAN) on top of it, and the call is not
 * forced, or when a process has the function open through VFIO; -EACCES without the right to write
 * to sysfs; -EINVAL for a name that no driver can have or an unknown flag; other -errno. Interfaces
 * in other network namespaces are not seen.
 */
PLX_API int plx_pci_bind(const struct plx_pci_address *address, const char *driver, unsigned flags);

/**
 * plx_pci_unbind() - Give a function back to the kernel driver that it had before plx_pci_bind().
 * @address: which
 *
 * Without a note of a former driver the kernel chooses as at boot; a function that had none is left
 * without. Blocks while the kernel probes.
 *
 * Return: 0; -EINVAL when it was not bound by plx_pci_bind() or its like (driver_override is not
 * set); -ENODEV; -EBUSY when a process has the function open; -EACCES; other -errno.
 */
PLX_API int plx_pci_unbind(const struct plx_pci_address *address);

#ifdef __cplusplus
}
#endif

#endif
