/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VIRTIO_NET          1
#define BIT_ACCESS_PLATFORM 33

/* --- what is found out beforehand --- */

static int note_feature(void *arg, const struct plx_feature *feature)
{
	struct doctor_look *look = arg;

	if (feature->bit == BIT_ACCESS_PLATFORM)
		look->access_platform = feature->offered ? DOCTOR_OFFERED : DOCTOR_NOT_OFFERED;
	return 0;
}

/* The check of the feature is left to the doctor, which has more to say. */
static void open_device(struct doctor_look *look, const char *place)
{
	char *address = make_text("%s,platform=ignore", place);
	struct plx_context *ctx = NULL;
	struct plx_eth *eth = NULL;

	look->tried = true;
	if (plx_context_create(NULL, &ctx) || plx_eth_open(ctx, address, &eth))
		look->refusal = must_have(strdup(plx_error()));
	else
		(void)plx_device_features(plx_eth_device(eth), note_feature, look);
	plx_eth_close(eth);
	(void)plx_context_destroy(ctx);
	free(address);
}

/*
 * The kernel's driver takes F_ACCESS_PLATFORM whenever it is offered, and sysfs shows what it took:
 * a digit for each bit. Before a driver has the virtio device all of them are 0.
 */
static void ask_kernel(struct doctor_look *look, const char *place)
{
	char *path = make_text("/sys/bus/pci/devices/%s", place);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	char bits[MACHINE_LINE_LEN];

	while (dir && (entry = readdir(dir))) {
		char *driver;

		if (strncmp(entry->d_name, "virtio", 6) != 0)
			continue;
		driver = make_text("%s/%s/driver", path, entry->d_name);
		if (!access(driver, F_OK) &&
			machine_read_line(bits, "%s/%s/features", path, entry->d_name) &&
			strlen(bits) > BIT_ACCESS_PLATFORM)
			look->access_platform = bits[BIT_ACCESS_PLATFORM] == '1'
							? DOCTOR_OFFERED
							: DOCTOR_NOT_OFFERED;
		free(driver);
	}
	if (dir)
		(void)closedir(dir);
	free(path);
}

void doctor_look_at(struct doctor *doctor)
{
	const struct plx_pci_function *function = doctor->function;
	struct doctor_look *look = &doctor->look;
	char why[MACHINE_WHY_LEN];

	memset(look, 0, sizeof(*look));
	look->used = plx_pci_check_unused(&function->address);
	if (look->used)
		look->user = must_have(strdup(plx_error()));
	/* Opening pins memory, and what there is too little of is told already. */
	if (!look->used && doctor_may_pin(doctor, doctor->pinned) &&
		!machine_why_not(doctor->machine, function, why))
		open_device(look, doctor->place);
	else
		ask_kernel(look, doctor->place);
}

void doctor_look_away(struct doctor *doctor)
{
	free(doctor->look.user);
	free(doctor->look.refusal);
}

/*
 * What keeps a device from being used is a fault, but for a device that somebody uses and nobody
 * named: most machines have a NIC that is not meant for Pollux.
 */
static enum doctor_verdict severity(const struct doctor *doctor)
{
	return doctor->named || doctor->look.used != -EBUSY ? DOCTOR_FAULT : DOCTOR_WARNING;
}

/* Whether VFIO has it without an IOMMU. */
static bool is_unprotected(const struct plx_pci_function *function)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/dev/vfio/noiommu-%d", function->iommu_group);
	return !access(path, F_OK);
}

/* --- the checks --- */

void doctor_type(const struct doctor *doctor, struct doctor_finding *finding)
{
	const struct plx_pci_function *function = doctor->function;
	unsigned id = plx_pci_virtio_id(function);

	if (id == VIRTIO_NET)
		doctor_ok(finding, "a virtio network device");
	else if (id)
		doctor_fault(
			finding, NULL, "Pollux has no driver for virtio devices of type %u", id);
	else
		doctor_fault(finding, make_text("pollux status # lists those of virtio"),
			"it is not a virtio device (it is %04x:%04x)", function->vendor,
			function->device);
}

void doctor_unused(const struct doctor *doctor, struct doctor_finding *finding)
{
	if (!doctor->look.used)
		doctor_ok(finding, "nobody uses it");
	else if (severity(doctor) == DOCTOR_WARNING)
		doctor_warn(finding, NULL, "somebody uses it, so leave it: %s", doctor->look.user);
	else
		doctor_quote(finding,
			doctor->look.used == -EBUSY ? severity(doctor) : DOCTOR_WARNING,
			doctor->look.user);
}

void doctor_kernel_driver(const struct doctor *doctor, struct doctor_finding *finding)
{
	const struct plx_pci_function *function = doctor->function;

	if (!strcmp(function->driver, "vfio-pci"))
		return doctor_ok(finding, "vfio-pci has it");
	if (severity(doctor) == DOCTOR_WARNING)
		return doctor_warn(finding, NULL,
			"the kernel's driver %s has it as %s: leave it there", function->driver,
			function->interfaces);
	doctor_fault(finding, doctor_as_root("pollux bind %s", doctor->place),
		*function->driver ? "the kernel's driver %s has it%s%s" : "no driver has it",
		function->driver, *function->interfaces ? " as " : "", function->interfaces);
}

