/* SPDX-License-Identifier: BSD-3-Clause */
#include "conformance.h"

/*
 * The legacy interface (virtio 1.4, the sections "Legacy Interface"): when it is used, and what is
 * different there. The frames themselves are sent by conformance_life_test.cc.
 */

namespace
{

class Legacy : public ConformanceFixture
{
      protected:
	static constexpr uint64_t config_at = VIRTIO_PCI_LEGACY_CONFIG;

	bool uses_legacy_registers()
	{
		bool legacy = false, modern = false;

		for (const Access &a : tap->log) {
			legacy |= a.region == VFIO_PCI_BAR0_REGION_INDEX;
			modern |= a.region == VFIO_PCI_BAR4_REGION_INDEX;
		}
		EXPECT_NE(legacy, modern);
		return legacy;
	}
};

TEST_F(Legacy, DeviceWithoutCapabilitiesIsDrivenByIt)
{
	config.interface = PLX_EMU_LEGACY_ONLY;
	start();
	expect_traffic();
	EXPECT_TRUE(uses_legacy_registers());
}

TEST_F(Legacy, DeviceWithoutCapabilitiesIsRefusedWhenItIsOff)
{
	config.interface = PLX_EMU_LEGACY_ONLY;
	EXPECT_EQ(try_open(",legacy=off"), -ENOTSUP);
	EXPECT_TRUE(error_says("no modern interface")) << plx_error();
	for (const Access &a : tap->log)
		EXPECT_EQ(a.region, (unsigned)VFIO_PCI_CONFIG_REGION_INDEX) << "it was touched";
}

TEST_F(Legacy, TransitionalDeviceIsDrivenByItsModernInterface)
{
	config.interface = PLX_EMU_TRANSITIONAL;
	start();
	expect_traffic();
	EXPECT_FALSE(uses_legacy_registers());
}

TEST_F(Legacy, ModernDeviceHasNone)
{
	EXPECT_EQ(try_open(",legacy=on"), -ENOTSUP);
	EXPECT_TRUE(error_says("no legacy interface")) << plx_error();
}

TEST_F(Legacy, AnyLayoutIsTakenAndBit30IsNot)
{
	config.interface = PLX_EMU_LEGACY_ONLY;
	plx_emu_config_offer(&config, VIRTIO_F_BAD_FEATURE, true);
	start();
	EXPECT_TRUE(accepted(VIRTIO_F_ANY_LAYOUT));
	EXPECT_FALSE(accepted(VIRTIO_F_BAD_FEATURE));
	expect_traffic();
}

/* There is no generation: a byte of the address changes while it is read. */
TEST_F(Legacy, ConfigurationIsReadUntilTwoReadingsAgree)
{
	unsigned reads = 0;

	config.interface = PLX_EMU_LEGACY_ONLY;
	prepare = [&](Tap &t) {
		t.on_read = [&](Access &a) {
			if (a.region || a.offset < config_at || a.offset >= config_at + 6)
				return;
			/* The old address for eight bytes, the new one from there on. */
			a.value = (reads < 8 ? 0x10 : 0x20) + (a.offset - config_at);
			reads++;
		};
	};
	start();
	struct plx_eth_info info;
	plx_eth_get_info(eth, &info);
	for (unsigned i = 0; i < 6; i++)
		EXPECT_EQ(info.mac[i], 0x20 + i) << "a mixture of two addresses";
	EXPECT_EQ(reads, 4u * 6);
}

TEST_F(Legacy, ConfigurationLiesBehindTheRegisters)
{
	struct plx_eth_info info;
	bool seen = false;

	config.interface = PLX_EMU_LEGACY_ONLY;
	config.mtu = 1234;
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::memcmp(info.mac, config.mac, 6), 0);
	EXPECT_EQ(info.mtu, 1234);
	EXPECT_EQ(tap->interrupts, 0u) << "with MSI-X on it lies elsewhere";
	for (const Access &a : tap->log)
		seen |= !a.region && a.offset == config_at;
	EXPECT_TRUE(seen);
}

TEST_F(Legacy, ConfigurationLiesFurtherBehindWhileMsixIsOn)
{
	const uint64_t moved_at = VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX;
	struct plx_eth_info info;
	std::set<uint64_t> read;
	int fd = -1;

	config.interface = PLX_EMU_LEGACY_ONLY;
	config.mtu = 1234;
	prepare = [&](Tap &t) {
		ASSERT_EQ(t.device.ops->set_irqs(&t.device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd), 0);
	};
	start();
	plx_eth_get_info(eth, &info);
	EXPECT_EQ(std::memcmp(info.mac, config.mac, 6), 0);
	EXPECT_EQ(info.mtu, 1234);
	for (const Access &a : tap->log)
		if (!a.region && !a.write)
			read.insert(a.offset);
	EXPECT_TRUE(read.count(moved_at));
	EXPECT_FALSE(read.count(config_at)) << "that is the vector of configuration changes";
	expect_traffic();

	/* It is turned off while the device runs. */
	ASSERT_EQ(
		tap->device.ops->set_irqs(&tap->device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, nullptr), 0);
	tap->log.clear();
	plx_eth_get_info(eth, &info);
	EXPECT_TRUE(info.link_up);
	for (const Access &a : tap->log)
		if (!a.region)
			EXPECT_LT(a.offset, config_at + 8) << "it has moved back";
}

TEST_F(Legacy, RingHasTheDevicesSizeAndNoOther)
{
	config.interface = PLX_EMU_LEGACY_ONLY;
	config.queue_size = 128;
	ASSERT_EQ(try_open(), 0);
	eth_config.rx_ring = 64;
	EXPECT_EQ(try_configure(), -EINVAL);
	EXPECT_TRUE(error_says("legacy interface it must be 128")) << plx_error();
	eth_config.rx_ring = 128;
	ASSERT_EQ(try_configure(), 0);
	ASSERT_EQ(plx_eth_start(eth), 0) << plx_error();
	expect_traffic();
}

/* One contiguous piece: descriptors, available ring, and the used ring on the next page (2.7.2). */
TEST_F(Legacy, RingLiesInOnePieceAsTheInterfaceFixesIt)
{
	for (uint16_t size : {1, 4, 64, 256, 1024}) {
		struct plx_emu_queue_state queue;
		uint16_t idx = 0, used[2] = {};
		uint64_t address = 0;

		config.interface = PLX_EMU_LEGACY_ONLY;
		config.queue_size = size;
		start();
		for (const Access &a : tap->log)
			if (a.write && !a.region && a.offset == VIRTIO_PCI_LEGACY_QUEUE_ADDRESS &&
				!address)
				address = a.value << VIRTIO_PCI_LEGACY_QUEUE_ADDRESS_SHIFT;
		plx_emu_get_queue(card, 0, &queue);
		EXPECT_EQ(address, queue.descriptors);
		EXPECT_EQ(queue.driver_area, address + 16u * size);
		EXPECT_EQ(queue.device_area,
			(address + 16u * size + 6u + 2u * size + 4095) & ~4095ull);
		/*
		 * The driver has its parts there as well: its ring is filled, the device's empty.
		 */
		ASSERT_EQ(plx_emu_peek(card, queue.driver_area + 2, &idx, 2), 0);
		EXPECT_EQ(idx, size);
		ASSERT_EQ(plx_emu_peek(card, queue.device_area, used, 4), 0);
		EXPECT_EQ(used[1], 0);
		expect_traffic();
		EXPECT_EQ(plx_emu_peek(card, queue.device_area, used, 4), 0);
		EXPECT_EQ(used[1], 1);
		close();
	}
}

} // namespace
