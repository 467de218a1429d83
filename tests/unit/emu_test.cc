/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <chrono>
#include <sstream>
#include <thread>

#include <sys/eventfd.h>
#include <unistd.h>

namespace emu
{
namespace
{

/* Configuration space. */

TEST_F(EmuTest, PresentsItselfAsAModernNetworkCard)
{
	make();
	EXPECT_EQ(0x1af4, driver->config<uint16_t>(0x00));
	EXPECT_EQ(0x1041, driver->config<uint16_t>(0x02));
	EXPECT_GE(driver->config<uint8_t>(0x08), 1);
	EXPECT_EQ(0x0200, driver->config<uint16_t>(0x0a));
	EXPECT_GE(driver->config<uint16_t>(0x2e), 0x40);
	EXPECT_TRUE(driver->config<uint16_t>(0x06) & 0x10) << "no capability list";
	EXPECT_TRUE(driver->config<uint16_t>(0x04) & 0x04) << "no bus mastering";
}

TEST_F(EmuTest, EveryStructureLiesWithinItsBar)
{
	make();
	for (const Driver::Window *window :
		{&driver->common, &driver->notify, &driver->isr, &driver->device}) {
		EXPECT_GT(window->length, 0u);
		EXPECT_LE(uint64_t{window->offset} + window->length,
			driver->dev->region[window->bar].size);
		EXPECT_EQ(0u, driver->dev->region[window->bar].flags & VFIO_REGION_INFO_FLAG_MMAP);
	}
	EXPECT_EQ(4u, driver->notify_multiplier);
	EXPECT_NE(0, driver->pci_cfg_cap);
}

TEST_F(EmuTest, MsixTableHasAVectorForEachQueueAndTheConfiguration)
{
	config.pairs = 4;
	make();
	ASSERT_NE(0, driver->msix_cap);
	EXPECT_EQ(2 * 4 + 1 + 1 - 1, driver->config<uint16_t>(driver->msix_cap + 2u) & 0x7ff);
	EXPECT_EQ(10u, driver->dev->irqs[VFIO_PCI_MSIX_IRQ_INDEX]);
}

TEST_F(EmuTest, BarsTellTheirSize)
{
	make();
	driver->set_config<uint32_t>(0x10 + 4 * driver->common.bar, 0xffffffff);
	uint32_t low = driver->config<uint32_t>(0x10 + 4 * driver->common.bar);

	EXPECT_EQ(driver->dev->region[driver->common.bar].size, ~(low & ~0xfu) + uint64_t{1});
	EXPECT_EQ(4u, low & 6u) << "not a 64-bit BAR";
}

TEST_F(EmuTest, WindowInConfigurationSpaceReachesTheRegisters)
{
	make();
	driver->hello();
	uint8_t cap = driver->pci_cfg_cap;

	driver->set_config<uint8_t>(cap + 4u, static_cast<uint8_t>(driver->common.bar));
	driver->set_config<uint32_t>(
		cap + 8u, driver->common.offset + VIRTIO_PCI_COMMON_DEVICE_STATUS);
	driver->set_config<uint32_t>(cap + 12u, 1);
	EXPECT_EQ(3, driver->config<uint8_t>(cap + 16u));
	driver->set_config<uint8_t>(cap + 16u, 0);
	EXPECT_EQ(0, driver->status());
}

TEST_F(EmuTest, ReadingAllOfConfigurationSpaceTouchesNoRegister)
{
	std::vector<uint8_t> all(4096);

	make();
	EXPECT_EQ(0, driver->dev->ops->read(
			     driver->dev, VFIO_PCI_CONFIG_REGION_INDEX, 0, all.data(), all.size()));
	for (unsigned i = 0; i < 256; i++)
		EXPECT_EQ(all[i], driver->config<uint8_t>(i));
}

TEST_F(EmuTest, AccessBeyondARegionFails)
{
	uint32_t value;

	make();
	EXPECT_EQ(-EIO, driver->dev->ops->read(driver->dev, 4, 0x4000, &value, 4));
	EXPECT_EQ(-EIO, driver->dev->ops->read(driver->dev, 0, 0, &value, 4));
	EXPECT_EQ(-EIO, driver->dev->ops->write(driver->dev, 99, 0, &value, 4));
}

/* Common configuration. */

TEST_F(EmuTest, OffersFourFeatureWords)
{
	plx_emu_config_offer(&config, VIRTIO_NET_F_RSS_CONTEXT, true);
	make();
	driver->hello();
	EXPECT_EQ(config.features[0], driver->offered(0));
	EXPECT_EQ(bit(VIRTIO_NET_F_RSS_CONTEXT), driver->offered(1));
	EXPECT_EQ(0u, driver->offered(2));
}

TEST_F(EmuTest, GoesThroughTheStatusStepByStep)
{
	make();
	driver->reset();
	driver->set_status(1);
	EXPECT_EQ(1, driver->status());
	driver->set_status(3);
	EXPECT_EQ(3, driver->status());
	driver->accept(kBase);
	driver->set_status(0xb);
	EXPECT_EQ(0xb, driver->status());
	driver->set_status(0xf);
	EXPECT_EQ(0xf, driver->status());
	driver->reset();
}

TEST_F(EmuTest, AcceptedFeaturesReadBackAndResetForgetsThem)
{
	make();
	ASSERT_TRUE(driver->negotiate(kBase | bit(VIRTIO_F_IN_ORDER)));
	driver->set<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 1);
	EXPECT_EQ(1u << 0 | 1u << 1 | 1u << 3,
		driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE));
	driver->reset();
	driver->set<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 1);
	EXPECT_EQ(0u, driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE));
}

