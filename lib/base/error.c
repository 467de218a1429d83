/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Global-dynamic by default, so that libpollux can be opened and closed by dlopen. */
static _Thread_local char message[PLX_ERROR_LEN];

const char *plx_error(void)
{
	return message;
}

void plx_note_failure(const char *format, ...)
{
	/* Built beside the old text, since that may be among the arguments. */
	char text[PLX_ERROR_LEN];
	/* plx_fail(errno, ...) reads errno after this. */
	int kept = errno;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	memcpy(message, text, sizeof(message));
	errno = kept;
}
