/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROGRAM_MACHINE_H
#define PROGRAM_MACHINE_H

#include <pollux/pci.h>

/* What the machine has of the things that devices in user space need. */

/* The pages of one size on one NUMA node. */
struct machine_hugepages {
	uint64_t page_size; /* bytes */
	int node;           /* -1 when the kernel does not tell nodes apart */
	uint64_t total;
	uint64_t free;
};

struct machine {
	bool iommu;             /* an IOMMU is in use */
	bool unsafe_noiommu;    /* the kernel lets VFIO drive devices without one */
	bool iommufd;           /* /dev/iommu is there */
	bool vfio_pci;          /* the kernel driver is there */
	bool memlock_unlimited; /* memory that this process may pin */
	uint64_t memlock;       /* bytes of it, when limited */
	unsigned hugepages_count;
	struct machine_hugepages *hugepages;
	unsigned function_count;
	struct plx_pci_function *function; /* in the order of their addresses */
};

/*
 * Read the first line of a file of the kernel's. Return: whether there is one; without it @text is
 * "".
 */
#define MACHINE_LINE_LEN 4096
bool machine_read_line(char text[MACHINE_LINE_LEN], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Return: 0; -errno as plx_pci_scan(). Free with machine_free() in either case. */
int machine_read(struct machine *machine);
void machine_free(struct machine *machine);

/*
 * A function of the same IOMMU group, or @function itself, that keeps VFIO from it: VFIO gives a
 * group away only as a whole. NULL when there is none.
 */
const struct plx_pci_function *machine_group_holder(
	const struct machine *machine, const struct plx_pci_function *function);

/*
 * machine_node() - A function's own file of VFIO's.
 *
 * Return: "/dev/vfio/devices/vfio0", to be freed, or NULL when there is none.
 */
char *machine_node(const struct plx_pci_function *function);

/*
 * machine_why_not() - Say what keeps Pollux from opening a function.
 *
 * Return: NULL when it is ready, or the reason with the remedy; it lies in @text or is constant.
 */
#define MACHINE_WHY_LEN 160
const char *machine_why_not(const struct machine *machine, const struct plx_pci_function *function,
	char text[MACHINE_WHY_LEN]);

#endif
