/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <algorithm>
#include <sys/eventfd.h>
#include <unistd.h>

namespace emu
{
namespace
{

/* Both rings and the card, in every mixture of ring features and with some seeds. */

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
		plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, true);
	}
	bool may_indirect() const
	{
		return GetParam().features & bit(VIRTIO_F_INDIRECT_DESC);
	}

	/* A seeded card uses what is sent in any order as well, unless that was ruled out. */
	bool may_disorder() const
	{
		return GetParam().seed && !(GetParam().features & bit(VIRTIO_F_IN_ORDER));
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

TEST_P(EmuRingTest, BatchesComeBackWholeAndInOrderUnlessTheSeedIsFree)
{
	unsigned returned = 0;

	run(GetParam().features);
	net->fill(64);
	for (unsigned round = 0; round < 50; round++) {
		unsigned count = 1 + round % 20;

		for (unsigned i = 0; i < count; i++)
			net->send(frame_of(64, static_cast<uint8_t>(i)), 0, i % 2);
		settle();
		std::vector<Frame> expected, seen;
		for (unsigned i = 0; i < count; i++) {
			std::optional<Frame> back = net->receive();

			ASSERT_TRUE(back) << "round " << round << " frame " << i;
			expected.push_back(frame_of(64, static_cast<uint8_t>(i)));
			seen.push_back(*back);
		}
		if (may_disorder()) {
			std::sort(expected.begin(), expected.end());
			std::sort(seen.begin(), seen.end());
		}
		EXPECT_TRUE(expected == seen) << "round " << round;
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

		if (!event_idx)
			ring->interrupts(ask);
		else if (i == 0 || i == 3)
			ring->interrupt_after(2 * i);
		ring->add({{frame.iova(), 72, false}});
		driver->submit(*ring);
		settle();
		EXPECT_EQ(ask ? 0 : -1, eventfd_read(fds[1], &value)) << i;
		EXPECT_TRUE(ring->used());
	}
	EXPECT_EQ(2u, stats().interrupts);
	close(fds[1]);
}

class EmuPlainRingTest : public EmuRingTest
{
};

TEST_P(EmuPlainRingTest, DeviceAsksForNoNotificationsWhileItWorks)
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

TEST_P(EmuRingTest, BuffersOfOneDescriptorFillTheRingAndMore)
{
	run(GetParam().features, 1, 8);
	net->repost = false;
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned slot = 0; slot < 8; slot++)
			net->post(0, slot);
		driver->submit(*net->rx[0]);
		for (unsigned i = 0; i < 8; i++) {
			Frame frame = frame_of(64 + round, static_cast<uint8_t>(i));

			ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
		}
		settle();
		for (unsigned i = 0; i < 8; i++)
			EXPECT_EQ(frame_of(64 + round, static_cast<uint8_t>(i)), net->receive());
	}
}

TEST_P(EmuRingTest, ListsOfEveryLengthPassTheEndOfTheRing)
{
	uint8_t copy[2048];

	config.peer = "none";
	run(GetParam().features, 1, 16);
	for (unsigned i = 0; i < 300; i++) {
		Frame frame = frame_of(64 + i, static_cast<uint8_t>(i));

		net->send(frame, 0, 1 + i % 15);
		settle();
		ASSERT_EQ(frame.size(), plx_emu_take(device, 0, copy, sizeof(copy)));
		ASSERT_EQ(0, memcmp(frame.data(), copy, frame.size())) << i;
		ASSERT_TRUE(net->tx[0]->used());
	}
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

std::vector<Mixture> mixtures(uint64_t layout, const std::vector<uint64_t> &seeds)
{
	std::vector<Mixture> all;

	for (uint64_t seed : seeds)
		for (unsigned i = 0; i < 16; i++)
			all.push_back({(i & 1 ? bit(VIRTIO_F_EVENT_IDX) : 0) |
					       (i & 2 ? bit(VIRTIO_F_INDIRECT_DESC) : 0) |
					       (i & 4 ? bit(VIRTIO_F_IN_ORDER) : 0) |
					       (i & 8 ? bit(VIRTIO_F_NOTIFICATION_DATA) : 0) |
					       layout,
				seed});
	return all;
}

std::string mixture_name(const testing::TestParamInfo<Mixture> &info)
{
	uint64_t features = info.param.features;

	return std::string(features & bit(VIRTIO_F_EVENT_IDX) ? "EventIdx" : "Flags") +
	       (features & bit(VIRTIO_F_INDIRECT_DESC) ? "Indirect" : "Direct") +
	       (features & bit(VIRTIO_F_IN_ORDER) ? "InOrder" : "AnyOrder") +
	       (features & bit(VIRTIO_F_NOTIFICATION_DATA) ? "Data" : "") + "Seed" +
	       std::to_string(info.param.seed);
}

constexpr uint64_t kPacked = bit(VIRTIO_F_RING_PACKED);

INSTANTIATE_TEST_SUITE_P(
	Split, EmuRingTest, testing::ValuesIn(mixtures(0, {0, 1, 7})), mixture_name);
INSTANTIATE_TEST_SUITE_P(
	Packed, EmuRingTest, testing::ValuesIn(mixtures(kPacked, {0, 1, 7})), mixture_name);
INSTANTIATE_TEST_SUITE_P(
	Split, EmuPlainRingTest, testing::ValuesIn(mixtures(0, {0})), mixture_name);
INSTANTIATE_TEST_SUITE_P(
	Packed, EmuPlainRingTest, testing::ValuesIn(mixtures(kPacked, {0})), mixture_name);

TEST_F(EmuTest, InOrderBatchIsOneUsedEntry)
{
	run(bit(VIRTIO_F_IN_ORDER));
	for (unsigned i = 0; i < 5; i++) {
		net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
		net->tx[0]->publish();
	}
	driver->kick(1);
	plx_emu_step(device);
	virtq_used *used = dynamic_cast<SplitRing &>(*net->tx[0]).used_ring();

	EXPECT_EQ(5, plx_shared16_read(&used->idx));
	EXPECT_EQ(4u, plx_shared32_read(&used->ring[0].id));
	EXPECT_EQ(0u, plx_shared32_read(&used->ring[4].id)) << "skipped slot written";
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

TEST_P(EmuRingTest, FrameLargerThanAllListsOfAFullRingIsDroppedAndCounted)
{
	Frame frame = frame_of(3000);

	run(GetParam().features | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 4);
	Dma &memory = dma(4096);

	for (unsigned i = 0; i < 2; i++)
		net->rx[0]->add({{memory.iova(), 12, true}, {memory.iova() + 64, 500, true}});
	driver->submit(*net->rx[0]);
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

} // namespace
} // namespace emu
