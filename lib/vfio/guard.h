/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_GUARD_H
#define PLX_VFIO_GUARD_H

#include <pollux/guard.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Watch over a mapping of registers until plx_guard_release(): a fault in it sets @gone while a
 * guard is installed, whether that is now or later. Return: whether there is room for it.
 */
bool plx_guard_watch(void *map, size_t len, bool *gone);
/* Before it is unmapped; one that is not watched over is let be. */
void plx_guard_release(const void *map);

#endif
