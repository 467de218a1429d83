/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu_net.h"

#include <chrono>
#include <ctime>
#include <fstream>
#include <iterator>

#include <unistd.h>

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

/* Files of frames. */

class EmuFileTest : public EmuTest
{
      protected:
	void SetUp() override
	{
		char name[] = "/tmp/plx-emu-XXXXXX";
		int fd = mkstemp(name);

		ASSERT_GE(fd, 0);
		close(fd);
		path = name;
		EmuTest::SetUp();
	}
	void TearDown() override
	{
		EmuTest::TearDown();
		unlink(path.c_str());
	}
	void peer(const char *kind)
	{
		address = kind + path;
		config.peer = address.c_str();
	}
	std::vector<uint8_t> content()
	{
		std::ifstream file(path, std::ios::binary);

		return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
	}
	void write(const std::vector<uint8_t> &bytes)
	{
		std::ofstream file(path, std::ios::binary);

		file.write(reinterpret_cast<const char *>(bytes.data()),
			static_cast<std::streamsize>(bytes.size()));
	}
	static uint32_t word(const std::vector<uint8_t> &bytes, size_t at)
	{
		uint32_t value;

		memcpy(&value, &bytes.at(at + 3) - 3, sizeof(value));
		return value;
	}
	/* A file in either byte order. */
	static std::vector<uint8_t> capture_of(
		const std::vector<Frame> &frames, uint32_t magic, bool big, uint32_t link = 1)
	{
		std::vector<uint8_t> bytes;
		auto put = [&](uint32_t value, unsigned width) {
			for (unsigned i = 0; i < width; i++)
				bytes.push_back(static_cast<uint8_t>(
					value >> 8 * (big ? width - 1 - i : i)));
		};

		put(magic, 4);
		put(2, 2);
		put(4, 2);
		put(0, 4);
		put(0, 4);
		put(65535, 4);
		put(link, 4);
		for (const Frame &frame : frames) {
			put(1000000000, 4);
			put(5, 4);
			put(static_cast<uint32_t>(frame.size()), 4);
			put(static_cast<uint32_t>(frame.size()), 4);
			bytes.insert(bytes.end(), frame.begin(), frame.end());
		}
		return bytes;
	}
	/* Everything that the file gives to the driver. */
	std::vector<Frame> replayed()
	{
		std::vector<Frame> frames;

		run();
		net->fill(64);
		settle();
		while (std::optional<Frame> frame = net->receive()) {
			frames.push_back(*frame);
			settle();
		}
		return frames;
	}

	std::string path, address;
};

TEST_F(EmuFileTest, CaptureHoldsWhatWasSent)
{
	time_t before = time(nullptr);

	peer("pcap:");
	run();
	net->send(frame_of(60, 1));
	net->send(frame_of(1514, 2));
	settle();
	driver->reset();
	std::vector<uint8_t> bytes = content();

	ASSERT_EQ(24u + 16 + 60 + 16 + 1514, bytes.size());
	EXPECT_EQ(0xa1b23c4du, word(bytes, 0));
	EXPECT_EQ(2u | 4u << 16, word(bytes, 4));
	EXPECT_EQ(1u, word(bytes, 20));
	EXPECT_GE(word(bytes, 24), static_cast<uint32_t>(before));
	EXPECT_LT(word(bytes, 28), 1000000000u);
	EXPECT_EQ(60u, word(bytes, 32));
	EXPECT_EQ(60u, word(bytes, 36));
	EXPECT_EQ(frame_of(60, 1), Frame(bytes.begin() + 40, bytes.begin() + 100));
	EXPECT_EQ(1514u, word(bytes, 108));
	EXPECT_EQ(frame_of(1514, 2), Frame(bytes.begin() + 116, bytes.end()));
}

TEST_F(EmuFileTest, CaptureIsWholeWhenTheDeviceIsClosed)
{
	peer("pcap:");
	run();
	for (unsigned i = 0; i < 100; i++) {
		net->send(frame_of(100));
		settle();
		EXPECT_TRUE(net->tx[0]->used());
	}
	discard();
	EXPECT_EQ(24u + 100 * 116, content().size());
}

