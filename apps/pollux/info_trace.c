/* SPDX-License-Identifier: BSD-3-Clause */
#include "info_trace.h"

#include "program.h"

#include <inttypes.h>
#include <string.h>

/* Device status bits (virtio 1.4, 2.1). */
#define STATUS_DRIVER_OK 0x04
#define STATUS_BIT_3     0x08

static const struct {
	unsigned bit;
	const char *name;
} status_names[] = {
	{0x01, "ACKNOWLEDGE"},
	{0x02, "DRIVER"},
	{STATUS_DRIVER_OK, "DRIVER_OK"},
	{0x10, "SUSPEND"},
	{0x20, "0x20"},
	{0x40, "DEVICE_NEEDS_RESET"},
	{0x80, "FAILED"},
};

/*
 * Bit 3 is FEATURES_OK in the standard and DEVICE_OK in the VIRTIO-30 proposal. Only the order
 * tells them apart: the standard sets it before DRIVER_OK, the proposal after.
 */
struct reader {
	bool proposal;
	struct json_object *array;
};

static void follow(struct reader *reader, const struct plx_trace_entry *entry)
{
	if (entry->kind != PLX_TRACE_STATUS_WRITE)
		return;
	if (!entry->value)
		reader->proposal = false;
	else if ((entry->value & STATUS_DRIVER_OK) && !(entry->value & STATUS_BIT_3))
		reader->proposal = true;
}

#define NAMES_LEN 128

static const char *name_status(const struct reader *reader, uint64_t value, char text[NAMES_LEN])
{
	size_t used = 0;

	if (value == 0)
		return "reset";
	if (value == 0xff)
		return "the device is gone";
	text[0] = '\0';
	for (unsigned i = 0; i < sizeof(status_names) / sizeof(status_names[0]); i++)
		if (value & status_names[i].bit)
			used += (size_t)snprintf(text + used, NAMES_LEN - used, "%s%s",
				used ? "|" : "", status_names[i].name);
	if (value & STATUS_BIT_3)
		(void)snprintf(text + used, NAMES_LEN - used, "%s%s", used ? "|" : "",
			reader->proposal ? "DEVICE_OK" : "FEATURES_OK");
	return text;
}

static int print_entry(void *arg, const struct plx_trace_entry *entry)
{
	struct reader *reader = arg;
	char text[NAMES_LEN];

	follow(reader, entry);
	(void)printf("  %12.3f us  ", (double)entry->nanoseconds * 1e-3);
	switch (entry->kind) {
	case PLX_TRACE_STEP:
		(void)printf("%s\n", entry->step);
		break;
	case PLX_TRACE_STATUS_WRITE:
		(void)printf("  status <- 0x%02" PRIx64 " %s\n", entry->value,
			name_status(reader, entry->value, text));
		break;
	case PLX_TRACE_STATUS_READ:
		(void)printf("  status -> 0x%02" PRIx64 " %s\n", entry->value,
			name_status(reader, entry->value, text));
		break;
	case PLX_TRACE_FEATURES_READ:
		(void)printf("  features -> 0x%016" PRIx64 "%016" PRIx64 " offered\n",
			entry->value_high, entry->value);
		break;
	case PLX_TRACE_FEATURES_WRITE:
		(void)printf("  features <- 0x%016" PRIx64 "%016" PRIx64 " accepted\n",
			entry->value_high, entry->value);
		break;
	case PLX_TRACE_QUEUE:
		(void)printf("  queue %" PRIu64 " with %" PRIu64 " entries\n", entry->value,
			entry->value_high);
		break;
	case PLX_TRACE_QUEUE_RESET:
		(void)printf("  queue %" PRIu64 " is to be reset\n", entry->value);
		break;
	case PLX_TRACE_NOTIFY:
		(void)printf("  queue %" PRIu64 " notified\n", entry->value);
		break;
	}
	return 0;
}

void info_trace_print(struct plx_device *device)
{
	struct reader reader = {0};

	(void)printf("\ntrace: <- the driver writes, -> it reads\n");
	(void)plx_device_trace(device, print_entry, &reader);
}

static const char *const kinds[] = {
	[PLX_TRACE_STEP] = "step",
	[PLX_TRACE_STATUS_WRITE] = "status_write",
	[PLX_TRACE_STATUS_READ] = "status_read",
	[PLX_TRACE_FEATURES_READ] = "features_read",
	[PLX_TRACE_FEATURES_WRITE] = "features_write",
	[PLX_TRACE_QUEUE] = "queue",
	[PLX_TRACE_QUEUE_RESET] = "queue_reset",
	[PLX_TRACE_NOTIFY] = "notify",
};

static int add_entry(void *arg, const struct plx_trace_entry *entry)
{
	struct reader *reader = arg;
	struct json_object *object = json_append_object(reader->array);
	char text[NAMES_LEN];

	follow(reader, entry);
	json_add_number(object, "nanoseconds", entry->nanoseconds);
	json_add_string(object, "kind", kinds[entry->kind]);
	json_add_string(object, "step", entry->step);
	switch (entry->kind) {
	case PLX_TRACE_STEP:
		break;
	case PLX_TRACE_STATUS_WRITE:
	case PLX_TRACE_STATUS_READ:
		json_add_number(object, "status", entry->value);
		json_add_string(object, "names", name_status(reader, entry->value, text));
		break;
	case PLX_TRACE_FEATURES_READ:
	case PLX_TRACE_FEATURES_WRITE:
		(void)snprintf(text, sizeof(text), "0x%016" PRIx64 "%016" PRIx64, entry->value_high,
			entry->value);
		json_add_string(object, "features", text);
		break;
	case PLX_TRACE_QUEUE:
		json_add_number(object, "queue", entry->value);
		json_add_number(object, "entries", entry->value_high);
		break;
	case PLX_TRACE_QUEUE_RESET:
	case PLX_TRACE_NOTIFY:
		json_add_number(object, "queue", entry->value);
		break;
	}
	return 0;
}

void info_trace_add(struct plx_device *device, struct json_object *array)
{
	struct reader reader = {.array = array};

	(void)plx_device_trace(device, add_entry, &reader);
}
