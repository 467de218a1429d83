/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void plx_log(const struct plx_log *log, enum plx_log_level level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!log || !log->fn || level > log->level)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log->fn(log->arg, level, text);
}
