/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include <dirent.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define VIRTIO_NET 1

/* Whether the kernel's command line has a word, such as "intel_iommu=on". */
static bool boots_with(const char *word)
{
	char line[MACHINE_LINE_LEN];
	char *rest;

	(void)machine_read_line(line, "/proc/cmdline");
	for (char *each = strtok_r(line, " ", &rest); each; each = strtok_r(NULL, " ", &rest))
		if (!strcmp(each, word))
			return true;
	return false;
}

static bool is_amd(void)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, "vendor_id", 9) && strstr(line, "AuthenticAMD");
	if (file)
		(void)fclose(file);
	return found;
}

/* The names of what is below a folder, with spaces between; free() it. */
static char *list_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	char *list = make_text("%s", "");

	while (dir && (entry = readdir(dir))) {
		char *longer;

		if (entry->d_name[0] == '.')
			continue;
		longer = make_text("%s%s%s", list, *list ? " " : "", entry->d_name);
		free(list);
		list = longer;
	}
	if (dir)
		(void)closedir(dir);
	return list;
}

/*
 * The firmware describes an IOMMU in a table of its own, so what it has and the kernel does not use
 * can be told from what is not there at all.
 */
static char *iommu_remedy(void)
{
	bool amd = is_amd();
	const char *word = amd ? "amd_iommu=on" : "intel_iommu=on";
	const char *table =
		amd ? "/sys/firmware/acpi/tables/IVRS" : "/sys/firmware/acpi/tables/DMAR";

	if (access(table, F_OK) && access("/sys/firmware/devicetree", F_OK))
		return make_text("switch %s on in the firmware (a virtual machine: give it an "
				 "IOMMU, QEMU's is -device intel-iommu,intremap=on), and have %s "
				 "on the kernel's command line",
			amd ? "AMD-Vi" : "VT-d", word);
	if (boots_with("iommu=off") || boots_with("intel_iommu=off") || boots_with("amd_iommu=off"))
		return make_text("take iommu=off, intel_iommu=off and amd_iommu=off out of the "
				 "kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub), "
				 "then update-grub and reboot");
	if (!boots_with(word))
		return make_text("add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, then "
				 "update-grub and reboot",
			word);
	return make_text("dmesg | grep -i -e DMAR -e IOMMU # says why the kernel leaves it off");
}

void doctor_iommu(const struct doctor *doctor, struct doctor_finding *finding)
{
	char *list;

	if (doctor->machine->iommu) {
		list = list_entries("/sys/class/iommu");
		doctor_ok(finding, "an IOMMU is in use: %s", list);
		free(list);
		return;
	}
	if (doctor->machine->unsafe_noiommu)
		doctor_warn(finding, iommu_remedy(), "no IOMMU is in use");
	else
		doctor_fault(finding, iommu_remedy(), "no IOMMU is in use");
}

void doctor_vfio_pci(const struct doctor *doctor, struct doctor_finding *finding)
{
	if (doctor->machine->vfio_pci)
		doctor_ok(finding, "the kernel's driver vfio-pci is loaded");
	else
		doctor_fault(finding, doctor_as_root("modprobe vfio-pci"),
			"the kernel's driver vfio-pci is not loaded");
}

void doctor_iommu_driver(const struct doctor *doctor, struct doctor_finding *finding)
{
	bool type1 = !access("/sys/module/vfio_iommu_type1", F_OK);
	bool iommufd = doctor->machine->iommufd;

	if (type1 || iommufd)
		doctor_ok(finding, "%s%s%s", type1 ? "vfio_iommu_type1 is loaded" : "",
			type1 && iommufd ? ", and " : "", iommufd ? "iommufd is there" : "");
	else
		doctor_fault(finding, doctor_as_root("modprobe vfio_iommu_type1"),
			"neither vfio_iommu_type1 nor iommufd is loaded, of which VFIO needs one");
}

#define NOIOMMU "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

void doctor_noiommu(const struct doctor *doctor, struct doctor_finding *finding)
{
	if (!doctor->machine->unsafe_noiommu)
		doctor_ok(finding, "VFIO gives no device away without an IOMMU");
	else
		doctor_warn(finding, doctor_as_root("sh -c 'echo N > " NOIOMMU "'"),
			"VFIO may give devices away without an IOMMU, and such a device reaches "
			"all memory");
}

