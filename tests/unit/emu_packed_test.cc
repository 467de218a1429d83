/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace emu
{
namespace
{

/* What only the packed ring has. What it shares with the split ring is in emu_ring_test.cc. */

constexpr uint64_t kPacked = bit(VIRTIO_F_RING_PACKED);
constexpr uint16_t kUsed = VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED;

class EmuPackedTest : public EmuTest
{
      protected:
	static PackedRing &packed(const std::unique_ptr<Ring> &ring)
	{
		return dynamic_cast<PackedRing &>(*ring);
	}
	virtq_packed_desc *tx()
	{
		return packed(net->tx[0]).desc();
	}
	static uint16_t flags(const virtq_packed_desc &desc)
	{
		return plx_shared16_read(&desc.flags);
	}
	static uint16_t id(const virtq_packed_desc &desc)
	{
		return plx_shared16_read(&desc.id);
	}
	/* Exposes transmit buffers of two descriptors each. Returns their IDs. */
	std::vector<uint16_t> expose_pairs(unsigned count)
	{
		std::vector<uint16_t> ids;
		uint64_t iova = net->tx_memory[0]->iova();

		for (unsigned i = 0; i < count; i++) {
			ids.push_back(net->tx[0]->add({{iova, 12, false}, {iova + 12, 60, false}}));
			net->tx[0]->publish();
		}
		driver->kick(*net->tx[0]);
		return ids;
	}
};

TEST_F(EmuPackedTest, UsedDescriptorStandsWhereTheListBegan)
{
	run(kPacked);
	std::vector<uint16_t> ids = expose_pairs(3);

	settle();
	for (unsigned i = 0; i < 3; i++) {
		EXPECT_EQ(kUsed, flags(tx()[2 * i]));
		EXPECT_EQ(ids[i], id(tx()[2 * i]));
		EXPECT_EQ(VIRTQ_PACKED_DESC_F_AVAIL, flags(tx()[2 * i + 1])) << "written";
	}
	EXPECT_EQ(0, flags(tx()[6]));
}

TEST_F(EmuPackedTest, InOrderBatchIsOneUsedDescriptor)
{
	run(kPacked | bit(VIRTIO_F_IN_ORDER));
	std::vector<uint16_t> ids = expose_pairs(5);

	plx_emu_step(device);
	EXPECT_EQ(kUsed, flags(tx()[0]));
	EXPECT_EQ(ids[4], id(tx()[0]));
	for (unsigned i = 1; i < 10; i++)
		EXPECT_EQ(VIRTQ_PACKED_DESC_F_AVAIL, flags(tx()[i]) & kUsed) << i;
	for (unsigned i = 0; i < 5; i++)
		EXPECT_TRUE(net->tx[0]->used());
	EXPECT_FALSE(net->tx[0]->used());
}

TEST_F(EmuPackedTest, FirstBufferOfAFrameIsMarkedUsedLast)
{
	std::vector<unsigned> order;
	Frame frame = frame_of(600);

	config.hooks.arg = &order;
	config.hooks.used_flags = [](void *arg, unsigned, uint16_t slot, uint16_t *) {
		static_cast<std::vector<unsigned> *>(arg)->push_back(slot);
	};
	run(kPacked | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 64, 256);
	net->fill(8);
	ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	settle();
	EXPECT_EQ(std::vector<unsigned>({1, 2, 0}), order);
	EXPECT_EQ(frame, net->receive());
	EXPECT_EQ(3u, net->num_buffers);
}

TEST_F(EmuPackedTest, ReceiveBuffersMayBeLists)
{
	run(kPacked | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 7);
	Dma &memory = dma(4096);

	for (unsigned i = 0; i < 20; i++) {
		Frame frame = frame_of(300, static_cast<uint8_t>(i));

		net->rx[0]->add({{memory.iova(), 12, true}, {memory.iova() + 64, 100, true},
			{memory.iova() + 1024, 512, true}});
		driver->submit(*net->rx[0]);
		ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
		settle();
		std::optional<Used> used = net->rx[0]->used();

		ASSERT_TRUE(used);
		EXPECT_EQ(312u, used->len);
		EXPECT_EQ(0, memcmp(memory.bytes() + 64, frame.data(), 100));
		EXPECT_EQ(0, memcmp(memory.bytes() + 1024, frame.data() + 100, 200));
	}
}

/* Used descriptors overwrite those of buffers that still wait. */
TEST_F(EmuPackedTest, BuffersAreUsedInAnyOrder)
{
	std::vector<unsigned> slots;

	config.seed = 3;
	run(kPacked);
	for (unsigned i = 0; i < 64; i++)
		net->rx[0]->add({{net->rx_memory[0]->iova() + i * 2048, 2048, true}});
	driver->submit(*net->rx[0]);
	for (unsigned i = 0; i < 64; i++) {
		Frame frame = frame_of(64, static_cast<uint8_t>(i));

		ASSERT_EQ(0, plx_emu_inject(device, 0, frame.data(), frame.size()));
	}
	settle();
	for (unsigned i = 0; i < 64; i++) {
		std::optional<Used> used = net->rx[0]->used();

		ASSERT_TRUE(used);
		slots.push_back(0xffff - used->id);
		EXPECT_EQ(0, memcmp(net->rx_memory[0]->bytes() + slots.back() * 2048 + 12,
				     frame_of(64, static_cast<uint8_t>(i)).data(), 64));
	}
	EXPECT_FALSE(std::is_sorted(slots.begin(), slots.end())) << "in order all the same";
	std::sort(slots.begin(), slots.end());
	for (unsigned i = 0; i < 64; i++)
		EXPECT_EQ(i, slots[i]) << "not each once";
}

TEST_F(EmuPackedTest, SeededDeviceLeavesJunkWhereItMay)
{
	unsigned lengths = 0, chained = 0;

	config.seed = 5;
	run(kPacked, 1, 8);
	for (unsigned i = 0; i < 100; i++) {
		net->send(frame_of(64));
		settle();
		virtq_packed_desc &desc = tx()[i % 8];

		EXPECT_FALSE(flags(desc) & VIRTQ_DESC_F_WRITE) << "nothing was written";
		lengths += plx_shared32_read(&desc.len) != 76;
		chained += flags(desc) & VIRTQ_DESC_F_NEXT;
		ASSERT_TRUE(net->tx[0]->used());
	}
	EXPECT_GT(lengths, 10u);
	EXPECT_GT(chained, 10u);
}

TEST_F(EmuPackedTest, EventSuppressionFollowsTheRing)
{
	run(kPacked | bit(VIRTIO_F_EVENT_IDX), 1, 5);
	virtq_packed_event *event = packed(net->tx[0]).device_event();

	for (unsigned i = 0; i < 23; i++) {
		EXPECT_EQ(VIRTQ_PACKED_EVENT_DESC, plx_shared16_read(&event->flags));
		EXPECT_EQ(packed(net->tx[0]).off_wrap(i), plx_shared16_read(&event->off_wrap));
		net->send(frame_of(64));
		plx_emu_step(device);
		EXPECT_EQ(VIRTQ_PACKED_EVENT_DISABLE, plx_shared16_read(&event->flags));
		settle();
		ASSERT_TRUE(net->tx[0]->used());
	}
	EXPECT_EQ(23u, stats().kicks);
}

/* The event names a descriptor in the middle of a list, of which the used one skips the rest. */
TEST_F(EmuPackedTest, EventWithinSkippedDescriptorsInterrupts)
{
	int fds[3] = {-1, eventfd(0, EFD_NONBLOCK), -1};
	eventfd_t value;

	make();
	EXPECT_EQ(0, driver->dev->ops->set_irqs(driver->dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, 3, fds));
	ASSERT_TRUE(driver->negotiate(kBase | kPacked | bit(VIRTIO_F_EVENT_IDX)));
	driver->select(1);
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 1);
	EXPECT_EQ(1, driver->get<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR));
	auto ring = driver->setup(1, 5);
	Dma &frame = dma(4096);

	driver->live();
	for (unsigned i = 0; i < 20; i++) {
		bool ask = i % 3 == 0;

		/* The third descriptor of this list, or one that was used before. */
		ring->interrupt_after(ask ? 3 * i + 2 : 3 * i + 9);
		ring->add({{frame.iova(), 12, false}, {frame.iova(), 30, false},
			{frame.iova(), 30, false}});
		driver->submit(*ring);
		settle();
		EXPECT_EQ(ask ? 0 : -1, eventfd_read(fds[1], &value)) << i;
		ASSERT_TRUE(ring->used());
	}
	close(fds[1]);
}