TEST_F(EmuFileTest, CaptureThatCannotBeWrittenIsRefused)
{
	config.peer = "pcap:/dev/full";
	EXPECT_EQ(-ENOSPC, plx_emu_create(mem, nullptr, &config, &device));
	EXPECT_NE(nullptr, strstr(plx_error(), "/dev/full")) << plx_error();
	config.peer = "pcap:/nowhere/at/all";
	EXPECT_EQ(-ENOENT, plx_emu_create(mem, nullptr, &config, &device));
	EXPECT_NE(nullptr, strstr(plx_error(), "/nowhere/at/all")) << plx_error();
}

TEST_F(EmuFileTest, CaptureCanBeReplayed)
{
	std::vector<Frame> frames;

	peer("pcap:");
	run();
	for (unsigned i = 0; i < 150; i++) {
		frames.push_back(frame_of(60 + 9 * i, static_cast<uint8_t>(i)));
		net->send(frames.back());
		settle();
		EXPECT_TRUE(net->tx[0]->used());
	}
	discard();
	peer("replay:");
	EXPECT_EQ(frames, replayed());
	EXPECT_EQ(150u, stats().generated);
}

TEST_F(EmuFileTest, ReplayKnowsBothByteOrdersAndUnits)
{
	std::vector<Frame> frames = {frame_of(60, 1), frame_of(61, 2), frame_of(1514, 3)};

	peer("replay:");
	for (uint32_t magic : {0xa1b2c3d4u, 0xa1b23c4du})
		for (bool big : {false, true}) {
			write(capture_of(frames, magic, big));
			EXPECT_EQ(frames, replayed());
			discard();
		}
}

TEST_F(EmuFileTest, ReplayBeginsAnewWithTheDriver)
{
	std::vector<Frame> frames = {frame_of(60, 1), frame_of(61, 2)};

	peer("replay:");
	write(capture_of(frames, 0xa1b2c3d4u, false));
	EXPECT_EQ(frames, replayed());
	EXPECT_EQ(frames, replayed());
}

TEST_F(EmuFileTest, ReplayEndsBeforeWhatIsCutShort)
{
	std::vector<Frame> frames = {frame_of(60, 1), frame_of(61, 2)};
	std::vector<uint8_t> whole = capture_of(frames, 0xa1b2c3d4u, false);

	peer("replay:");
	frames.pop_back();
	for (size_t missing : {1u, 60u, 61u, 62u, 76u}) {
		write({whole.begin(), whole.end() - static_cast<ptrdiff_t>(missing)});
		EXPECT_EQ(frames, replayed()) << missing;
		discard();
	}
}

TEST_F(EmuFileTest, ReplayEndsBeforeAFrameThatIsNone)
{
	std::vector<Frame> frames = {frame_of(60, 1), frame_of(61, 2)};
	std::vector<uint8_t> bytes = capture_of(frames, 0xa1b2c3d4u, false);

	peer("replay:");
	memset(&bytes[24 + 76 + 8], 0xff, 4); /* the length of the second */
	write(bytes);
	frames.pop_back();
	EXPECT_EQ(frames, replayed());
}

TEST_F(EmuFileTest, ReplayRefusesOtherFilesWithAReason)
{
	std::vector<uint8_t> good = capture_of({frame_of(60)}, 0xa1b2c3d4u, false);
	const std::vector<std::pair<std::vector<uint8_t>, const char *>> bad = {
		{{}, "too short"},
		{{good.begin(), good.begin() + 23}, "too short"},
		{capture_of({}, 0x0a0d0d0a, false), "no pcap file"},
		{capture_of({}, 0xa1b2c3d4u, false, 113), "link type 113"},
	};

	peer("replay:");
	for (const auto &[bytes, reason] : bad) {
		write(bytes);
		EXPECT_EQ(-EINVAL, plx_emu_create(mem, nullptr, &config, &device)) << reason;
		EXPECT_NE(nullptr, strstr(plx_error(), reason)) << plx_error();
	}
	unlink(path.c_str());
	EXPECT_EQ(-ENOENT, plx_emu_create(mem, nullptr, &config, &device));
}

TEST_F(EmuFileTest, ReplayKeepsToItsRate)
{
	peer("replay:");
	write(capture_of(std::vector<Frame>(60, frame_of(60)), 0xa1b2c3d4u, false));
	config.rate = 1000;
	auto start = std::chrono::steady_clock::now();
	unsigned count = 0;

	run();
	net->fill(64);
	while (count < 60) {
		settle();
		while (net->receive())
			count++;
	}
	EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(55));
}

} // namespace
} // namespace emu
