/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/vfio.h"

#include "base/barrier.h"
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "vfio/guard.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* Whether whole pages around the window lie within one area that may be mapped. */
static bool may_be_mapped(const struct plx_vfio_region *region, uint64_t first, uint64_t len)
{
	unsigned i;

	if (!(region->flags & VFIO_REGION_INFO_FLAG_MMAP))
		return false;
	for (i = 0; i < region->areas; i++) {
		const struct plx_vfio_area *area = &region->area[i];

		if (first >= area->offset && plx_range_fits(first - area->offset, len, area->size))
			return true;
	}
	return false;
}

int plx_mmio_open(struct plx_mmio *mmio, struct plx_vfio_device *device, unsigned region,
	uint64_t offset, uint64_t size)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t first, len;
	void *map;
	int err;

	if (region >= device->regions || !size ||
		!plx_range_fits(offset, size, device->region[region].size))
		return plx_fail(EINVAL,
			"%s: a window of 0x%" PRIx64 " bytes at 0x%" PRIx64
			" is not within region %u",
			device->name, size, offset, region);
	*mmio = (struct plx_mmio){
		.device = device,
		.region = region,
		.offset = offset,
		.size = size,
	};
	first = plx_align_down(offset, page);
	len = plx_align_up(offset + size, page) - first;
	if (!may_be_mapped(&device->region[region], first, len))
		return 0;
	err = device->ops->map(device, region, first, len, &map);
	if (err)
		return err;
	if (!plx_guard_watch(map, len, &device->gone))
		plx_log(device->log, PLX_LOG_WARNING,
			"%s: the guard has no room for another window: a removal may end the process",
			device->name);
	mmio->map = map;
	mmio->map_len = len;
	mmio->address = (uint8_t *)map + (offset - first);
	return 0;
}

void plx_mmio_close(struct plx_mmio *mmio)
{
	if (mmio->map) {
		plx_guard_release(mmio->map);
		mmio->device->ops->unmap(mmio->device, mmio->map, mmio->map_len);
	}
	*mmio = (struct plx_mmio){0};
}

/* A window that is not mapped. A device that does not answer reads as all ones, as on the bus. */
static void read_by_call(const struct plx_mmio *mmio, uint64_t offset, void *value, size_t len)
{
	struct plx_vfio_device *device = mmio->device;

	if (device->ops->read(device, mmio->region, mmio->offset + offset, value, len))
		memset(value, 0xff, len);
}

static void write_by_call(
	const struct plx_mmio *mmio, uint64_t offset, const void *value, size_t len)
{
	struct plx_vfio_device *device = mmio->device;

	/* Lost, as on the bus: whoever reads next finds all ones. */
	(void)device->ops->write(device, mmio->region, mmio->offset + offset, value, len);
}

/*
 * Asked after the access: a value that was read from the page that the guard put in place of the
 * registers is not older than the flag, which is set before that page is there.
 */
static bool is_gone(const struct plx_mmio *mmio)
{
	return unlikely(__atomic_load_n(&mmio->device->gone, __ATOMIC_RELAXED));
}

uint8_t plx_mmio_read8(const struct plx_mmio *mmio, uint64_t offset)
{
	uint8_t value;

	if (mmio->address)
		value = *(const volatile uint8_t *)(mmio->address + offset);
	else
		read_by_call(mmio, offset, &value, sizeof(value));
	plx_barrier_after_register_read();
	return is_gone(mmio) ? UINT8_MAX : value;
}

uint16_t plx_mmio_read16(const struct plx_mmio *mmio, uint64_t offset)
{
	uint16_t value;

	if (mmio->address)
		value = *(const volatile uint16_t *)(mmio->address + offset);
	else
		read_by_call(mmio, offset, &value, sizeof(value));
	plx_barrier_after_register_read();
	return is_gone(mmio) ? UINT16_MAX : le16toh(value);
}

uint32_t plx_mmio_read32(const struct plx_mmio *mmio, uint64_t offset)
{
	uint32_t value;

	if (mmio->address)
		value = *(const volatile uint32_t *)(mmio->address + offset);
	else
		read_by_call(mmio, offset, &value, sizeof(value));
	plx_barrier_after_register_read();
	return is_gone(mmio) ? UINT32_MAX : le32toh(value);
}

int plx_mmio_peek8(const struct plx_mmio *mmio, uint64_t offset, uint8_t *value)
{
	struct plx_vfio_device *device = mmio->device;
	int err = device->ops->check ? device->ops->check(device) : 0;

	if (err)
		return err;
	if (!mmio->address && device->ops->peek) {
		err = device->ops->peek(
			device, mmio->region, mmio->offset + offset, value, sizeof(*value));
		plx_barrier_after_register_read();
		return !err || err == -EAGAIN ? err : -ENODEV;
	}
	*value = plx_mmio_read8(mmio, offset);
	return 0;
}

void plx_mmio_write8(const struct plx_mmio *mmio, uint64_t offset, uint8_t value)
{
	plx_barrier_before_register_write();
	if (mmio->address)
		*(volatile uint8_t *)(mmio->address + offset) = value;
	else
		write_by_call(mmio, offset, &value, sizeof(value));
}

void plx_mmio_write16(const struct plx_mmio *mmio, uint64_t offset, uint16_t value)
{
	value = htole16(value);
	plx_barrier_before_register_write();
	if (mmio->address)
		*(volatile uint16_t *)(mmio->address + offset) = value;
	else
		write_by_call(mmio, offset, &value, sizeof(value));
}

void plx_mmio_write32(const struct plx_mmio *mmio, uint64_t offset, uint32_t value)
{
	value = htole32(value);
	plx_barrier_before_register_write();
	if (mmio->address)
		*(volatile uint32_t *)(mmio->address + offset) = value;
	else
		write_by_call(mmio, offset, &value, sizeof(value));
}