TEST_F(EmuTest, QueueRegistersReadBackAndResetForgetsThem)
{
	config.pairs = 2;
	make();
	ASSERT_TRUE(driver->negotiate(kBase));
	EXPECT_EQ(5, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_NUM_QUEUES));
	driver->select(3);
	EXPECT_EQ(256, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	EXPECT_EQ(3, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	auto ring = driver->setup(3, 128);

	EXPECT_EQ(1, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	EXPECT_EQ(128, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	EXPECT_EQ(static_cast<uint32_t>(ring->used_iova()),
		driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_DEVICE));
	driver->select(5);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	driver->reset();
	driver->select(3);
	EXPECT_EQ(256, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	EXPECT_EQ(0u, driver->get<uint32_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_DEVICE));
}

TEST_F(EmuTest, VectorReadsBackAsWritten)
{
	make();
	ASSERT_TRUE(driver->negotiate(kBase));
	EXPECT_EQ(0xffff,
		driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 3);
	EXPECT_EQ(3, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
	driver->select(1);
	EXPECT_EQ(
		0xffff, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 0);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR));
}

TEST_F(EmuTest, VectorBeyondTheTableIsRefused)
{
	faulty = true;
	make();
	ASSERT_TRUE(driver->negotiate(kBase));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 4);
	EXPECT_EQ(0xffff,
		driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
}

TEST_F(EmuTest, NotificationNamesDifferFromIndexesWithConfigData)
{
	plx_emu_config_offer(&config, VIRTIO_F_NOTIF_CONFIG_DATA, true);
	make();
	run(bit(VIRTIO_F_NOTIF_CONFIG_DATA));
	driver->select(1);
	uint16_t name = driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_NOTIF_DATA);

	EXPECT_NE(1, name);
	net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
	EXPECT_TRUE(net->tx[0]->publish());
	driver->set<uint16_t>(driver->notify, 4, name);
	settle();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuTest, NotificationDataCarriesTheAvailableIndex)
{
	plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, true);
	make();
	run(bit(VIRTIO_F_NOTIFICATION_DATA));
	net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
	EXPECT_TRUE(net->tx[0]->publish());
	driver->set<uint32_t>(driver->notify, 4, 1 << 16 | 1);
	settle();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuTest, FunctionResetForgetsEverything)
{
	make();
	run();
	EXPECT_EQ(0, driver->dev->ops->reset(driver->dev));
	EXPECT_EQ(0, driver->status());
	driver->select(0);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
}

TEST_F(EmuTest, ConfigurationTellsWhatItWasGiven)
{
	config.mtu = 9000;
	config.pairs = 3;
	config.mac[5] = 0x42;
	make();
	driver->hello();
	EXPECT_EQ(0x42, driver->get<uint8_t>(driver->device, VIRTIO_NET_CFG_MAC + 5));
	EXPECT_EQ(1, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	EXPECT_EQ(3, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS));
	EXPECT_EQ(9000, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_MTU));
	EXPECT_EQ(10000u, driver->get<uint32_t>(driver->device, VIRTIO_NET_CFG_SPEED));
	EXPECT_EQ(1, driver->get<uint8_t>(driver->device, VIRTIO_NET_CFG_DUPLEX));
}