TEST_F(EmuPackedTest, RingFilledBeforeItIsEnabledIsWorkedOn)
{
	make();
	ASSERT_TRUE(driver->negotiate(kBase | kPacked));
	auto ring = driver->make_ring(1, 64);
	Dma &frame = dma(4096);

	for (unsigned i = 0; i < 64; i++)
		ring->add({{frame.iova(), 72, false}});
	(void)ring->publish();
	driver->select(1);
	driver->set<uint16_t>(driver->common, VIRTIO_PCI_COMMON_QUEUE_SIZE, 64);
	driver->set_addresses(*ring);
	driver->enable();
	driver->live();
	driver->kick(*ring);
	settle();
	EXPECT_EQ(64u, stats().tx_frames);
}

/* Every size of ring, at both of its ends. */

class EmuPackedSizeTest : public EmuPackedTest, public testing::WithParamInterface<unsigned>
{
};

TEST_P(EmuPackedSizeTest, PassesItsEndManyTimes)
{
	unsigned size = GetParam(), frames = std::max(100u, 2 * size + size / 2);

	config.queue_size = 1;
	while (config.queue_size < size)
		config.queue_size = static_cast<uint16_t>(2 * config.queue_size);
	plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, true);
	run(kPacked | bit(VIRTIO_F_NOTIFICATION_DATA) | bit(VIRTIO_F_EVENT_IDX) |
			(size % 2 ? bit(VIRTIO_F_IN_ORDER) : 0) | bit(VIRTIO_NET_F_MRG_RXBUF),
		1, size, 128);
	net->fill(size);
	for (unsigned i = 0; i < frames; i++) {
		Frame frame = frame_of(60, static_cast<uint8_t>(i));

		net->send(frame);
		settle();
		ASSERT_TRUE(net->tx[0]->used());
		ASSERT_EQ(frame, net->receive());
	}
	EXPECT_EQ(frames, stats().rx_frames);
}