/* The other functions of a group with their drivers; free() it. */
static char *list_siblings(const struct machine *machine, const struct plx_pci_function *function)
{
	char *list = make_text("%s", "");

	for (unsigned i = 0; i < machine->function_count; i++) {
		const struct plx_pci_function *other = &machine->function[i];
		char name[PLX_PCI_ADDRESS_LEN], *longer;

		if (other == function || other->iommu_group != function->iommu_group)
			continue;
		longer = make_text("%s%s%s (%s)", list, *list ? ", " : "",
			plx_pci_address_format(&other->address, name),
			*other->driver ? other->driver : "no driver");
		free(list);
		list = longer;
	}
	return list;
}

void doctor_group(const struct doctor *doctor, struct doctor_finding *finding)
{
	const struct plx_pci_function *function = doctor->function, *holder;
	char name[PLX_PCI_ADDRESS_LEN], *siblings;

	/* Without any IOMMU that check has said it. */
	if (function->iommu_group < 0 && !doctor->machine->iommu)
		return;
	if (function->iommu_group < 0)
		return doctor_fault(finding,
			make_text("move the card to a slot behind the IOMMU; in QEMU have "
				  "-device intel-iommu in front of it on the command line"),
			"the machine's IOMMU does not stand before it");
	if (is_unprotected(function))
		return doctor_warn(finding, NULL, "VFIO has it without an IOMMU");
	holder = machine_group_holder(doctor->machine, function);
	siblings = list_siblings(doctor->machine, function);
	if (!holder || holder == function)
		doctor_ok(finding, "IOMMU group %d, %s%s", function->iommu_group,
			*siblings ? "whose others do not hold it: " : "alone", siblings);
	else
		doctor_fault(finding,
			doctor_as_root(
				"pollux bind %s", plx_pci_address_format(&holder->address, name)),
			"IOMMU group %d, which VFIO gives away as a whole, has others: %s",
			function->iommu_group, siblings);
	free(siblings);
}

/* Who owns the node decides on the way in. */
static char *node_remedy(const char *node, const struct stat *status)
{
	const struct group *group = getgrgid(status->st_gid);

	if (status->st_gid && group && (status->st_mode & 060) == 060)
		return doctor_as_root(
			"usermod -aG %s %s # then log in again", group->gr_name, doctor_user());
	return doctor_as_root("chown %s %s # for good: a udev rule, see doc/getting-started.md",
		doctor_user(), node);
}

/* Whether the function may be had by iommufd and its own file, which need no group's. */
static bool has_own_node(const struct plx_pci_function *function, struct doctor_finding *finding)
{
	char *node = machine_node(function);
	bool may = node && !access(node, R_OK | W_OK) && !access("/dev/iommu", R_OK | W_OK);

	if (may)
		doctor_ok(finding, "%s may be opened", node);
	free(node);
	return may;
}

void doctor_group_node(const struct doctor *doctor, struct doctor_finding *finding)
{
	const struct plx_pci_function *function = doctor->function;
	struct stat status;
	char node[64];

	if (strcmp(function->driver, "vfio-pci") != 0 || function->iommu_group < 0 ||
		has_own_node(function, finding))
		return;
	(void)snprintf(node, sizeof(node), "/dev/vfio/%s%d",
		is_unprotected(function) ? "noiommu-" : "", function->iommu_group);
	if (stat(node, &status))
		doctor_fault(finding,
			make_text("in a container: --device=%s --device=/dev/vfio/vfio", node),
			"there is no %s: %s", node, strerror(errno));
	else if (access(node, R_OK | W_OK))
		doctor_fault(finding, node_remedy(node, &status),
			"no right to open %s, which has mode %04o and belongs to user %u and "
			"group %u",
			node, status.st_mode & 07777u, status.st_uid, status.st_gid);
	else
		doctor_ok(finding, "%s may be opened", node);
}

void doctor_open(const struct doctor *doctor, struct doctor_finding *finding)
{
	if (doctor->look.refusal)
		doctor_quote(finding, DOCTOR_FAULT, doctor->look.refusal);
	else if (doctor->look.tried)
		doctor_ok(finding, "it was opened, answered, and was closed again");
}

void doctor_access_platform(const struct doctor *doctor, struct doctor_finding *finding)
{
	switch (doctor->look.access_platform) {
	case DOCTOR_OFFERED:
		return doctor_ok(finding, "it keeps to the addresses of the IOMMU");
	case DOCTOR_UNKNOWN:
		return doctor_warn(finding, NULL,
			"whether it keeps to the addresses of the IOMMU shows only when it can be "
			"opened, or when the kernel's driver has it");
	case DOCTOR_NOT_OFFERED:
		break;
	}
	if (is_unprotected(doctor->function))
		doctor_ok(finding, "it goes past the IOMMU, and VFIO has it without one");
	else if (doctor_has_option(doctor, "platform=ignore"))
		doctor_warn(finding, NULL,
			"it does not offer F_ACCESS_PLATFORM, and platform=ignore takes the risk "
			"that it writes over memory of others");
	else if (severity(doctor) == DOCTOR_WARNING)
		doctor_warn(finding, NULL, "it does not offer F_ACCESS_PLATFORM");
	else
		doctor_fault(finding,
			make_text("in QEMU add iommu_platform=on to the device (hardware whose DMA "
				  "surely passes the IOMMU: %s,platform=ignore)",
				doctor->place),
			"it does not offer F_ACCESS_PLATFORM: it may bypass the IOMMU");
}