TEST_F(EmuTest, LinkChangeBumpsTheGenerationAndInterrupts)
{
	int fds[2] = {eventfd(0, EFD_NONBLOCK), -1};
	eventfd_t value;

	make();
	EXPECT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 2, fds));
	ASSERT_TRUE(driver->negotiate(kBase | bit(VIRTIO_NET_F_STATUS)));
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 0);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR));
	driver->live();
	uint8_t before = driver->get<uint8_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION);

	EXPECT_EQ(
		before, driver->get<uint8_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION));
	plx_emu_set_link(device, false);
	EXPECT_EQ(0, eventfd_read(fds[0], &value)) << "no interrupt";
	EXPECT_NE(
		before, driver->get<uint8_t>(driver->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	close(fds[0]);
}

TEST_F(EmuTest, LineInterruptSetsTheIsrAndReadingClearsIt)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	eventfd_t value;

	make();
	EXPECT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &fd));
	run(bit(VIRTIO_NET_F_STATUS));
	plx_emu_need_reset(device);
	EXPECT_EQ(0, eventfd_read(fd, &value));
	EXPECT_EQ(2, driver->get<uint8_t>(driver->isr, 0));
	EXPECT_EQ(0, driver->get<uint8_t>(driver->isr, 0));
	EXPECT_TRUE(driver->status() & VIRTIO_STATUS_NEEDS_RESET);
	close(fd);
}

/* The split ring and the card, in every mixture of ring features and some seeds. */

struct Mixture {
	uint64_t features;
	uint64_t seed;
};

class EmuRingTest : public EmuTest, public testing::WithParamInterface<Mixture>
{
      protected:
	void SetUp() override
	{
		EmuTest::SetUp();
		config.seed = GetParam().seed;
	}
	bool may_indirect() const
	{
		return GetParam().features & bit(VIRTIO_F_INDIRECT_DESC);
	}
};

TEST_P(EmuRingTest, WhatIsSentComesBack)
{
	unsigned returned = 0;

	run(GetParam().features);
	net->fill(64);
	for (unsigned i = 0; i < 1000; i++) {
		Frame frame = frame_of(60 + i % 1400, static_cast<uint8_t>(i));

		net->send(frame, 0, i % 3, may_indirect() && i % 2);
		settle();
		while (net->tx[0]->used())
			returned++;
		std::optional<Frame> back = net->receive();

		ASSERT_TRUE(back) << "frame " << i;
		ASSERT_EQ(frame, *back);
	}
	EXPECT_EQ(1000u, returned);
	EXPECT_EQ(1000u, stats().tx_frames);
	EXPECT_EQ(1000u, stats().rx_frames);
}

TEST_P(EmuRingTest, BatchesComeBackInOrder)
{
	unsigned returned = 0;

	run(GetParam().features);
	net->fill(64);
	for (unsigned round = 0; round < 50; round++) {
		unsigned count = 1 + round % 20;

		for (unsigned i = 0; i < count; i++)
			net->send(frame_of(64, static_cast<uint8_t>(i)), 0, i % 2);
		settle();
		for (unsigned i = 0; i < count; i++) {
			std::optional<Frame> back = net->receive();

			ASSERT_TRUE(back) << "round " << round << " frame " << i;
			EXPECT_EQ(frame_of(64, static_cast<uint8_t>(i)), *back);
		}
		while (net->tx[0]->used())
			returned++;
	}
	EXPECT_EQ(stats().tx_frames, returned);
}

TEST_P(EmuRingTest, LargeFrameSpreadsOverMergedBuffers)
{
	run(GetParam().features | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 64, 256);
	net->fill(64);
	for (unsigned i = 0; i < 100; i++) {
		Frame frame = frame_of(60 + 29 * i % 9000, static_cast<uint8_t>(i));

		ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
		settle();
		std::optional<Frame> back = net->receive();

		ASSERT_TRUE(back) << "frame " << i;
		EXPECT_EQ(frame, *back);
		EXPECT_EQ((frame.size() + Net::kHeader + 255) / 256, net->num_buffers);
	}
}

TEST_P(EmuRingTest, FrameWaitsUntilEnoughBuffersAreThere)
{
	Frame frame = frame_of(700);

	run(GetParam().features | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 64, 256);
	net->repost = false;
	net->fill(2);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	settle();
	EXPECT_FALSE(net->receive());
	net->post(0, 2);
	driver->submit(*net->rx[0]);
	settle();
	EXPECT_EQ(frame, net->receive());
}

