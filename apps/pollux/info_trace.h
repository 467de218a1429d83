/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PROGRAM_INFO_TRACE_H
#define PROGRAM_INFO_TRACE_H

#include <pollux/device.h>

/* The negotiation of a device, line by line: as text on standard output, or into a JSON array. */
struct json_object;

void info_trace_print(struct plx_device *device);
void info_trace_add(struct plx_device *device, struct json_object *array);

#endif
