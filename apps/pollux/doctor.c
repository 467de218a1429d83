/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include <pollux/pool.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VIRTIO_NET 1
#define MAX_CORES  8192

/* For whom a check is made. */
enum {
	FOR_VFIO = 1,     /* once, when devices are driven through VFIO */
	FOR_ALL = 2,      /* once, whatever is driven */
	FOR_FUNCTION = 4, /* for each PCI function */
	FOR_SOCKET = 8,
};

/* In the order in which a person would mend things. */
static const struct {
	const char *name;
	unsigned whom;
	doctor_check_fn *run;
} checks[] = {
	{"iommu", FOR_VFIO, doctor_iommu},
	{"vfio-pci", FOR_VFIO, doctor_vfio_pci},
	{"iommu-driver", FOR_VFIO, doctor_iommu_driver},
	{"no-iommu", FOR_VFIO, doctor_noiommu},
	{"vfio-node", FOR_VFIO, doctor_vfio_node},
	{"memlock", FOR_VFIO, doctor_memlock},
	{"hugepages", FOR_ALL, doctor_hugepages},
	{"isolation", FOR_ALL, doctor_isolation},
	{"governor", FOR_ALL, doctor_governor},
	{"devices", FOR_VFIO, doctor_devices},
	{"type", FOR_FUNCTION, doctor_type},
	{"unused", FOR_FUNCTION, doctor_unused},
	{"driver", FOR_FUNCTION, doctor_kernel_driver},
	{"group", FOR_FUNCTION, doctor_group},
	{"group-node", FOR_FUNCTION, doctor_group_node},
	{"open", FOR_FUNCTION, doctor_open},
	{"access-platform", FOR_FUNCTION, doctor_access_platform},
	{"numa", FOR_FUNCTION, doctor_numa},
	{"socket", FOR_SOCKET, doctor_socket},
	{"listener", FOR_SOCKET, doctor_listener},
};

#define CHECKS (sizeof(checks) / sizeof(checks[0]))

static const char *const verdicts[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_WARNING] = "warning",
	[DOCTOR_FAULT] = "fault",
};

static void fill(struct doctor_finding *finding, enum doctor_verdict verdict, char *remedy,
	const char *format, va_list args) __attribute__((format(printf, 4, 0)));

static void fill(struct doctor_finding *finding, enum doctor_verdict verdict, char *remedy,
	const char *format, va_list args)
{
	finding->verdict = verdict;
	finding->remedy = remedy;
	if (vasprintf(&finding->text, format, args) < 0)
		(void)must_have(NULL);
}

void doctor_ok(struct doctor_finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fill(finding, DOCTOR_OK, NULL, format, args);
	va_end(args);
}

void doctor_warn(struct doctor_finding *finding, char *remedy, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fill(finding, DOCTOR_WARNING, remedy, format, args);
	va_end(args);
}

void doctor_fault(struct doctor_finding *finding, char *remedy, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fill(finding, DOCTOR_FAULT, remedy, format, args);
	va_end(args);
}

/* The library's sentences are "DEVICE: cause; remedy"; the device stands beside the finding. */
void doctor_quote(struct doctor_finding *finding, enum doctor_verdict verdict, const char *sentence)
{
	const char *text = sentence, *end = strrchr(text, ';'), *colon = strstr(text, ": ");

	if (colon && strcspn(text, " ") == (size_t)(colon - text) + 1)
		text = colon + 2;
	finding->verdict = verdict;
	if (!end) {
		finding->text = make_text("%s", text);
		return;
	}
	finding->text = make_text("%.*s", (int)(end - text), text);
	finding->remedy = make_text("%s", end + 1 + strspn(end + 1, " "));
}

char *doctor_as_root(const char *format, ...)
{
	va_list args;
	char *command, *text;

	va_start(args, format);
	if (vasprintf(&command, format, args) < 0)
		(void)must_have(NULL);
	va_end(args);
	if (!geteuid())
		return command;
	text = make_text("sudo %s", command);
	free(command);
	return text;
}