TEST_P(EmuRingTest, InterruptsOnlyWhenAsked)
{
	int fds[3] = {-1, eventfd(0, EFD_NONBLOCK), -1};
	bool event_idx = GetParam().features & bit(VIRTIO_F_EVENT_IDX);
	eventfd_t value;

	make();
	EXPECT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 3, fds));
	ASSERT_TRUE(driver->negotiate(kBase | GetParam().features));
	driver->select(1);
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 1);
	EXPECT_EQ(1, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR));
	auto ring = driver->setup(1, 64);
	Dma &frame = dma(4096);

	driver->live();
	for (unsigned i = 0; i < 10; i++) {
		bool ask = i == 0 || i == 6;

		if (event_idx && ask)
			ring->ask_for_interrupt(static_cast<uint16_t>(i));
		else if (!event_idx)
			plx_shared16_write(
				&ring->avail()->flags, ask ? 0 : VIRTQ_AVAIL_F_NO_INTERRUPT);
		ring->add({{frame.iova(), 72, false}});
		driver->submit(*ring);
		settle();
		EXPECT_EQ(ask ? 0 : -1, eventfd_read(fds[1], &value)) << i;
		EXPECT_TRUE(ring->used());
	}
	EXPECT_EQ(2u, stats().interrupts);
	close(fds[1]);
}

TEST_P(EmuRingTest, DeviceAsksForNoNotificationsWhileItWorks)
{
	run(GetParam().features);
	net->fill(64);
	for (unsigned i = 0; i < 32; i++)
		net->send(frame_of(64));
	EXPECT_EQ(GetParam().features & bit(VIRTIO_F_EVENT_IDX) ? 2u : 33u, stats().kicks)
		<< "without the event index each publish notifies until the device looks";
	plx_emu_step(device);
	uint64_t before = stats().kicks;

	net->send(frame_of(64));
	EXPECT_EQ(before, stats().kicks);
	settle();
	EXPECT_EQ(33u, stats().rx_frames);
}

TEST_P(EmuRingTest, QueueResetGivesTheQueueBack)
{
	run(GetParam().features | bit(VIRTIO_F_RING_RESET));
	net->fill(64);
	for (unsigned i = 0; i < 3; i++)
		net->send(frame_of(64));
	settle();
	driver->select(1);
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_RESET, 1);
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_RESET));
	EXPECT_EQ(0, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE));
	net->tx[0] = driver->setup(1, 32);
	net->send(frame_of(99));
	settle();
	EXPECT_EQ(4u, stats().tx_frames);
}

TEST_P(EmuRingTest, HeldQueueUsesNothing)
{
	run(GetParam().features);
	plx_emu_hold(device, 1, true);
	net->send(frame_of(64));
	settle();
	EXPECT_FALSE(net->tx[0]->used());
	plx_emu_hold(device, 1, false);
	settle();
	EXPECT_TRUE(net->tx[0]->used());
}

std::vector<Mixture> mixtures()
{
	std::vector<Mixture> all;

	for (uint64_t seed : {0, 1, 7})
		for (unsigned i = 0; i < 8; i++)
			all.push_back({(i & 1 ? bit(VIRTIO_F_EVENT_IDX) : 0) |
					       (i & 2 ? bit(VIRTIO_F_INDIRECT_DESC) : 0) |
					       (i & 4 ? bit(VIRTIO_F_IN_ORDER) : 0),
				seed});
	return all;
}

std::string mixture_name(const testing::TestParamInfo<Mixture> &info)
{
	uint64_t features = info.param.features;

	return std::string(features & bit(VIRTIO_F_EVENT_IDX) ? "EventIdx" : "Flags") +
	       (features & bit(VIRTIO_F_INDIRECT_DESC) ? "Indirect" : "Direct") +
	       (features & bit(VIRTIO_F_IN_ORDER) ? "InOrder" : "AnyOrder") + "Seed" +
	       std::to_string(info.param.seed);
}

INSTANTIATE_TEST_SUITE_P(Split, EmuRingTest, testing::ValuesIn(mixtures()), mixture_name);

TEST_F(EmuTest, InOrderBatchIsOneUsedEntry)
{
	run(bit(VIRTIO_F_IN_ORDER));
	for (unsigned i = 0; i < 5; i++) {
		net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
		net->tx[0]->publish();
	}
	driver->kick(1);
	plx_emu_step(device);
	EXPECT_EQ(5, plx_shared16_read(&net->tx[0]->used_ring()->idx));
	EXPECT_EQ(4u, plx_shared32_read(&net->tx[0]->used_ring()->ring[0].id));
	EXPECT_EQ(0u, plx_shared32_read(&net->tx[0]->used_ring()->ring[4].id))
		<< "skipped slot written";
}