void doctor_vfio_node(const struct doctor *doctor, struct doctor_finding *finding)
{
	static const char node[] = "/dev/vfio/vfio", iommufd[] = "/dev/iommu";

	if (access(node, R_OK | W_OK) && !access(iommufd, R_OK | W_OK))
		return doctor_ok(finding, "%s may be opened", iommufd);
	/* The driver brings it, so that there is one fault and not two. */
	if (access(node, F_OK) && !doctor->machine->vfio_pci)
		return;
	if (access(node, F_OK))
		doctor_fault(finding, doctor_as_root("modprobe vfio"),
			"there is no %s; a container needs it passed in by --device=%s", node,
			node);
	else if (access(node, R_OK | W_OK))
		doctor_fault(finding, doctor_as_root("chmod 666 %s", node),
			"no right to open %s, which is for every user to open", node);
	else
		doctor_ok(finding, "%s may be opened", node);
}

/* --- memory to pin --- */

/* The kernel asks for the capability in the first user namespace: elsewhere it is worth nothing. */
static bool has_ipc_lock(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long capabilities = 0;
	char line[MACHINE_LINE_LEN];
	unsigned first, outside, count;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &capabilities) == 1)
			break;
	if (file)
		(void)fclose(file);
	return capabilities >> CAP_IPC_LOCK & 1 && machine_read_line(line, "/proc/self/uid_map") &&
	       sscanf(line, "%u %u %u", &first, &outside, &count) == 3 && !first && !outside &&
	       count == UINT32_MAX;
}

bool doctor_may_pin(const struct doctor *doctor, uint64_t bytes)
{
	return doctor->machine->memlock_unlimited || doctor->machine->memlock >= bytes ||
	       has_ipc_lock();
}

void doctor_memlock(const struct doctor *doctor, struct doctor_finding *finding)
{
	const struct machine *machine = doctor->machine;
	char limit_text[FORMAT_LEN], one_text[FORMAT_LEN];
	/* Two devices, so that `pollux fwd` between them does. */
	uint64_t one = doctor->pinned, two = 2 * one;
	unsigned long long kilobytes = two / 1024;
	struct rlimit limit;
	char *remedy;

	if (machine->memlock_unlimited || has_ipc_lock())
		return doctor_ok(finding, "this process may pin as much memory as it likes");
	(void)format_size(limit_text, machine->memlock);
	(void)format_size(one_text, one);
	if (doctor_may_pin(doctor, two))
		return doctor_ok(finding, "%s of memory may be pinned, and a device takes about %s",
			limit_text, one_text);
	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	if (limit.rlim_max >= two)
		remedy = make_text("ulimit -l %llu", kilobytes);
	else
		remedy =
			make_text("echo '%s - memlock %llu' | %stee -a "
				  "/etc/security/limits.d/vfio.conf, then log in again (a service: "
				  "LimitMEMLOCK=%lluK in its unit; a container: "
				  "--ulimit memlock=%llu)",
				doctor_user(), kilobytes, geteuid() ? "sudo " : "", kilobytes,
				kilobytes * 1024);
	if (!doctor_may_pin(doctor, one))
		doctor_fault(finding, remedy,
			"%s of memory may be pinned, and a device with a pool of the usual size "
			"takes %s",
			limit_text, one_text);
	else
		doctor_warn(finding, remedy,
			"%s of memory may be pinned: enough for one device, which takes about %s",
			limit_text, one_text);
}

void doctor_devices(const struct doctor *doctor, struct doctor_finding *finding)
{
	unsigned nics = 0;

	if (doctor->named)
		return;
	for (unsigned i = 0; i < doctor->machine->function_count; i++)
		nics += plx_pci_virtio_id(&doctor->machine->function[i]) == VIRTIO_NET;
	if (nics)
		doctor_ok(finding, "%u virtio network device%s on PCI", nics,
			nics == 1 ? " is" : "s are");
	else
		doctor_warn(finding, make_text("pollux fwd emu:net --time=1"),
			"no virtio network device is on PCI; those in software need none of it");
}
