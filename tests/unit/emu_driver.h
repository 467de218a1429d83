/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_EMU_DRIVER_H
#define TESTS_UNIT_EMU_DRIVER_H

/*
 * A throw-away driver that the tests of lib/emu drive a device with, register by register.
 */

#include "emu_ring.h"

extern "C" {
#include "drivers/virtio/virtio_net_reg.h"
#include "emu/emu.h"
}

namespace emu
{

class Driver
{
      public:
	struct Window {
		unsigned bar = 0;
		uint32_t offset = 0;
		uint32_t length = 0;
	};

	Driver(plx_vfio_device *device, plx_mem *memory) : dev(device), mem(memory)
	{
		probe();
	}

	template <typename T> T get(const Window &window, uint64_t offset)
	{
		T value{};

		EXPECT_EQ(0, dev->ops->read(dev, window.bar, window.offset + offset, &value,
				     sizeof(value)));
		return value;
	}
	template <typename T> void set(const Window &window, uint64_t offset, T value)
	{
		EXPECT_EQ(0, dev->ops->write(dev, window.bar, window.offset + offset, &value,
				     sizeof(value)));
	}
	template <typename T> T config(uint64_t offset)
	{
		T value{};

		EXPECT_EQ(0, dev->ops->read(dev, VFIO_PCI_CONFIG_REGION_INDEX, offset, &value,
				     sizeof(value)));
		return value;
	}
	template <typename T> void set_config(uint64_t offset, T value)
	{
		EXPECT_EQ(0, dev->ops->write(dev, VFIO_PCI_CONFIG_REGION_INDEX, offset, &value,
				     sizeof(value)));
	}

	uint8_t status()
	{
		return get<uint8_t>(common, VIRTIO_PCI_COMMON_DEVICE_STATUS);
	}
	void set_status(uint8_t value)
	{
		set<uint8_t>(common, VIRTIO_PCI_COMMON_DEVICE_STATUS, value);
	}
	void add_status(uint8_t value)
	{
		set_status(status() | value);
	}
	void reset()
	{
		set_status(0);
		EXPECT_EQ(0, status());
	}
	uint64_t offered(unsigned pair = 0)
	{
		uint64_t value = 0;

		for (unsigned i = 0; i < 2; i++) {
			set<uint32_t>(
				common, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 2 * pair + i);
			value |= uint64_t{get<uint32_t>(common, VIRTIO_PCI_COMMON_DEVICE_FEATURE)}
				 << 32 * i;
		}
		return value;
	}
	void accept(uint64_t features)
	{
		accepted = features;
		for (unsigned i = 0; i < 2; i++) {
			set<uint32_t>(common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, i);
			set<uint32_t>(common, VIRTIO_PCI_COMMON_DRIVER_FEATURE,
				static_cast<uint32_t>(features >> 32 * i));
		}
	}
	/* Reset, and go as far as the driver may go without features. */
	void hello()
	{
		reset();
		add_status(VIRTIO_STATUS_ACKNOWLEDGE);
		add_status(VIRTIO_STATUS_DRIVER);
	}
	/* As far as FEATURES_OK; true when it stays. */
	bool negotiate(uint64_t features)
	{
		hello();
		accept(features);
		add_status(VIRTIO_STATUS_FEATURES_OK);
		return status() & VIRTIO_STATUS_FEATURES_OK;
	}
	bool has(unsigned feature) const
	{
		return accepted & bit(feature);
	}
	void select(unsigned queue)
	{
		set<uint16_t>(common, VIRTIO_PCI_COMMON_QUEUE_SELECT, static_cast<uint16_t>(queue));
	}
	void set_address(uint64_t field, uint64_t iova)
	{
		set<uint32_t>(common, field, static_cast<uint32_t>(iova));
		set<uint32_t>(common, field + 4, static_cast<uint32_t>(iova >> 32));
	}
	void set_addresses(const Ring &ring)
	{
		set_address(VIRTIO_PCI_COMMON_QUEUE_DESC, ring.desc_iova());
		set_address(VIRTIO_PCI_COMMON_QUEUE_DRIVER, ring.driver_iova());
		set_address(VIRTIO_PCI_COMMON_QUEUE_DEVICE, ring.device_iova());
	}
	void enable()
	{
		set<uint16_t>(common, VIRTIO_PCI_COMMON_QUEUE_ENABLE, 1);
	}
	std::unique_ptr<Ring> make_ring(unsigned queue, unsigned size)
	{
		if (has(VIRTIO_F_RING_PACKED))
			return std::make_unique<PackedRing>(mem, accepted, queue, size);
		return std::make_unique<SplitRing>(mem, accepted, queue, size);
	}
	std::unique_ptr<Ring> setup(unsigned queue, unsigned size)
	{
		auto ring = make_ring(queue, size);

		select(queue);
		set<uint16_t>(common, VIRTIO_PCI_COMMON_QUEUE_SIZE, static_cast<uint16_t>(size));
		set_addresses(*ring);
		enable();
		return ring;
	}
	void live()
	{
		add_status(VIRTIO_STATUS_DRIVER_OK);
	}
	void kick(unsigned queue)
	{
		set<uint16_t>(notify, queue * notify_multiplier, static_cast<uint16_t>(queue));
	}
	void kick(const Ring &ring)
	{
		if (has(VIRTIO_F_NOTIFICATION_DATA))
			set<uint32_t>(notify, ring.index * notify_multiplier,
				static_cast<uint32_t>(ring.next_data()) << 16 | ring.index);
		else
			kick(ring.index);
	}
	/* Publish, and notify if the device wants it. */
	void submit(Ring &ring)
	{
		if (ring.publish())
			kick(ring);
	}

	plx_vfio_device *dev;
	plx_mem *mem;
	Window common, notify, isr, device, pci_cfg;
	uint32_t notify_multiplier = 0;
	uint8_t pci_cfg_cap = 0, msix_cap = 0;
	uint64_t accepted = 0;

      private:
	void probe()
	{
		for (uint8_t at = config<uint8_t>(0x34); at; at = config<uint8_t>(at + 1u)) {
			uint8_t id = config<uint8_t>(at);

			if (id == 0x11)
				msix_cap = at;
			if (id != 0x09)
				continue;
			Window window = {config<uint8_t>(at + 4u), config<uint32_t>(at + 8u),
				config<uint32_t>(at + 12u)};
			switch (config<uint8_t>(at + 3u)) {
			case VIRTIO_PCI_CAP_COMMON_CFG:
				common = window;
				break;
			case VIRTIO_PCI_CAP_NOTIFY_CFG:
				notify = window;
				notify_multiplier = config<uint32_t>(at + 16u);
				break;
			case VIRTIO_PCI_CAP_ISR_CFG:
				isr = window;
				break;
			case VIRTIO_PCI_CAP_DEVICE_CFG:
				device = window;
				break;
			case VIRTIO_PCI_CAP_PCI_CFG:
				pci_cfg_cap = at;
				break;
			}
		}
	}
};

} // namespace emu

#endif
