/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_ERROR_H
#define PLX_BASE_ERROR_H

#include <errno.h>
#include <pollux/error.h>

/* Bytes of the text of plx_error(), for those who keep one. */
#define PLX_ERROR_LEN 768

/*
 * plx_fail() - Note the reason of a failure for plx_error().
 *
 * The sentence names the device, what failed, and what would mend it. It may use the text of
 * plx_error() itself as an argument, to say more about a failure from further down.
 *
 * Return: -err, so that a function can end with `return plx_fail(EINVAL, ...)`. It is a macro so
 * that the compiler sees that the value is never 0.
 */
#define plx_fail(err, ...) (plx_note_failure(__VA_ARGS__), -(err))

void plx_note_failure(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

#endif
