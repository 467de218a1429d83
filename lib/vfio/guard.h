/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_GUARD_H
#define PLX_VFIO_GUARD_H

#include <pollux/guard.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Watch over a mapping of registers until plx_guard_release(): a fault in it sets @gone. Does
 * nothing while no guard is installed. Return: whether it is watched over, or need not be.
 */
bool plx_guard_watch(void *map, size_t len, bool *gone);
/* Before it is unmapped; one that is not watched over is let be. */
void plx_guard_release(const void *map);

#endif
