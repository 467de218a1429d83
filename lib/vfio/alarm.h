/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_ALARM_H
#define PLX_VFIO_ALARM_H

#include "vfio/vfio.h"

/*
 * What VFIO has to say of a device besides its own interrupts: that the kernel wants it back, since
 * it is to be unplugged or given to another driver, and that the bus reported an error that cannot
 * be corrected (VFIO_PCI_REQ_IRQ_INDEX and VFIO_PCI_ERR_IRQ_INDEX of <linux/vfio.h>). Each is an
 * eventfd that is read when somebody looks; nobody is woken.
 */
enum plx_vfio_alarms {
	PLX_VFIO_WANTED = 1u << 0, /* the kernel waits until the device is closed */
	PLX_VFIO_ERRED = 1u << 1,
};

struct plx_vfio_alarm {
	int wanted; /* eventfds; -1: the device has none */
	int erred;
};

/* Both where the device has them; one that cannot be had is left, with a message. */
void plx_vfio_alarm_set(struct plx_vfio_alarm *alarm, struct plx_vfio_device *device);
/* Before the device is closed. */
void plx_vfio_alarm_clear(struct plx_vfio_alarm *alarm, struct plx_vfio_device *device);
/* Return: what was said since the last look, of enum plx_vfio_alarms. Never blocks. */
unsigned plx_vfio_alarm_look(const struct plx_vfio_alarm *alarm);

#endif