INSTANTIATE_TEST_SUITE_P(Sizes, EmuPackedSizeTest,
	testing::Values(1, 2, 3, 5, 7, 13, 64, 100, 255, 256, 1000, 32767, 32768),
	testing::PrintToStringParamName());

/* Lies. */

class EmuPackedLieTest : public EmuPackedTest
{
      protected:
	void TearDown() override
	{
		faulty = true; /* a driver cannot keep to rules that the device breaks */
		EmuPackedTest::TearDown();
	}
};

TEST_F(EmuPackedLieTest, AboutTheIdAndTheLength)
{
	config.hooks.used = [](void *, unsigned, uint32_t *name, uint32_t *len) {
		*name = 0x12345;
		*len = 99;
	};
	run(kPacked);
	net->send(frame_of(64));
	settle();
	EXPECT_EQ(kUsed | VIRTQ_DESC_F_WRITE, flags(tx()[0]));
	EXPECT_EQ(0x2345, id(tx()[0]));
	EXPECT_EQ(99u, plx_shared32_read(&tx()[0].len));
}

TEST_F(EmuPackedLieTest, AboutTheWrapCounter)
{
	config.hooks.used_flags = [](void *, unsigned, uint16_t, uint16_t *marks) {
		*marks ^= kUsed;
	};
	run(kPacked);
	net->send(frame_of(64));
	settle();
	EXPECT_EQ(0, flags(tx()[0]));
	EXPECT_FALSE(net->tx[0]->used());
}

TEST_F(EmuPackedLieTest, AboutHowManyAreUsed)
{
	config.hooks.used_extra = [](void *, unsigned queue) { return queue == 1 ? 3u : 0u; };
	run(kPacked, 1, 5);
	net->send(frame_of(64));
	settle();
	for (unsigned i = 0; i < 4; i++)
		EXPECT_EQ(kUsed, flags(tx()[i])) << i;
	EXPECT_EQ(0, flags(tx()[4]));
}

TEST_F(EmuPackedLieTest, AboutWantingNotifications)
{
	config.hooks.suppress = [](void *, unsigned, uint16_t *event, uint16_t *marks) {
		*event = 0x1234;
		*marks = VIRTQ_PACKED_EVENT_DISABLE;
	};
	run(kPacked);
	virtq_packed_event *event = packed(net->tx[0]).device_event();

	EXPECT_EQ(0x1234, plx_shared16_read(&event->off_wrap));
	EXPECT_EQ(VIRTQ_PACKED_EVENT_DISABLE, plx_shared16_read(&event->flags));
	net->send(frame_of(64));
	settle();
	EXPECT_EQ(0u, stats().kicks);
	EXPECT_EQ(0u, stats().tx_frames);
}

} // namespace
} // namespace emu