const char *doctor_user(void)
{
	static char number[FORMAT_LEN];
	const struct passwd *user = getpwuid(geteuid());

	if (user)
		return user->pw_name;
	(void)snprintf(number, sizeof(number), "%u", geteuid());
	return number;
}

bool doctor_has_option(const struct doctor *doctor, const char *option)
{
	size_t len = strlen(option);

	for (const char *at = doctor->options; at && *at == ','; at += 1 + strcspn(at + 1, ","))
		if (strcspn(at + 1, ",") == len && !strncmp(at + 1, option, len))
			return true;
	return false;
}

unsigned doctor_last_core(void)
{
	size_t size = CPU_ALLOC_SIZE(MAX_CORES);
	cpu_set_t *set = must_have(CPU_ALLOC(MAX_CORES));
	unsigned core = MAX_CORES - 1;

	CPU_ZERO_S(size, set);
	(void)sched_getaffinity(0, size, set);
	while (core && !CPU_ISSET_S(core, size, set))
		core--;
	CPU_FREE(set);
	return core;
}

/*
 * What a device pins: the packets of its pool, and in two pieces of memory its rings and what it
 * only reads. The pool is made, on plain pages, and asked: that is what the library rounds to.
 */
static uint64_t measure_pinned(void)
{
	struct plx_context_config config = PLX_CONTEXT_CONFIG_INIT;
	struct plx_memory_usage usage = {0};
	struct plx_pool *pool = NULL;
	struct plx_context *ctx;

	config.page_size = 4096;
	if (plx_context_create(&config, &ctx))
		return 0;
	if (!plx_pool_create(ctx, NULL, &pool))
		plx_context_memory(ctx, &usage);
	(void)plx_pool_destroy(pool);
	(void)plx_context_destroy(ctx);
	return usage.mapped ? usage.mapped + (UINT64_C(4) << 20) : 0;
}

/* --- the report --- */

struct report {
	struct json_object *list; /* or NULL for text */
	unsigned warnings, faults;
};

static void print_finding(const char *name, const char *place, const struct doctor_finding *finding)
{
	(void)printf("%-8s %-16s%s%s%s\n", verdicts[finding->verdict], name, place ? place : "",
		place ? ": " : "", finding->text);
	if (finding->remedy)
		(void)printf("%-8s %-16s%s\n", "", "  mend it by:", finding->remedy);
}

static void add_finding(struct json_object *list, const char *name, const char *place,
	const struct doctor_finding *finding)
{
	struct json_object *object = json_append_object(list);

	json_add_string(object, "name", name);
	json_add_string(object, "device", place);
	json_add_string(object, "verdict", verdicts[finding->verdict]);
	json_add_string(object, "text", finding->text);
	json_add_string(object, "remedy", finding->remedy);
}

static void run_checks(struct report *report, const struct doctor *doctor, unsigned whom)
{
	const char *place = whom & (FOR_FUNCTION | FOR_SOCKET) ? doctor->place : NULL;

	for (unsigned i = 0; i < CHECKS; i++) {
		struct doctor_finding finding = {0};

		if (!(checks[i].whom & whom))
			continue;
		checks[i].run(doctor, &finding);
		if (finding.verdict == DOCTOR_NOTHING)
			continue;
		report->warnings += finding.verdict == DOCTOR_WARNING;
		report->faults += finding.verdict == DOCTOR_FAULT;
		if (report->list)
			add_finding(report->list, checks[i].name, place, &finding);
		else
			print_finding(checks[i].name, place, &finding);
		free(finding.text);
		free(finding.remedy);
	}
}

static void examine_function(
	struct report *report, struct doctor *doctor, const struct plx_pci_function *function)
{
	doctor->function = function;
	(void)plx_pci_address_format(&function->address, doctor->place);
	doctor_look_at(doctor);
	run_checks(report, doctor, FOR_FUNCTION);
	doctor_look_away(doctor);
}

