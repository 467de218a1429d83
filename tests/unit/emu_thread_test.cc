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

} // namespace
} // namespace emu
