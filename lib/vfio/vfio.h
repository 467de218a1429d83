/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_VFIO_H
#define PLX_VFIO_VFIO_H

#include "base/counter.h"
#include "base/log.h"
#include "mem/mem.h"

#include <linux/vfio.h>
#include <pollux/device.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The device seam: a PCI function as VFIO presents it, whoever provides it.
 *
 * Regions and interrupts go by the numbers of <linux/vfio.h> (VFIO_PCI_BAR0_REGION_INDEX and so
 * on). The backends are one file each: group.c, iommufd.c and user.c, the last with what belongs to
 * it in files of its name. What those share that get a descriptor from the kernel is in device.c.
 * Calls for one device come from one thread at a time, but for plx_mmio access, peek(), check() and
 * counters(), which any thread may make.
 */
struct plx_vfio_device;

/* What VFIO needs to know of a PCI function; the room above reads it from sysfs. */
struct plx_vfio_target {
	char name[PLX_DEVICE_NAME_LEN]; /* "0000:00:03.0": VFIO's own name of the device */
	int group;                      /* the number of its IOMMU group */
	char node[32];                  /* "vfio3": its file in /dev/vfio/devices, or "" */
	int numa_node;
};

/* A part of a region that may be mapped. */
struct plx_vfio_area {
	uint64_t offset;
	uint64_t size;
};

#define PLX_VFIO_AREAS 8

struct plx_vfio_region {
	uint64_t size;  /* 0: there is none */
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_READ, _WRITE, _MMAP */
	unsigned areas; /* mappable parts, when VFIO_REGION_INFO_FLAG_MMAP is set */
	struct plx_vfio_area area[PLX_VFIO_AREAS];
	uint64_t cookie; /* the backend's own */
};

struct plx_vfio_ops {
	const char *name; /* of the backend: "group", "iommufd", ... */

	/*
	 * Read or write one register of 1, 2, 4 or 8 bytes (or a run of bytes of configuration
	 * space) in one access. Return: 0; -EIO or -ENODEV when the device did not answer; -EINVAL
	 * beyond the region.
	 */
	int (*read)(struct plx_vfio_device *device, unsigned region, uint64_t offset, void *value,
		size_t len);
	int (*write)(struct plx_vfio_device *device, unsigned region, uint64_t offset,
		const void *value, size_t len);
	/*
	 * As read(), where that may wait for another process: from any thread, never blocks, and
	 * gives what the register held when it was asked for by an earlier call. NULL where read()
	 * does not wait. Return: 0; -EAGAIN when it is not known yet; -ENODEV and other -errno.
	 */
	int (*peek)(struct plx_vfio_device *device, unsigned region, uint64_t offset, void *value,
		size_t len);
	/* Map a part of an area; @offset and @len are page-aligned. Return: 0 or -errno. */
	int (*map)(struct plx_vfio_device *device, unsigned region, uint64_t offset, size_t len,
		void **address);
	void (*unmap)(struct plx_vfio_device *device, void *address, size_t len);
	/*
	 * Point interrupts [start, start + count) of an index at eventfds, -1 for none; a NULL @fds
	 * with count 0 turns the whole index off. Return: 0 or -errno.
	 */
	int (*set_irqs)(struct plx_vfio_device *device, unsigned index, unsigned start,
		unsigned count, const int32_t *fds);
	/*
	 * Let interrupt 0 of a maskable index come again, which VFIO masks whenever it signals it
	 * (VFIO_IRQ_INFO_AUTOMASKED; the line). One that is due comes at once. Any thread may call.
	 * NULL where nothing is ever masked. Return: 0 or -errno.
	 */
	int (*unmask_irq)(struct plx_vfio_device *device, unsigned index);
	/*
	 * Reset the function, which is a bus master again afterwards, as it was opened; a device
	 * whose session with another process has ended gets a new one. Return: 0; -ENOTSUP when it
	 * cannot be; -ENODEV when it has gone and reaches no memory any more; -errno.
	 */
	int (*reset)(struct plx_vfio_device *device);
	/*
	 * Whether the device is still there. From any thread, never blocks; NULL where only a
	 * register tells. Return: 0; -ENODEV.
	 */
	int (*check)(struct plx_vfio_device *device);
	/*
	 * What went wrong since the device was opened or reset, where more is known than that
	 * registers read all ones; NULL where not. Return: 0; -errno with plx_fail().
	 */
	int (*fault)(struct plx_vfio_device *device);
	/*
	 * Show what the backend itself counted of the device; NULL where it counts nothing. Any
	 * thread may call. Return: 0, or what @visit returned.
	 */
	int (*counters)(struct plx_vfio_device *device, plx_counter_visit_fn *visit, void *arg);
	/* Give the device back. After this it reaches no memory. */
	void (*close)(struct plx_vfio_device *device);
};