TEST_F(EmuTest, DriverThatNeverNotifiesWaitsForEver)
{
	run();
	net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
	net->tx[0]->publish();
	settle();
	EXPECT_EQ(0u, stats().tx_frames);
}

TEST_F(EmuTest, ResetStopsAllAccess)
{
	run();
	net->fill(64);
	driver->reset();
	net->rx_memory.clear(); /* would be a fault if the device still wrote there */
	Frame frame = frame_of(64);

	EXPECT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	settle();
	EXPECT_EQ(0u, stats().rx_frames);
}

/* Frames that cannot be delivered. */

TEST_F(EmuTest, FramesBeyondTheBacklogAreDroppedAndCounted)
{
	Frame frame = frame_of(1000);

	config.backlog = 4096;
	run();
	for (unsigned i = 0; i < 10; i++)
		(void)plx_emu_inject(device, 0, frame.data(), frame.size());
	EXPECT_EQ(6u, stats().rx_no_buffer);
	net->fill(64);
	settle();
	EXPECT_EQ(4u, stats().rx_frames);
}

TEST_F(EmuTest, FrameLargerThanItsBufferIsDroppedAndCounted)
{
	Frame frame = frame_of(3000);

	run();
	net->fill(64);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	settle();
	EXPECT_EQ(1u, stats().rx_too_long);
	EXPECT_FALSE(net->receive());
}

TEST_F(EmuTest, FrameLargerThanAllMergedBuffersIsDroppedAndCounted)
{
	Frame frame = frame_of(3000);

	run(bit(VIRTIO_NET_F_MRG_RXBUF), 1, 4, 512);
	net->fill(4);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	settle();
	EXPECT_EQ(1u, stats().rx_too_long);
}

TEST_F(EmuTest, BuffersReadOnlyForTheDeviceCanBeSent)
{
	run();
	Dma &frame = dma(4096, PLX_MEM_READ_ONLY);

	net->tx[0]->add({{frame.iova(), 72, false}});
	driver->submit(*net->tx[0]);
	settle();
	EXPECT_EQ(1u, stats().tx_frames);
}

TEST_F(EmuTest, BuffersReadOnlyForTheDeviceAreNotWritten)
{
	faulty = true;
	run();
	Dma &buffer = dma(4096, PLX_MEM_READ_ONLY);
	Frame frame = frame_of(64);

	net->rx[0]->add({{buffer.iova(), 2048, true}});
	driver->submit(*net->rx[0]);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	settle();
	EXPECT_EQ(1u, plx_emu_breaches(device, "RFEAT-4"));
	EXPECT_EQ(0, buffer.bytes()[12]);
	EXPECT_EQ(1u, stats().rx_bad_buffer);
}

/* The control queue. */

class EmuControlTest : public EmuTest
{
      protected:
	uint8_t ask(uint8_t class_, uint8_t command, const Frame &data)
	{
		net->ask(class_, command, data);
		settle();
		EXPECT_TRUE(net->control->used());
		return net->ack();
	}
	void run_all(unsigned pairs = 1)
	{
		run(bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_CTRL_RX) |
				bit(VIRTIO_NET_F_CTRL_RX_EXTRA) | bit(VIRTIO_NET_F_CTRL_VLAN) |
				bit(VIRTIO_NET_F_CTRL_MAC_ADDR) | bit(VIRTIO_NET_F_GUEST_ANNOUNCE) |
				bit(VIRTIO_NET_F_STATUS) | (pairs > 1 ? bit(VIRTIO_NET_F_MQ) : 0),
			pairs);
	}
};

TEST_F(EmuControlTest, KeepsReceiveModes)
{
	run_all();
	EXPECT_EQ(0, ask(0, 0, {1}));
	EXPECT_EQ(0, ask(0, 1, {1}));
	EXPECT_EQ(0, ask(0, 5, {1}));
	EXPECT_TRUE(state().promiscuous);
	EXPECT_TRUE(state().all_multicast);
	EXPECT_TRUE(state().no_broadcast);
	EXPECT_EQ(0, ask(0, 0, {0}));
	EXPECT_FALSE(state().promiscuous);
}

TEST_F(EmuControlTest, KeepsAddresses)
{
	run_all();
	EXPECT_EQ(0, ask(1, 1, {2, 1, 2, 3, 4, 5}));
	EXPECT_EQ(5, state().mac[5]);
	Frame tables = {1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 2, 0, 0, 0};

	tables.resize(tables.size() + 12);
	EXPECT_EQ(0, ask(1, 0, tables));
	EXPECT_EQ(1u, state().unicast);
	EXPECT_EQ(2u, state().multicast);
}

