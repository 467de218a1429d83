/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_WIDE_H
#define PLX_BASE_WIDE_H

#include <stdbool.h>

/*
 * Registers of 64 bytes, which the library is not built for and uses where it finds them: a path
 * that may is compiled for them as a whole, and chosen when it is known what the CPU can do. What
 * it calls is marked with PLX_WIDE as well, and is nothing that is always inlined.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#define PLX_WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

static inline bool plx_cpu_is_wide(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
static inline bool plx_cpu_is_wide(void)
{
	return false;
}
#endif

#endif
