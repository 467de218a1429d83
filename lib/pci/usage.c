/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci/pci_priv.h"

#include "base/compiler.h"
#include "base/error.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Who stands in the way of taking a function: its network interfaces, a process that has it open,
 * the kernel's driver, the other devices of its IOMMU group.
 */

/* A question about a function, as the walks below hand it around. */
struct question {
	const struct plx_pci_root *root;
	const struct plx_pci_function *function;
	char name[PLX_PCI_ADDRESS_LEN];
	const char *part; /* an interface, or a process */
};

static struct question question(
	const struct plx_pci_root *root, const struct plx_pci_function *function)
{
	struct question q = {.root = root, .function = function};

	(void)plx_pci_address_format(&function->address, q.name);
	return q;
}

/* Whether an address is one that traffic from elsewhere comes for, and in @text which. */
static bool is_wanted(const struct sockaddr *address, char text[INET6_ADDRSTRLEN])
{
	if (address->sa_family == AF_INET) {
		struct in_addr v4 = ((const struct sockaddr_in *)(const void *)address)->sin_addr;

		/* 169.254.0.0/16 is link-local (RFC 3927). */
		return ntohl(v4.s_addr) >> 16 != 0xa9fe &&
		       inet_ntop(AF_INET, &v4, text, INET6_ADDRSTRLEN);
	}
	if (address->sa_family == AF_INET6) {
		struct in6_addr v6 =
			((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

		return !IN6_IS_ADDR_LINKLOCAL(&v6) &&
		       inet_ntop(AF_INET6, &v6, text, INET6_ADDRSTRLEN);
	}
	return false;
}

static int check_addresses(const struct question *q)
{
	char text[INET6_ADDRSTRLEN];
	struct ifaddrs *list, *entry;
	int err = 0;

	if (getifaddrs(&list))
		return plx_fail(errno, "%s: cannot see whether its interface %s is in use: %s",
			q->name, q->part, strerror(errno));
	for (entry = list; entry && !err; entry = entry->ifa_next)
		if (entry->ifa_addr && entry->ifa_flags & IFF_UP &&
			!strcmp(entry->ifa_name, q->part) && is_wanted(entry->ifa_addr, text))
			err = plx_fail(EBUSY,
				"%s: its interface %s is up and has the address %s; take it down "
				"first, or bind with --force",
				q->name, q->part, text);
	freeifaddrs(list);
	return err;
}

static bool is_default_route_v4(const char *line, char interface[IFNAMSIZ])
{
	unsigned destination, flags, mask;

	return sscanf(line, "%15s %x %*x %x %*d %*d %*d %x", interface, &destination, &flags,
		       &mask) == 4 &&
	       !destination && !mask && flags & RTF_UP && !(flags & RTF_REJECT);
}

static bool is_default_route_v6(const char *line, char interface[IFNAMSIZ])
{
	unsigned prefix, flags;

	return sscanf(line, "%*s %x %*s %*x %*s %*x %*x %*x %x %15s", &prefix, &flags, interface) ==
		       3 &&
	       !prefix && flags & RTF_UP && !(flags & RTF_REJECT);
}

/* A file that is not there has no routes: the kernel may lack IPv6. */
static int check_routes(const struct question *q, const char *file,
	bool (*is_default)(const char *line, char interface[IFNAMSIZ]))
{
	char path[PATH_MAX], interface[IFNAMSIZ], line[256];
	bool found = false;
	FILE *routes;
	int err;

	err = plx_pci_path(path, "%s/net/%s", q->root->procfs, file);
	if (err)
		return err;
	routes = fopen(path, "re");
	if (!routes)
		return 0;
	while (!found && fgets(line, sizeof(line), routes))
		found = is_default(line, interface) && !strcmp(interface, q->part);
	(void)fclose(routes);
	if (found)
		return plx_fail(EBUSY,
			"%s: the default route goes through its interface %s; change the route "
			"first, or bind with --force",
			q->name, q->part);
	return 0;
}

static int check_upper(void *arg, const char *name)
{
	const struct question *q = arg;

	/*
	 * How the kernel names links to bridges, bonds, VLANs and the like that stand on an
	 * interface.
	 */
	if (strncmp(name, "upper_", 6) != 0)
		return 0;
	return plx_fail(EBUSY,
		"%s: %s stands on its interface %s; take the interface out of it first, or bind "
		"with --force",
		q->name, name + 6, q->part);
}

static int check_interface(void *arg, const char *name)
{
	struct question *q = arg;
	char path[PATH_MAX];
	int err;

	q->part = name;
	err = check_addresses(q);
	if (!err)
		err = check_routes(q, "route", is_default_route_v4);
	if (!err)
		err = check_routes(q, "ipv6_route", is_default_route_v6);
	if (!err)
		err = plx_pci_path(path, "%s/class/net/%s", q->root->sysfs, name);
	if (err)
		return err;
	/* Nothing stands on an interface that vanishes meanwhile. */
	err = plx_pci_each_entry(path, check_upper, q);
	return err == -ENOENT ? 0 : err;
}

int plx_pci_check_network(const struct plx_pci_root *root, const struct plx_pci_function *function)
{
	struct question q = question(root, function);
	int err = plx_pci_each_interface(root, &function->address, check_interface, &q);

	if (err && err != -EBUSY)
		return plx_fail(-err, "%s: cannot see whether its interfaces are in use: %s",
			q.name, strerror(-err));
	return err;
}

/* The nodes below /dev/vfio through which a function can be held open. */
struct holders {
	struct question question;
	char group[32];   /* "/dev/vfio/12" */
	char noiommu[32]; /* "/dev/vfio/noiommu-12" */
	char device[96];  /* "/dev/vfio/devices/vfio3", or "" */
};

static int check_descriptor(void *arg, const char *name)
{
	struct holders *holders = arg;
	const struct question *q = &holders->question;
	char path[PATH_MAX], target[PATH_MAX], command[32];
	ssize_t got;

	if (plx_pci_path(path, "%s/%s/fd/%s", q->root->procfs, q->part, name))
		return 0;
	got = readlink(path, target, sizeof(target) - 1);
	if (got < 0)
		return 0;
	target[got] = '\0';
	if (strcmp(target, holders->group) != 0 && strcmp(target, holders->noiommu) != 0 &&
		strcmp(target, holders->device) != 0)
		return 0;
	if (plx_pci_path(path, "%s/%s/comm", q->root->procfs, q->part) ||
		plx_pci_read_text(path, command, sizeof(command)))
		(void)snprintf(command, sizeof(command), "unknown");
	return plx_fail(EBUSY, "%s: process %s (%s) has it open through %s; end that process first",
		q->name, q->part, command, target);
}

static int check_process(void *arg, const char *name)
{
	struct holders *holders = arg;
	char path[PATH_MAX];

	if (!isdigit((unsigned char)name[0]))
		return 0;
	holders->question.part = name;
	if (plx_pci_path(path, "%s/%s/fd", holders->question.root->procfs, name))
		return 0;
	/* A process that ends meanwhile, or is another user's, does not end the walk. */
	return plx_pci_each_entry(path, check_descriptor, holders) == -EBUSY ? -EBUSY : 0;
}

static int note_node(void *arg, const char *name)
{
	(void)snprintf(arg, PLX_PCI_VFIO_NODE_LEN, "%s", name);
	return 0;
}

int plx_pci_vfio_node(const struct plx_pci_root *root, const struct plx_pci_address *address,
	char node[PLX_PCI_VFIO_NODE_LEN])
{
	char function_path[PATH_MAX], path[PATH_MAX];
	int err;

	node[0] = '\0';
	err = plx_pci_function_path(function_path, root, address);
	if (!err)
		err = plx_pci_path(path, "%s/vfio-dev", function_path);
	if (err)
		return err;
	/* Kernels before 6.1, and functions that VFIO does not have, lack the directory. */
	(void)plx_pci_each_entry(path, note_node, node);
	return 0;
}

int plx_pci_check_closed(const struct plx_pci_root *root, const struct plx_pci_function *function)
{
	struct holders holders = {.question = question(root, function)};
	char node[PLX_PCI_VFIO_NODE_LEN];
	int err;

	err = plx_pci_vfio_node(root, &function->address, node);
	if (err)
		return err;
	if (*node)
		(void)snprintf(
			holders.device, sizeof(holders.device), "/dev/vfio/devices/%s", node);
	(void)snprintf(holders.group, sizeof(holders.group), "/dev/vfio/%d", function->iommu_group);
	(void)snprintf(holders.noiommu, sizeof(holders.noiommu), "/dev/vfio/noiommu-%d",
		function->iommu_group);

	err = plx_pci_each_entry(root->procfs, check_process, &holders);
	if (err && err != -EBUSY)
		return plx_fail(-err, "%s: cannot see in %s whether a process has it open: %s",
			holders.question.name, root->procfs, strerror(-err));
	return err;
}

int plx_pci_check_unused_in(const struct plx_pci_root *root, const struct plx_pci_address *address)
{
	struct plx_pci_function function;
	int err;

	err = plx_pci_lookup_in(root, address, &function);
	if (!err)
		err = plx_pci_check_network(root, &function);
	return err ? err : plx_pci_check_closed(root, &function);
}

int plx_pci_check_unused(const struct plx_pci_address *address)
{
	return plx_pci_check_unused_in(&plx_pci_root, address);
}

bool plx_pci_holds_group(const char *path, const char *driver)
{
	/* Drivers that do no DMA of their own, as the kernel sees it. */
	static const char *const harmless[] = {"", "vfio-pci", "pci-stub", "pcieport"};
	char vfio[PATH_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(harmless); i++)
		if (!strcmp(driver, harmless[i]))
			return false;
	/* Another driver of VFIO's. */
	return plx_pci_path(vfio, "%s/vfio-dev", path) || access(vfio, F_OK);
}

static int check_sibling(void *arg, const char *name)
{
	const struct question *q = arg;
	char path[PATH_MAX], driver[PLX_PCI_NAME_LEN];
	int err;

	err = plx_pci_path(path, "%s/kernel/iommu_groups/%d/devices/%s", q->root->sysfs,
		q->function->iommu_group, name);
	if (err)
		return err;
	plx_pci_read_driver(path, driver);
	if (!plx_pci_holds_group(path, driver))
		return 0;
	return plx_fail(EPERM,
		"%s: %s is in the same IOMMU group %d and is driven by %s, which forbids VFIO; "
		"bind it to vfio-pci too (`pollux bind %s`), or to no driver",
		q->name, name, q->function->iommu_group, driver, name);
}

static int check_group(struct question *q, bool *noiommu)
{
	char path[PATH_MAX], kind[PLX_PCI_NAME_LEN];
	int err;

	err = plx_pci_path(
		path, "%s/kernel/iommu_groups/%d/name", q->root->sysfs, q->function->iommu_group);
	if (err)
		return err;
	/* Only groups that are not what they seem have a name. */
	*noiommu = !plx_pci_read_text(path, kind, sizeof(kind)) && !strcmp(kind, "vfio-noiommu");
	err = plx_pci_path(path, "%s/kernel/iommu_groups/%d/devices", q->root->sysfs,
		q->function->iommu_group);
	if (err)
		return err;
	err = plx_pci_each_entry(path, check_sibling, q);
	if (err && err != -EPERM)
		return plx_fail(-err, "%s: cannot see who is in its IOMMU group in %s: %s", q->name,
			path, strerror(-err));
	return err;
}

static int check_driver(const struct question *q)
{
	const struct plx_pci_function *function = q->function;

	if (!*function->driver)
		return plx_fail(EBUSY,
			"%s: no driver has it; bind it to vfio-pci: `pollux bind %s`", q->name,
			q->name);
	if (strcmp(function->driver, "pci-stub") != 0 &&
		strcmp(function->driver, "pcieport") != 0 && !function->holds_group)
		return 0;
	return plx_fail(EBUSY,
		"%s: the kernel's driver %s has it%s%s; bind it to vfio-pci: `pollux bind %s`",
		q->name, function->driver, *function->interfaces ? " as " : "",
		function->interfaces, q->name);
}

int plx_pci_ready_for_vfio(
	const struct plx_pci_root *root, const struct plx_pci_function *function, bool *noiommu)
{
	struct question q = question(root, function);
	char path[PATH_MAX];
	int err;

	err = plx_pci_path(path, "%s/bus/pci/drivers/vfio-pci", root->sysfs);
	if (err)
		return err;
	if (access(path, F_OK))
		return plx_fail(ENOENT,
			"%s: the kernel's driver vfio-pci is not loaded; run `modprobe vfio-pci`",
			q.name);
	/* With neither driver nor group it may be on its way in or out, as after a hot plug. */
	if (function->iommu_group < 0 && *function->driver)
		return plx_fail(EOPNOTSUPP,
			"%s: it is behind no IOMMU; enable VT-d or AMD-Vi in the firmware and put "
			"intel_iommu=on or amd_iommu=on on the kernel's command line (in a virtual "
			"machine, give it an emulated IOMMU); doc/devices.md tells of noiommu=allow, "
			"the unsafe way without one",
			q.name);
	err = check_driver(&q);
	return err ? err : check_group(&q, noiommu);
}
