/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_FUZZ_FUZZ_H
#define PLX_FUZZ_FUZZ_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * What all targets share: how the fuzzer's bytes are read, and what a finding is.
 *
 * A target must do the same for the same bytes, whatever ran before it in the process. A finding
 * ends the process, and what the fuzzer saved then shows it again.
 */

/* libFuzzer calls it; a target defines it. Return: 0 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* AddressSanitizer calls it. */
const char *__asan_default_options(void);

/* Bytes that are used up from the front; behind their end there are zeros. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t low = fuzz_u8(in);

	return (uint16_t)(low | fuzz_u8(in) << 8);
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t low = fuzz_u16(in);

	return low | (uint32_t)fuzz_u16(in) << 16;
}

static inline uint64_t fuzz_u64(struct fuzz_input *in)
{
	uint64_t low = fuzz_u32(in);

	return low | (uint64_t)fuzz_u32(in) << 32;
}

/* What must hold whatever the device does; otherwise the input is a finding. */
#define FUZZ_CHECK(holds, says)                                                                    \
	do {                                                                                       \
		if (__builtin_expect(!(holds), 0)) {                                               \
			(void)fprintf(stderr, "%s:%d: finding: %s (%s); plx_error(): %s\n",        \
				__FILE__, __LINE__, says, #holds, plx_error());                    \
			__builtin_trap();                                                          \
		}                                                                                  \
	} while (0)

/*
 * A call of the library. Each that fails returns an error number and says why, in plx_error().
 * Return: as @call.
 */
#define FUZZ_CALL(call) fuzz_result((plx_note_failure("%s", ""), (call)), #call)

static inline int fuzz_result(int ret, const char *call)
{
	FUZZ_CHECK(ret > -4096, call);
	FUZZ_CHECK(ret >= 0 || plx_error()[0], call);
	return ret;
}

#endif
