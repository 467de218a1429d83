/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_SHARED_H
#define PLX_BASE_SHARED_H

#include "base/wide.h"

#include <endian.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/*
 * Memory that a device can write at any moment.
 *
 * Its fields have types of their own, so that a plain read does not compile: a value comes out only
 * through the functions below, once, into a local of the CPU's byte order, and what is checked is
 * what is used. All are little-endian (virtio 1.4, 1.4).
 */
struct plx_shared8 {
	uint8_t raw;
};

struct plx_shared16 {
	uint16_t raw;
};

struct plx_shared32 {
	uint32_t raw;
};

struct plx_shared64 {
	uint64_t raw;
};

/* A value in the device's byte order, to build a whole structure that is then stored at once. */
static inline struct plx_shared16 plx_shared16(uint16_t value)
{
	return (struct plx_shared16){htole16(value)};
}

static inline struct plx_shared32 plx_shared32(uint32_t value)
{
	return (struct plx_shared32){htole32(value)};
}

static inline struct plx_shared64 plx_shared64(uint64_t value)
{
	return (struct plx_shared64){htole64(value)};
}

static inline uint8_t plx_shared8_read(const struct plx_shared8 *field)
{
	return __atomic_load_n(&field->raw, __ATOMIC_RELAXED);
}

static inline void plx_shared8_write(struct plx_shared8 *field, uint8_t value)
{
	__atomic_store_n(&field->raw, value, __ATOMIC_RELAXED);
}

static inline uint16_t plx_shared16_read(const struct plx_shared16 *field)
{
	return le16toh(__atomic_load_n(&field->raw, __ATOMIC_RELAXED));
}

/* Four neighbours in one value, the first in its lowest bits; together they need no alignment. */
static inline uint64_t plx_shared16_read_4(const struct plx_shared16 *first)
{
	typedef uint64_t __attribute__((aligned(2), may_alias)) four;

	return le64toh(*(const volatile four *)first);
}

/*
 * Fields of what lies in a buffer, such as a header in front of a frame: it begins where the
 * application wants it to, aligned or not. One read all the same.
 */
static inline uint16_t plx_shared16_read_anywhere(const void *from)
{
	typedef uint16_t __attribute__((aligned(1), may_alias)) two;

	return le16toh(*(const volatile two *)from);
}

static inline uint32_t plx_shared32_read_anywhere(const void *from)
{
	typedef uint32_t __attribute__((aligned(1), may_alias)) four;

	return le32toh(*(const volatile four *)from);
}

#ifdef __SSE2__
/* 16 bytes at once, of any fields; what lies in them must be complete already. */
static inline __m128i plx_shared_read_16(const void *from)
{
	typedef long long __attribute__((vector_size(16), aligned(2), may_alias)) sixteen;

	return (__m128i)(*(const volatile sixteen *)from);
}
#endif

#ifdef PLX_WIDE
/* The same of 64 bytes. */
static inline PLX_WIDE __m512i plx_shared_read_64(const void *from)
{
	typedef long long __attribute__((vector_size(64), aligned(2), may_alias)) all;

	return (__m512i)(*(const volatile all *)from);
}

/*
 * 64 bytes that are not complete: each eight of them, which must be aligned, are as
 * plx_shared64_read_acquire() reads them. A CPU may read the 64 in pieces, but no eight; and x86
 * keeps reads in order, so that only the compiler needs to be told.
 */
static inline PLX_WIDE __m512i plx_shared_read_64_acquire(const void *from)
{
	__m512i value = plx_shared_read_64(from);

	__asm__ volatile("" ::: "memory");
	return value;
}
#endif

/* Reads that come later in the program see what the device wrote before it wrote this field. */
static inline uint16_t plx_shared16_read_acquire(const struct plx_shared16 *field)
{
	return le16toh(__atomic_load_n(&field->raw, __ATOMIC_ACQUIRE));
}

static inline uint32_t plx_shared32_read(const struct plx_shared32 *field)
{
	return le32toh(__atomic_load_n(&field->raw, __ATOMIC_RELAXED));
}

static inline uint64_t plx_shared64_read(const struct plx_shared64 *field)
{
	return le64toh(__atomic_load_n(&field->raw, __ATOMIC_RELAXED));
}

/*
 * A whole value that the device wrote in pieces and completed by the piece in the highest bytes:
 * whoever sees that one sees them all, since it is one access.
 */
static inline uint64_t plx_shared64_read_acquire(const struct plx_shared64 *field)
{
	return le64toh(__atomic_load_n(&field->raw, __ATOMIC_ACQUIRE));
}

static inline void plx_shared16_write(struct plx_shared16 *field, uint16_t value)
{
	__atomic_store_n(&field->raw, htole16(value), __ATOMIC_RELAXED);
}

/* Writes that come earlier in the program are seen by whoever sees this one. */
static inline void plx_shared16_write_release(struct plx_shared16 *field, uint16_t value)
{
	__atomic_store_n(&field->raw, htole16(value), __ATOMIC_RELEASE);
}

static inline void plx_shared32_write(struct plx_shared32 *field, uint32_t value)
{
	__atomic_store_n(&field->raw, htole32(value), __ATOMIC_RELAXED);
}

static inline void plx_shared64_write(struct plx_shared64 *field, uint64_t value)
{
	__atomic_store_n(&field->raw, htole64(value), __ATOMIC_RELAXED);
}

#endif