TEST_F(EmuControlTest, KeepsVlans)
{
	run_all();
	EXPECT_EQ(0, ask(2, 0, {100, 0}));
	EXPECT_EQ(0, ask(2, 0, {0xff, 0x0f}));
	EXPECT_EQ(0, ask(2, 0, {100, 0}));
	EXPECT_EQ(2u, state().vlans);
	EXPECT_EQ(0, ask(2, 1, {100, 0}));
	EXPECT_EQ(1u, state().vlans);
	EXPECT_EQ(1, ask(2, 0, {0, 0x10})) << "VLAN 4096 accepted";
}

TEST_F(EmuControlTest, AnnouncementEndsWithItsAcknowledgement)
{
	run_all();
	plx_emu_announce(device);
	EXPECT_EQ(3, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	EXPECT_EQ(0, ask(3, 0, {}));
	EXPECT_EQ(1, driver->get<uint16_t>(driver->device, VIRTIO_NET_CFG_STATUS));
	EXPECT_EQ(1u, state().announce_acks);
}

TEST_F(EmuControlTest, UnknownCommandsAreRefused)
{
	run_all();
	EXPECT_EQ(1, ask(77, 0, {}));
	EXPECT_EQ(1, ask(0, 99, {1}));
	EXPECT_EQ(1, ask(0, 0, {1, 2}));
	EXPECT_EQ(1, ask(0, 0, {}));
	EXPECT_EQ(4u, stats().commands_failed);
}

TEST_F(EmuControlTest, SecondPairWorksAfterItsCommand)
{
	config.pairs = 2;
	run_all(2);
	net->fill(16, 0);
	net->fill(16, 1);
	EXPECT_EQ(0, ask(4, 0, {2, 0}));
	EXPECT_EQ(2, state().pairs);
	net->send(frame_of(64, 1), 0);
	net->send(frame_of(64, 2), 1);
	settle();
	EXPECT_EQ(frame_of(64, 1), net->receive(0));
	EXPECT_EQ(frame_of(64, 2), net->receive(1));
}

TEST_F(EmuControlTest, WithoutMqTheControlQueueIsTheThird)
{
	config.pairs = 4;
	run_all();
	EXPECT_EQ(2u, net->control->index);
	EXPECT_EQ(0, ask(0, 0, {1}));
}

/* Peers. */

TEST_F(EmuTest, NoneKeepsWhatWasSent)
{
	uint8_t frame[2048];

	config.peer = "none";
	run();
	net->send(frame_of(100, 3));
	net->send(frame_of(200, 4));
	settle();
	EXPECT_EQ(100u, plx_emu_take(device, 0, frame, sizeof(frame)));
	EXPECT_EQ(0, memcmp(frame, frame_of(100, 3).data(), 100));
	EXPECT_EQ(200u, plx_emu_take(device, 0, frame, sizeof(frame)));
	EXPECT_EQ(0u, plx_emu_take(device, 0, frame, sizeof(frame)));
}

class EmuTrafficTest : public EmuTest
{
      protected:
	void SetUp() override
	{
		EmuTest::SetUp();
		config.peer = "gen";
		config.frame_size = 128;
	}
	void begin()
	{
		run();
		net->fill(64);
		settle();
	}
	void send_back(const Frame &frame)
	{
		net->send(frame);
		settle();
		while (net->tx[0]->used())
			;
	}
};

TEST_F(EmuTrafficTest, FillsEveryBuffer)
{
	begin();
	EXPECT_EQ(64u, stats().generated);
	net->repost = false;
	for (unsigned i = 0; i < 64; i++) {
		std::optional<Frame> frame = net->receive();

		ASSERT_TRUE(frame);
		EXPECT_EQ(128u, frame->size());
		EXPECT_EQ(i, (*frame)[16]) << "not numbered from 0";
	}
	EXPECT_FALSE(net->receive());
}

TEST_F(EmuTrafficTest, ChecksWhatComesBack)
{
	begin();
	for (unsigned i = 0; i < 500; i++) {
		std::optional<Frame> frame = net->receive();

		ASSERT_TRUE(frame);
		std::swap_ranges(frame->begin(), frame->begin() + 6, frame->begin() + 6);
		send_back(*frame);
	}
	EXPECT_EQ(500u, stats().checked);
	EXPECT_EQ(0u, stats().lost + stats().altered + stats().doubled);
}

TEST_F(EmuTrafficTest, CountsLostAlteredAndDoubledFrames)
{
	std::vector<Frame> frames;

	begin();
	for (unsigned i = 0; i < 8; i++)
		frames.push_back(*net->receive());
	send_back(frames[0]);
	send_back(frames[0]);
	EXPECT_EQ(1u, stats().doubled);
	send_back(frames[3]);
	EXPECT_EQ(2u, stats().lost);
	send_back(frames[1]);
	EXPECT_EQ(1u, stats().lost) << "a late frame is not lost";
	send_back(frames[1]);
	EXPECT_EQ(2u, stats().doubled);
	frames[4][100] ^= 1;
	send_back(frames[4]);
	frames[5].resize(100);
	send_back(frames[5]);
	send_back(frame_of(128));
	EXPECT_EQ(3u, stats().altered);
	EXPECT_EQ(3u, stats().checked);
}

TEST_F(EmuTrafficTest, RateIsNotExceeded)
{
	unsigned count = 0;

	config.rate = 10000;
	auto start = std::chrono::steady_clock::now();

	begin();
	while (count < 500) {
		settle();
		while (net->receive())
			count++;
	}
	auto time = std::chrono::steady_clock::now() - start;

	/* A burst of a millisecond makes up for what was missed. */
	EXPECT_GE(time, std::chrono::milliseconds(45));
}

TEST_F(EmuTest, WireJoinsTwoDevices)
{
	plx_emu *third = nullptr;

	config.peer = "wire:test";
	make();
	ASSERT_EQ(0, plx_emu_create(mem, nullptr, &config, &other)) << plx_error();
	EXPECT_EQ(-EEXIST, plx_emu_create(mem, nullptr, &config, &third));
	run();
	Driver far_driver(plx_emu_device(other), mem);
	{
		Net far_net(far_driver, kBase);

		far_net.fill(32);
		net->fill(32);
		net->send(frame_of(500, 5));
		settle();
		while (plx_emu_step(other))
			;
		EXPECT_EQ(frame_of(500, 5), far_net.receive());
		far_net.send(frame_of(70, 6));
		while (plx_emu_step(other))
			;
		settle();
		EXPECT_EQ(frame_of(70, 6), net->receive());
		EXPECT_EQ(0u, plx_emu_breaches(other, nullptr));
		far_driver.reset();
	}
	plx_emu_destroy(other);
	other = nullptr;
	net->send(frame_of(64));
	settle();
	EXPECT_EQ(1u, stats().tx_refused);
}

/* Steps are repeatable. */

class EmuReplayTest : public EmuTest
{
      protected:
	static void note(void *arg, const plx_emu_event *event)
	{
		auto *trace = static_cast<std::ostringstream *>(arg);

		*trace << event->kind << ' ' << event->place << ' ' << event->index << ' '
		       << event->value << ' ' << event->len << '\n';
	}
	std::string play(uint64_t seed)
	{
		std::ostringstream trace;

		config.seed = seed;
		config.hooks.arg = &trace;
		config.hooks.event = note;
		make();
		run(bit(VIRTIO_F_EVENT_IDX) | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 64, 256);
		net->fill(64);
		for (unsigned i = 0; i < 40; i++) {
			net->send(frame_of(60 + 10 * i), 0, i % 4);
			if (i % 8 == 7)
				settle();
			while (net->tx[0]->used())
				;
		}
		settle();
		while (net->receive())
			settle();
		driver->reset();
		net.reset();
		driver.reset();
		EXPECT_EQ("", breaches());
		plx_emu_destroy(device);
		device = nullptr;
		return trace.str();
	}
};

TEST_F(EmuReplayTest, SameSeedGivesTheSameTrace)
{
	std::string first = play(42);

	EXPECT_GT(first.size(), 1000u);
	EXPECT_EQ(first, play(42));
	EXPECT_NE(first, play(43));
	EXPECT_EQ(play(0), play(0));
}

/* On its own thread. */

class EmuThreadTest : public EmuTest
{
      protected:
	void SetUp() override
	{
		EmuTest::SetUp();
		config.thread = true;
	}
	template <typename Condition> bool within_seconds(unsigned seconds, Condition done)
	{
		auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);

		while (!done()) {
			if (std::chrono::steady_clock::now() > end)
				return false;
			std::this_thread::yield();
		}
		return true;
	}
};

