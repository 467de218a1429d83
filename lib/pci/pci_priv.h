/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_PCI_PCI_PRIV_H
#define PLX_PCI_PCI_PRIV_H

#include "pci/pci.h"

#include <limits.h>

/* What the files of this room share: reading sysfs, and who uses a function. */

/* sysfs.c. Each returns 0 or -errno; only plx_pci_path() and those that say so leave a sentence. */

int plx_pci_path(char path[PATH_MAX], const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The directory of a function. */
int plx_pci_function_path(char path[PATH_MAX], const struct plx_pci_root *root,
	const struct plx_pci_address *address);
/* A short file without its last newline; cut when it is too long. */
int plx_pci_read_text(const char *path, char *text, size_t len);
/* The last part of where a symbolic link points, cut when it is too long. */
int plx_pci_read_link(const char *path, char *name, size_t len);
/* The driver of the device whose directory in sysfs is @path, or "". */
void plx_pci_read_driver(const char *path, char driver[PLX_PCI_NAME_LEN]);

/* Is shown the name of a directory entry; anything but 0 ends the walk. */
typedef int plx_pci_name_fn(void *arg, const char *name);

/* The entries of a directory but "." and "..". Return: 0, what @visit returned, or -errno. */
int plx_pci_each_entry(const char *path, plx_pci_name_fn *visit, void *arg);
/* The network interfaces of a function, its own and those of a virtio device below it. */
int plx_pci_each_interface(const struct plx_pci_root *root, const struct plx_pci_address *address,
	plx_pci_name_fn *visit, void *arg);

/* usage.c */

/*
 * Whether a device keeps VFIO from its IOMMU group: @driver, which has it, may do DMA of its own,
 * as the kernel sees it. The device's directory in sysfs is @path, whatever bus it is on.
 */
bool plx_pci_holds_group(const char *path, const char *driver);

/*
 * Return: 0 when none of the function's interfaces is in use; -EBUSY, with which and why; other
 * -errno with a sentence.
 */
int plx_pci_check_network(const struct plx_pci_root *root, const struct plx_pci_function *function);

/*
 * Return: 0 when no process has the function open through VFIO; -EBUSY, with which; other -errno
 * with a sentence.
 */
int plx_pci_check_closed(const struct plx_pci_root *root, const struct plx_pci_function *function);

#endif
