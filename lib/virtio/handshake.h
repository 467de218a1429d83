/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_HANDSHAKE_H
#define PLX_VIRTIO_HANDSHAKE_H

#include "virtio/virtio.h"

/*
 * The initialisation handshake as data.
 *
 * A handshake is a table of steps, and one engine walks it. Each step has a name that errors and
 * the trace use, so that a negotiation which fails does so at a named place. The first steps, up to
 * and including PLX_HANDSHAKE_READ_FEATURES, run when a device is opened; the rest when it is
 * started.
 */
enum plx_handshake_action {
	PLX_HANDSHAKE_RESET,  /* write 0, wait until status reads 0 */
	PLX_HANDSHAKE_STATUS, /* write the last status read with @bits added */
	PLX_HANDSHAKE_CHECK,  /* read the status: @bits must be there, NEEDS_RESET must not */
	PLX_HANDSHAKE_READ_FEATURES,  /* what does the device offer? The same as last time? */
	PLX_HANDSHAKE_UNDERSTOOD,     /* tell all that the driver could use */
	PLX_HANDSHAKE_WRITE_FEATURES, /* tell what was accepted */
	PLX_HANDSHAKE_SET_UP,         /* the driver builds its queues */
	PLX_HANDSHAKE_FILL,           /* the driver makes buffers available */
	PLX_HANDSHAKE_GO_LIVE,        /* the driver sends the notifications held back */
};

struct plx_handshake_step {
	const char *name;
	enum plx_handshake_action action;
	uint8_t bits;
	const char *refused; /* of a CHECK: what it means when the bits are gone */
};

struct plx_handshake {
	const char *name; /* as the option handshake= has it */
	const struct plx_handshake_step *step;
	unsigned count;
	uint8_t live;        /* the bit after which the device may use the queues */
	bool legacy;         /* belongs to the legacy interface, and only to it */
	const char *warning; /* told whenever it is chosen, or NULL */
};

/* virtio 1.4, 3.1.1, with one more look at the status after DRIVER_OK. */
extern const struct plx_handshake plx_handshake_modern;

/* virtio 1.4, 3.1.2: no FEATURES_OK, and no way for the device to say no. */
extern const struct plx_handshake plx_handshake_legacy;

/*
 * The proposal VIRTIO-30 v2 ("add extra device status handshake"): the features that are understood
 * come before DRIVER and those that are activated after it, and the device may take back DRIVER or
 * DRIVER_OK as its veto. Buffers are added after that, and DEVICE_OK makes the device live. It is
 * never chosen by itself, since bit 8 has meant FEATURES_OK ever since the standard was ratified.
 */
extern const struct plx_handshake plx_handshake_device_ok;

/*
 * plx_handshake_probe() - Walk the steps that open a device.
 *
 * Return: 0; -ENODEV when the device is gone; -EIO when it does not reset.
 */
int plx_handshake_probe(struct plx_virtio *virtio);

/*
 * plx_handshake_start() - Walk the steps that start a device whose features are decided.
 *
 * On failure FAILED is set (virtio 1.4, 2.1), and a device that was live already is reset as well.
 *
 * Return: 0; -EPROTO when the device refused a step; -ENODEV; -EIO; what the driver returned.
 */
int plx_handshake_start(
	struct plx_virtio *virtio, const struct plx_handshake_driver *driver, void *arg);

/*
 * plx_handshake_give_up() - Tell the device that it was given up (virtio 1.4, 2.2.1 and 3.1.1).
 *
 * One that may already use its queues is reset as well, since the caller is about to take them
 * down. The next start begins with a reset. The caller's failure stays the one that plx_error()
 * tells.
 */
void plx_handshake_give_up(struct plx_virtio *virtio);

/*
 * plx_handshake_suspend() - Let a live device stand still (virtio 1.4, 3.4).
 *
 * The caller has seen to it that nothing is made available and nothing notified from now on, until
 * plx_handshake_resume(). Buffers in flight stay the device's. Only after a success does it touch
 * no memory.
 *
 * Return: 0; -ENOTSUP when F_SUSPEND was not negotiated; -EPROTO when the device asks for a reset;
 * -ENODEV; -EIO when the limit has passed. After a failure only a reset helps.
 */
int plx_handshake_suspend(struct plx_virtio *virtio);

/*
 * plx_handshake_resume() - Let a suspended device go on where it stood.
 *
 * Return: As plx_handshake_suspend(); -EIO also when the device is not suspended.
 */
int plx_handshake_resume(struct plx_virtio *virtio);

#endif