TEST_F(EmuThreadTest, PassesFramesBothWays)
{
	unsigned sent = 0, back = 0, returned = 0;

	run(bit(VIRTIO_F_EVENT_IDX));
	net->fill(64);
	EXPECT_TRUE(within_seconds(60,
		[&] {
			if (sent < 5000 && sent - returned < 32 && sent - back < 48)
				net->send(frame_of(64, static_cast<uint8_t>(sent++)));
			while (net->tx[0]->used())
				returned++;
			while (auto frame = net->receive()) {
				EXPECT_EQ(frame_of(64, static_cast<uint8_t>(back)), *frame);
				back++;
			}
			return back == 5000;
		}))
		<< sent << " sent, " << returned << " returned, " << back << " back";
}

TEST_F(EmuThreadTest, WakesUpAfterSleep)
{
	run(bit(VIRTIO_F_EVENT_IDX));
	net->fill(64);
	for (unsigned i = 0; i < 20; i++) {
		std::this_thread::sleep_for(std::chrono::milliseconds(i));
		net->send(frame_of(64, static_cast<uint8_t>(i)));
		std::optional<Frame> frame;
		EXPECT_TRUE(
			within_seconds(10, [&] { return (frame = net->receive()).has_value(); }));
		EXPECT_TRUE(within_seconds(10, [&] { return net->tx[0]->used().has_value(); }));
	}
}

