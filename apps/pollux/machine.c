/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define VIRTIO_NET 1

static bool has_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.';
	(void)closedir(dir);
	return found;
}

bool machine_read_line(char text[MACHINE_LINE_LEN], const char *format, ...)
{
	va_list args;
	char *path;
	FILE *file;

	va_start(args, format);
	if (vasprintf(&path, format, args) < 0)
		(void)must_have(NULL);
	va_end(args);
	file = fopen(path, "re");
	free(path);
	*text = '\0';
	if (file && !fgets(text, MACHINE_LINE_LEN, file))
		*text = '\0';
	if (file)
		(void)fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return *text;
}

static uint64_t read_number(const char *dir, const char *name)
{
	char text[MACHINE_LINE_LEN];

	(void)machine_read_line(text, "%s/%s", dir, name);
	return strtoull(text, NULL, 10);
}

static bool read_yes(const char *path)
{
	char text[MACHINE_LINE_LEN];

	(void)machine_read_line(text, "%s", path);
	return *text == 'Y' || *text == '1';
}

static void add_hugepages(struct machine *machine, const char *dir, int node)
{
	DIR *sizes = opendir(dir);
	const struct dirent *entry;

	while (sizes && (entry = readdir(sizes))) {
		struct machine_hugepages *pages;
		unsigned long long kilobytes;
		char *path;

		if (sscanf(entry->d_name, "hugepages-%llukB", &kilobytes) != 1)
			continue;
		machine->hugepages = must_have(reallocarray(machine->hugepages,
			machine->hugepages_count + 1, sizeof(*machine->hugepages)));
		pages = &machine->hugepages[machine->hugepages_count++];
		path = make_text("%s/%s", dir, entry->d_name);
		pages->page_size = kilobytes * 1024;
		pages->node = node;
		pages->total = read_number(path, "nr_hugepages");
		pages->free = read_number(path, "free_hugepages");
		free(path);
	}
	if (sizes)
		(void)closedir(sizes);
}

static int compare_hugepages(const void *a, const void *b)
{
	const struct machine_hugepages *left = a, *right = b;

	if (left->page_size != right->page_size)
		return left->page_size < right->page_size ? 1 : -1;
	return (left->node > right->node) - (left->node < right->node);
}

static void read_hugepages(struct machine *machine)
{
	DIR *nodes = opendir("/sys/devices/system/node");
	const struct dirent *entry;
	int node;

	while (nodes && (entry = readdir(nodes))) {
		char path[512];

		if (sscanf(entry->d_name, "node%d", &node) != 1)
			continue;
		(void)snprintf(
			path, sizeof(path), "/sys/devices/system/node/%s/hugepages", entry->d_name);
		add_hugepages(machine, path, node);
	}
	if (nodes)
		(void)closedir(nodes);
	if (!machine->hugepages_count)
		add_hugepages(machine, "/sys/kernel/mm/hugepages", -1);
	if (machine->hugepages_count)
		qsort(machine->hugepages, machine->hugepages_count, sizeof(*machine->hugepages),
			compare_hugepages);
}

static int add_function(void *arg, const struct plx_pci_function *function)
{
	struct machine *machine = arg;

	machine->function = must_have(reallocarray(
		machine->function, machine->function_count + 1, sizeof(*machine->function)));
	machine->function[machine->function_count++] = *function;
	return 0;
}

int machine_read(struct machine *machine)
{
	struct rlimit memlock;

	memset(machine, 0, sizeof(*machine));
	machine->iommu = has_entries("/sys/class/iommu");
	machine->iommufd = access("/dev/iommu", F_OK) == 0;
	machine->unsafe_noiommu =
		read_yes("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
	machine->vfio_pci = access("/sys/bus/pci/drivers/vfio-pci", F_OK) == 0;
	/* Cannot fail: the resource exists. */
	(void)getrlimit(RLIMIT_MEMLOCK, &memlock);
	machine->memlock_unlimited = memlock.rlim_cur == RLIM_INFINITY;
	machine->memlock = memlock.rlim_cur;
	read_hugepages(machine);
	return plx_pci_scan(add_function, machine);
}

void machine_free(struct machine *machine)
{
	free(machine->hugepages);
	free(machine->function);
}

const struct plx_pci_function *machine_group_holder(
	const struct machine *machine, const struct plx_pci_function *function)
{
	for (unsigned i = 0; i < machine->function_count; i++) {
		const struct plx_pci_function *other = &machine->function[i];

		if (other->iommu_group == function->iommu_group && other->holds_group)
			return other;
	}
	return NULL;
}

char *machine_node(const struct plx_pci_function *function)
{
	char name[PLX_PCI_ADDRESS_LEN], *path, *node = NULL;
	const struct dirent *entry;
	DIR *dir;

	path = make_text("/sys/bus/pci/devices/%s/vfio-dev",
		plx_pci_address_format(&function->address, name));
	dir = opendir(path);
	free(path);
	while (dir && !node && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			node = make_text("/dev/vfio/devices/%s", entry->d_name);
	if (dir)
		(void)closedir(dir);
	if (node && access(node, F_OK)) {
		free(node);
		node = NULL;
	}
	return node;
}

static bool may_open_node(const struct plx_pci_function *function)
{
	char *node = machine_node(function);
	bool may = node && !access(node, R_OK | W_OK) && !access("/dev/iommu", R_OK | W_OK);

	free(node);
	return may;
}

/* VFIO's unsafe mode gave it its group. */
static bool is_noiommu(int group)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/dev/vfio/noiommu-%d", group);
	return !access(path, F_OK);
}

static bool may_open(const struct plx_pci_function *function)
{
	int group = function->iommu_group;
	char path[64];

	if (may_open_node(function))
		return true;
	(void)snprintf(path, sizeof(path), "/dev/vfio/%d", group);
	return !access(path, R_OK | W_OK);
}

const char *machine_why_not(const struct machine *machine, const struct plx_pci_function *function,
	char text[MACHINE_WHY_LEN])
{
	const struct plx_pci_function *obstacle;
	char name[PLX_PCI_ADDRESS_LEN];

	if (!plx_pci_is_virtio(function))
		return "not a virtio device";
	/* Nobody is to be talked into taking the disk from under the system. */
	if (plx_pci_virtio_id(function) != VIRTIO_NET)
		return "Pollux has no driver for it";
	if (!machine->vfio_pci)
		return "vfio-pci is not loaded: modprobe vfio-pci";
	if (strcmp(function->driver, "vfio-pci") != 0) {
		(void)plx_pci_address_format(&function->address, name);
		(void)snprintf(text, MACHINE_WHY_LEN, "%s %s: pollux bind %s",
			*function->driver ? "bound to" : "bound to no driver", function->driver,
			name);
		return text;
	}
	if (function->iommu_group < 0)
		return "behind no IOMMU: switch one on (intel_iommu=on or amd_iommu=on)";
	obstacle = machine_group_holder(machine, function);
	if (obstacle) {
		(void)plx_pci_address_format(&obstacle->address, name);
		(void)snprintf(text, MACHINE_WHY_LEN, "group shared with %s on %s: pollux bind %s",
			name, obstacle->driver, name);
		return text;
	}
	if (is_noiommu(function->iommu_group))
		return "behind no IOMMU: switch one on, or see the option noiommu=allow";
	if (!may_open(function)) {
		(void)snprintf(text, MACHINE_WHY_LEN,
			"no right to /dev/vfio/%d: become its owner or root",
			function->iommu_group);
		return text;
	}
	return NULL;
}
