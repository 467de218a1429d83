/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_DRIVERS_DRIVERS_H
#define PLX_DRIVERS_DRIVERS_H

#include "base/options.h"
#include "context/context.h"
#include "eth/eth.h"
#include "virtio/virtio.h"

/*
 * A driver for one type of virtio device. drivers.c holds the one table of them; there is no other
 * way in.
 */
struct plx_driver {
	const char *name;
	unsigned device_id; /* VIRTIO_ID_NET, ... */
	/*
	 * Make an Ethernet device of a virtio device that was probed; @address has the options. On
	 * success the virtio device belongs to the result, on failure it stays the caller's.
	 */
	int (*open_eth)(struct plx_context *ctx, struct plx_virtio *virtio,
		struct plx_address *address, struct plx_eth **eth);
};

extern const struct plx_driver plx_driver_virtio_net;

/*
 * The two halves of plx_eth_open() behind the finding of the device. Each takes its options out of
 * the address; what it is given belongs to it, also when it fails.
 */
int plx_drivers_open_virtio(struct plx_context *ctx, struct plx_vfio_device *vfio,
	unsigned device_id, struct plx_address *address, struct plx_virtio **virtio);
int plx_drivers_open_eth(struct plx_context *ctx, struct plx_virtio *virtio,
	struct plx_address *address, struct plx_eth **eth);

#endif
