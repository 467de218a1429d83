/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <chrono>
#include <sstream>
#include <thread>

namespace emu
{
namespace
{

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
		EXPECT_EQ("", breaches());
		discard();
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

/* By itself, on the thread that all devices of a context share. */

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

class EmuThreadRingTest : public EmuThreadTest, public testing::WithParamInterface<uint64_t>
{
};

TEST_P(EmuThreadRingTest, PassesFramesBothWays)
{
	unsigned sent = 0, back = 0, returned = 0;

	plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, true);
	run(GetParam());
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

/* The driver must never see a part of a frame. */
TEST_P(EmuThreadRingTest, MergedBuffersComeTogether)
{
	unsigned sent = 0, back = 0;

	run(GetParam() | bit(VIRTIO_NET_F_MRG_RXBUF), 1, 64, 128);
	net->fill(64);
	EXPECT_TRUE(within_seconds(60,
		[&] {
			if (sent < 2000 && sent - back < 8) {
				Frame frame =
					frame_of(60 + sent % 1400, static_cast<uint8_t>(sent));

				sent += !plx_emu_inject(device, 0, frame.data(), frame.size());
			}
			while (auto frame = net->receive()) {
				EXPECT_EQ(frame_of(60 + back % 1400, static_cast<uint8_t>(back)),
					*frame);
				back++;
			}
			return back == 2000;
		}))
		<< sent << " sent, " << back << " back";
}

TEST_P(EmuThreadRingTest, WakesUpAfterSleep)
{
	run(GetParam());
	net->fill(64);
	for (unsigned i = 0; i < 20; i++) {
		std::this_thread::sleep_for(std::chrono::milliseconds(i));
		net->send(frame_of(64, static_cast<uint8_t>(i)));
		std::optional<Frame> frame;
		EXPECT_TRUE(
			within_seconds(60, [&] { return (frame = net->receive()).has_value(); }));
		EXPECT_TRUE(within_seconds(60, [&] { return net->tx[0]->used().has_value(); }));
	}
}

TEST_P(EmuThreadRingTest, StopsWithFramesOnTheirWay)
{
	config.peer = "gen";
	for (unsigned i = 0; i < 20; i++) {
		run(GetParam());
		net->fill(64);
		std::this_thread::sleep_for(std::chrono::milliseconds(1));
		driver->reset();
		net.reset(); /* a write from now on would hit memory that is no longer mapped */
	}
}

std::string ring_name(const testing::TestParamInfo<uint64_t> &info)
{
	return std::string(info.param & bit(VIRTIO_F_RING_PACKED) ? "Packed" : "Split") +
	       (info.param & bit(VIRTIO_F_EVENT_IDX) ? "EventIdx" : "Flags") +
	       (info.param & bit(VIRTIO_F_IN_ORDER) ? "InOrder" : "AnyOrder");
}

INSTANTIATE_TEST_SUITE_P(Rings, EmuThreadRingTest,
	testing::Values(0, bit(VIRTIO_F_EVENT_IDX), bit(VIRTIO_F_IN_ORDER),
		bit(VIRTIO_F_RING_PACKED), bit(VIRTIO_F_RING_PACKED) | bit(VIRTIO_F_EVENT_IDX),
		bit(VIRTIO_F_RING_PACKED) | bit(VIRTIO_F_IN_ORDER)),
	ring_name);

TEST_F(EmuThreadTest, NotificationDataIsNeverAheadOfTheRing)
{
	unsigned returned = 0;

	/* The smallest rings have the least room for a notification that is late. */
	plx_emu_config_offer(&config, VIRTIO_F_NOTIFICATION_DATA, true);
	config.peer = "sink";
	for (uint64_t layout : {uint64_t{0}, bit(VIRTIO_F_RING_PACKED)})
		for (unsigned size : {1, 2, 4}) {
			run(layout | bit(VIRTIO_F_NOTIFICATION_DATA), 1, size);
			returned = 0;
			EXPECT_TRUE(within_seconds(60, [&] {
				net->tx[0]->add({{net->tx_memory[0]->iova(), 72, false}});
				(void)net->tx[0]->publish();
				driver->kick(*net->tx[0]);
				EXPECT_TRUE(within_seconds(
					60, [&] { return net->tx[0]->used().has_value(); }));
				return ++returned == 3000;
			}));
		}
}

TEST_F(EmuThreadTest, DevicesComeAndGoWhileOthersWork)
{
	unsigned back = 0;

	run(bit(VIRTIO_F_EVENT_IDX));
	net->fill(64);
	net->send(frame_of(64));
	for (unsigned i = 0; i < 200; i++) {
		ASSERT_EQ(0, plx_emu_create(mem, nullptr, &config, &other)) << plx_error();
		if (i % 2)
			std::this_thread::sleep_for(std::chrono::microseconds(50 * i));
		if (net->tx[0]->used())
			net->send(frame_of(64));
		back += net->receive().has_value();
		plx_emu_destroy(other);
		other = nullptr;
	}
	EXPECT_TRUE(within_seconds(60, [&] {
		back += net->receive().has_value();
		return back > 0;
	}));
}

TEST_F(EmuThreadTest, ThreadEndsWithTheLastDeviceAndStartsAnew)
{
	for (unsigned i = 0; i < 50; i++) {
		make();
		ASSERT_EQ(0, plx_emu_create(mem, nullptr, &config, &other)) << plx_error();
		driver.reset();
		plx_emu_destroy(device);
		device = nullptr;
		plx_emu_destroy(other);
		other = nullptr;
	}
	run();
	net->fill(64);
	net->send(frame_of(64));
	EXPECT_TRUE(within_seconds(60, [&] { return net->receive().has_value(); }));
}

/* One that is stepped and one that runs by itself, at the two ends of a cable. */
TEST_F(EmuThreadTest, WireWakesTheSleepingEnd)
{
	config.peer = "wire:mixed";
	make();
	config.thread = false;
	ASSERT_EQ(0, plx_emu_create(mem, nullptr, &config, &other)) << plx_error();
	run();
	net->fill(64);
	Driver far_driver(plx_emu_device(other), mem);
	{
		Net far_net(far_driver, kBase);

		for (unsigned i = 0; i < 20; i++) {
			std::this_thread::sleep_for(std::chrono::milliseconds(2));
			far_net.send(frame_of(64, static_cast<uint8_t>(i)));
			while (plx_emu_step(other))
				;
			EXPECT_TRUE(far_net.tx[0]->used());
			EXPECT_TRUE(within_seconds(60, [&] { return net->receive().has_value(); }));
		}
		far_driver.reset();
	}
}

} // namespace
} // namespace emu
