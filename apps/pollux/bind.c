/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include <pollux/pci.h>
#include <stdlib.h>
#include <string.h>

/*
 * bind and unbind: all of the functions or none. Both read every address before the first is
 * touched, and undo what was done when one fails.
 */

struct function {
	struct plx_pci_address address;
	char name[PLX_PCI_ADDRESS_LEN];
	char before[PLX_PCI_NAME_LEN]; /* the driver that had it */
	char after[PLX_PCI_NAME_LEN];
};

struct request {
	const char *driver; /* to bind to; NULL to unbind */
	unsigned flags;
	bool json;
	unsigned count;
	struct function *function;
};

enum { KEY_DRIVER = 'd', KEY_FORCE = 'f' };

static void add_function(struct request *request, const char *text)
{
	struct function *function;

	request->function = must_have(
		reallocarray(request->function, request->count + 1, sizeof(*request->function)));
	function = &request->function[request->count];
	memset(function, 0, sizeof(*function));
	if (plx_pci_address_parse(text, &function->address))
		usage_error("%s", plx_error());
	(void)plx_pci_address_format(&function->address, function->name);
	for (unsigned i = 0; i < request->count; i++)
		if (!strcmp(request->function[i].name, function->name))
			usage_error("%s is named twice: name each function once", function->name);
	request->count++;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case KEY_DRIVER:
		request->driver = arg;
		return 0;
	case KEY_FORCE:
		request->flags |= PLX_PCI_BIND_FORCE;
		return 0;
	case ARGP_KEY_ARG:
		add_function(request, arg);
		return 0;
	case ARGP_KEY_NO_ARGS:
		usage_error("no PCI address is given: `pollux status --all` lists them");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const char *name_driver(const char *driver)
{
	return *driver ? driver : "no driver";
}

static int look_up(const struct function *function, char driver[PLX_PCI_NAME_LEN])
{
	struct plx_pci_function found;
	int err = plx_pci_lookup(&function->address, &found);

	if (err)
		return err;
	memcpy(driver, found.driver, sizeof(found.driver));
	return 0;
}

static int bind_one(const struct request *request, const struct function *function)
{
	return plx_pci_bind(&function->address, request->driver, request->flags);
}

static int unbind_one(const struct request *request, const struct function *function)
{
	(void)request;
	return plx_pci_unbind(&function->address);
}

/*
 * Unbinding takes the last driver off, and what had it by an override before is bound again. @now
 * receives the driver that has it in the end.
 */
static void restore(
	const struct request *request, const struct function *function, char now[PLX_PCI_NAME_LEN])
{
	(void)look_up(function, now);
	if (request->driver && strcmp(now, function->before) != 0) {
		(void)plx_pci_unbind(&function->address);
		(void)look_up(function, now);
	}
	if (*function->before && strcmp(now, function->before) != 0) {
		(void)plx_pci_bind(&function->address, function->before, PLX_PCI_BIND_FORCE);
		(void)look_up(function, now);
	}
}

/* The first @done functions may be in other hands now: the drivers that they had get them back. */
static void undo(const struct request *request, unsigned done)
{
	while (done--) {
		const struct function *function = &request->function[done];
		char now[PLX_PCI_NAME_LEN] = "";

		restore(request, function, now);
		if (strcmp(now, function->before) != 0)
			(void)fail("%s stays with %s and is not back with %s: see dmesg",
				function->name, name_driver(now), name_driver(function->before));
	}
}

static void print_json(const struct request *request)
{
	struct json_object *root = must_have(json_object_new_object());
	struct json_object *list = json_add_array(root, "functions");

	for (unsigned i = 0; i < request->count; i++) {
		const struct function *function = &request->function[i];
		struct json_object *entry = json_append_object(list);

		json_add_string(entry, "address", function->name);
		json_add_string(
			entry, "driver_before", *function->before ? function->before : NULL);
		json_add_string(entry, "driver", *function->after ? function->after : NULL);
	}
	json_print(root);
}

static void print_text(const struct request *request)
{
	for (unsigned i = 0; i < request->count; i++) {
		const struct function *function = &request->function[i];

		if (!strcmp(function->before, function->after))
			(void)printf("%s: %s, as before\n", function->name,
				name_driver(function->after));
		else
			(void)printf("%s: %s -> %s\n", function->name,
				name_driver(function->before), name_driver(function->after));
	}
}

static int carry_out(
	struct request *request, int (*step)(const struct request *, const struct function *))
{
	sigset_t held;

	for (unsigned i = 0; i < request->count; i++)
		if (look_up(&request->function[i], request->function[i].before))
			return fail_library();
	hold_signals(&held);
	for (unsigned i = 0; i < request->count; i++) {
		struct function *function = &request->function[i];

		if (step(request, function) || look_up(function, function->after)) {
			(void)fail_library();
			undo(request, i + 1);
			return EXIT_FAILURE;
		}
	}
	if (request->json)
		print_json(request);
	else
		print_text(request);
	return EXIT_SUCCESS;
}

int command_bind(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"driver", KEY_DRIVER, "NAME", 0,
			"The kernel driver to bind to (default: vfio-pci)", 0},
		{"force", KEY_FORCE, NULL, 0, "Take a function whose network interface is in use",
			0},
		{0},
	};
	static const struct argp argp = {options, parse, "ADDRESS...",
		"Hand PCI functions to vfio-pci or another kernel driver: all of them, or none "
		"when one fails. The drivers that had them are noted for `pollux unbind`.",
		NULL, NULL, NULL};
	struct request request = {.driver = "vfio-pci"};
	int status;

	options_parse(&argp, argc, argv, &request, &request.json);
	status = carry_out(&request, bind_one);
	free(request.function);
	return status;
}

int command_unbind(int argc, char **argv)
{
	static const struct argp argp = {NULL, parse, "ADDRESS...",
		"Give PCI functions back to the kernel drivers that they had before `pollux bind`: "
		"all of them, or none when one fails.",
		NULL, NULL, NULL};
	struct request request = {0};
	int status;

	options_parse(&argp, argc, argv, &request, &request.json);
	status = carry_out(&request, unbind_one);
	free(request.function);
	return status;
}