static void examine(struct report *report, struct doctor *doctor)
{
	const struct machine *machine = doctor->machine;

	run_checks(report, doctor, doctor->kind == DOCTOR_PCI ? FOR_VFIO | FOR_ALL : FOR_ALL);
	if (doctor->kind == DOCTOR_SOCKET)
		run_checks(report, doctor, FOR_SOCKET);
	else if (doctor->function)
		examine_function(report, doctor, doctor->function);
	else if (doctor->kind == DOCTOR_PCI)
		for (unsigned i = 0; i < machine->function_count; i++)
			if (plx_pci_virtio_id(&machine->function[i]) == VIRTIO_NET)
				examine_function(report, doctor, &machine->function[i]);
}

/* --- the command --- */

struct request {
	const char *device;
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (request->device)
			usage_error(
				"`pollux doctor` looks at one device, and '%s' is one more", arg);
		request->device = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct plx_pci_function *find_function(
	const struct machine *machine, const struct plx_pci_address *address)
{
	char wanted[PLX_PCI_ADDRESS_LEN], name[PLX_PCI_ADDRESS_LEN];

	(void)plx_pci_address_format(address, wanted);
	for (unsigned i = 0; i < machine->function_count; i++)
		if (!strcmp(plx_pci_address_format(&machine->function[i].address, name), wanted))
			return &machine->function[i];
	return NULL;
}

/* Return: 0; a status to end with, when the sentence has been told. */
static int find_device(struct doctor *doctor, const char *device)
{
	static const struct {
		const char *prefix;
		enum doctor_kind kind;
	} kinds[] = {
		{"vhost-user:", DOCTOR_SOCKET},
		{"vfio-user:", DOCTOR_SOCKET},
		{"emu:", DOCTOR_EMULATED},
	};
	size_t len = strcspn(device, ",");
	struct plx_pci_address address;
	char *place;
	int err;

	doctor->named = true;
	doctor->options = device + len;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(device, kinds[i].prefix, strlen(kinds[i].prefix))) {
			size_t prefix = strlen(kinds[i].prefix);

			doctor->kind = kinds[i].kind;
			(void)snprintf(doctor->place, sizeof(doctor->place), "%.*s",
				(int)(len - prefix), device + prefix);
			return 0;
		}
	place = make_text("%.*s", (int)len, device);
	err = plx_pci_address_parse(place, &address);
	free(place);
	if (err)
		usage_error("%s", plx_error());
	doctor->function = find_function(doctor->machine, &address);
	if (doctor->function)
		return 0;
	(void)plx_pci_address_format(&address, doctor->place);
	return fail("%s: there is no such PCI function; `pollux status` lists them", doctor->place);
}

static void print_sum(const struct report *report)
{
	(void)printf("\n%u fault%s, %u warning%s\n", report->faults, report->faults == 1 ? "" : "s",
		report->warnings, report->warnings == 1 ? "" : "s");
}

static void print_json(const struct request *request, struct report *report, struct doctor *doctor)
{
	struct json_object *root = must_have(json_object_new_object());

	json_add_string(root, "device", request->device);
	report->list = json_add_array(root, "checks");
	examine(report, doctor);
	json_add_number(root, "faults", report->faults);
	json_add_number(root, "warnings", report->warnings);
	json_print(root);
}

int command_doctor(int argc, char **argv)
{
	static const struct argp argp = {NULL, parse, "[DEVICE]",
		"Look at what Pollux needs of the machine, and at one device or at every virtio "
		"network device of PCI: each thing is ok, a warning (it works, but slower or less "
		"safely) or a fault, with the command that mends it. A device that can be opened is "
		"opened and reset for a moment. The status is 0 when there is no fault.",
		NULL, NULL, NULL};
	struct request request = {0};
	struct report report = {0};
	struct machine machine;
	struct doctor doctor = {.machine = &machine, .options = ""};
	int status;

	options_parse(&argp, argc, argv, &request, &request.json);
	status = machine_read(&machine) ? fail_library() : 0;
	if (!status && request.device)
		status = find_device(&doctor, request.device);
	if (status)
		goto free_machine;
	doctor.pinned = measure_pinned();
	if (request.json) {
		print_json(&request, &report, &doctor);
	} else {
		examine(&report, &doctor);
		print_sum(&report);
	}
	status = report.faults ? EXIT_FAILURE : EXIT_SUCCESS;
free_machine:
	machine_free(&machine);
	return status;
}
