/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_COMPILER_H
#define PLX_BASE_COMPILER_H

#include <pollux/packet.h>

/* What the compiler is told, under the names that the kernel uses. */
#define likely(x)          __builtin_expect(!!(x), 1)
#define unlikely(x)        __builtin_expect(!!(x), 0)
#define __noinline_fn      __attribute__((noinline))
#define __always_inline_fn inline __attribute__((always_inline))
#define __cache_aligned    __attribute__((aligned(PLX_CACHE_LINE)))

/*
 * What is true only of a device that breaks its rules. A benchmark measures what it costs to ask,
 * by a build that does not (PLX_UNCHECKED); nothing else may be built so.
 */
#ifdef PLX_UNCHECKED
#define device_lies(x) ((void)sizeof(x), 0)
#else
#define device_lies(x) unlikely(x)
#endif

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)         ((a) < (b) ? (a) : (b))
#define MAX(a, b)         ((a) > (b) ? (a) : (b))

#define container_of(pointer, type, member)                                                        \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