struct plx_vfio_device {
	const struct plx_vfio_ops *ops;
	const struct plx_log *log;
	char name[PLX_DEVICE_NAME_LEN]; /* as messages name it */
	int numa_node;
	bool dma_translated; /* an IOMMU stands between the device and memory */
	unsigned regions;
	struct plx_vfio_region region[VFIO_PCI_NUM_REGIONS];
	uint32_t irqs[VFIO_PCI_NUM_IRQS]; /* interrupts of each index */
	bool gone; /* its registers vanished (guard.h), and read as ones from then on; atomic */
};

/* A window of a region: mapped where that is allowed, otherwise reached by one call an access. */
struct plx_mmio {
	struct plx_vfio_device *device;
	unsigned region;
	uint64_t offset; /* of the window in the region */
	uint64_t size;
	uint8_t *address; /* the window's first byte, or NULL when it is not mapped */
	void *map;        /* what was mapped, for plx_mmio_close() */
	size_t map_len;
};

/*
 * plx_mmio_open() - Open a window of a region.
 *
 * Return: 0; -EINVAL when the region is too short; -errno of the mapping.
 */
int plx_mmio_open(struct plx_mmio *mmio, struct plx_vfio_device *device, unsigned region,
	uint64_t offset, uint64_t size);
/* Before its device is closed. A window of zeros is allowed. */
void plx_mmio_close(struct plx_mmio *mmio);

/*
 * One register, in one access of its natural width, little-endian on the bus and in the CPU's order
 * here. The offset is within the window and aligned; a device that does not answer reads as all
 * ones.
 *
 * Ordered against memory: what was written there before is visible to the device before the
 * register is written, and what is read there afterwards is not older than the register's value.
 */
uint8_t plx_mmio_read8(const struct plx_mmio *mmio, uint64_t offset);
uint16_t plx_mmio_read16(const struct plx_mmio *mmio, uint64_t offset);
uint32_t plx_mmio_read32(const struct plx_mmio *mmio, uint64_t offset);
/*
 * plx_mmio_peek8() - Read a register as plx_mmio_read8() does, but never block.
 *
 * Return: 0; -EAGAIN when a device in another process has not answered yet: the next call has what
 * this one asked for; -ENODEV when the device is gone.
 */
int plx_mmio_peek8(const struct plx_mmio *mmio, uint64_t offset, uint8_t *value);
void plx_mmio_write8(const struct plx_mmio *mmio, uint64_t offset, uint8_t value);
void plx_mmio_write16(const struct plx_mmio *mmio, uint64_t offset, uint16_t value);
void plx_mmio_write32(const struct plx_mmio *mmio, uint64_t offset, uint32_t value);

/* As the fault() of its backend. */
static inline int plx_vfio_fault(struct plx_vfio_device *device)
{
	return device->ops->fault ? device->ops->fault(device) : 0;
}

/* As the counters() of its backend. */
static inline int plx_vfio_counters(
	struct plx_vfio_device *device, plx_counter_visit_fn *visit, void *arg)
{
	return device->ops->counters ? device->ops->counters(device, visit, arg) : 0;
}

/* Give a device back; NULL is allowed. */
static inline void plx_vfio_close(struct plx_vfio_device *device)
{
	if (device)
		device->ops->close(device);
}

#endif
