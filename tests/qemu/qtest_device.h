/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_TESTS_QTEST_DEVICE_H
#define PLX_TESTS_QTEST_DEVICE_H

extern "C" {
#include "mem/mem.h"
#include "vfio/vfio.h"
}

#include "qtest.h"

#include <functional>
#include <map>

namespace qemu
{

/* One access of the driver to a register of the device. */
struct Access {
	bool write;
	unsigned region;
	uint64_t offset;
	uint64_t value;
};

/*
 * A PCI function of a QEMU behind the device seam, as VFIO would present it: its BARs are placed
 * and it is a bus master.
 *
 * DMA: an IOVA is a guest-physical address. For as long as the device is open, each segment of the
 * context's memory is backed by QEMU's memory at that address, with its contents; afterwards it has
 * its own pages back, and QEMU reaches nothing of this process.
 */
class QtestDevice
{
      public:
	static constexpr unsigned kSlot = 4; /* on bus 0 */

	explicit QtestDevice(Qtest *machine) : machine_(machine)
	{
		self_.owner = dma_.owner = this;
	}
	QtestDevice(const QtestDevice &) = delete;
	QtestDevice &operator=(const QtestDevice &) = delete;
	~QtestDevice();

	/*
	 * Open it for a driver, who closes it through the seam.
	 * @base: Qtest::kLow or kHigh, where its memory is to lie
	 *
	 * Return: 0 or -errno with plx_error().
	 */
	int open(struct plx_mem *mem, const struct plx_log *log, uint64_t base);
	struct plx_vfio_device *vfio()
	{
		return &self_.vfio;
	}
	bool is_open() const
	{
		return mem_;
	}
	/* Its virtio device ID (virtio 1.4, 4.1.2.1). */
	unsigned virtio_id();

	/* Is shown each access to a BAR before it is made. */
	std::function<void(const Access &)> before;
	/* And afterwards, with what was read. */
	std::function<void(const Access &)> after;

      private:
	struct Self {
		struct plx_vfio_device vfio = {};
		QtestDevice *owner;
	} self_;
	struct Dma {
		struct plx_mapper mapper = {};
		QtestDevice *owner;
	} dma_;
	struct Bar {
		bool ports;
		uint64_t address;
	};
	Qtest *machine_;
	struct plx_mem *mem_ = nullptr;
	std::map<unsigned, Bar> bars_;

	static struct plx_vfio_ops make_ops();
	static const struct plx_vfio_ops ops;
	static const struct plx_mapper_ops mapper_ops;
	static QtestDevice *of(struct plx_vfio_device *device)
	{
		return reinterpret_cast<Self *>(device)->owner;
	}
	static QtestDevice *of(struct plx_mapper *mapper)
	{
		return reinterpret_cast<Dma *>(mapper)->owner;
	}

	int config_access(uint64_t offset, unsigned width, uint64_t *value, bool write);
	int register_access(
		unsigned region, uint64_t offset, unsigned width, uint64_t *value, bool write);
	int access(unsigned region, uint64_t offset, uint8_t *bytes, size_t length, bool write);
	uint32_t config(unsigned offset);
	void set_config(unsigned offset, uint32_t value);
	void place_bars();
	int lost(unsigned region, uint64_t offset) const;
	int map(const struct plx_mem_segment *segment);
	void unmap(const struct plx_mem_segment *segment);
	void close();
};

} // namespace qemu

#endif
