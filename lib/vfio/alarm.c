/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/alarm.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int set(struct plx_vfio_device *device, unsigned index)
{
	int32_t fd;

	if (!device->irqs[index])
		return -1;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0) {
		plx_log(device->log, PLX_LOG_WARNING,
			"%s: no eventfd to hear of its removal by: %s", device->name,
			strerror(errno));
		return -1;
	}
	if (device->ops->set_irqs(device, index, 0, 1, &fd)) {
		plx_log(device->log, PLX_LOG_DEBUG, "%s", plx_error());
		(void)close(fd);
		return -1;
	}
	return fd;
}

void plx_vfio_alarm_set(struct plx_vfio_alarm *alarm, struct plx_vfio_device *device)
{
	alarm->wanted = set(device, VFIO_PCI_REQ_IRQ_INDEX);
	alarm->erred = set(device, VFIO_PCI_ERR_IRQ_INDEX);
}

static void clear(struct plx_vfio_device *device, unsigned index, int *fd)
{
	if (*fd < 0)
		return;
	if (device->ops->set_irqs(device, index, 0, 0, NULL))
		plx_log(device->log, PLX_LOG_DEBUG, "%s", plx_error());
	(void)close(*fd);
	*fd = -1;
}

void plx_vfio_alarm_clear(struct plx_vfio_alarm *alarm, struct plx_vfio_device *device)
{
	char reason[PLX_ERROR_LEN];

	/* What fails on the way out, of a device that is gone already, is not why one goes. */
	(void)snprintf(reason, sizeof(reason), "%s", plx_error());
	clear(device, VFIO_PCI_REQ_IRQ_INDEX, &alarm->wanted);
	clear(device, VFIO_PCI_ERR_IRQ_INDEX, &alarm->erred);
	plx_note_failure("%s", reason);
}

static bool rang(int fd)
{
	eventfd_t count;

	return fd >= 0 && !eventfd_read(fd, &count);
}

unsigned plx_vfio_alarm_look(const struct plx_vfio_alarm *alarm)
{
	return (rang(alarm->wanted) ? PLX_VFIO_WANTED : 0) |
	       (rang(alarm->erred) ? PLX_VFIO_ERRED : 0);
}
