/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_TRACE_H
#define PLX_VIRTIO_TRACE_H

#include <pollux/device.h>

/* The last lines of a device's negotiation: written by control calls only, so always on. */
#define PLX_TRACE_LINES 256

struct plx_trace {
	uint64_t start; /* plx_now() of the first line */
	uint64_t count; /* lines ever written */
	const char *step;
	struct plx_trace_entry line[PLX_TRACE_LINES];
};

void plx_trace_step(struct plx_trace *trace, const char *step);
void plx_trace_add(
	struct plx_trace *trace, enum plx_trace_kind kind, uint64_t value, uint64_t value_high);
int plx_trace_visit(const struct plx_trace *trace, plx_trace_visit_fn *visit, void *arg);

#endif
