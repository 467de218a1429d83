/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_BARRIER_H
#define PLX_BASE_BARRIER_H

/*
 * Orders between this CPU and a device that shares cache-coherent memory with it.
 *
 * Release stores and acquire loads (base/shared.h) carry most of the ring protocol. What they
 * cannot express is an earlier store before a later load: that is the full barrier.
 */
static inline void plx_barrier_full(void)
{
#if defined(__x86_64__)
	/*
	 * A locked access to the stack orders stores before loads as mfence does, in half the time.
	 */
	__asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* All earlier writes to memory are visible to the device before a later write to its registers. */
static inline void plx_barrier_before_register_write(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dmb oshst" ::: "memory");
#elif defined(__x86_64__)
	/* x86 keeps stores in order, also between write-back and uncached memory. */
	__asm__ volatile("" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Earlier register reads are complete before later accesses to memory. */
static inline void plx_barrier_after_register_read(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

static inline void plx_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif
