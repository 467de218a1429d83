/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

/*
 * AddressSanitizer keeps what was freed from being used again, to notice late uses. An execution is
 * over in a fraction of a millisecond, and the default of 256 MiB would only make it touch new
 * memory all the time.
 */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4";
}
