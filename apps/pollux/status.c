/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

#define CLASS_NETWORK 0x02

enum { KEY_ALL = 'a' };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	bool *all = state->input;

	switch (key) {
	case KEY_ALL:
		*all = true;
		return 0;
	case ARGP_KEY_ARG:
		usage_error("`pollux status` takes no argument such as '%s'", arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Virtio device IDs (virtio 1.4, 5). */
static const char *const virtio_names[] = {
	[1] = "net",
	[2] = "blk",
	[3] = "console",
	[4] = "rng",
	[5] = "balloon",
	[8] = "scsi",
	[9] = "9p",
	[16] = "gpu",
	[18] = "input",
	[19] = "vsock",
	[20] = "crypto",
	[23] = "iommu",
	[24] = "mem",
	[25] = "sound",
	[26] = "fs",
	[27] = "pmem",
};

#define WHAT_LEN 32

static const char *describe(const struct plx_pci_function *function, char text[WHAT_LEN])
{
	unsigned id = plx_pci_virtio_id(function);
	unsigned known = sizeof(virtio_names) / sizeof(virtio_names[0]);

	if (id && id < known && virtio_names[id])
		(void)snprintf(text, WHAT_LEN, "virtio %s", virtio_names[id]);
	else if (id)
		(void)snprintf(text, WHAT_LEN, "virtio device %u", id);
	else
		(void)snprintf(text, WHAT_LEN, "%04x:%04x", function->vendor, function->device);
	return text;
}

static bool is_shown(const struct plx_pci_function *function, bool all)
{
	return all || function->class_code >> 16 == CLASS_NETWORK || plx_pci_is_virtio(function);
}

static void add_or_dash(struct table *table, int number)
{
	if (number < 0)
		table_add(table, "-");
	else
		table_add(table, "%d", number);
}

static void print_functions(const struct machine *machine, bool all)
{
	static const char *const headings[] = {
		"ADDRESS", "DEVICE", "DRIVER", "INTERFACES", "GROUP", "NUMA", "READY"};
	struct table table = {.columns = sizeof(headings) / sizeof(headings[0])};
	unsigned shown = 0;

	for (unsigned i = 0; i < table.columns; i++)
		table_add(&table, "%s", headings[i]);
	for (unsigned i = 0; i < machine->function_count; i++) {
		const struct plx_pci_function *function = &machine->function[i];
		char name[PLX_PCI_ADDRESS_LEN], what[WHAT_LEN], text[MACHINE_WHY_LEN];
		const char *why = machine_why_not(machine, function, text);

		if (!is_shown(function, all))
			continue;
		shown++;
		table_add(&table, "%s", plx_pci_address_format(&function->address, name));
		table_add(&table, "%s", describe(function, what));
		table_add(&table, "%s", *function->driver ? function->driver : "-");
		table_add(&table, "%s", *function->interfaces ? function->interfaces : "-");
		add_or_dash(&table, function->iommu_group);
		add_or_dash(&table, function->numa_node);
		table_add(&table, "%s%s", why ? "no, " : "ready", why ? why : "");
	}
	if (shown)
		table_print(&table, stdout, "\n");
	else if (machine->function_count)
		(void)puts(
			"No network or virtio function was found on PCI: --all shows the others.");
	else
		(void)puts("This machine has no PCI functions.");
	table_free(&table);
}

static void print_machine(const struct machine *machine)
{
	char text[FORMAT_LEN];

	(void)printf("\nIOMMU      %s%s\n", machine->iommu ? "present" : "none in use",
		machine->unsafe_noiommu ? "; VFIO may do without one, which is unsafe" : "");
	(void)printf(
		"iommufd    %s\n", machine->iommufd ? "present" : "not there: VFIO goes by groups");
	(void)printf(
		"vfio-pci   %s\n", machine->vfio_pci ? "loaded" : "not loaded: modprobe vfio-pci");
	(void)printf("memlock    %s\n",
		machine->memlock_unlimited ? "unlimited" : format_size(text, machine->memlock));
	if (!machine->hugepages_count)
		(void)puts("hugepages  the kernel has none");
	for (unsigned i = 0; i < machine->hugepages_count; i++) {
		const struct machine_hugepages *pages = &machine->hugepages[i];

		(void)printf("hugepages  %s", format_size(text, pages->page_size));
		if (pages->node >= 0)
			(void)printf(" on node %d", pages->node);
		(void)printf(": %llu free of %llu\n", (unsigned long long)pages->free,
			(unsigned long long)pages->total);
	}
}

static void json_add_interfaces(struct json_object *object, const struct plx_pci_function *function)
{
	struct json_object *list = json_add_array(object, "interfaces");
	char text[PLX_PCI_NAME_LEN];
	char *rest;

	memcpy(text, function->interfaces, sizeof(text));
	for (char *name = strtok_r(text, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
		json_append_string(list, name);
}

static void json_add_hex(struct json_object *object, const char *key, unsigned value, int digits)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "0x%0*x", digits, value);
	json_add_string(object, key, text);
}

static void json_append_function(struct json_object *list, const struct machine *machine,
	const struct plx_pci_function *function)
{
	struct json_object *object = json_append_object(list);
	char name[PLX_PCI_ADDRESS_LEN], what[WHAT_LEN], text[MACHINE_WHY_LEN];
	const char *why = machine_why_not(machine, function, text);
	char *node = machine_node(function);

	json_add_string(object, "address", plx_pci_address_format(&function->address, name));
	json_add_string(object, "name", describe(function, what));
	json_add_hex(object, "vendor", function->vendor, 4);
	json_add_hex(object, "device", function->device, 4);
	json_add_hex(object, "class", function->class_code, 6);
	json_add_number(object, "virtio_id", plx_pci_virtio_id(function));
	json_add_string(object, "driver", *function->driver ? function->driver : NULL);
	json_add_interfaces(object, function);
	json_add_or_null(object, "iommu_group", function->iommu_group);
	json_add_string(object, "vfio_device", node);
	json_add_or_null(object, "numa_node", function->numa_node);
	json_add_bool(object, "ready", !why);
	json_add_string(object, "why_not", why);
	free(node);
}

static void print_json(const struct machine *machine, bool all)
{
	struct json_object *root = must_have(json_object_new_object());
	struct json_object *list = json_add_array(root, "functions");

	for (unsigned i = 0; i < machine->function_count; i++)
		if (is_shown(&machine->function[i], all))
			json_append_function(list, machine, &machine->function[i]);
	json_add_bool(root, "iommu", machine->iommu);
	json_add_bool(root, "iommufd", machine->iommufd);
	json_add_bool(root, "unsafe_noiommu", machine->unsafe_noiommu);
	json_add_bool(root, "vfio_pci", machine->vfio_pci);
	if (machine->memlock_unlimited)
		json_add_string(root, "memlock", NULL);
	else
		json_add_number(root, "memlock", machine->memlock);
	list = json_add_array(root, "hugepages");
	for (unsigned i = 0; i < machine->hugepages_count; i++) {
		const struct machine_hugepages *pages = &machine->hugepages[i];
		struct json_object *object = json_append_object(list);

		json_add_number(object, "page_size", pages->page_size);
		json_add_or_null(object, "node", pages->node);
		json_add_number(object, "total", pages->total);
		json_add_number(object, "free", pages->free);
	}
	json_print(root);
}

int command_status(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"all", KEY_ALL, NULL, 0, "Show every PCI function, not only network and virtio",
			0},
		{0},
	};
	static const struct argp argp = {options, parse, NULL,
		"List the PCI functions that are network or virtio devices, with what keeps Pollux "
		"from opening each, and what the machine has of IOMMU, vfio-pci, hugepages and "
		"memory to pin.",
		NULL, NULL, NULL};
	struct machine machine;
	bool all = false, json;
	int status = EXIT_SUCCESS;

	options_parse(&argp, argc, argv, &all, &json);
	if (machine_read(&machine)) {
		status = fail_library();
	} else if (json) {
		print_json(&machine, all);
	} else {
		print_functions(&machine, all);
		print_machine(&machine);
	}
	machine_free(&machine);
	return status;
}
