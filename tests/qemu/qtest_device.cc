/* SPDX-License-Identifier: BSD-3-Clause */
#include "qtest_device.h"

extern "C" {
#include "base/bits.h"
#include "base/error.h"
}

#include <linux/pci_regs.h>

#include <cinttypes>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>

namespace qemu
{
namespace
{

/* Configuration mechanism #1 (PCI 3.0, 3.2.2.3.2). */
constexpr uint16_t kConfigAddress = 0xcf8, kConfigData = 0xcfc;
constexpr uint64_t kConfigSize = 256;

/* Where nothing else of the machine is. */
constexpr uint64_t kPorts = 0xc000, kWindow = 0xe0000000;

constexpr uint16_t kDecodes = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;

uint64_t place(uint64_t *next, uint64_t size)
{
	uint64_t address = (*next + size - 1) / size * size;

	*next = address + size;
	return address;
}

} // namespace

struct plx_vfio_ops QtestDevice::make_ops()
{
	struct plx_vfio_ops ops = {};

	ops.name = "qtest";
	ops.read = [](struct plx_vfio_device *device, unsigned region, uint64_t offset, void *value,
			   size_t len) {
		return of(device)->access(
			region, offset, static_cast<uint8_t *>(value), len, false);
	};
	ops.write = [](struct plx_vfio_device *device, unsigned region, uint64_t offset,
			    const void *value, size_t len) {
		uint8_t bytes[kConfigSize];

		memcpy(bytes, value, len < sizeof(bytes) ? len : sizeof(bytes));
		return of(device)->access(region, offset, bytes, len, true);
	};
	ops.map = [](struct plx_vfio_device *device, unsigned, uint64_t, size_t, void **) {
		return plx_fail(ENOTSUP, "%s: its registers cannot be mapped", device->name);
	};
	ops.unmap = [](struct plx_vfio_device *, void *, size_t) {};
	ops.set_irqs = [](struct plx_vfio_device *device, unsigned, unsigned, unsigned,
			       const int32_t *) {
		return plx_fail(ENOTSUP, "%s: its interrupts go nowhere", device->name);
	};
	/* On this bus a virtio function has no reset of its own. */
	ops.reset = [](struct plx_vfio_device *device) {
		return plx_fail(ENOTSUP, "%s: the function has no reset", device->name);
	};
	ops.close = [](struct plx_vfio_device *device) { of(device)->close(); };
	return ops;
}

const struct plx_vfio_ops QtestDevice::ops = make_ops();

const struct plx_mapper_ops QtestDevice::mapper_ops = {
	[](struct plx_mapper *mapper, const struct plx_mem_segment *segment) {
		return of(mapper)->map(segment);
	},
	[](struct plx_mapper *mapper, const struct plx_mem_segment *segment) {
		of(mapper)->unmap(segment);
	},
};

QtestDevice::~QtestDevice()
{
	close();
}

/* --- registers --- */

int QtestDevice::lost(unsigned region, uint64_t offset) const
{
	return plx_fail(ENODEV, "%s: QEMU does not answer at 0x%" PRIx64 " of region %u: it died",
		self_.vfio.name, offset, region);
}

int QtestDevice::config_access(uint64_t offset, unsigned width, uint64_t *value, bool write)
{
	uint32_t address = 0x80000000u | kSlot << 11 | ((uint32_t)offset & ~3u);
	uint16_t port = (uint16_t)(kConfigData + offset % 4);

	if (machine_->out(kConfigAddress, 4, address) ||
		(write ? machine_->out(port, width, *value) : machine_->in(port, width, value)))
		return lost(VFIO_PCI_CONFIG_REGION_INDEX, offset);
	return 0;
}

int QtestDevice::register_access(
	unsigned region, uint64_t offset, unsigned width, uint64_t *value, bool write)
{
	const Bar &bar = bars_.at(region);
	uint64_t address = bar.address + offset;
	uint16_t port = (uint16_t)address;
	Access one = {write, region, offset, write ? *value : 0};
	int err;

	if (before)
		before(one);
	if (write)
		err = bar.ports ? machine_->out(port, width, *value)
				: machine_->write(address, width, *value);
	else
		err = bar.ports ? machine_->in(port, width, value)
				: machine_->read(address, width, value);
	if (err)
		return lost(region, offset);
	one.value = *value;
	if (after)
		after(one);
	return 0;
}

int QtestDevice::access(unsigned region, uint64_t offset, uint8_t *bytes, size_t length, bool write)
{
	bool config = region == VFIO_PCI_CONFIG_REGION_INDEX;

	if (region >= self_.vfio.regions ||
		!plx_range_fits(offset, length, self_.vfio.region[region].size))
		return plx_fail(EINVAL, "%s: %zu bytes at 0x%" PRIx64 " are not in region %u",
			self_.vfio.name, length, offset, region);
	/* A run of configuration space goes register by register. */
	while (length) {
		unsigned width = 8;
		uint64_t value = 0;
		int err;

		while (width > length || offset % width || (config && width > 4))
			width /= 2;
		if (write)
			memcpy(&value, bytes, width);
		err = config ? config_access(offset, width, &value, write)
			     : register_access(region, offset, width, &value, write);
		if (err)
			return err;
		if (!write)
			memcpy(bytes, &value, width);
		offset += width;
		bytes += width;
		length -= width;
	}
	return 0;
}

uint32_t QtestDevice::config(unsigned offset)
{
	uint64_t value = UINT32_MAX;

	return config_access(offset, 4, &value, false) ? UINT32_MAX : (uint32_t)value;
}

void QtestDevice::set_config(unsigned offset, uint32_t value)
{
	uint64_t wide = value;

	(void)config_access(offset, 4, &wide, true);
}

unsigned QtestDevice::virtio_id()
{
	unsigned id = config(PCI_VENDOR_ID) >> 16;

	return id >= 0x1040 ? id - 0x1040 : config(PCI_SUBSYSTEM_VENDOR_ID) >> 16;
}

/* As firmware does: ask for the size of each, and give it a place (PCI 3.0, 6.2.5). */
void QtestDevice::place_bars()
{
	uint64_t next_port = kPorts, next_byte = kWindow;

	bars_.clear();
	for (unsigned i = 0; i < 6; i++) {
		unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
		unsigned index = i;
		uint32_t mask;

		set_config(at, UINT32_MAX);
		mask = config(at);
		if (!mask || mask == UINT32_MAX)
			continue;
		bool ports = mask & PCI_BASE_ADDRESS_SPACE_IO;
		uint32_t address = mask & (ports ? ~UINT32_C(3) : ~UINT32_C(15));
		uint32_t size = ports ? (0x10000 - (address & 0xffff)) & 0xffff : ~address + 1;
		uint64_t where = place(ports ? &next_port : &next_byte, size);

		set_config(at, (uint32_t)where);
		if ((mask & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 &&
			!ports)
			set_config(PCI_BASE_ADDRESS_0 + 4 * ++i, 0);
		bars_[index] = {ports, where};
		self_.vfio.region[index].size = size;
		self_.vfio.region[index].flags =
			VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	}
}

/* --- memory --- */

/*
 * QEMU's pages take the place of the segment's. Nobody else knows of the segment's own file, so it
 * does no harm that it lies idle meanwhile.
 */
int QtestDevice::map(const struct plx_mem_segment *segment)
{
	int fd = machine_->memory_file();
	off_t offset = (off_t)Qtest::offset_of(segment->iova);
	void *there =
		mmap(nullptr, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (there == MAP_FAILED)
		return plx_fail(errno, "%s: QEMU's memory cannot be mapped", self_.vfio.name);
	memcpy(there, segment->address, segment->length);
	if (mmap(segment->address, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    fd, offset) == MAP_FAILED)
		return plx_fail(errno, "%s: QEMU's memory cannot be mapped", self_.vfio.name);
	(void)munmap(there, segment->length);
	return 0;
}

void QtestDevice::unmap(const struct plx_mem_segment *segment)
{
	void *own =
		mmap(nullptr, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);

	if (own == MAP_FAILED)
		return;
	memcpy(own, segment->address, segment->length);
	(void)mmap(segment->address, segment->length, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, segment->fd, 0);
	(void)munmap(own, segment->length);
	(void)fallocate(machine_->memory_file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		(off_t)Qtest::offset_of(segment->iova), (off_t)segment->length);
}

/* --- life --- */

int QtestDevice::open(struct plx_mem *mem, const struct plx_log *log, uint64_t base)
{
	struct plx_vfio_device *vfio = &self_.vfio;
	/* Of the low piece the first mebibytes are not all memory. */
	struct plx_iova_range allowed = {base ? base : UINT64_C(2) << 20, base + Qtest::kHalf - 1};
	int err;

	*vfio = {};
	vfio->ops = &ops;
	vfio->log = log;
	(void)snprintf(vfio->name, sizeof(vfio->name), "0000:00:%02x.0", kSlot);
	vfio->numa_node = -1;
	vfio->regions = VFIO_PCI_NUM_REGIONS;
	vfio->region[VFIO_PCI_CONFIG_REGION_INDEX].size = kConfigSize;
	vfio->region[VFIO_PCI_CONFIG_REGION_INDEX].flags =
		VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (machine_->gone() || config(PCI_VENDOR_ID) == UINT32_MAX)
		return plx_fail(
			ENODEV, "%s: there is no such device: QEMU died or has none", vfio->name);
	place_bars();
	dma_.mapper.ops = &mapper_ops;
	err = plx_mem_attach(mem, &dma_.mapper, &allowed, 1);
	if (err)
		return err;
	mem_ = mem;
	set_config(PCI_COMMAND, kDecodes | PCI_COMMAND_MASTER);
	return 0;
}

void QtestDevice::close()
{
	if (!mem_)
		return;
	set_config(PCI_COMMAND, kDecodes);
	plx_mem_detach(mem_, &dma_.mapper);
	mem_ = nullptr;
}

} // namespace qemu
