/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_ERROR_H
#define POLLUX_ERROR_H

/**
 * @file
 * What every call of Pollux returns, and how to learn why it failed.
 *
 * A call returns 0 or a count when it succeeded, and a negative errno value when it did not. The
 * reason stands in plx_error() as one plain sentence that names the device, the step that failed
 * and what to do about it. Pollux never prints and never ends the process.
 */

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what libpollux exports; everything else stays hidden. */
#define PLX_API __attribute__((visibility("default")))

/**
 * plx_error() - The reason of this thread's last failure.
 *
 * The text stays as it is until the next call of this thread that fails; a call that succeeds does
 * not clear it. Any thread may call; never blocks.
 *
 * Return: A sentence without a newline, or an empty string when nothing failed yet. The memory
 * belongs to the thread and must not be freed.
 */
PLX_API const char *plx_error(void);

#ifdef __cplusplus
}
#endif

#endif
