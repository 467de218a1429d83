/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_GUARD_H
#define POLLUX_GUARD_H

#include <pollux/error.h>

/**
 * @file
 * A guard for programs whose cards may be pulled out. Registers of a PCI function are mapped
 * memory, and when the function leaves, or its memory is switched off, the kernel takes the mapping
 * away: the next access raises SIGBUS, which ends a process that does not expect it. Without a
 * guard that is what happens; with one the device is taken for gone.
 *
 * A signal handler belongs to the process and not to a library, so it is there only for who asks.
 */

#ifdef __cplusplus
extern "C" {
#endif

/**
 * plx_guard_install() - Survive devices whose registers vanish.
 *
 * Installs a handler of SIGBUS. When the fault lies in registers that Pollux mapped, for a device
 * opened before this call or after it, it puts a page of memory of the process in their place and
 * marks the device: from then on every register reads as all ones, so that bursts return -ENODEV,
 * plx_eth_poll_events() tells PLX_ETH_EVENT_GONE, and plx_eth_close() ends.
 *
 * All other faults go on to the handler that was there before, with the signals of its sa_mask
 * blocked and as its SA_SIGINFO, SA_NODEFER, SA_RESTART and SA_RESETHAND have it, but always on the
 * thread's stack for signals if it has one. Without a handler they end the process as ever, and a
 * SIGBUS that was ignored when somebody sent it still is.
 *
 * The guard has room for 4096 mapped windows of registers at a time, in all contexts: a PCI
 * function takes up to three, and each of its queues one more. A device that finds no room is
 * opened all the same, and the log warns that its removal may end the process.
 *
 * May be called any number of times, from any thread; each call is undone by a plx_guard_remove().
 * Never blocks. Costs one load for each access of a register, and nothing for a packet.
 *
 * Return: 0; -errno of sigaction().
 */
PLX_API int plx_guard_install(void);

/**
 * plx_guard_remove() - Undo a plx_guard_install().
 *
 * The last one puts the handler back that was there before. Call it before Pollux is unloaded by
 * dlclose(). Any thread may call; never blocks.
 *
 * Return: 0; -EINVAL when none is installed; -EBUSY when another handler of SIGBUS was installed
 * since, which may hand faults on to this one: it stays.
 */
PLX_API int plx_guard_remove(void);

#ifdef __cplusplus
}
#endif

#endif
