/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/trace.h"

#include "base/clock.h"

void plx_trace_add(
	struct plx_trace *trace, enum plx_trace_kind kind, uint64_t value, uint64_t value_high)
{
	uint64_t now = plx_now();

	if (!trace->count)
		trace->start = now;
	trace->line[trace->count++ % PLX_TRACE_LINES] = (struct plx_trace_entry){
		.nanoseconds = now - trace->start,
		.kind = kind,
		.step = trace->step ? trace->step : "",
		.value = value,
		.value_high = value_high,
	};
}

void plx_trace_step(struct plx_trace *trace, const char *step)
{
	trace->step = step;
	plx_trace_add(trace, PLX_TRACE_STEP, 0, 0);
}

int plx_trace_visit(const struct plx_trace *trace, plx_trace_visit_fn *visit, void *arg)
{
	uint64_t first = trace->count > PLX_TRACE_LINES ? trace->count - PLX_TRACE_LINES : 0;

	for (uint64_t i = first; i < trace->count; i++) {
		int ret = visit(arg, &trace->line[i % PLX_TRACE_LINES]);

		if (ret)
			return ret;
	}
	return 0;
}
