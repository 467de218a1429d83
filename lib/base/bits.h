/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_BITS_H
#define PLX_BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool plx_is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

/* Round up to a power of two; the sum must not overflow. */
static inline uint64_t plx_align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static inline uint64_t plx_align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

/* Whether [offset, offset + len) lies within [0, size); never overflows. */
static inline bool plx_range_fits(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

#endif