TEST_F(EmuThreadTest, StopsWithFramesOnTheirWay)
{
	config.peer = "gen";
	for (unsigned i = 0; i < 20; i++) {
		run();
		net->fill(64);
		std::this_thread::sleep_for(std::chrono::milliseconds(1));
		driver->reset();
		net.reset(); /* a write from now on would hit memory that is no longer mapped */
	}
}

/* Addresses. */

class EmuAddressTest : public EmuTest
{
      protected:
	int open(const char *text, plx_vfio_device **opened)
	{
		plx_address address;
		int err;

		EXPECT_EQ(0, plx_address_parse(&address, text));
		err = plx_emu_open(mem, nullptr, &address, opened);
		if (!err)
			left = plx_address_finish(&address);
		plx_address_free(&address);
		return err;
	}
	int left = 0;
};

TEST_F(EmuAddressTest, OptionsMakeTheDevice)
{
	plx_vfio_device *opened = nullptr;

	ASSERT_EQ(0,
		open("emu:net,mac=02:00:00:00:00:42,dev.mtu=9000,dev.queues=4,dev.queue_size=512,"
		     "dev.mrg_rxbuf=off,peer=sink",
			&opened))
		<< plx_error();
	EXPECT_EQ(0, left) << plx_error();
	{
		Driver card(opened, mem);

		card.hello();
		EXPECT_FALSE(card.offered() & bit(VIRTIO_NET_F_MRG_RXBUF));
		EXPECT_TRUE(card.offered() & bit(VIRTIO_F_VERSION_1));
		EXPECT_EQ(0x42, card.get<uint8_t>(card.device, VIRTIO_NET_CFG_MAC + 5));
		EXPECT_EQ(9000, card.get<uint16_t>(card.device, VIRTIO_NET_CFG_MTU));
		EXPECT_EQ(9, card.get<uint16_t>(card.common, VIRTIO_PCI_COMMON_NUM_QUEUES));
		EXPECT_EQ(512, card.get<uint16_t>(card.common, VIRTIO_PCI_COMMON_QUEUE_SIZE));
	}
	plx_vfio_close(opened);
}

TEST_F(EmuAddressTest, TheDriversOptionsAreLeft)
{
	plx_vfio_device *opened = nullptr;

	ASSERT_EQ(0, open("emu:net,mrg_rxbuf=off", &opened)) << plx_error();
	EXPECT_EQ(-EINVAL, left) << "an option of the driver was taken";
	plx_vfio_close(opened);
}

TEST_F(EmuAddressTest, BadOptionsAreRefusedWithAReason)
{
	const char *const bad[] = {"emu:net,mac=02:00:00:00:00", "emu:net,mac=02:00:00:00:00:0g",
		"emu:net,mac=01:00:00:00:00:00", "emu:net,peer=nobody",
		"emu:net,peer=wire:", "emu:net,size=20", "emu:net,dev.queues=0",
		"emu:net,dev.queue_size=100", "emu:net,dev.in_order=maybe",
		"emu:net,mac=02:00:00:00:00:000"};
	plx_vfio_device *opened = nullptr;

	for (const char *text : bad) {
		EXPECT_EQ(-EINVAL, open(text, &opened)) << text;
		EXPECT_STRNE("", plx_error());
	}
	EXPECT_EQ(-ENODEV, open("emu:blk", &opened));
}

} // namespace
} // namespace emu
