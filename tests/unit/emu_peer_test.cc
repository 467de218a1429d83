/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <chrono>

namespace emu
{
namespace
{

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

} // namespace
} // namespace emu
