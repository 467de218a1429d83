/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_2M (UINT64_C(2) << 20)

/* Huge pages that are free: of every node with @node -1. */
static uint64_t free_memory(const struct machine *machine, int node)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < machine->hugepages_count; i++)
		if (node < 0 || machine->hugepages[i].node == node)
			bytes += machine->hugepages[i].free * machine->hugepages[i].page_size;
	return bytes;
}

static unsigned long long pages_needed(const struct doctor *doctor)
{
	return (doctor->pinned + PAGE_2M - 1) / PAGE_2M;
}

/* "256 of 512 of 2 MiB on node 0, ..."; free() it. */
static char *list_pages(const struct machine *machine)
{
	char *list = make_text("%s", "");

	for (unsigned i = 0; i < machine->hugepages_count; i++) {
		const struct machine_hugepages *pages = &machine->hugepages[i];
		char size[FORMAT_LEN], node[FORMAT_LEN] = "", *longer;

		if (pages->node >= 0)
			(void)snprintf(node, sizeof(node), " on node %d", pages->node);
		longer = make_text("%s%s%llu of %llu of %s%s", list, *list ? ", " : "",
			(unsigned long long)pages->free, (unsigned long long)pages->total,
			format_size(size, pages->page_size), node);
		free(list);
		list = longer;
	}
	return list;
}

void doctor_hugepages(const struct doctor *doctor, struct doctor_finding *finding)
{
	const struct machine *machine = doctor->machine;
	char *list = list_pages(machine);

	if (!machine->hugepages_count)
		doctor_warn(finding, NULL, "the kernel has no huge pages: small ones are slower");
	else if (free_memory(machine, -1) < pages_needed(doctor) * PAGE_2M)
		doctor_warn(finding,
			doctor_as_root("hugeadm --pool-pages-min 2MB:+%llu", pages_needed(doctor)),
			"too few huge pages are free, and small ones are slower: %s", list);
	else
		doctor_ok(finding, "huge pages are free: %s", list);
	free(list);
}

/* A list of cores such as 2-3,7; "" when the kernel has none. */
static const char *core_list(const char *name, char text[MACHINE_LINE_LEN])
{
	(void)machine_read_line(text, "/sys/devices/system/cpu/%s", name);
	return strcmp(text, "(null)") != 0 ? text : "";
}

void doctor_isolation(const struct doctor *doctor, struct doctor_finding *finding)
{
	char isolated_text[MACHINE_LINE_LEN], full_text[MACHINE_LINE_LEN];
	const char *isolated = core_list("isolated", isolated_text);
	const char *full = core_list("nohz_full", full_text);
	unsigned core = doctor_last_core();

	(void)doctor;
	if (*isolated && *full)
		return doctor_ok(finding,
			"cores %s are kept free of other work, and %s of the timer: poll on them "
			"by --cores=%s",
			isolated, full, isolated);
	if (!core)
		return doctor_warn(finding, NULL,
			"there is one core only, so what polls has it for itself at nobody's cost "
			"but everybody's");
	doctor_warn(finding,
		make_text("add isolcpus=managed_irq,domain,%u nohz_full=%u rcu_nocbs=%u to "
			  "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub and reboot",
			core, core, core),
		"%s: what polls is interrupted now and then, and frames may be dropped meanwhile",
		*isolated ? "no core is free of the timer (nohz_full)"
		: *full   ? "no core is kept free of other work (isolcpus)"
			: "no core is kept free of other work (isolcpus) and the timer (nohz_full)");
}

void doctor_governor(const struct doctor *doctor, struct doctor_finding *finding)
{
	char governor[MACHINE_LINE_LEN];
	unsigned core = doctor_last_core();

	(void)doctor;
	if (!machine_read_line(
		    governor, "/sys/devices/system/cpu/cpu%u/cpufreq/scaling_governor", core))
		doctor_ok(finding, "the kernel does not change the frequency of the cores");
	else if (!strcmp(governor, "performance"))
		doctor_ok(finding, "core %u runs under the governor performance", core);
	else
		doctor_warn(finding,
			doctor_as_root("sh -c 'echo performance | tee "
				       "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor'"),
			"core %u runs under the governor %s, which lowers its frequency", core,
			governor);
}

static unsigned count_nodes(const struct machine *machine)
{
	unsigned nodes = 0;

	for (unsigned i = 0; i < machine->hugepages_count; i++)
		nodes += machine->hugepages[i].page_size == PAGE_2M;
	return nodes;
}

/* Whether a core is in a list such as 0-3,8. */
static bool has_core(const char *list, unsigned core)
{
	char *end;

	for (const char *at = list; *at; at = *end ? end + 1 : end) {
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (first <= core && core <= last)
			return true;
		if (*end && *end != ',')
			return false;
	}
	return false;
}

void doctor_numa(const struct doctor *doctor, struct doctor_finding *finding)
{
	int node = doctor->function->numa_node;
	unsigned core = doctor_last_core();
	char cores[MACHINE_LINE_LEN];

	if (count_nodes(doctor->machine) < 2)
		return doctor_ok(finding, "the machine has one NUMA node");
	if (node < 0)
		return doctor_warn(finding, NULL,
			"the firmware does not say on which NUMA node "
			"it is: try the cores of each");
	(void)machine_read_line(cores, "/sys/devices/system/node/node%d/cpulist", node);
	if (!has_core(cores, core))
		return doctor_warn(finding,
			make_text("taskset -c %s pollux fwd --cores=%.*s ...", cores,
				(int)strcspn(cores, ",-"), cores),
			"it is on NUMA node %d, whose cores are %s, and core %u, on which "
			"programs poll by themselves, is not",
			node, cores, core);
	if (free_memory(doctor->machine, node) < pages_needed(doctor) * PAGE_2M)
		return doctor_warn(finding,
			doctor_as_root("sh -c 'echo %llu > /sys/devices/system/node/node%d"
				       "/hugepages/hugepages-2048kB/nr_hugepages'",
				pages_needed(doctor), node),
			"it is on NUMA node %d, and too few huge pages are free there", node);
	doctor_ok(finding, "it, core %u and free huge pages are on NUMA node %d", core, node);
}
